//! The contract of stores as tests: one suite that every store passes, the one in memory included.
//!
//! It stands here and not among the tests, so that suites with services of their own (DynamoDB) can call it too.
//! It drives the real protocol ([`Host`]), and panics with what it found.

mod gaps;
mod host;

pub use host::{Host, progress};

use super::{Layout, RowQuery, Store, Which};
use plimsoll_core::account::Reason;
use plimsoll_core::lane::{Answer, Applied, Atomicity, Chunk, ChunkName, Command, End, Step, StoredHead, StoredPend};
use plimsoll_core::policy::Policy;
use plimsoll_core::time::{ArrivalTime, EventTime};
use plimsoll_core::window::Window;
use plimsoll_core::wire::effects::{DeadLetter, Group, Row, Table};
use sha2::{Digest as _, Sha256};
use std::future::Future;
use std::sync::Arc;

/// Two hosts' handles on one fresh, empty store.
pub type Hosts = [Arc<dyn Store>; 2];

/// Runs the whole suite. `fresh` gives two handles on a store that was never used; it is asked once per case.
pub async fn check<F: Future<Output = Hosts>>(fresh: impl Fn() -> F) {
    rows_add_up_exactly(fresh().await).await;
    late_rows_stand_apart_by_day(fresh().await).await;
    rows_tell_which_lanes_wrote_them(fresh().await).await;
    queries_choose_and_order_rows(fresh().await).await;
    dead_letters_are_kept_once(fresh().await).await;
    strange_keys_come_back(fresh().await).await;
    generations_never_meet(fresh().await).await;
    two_hosts_count_once(fresh().await).await;
    a_repeated_write_is_refused(fresh().await).await;
    totals_beyond_the_limit_are_refused(fresh().await).await;
    gaps::are_noted_once_and_stay_accepted(fresh().await).await;
    let hosts = fresh().await;
    if hosts[0].atomicity() == Atomicity::Items {
        chunks_come_and_go(hosts).await;
        a_dead_hosts_batch_is_finished(fresh().await).await;
    }
}

/// The suite's policy: count, sum, min and max per key and 10 ms.
pub fn policy() -> Arc<Policy> {
    let canonical = concat!(
        r#"{"v":1,"policy":"contract","input":{"format":"json","time":{"field":["ts"],"unit":"ms","unit_check":true},"#,
        r#""arrival":null,"key":[["k"]],"source":null},"window":{"fixed":{"size":10,"offset":0}},"#,
        r#""watermark":{"strategy":"max","delay":0,"max_future":null,"future":"quarantine"},"#,
        r#""late":{"by":"record","allowed_lateness":0,"to":"table"},"#,
        r#""measures":[{"name":"n","op":"count","field":null},{"name":"sum","op":"sum","field":["v"]},"#,
        r#"{"name":"least","op":"min","field":["v"]},{"name":"most","op":"max","field":["v"]}],"#,
        r#""limits":{"record_bytes":1048576,"key_bytes":1024,"dead_letter_bytes":65536}}"#,
    );
    Arc::new(Policy::from_canonical(canonical.as_bytes()).expect("the suite's policy is canonical"))
}

/// The first generation of the suite's policy.
pub fn layout() -> Layout {
    Layout::new(policy())
}

fn row(key: &str, values: [Option<i128>; 4]) -> Row {
    Row { key: format!("[\"{key}\"]").into_bytes(), values: values.to_vec() }
}

/// A row of `n` records with the value `v` each.
fn ones(key: &str, n: i128, v: i128) -> Row {
    row(key, [Some(n), Some(n * v), Some(v), Some(v)])
}

fn group(table: Table, start: i64, rows: Vec<Row>) -> Group {
    Group { table, start: EventTime::from_millis(start), end: EventTime::from_millis(start + 10), rows }
}

/// Main rows of the window from 0 to 10 ms; no group where there are none.
pub fn main_rows(rows: Vec<Row>) -> Vec<Group> {
    if rows.is_empty() { vec![] } else { vec![group(Table::Main, 0, rows)] }
}

