//! Windows between the bounds of a civil calendar in a time zone.
//!
//! ```text
//! UTC  ----|change: offset 1 h -> 2 h|----         local time jumps from 02:00 to 03:00: that day has 23 hours
//! ```
//! A bound is the first instant whose local time is at or past it: where a clock change skips midnight, the day starts
//! with the change; where one repeats it, with the first of the two.
//!
//! Invariants
//! - Windows of one unit and zone lie side by side: each instant is in exactly one.
//! - An hour ends where the offset changes, so that a repeated civil hour is two windows.
//!
//! Dates: H. Hinnant, 'chrono-compatible low-level date algorithms' (days from and to civil, proleptic Gregorian).
//! Not here: where a zone's offsets come from (`policy::text`).

use super::Window;
use crate::decode::TIME_MS_MAX;
use crate::policy::{CalendarUnit, Zone};
use crate::time::EventTime;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// The window that holds `t`.
pub(super) fn assign(every: CalendarUnit, zone: &Zone, t: EventTime) -> Window {
    // No calendar reaches further; what lies beyond is in its first or last window.
    let t = t.as_millis().clamp(-TIME_MS_MAX, TIME_MS_MAX);
    let local = t.saturating_add(offset_at(zone, t));
    let mut day = match every {
        CalendarUnit::Hour => return hour(zone, t, local),
        CalendarUnit::Day => local.div_euclid(DAY),
        // 1970-01-01 was a Thursday.
        CalendarUnit::Week => local.div_euclid(DAY) - (local.div_euclid(DAY) + 3).rem_euclid(7),
        CalendarUnit::Month => first_of_month(local.div_euclid(DAY)),
    };
    let next = |day: i64| match every {
        CalendarUnit::Week => day + 7,
        CalendarUnit::Month => first_of_month(day + 31),
        _ => day + 1,
    };
    // Local days that a change at midnight repeats belong to the later one.
    while t >= utc(zone, next(day)) {
        day = next(day);
    }
    Window { start: EventTime::from_millis(utc(zone, day)), end: EventTime::from_millis(utc(zone, next(day))) }
}

fn hour(zone: &Zone, t: i64, local: i64) -> Window {
    let start = t.saturating_sub(local.rem_euclid(HOUR));
    let end = start.saturating_add(HOUR);
    let after = zone.changes.partition_point(|(at, _)| at.saturating_mul(1_000) <= t);
    let began = if after == 0 { i64::MIN } else { zone.changes[after - 1].0.saturating_mul(1_000) };
    let ends = zone.changes.get(after).map_or(i64::MAX, |(at, _)| at.saturating_mul(1_000));
    Window { start: EventTime::from_millis(start.max(began)), end: EventTime::from_millis(end.min(ends)) }
}

/// Offset from UTC in milliseconds.
fn offset_at(zone: &Zone, t: i64) -> i64 {
    let after = zone.changes.partition_point(|(at, _)| at.saturating_mul(1_000) <= t);
    offset(zone, after)
}

fn offset(zone: &Zone, after: usize) -> i64 {
    let seconds = if after == 0 { zone.first } else { zone.changes[after - 1].1 };
    i64::from(seconds) * 1_000
}

/// The first instant at which a day begins.
fn utc(zone: &Zone, day: i64) -> i64 {
    let midnight = day.saturating_mul(DAY);
    // Offsets are below a day, so only changes near may matter.
    let near = zone.changes.partition_point(|(at, _)| at.saturating_mul(1_000) <= midnight.saturating_sub(2 * DAY));
    let mut after = near;
    loop {
        let at = midnight.saturating_sub(offset(zone, after));
        let began = if after == 0 { i64::MIN } else { zone.changes[after - 1].0.saturating_mul(1_000) };
        let ends = zone.changes.get(after).map_or(i64::MAX, |(at, _)| at.saturating_mul(1_000));
        // Before this offset began the clock was behind it, after it midnight was skipped.
        if at < ends {
            return at.max(began);
        }
        after += 1;
    }
}

