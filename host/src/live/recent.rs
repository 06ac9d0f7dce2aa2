//! The last windows' rows as this process has seen them: what the live page shows between two looks into the store.
//!
//! Totals are merged from the effects committed since the process started. After a restart they are less than the
//! store's; whoever shows them says so.
//!
//! Invariants
//! - At most [`WINDOWS_KEPT`] windows and [`KEYS_KEPT`] keys in each: memory is bounded whatever the stream does. Keys
//!   beyond are counted in `keys_beyond` and in the window's total, but have no row.
//! - Windows that begin after `now`, what event time is believed to be (clocks ahead), are the first to go, and few of them
//!   are shown: they cannot push out honest ones.
//!
//! Not here: the rows themselves (`store`), all rows of a file (`plimsoll_core::rows`).

use plimsoll_core::policy::{Op, Policy};
use plimsoll_core::rows::fold;
use plimsoll_core::time::EventTime;
use plimsoll_core::wire::effects::{Effects, Table};
use std::collections::BTreeMap;

/// Windows whose rows are remembered.
pub const WINDOWS_KEPT: usize = 24;
/// Windows that are shown: the latest of those kept that are not ahead.
pub const WINDOWS_SHOWN: usize = 10;
/// Windows ahead that are shown beside them, so that one sees them: the first.
pub const AHEAD_SHOWN: usize = 2;
/// Keys of a window that are remembered. 24 windows of 4,096 keys take about 20 MB.
pub const KEYS_KEPT: usize = 4_096;
/// Rows that are shown of a window: those of the greatest weight.
pub const ROWS_SHOWN: usize = 20;

/// Rows of the last windows.
#[derive(Debug)]
pub struct RecentRows {
    ops: Vec<Op>,
    weight: Option<usize>,
    windows: BTreeMap<(EventTime, EventTime), Window>,
}

/// What is remembered of one window.
#[derive(Debug, Default)]
struct Window {
    rows: BTreeMap<Vec<u8>, Vec<Option<i128>>>,
    keys_beyond: u64,
    total: i128,
    late: i128,
}

/// One window as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowView {
    /// First instant.
    pub start: EventTime,
    /// First instant after it.
    pub end: EventTime,
    /// It begins after what event time is believed to be: a clock that runs ahead has opened it.
    pub ahead: bool,
    /// Keys that have a row here.
    pub keys: usize,
    /// Updates of keys that were not remembered, because the window already had [`KEYS_KEPT`] of them.
    pub keys_beyond: u64,
    /// The weight measure's total over all keys.
    pub total: i128,
    /// The same over the window's late records.
    pub late: i128,
    /// The greatest rows: key (canonical JSON array) and values in the policy's order.
    pub rows: Vec<(Vec<u8>, Vec<Option<i128>>)>,
}

impl RecentRows {
    /// Nothing yet. Rows are weighed by the policy's first count, else by its first sum.
    pub fn new(policy: &Policy) -> Self {
        let ops: Vec<Op> = policy.spec().measures.iter().map(|m| m.op).collect();
        let weight = ops.iter().position(|o| *o == Op::Count).or_else(|| ops.iter().position(|o| *o == Op::Sum));
        Self { ops, weight, windows: BTreeMap::new() }
    }

    /// The index of the measure that rows are weighed by; `None` where the policy neither counts nor sums.
    pub fn weight(&self) -> Option<usize> {
        self.weight
    }

    /// Merges what a batch adds. `now` is what event time is believed to be, if anything is known of it.
    pub fn add(&mut self, effects: &Effects, now: Option<EventTime>) {
        if effects.measures != self.ops.len() {
            // Effects of another policy: a swap is on its way, and its hub will be told.
            return;
        }
        for g in &effects.groups {
            let window = self.windows.entry((g.end, g.start)).or_default();
            for row in &g.rows {
                let weight = self.weight.and_then(|i| row.values[i]).unwrap_or(0);
                if g.table != Table::Main {
                    window.late += weight;
                    continue;
                }
                window.total += weight;
                if !window.rows.contains_key(&row.key) && window.rows.len() >= KEYS_KEPT {
                    window.keys_beyond += 1;
                    continue;
                }
                let totals = window.rows.entry(row.key.clone()).or_insert_with(|| vec![None; self.ops.len()]);
                for ((total, delta), op) in totals.iter_mut().zip(&row.values).zip(&self.ops) {
                    // A total beyond 10^30 stays where it is: the driver refuses such a batch before it commits it.
                    *total = fold(*op, *total, *delta).unwrap_or(*total);
                }
            }
        }
        while self.windows.len() > WINDOWS_KEPT {
            let last = *self.windows.last_key_value().expect("there are windows").0;
            if is_ahead(last.1, now) {
                self.windows.pop_last()
            } else {
                self.windows.pop_first()
            };
        }
    }

