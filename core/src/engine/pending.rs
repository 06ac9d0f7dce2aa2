//! What has been counted and not yet given out: deltas per table, window and key.
//!
//! Invariants
//! - Memory follows the rows that are pending, not keys times windows.
//! - A value stands in 64 bits while it fits, which is nearly always, and beside its row in 128 otherwise: no total wraps.
//! - Where windows overlap, what they share is counted once (`slices`) until one of them is given out.
//! - `write` gives windows by (end, start, table) and rows by key, whatever the order they came in.

use super::keys::Keys;
use crate::order::{self, Tree};
use crate::policy::{LateBy, Op, Spec, Windowing};
use crate::time::{EventTime, TimeDelta};
use crate::window::Window;
use crate::wire::effects::{Table, Writer};
use alloc::vec::Vec;

/// No record had a value.
const NONE: i64 = i64::MIN;
/// The value is the first of `Open::wide`; the second's mark is one more, and so on.
const WIDE: i64 = i64::MIN + 1;
/// The least value that is no mark: as many rows as there are marks fit no memory.
const LEAST: i64 = WIDE + (1 << 40);

/// Deltas not yet given out.
#[derive(Debug)]
pub(super) struct Pending {
    ops: Vec<Op>,
    /// Where the rows of what is `Filed` stand in `open`.
    filed: Tree,
    open: Vec<Open>,
    free: Vec<usize>,
    /// The main rows used lately: most records find theirs here without a tree walk.
    hot: [Hot; HOT],
    /// Times that lie in the same windows are mostly so many milliseconds, counted from there.
    grain: (u64, i64),
}

/// So many words of keys are compared as numbers before their texts are.
const RANKS: usize = 3;

/// Most keys that an emptied window's list, and its table, stay prepared for.
const NEAR_KEPT_MAX: usize = 1 << 14;
const FAR_KEPT_MAX: usize = 1 << 12;

/// Records of one lane spread over few windows, or slices of them, at a time.
const HOT: usize = 8;

/// A main window used lately, or a slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hot {
    /// Times that lie in the same windows.
    pub(super) times: Window,
    /// From here on a watermark finds the first of these windows expired.
    pub(super) expiry: EventTime,
    /// Where the rows stand.
    pub(super) at: usize,
}

impl Hot {
    /// Holds no time.
    const NONE: Self = {
        let never = Window { start: EventTime::MAX, end: EventTime::MIN };
        Self { times: never, expiry: EventTime::MIN, at: 0 }
    };

    /// Whether a record of this time counts in all of its windows.
    #[inline(always)]
    pub(super) fn takes(&self, by: LateBy, t: EventTime, watermark: EventTime) -> bool {
        let in_time = match by {
            LateBy::Record => t >= watermark,
            LateBy::Window => self.expiry > watermark,
        };
        in_time && self.times.holds(t)
    }
}

/// What rows are filed under, in the order in which they are given out: a window's end and start, what they are, and
/// which: the day of late rows, or where the last window of a slice starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filed([i64; 4]);

impl Filed {
    const MAIN: i64 = 0;
    const LATE: i64 = 1;
    const LATE_ON: i64 = 2;
    const SLICE: i64 = 3;

    fn table(window: Window, table: Table) -> Self {
        let (what, which) = match table {
            Table::Main => (Self::MAIN, 0),
            Table::Late { day: None } => (Self::LATE, 0),
            Table::Late { day: Some(day) } => (Self::LATE_ON, day),
        };
        Self([window.end.as_millis(), window.start.as_millis(), what, which])
    }

    /// Records that count in windows from the first to the last.
    pub(super) fn slice(first: Window, last: Window) -> Self {
        Self([first.end.as_millis(), first.start.as_millis(), Self::SLICE, last.start.as_millis()])
    }

    fn window(self) -> Window {
        Window::of_millis(self.0[1], self.0[0])
    }

    /// The table that the rows go to; none for those of a slice.
    fn goes_to(self) -> Option<Table> {
        match self.0[2] {
            Self::MAIN => Some(Table::Main),
            Self::LATE => Some(Table::Late { day: None }),
            Self::LATE_ON => Some(Table::Late { day: Some(self.0[3]) }),
            _ => None,
        }
    }
}