/// The day on which the month of a day begins. Days count from 1970-01-01.
fn first_of_month(day: i64) -> i64 {
    let shifted = day + 719_468;
    let era_day = shifted.rem_euclid(146_097);
    let year = (era_day - era_day / 1_460 + era_day / 36_524 - era_day / 146_096) / 365;
    let year_day = era_day - (365 * year + year / 4 - year / 100);
    let month = (5 * year_day + 2) / 153;
    day - (year_day - (153 * month + 2) / 5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec;

    /// Berlin in 2026: summer time from March 29 to October 25, both at 01:00 UTC.
    fn berlin() -> Zone {
        Zone {
            name: String::from("Europe/Berlin"),
            first: 3_600,
            changes: vec![(1_774_746_000, 7_200), (1_792_890_000, 3_600)],
        }
    }

    fn length(every: CalendarUnit, zone: &Zone, t: i64) -> (i64, i64) {
        let w = assign(every, zone, EventTime::from_millis(t));
        assert!(w.holds(EventTime::from_millis(t)));
        (w.start.as_millis(), (w.end - w.start).as_millis())
    }

    #[test]
    fn days_of_a_clock_change_have_23_and_25_hours() {
        let zone = berlin();
        let spring = 1_774_746_000_000;
        assert_eq!(length(CalendarUnit::Day, &zone, spring), (spring - 2 * HOUR, 23 * HOUR));
        let autumn = 1_792_890_000_000;
        assert_eq!(length(CalendarUnit::Day, &zone, autumn), (autumn - 3 * HOUR, 25 * HOUR));
        assert_eq!(length(CalendarUnit::Day, &zone, autumn + DAY).1, DAY);
        assert_eq!(length(CalendarUnit::Week, &zone, autumn).1, 7 * DAY + HOUR);
        assert_eq!(length(CalendarUnit::Month, &zone, spring).1, 31 * DAY - HOUR);
        assert_eq!(length(CalendarUnit::Hour, &zone, autumn - 1), (autumn - HOUR, HOUR));
        assert_eq!(length(CalendarUnit::Hour, &zone, autumn), (autumn, HOUR));
    }

    #[test]
    fn a_midnight_that_does_not_exist_is_the_change() {
        // Clocks go from 00:00 to 01:00.
        let zone = Zone { name: String::from("x"), first: -10_800, changes: vec![(3 * 3_600, -7_200)] };
        assert_eq!(length(CalendarUnit::Day, &zone, 3 * HOUR), (3 * HOUR, 23 * HOUR));
        assert_eq!(length(CalendarUnit::Day, &zone, 3 * HOUR - 1), (3 * HOUR - DAY, DAY));
    }

    #[test]
    fn a_midnight_that_comes_twice_ends_its_day_the_first_time() {
        // Clocks go from 00:30 back to 23:30.
        let half = HOUR / 2;
        let zone = Zone { name: String::from("x"), first: 0, changes: vec![(1_800, -3_600)] };
        assert_eq!(length(CalendarUnit::Day, &zone, half - 1), (0, 25 * HOUR));
        assert_eq!(length(CalendarUnit::Day, &zone, half), (0, 25 * HOUR));
        assert_eq!(length(CalendarUnit::Day, &zone, -1), (-DAY, DAY));
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first() {
        let zone = Zone { name: String::from("UTC"), first: 0, changes: vec![] };
        let monday = 4 * DAY;
        assert_eq!(length(CalendarUnit::Week, &zone, monday), (monday, 7 * DAY));
        assert_eq!(length(CalendarUnit::Week, &zone, monday - 1), (monday - 7 * DAY, 7 * DAY));
        // February of 2000, 2023, 2024 and 1900; December of 1969.
        for (t, days) in [
            (951_782_400_000, 29),
            (1_676_000_000_000, 28),
            (1_708_000_000_000, 29),
            (-2_205_000_000_000, 28),
            (-1, 31),
        ] {
            assert_eq!(length(CalendarUnit::Month, &zone, t).1, days * DAY, "{t}");
        }
    }

    #[test]
    fn windows_lie_side_by_side() {
        let zone = berlin();
        for every in [CalendarUnit::Hour, CalendarUnit::Day, CalendarUnit::Week, CalendarUnit::Month] {
            let mut at = EventTime::from_millis(1_770_000_000_000);
            for _ in 0..400 {
                let w = assign(every, &zone, at);
                assert_eq!(w.start, assign(every, &zone, w.start).start);
                let next = assign(every, &zone, w.end);
                assert_eq!(next.start, w.end, "{every:?}");
                at = w.end;
            }
        }
    }

    #[test]
    fn the_ends_of_time_lie_in_the_last_windows() {
        for t in [i64::MIN, i64::MAX] {
            for every in [CalendarUnit::Hour, CalendarUnit::Day, CalendarUnit::Week, CalendarUnit::Month] {
                let w = assign(every, &berlin(), EventTime::from_millis(t));
                assert!(w.start <= w.end, "{every:?} {t}");
            }
        }
    }
}
