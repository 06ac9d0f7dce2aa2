//! Rights that are missing, tables of another region or of several, streams that keep records longer than rows live: what no
//! stand-in for the services says, said by a few lines of our own. Each is refused at the start with the mend.
//!
//! Not here: credentials, streams and tables that a stand-in can show (`bad_aws`).

use plimsoll_tests::aws;
use plimsoll_tests::place::{GOOD, LIMIT, Place, exit, refused};
use plimsoll_tests::stub::dynamodb::{ACCOUNT, Tables, description};
use plimsoll_tests::stub::kinesis::Stream;
use plimsoll_tests::stub::{Call, Reply, Stub};
use serde_json::{Value, json};
use std::sync::Arc;

const RUN: &str = "run --once --policy policy.toml --input good.ndjson --dynamodb prod";

/// Tables that answer as they should, but for what the function says.
fn tables(but: impl Fn(&Call, &str) -> Option<Reply> + Send + Sync + 'static) -> (Arc<Tables>, Stub) {
    let tables = Arc::new(Tables::default());
    let behind = Arc::clone(&tables);
    let answer = move |call: &Call| {
        let asked = call.json();
        let table = asked["TableName"].as_str().unwrap_or_default();
        but(call, table).unwrap_or_else(|| behind.answer(call))
    };
    (tables, Stub::start(answer).expect("a stub"))
}

fn denied(action: &str, table: &str) -> Reply {
    let arn = format!("arn:aws:dynamodb:{}:{ACCOUNT}:table/{table}", aws::REGION);
    let who = format!("arn:aws:iam::{ACCOUNT}:user/counter");
    let message = format!("User: {who} is not authorized to perform: dynamodb:{action} on resource: {arn}");
    Reply::error("com.amazon.coral.service#AccessDeniedException", &message)
}

fn allow(action: &str, table: &str) -> String {
    format!("dynamodb:{action} on arn:aws:dynamodb:{}:*:table/{table}", aws::REGION)
}

#[test]
fn every_right_that_is_missing_is_named_before_anything_is_counted() {
    let place = Place::new();
    let every = [
        ("UpdateItem", "prod-rows"),
        ("UpdateItem", "prod-late"),
        ("PutItem", "prod-dead"),
        ("PutItem", "prod-lanes"),
        ("UpdateItem", "prod-lanes"),
        ("DeleteItem", "prod-lanes"),
        ("Query", "prod-lanes"),
        ("GetItem", "prod-lanes"),
    ];
    let one_each = every.map(|right| vec![right]);
    for missing in one_each.into_iter().chain([every.to_vec(), vec![every[1], every[5]]]) {
        let lacks = missing.clone();
        let (tables, stub) = tables(move |call, table| {
            lacks.contains(&(call.operation.as_str(), table)).then(|| denied(&call.operation, table))
        });
        let names: Vec<String> = missing.iter().map(|(action, table)| allow(action, table)).collect();
        let mut words: Vec<&str> = names.iter().map(String::as_str).collect();
        words.extend(["user/counter", "AccessDeniedException", "to this role or user"]);
        refused(place.command(RUN).aws("http://127.0.0.1:9", &stub.url()), exit::STORE, &words);
        let head_writes = tables.requests("PutItem", "-lanes") + tables.requests("UpdateItem", "-lanes");
        assert!(head_writes <= 2, "more than was tried: {head_writes}");
    }
    // The looks at the tables, too: all that are missing at once.
    let (_, stub) =
        tables(|call, table| call.operation.starts_with("Describe").then(|| denied(&call.operation, table)));
    let names = ["rows", "late", "dead", "lanes"].map(|table| allow("DescribeTable", &format!("prod-{table}")));
    refused(
        place.command(RUN).aws("http://127.0.0.1:9", &stub.url()),
        exit::STORE,
        &names.each_ref().map(String::as_str),
    );
    let (_, stub) =
        tables(|call, table| (call.operation == "DescribeTimeToLive").then(|| denied(&call.operation, table)));
    let names = ["rows", "late"].map(|table| allow("DescribeTimeToLive", &format!("prod-{table}")));
    refused(
        place.command(RUN).aws("http://127.0.0.1:9", &stub.url()),
        exit::STORE,
        &names.each_ref().map(String::as_str),
    );
}

