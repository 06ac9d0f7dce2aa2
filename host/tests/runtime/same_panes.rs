//! The module and the native engine on random policies and streams of every kind of window and trigger: whatever either
//! gives out is equal, byte for byte, also when each goes on from the other's snapshot.
//!
//! Not here: rows, records of every form and refusals (`same_bytes`).

use crate::same_bytes::module;
use crate::support::{self, Case, check, frame_of};
use plimsoll::runtime::native::NativeEngines;
use plimsoll::runtime::{Engine, Engines, Flush};
use plimsoll_core::policy::{Keep, Kept, Policy};
use plimsoll_core::wire::{effects, panes};
use proptest::prelude::*;
use std::cell::Cell;
use std::sync::Arc;

/// What comes after a batch.
#[derive(Clone, Copy, Debug)]
struct After {
    flush: Option<Flush>,
    panes: bool,
    restore: bool,
    metered: bool,
}

fn after() -> impl Strategy<Value = After> {
    let flush = prop_oneof![
        4 => Just(Some(Flush::All)),
        2 => Just(Some(Flush::Final)),
        1 => Just(Some(Flush::Drain)),
        3 => Just(None)
    ];
    let often = || proptest::bool::weighted(0.3);
    (flush, any::<bool>(), often(), often()).prop_map(|(flush, panes, restore, metered)| After {
        flush,
        panes,
        restore,
        metered,
    })
}

/// Policies of every kind, half of them with estimates too.
fn policies() -> impl Strategy<Value = (Policy, i64)> {
    let windows = prop_oneof![3 => support::windows(), 2 => support::sessions()];
    (support::policies(windows, support::triggers()), any::<bool>()).prop_map(|((policy, unit), estimates)| {
        let mut spec = policy.spec().clone();
        if estimates {
            let keeps = [Keep::Distinct, Keep::Quantile { q_milli: 500 }, Keep::TopK { k: 2 }];
            let kept = |(i, what)| Kept { name: format!("kept{i}"), what, field: vec!["v".into()] };
            spec.kept.extend(keeps.into_iter().enumerate().map(kept));
        }
        (Policy::new(spec).expect("still valid"), unit)
    })
}

/// All that an engine says after a batch.
#[derive(Debug, PartialEq)]
struct Said {
    pending: [u64; 2],
    panes: Vec<u8>,
    effects: Vec<u8>,
    state: Vec<u8>,
}

fn said(engine: &mut dyn Engine, frames: &[u8], after: After) -> Said {
    let (mut given, mut flushed, mut state) = (Vec::new(), Vec::new(), Vec::new());
    engine.apply(frames).expect("frames as a source writes them");
    let before = engine.pending().expect("a number");
    if after.panes {
        engine.panes(&mut given).expect("panes");
    }
    if let Some(mode) = after.flush {
        engine.flush(mode, &mut flushed).expect("effects");
    }
    engine.snapshot(&mut state).expect("a snapshot");
    Said { pending: [before, engine.pending().expect("a number")], panes: given, effects: flushed, state }
}

#[test]
fn native_and_module_give_the_same_bytes_on_ten_thousand_random_batches() {
    const CASES: u32 = 3_000;
    let module = module();
    let [batches, rows, given, restored] = [const { Cell::new(0) }; 4];
    let count = |of: &Cell<u64>, n: usize| of.set(of.get() + n as u64);
    let cases = (support::cases(policies(), 40), proptest::collection::vec((1usize..14, after()), 40));
    check("native = module", CASES, &cases, |(case, cuts)| {
        let Case { policy, steps } = case;
        let policy = Arc::new(policy);
        let mut native = NativeEngines.open(&policy, None).expect("an engine");
        let mut wasm = module.open(&policy, None).expect("an engine");
        let (mut from, mut cuts) = (0, cuts.into_iter());
        while from < steps.len() {
            let (len, mut after) = cuts.next().expect("as many as steps");
            let to = steps.len().min(from + len);
            if to == steps.len() {
                (after.flush, after.panes) = (Some(Flush::Drain), true);
            }
            let frames: Vec<u8> = (from..to).flat_map(|i| frame_of(i, &steps[i])).collect();
            let expected = said(&mut *native, &frames, after);
            let got = said(&mut *wasm, &frames, after);
            prop_assert_eq!(&expected, &got, "native, module: steps {} to {}, {:?}", from, to, after);
            count(&batches, 1);
            if after.flush.is_some() {
                let effects = effects::decode(&got.effects).expect("effects");
                prop_assert!(effects.account.balanced());
                count(&rows, effects.groups.iter().map(|g| g.rows.len()).sum());
            }
            if after.panes {
                count(&given, panes::decode(&got.panes).expect("panes").panes.len());
            }
            if after.restore {
                native = NativeEngines.open(&policy, Some(&got.state)).expect("the module's snapshot");
                let open = if after.metered {
                    module.open_metered(&policy, Some(&expected.state))
                } else {
                    module.open(&policy, Some(&expected.state))
                };
                wasm = open.expect("the native engine's snapshot");
                count(&restored, 1);
            }
            from = to;
        }
        Ok(())
    });
    let [batches, rows, given, restored] = [batches, rows, given, restored].map(Cell::into_inner);
    println!("{batches} batches, {rows} rows, {given} panes, {restored} snapshots taken up by the other side");
    assert!(batches >= 10_000 && rows > 10_000 && given > 10_000 && restored > 2_000);
}
