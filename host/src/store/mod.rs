//! Where rows and heads are kept. A store executes the commands of the lane protocol, and reads rows for people.
//!
//! Contract of a store (`contract` checks it, one suite for all of them)
//! 1. `execute` does what the command's documentation says, under the condition that it names, and answers `Refused` only
//!    when it has seen that the condition does not hold. What it does not know for sure is `Unknown`.
//! 2. What was answered `Written` or `Done` survives the death of this process and of the machine.
//! 3. `ReadHead` sees every write that was answered before it was asked.
//! 4. Several hosts may execute at once; only the conditions keep them apart.
//! 5. Totals are exact up to 10^30 in magnitude; beyond, the command is `Impossible`.
//! 6. `execute` tries once: whether and when to try again is the protocol's business and the driver's.
//! 7. Reading (`heads`, `rows`, `dead_letters`) holds nobody up who writes.
//! 8. What `admits` lets pass can be written, as far as that does not depend on what the rows hold.
//!
//! Not here: which command comes next (`plimsoll_core::lane`), when to try again (`driver`).

pub mod contract;
pub mod dynamodb;
mod gap;
pub mod memory;
pub mod sqlite;
pub mod stdout;

pub use gap::{Gap, GapKind};

use crate::rollup::Change;
use async_trait::async_trait;
use plimsoll_core::account::Reason;
use plimsoll_core::lane::{Answer, Atomicity, Batch, Command, Head, LaneKey, Limits, Pin, StoredPend};
use plimsoll_core::policy::Policy;
use plimsoll_core::rollup::{Level, Spans, Whole};
use plimsoll_core::rows::{Fate, combine};
use plimsoll_core::time::{ArrivalTime, EventTime, TimeDelta};
use plimsoll_core::window::Window;
use plimsoll_core::wire::effects::{Progress, Row, Table};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where rows and heads are kept.
#[async_trait]
pub trait Store: Send + Sync {
    /// What it is, for people: `sqlite counts.db`, `dynamodb counts-* (eu-west-1)`.
    fn describe(&self) -> String;
    /// How it writes a batch.
    fn atomicity(&self) -> Atomicity;
    /// What it holds in one piece.
    fn limits(&self) -> Limits;
    /// Identity of its table of rows: another one after a restore. Known after `prepare`.
    fn table(&self) -> String;
    /// Makes (SQLite) or checks (DynamoDB) what the layout needs. Must have succeeded before anything is executed.
    async fn prepare(&self, layout: &Layout) -> Result<(), StoreError>;
    /// How long a row is kept after its window's end and its last change; `None`: until somebody deletes it.
    fn rows_kept(&self) -> Option<TimeDelta> {
        None
    }
    /// Whether a lane's batch can be written. Asked before anything of it is: what can never be written must not become an
    /// intent, which would be pending for ever.
    fn admits(&self, _key: &LaneKey, _batch: &Batch) -> Result<(), Unwritable> {
        Ok(())
    }
    /// What this handle's writing has cost, where a service charges for it.
    fn write_units(&self) -> Vec<WriteUnits> {
        Vec::new()
    }
    /// Executes one command of a lane. An error ends the run: trying again does not help.
    async fn execute(&self, key: &LaneKey, command: &Command) -> Result<Answer, StoreError>;
    /// The heads of all lanes of a layout, in no order.
    async fn heads(&self, layout: &Layout) -> Result<Vec<Head>, StoreError>;
    /// Rows, ordered by (window end, window start, arrival day, key).
    async fn rows(&self, layout: &Layout, query: &RowQuery) -> Result<Vec<StoredRow>, StoreError>;
    /// Rows of hours or days, ordered as rows are. A store that keeps its rows for ever makes them when it is asked.
    async fn rollup(
        &self,
        layout: &Layout,
        spans: &Spans,
        level: Level,
        query: &RowQuery,
    ) -> Result<RolledUp, StoreError> {
        let rows = self.rows(layout, &crate::rollup::read::parts(query)).await?;
        let rows = crate::rollup::read::made(layout, spans, level, query, &rows);
        Ok(RolledUp { rows, up_to: UpTo::All })
    }
    /// The heads of all lanes, each with the batch that is being written, as they stood at one moment each.
    async fn at_work(&self, layout: &Layout) -> Result<Vec<(Head, Option<StoredPend>)>, StoreError> {
        Ok(self.heads(layout).await?.into_iter().map(|head| (head, None)).collect())
    }
    /// The slots of hours and days with the rows they are made of; `None` where they are made of the rows when they are read.
    /// Days are read before hours and hours before rows: what is behind is never seen ahead.
    async fn slots(&self, _: &Layout, _: &Spans) -> Result<Option<Slots>, StoreError> {
        Ok(None)
    }
    /// Dead letters, in no order, at most `limit`. Once a lane's head says `n`, all letters of its batches up to n are there.
    async fn dead_letters(&self, layout: &Layout, limit: usize) -> Result<Vec<StoredDeadLetter>, StoreError>;
    /// How many dead letters there are of each lane and reason.
    async fn dead_letter_counts(&self, layout: &Layout) -> Result<BTreeMap<(String, Reason), u64>, StoreError> {
        let mut counts = BTreeMap::new();
        for letter in self.dead_letters(layout, usize::MAX).await? {
            *counts.entry((letter.lane, letter.reason)).or_default() += 1;
        }
        Ok(counts)
    }
    /// Writes a gap down, once per lane, kind and position. Where it is there already its acceptance is added, and nothing
    /// else changed. Gives the entry as it stands then.
    async fn note_gap(&self, layout: &Layout, gap: &Gap) -> Result<Gap, StoreError>;
    /// The gaps of a layout, ordered by (found, lane, kind, position).
    async fn gaps(&self, layout: &Layout) -> Result<Vec<Gap>, StoreError>;
    /// Which lanes have written to a main row, by alias, each with the last of its batches that did; nothing where the store
    /// keeps no such marks, since rows and heads change in one transaction.
    async fn fences(&self, _layout: &Layout, _window: &Window, _key: &[u8]) -> Result<Option<Fences>, StoreError> {
        Ok(None)
    }
}

