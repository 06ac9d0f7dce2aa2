//! The engine in this very process, as the host's own runtime runs it, fed with bytes and cut where a test wants.
//!
//! Not here: the host as a process (`process`), the module under other runtimes (`abi/`).

use crate::process;
use anyhow::Result;
use plimsoll::runtime::wasm::{Modules, Settings, WasmEngines};
use plimsoll::runtime::{Engine, Flush};
use plimsoll_core::policy::Policy;
use plimsoll_core::rows::Rows;
use plimsoll_core::wire::effects;
use plimsoll_core::wire::frame::{self, Kind};
use std::sync::Arc;

/// The module under wasmtime with the production limits.
///
/// # Panics
/// If it is refused.
pub fn module() -> WasmEngines {
    Modules::load(Some(&process::module()), Settings::default()).expect("the module is good")
}

/// A policy from people's text.
///
/// # Panics
/// If it is refused.
pub fn policy(toml: &str) -> Arc<Policy> {
    Arc::new(Policy::from_toml(toml).unwrap_or_else(|errors| panic!("{}", errors.in_file("policy.toml"))))
}

/// Feeds whole lines as one frame without arrival, the first of which has `ordinal`; says the next one.
///
/// # Errors
/// As the engine's.
pub fn apply(engine: &mut dyn Engine, lines: &[u8], ordinal: u64) -> Result<u64> {
    let mut frames = Vec::with_capacity(frame::HEADER + lines.len());
    frame::push(&mut frames, Kind::Lines, ordinal, None, lines);
    engine.apply(&frames)?;
    Ok(ordinal + lines.iter().filter(|byte| **byte == b'\n').count() as u64)
}

/// Everything pending, as bytes.
///
/// # Errors
/// As the engine's.
pub fn flush(engine: &mut dyn Engine) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    engine.flush(Flush::All, &mut out)?;
    Ok(out)
}

/// The state, as bytes.
///
/// # Errors
/// As the engine's.
pub fn snapshot(engine: &mut dyn Engine) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    engine.snapshot(&mut out)?;
    Ok(out)
}

/// All that comes of a lane, in the order of its effects.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Main rows as NDJSON.
    pub main: String,
    /// Late rows as NDJSON.
    pub late: String,
    /// Dead letters and the accounting, in words that two runs can be compared by.
    pub rest: String,
}

/// Merges effects.
///
/// # Errors
/// If they do not decode or do not fit the policy.
pub fn told<'a>(policy: &Policy, flushes: impl IntoIterator<Item = &'a [u8]>) -> Result<Told> {
    let mut rows = Rows::new(policy);
    for bytes in flushes {
        rows.add(effects::decode(bytes)?)?;
    }
    let (mut main, mut late) = (Vec::new(), Vec::new());
    rows.write_main(&mut main);
    rows.write_late(&mut late);
    let rest = format!("{:?}\n{:?}\n{:#?}", rows.account(), rows.progress(), rows.dead());
    Ok(Told { main: String::from_utf8(main)?, late: String::from_utf8(late)?, rest })
}