/// The rows of one table and window, or of a slice.
#[derive(Debug, Default)]
struct Open {
    /// Row + 1 of the first keys, by key id; 0 where there is none. Keys seen first are mostly those seen most, so what
    /// is looked at stands close together.
    near: Vec<u32>,
    /// Of the other keys. Open addressing: (key id + 1, row), 0 where free; a power of two long.
    table: Vec<(u32, u32)>,
    /// How many are in `table`.
    far: usize,
    /// Key id of each row.
    keys: Vec<u32>,
    /// The measures of each row, one after the other; nothing below `LEAST` is one of them.
    values: Vec<i64>,
    /// Those that do not fit, or once did not.
    wide: Vec<i128>,
    /// The windows that a slice owes its rows, in the order in which they close.
    owes: Vec<Window>,
}

impl Pending {
    pub(super) fn new(spec: &Spec) -> Self {
        let (grain, offset) = match spec.window {
            Windowing::Fixed { size: grain, offset } | Windowing::Cumulative { step: grain, offset, .. } => {
                (grain, offset)
            }
            Windowing::Sliding { size, every, offset } => match size.as_millis() % every.as_millis() {
                0 => (every, offset),
                // A period has two slices.
                longer => (TimeDelta::from_millis(longer.min(every.as_millis() - longer)), offset),
            },
            // No zone's hours begin between the quarters.
            _ => (TimeDelta::from_mins(15), TimeDelta::ZERO),
        };
        let ops = spec.measures.iter().map(|m| m.op).collect();
        Self::of(ops, (grain.as_millis().unsigned_abs().max(1), offset.as_millis()))
    }

    fn of(ops: Vec<Op>, grain: (u64, i64)) -> Self {
        Self { ops, filed: Tree::new(), open: Vec::new(), free: Vec::new(), hot: [Hot::NONE; HOT], grain }
    }

    /// Rows pending; where windows overlap, how many they are at most.
    pub(super) fn rows(&self) -> usize {
        self.open.iter().map(|open| open.keys.len() * open.owes.len().max(1)).sum()
    }

    /// What was used lately in the place of `t`: perhaps what holds it, perhaps something else or nothing.
    // Records come from one window and the next in no order: a division takes less than comparisons that nobody foresees.
    #[inline(always)]
    pub(super) fn hot(&self, t: EventTime) -> &Hot {
        &self.hot[self.hot_place(t)]
    }

    #[inline(always)]
    fn hot_place(&self, t: EventTime) -> usize {
        let (grain, from) = self.grain;
        (t.as_millis().wrapping_sub(from) as u64 / grain) as usize % HOT
    }

    /// Remembers where a record of this time was counted.
    pub(super) fn heat(&mut self, t: EventTime, hot: Hot) {
        let place = self.hot_place(t);
        self.hot[place] = hot;
    }

    /// Forgets where rows stand.
    pub(super) fn cool(&mut self) {
        self.hot = [Hot::NONE; HOT];
    }

    /// Where the rows of a table and window stand.
    pub(super) fn place(&mut self, window: Window, table: Table) -> usize {
        self.file(Filed::table(window, table))
    }

