//! Whether rows outlive whatever can still be added to them (exactly-once, 'Time').
//!
//! ```text
//! rows kept  >=  what the source keeps + allowed lateness + a day
//! ```
//! Not here: what a store does with rows that are older.

use crate::source::Source;
use crate::store::{Store, StoreError};
use plimsoll_core::policy::Policy;
use plimsoll_core::time::TimeDelta;

/// For hosts that sleep, and for clocks.
const MARGIN: TimeDelta = TimeDelta::from_secs(86_400);

/// Refuses a source whose records may come when their rows have expired.
pub(super) fn check(source: &dyn Source, store: &dyn Store, policy: &Policy) -> Result<(), StoreError> {
    let (Some(rows), Some(keeps)) = (store.rows_kept(), source.keeps()) else { return Ok(()) };
    let lateness = policy.spec().late.allowed_lateness;
    let needed = [keeps, lateness, MARGIN].iter().fold(0, |sum: i64, d| sum.saturating_add(d.as_millis()));
    if needed <= rows.as_millis() {
        return Ok(());
    }
    let hours = |ms: i64| ms / 3_600_000;
    let most = rows.as_millis().saturating_sub(needed.saturating_sub(keeps.as_millis()));
    let mend = if most > 0 {
        format!("lower its retention to {} h or less", hours(most))
    } else {
        "lower `late.allowed_lateness`".to_owned()
    };
    Err(StoreError::Refused(format!(
        "{} keeps records {} h, and policy `{}` allows {} h of lateness: their rows would have to be kept {} h, with a day of \
         margin, and {} keeps rows {} h; {mend}, or write to --sqlite",
        source.describe(),
        hours(keeps.as_millis()),
        policy.spec().policy,
        hours(lateness.as_millis()),
        hours(needed),
        store.describe(),
        hours(rows.as_millis()),
    )))
}