async fn rows_add_up_exactly([store, other]: Hosts) {
    let mut a = Host::new(&store, &layout(), "a").await;
    let mut b = Host::new(&other, &layout(), "b").await;
    let big = i128::from(i64::MAX) * 1_000;
    a.commit(main_rows(vec![ones("x", 2, 5), row("y", [Some(1), None, None, None])]), vec![]).await;
    b.commit(main_rows(vec![ones("x", 1, -7), ones("y", 1, 0)]), vec![]).await;
    let far = row("z", [Some(1), Some(i128::from(i64::MAX)), Some(i128::from(i64::MIN)), Some(i128::from(i64::MAX))]);
    a.commit(main_rows(vec![ones("x", 3, 100), far.clone()]), vec![]).await;
    a.commit(main_rows(vec![far.clone()]), vec![]).await;
    b.commit(main_rows(vec![row("z", [Some(1), Some(big), Some(big), Some(-big)])]), vec![]).await;
    b.commit(main_rows(vec![row("z", [Some(1), Some(-big - 1), Some(-big), Some(big)])]), vec![]).await;
    let max = i128::from(i64::MAX);
    let expected = [
        ("[\"x\"]", [Some(6), Some(10 - 7 + 300), Some(-7), Some(100)]),
        ("[\"y\"]", [Some(2), Some(0), Some(0), Some(0)]),
        ("[\"z\"]", [Some(4), Some(2 * max - 1), Some(-big), Some(big)]),
    ];
    let expected: Vec<_> = expected.map(|(k, v)| (k.to_owned(), v.to_vec())).into();
    assert_eq!(a.totals().await, expected);
    assert_eq!(b.totals().await, expected, "both hosts see the same rows");

    let mut heads = store.heads(&layout()).await.expect("heads can be read");
    heads.sort_by(|a, b| a.key.cmp(&b.key));
    let seen: Vec<_> = heads.iter().map(|h| (h.key.lane.as_str(), h.n, h.account.read, h.progress)).collect();
    assert_eq!(seen, [("a", 3, 8, progress(3)), ("b", 3, 4, progress(3))]);
}

async fn rows_tell_which_lanes_wrote_them([store, other]: Hosts) {
    let mut a = Host::new(&store, &layout(), "a").await;
    let mut b = Host::new(&other, &layout(), "b").await;
    a.commit(main_rows(vec![ones("x", 2, 5), ones("y", 1, 1)]), vec![]).await;
    a.commit(main_rows(vec![ones("x", 2, 5)]), vec![]).await;
    b.commit(main_rows(vec![ones("x", 1, 5)]), vec![]).await;
    let window = Window::of_millis(0, 10);
    let heads = store.heads(&layout()).await.expect("heads can be read");
    let mut told = Vec::new();
    for key in [&b"[\"x\"]"[..], b"[\"y\"]", b"[\"z\"]"] {
        let fences = store.fences(&layout(), &window, key).await.expect("fences can be read");
        let lane = |alias| heads.iter().find(|h| h.alias == alias).map_or("?", |h| h.key.lane.as_str());
        told.push(fences.map(|f| f.into_iter().map(|(alias, n)| (lane(alias), n)).collect::<Vec<_>>()));
    }
    match store.atomicity() {
        Atomicity::Transaction => assert_eq!(told, [None, None, None]),
        Atomicity::Items => {
            assert_eq!(told, [Some(vec![("a", 2), ("b", 1)]), Some(vec![("a", 1)]), Some(vec![])]);
        }
    }
}