    /// Where the rows stand that are filed so; nowhere yet is a place without rows.
    #[inline(never)]
    pub(super) fn file(&mut self, filed: Filed) -> usize {
        if let Some(at) = self.filed.get(&filed.0) {
            return *at as usize;
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.open.push(Open::default());
            self.open.len() - 1
        });
        self.filed.insert(filed.0, at as u32);
        at
    }

    /// Forgets the rows that are filed so.
    pub(super) fn remove(&mut self, filed: Filed) {
        if let Some(at) = self.filed.remove(&filed.0) {
            self.open[at as usize].clear();
            self.free.push(at as usize);
        }
    }

    /// The windows that wait for the rows at a place.
    pub(super) fn owes(&self, at: usize) -> &[Window] {
        &self.open[at].owes
    }

    /// Makes windows wait for the rows at a place.
    pub(super) fn owe(&mut self, at: usize, windows: Vec<Window>) {
        self.open[at].owes = windows;
    }

    /// The slices and where they stand.
    pub(super) fn all_slices(&self) -> Vec<(Filed, usize)> {
        let all = self.filed.iter().filter(|(filed, _)| Filed(**filed).goes_to().is_none());
        all.map(|(filed, at)| (Filed(*filed), *at as usize)).collect()
    }

    /// All that is pending as rows of windows.
    pub(super) fn whole(&self) -> Self {
        let mut whole = Self::of(self.ops.clone(), self.grain);
        for (filed, at) in &self.filed {
            let (filed, open) = (Filed(*filed), &self.open[*at as usize]);
            if let Some(table) = filed.goes_to() {
                let to = whole.place(filed.window(), table);
                whole.merge_rows(open, to);
            }
            for window in &open.owes {
                let to = whole.place(*window, Table::Main);
                whole.merge_rows(open, to);
            }
        }
        whole
    }

    /// Adds the rows of one place to those of main windows.
    pub(super) fn merge_into(&mut self, from: usize, windows: &[Window]) {
        let rows = core::mem::take(&mut self.open[from]);
        for window in windows {
            let to = self.place(*window, Table::Main);
            self.merge_rows(&rows, to);
        }
        self.open[from] = rows;
    }

    /// Whether there is a row of this key.
    pub(super) fn has(&self, at: usize, key: u32) -> bool {
        let open = &self.open[at];
        match open.near.get(key as usize) {
            Some(row) => *row > 0,
            None => open.far_slot(key).is_some_and(|slot| open.table[slot].0 > 0),
        }
    }

    /// Counts one record's values.
    #[inline(never)]
    pub(super) fn add(&mut self, at: usize, key: u32, values: &[Option<i64>]) {
        self.add_here(at, key, values);
    }

    /// The same without a call.
    #[inline(always)]
    pub(super) fn add_here(&mut self, at: usize, key: u32, values: &[Option<i64>]) {
        let (n, open) = (self.ops.len(), &mut self.open[at]);
        let from = open.row(key, n) * n;
        let held = &mut open.values[from..from + n];
        for ((held, op), value) in held.iter_mut().zip(&self.ops).zip(values) {
            if let Some(v) = *value
                && !fold_narrow(*op, held, v)
            {
                fold_wide(*op, held, &mut open.wide, i128::from(v));
            }
        }
    }

    /// Adds a row's deltas, as a snapshot holds them.
    pub(super) fn merge(&mut self, at: usize, key: u32, values: impl Iterator<Item = Option<i128>>) {
        let (n, open) = (self.ops.len(), &mut self.open[at]);
        let row = open.row(key, n);
        for ((held, op), value) in open.values[row * n..].iter_mut().zip(&self.ops).zip(values) {
            if let Some(v) = value {
                fold_wide(*op, held, &mut open.wide, v);
            }
        }
    }

    #[inline(never)]
    fn merge_rows(&mut self, from: &Open, to: usize) {
        let n = self.ops.len();
        let open = &mut self.open[to];
        for (i, key) in from.keys.iter().enumerate() {
            let row = open.row(*key, n);
            let held = &mut open.values[row * n..row * n + n];
            for ((held, op), v) in held.iter_mut().zip(&self.ops).zip(&from.values[i * n..i * n + n]) {
                if *v != NONE && (*v < LEAST || !fold_narrow(*op, held, *v)) {
                    fold_wide(*op, held, &mut open.wide, value(*v, &from.wide).expect("it is not NONE"));
                }
            }
        }
    }

    /// Gives every key another id.
    pub(super) fn rekey(&mut self, mut id: impl FnMut(u32) -> u32) {
        for at in self.filed.values() {
            let open = &mut self.open[*at as usize];
            open.keys.iter_mut().for_each(|key| *key = id(*key));
            open.index(0, (2 * open.keys.len() + 2).next_power_of_two());
        }
    }

    /// Writes the groups that `wanted` picks.
    pub(super) fn write(&self, keys: &Keys, w: &mut Writer<'_>, wanted: &dyn Fn(&Window, Table) -> bool) {
        let groups = self.filed.iter().filter_map(|(filed, at)| Some((Filed(*filed), Filed(*filed).goes_to()?, *at)));
        let picked: Vec<_> = groups.filter(|(filed, table, _)| wanted(&filed.window(), *table)).collect();
        w.groups(picked.len());
        let n = self.ops.len();
        let mut order: Vec<(u64, u32)> = Vec::new();
        for (filed, table, at) in picked {
            let (open, window) = (&self.open[at as usize], filed.window());
            order.clear();
            order.extend((0..open.keys.len() as u32).map(|row| (0, row)));
            sort(&mut order, 0, keys, &open.keys);
            w.group(table, window.start, window.end, order.len());
            for (_, row) in &order {
                let row = *row as usize;
                let values = open.values[row * n..row * n + n].iter().map(|held| value(*held, &open.wide));
                w.row(keys.text(open.keys[row]), values);
            }
        }
    }

    /// Forgets the groups that `wanted` picks.
    pub(super) fn forget(&mut self, wanted: &dyn Fn(&Window, Table) -> bool) {
        let gone = |filed: Filed| filed.goes_to().is_some_and(|table| wanted(&filed.window(), table));
        let gone: Vec<Filed> = self.filed.keys().map(|filed| Filed(*filed)).filter(|filed| gone(*filed)).collect();
        gone.into_iter().for_each(|filed| self.remove(filed));
        self.cool();
    }
}

