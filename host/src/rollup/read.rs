//! Hours and days out of the rows as they stand, for stores whose rows never expire.
//!
//! Not here: hours and days that are kept (`store::dynamodb`).

use crate::store::{Layout, RowQuery, StoredRow, sort};
use plimsoll_core::rollup::{Level, Spans, add_up};
use plimsoll_core::time::TimeDelta;
use plimsoll_core::window::Window;
use plimsoll_core::wire::effects::{Row, Table};
use std::collections::BTreeMap;

/// Longer than any day: some have 25 hours, and a few had more.
const SPAN_MAX: TimeDelta = TimeDelta::from_secs(50 * 3_600);

/// The rows that make the hours and days which are wanted.
pub fn parts(query: &RowQuery) -> RowQuery {
    RowQuery { to: query.to.map(|to| to + SPAN_MAX), limit: None, ..query.clone() }
}

/// What rows add up to. They must be all those that `parts` wants.
pub fn made(layout: &Layout, spans: &Spans, level: Level, query: &RowQuery, rows: &[StoredRow]) -> Vec<StoredRow> {
    let measures = &layout.policy.spec().measures;
    let mut wholes: BTreeMap<(Window, &[u8]), Vec<&StoredRow>> = BTreeMap::new();
    for row in rows {
        let span = spans.span(level, row.window.start).expect("asked only for what the policy has");
        if query.wants(&row.row.key, span.start) {
            wholes.entry((span, &row.row.key)).or_default().push(row);
        }
    }
    let whole = |((window, key), parts): ((Window, &[u8]), Vec<&StoredRow>)| StoredRow {
        table: Table::Main,
        window,
        row: Row { key: key.to_vec(), values: add_up(measures, parts.iter().map(|p| p.row.values.as_slice())) },
        version: parts.iter().map(|p| p.version).sum(),
    };
    let mut made: Vec<StoredRow> = wholes.into_iter().map(whole).collect();
    sort(&mut made);
    made.truncate(query.limit.unwrap_or(usize::MAX));
    made
}
