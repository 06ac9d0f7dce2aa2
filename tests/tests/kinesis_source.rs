//! The Kinesis source gives every record of every shard once and in order, through resharding, restarts and faults.
//!
//! Not here: what is counted from the records (the tests of whole runs), the stand-in itself (`emulators`).

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use plimsoll::source::generator::Devices;
use plimsoll::source::kinesis::{KinesisOptions, KinesisSource, Start, put};
use plimsoll::source::{LaneInfo, Next, Position, Source, SourceError, Unlisted};
use plimsoll_core::wire::frame;
use plimsoll_tests::aws::{self, Retries};
use plimsoll_tests::proxy::{Fault, Proxy, Rule};
use plimsoll_tests::seed;
use plimsoll_tests::server::Kinesis;
use plimsoll_tests::streams::{create, delete, fresh, merge, split};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a lane may take to give what is there, faults included.
const READ_MAX: Duration = Duration::from_secs(60);

/// A record as it was put or read: its position and its payload.
type Put = (String, String);
/// Records by lane name.
type Lanes = BTreeMap<String, Vec<Put>>;

/// `3` of `shardId-000000000003`.
fn lane_name(stream: &str, shard: &str) -> String {
    let number: u32 = shard.strip_prefix("shardId-").and_then(|n| n.parse().ok()).expect("a shard id");
    format!("{stream}/{number}")
}

async fn put_text(client: &Client, stream: &str, key: &str, text: &str, to: &mut Lanes) {
    let request = client.put_record().stream_name(stream).partition_key(key).data(Blob::new(text));
    let answer = request.send().await.expect("a record is put");
    let position = format!("{:0>60}/0", answer.sequence_number());
    to.entry(lane_name(stream, answer.shard_id())).or_default().push((position, text.to_owned()));
}

/// Puts the numbers `from..to` as text, with keys that spread over the shards.
async fn put_numbers(client: &Client, stream: &str, from: u64, to: u64, lanes: &mut Lanes) {
    for number in from..to {
        put_text(client, stream, &format!("device-{}", number % 97), &number.to_string(), lanes).await;
    }
}

fn options(start: Start) -> KinesisOptions {
    let mut options = KinesisOptions::default();
    options.start = start;
    // Stand-ins allow more calls than five a second.
    options.poll_min = Duration::from_millis(10);
    options.poll_max = Duration::from_millis(40);
    options.records_per_call = 100;
    options
}

async fn look(url: &str, stream: &str, start: Start) -> Result<KinesisSource, SourceError> {
    let client = aws::kinesis(url, Retries::None).await;
    KinesisSource::look(client, stream, aws::REGION, options(start)).await
}

/// How a reading came to its stop.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    Idle,
    End,
}

struct Reading {
    records: Vec<Put>,
    /// Ends of the chunks, with the number of records up to there.
    ends: Vec<(Position, usize)>,
    stop: Stop,
    troubles: usize,
}

/// Reads a lane as the driver does, until it has given `enough` records and then nothing, or has ended.
async fn read(
    source: &KinesisSource,
    lane: &LaneInfo,
    from: Option<&Position>,
    bytes: usize,
    enough: usize,
) -> Reading {
    let (mut records, mut ends, mut troubles) = (Vec::new(), Vec::new(), 0);
    let mut ordinal = None;
    let deadline = Instant::now() + READ_MAX;
    let mut reader = loop {
        match source.open(lane, from).await {
            Ok(reader) => break reader,
            Err(SourceError::Passing(_)) => troubles += 1,
            Err(error) => panic!("{}: {error}", lane.name),
        }
        assert!(Instant::now() < deadline, "{} cannot be opened", lane.name);
    };
    let stop = loop {
        assert!(Instant::now() < deadline, "{}: only {} of {enough} records came", lane.name, records.len());
        let chunk = match reader.next(bytes).await {
            Ok(Next::Chunk(chunk)) => chunk,
            Ok(Next::Idle) if records.len() >= enough => break Stop::Idle,
            Ok(Next::Idle) => continue,
            Ok(Next::End) => break Stop::End,
            Err(SourceError::Passing(_)) => {
                troubles += 1;
                continue;
            }
            Err(error) => panic!("{}: {error}", lane.name),
        };
        let mut at = 0;
        let mut last = None;
        while at < chunk.frames.len() {
            let f = frame::read(&chunk.frames, at).expect("a frame");
            assert_eq!(f.kind, frame::Kind::Record);
            assert!(ordinal.is_none_or(|o| f.ordinal > o), "ordinals increase");
            let age_ms = now_ms() - f.arrival.expect("an arrival time").as_millis();
            assert!((-5_000..600_000).contains(&age_ms), "arrived {age_ms} ms ago");
            let text = String::from_utf8(chunk.frames[f.from..f.to].to_vec()).expect("text");
            let position = chunk.places.find(f.ordinal).expect("a position");
            records.push((position.0.clone(), text));
            (ordinal, last, at) = (Some(f.ordinal), Some(position), f.to);
        }
        assert_eq!(last.as_ref(), Some(&chunk.end), "a chunk ends with its last record");
        assert!(chunk.behind_ms.is_some());
        ends.push((chunk.end, records.len()));
    };
    Reading { records, ends, stop, troubles }
}

