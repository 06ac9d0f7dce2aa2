//! A stream whose shards are closed and hold the same records, made once and then only copied into answers.
//!
//! Invariants
//! - A record's sequence number is its place in the shard, from 1, so that reading goes on at any of them.
//! - A shard ends after its last record, so that who reads it comes to an end; a paced one stays open.
//!
//! Not here: a Kinesis that takes records (`server`).

use super::{Call, Reply};
use crate::aws;
use aws_smithy_types::base64;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Instant;

/// Of so many digits, as the service's.
const DIGITS: usize = 56;
/// The service's most in one answer.
const RECORDS_MAX: usize = 10_000;

/// A stream.
#[derive(Debug)]
pub struct Stream {
    shards: usize,
    retention_hours: u32,
    /// Records of each shard that come in a second, and since when; all are there at once if absent.
    pace: Option<(f64, Instant)>,
    /// All records as JSON, a comma after each.
    records: String,
    /// Where each begins, and the end.
    starts: Vec<usize>,
    /// How far before the last record each arrived, in ms.
    behind_ms: Vec<i64>,
}

impl Stream {
    /// A stream of so many shards that hold these records each, with their times of arrival in ms.
    pub fn new<'a>(shards: usize, given: impl IntoIterator<Item = (i64, &'a [u8])>) -> Self {
        let (mut records, mut starts, mut arrivals) = (String::new(), vec![0], Vec::new());
        for (n, (arrival_ms, data)) in given.into_iter().enumerate() {
            let (data, sequence) = (base64::encode(data), n + 1);
            let (s, ms) = (arrival_ms.div_euclid(1_000), arrival_ms.rem_euclid(1_000));
            write!(
                records,
                r#"{{"ApproximateArrivalTimestamp":{s}.{ms:03},"Data":"{data}","PartitionKey":"d","SequenceNumber":"{sequence:0DIGITS$}"}},"#,
            )
            .expect("text takes all");
            starts.push(records.len());
            arrivals.push(arrival_ms);
        }
        let last = arrivals.last().copied().unwrap_or(0);
        Self {
            shards,
            retention_hours: 24,
            pace: None,
            records,
            starts,
            behind_ms: arrivals.iter().map(|at| last - at).collect(),
        }
    }

    /// One that says that it keeps records so long, in place of a day.
    #[must_use]
    pub fn keeping_hours(self, retention_hours: u32) -> Self {
        Self { retention_hours, ..self }
    }

    /// One whose records come at this rate in each shard, from now on.
    #[must_use]
    pub fn paced(self, per_second: f64) -> Self {
        Self { pace: Some((per_second, Instant::now())), ..self }
    }

    /// How many records a shard holds.
    pub fn len(&self) -> usize {
        self.behind_ms.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.behind_ms.is_empty()
    }

    /// Answers a request.
    pub fn answer(&self, call: &Call) -> Reply {
        let asked = call.json();
        match call.operation.as_str() {
            "DescribeStreamSummary" => Reply::json(&json!({ "StreamDescriptionSummary": {
                "StreamName": "w1",
                "StreamARN": format!("arn:aws:kinesis:{}:{}:stream/w1", aws::REGION, super::dynamodb::ACCOUNT),
                "StreamStatus": "ACTIVE",
                "RetentionPeriodHours": self.retention_hours,
                "StreamCreationTimestamp": 1_700_000_000,
                "EnhancedMonitoring": [],
                "OpenShardCount": self.shards,
            } })),
            "ListShards" => {
                Reply::json(&json!({ "Shards": (0..self.shards).map(|n| self.shard(n)).collect::<Vec<_>>() }))
            }
            "GetShardIterator" => {
                let from = asked["StartingSequenceNumber"].as_str().and_then(|n| n.parse::<usize>().ok()).unwrap_or(1);
                Reply::json(&json!({ "ShardIterator": (from - 1).to_string() }))
            }
            "GetRecords" => self.page(&asked),
            other => Reply::error("UnknownOperationException", other),
        }
    }

    fn shard(&self, n: usize) -> Value {
        let mut range = json!({ "StartingSequenceNumber": "1" });
        if self.pace.is_none() {
            range["EndingSequenceNumber"] = json!("9");
        }
        json!({
            "ShardId": format!("shardId-{n:012}"),
            "HashKeyRange": { "StartingHashKey": "0", "EndingHashKey": "0" },
            "SequenceNumberRange": range,
        })
    }

    fn page(&self, asked: &Value) -> Reply {
        let from = asked["ShardIterator"].as_str().and_then(|n| n.parse().ok()).unwrap_or(self.len());
        let most = asked["Limit"].as_u64().map_or(RECORDS_MAX, |n| n as usize);
        let come = self.pace.map(|(rate, since)| (since.elapsed().as_secs_f64() * rate) as usize);
        let there = come.map_or(self.len(), |come| come.min(self.len()));
        let to = (from + most).min(there).max(from);
        let records = self.records[self.starts[from]..self.starts[to]].trim_end_matches(',');
        let behind = to.checked_sub(1).map_or(0, |last| self.behind_ms[last]);
        let behind = if to == there { 0 } else { behind };
        let next =
            if come.is_some() || to < self.len() { format!(r#","NextShardIterator":"{to}""#) } else { String::new() };
        Reply::ok(format!(r#"{{"Records":[{records}],"MillisBehindLatest":{behind}{next}}}"#))
    }
}
