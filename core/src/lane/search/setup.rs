//! What is searched: how many records and faults, which store, which rule is broken.

use super::super::{Atomicity, Limits};

/// One rule broken. Each must be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutant {
    None,
    /// Effects are applied whatever the fence says.
    NoFence,
    /// Fences alone: nothing is written down before the effects.
    FenceWithoutIntent,
    /// The intent holds the range alone, and whoever takes over computes it under its own policy.
    UnpinnedPolicy,
    /// The intent holds the range alone, and the module does not give the same twice.
    UnsteadyModule,
    /// COMMIT before the effects.
    CommitFirst,
    /// COMMIT without its condition.
    CommitAlways,
    /// INTENT without its condition.
    IntentAlways,
    /// An effect without an answer counts as applied.
    CommitBeforeAnswers,
    /// A head write without an answer counts as written.
    AssumeWritten,
    /// Fences go when their batch is committed.
    FencesExpire,
    /// An effect that an earlier attempt applied makes the host give up.
    GiveUp,
    /// Who takes over reads on from where somebody had read to, not from the head.
    ReaderPosition,
    /// A child begins at the newest record.
    ChildAtLatest,
    /// A child begins before its parent is done.
    ChildBeforeDone,
    /// Who lost a race deletes the chunks it had written.
    LoserDeletesChunks,
    /// Chunks are named before they are known to be written.
    ChunksNotAwaited,
    /// Who takes over deletes every chunk that is no part of the committed state.
    SweepsTooMuch,
    /// The transaction does not look at the head's number.
    TransactAlways,
}

/// One search.
#[derive(Clone, Copy)]
pub(super) struct Setup {
    pub records: u8,
    /// The records from this one on are a child lane's; `records`: there is no child.
    pub split: u8,
    pub faults: u8,
    pub atomicity: Atomicity,
    pub limits: Limits,
    /// Whether the next content may be offered while one is applied.
    pub ahead: bool,
    pub mutant: Mutant,
}

impl Setup {
    /// Three records of one lane, each item written for itself, contents and state in the head.
    pub(super) const ITEMS: Self = Self {
        records: 3,
        split: 3,
        faults: 2,
        atomicity: Atomicity::Items,
        limits: Limits::ITEMS,
        ahead: true,
        mutant: Mutant::None,
    };
    /// Two records, with every content and state in chunks.
    pub(super) const CHUNKS: Self = Self {
        records: 2,
        split: 2,
        limits: Limits { state_inline: 0, intent_inline: 0, chunk: 4096, ..Limits::ITEMS },
        ..Self::ITEMS
    };
    /// A lane of two records whose child has the third.
    pub(super) const LINEAGE: Self = Self { split: 2, ..Self::ITEMS };
    /// Rows and head in one transaction.
    pub(super) const TRANSACTION: Self =
        Self { atomicity: Atomicity::Transaction, limits: Limits::NONE, ..Self::ITEMS };

    pub(super) fn chunked(&self) -> bool {
        self.limits.intent_inline == 0
    }

    /// How many lanes there are.
    pub(super) fn strands(&self) -> u8 {
        1 + u8::from(self.split < self.records)
    }

    /// The records of a lane: from, to.
    pub(super) fn range(&self, strand: u8) -> (u8, u8) {
        if strand == 0 { (0, self.split) } else { (self.split, self.records) }
    }
}
