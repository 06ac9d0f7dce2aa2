//! A row's effect as update expressions. No I/O.
//!
//! ```text
//! add       ADD _v 1, m d, ...  SET _f<alias> = n, _x = x, window_start, window_end
//!           IF (no fence or fence < n) AND each total stays within 10^30
//! extremes  SET mn = v, ... ADD _v 1     IF the row is there AND (no mn or v < mn) AND ...
//! ```
//! Invariants
//! - The deltas and the fence move in one write (I3). The extremes need no fence: the better of two is the better of
//!   three, however often one of them is tried.
//! - A row of extremes only still gets its fence, and is made by `add`: `extremes` never makes a row.
//! - Every name goes through a placeholder: a measure may be a reserved word.
//!
//! Not here: sending them (`apply`).

use super::item::{DAY, END, EXPIRY, Item, PK, START, VERSION, get_n, n};
use aws_sdk_dynamodb::types::AttributeValue;
use plimsoll_core::policy::{Measure, Op};
use plimsoll_core::window::Window;
use plimsoll_core::wire::effects::{Row, Table, VALUE_MAX};
use std::collections::HashMap;

/// How long a row is kept after its window's end and after its last change, in seconds: 8 days.
///
/// That is the least and the default (`--rows-kept`). It must be at least the stream's retention + the policy's allowed
/// lateness + 24 h, so that nothing that can still be applied finds its row gone, and the start of a run refuses less. With
/// a retention of one day it leaves 6 days for lateness, with 7 days none.
pub const ROW_KEPT_S: i64 = 8 * 86_400;

/// An UpdateItem's expressions.
#[derive(Debug)]
pub(super) struct Update {
    /// What is changed.
    pub update: String,
    /// When.
    pub condition: String,
    /// What the `#` stand for.
    pub names: HashMap<String, String>,
    /// What the `:` stand for.
    pub values: HashMap<String, AttributeValue>,
}

/// What a row's `add` is made of.
pub(super) struct Add<'a> {
    /// The policy's.
    pub measures: &'a [Measure],
    /// Key and deltas.
    pub row: &'a Row,
    /// Which table.
    pub table: Table,
    /// Its window.
    pub window: Window,
    /// Name of the lane's fence.
    pub fence: &'a str,
    /// Number of the content.
    pub n: u64,
    /// The host's clock, in milliseconds since the epoch.
    pub now_ms: i64,
    /// How long rows are kept, in seconds.
    pub kept_s: i64,
}

impl Add<'_> {
    /// The update of sums, counts and fence.
    pub(super) fn update(&self) -> Update {
        let mut names = named([("#v", VERSION), ("#f", self.fence), ("#x", EXPIRY), ("#s", START), ("#e", END)]);
        let (start, end) = (self.window.start.as_millis(), self.window.end.as_millis());
        let mut values = HashMap::from([
            (":one".to_owned(), n(1)),
            (":n".to_owned(), n(self.n)),
            (":x".to_owned(), n(expiry_s(end, self.now_ms, self.kept_s))),
            (":s".to_owned(), n(start)),
            (":e".to_owned(), n(end)),
        ]);
        let mut set = String::from("#f = :n, #x = :x, #s = :s, #e = :e");
        if let Table::Late { day: Some(day) } = self.table {
            set.push_str(", #d = :d");
            names.insert("#d".into(), DAY.into());
            values.insert(":d".into(), n(day));
        }
        let mut add = String::from("#v :one");
        let mut condition = String::from("(attribute_not_exists(#f) OR #f < :n)");
        for (i, m, v) in columns(self.measures, self.row) {
            if matches!(m.op, Op::Min | Op::Max) {
                continue;
            }
            add.push_str(&format!(", #m{i} :m{i}"));
            names.insert(format!("#m{i}"), m.name.clone());
            values.insert(format!(":m{i}"), n(v));
            // The total after it must stay within ±10^30: so must the total before it, less the delta.
            let (sign, bound) =
                if v > 0 { ("<=", VALUE_MAX.saturating_sub(v)) } else { (">=", (-VALUE_MAX).saturating_sub(v)) };
            condition.push_str(&format!(" AND (attribute_not_exists(#m{i}) OR #m{i} {sign} :b{i})"));
            values.insert(format!(":b{i}"), n(bound));
        }
        Update { update: format!("ADD {add} SET {set}"), condition, names, values }
    }
}

/// Whether a policy has measures that are no sums.
pub(super) fn has_extremes(measures: &[Measure]) -> bool {
    measures.iter().any(|m| matches!(m.op, Op::Min | Op::Max))
}

/// The update of those extremes of a row that are better than what is `known` to be there; none if there are none.
pub(super) fn extremes(measures: &[Measure], row: &Row, known: &Item) -> Option<Update> {
    let mut names = named([("#v", VERSION), ("#pk", PK)]);
    let mut values = HashMap::from([(":one".to_owned(), n(1))]);
    let mut set = Vec::new();
    let mut condition = String::from("attribute_exists(#pk)");
    for (i, m, v) in columns(measures, row) {
        let held = get_n(known, &m.name);
        // Held and worse than the candidate: `#m < :m` for a maximum.
        let (better, worse) = match m.op {
            Op::Min => (held.is_none_or(|held| v < held), ">"),
            Op::Max => (held.is_none_or(|held| v > held), "<"),
            _ => continue,
        };
        if better {
            set.push(format!("#m{i} = :m{i}"));
            condition.push_str(&format!(" AND (attribute_not_exists(#m{i}) OR #m{i} {worse} :m{i})"));
            names.insert(format!("#m{i}"), m.name.clone());
            values.insert(format!(":m{i}"), n(v));
        }
    }
    let update = format!("SET {} ADD #v :one", set.join(", "));
    (!set.is_empty()).then_some(Update { update, condition, names, values })
}

