//! Which windows and measures make hours and days that are exact.
//!
//! ```text
//! windows    |--|--|--|--|--|--|--|--|      each lies in one hour, each hour in one day
//! hours      |-----------|-----------|
//! days       |-----------------------|
//! ```
//! Not here: the hours and days themselves (`crate::rollup`).

use super::{Problems, limits, quoted};
use crate::policy::duration::Written;
use crate::policy::{Spec, Windowing, Zone};
use crate::time::TimeDelta;

const HOUR_AT: &str = "rollup.hour";
const DAY_AT: &str = "rollup.day.zone";
const HOUR_MS: i64 = 3_600_000;
const WINDOWS: &str =
    "fixed windows of 1m or more that divide the hour: an hour is what its windows add up to, with a place for each";

impl Problems {
    pub(super) fn rollup(&mut self, s: &Spec) {
        let Some(rollup) = &s.rollup else { return };
        let (size, offset) = match &s.window {
            Windowing::Fixed { size, offset } => (size.as_millis(), *offset),
            other => return self.value(HOUR_AT, kind(other), WINDOWS),
        };
        if size <= 0 {
            // Refused for itself.
            return;
        }
        if size < limits::ROLLUP_WINDOW_MS_MIN || HOUR_MS % size != 0 {
            return self.value(HOUR_AT, format!("windows of {}", Written(TimeDelta::from_millis(size))), WINDOWS);
        }
        if offset != TimeDelta::ZERO {
            let found = format!("windows offset by {}", Written(offset));
            self.value(HOUR_AT, found, "windows without an offset: one would lie in two hours");
        }
        if let Some(kept) = s.kept.first() {
            let expected = "measures that add up, and least and greatest values: hours cannot be made of others";
            self.value(HOUR_AT, format!("`measures.{}`", kept.name), expected);
        }
        if let Some(zone) = &rollup.day {
            self.zone(DAY_AT, zone);
            self.whole_windows(zone, size);
        }
    }

    /// A window that lay on both sides of an hour's bound would belong to neither.
    fn whole_windows(&mut self, zone: &Zone, size_ms: i64) {
        let parts = |seconds: i64| i128::from(seconds) * 1_000 % i128::from(size_ms) != 0;
        let offsets = core::iter::once(zone.first).chain(zone.changes.iter().map(|(_, offset)| *offset));
        let written = |seconds: i64| Written(TimeDelta::from_millis(seconds.saturating_mul(1_000)));
        let size = Written(TimeDelta::from_millis(size_ms));
        let name = quoted(&zone.name);
        let expected =
            format!("a zone whose clocks differ from UTC by whole windows of {size}, and change between them");
        if let Some(offset) = offsets.map(i64::from).find(|offset| parts(*offset)) {
            let found = format!("{name}, whose clocks are or were {} from UTC", written(offset));
            self.value(DAY_AT, found, expected);
        } else if let Some((at, _)) = zone.changes.iter().find(|(at, _)| parts(*at)) {
            let into = written(at.rem_euclid(HOUR_MS / 1_000));
            self.value(DAY_AT, format!("{name}, whose clocks once changed {into} past the hour of UTC"), expected);
        }
    }
}

fn kind(w: &Windowing) -> &'static str {
    match w {
        Windowing::Fixed { .. } => "fixed windows",
        Windowing::Sliding { .. } => "sliding windows, which overlap",
        Windowing::Cumulative { .. } => "cumulative windows, which overlap",
        Windowing::Calendar { .. } => "windows of a calendar",
        Windowing::Session { .. } => "sessions, which reach over hours",
        Windowing::Global => "one window over all of time",
    }
}
