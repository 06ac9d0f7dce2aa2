//! What is true about a policy: what to count, in which windows, when to believe it, what is late.
//!
//! `Policy` is the checked form; whoever holds one has nothing left to check. It comes from people's text through
//! `text` (feature `text`) or from its own canonical form. Its identity is the SHA-256 of that form.
//!
//! Invariants
//! - `canonical` writes every field, defaults included, in the order of the structs below, with times in milliseconds;
//!   `from_canonical` reads just that. Two policies are the same exactly when these bytes are.
//! - The shape (windows, keys, measures) names the rows: two shapes never meet in one row.
//!
//! Not here: the text people write and its errors (`text`), what an engine does with it (`engine`).

mod canonical;
mod columns;
pub mod duration;
mod validate;

#[cfg(feature = "text")]
mod explain;
#[cfg(feature = "text")]
pub mod text;

use crate::expr::Expression;
use crate::time::TimeDelta;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

#[cfg(feature = "text")]
pub use explain::explain;
pub use validate::{PolicyError, limits};

/// A checked policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    spec: Spec,
    canonical: Vec<u8>,
    digest: [u8; 32],
}

/// Every field of a policy with its defaults filled in: the canonical form is this struct as compact JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Version of the canonical form; 1.
    pub v: u32,
    /// The policy's name: letters, digits, `_` and `-`.
    pub policy: String,
    /// Which records count: those for which it is true. `None` where all do.
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none", deserialize_with = "canonical::there")]
    pub filter: Option<Expression>,
    /// How records become events.
    pub input: Input,
    /// Fields that records do not have themselves, for keys and measures.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "canonical::not_empty")]
    pub fields: Vec<Computed>,
    /// Where in event time results are computed.
    pub window: Windowing,
    /// When event time is believed to be complete.
    pub watermark: Watermark,
    /// What becomes of records behind the watermark.
    pub late: Late,
    /// What is computed, in the order of the rows' columns.
    pub measures: Vec<Measure>,
    /// Numbers made of columns when rows are shown: a mean is stored as its sum and count, since these add up.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "canonical::not_empty")]
    pub derived: Vec<Derived>,
    /// What panes hold beside the columns, and rows cannot, since it does not add up by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "canonical::not_empty")]
    pub kept: Vec<Kept>,
    /// When panes are given out; `None` where rows are written at every batch and nothing else is.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "canonical::there")]
    pub panes: Option<Panes>,
    /// Rows of hours and days, made of the windows' rows; `None` where there are none. An engine does nothing with it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "canonical::there")]
    pub rollup: Option<Rollup>,
    /// Bounds on what strangers can make us keep.
    pub limits: Limits,
}

/// A field that is computed. Keys and measures know it by its name, which hides a field of the record; expressions do not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Computed {
    /// Its name.
    pub name: String,
    /// Its value: an integer, a text, a truth value or null.
    pub value: Expression,
}

/// Where a value stands in a record: `a.b` is the field `b` of the object `a`.
pub type Path = Vec<String>;

/// How records become events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The payload's format.
    pub format: Format,
    /// Where the event time stands.
    pub time: TimeField,
    /// Where the arrival time stands, for sources that do not carry one (files).
    pub arrival: Option<TimeField>,
    /// The fields whose values make the key; at least one.
    pub key: Vec<Path>,
    /// Who sent it: for statistics per source, and so that none of them is the crowd (`per_source`).
    pub source: Option<Path>,
}

/// A payload's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "text", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Format {
    /// One JSON object a record.
    Json,
}

/// A field that holds a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeField {
    /// Where it stands.
    pub field: Path,
    /// The unit of its numbers.
    pub unit: TimeUnit,
    /// Refuse numbers that look like another unit (seconds where milliseconds are declared).
    pub unit_check: bool,
}

/// The unit of a time field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "text", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TimeUnit {
    /// Seconds since the epoch.
    S,
    /// Milliseconds since the epoch.
    Ms,
    /// Microseconds since the epoch, rounded downwards to milliseconds.
    Us,
    /// Nanoseconds since the epoch, rounded downwards to milliseconds.
    Ns,
    /// Text like `2026-11-23T19:02:13.250Z` (RFC 3339).
    Rfc3339,
}

