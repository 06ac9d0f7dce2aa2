//! The stand-ins themselves behave as the other end-to-end tests assume, and the faults really happen.
//!
//! Not here: anything of Plimsoll. If one of these fails, no other test of Kinesis or DynamoDB means anything.

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ReturnValuesOnConditionCheckFailure,
    ScalarAttributeType, TableStatus,
};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType, StreamStatus};
use plimsoll_tests::aws::{self, Retries};
use plimsoll_tests::proxy::{Fault, Proxy, Rule};
use plimsoll_tests::seed;
use plimsoll_tests::server::{Dynamo, Kinesis};
use rand::RngExt;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const SHARDS: i32 = 4;
const POLL: Duration = Duration::from_millis(20);

/// Sequence numbers and the numbers that were put, by shard.
type Numbers = BTreeMap<String, Vec<(String, u64)>>;

/// A name that no earlier run on a service that lasts has used.
fn fresh(name: &str) -> String {
    format!("{name}-{:016x}", seed::generator(seed::seed(name)).random::<u64>())
}

async fn create_stream(client: &aws_sdk_kinesis::Client, name: &str) {
    client.create_stream().stream_name(name).shard_count(SHARDS).send().await.expect("a stream is made");
    loop {
        let summary = client.describe_stream_summary().stream_name(name).send().await.expect("the stream is described");
        let summary = summary.stream_description_summary().expect("a summary");
        if *summary.stream_status() == StreamStatus::Active {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Puts the numbers `from..to` as text, with partition keys that spread over the shards.
async fn put_numbers(client: &aws_sdk_kinesis::Client, stream: &str, from: u64, to: u64) -> Numbers {
    let mut put = Numbers::new();
    let numbers: Vec<u64> = (from..to).collect();
    for numbers in numbers.chunks(500) {
        let entries = numbers.iter().map(|number| {
            let entry = PutRecordsRequestEntry::builder().data(Blob::new(number.to_string()));
            entry.partition_key(format!("device-{}", number % 97)).build().expect("data and key are there")
        });
        let answer = client.put_records().stream_name(stream).set_records(Some(entries.collect())).send().await;
        let answer = answer.expect("records are put");
        assert_eq!(answer.failed_record_count(), Some(0));
        for (number, entry) in numbers.iter().zip(answer.records()) {
            let shard = entry.shard_id().expect("a shard").to_owned();
            let sequence = entry.sequence_number().expect("a sequence number").to_owned();
            put.entry(shard).or_default().push((sequence, *number));
        }
    }
    put
}

/// Reads as many numbers as were put, from the beginning of each shard.
async fn read_numbers(client: &aws_sdk_kinesis::Client, stream: &str, put: &Numbers) -> Numbers {
    let mut read = Numbers::new();
    for (shard, expected) in put {
        let iterator = client.get_shard_iterator().stream_name(stream).shard_id(shard);
        let iterator = iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await;
        let mut iterator = iterator.expect("an iterator").shard_iterator;
        let mut numbers: Vec<(String, u64)> = Vec::new();
        while numbers.len() < expected.len() {
            let page = client.get_records().set_shard_iterator(iterator.take()).limit(250).send().await;
            let page = page.expect("a page of records");
            assert!(!page.records().is_empty(), "{shard}: {} of {} records, then none", numbers.len(), expected.len());
            for record in page.records() {
                assert!(record.approximate_arrival_timestamp().is_some());
                let number = std::str::from_utf8(record.data().as_ref()).expect("text").parse().expect("a number");
                numbers.push((record.sequence_number().to_owned(), number));
            }
            iterator = page.next_shard_iterator;
        }
        read.insert(shard.clone(), numbers);
    }
    read
}

#[tokio::test]
async fn kinesis_keeps_order_in_each_of_four_shards() {
    let server = Kinesis::start().expect("a Kinesis");
    let client = aws::kinesis(server.url(), Retries::Sdk).await;
    let stream = fresh("plimsoll-order");
    create_stream(&client, &stream).await;
    let put = put_numbers(&client, &stream, 0, 4_000).await;
    assert_eq!(put.len(), SHARDS as usize, "records went to {:?}", put.keys());
    assert_eq!(read_numbers(&client, &stream, &put).await, put);
    client.delete_stream().stream_name(&stream).send().await.expect("the stream is deleted");
}

#[tokio::test]
async fn kinesis_on_disk_survives_a_kill() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = Kinesis::start_at(dir.path()).expect("a Kinesis");
    if server.is_given() {
        println!("skipped: AWS_ENDPOINT_URL_KINESIS is set, and that server is not ours to kill");
        return;
    }
    let client = aws::kinesis(server.url(), Retries::Sdk).await;
    create_stream(&client, "kept").await;
    let mut put = put_numbers(&client, "kept", 0, 500).await;
    server.kill_and_restart().expect("it comes back");
    for (shard, more) in put_numbers(&client, "kept", 500, 1_000).await {
        put.entry(shard).or_default().extend(more);
    }
    assert_eq!(read_numbers(&client, "kept", &put).await, put);
}

/// A table with the key `pk`.
async fn create_table(client: &aws_sdk_dynamodb::Client, name: &str) {
    let attribute = AttributeDefinition::builder().attribute_name("pk").attribute_type(ScalarAttributeType::S);
    let key = KeySchemaElement::builder().attribute_name("pk").key_type(KeyType::Hash);
    let table = client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
    let table = table.attribute_definitions(attribute.build().expect("an attribute"));
    table.key_schema(key.build().expect("a key")).send().await.expect("a table is made");
    loop {
        let table = client.describe_table().table_name(name).send().await.expect("the table is described");
        if table.table().and_then(|table| table.table_status()) == Some(&TableStatus::Active) {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Applied {
    Now,
    Before,
    Beyond { fence: u64 },
    Unknown,
}

/// One effect as the protocol sends it: the fence and the sum move in one write, or not at all.
async fn fenced_add(client: &aws_sdk_dynamodb::Client, table: &str, row: &str, batch: u64) -> Applied {
    let request = client.update_item().table_name(table).key("pk", AttributeValue::S(row.into()));
    let request = request
        .update_expression("ADD m :d SET #f = :n")
        .condition_expression("attribute_not_exists(#f) OR #f < :n")
        .expression_attribute_names("#f", "_f1")
        .expression_attribute_values(":d", AttributeValue::N("1".into()))
        .expression_attribute_values(":n", AttributeValue::N(batch.to_string()))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    let error = match request.send().await {
        Ok(_) => return Applied::Now,
        Err(error) => error,
    };
    let Some(UpdateItemError::ConditionalCheckFailedException(refused)) = error.as_service_error() else {
        return Applied::Unknown;
    };
    let old = refused.item().expect("ALL_OLD gives the row that refused");
    let fence: u64 = old["_f1"].as_n().expect("a number").parse().expect("a batch number");
    if fence == batch { Applied::Before } else { Applied::Beyond { fence } }
}

/// Whether it was answered as done.
async fn plain_add(client: &aws_sdk_dynamodb::Client, table: &str, row: &str) -> bool {
    let request = client.update_item().table_name(table).key("pk", AttributeValue::S(row.into()));
    let request =
        request.update_expression("ADD m :d").expression_attribute_values(":d", AttributeValue::N("1".into()));
    request.send().await.is_ok()
}

async fn measure(client: &aws_sdk_dynamodb::Client, table: &str, row: &str) -> u64 {
    let request = client.get_item().table_name(table).key("pk", AttributeValue::S(row.into())).consistent_read(true);
    let item = request.send().await.expect("the row is read").item.expect("the row is there");
    item["m"].as_n().expect("a number").parse().expect("a count")
}

#[tokio::test]
async fn a_fenced_add_counts_once_and_says_why_it_refuses() {
    let server = Dynamo::start().expect("a DynamoDB");
    let client = aws::dynamodb(server.url(), Retries::None).await;
    let table = fresh("plimsoll-fence");
    create_table(&client, &table).await;
    assert_eq!(fenced_add(&client, &table, "a", 7).await, Applied::Now);
    assert_eq!(fenced_add(&client, &table, "a", 7).await, Applied::Before);
    assert_eq!(measure(&client, &table, "a").await, 1);
    assert_eq!(fenced_add(&client, &table, "a", 8).await, Applied::Now);
    assert_eq!(fenced_add(&client, &table, "a", 7).await, Applied::Beyond { fence: 8 });
    assert_eq!(measure(&client, &table, "a").await, 2);
    client.delete_table().table_name(&table).send().await.expect("the table is deleted");
}

#[tokio::test]
async fn lost_replies_double_a_plain_add_and_not_a_fenced_one() {
    const ADDS: u64 = 60;
    const LOST_ONE_IN: u64 = 5;
    let server = Dynamo::start().expect("a DynamoDB");
    if !aws::is_loopback(server.url()) {
        println!("skipped: the fault proxy cannot stand before {}", server.url());
        return;
    }
    let direct = aws::dynamodb(server.url(), Retries::None).await;
    let table = fresh("plimsoll-lost");
    create_table(&direct, &table).await;
    let rules = vec![Rule::on("UpdateItem", Fault::LoseReply, LOST_ONE_IN)];
    let seed = seed::seed("lost replies");
    let proxy = Proxy::start(server.url(), seed, rules.clone()).expect("a proxy");
    let client = aws::dynamodb(&proxy.url(), Retries::None).await;

    // As the protocol does it: an unknown outcome is the same request again, a refusal with this fence is success.
    let mut before = 0;
    for batch in 1..=ADDS {
        loop {
            match fenced_add(&client, &table, "fenced", batch).await {
                Applied::Now => break,
                Applied::Before => {
                    before += 1;
                    break;
                }
                Applied::Unknown => {}
                Applied::Beyond { fence } => panic!("the fence is at {fence} while batch {batch} is applied"),
            }
        }
    }
    let lost = proxy.fired_times(Fault::LoseReply);
    assert!(lost >= ADDS / LOST_ONE_IN, "only {lost} replies were lost of {} requests", proxy.requests());
    // The lost reply may itself be such a refusal, so one refusal that arrives can stand for several losses.
    assert!((1..=lost).contains(&before), "{before} refusals as 'done before' from {lost} lost replies");
    assert_eq!(measure(&direct, &table, "fenced").await, ADDS);

    proxy.set_rules(seed, rules);
    for _ in 0..ADDS {
        while !plain_add(&client, &table, "plain").await {}
    }
    let lost = proxy.fired_times(Fault::LoseReply);
    assert!(lost >= ADDS / LOST_ONE_IN, "only {lost} replies were lost of {} requests", proxy.requests());
    assert_eq!(measure(&direct, &table, "plain").await, ADDS + lost, "each lost reply counts once more");
    direct.delete_table().table_name(&table).send().await.expect("the table is deleted");
}

#[tokio::test]
async fn the_proxy_refuses_in_the_services_own_words() {
    let server = Dynamo::start().expect("a DynamoDB");
    if !aws::is_loopback(server.url()) {
        println!("skipped: the fault proxy cannot stand before {}", server.url());
        return;
    }
    let direct = aws::dynamodb(server.url(), Retries::None).await;
    let table = fresh("plimsoll-refuse");
    create_table(&direct, &table).await;
    assert!(plain_add(&direct, &table, "a").await);
    let proxy = Proxy::start(server.url(), 1, vec![Rule::all(Fault::Throttle, 1)]).expect("a proxy");
    let client = aws::dynamodb(&proxy.url(), Retries::None).await;
    let add = || {
        let request = client.update_item().table_name(&table).key("pk", AttributeValue::S("a".into()));
        request.update_expression("ADD m :d").expression_attribute_values(":d", AttributeValue::N("1".into()))
    };

    let error = add().send().await.expect_err("it is throttled").into_service_error();
    assert!(error.is_provisioned_throughput_exceeded_exception(), "{error:?}");

    proxy.set_rules(1, vec![Rule::all(Fault::ServerError, 1)]);
    let error = add().send().await.expect_err("it errs");
    assert_eq!(error.raw_response().map(|response| response.status().as_u16()), Some(500));
    assert_eq!(error.into_service_error().code(), Some("InternalServerError"));

    proxy.set_rules(1, vec![Rule::all(Fault::LoseRequest, 1)]);
    let error = add().send().await.expect_err("it is lost");
    assert!(error.as_service_error().is_none(), "{error:?}");
    assert_eq!(measure(&direct, &table, "a").await, 1, "what was refused must not have been executed");

    let wait = Duration::from_millis(300);
    proxy.set_rules(1, vec![Rule::on("UpdateItem", Fault::Delay(wait), 1)]);
    let start = Instant::now();
    add().send().await.expect("it is slow and works");
    assert!(start.elapsed() >= wait);
    assert_eq!(proxy.fired(), BTreeMap::from([((Fault::Delay(wait), "UpdateItem".to_owned()), 1)]));
    assert_eq!(measure(&direct, &table, "a").await, 2);
    direct.delete_table().table_name(&table).send().await.expect("the table is deleted");
}

#[tokio::test]
async fn kinesis_reads_through_faults_come_out_whole() {
    let server = Kinesis::start().expect("a Kinesis");
    if !aws::is_loopback(server.url()) {
        println!("skipped: the fault proxy cannot stand before {}", server.url());
        return;
    }
    let rules = vec![Rule::on("GetRecords", Fault::Throttle, 3), Rule::on("GetRecords", Fault::LoseReply, 3)];
    let proxy = Proxy::start(server.url(), seed::seed("faulty reads"), rules).expect("a proxy");
    let client = aws::kinesis(&proxy.url(), Retries::Sdk).await;
    create_stream(&client, "faulty").await;
    let put = put_numbers(&client, "faulty", 0, 8_000).await;
    assert_eq!(read_numbers(&client, "faulty", &put).await, put);
    assert!(proxy.fired_times(Fault::Throttle) > 0, "{:?}", proxy.fired());
    assert!(proxy.fired_times(Fault::LoseReply) > 0, "{:?}", proxy.fired());
}