/// Which rows and heads belong together: a policy in one generation.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The policy.
    pub policy: Arc<Policy>,
    /// The generation; empty for the first. Letters, digits, `_` and `-`.
    pub generation: String,
}

impl Layout {
    /// The first generation of a policy.
    pub fn new(policy: Arc<Policy>) -> Self {
        Self { policy, generation: String::new() }
    }

    /// Key of a lane's head.
    pub fn lane(&self, id: &str) -> LaneKey {
        LaneKey { app: self.policy.spec().policy.clone(), generation: self.generation.clone(), lane: id.to_owned() }
    }

    /// Name of the rows: see [`rows_id`].
    pub fn rows_id(&self) -> String {
        rows_id(&self.policy.shape(), &self.generation)
    }

    /// Refuses a content of another shape: this store knows the measures of its own policy only.
    pub fn check(&self, pin: &Pin) -> Result<(), StoreError> {
        if pin.shape == self.policy.shape() {
            return Ok(());
        }
        Err(StoreError::Refused(format!(
            "a batch of policy `{}` with digest {} is pending, and this run's policy {} has other windows, keys or \
             measures; start once with the old policy so that the batch is finished, then take a new --generation",
            pin.name,
            hex(&pin.policy[..6]),
            hex(&self.policy.digest()[..6]),
        )))
    }
}

/// Name of the rows of a shape and generation: two of either never meet in one row, so that a recount in a new
/// generation adds nothing to the rows of the old one.
pub fn rows_id(shape: &[u8; 8], generation: &str) -> String {
    if generation.is_empty() {
        return hex(shape);
    }
    let digest = Sha256::new().chain_update(shape).chain_update(generation).finalize();
    hex(&digest[..8])
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Which of the two tables of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// The windows' own rows.
    #[default]
    Main,
    /// Late records.
    Late,
}

/// Which rows are wanted.
#[derive(Clone, Debug, Default)]
pub struct RowQuery {
    /// Of which table.
    pub table: Which,
    /// Of one key only: its canonical JSON text.
    pub key: Option<Vec<u8>>,
    /// Windows that start at or after.
    pub from: Option<EventTime>,
    /// Windows that start before.
    pub to: Option<EventTime>,
    /// At most so many.
    pub limit: Option<usize>,
}

impl RowQuery {
    /// Whether a row with this key and window start is wanted.
    pub fn wants(&self, key: &[u8], start: EventTime) -> bool {
        self.key.as_ref().is_none_or(|k| k == key)
            && self.from.is_none_or(|t| t <= start)
            && self.to.is_none_or(|t| start < t)
    }
}

/// One row as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// Its table, with the arrival day of late rows.
    pub table: Table,
    /// Its window.
    pub window: Window,
    /// Key and totals.
    pub row: Row,
    /// How often it was changed.
    pub version: u64,
}

/// Rows of hours or days, and how far they can be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledUp {
    /// The rows.
    pub rows: Vec<StoredRow>,
    /// What is in them.
    pub up_to: UpTo,
}

/// How far hours and days are behind the rows that they are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpTo {
    /// They were made of the rows as they stand.
    All,
    /// What the heads stood for when the policy's watermark was this is in them; more may be.
    Watermark(Option<EventTime>),
}

/// Key and bounds of an hour or day.
pub type SpanKey = (Vec<u8>, Window);

/// Hours and days with their slots, and the rows that these were made of.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    /// Days; none where the policy has none.
    pub days: BTreeMap<SpanKey, Whole>,
    /// Hours.
    pub hours: BTreeMap<SpanKey, Whole>,
    /// Rows as they stand, each by itself where several of a key and window add up.
    pub rows: Vec<Change>,
}

