//! Kinesis data streams as a source: each shard of the stream is a lane, read by polling GetRecords.
//!
//! ```text
//! lane id    kinesis:<stream ARN>:<creation time of the stream, ms>:<shard id>
//! position   <sequence number, padded with zeros to 60 digits>/<number of the event in its record, from 0>, see `page`
//! ```
//! Invariants
//! - A lane's id outlives restarts and never names other data: a stream made again under the same name has another
//!   creation time, and the ARN stands in the id whether the stream was given by name or by ARN.
//! - One source reads one incarnation of a stream: one that is made again meanwhile is another stream, and refused.
//! - A shard that has a parent among the listed shards, or that was not there at the first look, is read from its
//!   first record even where the start is `latest`: what producers put there came after the start. So is every shard
//!   without a head, once any lane has one.
//! - A shard names both of its parents (`LaneInfo::parents`), listed or not.
//!
//! Not here: reading one shard (`reader`; `poll` and `fanout` ask for it), putting records (`put`), what the service's errors mean (`trouble`), records
//! made into frames (`page`), what is packed into them (`payload`, `kpl`), who waits for whom (`driver`).

mod fanout;
mod kpl;
mod page;
mod payload;
mod poll;
pub mod put;
mod reader;
mod shards;
mod trouble;

pub use payload::{EVENTS_MAX, INFLATE_RATIO_MAX, INFLATED_BYTES_MAX, INFLATED_FREE};

use super::{LaneInfo, LaneReader, Next, Position, Source, SourceError, Unlisted};
use crate::{aws, clock};
use async_trait::async_trait;
use aws_sdk_kinesis::types::{Shard, StreamDescriptionSummary, StreamStatus};
use aws_sdk_kinesis::{Client, config};
use plimsoll_core::decode::parse_rfc3339;
use plimsoll_core::time::TimeDelta;
use reader::{Reader, Setting};
use shards::Looks;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use trouble::{Call, Trouble};

/// Where a lane begins that has no position yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Start {
    /// The oldest record that the stream still holds.
    #[default]
    TrimHorizon,
    /// Records put from the very first start on. A later run goes on where that one was, and reads what it had not begun
    /// with from its first record.
    Latest,
    /// Records that arrived at or after this time, in ms since the epoch. It must not lie in the future.
    At(i64),
}

impl Start {
    /// Reads `trim-horizon`, `latest`, or `at:` and an RFC 3339 time.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "trim-horizon" => Ok(Self::TrimHorizon),
            "latest" => Ok(Self::Latest),
            _ => {
                let Some(time) = text.strip_prefix("at:") else {
                    return Err(format!("expected `trim-horizon`, `latest` or `at:TIME`, found `{text}`"));
                };
                let ms = parse_rfc3339(time.as_bytes());
                ms.map(Self::At).ok_or_else(|| {
                    format!("`{time}` is no RFC 3339 time with its offset; write it like `at:2026-11-23T10:00:00Z`")
                })
            }
        }
    }
}

/// How a stream is read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KinesisOptions {
    /// Where lanes without a position begin. Default: the trim horizon.
    pub start: Start,
    /// Least time between two calls for one shard. Default 200 ms: the service allows five calls a second.
    pub poll_min: Duration,
    /// Most time between two calls for a shard that gives nothing. Default 1 s.
    pub poll_max: Duration,
    /// Records asked for in one call, 1 to 10,000. Default 10,000, the service's most.
    pub records_per_call: i32,
    /// Payload bytes that a shard gives in a second; after a large answer the next call waits until it may be made.
    /// Default 2 MiB, the service's most.
    pub bytes_per_second: u64,
    /// The name of the consumer that reads by enhanced fan-out, registered if it is missing. Default: none, polling.
    pub consumer: Option<String>,
}

impl Default for KinesisOptions {
    fn default() -> Self {
        Self {
            start: Start::default(),
            poll_min: Duration::from_millis(200),
            poll_max: Duration::from_secs(1),
            records_per_call: 10_000,
            bytes_per_second: 2 << 20,
            consumer: None,
        }
    }
}

impl KinesisOptions {
    /// How long a shard takes to give so many bytes.
    fn time_of(&self, bytes: usize) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.bytes_per_second.max(1) as f64)
    }
}

