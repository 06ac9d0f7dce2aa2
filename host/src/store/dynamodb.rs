//! DynamoDB: rows, dead letters and heads as items of four tables, every write conditional; two
//! more for hours and days.
//!
//! ```text
//! <prefix>-rows    main rows, the counter of aliases and the table's identity     TTL on _x
//! <prefix>-late    late rows                                                      TTL on _x
//! <prefix>-dead    dead letters
//! <prefix>-lanes   heads, chunks, the list of lanes, the gap ledger; how far the rows' changes were followed
//! <prefix>-hours   rows of hours and days, made of the rows' change stream (`hours`)
//! <prefix>-days
//! ```
//! Invariants
//! - One attempt per request: the SDK repeats nothing where something is written. Reading for people and the tables'
//!   administration repeat, since that harms nobody.
//! - No effect is sent that was signed more than ten minutes after the lane's head was looked at (`deadline`).
//! - A table is used in one region only, and never after a restore: fences and heads would not fit each other.
//! - What no item can hold is refused before its batch's intent is written (`weight`).
//!
//! Not here: names and values (`item`), items of one row (`part`), expressions (`row`), what errors mean (`failure`), which
//! command comes next (`plimsoll_core::lane`).

mod apply;
mod deadline;
mod failure;
mod gaps;
mod head;
mod hours;
mod item;
mod meter;
mod notes;
mod part;
mod read;
mod rights;
mod row;
mod stream;
mod tables;
mod weight;

pub use deadline::DEADLINE_S;
pub use hours::Hours;
pub use part::LANES_PER_ITEM;
pub use row::ROW_KEPT_S;
pub use stream::RowChanges;

use super::{
    Fences, Gap, Layout, RolledUp, RowQuery, Slots, Store, StoreError, StoredDeadLetter, StoredRow, Unwritable,
    WriteUnits, rows_id,
};
use crate::aws::{ATTEMPT_MAX, CONNECT_MAX};
use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::Client;
use failure::Asked;
use meter::Meter;
use plimsoll_core::account::Reason;
use plimsoll_core::decode::Decoder;
use plimsoll_core::lane::{Answer, Atomicity, Batch, Command, Head, LaneKey, Limits, StoredPend};
use plimsoll_core::rollup::{Level, Spans};
use plimsoll_core::time::TimeDelta;
use plimsoll_core::window::Window;
use std::collections::{BTreeMap, HashMap};
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
    /// Reads the rows' changes; tries once, since whoever follows them tries again.
    streams: aws_sdk_dynamodbstreams::Client,
    region: String,
    names: tables::Names,
    meter: Meter,
    /// How long rows are kept, in seconds: never less than `ROW_KEPT_S`.
    rows_kept_s: i64,
    prepared: RwLock<Option<Arc<Prepared>>>,
    /// When each lane's head was last looked at for sure: signing time in seconds since the epoch.
    looks: Mutex<HashMap<LaneKey, i64>>,
}

