//! Each kind of imbalance is found, and named; what is under way, has expired or cannot be told is none.
//!
//! Not here: real stores (`tests/tests/audit.rs`).

use super::*;
use crate::store::Slots;
use plimsoll_core::lane::Pin;
use plimsoll_core::policy::Policy;
use plimsoll_core::rollup::{Level, Part, Slot, Whole};
use plimsoll_core::window::Window;
use plimsoll_core::wire::effects::{Effects, Group, Progress, Row, Table};
use std::sync::Arc;

const DAY_MS: i64 = 86_400_000;
const NOW: i64 = 20_000 * DAY_MS;

fn layout(more: &str) -> Layout {
    let text = format!(
        "policy = \"p\"\ninput = {{ time = {{ field = \"t\", unit = \"ms\" }}, key = [\"k\"] }}\n\
         window = {{ fixed = \"1m\" }}\n{more}\n"
    );
    Layout::new(Arc::new(Policy::from_toml(&text).unwrap_or_else(|e| panic!("{e}"))))
}

fn counting() -> Layout {
    layout("measures = { s = { sum = \"v\" }, n = \"count\" }\n[rollup]\nhour = true\nday = { zone = \"UTC\" }")
}

fn account(counted: u64, late: u64, rejected: u64) -> Account {
    let mut a = Account { read: counted + late, counted, late, ..Account::default() };
    for _ in 0..rejected {
        a.read += 1;
        a.reject(Reason::Malformed);
    }
    a
}

fn lane(layout: &Layout, id: &str, account: Account) -> Lane {
    let mut head = Head::new(layout.lane(id), 1, "t".into(), NOW - DAY_MS);
    head.n = 7;
    head.account = account;
    Lane { head, in_flight: Some(InFlight::default()) }
}

fn row(table: Table, count: i128) -> StoredRow {
    let window = Window::of_millis(NOW - DAY_MS, NOW - DAY_MS + 60_000);
    StoredRow { table, window, row: Row { key: b"[\"a\"]".to_vec(), values: vec![None, Some(count)] }, version: 1 }
}

/// Two lanes with 10 + 5 records counted, 2 late, 3 malformed.
fn seen(layout: &Layout) -> Seen {
    let lanes = || vec![lane(layout, "a", account(10, 2, 3)), lane(layout, "b", account(5, 0, 0))];
    Seen {
        before: lanes(),
        after: lanes(),
        main: vec![row(Table::Main, 9), row(Table::Main, 6)],
        late: vec![row(Table::Late { day: None }, 2)],
        letters: BTreeMap::from([(("a".into(), Reason::Malformed), 3)]),
        expired_ms: None,
    }
}

fn wrong(layout: &Layout, seen: &Seen) -> Vec<Check> {
    accounts::checks(layout, seen).into_iter().filter(|c| c.outcome == Outcome::Imbalance).collect()
}

/// The only check that fails, with what was found and expected.
fn only(layout: &Layout, seen: &Seen) -> (&'static str, String, String, Option<String>) {
    let all = wrong(layout, seen);
    let [check] = all.as_slice() else { panic!("{all:#?}") };
    (check.check, check.found.clone(), check.expected.clone(), check.lane.clone())
}

#[test]
fn what_adds_up_is_balanced() {
    let layout = counting();
    let checks = accounts::checks(&layout, &seen(&layout));
    assert!(checks.iter().all(|c| c.outcome == Outcome::Ok), "{checks:#?}");
    assert_eq!(checks.len(), 6, "an account and letters of each lane, main rows, late rows");
}

#[test]
fn a_record_too_few_or_too_many_anywhere_is_found() {
    let layout = counting();
    let expect = |change: &dyn Fn(&mut Seen), check: &str, found: &str, expected: &str, lane: Option<&str>| {
        let mut seen = seen(&layout);
        change(&mut seen);
        let (c, f, e, l) = only(&layout, &seen);
        assert!(c.contains(check), "{c}");
        assert_eq!((f.as_str(), e.as_str(), l.as_deref()), (found, expected, lane));
    };
    expect(&|s| s.main[0] = row(Table::Main, 8), "main rows", "14", "15", None);
    expect(&|s| s.main.push(row(Table::Main, 1)), "main rows", "16", "15", None);
    expect(&|s| s.late.clear(), "late rows", "0", "2", None);
    let malformed = |n| (("a".to_owned(), Reason::Malformed), n);
    expect(&|s| s.letters = BTreeMap::from([malformed(2)]), "dead letters", "2", "3", Some("a"));
    expect(&|s| s.letters.extend([(("b".into(), Reason::Future), 1)]), "dead letters", "1", "0", Some("b"));
    expect(
        &|s| s.letters.extend([(("c".into(), Reason::Late), 1)]),
        "dead letters",
        "1 late",
        "no such lane",
        Some("c"),
    );
    expect(&|s| s.after[1].head.account.read += 1, "classes", "5", "6", Some("b"));
    expect(&|s| s.after[1].head.n = 6, "classes", "5", "5", Some("b"));
}

