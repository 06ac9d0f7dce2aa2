//! The budget of keys: how many keys of a window have rows of their own.
//!
//! ```text
//! window, key -> known, or room for it -> its own row
//!             -> neither               -> the window's overflow row, whose key no record can have: [null]
//! ```
//! Rows leave the engine with every flush, so what a window has had is remembered here until it can receive no more.
//!
//! Invariants
//! - Which keys are in depends on the order of the lane's records alone, not on how they were cut or saved.
//! - A window takes the keys of its first records, at most the policy's number of them; the sum over its rows is what it
//!   would be without a budget.
//! - Memory: at most `KEYS_REMEMBERED_MAX` keys, about 20 bytes each, and as many windows. With so many keys of windows
//!   that are all still open no window takes another one.
//!
//! Keys are told apart by 64 bits of their SHA-256. Two keys that share them (2^46 tries, for one key more than the budget
//! of 100,000) take one place and have rows of their own.
//!
//! Not here: windows that wait for triggers, which are their own memory (`panes`); late rows, which have no budget.

use crate::order::Tree;
use crate::policy::{Spec, limits};
use crate::rows::overflow_key;
use crate::time::{EventTime, TimeDelta};
use crate::window::Window;
use crate::wire::WireError;
use crate::wire::varint::{Cursor, put_i64, put_u64};
use alloc::vec::Vec;

/// The keys of the open windows.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    most: usize,
    lateness: TimeDelta,
    /// Where each window's keys stand in `prints`.
    windows: Tree,
    prints: Vec<Prints>,
    free: Vec<u32>,
    /// Keys in all of them.
    remembered: usize,
    overflow: Vec<u8>,
}

/// The keys of one window: 64 bits of each, in the order in which they came.
#[derive(Clone, Debug, Default)]
struct Prints {
    all: Vec<u64>,
    /// Open addressing: place in `all` + 1, 0 where free; a power of two long, at most half full.
    table: Vec<u32>,
}

impl Budget {
    /// A budget of so many keys a window.
    pub(super) fn new(most: u32, spec: &Spec) -> Self {
        let overflow = overflow_key(spec.input.key.len());
        let lateness = spec.late.allowed_lateness;
        let (windows, prints, free) = (Tree::new(), Vec::new(), Vec::new());
        Self { most: most as usize, lateness, windows, prints, free, remembered: 0, overflow }
    }

    /// The key of overflow rows.
    pub(super) fn overflow(&self) -> &[u8] {
        &self.overflow
    }

    /// Whether a key is one of the window's, or becomes one now. The window takes records at this watermark.
    pub(super) fn admits(&mut self, window: Window, print: u64, watermark: EventTime) -> bool {
        self.forget(watermark);
        let at = self.windows.get(&window.filed()).map(|at| *at as usize);
        if at.is_some_and(|at| self.prints[at].holds(print)) {
            return true;
        }
        let count = at.map_or(0, |at| self.prints[at].all.len());
        if count >= self.most || self.remembered >= limits::KEYS_REMEMBERED_MAX as usize {
            return false;
        }
        let at = at.unwrap_or_else(|| self.open(window));
        self.prints[at].insert(print);
        self.remembered += 1;
        true
    }

    /// Where the keys of a window will stand.
    fn open(&mut self, window: Window) -> usize {
        let at = self.free.pop().unwrap_or_else(|| {
            self.prints.push(Prints::default());
            self.prints.len() as u32 - 1
        });
        self.windows.insert(window.filed(), at);
        at as usize
    }

    /// Forgets the windows that can receive no more. They close in the order in which they are filed.
    fn forget(&mut self, watermark: EventTime) {
        while let Some((filed, at)) = self.windows.iter().next().map(|(filed, at)| (*filed, *at))
            && !self.is_open(&Window::of_filed(&filed), watermark)
        {
            self.windows.remove(&filed);
            self.remembered -= core::mem::take(&mut self.prints[at as usize]).all.len();
            self.free.push(at);
        }
    }

