//! Kinesis to DynamoDB as in production, all at once: records are put while shards split and merge, hosts are killed with
//! signal 9, replies are lost and writes throttled, and a second host runs beside the first. In the end rows, late rows,
//! dead letters, hours and days, and the accounting are those of a recomputation from the stream.
//!
//! Not here: whether the stand-ins and the faults are real (`emulators`), each fault for itself (the other tests).

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::Shard;
use plimsoll_tests::aws::{self, Retries};
use plimsoll_tests::oracle::Query;
use plimsoll_tests::process::{Host, Killed, Running};
use plimsoll_tests::proxy::{Fault, Proxy, Rule};
use plimsoll_tests::records::{self, Arrivals};
use plimsoll_tests::server::{Dynamo, Kinesis};
use plimsoll_tests::{rows, seed, streams};
use rand::{Rng, RngExt};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

const RECORDS: usize = 1_000_000;
const SHARDS: i32 = 3;
const KILLS: usize = 200;
/// In so many pieces they are put; between two of them the stream is resharded.
const PIECES: usize = 11;
/// How long a host lives.
const LIFE: Range<Duration> = Duration::from_millis(150)..Duration::from_millis(1_200);
const LIMIT: Duration = Duration::from_secs(600);
const MINUTES_MS: i64 = 10 * 60_000;
const HOUR_MS: i64 = 3_600_000;
const LOSES_ONE_IN: u64 = 150;
const THROTTLES_ONE_IN: u64 = 300;

/// Few rows, since a stand-in writes some hundred a second; each hour has six of them a key.
fn policy() -> String {
    let policy = records::policy(Arrivals::Outside).replacen("fixed = \"1m\"", "fixed = \"10m\"", 1);
    let policy = policy.replacen("key  = [\"placement\", \"creative\"]", "key  = [\"placement\"]", 1);
    format!("{policy}\n[rollup]\nhour = true\nday  = {{ zone = \"Asia/Tokyo\" }}\n")
}

fn query(window_ms: i64) -> Query {
    Query { window_ms, key: vec!["placement".into()], ..records::query(Arrivals::Outside) }
}

/// A folder with the policy, and where the services are.
#[derive(Clone, Copy)]
struct Setting<'a> {
    dir: &'a Path,
    stream: &'a str,
    kinesis: &'a str,
    dynamodb: &'a str,
}

impl Setting<'_> {
    fn host(&self, line: &str) -> Host {
        let line = line.replace("STREAM", self.stream);
        Host::new(line.split_whitespace()).current_dir(self.dir).aws(self.kinesis, self.dynamodb)
    }

    fn done(&self, line: &str) -> Vec<u8> {
        let ended = self.host(line).run(LIMIT).expect("it ends").expect(0);
        ended.unwrap_or_else(|error| panic!("{error:#}")).stdout
    }

    fn run(&self, how: &str) -> Host {
        self.host(&format!(
            "run {how} --accept-poison --policy policy.toml --kinesis STREAM --dynamodb STREAM --flush-interval 300ms"
        ))
    }

    fn rows(&self, which: &str) -> Vec<u8> {
        self.done(&format!("rows --policy policy.toml --dynamodb STREAM {which}"))
    }

    fn spawn(&self) -> Running {
        self.run("").spawn().expect("the host starts")
    }
}

/// Kills hosts until enough were killed and `filled` is over; how many were.
fn kill(lossy: Setting<'_>, random: &mut impl Rng, filled: impl Fn() -> bool) -> usize {
    let mut killed = 0;
    while killed < KILLS || !filled() {
        // Every third time two hosts run beside each other, and live on for different times.
        let hosts: Vec<Running> = (0..if killed % 3 == 0 { 2 } else { 1 }).map(|_| lossy.spawn()).collect();
        for host in hosts {
            match host.kill_at_random(random, LIFE).expect("the host is watched") {
                Killed::After(_) => killed += 1,
                // Its lane was taken by the other one, and it had to give up.
                Killed::TooLate(ended) => assert!(ended.code == Some(7), "a host that goes on has ended: {ended:?}"),
            }
        }
    }
    killed
}

/// Puts all records, and between the pieces splits a shard or merges two; how often either.
async fn fill(client: Client, stream: String, seed: u64) -> (usize, usize) {
    let ndjson = records::troubled(seed, RECORDS);
    let lines: Vec<&[u8]> = ndjson.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let mut random = seed::generator(seed);
    let (mut splits, mut merges) = (0, 0);
    for (nth, piece) in lines.chunks(lines.len().div_ceil(PIECES)).enumerate() {
        if nth > 0 {
            let mut open = streams::shards(&client, &stream).await;
            open.retain(|shard| shard.sequence_number_range().is_none_or(|r| r.ending_sequence_number().is_none()));
            open.sort_by_key(|shard| range(shard).start);
            let at = random.random_range(0..open.len() - 1);
            if nth % 2 == 1 {
                let Range { start, end } = range(&open[at]);
                streams::split(&client, &stream, number(&open[at]), start + (end - start) / 2 + 1).await;
                splits += 1;
            } else {
                streams::merge(&client, &stream, [&open[at], &open[at + 1]].map(number)).await;
                merges += 1;
            }
        }
        streams::put(&client, &stream, piece.iter().map(|line| line.to_vec())).await;
    }
    (splits, merges)
}

