//! A small run whose results are known, since the host holds the same engine: does the module count?
//!
//! ```text
//! open, three records, flush, snapshot    ->  effects[0]
//! restore, one record, flush              ->  effects[1]
//! ```
//! The effects must be byte for byte those of the native engine; a snapshot's bytes are the module's own affair.

use super::error::ModuleError;
use crate::runtime::native::NativeEngines;
use crate::runtime::{EngineError, Engines, Flush};
use plimsoll_core::policy::{
    Format, Future, Input, Late, LateBy, LateTo, Limits, Measure, Op, Policy, Spec, Strategy, TimeField, TimeUnit,
    Watermark, Windowing,
};
use plimsoll_core::time::{ArrivalTime, TimeDelta};
use plimsoll_core::wire::effects;
use plimsoll_core::wire::frame::{self, Kind};
use std::sync::Arc;

const FIRST: &[u8] =
    b"{\"ts\":1500,\"key\":\"a\",\"n\":5}\n{\"ts\":61000,\"key\":\"a\",\"n\":-7}\n{\"ts\":\"no time\"}\n";
const SECOND: &[u8] = b"{\"ts\":1600,\"key\":\"b\",\"n\":1}\n";

/// The effects that a module must give: of the first batch, and of the second after a restore.
pub fn expected_effects() -> [Vec<u8>; 2] {
    run(&NativeEngines).expect("the native engine does not fail on three records")
}

/// Runs the self-test.
pub(super) fn self_test(engines: &dyn Engines) -> Result<(), ModuleError> {
    let found = run(engines).map_err(|(step, source)| ModuleError::SelfTest { step, source })?;
    for (what, (found, expected)) in ["the effects of three records", "the effects of a record after a restore"]
        .into_iter()
        .zip(found.iter().zip(&expected_effects()))
    {
        if found != expected {
            return Err(ModuleError::Differs { what, detail: difference(found, expected) });
        }
    }
    Ok(())
}

fn run(engines: &dyn Engines) -> Result<[Vec<u8>; 2], (&'static str, EngineError)> {
    let at = |step| move |e| (step, e);
    let policy = Arc::new(policy());
    let (mut first, mut second, mut state) = (Vec::new(), Vec::new(), Vec::new());
    let mut engine = engines.open(&policy, None).map_err(at("open"))?;
    engine.apply(&frames(1, FIRST)).map_err(at("apply"))?;
    engine.flush(Flush::All, &mut first).map_err(at("flush"))?;
    engine.snapshot(&mut state).map_err(at("snapshot"))?;
    let mut engine = engines.open(&policy, Some(&state)).map_err(at("restore"))?;
    engine.apply(&frames(4, SECOND)).map_err(at("apply after restore"))?;
    engine.flush(Flush::All, &mut second).map_err(at("flush after restore"))?;
    Ok([first, second])
}

fn frames(ordinal: u64, lines: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::push(&mut out, Kind::Lines, ordinal, Some(ArrivalTime::from_millis(70_000)), lines);
    out
}

fn difference(found: &[u8], expected: &[u8]) -> String {
    match (effects::decode(found), effects::decode(expected)) {
        (Ok(f), Ok(e)) => format!("found {f:?}, expected {e:?}"),
        (Err(e), _) => format!("found {} bytes that are no effects: {e}", found.len()),
        (_, Err(e)) => format!("the native engine's own effects cannot be read: {e}"),
    }
}

fn policy() -> Policy {
    let field = |name: &str| vec![name.to_owned()];
    Policy::new(Spec {
        v: 1,
        policy: "self_test".into(),
        filter: None,
        input: Input {
            format: Format::Json,
            time: TimeField { field: field("ts"), unit: TimeUnit::Ms, unit_check: false },
            arrival: None,
            key: vec![field("key")],
            source: None,
        },
        fields: Vec::new(),
        window: Windowing::Fixed { size: TimeDelta::from_mins(1), offset: TimeDelta::ZERO },
        watermark: Watermark {
            strategy: Strategy::Max,
            delay: TimeDelta::from_secs(10),
            max_future: None,
            future: Future::Quarantine,
        },
        late: Late { by: LateBy::Record, allowed_lateness: TimeDelta::ZERO, to: LateTo::Table },
        measures: vec![
            Measure { name: "events".into(), op: Op::Count, field: None, scale: None },
            Measure { name: "total".into(), op: Op::Sum, field: Some(field("n")), scale: None },
            Measure { name: "least".into(), op: Op::Min, field: Some(field("n")), scale: None },
            Measure { name: "most".into(), op: Op::Max, field: Some(field("n")), scale: None },
        ],
        derived: Vec::new(),
        kept: Vec::new(),
        panes: None,
        rollup: None,
        limits: Limits { record_bytes: 1_000, key_bytes: 100, dead_letter_bytes: 100, keys_per_window: None },
    })
    .expect("the self-test's policy follows the rules")
}