/// Where in event time results are computed. Windows are `[start, end)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Windowing {
    /// Windows of one size, one after the other.
    Fixed {
        /// Size in milliseconds, positive.
        size: TimeDelta,
        /// Start of one of the windows, `0 <= offset < size`.
        offset: TimeDelta,
    },
    /// Windows of one size that start at every period: they overlap where the period is shorter, and leave gaps where it
    /// is longer.
    Sliding {
        /// Size in milliseconds, positive.
        size: TimeDelta,
        /// From one start to the next, positive.
        every: TimeDelta,
        /// Start of one of the windows, `0 <= offset < every`.
        offset: TimeDelta,
    },
    /// Windows of one start that end step by step, up to the size.
    Cumulative {
        /// The longest window, a whole number of steps.
        size: TimeDelta,
        /// From one end to the next, positive.
        step: TimeDelta,
        /// Start of one of the windows, `0 <= offset < size`.
        offset: TimeDelta,
    },
    /// Windows between midnights, or other bounds of a civil calendar, in a time zone: a day has 23 to 25 hours.
    Calendar {
        /// How much of the calendar a window holds.
        every: CalendarUnit,
        /// Whose calendar.
        zone: Zone,
    },
    /// Per key, records that follow each other within the gap; they merge when a record joins them.
    Session {
        /// How long after its last record a session ends, positive.
        gap: TimeDelta,
        /// The record's own gap in milliseconds, 0 or more, where the field is there.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "canonical::there")]
        gap_field: Option<Path>,
        /// Whether `[0, 10)` and `[10, 20)` are one session.
        touching: Touching,
    },
    /// All of time in one window, which never ends but with the stream.
    Global,
}

/// A piece of the civil calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "text", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CalendarUnit {
    /// A civil hour; the one that a clock change repeats is two windows.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first to the first.
    Month,
}

/// A time zone as the engine needs it: its name, and its offsets from UTC over time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// IANA name, like `Asia/Tokyo`.
    pub name: String,
    /// Offset in seconds before the first change.
    pub first: i32,
    /// Changes: from this second since the epoch on, this offset in seconds. Ascending.
    pub changes: Vec<(i64, i32)>,
}

/// Whether sessions that touch are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "text", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Touching {
    /// `[0, 10)` and `[10, 20)` are two sessions.
    Separate,
    /// They are one.
    Merge,
}

/// What is made of the windows' rows: hours, and days where a zone says when they begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollup {
    /// Whose calendar days there are; the hours are that calendar's then. `None`: hours of UTC, and no days.
    pub day: Option<Zone>,
}

/// When panes are given out, and how they relate: the Dataflow model's 'when' and 'how'.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Panes {
    /// When a window gives out a pane.
    pub trigger: Trigger,
    /// How the panes of one window relate.
    pub accumulation: Accumulation,
    /// A pane's own time.
    pub timestamp: TimestampCombiner,
    /// Added to a time combined from records.
    pub timestamp_shift: TimeDelta,
    /// Whether the pane at the window's end comes out although nothing was added.
    pub on_time: Emission,
    /// Whether the last pane comes out although nothing was added.
    pub closing: Emission,
    /// Whether records that no trigger has given out come out when the window expires.
    pub flush_on_expiry: bool,
    /// What enters whole before any trigger is asked.
    pub bundle: Bundle,
    /// Most windows of keys open at once; a record that would open another is rejected.
    pub open_max: u32,
}

/// When a window gives out a pane. Nested at most [`limits::TRIGGER_NODES_MAX`] in all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Trigger {
    /// At the end of the window and at every later record; never finishes.
    Default,
    /// At the end of the window; before it as `early` says and after it as `late` says, each again and again.
    /// Finishes at the end of the window where `late` is absent.
    AfterWatermark {
        /// Before the end.
        early: Option<Box<Trigger>>,
        /// After it.
        late: Option<Box<Trigger>>,
    },
    /// Once this many records are in the pane.
    AfterCount {
        /// At least 1.
        count: u64,
    },
    /// So long after the pane's first record, by recorded ticks.
    AfterProcessingTime {
        /// Since the first record, 0 or more.
        delay_ms: i64,
        /// Then up to the next multiple of this.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "canonical::there")]
        align_ms: Option<i64>,
        /// Counted from here.
        #[serde(default, skip_serializing_if = "is_zero", deserialize_with = "canonical::not_zero")]
        align_offset_ms: i64,
    },
    /// Again and again.
    Repeatedly {
        /// What is repeated.
        trigger: Box<Trigger>,
    },
    /// One after the other.
    AfterEach {
        /// At least one.
        triggers: Vec<Trigger>,
    },
    /// When the first of them is ready.
    AfterAny {
        /// At least one.
        triggers: Vec<Trigger>,
    },
    /// When all of them have been ready.
    AfterAll {
        /// At least one.
        triggers: Vec<Trigger>,
    },
    /// As `main` says, until `until` has fired.
    OrFinally {
        /// What goes on.
        main: Box<Trigger>,
        /// What ends it.
        until: Box<Trigger>,
    },
    /// Whenever it is asked.
    Always,
    /// Never.
    Never,
    /// At every period of event time since the pane's first record, at the end of the window, and at every later record.
    EveryEventTime {
        /// Positive.
        period_ms: i64,
    },
}

