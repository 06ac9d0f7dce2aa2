//! What makes a spec a policy: the rules that hold over all of its fields.
//!
//! Every refusal names the field by its path in people's text, what was found and what would be right, so that `text`
//! can point at the place.

use super::{LateBy, Op, Path, Spec, Strategy, Windowing};
use crate::time::TimeDelta;
use alloc::string::String;

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
    /// Deepest path of a field.
    pub const PATH_DEPTH_MAX: usize = 16;
    /// Longest name of a field, in bytes.
    pub const FIELD_BYTES_MAX: usize = 256;
    /// Longest window, delay, lateness or future: 10 years of 366 days.
    pub const SPAN_MAX: TimeDelta = TimeDelta::from_mins(3_660 * 24 * 60);
    /// Largest sample of the quantile watermark: the sample is part of the state kept with a lane's head.
    pub const SAMPLE_MAX: u32 = 2_001;
    /// Longest record, in bytes.
    pub const RECORD_BYTES_MAX: u32 = 16 << 20;
    /// Longest key text, in bytes: a DynamoDB partition key holds 2,048 with our prefix.
    pub const KEY_BYTES_MAX: u32 = 1_900;
    /// Most bytes of a record in its dead letter: a DynamoDB item holds 400 KB.
    pub const DEAD_LETTER_BYTES_MAX: u32 = 256 << 10;
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
}

fn refuse(field: &str, found: impl core::fmt::Display, expected: &str) -> PolicyError {
    use alloc::string::ToString;
    PolicyError::Value { field: field.into(), found: found.to_string(), expected: expected.into() }
}

/// The rules over a whole spec.
pub(super) fn validate(s: &Spec) -> Result<(), PolicyError> {
    use alloc::format;
    if s.v != limits::CANONICAL_VERSION {
        return Err(refuse("v", s.v, "1, the version of the canonical form that this engine reads"));
    }
    name("policy", &s.policy)?;
    path("input.time.field", &s.input.time.field)?;
    if let Some(a) = &s.input.arrival {
        path("input.arrival.field", &a.field)?;
    }
    if let Some(p) = &s.input.source {
        path("input.source", p)?;
    }
    let keys = s.input.key.len();
    if keys == 0 || keys > limits::KEY_FIELDS_MAX {
        return Err(refuse("input.key", format!("{keys} fields"), "1 to 16 fields"));
    }
    for (i, p) in s.input.key.iter().enumerate() {
        path("input.key", p)?;
        if s.input.key[..i].contains(p) {
            return Err(refuse("input.key", format!("`{}` twice", p.join(".")), "each field once"));
        }
    }
    match s.window {
        Windowing::Fixed { size, offset } => {
            span("window.fixed", size, 1)?;
            if offset < TimeDelta::ZERO || offset >= size {
                return Err(refuse("window.offset", ms(offset), "0 or more and less than the window's size"));
            }
        }
    }
    span("watermark.delay", s.watermark.delay, 0)?;
    if let Some(f) = s.watermark.max_future {
        span("watermark.max_future", f, 0)?;
    }
    if let Strategy::Quantile { q_milli, sample, min_sample } = s.watermark.strategy {
        if q_milli == 0 || q_milli >= 1_000 {
            return Err(refuse("watermark.quantile", format!("{}/1000", q_milli), "between 0.001 and 0.999"));
        }
        if sample == 0 || sample > limits::SAMPLE_MAX {
            return Err(refuse("watermark.sample", sample, "1 to 2001 event times"));
        }
        if min_sample == 0 || min_sample > sample {
            return Err(refuse("watermark.min_sample", min_sample, "1 up to the sample's size"));
        }
    }
    span("late.allowed_lateness", s.late.allowed_lateness, 0)?;
    if s.late.by == LateBy::Record && s.late.allowed_lateness != TimeDelta::ZERO {
        return Err(refuse(
            "late.allowed_lateness",
            ms(s.late.allowed_lateness),
            "0s where late.by is \"record\": a record is late as soon as it is behind the watermark; use late.by = \"window\"",
        ));
    }
    let n = s.measures.len();
    if n == 0 || n > limits::MEASURES_MAX {
        return Err(refuse("measures", format!("{n} measures"), "1 to 32 measures"));
    }
    for (i, m) in s.measures.iter().enumerate() {
        let at = format!("measures.{}", m.name);
        name(&at, &m.name)?;
        if s.measures[..i].iter().any(|o| o.name == m.name) {
            return Err(refuse(&at, "the name twice", "each measure's name once"));
        }
        match (m.op, &m.field) {
            (Op::Count, None) => {}
            (Op::Count, Some(_)) => return Err(refuse(&at, "a field for count", "\"count\" alone: it counts records")),
            (_, None) => return Err(refuse(&at, "no field", "a field, like { sum = \"impressions\" }")),
            (_, Some(p)) => path(&at, p)?,
        }
    }
    prefixes(s)?;
    let l = &s.limits;
    bound("limits.record_bytes", l.record_bytes, limits::RECORD_BYTES_MAX)?;
    bound("limits.key_bytes", l.key_bytes, limits::KEY_BYTES_MAX)?;
    bound("limits.dead_letter_bytes", l.dead_letter_bytes, limits::DEAD_LETTER_BYTES_MAX)
}

