//! Fairness of the median: how much of the crowd one sender can be.
//!
//! Not here: the sample's arithmetic against its definition (`watermark::sample`).

mod support;

use plimsoll_core::engine::Engine;
use plimsoll_core::json::PADDING;
use plimsoll_core::policy::Policy;
use plimsoll_core::wire::frame::{self, Kind};
use proptest::collection::vec;
use proptest::prelude::*;
use support::check;

const YEAR: i64 = 366 * 86_400_000;
const DEVICES: usize = 101;

/// The median of 101 event times, at most so many of one device.
fn policy(per_source: Option<u32>) -> Policy {
    let fair = per_source.map_or(String::new(), |most| format!("per_source = {most}\n"));
    let text = format!(
        "policy = \"fair\"\n[input]\ntime = {{ field = \"ts\", unit = \"ms\", unit_check = false }}\nkey = [\"k\"]\n\
         source = \"device\"\n[window]\nfixed = \"1m\"\n[watermark]\nquantile = 0.5\nsample = 101\nmin_sample = 31\n{fair}\
         delay = \"0s\"\nmax_future = \"none\"\n[measures]\nn = \"count\"\n"
    );
    Policy::from_toml(&text).unwrap_or_else(|e| panic!("{e}"))
}

/// A record of a device.
fn line(device: &str, t: i64) -> String {
    format!("{{\"k\":1,\"ts\":{t},\"device\":{device}}}\n")
}

fn feed(engine: &mut Engine, lines: &str) {
    let mut frames = Vec::new();
    frame::push(&mut frames, Kind::Lines, 0, None, lines.as_bytes());
    let len = frames.len();
    frames.resize(len + PADDING, 0);
    engine.apply(&frames, len).expect("frames as sources write them");
}

fn watermark(engine: &Engine) -> Option<i64> {
    engine.progress().watermark.map(|w| w.as_millis())
}

/// Saves, forgets and restores.
fn restored(engine: &Engine) -> Engine {
    let mut bytes = Vec::new();
    engine.snapshot(&mut bytes);
    Engine::restore(engine.policy().clone(), &bytes).expect("a snapshot that the engine wrote")
}

/// Who sends, in turn: honest devices drift on with time, liars are a year ahead.
fn run(per_source: Option<u32>, liars: usize, turns: &[(usize, bool)], restore_at: usize) -> (Option<i64>, i64) {
    let mut engine = Engine::new(policy(per_source));
    let name = |device: usize| format!("\"device {device}\"");
    let mut now = 0;
    // Everybody has spoken once before anybody speaks again, the honest ones first.
    let first = (0..DEVICES).rev().map(|device| (device, false));
    for (i, (device, chatty)) in first.chain(turns.iter().copied()).enumerate() {
        let device = if chatty && liars > 0 { device % liars } else { device };
        now += 1_000;
        let t = if device < liars { now + YEAR } else { now };
        feed(&mut engine, &line(&name(device), t));
        if i == restore_at {
            engine = restored(&engine);
        }
    }
    (watermark(&engine), now)
}

#[test]
fn chatty_liars_move_the_watermark_only_when_they_are_more_than_half() {
    let turns = vec((0..DEVICES, prop::bool::weighted(0.8)), 0..600);
    check("liars", 300, &(0..DEVICES, turns, 0usize..700, 1u32..3), |(liars, turns, restore_at, most)| {
        let (watermark, now) = run(Some(1), liars, &turns, restore_at);
        let w = watermark.expect("the sample is large enough");
        prop_assert_eq!(w > now, liars > DEVICES / 2, "{} ahead with {} liars", w - now, liars);
        // However large a share one sender may have: it is that share, and no more.
        let (watermark, now) = run(Some(most), 1, &turns, restore_at);
        prop_assert!(watermark.is_some_and(|w| w <= now));
        Ok(())
    });
}

#[test]
fn without_a_bound_one_device_is_the_crowd() {
    let turns: Vec<_> = (0..60).map(|_| (0, true)).collect();
    let ahead = |per_source| {
        let (watermark, now) = run(per_source, 1, &turns, usize::MAX);
        watermark.is_some_and(|w| w > now)
    };
    assert_eq!((ahead(None), ahead(Some(50)), ahead(Some(51))), (true, false, true));
}

#[test]
fn who_cannot_be_told_is_one_source_and_nobody_is_refused_for_it() {
    let mut engine = Engine::new(policy(Some(1)));
    let told: String = (0..40).map(|device| line(&device.to_string(), 0)).collect();
    feed(&mut engine, &told);
    let before = watermark(&engine);
    assert_eq!(before, Some(0));
    for device in ["null", "{}", "[1]", "1.5", "null"] {
        (0..50).for_each(|_| feed(&mut engine, &line(device, YEAR)));
    }
    (0..50).for_each(|_| feed(&mut engine, &format!("{{\"k\":1,\"ts\":{YEAR}}}\n")));
    assert_eq!(watermark(&engine), before);
    // Spelled otherwise it is the same sender.
    (0..50).for_each(|_| feed(&mut engine, &line("\"\\u0041\"", YEAR)));
    (0..50).for_each(|_| feed(&mut engine, &line("\"A\"", YEAR)));
    assert_eq!(watermark(&engine), before);
    let mut out = Vec::new();
    engine.flush(plimsoll_core::engine::FlushMode::All, &mut out);
    let account = plimsoll_core::wire::effects::decode(&out).expect("effects that the engine wrote").account;
    assert_eq!((account.read, account.rejected), (440, 0));
}
