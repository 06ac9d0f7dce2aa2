//! What tests of panes share: random policies and streams, an engine that is fed step by step, seeds that are printed.
//!
//! Invariants
//! - Every random run prints its seed first; `PLIMSOLL_SEED` set to it gives the same run, `PLIMSOLL_CASES` another length.
//! - Policies are made as `Spec`s, so that nothing depends on the language people write them in.
//!
//! Not here: what must come out (`panes_laws`, `reference`).
#![allow(dead_code, reason = "each test uses its part")]

use plimsoll_core::engine::{Engine, FlushMode};
use plimsoll_core::expr::{Expression, Op as Operation, Step as Part};
use plimsoll_core::json::PADDING;
use plimsoll_core::policy::{
    Accumulation, Bundle, CalendarUnit, Emission, Format, Future, Input, Keep, Kept, Late, LateBy, LateTo, Limits,
    Measure, Op, Panes, Policy, Spec, Strategy as Follow, TimeField, TimeUnit, TimestampCombiner, Touching, Trigger,
    Watermark, Windowing, Zone,
};
use plimsoll_core::rows::Rows;
use plimsoll_core::time::{ArrivalTime, TimeDelta};
use plimsoll_core::wire::frame::{self, Kind};
use plimsoll_core::wire::{effects, panes};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner};
use std::io::Write as _;

/// One record.
#[derive(Clone, Debug)]
pub struct Rec {
    pub key: u8,
    pub t: i64,
    pub v: Option<i64>,
    pub gap: Option<i64>,
    pub arrival: Option<i64>,
}

/// One thing that happens to an engine.
#[derive(Clone, Debug)]
pub enum Step {
    Record(Rec),
    Watermark(i64),
    Tick(i64),
    /// A frame without records: how far the source's clock has come.
    Arrival(i64),
}

/// A policy and what happens under it.
#[derive(Clone)]
pub struct Case {
    pub policy: Policy,
    pub steps: Vec<Step>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", String::from_utf8_lossy(self.policy.canonical()))?;
        self.steps.iter().enumerate().try_for_each(|(i, step)| writeln!(f, "  {i}: {step:?}"))
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "whoever runs the tests says the seed and how many cases; the engine is not told. The host allows it anyway"
)]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|n| n.parse().expect("a whole number"))
}

/// Runs a property on random cases. The seed is printed and stands in the message of a failure.
pub fn check<S: Strategy>(name: &str, cases: u32, of: &S, property: impl Fn(S::Value) -> TestCaseResult) {
    let seed = number("PLIMSOLL_SEED").unwrap_or_else(|| TestRunner::default().rng().next_u64());
    let cases = number("PLIMSOLL_CASES").map_or(cases, |n| n as u32);
    // Not by `println!`, which is shown for failures alone.
    writeln!(std::io::stderr(), "{name}: {cases} cases, PLIMSOLL_SEED={seed}").expect("a place for messages");
    let bytes: [u8; 32] = core::array::from_fn(|i| seed.rotate_left(i as u32).to_le_bytes()[i % 8]);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 6_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    if let Err(e) = runner.run(of, property) {
        panic!("{name}, PLIMSOLL_SEED={seed}: {e}");
    }
}

fn ms(n: i64) -> TimeDelta {
    TimeDelta::from_millis(n)
}

fn path(name: &str) -> Vec<String> {
    vec![name.into()]
}