/// All the paths that a spec wants of a record, with the field that wants them; unsorted, duplicates included.
pub(crate) fn wanted(s: &Spec) -> impl Iterator<Item = (&'static str, &Path)> {
    let i = &s.input;
    core::iter::once(("input.time.field", &i.time.field))
        .chain(i.arrival.iter().map(|a| ("input.arrival.field", &a.field)))
        .chain(i.key.iter().map(|p| ("input.key", p)))
        .chain(i.source.iter().map(|p| ("input.source", p)))
        .chain(s.measures.iter().filter_map(|m| m.field.as_ref().map(|p| ("measures", p))))
}

// A value cannot be both a number and an object that holds another wanted value.
fn prefixes(s: &Spec) -> Result<(), PolicyError> {
    for (at, p) in wanted(s) {
        if let Some((_, q)) = wanted(s).find(|(_, q)| q.len() > p.len() && q[..p.len()] == p[..]) {
            return Err(refuse(
                at,
                p.join("."),
                &alloc::format!("a field that is not an object: `{}` is wanted too", q.join(".")),
            ));
        }
    }
    Ok(())
}

fn name(at: &str, n: &str) -> Result<(), PolicyError> {
    let ok = !n.is_empty()
        && n.len() <= limits::NAME_BYTES_MAX
        && n.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        && n.as_bytes()[0].is_ascii_alphabetic();
    if ok {
        return Ok(());
    }
    Err(refuse(at, alloc::format!("`{n}`"), "a name of 1 to 64 letters, digits, `_` or `-` that begins with a letter"))
}

fn path(at: &str, p: &Path) -> Result<(), PolicyError> {
    if p.is_empty()
        || p.len() > limits::PATH_DEPTH_MAX
        || p.iter().any(|f| f.is_empty() || f.len() > limits::FIELD_BYTES_MAX)
    {
        return Err(refuse(
            at,
            alloc::format!("`{}`", p.join(".")),
            "a field name, or names joined by dots, at most 16 deep and 256 bytes each",
        ));
    }
    Ok(())
}

fn span(at: &str, d: TimeDelta, least_ms: i64) -> Result<(), PolicyError> {
    if d.as_millis() < least_ms || d > limits::SPAN_MAX {
        let expected = if least_ms > 0 { "a positive time up to 3660d" } else { "a time from 0s to 3660d" };
        return Err(refuse(at, ms(d), expected));
    }
    Ok(())
}

fn bound(at: &str, n: u32, most: u32) -> Result<(), PolicyError> {
    if n == 0 || n > most {
        return Err(refuse(at, n, &alloc::format!("1 to {most} bytes")));
    }
    Ok(())
}

fn ms(d: TimeDelta) -> String {
    alloc::format!("{} ms", d.as_millis())
}
