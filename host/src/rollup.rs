//! Hours and days follow the rows: each change of a row is carried into its hour's row, and that one's into its day's.
//!
//! ```text
//! rows' change stream --page--> newest state of each row --slot--> hour --slot--> day       (carry)
//!   shards, lineage, iterators, positions                                                    (follow)
//! rows themselves     --all---> the same way, where the stream may have missed some          (repair)
//! ```
//! A slot takes a newer state of its part and no other (`plimsoll_core::rollup`), so a change may come twice, late, or out
//! of order, several hosts may do this at once, and any of them may die between any two writes: the position moves on only
//! after hour and day were written, and what is done again changes nothing. Only a change that never comes matters; then
//! the rows themselves are read (`follow` says when).
//!
//! Invariants
//! - Nothing is ever taken out of a slot: that a row was deleted, because it had expired, is no change of what it counted.
//! - A day is written from the hour's row as it was right after the hour's write, also where that one found its slot as new
//!   already: a host may have died before the day.
//!
//! Not here: what hours and days are (`plimsoll_core::rollup`), the service's streams and tables (`store::dynamodb`).
//! SQLite needs none of this: its rows never expire, so its hours and days are made when they are read.

mod carry;
mod follow;
pub mod read;

#[cfg(test)]
mod tests;

pub use carry::{Carried, carry};
pub use follow::{Covered, Follow, Notes, Options, Place, RollupError, Summary};

use crate::store::StoreError;
use async_trait::async_trait;
use plimsoll_core::policy::Measure;
use plimsoll_core::rollup::{Level, Part, Slot, Spans, Whole};
use plimsoll_core::time::EventTime;
use plimsoll_core::window::Window;

/// What hours and days are made of, and how.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Which hours and days.
    pub spans: Spans,
    /// The policy's.
    pub measures: Vec<Measure>,
}

/// A row as it was right after one of its changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its key: canonical text.
    pub key: Vec<u8>,
    /// Its window.
    pub window: Window,
    /// Which row of this key and window it is, where there are several that add up; else 0.
    pub bucket: u32,
    /// Its columns at this version.
    pub part: Part,
}

/// A shard of a change stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its id.
    pub id: String,
    /// The shard that it goes on from, which may be gone.
    pub parent: Option<String>,
    /// Whether it will hold no more than it does.
    pub closed: bool,
}

/// Some changes of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Those that concern the rows.
    pub changes: Vec<Change>,
    /// The position of the last record; none where there was no record at all.
    pub last: Option<String>,
    /// Where the next page begins; none at the end of a closed shard.
    pub next: Option<String>,
}

/// Why a stream gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// May pass.
    #[error("{0}")]
    Passing(String),
    /// A person must act.
    #[error("{0}")]
    Refused(String),
    /// The iterator is too old; its place is still good.
    #[error("the iterator has expired")]
    Expired,
    /// What stood there is gone: older than the stream keeps, or the shard is.
    #[error("what stood there is gone")]
    Trimmed,
}

/// The change stream of the rows.
///
/// Contract
/// 1. Every change of a row stands in one shard, once or more, at last after a while.
/// 2. A shard ends (`Page::next` is none) only when it will never hold more.
/// 3. What is older than a day may be gone, at any moment.
#[async_trait]
pub trait Changes: Send + Sync {
    /// Which stream: another one after it was turned off and on again.
    fn id(&self) -> String;
    /// All shards that are still there.
    async fn shards(&self) -> Result<Vec<Shard>, Trouble>;
    /// An iterator after a position; none: at the oldest record that is still there.
    async fn iterator(&self, shard: &str, after: Option<&str>) -> Result<String, Trouble>;
    /// What comes next. It may be nothing although there is more.
    async fn page(&self, iterator: &str) -> Result<Page, Trouble>;
}

/// Where hours and days are kept, and how far the stream was followed.
///
/// Contract
/// 1. `set` does what `Whole::set` does, in one step, whoever else does it at the same time; what it gave back was so right
///    after that step.
/// 2. `rows` gives every row that was there when it was first asked, in a state of then or later.
/// 3. Whoever says so in `note` has had the effect of everything before that place written.
#[async_trait]
pub trait Shelf: Send + Sync {
    /// Sets a slot where the part is newer than it. The whole after that, and whether it was.
    async fn set(&self, at: &At<'_>, slot: Slot, part: &Part) -> Result<(Whole, bool), StoreError>;
    /// The rows themselves, a page after another: `from` is what the page before gave.
    async fn rows(&self, from: Option<String>) -> Result<(Vec<Change>, Option<String>), StoreError>;
    /// How far event time has come over all lanes, as their heads say now.
    async fn watermark(&self) -> Result<Option<EventTime>, StoreError>;
    /// How far the stream was followed.
    async fn notes(&self) -> Result<Notes, StoreError>;
    /// A shard's place.
    async fn note(&self, shard: &str, place: &Place) -> Result<(), StoreError>;
    /// A shard is gone, and its place with it.
    async fn forget(&self, shard: &str) -> Result<(), StoreError>;
    /// Up to where everything is in the hours and days.
    async fn cover(&self, stream: &str, covered: &Covered) -> Result<(), StoreError>;
}

/// Which row of which table.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// Hours or days.
    pub level: Level,
    /// The key: canonical text.
    pub key: &'a [u8],
    /// The hour or day.
    pub span: Window,
    /// What tells it from a row of the same bounds whose hours are others; nearly always empty.
    pub cuts: &'a str,
}
