//! Hours and days in DynamoDB tables, on a stand-in with a change stream: the host is killed while it follows the rows, rows
//! are amended and deleted, the stream is turned off, hours are lost. They are always those of the judge, and `audit` says
//! of each thing that was changed on purpose what it is.
//!
//! Not here: shards that roll over and are trimmed, which no stand-in does (unit tests in `plimsoll::rollup`).

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, StreamSpecification};
use plimsoll_tests::aws::{self, Retries};
use plimsoll_tests::oracle::{self, Columns, Measure, Outcome, Query};
use plimsoll_tests::process::{Finished, Host, Killed};
use plimsoll_tests::records::{self, Arrivals};
use plimsoll_tests::server::Dynamo;
use plimsoll_tests::{rows, seed};
use rand::RngExt;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

const RECORDS: usize = 3_000;
/// They span 25 hours, and so a midnight in India.
const STEP_MS: i64 = 30_000;
const KILLS: usize = 5;
const LIMIT: Duration = Duration::from_secs(300);
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Asia/Kolkata is so far ahead of UTC.
const INDIA_MS: i64 = 5 * HOUR_MS + HOUR_MS / 2;

fn policy() -> String {
    let rollup = "[rollup]\nhour = true\nday = { zone = \"Asia/Kolkata\" }\n";
    format!("{}\n{rollup}", records::policy(Arrivals::Field))
}

/// What the judge's rows add up to, by arithmetic of its own.
fn added(query: &Query, outcome: &Outcome, span_ms: i64) -> BTreeMap<(i64, String), Columns> {
    let mut spans: BTreeMap<(i64, String), Columns> = BTreeMap::new();
    for ((start, key), columns) in &outcome.rows {
        let span = (start + INDIA_MS).div_euclid(span_ms) * span_ms - INDIA_MS;
        let held = spans.entry((span, key.clone())).or_default();
        for (name, measure) in &query.measures {
            let (a, b) = (held.get(name).copied().flatten(), columns[name]);
            let both = match (a, b, measure) {
                (Some(a), Some(b), Measure::Min(_)) => Some(a.min(b)),
                (Some(a), Some(b), Measure::Max(_)) => Some(a.max(b)),
                (Some(a), Some(b), _) => Some(a + b),
                _ => a.or(b),
            };
            held.insert(name.clone(), both);
        }
    }
    spans
}

struct Setting<'a> {
    dir: &'a Path,
    prefix: String,
    url: String,
    streams: String,
}

impl Setting<'_> {
    fn host(&self, line: &str) -> Host {
        let line = line.replace("STORE", &format!("--policy policy.toml --dynamodb {}", self.prefix));
        let host = Host::new(line.split_whitespace()).current_dir(self.dir).aws(&self.url, &self.url);
        host.env("AWS_ENDPOINT_URL_DYNAMODB_STREAMS", &self.streams)
    }

    fn ask(&self, line: &str, code: i32) -> Finished {
        let end = self.host(line).run(LIMIT).expect("it ends");
        end.expect(code).unwrap_or_else(|error| panic!("{line}: {error:#}"))
    }

    /// Hours and days are those of the judge.
    fn check(&self, records: &[u8]) {
        let query = records::query(Arrivals::Field);
        let outcome = oracle::recompute(&query, records);
        for (level, span_ms) in [("hour", HOUR_MS), ("day", DAY_MS)] {
            let found = self.ask(&format!("rows STORE --rollup {level}"), 0);
            let wider = Query { window_ms: span_ms, ..query.clone() };
            let found = rows::main(&wider, &found.stdout).unwrap_or_else(|e| panic!("{e:#}"));
            let expected = added(&query, &outcome, span_ms);
            assert!(!expected.is_empty());
            rows::same(level, &found, &expected).unwrap_or_else(|e| panic!("{e:#}"));
        }
    }

    /// The checks that an audit finds wrong.
    fn imbalances(&self) -> Vec<serde_json::Value> {
        let end = self.ask("audit STORE --json", 10);
        let report: serde_json::Value = serde_json::from_slice(&end.stdout).expect("a report");
        assert_eq!(report["balanced"], false);
        assert!(end.stderr.contains("\"exit_code\":10"), "{}", end.stderr);
        let checks = report["checks"].as_array().expect("checks").clone();
        checks.into_iter().filter(|c| c["outcome"] == "imbalance").collect()
    }
}

