//! Scenarios driven through the engines of this host: the module under wasmtime, or the native engine.
//!
//! Not here: what a scenario is and how it is judged (`plimsoll_core::scenario`), the command (`cli`).

use crate::runtime::{Engine, EngineError, Engines, Flush};
use plimsoll_core::policy::Policy;
use plimsoll_core::scenario::{self, Drive};
use std::sync::Arc;

pub use plimsoll_core::scenario::{FORMAT, FileError, Options, Outcome, Report, Verdict};

/// Runs the scenarios of a file, each on an engine of its own.
pub fn run_file(text: &str, engines: &dyn Engines, options: Options) -> Result<Report, FileError> {
    scenario::run_file(text, &mut Driven { engines, engine: None }, options)
}

struct Driven<'e> {
    engines: &'e dyn Engines,
    engine: Option<Box<dyn Engine>>,
}

impl Driven<'_> {
    fn with(&mut self, f: impl FnOnce(&mut dyn Engine) -> Result<(), EngineError>) -> Result<(), String> {
        let engine = self.engine.as_deref_mut().ok_or("no engine is open")?;
        f(engine).map_err(|e| e.to_string())
    }
}

impl Drive for Driven<'_> {
    fn open(&mut self, policy: &Policy, snapshot: Option<&[u8]>) -> Result<(), String> {
        // The one before goes first: its instance's place is the next one's.
        self.engine = None;
        let engine = self.engines.open(&Arc::new(policy.clone()), snapshot).map_err(|e| e.to_string())?;
        self.engine = Some(engine);
        Ok(())
    }

    fn apply(&mut self, frames: &[u8]) -> Result<(), String> {
        self.with(|engine| engine.apply(frames))
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        self.with(|engine| engine.flush(Flush::Final, out))
    }

    fn panes(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        self.with(|engine| engine.panes(out))
    }

    fn snapshot(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        self.with(|engine| engine.snapshot(out))
    }
}