#[test]
fn what_is_under_way_may_be_there_or_not() {
    let layout = counting();
    let mut s = seen(&layout);
    // Three records more are being written, of which two are in the rows already.
    let pending = Some((8, account(3, 0, 1)));
    s.after[0].in_flight = Some(InFlight { pending: pending.clone(), rest: None });
    s.main.push(row(Table::Main, 2));
    assert_eq!(wrong(&layout, &s), []);
    s.main.push(row(Table::Main, 2));
    assert_eq!(
        only(&layout, &s),
        ("count of main rows against records counted", "19".into(), "15 to 18, as lanes go on".into(), None)
    );
    // Of what is accounted, five records are still to be given out.
    let mut s = seen(&layout);
    let rest = Effects {
        groups: vec![Group {
            table: Table::Main,
            start: s.main[0].window.start,
            end: s.main[0].window.end,
            rows: vec![row(Table::Main, 5).row],
        }],
        measures: 2,
        progress: Progress::default(),
        account: Account::default(),
        dead: Vec::new(),
    };
    for lanes in [&mut s.before, &mut s.after] {
        lanes[0].in_flight = Some(InFlight { pending: pending.clone(), rest: Some(rest.clone()) });
    }
    s.main = vec![row(Table::Main, 10)];
    assert_eq!(wrong(&layout, &s), []);
    s.main = vec![row(Table::Main, 9)];
    assert_eq!(only(&layout, &s).1, "9");
    // What could not be read says so.
    s.after[0].in_flight = None;
    let checks = accounts::checks(&layout, &s);
    assert!(checks.iter().any(|c| c.outcome == Outcome::NotChecked && c.note.contains("ask again")), "{checks:#?}");
    assert_eq!(wrong(&layout, &s), []);
}

#[test]
fn rows_that_may_have_expired_are_not_missed_but_too_many_still_are() {
    let layout = counting();
    let mut s = seen(&layout);
    let kept = Some(TimeDelta::from_millis(8 * DAY_MS));
    assert_eq!(expired_ms(kept, NOW, &s.after), None, "the lanes are a day old");
    s.after[0].head.created_ms = NOW - 30 * DAY_MS;
    assert_eq!(expired_ms(None, NOW, &s.after), None, "rows that stay");
    s.expired_ms = expired_ms(kept, NOW, &s.after);
    assert_eq!(s.expired_ms, Some(NOW - 8 * DAY_MS));
    s.main = vec![row(Table::Main, 4)];
    let checks = accounts::checks(&layout, &s);
    let main = checks.iter().find(|c| c.check.contains("main rows")).expect("it is compared");
    assert_eq!(main.outcome, Outcome::NotChecked);
    assert!(main.note.contains("ended before 2024-09-26") && main.note.contains("cannot be checked"), "{}", main.note);
    s.main = vec![row(Table::Main, 16)];
    assert_eq!(only(&layout, &s).1, "16");
}

#[test]
fn what_the_measures_do_not_tell_is_not_checked() {
    for (more, why) in [
        ("measures = { s = { sum = \"v\" } }", "no `count` of records"),
        ("measures = { s = { sum = \"v\" }, n = \"count\" }\n[trigger]", "waits for a trigger"),
    ] {
        let layout = layout(more);
        let checks = accounts::checks(&layout, &seen(&layout));
        let not: Vec<_> = checks.iter().filter(|c| c.outcome == Outcome::NotChecked).collect();
        assert_eq!(not.len(), 2);
        assert!(not[0].note.contains(why), "{}", not[0].note);
        assert_eq!(wrong(&layout, &seen(&layout)), []);
    }
    let layout = counting();
    let mut s = seen(&layout);
    let pin = Pin { policy: [0; 32], module: None, replay: 1, name: "p".into(), shape: [9; 8] };
    s.after[1].head.pin = Some(pin);
    let checks = accounts::checks(&layout, &s);
    let last = checks.last().expect("a check");
    assert!(last.outcome == Outcome::NotChecked && last.note.contains("other windows, keys or measures"), "{last:?}");
}

