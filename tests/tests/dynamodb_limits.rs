//! What one item can hold, on a real service's stand-in: rows of more lanes than that, what no item can take, and what
//! writing costs.
//!
//! Not here: the store's contract and faults (`dynamodb_store`), refusals at the start (`bad_tables`).

use aws_sdk_dynamodb::types::AttributeValue;
use plimsoll::store::contract::{Host, layout, main_rows};
use plimsoll::store::dynamodb::{DynamoStore, LANES_PER_ITEM};
use plimsoll::store::{RowQuery, Store, Which};
use plimsoll_core::account::{Account, Reason};
use plimsoll_core::lane::{Answer, Applied, Batch, Command, Pin, REPLAY_VERSION, Step};
use plimsoll_core::time::EventTime;
use plimsoll_core::wire::effects::{DeadLetter, Effects, Group, Progress, Row, Table};
use plimsoll_tests::aws::{self, Retries};
use plimsoll_tests::server::Dynamo;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A service with fresh tables, and what reaches them.
struct Tables {
    server: Dynamo,
    prefix: String,
}

impl Tables {
    async fn new(name: &str) -> Self {
        let (server, prefix) = (Dynamo::start().expect("a DynamoDB"), format!("{name}-{:016x}", rand::random::<u64>()));
        let tables = Self { server, prefix };
        tables.store().await.create_tables().await.expect("the tables are made");
        tables
    }

    async fn store(&self) -> Arc<DynamoStore> {
        let config = aws::config(self.server.url(), Retries::None).await;
        Arc::new(DynamoStore::new(&config, &self.prefix).expect("a store"))
    }

    async fn host(&self, lane: &str) -> Host {
        let store: Arc<dyn Store> = self.store().await;
        Host::new(&store, &layout(), lane).await
    }

    /// Items of a table as they stand, without those of the counter.
    async fn items(&self, table: &str) -> Vec<HashMap<String, AttributeValue>> {
        let client = aws::dynamodb(self.server.url(), Retries::Sdk).await;
        let scan = client.scan().table_name(format!("{}-{table}", self.prefix)).consistent_read(true);
        let mut items = scan.send().await.expect("a scan").items.unwrap_or_default();
        items.retain(|item| item["_pk"].as_s().is_ok_and(|pk| pk != "plimsoll"));
        items
    }
}

fn row(key: &str, n: i128, v: i128) -> Row {
    Row { key: format!("[\"{key}\"]").into_bytes(), values: vec![Some(n), Some(n * v), Some(v), Some(v)] }
}

/// One main row and one late row of the same key and window.
fn both(n: i128, v: i128) -> Vec<Group> {
    let late = Table::Late { day: Some(20_000) };
    let (start, end) = (EventTime::from_millis(0), EventTime::from_millis(10));
    let mut groups = main_rows(vec![row("k", n, v)]);
    groups.push(Group { table: late, start, end, rows: vec![row("k", n, v)] });
    groups
}

fn fences(item: &HashMap<String, AttributeValue>) -> usize {
    item.keys().filter(|name| name.starts_with("_f")).count()
}