    /// Where the remembered windows end.
    pub fn ends(&self) -> impl Iterator<Item = EventTime> + '_ {
        self.windows.keys().map(|(end, _)| *end)
    }

    /// The last windows, oldest first, each with its greatest rows.
    pub fn shown(&self, now: Option<EventTime>) -> Vec<WindowView> {
        let part = |ahead: bool| self.windows.iter().filter(move |((_, start), _)| is_ahead(*start, now) == ahead);
        let skip = part(false).count().saturating_sub(WINDOWS_SHOWN);
        let shown = part(false).skip(skip).chain(part(true).take(AHEAD_SHOWN));
        shown.map(|((end, start), w)| self.view(*start, *end, is_ahead(*start, now), w)).collect()
    }

    fn view(&self, start: EventTime, end: EventTime, ahead: bool, w: &Window) -> WindowView {
        let weight = |values: &[Option<i128>]| self.weight.and_then(|i| values[i]).unwrap_or(0);
        let mut rows: Vec<_> = w.rows.iter().collect();
        // Ties fall to the key, so that rows do not jump about between two updates.
        rows.sort_by(|a, b| weight(b.1).cmp(&weight(a.1)).then(a.0.cmp(b.0)));
        rows.truncate(ROWS_SHOWN);
        WindowView {
            start,
            end,
            ahead,
            keys: w.rows.len(),
            keys_beyond: w.keys_beyond,
            total: w.total,
            late: w.late,
            rows: rows.into_iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        }
    }
}

fn is_ahead(start: EventTime, now: Option<EventTime>) -> bool {
    now.is_some_and(|now| start > now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::tests::{effects, policy};

    #[test]
    fn deltas_add_up_and_the_greatest_come_first() {
        let mut r = RecentRows::new(&policy());
        r.add(&effects(0, Table::Main, &[("a", 1, 5), ("b", 4, 2)]), None);
        r.add(&effects(0, Table::Main, &[("a", 2, 7)]), None);
        r.add(&effects(0, Table::Late { day: None }, &[("a", 9, 1)]), None);
        let w = r.shown(None).remove(0);
        assert_eq!((w.total, w.late, w.keys), (7, 9, 2));
        let row = |k: &str, n, max| (format!("[\"{k}\"]").into_bytes(), vec![Some(n), Some(max)]);
        assert_eq!(w.rows, [row("b", 4, 2), row("a", 3, 7)]);
    }

    #[test]
    fn memory_is_bounded_and_says_what_it_left_out() {
        let mut r = RecentRows::new(&policy());
        let names: Vec<String> = (0..KEYS_KEPT + 10).map(|i| format!("k{i:05}")).collect();
        let rows: Vec<(&str, i128, i128)> = names.iter().map(|k| (k.as_str(), 1, 0)).collect();
        r.add(&effects(0, Table::Main, &rows), None);
        let w = r.shown(None).remove(0);
        assert_eq!((w.keys, w.keys_beyond, w.total), (KEYS_KEPT, 10, KEYS_KEPT as i128 + 10));
        assert_eq!(w.rows.len(), ROWS_SHOWN);
        for i in 0..100 {
            r.add(&effects(i * 10, Table::Main, &[("a", 1, 0)]), None);
        }
        assert_eq!(r.windows.len(), WINDOWS_KEPT);
        assert_eq!(r.shown(None).last().unwrap().start, EventTime::from_millis(990));
    }

    #[test]
    fn clocks_ahead_do_not_push_out_honest_windows() {
        let mut r = RecentRows::new(&policy());
        let now = Some(EventTime::from_millis(5));
        r.add(&effects(0, Table::Main, &[("a", 1, 0)]), now);
        for i in 0..100 {
            r.add(&effects(1_000_000 + i * 10, Table::Main, &[("fast", 1, 0)]), now);
        }
        let shown: Vec<(i64, bool)> = r.shown(now).iter().map(|w| (w.start.as_millis(), w.ahead)).collect();
        assert_eq!(shown, [(0, false), (1_000_000, true), (1_000_010, true)]);
    }
}
