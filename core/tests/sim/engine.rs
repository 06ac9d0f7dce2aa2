//! The engine under the simulator: the crate's own, or the same as a module under a sandbox.

use plimsoll_core::engine::{Engine, FlushMode};
use plimsoll_core::json::PADDING;
use plimsoll_core::policy::Policy;

/// One engine with its state.
pub trait Running {
    /// Feeds frames.
    fn apply(&mut self, frames: &[u8]);
    /// Effects, as bytes.
    fn flush(&mut self) -> Vec<u8>;
    fn snapshot(&mut self) -> Vec<u8>;
}

/// Makes engines.
pub trait Engines {
    /// A fresh engine, or one with the state of a snapshot; `None` if that belongs to another policy.
    fn open(&self, policy: &Policy, snapshot: Option<&[u8]>) -> Option<Box<dyn Running>>;
}

/// The crate's own.
pub struct Native;

impl Engines for Native {
    fn open(&self, policy: &Policy, snapshot: Option<&[u8]>) -> Option<Box<dyn Running>> {
        Some(Box::new(match snapshot {
            None => Engine::new(policy.clone()),
            Some(bytes) => Engine::restore(policy.clone(), bytes).ok()?,
        }))
    }
}

impl Running for Engine {
    fn apply(&mut self, frames: &[u8]) {
        let mut padded = frames.to_vec();
        padded.resize(frames.len() + PADDING, 0);
        Engine::apply(self, &padded, frames.len()).expect("frames of the simulator");
    }

    fn flush(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        Engine::flush(self, FlushMode::All, &mut out);
        out
    }

    fn snapshot(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        Engine::snapshot(self, &mut out);
        out
    }
}
