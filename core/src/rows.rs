//! Deltas become rows, and rows become text: for previews, which keep their rows in memory instead of a store.
//!
//! Invariants
//! - Rows do not depend on how deltas were spread over effects.
//! - A main row is `final` exactly when its window can receive no more: end + allowed lateness <= watermark, and late
//!   records do not go to it.
//! - Text is the same everywhere: `plimsoll preview`, the browser and Node write these very lines.
//!
//! Order: main rows by (window end, window start, key), late rows by (window end, window start, arrival day, key).
//!
//! Not here: rows in a store (`host`).

use crate::account::Account;
use crate::decode::{Decoder, date, write_int};
use crate::policy::{Derived, Formula, LateTo, Measure, Op, Path, Policy};
use crate::time::{ArrivalTime, EventTime};
use crate::window::Window;
use crate::wire::effects::{DeadLetter, Effects, Group, Progress, Row, Table, VALUE_MAX};
use crate::wire::panes::{KeptValue, Pane};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// Rows of one policy, merged from effects.
pub struct Rows {
    policy: Policy,
    decoder: Decoder,
    groups: BTreeMap<(Window, Table), Vec<Row>>,
    account: Account,
    lanes: Vec<Progress>,
    dead: Vec<DeadLetter>,
}

/// Effects that do not fit the policy, or totals beyond 10^30.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowsError {
    /// Another number of values per row.
    #[error("effects with {found} measures, the policy has {expected}")]
    Measures {
        /// In the effects.
        found: usize,
        /// In the policy.
        expected: usize,
    },
    /// A total went over 10^30 in magnitude.
    #[error("the measure `{measure}` of key {key} went beyond 10^30")]
    Total {
        /// The measure's name.
        measure: String,
        /// The key's text.
        key: String,
    },
}

impl Rows {
    /// No rows yet; effects will come from one lane.
    pub fn new(policy: &Policy) -> Self {
        Self::with_lanes(policy, 1)
    }

    /// No rows yet; effects will come from this many lanes, whose least watermark decides what is final.
    pub fn with_lanes(policy: &Policy, lanes: usize) -> Self {
        Self {
            decoder: Decoder::new(policy),
            policy: policy.clone(),
            groups: BTreeMap::new(),
            account: Account::default(),
            lanes: alloc::vec![Progress::default(); lanes],
            dead: Vec::new(),
        }
    }

    /// Merges effects of the only lane, in their order.
    pub fn add(&mut self, e: Effects) -> Result<(), RowsError> {
        self.add_lane(0, e)
    }

    /// Merges effects of one of the lanes, in that lane's order.
    ///
    /// # Panics
    /// If there is no such lane.
    pub fn add_lane(&mut self, lane: usize, e: Effects) -> Result<(), RowsError> {
        let measures = &self.policy.spec().measures;
        if e.measures != measures.len() {
            return Err(RowsError::Measures { found: e.measures, expected: measures.len() });
        }
        for Group { table, start, end, rows } in e.groups {
            let held = self.groups.entry((Window { start, end }, table)).or_default();
            if held.is_empty() {
                *held = rows;
            } else {
                *held = merge(core::mem::take(held), rows, &self.policy)?;
            }
        }
        self.account.add(&e.account);
        self.lanes[lane] = e.progress;
        self.dead.extend(e.dead);
        Ok(())
    }

    /// Where all the records went.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// How far event time has come on all lanes.
    pub fn progress(&self) -> Progress {
        combine(self.lanes.iter().copied())
    }

    /// The records set aside.
    pub fn dead(&self) -> &[DeadLetter] {
        &self.dead
    }

    /// The records set aside since this was last asked.
    pub fn take_dead(&mut self) -> Vec<DeadLetter> {
        core::mem::take(&mut self.dead)
    }

    /// Why a record was set aside, in words.
    pub fn explain(&self, d: &DeadLetter) -> String {
        self.decoder.explain(d.reason, d.field, d.at)
    }

    /// Whether a window's main rows can receive no more.
    pub fn is_final(&self, window: &Window) -> bool {
        let late = self.policy.spec().late;
        late.to != LateTo::Accept && self.progress().watermark.is_some_and(|w| window.end + late.allowed_lateness <= w)
    }

    /// All main rows in order: window, key, values.
    pub fn main(&self) -> impl Iterator<Item = (&Window, &Row)> {
        let main = self.groups.iter().filter(|((_, table), _)| *table == Table::Main);
        main.flat_map(|((window, _), rows)| rows.iter().map(move |r| (window, r)))
    }

