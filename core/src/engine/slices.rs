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

use super::pending::{Filed, Pending};
use crate::window::Window;
use crate::wire::effects::Table;

impl Pending {
    /// Where the rows stand that count in all of these windows, which come in the order in which they close.
    #[inline(never)]
    pub(super) fn slice(&mut self, windows: &[Window]) -> usize {
        let at = self.file(Filed::slice(windows[0], windows[windows.len() - 1]));
        if self.owes(at).is_empty() {
            self.owe(at, windows.to_vec());
        }
        at
    }

    /// Makes the rows of those main windows that `wanted` picks: of each slice its first ones, or none.
    #[inline(never)]
    pub(super) fn merge_slices(&mut self, wanted: &dyn Fn(&Window, Table) -> bool) {
        self.cool();
        for (filed, at) in self.all_slices() {
            let owes = self.owes(at);
            let due = owes.iter().take_while(|window| wanted(window, Table::Main)).count();
            let (now, then) = (owes[..due].to_vec(), owes[due..].to_vec());
            self.merge_into(at, &now);
            if then.is_empty() {
                self.remove(filed);
            } else {
                self.owe(at, then);
            }
        }
    }
}
