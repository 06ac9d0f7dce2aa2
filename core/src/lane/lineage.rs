//! What a child lane begins with: the ends of all its parents.
//!
//! ```text
//! every parent's head, done --> Ended --> chunks of its state --> snapshot --+
//!                                                                            v
//! child: ReadHead (none) --> AllocateAlias --> CreateHead with Birth     Engine::inherit
//! ```
//! A head that is done never changes again, so that every host finds the same birth, whenever it looks.
//!
//! Invariants
//! - No child begins before all its parents are done: `Ended` cannot be had of a lane that is not.
//! - A birth counts only where the child has no head; else what is stored counts.
//!
//! Not here: which lanes are whose parents, waiting for their ends (the host), how engines are merged (`engine`).

use super::chunk::{ChunkName, StateRef};
use super::content::{State, encode_state};
use super::head::{Head, StoredHead};
use crate::time::{ArrivalTime, EventTime};
use crate::wire::WireError;
use crate::wire::effects::Progress;
use alloc::string::String;
use alloc::vec::Vec;

/// The end of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its short id, which names its chunks.
    pub alias: u64,
    /// How far event time had come.
    pub progress: Progress,
    state: StateRef,
}

/// Why a lane is nobody's parent yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotEnded {
    /// It is still being read, or nobody has begun to.
    #[error("lane {lane} has not been committed to its end (batch {n}); its children wait for it")]
    Open {
        /// Which.
        lane: String,
        /// As far as it is committed.
        n: u64,
    },
    /// Its head cannot be read.
    #[error("the head of a lane that ended cannot be read: {0}")]
    Unreadable(#[from] WireError),
}

/// What a lane begins with that goes on where others have ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Birth {
    /// The engine's snapshot; `None` where no parent had one.
    pub snapshot: Option<Vec<u8>>,
    /// How far event time has come at least.
    pub progress: Progress,
}

impl Ended {
    /// The end of the lane whose stored head this is.
    pub fn of(lane: &str, stored: Option<&StoredHead>) -> Result<Self, NotEnded> {
        let open = |n| NotEnded::Open { lane: lane.into(), n };
        let stored = stored.ok_or_else(|| open(0))?;
        let head = Head::decode(&stored.bytes)?;
        if !head.done || stored.pend.is_some() {
            return Err(open(head.n));
        }
        Ok(Self { alias: head.alias, progress: head.progress, state: head.state })
    }

    /// The chunks that hold its state, in order; none where the head itself holds it.
    pub fn names(&self) -> &[ChunkName] {
        self.state.names()
    }

    /// The engine's snapshot at the end; `chunks` are the bytes of all `names`, one after the other.
    pub fn snapshot(&self, chunks: &[u8]) -> Result<Option<Vec<u8>>, WireError> {
        match &self.state {
            StateRef::Empty => Ok(None),
            StateRef::Inline(bytes) => Ok(State::decode(bytes)?.snapshot),
            StateRef::Chunks(_) => Ok(State::decode(chunks)?.snapshot),
        }
    }
}

impl Birth {
    /// After these ends, with the engine's snapshot that was made of theirs: the least of what they claim.
    pub fn after(parents: &[Ended], snapshot: Option<Vec<u8>>) -> Self {
        let progress = parents.iter().map(|p| p.progress).reduce(|a, b| Progress {
            // `None` claims the least.
            watermark: Option::<EventTime>::min(a.watermark, b.watermark),
            arrival: Option::<ArrivalTime>::min(a.arrival, b.arrival),
            event: Option::<EventTime>::min(a.event, b.event),
        });
        Self { snapshot, progress: progress.unwrap_or_default() }
    }

    /// Makes a new lane's head that of a child. The state of an engine without pending rows is small (at most 2,001
    /// times), so that it stands in the head itself.
    pub(super) fn bear(&self, head: &mut Head) {
        if let Some(snapshot) = &self.snapshot {
            head.state = StateRef::Inline(encode_state(Some(snapshot), None));
        }
        head.progress = self.progress;
    }
}
