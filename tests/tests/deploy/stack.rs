//! The stack is made, devices put records through its pool, the host counts them under its role, and what goes goes.
//!
//! ```text
//! devices -> guard (DeviceRole) -> stand-in <- guard (HostRole) <- plimsoll run
//! ```
//! A guard refuses what the role does not allow on that very table or stream, as AWS would.
//!
//! Not here: IAM itself, which no stand-in has; what needs time to pass (alarms, time to live).

use crate::template::{Statement, Template};
use crate::{ask_aws, deployed, output};
use aws_sdk_dynamodb::types::{StreamViewType, TimeToLiveSpecification};
use plimsoll_tests::aws::{self, Retries};
use plimsoll_tests::place::{LIMIT, Place};
use plimsoll_tests::process::{Finished, Host, Stop};
use plimsoll_tests::proxy::Proxy;
use plimsoll_tests::server::Dynamo;
use plimsoll_tests::tools;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Command;

/// Not a whole number of minutes' records, so that a row that is missing shows.
const EVENTS: u64 = 50;
const DEVICES: [&str; 3] = ["d-1", "d-2", "d-3"];
/// Records come device by device, so the lanes' clocks jump back and forth by these minutes.
const POLICY: &str = r#"policy = "impressions"
[input]
time = { field = "ts", unit = "ms" }
key  = ["placement"]
[window]
fixed = "1m"
[late]
by = "window"
allowed_lateness = "1h"
[measures]
events = "count"
"#;
const START_MS: u64 = 1_700_000_040_000;
const TABLES: [&str; 6] = ["rows", "late", "dead", "lanes", "hours", "days"];

/// The guard of a role on a stack whose names begin with `prefix`.
fn guard(url: &str, role: &str, prefix: &str) -> Proxy {
    let (statements, prefix): (Vec<Statement>, _) = (Template::get().role(role), prefix.to_owned());
    let allows = move |target: &str, raw: &[u8]| {
        let (service, operation) = target.split_once('.').unwrap_or_default();
        let body: Value = serde_json::from_slice(raw).unwrap_or_default();
        let table = || body["TableName"].as_str()?.strip_prefix(&prefix)?.strip_prefix('-');
        let (service, resource) = match service {
            "DynamoDB_20120810" => ("dynamodb", table().and_then(|part| Template::get().table(part))),
            // An iterator names its stream only inside.
            "Kinesis_20131202" => (
                "kinesis",
                Some("Stream").filter(|_| {
                    body["StreamName"] == prefix || (operation == "GetRecords" && body["StreamName"].is_null())
                }),
            ),
            // Who asks for an identity has none.
            "AWSCognitoIdentityService" => return true,
            _ if target == "/service/GraniteServiceVersion20100801/operation/PutMetricData" => {
                let names = |text: &str| raw.windows(text.len()).any(|at| at == text.as_bytes());
                let context = if names("Plimsoll") { [("cloudwatch:namespace", "Plimsoll")].as_slice() } else { &[] };
                return statements.iter().any(|s| s.allows("cloudwatch:PutMetricData", "*", context));
            }
            _ if raw.starts_with(b"Action=Publish") => {
                return statements.iter().any(|s| s.allows("sns:Publish", "Topic", &[]));
            }
            _ => panic!("{target}: the guard knows no such service"),
        };
        let Some(resource) = resource else { return false };
        statements.iter().any(|s| s.allows(&format!("{service}:{operation}"), &format!("{resource}.Arn"), &[]))
    };
    Proxy::guarded(url, Box::new(allows)).expect("a proxy")
}

