//! Reads one shard by polling.
//!
//! ```text
//! position --GetShardIterator--> iterator --GetRecords--> page, next iterator --> ... --> no iterator: the shard's end
//! ```
//! Invariants
//! - The reader's place moves only with a whole answer in hand: an error, a lost reply or a dropped future is asked again
//!   at the same place, and an expired iterator is replaced by one from the last record that was read.
//! - A position is proven: reading goes on AT its record, which must come first and is left out. The service itself
//!   would begin with the oldest record it still has, and say nothing.
//! - Between two calls lie at least `poll_min`, and at most `poll_max`; more where the last answer was so large that the
//!   service would refuse the next one, or has refused one. What is refused for being too much is neither silence nor trouble.
//! - Past a gap that was accepted, nothing is given that lies at or before the last position.
//! - `Idle` is said at the tip of an open shard only. The service answers with empty pages far from it, too, and before
//!   a closed shard's end.
//!
//! Not here: pages into chunks (`page`), the meaning of errors (`trouble`).

use super::page::{self, Page};
use super::trouble::Trouble;
use super::{KinesisOptions, SKEW_MAX_MS, Start, Stream};
use crate::clock;
use crate::source::{LaneReader, Next, Position, SourceError};
use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long one `next` goes on over empty pages towards the tip; a driver that is stopped must end within 10 s.
const CROSS_MAX: Duration = Duration::from_secs(5);
/// The most time between two calls where the service says that they are too many: others read the shard, too.
const THROTTLED_MAX: Duration = Duration::from_secs(2);

/// What a reader reads, and how.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) client: Client,
    pub(super) stream: Arc<Stream>,
    /// The lane's id, for messages.
    pub(super) lane: String,
    pub(super) shard: String,
    /// The shard takes no record any more, so that its end will come.
    pub(super) closed: bool,
    /// The hash keys that are the shard's.
    pub(super) hash_keys: RangeInclusive<u128>,
    pub(super) options: KinesisOptions,
}

/// Reads one shard.
#[derive(Debug)]
pub(super) struct Reader {
    setting: Setting,
    begin: Start,
    /// The last record that was read, by this reader or before it.
    last: Option<Read>,
    /// After a gap: where it begins. Records up to there were given out, should any be left.
    past: Option<String>,
    iterator: Option<Iterator>,
    page: Page,
    /// The shard has ended; what is left is in `page`.
    ended: bool,
    ordinal: u64,
    /// When the next call may be made.
    due: Instant,
    /// How long to wait after an empty answer.
    pause: Duration,
    /// The least time between two calls that the service bears.
    every: Duration,
    misplaced: u64,
}

/// How far the records of a shard were read.
#[derive(Clone, Debug)]
struct Read {
    sequence: String,
    /// So many events of that record were given out.
    events: usize,
}

#[derive(Clone, Debug)]
struct Iterator {
    token: String,
    /// The record that it begins at, read before: the proof that the stream still holds the position.
    proof: Option<Read>,
    /// It comes from a position, not from an answer.
    fresh: bool,
}

/// What one call brought.
enum Asked {
    /// Records, or the shard's end.
    More,
    /// Nothing, and the tip is here.
    Tip,
    /// Nothing yet, for this reason; another call follows.
    Again(String),
}

impl Reader {
    /// A reader after `from`, or where `begin` says. Its place is fixed on return.
    pub(super) async fn open(setting: Setting, begin: Start, from: Option<&Position>) -> Result<Self, SourceError> {
        let last = from.map(|position| read(&setting.lane, position)).transpose()?;
        Self::at(setting, begin, last, None).await
    }

    /// A reader of the oldest records that are left after `from`.
    pub(super) async fn past(setting: Setting, from: Option<&Position>) -> Result<Self, SourceError> {
        let past = from.map(|position| read(&setting.lane, position)).transpose()?;
        Self::at(setting, Start::TrimHorizon, None, past.map(|read| read.sequence)).await
    }

