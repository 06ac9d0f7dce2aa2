//! What makes a spec a policy: the rules that hold over all of its fields.
//!
//! Every refusal names the field by its path in people's text (`window.fixed`, `input.key[1]`, `measures.views`), what
//! was found and what would be right, so that `text` can point at the place. All refusals are found, not the first.
//!
//! Rules of one kind stand in files of their own: `window`, `measures`, `panes`, `expressions`.
//! Not here: the forms of values in people's text (`text`), of durations (`duration`).

mod expressions;
mod measures;
mod panes;
#[cfg(feature = "text")]
mod rollup;
mod window;

use super::{Derived, LateTo, Measure, Op, Path, Spec, Strategy, Windowing, columns};
use crate::policy::columns::Moment;
use crate::policy::duration::Written;
use crate::time::TimeDelta;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;

/// Named limits of a policy.
pub mod limits {
    use crate::time::TimeDelta;

    /// Version of the canonical form.
    pub const CANONICAL_VERSION: u32 = 1;
    /// Longest name of a policy or measure, in bytes.
    pub const NAME_BYTES_MAX: usize = 64;
    /// Most fields in a key.
    pub const KEY_FIELDS_MAX: usize = 16;
    /// Most measures.
    pub const MEASURES_MAX: usize = 32;
    /// Most kept values.
    pub const KEPT_MAX: usize = 8;
    /// Most numbers derived from columns.
    pub const DERIVED_MAX: usize = 32;
    /// Most triggers in a trigger, itself included.
    pub const TRIGGER_NODES_MAX: usize = 32;
    /// Deepest nesting of triggers in each other.
    pub const TRIGGER_DEPTH_MAX: usize = 12;
    /// Most records that a trigger counts up to.
    pub const COUNT_MAX: u64 = i64::MAX as u64;
    /// `"unbounded"` as an allowed lateness.
    pub const LATENESS_UNBOUNDED: TimeDelta = TimeDelta::from_millis(i64::MAX);
    /// Greatest magnitude of a value whose square is summed: the square still fits 64 bits. A record with a greater one
    /// is rejected as `out_of_range`.
    pub const SQUARED_MAX: i64 = 3_037_000_499;
    /// Most windows that may hold one instant.
    pub const WINDOWS_OF_A_RECORD_MAX: i64 = 1_000;
    /// Most windows of keys open at once in one lane.
    pub const OPEN_MAX: u32 = 10_000_000;
    /// Most values of a list, and most values of a top k.
    pub const LIST_MAX: u32 = 10_000;
    /// Most computed fields.
    pub const COMPUTED_MAX: usize = 16;
    /// Most decimals of a measure.
    pub use crate::decimal::SCALE_MAX;
    /// Bounds of an expression.
    pub use crate::expr::limits as expression;
    /// Most changes of offset that a time zone may have.
    pub const ZONE_CHANGES_MAX: usize = 2_000;
    /// Deepest path of a field.
    pub const PATH_DEPTH_MAX: usize = 16;
    /// Longest name of a field, in bytes.
    pub const FIELD_BYTES_MAX: usize = 256;
    /// Longest window, delay, lateness or future: 10 years of 366 days.
    pub const SPAN_MAX: TimeDelta = TimeDelta::from_mins(3_660 * 24 * 60);
    /// Largest sample of the quantile watermark: the sample is part of the state kept with a lane's head.
    pub const SAMPLE_MAX: u32 = 2_001;
    /// Most keys with rows of their own in a window that has a budget of keys.
    pub const KEYS_PER_WINDOW_MAX: u32 = 1_000_000;
    /// Most keys that one lane remembers for the budgets of all its open windows, at 8 bytes each in its state. With so
    /// many of them, further keys of any window count in its overflow row.
    pub const KEYS_REMEMBERED_MAX: u32 = 2_000_000;
    /// Shortest window that hours are made of, in milliseconds: an hour's row has a place for each of its windows.
    pub const ROLLUP_WINDOW_MS_MIN: i64 = 60_000;
    /// Longest record, in bytes.
    pub const RECORD_BYTES_MAX: u32 = 16 << 20;
    /// Longest key text, in bytes: a DynamoDB partition key holds 2,048 with our prefix.
    pub const KEY_BYTES_MAX: u32 = 1_900;
    /// Most bytes of a record in its dead letter: a DynamoDB item holds 400 KB.
    pub const DEAD_LETTER_BYTES_MAX: u32 = 256 << 10;
    /// What an overflow row is marked by: no column is named so where windows have a budget of keys.
    pub const OVERFLOW_COLUMN: &str = "overflow";
    /// Columns that every row has: no measure and no key field may be named so.
    pub const ROW_COLUMNS: [&str; 5] = ["window_start", "window_end", "state", "late", "arrival_day"];
}

