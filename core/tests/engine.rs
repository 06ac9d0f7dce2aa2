//! The engine from outside: verdicts on small timelines, and the laws that hold for any stream: cuts, restores, order of
//! frames change nothing.

use plimsoll_core::account::{Account, Reason};
use plimsoll_core::engine::{Engine, FlushMode};
use plimsoll_core::json::PADDING;
use plimsoll_core::policy::Policy;
use plimsoll_core::policy::text::{Syntax, parse};
use plimsoll_core::rows::Rows;
use plimsoll_core::time::ArrivalTime;
use plimsoll_core::wire::effects;
use plimsoll_core::wire::frame::{self, Kind};
use proptest::prelude::*;

const POLICY: &str = r#"
policy = "t"
[input]
time = { field = "ts", unit = "ms", unit_check = false }
key = ["k", "n"]
[window]
fixed = "10ms"
[watermark]
max = true
delay = "5ms"
max_future = "50ms"
[measures]
events = "count"
total = { sum = "v" }
least = { min = "v" }
most = { max = "v" }
"#;

fn policy(edit: &[(&str, &str)]) -> Policy {
    let text = edit.iter().fold(POLICY.to_string(), |t, (a, b)| {
        assert!(t.contains(a), "{a}");
        t.replace(a, b)
    });
    parse(&text, Syntax::Toml).unwrap_or_else(|e| panic!("{e}"))
}

struct Run {
    engine: Engine,
    rows: Rows,
    /// Final rows, given out as soon as they are.
    drained: Vec<u8>,
}

impl Run {
    fn new(policy: &Policy) -> Self {
        Self { engine: Engine::new(policy.clone()), rows: Rows::new(policy), drained: Vec::new() }
    }

    fn feed(&mut self, kind: Kind, ordinal: u64, arrival: Option<i64>, payload: &str) {
        let mut buf = Vec::new();
        frame::push(&mut buf, kind, ordinal, arrival.map(ArrivalTime::from_millis), payload.as_bytes());
        let len = buf.len();
        buf.resize(len + PADDING, 0);
        self.engine.apply(&buf, len).unwrap();
    }

    /// Several frames in one buffer, each behind the other.
    fn feed_together(&mut self, frames: &[(u64, Option<i64>, String)]) {
        let mut buf = Vec::new();
        for (ordinal, arrival, line) in frames {
            frame::push(
                &mut buf,
                Kind::Record,
                *ordinal,
                arrival.map(ArrivalTime::from_millis),
                line.trim_end().as_bytes(),
            );
        }
        let len = buf.len();
        buf.resize(len + PADDING, 0);
        self.engine.apply(&buf, len).unwrap();
    }

    fn flush(&mut self, mode: FlushMode) {
        let mut out = Vec::new();
        self.engine.flush(mode, &mut out);
        self.rows.add(effects::decode(&out).unwrap()).unwrap();
    }

    fn restore(&mut self) {
        let mut bytes = Vec::new();
        self.engine.snapshot(&mut bytes);
        self.engine = Engine::restore(self.engine.policy().clone(), &bytes).unwrap();
        let mut again = Vec::new();
        self.engine.snapshot(&mut again);
        assert_eq!(bytes, again, "a restored engine is the saved one");
    }

    fn text(&self) -> (String, String, Account) {
        let (mut main, mut late) = (self.drained.clone(), Vec::new());
        self.rows.write_main(&mut main);
        self.rows.write_late(&mut late);
        (String::from_utf8(main).unwrap(), String::from_utf8(late).unwrap(), self.rows.account().clone())
    }
}

fn record(k: &str, ts: i64, v: i64) -> String {
    format!("{{\"k\":\"{k}\",\"n\":1,\"ts\":{ts},\"v\":{v}}}\n")
}

#[test]
fn rows_late_rows_and_accounts_of_a_small_stream() {
    let mut run = Run::new(&policy(&[]));
    let lines = record("a", 3, 7)
        + "\n"
        + &record("a", 9, -2)
        + &record("b", 21, 1)
        + &record("a", 15, 5)
        + &record("a", 16, 5);
    run.feed(Kind::Lines, 1, None, &lines);
    run.flush(FlushMode::All);
    let (main, late, account) = run.text();
    assert_eq!(
        main,
        "{\"k\":\"a\",\"n\":1,\"window_start\":0,\"window_end\":10,\"events\":2,\"total\":5,\"least\":-2,\"most\":7,\"state\":\"final\"}\n\
         {\"k\":\"a\",\"n\":1,\"window_start\":10,\"window_end\":20,\"events\":1,\"total\":5,\"least\":5,\"most\":5,\"state\":\"provisional\"}\n\
         {\"k\":\"b\",\"n\":1,\"window_start\":20,\"window_end\":30,\"events\":1,\"total\":1,\"least\":1,\"most\":1,\"state\":\"provisional\"}\n"
    );
    // W = 21 - 5 = 16: the record at 15 is late though its window is open, the one at 16 is not.
    assert_eq!(
        late,
        "{\"k\":\"a\",\"n\":1,\"window_start\":10,\"window_end\":20,\"events\":1,\"total\":5,\"least\":5,\"most\":5,\"arrival_day\":null}\n"
    );
    assert_eq!((account.read, account.counted, account.late), (5, 4, 1));
    assert!(account.balanced());
}