/// Reads all lanes to what was put.
async fn read_all(source: &KinesisSource, put: &Lanes) -> Lanes {
    let mut all = Lanes::new();
    for lane in source.lanes().await.expect("lanes") {
        let enough = put.get(&lane.name).map_or(0, Vec::len);
        let reading = read(source, &lane, None, 1_000, enough).await;
        if !reading.records.is_empty() {
            all.insert(lane.name, reading.records);
        }
    }
    all
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis().try_into().expect("a near year")
}

#[tokio::test]
async fn four_shards_give_every_record_once_in_order() {
    let server = Kinesis::start().expect("a Kinesis");
    let client = aws::kinesis(server.url(), Retries::Sdk).await;
    let stream = fresh("plimsoll-four");
    create(&client, &stream, 4).await;
    let mut put = Lanes::new();
    put_numbers(&client, &stream, 0, 1_000, &mut put).await;
    put_text(&client, &stream, "device-1", "", &mut put).await;
    put_numbers(&client, &stream, 1_000, 1_200, &mut put).await;
    let source = look(server.url(), &stream, Start::TrimHorizon).await.expect("a source");
    assert_eq!(source.describe(), format!("kinesis {stream} ({})", aws::REGION));
    let lanes = source.lanes().await.expect("lanes");
    assert_eq!(lanes.len(), 4);
    assert!(lanes.iter().all(|lane| lane.parents.is_empty()), "{lanes:?}");
    assert_eq!(lanes, look(server.url(), &stream, Start::Latest).await.expect("another").lanes().await.expect("lanes"));
    let got = read_all(&source, &put).await;
    assert_eq!(got.len(), 4);
    assert_eq!(got, put);
    // Made again, it is another stream: nothing of the old lanes may be taken for its own.
    delete(&client, &stream).await;
    create(&client, &stream, 4).await;
    let Err(SourceError::Refused(why)) = source.lanes().await else {
        panic!("the new stream is taken for the old one")
    };
    assert!(why.contains("made again") && why.contains("--generation"), "{why}");
    let again = look(server.url(), &stream, Start::TrimHorizon).await.expect("a source of the new one");
    let new = again.lanes().await.expect("lanes");
    assert!(new.iter().all(|lane| lanes.iter().all(|old| old.id != lane.id)), "{lanes:?} {new:?}");
    let Err(SourceError::Gap(why)) = again.open(&lanes[0], None).await.map(drop) else {
        panic!("an old lane is opened")
    };
    assert!(why.contains(&lanes[0].id), "{why}");
    assert!(matches!(again.unlisted(&lanes[0].id), Unlisted::Replaced(_)));
    let gone = new[0].id.replace("shardId-000000000000", "shardId-000000000077");
    assert!(matches!(again.unlisted(&gone), Unlisted::Gone(info, _) if info.name.ends_with("/77")));
    assert_eq!(again.unlisted("file:/data/events.ndjson"), Unlisted::Foreign);
}

#[tokio::test]
async fn every_chunks_end_is_a_place_to_go_on() {
    let server = Kinesis::start().expect("a Kinesis");
    let client = aws::kinesis(server.url(), Retries::Sdk).await;
    let stream = fresh("plimsoll-ends");
    create(&client, &stream, 1).await;
    let mut put = Lanes::new();
    put_numbers(&client, &stream, 0, 250, &mut put).await;
    let source = look(server.url(), &stream, Start::TrimHorizon).await.expect("a source");
    let lane = source.lanes().await.expect("lanes").remove(0);
    let put = &put[&lane.name];
    let whole = read(&source, &lane, None, 17, put.len()).await;
    assert_eq!((&whole.records, whole.stop), (put, Stop::Idle));
    assert!(whole.ends.len() > 40, "{} chunks", whole.ends.len());
    for (end, count) in &whole.ends {
        let rest = read(&source, &lane, Some(end), 10_000, put.len() - count).await;
        assert_eq!(rest.records, put[*count..], "after {count} records, at {end:?}");
    }
}

