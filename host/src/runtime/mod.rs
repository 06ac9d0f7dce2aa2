//! What the driver may ask of an engine, whether it runs as a module under wasmtime or natively.
//!
//! Invariants
//! - An engine that gave a `Trap` or `OutOfTime` is thrown away; nothing it says afterwards is believed.
//! - What an engine gives out is bounded in size before it is copied, and its effects are decoded as hostile bytes.
//!
//! Not here: which record of a batch made an engine trap, and what becomes of it (the driver).

pub mod native;
pub mod wasm;

use plimsoll_core::policy::Policy;
use std::sync::Arc;

/// Which windows a flush gives out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Everything pending: the end of a batch.
    All,
    /// Only windows that can receive no more, and all dead letters.
    Final,
    /// Everything, and windows that wait for triggers as far as they have come: the end of a run nobody goes on with.
    Drain,
}

/// One engine with its state: a handle in a module's instance.
pub trait Engine: Send {
    /// Feeds frames (`plimsoll_core::wire::frame`). On `BadFrame` none of them was applied.
    fn apply(&mut self, frames: &[u8]) -> Result<(), EngineError>;
    /// As `apply`, of what `fill` puts into a place for `room` bytes of the engine's own, which spares a copy. It says how
    /// many bytes are frames; nothing is applied if none are.
    fn apply_filled(&mut self, room: usize, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> Result<(), EngineError> {
        let mut frames = vec![0; room];
        match fill(&mut frames) {
            0 => Ok(()),
            len => self.apply(&frames[..len]),
        }
    }
    /// Rows and dead letters that a flush would give out now.
    fn pending(&mut self) -> Result<u64, EngineError>;
    /// Gives out effects (`plimsoll_core::wire::effects`) into `out`, which is cleared first.
    fn flush(&mut self, mode: Flush, out: &mut Vec<u8>) -> Result<(), EngineError>;
    /// Gives out the panes (`plimsoll_core::wire::panes`) since the last call into `out`, which is cleared first.
    fn panes(&mut self, out: &mut Vec<u8>) -> Result<(), EngineError>;
    /// The state as bytes, into `out`, which is cleared first.
    fn snapshot(&mut self, out: &mut Vec<u8>) -> Result<(), EngineError>;
}

/// Makes engines of one module.
pub trait Engines: Send + Sync {
    /// SHA-256 of the module; `None` for the native engine, which is no module.
    fn digest(&self) -> Option<[u8; 32]>;
    /// A fresh engine, or one restored from a snapshot.
    fn open(&self, policy: &Arc<Policy>, snapshot: Option<&[u8]>) -> Result<Box<dyn Engine>, EngineError>;
    /// The same in the fuel-metered compilation: slower, and it decides the same everywhere which record loops.
    fn open_metered(&self, policy: &Arc<Policy>, snapshot: Option<&[u8]>) -> Result<Box<dyn Engine>, EngineError>;
}

/// Why an engine did not do as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The module trapped. Its instance is gone.
    #[error("the module trapped: {reason}")]
    Trap {
        /// The panic's text where there is one, else the trap's name.
        reason: String,
    },
    /// The time-out (epochs) or the fuel was used up. The instance is gone.
    #[error("the module did not end within {limit}")]
    OutOfTime {
        /// The limit that was reached, with its name.
        limit: String,
    },
    /// The memory cap was reached. The instance is gone.
    #[error(
        "the module wanted more than its {limit_bytes} bytes of memory; raise --module-memory or lower the batch size"
    )]
    OutOfMemory {
        /// The cap.
        limit_bytes: u64,
    },
    /// What the module said breaks the ABI. The instance is gone.
    #[error("the module broke the ABI: {detail}")]
    Lie {
        /// What was found and what was expected.
        detail: String,
    },
    /// The module refused its arguments.
    #[error("the module refused: {detail} (status {status})")]
    Refused {
        /// ABI status code.
        status: i32,
        /// The module's own words.
        detail: String,
    },
    /// The engine was thrown away after an earlier error and is asked all the same.
    #[error("the engine is gone, thrown away when {after}")]
    Gone {
        /// The earlier error.
        after: String,
    },
    /// The host's own fault: no room for an instance, say. No record is to blame.
    #[error("the host could not run the module: {detail}")]
    Host {
        /// What went wrong.
        detail: String,
    },
}

impl EngineError {
    /// Whether the engine is still there: only a refusal leaves it as it was.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}
