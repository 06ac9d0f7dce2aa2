//! Asks for a shard's records by polling.
//!
//! ```text
//! place --GetShardIterator--> iterator --GetRecords--> answer and next iterator --> ...
//! ```
//! Invariants
//! - An iterator is replaced only by that of an answer; one that has expired is forgotten, and the place found again.
//! - A call that brings no answer is followed by one for half as many records, and each answer doubles them again: what is too
//!   much for a slow line in the time that a call has would otherwise be asked for for ever.
//!
//! Not here: what is done with answers, and when the next is asked for (`reader`).

use super::Start;
use super::reader::Setting;
use super::trouble::Trouble;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{Record, ShardIteratorType};

/// Where reading begins.
#[derive(Debug)]
pub(super) enum From<'a> {
    /// At the record with this sequence number.
    Record(&'a str),
    Start(Start),
}

/// What the service gave.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) records: Vec<Record>,
    /// How far its end lies behind the tip, in ms.
    pub(super) behind_ms: Option<u64>,
    /// Nothing comes after it.
    pub(super) ended: bool,
}

/// What came of asking.
#[derive(Debug)]
pub(super) enum Fetched {
    Answer(Answer),
    /// The place is to be found again, for this reason.
    Lost(String),
    /// Nothing was said so far.
    Silence,
}

/// At least so many records are asked for at once.
const RECORDS_MIN: i32 = 50;

/// An iterator, once there is one.
#[derive(Debug, Default)]
pub(super) struct Poll {
    iterator: Option<String>,
    /// It comes from a place, not from an answer.
    fresh: bool,
    /// How often what is asked for is halved.
    halved: u32,
}

impl Poll {
    pub(super) fn placed(&self) -> bool {
        self.iterator.is_some()
    }

    pub(super) fn forget(&mut self) {
        self.iterator = None;
    }

    /// Finds a place. `false`: a record at which it begins comes first.
    pub(super) async fn place(&mut self, setting: &Setting, from: &From<'_>) -> Result<bool, Trouble> {
        let Setting { client, stream, shard, .. } = setting;
        let call = stream.call("GetShardIterator");
        let request = client.get_shard_iterator().shard_id(shard);
        let request = request.set_stream_name(stream.by_name()).set_stream_arn(stream.by_arn());
        let request = match from {
            From::Record(sequence) => {
                request.shard_iterator_type(ShardIteratorType::AtSequenceNumber).starting_sequence_number(*sequence)
            }
            From::Start(Start::TrimHorizon) => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
            From::Start(Start::Latest) => request.shard_iterator_type(ShardIteratorType::Latest),
            From::Start(Start::At(ms)) => {
                request.shard_iterator_type(ShardIteratorType::AtTimestamp).timestamp(DateTime::from_millis(*ms))
            }
        };
        let answer = request.send().await.map_err(|e| Trouble::of(&call, &e))?;
        let empty = || Trouble::Passing(format!("{call}: the answer is empty"));
        self.iterator = Some(answer.shard_iterator.ok_or_else(empty)?);
        self.fresh = true;
        Ok(false)
    }

    /// Makes one call.
    pub(super) async fn fetch(&mut self, setting: &Setting) -> Result<Fetched, Trouble> {
        let Setting { client, stream, options, .. } = setting;
        let call = stream.call("GetRecords");
        let most = options.records_per_call;
        let records =
            most.unsigned_abs().checked_shr(self.halved).unwrap_or(0).cast_signed().max(RECORDS_MIN.min(most));
        let request = client.get_records().set_shard_iterator(self.iterator.clone()).limit(records);
        let answer = match request.send().await.map_err(|e| Trouble::of(&call, &e)) {
            Ok(answer) => answer,
            // Some say so of an iterator that is merely old. A fresh one has no such excuse.
            Err(Trouble::Argument(text)) if !self.fresh => {
                self.forget();
                return Ok(Fetched::Lost(text));
            }
            Err(Trouble::Expired(text)) => {
                self.forget();
                return Ok(Fetched::Lost(text));
            }
            Err(Trouble::Passing(text)) => {
                if records > RECORDS_MIN {
                    self.halved += 1;
                }
                return Err(Trouble::Passing(text));
            }
            Err(other) => return Err(other),
        };
        self.halved = self.halved.saturating_sub(1);
        let ended = answer.next_shard_iterator.is_none();
        (self.iterator, self.fresh) = (answer.next_shard_iterator, false);
        let behind_ms = answer.millis_behind_latest.and_then(|ms| u64::try_from(ms).ok());
        Ok(Fetched::Answer(Answer { records: answer.records, behind_ms, ended }))
    }
}
