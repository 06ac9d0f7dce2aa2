//! The engine compiled into the host, behind the traits of the module's: for `--native`, tests and benches.
//!
//! It gives the same bytes as the module, without its sandbox: a panic is the host's panic, nothing bounds its time.

use super::{Engine, EngineError, Engines, Flush};
use plimsoll_core::engine::{self, FlushMode};
use plimsoll_core::json::PADDING;
use plimsoll_core::policy::Policy;
use std::sync::Arc;

/// ABI status of frames that do not parse.
const BAD_FRAME: i32 = 3;
/// ABI status of a snapshot that does not fit.
const BAD_SNAPSHOT: i32 = 4;

/// Makes native engines.
#[derive(Clone, Copy, Debug, Default)]
pub struct NativeEngines;

/// A native engine with the buffer that its frames are padded in.
struct NativeEngine {
    engine: engine::Engine,
    input: Vec<u8>,
}

impl Engines for NativeEngines {
    fn digest(&self) -> Option<[u8; 32]> {
        None
    }

    fn open(&self, policy: &Arc<Policy>, snapshot: Option<&[u8]>) -> Result<Box<dyn Engine>, EngineError> {
        let policy = Policy::clone(policy);
        let engine = match snapshot {
            None => engine::Engine::new(policy),
            Some(s) => engine::Engine::restore(policy, s)
                .map_err(|e| EngineError::Refused { status: BAD_SNAPSHOT, detail: e.to_string() })?,
        };
        Ok(Box::new(NativeEngine { engine, input: Vec::new() }))
    }

    fn open_metered(&self, policy: &Arc<Policy>, snapshot: Option<&[u8]>) -> Result<Box<dyn Engine>, EngineError> {
        self.open(policy, snapshot)
    }
}

impl Engine for NativeEngine {
    fn apply(&mut self, frames: &[u8]) -> Result<(), EngineError> {
        self.apply_filled(frames.len(), &mut |place| {
            place.copy_from_slice(frames);
            frames.len()
        })
    }

    fn apply_filled(&mut self, room: usize, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> Result<(), EngineError> {
        self.input.resize(self.input.len().max(room + PADDING), 0);
        let len = fill(&mut self.input[..room]);
        self.input[len..len + PADDING].fill(0);
        let applied = if len == 0 { Ok(()) } else { self.engine.apply(&self.input, len) };
        applied.map_err(|e| EngineError::Refused { status: BAD_FRAME, detail: e.to_string() })
    }

    fn pending(&mut self) -> Result<u64, EngineError> {
        Ok(self.engine.pending())
    }

    fn flush(&mut self, mode: Flush, out: &mut Vec<u8>) -> Result<(), EngineError> {
        out.clear();
        let mode = match mode {
            Flush::All => FlushMode::All,
            Flush::Final => FlushMode::Final,
            Flush::Drain => FlushMode::Drain,
        };
        self.engine.flush(mode, out);
        Ok(())
    }

    fn panes(&mut self, out: &mut Vec<u8>) -> Result<(), EngineError> {
        out.clear();
        self.engine.panes(out);
        Ok(())
    }

    fn snapshot(&mut self, out: &mut Vec<u8>) -> Result<(), EngineError> {
        out.clear();
        self.engine.snapshot(out);
        Ok(())
    }
}