/// A delta alone beyond what totals may be: nothing that can be written.
pub(super) fn too_great<'a>(measures: &'a [Measure], row: &Row) -> Option<&'a str> {
    columns(measures, row).find(|(_, _, v)| v.unsigned_abs() > VALUE_MAX as u128).map(|(_, m, _)| m.name.as_str())
}

/// When a row may be deleted, in seconds since the epoch.
pub(super) fn expiry_s(window_end_ms: i64, now_ms: i64, kept_s: i64) -> i64 {
    window_end_ms.max(now_ms).div_euclid(1_000).saturating_add(1).saturating_add(kept_s)
}

fn columns<'a>(measures: &'a [Measure], row: &Row) -> impl Iterator<Item = (usize, &'a Measure, i128)> {
    measures.iter().zip(&row.values).enumerate().filter_map(|(i, (m, v))| Some((i, m, (*v)?)))
}

fn named<const N: usize>(names: [(&str, &str); N]) -> HashMap<String, String> {
    names.into_iter().map(|(placeholder, name)| (placeholder.to_owned(), name.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_core::time::EventTime;

    fn measures() -> Vec<Measure> {
        [("count", Op::Count), ("sum", Op::Sum), ("least", Op::Min), ("most", Op::Max)]
            .into_iter()
            .map(|(name, op)| Measure { name: name.into(), op, field: None, scale: None })
            .collect()
    }

    fn row(values: [Option<i128>; 4]) -> Row {
        Row { key: br#"["a"]"#.to_vec(), values: values.to_vec() }
    }

    fn add(values: [Option<i128>; 4], table: Table) -> Update {
        let window = Window { start: EventTime::from_millis(0), end: EventTime::from_millis(60_000) };
        let (measures, row) = (measures(), row(values));
        let fence = "_f1";
        Add { measures: &measures, row: &row, table, window, fence, n: 7, now_ms: 1_000, kept_s: ROW_KEPT_S }.update()
    }

    fn value<'a>(u: &'a Update, name: &str) -> &'a str {
        u.values[name].as_n().unwrap()
    }

    #[test]
    fn deltas_and_fence_are_one_write() {
        let u = add([Some(2), Some(-5), Some(1), Some(9)], Table::Main);
        assert_eq!(u.update, "ADD #v :one, #m0 :m0, #m1 :m1 SET #f = :n, #x = :x, #s = :s, #e = :e");
        assert_eq!(
            u.condition,
            "(attribute_not_exists(#f) OR #f < :n) AND (attribute_not_exists(#m0) OR #m0 <= :b0) AND \
             (attribute_not_exists(#m1) OR #m1 >= :b1)"
        );
        assert_eq!((u.names["#f"].as_str(), value(&u, ":n")), ("_f1", "7"));
        assert_eq!(value(&u, ":b0"), "999999999999999999999999999998");
        assert_eq!(value(&u, ":b1"), "-999999999999999999999999999995");
        // The window ends after the host's clock: it decides.
        assert_eq!(value(&u, ":x"), (61 + ROW_KEPT_S).to_string());
    }

    #[test]
    fn a_row_of_extremes_only_gets_its_fence() {
        let u = add([None, None, Some(1), Some(9)], Table::Main);
        assert_eq!(u.update, "ADD #v :one SET #f = :n, #x = :x, #s = :s, #e = :e");
        assert_eq!(u.condition, "(attribute_not_exists(#f) OR #f < :n)");
    }

    #[test]
    fn a_late_row_says_its_day() {
        let u = add([Some(1), None, None, None], Table::Late { day: Some(20_000) });
        assert_eq!((u.names["#d"].as_str(), value(&u, ":d")), ("arrival_day", "20000"));
        assert!(!add([Some(1), None, None, None], Table::Late { day: None }).names.contains_key("#d"));
    }

    #[test]
    fn only_better_extremes_are_written() {
        let held = |least, most| Item::from([("least".to_owned(), n(least)), ("most".to_owned(), n(most))]);
        let row = row([Some(1), None, Some(4), Some(9)]);
        let u = extremes(&measures(), &row, &Item::new()).expect("both are new");
        assert_eq!(u.update, "SET #m2 = :m2, #m3 = :m3 ADD #v :one");
        let u = extremes(&measures(), &row, &held(4, 8)).expect("the greatest is better");
        assert_eq!(u.update, "SET #m3 = :m3 ADD #v :one");
        assert_eq!(u.condition, "attribute_exists(#pk) AND (attribute_not_exists(#m3) OR #m3 < :m3)");
        let u = extremes(&measures(), &row, &held(5, 9)).expect("the least is better");
        assert_eq!(u.condition, "attribute_exists(#pk) AND (attribute_not_exists(#m2) OR #m2 > :m2)");
        assert!(extremes(&measures(), &row, &held(4, 9)).is_none());
    }

    #[test]
    fn a_delta_beyond_any_total_is_named() {
        assert_eq!(too_great(&measures(), &row([None, Some(VALUE_MAX), None, None])), None);
        assert_eq!(too_great(&measures(), &row([None, Some(-VALUE_MAX - 1), None, None])), Some("sum"));
    }
}
