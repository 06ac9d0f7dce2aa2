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
pub mod duration;
mod validate;

#[cfg(feature = "text")]
mod explain;
#[cfg(feature = "text")]
pub mod text;

use crate::time::TimeDelta;
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
    shape: [u8; 8],
}

/// Every field of a policy with its defaults filled in: the canonical form is this struct as compact JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Version of the canonical form; 1.
    pub v: u32,
    /// The policy's name: letters, digits, `_` and `-`.
    pub policy: String,
    /// How records become events.
    pub input: Input,
    /// Where in event time results are computed.
    pub window: Windowing,
    /// When event time is believed to be complete.
    pub watermark: Watermark,
    /// What becomes of records behind the watermark.
    pub late: Late,
    /// What is computed, in the order of the rows' columns.
    pub measures: Vec<Measure>,
    /// Bounds on what strangers can make us keep.
    pub limits: Limits,
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
    /// Who sent it: for statistics per source.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    },
    /// The greatest arrival time. Event times play no part.
    Arrival,
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
}

/// One column of the rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// The column's name.
    pub name: String,
    /// What is computed.
    pub op: Op,
    /// From which field; `None` for `count`.
    pub field: Option<Path>,
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
}

impl Policy {
    /// Checks a spec as a whole.
    pub fn new(spec: Spec) -> Result<Self, PolicyError> {
        if let Some(first) = validate::problems(&spec).into_iter().next() {
            return Err(first);
        }
        let canonical = canonical::write(&spec);
        let digest = Sha256::digest(&canonical).into();
        let rows = canonical::write(&(&spec.policy, &spec.window, &spec.input.key, &spec.measures));
        let shape: [u8; 32] = Sha256::digest(&rows).into();
        let shape = core::array::from_fn(|i| shape[i]);
        Ok(Self { spec, canonical, digest, shape })
    }

    /// Reads the canonical form, and nothing else: text in other order or with other spaces is refused.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, PolicyError> {
        let spec: Spec = canonical::read(bytes).map_err(|detail| PolicyError::NotCanonical { detail })?;
        let policy = Self::new(spec)?;
        if policy.canonical != bytes {
            return Err(PolicyError::NotCanonical { detail: String::from("fields in other order or other spaces") });
        }
        Ok(policy)
    }

    /// All of it.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The canonical form: compact JSON, every field, fixed order.
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// SHA-256 of the canonical form: the policy's identity.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// What names the rows: policy name, windows, keys and measures, as the first 8 bytes of their SHA-256.
    pub fn shape(&self) -> &[u8; 8] {
        &self.shape
    }
}
