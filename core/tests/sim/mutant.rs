//! Rules that are broken on purpose. Each must be found.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    None,
    // In the store.
    NoFence,
    FenceApart,
    IntentAlways,
    CommitAlways,
    FencesExpire,
    RowsExpireEarly,
    StaleHead,
    OldSignatures,
    AliasReused,
    // In the host.
    CommitBeforeAnswers,
    AssumeWritten,
    GiveUp,
    NoDeadline,
    LateLook,
    RangeOnly,
    CommitFirst,
    ChildAtLatest,
    ChildBeforeDone,
    ChildForgets,
    FirstParentOnly,
    ReaderPosition,
    LoserDeletesChunks,
    EngineGoesOn,
    DropsRest,
}

impl Mutant {
    pub const ALL: [Self; 24] = [
        Self::NoFence,
        Self::FenceApart,
        Self::IntentAlways,
        Self::CommitAlways,
        Self::FencesExpire,
        Self::RowsExpireEarly,
        Self::StaleHead,
        Self::OldSignatures,
        Self::AliasReused,
        Self::CommitBeforeAnswers,
        Self::AssumeWritten,
        Self::GiveUp,
        Self::NoDeadline,
        Self::LateLook,
        Self::RangeOnly,
        Self::CommitFirst,
        Self::ChildAtLatest,
        Self::ChildBeforeDone,
        Self::ChildForgets,
        Self::FirstParentOnly,
        Self::ReaderPosition,
        Self::LoserDeletesChunks,
        Self::EngineGoesOn,
        Self::DropsRest,
    ];
}