/// Why a spec is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Not the bytes that `canonical` writes.
    #[error("not a policy in canonical form: {detail}; write it with `plimsoll check --canonical`")]
    NotCanonical {
        /// What is wrong.
        detail: String,
    },
    /// A field's value is not allowed.
    #[error("`{field}`: found {found}, expected {expected}")]
    Value {
        /// Path of the field in people's text, like `window.fixed`.
        field: String,
        /// What stands there.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// A measure's name is not allowed: what is wrong stands before the `=`, not after it.
    #[error("`{field}`: found {found}, expected {expected}")]
    Name {
        /// Path of the measure in people's text, like `measures.views`.
        field: String,
        /// What is wrong with the name.
        found: String,
        /// What would be right.
        expected: String,
    },
}

/// What is wrong with a spec; empty for a policy.
pub(super) fn problems(s: &Spec) -> Vec<PolicyError> {
    let mut p = Problems(Vec::new());
    if s.v != limits::CANONICAL_VERSION {
        p.value("v", s.v, "1, the version of the canonical form that this engine reads");
    }
    if !is_name(&s.policy) {
        p.value("policy", quoted(&s.policy), NAME);
    }
    p.input(s);
    p.window(s);
    p.watermark(s);
    p.lateness(s);
    p.panes(s);
    p.measures(s);
    p.expressions(s);
    // An engine does nothing with it, so its module need not hold these words.
    #[cfg(feature = "text")]
    p.rollup(s);
    // Beyond the counts above the document is refused anyway, and comparing all pairs of fields would take long.
    let few = s.measures.len() <= limits::MEASURES_MAX && s.kept.len() <= limits::KEPT_MAX;
    if few && s.input.key.len() <= limits::KEY_FIELDS_MAX && s.fields.len() <= limits::COMPUTED_MAX {
        p.prefixes(s);
    }
    let l = &s.limits;
    p.bytes("limits.record_bytes", l.record_bytes, limits::RECORD_BYTES_MAX);
    p.bytes("limits.key_bytes", l.key_bytes, limits::KEY_BYTES_MAX);
    p.bytes("limits.dead_letter_bytes", l.dead_letter_bytes, limits::DEAD_LETTER_BYTES_MAX);
    p.budget(s);
    p.0
}

/// All the paths that a spec wants of a record, with the field that wants them; unsorted, duplicates included.
#[inline(never)]
fn wanted(s: &Spec) -> Vec<(String, &Path)> {
    let i = &s.input;
    let mut all = Vec::from([(String::from("input.time.field"), &i.time.field)]);
    if let Some(a) = &i.arrival {
        all.push(("input.arrival.field".into(), &a.field));
    }
    for (i, p) in i.key.iter().enumerate() {
        all.push((key_at(i), p));
    }
    if let Some(p) = &i.source {
        all.push(("input.source".into(), p));
    }
    if let Windowing::Session { gap_field: Some(p), .. } = &s.window {
        all.push(("window.session.gap_field".into(), p));
    }
    for (m, owner) in s.measures.iter().zip(columns::owners(s)) {
        if let Some(p) = &m.field {
            all.push((operand_at(m, owner), p));
        }
    }
    for k in &s.kept {
        all.push((measures::kept_at(k), &k.field));
    }
    for (at, e) in expressions::all(s) {
        for p in e.wants() {
            all.push((at.clone(), p));
        }
    }
    all
}

