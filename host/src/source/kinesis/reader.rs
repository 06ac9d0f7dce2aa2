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
//! - Between two calls lie at least `poll_min`, and at most `poll_max`.
//! - `Idle` is said at the tip of an open shard only. The service answers with empty pages far from it, too, and before
//!   a closed shard's end.
//!
//! Not here: pages into chunks (`page`), the meaning of errors (`trouble`).

use super::page::{self, Page};
use super::trouble::Trouble;
use super::{KinesisOptions, Start, Stream};
use crate::clock;
use crate::source::{LaneReader, Next, Position, SourceError};
use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long one `next` goes on over empty pages towards the tip; a driver that is stopped must end within 10 s.
const CROSS_MAX: Duration = Duration::from_secs(5);
/// How far before our own clock a lane that began at `latest`, and has given nothing, begins again when its iterator
/// has expired: by what clocks may differ, since signed requests allow no more. A few earlier records rather than a gap.
const SKEW_MAX_MS: i64 = 5 * 60_000;

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
    pub(super) options: KinesisOptions,
}

/// Reads one shard.
#[derive(Debug)]
pub(super) struct Reader {
    setting: Setting,
    begin: Start,
    /// Sequence number of the last record that was read, by this reader or before it.
    last: Option<String>,
    iterator: Option<Iterator>,
    page: Page,
    /// The shard has ended; what is left is in `page`.
    ended: bool,
    ordinal: u64,
    /// When the next call may be made.
    due: Instant,
    /// How long to wait after an empty answer.
    pause: Duration,
}

#[derive(Clone, Debug)]
struct Iterator {
    token: String,
    /// The record that it begins at, read before: the proof that the stream still holds the position.
    proof: Option<String>,
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
        let last = match from {
            None => None,
            Some(position) => Some(page::sequence(position).map(str::to_owned).ok_or_else(|| {
                SourceError::Refused(format!(
                    "lane {}: the position `{}` is not one of a Kinesis shard (60 digits and /0); it was written by something else: use a new --generation",
                    setting.lane, position.0
                ))
            })?),
        };
        let pause = setting.options.poll_min;
        let mut reader = Self {
            setting,
            begin,
            last,
            iterator: None,
            page: Page::default(),
            ended: false,
            ordinal: 0,
            due: Instant::now(),
            pause,
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
            (Some(last), _) => {
                request.shard_iterator_type(ShardIteratorType::AtSequenceNumber).starting_sequence_number(last)
            }
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
        self.due = began + options.poll_min;
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
                    Trouble::Missing(text) => Err(self.gap(&text)),
                    other => Err(other.into_source()),
                };
            }
        };
        let behind_ms = answer.millis_behind_latest.and_then(|ms| u64::try_from(ms).ok());
        let mut records = answer.records;
        let ended = answer.next_shard_iterator.is_none();
        let mut proof = iterator.proof;
        if let Some(expected) = &proof {
            self.prove(expected, records.first(), ended)?;
            if !records.is_empty() {
                records.remove(0);
                proof = None;
            }
        }
        // From here on nothing fails: the place moves.
        if let Some(record) = records.last() {
            self.last = Some(record.sequence_number.clone());
        }
        self.ended = ended;
        self.iterator = answer.next_shard_iterator.map(|token| Iterator { token, proof, fresh: false });
        let empty = records.is_empty();
        self.page = Page::new(records, behind_ms);
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

    fn gap(&self, found: &str) -> SourceError {
        let Setting { lane, stream, .. } = &self.setting;
        let place = self.last.as_ref().map_or_else(|| "the beginning".to_owned(), |last| format!("record {last}"));
        SourceError::Gap(format!(
            "lane {lane}: reading cannot go on after {place}: {found}; the stream {} has trimmed it (retention) or was deleted or made again, and records may be lost; lengthen its retention, and recount what it holds from --start trim-horizon under a new --generation",
            stream.given
        ))
    }
}

#[async_trait]
impl LaneReader for Reader {
    async fn next(&mut self, bytes: usize) -> Result<Next, SourceError> {
        let until = Instant::now() + CROSS_MAX;
        loop {
            if !self.page.is_empty() {
                let chunk = self.page.cut(self.ordinal, bytes)?;
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
}