fn number(shard: &Shard) -> u32 {
    shard.shard_id().trim_start_matches("shardId-").parse().expect("a number")
}

/// The first and the last hash key of a shard.
fn range(shard: &Shard) -> Range<u128> {
    let range = shard.hash_key_range().expect("a shard has a range");
    let key = |text: &str| text.parse().expect("a hash key is a number");
    key(range.starting_hash_key())..key(range.ending_hash_key())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_records_under_all_troubles_at_once_are_counted_once() {
    let seed = seed::seed("production");
    let mut random = seed::generator(seed);
    let disk = tempfile::tempdir().expect("a folder");
    let (kinesis, dynamodb) =
        (Kinesis::start_at(disk.path()).expect("a Kinesis"), Dynamo::start().expect("a DynamoDB"));
    let name = format!("plimsoll-{:016x}", random.random::<u64>());
    let client = aws::kinesis(kinesis.url(), Retries::Sdk).await;
    streams::create(&client, &name, SHARDS).await;
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("policy.toml"), policy()).expect("a file");

    let faulty = |url: &str, seed: u64| {
        let rules = vec![Rule::all(Fault::LoseReply, LOSES_ONE_IN), Rule::all(Fault::Throttle, THROTTLES_ONE_IN)];
        // A proxy cannot stand before an address with TLS.
        aws::is_loopback(url).then(|| Proxy::start(url, seed, rules).expect("a proxy"))
    };
    let proxies = [faulty(kinesis.url(), seed), faulty(dynamodb.url(), !seed)];
    let [before_kinesis, before_dynamodb] = [(0, kinesis.url()), (1, dynamodb.url())]
        .map(|(at, url)| proxies[at].as_ref().map_or(url.to_owned(), Proxy::url));
    let direct = Setting { dir: dir.path(), stream: &name, kinesis: kinesis.url(), dynamodb: dynamodb.url() };
    let lossy = Setting { kinesis: &before_kinesis, dynamodb: &before_dynamodb, ..direct };
    direct.done("tables create --dynamodb STREAM");

    let filling = tokio::spawn(fill(client.clone(), name.clone(), seed));
    let killed = tokio::task::block_in_place(|| kill(lossy, &mut random, || filling.is_finished()));
    let (splits, merges) = filling.await.expect("all records are put");
    // What the killed ones have left, at last without trouble.
    direct.done("run --once --accept-poison --policy policy.toml --kinesis STREAM --dynamodb STREAM");
    let [expected, hours] = streams::judge(&client, &name, [&query(MINUTES_MS), &query(HOUR_MS)]).await;
    assert!(expected.read >= RECORDS as u64, "{} records", expected.read);

    let (main, late) = (direct.rows(""), direct.rows("--late"));
    rows::compare(&query(MINUTES_MS), &main, &late, &expected).unwrap_or_else(|error| panic!("{error:#}"));
    let letters = direct.rows("--dead-letters");
    let places: BTreeSet<(String, String)> = String::from_utf8_lossy(&letters)
        .lines()
        .map(|line| {
            let letter: serde_json::Value = serde_json::from_str(line).expect("a dead letter");
            (letter["lane"].to_string(), letter["position"].to_string())
        })
        .collect();
    assert_eq!(places.len() as u64, expected.rejected + expected.future);

    direct.done("rollup --once --policy policy.toml --dynamodb STREAM");
    let rolled = rows::main(&query(HOUR_MS), &direct.rows("--rollup hour")).expect("rows of hours");
    rows::same("hours", &rolled, &hours.rows).unwrap_or_else(|error| panic!("{error:#}"));
    // Minutes against hours, hours against days, records against rows.
    direct.done("audit --policy policy.toml --dynamodb STREAM");

    for proxy in proxies.iter().flatten() {
        let (lost, throttled) = (proxy.fired_times(Fault::LoseReply), proxy.fired_times(Fault::Throttle));
        assert!(lost > 10 && throttled > 5, "{lost} replies lost, {throttled} requests throttled at {}", proxy.url());
    }
    assert!(killed >= KILLS, "{killed} kills");
    println!("{killed} kills; {splits} splits and {merges} merges; {} records", expected.read);
}