impl Trigger {
    /// Whether it waits for processing time.
    pub fn needs_ticks(&self) -> bool {
        match self {
            Self::AfterProcessingTime { .. } => true,
            Self::AfterWatermark { early, late } => [early, late].into_iter().flatten().any(|t| t.needs_ticks()),
            Self::Repeatedly { trigger } => trigger.needs_ticks(),
            Self::AfterEach { triggers } | Self::AfterAny { triggers } | Self::AfterAll { triggers } => {
                triggers.iter().any(Self::needs_ticks)
            }
            Self::OrFinally { main, until } => main.needs_ticks() || until.needs_ticks(),
            Self::Default | Self::AfterCount { .. } | Self::Always | Self::Never | Self::EveryEventTime { .. } => false,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference over")]
fn is_zero(n: &i64) -> bool {
    *n == 0
}

/// How the panes of one window relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "text", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Accumulation {
    /// A pane holds what came since the last.
    Discarding,
    /// A pane holds all so far.
    Accumulating,
    /// A pane holds all so far, and the one before is taken back.
    Retracting,
}

/// A pane's own time. A record behind the watermark does not count for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "text", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TimestampCombiner {
    /// The last millisecond of the window.
    EndOfWindow,
    /// That of its earliest record.
    Earliest,
    /// That of its latest record.
    Latest,
}

/// Whether a pane without new records comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "text", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Emission {
    /// It does.
    Always,
    /// It does not.
    IfNonEmpty,
}

/// What enters whole before any trigger is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "text", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Bundle {
    /// Each record by itself: results do not depend on how a lane was cut into batches.
    Record,
    /// Each frame: whoever cuts the frames decides. For tests of a policy.
    Frame,
}

/// A number made of a row's columns when it is shown. Indexes are those of `Spec::measures`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Derived {
    /// Its name.
    pub name: String,
    /// How it is made.
    pub of: Formula,
}

/// How a number is made of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Formula {
    /// `sum / count`.
    Mean {
        /// Column of the sum.
        sum: u32,
        /// Column of how many values.
        count: u32,
    },
    /// `squares / count - (sum / count)^2`: that of the whole, not an estimate from a sample.
    Variance {
        /// Column of the sum.
        sum: u32,
        /// Column of how many values.
        count: u32,
        /// Column of the sum of squares.
        squares: u32,
    },
}

/// What a pane holds beside its columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// What is kept.
    pub what: Keep,
    /// Of which field.
    pub field: Path,
}

/// What is kept of a field's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Keep {
    /// The value of the earliest event time; of the first to come where two are as early.
    First,
    /// The value of the latest event time; of the last to come where two are as late.
    Last,
    /// The values in the order they came, at most so many; how many were left out is told.
    List {
        /// At least 1.
        most: u32,
    },
    /// How many different values, as an estimate of known error.
    Distinct,
    /// A quantile of the numbers, as an estimate of known error.
    Quantile {
        /// In thousandths, 0 to 1000.
        q_milli: u32,
    },
    /// The most frequent values with their counts, as an estimate of known error.
    TopK {
        /// How many, at least 1.
        k: u32,
    },
}

/// When event time is believed to be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watermark {
    /// What the watermark follows.
    pub strategy: Strategy,
    /// How far it stays behind, not negative.
    pub delay: TimeDelta,
    /// How far a device's clock may run ahead of the arrival time; `None` where nothing is refused for it.
    pub max_future: Option<TimeDelta>,
    /// What becomes of records beyond `max_future`.
    pub future: Future,
}

/// What a watermark follows, before its delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Strategy {
    /// The greatest event time. One fast clock carries it away.
    Max,
    /// A quantile of the last event times. Holds until the fraction `q` (for the median: half) of the sample lies.
    Quantile {
        /// The quantile in thousandths, 1 to 999; the median is 500.
        q_milli: u32,
        /// How many event times make the sample.
        sample: u32,
        /// No watermark before the sample holds this many.
        min_sample: u32,
        /// At most this many of the sample are one source's: its own oldest makes room for its next. `None`: no bound.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "canonical::there")]
        per_source: Option<u32>,
    },
    /// The greatest arrival time. Event times play no part.
    Arrival,
    /// What the source's watermark frames say; records move nothing.
    Given,
}

/// What becomes of a record whose clock is too far ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "text", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Future {
    /// A dead letter; it opens no window.
    Quarantine,
    /// Counted at the latest time allowed, arrival + `max_future`; it moves no watermark.
    Clamp,
    /// Counted where it says; it moves no watermark.
    Accept,
}

/// What becomes of records behind the watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Late {
    /// What is judged: the record's own time or its window.
    pub by: LateBy,
    /// How long after its end a window still takes records; only with `by = window`.
    pub allowed_lateness: TimeDelta,
    /// Where late records go.
    pub to: LateTo,
}

