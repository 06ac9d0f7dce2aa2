//! The DynamoDB store on a real service's stand-in: its contract, lost replies, two lanes at one row, the deadline, tables
//! that are not what they must be.
//!
//! Not here: the host as a process (`kinesis_to_dynamodb`), expressions and errors (unit tests in `plimsoll::store`).

use aws_config::SdkConfig;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_async::time::TimeSource;
use plimsoll::store::contract::{self, Host, layout, main_rows};
use plimsoll::store::dynamodb::{DEADLINE_S, DynamoStore};
use plimsoll::store::{Store, StoreError};
use plimsoll_core::account::Reason;
use plimsoll_core::lane::{Answer, Applied, Command, Content, End, Step};
use plimsoll_core::policy::Policy;
use plimsoll_core::wire::effects::{DeadLetter, Row, VALUE_MAX};
use plimsoll_tests::aws::{self, Retries};
use plimsoll_tests::proxy::{Fault, Proxy, Rule};
use plimsoll_tests::seed;
use plimsoll_tests::server::Dynamo;
use rand::RngExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

/// A prefix that no earlier run on a service that lasts has used.
fn fresh(name: &str) -> String {
    format!("{name}-{:016x}", rand::random::<u64>())
}

async fn store(config: &SdkConfig, prefix: &str) -> Arc<DynamoStore> {
    let store = DynamoStore::new(config, prefix).expect("a store");
    store.create_tables().await.expect("the tables are made");
    Arc::new(store)
}

async fn at_work(store: &Arc<DynamoStore>, id: &str) -> Host {
    let store: Arc<dyn Store> = store.clone();
    Host::new(&store, &layout(), id).await
}

/// A content of main rows that joins onto the lane.
async fn next_content(host: &mut Host, rows: Vec<Row>) -> Content {
    let base = host.base().await;
    host.content(&base, main_rows(rows), vec![])
}

/// Main rows by key.
async fn totals(host: &Host) -> BTreeMap<String, Vec<Option<i128>>> {
    host.totals().await.into_iter().collect()
}

fn key(k: u64) -> Vec<u8> {
    format!("[\"k{k:02}\"]").into_bytes()
}

fn row(k: u64, values: [Option<i128>; 4]) -> Row {
    Row { key: key(k), values: values.to_vec() }
}

