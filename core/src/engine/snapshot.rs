//! An engine as bytes: what it has learnt and what it has not yet given out. Drawn in `core/SNAPSHOT.md`.
//!
//! Invariants
//! - Restoring gives an engine that goes on to the same bytes as the one that was saved.
//! - A snapshot belongs to one policy; restoring it under another is refused, never guessed at.
//! - A damaged or hostile snapshot is an error, never a panic.
//!
//! Not here: the position that a snapshot belongs to (`lane`).

use super::Engine;
use crate::policy::{Policy, Spec};
use crate::time::EventTime;
use crate::watermark::Tracker;
use crate::window::Window;
use crate::wire::WireError;
use crate::wire::checksum::crc32;
use crate::wire::effects;
use crate::wire::varint::Cursor;
use alloc::string::String;
use alloc::vec::Vec;

/// Version of the snapshot's bytes.
pub const VERSION: u16 = 1;
const MAGIC: [u8; 4] = *b"PLS1";
const HEADER: usize = 16;

/// Why a snapshot cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Written under another policy.
    #[error("the snapshot belongs to policy {found}, this is policy {expected}")]
    OtherPolicy {
        /// SHA-256 in the snapshot.
        found: String,
        /// SHA-256 of the policy at hand.
        expected: String,
    },
    /// Written by a version that this engine does not know.
    #[error("snapshot version {0}, this engine reads version 1")]
    Version(u16),
    /// A lane that is said to have ended has records that it never gave out: another lane cannot go on from it.
    #[error("{rows} rows and {windows} windows of the lane that ended were not given out; drain it first")]
    Holds {
        /// Rows and dead letters pending.
        rows: u64,
        /// Windows that wait for triggers.
        windows: usize,
    },
    /// Not what it claims to be.
    #[error(transparent)]
    Damaged(#[from] WireError),
}

impl Engine {
    /// Appends the state.
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 10]);
        out.extend_from_slice(self.policy().digest());
        self.tracker.write(out);
        self.write(&self.pending.whole(), out, &|_, _| true);
        if let (Some(budget), None) = (&self.budget, &self.panes) {
            budget.write(self.tracker.watermark(), out);
        }
        if let Some(panes) = &self.panes {
            panes.write(|key| self.keys.text(key), out);
        }
        let len = (out.len() - at) as u32;
        let sum = crc32(&out[at + HEADER..]);
        out[at + 8..at + 12].copy_from_slice(&len.to_le_bytes());
        out[at + 12..at + 16].copy_from_slice(&sum.to_le_bytes());
    }

    /// An engine with the state of a snapshot.
    pub fn restore(policy: Policy, bytes: &[u8]) -> Result<Self, SnapshotError> {
        let mut c = Cursor::new(bytes, "snapshot");
        if c.array::<4>()? != MAGIC {
            return Err(WireError::Bad { what: "snapshot", at: 0, problem: "does not begin with PLS1" }.into());
        }
        let version = c.u16()?;
        if version != VERSION {
            return Err(SnapshotError::Version(version));
        }
        if c.u16()? != 0 || c.u32()? as usize != bytes.len() {
            return Err(c.bad("length differs from the bytes at hand").into());
        }
        if c.u32()? != crc32(&bytes[HEADER..]) {
            return Err(c.bad("checksum does not match").into());
        }
        let digest = c.array::<32>()?;
        if digest != *policy.digest() {
            let hex = |d: &[u8; 32]| d.iter().map(|b| alloc::format!("{b:02x}")).collect();
            return Err(SnapshotError::OtherPolicy { found: hex(&digest), expected: hex(policy.digest()) });
        }
        // The tracker's two times stand in the effects that follow its estimator.
        let mut tracker = Tracker::read(&policy.spec().watermark, &mut c)?;
        let rest = c.take(c.left())?;
        let (rest, state) = match effects::length(rest) {
            Some(len) if has_more(policy.spec()) && len <= rest.len() => rest.split_at(len),
            _ => (rest, &[][..]),
        };
        let e = effects::decode(rest)?;
        tracker.set(e.progress.watermark.unwrap_or(EventTime::MIN), e.progress.arrival);
        if e.measures != policy.spec().measures.len() {
            return Err(c.bad("another number of measures than the policy's").into());
        }
        let mut engine = Self::new(policy);
        engine.tracker = tracker;
        engine.event = e.progress.event.unwrap_or(EventTime::MIN);
        engine.account = e.account;
        engine.dead = e.dead;
        for g in e.groups {
            let at = engine.pending.place(Window { start: g.start, end: g.end }, g.table);
            for row in g.rows {
                let key = engine.keys.intern(&row.key);
                engine.pending.merge(at, key, row.values.iter().copied());
            }
        }
        if let (Some(budget), None) = (&mut engine.budget, &engine.panes) {
            let mut c = Cursor::new(state, "snapshot's keys");
            budget.read(engine.tracker.watermark(), &mut c)?;
            c.end()?;
        }
        if let Some(panes) = &mut engine.panes {
            let mut c = Cursor::new(state, "snapshot's windows");
            let mut key = |text: &[u8]| engine.keys.intern(text);
            panes.read(engine.tracker.watermark(), &mut key, &mut c)?;
            c.end()?;
        }
        Ok(engine)
    }
}

/// Whether something stands behind the effects: windows that wait for triggers, or the keys of windows with a budget.
fn has_more(spec: &Spec) -> bool {
    spec.panes.is_some() || spec.limits.keys_per_window.is_some()
}