/// What lateness is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "text", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LateBy {
    /// Late as soon as its time is behind the watermark.
    Record,
    /// Late when its window has expired: end + allowed lateness <= watermark.
    Window,
}

/// Where late records go. Each is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "text", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LateTo {
    /// The late table: the same measures per key, window and arrival day.
    Table,
    /// Counted, and nothing else kept.
    Drop,
    /// The window's own row, as if in time.
    Accept,
    /// The dead letters, whole, so that they can be driven again.
    DeadLetters,
}

/// One column of the rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// The column's name.
    pub name: String,
    /// What is computed.
    pub op: Op,
    /// From which field. A count of a field counts the records where it is not null; one of none counts all.
    pub field: Option<Path>,
    /// How many decimals its numbers have: then 12.34 is 1,234 units of a hundredth. `None` for integers.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "canonical::there")]
    pub scale: Option<u32>,
}

impl Measure {
    /// How many decimals its column has: 1,234 is 12.34 where there are two. The square of hundredths is one of
    /// ten-thousandths.
    pub fn decimals(&self) -> u32 {
        match self.op {
            Op::Count => 0,
            Op::Squares => 2 * self.scale.unwrap_or(0),
            Op::Sum | Op::Min | Op::Max => self.scale.unwrap_or(0),
        }
    }
}

/// What a measure computes, on integers, exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Op {
    /// How many records.
    Count,
    /// Their sum.
    Sum,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// The sum of the values' squares.
    Squares,
}

/// Bounds on what strangers can make us keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Longest record in bytes; a longer one is rejected as `too_long`.
    pub record_bytes: u32,
    /// Longest key in bytes of its canonical text; a longer one is rejected as `key_too_long`.
    pub key_bytes: u32,
    /// At most this many bytes of a record go into its dead letter.
    pub dead_letter_bytes: u32,
    /// So many keys of a window have rows of their own, in each lane; records of further keys count in the window's
    /// overflow row. `None`: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "canonical::there")]
    pub keys_per_window: Option<u32>,
}

impl Policy {
    /// Checks a spec as a whole.
    pub fn new(spec: Spec) -> Result<Self, PolicyError> {
        if let Some(first) = validate::problems(&spec).into_iter().next() {
            return Err(first);
        }
        let canonical = canonical::write(&spec);
        Ok(Self { digest: Sha256::digest(&canonical).into(), spec, canonical })
    }

    /// Reads the canonical form, and nothing else: text in other order or with other spaces is refused.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, PolicyError> {
        let spec: Spec = canonical::read(bytes).map_err(|detail| PolicyError::NotCanonical { detail })?;
        match validate::problems(&spec).into_iter().next() {
            Some(first) => Err(first),
            // What the reader takes is what would be written: no second form of a policy gets another digest.
            None => Ok(Self { digest: Sha256::digest(bytes).into(), spec, canonical: bytes.to_vec() }),
        }
    }

    /// All of it.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Whether processing time plays a part: then whoever runs it records ticks.
    pub fn needs_ticks(&self) -> bool {
        self.spec.panes.as_ref().is_some_and(|p| p.trigger.needs_ticks())
    }

    /// Which computed field a path means.
    #[inline(never)]
    pub(crate) fn computed(&self, path: &Path) -> Option<usize> {
        let [name] = path.as_slice() else { return None };
        self.spec.fields.iter().position(|f| f.name == *name)
    }

    /// Whether windows of one key may become one.
    pub fn merges(&self) -> bool {
        matches!(self.spec.window, Windowing::Session { .. })
    }

    /// The column that says how many records a row counts, where each counted record is in one main row as soon as a
    /// flush has given it out: neither windows that overlap nor ones that wait for triggers have it.
    pub fn count_column(&self) -> Option<usize> {
        let once = matches!(self.spec.window, Windowing::Fixed { .. } | Windowing::Calendar { .. } | Windowing::Global);
        let count = |m: &Measure| m.op == Op::Count && m.field.is_none();
        if once && self.spec.panes.is_none() { self.spec.measures.iter().position(count) } else { None }
    }

    /// The canonical form: compact JSON, every field, fixed order.
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// SHA-256 of the canonical form: the policy's identity.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// What names the rows: policy name, windows, keys and measures, and the filter and computed fields where there are
    /// some, as the first 8 bytes of their SHA-256.
    pub fn shape(&self) -> [u8; 8] {
        let s = &self.spec;
        let mut rows = canonical::write(&(&s.policy, &s.window, &s.input.key, &s.measures));
        if s.filter.is_some() || !s.fields.is_empty() {
            rows.extend(canonical::write(&(&s.filter, &s.fields)));
        }
        let digest: [u8; 32] = Sha256::digest(&rows).into();
        core::array::from_fn(|i| digest[i])
    }
}
