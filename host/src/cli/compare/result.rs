//! What two generations have in common and where they differ, as a table and as JSON.
//!
//! Invariants
//! - Numbers are written as they are, digit by digit: they may be longer than 64 bits.

use super::Side;
use crate::cli::stored::{moment, moment_of, table};
use crate::store::hex;
use plimsoll_core::account::Account;
use plimsoll_core::policy::Policy;
use plimsoll_core::rows::figure_text;
use plimsoll_core::time::EventTime;
use plimsoll_core::window::Window;
use plimsoll_core::wire::effects::Row;
use serde_json::json;
use std::collections::BTreeSet;

/// The result.
pub struct Comparison {
    equal: u64,
    different: u64,
    only_a: u64,
    only_b: u64,
    /// Rows of windows that are not final on both sides.
    open: u64,
    columns: Vec<Column>,
    /// Measures of one side only, or of another kind there.
    apart: Vec<String>,
    rows: Vec<Differing>,
    sides: [Shown; 2],
}

/// A measure that both sides have: its place in each, and its decimals.
#[derive(Clone, Debug)]
struct Column {
    name: String,
    places: [usize; 2],
    decimals: u32,
}

/// A row that differs: the common measures on each side, where it is there.
struct Differing {
    window: Window,
    key: Vec<u8>,
    values: [Option<Vec<Option<i128>>>; 2],
}

/// What is said of a side.
struct Shown {
    generation: String,
    policy: String,
    watermark: Option<EventTime>,
    account: Account,
}

impl Comparison {
    /// Compares two sides; remembers the first `limit` rows that differ.
    pub fn of(a: &Side, b: &Side, limit: usize) -> Self {
        let (columns, apart) = columns(&a.layout.policy, &b.layout.policy);
        let shown = |s: &Side| Shown {
            generation: s.layout.generation.clone(),
            policy: hex(s.layout.policy.digest()),
            watermark: s.complete.watermark(),
            account: s.account.clone(),
        };
        let mut out = Self {
            equal: 0,
            different: 0,
            only_a: 0,
            only_b: 0,
            open: 0,
            apart,
            rows: Vec::new(),
            sides: [shown(a), shown(b)],
            columns,
        };
        let places: BTreeSet<_> = a.rows.keys().chain(b.rows.keys()).collect();
        for place in places {
            let (window, key) = place;
            if !(a.is_final(window) && b.is_final(window)) {
                out.open += 1;
                continue;
            }
            let values = [(0, a), (1, b)].map(|(i, side)| side.rows.get(place).map(|row| out.common(i, row)));
            match &values {
                [Some(x), Some(y)] if x == y => {
                    out.equal += 1;
                    continue;
                }
                [Some(_), Some(_)] => out.different += 1,
                [Some(_), None] => out.only_a += 1,
                _ => out.only_b += 1,
            }
            if out.rows.len() < limit {
                out.rows.push(Differing { window: *window, key: key.clone(), values });
            }
        }
        out
    }

    fn common(&self, side: usize, row: &Row) -> Vec<Option<i128>> {
        self.columns.iter().map(|c| row.values[c.places[side]]).collect()
    }

    /// Rows that differ, or stand on one side only.
    pub fn differ(&self) -> u64 {
        self.different + self.only_a + self.only_b
    }

    /// The result, for programs or for people.
    pub fn text(&self, as_json: bool) -> String {
        if as_json { self.to_json() + "\n" } else { self.to_table() }
    }

    /// As one object.
    pub fn to_json(&self) -> String {
        let side = |s: &Shown| {
            json!({
                "generation": s.generation,
                "policy_sha256": s.policy,
                "watermark": s.watermark.map(EventTime::as_millis),
                "account": s.account,
            })
        };
        let [a, b] = &self.sides;
        let object = json!({
            "verdict": if self.differ() == 0 { "equal" } else { "different" },
            "equal": self.equal,
            "different": self.different,
            "only_a": self.only_a,
            "only_b": self.only_b,
            "not_final": self.open,
            "measures": self.columns.iter().map(|c| &c.name).collect::<Vec<_>>(),
            "not_compared": self.apart,
            "late": delta(a.account.late, b.account.late),
            "rejected": delta(a.account.rejected, b.account.rejected),
            "a": side(a),
            "b": side(b),
        });
        // The rows last, digit by digit.
        let rows: Vec<String> = self.rows.iter().map(|r| self.row_json(r)).collect();
        let object = object.to_string();
        let head = object.strip_suffix('}').expect("an object");
        format!("{head},\"rows\":[{}]}}", rows.join(","))
    }

