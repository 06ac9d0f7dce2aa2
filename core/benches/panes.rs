//! Windows that wait for triggers, natively: sessions that merge, and triggers that are asked at each record.
//!
//! Figures are of this machine in this run; compare ratios only. Decoding is in all of them: `never` is the floor.

#[path = "../tests/support/mod.rs"]
mod support;

use divan::Bencher;
use divan::counter::ItemsCount;
use plimsoll_core::engine::{Engine, FlushMode};
use plimsoll_core::json::PADDING;
use plimsoll_core::policy::{Accumulation, Policy, Touching, Trigger, Windowing};
use plimsoll_core::time::TimeDelta;
use support::{Rec, Step, frame_of};

const RECORDS: usize = 20_000;
const GAP: i64 = 10;

fn main() {
    divan::main();
}

fn ms(n: i64) -> TimeDelta {
    TimeDelta::from_millis(n)
}

/// A stream's steps to its end, all panes and rows given out.
fn run(bencher: Bencher<'_, '_>, policy: &Policy, step: impl Fn(usize) -> Step) {
    let mut frames: Vec<u8> = (0..RECORDS).flat_map(|i| frame_of(i, &step(i))).collect();
    let len = frames.len();
    frames.resize(len + PADDING, 0);
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        let mut engine = Engine::new(policy.clone());
        engine.apply(&frames, len).expect("frames as a source writes them");
        let mut out = Vec::new();
        engine.panes(&mut out);
        engine.flush(FlushMode::Drain, &mut out);
        out.len()
    });
}

fn record(key: u8, t: i64) -> Step {
    Step::Record(Rec { key, t, v: Some(t % 7), gap: None, arrival: None })
}

#[divan::bench(args = ["one that grows", "one that grows backwards", "apart", "joined one by one"], sample_count = 20)]
fn sessions(bencher: Bencher<'_, '_>, order: &str) {
    let window = Windowing::Session { gap: ms(GAP), gap_field: None, touching: Touching::Separate };
    let mut spec = support::spec(window, support::panes(Trigger::Never, Accumulation::Discarding));
    spec.kept.clear();
    let policy = Policy::new(spec).expect("valid");
    let half = RECORDS / 2;
    run(bencher, &policy, |i| {
        let t = match order {
            "one that grows" => i as i64,
            "one that grows backwards" => (RECORDS - i) as i64,
            "apart" => i as i64 * 2 * GAP,
            _ if i < half => i as i64 * 18,
            _ => (i - half) as i64 * 18 + 9,
        };
        record(0, t)
    });
}

fn trigger(name: &str) -> Trigger {
    let count = |count| Trigger::AfterCount { count };
    let repeated = |trigger| Trigger::Repeatedly { trigger: Box::new(trigger) };
    let delay = || Trigger::AfterProcessingTime { delay_ms: 50, align_ms: Some(20), align_offset_ms: 0 };
    match name {
        "never" => Trigger::Never,
        "each record" => repeated(count(1)),
        "each tenth" => repeated(count(10)),
        "by the clock" => repeated(delay()),
        "early, on time, late" => Trigger::AfterWatermark {
            early: Some(Box::new(repeated(count(10)))),
            late: Some(Box::new(repeated(count(1)))),
        },
        _ => repeated(Trigger::AfterAny {
            triggers: vec![
                Trigger::AfterAll { triggers: vec![count(20), delay()] },
                Trigger::AfterEach { triggers: vec![count(9), count(8), Trigger::EveryEventTime { period_ms: 70 }] },
                Trigger::OrFinally { main: Box::new(count(30)), until: Box::new(delay()) },
            ],
        }),
    }
}

#[divan::bench(args = ["never", "each record", "each tenth", "by the clock", "early, on time, late", "a tree of ten"], sample_count = 20)]
fn triggers(bencher: Bencher<'_, '_>, name: &str) {
    let fixed = Windowing::Fixed { size: ms(100), offset: ms(0) };
    let mut spec = support::spec(fixed, support::panes(trigger(name), Accumulation::Accumulating));
    spec.kept.clear();
    let policy = Policy::new(spec).expect("valid");
    // Twenty records of each of eight keys in a window; the watermark and the clock move on every hundredth step.
    run(bencher, &policy, |i| {
        let t = (i / 16) as i64 * 10;
        match i % 100 {
            50 => Step::Watermark(t - 100),
            99 => Step::Tick(t),
            _ => record((i % 8) as u8, t),
        }
    });
}