const NAME: &str = "a name of 1 to 64 letters, digits, `_` or `-` that begins with a letter";

struct Problems(Vec<PolicyError>);

impl Problems {
    fn value(&mut self, field: &str, found: impl Display, expected: impl Display) {
        self.say(false, field, &found, &expected);
    }

    fn name(&mut self, field: &str, found: impl Display, expected: impl Display) {
        self.say(true, field, &found, &expected);
    }

    // Many places call it: texts are made here and nowhere else, which keeps the module small.
    #[inline(never)]
    fn say(&mut self, name: bool, field: &str, found: &dyn Display, expected: &dyn Display) {
        let (field, found, expected) = (field.into(), found.to_string(), expected.to_string());
        self.0.push(match name {
            true => PolicyError::Name { field, found, expected },
            false => PolicyError::Value { field, found, expected },
        });
    }

    #[inline(never)]
    fn input(&mut self, s: &Spec) {
        self.path("input.time.field", &s.input.time.field);
        if let Some(a) = &s.input.arrival {
            self.path("input.arrival.field", &a.field);
        }
        if let Some(p) = &s.input.source {
            self.path("input.source", p);
        }
        let keys = s.input.key.len();
        if keys == 0 || keys > limits::KEY_FIELDS_MAX {
            self.value("input.key", format_args!("{keys} fields"), "1 to 16 fields");
        }
        let mut columns: Vec<(&str, &Path)> = Vec::new();
        // More are refused anyway, and comparing them all would take long.
        for (i, p) in s.input.key.iter().take(limits::KEY_FIELDS_MAX).enumerate() {
            let at = key_at(i);
            self.path(&at, p);
            let Some(column) = p.last() else { continue };
            if is_row_column(column, s) {
                self.value(
                    &at,
                    quoted(&p.join(".")),
                    format_args!("a field whose last name is not {}", row_columns(s)),
                );
            }
            let other = columns.iter().rev().find(|(c, _)| c == column).map(|(_, q)| *q);
            columns.push((column, p));
            match other {
                None => {}
                Some(q) if q == p => self.value(&at, format_args!("{} twice", quoted(&p.join("."))), "each field once"),
                Some(q) => self.value(
                    &at,
                    format_args!("{} beside `{}`", quoted(&p.join(".")), shown(q)),
                    format_args!("fields with different last names: both would be the rows' column `{column}`"),
                ),
            }
        }
    }

    #[inline(never)]
    fn watermark(&mut self, s: &Spec) {
        let w = &s.watermark;
        if let Strategy::Quantile { q_milli, sample, min_sample, per_source } = w.strategy {
            if q_milli == 0 || q_milli >= 1_000 {
                let found = format!("{}.{:03}", q_milli / 1_000, q_milli % 1_000);
                self.value("watermark.quantile", found, "between 0.001 and 0.999");
            }
            if sample == 0 || sample > limits::SAMPLE_MAX {
                self.value("watermark.sample", sample, "1 to 2001 event times");
            }
            if min_sample == 0 || (min_sample > sample && sample > 0) {
                self.value("watermark.min_sample", min_sample, "1 up to the sample's size");
            }
            if per_source.is_some_and(|most| most == 0 || (most > sample && sample > 0)) {
                self.value("watermark.per_source", per_source.unwrap_or(0), "1 up to the sample's size");
            }
            if per_source.is_some() && s.input.source.is_none() {
                self.value(
                    "watermark.per_source",
                    "no `input.source`",
                    "the field that says who sent a record, like \
                    source = \"device\" in [input]",
                );
            }
        }
        self.span("watermark.delay", w.delay, 0);
        if let Some(f) = w.max_future {
            self.span("watermark.max_future", f, 0);
        }
    }