/// A policy of these windows and panes that counts everything there is to count; its watermark is given.
pub fn spec(window: Windowing, panes: Panes) -> Spec {
    let time = TimeField { field: path("ts"), unit: TimeUnit::Ms, unit_check: false };
    let measure =
        |name: &str, op, field: Option<&str>| Measure { name: name.into(), op, field: field.map(path), scale: None };
    let kept = |name: &str, what| Kept { name: name.into(), what, field: path("v") };
    Spec {
        v: 1,
        policy: "laws".into(),
        filter: None,
        input: Input { format: Format::Json, time, arrival: None, key: vec![path("k")], source: None },
        fields: Vec::new(),
        window,
        watermark: Watermark { strategy: Follow::Given, delay: ms(0), max_future: None, future: Future::Quarantine },
        late: Late { by: LateBy::Window, allowed_lateness: ms(0), to: LateTo::Table },
        measures: vec![
            measure("n", Op::Count, None),
            measure("values", Op::Count, Some("v")),
            measure("total", Op::Sum, Some("v")),
            measure("least", Op::Min, Some("v")),
            measure("most", Op::Max, Some("v")),
            measure("squares", Op::Squares, Some("v")),
        ],
        derived: Vec::new(),
        kept: vec![kept("first", Keep::First), kept("last", Keep::Last), kept("list", Keep::List { most: 3 })],
        panes: Some(panes),
        rollup: None,
        limits: Limits { record_bytes: 1 << 16, key_bytes: 256, dead_letter_bytes: 1 << 12, keys_per_window: None },
    }
}

/// Panes as Beam's defaults have them.
pub fn panes(trigger: Trigger, accumulation: Accumulation) -> Panes {
    Panes {
        trigger,
        accumulation,
        timestamp: TimestampCombiner::EndOfWindow,
        timestamp_shift: ms(0),
        on_time: Emission::Always,
        closing: Emission::IfNonEmpty,
        flush_on_expiry: true,
        bundle: Bundle::Record,
        open_max: 1_000_000,
    }
}

/// Windows of every kind but sessions, with the unit in which their times count.
pub fn windows() -> impl Strategy<Value = (Windowing, i64)> {
    let ones = |w: Windowing| (w, 1);
    prop_oneof![
        3 => (1i64..16, 0i64..16).prop_map(|(size, offset)| Windowing::Fixed { size: ms(size), offset: ms(offset % size) }).prop_map(ones),
        3 => (1i64..16, 1i64..20, 0i64..20)
            .prop_map(|(size, every, offset)| Windowing::Sliding { size: ms(size), every: ms(every), offset: ms(offset % every) }).prop_map(ones),
        2 => (1i64..6, 1i64..5, 0i64..30)
            .prop_map(|(step, n, offset)| Windowing::Cumulative { size: ms(step * n), step: ms(step), offset: ms(offset % (step * n)) }).prop_map(ones),
        1 => Just((Windowing::Global, 1)),
        1 => calendars(),
    ]
}

/// Calendars of zones whose clock changes now and then.
fn calendars() -> impl Strategy<Value = (Windowing, i64)> {
    const QUARTER: i64 = 900;
    let every = prop_oneof![
        Just(CalendarUnit::Hour),
        Just(CalendarUnit::Day),
        Just(CalendarUnit::Week),
        Just(CalendarUnit::Month)
    ];
    let change = (-1_000i64..4_000, -12i32..13);
    (every, -12i32..13, proptest::collection::vec(change, 0..3)).prop_map(|(every, first, mut changes)| {
        changes.sort_unstable();
        changes.dedup_by_key(|(at, _)| *at);
        let seconds = |quarters: i32| quarters * QUARTER as i32;
        let changes = changes.into_iter().map(|(at, offset)| (at * QUARTER, seconds(offset))).collect();
        let zone = Zone { name: "Test/Zone".into(), first: seconds(first), changes };
        let unit = if every == CalendarUnit::Hour { 900_000 } else { 4 * 3_600_000 };
        (Windowing::Calendar { every, zone }, unit)
    })
}

/// Sessions, by default or each record with a gap of its own.
pub fn sessions() -> impl Strategy<Value = (Windowing, i64)> {
    (1i64..10, any::<bool>(), any::<bool>()).prop_map(|(gap, own, merge)| {
        let touching = if merge { Touching::Merge } else { Touching::Separate };
        (Windowing::Session { gap: ms(gap), gap_field: own.then(|| path("gap")), touching }, 1)
    })
}