fn text(item: &HashMap<String, AttributeValue>, name: &str) -> String {
    item[name].as_s().expect("a text").clone()
}

/// All items of a table.
async fn items(client: &Client, table: &str) -> Vec<HashMap<String, AttributeValue>> {
    let (mut items, mut from) = (Vec::new(), None);
    loop {
        let page = client.scan().table_name(table).set_exclusive_start_key(from).send().await.expect("a page");
        items.extend(page.items.unwrap_or_default());
        from = page.last_evaluated_key;
        if from.is_none() {
            return items;
        }
    }
}

fn key(item: &HashMap<String, AttributeValue>) -> HashMap<String, AttributeValue> {
    ["_pk", "_sk"].map(|name| (name.to_owned(), item[name].clone())).into()
}

async fn delete(client: &Client, table: &str, item: &HashMap<String, AttributeValue>) {
    client.delete_item().table_name(table).set_key(Some(key(item))).send().await.expect("it is deleted");
}

async fn put(client: &Client, table: &str, item: &HashMap<String, AttributeValue>) {
    client.put_item().table_name(table).set_item(Some(item.clone())).send().await.expect("it is put");
}

#[tokio::test(flavor = "multi_thread")]
async fn hours_and_days_follow_the_rows_whatever_happens() {
    let seed = seed::seed("rollup");
    let mut random = seed::generator(seed);
    let server = Dynamo::start().expect("a DynamoDB");
    let client = aws::dynamodb(server.url(), Retries::Sdk).await;
    let dir = tempfile::tempdir().expect("a folder");
    let streams = std::env::var("AWS_ENDPOINT_URL_DYNAMODB_STREAMS").unwrap_or_else(|_| server.url().to_owned());
    let prefix = format!("rollup-{:016x}", random.random::<u64>());
    let setting = Setting { dir: dir.path(), prefix, url: server.url().to_owned(), streams };
    std::fs::write(dir.path().join("policy.toml"), policy()).expect("a file");
    let (rows_table, hours_table, days_table) =
        (format!("{}-rows", setting.prefix), format!("{}-hours", setting.prefix), format!("{}-days", setting.prefix));

    // Without its tables it is refused, and told how they are made.
    let refused = setting.ask("rollup STORE --once", 5);
    assert!(refused.stderr.contains(&hours_table) && refused.stderr.contains("tables create"), "{}", refused.stderr);
    setting.ask(&format!("tables create --dynamodb {}", setting.prefix), 0);

    // A run that brings them up to date itself; then records that amend what is there, followed by hosts that are killed.
    let all = records::over_hours(seed, RECORDS, STEP_MS);
    let lines: Vec<&[u8]> = all.split_inclusive(|b| *b == b'\n').collect();
    let part = |share: usize| lines[..lines.len() * share / 4].concat();
    let events = dir.path().join("events.ndjson");
    let run = "run STORE --input events.ndjson --once --accept-poison --flush-interval 100ms";
    let count = |share: usize, more: &str| {
        std::fs::write(&events, part(share)).expect("a file");
        setting.ask(&format!("{run}{more}"), 0)
    };
    count(1, " --rollup");
    setting.check(&part(1));
    setting.ask("audit STORE", 0);
    count(2, "");
    let mut early = 0;
    for _ in 0..KILLS {
        let running = setting.host("rollup STORE").spawn().expect("it starts");
        let moments = Duration::from_millis(20)..Duration::from_millis(600);
        if let Killed::TooLate(end) = running.kill_at_random(&mut random, moments).expect("it is watched") {
            panic!("it follows until it is stopped: {end:?}");
        }
        early += 1;
    }
    assert_eq!(early, KILLS);
    setting.ask("rollup STORE --once", 0);
    setting.check(&part(2));

    // Rows that expire take nothing with them. An audit calls it what it is: nothing is so old here.
    let gone: Vec<_> =
        items(&client, &rows_table).await.into_iter().filter(|i| i.contains_key("events")).take(5).collect();
    for row in &gone {
        delete(&client, &rows_table, row).await;
    }
    setting.ask("rollup STORE --once --repair", 0);
    setting.check(&part(2));
    let wrong = setting.imbalances();
    let of = |check: &str| wrong.iter().filter(|c| c["check"].as_str().is_some_and(|c| c.contains(check))).count();
    // One line for the sum of all, one for all hours, and one for each slot.
    assert_eq!((of("main rows"), of("hours against"), of("days against")), (1, 6, 0), "{wrong:#?}");
    for row in &gone {
        put(&client, &rows_table, row).await;
    }

    // The stream is off for a while: what was counted meanwhile is in no stream, and is found all the same.
    let off = StreamSpecification::builder().stream_enabled(false).build().expect("a specification");
    client.update_table().table_name(&rows_table).stream_specification(off).send().await.expect("it is off");
    let refused = setting.ask("rollup STORE --once", 5);
    assert!(refused.stderr.contains("found no stream of changes, expected one of NEW_IMAGE"), "{}", refused.stderr);
    count(3, "");
    setting.ask(&format!("tables create --dynamodb {}", setting.prefix), 0);
    let end = setting.ask("rollup STORE --once --json", 0);
    assert!(end.stderr.contains("\"repairs\":1"), "{}", end.stderr);
    setting.check(&part(3));

    // Hours that were lost: the stream has been read, so that only a repair finds them.
    count(4, "");
    setting.ask("rollup STORE --once", 0);
    for table in [&hours_table, &days_table] {
        for item in items(&client, table).await {
            delete(&client, table, &item).await;
        }
    }
    setting.ask("rollup STORE --once", 0);
    assert!(setting.ask("rows STORE --rollup hour", 0).stdout.is_empty());
    setting.ask("rollup STORE --once --repair", 0);
    setting.check(&part(4));
    let audited = setting.ask("audit STORE", 0);
    assert!(String::from_utf8_lossy(&audited.stdout).contains("ok: days against their hours"), "{audited:?}");

    // Each thing changed by hand is named.
    let hour = items(&client, &hours_table).await.into_iter().next().expect("an hour");
    let slot = hour.keys().find(|name| name.starts_with('s')).expect("a slot").clone();
    let mut changed = hour.clone();
    let mut columns = hour[&slot].as_l().expect("columns").clone();
    columns[0] = AttributeValue::N("123456".into());
    changed.insert(slot.clone(), AttributeValue::L(columns));
    put(&client, &hours_table, &changed).await;
    let wrong = setting.imbalances();
    let named = wrong.iter().find(|c| c["check"] == "hours against their rows" && c["key"].is_string());
    let named = named.unwrap_or_else(|| panic!("{wrong:#?}"));
    assert!(text(&hour, "_pk").ends_with(named["key"].as_str().expect("a key")), "{named}");
    assert!(named["found"].as_str().is_some_and(|f| f.starts_with("[123456,")), "{named}");
    assert!(named["note"].as_str().is_some_and(|n| n.ends_with(&slot[1..])), "{named}");
    assert!(wrong.iter().any(|c| c["check"] == "days against their hours" && c["key"].is_string()), "{wrong:#?}");
    put(&client, &hours_table, &hour).await;
    setting.ask("audit STORE", 0);
    let row = items(&client, &rows_table).await.into_iter().find(|i| i.contains_key("events")).expect("a row");
    let mut changed = row.clone();
    changed.insert("events".into(), AttributeValue::N("1000000".into()));
    put(&client, &rows_table, &changed).await;
    let wrong = setting.imbalances();
    assert!(wrong.iter().any(|c| c["check"] == "count of main rows against records counted"), "{wrong:#?}");
}