/// So often the stream is looked at before its service is said to give no answer: one lost reply ends no run.
const FIRST_LOOKS: u32 = 4;
/// Then twice that, and so on.
const FIRST_LOOK_WAIT: Duration = Duration::from_millis(200);

/// By how much two clocks may differ: signed requests allow no more. Where a reader has to begin again by time, it begins so
/// much earlier: a few records too many rather than a gap.
const SKEW_MAX_MS: i64 = 5 * 60_000;

/// What the stream is called, by whom, and where.
#[derive(Debug)]
struct Stream {
    /// As the user wrote it: a name or an ARN.
    given: String,
    region: String,
}

impl Stream {
    /// For requests. Not every stand-in takes an ARN, so it is passed only where one was given.
    fn by_name(&self) -> Option<String> {
        (!self.given.starts_with("arn:")).then(|| self.given.clone())
    }

    fn by_arn(&self) -> Option<String> {
        self.given.starts_with("arn:").then(|| self.given.clone())
    }

    fn name(&self) -> &str {
        self.given.rsplit('/').next().expect("a split has at least one part")
    }

    fn call(&self, action: &'static str) -> Call<'_> {
        Call { action, stream: &self.given, region: &self.region }
    }
}

/// The region in `arn:aws:kinesis:<region>:<account>:stream/<name>`.
fn region_of_arn(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(6, ':');
    let service = parts.nth(2)?;
    let region = parts.next()?;
    let resource = parts.nth(1)?;
    let name = resource.strip_prefix("stream/")?;
    (service == "kinesis" && !region.is_empty() && !name.is_empty() && !name.contains('/')).then_some(region)
}

/// A client for a stream given by its name or ARN, and the region it speaks to.
async fn client(stream: &str) -> Result<(Client, String), SourceError> {
    let shared = aws::config().await;
    let mut config = config::Builder::from(&shared);
    let region = if stream.starts_with("arn:") {
        let Some(region) = region_of_arn(stream) else {
            return Err(SourceError::Refused(format!(
                "`{stream}` is no ARN of a Kinesis stream; expected arn:aws:kinesis:REGION:ACCOUNT:stream/NAME, or the name alone"
            )));
        };
        config.set_region(Some(config::Region::new(region.to_owned())));
        region.to_owned()
    } else if let Some(region) = shared.region() {
        region.as_ref().to_owned()
    } else {
        return Err(SourceError::Refused(format!(
            "kinesis {stream}: no region is known; set AWS_REGION, name a region in the AWS profile, or give the stream's ARN"
        )));
    };
    Ok((Client::from_conf(config.build()), region))
}

/// A Kinesis stream.
#[derive(Debug)]
pub struct KinesisSource {
    client: Client,
    stream: Arc<Stream>,
    options: KinesisOptions,
    looks: Arc<Mutex<Looks>>,
    /// What the first look has found.
    found: OnceLock<Found>,
    /// The consumer of enhanced fan-out, by its ARN.
    consumer: Option<Arc<str>>,
}

/// Which stream it is behind the name.
#[derive(Debug)]
struct Found {
    arn: String,
    created_ms: i64,
    keeps: TimeDelta,
}

impl Found {
    /// The lanes' ids, up to their shards'.
    fn prefix(&self) -> String {
        format!("kinesis:{}:{}:", self.arn, self.created_ms)
    }
}

impl KinesisSource {
    /// Finds the stream by its name or ARN, with credentials and region from the environment, and looks at its shards.
    ///
    /// # Errors
    /// `Refused` if there is no such stream or it may not be read, `Passing` if the service does not answer now.
    pub async fn connect(stream: &str, options: KinesisOptions) -> Result<Self, SourceError> {
        if let Start::At(ms) = options.start
            && ms > clock::now_ms()
        {
            return Err(SourceError::Refused(format!(
                "kinesis {stream}: the start lies in the future; use `latest`, or a time before now"
            )));
        }
        let (client, region) = client(stream).await?;
        Self::look(client, stream, &region, options).await
    }