    fn budget(&mut self, s: &Spec) {
        const AT: &str = "limits.keys_per_window";
        let Some(n) = s.limits.keys_per_window else { return };
        if n == 0 || n > limits::KEYS_PER_WINDOW_MAX {
            self.value(AT, n, "1 to 1000000 keys");
        }
        if matches!(s.window, Windowing::Session { .. }) {
            self.value(AT, n, "none for sessions: each is one key's own, and trigger.open_max bounds them");
        }
        if s.late.to == LateTo::Accept {
            self.value(AT, n, "none beside late.to = \"accept\": windows would have to remember their keys for ever");
        }
    }

    // A value cannot be both a number and an object that holds another wanted value.
    #[inline(never)]
    fn prefixes(&mut self, s: &Spec) {
        let all = wanted(s);
        for (at, p) in all.iter().filter(|(_, p)| !p.is_empty()) {
            if let Some((other, q)) = all.iter().find(|(_, q)| q.len() > p.len() && q[..p.len()] == p[..]) {
                let expected = format!("a field that is not an object: `{}` is wanted by `{other}`", shown(q));
                self.value(at, quoted(&p.join(".")), &expected);
            }
        }
    }

    #[inline(never)]
    fn path(&mut self, at: &str, p: &Path) {
        if p.is_empty()
            || p.len() > limits::PATH_DEPTH_MAX
            || p.iter().any(|f| f.is_empty() || f.len() > limits::FIELD_BYTES_MAX)
        {
            let expected = "a field's name, or names joined by dots, at most 16 deep and 256 bytes each";
            self.value(at, quoted(&p.join(".")), expected);
        }
    }

    #[inline(never)]
    fn span(&mut self, at: &str, d: TimeDelta, least_ms: i64) {
        if d.as_millis() < least_ms || d > limits::SPAN_MAX {
            let expected = if least_ms > 0 { "a duration from 1ms to 3660d" } else { "a duration from 0s to 3660d" };
            self.value(at, Written(d), expected);
        }
    }

    #[inline(never)]
    fn bytes(&mut self, at: &str, n: u32, most: u32) {
        if n == 0 || n > most {
            self.value(at, n, format_args!("1 to {most} bytes"));
        }
    }
}

#[inline(never)]
fn is_name(n: &str) -> bool {
    n.len() <= limits::NAME_BYTES_MAX
        && n.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        && n.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
}

#[inline(never)]
fn key_at(i: usize) -> String {
    format!("input.key[{i}]")
}

#[inline(never)]
fn measure_at(name: &str) -> String {
    format!("measures.{name}")
}

/// Where a column's field is written; `owner` is what the column was made for.
#[inline(never)]
fn operand_at(m: &Measure, owner: Option<&Derived>) -> String {
    if let Some(d) = owner {
        return format!("measures.{}.{}", d.name, Moment::of(&d.of).name());
    }
    let op = match m.op {
        Op::Count => "count",
        Op::Sum => "sum",
        Op::Min => "min",
        Op::Max => "max",
        Op::Squares => "squares",
    };
    format!("measures.{}.{op}", m.name)
}

/// Whether rows have a column of their own of this name, in small letters.
fn is_row_column(name: &str, s: &Spec) -> bool {
    limits::ROW_COLUMNS.contains(&name) || (s.limits.keys_per_window.is_some() && name == limits::OVERFLOW_COLUMN)
}

#[inline(never)]
fn row_columns(s: &Spec) -> String {
    let overflow = if s.limits.keys_per_window.is_some() { ", overflow" } else { "" };
    format!("one of the rows' own columns ({}{overflow})", limits::ROW_COLUMNS.join(", "))
}

/// A path as it is written, cut to a length that a message bears.
#[inline(never)]
fn shown(p: &Path) -> String {
    cut(&p.join("."))
}

#[inline(never)]
fn quoted(text: &str) -> String {
    format!("{:?}", cut(text))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}
