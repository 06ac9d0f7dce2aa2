//! Records that lie in the same windows are counted once for all of these; the windows' rows are made when they are
//! given out. Slicing after Krishnamurthy, Wu, Franklin: On-the-fly sharing for streamed aggregation (SIGMOD 2006).
//!
//! ```text
//! windows  |-------------|
//!               |-------------|
//!                    |-------------|
//! slices   |    |    |    |    |    |       a row of a window is the sum of its slices' rows
//! ```
//! Invariants
//! - A slice is told by the first and the last window that count it; where the first ones are final already, the records
//!   that come after make a slice of their own.
//! - Windows are given out in the order in which they close, so those that a slice still owes are the last of its own.
//! - What is given out is what counting in each window would have given.
//!
//! Not here: rows and their memory (`pending`).

use super::pending::Pending;
use crate::time::EventTime;
use crate::window::Window;
use crate::wire::effects::Table;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// The slices used last.
const HOT: usize = 4;

/// Where slices stand.
#[derive(Clone, Debug, Default)]
pub(super) struct Slices {
    /// By the first and the last window.
    all: BTreeMap<(Window, Window), Slice>,
    hot: [Option<Hot>; HOT],
    turn: usize,
}

#[derive(Clone, Debug)]
struct Slice {
    /// Those that it still owes its rows, in the order in which they close.
    windows: Vec<Window>,
    /// Its rows.
    at: usize,
}

/// A slice as most records find it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hot {
    /// Times that lie in the same windows.
    times: Window,
    /// The first of these windows.
    pub(super) first: Window,
    /// Where the rows stand.
    pub(super) at: usize,
}

impl Slices {
    /// The slice that was used lately and counts `t` in all of its windows, if the first of these still takes records.
    #[inline(always)]
    pub(super) fn hot(&self, t: EventTime) -> Option<Hot> {
        self.hot.iter().flatten().find(|hot| hot.times.holds(t)).copied()
    }

    /// Remembers the slice of all windows that hold a time.
    pub(super) fn heat(&mut self, times: Window, windows: &[Window], at: usize) {
        self.hot[self.turn] = Some(Hot { times, first: windows[0], at });
        self.turn = (self.turn + 1) % HOT;
    }
}

impl Pending {
    /// Where the rows stand that count in all of these windows, which come in the order in which they close.
    pub(super) fn slice(&mut self, windows: &[Window]) -> usize {
        let run = (windows[0], windows[windows.len() - 1]);
        if let Some(slice) = self.slices.all.get(&run) {
            return slice.at;
        }
        let at = self.vacant();
        self.slices.all.insert(run, Slice { windows: windows.to_vec(), at });
        at
    }

    /// Rows that slices will be beyond their own, at most.
    pub(super) fn owed(&self) -> usize {
        self.slices.all.values().map(|slice| self.rows_at(slice.at) * (slice.windows.len() - 1)).sum()
    }

    /// Makes the rows of those main windows that `wanted` picks: of each slice its first ones, or none.
    pub(super) fn merge_slices(&mut self, wanted: &dyn Fn(&Window, Table) -> bool) {
        if self.slices.all.is_empty() {
            return;
        }
        self.slices.hot = [None; HOT];
        let mut all = core::mem::take(&mut self.slices.all);
        all.retain(|_, slice| {
            let due = slice.windows.iter().take_while(|window| wanted(window, Table::Main)).count();
            for window in slice.windows.drain(..due) {
                let to = self.place(window, Table::Main);
                self.merge_rows(slice.at, to);
            }
            if slice.windows.is_empty() {
                self.vacate(slice.at);
            }
            !slice.windows.is_empty()
        });
        self.slices.all = all;
    }

    /// Where rows of slices stand.
    pub(super) fn sliced(&self) -> impl Iterator<Item = usize> {
        self.slices.all.values().map(|slice| slice.at)
    }
}
