//! The budget of keys: what counts in overflow rows is what the keys beyond the first so many of each window count, no
//! matter how the lane is cut, flushed and saved.
//!
//! The judge is an engine without a budget that is flushed after every record: each record's deltas say which windows took
//! it, in the lane's order. Keys are then let in by hand.
//!
//! Not here: windows that wait for triggers (`reference`).

mod support;

use plimsoll_core::engine::{Engine, FlushMode, SnapshotError};
use plimsoll_core::policy::{Policy, Spec, Windowing};
use plimsoll_core::rows::{Rows, is_overflow, overflow_key};
use plimsoll_core::wire::effects::{self, Effects, Group, Row, Table};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use support::{Case, Run, check};

/// Policies without triggers, of every kind of window that does not merge, with and without this budget.
fn both(policy: &Policy, most: u32) -> (Policy, Policy) {
    let spec = Spec { panes: None, kept: Vec::new(), ..policy.spec().clone() };
    let mut bounded = spec.clone();
    bounded.limits.keys_per_window = Some(most);
    let mut unbounded = spec;
    unbounded.limits.keys_per_window = None;
    (Policy::new(bounded).expect("a good policy"), Policy::new(unbounded).expect("a good policy"))
}

/// One flush's effects.
fn flushed(engine: &mut Engine, mode: FlushMode) -> Effects {
    let mut out = Vec::new();
    engine.flush(mode, &mut out);
    effects::decode(&out).expect("effects that the engine wrote")
}

/// What must come out: the deltas of each record, the keys of main rows let in while there is room.
fn expected(policy: &Policy, most: u32, case: &Case) -> (Rows, u64) {
    let mut run = Run::new(policy);
    let mut rows = Rows::new(policy);
    let mut keys: BTreeMap<(i64, i64), BTreeSet<Vec<u8>>> = BTreeMap::new();
    let mut overflowed = 0;
    for (i, step) in case.steps.iter().enumerate() {
        run.apply(&support::frame_of(i, step));
        let mut e = flushed(&mut run.engine, FlushMode::All);
        let mut any = false;
        for Group { table, start, end, rows } in &mut e.groups {
            let keys = keys.entry((start.as_millis(), end.as_millis())).or_default();
            for Row { key, .. } in rows.iter_mut().filter(|_| *table == Table::Main) {
                if !keys.contains(key) && keys.len() >= most as usize {
                    *key = overflow_key(1);
                    any = true;
                } else {
                    keys.insert(key.clone());
                }
            }
        }
        overflowed += u64::from(any);
        rows.add(e).expect("small totals");
    }
    (rows, overflowed)
}

fn text(rows: &Rows) -> String {
    let mut out = Vec::new();
    rows.write_main(&mut out);
    rows.write_late(&mut out);
    String::from_utf8(out).expect("rows are text")
}

/// Sums of all measures that add up, per window.
fn sums(rows: &Rows) -> BTreeMap<(i64, i64), Vec<i128>> {
    let mut sums: BTreeMap<_, Vec<i128>> = BTreeMap::new();
    for (window, row) in rows.main() {
        let sum = sums.entry((window.start.as_millis(), window.end.as_millis())).or_default();
        sum.resize(3, 0);
        sum.iter_mut().zip(&row.values).for_each(|(sum, v)| *sum += v.unwrap_or(0));
    }
    sums
}

fn policies() -> impl Strategy<Value = (Policy, i64)> {
    support::policies(support::windows(), Just(plimsoll_core::policy::Trigger::Default))
}