/// What `prepare` found.
struct Prepared {
    layout: Layout,
    /// Identity of the table of rows.
    table: String,
    /// How many lanes share an item of a row (`part`).
    lanes_per_item: u64,
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
        // Without a limit of time a line that went dead would hold a lane for ever.
        let once = TimeoutConfig::builder().connect_timeout(CONNECT_MAX).operation_attempt_timeout(ATTEMPT_MAX).build();
        let writer = base.clone().retry_config(RetryConfig::disabled()).timeout_config(once);
        Ok(Self {
            writer: Client::from_conf(writer.build()),
            streams: aws_sdk_dynamodbstreams::Client::new(config),
            reader: Client::from_conf(base.retry_config(retry).timeout_config(timeouts).build()),
            region,
            meter: Meter::new(&names),
            names,
            rows_kept_s: ROW_KEPT_S,
            prepared: RwLock::default(),
            looks: Mutex::default(),
        })
    }

    /// Keeps rows so long after their window's end and their last change.
    ///
    /// # Errors
    /// If that is less than `ROW_KEPT_S`: what lanes may have pending is applied for up to a day less.
    pub fn keeping_rows(self, kept: Duration) -> Result<Self, StoreError> {
        let least = Duration::from_secs(ROW_KEPT_S.unsigned_abs());
        let rows_kept_s = i64::try_from(kept.as_secs()).unwrap_or(i64::MAX);
        if kept < least {
            let (found, least) = (kept.as_secs() / 3_600, least.as_secs() / 3_600);
            let text = format!("rows are to be kept {found} h in DynamoDB, expected at least {least} h (--rows-kept)");
            return Err(StoreError::Refused(text));
        }
        Ok(Self { rows_kept_s, ..self })
    }

    /// Makes the tables that are missing, and gives the names of all.
    pub async fn create_tables(&self) -> Result<Vec<String>, StoreError> {
        self.create().await?;
        self.check_tables().await
    }

    /// Checks that the tables are there and as they must be, those of rollups included, and gives their names.
    pub async fn check_tables(&self) -> Result<Vec<String>, StoreError> {
        self.check().await?;
        self.check_rollups().await?;
        Ok(self.names.all().into_iter().chain(self.names.rollups()).map(|(name, _)| name.to_owned()).collect())
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

    async fn prepare(&self, layout: &Layout) -> Result<(), StoreError> {
        let id = self.check().await?;
        let lanes_per_item = self.mark(&id).await?;
        self.try_rights().await?;
        let prepared = Prepared { layout: layout.clone(), table: id, lanes_per_item };
        *self.prepared.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(prepared));
        Ok(())
    }

    fn rows_kept(&self) -> Option<TimeDelta> {
        Some(TimeDelta::from_secs(self.rows_kept_s))
    }

    fn admits(&self, key: &LaneKey, batch: &Batch) -> Result<(), Unwritable> {
        let prepared = self.prepared();
        let rows_id = rows_id(&batch.pin.shape, &key.generation);
        let measures = prepared.layout.policy.spec().measures.as_slice();
        for group in &batch.effects.groups {
            for row in &group.rows {
                weight::admit_row((&rows_id, measures, prepared.lanes_per_item), group, row)?;
            }
        }
        if !batch.effects.dead.is_empty() {
            let decoder = Decoder::new(&prepared.layout.policy);
            for (letter, position) in batch.effects.dead.iter().zip(&batch.places) {
                let detail = decoder.explain(letter.reason, letter.field, letter.at);
                // Whichever alias the lane has: the longest.
                let item = apply::dead_letter(key, (u64::MAX, u64::MAX), letter, position, detail);
                weight::admit_letter(position, &item)?;
            }
        }
        weight::admit_head(batch.to.as_deref(), batch.snapshot.as_deref())
    }

    fn write_units(&self) -> Vec<WriteUnits> {
        self.meter.read()
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
        Ok(self.read_lanes(layout).await?.into_iter().map(|(head, _)| head).collect())
    }

    async fn rows(&self, layout: &Layout, query: &RowQuery) -> Result<Vec<StoredRow>, StoreError> {
        self.read_rows(layout, query).await
    }

    async fn rollup(
        &self,
        layout: &Layout,
        spans: &Spans,
        level: Level,
        query: &RowQuery,
    ) -> Result<RolledUp, StoreError> {
        self.read_rollup(layout, spans, level, query).await
    }

    async fn slots(&self, layout: &Layout, spans: &Spans) -> Result<Option<Slots>, StoreError> {
        self.read_slots(layout, spans).await.map(Some)
    }

    async fn at_work(&self, layout: &Layout) -> Result<Vec<(Head, Option<StoredPend>)>, StoreError> {
        self.read_lanes(layout).await
    }

    async fn dead_letters(&self, layout: &Layout, limit: usize) -> Result<Vec<StoredDeadLetter>, StoreError> {
        self.read_dead_letters(layout, limit).await
    }

    async fn dead_letter_counts(&self, layout: &Layout) -> Result<BTreeMap<(String, Reason), u64>, StoreError> {
        self.count_dead_letters(layout).await
    }

    async fn fences(&self, layout: &Layout, window: &Window, key: &[u8]) -> Result<Option<Fences>, StoreError> {
        self.read_fences(layout, window, key).await.map(Some)
    }

    async fn note_gap(&self, layout: &Layout, gap: &Gap) -> Result<Gap, StoreError> {
        self.write_gap(layout, gap).await
    }

    async fn gaps(&self, layout: &Layout) -> Result<Vec<Gap>, StoreError> {
        self.read_gaps(layout).await
    }
}
