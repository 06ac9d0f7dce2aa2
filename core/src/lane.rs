//! The exactly-once protocol of one lane, sans I/O: which command comes next, and what an answer means.
//!
//! ```text
//!            +-- nothing pending --> COMPUTE --> [chunks] --> INTENT --+
//! start: head|                                                         v
//!            +-- content pending ---------------------------------> APPLY (until every effect is answered)
//!                                                                      |
//!                    COMPUTE <------- COMMIT, or COMMIT and the next INTENT in one write ---> APPLY
//! ```
//! A store whose rows and heads share one transaction goes through the same machine with one command, `Transact`,
//! in the place of INTENT, APPLY and COMMIT.
//!
//! Invariants (asserted here, searched exhaustively in the tests)
//! - I1: at most one content ever exists for a lane and number: INTENT is conditional on both.
//! - I2: a content begins where the one before it ended, and names that one's digest.
//! - I4: COMMIT is asked for only after every effect was answered "applied" or "fenced at this number".
//! - I5: no effect of n+1 is asked for before COMMIT(n) was answered.
//! - I8: the accounts of the contents add up to the head's account.
//! - An ambiguous answer to a head write is never assumed: the head is read and what is there is adopted.
//!
//! Not here: I/O, clocks and waiting (the host's driver), conditions as a service spells them (the host's stores),
//! which records make a batch (the driver).

mod chunk;
mod codec;
mod command;
mod content;
mod head;
mod in_flight;
mod lineage;
mod machine;
#[cfg(test)]
mod search;
#[cfg(test)]
mod tests;

pub use chunk::{Chunk, ChunkName, StateRef};
pub use command::{Answer, Applied, Atomicity, Base, Command, Config, End, Halt, Step};
pub use content::{Batch, Content, ContentError, Effect, Limits, Pin, Rest, State, Tip};
pub use head::{Head, LaneKey, StoredHead, StoredPend};
pub use in_flight::{InFlight, chunks_of, in_flight};
pub use lineage::{Birth, Ended, NotEnded};
pub use machine::Lane;

/// Replay version of the contents that this code writes: raised whenever the same records, policy and module would
/// give another content.
pub const REPLAY_VERSION: u32 = 1;
