//! Shards that split and merge while records are put and the host runs and is killed: each record counts once, and a child
//! judges lateness by what its parents had learnt. The judge knows the shards' parents, and nothing of the engine.
//!
//! Not here: gaps (`kinesis_lifetime`), the fates of parents in every order (the driver's own tests).

use plimsoll_tests::aws::{self, Retries};
use plimsoll_tests::oracle::{Outcome, Query};
use plimsoll_tests::process::{Host, Killed};
use plimsoll_tests::records::{self, Arrivals};
use plimsoll_tests::server::{Dynamo, Kinesis};
use plimsoll_tests::streams::{create, merge, put, split};
use plimsoll_tests::{rows, seed, streams};
use rand::RngExt;
use std::path::Path;
use std::time::Duration;

const RECORDS: usize = 40_000;
const LIMIT: Duration = Duration::from_secs(300);
const HOUR_MS: i64 = 3_600_000;

/// Hours rather than minutes, as a stand-in writes some hundred rows a second.
fn policy() -> String {
    records::policy(Arrivals::Outside).replacen("fixed = \"1m\"", "fixed = \"1h\"", 1)
}

fn query() -> Query {
    Query { window_ms: HOUR_MS, ..records::query(Arrivals::Outside) }
}

/// A folder with the policy, and where the services are.
struct Setting<'a> {
    dir: &'a Path,
    kinesis: &'a str,
    dynamodb: &'a str,
    stream: &'a str,
    /// `--sqlite FILE` or `--dynamodb PREFIX`.
    store: String,
}

impl Setting<'_> {
    fn host(&self, line: &str) -> Host {
        Host::new(line.split_whitespace()).current_dir(self.dir).aws(self.kinesis, self.dynamodb)
    }

    fn run(&self, how: &str) -> Host {
        let (stream, store) = (self.stream, &self.store);
        self.host(&format!(
            "run {how} --accept-poison --policy policy.toml --kinesis {stream} {store} --flush-interval 300ms"
        ))
    }

    fn rows(&self, which: &str) -> Vec<u8> {
        let line = format!("rows --policy policy.toml {} {which}", self.store);
        self.host(&line).run(LIMIT).expect("it ends").expect(0).unwrap_or_else(|error| panic!("{error:#}")).stdout
    }

    fn judged(&self, expected: &Outcome) {
        self.run("--once").run(LIMIT).expect("it ends").expect(0).unwrap_or_else(|error| panic!("{error:#}"));
        rows::compare(&query(), &self.rows(""), &self.rows("--late"), expected)
            .unwrap_or_else(|error| panic!("{}: {error:#}", self.store));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn splits_and_merges_under_killed_hosts_change_nothing() {
    let seed = seed::seed("kinesis_reshard");
    let mut random = seed::generator(seed);
    let (kinesis, dynamodb) = (Kinesis::start().expect("a Kinesis"), Dynamo::start().expect("a DynamoDB"));
    let stream = format!("plimsoll-{:016x}", random.random::<u64>());
    let client = aws::kinesis(kinesis.url(), Retries::Sdk).await;
    create(&client, &stream, 2).await;
    let ndjson = records::troubled(seed, RECORDS);
    let lines: Vec<&[u8]> = ndjson.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let parts: Vec<&[&[u8]]> = lines.chunks(RECORDS / 5).collect();

    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("policy.toml"), policy()).expect("a file");
    let embedded = Setting {
        dir: dir.path(),
        kinesis: kinesis.url(),
        dynamodb: dynamodb.url(),
        stream: &stream,
        store: "--sqlite counts.db".into(),
    };
    let mut killed = 0;
    for (at, part) in parts.iter().enumerate() {
        // 0 and 1 from the start; 0 -> 2, 3; 1 + 3 -> 4; 2 -> 5, 6.
        match at {
            1 => split(&client, &stream, 0, 1 << 126).await,
            2 => merge(&client, &stream, [3, 1]).await,
            3 => split(&client, &stream, 2, 1 << 125).await,
            _ => {}
        }
        let running = embedded.run("").spawn().expect("the host starts");
        put(&client, &stream, part.iter().map(|line| line.to_vec())).await;
        let moments = Duration::from_millis(100)..Duration::from_millis(1_200);
        match running.kill_at_random(&mut random, moments).expect("the host is watched") {
            Killed::After(_) => killed += 1,
            Killed::TooLate(finished) => panic!("a host that goes on has ended: {finished:?}"),
        }
    }
    assert!(killed >= 5, "{killed} kills");
    let children = streams::shards(&client, &stream).await;
    let children = children.iter().filter(|shard| shard.parent_shard_id().is_some()).count();
    assert_eq!(children, 5, "of two splits and a merge");
    let [expected] = streams::judge(&client, &stream, [&query()]).await;
    embedded.judged(&expected);

    // The same stream again, all at once, two hosts together, in a store without transactions.
    let items = Setting { store: format!("--dynamodb {stream}"), ..embedded };
    let tables = items.host(&format!("tables create --dynamodb {stream}")).run(LIMIT).expect("it ends");
    tables.expect(0).unwrap_or_else(|error| panic!("{error:#}"));
    for _ in 0..4 {
        let both: Vec<_> = (0..2).map(|_| items.run("--once").spawn().expect("the host starts")).collect();
        for running in both {
            let moments = Duration::from_millis(200)..Duration::from_millis(2_000);
            running.kill_at_random(&mut random, moments).expect("the host is watched");
        }
    }
    items.judged(&expected);
}
