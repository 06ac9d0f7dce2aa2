//! `[window]` as types.

use super::super::walk::defaults;
use super::{Duration, PathDocument, True, not_both};
use crate::policy::{CalendarUnit, Touching, Windowing, Zone};
use crate::time::TimeDelta;
use schemars::JsonSchema;
use serde::Serialize;

/// Where in event time results are computed: one kind of windows. Windows are half-open: `[start, end)`. Those that are
/// no sessions and follow no calendar are counted from 1970-01-01T00:00:00Z.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "window", extend("oneOf" = kinds(), "allOf" = without_offset()))]
pub(super) struct WindowDocument {
    /// Windows of one size, one after the other. From 1ms to 3660d.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Duration", default, example = &"1m")]
    fixed: Option<Duration>,
    /// Windows of one size that start at every period: they overlap where the period is shorter, and leave gaps where
    /// it is longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Sliding", default)]
    sliding: Option<Sliding>,
    /// Windows of one start that end step by step, up to the size.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Cumulative", default)]
    cumulative: Option<Cumulative>,
    /// Per key, records that follow each other within a gap.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Session", default)]
    session: Option<Session>,
    /// Windows between the bounds of a civil calendar in a time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Calendar", default)]
    calendar: Option<Calendar>,
    /// All of time in one window, which ends with the stream and never before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "True", default)]
    global: Option<True>,
    /// Shifts the starts of fixed, sliding and cumulative windows; less than the size, or than `every`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Duration", default, extend("default" = Duration::zero()))]
    offset: Option<Duration>,
}

/// Windows of one size that start at every period.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "sliding")]
struct Sliding {
    /// How long they are. From 1ms to 3660d.
    #[schemars(example = &"10m")]
    size: Duration,
    /// From one start to the next. At most 1000 windows may hold one instant.
    #[schemars(example = &"1m")]
    every: Duration,
}

/// Windows of one start that end step by step.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "cumulative")]
struct Cumulative {
    /// The longest; a whole number of steps, at most 1000.
    #[schemars(example = &"1d")]
    size: Duration,
    /// From one end to the next.
    #[schemars(example = &"1h")]
    step: Duration,
}

/// Records of a key that follow each other within a gap. A record that comes between two sessions makes them one.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "session")]
struct Session {
    /// How long after its last record a session ends. From 1ms to 3660d.
    #[schemars(example = &"30s")]
    gap: Duration,
    /// Where a record's own gap stands, in milliseconds, 0 or more. Records without one have `gap`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PathDocument", default, example = &"gap_ms")]
    gap_field: Option<PathDocument>,
    /// Whether sessions that touch are one.
    #[schemars(default = "Self::touching")]
    touching: Touching,
}

/// Windows between the bounds of a civil calendar: a day has 23 to 25 hours where clocks change.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "calendar")]
struct Calendar {
    /// How much of the calendar a window holds.
    every: CalendarUnit,
    /// IANA name of the time zone. Its clock changes are known from 1970 to 2099, become part of the policy, and so of
    /// its identity.
    #[schemars(length(min = 1), example = &"Asia/Tokyo")]
    zone: String,
}

impl Session {
    fn touching() -> Touching {
        defaults::TOUCHING
    }
}

impl WindowDocument {
    pub(super) fn of(w: &Windowing) -> Self {
        let none = Self::default();
        let offset = |d: &TimeDelta| Some(Duration(*d));
        match w {
            Windowing::Fixed { size, offset: o } => Self { fixed: Some(Duration(*size)), offset: offset(o), ..none },
            Windowing::Sliding { size, every, offset: o } => {
                let sliding = Sliding { size: Duration(*size), every: Duration(*every) };
                Self { sliding: Some(sliding), offset: offset(o), ..none }
            }
            Windowing::Cumulative { size, step, offset: o } => {
                let cumulative = Cumulative { size: Duration(*size), step: Duration(*step) };
                Self { cumulative: Some(cumulative), offset: offset(o), ..none }
            }
            Windowing::Session { gap, gap_field, touching } => {
                let gap_field = gap_field.as_ref().map(PathDocument::of);
                Self { session: Some(Session { gap: Duration(*gap), gap_field, touching: *touching }), ..none }
            }
            Windowing::Calendar { every, zone: Zone { name, .. } } => {
                Self { calendar: Some(Calendar { every: *every, zone: name.clone() }), ..none }
            }
            Windowing::Global => Self { global: Some(True), ..none },
        }
    }
}

// Each of them alone.
fn kinds() -> Vec<serde_json::Value> {
    let kinds = super::super::walk::WINDOW_KINDS.iter();
    kinds.map(|kind| serde_json::json!({ "required": [kind] })).collect()
}

fn without_offset() -> Vec<serde_json::Value> {
    not_both(&[["offset", "session"], ["offset", "calendar"], ["offset", "global"]])
}
