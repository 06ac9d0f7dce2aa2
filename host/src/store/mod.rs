//! Where rows and heads are kept. A store executes the lane protocol's commands and answers them; it decides nothing.
//!
//! Contract
//! 1. `execute` does what `plimsoll_core::lane::Command` says, under exactly the condition it names, and answers as said
//!    there. A write whose outcome is not known is `Unknown`, never `Written` or `Refused`.
//! 2. With `Atomicity::Transaction` rows, dead letters and head move together or not at all.
//! 3. Reading (`heads`, `rows`, `dead_letters`) sees every write answered before and disturbs no writer.
//! 4. Keys, positions and raw records are strangers' text: bound as parameters, never pasted into statements.
//!
//! `contract` holds the tests that every store passes.
//!
//! Not here: what to do next (`plimsoll_core::lane`), when (`driver`).

use async_trait::async_trait;
use plimsoll_core::account::Reason;
use plimsoll_core::lane::{Answer, Atomicity, Command, Head, LaneKey, Limits};
use plimsoll_core::policy::Policy;
use plimsoll_core::time::{ArrivalTime, EventTime};
use plimsoll_core::window::Window;
use plimsoll_core::wire::effects::Row;

/// Keeps rows and heads.
#[async_trait]
pub trait Store: Send + Sync {
    /// What it is, for people: `sqlite counts.db`.
    fn describe(&self) -> String;
    /// How it writes a batch.
    fn atomicity(&self) -> Atomicity;
    /// What it holds in one piece.
    fn limits(&self) -> Limits;
    /// Identity of its table of rows.
    fn table(&self) -> String;
    /// Makes or checks what the policy's rows need. Called once before anything else.
    async fn prepare(&self, policy: &Policy) -> Result<(), StoreError>;
    /// Executes one command of a lane.
    async fn execute(&self, key: &LaneKey, command: &Command) -> Answer;
    /// The heads of an app (policy name), of all generations.
    async fn heads(&self, app: &str) -> Result<Vec<Head>, StoreError>;
    /// Rows of a policy's shape, by (window end, window start, arrival day, key).
    async fn rows(&self, policy: &Policy, query: &RowQuery) -> Result<Vec<StoredRow>, StoreError>;
    /// Dead letters of an app, oldest first by lane and position.
    async fn dead_letters(&self, app: &str, limit: usize) -> Result<Vec<StoredDeadLetter>, StoreError>;
}

/// Which rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowQuery {
    /// Late rows instead of main ones.
    pub late: bool,
    /// Of this key only: the canonical JSON array of its values.
    pub key: Option<Vec<u8>>,
    /// Windows that start at or after this.
    pub from: Option<EventTime>,
    /// Windows that start before this.
    pub to: Option<EventTime>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// A row as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// Its window.
    pub window: Window,
    /// The arrival day of a late row, `Some(None)` where no arrival was known; `None` for a main row.
    pub day: Option<Option<i64>>,
    /// Its key and totals.
    pub row: Row,
    /// How many effects it has taken.
    pub version: u64,
}

/// A record set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDeadLetter {
    /// The lane it came on.
    pub lane: String,
    /// Its position there.
    pub position: String,
    /// Why.
    pub reason: Reason,
    /// Which wanted field is at fault, as `Decoder::fields` counts them.
    pub field: Option<u16>,
    /// At which byte.
    pub at: u32,
    /// When it arrived.
    pub arrival: Option<ArrivalTime>,
    /// Its length in bytes.
    pub length: u64,
    /// Its first bytes.
    pub raw: Vec<u8>,
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Not there, of another shape, not permitted. The text names the mend.
    #[error("{0}")]
    Refused(String),
    /// Trouble that may pass.
    #[error("{0}")]
    Passing(String),
}
