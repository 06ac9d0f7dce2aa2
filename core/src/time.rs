//! Two clocks, two types, one kind of distance.
//!
//! `EventTime` says when something happened, `ArrivalTime` when the source received it (Kinesis'
//! `ApproximateArrivalTimestamp`, a field of the record). Both count milliseconds UTC since 1970-01-01, negative before.
//!
//! Invariants
//! - A bare `i64` is never a time: units are in the constructors' names.
//! - Arithmetic saturates at the ends of the 64-bit range: a time near ±2^63 stays an extreme time and never wraps.
//!
//! Not here: text forms of times (`policy::duration`, `render`), windows (`window`).

use core::ops::{Add, Sub};
use serde::{Deserialize, Serialize};

/// When it happened, as the device says. Milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventTime(i64);

/// When the source received it. Milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ArrivalTime(i64);

/// A distance between two times of one clock, in milliseconds; may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimeDelta(i64);

impl EventTime {
    /// The earliest time that can be said; as a watermark: nothing is known yet.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest time that can be said; as a watermark: nothing more will come.
    pub const MAX: Self = Self(i64::MAX);

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[inline]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[inline]
    pub const fn as_millis(self) -> i64 {
        self.0
    }
}

impl ArrivalTime {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[inline]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[inline]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Read as an event time: an event that arrives now cannot honestly have happened later.
    #[inline]
    pub const fn as_event_time(self) -> EventTime {
        EventTime(self.0)
    }

    /// Whole days since 1970-01-01 UTC, rounded downwards.
    pub const fn day(self) -> i64 {
        self.0.div_euclid(TimeDelta::DAY.0)
    }
}

impl TimeDelta {
    /// No distance.
    pub const ZERO: Self = Self(0);
    /// 24 hours. A calendar day may be longer or shorter; this one is not a calendar's.
    pub const DAY: Self = Self(86_400_000);

    /// A distance in milliseconds.
    #[inline]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// A distance in seconds.
    pub const fn from_secs(s: i64) -> Self {
        Self(s.saturating_mul(1_000))
    }

    /// A distance in minutes.
    pub const fn from_mins(m: i64) -> Self {
        Self(m.saturating_mul(60_000))
    }

    /// The distance in milliseconds.
    #[inline]
    pub const fn as_millis(self) -> i64 {
        self.0
    }
}

impl Add<TimeDelta> for EventTime {
    type Output = Self;
    #[inline]
    fn add(self, d: TimeDelta) -> Self {
        Self(self.0.saturating_add(d.0))
    }
}

impl Sub<TimeDelta> for EventTime {
    type Output = Self;
    #[inline]
    fn sub(self, d: TimeDelta) -> Self {
        Self(self.0.saturating_sub(d.0))
    }
}

impl Sub for EventTime {
    type Output = TimeDelta;
    #[inline]
    fn sub(self, other: Self) -> TimeDelta {
        TimeDelta(self.0.saturating_sub(other.0))
    }
}

impl Add<TimeDelta> for ArrivalTime {
    type Output = Self;
    #[inline]
    fn add(self, d: TimeDelta) -> Self {
        Self(self.0.saturating_add(d.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_at_the_ends_stay_there() {
        assert_eq!(EventTime::MAX + TimeDelta::from_mins(1), EventTime::MAX);
        assert_eq!(EventTime::MIN - TimeDelta::from_mins(1), EventTime::MIN);
        assert_eq!((EventTime::MAX - EventTime::MIN).as_millis(), i64::MAX);
    }

    #[test]
    fn a_day_before_1970_is_a_negative_day() {
        assert_eq!(ArrivalTime::from_millis(-1).day(), -1);
        assert_eq!(ArrivalTime::from_millis(0).day(), 0);
        assert_eq!(ArrivalTime::from_millis(86_400_000).day(), 1);
    }
}