#[test]
fn by_window_a_record_is_late_when_its_window_has_expired() {
    let by_window = "delay = \"5ms\"\n[late]\nby = \"window\"\nallowed_lateness = \"3ms\"\n";
    let p = policy(&[("delay = \"5ms\"\nmax_future = \"50ms\"\n", by_window)]);
    let mut run = Run::new(&p);
    // W = 12: [0, 10) ended, and expires at 13.
    run.feed(Kind::Lines, 0, None, &(record("a", 17, 1) + &record("a", 9, 1)));
    run.feed(Kind::Lines, 2, None, &(record("a", 18, 1) + &record("a", 9, 1)));
    run.flush(FlushMode::All);
    let (_, late, account) = run.text();
    assert_eq!((account.counted, account.late), (3, 1));
    assert!(late.contains("\"window_start\":0,\"window_end\":10,\"events\":1"));
}

#[test]
fn a_clock_too_far_ahead_of_its_arrival_moves_nothing() {
    for (future, counted, quarantined) in [("quarantine", 1, 1), ("clamp", 2, 0), ("accept", 2, 0)] {
        let p = policy(&[("max_future = \"50ms\"", &format!("max_future = \"50ms\"\nfuture = \"{future}\""))]);
        let mut run = Run::new(&p);
        run.feed(Kind::Record, 0, Some(100), &record("a", 1_000, 1));
        run.feed(Kind::Record, 1, Some(100), &record("a", 100, 1));
        run.flush(FlushMode::All);
        let (main, _, account) = run.text();
        assert_eq!((account.counted, account.future), (counted, quarantined), "{future}");
        assert_eq!(run.rows.progress().watermark.map(|w| w.as_millis()), Some(95), "{future}");
        let opened = match future {
            "quarantine" => false,
            "clamp" => main.contains("\"window_start\":150,"),
            _ => main.contains("\"window_start\":1000,"),
        };
        assert_eq!(opened, future != "quarantine", "{main}");
    }
}

#[test]
fn every_kind_of_bad_record_has_its_reason() {
    let p = policy(&[]);
    let long = format!("{{\"k\":\"{}\",\"n\":1,\"ts\":1,\"v\":1}}", "x".repeat(2_000));
    let deep = format!("{{\"x\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let cases: Vec<(&str, Reason)> = vec![
        ("nonsense", Reason::Malformed),
        ("{\"k\":\"a\",\"n\":1,\"ts\":1,\"v\":1} x", Reason::Malformed),
        ("[1]", Reason::Malformed),
        ("{\"k\":\"a\",\"n\":1,\"v\":1}", Reason::MissingField),
        ("{\"k\":null,\"n\":1,\"ts\":1,\"v\":1}", Reason::MissingField),
        ("{\"k\":\"a\",\"n\":1,\"ts\":\"1\",\"v\":1}", Reason::WrongType),
        ("{\"k\":{},\"n\":1,\"ts\":1,\"v\":1}", Reason::WrongType),
        ("{\"k\":\"a\",\"n\":1.5,\"ts\":1,\"v\":1}", Reason::NotInteger),
        ("{\"k\":\"a\",\"n\":1,\"ts\":1,\"v\":NaN}", Reason::Malformed),
        ("{\"k\":\"a\",\"n\":1,\"ts\":1e3,\"v\":1}", Reason::NotInteger),
        ("{\"k\":\"a\",\"n\":1,\"ts\":99999999999999999999,\"v\":1}", Reason::OutOfRange),
        ("{\"k\":\"a\",\"n\":1,\"ts\":9223372036854775808,\"v\":1}", Reason::OutOfRange),
        ("{\"k\":\"a\",\"n\":1,\"ts\":1,\"ts\":1,\"v\":1}", Reason::DuplicateField),
        (&long, Reason::KeyTooLong),
        (&deep, Reason::TooDeep),
    ];
    let mut run = Run::new(&p);
    for (i, (line, _)) in cases.iter().enumerate() {
        run.feed(Kind::Lines, i as u64, None, &(line.to_string() + "\r\n" + &record("ok", 1, 1)));
    }
    run.feed(Kind::Oversize, 99, None, "{\"k\":");
    run.flush(FlushMode::All);
    for ((line, reason), d) in cases.iter().zip(run.rows.dead()) {
        assert_eq!((d.reason, String::from_utf8_lossy(&d.raw).as_ref()), (*reason, *line), "{}", run.rows.explain(d));
    }
    assert_eq!(run.rows.dead().last().map(|d| (d.ordinal, d.reason)), Some((99, Reason::TooLong)));
    let account = run.rows.account();
    assert_eq!((account.counted, account.rejected), (cases.len() as u64, cases.len() as u64 + 1));
}

