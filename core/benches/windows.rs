//! Windows natively: which of them hold a time, and what records cost while many keys or windows are open.
//!
//! Figures are of this machine in this run; compare ratios only. What the engine does for a record is the same however many
//! keys there are (`host/tests/runtime/cost.rs` counts it); what grows here is the machine's: caches, pages.

#[path = "../tests/support/mod.rs"]
mod support;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use plimsoll_core::engine::Engine;
use plimsoll_core::json::PADDING;
use plimsoll_core::policy::{
    Accumulation, CalendarUnit, LateBy, Policy, Strategy, Touching, Trigger, Watermark, Windowing, Zone,
};
use plimsoll_core::time::{EventTime, TimeDelta};
use plimsoll_core::window::assign;
use plimsoll_core::wire::frame::{self, Kind};
use std::fmt::Write as _;

const TIMES: i64 = 10_000;
const RECORDS: u64 = 20_000;

fn main() {
    divan::main();
}

fn ms(n: i64) -> TimeDelta {
    TimeDelta::from_millis(n)
}

fn windowing(name: &str) -> Windowing {
    let minute = ms(60_000);
    match name {
        "fixed" => Windowing::Fixed { size: minute, offset: ms(0) },
        "sliding, 5 of a time" => Windowing::Sliding { size: ms(10_000), every: ms(2_000), offset: ms(0) },
        "sliding, 1,000 of a time" => Windowing::Sliding { size: minute, every: ms(60), offset: ms(0) },
        "cumulative, 1 to 12 of a time" => Windowing::Cumulative { size: minute, step: ms(5_000), offset: ms(0) },
        "days of a zone" => {
            // A change of an hour each half year, as most zones have them.
            let changes = (0..260).map(|i| (i * 15_768_000, if i % 2 == 0 { 7_200 } else { 3_600 })).collect();
            let zone = Zone { name: "Test/Zone".into(), first: 3_600, changes };
            Windowing::Calendar { every: CalendarUnit::Day, zone }
        }
        _ => Windowing::Global,
    }
}

#[divan::bench(args = ["fixed", "sliding, 5 of a time", "sliding, 1,000 of a time", "cumulative, 1 to 12 of a time", "days of a zone", "global"])]
fn windows_of_a_time(bencher: Bencher<'_, '_>, name: &str) {
    let windowing = windowing(name);
    bencher.counter(ItemsCount::new(TIMES as u64)).bench_local(|| {
        let (mut out, mut n) = (Vec::new(), 0);
        for i in 0..TIMES {
            assign(black_box(&windowing), EventTime::from_millis(1_700_000_000_000 + i * 7_919), &mut out);
            n += out.len();
        }
        n
    });
}

/// Lines of records as a padded frame.
fn frames(which: impl Iterator<Item = (u64, u64)>) -> (Vec<u8>, usize) {
    let mut text = String::new();
    for (key, t) in which {
        writeln!(text, "{{\"k\":\"{key:07}\",\"ts\":{},\"v\":5}}", 10_000_000 + t * 20).expect("to memory");
    }
    let mut out = Vec::new();
    frame::push(&mut out, Kind::Lines, 0, None, text.as_bytes());
    let len = out.len();
    out.resize(len + PADDING, 0);
    (out, len)
}

/// Records all over keys or windows that are open already.
fn open(bencher: Bencher<'_, '_>, policy: &Policy, n: u64, place: fn(u64) -> (u64, u64)) {
    let mut engine = Engine::new(policy.clone());
    for from in (0..n).step_by(100_000) {
        let (buf, len) = frames((from..n.min(from + 100_000)).map(place));
        engine.apply(&buf, len).expect("frames as a source writes them");
    }
    let (buf, len) = frames((0..RECORDS).map(|i| place(i * 7_919 % n)));
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| engine.apply(&buf, len).expect("the same"));
}

fn rows() -> Policy {
    let fixed = Windowing::Fixed { size: ms(20), offset: ms(0) };
    let mut spec = support::spec(fixed, support::panes(Trigger::Default, Accumulation::Discarding));
    (spec.kept, spec.panes, spec.late.by) = (Vec::new(), None, LateBy::Record);
    spec.watermark = Watermark { strategy: Strategy::Max, delay: TimeDelta::DAY, ..spec.watermark };
    Policy::new(spec).expect("valid")
}

fn sessions() -> Policy {
    let window = Windowing::Session { gap: ms(10), gap_field: None, touching: Touching::Separate };
    let mut spec = support::spec(window, support::panes(Trigger::Default, Accumulation::Discarding));
    spec.kept.clear();
    Policy::new(spec).expect("valid")
}

#[divan::bench(args = [1_000, 10_000, 100_000, 1_000_000], sample_count = 20)]
fn rows_of_keys(bencher: Bencher<'_, '_>, n: u64) {
    open(bencher, &rows(), n, |i| (i, 0));
}

#[divan::bench(args = [1_000, 10_000, 100_000, 1_000_000], sample_count = 20)]
fn rows_of_windows(bencher: Bencher<'_, '_>, n: u64) {
    open(bencher, &rows(), n, |i| (0, i));
}

#[divan::bench(args = [1_000, 10_000, 100_000, 1_000_000], sample_count = 20)]
fn sessions_of_keys(bencher: Bencher<'_, '_>, n: u64) {
    open(bencher, &sessions(), n, |i| (i, 0));
}

#[divan::bench(args = [1_000, 10_000, 100_000, 1_000_000], sample_count = 20)]
fn sessions_of_one_key(bencher: Bencher<'_, '_>, n: u64) {
    open(bencher, &sessions(), n, |i| (0, i));
}
