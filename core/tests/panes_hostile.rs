//! Strangers' input: times at the ends of 64 bits, too many windows, damaged snapshots.
//!
//! Invariants
//! - Nothing panics; what cannot be taken is counted or refused.
//!
//! Not here: policies and scanners of JSON (`policy_fuzz`, `json_differential`).

mod support;

use plimsoll_core::engine::{Engine, FlushMode};
use plimsoll_core::policy::{Accumulation, Policy, Touching, Trigger, Windowing};
use plimsoll_core::time::TimeDelta;
use plimsoll_core::wire::{effects, frame, panes};
use proptest::collection::vec;
use proptest::prelude::*;
use support::{Case, Rec, Run, Step, check, frame_of};

fn ms(n: i64) -> TimeDelta {
    TimeDelta::from_millis(n)
}

fn any_policy() -> impl Strategy<Value = (Policy, i64)> {
    let windows = prop_oneof![3 => support::windows(), 2 => support::sessions()];
    support::policies(windows, support::triggers())
}

/// Times near the ends and zero.
fn extreme() -> impl Strategy<Value = i64> {
    prop_oneof![
        (0i64..40).prop_map(|n| i64::MAX - n),
        (1i64..40).prop_map(|n| i64::MIN + n),
        -20i64..20,
        (any::<bool>(), 0u32..63, -2i64..3).prop_map(|(below, bits, n)| {
            let power = (1i64 << bits).saturating_add(n);
            if below { -power } else { power }
        }),
    ]
}

#[test]
fn times_at_the_ends_of_64_bits_are_times() {
    let step = (0u8..8, extreme(), 0u8..3, extreme(), proptest::option::of(0i64..9), any::<bool>());
    check("extreme times", 6_000, &(any_policy(), vec(step, 1..30)), |((policy, _), raw)| {
        let steps: Vec<Step> = raw
            .iter()
            .map(|(what, t, key, v, gap, carried)| match what {
                0..=4 => {
                    let arrival = carried.then_some(*v);
                    Step::Record(Rec { key: *key, t: *t, v: Some(*v % (1 << 31)), gap: *gap, arrival })
                }
                5 => Step::Tick(*t),
                6 => Step::Arrival(*t),
                _ => Step::Watermark(*t),
            })
            .collect();
        let mut run = Run::new(&policy);
        for (i, step) in steps.iter().enumerate() {
            run.apply(&frame_of(i, step));
            run.restore();
        }
        run.end();
        prop_assert!(run.rows.account().balanced());
        let records = steps.iter().filter(|s| matches!(s, Step::Record(_))).count();
        prop_assert_eq!(run.rows.account().read, records as u64);
        prop_assert_eq!(run.rows.account().rejected, 0, "all of them can be said");
        Ok(())
    });
}

fn at(t: i64) -> Step {
    Step::Record(Rec { key: 0, t, v: Some(t % 7), gap: None, arrival: None })
}

#[test]
fn records_beyond_the_room_for_windows_are_dead_letters() {
    let sliding = Windowing::Sliding { size: ms(1_000), every: ms(1), offset: ms(0) };
    for (window, record, per_record) in [
        (Windowing::Fixed { size: ms(10), offset: ms(0) }, 10, 1),
        (sliding, 1_000, 1_000),
        (Windowing::Session { gap: ms(5), gap_field: None, touching: Touching::Merge }, 10, 1),
    ] {
        let mut spec = support::spec(window, support::panes(Trigger::Default, Accumulation::Accumulating));
        let room = 3 * per_record;
        spec.panes.as_mut().expect("given").open_max = room;
        let policy = Policy::new(spec).expect("valid");
        let mut run = Run::new(&policy);
        let step = |i: i64| at(i * record);
        (0..5).for_each(|i| run.apply(&frame_of(i as usize, &step(i))));
        // Where there is a window already, a record needs no room.
        run.apply(&frame_of(5, &step(0)));
        run.restore();
        assert_eq!(run.engine.held().len(), room as usize);
        // What has ended makes room.
        run.apply(&frame_of(6, &Step::Watermark(1 << 20)));
        run.apply(&frame_of(7, &at((1 << 20) + record)));
        run.end();
        let account = run.rows.account();
        assert_eq!((account.read, account.counted, account.rejected), (7, 5, 2));
        let dead: Vec<_> = run.rows.dead().iter().map(|d| (d.ordinal, d.reason.name())).collect();
        assert_eq!(dead, [(3, "no_room"), (4, "no_room")]);
    }
}

fn sum_at(bytes: &mut [u8], at: usize, from: usize, to: usize) {
    let sum = crc32fast::hash(&bytes[from..to]);
    bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
}

/// Makes the checksums of a snapshot right again, so that what stands behind them is read.
fn repaired(mut bytes: Vec<u8>, inner: usize, inner_len: usize) -> Vec<u8> {
    let len = bytes.len() as u32;
    bytes[8..12].copy_from_slice(&len.to_le_bytes());
    let end = inner + inner_len;
    if bytes.len() >= end {
        sum_at(&mut bytes, inner + 8, inner + 12, end);
    }
    let end = bytes.len();
    sum_at(&mut bytes, 12, 16, end);
    bytes
}

