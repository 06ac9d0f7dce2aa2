//! Streams for the tests: made, filled, cut up and put together, and judged as they are in the end.
//!
//! Invariant: the judge reads each shard whole, after its parents, with the stream's own arrival times.
//!
//! Not here: clients (`aws`), servers (`server`), what must come of a record (`oracle`).

use crate::oracle::{Oracle, Outcome, Query};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, Shard, ShardIteratorType, StreamStatus};
use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

const POLL: Duration = Duration::from_millis(20);
/// The service's most in one request.
const REQUEST_RECORDS: usize = 500;

/// A name that no earlier run on a service that lasts has used.
pub fn fresh(name: &str) -> String {
    format!("{name}-{:016x}", rand::random::<u64>())
}

/// Waits until a stream can be used, and has as many shards as it was asked to have.
///
/// # Panics
/// If it is not there.
pub async fn active(client: &Client, stream: &str) {
    loop {
        let summary = client.describe_stream_summary().stream_name(stream).send().await.expect("it is described");
        if summary.stream_description_summary().expect("a summary").stream_status() == &StreamStatus::Active {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Makes a stream.
///
/// # Panics
/// If that cannot be done.
pub async fn create(client: &Client, stream: &str, shards: i32) {
    client.create_stream().stream_name(stream).shard_count(shards).send().await.expect("a stream is made");
    active(client, stream).await;
}

/// Deletes a stream, and waits until it is gone, and one that is made then has another time of creation: a stand-in is quicker
/// than the seconds that it tells.
///
/// # Panics
/// If that cannot be done.
pub async fn delete(client: &Client, stream: &str) {
    let summary = client.describe_stream_summary().stream_name(stream).send().await.expect("it is described");
    let created_s = summary.stream_description_summary().expect("a summary").stream_creation_timestamp().secs();
    client.delete_stream().stream_name(stream).send().await.expect("it is deleted");
    while client.describe_stream_summary().stream_name(stream).send().await.is_ok() {
        tokio::time::sleep(POLL).await;
    }
    let second = Duration::from_secs(created_s.unsigned_abs() + 1);
    while UNIX_EPOCH.elapsed().is_ok_and(|now| now < second) {
        tokio::time::sleep(POLL).await;
    }
}

/// Puts records, their keys spread over the shards.
///
/// # Panics
/// If not all are taken.
pub async fn put(client: &Client, stream: &str, records: impl IntoIterator<Item = Vec<u8>>) {
    let entries = records.into_iter().enumerate().map(|(at, record)| {
        let entry = PutRecordsRequestEntry::builder().data(Blob::new(record));
        entry.partition_key(format!("device-{}", at % 997)).build().expect("data and key are there")
    });
    let entries: Vec<_> = entries.collect();
    for entries in entries.chunks(REQUEST_RECORDS) {
        let answer = client.put_records().stream_name(stream).set_records(Some(entries.to_vec())).send().await;
        assert_eq!(answer.expect("records are put").failed_record_count().unwrap_or(0), 0);
    }
}

/// The id of a shard by its number.
pub fn shard(number: u32) -> String {
    format!("shardId-{number:012}")
}

/// Splits a shard; the second half begins with the hash key `at`.
///
/// # Panics
/// If that cannot be done.
pub async fn split(client: &Client, stream: &str, number: u32, at: u128) {
    let request = client.split_shard().stream_name(stream).shard_to_split(shard(number));
    request.new_starting_hash_key(at.to_string()).send().await.expect("a shard is split");
    active(client, stream).await;
}

/// Merges two shards that lie side by side.
///
/// # Panics
/// If that cannot be done.
pub async fn merge(client: &Client, stream: &str, numbers: [u32; 2]) {
    let [one, other] = numbers.map(shard);
    let request = client.merge_shards().stream_name(stream).shard_to_merge(one).adjacent_shard_to_merge(other);
    request.send().await.expect("two shards are merged");
    active(client, stream).await;
}

/// All shards, those that are closed too. A shard's number is greater than its parents'.
///
/// # Panics
/// If they cannot be listed.
pub async fn shards(client: &Client, stream: &str) -> Vec<Shard> {
    let listed = client.list_shards().stream_name(stream).send().await.expect("shards are listed");
    listed.shards.unwrap_or_default()
}

/// What the judge makes of a stream as it is, by each of the queries.
///
/// # Panics
/// If it cannot be read.
pub async fn judge<const N: usize>(client: &Client, stream: &str, queries: [&Query; N]) -> [Outcome; N] {
    let mut ended: BTreeMap<String, Vec<Oracle>> = BTreeMap::new();
    for shard in shards(client, stream).await {
        let parents = [shard.parent_shard_id(), shard.adjacent_parent_shard_id()].into_iter().flatten();
        let mut parents: Vec<&str> = parents.collect();
        parents.sort_unstable();
        let begun = queries.iter().enumerate().map(|(nth, query)| match &parents[..] {
            [] => Oracle::new((*query).clone()),
            parents => Oracle::after(&parents.iter().map(|p| &ended[*p][nth]).collect::<Vec<_>>()),
        });
        let mut oracles: Vec<Oracle> = begun.collect();
        read(client, stream, shard.shard_id(), |data, arrival_ms| {
            oracles.iter_mut().for_each(|oracle| oracle.see(data, Some(arrival_ms)));
        })
        .await;
        ended.insert(shard.shard_id().to_owned(), oracles);
    }
    std::array::from_fn(|nth| {
        Outcome::merged(ended.values().map(|oracles| oracles[nth].outcome().clone()), queries[nth])
    })
}

/// Hands out a shard's records, each with its arrival in milliseconds.
async fn read(client: &Client, stream: &str, shard: &str, mut each: impl FnMut(&[u8], i64)) {
    let request = client.get_shard_iterator().stream_name(stream).shard_id(shard);
    let request = request.shard_iterator_type(ShardIteratorType::TrimHorizon);
    let mut iterator = request.send().await.expect("an iterator").shard_iterator;
    while let Some(token) = iterator.take() {
        let page = client.get_records().shard_iterator(token).send().await.expect("a page");
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