async fn late_rows_stand_apart_by_day([store, _]: Hosts) {
    let mut a = Host::new(&store, &layout(), "a").await;
    let days = [Some(-1), Some(20_000), None];
    for _ in 0..2 {
        let mut groups: Vec<_> =
            days.iter().map(|day| group(Table::Late { day: *day }, -10, vec![ones("x", 1, 3)])).collect();
        groups.sort_by_key(|g| g.table);
        groups.push(group(Table::Main, 0, vec![ones("x", 1, 1)]));
        a.commit(groups, vec![]).await;
    }
    let late = a.rows(RowQuery { table: Which::Late, ..RowQuery::default() }).await;
    let mut seen: Vec<_> = late.iter().map(|r| (r.table, r.row.values.clone())).collect();
    seen.sort();
    let mut expected: Vec<_> = days.map(|day| (Table::Late { day }, vec![Some(2), Some(6), Some(3), Some(3)])).into();
    expected.sort();
    assert_eq!(seen, expected);
    assert_eq!(a.rows(RowQuery::default()).await.len(), 1, "late rows are no main rows");
}

async fn queries_choose_and_order_rows([store, _]: Hosts) {
    let mut a = Host::new(&store, &layout(), "a").await;
    let starts = [-20, -10, 0, 10, 1_700_000_000_000];
    a.commit(starts.map(|s| group(Table::Main, s, vec![ones("x", 1, 1), ones("y", 1, 1)])).into(), vec![]).await;
    let ask = async |query: RowQuery| -> Vec<(i64, String)> {
        let rows = a.rows(query).await;
        rows.into_iter()
            .map(|r| (r.window.start.as_millis(), String::from_utf8(r.row.key).unwrap_or_default()))
            .collect()
    };
    let (x, y) = ("[\"x\"]".to_owned(), "[\"y\"]".to_owned());
    let all: Vec<_> = starts.into_iter().flat_map(|s| [(s, x.clone()), (s, y.clone())]).collect();
    assert_eq!(ask(RowQuery::default()).await, all);
    let between = RowQuery {
        from: Some(EventTime::from_millis(-10)),
        to: Some(EventTime::from_millis(10)),
        ..RowQuery::default()
    };
    assert_eq!(ask(between).await, all[2..6]);
    let one = RowQuery { key: Some(y.clone().into_bytes()), ..RowQuery::default() };
    assert_eq!(ask(one).await, starts.map(|s| (s, y.clone())));
    assert_eq!(ask(RowQuery { limit: Some(3), ..RowQuery::default() }).await.len(), 3);
}

async fn dead_letters_are_kept_once([store, _]: Hosts) {
    let mut a = Host::new(&store, &layout(), "a").await;
    let letter = |ordinal, reason, arrival: Option<i64>| DeadLetter {
        ordinal,
        reason,
        field: (reason == Reason::BadTime).then_some(0),
        at: 3,
        arrival: arrival.map(ArrivalTime::from_millis),
        full_len: 99,
        raw: vec![0, 0xff, b'"', b'\n'],
    };
    a.commit(vec![], vec![letter(1, Reason::BadTime, Some(-5)), letter(7, Reason::ModuleTrap, None)]).await;
    a.commit(vec![], vec![letter(8, Reason::Malformed, None)]).await;
    let mut dead = store.dead_letters(&a.layout, 10).await.expect("dead letters can be read");
    dead.sort_by(|a, b| a.position.cmp(&b.position));
    let seen: Vec<_> =
        dead.iter().map(|d| (d.position.as_str(), d.n, d.reason, d.arrival.map(ArrivalTime::as_millis))).collect();
    assert_eq!(
        seen,
        [
            ("a/1/1", 1, Reason::BadTime, Some(-5)),
            ("a/1/7", 1, Reason::ModuleTrap, None),
            ("a/2/8", 2, Reason::Malformed, None)
        ]
    );
    assert!(dead.iter().all(|d| d.raw == [0, 0xff, b'"', b'\n'] && d.length == 99 && d.lane == "a"));
    assert!(dead[0].detail.contains("`ts`"), "the detail names the field: {}", dead[0].detail);
    assert_eq!(store.dead_letters(&a.layout, 2).await.expect("dead letters can be read").len(), 2);
}

