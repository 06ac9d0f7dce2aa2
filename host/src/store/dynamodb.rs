//! DynamoDB: rows, dead letters and heads as items of four tables, every write conditional.
//!
//! ```text
//! <prefix>-rows    main rows, the counter of aliases and the table's identity     TTL on _x
//! <prefix>-late    late rows                                                      TTL on _x
//! <prefix>-dead    dead letters
//! <prefix>-lanes   heads, chunks, the list of lanes
//! ```
//! Invariants
//! - One attempt per request: the SDK repeats nothing where something is written. Reading for people and the tables'
//!   administration repeat, since that harms nobody.
//! - No effect is sent that was signed more than ten minutes after the lane's head was looked at (`deadline`).
//! - A table is used in one region only, and never after a restore: fences and heads would not fit each other.
//!
//! Not here: names and values (`item`), expressions (`row`), what errors mean (`failure`), which command comes next
//! (`plimsoll_core::lane`).

mod apply;
mod deadline;
mod failure;
mod head;
mod item;
mod read;
mod row;
mod tables;

pub use deadline::DEADLINE_S;
pub use row::ROW_KEPT_S;

use super::{Fences, Layout, RowQuery, Store, StoreError, StoredDeadLetter, StoredRow};
use crate::aws::{ATTEMPT_MAX, CONNECT_MAX};
use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::Client;
use failure::Asked;
use plimsoll_core::lane::{Answer, Atomicity, Command, Head, LaneKey, Limits};
use plimsoll_core::time::TimeDelta;
use plimsoll_core::window::Window;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

/// Requests in flight for one command. At a few milliseconds each that is several thousand rows a second and lane.
const IN_FLIGHT: usize = 32;
/// How often reading and administration try before they give up.
const READ_ATTEMPTS: u32 = 6;
/// Before their second attempt; doubled each time. A person waits for them: a few seconds in all.
const READ_BACKOFF: Duration = Duration::from_millis(250);
/// The longest that one such request takes, attempts and waits included.
const READ_MAX: Duration = Duration::from_secs(60);

/// The tables of a prefix.
pub struct DynamoStore {
    /// Tries once.
    writer: Client,
    /// Tries again.
    reader: Client,
    region: String,
    names: tables::Names,
    prepared: RwLock<Option<Arc<Prepared>>>,
    /// When each lane's head was last looked at for sure: signing time in seconds since the epoch.
    looks: Mutex<HashMap<LaneKey, i64>>,
}

/// What `prepare` found.
struct Prepared {
    layout: Layout,
    /// Identity of the table of rows.
    table: String,
}

impl DynamoStore {
    /// The tables of a prefix, reached as the environment says. Asks for nothing yet.
    pub async fn connect(prefix: &str) -> Result<Self, StoreError> {
        Self::new(&crate::aws::config().await, prefix)
    }

    /// The tables of a prefix, reached as `config` says; its retries and clock correction are turned off.
    pub fn new(config: &SdkConfig, prefix: &str) -> Result<Self, StoreError> {
        let names = tables::Names::new(prefix)?;
        let Some(region) = config.region().map(ToString::to_string) else {
            return Err(StoreError::Refused(format!(
                "no AWS region for the DynamoDB tables `{prefix}-*`; set AWS_REGION, or name a region in the profile"
            )));
        };
        let base = aws_sdk_dynamodb::config::Builder::from(config).disable_clock_skew_correction(true);
        let retry = RetryConfig::standard().with_max_attempts(READ_ATTEMPTS).with_initial_backoff(READ_BACKOFF);
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_MAX)
            .operation_attempt_timeout(ATTEMPT_MAX)
            .operation_timeout(READ_MAX)
            .build();
        Ok(Self {
            writer: Client::from_conf(base.clone().retry_config(RetryConfig::disabled()).build()),
            reader: Client::from_conf(base.retry_config(retry).timeout_config(timeouts).build()),
            region,
            names,
            prepared: RwLock::default(),
            looks: Mutex::default(),
        })
    }

    /// Makes the tables that are missing, and gives the names of all.
    pub async fn create_tables(&self) -> Result<Vec<String>, StoreError> {
        self.create().await?;
        self.check_tables().await
    }

    /// Checks that the tables are there and as they must be, and gives their names.
    pub async fn check_tables(&self) -> Result<Vec<String>, StoreError> {
        self.check().await?;
        Ok(self.names.all().map(|(name, _)| name.to_owned()).into())
    }

    fn asked<'a>(&'a self, action: &'static str, table: &'a str) -> Asked<'a> {
        Asked { action, table, prefix: &self.names.prefix, region: &self.region }
    }

    fn prepared(&self) -> Arc<Prepared> {
        let held = self.prepared.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(held.as_ref().expect("prepared before it is used"))
    }

    /// The head was looked at, by a request signed then that was answered well.
    fn looked(&self, key: &LaneKey, signed_s: i64) {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), signed_s);
    }

    fn last_look(&self, key: &LaneKey) -> i64 {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied().unwrap_or(i64::MIN)
    }
}