#[test]
fn the_first_keys_of_each_window_have_rows_and_the_others_share_one() {
    let cuts = vec(0u8..12, 60);
    check("budgets", 6_000, &(support::cases(policies(), 60), 1u32..4, cuts), |(case, most, cuts)| {
        let (bounded, unbounded) = both(&case.policy, most);
        let (expected, overflowed) = expected(&unbounded, most, &case);
        let mut run = Run::new(&bounded);
        for (i, step) in case.steps.iter().enumerate() {
            run.apply(&support::frame_of(i, step));
            match cuts[i] {
                0 | 1 => run.flush(FlushMode::All),
                2 => run.flush(FlushMode::Final),
                3 | 4 => run.restore(),
                5 => {
                    run.flush(FlushMode::All);
                    run.restore();
                }
                _ => {}
            }
        }
        run.end();
        prop_assert_eq!(text(&expected), text(&run.rows), "rows (expected, got)");
        prop_assert_eq!(run.rows.account().overflow, overflowed, "records in overflow rows");
        prop_assert_eq!(sums(&expected), sums(&run.rows));
        for rows in per_window(&run.rows).values() {
            prop_assert!(rows.iter().filter(|key| !is_overflow(key)).count() <= most as usize);
        }
        // The accounts differ in nothing but that.
        let mut account = run.rows.account().clone();
        account.overflow = 0;
        prop_assert_eq!(&account, expected.account());
        Ok(())
    });
}

fn per_window(rows: &Rows) -> BTreeMap<(i64, i64), Vec<Vec<u8>>> {
    let mut keys: BTreeMap<_, Vec<Vec<u8>>> = BTreeMap::new();
    for (window, row) in rows.main() {
        keys.entry((window.start.as_millis(), window.end.as_millis())).or_default().push(row.key.clone());
    }
    keys
}

const POLICY: &str = r#"
policy = "budget"
[input]
time = { field = "ts", unit = "ms", unit_check = false }
key = ["a", "b"]
[window]
fixed = "10ms"
[watermark]
max = true
delay = "5ms"
[measures]
n = "count"
[limits]
keys_per_window = 2
"#;

fn fed(engine: &mut Engine, records: &[(i64, &str)]) {
    let mut frames = Vec::new();
    let lines: String = records.iter().map(|(t, a)| format!("{{\"ts\":{t},\"a\":{a},\"b\":1}}\n")).collect();
    let kind = plimsoll_core::wire::frame::Kind::Lines;
    plimsoll_core::wire::frame::push(&mut frames, kind, 0, None, lines.as_bytes());
    let len = frames.len();
    frames.resize(len + plimsoll_core::json::PADDING, 0);
    engine.apply(&frames, len).expect("frames as sources write them");
}

#[test]
fn an_overflow_row_is_marked_and_no_record_can_make_one() {
    let policy = Policy::from_toml(POLICY).unwrap_or_else(|e| panic!("{e}"));
    let mut engine = Engine::new(policy.clone());
    let mut rows = Rows::new(&policy);
    fed(
        &mut engine,
        &[(0, "\"x\""), (1, "\"y\""), (2, "\"z\""), (3, "null"), (4, "\"null\""), (3, "\"x\""), (12, "\"z\"")],
    );
    rows.add(flushed(&mut engine, FlushMode::All)).expect("small totals");
    assert_eq!(
        text(&rows).lines().collect::<Vec<_>>(),
        [
            r#"{"a":"x","b":1,"window_start":0,"window_end":10,"n":2,"state":"provisional"}"#,
            r#"{"a":"y","b":1,"window_start":0,"window_end":10,"n":1,"state":"provisional"}"#,
            r#"{"a":null,"b":null,"window_start":0,"window_end":10,"n":2,"overflow":true,"state":"provisional"}"#,
            r#"{"a":"z","b":1,"window_start":10,"window_end":20,"n":1,"state":"provisional"}"#,
        ]
    );
    let account = rows.account();
    assert_eq!((account.read, account.counted, account.rejected, account.overflow), (7, 6, 1, 2));
}