async fn strange_keys_come_back([store, _]: Hosts) {
    let mut a = Host::new(&store, &layout(), "a").await;
    let mut keys = ["", "'; DROP TABLE x; --", "a#b", "\\u0000", "💧 \\\"q\\\"", "%_*", "rows_00"];
    keys.sort_by_key(|k| format!("[\"{k}\"]"));
    for _ in 0..2 {
        a.commit(main_rows(keys.iter().map(|k| ones(k, 1, 2)).collect()), vec![]).await;
    }
    let expected: Vec<_> =
        keys.iter().map(|k| (format!("[\"{k}\"]"), vec![Some(2), Some(4), Some(2), Some(2)])).collect();
    assert_eq!(a.totals().await, expected);
}

async fn generations_never_meet([store, other]: Hosts) {
    let second = Layout { generation: "second".into(), ..layout() };
    let mut a = Host::new(&store, &layout(), "a").await;
    let mut b = Host::new(&other, &second, "a").await;
    a.commit(main_rows(vec![ones("x", 1, 1)]), vec![]).await;
    b.commit(main_rows(vec![ones("x", 5, 1)]), vec![]).await;
    b.commit(main_rows(vec![ones("x", 5, 1)]), vec![]).await;
    assert_eq!(a.totals().await[0].1[0], Some(1));
    assert_eq!(b.totals().await[0].1[0], Some(10));
    assert_eq!(store.heads(&layout()).await.expect("heads can be read")[0].n, 1);
    assert_eq!(store.heads(&second).await.expect("heads can be read")[0].n, 2);
}

async fn two_hosts_count_once([store, other]: Hosts) {
    let mut a = Host::new(&store, &layout(), "a").await;
    let mut b = Host::new(&other, &layout(), "a").await;
    let (base_a, base_b) = (a.base().await, b.base().await);
    assert_eq!(base_a.tip, base_b.tip, "both begin at the one head");
    let content = a.content(&base_a, main_rows(vec![ones("x", 1, 1)]), vec![]);
    a.lane.offer(content);
    a.base().await;
    let content = b.content(&base_b, main_rows(vec![ones("x", 1, 1), ones("y", 1, 1)]), vec![]);
    b.lane.offer(content);
    assert_eq!(b.settle().await, Step::End(End::Behind), "the second one is told so");
    assert_eq!(a.totals().await.len(), 1);
    assert_eq!(a.totals().await[0].1[0], Some(1));
    // It looks again, and takes over.
    let mut b = Host::new(&other, &layout(), "a").await;
    b.commit(main_rows(vec![ones("x", 1, 1)]), vec![]).await;
    assert_eq!(a.totals().await[0].1[0], Some(2));
}

async fn a_repeated_write_is_refused([store, _]: Hosts) {
    let mut a = Host::new(&store, &layout(), "a").await;
    let base = a.base().await;
    let content = a.content(&base, main_rows(vec![ones("x", 1, 1)]), vec![]);
    a.lane.offer(content);
    let mut sent = Vec::new();
    while let Step::Do(command) = a.lane.step() {
        let answer = a.execute(&command).await;
        sent.push(command.clone());
        a.lane.answer(answer);
    }
    for command in &sent {
        let answer = a.execute(command).await;
        match command {
            Command::Apply { effects, content, .. } => {
                assert_eq!(answer, Answer::Applied(vec![Applied::Fenced(content.n); effects.len()]));
            }
            Command::Intent { .. } | Command::Commit { .. } | Command::Transact { .. } => {
                assert_eq!(answer, Answer::Refused, "{command:?}");
            }
            _ => {}
        }
    }
    let head = a.lane.head().expect("it is committed").stored(None);
    let again = a.execute(&Command::CreateHead { head: StoredHead { n: 0, ..head } }).await;
    assert_eq!(again, Answer::Refused, "a head is made once");
    assert_eq!(a.totals().await[0].1[0], Some(1));
}