/// Every byte changed in some ways, one taken out, one put in, the end cut off.
fn damaged(bytes: &[u8], i: usize) -> Vec<Vec<u8>> {
    let with = |b: u8| {
        let mut bad = bytes.to_vec();
        bad[i] = b;
        bad
    };
    let mut all: Vec<Vec<u8>> = [0, 1, 2, 0x7f, 0x80, 0xff, bytes[i] ^ 1, bytes[i].wrapping_add(1)].map(with).into();
    let mut out = bytes.to_vec();
    out.remove(i);
    let mut more = bytes.to_vec();
    more.insert(i, 0xff);
    all.extend([out, more, bytes[..i].to_vec()]);
    all
}

/// Whatever a snapshot holds that was taken, the engine goes on with it.
fn goes_on(engine: Engine, case: &Case) {
    let mut run = Run::new(&case.policy);
    run.engine = engine;
    let mut out = Vec::new();
    for (i, step) in case.steps.iter().enumerate() {
        run.apply(&frame_of(1_000 + i, step));
    }
    run.apply(&frame_of(2_000, &Step::Tick(i64::MAX)));
    run.apply(&frame_of(2_001, &Step::Watermark(i64::MAX)));
    run.engine.panes(&mut out);
    panes::decode(&out).expect("panes");
    let bytes = run.snapshot();
    Engine::restore(case.policy.clone(), &bytes).expect("its own snapshot");
    out.clear();
    run.engine.flush(FlushMode::Drain, &mut out);
    effects::decode(&out).expect("effects");
}

#[test]
fn a_damaged_snapshot_is_refused_or_harmless() {
    check("damaged snapshots", 60, &support::cases(any_policy(), 14), |case| {
        let mut run = Run::new(&case.policy);
        case.steps.iter().enumerate().for_each(|(i, step)| run.apply(&frame_of(i, step)));
        run.ask();
        let bytes = run.snapshot();
        let inner = bytes.windows(4).position(|w| w == b"PLE1").expect("effects stand in it");
        let len = u32::from_le_bytes(bytes[inner + 4..inner + 8].try_into().expect("four")) as usize;
        let mut taken = 0u32;
        for i in 16..bytes.len() {
            for bad in damaged(&bytes, i) {
                prop_assert!(bad == bytes || Engine::restore(case.policy.clone(), &bad).is_err(), "byte {}", i);
                if let Ok(engine) = Engine::restore(case.policy.clone(), &repaired(bad, inner, len)) {
                    taken += 1;
                    // Most say that something else happened, which nobody can tell.
                    if taken.is_multiple_of(5) {
                        goes_on(engine, &case);
                    }
                }
            }
        }
        Ok(())
    });
}

#[test]
fn damaged_panes_effects_and_frames_are_refused_or_have_one_encoding() {
    check("damaged bytes", 60, &support::cases(any_policy(), 20), |case| {
        let mut run = Run::new(&case.policy);
        case.steps.iter().enumerate().for_each(|(i, step)| run.apply(&frame_of(i, step)));
        let (mut given, mut flushed) = (Vec::new(), Vec::new());
        run.engine.panes(&mut given);
        run.engine.flush(FlushMode::Drain, &mut flushed);
        let whole = |mut bytes: Vec<u8>| {
            if bytes.len() >= 12 {
                let len = bytes.len();
                bytes[4..8].copy_from_slice(&(len as u32).to_le_bytes());
                sum_at(&mut bytes, 8, 12, len);
            }
            bytes
        };
        for i in 0..given.len() {
            for bad in damaged(&given, i) {
                let bad = whole(bad);
                if let Ok(read) = panes::decode(&bad) {
                    let mut again = Vec::new();
                    panes::encode(&read, &mut again);
                    prop_assert_eq!(&again, &bad, "byte {}", i);
                }
            }
        }
        for i in 0..flushed.len() {
            for bad in damaged(&flushed, i) {
                let bad = whole(bad);
                if let Ok(read) = effects::decode(&bad) {
                    let mut again = Vec::new();
                    effects::encode(&read, &mut again);
                    prop_assert_eq!(&again, &bad, "byte {}", i);
                }
            }
        }
        let frames: Vec<u8> = case.steps.iter().take(4).enumerate().flat_map(|(i, step)| frame_of(i, step)).collect();
        for i in 0..frames.len() {
            for bad in damaged(&frames, i) {
                let mut engine = Engine::new(case.policy.clone());
                let mut buf = bad.clone();
                buf.resize(bad.len() + plimsoll_core::json::PADDING, 0);
                if engine.apply(&buf, bad.len()).is_err() {
                    prop_assert_eq!(engine.pending(), 0, "a buffer is taken whole or not at all");
                    prop_assert!(engine.held().is_empty());
                } else {
                    let mut at = 0;
                    while at < bad.len() {
                        at = frame::read(&bad, at).expect("just taken").to;
                    }
                }
            }
        }
        Ok(())
    });
}