#[async_trait]
impl Store for DynamoStore {
    fn describe(&self) -> String {
        format!("dynamodb {}-* ({})", self.names.prefix, self.region)
    }

    fn atomicity(&self) -> Atomicity {
        Atomicity::Items
    }

    fn limits(&self) -> Limits {
        Limits::ITEMS
    }

    fn table(&self) -> String {
        self.prepared().table.clone()
    }

    fn rows_kept(&self) -> Option<TimeDelta> {
        Some(TimeDelta::from_secs(ROW_KEPT_S))
    }

    async fn prepare(&self, layout: &Layout) -> Result<(), StoreError> {
        kept_long_enough(layout)?;
        let id = self.check().await?;
        self.mark(&id).await?;
        let prepared = Prepared { layout: layout.clone(), table: id };
        *self.prepared.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(prepared));
        Ok(())
    }

    async fn execute(&self, key: &LaneKey, command: &Command) -> Result<Answer, StoreError> {
        let answer = match command {
            Command::ReadHead => self.read_head(key).await,
            Command::AllocateAlias => self.allocate_alias().await,
            Command::CreateHead { head } => self.create_head(key, head).await,
            Command::ListChunks { alias } => self.list_chunks(*alias).await,
            Command::GetChunks { alias, names } => self.get_chunks(*alias, names).await,
            Command::PutChunks { alias, chunks } => self.put_chunks(*alias, chunks).await,
            Command::DeleteChunks { alias, names } => self.delete_chunks(*alias, names).await,
            Command::Intent { pend } => self.intent(key, pend).await,
            Command::Commit { n, digest, head } => self.commit(key, *n, digest, head).await,
            Command::Apply { alias, content, effects } => return self.apply(key, *alias, content, effects).await,
            Command::Transact { .. } => panic!("a store of items was asked for a transaction"),
        };
        answer.or_else(failure::Failure::answer)
    }

    async fn heads(&self, layout: &Layout) -> Result<Vec<Head>, StoreError> {
        self.read_heads(layout).await
    }

    async fn rows(&self, layout: &Layout, query: &RowQuery) -> Result<Vec<StoredRow>, StoreError> {
        self.read_rows(layout, query).await
    }

    async fn dead_letters(&self, layout: &Layout, limit: usize) -> Result<Vec<StoredDeadLetter>, StoreError> {
        self.read_dead_letters(layout, limit).await
    }

    async fn fences(&self, layout: &Layout, window: &Window, key: &[u8]) -> Result<Option<Fences>, StoreError> {
        self.read_fences(layout, window, key).await.map(Some)
    }
}

/// Rows must outlive whatever can still be added to them. What the stream keeps is at least a day, and a day is margin.
fn kept_long_enough(layout: &Layout) -> Result<(), StoreError> {
    let lateness = layout.policy.spec().late.allowed_lateness;
    let most = TimeDelta::from_secs(ROW_KEPT_S - 2 * 86_400);
    if lateness <= most {
        return Ok(());
    }
    let hours = |d: TimeDelta| d.as_millis() / 3_600_000;
    Err(StoreError::Refused(format!(
        "policy `{}`: allowed lateness of {} h, at most {} h where rows are kept {} h in DynamoDB; lower \
         `late.allowed_lateness`, or write to --sqlite",
        layout.policy.spec().policy,
        hours(lateness),
        hours(most),
        ROW_KEPT_S / 3_600
    )))
}