#[test]
fn tables_of_another_kind_or_place_are_refused_with_the_mend() {
    type Change = fn(&mut Value);
    let cases: [(Change, &[&str]); 5] = [
        (
            |table| {
                *table = description("prod-late", "eu-central-1");
            },
            &["prod-late: found it in eu-central-1, expected us-east-1", "AWS_REGION"],
        ),
        (
            |table| table["Replicas"] = json!([{ "RegionName": "us-west-2", "ReplicaStatus": "ACTIVE" }]),
            &["prod-late: found a global table with replicas in us-west-2", "one region"],
        ),
        (
            |table| table["GlobalTableVersion"] = json!("2017.11.29"),
            &["prod-late: found a global table of version 2017.11.29", "one region"],
        ),
        (
            |table| table["TableStatus"] = json!("INACCESSIBLE_ENCRYPTION_CREDENTIALS"),
            &["prod-late: found status INACCESSIBLE_ENCRYPTION_CREDENTIALS, expected ACTIVE"],
        ),
        (
            |table| table["KeySchema"].as_array_mut().expect("two parts").truncate(1),
            &["prod-late: found the key (HASH _pk S), expected (HASH _pk S, RANGE _sk S)", "another prefix"],
        ),
    ];
    let place = Place::new();
    for (change, words) in cases {
        let (_, stub) = tables(move |call, table| {
            if (call.operation.as_str(), table) != ("DescribeTable", "prod-late") {
                return None;
            }
            let mut described = description(table, aws::REGION);
            change(&mut described);
            Some(Reply::json(&json!({ "Table": described })))
        });
        for line in [RUN, "tables check --dynamodb prod"] {
            refused(place.command(line).aws("http://127.0.0.1:9", &stub.url()), exit::STORE, words);
        }
    }
    for (ttl, words) in [
        (json!({ "TimeToLiveStatus": "DISABLED" }), "prod-rows: found no time to live, expected it by `_x`"),
        (json!({ "TimeToLiveStatus": "ENABLED", "AttributeName": "ttl" }), "prod-rows: found time to live by `ttl`"),
    ] {
        let (_, stub) = tables(move |call, _| {
            (call.operation == "DescribeTimeToLive").then(|| Reply::json(&json!({ "TimeToLiveDescription": ttl })))
        });
        let mend = "plimsoll tables create --dynamodb prod";
        refused(place.command(RUN).aws("http://127.0.0.1:9", &stub.url()), exit::STORE, &[words, mend]);
    }
}

#[test]
fn rows_outlive_what_the_stream_still_holds() {
    let place = Place::new();
    place.write(
        "late.toml",
        "policy = \"late\"\n[input]\ntime = { field = \"ts\", unit = \"ms\" }\nkey = [\"placement\"]\n[window]\nfixed = \
         \"1m\"\n[late]\nby = \"window\"\nallowed_lateness = \"5d\"\n[measures]\nevents = \"count\"\n",
    );
    let stream = Arc::new(Stream::new(1, [(1_700_000_040_500, GOOD.as_bytes())]).keeping_hours(7 * 24));
    let kinesis = {
        let stream = Arc::clone(&stream);
        Stub::start(move |call| stream.answer(call)).expect("a stub")
    };
    let (written, dynamodb) = tables(|_, _| None);
    let host = |line: &str| place.command(line).aws(&kinesis.url(), &dynamodb.url());
    let run = "run --once --kinesis w1 --dynamodb prod --policy";
    let words = ["rows are kept 192 h", "keeps records 168 h", "lateness of 120 h", "--rows-kept 312h"];
    refused(host(&format!("{run} late.toml")), exit::STORE, &words);
    let words = ["kept 168 h", "at least 192 h", "--rows-kept"];
    refused(host(&format!("{run} late.toml --rows-kept 7d")), exit::STORE, &words);
    assert_eq!(written.requests("UpdateItem", "-rows"), 1, "rights were tried, and no more");
    for line in ["policy.toml", "late.toml --rows-kept 312h"] {
        host(&format!("{run} {line}")).run(LIMIT).expect("it ends").expect(0).expect("it counts");
    }
    assert!(written.requests("UpdateItem", "-rows") > 3, "two runs wrote a row each");
}
