//! Kinesis to DynamoDB, on stand-ins: a host that is killed again and again, replies that are lost, a second host by
//! mistake. The rows are those of the judge, each shard seen as a lane of its own.
//!
//! Not here: whether the stand-ins and the faults are real (`emulators`).

use plimsoll_tests::aws::{self, Retries};
use plimsoll_tests::oracle::Query;
use plimsoll_tests::process::{Finished, Host, Killed};
use plimsoll_tests::proxy::{Fault, Proxy, Rule};
use plimsoll_tests::records::{self, Arrivals};
use plimsoll_tests::server::{Dynamo, Kinesis};
use plimsoll_tests::{rows, seed, streams};
use rand::RngExt;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

const RECORDS: usize = 100_000;
const SHARDS: i32 = 4;
const KILLS: usize = 10;
/// Kinesis gives many records an answer, so few requests are sent: more of them suffer.
const KINESIS_LOSES_ONE_IN: u64 = 20;
const DYNAMODB_LOSES_ONE_IN: u64 = 200;
const LIMIT: Duration = Duration::from_secs(300);
const HOUR_MS: i64 = 3_600_000;

/// Hours rather than minutes: a stand-in writes some hundred rows a second.
fn policy() -> String {
    records::policy(Arrivals::Outside).replacen("fixed = \"1m\"", "fixed = \"1h\"", 1)
}

fn query() -> Query {
    Query { window_ms: HOUR_MS, ..records::query(Arrivals::Outside) }
}

async fn fill(client: &aws_sdk_kinesis::Client, stream: &str, seed: u64) {
    streams::create(client, stream, SHARDS).await;
    let ndjson = records::troubled(seed, RECORDS);
    // A record of Kinesis is a record, blank or not; an empty one it would refuse.
    let lines = ndjson.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    streams::put(client, stream, lines.map(<[u8]>::to_vec)).await;
}

/// A folder with the policy, and where the services are.
struct Setting<'a> {
    dir: &'a Path,
    stream: &'a str,
    kinesis: String,
    dynamodb: String,
}

impl Setting<'_> {
    fn host(&self, line: &str) -> Host {
        Host::new(line.split_whitespace()).current_dir(self.dir).aws(&self.kinesis, &self.dynamodb)
    }

    fn run(&self) -> Host {
        let stream = self.stream;
        self.host(&format!(
            "run --once --accept-poison --policy policy.toml --kinesis {stream} --dynamodb {stream} --flush-interval 500ms"
        ))
    }

    fn rows(&self, which: &str) -> Vec<u8> {
        let line = format!("rows --policy policy.toml --dynamodb {} {which}", self.stream);
        self.host(&line).run(LIMIT).expect("it ends").expect(0).unwrap_or_else(|error| panic!("{error:#}")).stdout
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_hosts_lost_replies_and_a_second_host_change_nothing() {
    let seed = seed::seed("kinesis_dynamodb");
    let mut random = seed::generator(seed);
    let (kinesis, dynamodb) = (Kinesis::start().expect("a Kinesis"), Dynamo::start().expect("a DynamoDB"));
    let stream = format!("plimsoll-{:016x}", random.random::<u64>());
    let client = aws::kinesis(kinesis.url(), Retries::Sdk).await;
    fill(&client, &stream, seed).await;
    assert_eq!(streams::shards(&client, &stream).await.len(), SHARDS as usize);
    let [expected] = streams::judge(&client, &stream, [&query()]).await;

    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("policy.toml"), policy()).expect("a file");
    let loses = |url: &str, one_in: u64| {
        // A proxy cannot stand before an address with TLS.
        let rules = vec![Rule::all(Fault::LoseReply, one_in)];
        aws::is_loopback(url).then(|| Proxy::start(url, seed, rules).expect("a proxy"))
    };
    let proxies = [loses(kinesis.url(), KINESIS_LOSES_ONE_IN), loses(dynamodb.url(), DYNAMODB_LOSES_ONE_IN)];
    let before = |at: usize, url: &str| proxies[at].as_ref().map_or(url.to_owned(), Proxy::url);
    let (before_kinesis, before_dynamodb) = (before(0, kinesis.url()), before(1, dynamodb.url()));
    let direct = Setting {
        dir: dir.path(),
        stream: &stream,
        kinesis: kinesis.url().to_owned(),
        dynamodb: dynamodb.url().to_owned(),
    };
    let lossy = Setting { dir: dir.path(), stream: &stream, kinesis: before_kinesis, dynamodb: before_dynamodb };
    let tables = direct.host(&format!("tables create --dynamodb {stream}")).run(LIMIT).expect("it ends");
    tables.expect(0).unwrap_or_else(|error| panic!("{error:#}"));

    let mut early = 0;
    for kill in 1..=KILLS {
        let running = lossy.run().spawn().expect("the host starts");
        let moments = Duration::from_millis(200)..Duration::from_millis(1_500);
        match running.kill_at_random(&mut random, moments).expect("the host is watched") {
            Killed::After(_) => {}
            Killed::TooLate(finished) => {
                finished.expect(0).unwrap_or_else(|error| panic!("before kill {kill}: {error:#}"));
                early += 1;
            }
        }
    }
    assert!(early < KILLS / 2, "{early} of {KILLS} runs had ended before they were killed");

    // Two at once: one may find that the other is ahead, and says so with the code of a halted lane.
    let both: Vec<_> = (0..2).map(|_| lossy.run().spawn().expect("the host starts")).collect();
    let ends: Vec<Finished> = both.into_iter().map(|running| running.wait(LIMIT).expect("both end")).collect();
    for end in &ends {
        assert!(matches!(end.code, Some(0 | 7)), "{end:?}");
    }
    lossy.run().run(LIMIT).expect("it ends").expect(0).unwrap_or_else(|error| panic!("the last run: {error:#}"));

    let (main, late) = (direct.rows(""), direct.rows("--late"));
    rows::compare(&query(), &main, &late, &expected).unwrap_or_else(|error| panic!("{error:#}"));
    let letters = direct.rows("--dead-letters");
    let places: BTreeSet<(String, String)> = String::from_utf8_lossy(&letters)
        .lines()
        .map(|line| {
            let letter: BTreeMap<String, serde_json::Value> = serde_json::from_str(line).expect("a dead letter");
            (letter["lane"].to_string(), letter["position"].to_string())
        })
        .collect();
    assert_eq!(places.len() as u64, expected.rejected + expected.future);
    // How many requests the runs need depends on the machine; each whole block of them has lost a reply.
    for (proxy, one_in) in proxies.iter().zip([KINESIS_LOSES_ONE_IN, DYNAMODB_LOSES_ONE_IN]) {
        let Some(proxy) = proxy else { continue };
        let (lost, requests) = (proxy.fired_times(Fault::LoseReply), proxy.requests());
        assert!(lost > 0 && lost >= requests / one_in, "{lost} of {requests} replies of {} were lost", proxy.url());
    }
    let codes: Vec<_> = ends.iter().map(|end| end.code).collect();
    println!("{early} of {KILLS} kills came too late; two hosts at once ended with {codes:?}");
}