    async fn at(setting: Setting, begin: Start, last: Option<Read>, past: Option<String>) -> Result<Self, SourceError> {
        let poll_min = setting.options.poll_min;
        let page = Page::new(Vec::new(), 0, setting.hash_keys.clone(), None);
        let mut reader = Self {
            setting,
            begin,
            last,
            past,
            iterator: None,
            page,
            ended: false,
            ordinal: 0,
            due: Instant::now(),
            pause: poll_min,
            every: poll_min,
            misplaced: 0,
        };
        reader.iterator = Some(reader.place().await?);
        if reader.begin == Start::Latest {
            reader.begin = Start::At(clock::now_ms() - SKEW_MAX_MS);
        }
        Ok(reader)
    }

    /// An iterator of the reader's place.
    async fn place(&self) -> Result<Iterator, SourceError> {
        let Setting { client, stream, shard, .. } = &self.setting;
        let call = stream.call("GetShardIterator");
        let request = client.get_shard_iterator().shard_id(shard);
        let request = request.set_stream_name(stream.by_name()).set_stream_arn(stream.by_arn());
        let request = match (&self.last, self.begin) {
            (Some(last), _) => request
                .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
                .starting_sequence_number(&last.sequence),
            (None, Start::TrimHorizon) => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
            (None, Start::Latest) => request.shard_iterator_type(ShardIteratorType::Latest),
            (None, Start::At(ms)) => {
                request.shard_iterator_type(ShardIteratorType::AtTimestamp).timestamp(DateTime::from_millis(ms))
            }
        };
        let answer = request.send().await.map_err(|e| match (Trouble::of(&call, &e), &self.last) {
            (Trouble::Argument(text), Some(_)) => self.gap(&text),
            (Trouble::Missing(text), _) => self.gap(&text),
            (other, _) => other.into_source(),
        })?;
        let token =
            answer.shard_iterator.ok_or_else(|| SourceError::Passing(format!("{call}: the answer is empty")))?;
        Ok(Iterator { token, proof: self.last.clone(), fresh: true })
    }