    /// All late rows in order: window, arrival day, key and values.
    pub fn late(&self) -> impl Iterator<Item = (&Window, Option<i64>, &Row)> {
        self.groups.iter().flat_map(|((window, table), rows)| {
            let day = if let Table::Late { day } = table { Some(*day) } else { None };
            rows.iter().filter_map(move |r| day.map(|day| (window, day, r)))
        })
    }

    /// Appends the main rows that can no longer change, one line each, and forgets them.
    pub fn drain_final(&mut self, out: &mut Vec<u8>) {
        // Windows close in the order of the map.
        while let Some(key) = self.groups.keys().find(|(_, table)| *table == Table::Main).copied() {
            if !self.is_final(&key.0) {
                break;
            }
            let bounds = bounds(&key.0);
            for r in self.groups.remove(&key).expect("just found") {
                write_row_within(&self.policy, &bounds, Some(Fate::Final), &r, out);
            }
        }
    }

    /// Appends the main rows, one line each.
    pub fn write_main(&self, out: &mut Vec<u8>) {
        for (window, row) in self.main() {
            let fate = if self.is_final(window) { Fate::Final } else { Fate::Provisional };
            write_row(&self.policy, window, Some(fate), row, out);
        }
    }

    /// Appends the late rows, one line each.
    pub fn write_late(&self, out: &mut Vec<u8>) {
        for (window, day, row) in self.late() {
            write_late_row(&self.policy, window, day, row, out);
        }
    }
}

/// Whether a row may still change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It may.
    Provisional,
    /// It may not.
    Final,
}

impl Fate {
    /// As text in rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Provisional => "provisional",
            Self::Final => "final",
        }
    }
}

fn merge(a: Vec<Row>, b: Vec<Row>, policy: &Policy) -> Result<Vec<Row>, RowsError> {
    let mut out = Vec::with_capacity(a.len().max(b.len()));
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return Ok(out),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(x), Some(y)) => x.key.cmp(&y.key),
        };
        match order {
            Ordering::Less => out.extend(a.next()),
            Ordering::Greater => out.extend(b.next()),
            Ordering::Equal => {
                let (mut x, y) = (a.next().expect("peeked"), b.next().expect("peeked"));
                fold_row(&mut x, &y, policy)?;
                out.push(x);
            }
        }
    }
}

fn fold_row(x: &mut Row, y: &Row, policy: &Policy) -> Result<(), RowsError> {
    for ((held, v), m) in x.values.iter_mut().zip(&y.values).zip(&policy.spec().measures) {
        *held = fold(m.op, *held, *v).ok_or_else(|| RowsError::Total {
            measure: m.name.clone(),
            key: String::from_utf8_lossy(&x.key).into_owned(),
        })?;
    }
    Ok(())
}

/// What a row's value becomes when a delta or candidate comes in; `None` when the total leaves ±10^30.
pub fn fold(op: Op, held: Option<i128>, v: Option<i128>) -> Option<Option<i128>> {
    let (Some(a), Some(b)) = (held, v) else {
        return Some(held.or(v));
    };
    let total = match op {
        Op::Count | Op::Sum | Op::Squares => a.checked_add(b)?,
        Op::Min => a.min(b),
        Op::Max => a.max(b),
    };
    (total.unsigned_abs() <= VALUE_MAX as u128).then_some(Some(total))
}

/// Appends a row as one line of JSON.
pub fn write_row(policy: &Policy, window: &Window, fate: Option<Fate>, row: &Row, out: &mut Vec<u8>) {
    write_row_within(policy, &bounds(window), fate, row, out);
}