#[test]
fn a_time_in_the_wrong_unit_is_not_believed() {
    for (unit, ts, ok) in [
        ("ms", 1_700_000_000i64, false),
        ("ms", 1_700_000_000_000, true),
        ("s", 1_700_000_000_000, false),
        ("ms", -5, true),
        ("us", 1_700_000_000_000, false),
    ] {
        let p = policy(&[("unit = \"ms\", unit_check = false", &format!("unit = \"{unit}\""))]);
        let mut run = Run::new(&p);
        run.feed(Kind::Record, 0, None, &record("a", ts, 1));
        run.flush(FlushMode::All);
        assert_eq!(run.rows.account().counted == 1, ok, "{unit} {ts}");
        assert_eq!(run.rows.account().reasons.contains_key(&Reason::UnitSuspect), !ok);
    }
}

#[test]
fn bad_frames_change_nothing() {
    let mut run = Run::new(&policy(&[]));
    let mut buf = Vec::new();
    frame::push(&mut buf, Kind::Lines, 0, None, record("a", 1, 1).as_bytes());
    buf.extend_from_slice(&[7; 30]);
    let len = buf.len();
    buf.resize(len + PADDING, 0);
    assert!(run.engine.apply(&buf, len).is_err());
    assert_eq!(run.engine.pending(), 0);
}

#[test]
fn a_snapshot_of_another_policy_or_with_a_flipped_bit_is_refused() {
    let mut run = Run::new(&policy(&[]));
    run.feed(Kind::Lines, 0, None, &(record("a", 1, 1) + "bad\n"));
    let mut bytes = Vec::new();
    run.engine.snapshot(&mut bytes);
    assert!(
        Engine::restore(policy(&[("\"5ms\"", "\"6ms\"")]), &bytes)
            .is_err_and(|e| e.to_string().contains("belongs to policy"))
    );
    for i in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[i] ^= 1;
        assert!(Engine::restore(policy(&[]), &bad).is_err(), "byte {i}");
        assert!(Engine::restore(policy(&[]), &bytes[..i]).is_err(), "cut at {i}");
    }
}

fn streams() -> impl Strategy<Value = Vec<(i64, i64, usize, i64)>> {
    // (step of arrival, lag of the event, key, value); some lags are far ahead or far behind
    let lag = prop_oneof![8 => -10i64..30, 1 => 30i64..300, 1 => -200i64..-40];
    proptest::collection::vec((0i64..8, lag, 0usize..4, -5i64..5), 1..120)
}

