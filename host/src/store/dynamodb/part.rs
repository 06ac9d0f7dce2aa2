//! Which item of a row a lane writes to, so that no item gathers more fences than it can carry.
//!
//! ```text
//! lanes with alias 1..=64      <window>        one item of the row, at most 64 fences
//! lanes with alias 65..=128    <window>#1      the next one
//! ...                                          whoever reads adds them up
//! ```
//! A fence is about 8 bytes of its item for as long as the row lives, also when its lane has long ended: streams that are
//! resharded over and over would fill a row that stays open, and every kilobyte costs a unit at each write.
//!
//! Invariants
//! - A lane's part follows from its alias, which stands in its head before its first effect and never changes, and from
//!   the lanes of an item, which are written beside the counter of aliases when the table is taken into use, on a condition,
//!   and never again. How many lanes there are now, and which host asks, is not looked at: an effect that was applied in
//!   one part can never be applied in another.
//! - An item holds fences of at most so many lanes, over its whole life, since no alias is used twice.
//!
//! Not here: the sort key that names a part (`item`), the counter (`tables`).

use crate::store::{StoredRow, sort};
use plimsoll_core::policy::{Measure, Op};

/// So many lanes share one item of a row, in tables taken into use by this version.
pub const LANES_PER_ITEM: u64 = 64;

/// The part of every row that a lane writes to.
pub(super) fn of(alias: u64, lanes_per_item: u64) -> u64 {
    assert!(alias > 0 && lanes_per_item > 0, "aliases are counted from 1, and an item has room for a lane");
    (alias - 1) / lanes_per_item
}

/// Rows made whole: the parts of each added up, in the order of answers.
pub(super) fn whole(mut parts: Vec<StoredRow>, measures: &[Measure]) -> Vec<StoredRow> {
    sort(&mut parts);
    let mut rows: Vec<StoredRow> = Vec::with_capacity(parts.len());
    for part in parts {
        match rows.last_mut() {
            Some(row) if (row.window, row.table, &row.row.key) == (part.window, part.table, &part.row.key) => {
                row.version += part.version;
                for ((held, v), m) in row.row.values.iter_mut().zip(part.row.values).zip(measures) {
                    *held = match (*held, v) {
                        (Some(a), Some(b)) => Some(together(m.op, a, b)),
                        (held, v) => held.or(v),
                    };
                }
            }
            _ => rows.push(part),
        }
    }
    rows
}

/// Two parts' values. Each is within 10^30, so that a sum of 10^8 of them is within 128 bits.
fn together(op: Op, a: i128, b: i128) -> i128 {
    match op {
        Op::Min => a.min(b),
        Op::Max => a.max(b),
        _ => a + b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_core::time::EventTime;
    use plimsoll_core::window::Window;
    use plimsoll_core::wire::effects::{Row, Table};

    #[test]
    fn an_alias_has_one_part_for_ever_and_a_part_few_aliases() {
        assert_eq!([1, 64, 65, 128, 129].map(|alias| of(alias, 64)), [0, 0, 1, 1, 2]);
        let mut lanes = std::collections::BTreeMap::<u64, u64>::new();
        (1..=1_000).for_each(|alias| *lanes.entry(of(alias, 64)).or_default() += 1);
        assert!(lanes.values().all(|n| *n <= 64), "{lanes:?}");
        assert_eq!(lanes.len(), 16, "and no more items than that takes");
    }

    #[test]
    fn parts_add_up_and_rows_stay_apart() {
        let measures: Vec<Measure> = [Op::Count, Op::Sum, Op::Min, Op::Max]
            .map(|op| Measure { name: format!("{op:?}"), op, field: None, scale: None })
            .into();
        let part = |key: &str, start, table, values: [Option<i128>; 4]| StoredRow {
            table,
            window: Window { start: EventTime::from_millis(start), end: EventTime::from_millis(start + 10) },
            row: Row { key: key.as_bytes().to_vec(), values: values.to_vec() },
            version: 2,
        };
        let day = |day| Table::Late { day: Some(day) };
        let max = plimsoll_core::wire::effects::VALUE_MAX;
        let parts = vec![
            part("b", 0, Table::Main, [Some(1), None, Some(4), Some(4)]),
            part("a", 0, Table::Main, [Some(3), Some(max), Some(-1), None]),
            part("a", 10, Table::Main, [Some(9), None, None, None]),
            part("a", 0, Table::Main, [Some(4), Some(max), Some(-2), Some(7)]),
            part("a", 0, Table::Main, [Some(5), None, Some(8), Some(6)]),
        ];
        let seen: Vec<_> = whole(parts, &measures).into_iter().map(|r| (r.row.key, r.row.values, r.version)).collect();
        assert_eq!(
            seen,
            [
                (b"a".to_vec(), vec![Some(12), Some(2 * max), Some(-2), Some(7)], 6),
                (b"b".to_vec(), vec![Some(1), None, Some(4), Some(4)], 2),
                (b"a".to_vec(), vec![Some(9), None, None, None], 2),
            ]
        );
        let late = vec![part("a", 0, day(2), [Some(1); 4]), part("a", 0, day(1), [Some(1); 4])];
        assert_eq!(whole(late, &measures).len(), 2, "days are rows of their own");
    }
}