/// An hour of two minutes, in its day.
fn slots(layout: &Layout) -> Slots {
    let spans = Spans::of(&layout.policy).expect("a rollup");
    let measures = &layout.policy.spec().measures;
    let mut slots = Slots::default();
    let part = |version, n| Part { version, values: vec![None, Some(n)] };
    for (minute, part) in [(0, part(3, 7)), (1, part(1, 5))] {
        let start = NOW - DAY_MS + minute * 60_000;
        let window = Window::of_millis(start, start + 60_000);
        let change = crate::rollup::Change { key: b"[\"a\"]".to_vec(), window, bucket: 0, part: part.clone() };
        let hour = spans.hour(window.start);
        let whole: &mut Whole = slots.hours.entry((change.key.clone(), hour)).or_default();
        whole.set(Slot::of(&window, &hour), part);
        slots.rows.push(change);
    }
    let ((key, hour), whole) = slots.hours.iter().next().expect("an hour");
    let day = spans.day(hour.start).expect("days");
    slots.days.entry((key.clone(), day)).or_default().set(Slot::of(hour, &day), whole.part(measures));
    slots
}

fn compared(change: impl FnOnce(&mut Slots)) -> (Vec<Check>, Vec<Behind>) {
    let layout = counting();
    let spans = Spans::of(&layout.policy).expect("a rollup");
    let mut slots = slots(&layout);
    change(&mut slots);
    let (checks, behind) = spans::checks(&layout, &spans, &slots, Some(NOW - 8 * DAY_MS));
    for b in &behind {
        assert!(b.still(&slots));
    }
    (checks.into_iter().filter(|c| c.outcome == Outcome::Imbalance && c.key.is_some()).collect(), behind)
}

fn first(wholes: &mut BTreeMap<crate::store::SpanKey, Whole>) -> &mut Whole {
    wholes.values_mut().next().expect("one")
}

#[test]
fn a_slot_that_differs_is_named_with_its_key_and_hour() {
    assert_eq!(compared(|_| {}), (vec![], vec![]));
    let zero = Slot { minute: 0, bucket: 0 };
    let (wrong, behind) = compared(|s| first(&mut s.hours).slots.get_mut(&zero).expect("a slot").values[1] = Some(8));
    // The day was made of the right hour: it differs from this one.
    assert_eq!((wrong.len(), behind.len()), (2, 0));
    assert_eq!(
        (wrong[0].found.as_str(), wrong[0].expected.as_str()),
        ("[null, 8] at version 3", "[null, 7] at version 3")
    );
    assert_eq!(wrong[0].key.as_deref(), Some("[\"a\"]"));
    assert_eq!(wrong[0].window, Some([NOW - DAY_MS, NOW - DAY_MS + 3_600_000]));
    let (wrong, _) = compared(|s| first(&mut s.days).slots.get_mut(&zero).expect("a slot").values[1] = Some(11));
    assert_eq!((wrong.len(), wrong[0].check), (1, "days against their hours"));
    // Ahead of its row, and without one.
    let (wrong, _) = compared(|s| s.rows[1].part.version = 0);
    assert_eq!(wrong.len(), 1);
    let (wrong, _) = compared(|s| drop(s.rows.pop()));
    assert_eq!((wrong.len(), wrong[0].expected.as_str()), (1, "nothing"));
}

#[test]
fn a_slot_behind_its_row_is_told_apart_and_catches_up() {
    let layout = counting();
    let (wrong, behind) = compared(|s| s.rows[0].part = Part { version: 4, values: vec![None, Some(9)] });
    assert_eq!((wrong.len(), behind.len()), (0, 1));
    let check = behind[0].check();
    assert!(check.outcome == Outcome::Imbalance && check.note.contains("it is behind"), "{check:?}");
    let mut later = slots(&layout);
    assert!(behind[0].still(&later));
    let hour = first(&mut later.hours);
    hour.set(Slot { minute: 0, bucket: 0 }, Part { version: 4, values: vec![None, Some(9)] });
    assert!(!behind[0].still(&later));
    // No hour at all yet: the rows, and the day that knows of it.
    let (wrong, behind) = compared(|s| s.hours.clear());
    assert_eq!((wrong.len(), behind.len()), (1, 2));
}

#[test]
fn rows_of_hours_long_ago_are_not_missed() {
    let layout = counting();
    let spans = Spans::of(&layout.policy).expect("a rollup");
    let mut slots = slots(&layout);
    slots.rows.clear();
    let (checks, behind) = spans::checks(&layout, &spans, &slots, Some(NOW));
    assert!(behind.is_empty() && checks.iter().all(|c| c.outcome == Outcome::Ok), "{checks:#?}");
    assert!(checks[0].note.contains("2 slots of rows that have expired"), "{}", checks[0].note);
    assert_eq!(Level::Hour.name(), "hour");
}