fn write_row_within(policy: &Policy, bounds: &[u8], fate: Option<Fate>, row: &Row, out: &mut Vec<u8>) {
    begin(policy, bounds, row, out);
    if let Some(fate) = fate {
        out.extend_from_slice(b",\"state\":\"");
        out.extend_from_slice(fate.name().as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b"}\n");
}

/// Appends a late row as one line of JSON.
pub fn write_late_row(policy: &Policy, window: &Window, day: Option<i64>, row: &Row, out: &mut Vec<u8>) {
    begin(policy, &bounds(window), row, out);
    out.extend_from_slice(b",\"arrival_day\":");
    match day {
        None => out.extend_from_slice(b"null"),
        Some(day) => {
            out.push(b'"');
            out.extend_from_slice(date(day).as_bytes());
            out.push(b'"');
        }
    }
    out.extend_from_slice(b"}\n");
}

/// A window's bounds as fields of a row.
fn bounds(window: &Window) -> Vec<u8> {
    let mut out = Vec::from(b"\"window_start\":");
    write_int(window.start.as_millis(), &mut out);
    out.extend_from_slice(b",\"window_end\":");
    write_int(window.end.as_millis(), &mut out);
    out
}

fn begin(policy: &Policy, bounds: &[u8], row: &Row, out: &mut Vec<u8>) {
    let spec = policy.spec();
    out.push(b'{');
    for (path, value) in spec.input.key.iter().zip(key_parts(&row.key)) {
        name(column(path), out);
        out.extend_from_slice(value);
        out.push(b',');
    }
    out.extend_from_slice(bounds);
    for (m, value) in spec.measures.iter().zip(&row.values) {
        out.push(b',');
        name(&m.name, out);
        match value {
            None => out.extend_from_slice(b"null"),
            Some(v) => figure(*v, m.decimals(), out),
        }
    }
    for d in &spec.derived {
        out.push(b',');
        name(&d.name, out);
        match derived(d.of, &row.values, &spec.measures) {
            None => out.extend_from_slice(b"null"),
            Some(micros) => decimal(micros, out),
        }
    }
    if is_overflow(&row.key) {
        out.extend_from_slice(b",\"overflow\":true");
    }
}

/// A number made of a row's columns, in millionths, rounded towards zero; `None` where nothing was counted or the number
/// has no place in 128 bits.
pub fn derived(of: Formula, columns: &[Option<i128>], measures: &[Measure]) -> Option<i128> {
    const MICROS: i128 = 1_000_000;
    let (Formula::Mean { sum, .. } | Formula::Variance { sum, .. }) = of;
    let unit = 10i128.pow(measures.get(sum as usize)?.decimals());
    let column = |i: u32| columns.get(i as usize).copied().flatten();
    match of {
        Formula::Mean { sum, count } => {
            let count = column(count).filter(|n| *n > 0)?;
            column(sum)?.checked_mul(MICROS).map(|sum| sum / count / unit)
        }
        Formula::Variance { sum, count, squares } => {
            let count = column(count).filter(|n| *n > 0)?;
            let sum = column(sum)?;
            // n^2 * variance = n * squares - sum^2, which is never negative.
            let spread = count.checked_mul(column(squares)?)?.checked_sub(sum.checked_mul(sum)?)?;
            let (whole, rest) = (spread / count, spread % count);
            // whole / n + rest / n^2, so that only what is small is multiplied.
            let small = rest.checked_mul(MICROS)? / count;
            whole.checked_mul(MICROS)?.checked_add(small).map(|micros| micros / count / unit / unit)
        }
    }
}

/// The same as the decimal number that a row's line shows.
pub fn derived_text(d: &Derived, columns: &[Option<i128>], measures: &[Measure]) -> Option<String> {
    let mut out = Vec::new();
    decimal(derived(d.of, columns, measures)?, &mut out);
    Some(out.into_iter().map(char::from).collect())
}

fn optional(v: Option<i128>, out: &mut Vec<u8>) {
    match v {
        None => out.extend_from_slice(b"null"),
        Some(v) => wide(v, out),
    }
}

fn wide(v: i128, out: &mut Vec<u8>) {
    match i64::try_from(v) {
        Ok(v) => write_int(v, out),
        Err(_) => out.extend_from_slice(alloc::format!("{v}").as_bytes()),
    }
}

/// Appends a column's value with so many decimals: 1,230 with two is 12.30.
pub fn figure(units: i128, decimals: u32, out: &mut Vec<u8>) {
    if decimals == 0 {
        return wide(units, out);
    }
    if units < 0 {
        out.push(b'-');
    }
    let unit = 10u128.pow(decimals);
    let (whole, rest) = (units.unsigned_abs() / unit, units.unsigned_abs() % unit);
    out.extend_from_slice(alloc::format!("{whole}.{rest:0width$}", width = decimals as usize).as_bytes());
}

/// The same as a text of its own.
pub fn figure_text(units: i128, decimals: u32) -> String {
    let mut out = Vec::new();
    figure(units, decimals, &mut out);
    out.into_iter().map(char::from).collect()
}

/// Appends millionths as a decimal number without needless zeros.
fn decimal(micros: i128, out: &mut Vec<u8>) {
    if micros < 0 {
        out.push(b'-');
    }
    let micros = micros.unsigned_abs();
    wide((micros / 1_000_000) as i128, out);
    let mut rest = micros % 1_000_000;
    if rest > 0 {
        out.push(b'.');
        let mut unit = 100_000;
        while rest > 0 {
            out.push(b'0' + (rest / unit) as u8);
            rest %= unit;
            unit /= 10;
        }
    }
}

/// Appends a pane as one line of JSON: what a trigger gave out, and when. Kept values that are lists come with how many
/// were left out.
pub fn write_pane(policy: &Policy, pane: &Pane, out: &mut Vec<u8>) {
    let row = Row { key: pane.key.clone(), values: pane.columns.clone() };
    begin(policy, &bounds(&pane.window), &row, out);
    for (kept, value) in policy.spec().kept.iter().zip(&pane.kept) {
        out.push(b',');
        name(&kept.name, out);
        match value {
            KeptValue::None => out.extend_from_slice(b"null"),
            KeptValue::Text(text) => out.extend_from_slice(text),
            KeptValue::Estimate(n) => wide(*n, out),
            KeptValue::List { values, left_out } => {
                out.extend_from_slice(b"{\"values\":[");
                list(values, out, |text, out| out.extend_from_slice(text));
                out.extend_from_slice(b"],\"left_out\":");
                wide((*left_out).into(), out);
                out.push(b'}');
            }
            KeptValue::Top(values) => {
                out.push(b'[');
                list(values, out, |(text, n), out| {
                    out.push(b'[');
                    out.extend_from_slice(text);
                    out.push(b',');
                    wide((*n).into(), out);
                    out.push(b']');
                });
                out.push(b']');
            }
        }
    }
    out.extend_from_slice(b",\"timing\":\"");
    out.extend_from_slice(pane.timing.name().as_bytes());
    out.extend_from_slice(b"\",\"index\":");
    wide(pane.index.into(), out);
    out.extend_from_slice(b",\"settled_index\":");
    optional(pane.settled_index.map(i128::from), out);
    for (field, on) in [("first", pane.first), ("last", pane.last), ("retraction", pane.retraction)] {
        out.push(b',');
        name(field, out);
        out.extend_from_slice(if on { b"true" } else { b"false" });
    }
    out.extend_from_slice(b",\"timestamp\":");
    write_int(pane.timestamp.as_millis(), out);
    out.extend_from_slice(b",\"watermark\":");
    optional(pane.watermark.map(|w| w.as_millis().into()), out);
    out.extend_from_slice(b"}\n");
}

fn list<T>(values: &[T], out: &mut Vec<u8>, write: impl Fn(&T, &mut Vec<u8>)) {
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(value, out);
    }
}