#[tokio::test]
async fn children_of_splits_and_merges_come_after_their_parents() {
    let server = Kinesis::start().expect("a Kinesis");
    let client = aws::kinesis(server.url(), Retries::Sdk).await;
    let stream = fresh("plimsoll-split");
    create(&client, &stream, 2).await;
    let mut put = Lanes::new();
    put_numbers(&client, &stream, 0, 200, &mut put).await;
    let latest = look(server.url(), &stream, Start::Latest).await.expect("a source");
    split(&client, &stream, 0, 1 << 126).await;
    put_numbers(&client, &stream, 200, 400, &mut put).await;
    merge(&client, &stream, [2, 3]).await;
    put_numbers(&client, &stream, 400, 600, &mut put).await;

    let source = look(server.url(), &stream, Start::TrimHorizon).await.expect("a source");
    let lanes = source.lanes().await.expect("lanes");
    let id = |number: usize| lanes[number].id.clone();
    let parents: Vec<Vec<String>> = lanes.iter().map(|lane| lane.parents.clone()).collect();
    assert_eq!(parents, [vec![], vec![], vec![id(0)], vec![id(0)], vec![id(2), id(3)]]);
    for (number, lane) in lanes.iter().enumerate() {
        let records = &put[&lane.name];
        let reading = read(&source, lane, None, 500, records.len()).await;
        assert_eq!(&reading.records, records, "{}", lane.name);
        let closed = [0, 2, 3].contains(&number);
        assert_eq!(reading.stop, if closed { Stop::End } else { Stop::Idle }, "{}", lane.name);
        // Opened again at its end, a closed shard has nothing but its end.
        if closed {
            let (end, _) = reading.ends.last().expect("chunks");
            let rest = read(&source, lane, Some(end), 500, 0).await;
            assert_eq!((rest.records, rest.stop), (vec![], Stop::End));
        }
    }
    // A source that began at the tip before: what is in the children came after its start.
    let lanes = latest.lanes().await.expect("lanes");
    for lane in &lanes[2..] {
        let reading = read(&latest, lane, None, 500, put[&lane.name].len()).await;
        assert_eq!(reading.records, put[&lane.name], "{}", lane.name);
    }
}

#[tokio::test]
async fn faults_lose_nothing_and_double_nothing() {
    let server = Kinesis::start().expect("a Kinesis");
    if !aws::is_loopback(server.url()) {
        println!("skipped: the fault proxy cannot stand before {}", server.url());
        return;
    }
    let client = aws::kinesis(server.url(), Retries::Sdk).await;
    let stream = fresh("plimsoll-faults");
    create(&client, &stream, 2).await;
    let mut put = Lanes::new();
    put_numbers(&client, &stream, 0, 2_500, &mut put).await;
    let faults = [Fault::LoseReply, Fault::LoseRequest, Fault::Throttle, Fault::ServerError, Fault::ExpireIterator];
    let mut rules: Vec<Rule> = faults.iter().map(|fault| Rule::on("GetRecords", *fault, 9)).collect();
    rules.push(Rule::on("GetShardIterator", Fault::Throttle, 3));
    let proxy = Proxy::start(server.url(), seed::seed("faulty source"), rules).expect("a proxy");
    let source = look(&proxy.url(), &stream, Start::TrimHorizon).await.expect("a source");
    let mut troubles = 0;
    for lane in source.lanes().await.expect("lanes") {
        let reading = read(&source, &lane, None, 700, put[&lane.name].len()).await;
        assert_eq!(reading.records, put[&lane.name], "{}", lane.name);
        troubles += reading.troubles;
    }
    for fault in faults {
        assert!(proxy.fired_times(fault) > 0, "{fault:?} did not happen: {:?}", proxy.fired());
    }
    assert!(troubles > 0, "the driver never heard of {:?}", proxy.fired());
}

