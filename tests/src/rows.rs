//! Rows as Plimsoll writes them, read into the judge's form, and both compared.
//!
//! Not here: where the text comes from (`process`), what must be in it (`oracle`).

use crate::oracle::{Columns, Outcome, Query};
use anyhow::{Context, Result, ensure};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::{self, Debug};

/// Main rows, by window start and key.
pub type Rows = BTreeMap<(i64, String), Columns>;
/// Late rows, by window start, key and day of arrival.
pub type LateRows = BTreeMap<(i64, String, Option<i64>), Columns>;
/// Differences that a failed comparison shows.
const SHOWN: usize = 10;

/// Reads main rows.
///
/// # Errors
/// If a line is no row, or a row stands twice.
pub fn main(query: &Query, ndjson: &[u8]) -> Result<Rows> {
    let mut rows = Rows::new();
    for line in lines(ndjson) {
        let row = parse(query, line)?;
        let place = row.place()?;
        ensure!(rows.insert(place.clone(), row.columns).is_none(), "a row twice: {place:?}");
    }
    Ok(rows)
}

/// Reads late rows.
///
/// # Errors
/// If a line is no row, or a row stands twice.
pub fn late(query: &Query, ndjson: &[u8]) -> Result<LateRows> {
    let mut rows = LateRows::new();
    for line in lines(ndjson) {
        let row = parse(query, line)?;
        let (start, key) = row.place()?;
        let day = match row.field("arrival_day")? {
            Value::Null => None,
            day => Some(days(day.as_str().context("`arrival_day` is no text")?).context("`arrival_day` is no date")?),
        };
        let place = (start, key, day);
        ensure!(rows.insert(place.clone(), row.columns).is_none(), "a row twice: {place:?}");
    }
    Ok(rows)
}

/// Nothing, if main and late rows are those of `expected`.
///
/// # Errors
/// If not; the first differences are part of the error.
pub fn compare(query: &Query, main_rows: &[u8], late_rows: &[u8], expected: &Outcome) -> Result<()> {
    same("main rows", &main(query, main_rows)?, &expected.rows)?;
    same("late rows", &late(query, late_rows)?, &expected.late_rows)
}

/// Nothing, if both maps are the same.
///
/// # Errors
/// If not; the first differences are part of the error.
pub fn same<K: Ord + Debug, V: PartialEq + Debug>(
    what: &str,
    found: &BTreeMap<K, V>,
    expected: &BTreeMap<K, V>,
) -> Result<()> {
    let missing = expected.keys().filter(|key| !found.contains_key(key));
    let differing = found.iter().filter(|(key, value)| expected.get(key) != Some(value)).map(|(key, _)| key);
    let wrong: Vec<&K> = missing.chain(differing).collect();
    let shown: Vec<String> = wrong
        .iter()
        .take(SHOWN)
        .map(|key| format!("  {key:?}\n    found    {:?}\n    expected {:?}", found.get(key), expected.get(key)))
        .collect();
    ensure!(wrong.is_empty(), "{what}: {} of {} differ:\n{}", wrong.len(), expected.len(), shown.join("\n"));
    Ok(())
}

fn lines(ndjson: &[u8]) -> impl Iterator<Item = &[u8]> {
    ndjson.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// One row: its columns, and everything else.
struct Row<'q> {
    query: &'q Query,
    rest: BTreeMap<String, Value>,
    columns: Columns,
}

fn parse<'q>(query: &'q Query, line: &[u8]) -> Result<Row<'q>> {
    let row = Row { query, rest: BTreeMap::new(), columns: Columns::new() };
    let row = serde_json::Deserializer::from_slice(line).deserialize_map(row);
    row.with_context(|| format!("no row: {}", String::from_utf8_lossy(line)))
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            if self.query.measures.iter().any(|(measure, _)| *measure == name) {
                // Not through a `Value`, which knows no integers of more than 64 bits.
                self.columns.insert(name, map.next_value()?);
            } else {
                self.rest.insert(name, map.next_value()?);
            }
        }
        Ok(self)
    }
}

impl Row<'_> {
    fn field(&self, name: &str) -> Result<&Value> {
        self.rest.get(name).with_context(|| format!("a row without `{name}`: {:?}", self.rest))
    }

    /// Its window's start and its key.
    fn place(&self) -> Result<(i64, String)> {
        let start = self.field("window_start")?.as_i64().context("`window_start` is no integer")?;
        let end = self.field("window_end")?.as_i64().context("`window_end` is no integer")?;
        ensure!(end == start + self.query.window_ms, "a window from {start} to {end}");
        ensure!(self.columns.len() == self.query.measures.len(), "columns are missing: {:?}", self.columns);
        let name = |path: &String| path.rsplit('.').next().unwrap_or_default().to_owned();
        let key = self.query.key.iter().map(|path| self.field(&name(path)).cloned());
        Ok((start, Value::Array(key.collect::<Result<_>>()?).to_string()))
    }
}

/// Days from 1970-01-01 to a date like `2026-11-23`.
fn days(date: &str) -> Option<i64> {
    let (sign, digits) = date.strip_prefix('-').map_or((1, date), |rest| (-1, rest));
    let mut parts = digits.split('-').map(str::parse::<i64>);
    let (year, month, day) = (sign * parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    // Years that begin in March, so that a leap day is a year's last day.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(365 * year + leaps + (153 * month + 2) / 5 + day - 1 - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days() {
        let found = ["1970-01-01", "1969-12-31", "2000-02-29", "2000-03-01", "2026-11-23"].map(days);
        assert_eq!(found, [Some(0), Some(-1), Some(11_016), Some(11_017), Some(20_780)]);
        assert_eq!(days("yesterday"), None);
    }

    #[test]
    fn differences_are_found_on_both_sides() {
        let [a, b] = [BTreeMap::from([(1, 1), (2, 2)]), BTreeMap::from([(2, 2)])];
        assert!(same("x", &a, &b).is_err() && same("x", &b, &a).is_err() && same("x", &a, &a).is_ok());
        assert!(same("x", &a, &BTreeMap::from([(1, 1), (2, 3)])).is_err());
    }
}