fn name(n: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    crate::json::write_escaped(n.as_bytes(), out);
    out.extend_from_slice(b"\":");
}

/// A key field's column: the last name of its path.
pub fn column(path: &Path) -> &str {
    path.last().expect("a path has a name")
}

/// The values of a key's canonical text, as JSON each: `["a","b"]` gives `"a"` and `"b"`.
pub fn key_parts(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = key.strip_prefix(b"[").and_then(|k| k.strip_suffix(b"]")).unwrap_or(key);
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (mut quoted, mut escaped) = (false, false);
        let end = rest.iter().position(|b| {
            match (*b, quoted) {
                _ if escaped => escaped = false,
                (b'\\', true) => escaped = true,
                (b'"', _) => quoted = !quoted,
                (b',', false) => return true,
                _ => {}
            }
            false
        });
        let part = &rest[..end.unwrap_or(rest.len())];
        rest = end.map_or(&[][..], |e| &rest[e + 1..]);
        Some(part)
    })
}

/// The key of a window's overflow row, which counts the records of keys beyond the budget (`limits.keys_per_window`): a
/// null for each field of the key. A record whose key has a null in it is rejected.
pub fn overflow_key(fields: usize) -> Vec<u8> {
    let mut key = Vec::from(*b"[null");
    (1..fields).for_each(|_| key.extend_from_slice(b",null"));
    key.push(b']');
    key
}

/// Whether a key is that of an overflow row.
pub fn is_overflow(key: &[u8]) -> bool {
    key.starts_with(b"[null") && key_parts(key).all(|part| part == b"null")
}

/// An RFC 3339 date, from whole days since 1970-01-01.
pub fn day_text(day: i64) -> String {
    date(day)
}