    /// Looks at the stream for the first time, through a client of the caller's.
    ///
    /// # Errors
    /// As [`KinesisSource::connect`].
    pub async fn look(
        client: Client,
        stream: &str,
        region: &str,
        options: KinesisOptions,
    ) -> Result<Self, SourceError> {
        let stream = Arc::new(Stream { given: stream.to_owned(), region: region.to_owned() });
        let looks = Arc::new(Mutex::new(Looks::default()));
        let mut source = Self { client, stream, options, looks, found: OnceLock::new(), consumer: None };
        let mut wait = FIRST_LOOK_WAIT;
        for left in (0..FIRST_LOOKS).rev() {
            match source.begin().await {
                Err(SourceError::Passing(why)) if left > 0 => {
                    tracing::warn!(%why, "the stream cannot be looked at now; trying again")
                }
                begun => return begun.map(|()| source),
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        unreachable!("the last look is final")
    }

    /// The first look.
    async fn begin(&mut self) -> Result<(), SourceError> {
        self.lanes().await?;
        if let (Some(name), Some(found)) = (&self.options.consumer, self.found.get()) {
            self.consumer = Some(fanout::consumer(&self.client, &self.stream, &found.arn, name).await?);
        }
        Ok(())
    }

    /// Asked at each look: a stream may be deleted and made again while it is being read.
    async fn describe_stream(&self) -> Result<StreamDescriptionSummary, SourceError> {
        let call = self.stream.call("DescribeStreamSummary");
        let request = self.client.describe_stream_summary();
        let request = request.set_stream_name(self.stream.by_name()).set_stream_arn(self.stream.by_arn());
        let answer = request.send().await.map_err(|e| Trouble::of(&call, &e).into_source())?;
        let summary = answer.stream_description_summary;
        let summary = summary.ok_or_else(|| SourceError::Passing(format!("{call}: the answer is empty")))?;
        match summary.stream_status {
            StreamStatus::Creating => Err(SourceError::Passing(format!("{call}: the stream is still being made"))),
            StreamStatus::Deleting => Err(SourceError::Refused(format!(
                "{call}: the stream is being deleted; name a stream that stays, or wait and make it again"
            ))),
            _ => Ok(summary),
        }
    }

    async fn list_shards(&self) -> Result<Vec<Shard>, SourceError> {
        let call = self.stream.call("ListShards");
        let mut shards = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let request = self.client.list_shards();
            // The service refuses a token together with a stream.
            let request = match token.take() {
                Some(token) => request.next_token(token),
                None => request.set_stream_name(self.stream.by_name()).set_stream_arn(self.stream.by_arn()),
            };
            let answer = request.send().await.map_err(|e| Trouble::of(&call, &e).into_source())?;
            shards.extend(answer.shards.unwrap_or_default());
            token = answer.next_token;
            if token.is_none() {
                return Ok(shards);
            }
        }
    }

    fn looks(&self) -> std::sync::MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Source for KinesisSource {
    fn describe(&self) -> String {
        format!("kinesis {} ({})", self.stream.name(), self.stream.region)
    }

    fn carries_arrival(&self) -> bool {
        true
    }

    fn resumable(&self) -> bool {
        true
    }

    fn finite(&self) -> bool {
        false
    }

    async fn lanes(&self) -> Result<Vec<LaneInfo>, SourceError> {
        let summary = self.describe_stream().await?;
        let shards = self.list_shards().await?;
        let now = Found {
            arn: if summary.stream_arn.is_empty() { self.stream.name().to_owned() } else { summary.stream_arn },
            created_ms: page::millis(&summary.stream_creation_timestamp),
            keeps: TimeDelta::from_secs(i64::from(summary.retention_period_hours) * 3_600),
        };
        let found = self.found.get_or_init(|| now);
        let created_ms = page::millis(&summary.stream_creation_timestamp);
        if found.created_ms != created_ms {
            return Err(SourceError::Refused(self.made_again(found.created_ms, created_ms)));
        }
        let prefix = found.prefix();
        let lanes = shards::lanes(&prefix, self.stream.name(), &shards);
        self.looks().see(&prefix, &lanes, &shards);
        Ok(lanes)
    }

    async fn open(&self, lane: &LaneInfo, from: Option<&Position>) -> Result<Box<dyn LaneReader>, SourceError> {
        let Some(begin) = self.looks().begin(&lane.id, self.options.start) else {
            return Err(SourceError::Gap(self.not_listed(&lane.id)));
        };
        let setting = self.setting(lane).ok_or_else(|| SourceError::Gap(self.not_listed(&lane.id)))?;
        Ok(Box::new(Reader::open(setting, begin, from).await?))
    }

    async fn open_past_gap(
        &self,
        lane: &LaneInfo,
        from: Option<&Position>,
    ) -> Result<Box<dyn LaneReader>, SourceError> {
        match self.setting(lane) {
            Some(setting) => Ok(Box::new(Reader::past(setting, from).await?)),
            None => Ok(Box::new(Nothing)),
        }
    }

    fn unlisted(&self, lane: &str) -> Unlisted {
        let Some(found) = self.found.get() else { return Unlisted::Foreign };
        let Some((stream, created_ms)) = shards::stream_of(lane) else { return Unlisted::Foreign };
        if stream != format!("kinesis:{}", found.arn) {
            return Unlisted::Foreign;
        }
        if created_ms == found.created_ms {
            return Unlisted::Gone(shards::lane(self.stream.name(), lane), self.not_listed(lane));
        }
        Unlisted::Replaced(self.made_again(created_ms, found.created_ms))
    }

    fn began(&self, lanes: &[(String, i64)]) {
        let Some(found) = self.found.get() else { return };
        let prefix = found.prefix();
        let ours = lanes.iter().filter(|(lane, _)| lane.starts_with(&prefix)).cloned();
        self.looks().began(ours);
    }

    fn keeps(&self) -> Option<TimeDelta> {
        self.found.get().map(|found| found.keeps)
    }
}

impl KinesisSource {
    /// How a listed lane is read.
    fn setting(&self, lane: &LaneInfo) -> Option<Setting> {
        let hash_keys = self.looks().hash_keys(&lane.id)?;
        Some(Setting {
            client: self.client.clone(),
            stream: Arc::clone(&self.stream),
            lane: lane.id.clone(),
            shard: shards::shard_of(&lane.id).to_owned(),
            looks: Arc::clone(&self.looks),
            hash_keys,
            keeps_ms: self.found.get()?.keeps.as_millis(),
            consumer: self.consumer.clone(),
            options: self.options.clone(),
        })
    }

    fn not_listed(&self, lane: &str) -> String {
        format!(
            "lane {lane} is not in the shard list of stream {} ({}): its shard was closed and has passed the stream's retention; what was not read of it is lost",
            self.stream.given, self.stream.region
        )
    }

    fn made_again(&self, counted_ms: i64, found_ms: i64) -> String {
        format!(
            "kinesis {} ({}): the stream was deleted and made again: lanes of the one that was made at {counted_ms} ms (since 1970) were counted, and this one was made at {found_ms} ms; its records are others and its positions too, so count it under a new --generation",
            self.stream.given, self.stream.region
        )
    }
}

/// What is left of a shard that is not listed any more.
struct Nothing;

#[async_trait]
impl LaneReader for Nothing {
    async fn next(&mut self, _bytes: usize) -> Result<Next, SourceError> {
        Ok(Next::End)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_read_and_refused() {
        assert_eq!(Start::parse("trim-horizon"), Ok(Start::TrimHorizon));
        assert_eq!(Start::parse("latest"), Ok(Start::Latest));
        assert_eq!(Start::parse("at:1970-01-01T00:00:01.5Z"), Ok(Start::At(1_500)));
        for bad in ["", "TRIM_HORIZON", "at:", "at:yesterday", "at:2026-11-23", "2026-11-23T10:00:00Z"] {
            let why = Start::parse(bad).unwrap_err();
            assert!(why.contains("at:"), "{bad}: {why}");
        }
    }

    #[test]
    fn arns_name_their_region_and_stream() {
        let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/impressions";
        assert_eq!(region_of_arn(arn), Some("eu-west-1"));
        let stream = Stream { given: arn.into(), region: "eu-west-1".into() };
        assert_eq!((stream.name(), stream.by_name(), stream.by_arn()), ("impressions", None, Some(arn.into())));
        for bad in [
            "arn:",
            "arn:aws:kinesis:eu-west-1:123456789012:stream/",
            "arn:aws:kinesis::123456789012:stream/a",
            "arn:aws:sqs:eu-west-1:123456789012:a",
            "arn:aws:kinesis:eu-west-1:123456789012:stream/a/consumer/b:1",
        ] {
            assert_eq!(region_of_arn(bad), None, "{bad}");
        }
    }
}