    fn row_json(&self, row: &Differing) -> String {
        let measures = |values: &mut dyn Iterator<Item = Option<i128>>| {
            let fields = self.columns.iter().zip(values).map(|(c, v)| {
                let v = v.map_or_else(|| "null".to_owned(), |v| figure_text(v, c.decimals));
                format!("{}:{v}", json!(c.name))
            });
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        };
        let side = |values: &Option<Vec<Option<i128>>>| match values {
            Some(values) => measures(&mut values.iter().copied()),
            None => "null".to_owned(),
        };
        let [a, b] = &row.values;
        let by = match (a, b) {
            (Some(a), Some(b)) => measures(&mut a.iter().zip(b).map(|(a, b)| difference(*a, *b))),
            _ => "null".to_owned(),
        };
        format!(
            "{{\"window_start\":{},\"window_end\":{},\"key\":{},\"a\":{},\"b\":{},\"by\":{by}}}",
            row.window.start.as_millis(),
            row.window.end.as_millis(),
            String::from_utf8_lossy(&row.key),
            side(a),
            side(b),
        )
    }

    /// As tables.
    pub fn to_table(&self) -> String {
        let [a, b] = &self.sides;
        let name = |s: &Shown| if s.generation.is_empty() { "(first)".to_owned() } else { s.generation.clone() };
        let mut out = format!(
            "a: generation {}, policy sha256 {}..., watermark {}\nb: generation {}, policy sha256 {}..., watermark {}\n",
            name(a),
            &a.policy[..12],
            moment_of(a.watermark),
            name(b),
            &b.policy[..12],
            moment_of(b.watermark),
        );
        let numbers = [
            ("final rows that are equal", self.equal),
            ("that differ", self.different),
            ("only in a", self.only_a),
            ("only in b", self.only_b),
            ("not final in both, not compared", self.open),
        ];
        out.push_str(&table(&["rows", "count"], &numbers.map(|(what, n)| vec![what.to_owned(), n.to_string()])));
        let records = |what: &str, a: u64, b: u64| {
            vec![what.to_owned(), a.to_string(), b.to_string(), format!("{:+}", i128::from(b) - i128::from(a))]
        };
        out.push_str(&table(
            &["records of all lanes", "a", "b", "by"],
            &[
                records("counted", a.account.counted, b.account.counted),
                records("late", a.account.late, b.account.late),
                records("future", a.account.future, b.account.future),
                records("rejected", a.account.rejected, b.account.rejected),
            ],
        ));
        if !self.apart.is_empty() {
            out.push_str(&format!("Not compared, since only one has them so: {}.\n", self.apart.join(", ")));
        }
        let figures = |values: &Option<Vec<Option<i128>>>| match values {
            None => "-".to_owned(),
            Some(values) => {
                let one = |(c, v): (&Column, &Option<i128>)| {
                    format!("{}={}", c.name, v.map_or_else(|| "-".into(), |v| figure_text(v, c.decimals)))
                };
                self.columns.iter().zip(values).map(one).collect::<Vec<_>>().join(" ")
            }
        };
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|r| {
                let [a, b] = &r.values;
                vec![
                    moment(r.window.start.as_millis()),
                    String::from_utf8_lossy(&r.key).into_owned(),
                    figures(a),
                    figures(b),
                ]
            })
            .collect();
        if !rows.is_empty() {
            out.push_str(&table(&["window", "key", "a", "b"], &rows));
            if let Some(more) = self.differ().checked_sub(rows.len() as u64).filter(|more| *more > 0) {
                out.push_str(&format!("and {more} more (--limit)\n"));
            }
        }
        out
    }
}

/// How much a value changed; nothing as zero, unless it is nothing on both sides.
fn difference(a: Option<i128>, b: Option<i128>) -> Option<i128> {
    match (a, b) {
        (None, None) => None,
        (a, b) => Some(b.unwrap_or(0) - a.unwrap_or(0)),
    }
}

fn delta(a: u64, b: u64) -> serde_json::Value {
    let by = i64::try_from(i128::from(b) - i128::from(a)).unwrap_or(i64::MAX);
    json!({ "a": a, "b": b, "by": by })
}

/// The measures that both have in the same way, and the names of the others.
fn columns(a: &Policy, b: &Policy) -> (Vec<Column>, Vec<String>) {
    let (a, b) = (&a.spec().measures, &b.spec().measures);
    let mut both = Vec::new();
    for (i, m) in a.iter().enumerate() {
        let same = b.iter().position(|o| o.name == m.name && o.op == m.op && o.decimals() == m.decimals());
        both.extend(same.map(|j| Column { name: m.name.clone(), places: [i, j], decimals: m.decimals() }));
    }
    let apart: BTreeSet<_> =
        a.iter().chain(b).map(|m| m.name.clone()).filter(|name| both.iter().all(|c| c.name != *name)).collect();
    (both, apart.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nothing_on_one_side_differs_by_all_of_it() {
        assert_eq!(difference(Some(3), Some(10)), Some(7));
        assert_eq!(difference(None, Some(10)), Some(10));
        assert_eq!(difference(Some(4), None), Some(-4));
        assert_eq!(difference(None, None), None);
    }
}