/// The same progress for several lanes: the least watermark, the greatest arrival and event times.
pub fn combine(lanes: impl IntoIterator<Item = Progress>) -> Progress {
    let mut lanes = lanes.into_iter();
    let Some(first) = lanes.next() else { return Progress::default() };
    lanes.fold(first, |a, b| Progress {
        // A lane that claims nothing holds all of them: `None` is the least claim.
        watermark: Option::<EventTime>::min(a.watermark, b.watermark),
        arrival: Option::<ArrivalTime>::max(a.arrival, b.arrival),
        event: Option::<EventTime>::max(a.event, b.event),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_falls_into_its_parts() {
        let parts =
            |k: &str| key_parts(k.as_bytes()).map(|p| String::from_utf8(p.to_vec()).unwrap()).collect::<Vec<_>>();
        assert_eq!(parts(r#"["a","b"]"#), [r#""a""#, r#""b""#]);
        assert_eq!(parts(r#"["a,\"]","",-7,true]"#), [r#""a,\"]""#, r#""""#, "-7", "true"]);
        assert_eq!(parts(r#"["\\",1]"#), [r#""\\""#, "1"]);
    }

    #[test]
    fn a_lane_that_claims_nothing_holds_the_others() {
        let at = |w| Progress { watermark: w, ..Progress::default() };
        let t = Some(EventTime::from_millis(5));
        assert_eq!(combine([at(t), at(None)]).watermark, None);
        assert_eq!(combine([at(t), at(Some(EventTime::from_millis(3)))]).watermark, Some(EventTime::from_millis(3)));
    }

    #[test]
    fn means_and_variances_are_exact_to_a_millionth() {
        let scaled = |scale, of, columns: &[Option<i128>]| {
            let column = |op| Measure { name: "m".into(), op, field: None, scale };
            let mut out = Vec::new();
            derived(of, columns, &[column(Op::Sum)]).map(|micros| decimal(micros, &mut out))?;
            String::from_utf8(out).ok()
        };
        let text = |of, columns: &[Option<i128>]| scaled(None, of, columns);
        let mean = Formula::Mean { sum: 0, count: 1 };
        assert_eq!(text(mean, &[Some(10), Some(4)]).unwrap(), "2.5");
        assert_eq!(text(mean, &[Some(-10), Some(3)]).unwrap(), "-3.333333");
        assert_eq!(text(mean, &[Some(0), Some(7)]).unwrap(), "0");
        assert_eq!(text(mean, &[Some(-1), Some(100)]).unwrap(), "-0.01");
        assert_eq!(text(mean, &[None, Some(0)]), None);
        assert_eq!(text(mean, &[Some(VALUE_MAX), Some(3)]).unwrap(), "333333333333333333333333333333.333333");
        // 1, 2, 3, 4: mean 2.5, variance 1.25.
        let variance = Formula::Variance { sum: 0, count: 1, squares: 2 };
        assert_eq!(text(variance, &[Some(10), Some(4), Some(30)]).unwrap(), "1.25");
        assert_eq!(text(variance, &[Some(6), Some(2), Some(18)]).unwrap(), "0");
        assert_eq!(text(variance, &[Some(1), Some(3), Some(1)]).unwrap(), "0.222222");
        // 0.01, 0.02, 0.03, 0.04, as hundredths.
        assert_eq!(scaled(Some(2), mean, &[Some(10), Some(4)]).unwrap(), "0.025");
        assert_eq!(scaled(Some(2), variance, &[Some(10), Some(4), Some(30)]).unwrap(), "0.000125");
        assert_eq!(scaled(Some(2), mean, &[Some(-100), Some(3)]).unwrap(), "-0.333333");
    }

    #[test]
    fn columns_are_shown_with_their_decimals() {
        let text = |units, decimals| {
            let mut out = Vec::new();
            figure(units, decimals, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(1_230, 2), "12.30");
        assert_eq!(text(-7, 2), "-0.07");
        assert_eq!(text(0, 3), "0.000");
        assert_eq!(text(VALUE_MAX, 0), "1000000000000000000000000000000");
        assert_eq!(text(-VALUE_MAX, 18), "-1000000000000.000000000000000000");
        assert_eq!(text(1, 36), "0.000000000000000000000000000000000001");
    }

    #[test]
    fn totals_end_at_ten_to_the_thirtieth() {
        assert_eq!(fold(Op::Sum, Some(VALUE_MAX), Some(1)), None);
        assert_eq!(fold(Op::Sum, Some(-VALUE_MAX), Some(1)), Some(Some(1 - VALUE_MAX)));
        assert_eq!(fold(Op::Min, None, Some(4)), Some(Some(4)));
        assert_eq!(fold(Op::Max, Some(9), None), Some(Some(9)));
    }
}
