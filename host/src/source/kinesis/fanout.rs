//! Has a shard's records pushed: enhanced fan-out, two megabytes a second for this consumer alone.
//!
//! ```text
//! consumer --RegisterStreamConsumer--> ACTIVE
//! place --SubscribeToShard--> events for five minutes --> again, after the last event's continuation
//! ```
//! Invariants
//! - A subscription that ends, breaks or falls silent is replaced by one that goes on behind what it gave.
//! - A consumer that is missing is registered; it is never deregistered, since others may read by its name.
//!
//! Not here: what is done with answers (`reader`). Two hosts that read by one consumer push each other out, which loses
//! nothing; hosts that are to read side by side take a name each.

use super::poll::{Answer, Fetched, From};
use super::reader::Setting;
use super::trouble::Trouble;
use super::{Start, Stream};
use crate::source::SourceError;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::primitives::event_stream::EventReceiver;
use aws_sdk_kinesis::types::error::SubscribeToShardEventStreamError;
use aws_sdk_kinesis::types::{ConsumerStatus, ShardIteratorType, StartingPosition, SubscribeToShardEventStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long one look waits for an event: the driver is to be stopped in between.
const WAIT: Duration = Duration::from_secs(1);
/// The service says something every five seconds, records or not; after so long a subscription is taken for dead.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long a new consumer may take to become active.
const ACTIVE_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(500);

type Events = EventReceiver<SubscribeToShardEventStream, SubscribeToShardEventStreamError>;

/// A subscription, once there is one.
#[derive(Debug)]
pub(super) struct Fanout {
    consumer: Arc<str>,
    events: Option<Events>,
    /// Where the last event ended.
    continuation: Option<String>,
    heard: Instant,
}

impl Fanout {
    /// For a consumer, by its ARN.
    pub(super) fn new(consumer: Arc<str>) -> Self {
        Self { consumer, events: None, continuation: None, heard: Instant::now() }
    }

    pub(super) fn placed(&self) -> bool {
        self.events.is_some()
    }

    pub(super) fn forget(&mut self) {
        (self.events, self.continuation) = (None, None);
    }

    /// Subscribes. `true`: it goes on behind what it gave; `false`: a record at which it begins comes first.
    pub(super) async fn place(&mut self, setting: &Setting, from: &From<'_>) -> Result<bool, Trouble> {
        let Setting { client, stream, shard, .. } = setting;
        let call = stream.call("SubscribeToShard");
        let at = StartingPosition::builder();
        let at = match (&self.continuation, from) {
            (Some(after), _) => at.r#type(ShardIteratorType::AfterSequenceNumber).sequence_number(after),
            (None, From::Record(sequence)) => at.r#type(ShardIteratorType::AtSequenceNumber).sequence_number(*sequence),
            (None, From::Start(Start::TrimHorizon)) => at.r#type(ShardIteratorType::TrimHorizon),
            (None, From::Start(Start::Latest)) => at.r#type(ShardIteratorType::Latest),
            (None, From::Start(Start::At(ms))) => {
                at.r#type(ShardIteratorType::AtTimestamp).timestamp(DateTime::from_millis(*ms))
            }
        };
        let at = at.build().expect("its type was given");
        let request = client.subscribe_to_shard().consumer_arn(&*self.consumer).shard_id(shard).starting_position(at);
        let answer = request.send().await.map_err(|e| Trouble::of(&call, &e))?;
        (self.events, self.heard) = (Some(answer.event_stream), Instant::now());
        Ok(self.continuation.is_some())
    }

    /// Waits a moment for the next event.
    pub(super) async fn fetch(&mut self, setting: &Setting) -> Result<Fetched, Trouble> {
        let events = self.events.as_mut().expect("placed before it is asked");
        let event = match tokio::time::timeout(WAIT, events.recv()).await {
            Err(_) if self.heard.elapsed() < SILENCE_MAX => return Ok(Fetched::Silence),
            Err(_) => {
                self.events = None;
                return Ok(Fetched::Lost(format!("no event of shard {} for {SILENCE_MAX:?}", setting.shard)));
            }
            Ok(Ok(Some(SubscribeToShardEventStream::SubscribeToShardEvent(event)))) => event,
            // An event of a kind that is not known here says nothing of records.
            Ok(Ok(Some(_))) => return Ok(Fetched::Silence),
            Ok(Ok(None)) => {
                self.events = None;
                return Ok(Fetched::Lost(format!("the subscription to shard {} has ended", setting.shard)));
            }
            Ok(Err(error)) => {
                self.events = None;
                return Err(Trouble::of_event(&setting.stream.call("SubscribeToShard"), &error));
            }
        };
        self.heard = Instant::now();
        let ended = event.continuation_sequence_number.is_empty() || !event.child_shards().is_empty();
        self.continuation = Some(event.continuation_sequence_number).filter(|after| !after.is_empty());
        let behind_ms = u64::try_from(event.millis_behind_latest).ok();
        Ok(Fetched::Answer(Answer { records: event.records, behind_ms, ended }))
    }
}

/// The ARN of a stream's consumer, which is registered if it is not there.
pub(super) async fn consumer(client: &Client, stream: &Stream, arn: &str, name: &str) -> Result<Arc<str>, SourceError> {
    let register = stream.call("RegisterStreamConsumer");
    match client.register_stream_consumer().stream_arn(arn).consumer_name(name).send().await {
        Ok(_) => tracing::info!(stream = stream.given, consumer = name, "the consumer was registered"),
        // It is there; what else that may mean, the look says.
        Err(e) if e.as_service_error().is_some_and(|e| e.is_resource_in_use_exception()) => {}
        Err(e) => return Err(Trouble::of(&register, &e).into_source()),
    }
    let describe = stream.call("DescribeStreamConsumer");
    let began = Instant::now();
    loop {
        let answer = client.describe_stream_consumer().stream_arn(arn).consumer_name(name).send().await;
        let answer = answer.map_err(|e| Trouble::of(&describe, &e).into_source())?;
        match answer.consumer_description {
            Some(found) if found.consumer_status == ConsumerStatus::Active => return Ok(found.consumer_arn.into()),
            _ if began.elapsed() > ACTIVE_MAX => {
                let why = format!("{describe}: consumer {name} is not active after {ACTIVE_MAX:?}");
                return Err(SourceError::Passing(why));
            }
            _ => tokio::time::sleep(POLL).await,
        }
    }
}
