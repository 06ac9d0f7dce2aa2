//! What only a fuller stand-in can say: shards that are doubled and halved at once, how far behind an answer is, and
//! enhanced fan-out, in which the service pushes.
//!
//! Not here: volume, and everything that kinesalite can do as well (`kinesis_source`, `kinesis_reshard`).

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::ScalingType;
use plimsoll::source::kinesis::{KinesisOptions, KinesisSource};
use plimsoll::source::{LaneInfo, Next, Position, Source, SourceError};
use plimsoll_core::wire::frame;
use plimsoll_tests::aws::{self, Retries};
use plimsoll_tests::place::{GOOD, LIMIT, Place};
use plimsoll_tests::process::Host;
use plimsoll_tests::server::Kinesis;
use plimsoll_tests::streams::{active, create, fresh, put};
use std::time::{Duration, Instant};

const NOBODY: &str = "http://127.0.0.1:9";
/// How long a lane may take to give what is there: a stand-in that pushes does so once a second.
const READ_MAX: Duration = Duration::from_secs(60);

async fn resize(client: &Client, stream: &str, shards: i32) {
    let request = client.update_shard_count().stream_name(stream).target_shard_count(shards);
    request.scaling_type(ScalingType::UniformScaling).send().await.expect("the number of shards is changed");
    active(client, stream).await;
}

fn good(n: usize) -> impl Iterator<Item = Vec<u8>> {
    std::iter::repeat_n(GOOD.as_bytes().to_vec(), n)
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_that_are_doubled_and_halved_lose_nothing() {
    let (place, server) = (Place::new(), Kinesis::start_full().expect("a Kinesis"));
    let client = aws::kinesis(server.url(), Retries::Sdk).await;
    for consumer in ["", "--consumer counter"] {
        let stream = fresh("resized");
        create(&client, &stream, 2).await;
        let line = format!(
            "run --policy policy.toml --kinesis {stream} --sqlite counts.db --generation g{} {consumer} --flush-interval 100ms",
            consumer.len()
        );
        let host = |line: &str| -> Host { place.command(line).aws(server.url(), NOBODY) };
        let rows = format!("rows --policy policy.toml --sqlite counts.db --generation g{}", consumer.len());
        let counted = || -> Option<i64> {
            let rows = host(&rows).run(LIMIT).expect("it ends").expect(0).ok()?;
            let events =
                |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("a row")["events"].as_i64();
            Some(rows.text().expect("text").lines().map(|line| events(line).expect("a count")).sum())
        };
        // One host sees all of it happen; another one finds it done.
        let mut running = host(&line).spawn().expect("the host starts");
        put(&client, &stream, good(100)).await;
        running.until("hundred are counted", LIMIT, |_| counted().filter(|n| *n == 100)).expect("they are");
        resize(&client, &stream, 4).await;
        put(&client, &stream, good(100)).await;
        running.until("two hundred are counted", LIMIT, |_| counted().filter(|n| *n == 200)).expect("they are");
        running.kill();
        resize(&client, &stream, 2).await;
        put(&client, &stream, good(100)).await;
        let mut again = host(&line).spawn().expect("the host starts");
        again.until("three hundred are counted", LIMIT, |_| counted().filter(|n| *n == 300)).expect("they are");
        again.kill();
    }
}

/// Records of a lane from a position on, until there are so many and then nothing, or it has ended.
async fn read(
    source: &KinesisSource,
    lane: &LaneInfo,
    from: Option<&Position>,
    enough: usize,
) -> Vec<(String, String)> {
    let mut reader = source.open(lane, from).await.unwrap_or_else(|error| panic!("{}: {error}", lane.name));
    let (mut records, deadline) = (Vec::new(), Instant::now() + READ_MAX);
    loop {
        assert!(Instant::now() < deadline, "{}: only {} of {enough} records came", lane.name, records.len());
        let chunk = match reader.next(20).await {
            Ok(Next::Chunk(chunk)) => chunk,
            Err(SourceError::Passing(_)) => continue,
            Ok(Next::Idle) if records.len() < enough => continue,
            Ok(Next::Idle | Next::End) => return records,
            Err(error) => panic!("{}: {error}", lane.name),
        };
        let mut at = 0;
        while at < chunk.frames.len() {
            let f = frame::read(&chunk.frames, at).expect("a frame");
            let text = String::from_utf8(chunk.frames[f.from..f.to].to_vec()).expect("text");
            records.push((chunk.places.find(f.ordinal).expect("a position").0, text));
            at = f.to;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_is_what_is_polled() {
    let server = Kinesis::start_full().expect("a Kinesis");
    let client = aws::kinesis(server.url(), Retries::Sdk).await;
    let stream = fresh("pushed");
    create(&client, &stream, 2).await;
    put(&client, &stream, (0..80).map(|n| format!("{{\"n\":{n}}}").into_bytes())).await;
    resize(&client, &stream, 4).await;
    put(&client, &stream, (80..120).map(|n| format!("[{{\"n\":{n}}},{{\"m\":{n}}}]").into_bytes())).await;
    let source = |consumer: Option<&str>| {
        let mut options = KinesisOptions::default();
        (options.poll_min, options.poll_max) = (Duration::from_millis(10), Duration::from_millis(40));
        options.consumer = consumer.map(str::to_owned);
        KinesisSource::look(client.clone(), &stream, aws::REGION, options)
    };
    let polled = source(None).await.expect("a source");
    // Registered by the first, found by the second.
    source(Some("reader")).await.expect("a source");
    let pushed = source(Some("reader")).await.expect("a source");
    let mut counts = Vec::new();
    for lane in polled.lanes().await.expect("lanes") {
        let expected = read(&polled, &lane, None, 0).await;
        assert_eq!(read(&pushed, &lane, None, expected.len()).await, expected, "{}", lane.name);
        let (before, rest) = expected.split_at(expected.len() / 2);
        let middle = Position(before.last().expect("some records in each shard").0.clone());
        assert_eq!(read(&pushed, &lane, Some(&middle), rest.len()).await, rest, "{} after {middle:?}", lane.name);
        counts.push(expected.len());
    }
    assert_eq!((counts.len(), counts.iter().sum::<usize>()), (6, 80 + 2 * 40), "{counts:?}");
}
