//! The engine of a lane that goes on where others have ended: a shard after a split or a merge.
//!
//! ```text
//! parents' ends  --W, c: the least; samples: merged-->  child's beginning
//! ```
//! Only what judges records goes over: order between parent and child matters for lateness, never for counts.
//!
//! Invariants
//! - A child claims nothing that not all of its parents claimed.
//! - The order in which the parents are named decides nothing but how their samples age; callers sort them by their ids.
//! - Records that a parent holds back are nobody's to give out twice: a parent that holds any is refused.
//!
//! Not here: which lanes are parents, and that they have ended (`lane`, the host).

use super::{Engine, SnapshotError};
use crate::policy::Policy;
use crate::time::EventTime;
use crate::watermark::Tracker;
use alloc::vec::Vec;

impl Engine {
    /// The engine that a child lane begins with, from the snapshots at the ends of all its parents; `None` for a parent
    /// that ended before it had one.
    ///
    /// # Errors
    /// If a snapshot cannot be restored, or holds records that were not given out.
    pub fn inherit(policy: &Policy, parents: &[Option<&[u8]>]) -> Result<Self, SnapshotError> {
        let mut child = Self::new(policy.clone());
        let ended = |snapshot: &Option<&[u8]>| -> Result<Self, SnapshotError> {
            let Some(bytes) = snapshot else { return Ok(Self::new(policy.clone())) };
            let parent = Self::restore(policy.clone(), bytes)?;
            let windows = parent.held().iter().filter(|held| held.content).count();
            match parent.pending() {
                0 if windows == 0 => Ok(parent),
                rows => Err(SnapshotError::Holds { rows, windows }),
            }
        };
        let parents = parents.iter().map(ended).collect::<Result<Vec<_>, _>>()?;
        if !parents.is_empty() {
            child.event = parents.iter().map(|p| p.event).min().unwrap_or(EventTime::MIN);
            let trackers = parents.into_iter().map(|p| p.tracker).collect::<Vec<_>>();
            child.tracker = Tracker::merge(&policy.spec().watermark, &trackers);
        }
        Ok(child)
    }
}
