//! Whatever is wrong with credentials, streams, tables and endpoints: a message that says what was found, what was
//! expected and the mend, the documented exit code, in a time that a person waits.
//!
//! Not here: records, files and SQLite (`bad_input`), lost replies and killed hosts (`kinesis_dynamodb`).

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType as Scalar,
};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, StreamStatus};
use plimsoll_tests::aws::{self, Retries};
use plimsoll_tests::place::{GOOD, LIMIT, Place, exit, refused};
use plimsoll_tests::proxy::{Fault, Proxy, Rule};
use plimsoll_tests::server::{Dynamo, Kinesis, free_port};
use std::time::Duration;

/// What reads or writes a stream named `impressions`, with its exit code and its first request.
const OF_KINESIS: [(&str, i32, &str); 2] = [
    ("run --once --policy policy.toml --kinesis impressions --sqlite counts.db", exit::INPUT, "DescribeStreamSummary"),
    ("produce --records 10 --kinesis impressions", exit::RUN, "PutRecords"),
];
/// What reads or writes the tables of `prod`, with its first request and the table that it asks for.
const OF_DYNAMODB: [(&str, &str, &str); 4] = [
    ("run --once --policy policy.toml --input good.ndjson --dynamodb prod", "DescribeTable", "prod-rows"),
    ("rows --policy policy.toml --dynamodb prod", "Query", "prod-lanes"),
    ("tables create --dynamodb prod", "DescribeTable", "prod-rows"),
    ("tables check --dynamodb prod", "DescribeTable", "prod-rows"),
];

fn fresh(name: &str) -> String {
    format!("{name}-{:016x}", rand::random::<u64>())
}

#[test]
fn credentials_that_the_services_refuse() {
    let place = Place::new();
    // Nothing is behind it: everything is refused before.
    let proxy = Proxy::start("http://127.0.0.1:9", 1, vec![]).expect("a proxy");
    for (fault, words) in [
        (Fault::UnknownKey, ["UnrecognizedClientException", "AWS_ACCESS_KEY_ID"]),
        (Fault::WrongSecret, ["InvalidSignatureException", "AWS_SECRET_ACCESS_KEY"]),
        (Fault::ExpiredToken, ["ExpiredTokenException", "expired"]),
    ] {
        proxy.set_rules(1, vec![Rule::all(fault, 1)]);
        for (line, code, action) in OF_KINESIS {
            let words = [words[0], words[1], action, "impressions", aws::REGION];
            refused(place.command(line).aws(&proxy.url(), &proxy.url()), code, &words);
        }
        for (line, action, table) in OF_DYNAMODB {
            let words = [words[0], words[1], action, table, aws::REGION];
            refused(place.command(line).aws(&proxy.url(), &proxy.url()), exit::STORE, &words);
        }
    }
    assert!(!place.path("counts.db").exists(), "a run that was refused its stream made a store");
}

#[test]
fn a_role_that_may_not_is_told_which_action_to_allow_on_what() {
    let place = Place::new();
    let proxy = Proxy::start("http://127.0.0.1:9", 1, vec![Rule::all(Fault::Deny, 1)]).expect("a proxy");
    for (line, code, action) in OF_KINESIS {
        let arn = format!("arn:aws:kinesis:{}:123456789012:stream/impressions", aws::REGION);
        let mend = format!("allow kinesis:{action} on arn:aws:kinesis:{}:*:stream/impressions", aws::REGION);
        refused(place.command(line).aws(&proxy.url(), &proxy.url()), code, &["user/counter", &arn, &mend]);
    }
    for (line, action, table) in OF_DYNAMODB {
        let arn = format!("arn:aws:dynamodb:{}:*:table/{table}", aws::REGION);
        let mend = format!("allow dynamodb:{action} on {arn}");
        refused(place.command(line).aws(&proxy.url(), &proxy.url()), exit::STORE, &["user/counter", &mend]);
    }
}

#[test]
fn a_machine_without_credentials_or_region() {
    let place = Place::new();
    let lines = OF_KINESIS.iter().map(|(line, code, _)| (line, *code));
    for (line, code) in lines.chain(OF_DYNAMODB.iter().map(|(line, ..)| (line, exit::STORE))) {
        let host = || place.command(line).without_aws();
        refused(host(), code, &["no", "region", "AWS_REGION"]);
        let nobody = ["found no AWS credentials", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "role", "eu-west-1"];
        refused(host().env("AWS_REGION", "eu-west-1"), code, &nobody);
        let profile = host().env("AWS_REGION", "eu-west-1").env("AWS_PROFILE", "nothere");
        refused(profile, code, &["AWS_PROFILE", "nothere"]);
    }
}