#[tokio::test]
async fn what_brings_no_answer_is_asked_for_in_smaller_pieces() {
    let server = Kinesis::start().expect("a Kinesis");
    if !aws::is_loopback(server.url()) {
        println!("skipped: the fault proxy cannot stand before {}", server.url());
        return;
    }
    let client = aws::kinesis(server.url(), Retries::Sdk).await;
    let stream = fresh("plimsoll-pieces");
    create(&client, &stream, 1).await;
    let mut put = Lanes::new();
    put_numbers(&client, &stream, 0, 500, &mut put).await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let guard = move |target: &str, body: &[u8]| {
        if target.ends_with("GetRecords") {
            let body: serde_json::Value = serde_json::from_slice(body).expect("a request");
            seen.lock().unwrap().push(body["Limit"].as_u64().expect("a limit"));
        }
        true
    };
    let proxy = Proxy::guarded(server.url(), Box::new(guard)).expect("a proxy");
    proxy.set_rules(1, vec![Rule::on("GetRecords", Fault::LoseReply, 1)]);
    let client = aws::kinesis(&proxy.url(), Retries::None).await;
    let mut options = options(Start::TrimHorizon);
    options.records_per_call = 10_000;
    let source = KinesisSource::look(client, &stream, aws::REGION, options).await.expect("a source");
    let lane = source.lanes().await.expect("lanes").remove(0);
    let mut reader = source.open(&lane, None).await.expect("a reader");
    for _ in 0..10 {
        assert!(matches!(reader.next(1 << 20).await, Err(SourceError::Passing(_))));
    }
    proxy.set_rules(1, Vec::new());
    for _ in 0..10 {
        reader.next(1 << 20).await.expect("an answer");
    }
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked[..10], [10_000, 5_000, 2_500, 1_250, 625, 312, 156, 78, 50, 50], "half of it each time");
    assert_eq!(asked.last(), Some(&10_000), "and all of it again, once there are answers: {asked:?}");
}

#[tokio::test]
async fn a_start_at_the_tip_or_at_a_time_leaves_out_what_came_before() {
    let server = Kinesis::start().expect("a Kinesis");
    let client = aws::kinesis(server.url(), Retries::Sdk).await;
    let stream = fresh("plimsoll-start");
    create(&client, &stream, 1).await;
    let mut put = Lanes::new();
    put_numbers(&client, &stream, 0, 50, &mut put).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let between = now_ms();
    tokio::time::sleep(Duration::from_millis(50)).await;
    put_numbers(&client, &stream, 50, 80, &mut put).await;
    let source = look(server.url(), &stream, Start::Latest).await.expect("a source");
    let lane = source.lanes().await.expect("lanes").remove(0);
    let mut latest = source.open(&lane, None).await.expect("a reader");
    assert!(matches!(latest.next(1_000).await, Ok(Next::Idle)));
    put_numbers(&client, &stream, 80, 100, &mut put).await;
    let put = &put[&lane.name];
    let mut count = 0;
    while count < 20 {
        let Next::Chunk(chunk) = latest.next(1_000).await.expect("no trouble") else { continue };
        let first = chunk.places.find(count as u64).expect("a position");
        assert_eq!(first.0, put[80 + count].0);
        count += chunk.frames.len() / (frame::HEADER + 2);
    }
    assert_eq!(count, 20);
    let at = look(server.url(), &stream, Start::At(between)).await.expect("a source");
    assert_eq!(read(&at, &lane, None, 1_000, 50).await.records, put[50..]);
}

/// The sequence number of `position` and 2^36 more: in kinesalite's layout the same shard, one second later.
fn beside(position: &str) -> Position {
    let number = position.strip_suffix("/0").expect("a position");
    let (high, low) = number.split_at(30);
    let low: u128 = low.parse().expect("digits");
    Position(format!("{high}{:030}/0", low + (1 << 36)))
}