/// Triggers that stand alone.
pub fn leaves() -> impl Strategy<Value = Trigger> {
    prop_oneof![
        2 => Just(Trigger::Default),
        2 => Just(Trigger::AfterWatermark { early: None, late: None }),
        4 => (1u64..4).prop_map(|count| Trigger::AfterCount { count }),
        4 => (0i64..9, proptest::option::of(1i64..7), -4i64..7).prop_map(|(delay_ms, align_ms, offset)| {
            Trigger::AfterProcessingTime { delay_ms, align_ms, align_offset_ms: if align_ms.is_some() { offset } else { 0 } }
        }),
        1 => Just(Trigger::Always),
        1 => Just(Trigger::Never),
        2 => (1i64..12).prop_map(|period_ms| Trigger::EveryEventTime { period_ms }),
    ]
}

/// The whole algebra.
pub fn triggers() -> impl Strategy<Value = Trigger> {
    leaves().prop_recursive(3, 12, 3, |inner| {
        let some = || proptest::collection::vec(inner.clone(), 2..4);
        let maybe = || proptest::option::of(inner.clone().prop_map(Box::new));
        prop_oneof![
            (maybe(), maybe()).prop_map(|(early, late)| Trigger::AfterWatermark { early, late }),
            inner.clone().prop_map(|trigger| Trigger::Repeatedly { trigger: Box::new(trigger) }),
            some().prop_map(|triggers| Trigger::AfterEach { triggers }),
            some().prop_map(|triggers| Trigger::AfterAny { triggers }),
            some().prop_map(|triggers| Trigger::AfterAll { triggers }),
            (inner.clone(), inner.clone())
                .prop_map(|(main, until)| Trigger::OrFinally { main: Box::new(main), until: Box::new(until) }),
        ]
    })
}

/// Every choice that a policy has beside windows and trigger.
pub fn rules(trigger: Trigger) -> impl Strategy<Value = Panes> {
    let accumulation =
        prop_oneof![Just(Accumulation::Discarding), Just(Accumulation::Accumulating), Just(Accumulation::Retracting)];
    let timestamp = prop_oneof![
        Just(TimestampCombiner::EndOfWindow),
        Just(TimestampCombiner::Earliest),
        Just(TimestampCombiner::Latest)
    ];
    let emission = || prop_oneof![Just(Emission::Always), Just(Emission::IfNonEmpty)];
    (accumulation, timestamp, -2i64..3, emission(), emission(), any::<bool>()).prop_map(
        move |(accumulation, timestamp, shift, on_time, closing, flush_on_expiry)| Panes {
            timestamp,
            timestamp_shift: ms(shift),
            on_time,
            closing,
            flush_on_expiry,
            ..panes(trigger.clone(), accumulation)
        },
    )
}

/// What the watermark follows.
pub fn follows() -> impl Strategy<Value = Follow> {
    prop_oneof![
        6 => Just(Follow::Given),
        2 => Just(Follow::Max),
        2 => (1u32..1_000, 1u32..8, 1u32..8)
            .prop_map(|(q_milli, sample, min)| Follow::Quantile { q_milli, sample, min_sample: min.min(sample), per_source: None }),
        1 => Just(Follow::Arrival),
    ]
}

/// Any policy of these windows and triggers.
pub fn policies(
    windows: impl Strategy<Value = (Windowing, i64)>,
    triggers: impl Strategy<Value = Trigger>,
) -> impl Strategy<Value = (Policy, i64)> {
    let whole = (windows, triggers.prop_flat_map(rules), follows());
    let rest = (0i64..6, proptest::option::weighted(0.3, 0i64..12), 0usize..3, any::<bool>(), 0i64..14, 0usize..3);
    let budget = proptest::option::weighted(0.3, 1u32..3);
    let rest = (rest, proptest::bool::weighted(0.2), budget);
    (whole, rest).prop_map(|(((window, unit), panes, strategy), (rest, filtered, budget))| {
        let (delay, max_future, future, by_record, lateness, to) = rest;
        let merges = matches!(window, Windowing::Session { .. });
        let mut spec = spec(window, panes);
        spec.filter = filtered.then(filter);
        spec.limits.keys_per_window = budget.filter(|_| !merges);
        spec.watermark = Watermark {
            strategy,
            delay: ms(delay / 2 * unit),
            max_future: max_future.map(|n| ms(n * unit)),
            future: [Future::Quarantine, Future::Clamp, Future::Accept][future],
        };
        // One in six is judged by the record.
        let by = if by_record && lateness < 5 { LateBy::Record } else { LateBy::Window };
        let lateness = if by == LateBy::Record { 0 } else { lateness };
        let to = [LateTo::Table, LateTo::Drop, LateTo::DeadLetters][to];
        spec.late = Late { by, allowed_lateness: ms(lateness * unit), to };
        scale(&mut spec.panes.as_mut().expect("just given").trigger, unit);
        (Policy::new(spec).unwrap_or_else(|e| panic!("the generator makes valid policies: {e}")), unit)
    })
}