fn lines(stream: &[(i64, i64, usize, i64)]) -> Vec<(i64, String)> {
    let mut arrival = 0;
    let keys = ["a", "b\\u0041", "\u{e9}\\\"", ""];
    stream
        .iter()
        .map(|(step, lag, key, v)| {
            arrival += step;
            let line = if *v == 4 { "{broken\n".to_string() } else { record(keys[*key], arrival - lag, *v) };
            (arrival, line)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_600))]
    #[test]
    fn cuts_flushes_and_restores_change_nothing(
        stream in streams(),
        cuts in proptest::collection::vec((0u8..4, any::<bool>()), 120),
        median in any::<bool>(), by_window in any::<bool>(), carried in any::<bool>(), to in 0usize..3,
        window in 0usize..4,
    ) {
        let window = ["fixed = \"10ms\"", "sliding = { size = \"10ms\", every = \"4ms\" }",
            "sliding = { size = \"4ms\", every = \"10ms\" }", "cumulative = { size = \"12ms\", step = \"4ms\" }"][window];
        let strategy = if median { "quantile = 0.5\nsample = 9\nmin_sample = 2" } else { "max = true" };
        let late = format!("[late]\nby = \"{}\"\nto = \"{}\"\n[measures]", if by_window { "window" } else { "record" }, ["table", "drop", "accept"][to]);
        let p = policy(&[("max = true", strategy), ("[measures]", &late), ("fixed = \"10ms\"", window)]);
        let lines = lines(&stream);
        let mut whole = Run::new(&p);
        for (i, (arrival, line)) in lines.iter().enumerate() {
            whole.feed(Kind::Record, i as u64, carried.then_some(*arrival), line.trim_end());
        }
        whole.flush(FlushMode::All);
        let mut together = Run::new(&p);
        let frames: Vec<_> =
            lines.iter().enumerate().map(|(i, (at, line))| (i as u64, carried.then_some(*at), line.clone())).collect();
        together.feed_together(&frames);
        together.flush(FlushMode::All);
        prop_assert_eq!(whole.text(), together.text());
        prop_assert_eq!(whole.rows.dead(), together.rows.dead());
        let mut cut = Run::new(&p);
        let mut held = String::new();
        let mut from = 0;
        for (i, (arrival, line)) in lines.iter().enumerate() {
            held.push_str(line);
            // Lines of one frame share their arrival, so carried arrivals need a frame each.
            if carried || cuts[i].0 > 0 {
                cut.feed(Kind::Lines, from, carried.then_some(*arrival), &held);
                held.clear();
                from = i as u64 + 1;
            }
            if held.is_empty() && cuts[i].0 == 2 { cut.flush(FlushMode::All); }
            if held.is_empty() && cuts[i].0 == 3 { cut.flush(FlushMode::Final); cut.rows.drain_final(&mut cut.drained); }
            if held.is_empty() && cuts[i].1 { cut.restore(); }
        }
        cut.feed(Kind::Lines, from, None, &held);
        cut.flush(FlushMode::All);
        prop_assert_eq!(whole.text(), cut.text());
        prop_assert_eq!(whole.rows.progress(), cut.rows.progress());
        prop_assert_eq!(whole.rows.dead(), cut.rows.dead());
        prop_assert!(whole.rows.account().balanced());
        prop_assert_eq!(whole.rows.account().read, lines.len() as u64);
    }
}

#[test]
fn a_frame_without_records_moves_the_arrival_clock() {
    let p = policy(&[("max = true", "arrival = true")]);
    let mut run = Run::new(&p);
    run.feed(Kind::Record, 0, Some(3), record("a", 1, 1).trim_end());
    run.feed(Kind::Lines, 1, Some(15), "");
    run.flush(FlushMode::Final);
    assert_eq!(run.rows.progress().watermark.map(|w| w.as_millis()), Some(10));
    assert!(run.text().0.contains("\"final\""));
    assert_eq!(run.rows.account().read, 1);
}

#[test]
fn a_child_lane_claims_no_more_than_each_of_its_parents() {
    let strategies = ["max = true", "quantile = 0.5\nsample = 5\nmin_sample = 1", "arrival = true"];
    for strategy in strategies {
        let policy = policy(&[("max = true", strategy)]);
        let parent = |times: &[i64]| {
            let mut run = Run::new(&policy);
            for t in times {
                run.feed(Kind::Record, 0, Some(*t + 1), &format!(r#"{{"ts":{t},"k":"a","n":1,"v":1}}"#));
            }
            let (mut out, mut snapshot) = (Vec::new(), Vec::new());
            run.engine.flush(FlushMode::All, &mut out);
            run.engine.snapshot(&mut snapshot);
            (run.engine.progress(), snapshot)
        };
        let ((slow, a), (fast, b)) = (parent(&[100, 110, 120]), parent(&[500, 510, 520]));
        assert!(slow.watermark < fast.watermark);
        let merged = Engine::inherit(&policy, &[Some(&a), Some(&b)]).unwrap();
        assert_eq!(merged.progress(), slow, "{strategy}");
        let split = Engine::inherit(&policy, &[Some(&b)]).unwrap();
        assert_eq!(split.progress(), fast, "{strategy}");
        let held = Engine::inherit(&policy, &[Some(&b), None]).unwrap();
        assert_eq!(held.progress(), Engine::new(policy.clone()).progress(), "{strategy}");

        let mut holding = Run::new(&policy);
        holding.feed(Kind::Record, 0, None, r#"{"ts":5,"k":"a","n":1,"v":1}"#);
        let mut snapshot = Vec::new();
        holding.engine.snapshot(&mut snapshot);
        assert!(Engine::inherit(&policy, &[Some(&snapshot)]).is_err(), "a row was not given out");
    }
}
