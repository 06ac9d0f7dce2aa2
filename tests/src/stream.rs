//! A stream for tests: made, filled, split and merged, and judged as it is at the end.
//!
//! Invariants
//! - A call that changes the stream returns once it is active again.
//! - The judge reads each shard whole, after its parents, with the stream's own arrival times; it knows nothing of the engine.
//!
//! Not here: what a record is made of (`records`), what must come out of it (`oracle`).

use crate::oracle::{Oracle, Outcome, Query};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, Shard, ShardIteratorType, StreamStatus};
use std::collections::BTreeMap;
use std::time::Duration;

const POLL: Duration = Duration::from_millis(20);
/// As many as one call takes.
const ENTRIES: usize = 500;

/// A stream under this name.
#[derive(Clone, Debug)]
pub struct Stream {
    client: Client,
    name: String,
}

impl Stream {
    /// Makes it.
    ///
    /// # Panics
    /// If the service does not; so do all of these.
    pub async fn create(client: Client, name: &str, shards: i32) -> Self {
        client.create_stream().stream_name(name).shard_count(shards).send().await.expect("a stream is made");
        let stream = Self { client, name: name.to_owned() };
        stream.active().await;
        stream
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    async fn active(&self) {
        loop {
            let summary = self.client.describe_stream_summary().stream_name(&self.name).send().await;
            let summary = summary.expect("the stream is described").stream_description_summary.expect("a summary");
            if summary.stream_status == StreamStatus::Active {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Puts a record for each line, from so many devices.
    pub async fn put(&self, lines: &[&[u8]]) {
        for lines in lines.chunks(ENTRIES) {
            let entries = lines.iter().enumerate().map(|(at, line)| {
                let entry = PutRecordsRequestEntry::builder().data(Blob::new(*line));
                entry.partition_key(format!("device-{}", at % 997)).build().expect("data and key are there")
            });
            let request = self.client.put_records().stream_name(&self.name).set_records(Some(entries.collect()));
            let answer = request.send().await.expect("records are put");
            assert_eq!(answer.failed_record_count(), Some(0));
        }
    }

    /// All its shards, those that are closed too. A shard's number is greater than its parents'.
    pub async fn shards(&self) -> Vec<Shard> {
        let listed = self.client.list_shards().stream_name(&self.name).send().await.expect("shards are listed");
        listed.shards.unwrap_or_default()
    }

    /// The shards that take records, by what they take.
    pub async fn open_shards(&self) -> Vec<Shard> {
        let mut open = self.shards().await;
        open.retain(|shard| shard.sequence_number_range().is_none_or(|r| r.ending_sequence_number().is_none()));
        open.sort_by_key(first_key);
        open
    }

    /// Splits a shard in the middle.
    pub async fn split(&self, shard: &Shard) {
        let middle = first_key(shard) + (last_key(shard) - first_key(shard)).div_ceil(2);
        let request = self.client.split_shard().stream_name(&self.name).shard_to_split(shard.shard_id());
        request.new_starting_hash_key(middle.to_string()).send().await.expect("a shard is split");
        self.active().await;
    }

    /// Merges two neighbours.
    pub async fn merge(&self, one: &Shard, other: &Shard) {
        let request = self.client.merge_shards().stream_name(&self.name).shard_to_merge(one.shard_id());
        request.adjacent_shard_to_merge(other.shard_id()).send().await.expect("two shards are merged");
        self.active().await;
    }

    /// What the judge makes of the stream as it is, for each of the queries.
    pub async fn judge<const N: usize>(&self, queries: [&Query; N]) -> [Outcome; N] {
        let mut ended: BTreeMap<String, Vec<Oracle>> = BTreeMap::new();
        for shard in self.shards().await {
            let parents = [shard.parent_shard_id(), shard.adjacent_parent_shard_id()].into_iter().flatten();
            let mut parents: Vec<&str> = parents.collect();
            parents.sort_unstable();
            let mut oracles: Vec<Oracle> = queries
                .iter()
                .enumerate()
                .map(|(nth, query)| match &parents[..] {
                    [] => Oracle::new((*query).clone()),
                    parents => Oracle::after(&parents.iter().map(|p| &ended[*p][nth]).collect::<Vec<_>>()),
                })
                .collect();
            self.read(shard.shard_id(), |data, arrival| oracles.iter_mut().for_each(|o| o.see(data, Some(arrival))))
                .await;
            ended.insert(shard.shard_id().to_owned(), oracles);
        }
        std::array::from_fn(|nth| {
            let outcomes = ended.values().map(|oracles| oracles[nth].outcome().clone());
            Outcome::merged(outcomes, queries[nth])
        })
    }

    /// Hands out a shard's records, each with its arrival in milliseconds.
    async fn read(&self, shard: &str, mut each: impl FnMut(&[u8], i64)) {
        let request = self.client.get_shard_iterator().stream_name(&self.name).shard_id(shard);
        let request = request.shard_iterator_type(ShardIteratorType::TrimHorizon);
        let mut iterator = request.send().await.expect("an iterator").shard_iterator;
        while let Some(token) = iterator.take() {
            let page = self.client.get_records().shard_iterator(token).send().await.expect("a page");
            for record in page.records() {
                let arrival = record.approximate_arrival_timestamp().expect("it has one");
                each(record.data().as_ref(), arrival.to_millis().expect("a time"));
            }
            if page.records().is_empty() {
                return;
            }
            iterator = page.next_shard_iterator;
        }
    }
}

fn first_key(shard: &Shard) -> u128 {
    key(shard.hash_key_range().map(|range| range.starting_hash_key()))
}

fn last_key(shard: &Shard) -> u128 {
    key(shard.hash_key_range().map(|range| range.ending_hash_key()))
}

fn key(text: Option<&str>) -> u128 {
    text.expect("a shard has a range").parse().expect("its ends are numbers")
}