/// `v == null || v % 3 != 0`
fn filter() -> Expression {
    let v = || Part::Field(path("v"));
    let rest = [v(), Part::Int(3), Part::Op(Operation::Remainder), Part::Int(0), Part::Op(Operation::NotEqual)];
    Expression(
        [v(), Part::Op(Operation::Null), Part::Op(Operation::Equal)]
            .into_iter()
            .chain(rest)
            .chain([Part::Op(Operation::Or)])
            .collect(),
    )
}

/// Whether the filter that a policy may have lets a record through.
pub fn passes(policy: &Spec, r: &Rec) -> bool {
    policy.filter.is_none() || r.v.is_none_or(|v| v % 3 != 0)
}

/// Puts periods of event time into the unit of the windows.
fn scale(trigger: &mut Trigger, unit: i64) {
    match trigger {
        Trigger::EveryEventTime { period_ms } => *period_ms *= unit,
        Trigger::AfterWatermark { early, late } => {
            early.iter_mut().chain(late.iter_mut()).for_each(|t| scale(t, unit));
        }
        Trigger::Repeatedly { trigger } => scale(trigger, unit),
        Trigger::AfterEach { triggers } | Trigger::AfterAny { triggers } | Trigger::AfterAll { triggers } => {
            triggers.iter_mut().for_each(|t| scale(t, unit));
        }
        Trigger::OrFinally { main, until } => {
            scale(main, unit);
            scale(until, unit);
        }
        _ => {}
    }
}

/// A policy with a stream: event times drift on with disorder, watermarks follow at random distances, ticks pass.
pub fn cases(policies: impl Strategy<Value = (Policy, i64)>, steps: usize) -> impl Strategy<Value = Case> {
    let value = prop_oneof![1 => Just(None), 6 => (-6i64..7).prop_map(Some)];
    let gap = prop_oneof![2 => Just(None), 3 => (0i64..9).prop_map(Some)];
    // What happens, how far time drifts, where around that, and what a record holds.
    let step = (0u8..20, 0i64..4, -9i64..10, 0u8..3, value, gap);
    // The stream stands first, since what stands first shrinks first.
    (proptest::collection::vec(step, 1..steps), policies, any::<bool>()).prop_map(|(raw, (policy, unit), carried)| {
        let (mut drift, mut clock) = (-10, 0);
        let last = raw.len() - 1;
        let steps = raw.into_iter().enumerate().map(|(i, (what, on, around, key, v, gap))| {
            drift += on;
            match what {
                0..=12 => {
                    let arrival = carried.then_some((drift + 4) * unit);
                    Step::Record(Rec { key, t: (drift + around) * unit, v, gap, arrival })
                }
                13..=15 if i == last => Step::Watermark(i64::MAX),
                13..=15 => Step::Watermark((drift + around.min(4)) * unit),
                16..=18 => {
                    clock += on;
                    Step::Tick(clock)
                }
                _ => Step::Arrival((drift + 4) * unit),
            }
        });
        Case { policy, steps: steps.collect() }
    })
}

/// An engine, and all that it has given out.
pub struct Run {
    pub engine: Engine,
    pub rows: Rows,
    pub panes: Vec<panes::Pane>,
    pub expired: u64,
    pub closed: u64,
}