impl Open {
    /// The row of a key, a new one if there was none.
    #[inline(always)]
    fn row(&mut self, key: u32, measures: usize) -> usize {
        match self.near.get(key as usize) {
            Some(&row) if row > 0 => row as usize - 1,
            _ => self.far_row(key, measures),
        }
    }

    #[inline(never)]
    fn far_row(&mut self, key: u32, measures: usize) -> usize {
        if key as usize >= self.near.len() && self.far * 2 >= self.table.len() {
            self.grow();
        }
        let place = match self.near.get_mut(key as usize) {
            // It was filed anew just now.
            Some(&mut row) if row > 0 => return row as usize - 1,
            Some(near) => Ok(near),
            None => {
                let slot = self.far_slot(key).expect("there is room for one more");
                if self.table[slot].0 > 0 {
                    return self.table[slot].1 as usize;
                }
                self.far += 1;
                Err(&mut self.table[slot])
            }
        };
        let row = self.keys.len();
        match place {
            Ok(near) => *near = row as u32 + 1,
            Err(far) => *far = (key + 1, row as u32),
        }
        self.keys.push(key);
        self.values.resize(self.values.len() + measures, NONE);
        row
    }

    /// Where a key that is not near stands in the table, or would; `None` in a table without length.
    #[inline(always)]
    fn far_slot(&self, key: u32) -> Option<usize> {
        let mask = self.table.len().checked_sub(1)?;
        let mut slot = spread(key) & mask;
        while self.table[slot].0 != 0 && self.table[slot].0 != key + 1 {
            slot = (slot + 1) & mask;
        }
        Some(slot)
    }

    /// Makes room for one key more that is not near.
    fn grow(&mut self) {
        let reach = self.keys.iter().max().map_or(0, |key| *key as usize + 1);
        // A list of all ids, and as many to come, where a good part of them has rows: it grows by doubling too.
        if reach > self.near.len() && reach <= 4 * self.keys.len() {
            self.index(2 * reach, 16);
        } else {
            self.index(self.near.len(), (self.table.len() * 2).max(16));
        }
    }

    /// Files all rows anew: the first keys near, the others in a table of this length.
    fn index(&mut self, near: usize, far: usize) {
        self.near.clear();
        self.near.resize(near, 0);
        self.table.clear();
        self.table.resize(far, (0, 0));
        self.far = 0;
        for (key, row) in self.keys.iter().zip(0..) {
            if let Some(near) = self.near.get_mut(*key as usize) {
                *near = row + 1;
                continue;
            }
            self.far += 1;
            let mut slot = spread(*key) & (far - 1);
            while self.table[slot].0 != 0 {
                slot = (slot + 1) & (far - 1);
            }
            self.table[slot] = (*key + 1, row);
        }
    }

    /// Empties it, and keeps its memory for the next window while that is modest.
    fn clear(&mut self) {
        if self.near.len() > NEAR_KEPT_MAX || self.table.len() > FAR_KEPT_MAX {
            *self = Self::default();
            return;
        }
        self.near.fill(0);
        self.table.fill((0, 0));
        self.far = 0;
        self.owes.clear();
        self.keys.clear();
        self.values.clear();
        self.wide.clear();
    }
}

/// Sorts rows that are alike up to this level of their keys' ranks.
fn sort(rows: &mut [(u64, u32)], level: usize, keys: &Keys, ids: &[u32]) {
    // What decides nearly all comparisons stands in the list itself; the few that it leaves are made after.
    rows.iter_mut().for_each(|(rank, row)| *rank = keys.rank(ids[*row as usize], level));
    rows.sort_unstable_by_key(|(rank, _)| *rank);
    for same in rows.chunk_by_mut(|a, b| a.0 == b.0).filter(|same| same.len() > 1) {
        if level < RANKS - 1 {
            sort(same, level + 1, keys, ids);
            continue;
        }
        let mut rows: Vec<u32> = same.iter().map(|(_, row)| *row).collect();
        let text = |row: u32| keys.text(ids[row as usize]);
        order::sort(&mut rows, &mut |a, b| text(a).cmp(text(b)));
        same.iter_mut().zip(rows).for_each(|(place, row)| place.1 = row);
    }
}

#[inline]
fn spread(key: u32) -> usize {
    (key.wrapping_mul(0x9E37_79B9) >> 7) as usize
}

