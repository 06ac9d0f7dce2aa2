//! Kinesis to DynamoDB as in production, all at once: records are put while shards split and merge, hosts are killed with
//! signal 9, replies are lost and writes throttled, and a second host runs beside the first. In the end rows, late rows,
//! dead letters, hours and days, and the accounting are those of a recomputation from the stream.
//!
//! `make proof` runs it with a million records and two hundred kills; `PROOF_RECORDS` and `PROOF_KILLS` say how many.
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
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const RECORDS: usize = 250_000;
const KILLS: usize = 80;
const SHARDS: i32 = 3;
/// In so many pieces they are put; between two of them the stream is resharded, and hosts are killed.
const PIECES: usize = 11;
/// How long a host lives.
const LIFE: Range<Duration> = Duration::from_millis(200)..Duration::from_millis(3_000);
const LIMIT: Duration = Duration::from_secs(900);
const POLL: Duration = Duration::from_millis(20);
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

/// How many of something, where the environment may say it.
fn count(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Kills hosts until enough were killed and `filled` is over; `killed` counts them.
fn kill(lossy: Setting<'_>, random: &mut impl Rng, kills: usize, killed: &AtomicUsize, filled: impl Fn() -> bool) {
    let so_far = || killed.load(Ordering::Relaxed);
    while so_far() < kills || !filled() {
        // Every third time two hosts run beside each other, and live on for different times.
        let hosts: Vec<Running> = (0..if so_far() % 3 == 0 { 2 } else { 1 }).map(|_| lossy.spawn()).collect();
        for host in hosts {
            match host.kill_at_random(random, LIFE).expect("the host is watched") {
                Killed::After(_) => drop(killed.fetch_add(1, Ordering::Relaxed)),
                // Its lane was taken by the other one, and it had to give up.
                Killed::TooLate(ended) => assert!(ended.code == Some(7), "a host that goes on has ended: {ended:?}"),
            }
        }
    }
}

/// Puts all records, and between the pieces splits a shard or merges two; how often either. Hosts get their share of kills
/// before the next piece is put: a stand-in that is busy taking records gives none.
async fn fill(
    client: Client,
    stream: String,
    seed: u64,
    (records, kills): (usize, usize),
    killed: Arc<AtomicUsize>,
) -> (usize, usize) {
    let ndjson = records::troubled(seed, records);
    let lines: Vec<&[u8]> = ndjson.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let mut random = seed::generator(seed);
    let (mut splits, mut merges) = (0, 0);
    for (nth, piece) in lines.chunks(lines.len().div_ceil(PIECES)).enumerate() {
        if nth > 0 {
            while killed.load(Ordering::Relaxed) < kills * nth / PIECES {
                tokio::time::sleep(POLL).await;
            }
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
async fn under_all_troubles_at_once_each_record_is_counted_once() {
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

    let (records, kills) = (count("PROOF_RECORDS", RECORDS), count("PROOF_KILLS", KILLS));
    let killed = Arc::new(AtomicUsize::new(0));
    let filling = tokio::spawn(fill(client.clone(), name.clone(), seed, (records, kills), Arc::clone(&killed)));
    tokio::task::block_in_place(|| kill(lossy, &mut random, kills, &killed, || filling.is_finished()));
    let (splits, merges) = filling.await.expect("all records are put");
    // They were not killed before they did anything.
    let lanes = direct.done("lanes --policy policy.toml --dynamodb STREAM --json");
    let lanes: serde_json::Value = serde_json::from_slice(&lanes).expect("an object");
    let done = lanes["account"]["read"].as_u64().expect("records that were read");
    assert!(done > records as u64 / 4, "the hosts that were killed had counted {done} of {records} records");
    // What the killed ones have left, at last without trouble.
    direct.done("run --once --accept-poison --policy policy.toml --kinesis STREAM --dynamodb STREAM");
    let [expected, hours] = streams::judge(&client, &name, [&query(MINUTES_MS), &query(HOUR_MS)]).await;
    assert!(expected.read >= records as u64, "{} records", expected.read);

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
    let killed = killed.load(Ordering::Relaxed);
    assert!(killed >= kills, "{killed} kills");
    println!(
        "{killed} kills, who had counted {done} records; {splits} splits and {merges} merges; {} records",
        expected.read
    );
}