#[tokio::test]
async fn a_position_that_the_stream_no_longer_holds_is_a_gap() {
    let server = Kinesis::start().expect("a Kinesis");
    let client = aws::kinesis(server.url(), Retries::Sdk).await;
    let stream = fresh("plimsoll-gap");
    create(&client, &stream, 2).await;
    let mut put = Lanes::new();
    put_numbers(&client, &stream, 0, 40, &mut put).await;
    let source = look(server.url(), &stream, Start::TrimHorizon).await.expect("a source");
    let lanes = source.lanes().await.expect("lanes");
    let (lane, other) = (&lanes[0], &lanes[1]);
    let first = &put[&lane.name][0].0;
    // The service would go on with the next record it has, as if nothing had been between.
    let mut reader = source.open(lane, Some(&beside(first))).await.expect("a reader");
    for _ in 0..2 {
        let Err(SourceError::Gap(why)) = reader.next(1_000).await else { panic!("the gap is passed over") };
        assert!(why.contains(&lane.id) && why.contains("the oldest record there is now"), "{why}");
    }
    // Past it, nothing is given twice: what lies at or before the position is left out.
    let put_there = &put[&lane.name];
    let mut past = source.open_past_gap(lane, Some(&beside(first))).await.expect("a reader");
    let mut left = Vec::new();
    loop {
        match past.next(1_000).await.expect("no trouble") {
            Next::Chunk(chunk) => left.push(chunk.end),
            Next::Idle if left.is_empty() => {}
            _ => break,
        }
    }
    assert!(beside(first).0 < put_there[1].0, "the records were put within a second");
    assert_eq!(left.last().map(|end| &end.0), put_there.last().map(|(position, _)| position));
    // A position of another shard is none of this one.
    let strange = Position(put[&other.name][0].0.clone());
    let Err(SourceError::Gap(why)) = source.open(lane, Some(&strange)).await.map(drop) else { panic!("it is taken") };
    assert!(why.contains("InvalidArgumentException"), "{why}");
    let file = Position("events.ndjson:7".into());
    let Err(SourceError::Refused(why)) = source.open(lane, Some(&file)).await.map(drop) else { panic!("it is taken") };
    assert!(why.contains("events.ndjson:7"), "{why}");
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_the_mend() {
    let server = Kinesis::start().expect("a Kinesis");
    let missing = look(server.url(), "plimsoll-not-there", Start::TrimHorizon).await;
    let Err(SourceError::Refused(why)) = missing else { panic!("a stream that is not there is found") };
    for part in ["kinesis:DescribeStreamSummary", "plimsoll-not-there", aws::REGION, "ResourceNotFound", "AWS_REGION"] {
        assert!(why.contains(part), "`{part}` is not in: {why}");
    }
    // Nobody listens there: it may pass.
    let nobody = look("http://127.0.0.1:1", "plimsoll-not-there", Start::TrimHorizon).await;
    assert!(matches!(nobody, Err(SourceError::Passing(_))), "{nobody:?}");
    let future = Start::At(now_ms() + 3_600_000);
    for (stream, start, part) in [
        ("arn:aws:sqs:eu-west-1:123456789012:queue", Start::Latest, "arn:aws:kinesis:REGION"),
        ("impressions", future, "future"),
    ] {
        let refused = KinesisSource::connect(stream, options(start)).await;
        let Err(SourceError::Refused(why)) = refused else { panic!("{stream}, {start:?} is taken") };
        assert!(why.contains(part), "{why}");
    }
    if std::env::var_os("AWS_ACCESS_KEY_ID").is_some() {
        println!("not tried: a machine without credentials, since AWS_ACCESS_KEY_ID is set");
        return;
    }
    let nowhere = aws_config::environment::EnvironmentVariableCredentialsProvider::new();
    let client = aws::kinesis(server.url(), Retries::None).await;
    let client = Client::from_conf(client.config().to_builder().credentials_provider(nowhere).build());
    let refused = KinesisSource::look(client, "impressions", aws::REGION, options(Start::Latest)).await;
    let Err(SourceError::Refused(why)) = refused else { panic!("without credentials: {refused:?}") };
    assert!(why.contains("AWS_PROFILE") && why.contains("kinesis:DescribeStreamSummary"), "{why}");
}

#[tokio::test]
async fn a_position_that_was_quiet_until_lately_needs_no_record() {
    let server = Kinesis::start().expect("a Kinesis");
    let client = aws::kinesis(server.url(), Retries::Sdk).await;
    let stream = fresh("plimsoll-quiet");
    create(&client, &stream, 1).await;
    let mut put = Lanes::new();
    put_numbers(&client, &stream, 0, 20, &mut put).await;
    let source = look(server.url(), &stream, Start::TrimHorizon).await.expect("a source");
    assert_eq!(source.keeps().map(|keeps| keeps.as_millis()), Some(24 * 3_600_000));
    let lane = source.lanes().await.expect("lanes").remove(0);
    let put = &put[&lane.name];
    // A record that the stream does not hold, as one that was trimmed: what came after it is all there if there was nothing
    // for a long time, and not otherwise.
    let before = beside(&put[0].0);
    let marked = |ms_ago: i64| Position(format!("{}@{}", before.0, now_ms() - ms_ago));
    let following: Vec<Put> = put.iter().filter(|(position, _)| *position > before.0).cloned().collect();
    assert!(following.len() > 1, "the records were put within a second");
    let reading = read(&source, &lane, Some(&marked(23 * 3_600_000)), 1_000, following.len()).await;
    assert_eq!(reading.records, following);
    let mut late = source.open(&lane, Some(&marked(25 * 3_600_000))).await.expect("a reader");
    assert!(matches!(late.next(1_000).await, Err(SourceError::Gap(_))), "it may have been trimmed");

    // At the tip a position is marked once in a while, not with every look.
    let last = Position(put[19].0.clone());
    let mut fresh = source.open(&lane, Some(&last)).await.expect("a reader");
    while !matches!(fresh.next(1_000).await.expect("no trouble"), Next::Idle) {}
    assert_eq!(fresh.mark(), None, "its record has just arrived");
    let old = Position(format!("{}@{}", last.0, now_ms() - 23 * 3_600_000));
    let mut reader = source.open(&lane, Some(&old)).await.expect("a reader");
    assert_eq!(reader.mark(), None, "nothing was looked at");
    while !matches!(reader.next(1_000).await.expect("no trouble"), Next::Idle) {}
    let mark = reader.mark().expect("an hour more and it would be worth nothing");
    assert!(mark.0.starts_with(&format!("{}@", last.0)) && mark != old, "{mark:?}");
    assert!(matches!(reader.next(1_000).await, Ok(Next::Idle)));
    assert_eq!(reader.mark(), None);
    assert_eq!(read(&source, &lane, Some(&mark), 1_000, 0).await.records, vec![]);
    assert_eq!(read(&source, &lane, None, 1_000, 20).await.ends.last().expect("ends").0, last);
}

#[tokio::test]
async fn generated_records_are_put_in_each_devices_order() {
    let many = |n| put::Packing::Aggregated(std::num::NonZeroUsize::new(n).expect("not 0"));
    for packing in [put::Packing::Single, many(1), many(17)] {
        puts_in_order(packing).await;
    }
}

async fn puts_in_order(packing: put::Packing) {
    const RECORDS: u64 = 3_000;
    let server = Kinesis::start().expect("a Kinesis");
    if !aws::is_loopback(server.url()) {
        println!("skipped: the fault proxy cannot stand before {}", server.url());
        return;
    }
    let client = aws::kinesis(server.url(), Retries::Sdk).await;
    let stream = fresh("plimsoll-put");
    create(&client, &stream, 2).await;
    let devices = Devices::parse("devices=300,seed=5").expect("devices");
    // Requests that fail before they are executed: a lost reply would put records twice, as it would anyone's.
    let rules = vec![Rule::on("PutRecords", Fault::Throttle, 3), Rule::on("PutRecords", Fault::ServerError, 4)];
    let proxy = Proxy::start(server.url(), seed::seed("faulty puts"), rules).expect("a proxy");
    let faulty = aws::kinesis(&proxy.url(), Retries::None).await;
    let mut told = Vec::new();
    let bytes = put::put(&faulty, (&stream, aws::REGION), &devices, RECORDS, packing, &mut |put| told.push(put))
        .await
        .expect("they are put");
    assert!(told.is_sorted() && told.last() == Some(&RECORDS), "{told:?}");
    assert!(proxy.fired_times(Fault::Throttle) > 0 && proxy.fired_times(Fault::ServerError) > 0, "{:?}", proxy.fired());

    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut records = plimsoll::source::generator::Records::new(&devices);
    for _ in 0..RECORDS {
        let mut text = Vec::new();
        let device = records.next(&mut text).device_name();
        expected.entry(device).or_default().push(String::from_utf8(text).expect("text"));
    }
    assert_eq!(bytes, expected.values().flatten().map(|text| text.len() as u64).sum::<u64>());
    let source = look(server.url(), &stream, Start::TrimHorizon).await.expect("a source");
    let mut left: BTreeMap<&str, std::slice::Iter<String>> =
        expected.iter().map(|(device, texts)| (device.as_str(), texts.iter())).collect();
    let mut count = 0;
    for lane in source.lanes().await.expect("lanes") {
        // In chunks that end within the records of the stream, where those hold several.
        let reading = read(&source, &lane, None, 1_000, 1).await;
        for (end, given) in reading.ends.iter().step_by(151) {
            let rest = read(&source, &lane, Some(end), 50_000, 0).await;
            assert_eq!(rest.records, reading.records[*given..], "{packing:?}: after {end:?}");
        }
        for (_, text) in reading.records {
            let (_, texts) = left.iter_mut().find(|(device, _)| text.contains(*device)).expect("a device of these");
            assert_eq!(Some(&text), texts.next());
            count += 1;
        }
    }
    assert_eq!(count, RECORDS);
}