impl Run {
    pub fn new(policy: &Policy) -> Self {
        Self { engine: Engine::new(policy.clone()), rows: Rows::new(policy), panes: Vec::new(), expired: 0, closed: 0 }
    }

    /// All the steps, one frame each, to the end.
    pub fn of(case: &Case) -> Self {
        let mut run = Self::new(&case.policy);
        for (i, step) in case.steps.iter().enumerate() {
            run.apply(&frame_of(i, step));
            run.ask();
        }
        run.end();
        run
    }

    pub fn apply(&mut self, frames: &[u8]) {
        let mut buf = frames.to_vec();
        buf.resize(frames.len() + PADDING, 0);
        self.engine.apply(&buf, frames.len()).expect("frames as the source writes them");
    }

    /// Takes the panes.
    pub fn ask(&mut self) {
        let mut out = Vec::new();
        self.engine.panes(&mut out);
        let given = panes::decode(&out).expect("panes that the engine wrote");
        let mut again = Vec::new();
        panes::encode(&given, &mut again);
        assert_eq!(out, again, "one content, one encoding");
        self.expired += given.expired;
        self.closed += given.closed;
        self.panes.extend(given.panes);
    }

    pub fn flush(&mut self, mode: FlushMode) {
        self.ask();
        let mut out = Vec::new();
        self.engine.flush(mode, &mut out);
        self.rows.add(effects::decode(&out).expect("effects that the engine wrote")).expect("small totals");
    }

    pub fn end(&mut self) {
        self.flush(FlushMode::Drain);
    }

    pub fn snapshot(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.engine.snapshot(&mut bytes);
        bytes
    }

    /// Saves, forgets and restores the engine.
    pub fn restore(&mut self) {
        self.ask();
        let bytes = self.snapshot();
        let engine = Engine::restore(self.engine.policy().clone(), &bytes).expect("a snapshot that the engine wrote");
        self.engine = engine;
        assert_eq!(bytes, self.snapshot(), "a restored engine is the saved one");
    }

    /// Rows, late rows and what else a flush tells, as text to compare.
    pub fn told(&self) -> (String, String, String) {
        let (mut main, mut late) = (Vec::new(), Vec::new());
        self.rows.write_main(&mut main);
        self.rows.write_late(&mut late);
        let dead: Vec<_> = self.rows.dead().iter().map(|d| (d.ordinal, d.reason)).collect();
        let text = |bytes| String::from_utf8(bytes).expect("rows are text");
        (text(main), text(late), format!("{:?} {:?} {dead:?}", self.rows.account(), self.rows.progress()))
    }
}

/// A step as a frame.
pub fn frame_of(ordinal: usize, step: &Step) -> Vec<u8> {
    let mut out = Vec::new();
    let mut push = |kind, at: Option<i64>, payload: &[u8]| {
        frame::push(&mut out, kind, ordinal as u64, at.map(ArrivalTime::from_millis), payload);
    };
    match step {
        Step::Record(r) => push(Kind::Record, r.arrival, line(r).as_bytes()),
        Step::Watermark(w) => push(Kind::Watermark, Some(*w), b""),
        Step::Tick(at) => push(Kind::Tick, Some(*at), b""),
        Step::Arrival(at) => push(Kind::Lines, Some(*at), b""),
    }
    out
}

/// A record as JSON.
pub fn line(r: &Rec) -> String {
    let number = |n: Option<i64>| n.map_or("null".into(), |n| n.to_string());
    format!("{{\"k\":\"{}\",\"ts\":{},\"v\":{},\"gap\":{}}}", r.key, r.t, number(r.v), number(r.gap))
}

/// Stands for the key of overflow rows.
pub const OVERFLOW: u8 = u8::MAX;

/// The canonical text of a record's key.
pub fn key_text(key: u8) -> Vec<u8> {
    if key == OVERFLOW {
        return b"[null]".to_vec();
    }
    format!("[\"{key}\"]").into_bytes()
}