    /// Makes one call.
    async fn ask(&mut self) -> Result<Asked, SourceError> {
        let iterator = match &self.iterator {
            Some(iterator) => iterator.clone(),
            None => {
                let iterator = self.place().await?;
                self.iterator.insert(iterator).clone()
            }
        };
        let Setting { client, stream, options, .. } = &self.setting;
        let began = Instant::now();
        self.due = began + self.every;
        let call = stream.call("GetRecords");
        let request = client.get_records().shard_iterator(iterator.token).limit(options.records_per_call);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                return match Trouble::of(&call, &error) {
                    Trouble::Expired(text) => {
                        self.iterator = None;
                        Ok(Asked::Again(text))
                    }
                    // Some say so of an iterator that is merely old. A fresh one has no such excuse.
                    Trouble::Argument(text) if !iterator.fresh => {
                        self.iterator = None;
                        Ok(Asked::Again(text))
                    }
                    Trouble::Throttled(text) => {
                        self.every = self.every.saturating_mul(2).min(THROTTLED_MAX.max(options.poll_min));
                        // Readers that were refused together must not come again together.
                        self.due = began + self.every.mul_f64(0.5 + rand::random::<f64>() / 2.0);
                        Ok(Asked::Again(text))
                    }
                    Trouble::Missing(text) => Err(self.gap(&text)),
                    other => Err(other.into_source()),
                };
            }
        };
        self.every = self.every.mul_f64(0.9).max(options.poll_min);
        let behind_ms = answer.millis_behind_latest.and_then(|ms| u64::try_from(ms).ok());
        let mut records = answer.records;
        let ended = answer.next_shard_iterator.is_none();
        let (mut proof, mut skip) = (iterator.proof, 0);
        if let Some(expected) = &proof {
            self.prove(&expected.sequence, records.first(), ended)?;
            if !records.is_empty() {
                skip = expected.events;
                proof = None;
            }
        }
        // From here on nothing fails: the place moves.
        let bytes: usize = records.iter().map(|record| record.data.as_ref().len()).sum();
        if let Some(past) = self.past.take_if(|_| !records.is_empty()) {
            records.retain(|record| page::after(&record.sequence_number, &past));
            // All of them were before it: so may the next be.
            self.past = records.is_empty().then_some(past);
        }
        if let Some(record) = records.last() {
            // A page is given out whole before another one is asked for.
            self.last = Some(Read { sequence: record.sequence_number.clone(), events: usize::MAX });
        }
        self.ended = ended;
        self.iterator = answer.next_shard_iterator.map(|token| Iterator { token, proof, fresh: false });
        let empty = records.is_empty();
        self.page = Page::new(records, skip, self.setting.hash_keys.clone(), behind_ms);
        // After ten megabytes the service refuses calls for five seconds: by then they are due.
        self.due = self.due.max(began + self.setting.options.time_of(bytes));
        if !empty || ended {
            self.pause = options.poll_min;
            return Ok(Asked::More);
        }
        if let Some(ms) = behind_ms.filter(|ms| *ms > 0) {
            return Ok(Asked::Again(format!(
                "{call}: empty pages, {ms} ms behind the tip of shard {}",
                self.setting.shard
            )));
        }
        if self.setting.closed {
            return Ok(Asked::Again(format!(
                "{call}: the end of the closed shard {} does not come",
                self.setting.shard
            )));
        }
        self.due = began + self.pause;
        self.pause = self.pause.saturating_mul(2).min(options.poll_max);
        Ok(Asked::Tip)
    }

    /// Whether the stream still holds the record after which reading goes on.
    fn prove(&self, expected: &str, first: Option<&Record>, ended: bool) -> Result<(), SourceError> {
        match first {
            Some(record) if record.sequence_number.trim_start_matches('0') == expected.trim_start_matches('0') => {
                Ok(())
            }
            Some(record) => Err(self.gap(&format!("the oldest record there is now {}", record.sequence_number))),
            None if ended => Err(self.gap("its shard is closed and holds no record any more")),
            // A shard without news. Nothing is counted until the proof has come.
            None => Ok(()),
        }
    }

    /// Counts what the page at hand has left out.
    fn leave_out(&mut self) {
        let records = self.page.misplaced();
        if records > 0 {
            self.misplaced += records;
            let Setting { shard, stream, .. } = &self.setting;
            tracing::warn!(
                stream = stream.given,
                shard,
                records,
                "an aggregated record is another shard's: its producer had an old list of shards, and puts it again"
            );
        }
    }

    fn gap(&self, found: &str) -> SourceError {
        let Setting { lane, stream, .. } = &self.setting;
        let last = self.last.as_ref().map(|read| format!("record {}", read.sequence));
        SourceError::Gap(format!(
            "lane {lane}: reading cannot go on after {}: {found}; the stream {} has trimmed it (retention) or was deleted or made again, and records may be lost",
            last.as_deref().unwrap_or("the beginning"),
            stream.given
        ))
    }
}

/// How far a shard was read, as a position says it.
fn read(lane: &str, position: &Position) -> Result<Read, SourceError> {
    let Some((sequence, event)) = page::place(position) else {
        return Err(SourceError::Refused(format!(
            "lane {lane}: the position `{}` is not one of a Kinesis shard (60 digits, / and a number); it was written by something else: use a new --generation",
            position.0
        )));
    };
    Ok(Read { sequence: sequence.to_owned(), events: event.saturating_add(1) })
}

#[async_trait]
impl LaneReader for Reader {
    async fn next(&mut self, bytes: usize) -> Result<Next, SourceError> {
        let until = Instant::now() + CROSS_MAX;
        loop {
            if !self.page.is_empty() {
                let cut = self.page.cut(self.ordinal, bytes)?;
                self.leave_out();
                let Some(chunk) = cut else { continue };
                let crate::source::Places::Records { positions, .. } = &chunk.places else {
                    unreachable!("a page gives one position per record")
                };
                self.ordinal += positions.len() as u64;
                return Ok(Next::Chunk(chunk));
            }
            if self.ended {
                return Ok(Next::End);
            }
            tokio::time::sleep_until(self.due).await;
            match self.ask().await? {
                Asked::More => {}
                Asked::Tip => return Ok(Next::Idle),
                Asked::Again(why) if Instant::now() >= until => return Err(SourceError::Passing(why)),
                Asked::Again(_) => {}
            }
        }
    }

    fn misplaced(&self) -> u64 {
        self.misplaced
    }
}
