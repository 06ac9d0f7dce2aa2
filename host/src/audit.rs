//! Does it add up? What the lanes' accounts say against what the tables hold, and hours and days against their rows.
//!
//! ```text
//! heads, with what is pending --> days, hours, rows, late rows, dead letters --> heads again
//! ```
//! A store is audited while others write to it. What stood in the accounts before everything was read must be there; more
//! than the accounts after it, and what was pending then, must not. Where nothing moved meanwhile the two are one number.
//!
//! Invariants
//! - It reads and never writes.
//! - What cannot be told is said to be so, with the reason, and is no imbalance.
//!
//! Not here: what is compared with what (`accounts`, `spans`), words for people (`cli::audit`).

mod accounts;
mod spans;

#[cfg(test)]
mod tests;

pub use spans::Behind;

use crate::store::{Layout, RowQuery, Store, StoreError, StoredRow, Which};
use plimsoll_core::account::{Account, Reason};
use plimsoll_core::lane::{Answer, Command, Head, InFlight, StoredPend, chunks_of, in_flight};
use plimsoll_core::rollup::Spans;
use plimsoll_core::time::TimeDelta;
use plimsoll_core::wire::WireError;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Hours and days that are behind are looked at again so often before that is an imbalance,
const LOOKS: u32 = 6;
/// and so long after each other.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether everything that can be told adds up.
    pub balanced: bool,
    /// The lanes as they stood at the end.
    pub lanes: Vec<LaneReport>,
    /// What was compared.
    pub checks: Vec<Check>,
}

/// One lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaneReport {
    /// The source's identity of it.
    pub lane: String,
    /// Number of its last batch.
    pub n: u64,
    /// Where its records went.
    pub account: Account,
    /// Number and records of the batch that is being written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<Pending>,
}

/// A batch that is being written: any part of it may be in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pending {
    /// Its number.
    pub n: u64,
    /// Its records.
    pub records: u64,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was compared.
    pub check: &'static str,
    /// How it came out.
    pub outcome: Outcome,
    /// Of which lane; of all where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// Of which key: its canonical text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Of which window, hour or day, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<[i64; 2]>,
    /// What the tables hold.
    pub found: String,
    /// What the accounts, or the parts, add up to.
    pub expected: String,
    /// What else there is to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// How a comparison came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It adds up.
    Ok,
    /// It does not.
    Imbalance,
    /// That cannot be told; the note says why.
    NotChecked,
}

impl Check {
    fn new(check: &'static str, outcome: Outcome, found: impl ToString, expected: impl ToString) -> Self {
        let (found, expected) = (found.to_string(), expected.to_string());
        Self { check, outcome, lane: None, key: None, window: None, found, expected, note: String::new() }
    }

    fn not_checked(check: &'static str, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..Self::new(check, Outcome::NotChecked, "", "") }
    }
}

/// A lane as it stood at one moment.
#[derive(Clone, Debug)]
struct Lane {
    head: Head,
    /// What was under way; none where that could not be told.
    in_flight: Option<InFlight>,
}

/// All that is compared.
struct Seen {
    before: Vec<Lane>,
    after: Vec<Lane>,
    main: Vec<StoredRow>,
    late: Vec<StoredRow>,
    letters: BTreeMap<(String, Reason), u64>,
    /// Windows that ended before this may have lost rows.
    expired_ms: Option<i64>,
}

/// Audits a layout. `now_ms` is the host's clock.
pub async fn audit(store: &dyn Store, layout: &Layout, now_ms: i64) -> Result<Report, StoreError> {
    let before = lanes(store, layout).await?;
    let spans = Spans::of(&layout.policy);
    let slots = match &spans {
        Some(spans) => store.slots(layout, spans).await?.map(|slots| (spans, slots)),
        None => None,
    };
    let rows = |table| RowQuery { table, ..RowQuery::default() };
    let main = store.rows(layout, &rows(Which::Main)).await?;
    let late = store.rows(layout, &rows(Which::Late)).await?;
    let letters = store.dead_letter_counts(layout).await?;
    let after = lanes(store, layout).await?;
    let expired_ms = expired_ms(store.rows_kept(), now_ms, &after);
    let seen = Seen { before, after, main, late, letters, expired_ms };
    let mut report = Report { lanes: seen.after.iter().map(Lane::report).collect(), ..Report::default() };
    report.checks = accounts::checks(layout, &seen);
    if let Some((spans, slots)) = slots {
        let (checks, mut behind) = spans::checks(layout, spans, &slots, expired_ms);
        report.checks.extend(checks);
        for _ in 1..LOOKS {
            if behind.is_empty() {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            if let Some(slots) = store.slots(layout, spans).await? {
                behind.retain(|b| b.still(&slots));
            }
        }
        report.checks.extend(behind.iter().map(Behind::check));
    } else if spans.is_some() {
        let note = "hours and days are made of the rows when they are read: there is nothing that could differ";
        report.checks.push(Check::not_checked("hours and days against their parts", note));
    }
    report.balanced = report.checks.iter().all(|c| c.outcome != Outcome::Imbalance);
    Ok(report)
}

/// Windows that ended before this may have lost rows; none where rows stay, or nothing was written so long ago that it could
/// have expired: a row stays so long after its last change too.
fn expired_ms(kept: Option<TimeDelta>, now_ms: i64, lanes: &[Lane]) -> Option<i64> {
    let expired_ms = now_ms.saturating_sub(kept?.as_millis());
    lanes.iter().any(|l| l.head.created_ms < expired_ms).then_some(expired_ms)
}

/// The lanes with what is under way in them.
async fn lanes(store: &dyn Store, layout: &Layout) -> Result<Vec<Lane>, StoreError> {
    let mut lanes = Vec::new();
    for (head, pend) in store.at_work(layout).await? {
        let damaged =
            |e: WireError| StoreError::Refused(format!("lane {}: its head cannot be read: {e}", head.key.lane));
        let in_flight = under_way(store, &head, pend.as_ref()).await?.map_err(damaged)?;
        lanes.push(Lane { head, in_flight });
    }
    lanes.sort_by(|a, b| a.head.key.cmp(&b.head.key));
    Ok(lanes)
}

async fn under_way(
    store: &dyn Store,
    head: &Head,
    pend: Option<&StoredPend>,
) -> Result<Result<Option<InFlight>, WireError>, StoreError> {
    let names = match chunks_of(head, pend) {
        Ok(names) => names,
        Err(e) => return Ok(Err(e)),
    };
    let mut chunks = BTreeMap::new();
    if !names.is_empty() {
        let command = Command::GetChunks { alias: head.alias, names: names.clone() };
        if let Answer::Chunks(bytes) = store.execute(&head.key, &command).await? {
            // One that is gone meanwhile was another batch's.
            chunks = names.into_iter().zip(bytes).filter_map(|(name, bytes)| Some((name, bytes?))).collect();
        }
    }
    Ok(in_flight(head, pend, |name| chunks.get(name).map(Vec::as_slice)))
}

impl Lane {
    fn report(&self) -> LaneReport {
        let Self { head, in_flight } = self;
        let pending = in_flight.as_ref().and_then(|f| f.pending.as_ref());
        LaneReport {
            lane: head.key.lane.clone(),
            n: head.n,
            account: head.account.clone(),
            in_flight: pending.map(|(n, account)| Pending { n: *n, records: account.read }),
        }
    }
}
