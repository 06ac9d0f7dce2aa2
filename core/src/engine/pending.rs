//! What has been counted and not yet given out: deltas per table, window and key.
//!
//! Invariants
//! - Memory follows the rows that are pending, not keys times windows.
//! - `groups` gives windows by (end, start, table) and rows by key, whatever the order they came in.

use super::keys::Keys;
use crate::policy::{Measure, Op};
use crate::time::EventTime;
use crate::window::Window;
use crate::wire::effects::{Table, Writer};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// No record had a value. No sum, least or greatest value can be this: they stem from 64-bit values.
const NONE: i128 = i128::MIN;

/// Deltas not yet given out.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    ops: Vec<Op>,
    by_window: BTreeMap<(Window, Table), usize>,
    open: Vec<Open>,
    free: Vec<usize>,
    /// The main windows used last: most records find theirs here without a division or a tree walk.
    hot: [Option<(Window, usize)>; HOT],
    turn: usize,
    rows: usize,
}

/// Records of one lane spread over few windows at a time.
const HOT: usize = 4;

/// The rows of one table and window.
#[derive(Clone, Debug, Default)]
struct Open {
    /// Open addressing: (key id + 1, row), 0 where free; a power of two long.
    table: Vec<(u32, u32)>,
    /// Key id of each row.
    keys: Vec<u32>,
    /// The measures of each row, one after the other.
    values: Vec<i128>,
}

impl Pending {
    pub(super) fn new(measures: &[Measure]) -> Self {
        Self {
            ops: measures.iter().map(|m| m.op).collect(),
            by_window: BTreeMap::new(),
            open: Vec::new(),
            free: Vec::new(),
            hot: [None; HOT],
            turn: 0,
            rows: 0,
        }
    }

    /// Rows pending.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The main window that was used lately and holds `t`.
    #[inline]
    pub(super) fn hot(&self, t: EventTime) -> Option<(Window, usize)> {
        self.hot.iter().flatten().find(|(w, _)| w.holds(t)).copied()
    }

    /// Where the rows of a table and window stand.
    pub(super) fn place(&mut self, window: Window, table: Table) -> usize {
        let (open, free) = (&mut self.open, &mut self.free);
        let at = *self.by_window.entry((window, table)).or_insert_with(|| {
            free.pop().unwrap_or_else(|| {
                open.push(Open::default());
                open.len() - 1
            })
        });
        if table == Table::Main {
            self.hot[self.turn] = Some((window, at));
            self.turn = (self.turn + 1) % HOT;
        }
        at
    }

    /// Counts one record's values.
    #[inline]
    pub(super) fn add(&mut self, at: usize, key: u32, values: &[Option<i64>]) {
        let (row, fresh) = self.open[at].row(key, self.ops.len());
        self.rows += usize::from(fresh);
        let n = self.ops.len();
        let held = &mut self.open[at].values[row * n..row * n + n];
        for ((held, op), value) in held.iter_mut().zip(&self.ops).zip(values) {
            if let Some(v) = value {
                fold(*op, held, i128::from(*v));
            }
        }
    }

    /// Adds a row's deltas, as a snapshot holds them.
    pub(super) fn merge(&mut self, at: usize, key: u32, values: &[Option<i128>]) {
        let n = self.ops.len();
        let (row, fresh) = self.open[at].row(key, n);
        self.rows += usize::from(fresh);
        for ((held, op), value) in self.open[at].values[row * n..].iter_mut().zip(&self.ops).zip(values) {
            if let Some(v) = value {
                fold(*op, held, *v);
            }
        }
    }

    /// Gives every key another id.
    pub(super) fn rekey(&mut self, mut id: impl FnMut(u32) -> u32) {
        for at in self.by_window.values() {
            let open = &mut self.open[*at];
            open.keys.iter_mut().for_each(|key| *key = id(*key));
            open.index(open.table.len());
        }
    }

    /// Writes the groups that `wanted` picks.
    pub(super) fn write(&self, keys: &Keys, w: &mut Writer<'_>, wanted: impl Fn(&Window, Table) -> bool) {
        let picked = || self.by_window.iter().filter(|((window, table), _)| wanted(window, *table));
        w.groups(picked().count());
        let n = self.ops.len();
        let mut order: Vec<u32> = Vec::new();
        for ((window, table), at) in picked() {
            let open = &self.open[*at];
            order.clear();
            order.extend(0..open.keys.len() as u32);
            order.sort_unstable_by(|a, b| keys.text(open.keys[*a as usize]).cmp(keys.text(open.keys[*b as usize])));
            w.group(*table, window.start, window.end, order.len());
            for row in &order {
                let row = *row as usize;
                let values = open.values[row * n..row * n + n].iter().map(|v| (*v != NONE).then_some(*v));
                w.row(keys.text(open.keys[row]), values);
            }
        }
    }

    /// Forgets the groups that `wanted` picks.
    pub(super) fn forget(&mut self, wanted: impl Fn(&Window, Table) -> bool) {
        let (open, free, rows) = (&mut self.open, &mut self.free, &mut self.rows);
        self.by_window.retain(|(window, table), at| {
            if !wanted(window, *table) {
                return true;
            }
            let gone = &mut open[*at];
            *rows -= gone.keys.len();
            gone.clear();
            free.push(*at);
            false
        });
        self.hot = [None; HOT];
    }
}

impl Open {
    /// The row of a key, and whether it is a new one.
    #[inline]
    fn row(&mut self, key: u32, measures: usize) -> (usize, bool) {
        if self.keys.len() * 2 >= self.table.len() {
            self.grow();
        }
        let mask = self.table.len() - 1;
        let mut slot = spread(key) & mask;
        loop {
            let (id, row) = self.table[slot];
            if id == key + 1 {
                return (row as usize, false);
            }
            if id == 0 {
                let row = self.keys.len();
                self.table[slot] = (key + 1, row as u32);
                self.keys.push(key);
                self.values.resize(self.values.len() + measures, NONE);
                return (row, true);
            }
            slot = (slot + 1) & mask;
        }
    }

    #[cold]
    fn grow(&mut self) {
        self.index((self.table.len() * 2).max(16));
    }

    /// Files all rows anew in a table of this length.
    fn index(&mut self, len: usize) {
        self.table.clear();
        self.table.resize(len, (0, 0));
        for (row, key) in self.keys.iter().enumerate() {
            let mut slot = spread(*key) & (len - 1);
            while self.table[slot].0 != 0 {
                slot = (slot + 1) & (len - 1);
            }
            self.table[slot] = (key + 1, row as u32);
        }
    }

    /// Empties it, and keeps its memory for the next window while that is modest.
    fn clear(&mut self) {
        if self.table.len() > 1 << 14 {
            *self = Self::default();
            return;
        }
        self.table.fill((0, 0));
        self.keys.clear();
        self.values.clear();
    }
}

#[inline]
fn spread(key: u32) -> usize {
    (key.wrapping_mul(0x9E37_79B9) >> 7) as usize
}

#[inline]
fn fold(op: Op, held: &mut i128, v: i128) {
    *held = match op {
        _ if *held == NONE => v,
        Op::Count | Op::Sum => *held + v,
        Op::Min => (*held).min(v),
        Op::Max => (*held).max(v),
    };
}