#[test]
fn what_is_remembered_is_forgotten_with_its_window() {
    let policy = Policy::from_toml(POLICY).unwrap_or_else(|e| panic!("{e}"));
    let mut engine = Engine::new(policy.clone());
    let size = |engine: &mut Engine| {
        flushed(engine, FlushMode::All);
        let mut bytes = Vec::new();
        engine.snapshot(&mut bytes);
        bytes.len()
    };
    let empty = size(&mut engine);
    fed(&mut engine, &[(0, "1"), (1, "2"), (2, "3"), (12, "3")]);
    let two_windows = size(&mut engine);
    assert!((empty + 24..empty + 40).contains(&two_windows), "{empty} and {two_windows} bytes");
    // The watermark passes both.
    fed(&mut engine, &[(100_000, "1")]);
    assert!(size(&mut engine) < two_windows);
    for t in 0..1_000 {
        fed(&mut engine, &[(100_000 + 10 * t, "1"), (100_000 + 10 * t, "2"), (100_000 + 10 * t, "3")]);
    }
    assert!(size(&mut engine) < two_windows + 24, "a thousand windows later");
}

#[test]
fn damaged_memory_of_keys_is_refused() {
    let policy = Policy::from_toml(POLICY).unwrap_or_else(|e| panic!("{e}"));
    let mut engine = Engine::new(policy.clone());
    fed(&mut engine, &[(0, "1"), (1, "2"), (12, "3")]);
    flushed(&mut engine, FlushMode::All);
    let mut bytes = Vec::new();
    engine.snapshot(&mut bytes);
    let at = bytes.len();
    let resealed = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.clone();
        edit(&mut bytes);
        let len = bytes.len() as u32;
        bytes[8..12].copy_from_slice(&len.to_le_bytes());
        let sum = crc32(&bytes[16..]);
        bytes[12..16].copy_from_slice(&sum.to_le_bytes());
        Engine::restore(policy.clone(), &bytes).map(|_| ())
    };
    assert!(resealed(&|_| ()).is_ok());
    // 2 windows; [0, 10) with two keys; [10, 20) with one.
    assert_eq!(bytes[at - 31..at - 27], [2, 0, 20, 2]);
    let edits: [Edit<'_>; 6] = [
        &|b| b.truncate(at - 1),
        &|b| b.push(0),
        // A budget of two.
        &|b| b[at - 28] = 3,
        // The same key twice.
        &|b| b.copy_within(at - 27..at - 19, at - 19),
        // A window that ends where the watermark is, and one that ends before its start.
        &|b| b[at - 10] = 14,
        &|b| b[at - 30] = 60,
    ];
    for (i, edit) in edits.into_iter().enumerate() {
        assert!(matches!(resealed(edit), Err(SnapshotError::Damaged(_))), "edit {i}");
    }
}

type Edit<'a> = &'a dyn Fn(&mut Vec<u8>);

/// CRC-32 as in zlib, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

#[test]
fn a_budget_is_refused_where_it_makes_no_sense() {
    let refused = |edit: &[(&str, &str)]| {
        let text = edit.iter().fold(POLICY.to_owned(), |text, (from, to)| text.replace(from, to));
        Policy::from_toml(&text).expect_err("refused").to_string()
    };
    for (edit, words) in [
        ([("= 2", "= 0"), ("", "")], ["limits.keys_per_window", "1 to 1000000 keys"]),
        ([("fixed = \"10ms\"", "session = { gap = \"1s\" }"), ("", "")], ["sessions", "trigger.open_max"]),
        ([("[measures]", "[late]\nto = \"accept\"\n[measures]"), ("", "")], ["late.to = \"accept\"", "for ever"]),
        (
            [("n = \"count\"", "overflow = \"count\""), ("", "")],
            ["measures.overflow", "state, late, arrival_day, overflow"],
        ),
        ([("\"b\"", "\"x.overflow\""), ("", "")], ["input.key[1]", "arrival_day, overflow"]),
    ] {
        let message = refused(&edit);
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
    // A column of that name is as good as any other where nothing overflows.
    let free = POLICY.replace("n = \"count\"", "overflow = \"count\"").replace("[limits]\nkeys_per_window = 2\n", "");
    assert!(matches!(Policy::from_toml(&free).expect("a good policy").spec().window, Windowing::Fixed { .. }));
}