/// Puts events as the example device does, run from where its packages are.
fn put(device: &str, events: &str, url: &str, outputs: &Value) -> String {
    let home = tools::deploy().join("device");
    for file in ["device.mjs", "kinesis.mjs", "put.mjs"] {
        std::fs::copy(deployed("device").join(file), home.join(file)).expect("a copy");
    }
    let mut node = Command::new("node");
    node.arg("put.mjs").args(["--device", device]).current_dir(home);
    node.args(["--pool", text(&outputs["IdentityPoolId"]), "--stream", text(&outputs["StreamName"])]);
    // A guest has no credentials and no region but those of the pool.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        node.env_remove(name);
    }
    node.env("AWS_ENDPOINT_URL_KINESIS", url).env("AWS_ENDPOINT_URL_COGNITO_IDENTITY", url);
    let done = output(node, events);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{device}: {said}");
    said
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// Events of a device, and how many of each placement and minute there are.
fn events(nth: u64, expected: &mut BTreeMap<(String, u64), u64>) -> String {
    let mut lines = String::new();
    for n in 0..EVENTS {
        let (ts, placement) = (START_MS + (n * 7 + nth) * 1_000, format!("p-{}", (n + nth) % 4));
        writeln!(lines, r#"{{"ts":{ts},"placement":"{placement}","device":{nth}}}"#).expect("text");
        *expected.entry((placement, ts - ts % 60_000)).or_default() += 1;
    }
    lines
}

/// What the stand-in's CloudFormation leaves out of the tables it makes: their time to live, as the template has it.
async fn set_time_to_live(dynamodb: &aws_sdk_dynamodb::Client, prefix: &str) {
    for part in TABLES {
        let table = Template::get().table(part).unwrap_or_else(|| panic!("the template has no table {part}"));
        let given = &Template::get().properties(table)["TimeToLiveSpecification"];
        let Some(attribute) = given["AttributeName"].as_str() else { continue };
        let enabled = given["Enabled"].as_bool().expect("on or off");
        let spec = TimeToLiveSpecification::builder().attribute_name(attribute).enabled(enabled).build();
        let set = dynamodb.update_time_to_live().table_name(format!("{prefix}-{part}"));
        set.time_to_live_specification(spec.expect("all is given")).send().await.expect("it is set");
    }
}

async fn tables_and_streams(url: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let tables = aws::dynamodb(url, Retries::Sdk).await.list_tables().send().await.expect("tables");
    let streams = aws::kinesis(url, Retries::Sdk).await.list_streams().send().await.expect("streams");
    (tables.table_names().iter().cloned().collect(), streams.stream_names().iter().cloned().collect())
}

fn expect(host: Host) -> Finished {
    host.run(LIMIT).and_then(|done| done.expect(0)).unwrap_or_else(|error| panic!("{error:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_counted_through_what_the_template_makes() {
    let server = Dynamo::start().expect("a stand-in");
    let url = server.url();
    if std::env::var_os("AWS_ENDPOINT_URL_DYNAMODB").is_some() {
        println!("skipped: AWS_ENDPOINT_URL_DYNAMODB names a DynamoDB, and a stack needs all services at one address");
        return;
    }
    let template = deployed("template.yaml");
    let template = template.to_str().expect("a path in UTF-8");
    let outputs = ask_aws(&["create", url, "counts", template, "Shards=2"]);
    let prefix = text(&outputs["TablePrefix"]).to_owned();
    let environment: BTreeMap<&str, &str> =
        text(&outputs["HostEnvironment"]).lines().map(|line| line.split_once('=').expect("NAME=VALUE")).collect();
    assert_eq!(environment["AWS_REGION"], aws::REGION);
    assert_eq!(environment["PLIMSOLL_ALARM_TOPIC"], text(&outputs["TopicArn"]));
    let (stream, tables) = (environment["PLIMSOLL_STREAM"], environment["PLIMSOLL_TABLES"]);
    assert_eq!((stream, tables), (text(&outputs["StreamName"]), prefix.as_str()));
    let dynamodb = aws::dynamodb(url, Retries::Sdk).await;
    set_time_to_live(&dynamodb, &prefix).await;
    let rows = dynamodb.describe_table().table_name(format!("{prefix}-rows")).send().await.expect("the table of rows");
    let rows = rows.table().expect("its description");
    assert_eq!(rows.latest_stream_arn(), outputs["RowsStreamArn"].as_str());
    let stream_of_rows = rows.stream_specification().and_then(|spec| spec.stream_view_type());
    assert_eq!(stream_of_rows, Some(&StreamViewType::NewImage));

    let place = Place::new();
    place.write("policy.toml", POLICY);
    let host_guard = guard(url, "HostRole", &prefix);
    let host = |line: &str| place.command(line).aws(&host_guard.url(), &host_guard.url());
    let checked = expect(host(&format!("tables check --dynamodb {tables}")));
    assert!(checked.text().expect("text").contains(&format!("{prefix}-lanes")));

    let device_guard = guard(url, "DeviceRole", &prefix);
    let mut expected = BTreeMap::new();
    for (nth, device) in DEVICES.into_iter().enumerate() {
        let events = events(nth as u64, &mut expected);
        let said = put(device, &events, &device_guard.url(), &outputs);
        assert!(said.contains(&format!("{EVENTS} of {EVENTS} events taken")), "{said}");
    }
    put("d-4", r#"{"placement":"p-0"}"#, &device_guard.url(), &outputs);

    let run = format!("run --once --accept-poison --policy policy.toml --kinesis {stream} --dynamodb {tables}");
    let ran = expect(host(&run));
    assert!(ran.stderr.contains("read 151, counted 150, late 0, future 0, rejected 1"), "{}", ran.stderr);
    // People read with rights of their own.
    let rows = |which: &str| {
        let line = format!("rows --policy policy.toml --dynamodb {tables} {which}");
        let done = expect(place.command(&line).aws(url, url));
        let lines: Vec<Value> =
            done.text().expect("text").lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        lines
    };
    let key = |row: &Value| (text(&row["placement"]).to_owned(), row["window_start"].as_u64().expect("a time"));
    let found: BTreeMap<_, u64> =
        rows("").iter().map(|row| (key(row), row["events"].as_u64().expect("a count"))).collect();
    assert_eq!(found, expected);
    assert_eq!(rows("--dead-letters").len(), 1);

    // The host's figures are those that the stack's alarm waits for, and its topic is one that it may publish to.
    let config = std::fs::read_to_string(deployed("plimsoll.toml")).expect("the configuration");
    place.write("plimsoll.toml", config.replace("every = \"1m\"", "every = \"100ms\""));
    let watched = |line: &str| {
        let host = host(line).env("AWS_ENDPOINT_URL_CLOUDWATCH", host_guard.url());
        host.env("AWS_ENDPOINT_URL_SNS", host_guard.url())
            .env("PLIMSOLL_ALARM_TOPIC", environment["PLIMSOLL_ALARM_TOPIC"])
    };
    expect(watched("alarms test --config plimsoll.toml"));
    let alarm = format!("{prefix}-commit-lag");
    assert_ne!(ask_aws(&["alarm", url, &alarm])["state"], "OK");
    let line = format!("run --policy policy.toml --kinesis {stream} --dynamodb {tables} --config plimsoll.toml");
    let mut running = watched(&line).spawn().expect("it starts");
    let settled = running.until("an alarm that has seen its figures", LIMIT, |_| {
        (ask_aws(&["alarm", url, &alarm])["state"] == "OK").then_some(())
    });
    settled.unwrap_or_else(|error| panic!("{error:#}"));
    running.ask_to_stop(Stop::Terminate).expect("it is asked");
    running.wait(LIMIT).and_then(|done| done.expect(0)).unwrap_or_else(|error| panic!("{error:#}"));

    // The guard is real: a device's role does not let one count, nor the host's let one put.
    let as_device = place.command(&run).aws(&device_guard.url(), &device_guard.url()).run(LIMIT).expect("it ends");
    assert!(as_device.stderr.contains("AccessDenied"), "{}", as_device.stderr);
    let produce = host(&format!("produce --records 1 --kinesis {stream}")).run(LIMIT).expect("it ends");
    assert!(produce.stderr.contains("allow kinesis:PutRecords"), "{}", produce.stderr);

    ask_aws(&["delete", url, "counts"]);
    assert_eq!(tables_and_streams(url).await, (BTreeSet::new(), BTreeSet::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_of_prod_leaves_its_data_behind() {
    if std::env::var_os("AWS_ENDPOINT_URL_DYNAMODB").is_some() {
        println!("skipped: AWS_ENDPOINT_URL_DYNAMODB names a DynamoDB, and a stack needs all services at one address");
        return;
    }
    let server = Dynamo::start().expect("a stand-in");
    let template = deployed("template.yaml");
    let template = template.to_str().expect("a path in UTF-8");
    let made = ["Stage=prod", "Name=kept", "Shards=0", "RunsOn=ec2.amazonaws.com", "AlarmEmail=ops@example.com"];
    let outputs = ask_aws(&[&["create", server.url(), "kept", template][..], &made[..]].concat());
    assert!(text(&outputs["HostProfileArn"]).contains(":instance-profile/"), "{outputs}");
    ask_aws(&["delete", server.url(), "kept"]);
    let tables = TABLES.map(|part| format!("kept-prod-{part}"));
    assert_eq!(
        tables_and_streams(server.url()).await,
        (BTreeSet::from(tables), BTreeSet::from(["kept-prod".to_owned()]))
    );
}
