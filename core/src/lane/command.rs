//! What the machine asks for, and what it may be answered. This is the contract between the protocol and a store.
//!
//! Invariants
//! - Every write names its condition. A store that cannot check it must not write.
//! - `Refused` means that the store looked and the condition did not hold. Whatever is not known for sure is `Unknown`.
//!
//! Not here: when a command comes (`machine`), how a service spells it (the host's stores).

use super::chunk::{Chunk, ChunkName};
use super::content::{Content, Limits, State, Tip};
use super::head::{StoredHead, StoredPend};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// How a store writes a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Atomicity {
    /// Each item for itself: intent, effects, commit.
    Items,
    /// Rows and head in one transaction.
    Transaction,
}

/// What a lane's machine is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How the store writes.
    pub atomicity: Atomicity,
    /// What the store holds in one piece.
    pub limits: Limits,
    /// Identity of the store's table of rows.
    pub table: String,
    /// A pending content older than this is not applied any more: its rows may have expired. Milliseconds.
    pub intent_age_ms_max: i64,
}

/// What the host is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// One request to the store.
    Do(Command),
    /// Sleep with full jitter by the number of the attempt (1, 2, …), then `waited`.
    Wait {
        /// How many attempts failed in a row.
        attempt: u32,
        /// What the last one said.
        why: String,
    },
    /// Compute the next content and `offer` it.
    Compute(Base),
    /// Nothing more to do here.
    End(End),
}

/// What the next content is computed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// What it joins onto.
    pub tip: Tip,
    /// The state to restore; `None` where the contents offered so far are all committed, so that the engine that made
    /// them may go on.
    pub state: Option<State>,
}

/// A request to the store. Every write names its condition; a store that cannot check it must not write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The head, by a read that sees every write answered before. Answer: `Head`.
    ReadHead,
    /// Raises the counter of aliases that stands in the table of the rows, and gives its new value. Answer: `Alias`.
    AllocateAlias,
    /// Writes a head IF there is none. Answers: `Written`, `Refused`.
    CreateHead {
        /// The head.
        head: StoredHead,
    },
    /// The names of all chunks of an alias. Answer: `Names`.
    ListChunks {
        /// The lane's alias.
        alias: u64,
    },
    /// The bytes of chunks. Answer: `Chunks`, in the order of the names.
    GetChunks {
        /// The lane's alias.
        alias: u64,
        /// Which.
        names: Vec<ChunkName>,
    },
    /// Writes chunks, without a condition: a name has one content. Answer: `Written` when all are.
    PutChunks {
        /// The lane's alias.
        alias: u64,
        /// Names and bytes.
        chunks: Vec<Chunk>,
    },
    /// Deletes chunks that no head can name any more. Answer: `Written`; failing does no harm.
    DeleteChunks {
        /// The lane's alias.
        alias: u64,
        /// Which.
        names: Vec<ChunkName>,
    },
    /// `SET pend IF n = pend.n - 1 AND attribute_not_exists(pend)`. Answers: `Written`, `Refused`.
    Intent {
        /// The content.
        pend: StoredPend,
    },
    /// Each of these effects, in any order, IF the row's fence of this alias is absent or below `content.n`; a row's
    /// min and max where they are better; a dead letter IF it is not there. Answer: `Applied`, one per effect.
    Apply {
        /// The lane's alias: names the fence.
        alias: u64,
        /// The content.
        content: Arc<Content>,
        /// Which of its effects.
        effects: Vec<u32>,
    },
    /// The head, its `pend` removed or replaced, IF `pend.n = n AND pend.digest = digest`. Answers: `Written`, `Refused`.
    Commit {
        /// Number of the content that is committed.
        n: u64,
        /// Its digest.
        digest: [u8; 32],
        /// The head after it, and the next content's intent if there is one.
        head: StoredHead,
    },
    /// Rows, dead letters and head in one transaction, IF the head's `n = content.n - 1`. Answers: `Written`, `Refused`.
    Transact {
        /// The content.
        content: Arc<Content>,
        /// The head after it.
        head: StoredHead,
    },
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The head, and the host's clock when it was asked for, in milliseconds since the epoch.
    Head {
        /// What is stored.
        stored: Option<StoredHead>,
        /// Only compared with the age of contents. Not the clock when the answer came: a host may have slept over it.
        now_ms: i64,
    },
    /// A fresh alias.
    Alias(u64),
    /// Names of chunks.
    Names(Vec<ChunkName>),
    /// Bytes of chunks, `None` where one is not there.
    Chunks(Vec<Option<Vec<u8>>>),
    /// One per effect asked for.
    Applied(Vec<Applied>),
    /// The write happened.
    Written,
    /// The condition did not hold; nothing was written.
    Refused,
    /// Throttled, timed out, 5xx, broken line: it may have happened, or may still happen.
    Unknown {
        /// What was seen.
        detail: String,
    },
    /// Not sent: too long ago that the head was looked at.
    Expired,
    /// The store says that this can never succeed.
    Impossible {
        /// What it says.
        detail: String,
    },
}

/// What came of one effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is in the row.
    Done,
    /// The row carries this fence of the lane's alias, not below the content's number.
    Fenced(u64),
    /// As `Answer::Unknown`.
    Unknown(String),
    /// As `Answer::Expired`.
    Expired,
    /// As `Answer::Impossible`.
    Impossible(String),
}

/// Why there is nothing more to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The lane has ended and is committed to its end.
    Done,
    /// Another host is further on. Nothing is lost: leave it to that host, and look again later.
    Behind,
    /// Going on could count wrongly. Somebody must look.
    Halted(Halt),
}

/// Why a lane was halted. Each message names what was found and the mend.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Halt {
    /// Head, chunk or intent cannot be read.
    #[error(
        "{what} cannot be read: {detail}; if a newer version wrote it use that version, else restore the table to a new one and recount it from the stream under a new --generation"
    )]
    Unreadable {
        /// Which.
        what: &'static str,
        /// Why.
        detail: String,
    },
    /// The head is not what this protocol can have made of it.
    #[error(
        "the lane's head is not what it can be: {found}, expected {expected}; it was restored, reset or written by something else: use a new table or prefix and a new --generation, and recount from the stream"
    )]
    Head {
        /// What was found.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// A row's fence is ahead of the head.
    #[error(
        "a row carries batch {fence} of this lane, but its head knows only {n}: the head was restored or reset; use a new table or prefix and a new --generation, and recount from the stream"
    )]
    Fence {
        /// The row's fence.
        fence: u64,
        /// The greatest number that the head knows.
        n: u64,
    },
    /// An intent too old to be applied.
    #[error(
        "batch {n} was pending for {age_ms} ms, longer than {max_ms} ms: its rows may have expired, so that applying it could count twice; recount these windows from the stream under a new --generation and prefix"
    )]
    OldIntent {
        /// Its number.
        n: u64,
        /// Its age.
        age_ms: i64,
        /// The limit.
        max_ms: i64,
    },
    /// The store refuses a write for good.
    #[error("the store can never take this write: {detail}")]
    Impossible {
        /// What it says.
        detail: String,
    },
    /// A chunk that the head names is not there.
    #[error(
        "chunk {n}/{digest} is named by the head but not there; it was deleted by something else: restore it, or recount from the stream under a new --generation and prefix"
    )]
    Missing {
        /// Number of the content that wrote it.
        n: u64,
        /// First bytes of its digest, in hex.
        digest: String,
    },
}