#[test]
fn an_address_where_nobody_listens() {
    let place = Place::new();
    let url = format!("http://127.0.0.1:{}", free_port().expect("a port"));
    let lines = OF_KINESIS.iter().map(|(line, code, action)| (*line, *code, *action, "AWS_ENDPOINT_URL_KINESIS"));
    let others = OF_DYNAMODB.iter().map(|(line, action, _)| (*line, exit::STORE, *action, "AWS_ENDPOINT_URL_DYNAMODB"));
    // Each waits a little and asks again, so all at once.
    std::thread::scope(|scope| {
        for (line, code, action, variable) in lines.chain(others) {
            let host = place.command(line).aws(&url, &url);
            let words = [action.to_owned(), "Connection refused".to_owned(), format!("{variable}={url}")];
            scope.spawn(move || refused(host, code, &words.each_ref().map(String::as_str)));
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_there_or_holds_something_else() {
    let place = Place::new();
    let server = Kinesis::start().expect("a Kinesis");
    for (line, code, action) in OF_KINESIS {
        let host = place.command(line).aws(server.url(), "http://127.0.0.1:9");
        let words = [action, "ResourceNotFoundException", "impressions", "check the stream's name", "AWS_REGION"];
        refused(host, code, &words);
    }
    for stream in ["arn:aws:sqs:us-east-1:123456789012:impressions", "a stream"] {
        let arguments = ["run", "--once", "--policy", "policy.toml", "--sqlite", "counts.db", "--kinesis", stream];
        let host = plimsoll_tests::process::Host::new(arguments).current_dir(place.dir());
        refused(host.aws(server.url(), "http://127.0.0.1:9"), exit::INPUT, &[stream]);
    }

    let client = aws::kinesis(server.url(), Retries::Sdk).await;
    let stream = fresh("other-shape");
    client.create_stream().stream_name(&stream).shard_count(1).send().await.expect("a stream is made");
    active(&client, &stream).await;
    put(&client, &stream, (0..60).map(|n| format!(r#"{{"temperature":{n}}}"#))).await;
    let line = format!("run --once --policy policy.toml --kinesis {stream} --sqlite counts.db");
    let words =
        ["60 of 60", "60 missing_field", "`ts` is missing", "--accept-poison", "Nothing of this batch was written"];
    refused(place.command(&line).aws(server.url(), "http://127.0.0.1:9"), exit::LANE, &words);
    assert_eq!(place.counted_in("counts.db"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_not_there_or_are_of_something_else() {
    let place = Place::new();
    let server = Dynamo::start().expect("a DynamoDB");
    let prefix = fresh("prod");
    let host = |line: &str| place.command(&line.replace("--dynamodb prod", &format!("--dynamodb {prefix}")));
    let used: Vec<&str> = OF_DYNAMODB.iter().map(|(line, ..)| *line).filter(|line| !line.contains("create")).collect();
    for line in &used {
        let table = if line.starts_with("rows") { "lanes" } else { "rows" };
        let words = [&format!("{prefix}-{table}"), "tables of `", "plimsoll tables create --dynamodb", aws::REGION];
        refused(host(line).aws("http://127.0.0.1:9", server.url()), exit::STORE, &words);
    }

    let client = aws::dynamodb(server.url(), Retries::Sdk).await;
    let attribute = AttributeDefinition::builder().attribute_name("id").attribute_type(Scalar::N).build();
    let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build();
    let table = client.create_table().table_name(format!("{prefix}-rows")).billing_mode(BillingMode::PayPerRequest);
    let table = table.attribute_definitions(attribute.expect("whole")).key_schema(key.expect("whole"));
    table.send().await.expect("a table of somebody else");
    for line in ["tables create --dynamodb prod", "tables check --dynamodb prod", used[0]] {
        let words = ["found the key (HASH id N)", "expected (HASH _pk S, RANGE _sk S)", "needs another prefix"];
        refused(host(line).aws("http://127.0.0.1:9", server.url()), exit::STORE, &words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_expire_in_the_middle_end_the_run_and_lose_nothing() {
    let place = Place::new();
    let server = Kinesis::start().expect("a Kinesis");
    let client = aws::kinesis(server.url(), Retries::Sdk).await;
    let stream = fresh("expiring");
    client.create_stream().stream_name(&stream).shard_count(2).send().await.expect("a stream is made");
    active(&client, &stream).await;
    put(&client, &stream, std::iter::repeat_n(GOOD.to_owned(), 100)).await;

    let proxy = Proxy::start(server.url(), 1, vec![]).expect("a proxy");
    let run = format!("run --policy policy.toml --kinesis {stream} --sqlite counts.db --flush-interval 100ms");
    let mut running = place.command(&run).aws(&proxy.url(), "http://127.0.0.1:9").spawn().expect("the host starts");
    let hundred = || place.try_counted_in("counts.db").filter(|counted| *counted == 100);
    running.until("hundred records are counted", LIMIT, |_| hundred()).expect("they are");
    proxy.set_rules(1, vec![Rule::all(Fault::ExpiredToken, 1)]);
    put(&client, &stream, std::iter::repeat_n(GOOD.to_owned(), 100)).await;
    let ended = running.wait(LIMIT).expect("it ends by itself").expect(exit::INPUT).expect("with the code of an input");
    for word in ["ExpiredTokenException", "get new ones", &stream] {
        assert!(ended.stderr.contains(word), "says nothing of `{word}`:\n{}", ended.stderr);
    }
    let again = place.command(&format!("{run} --once")).aws(server.url(), "http://127.0.0.1:9");
    again.run(LIMIT).expect("it ends").expect(0).expect("with new credentials it goes on");
    assert_eq!(place.counted_in("counts.db"), 200);
}

async fn active(client: &aws_sdk_kinesis::Client, stream: &str) {
    loop {
        let summary = client.describe_stream_summary().stream_name(stream).send().await.expect("it is described");
        if summary.stream_description_summary().expect("a summary").stream_status() == &StreamStatus::Active {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn put(client: &aws_sdk_kinesis::Client, stream: &str, records: impl Iterator<Item = String>) {
    let entries = records.enumerate().map(|(at, record)| {
        let entry = PutRecordsRequestEntry::builder().data(Blob::new(record)).partition_key(at.to_string());
        entry.build().expect("data and key are there")
    });
    let answer = client.put_records().stream_name(stream).set_records(Some(entries.collect())).send().await;
    assert_eq!(answer.expect("records are put").failed_record_count(), Some(0));
}
