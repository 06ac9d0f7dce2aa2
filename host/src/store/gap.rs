//! The gap ledger: records that a lane should have counted and that its source holds no longer.
//!
//! ```text
//! lane  ----position]  . . lost . .  [oldest record that is left----
//!                    ^ an entry: which lane, from where, what was found, when, and whether an operator accepted it
//! ```
//! Invariants
//! - An entry is made once per lane, kind and position, whoever finds the gap and however often.
//! - Acceptance is added and never taken back: a host that starts later without being told goes on as the first one did.
//!
//! Not here: finding gaps (`source`, `driver`), what a store makes of an entry (each store).

use serde::Serialize;

/// What became of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GapKind {
    /// The source no longer holds the record after which reading goes on: it has trimmed it, and maybe what came after it.
    Trimmed,
    /// A lane that was being counted is no longer listed, and was not read to its end.
    Vanished,
    /// A lane came and went, and nobody counted a record of it.
    Unread,
    /// The source was deleted and made again under the same name.
    Replaced,
}

impl GapKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Trimmed, Self::Vanished, Self::Unread, Self::Replaced];

    /// Its stable name, as in stores.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trimmed => "trimmed",
            Self::Vanished => "vanished",
            Self::Unread => "unread",
            Self::Replaced => "replaced",
        }
    }

    /// The kind with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The lane's id.
    pub lane: String,
    /// What became of its records.
    pub kind: GapKind,
    /// The last position that was committed; `None`: nothing was.
    pub position: Option<String>,
    /// What was found, in words.
    pub found: String,
    /// When it was found first, in milliseconds since the epoch, by the clock of the host that found it.
    pub found_ms: i64,
    /// When an operator accepted the loss, so that the lane went on with what was left.
    pub accepted_ms: Option<i64>,
}

impl Gap {
    /// What makes an entry one.
    pub(super) fn key(&self) -> (String, GapKind, Option<String>) {
        (self.lane.clone(), self.kind, self.position.clone())
    }
}

/// The order of gaps in answers.
pub(super) fn sort(gaps: &mut [Gap]) {
    gaps.sort_by_key(|gap| (gap.found_ms, gap.key()));
}