/// The order of rows in answers.
pub fn sort(rows: &mut [StoredRow]) {
    rows.sort_by(|a, b| (a.window, a.table, &a.row.key).cmp(&(b.window, b.table, &b.row.key)));
}

/// The last batch that touched a row, by alias of the lane.
pub type Fences = BTreeMap<u64, u64>;

/// A record that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDeadLetter {
    /// Its lane.
    pub lane: String,
    /// The batch of the lane that set it aside; 0 where an earlier version wrote it, which did not say.
    pub n: u64,
    /// Its position.
    pub position: String,
    /// Why.
    pub reason: Reason,
    /// Why, in words.
    pub detail: String,
    /// When it arrived.
    pub arrival: Option<ArrivalTime>,
    /// Its length in bytes.
    pub length: u64,
    /// Its first bytes.
    pub raw: Vec<u8>,
}

/// How far event time has come over all lanes of a layout, and whether its rows may still change.
#[derive(Clone, Copy, Debug)]
pub struct Completeness {
    progress: Progress,
    policy_closes: bool,
    lateness: TimeDelta,
}

impl Completeness {
    /// From the heads that are stored. A lane of which nothing was committed holds everything back; lanes that have
    /// ended or are idle hold nothing, and where all have or are, the furthest counts. A redrive's lane says nothing of the
    /// time: its records are old ones.
    pub fn of(policy: &Policy, heads: &[Head]) -> Self {
        let heads = || heads.iter().filter(|h| h.key.lane != crate::redrive::LANE);
        let active = || heads().filter(|h| !h.done && !h.idle);
        let furthest = heads().map(|h| h.progress).max_by_key(|p| p.watermark);
        let late = policy.spec().late;
        Self {
            progress: match active().next() {
                Some(_) => combine(active().map(|h| h.progress)),
                None => furthest.unwrap_or_default(),
            },
            policy_closes: late.to != plimsoll_core::policy::LateTo::Accept,
            lateness: late.allowed_lateness,
        }
    }

    /// The watermark of the policy: the least of its lanes.
    pub fn watermark(&self) -> Option<EventTime> {
        self.progress.watermark
    }

    /// The same for hours and days, which may be behind the rows.
    #[must_use]
    pub fn behind(self, up_to: UpTo) -> Self {
        match up_to {
            UpTo::All => self,
            UpTo::Watermark(w) => {
                Self { progress: Progress { watermark: self.progress.watermark.min(w), ..self.progress }, ..self }
            }
        }
    }

    /// Whether a main row of this window may still change.
    pub fn fate(&self, window: &Window) -> Fate {
        let closed = self.progress.watermark.is_some_and(|w| window.end + self.lateness <= w);
        if self.policy_closes && closed { Fate::Final } else { Fate::Provisional }
    }
}

/// Why a batch can never be written. Nothing of it was; the row or record is named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: found {found}, expected {expected}")]
pub struct Unwritable {
    /// Which row, dead letter or head.
    pub what: String,
    /// What is too much of it.
    pub found: String,
    /// What would be right.
    pub expected: String,
}

impl Unwritable {
    /// A refusal.
    pub fn new(what: String, found: String, expected: String) -> Self {
        Self { what, found, expected }
    }
}

/// What writing to a table has cost, in units of a service that charges by them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WriteUnits {
    /// The table's name.
    pub table: String,
    /// As the service said.
    pub reported: u64,
    /// Computed from the sizes of items, where the service says nothing.
    pub computed: u64,
}

/// Whether rows outlive whatever can still be added to them: what the stream still holds, late or not, and a day for what is
/// pending.
pub fn kept_long_enough(layout: &Layout, kept: TimeDelta, retention: Option<TimeDelta>) -> Result<(), StoreError> {
    let day = TimeDelta::from_secs(86_400);
    // No service keeps a stream for less than a day.
    let retention = retention.unwrap_or(day).max(day);
    let lateness = layout.policy.spec().late.allowed_lateness;
    let need_ms = [retention, lateness, day].iter().fold(0_i64, |sum, d| sum.saturating_add(d.as_millis()));
    if need_ms <= kept.as_millis() {
        return Ok(());
    }
    let hours = |ms: i64| (ms.saturating_add(3_599_999)) / 3_600_000;
    Err(StoreError::Refused(format!(
        "policy `{}`: rows are kept {} h, but the stream keeps records {} h and the policy allows lateness of {} h: expected \
         rows to be kept their sum and a day, or they would be deleted while records for them still come; pass --rows-kept \
         {}h, or lower `late.allowed_lateness` or the stream's retention, or write to --sqlite",
        layout.policy.spec().policy,
        kept.as_millis() / 3_600_000,
        hours(retention.as_millis()),
        hours(lateness.as_millis()),
        hours(need_ms),
    )))
}

/// Why a store cannot be used. The message names what was found, where, and the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Not there, of the wrong form, damaged, full, or not allowed: somebody must act.
    #[error("{0}")]
    Refused(String),
    /// Trouble that may pass: ask again.
    #[error("{0}")]
    Passing(String),
}
