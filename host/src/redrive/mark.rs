//! The lane's position: which letters are behind it, and what the redrive at hand has still to do.
//!
//! ```text
//! {"read":17,"done":{"<lane>":{"malformed":9}},"held":{"<lane>":{"<letter>":9}},"plan":{...}}
//! ```
//! Letters of a lane come by batch, and batches are numbered without gaps: 'all malformed ones up to batch 9' is enough to
//! name what was driven, however many they are, and stays right where letters are deleted. The text of a position orders
//! nothing: `a.ndjson:10` is less than `a.ndjson:9`.
//!
//! Invariants
//! - `done` never moves back.
//! - `read` is how many records the lane has had: no two of them have one number.
//!
//! Not here: which letters make a plan (`pick`).

use crate::source::{Position, SourceError};
use crate::store::StoredDeadLetter;
use plimsoll_core::account::Reason;
use plimsoll_core::lane::Head;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Short names of letters, per lane, each with its batch.
pub(super) type Held = BTreeMap<String, BTreeMap<String, u64>>;

/// What is behind, and what is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    /// Records that the lane has had, over all redrives.
    pub read: u64,
    /// Per lane and reason: letters of batches up to this one were driven,
    pub done: BTreeMap<String, BTreeMap<Reason, u64>>,
    /// but for these: quarantined records whose time had not come.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub held: Held,
    /// The redrive that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
}

/// What one redrive drives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plan {
    /// Letters for these reasons,
    pub reasons: BTreeSet<Reason>,
    /// of these lanes, of batches up to this one,
    pub until: BTreeMap<String, u64>,
    /// but for these: quarantined records whose time has not come.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hold: Held,
    /// The last letter that was driven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Place>,
}

/// A letter's place in the order of a redrive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    /// When it arrived, or is taken to have arrived.
    pub arrival: Option<i64>,
    /// Its lane.
    pub lane: String,
    /// Its batch.
    pub n: u64,
    /// Its position.
    pub position: String,
}

impl Mark {
    pub(super) fn parse(position: &Position) -> Result<Self, SourceError> {
        serde_json::from_str(&position.0).map_err(|e| {
            SourceError::Refused(format!(
                "the stored position of the lane `{}` is none of a redrive ({e}): {}. It was written by a newer version: use \
                 that one",
                super::LANE,
                position.0
            ))
        })
    }

    pub(super) fn position(&self) -> Position {
        Position(serde_json::to_string(self).expect("text and numbers"))
    }

    /// The redrive under way has come to its end.
    pub(super) fn finish(&mut self) {
        let Some(plan) = self.plan.take() else { return };
        for (lane, until) in plan.until {
            let done = self.done.entry(lane.clone()).or_default();
            for reason in &plan.reasons {
                let n = done.entry(*reason).or_default();
                *n = (*n).max(until);
            }
            if plan.reasons.contains(&Reason::Future) {
                // Later batches may have been looked at by a redrive that came first.
                let mut held = self.held.remove(&lane).unwrap_or_default();
                held.retain(|_, n| *n > until);
                held.extend(plan.hold.get(&lane).cloned().unwrap_or_default());
                if !held.is_empty() {
                    self.held.insert(lane, held);
                }
            }
        }
    }

    /// Whether a letter is still to be driven, by a redrive that is yet to come.
    pub(super) fn is_open(&self, letter: &StoredDeadLetter) -> bool {
        let done = self.done.get(&letter.lane).and_then(|reasons| reasons.get(&letter.reason));
        done.is_none_or(|n| letter.n > *n) || named(&self.held, letter)
    }
}

/// Whether one of these is the letter.
pub(super) fn named(letters: &Held, letter: &StoredDeadLetter) -> bool {
    letters.get(&letter.lane).is_some_and(|held| held.contains_key(&short(letter)))
}

/// A short name of a letter in its lane: positions may be long.
pub(super) fn short(letter: &StoredDeadLetter) -> String {
    let digest = Sha256::new().chain_update(letter.n.to_le_bytes()).chain_update(&letter.position).finalize();
    crate::store::hex(&digest[..12])
}

/// Which letters were driven again, for whoever shows letters.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Mark);

impl Ledger {
    /// As the heads of a layout tell it.
    ///
    /// # Errors
    /// If the lane's position cannot be read.
    pub fn of(heads: &[Head]) -> Result<Self, SourceError> {
        let position = heads.iter().find(|h| h.key.lane == super::LANE).and_then(|h| h.pos.clone());
        Ok(Self(position.map(|p| Mark::parse(&Position(p))).transpose()?.unwrap_or_default()))
    }

    /// Whether a letter went through the engine again: its record is counted, or has a younger letter in the lane
    /// `redrive`. A letter of a redrive that is under way counts as one that did not.
    pub fn redriven(&self, letter: &StoredDeadLetter) -> bool {
        !self.0.is_open(letter) && !super::pick::is_cut(letter)
    }

    /// Whether a redrive was cut off, or is running.
    pub fn is_under_way(&self) -> bool {
        self.0.plan.is_some()
    }
}
