//! `[rollup]` as types.

use super::True;
use crate::policy::{Rollup, Zone};
use schemars::JsonSchema;
use serde::Serialize;

/// Rows of hours and days, made of the windows' rows. Exact, so only for fixed windows of 1m or more that divide the hour
/// and have no offset, and for measures that add up or are extremes (means and variances by their columns).
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "rollup")]
pub(super) struct RollupDocument {
    /// Rows of hours: those of UTC, or of the days' zone where there are days.
    hour: True,
    /// Rows of calendar days too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DayDocument", default)]
    day: Option<DayDocument>,
}

/// Days from midnight to midnight in a time zone, of 23 to 25 hours where clocks change. Hours begin with that zone's hours
/// (at half past of UTC in `Asia/Kolkata`), and end where its clocks change, so that each lies in one day.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "day")]
struct DayDocument {
    /// IANA name of the time zone, whose clocks differ from UTC by whole windows and change between them. Its clock changes
    /// are known from 1970 to 2099, become part of the policy, and so of its identity.
    #[schemars(length(min = 1), example = &"Asia/Tokyo")]
    zone: String,
}

impl RollupDocument {
    pub(super) fn of(r: &Rollup) -> Self {
        let day = r.day.as_ref().map(|Zone { name, .. }| DayDocument { zone: name.clone() });
        Self { hour: True, day }
    }
}