/// Uses aliases up, as lanes do that come and go.
async fn use_aliases(host: &Host, how_many: u64) {
    for _ in 0..how_many {
        assert!(matches!(host.execute(&Command::AllocateAlias).await, Answer::Alias(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_beyond_an_items_fences_write_to_another_item_and_rows_stay_whole() {
    let tables = Tables::new("parts").await;
    let first = tables.host("first").await;
    use_aliases(&first, LANES_PER_ITEM - 2).await;
    // The last two of the first item, and three of the next one.
    for lane in 0..5_i128 {
        let mut host = tables.host(&format!("lane-{lane}")).await;
        host.commit(both(lane + 1, 10 * lane - 20), vec![]).await;
        host.commit(both(1, 0), vec![]).await;
    }
    let sums = [(15 + 5), (0..5).map(|l| (l + 1) * (10 * l - 20)).sum::<i128>(), -20, 20].map(Some);
    for table in [Which::Main, Which::Late] {
        let all = first.rows(RowQuery { table, ..RowQuery::default() }).await;
        assert_eq!(all.iter().map(|r| r.row.values.as_slice()).collect::<Vec<_>>(), [sums], "{table:?}");
        let key = Some(b"[\"k\"]".to_vec());
        let one = RowQuery { table, key, from: Some(EventTime::from_millis(0)), ..RowQuery::default() };
        assert_eq!(first.rows(one).await, all, "asked for by its key");
    }
    for table in ["rows", "late"] {
        let mut held: Vec<usize> = tables.items(table).await.iter().map(fences).collect();
        held.sort_unstable();
        assert_eq!(held, [2, 3], "fences of the items of the row in {table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_is_taken_over_among_more_lanes_goes_on_in_its_own_item() {
    let tables = Tables::new("taken-over").await;
    let mut dying = tables.host("a").await;
    let base = dying.base().await;
    let content = dying.content(&base, main_rows(vec![row("x", 3, 5), row("y", 4, 7)]), vec![]);
    dying.lane.offer(content);
    // The intent and one of two effects; then the host dies.
    let apply = loop {
        match dying.lane.step() {
            Step::Do(Command::Apply { alias, content, effects }) => {
                let first = Command::Apply { alias, content: Arc::clone(&content), effects: effects[..1].to_vec() };
                assert_eq!(dying.execute(&first).await, Answer::Applied(vec![Applied::Done]));
                break Command::Apply { alias, content, effects };
            }
            Step::Do(command) => {
                let answer = dying.execute(&command).await;
                dying.lane.answer(answer);
            }
            step => panic!("no effects to apply: {step:?}"),
        }
    };
    // Meanwhile the stream was resharded: were the item chosen by how many lanes there are, it would be another one now.
    use_aliases(&dying, 3 * LANES_PER_ITEM).await;
    let mut other = tables.host("b").await;
    other.commit(main_rows(vec![row("x", 1, 1), row("y", 1, 1)]), vec![]).await;

    let mut heir = tables.host("a").await;
    assert_eq!(heir.base().await.tip.n, 1, "the pending batch is finished");
    let expected = [("[\"x\"]", [4, 16, 1, 5]), ("[\"y\"]", [5, 29, 1, 7])];
    let expected: Vec<_> = expected.map(|(k, v)| (k.to_owned(), v.map(Some).to_vec())).into();
    assert_eq!(heir.totals().await, expected);
    // The dead host wakes up and sends what it had in hand.
    assert_eq!(dying.execute(&apply).await, Answer::Applied(vec![Applied::Fenced(1), Applied::Fenced(1)]));
    assert_eq!(heir.totals().await, expected);
    let items = tables.items("rows").await;
    let by_row = items.iter().fold(BTreeMap::<String, Vec<usize>>::new(), |mut rows, item| {
        rows.entry(item["_pk"].as_s().expect("a key").clone()).or_default().push(fences(item));
        rows
    });
    assert_eq!(by_row.into_values().collect::<Vec<_>>(), [[1, 1], [1, 1]], "one fence in each item");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_do_not_say_how_many_lanes_share_an_item_are_refused() {
    let tables = Tables::new("unsaid").await;
    tables.host("a").await;
    let client = aws::dynamodb(tables.server.url(), Retries::Sdk).await;
    let counter = [("_pk", "plimsoll"), ("_sk", "aliases")];
    let mut update = client.update_item().table_name(format!("{}-rows", tables.prefix));
    for (name, v) in counter {
        update = update.key(name, AttributeValue::S(v.into()));
    }
    update.update_expression("REMOVE lanes_per_item").send().await.expect("the counter is changed");
    let text = tables.store().await.prepare(&layout()).await.expect_err("it is not guessed").to_string();
    assert!(text.contains("`lanes_per_item`") && text.contains("new prefix"), "{text}");
}

fn batch(groups: Vec<Group>, dead: Vec<DeadLetter>) -> Batch {
    Batch {
        to: Some("1".into()),
        done: false,
        places: dead.iter().map(|d| format!("file:{}", d.ordinal)).collect(),
        effects: Effects { measures: 4, progress: Progress::default(), account: Account::default(), groups, dead },
        snapshot: None,
        written_ms: 0,
        pin: Pin {
            policy: *layout().policy.digest(),
            module: None,
            replay: REPLAY_VERSION,
            name: "contract".into(),
            shape: layout().policy.shape(),
        },
    }
}

fn letter(bytes: usize) -> DeadLetter {
    let (reason, full_len) = (Reason::Malformed, bytes as u64);
    DeadLetter { ordinal: 7, reason, field: None, at: 0, arrival: None, full_len, raw: vec![b'x'; bytes] }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_admitted_is_what_the_service_takes_to_the_byte() {
    let tables = Tables::new("weights").await;
    let (store, mut host) = (tables.store().await, tables.host("a").await);
    store.prepare(&layout()).await.expect("the tables are as they must be");
    let key = layout().lane("a");
    let refusal = |groups, dead| store.admits(&key, &batch(groups, dead)).err().map(|e| e.to_string());

    // The longest partition key: 16 digits, `#` and the key's text.
    let longest = "k".repeat(2_048 - 17 - 4);
    assert_eq!(refusal(main_rows(vec![row(&longest, 1, 1)]), vec![]), None);
    host.commit(main_rows(vec![row(&longest, 1, 1)]), vec![]).await;
    let longer = format!("{longest}k");
    let text = refusal(main_rows(vec![row(&longer, 1, 1)]), vec![]).expect("it is too long");
    assert!(text.contains("the row of key [\"kkk") && text.contains("at most 2031"), "{text}");
    never(&mut host, main_rows(vec![row(&longer, 1, 1)]), vec![]).await;

    // The longest dead letter of this lane, found by asking; the service agrees.
    let mut host = tables.host("b").await;
    let (mut takes, mut refuses) = (300 << 10, 400 << 10);
    while takes + 1 < refuses {
        let middle = (takes + refuses) / 2;
        if refusal(vec![], vec![letter(middle)]).is_none() { takes = middle } else { refuses = middle }
    }
    let text = refusal(vec![], vec![letter(refuses)]).expect("it is too long");
    assert!(text.contains("dead letter of file:7") && text.contains("409601 bytes"), "{text}");
    host.commit(vec![], vec![letter(takes)]).await;
    // An alias of one digit where the longest has thirteen, a position of six bytes twice, and no more slack than that.
    never(&mut tables.host("c").await, vec![], vec![letter(refuses + 40)]).await;
}

/// The service refuses it for good, when asked all the same.
async fn never(host: &mut Host, groups: Vec<Group>, dead: Vec<DeadLetter>) {
    let base = host.base().await;
    let content = host.content(&base, groups, dead);
    let alias = host.lane.head().expect("it was made").alias;
    let apply = Command::Apply { alias, content: Arc::new(content), effects: vec![0] };
    let answer = host.execute(&apply).await;
    assert!(matches!(&answer, Answer::Applied(a) if matches!(a[..], [Applied::Impossible(_)])), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_writing_costs_is_what_the_service_says() {
    let tables = Tables::new("costs").await;
    let store = tables.store().await;
    let mut host = Host::new(&(Arc::clone(&store) as Arc<dyn Store>), &layout(), "a").await;
    let units = || -> BTreeMap<String, (u64, u64)> {
        let short = |name: &str| name.rsplit('-').next().unwrap_or_default().to_owned();
        store.write_units().into_iter().map(|u| (short(&u.table), (u.reported, u.computed))).collect()
    };
    let tried = units();
    assert!(tried.values().all(|(reported, _)| *reported == 0), "rights are tried, nothing is written: {tried:?}");
    host.base().await;
    let before = units();
    host.commit(main_rows((0..20).map(|k| row(&format!("k{k}"), 1, 1)).collect()), vec![letter(3_000)]).await;
    let after = units();
    let spent = |table: &str| (after[table].0 - before[table].0, after[table].1 - before[table].1);
    // Sums, then extremes, of twenty short rows; three KB of a record and its names.
    assert_eq!((spent("rows"), spent("dead"), spent("late")), ((40, 0), (4, 0), (0, 0)));
    let (lanes, computed) = spent("lanes");
    assert!((8..30).contains(&lanes) && computed == 0, "an intent with a record of 3 KB, and a commit: {lanes}");
}