/// Counts in 64 bits; false, and nothing is changed, where that takes more.
#[inline(always)]
fn fold_narrow(op: Op, held: &mut i64, v: i64) -> bool {
    let next = if *held < LEAST {
        if *held != NONE {
            return false;
        }
        Some(v)
    } else if matches!(op, Op::Count | Op::Sum | Op::Squares) {
        held.checked_add(v)
    } else {
        Some(extreme(op, *held, v))
    };
    match next {
        Some(next) if next >= LEAST => *held = next,
        _ => return false,
    }
    true
}

#[inline(never)]
fn extreme(op: Op, held: i64, v: i64) -> i64 {
    if op == Op::Min { held.min(v) } else { held.max(v) }
}

/// Counts in 128 bits, which no sum of 64-bit values leaves. A value that was wide stays so.
#[cold]
#[inline(never)]
fn fold_wide(op: Op, held: &mut i64, wide: &mut Vec<i128>, v: i128) {
    let next = match (op, value(*held, wide)) {
        (_, None) => v,
        (Op::Count | Op::Sum | Op::Squares, Some(h)) => h + v,
        (Op::Min, Some(h)) => h.min(v),
        (Op::Max, Some(h)) => h.max(v),
    };
    match i64::try_from(next) {
        _ if (WIDE..LEAST).contains(held) => wide[(*held - WIDE) as usize] = next,
        Ok(next) if next >= LEAST => *held = next,
        _ => {
            *held = WIDE + wide.len() as i64;
            wide.push(next);
        }
    }
}

fn value(held: i64, wide: &[i128]) -> Option<i128> {
    match held {
        NONE => None,
        WIDE..LEAST => Some(wide[(held - WIDE) as usize]),
        v => Some(i128::from(v)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edge() -> impl Strategy<Value = i64> {
        prop_oneof![
            -3i64..3,
            (0i64..3).prop_map(|i| i64::MIN + i),
            (-3i64..3).prop_map(|i| LEAST + i),
            (0i64..3).prop_map(|i| i64::MAX - i),
            any::<i64>(),
        ]
    }

    #[test]
    fn each_key_has_one_row_however_far_its_id_and_memory_follows_the_rows() {
        let ids = |n: u32, step: u32| (0..n).map(move |i| i * step);
        for (n, step) in [(3, 1), (5_000, 1), (5_000, 3), (5_000, 5), (40, 1_000_000), (0, 1)] {
            let mut open = Open::default();
            // A few far ids first, dense ones after them, and the other way round.
            for turn in 0..2 {
                let all = || ids(9, 100_000_000).chain(ids(n, step)).collect::<Vec<_>>();
                let order: Vec<u32> = if turn == 0 { all() } else { all().into_iter().rev().collect() };
                let mut rows = alloc::collections::BTreeMap::new();
                // Each key comes again when the next ones come, and once more at the end.
                let again = order.iter().enumerate().flat_map(|(i, key)| [key, &order[i / 2], &order[i]]);
                for key in again.chain(&order) {
                    let next = rows.len();
                    let expected = *rows.entry(*key).or_insert(next);
                    assert_eq!(open.row(*key, 2), expected, "{key} of {n} by {step}");
                    assert_eq!(open.keys.len(), rows.len());
                }
                assert_eq!(open.keys.len(), rows.len());
                assert_eq!(open.values.len(), 2 * rows.len());
                assert!(open.near.len() + open.table.len() <= 16 * rows.len() + 16);
                open.clear();
            }
        }
    }

    proptest! {
        #[test]
        fn no_value_wraps_or_is_taken_for_a_mark(values in proptest::collection::vec((0usize..2, edge()), 0..16)) {
            for op in [Op::Sum, Op::Min, Op::Max] {
                let (mut cells, mut wide) = ([NONE; 2], Vec::new());
                for (cell, v) in &values {
                    if !fold_narrow(op, &mut cells[*cell], *v) {
                        fold_wide(op, &mut cells[*cell], &mut wide, i128::from(*v));
                    }
                }
                for (cell, held) in cells.into_iter().enumerate() {
                    let all = values.iter().filter(|(c, _)| *c == cell).map(|(_, v)| i128::from(*v));
                    let expected = match op {
                        Op::Min => all.min(),
                        Op::Max => all.max(),
                        _ => all.reduce(|a, b| a + b),
                    };
                    prop_assert_eq!(value(held, &wide), expected);
                }
                prop_assert!(wide.len() <= cells.len(), "one place for each cell");
            }
        }
    }
}