async fn totals_beyond_the_limit_are_refused([store, _]: Hosts) {
    let mut a = Host::new(&store, &layout(), "a").await;
    let max = plimsoll_core::wire::effects::VALUE_MAX;
    a.commit(main_rows(vec![row("x", [Some(1), Some(max), None, None])]), vec![]).await;
    assert_eq!(a.totals().await[0].1[1], Some(max), "the limit itself is held");
    if store.atomicity() == Atomicity::Items {
        // 38 digits hold the sums of many totals: DynamoDB refuses far beyond the limit only.
        return;
    }
    let base = a.base().await;
    let content = a.content(&base, main_rows(vec![ones("w", 1, 1), row("x", [Some(1), Some(1), None, None])]), vec![]);
    a.lane.offer(content);
    let step = a.settle().await;
    assert!(matches!(step, Step::End(End::Halted(_))), "{step:?}");
    assert_eq!(a.totals().await.len(), 1, "nothing of the batch is there");
}

async fn chunks_come_and_go([store, _]: Hosts) {
    let mut a = Host::new(&store, &layout(), "a").await;
    a.base().await;
    let alias = a.lane.head().expect("it was made").alias;
    let chunk = |n: u64, bytes: Vec<u8>| Chunk { name: ChunkName { n, digest: Sha256::digest(&bytes).into() }, bytes };
    let chunks: Vec<_> = (0..3).map(|n| chunk(n, vec![n as u8; 200 << 10])).collect();
    let names: Vec<_> = chunks.iter().map(|c| c.name).collect();
    assert_eq!(a.execute(&Command::PutChunks { alias, chunks: chunks.clone() }).await, Answer::Written);
    assert_eq!(a.execute(&Command::PutChunks { alias, chunks: chunks[..1].to_vec() }).await, Answer::Written);
    let Answer::Names(mut listed) = a.execute(&Command::ListChunks { alias }).await else { panic!("names") };
    listed.sort();
    assert_eq!(listed, names);
    let other = a.execute(&Command::ListChunks { alias: alias + 1 }).await;
    assert_eq!(other, Answer::Names(vec![]), "another lane's chunks are not listed");
    let gone = vec![names[1]];
    assert_eq!(a.execute(&Command::DeleteChunks { alias, names: gone.clone() }).await, Answer::Written);
    assert_eq!(a.execute(&Command::DeleteChunks { alias, names: gone }).await, Answer::Written);
    let all = a.execute(&Command::GetChunks { alias, names: names.clone() }).await;
    let expected = vec![Some(chunks[0].bytes.clone()), None, Some(chunks[2].bytes.clone())];
    assert_eq!(all, Answer::Chunks(expected));
    let pend = StoredPend { n: 5, digest: [0; 32], bytes: vec![] };
    assert_eq!(a.execute(&Command::Intent { pend }).await, Answer::Refused, "batch 5 does not follow batch 0");
}

async fn a_dead_hosts_batch_is_finished([store, other]: Hosts) {
    let mut a = Host::new(&store, &layout(), "a").await;
    let base = a.base().await;
    let content = a.content(&base, main_rows(vec![ones("x", 1, 1), ones("y", 1, 9)]), vec![]);
    a.lane.offer(content);
    // The intent and one of two effects, then the host dies.
    while let Step::Do(command) = a.lane.step() {
        if let Command::Apply { alias, content, effects } = command {
            let first = Command::Apply { alias, content, effects: effects[..1].to_vec() };
            assert_eq!(a.execute(&first).await, Answer::Applied(vec![Applied::Done]));
            break;
        }
        let answer = a.execute(&command).await;
        a.lane.answer(answer);
    }
    let mut b = Host::new(&other, &layout(), "a").await;
    let base = b.base().await;
    assert_eq!((base.tip.n, base.state.and_then(|s| s.snapshot)), (1, Some(vec![1; 3])));
    let counts: Vec<_> = b.totals().await.into_iter().map(|(_, v)| v[0]).collect();
    assert_eq!(counts, [Some(1), Some(1)]);
    // The dead one wakes up.
    let step = a.settle().await;
    assert!(matches!(step, Step::Compute(_) | Step::End(End::Behind)), "{step:?}");
    let counts: Vec<_> = b.totals().await.into_iter().map(|(_, v)| v[0]).collect();
    assert_eq!(counts, [Some(1), Some(1)]);
}