    fn is_open(&self, window: &Window, watermark: EventTime) -> bool {
        window.expiry(self.lateness) > watermark
    }

    /// Appends the windows that can still receive.
    #[inline(never)]
    pub(super) fn write(&self, watermark: EventTime, out: &mut Vec<u8>) {
        let open = || {
            let all = self.windows.iter().map(|(filed, at)| (Window::of_filed(filed), &self.prints[*at as usize]));
            all.filter(|(window, _)| self.is_open(window, watermark))
        };
        put_u64(out, open().count() as u64);
        for (window, keys) in open() {
            put_i64(out, window.start.as_millis());
            put_i64(out, window.end.as_millis());
            put_u64(out, keys.all.len() as u64);
            keys.all.iter().for_each(|print| out.extend_from_slice(&print.to_le_bytes()));
        }
    }

    /// Reads what `write` wrote into one that remembers nothing.
    pub(super) fn read(&mut self, watermark: EventTime, c: &mut Cursor<'_>) -> Result<(), WireError> {
        let mut last = None;
        for _ in 0..c.count(3)? {
            let start = EventTime::from_millis(c.varint_i64()?);
            let window = Window { start, end: EventTime::from_millis(c.varint_i64()?) };
            if window.start > window.end || !self.is_open(&window, watermark) {
                return Err(c.bad("keys of a window that has expired, or ends before its start"));
            }
            if last.replace(window).is_some_and(|last| last >= window) {
                return Err(c.bad("windows with keys must ascend by end and start"));
            }
            let n = c.count(8)?;
            self.remembered += n;
            if n == 0 || n > self.most || self.remembered > limits::KEYS_REMEMBERED_MAX as usize {
                return Err(c.bad("a window without keys, or with more than its budget"));
            }
            let at = self.open(window);
            for _ in 0..n {
                let print = u64::from_le_bytes(c.array()?);
                if self.prints[at].holds(print) {
                    return Err(c.bad("a key of a window twice"));
                }
                self.prints[at].insert(print);
            }
        }
        Ok(())
    }
}

impl Prints {
    fn holds(&self, print: u64) -> bool {
        self.table.get(self.slot(print)).is_some_and(|place| *place > 0)
    }

    /// Where it stands in the table, or would; nowhere in one without length.
    fn slot(&self, print: u64) -> usize {
        let mask = self.table.len().wrapping_sub(1);
        let mut slot = print as usize & mask;
        while let Some(place @ 1..) = self.table.get(slot)
            && self.all[*place as usize - 1] != print
        {
            slot = (slot + 1) & mask;
        }
        slot
    }

    /// Takes one that is not there.
    fn insert(&mut self, print: u64) {
        if self.all.len() * 2 >= self.table.len() {
            let len = (self.table.len() * 2).max(8);
            self.table.clear();
            self.table.resize(len, 0);
            for (i, print) in self.all.iter().enumerate() {
                let mut slot = *print as usize & (len - 1);
                while self.table[slot] > 0 {
                    slot = (slot + 1) & (len - 1);
                }
                self.table[slot] = i as u32 + 1;
            }
        }
        let slot = self.slot(print);
        self.all.push(print);
        self.table[slot] = self.all.len() as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_window_knows_just_the_keys_that_it_has_taken(prints in proptest::collection::vec(0u64..200, 0..300)) {
            let (mut keys, mut expected) = (Prints::default(), BTreeSet::new());
            for print in prints {
                // All in one corner of the table.
                let print = print << 40;
                prop_assert_eq!(keys.holds(print), expected.contains(&print));
                if expected.insert(print) {
                    keys.insert(print);
                }
            }
            prop_assert_eq!(keys.all.len(), expected.len());
            prop_assert!(keys.all.iter().all(|print| keys.holds(*print)));
        }
    }
}