/// What a row becomes, computed without any store.
fn fold(policy: &Policy, totals: &mut BTreeMap<String, Vec<Option<i128>>>, rows: &[Row]) {
    for r in rows {
        let held = totals.entry(String::from_utf8(r.key.clone()).expect("text")).or_insert_with(|| vec![None; 4]);
        for ((held, v), m) in held.iter_mut().zip(&r.values).zip(&policy.spec().measures) {
            *held = plimsoll_core::rows::fold(m.op, *held, *v).expect("the test's totals are small");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract_of_stores() {
    let server = Dynamo::start().expect("a DynamoDB");
    let config = aws::config(server.url(), Retries::None).await;
    contract::check(|| async {
        let prefix = fresh("contract");
        let first: Arc<dyn Store> = store(&config, &prefix).await;
        let second: Arc<dyn Store> = Arc::new(DynamoStore::new(&config, &prefix).expect("a store"));
        [first, second]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_replies_double_nothing_and_lose_nothing() {
    let server = Dynamo::start().expect("a DynamoDB");
    let prefix = fresh("lost");
    let direct = aws::config(server.url(), Retries::None).await;
    let tables = store(&direct, &prefix).await;
    let seed = seed::seed("lost replies");
    let rules = vec![
        Rule::all(Fault::LoseReply, 20),
        Rule::all(Fault::LoseRequest, 61),
        Rule::all(Fault::Throttle, 53),
        Rule::all(Fault::ServerError, 71),
    ];
    let proxy = Proxy::start(server.url(), seed, rules).expect("the fault proxy");
    let faulty = aws::config(&proxy.url(), Retries::None).await;
    let store = Arc::new(DynamoStore::new(&faulty, &prefix).expect("a store"));

    // Two lanes on two hosts that add to the same rows, at the same time.
    let lane = |name: &'static str| {
        let (store, mut random) = (Arc::clone(&store), seed::generator(seed ^ name.len() as u64));
        async move {
            let mut host = at_work(&store, name).await;
            let (mut expected, mut letters) = (Vec::new(), 0);
            for _ in 0..12 {
                let mut rows = Vec::new();
                for k in 0..20 {
                    let n = random.random_range(1..100);
                    let v =
                        |random: &mut rand_chacha::ChaCha8Rng| i128::from(random.random_range(-1_000_000..1_000_000));
                    if random.random_range(0..3) > 0 {
                        let (a, b) = (v(&mut random), v(&mut random));
                        rows.push(row(k, [Some(n), Some(a + b), Some(a.min(b)), Some(a.max(b))]));
                    }
                }
                let dead = (0..random.random_range(0..3)).map(|ordinal| DeadLetter {
                    ordinal,
                    reason: Reason::Malformed,
                    field: None,
                    at: 0,
                    arrival: None,
                    full_len: 2,
                    raw: b"{]".to_vec(),
                });
                let dead: Vec<_> = dead.collect();
                letters += dead.len();
                expected.push(rows.clone());
                host.commit(main_rows(rows), dead).await;
            }
            (host, expected, letters)
        }
    };
    let ((a, in_a, dead_a), (b, in_b, dead_b)) = tokio::join!(lane("a"), lane("bb"));
    let mut expected = BTreeMap::new();
    in_a.iter().chain(&in_b).for_each(|rows| fold(&layout().policy, &mut expected, rows));

    let host = at_work(&tables, "a").await;
    assert_eq!(totals(&host).await, expected);
    let letters = tables.dead_letters(&layout(), usize::MAX).await.expect("dead letters can be read");
    assert_eq!(letters.len(), dead_a + dead_b);
    let heads = tables.heads(&layout()).await.expect("heads can be read");
    assert_eq!(heads.iter().map(|h| h.n).collect::<Vec<_>>(), [12, 12]);
    assert!(proxy.fired_times(Fault::LoseReply) > 20, "replies were lost: {:?}", proxy.fired());
    assert!(a.waits + b.waits > 0, "the protocol saw it");
}

#[tokio::test(flavor = "multi_thread")]
async fn extremes_are_written_although_the_adds_answer_was_lost() {
    let server = Dynamo::start().expect("a DynamoDB");
    let prefix = fresh("extremes");
    let direct = aws::config(server.url(), Retries::None).await;
    let tables = store(&direct, &prefix).await;
    let mut host = at_work(&tables, "a").await;
    host.commit(main_rows(vec![row(0, [Some(1), None, Some(5), Some(5)])]), vec![]).await;

    let content = next_content(&mut host, vec![row(0, [Some(2), None, Some(1), Some(9)])]).await;
    host.lane.offer(content);
    let apply = loop {
        match host.lane.step() {
            Step::Do(apply @ Command::Apply { .. }) => break apply,
            Step::Do(command) => {
                let answer = host.execute(&command).await;
                host.lane.answer(answer);
            }
            step => panic!("no effects to apply: {step:?}"),
        }
    };
    // Every reply to an update is lost: the add happens, and nobody is there to write the extremes.
    let proxy = Proxy::start(server.url(), 1, vec![]).expect("the proxy");
    let faulty = aws::config(&proxy.url(), Retries::None).await;
    let other = Arc::new(DynamoStore::new(&faulty, &prefix).expect("a store"));
    let mut behind_proxy = at_work(&other, "a").await;
    proxy.set_rules(1, vec![Rule::on("UpdateItem", Fault::LoseReply, 1)]);
    behind_proxy.execute(&Command::ReadHead).await;
    let answer = behind_proxy.execute(&apply).await;
    assert!(matches!(&answer, Answer::Applied(a) if matches!(a[..], [Applied::Unknown(_)])), "{answer:?}");
    assert_eq!(totals(&host).await["[\"k00\"]"], [Some(3), None, Some(5), Some(5)]);

    proxy.set_rules(1, vec![]);
    assert_eq!(behind_proxy.execute(&apply).await, Answer::Applied(vec![Applied::Fenced(2)]));
    assert_eq!(totals(&host).await["[\"k00\"]"], [Some(3), None, Some(1), Some(9)]);
    // Once more, by the first host, which goes on from there.
    assert!(matches!(host.settle().await, Step::Compute(_)));
    assert!(matches!(behind_proxy.settle().await, Step::Compute(_)));
    assert_eq!(totals(&host).await["[\"k00\"]"], [Some(3), None, Some(1), Some(9)]);
}

/// The machine's clock, moved.
#[derive(Clone, Debug, Default)]
struct Clock(Arc<AtomicI64>);

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        SystemTime::now() + Duration::from_secs(self.0.load(Ordering::SeqCst).unsigned_abs())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_slept_sends_no_effect_before_it_has_looked_again() {
    let server = Dynamo::start().expect("a DynamoDB");
    let proxy = Proxy::start(server.url(), 1, vec![]).expect("the proxy");
    let clock = Clock::default();
    let config = aws::config(&proxy.url(), Retries::None).await;
    let config = config.into_builder().time_source(clock.clone()).build();
    let store = store(&config, &fresh("slept")).await;
    let mut host = at_work(&store, "a").await;
    let content = next_content(&mut host, vec![row(0, [Some(1), Some(4), Some(4), Some(4)])]).await;
    host.lane.offer(content);
    let apply = loop {
        match host.lane.step() {
            Step::Do(apply @ Command::Apply { .. }) => break apply,
            Step::Do(command) => {
                let answer = host.execute(&command).await;
                host.lane.answer(answer);
            }
            step => panic!("no effects to apply: {step:?}"),
        }
    };
    clock.0.store(DEADLINE_S + 5, Ordering::SeqCst);
    let before = proxy.requests();
    assert_eq!(host.execute(&apply).await, Answer::Applied(vec![Applied::Expired]));
    assert_eq!(proxy.requests(), before, "nothing was sent");
    // Another host has taken over meanwhile, and is done.
    let mut other = at_work(&store, "a").await;
    assert!(matches!(other.settle().await, Step::Compute(_)));
    other.commit(main_rows(vec![row(0, [Some(1), Some(4), Some(4), Some(4)])]), vec![]).await;
    assert_eq!(host.settle().await, Step::End(End::Behind));
    assert_eq!(totals(&other).await["[\"k00\"]"], [Some(2), Some(8), Some(4), Some(4)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_beyond_the_limit_halt_the_lane() {
    let server = Dynamo::start().expect("a DynamoDB");
    let store = store(&aws::config(server.url(), Retries::None).await, &fresh("limit")).await;
    let mut host = at_work(&store, "a").await;
    host.commit(main_rows(vec![row(0, [Some(1), Some(VALUE_MAX), None, None])]), vec![]).await;
    let content = next_content(&mut host, vec![row(0, [Some(1), Some(1), None, None])]).await;
    host.lane.offer(content);
    let step = host.settle().await;
    assert!(matches!(&step, Step::End(End::Halted(halt)) if halt.to_string().contains("10^30")), "{step:?}");
    assert_eq!(totals(&host).await["[\"k00\"]"], [Some(1), Some(VALUE_MAX), None, None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_not_ours_are_refused_with_the_mend() {
    let server = Dynamo::start().expect("a DynamoDB");
    let config = aws::config(server.url(), Retries::None).await;
    let client = aws::dynamodb(server.url(), Retries::None).await;
    let prefix = fresh("refused");
    let store = Arc::new(DynamoStore::new(&config, &prefix).expect("a store"));
    let refusal = async |store: &DynamoStore| match store.prepare(&layout()).await {
        Err(StoreError::Refused(text)) => text,
        other => panic!("{other:?}"),
    };
    let text = refusal(&store).await;
    let mend = format!("plimsoll tables create --dynamodb {prefix}");
    assert!(text.contains(&format!("{prefix}-rows: found no such table")) && text.contains(&mend), "{text}");

    let names = store.create_tables().await.expect("the tables are made");
    assert_eq!(names, ["rows", "late", "dead", "lanes", "hours", "days"].map(|t| format!("{prefix}-{t}")));
    assert_eq!(store.check_tables().await.expect("they are as they must be"), names);
    assert_eq!(store.create_tables().await.expect("making them again changes nothing"), names);
    let mut host = at_work(&store, "a").await;
    host.commit(main_rows(vec![row(0, [Some(1), None, None, None])]), vec![]).await;

    // Rows that were emptied beside heads that were not: aliases would be given out a second time.
    let counter = [("_pk", "plimsoll"), ("_sk", "aliases")];
    let mut delete = client.delete_item().table_name(&names[0]);
    for (name, v) in counter {
        delete = delete.key(name, AttributeValue::S(v.into()));
    }
    delete.send().await.expect("the counter is deleted");
    let text = refusal(&store).await;
    assert!(text.contains("no counter of aliases"), "{text}");
    // A copy of another table.
    let mut put = client.put_item().table_name(&names[0]).item("table", AttributeValue::S("another".into()));
    for (name, v) in counter {
        put = put.item(name, AttributeValue::S(v.into()));
    }
    put.send().await.expect("the counter is put");
    let text = refusal(&store).await;
    assert!(text.contains("restored or copied"), "{text}");
    let command = Command::AllocateAlias;
    let text = store.execute(&layout().lane("b"), &command).await.expect_err("no alias of another table").to_string();
    assert!(text.contains("counter of aliases"), "{text}");
}
