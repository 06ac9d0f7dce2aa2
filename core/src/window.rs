//! Where in event time a record belongs.
//!
//! ```text
//! |---------|---------|---------|     fixed: [start, start + size), start = offset (mod size)
//! ```
//! Invariants
//! - Windows are half-open; `start < end`; the window assigned to `t` holds `t`.
//! - Division goes downwards, so times before 1970 fall into the right window.
//! - Near the ends of the 64-bit range bounds saturate and never wrap.
//!
//! Not here: whether a window still takes records (`watermark`, `engine`).

use crate::policy::Windowing;
use crate::time::EventTime;

/// An interval of event time, `[start, end)`. Ordered by end, then start: the order in which windows close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First instant inside.
    pub start: EventTime,
    /// First instant after.
    pub end: EventTime,
}

impl Window {
    /// Whether `t` lies inside.
    pub fn holds(&self, t: EventTime) -> bool {
        self.start <= t && t < self.end
    }
}

impl Ord for Window {
    fn cmp(&self, o: &Self) -> core::cmp::Ordering {
        (self.end, self.start).cmp(&(o.end, o.start))
    }
}

impl PartialOrd for Window {
    fn partial_cmp(&self, o: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(o))
    }
}

/// The window of `t`.
pub fn assign(windowing: &Windowing, t: EventTime) -> Window {
    match *windowing {
        Windowing::Fixed { size, offset } => {
            let (size, offset) = (size.as_millis(), offset.as_millis());
            // The remainder of t and of t - offset can be had without leaving 64 bits; the difference t - offset cannot.
            let into = (t.as_millis().rem_euclid(size) - offset).rem_euclid(size);
            let start = t.as_millis().saturating_sub(into);
            let rest = size - into;
            Window {
                start: EventTime::from_millis(start),
                end: EventTime::from_millis(t.as_millis().saturating_add(rest)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::TimeDelta;
    use proptest::prelude::*;

    fn fixed(size: i64, offset: i64) -> Windowing {
        Windowing::Fixed { size: TimeDelta::from_millis(size), offset: TimeDelta::from_millis(offset) }
    }

    fn at(w: &Windowing, t: i64) -> (i64, i64) {
        let w = assign(w, EventTime::from_millis(t));
        (w.start.as_millis(), w.end.as_millis())
    }

    #[test]
    fn bounds_belong_to_the_window_they_start() {
        let w = fixed(10, 0);
        assert_eq!(at(&w, 0), (0, 10));
        assert_eq!(at(&w, 9), (0, 10));
        assert_eq!(at(&w, 10), (10, 20));
        assert_eq!(at(&w, -1), (-10, 0));
        assert_eq!(at(&w, -10), (-10, 0));
        assert_eq!(at(&fixed(10, 3), 2), (-7, 3));
        assert_eq!(at(&fixed(10, 3), 3), (3, 13));
    }

    #[test]
    fn the_ends_of_time_saturate() {
        assert_eq!(at(&fixed(10, 0), i64::MAX).1, i64::MAX);
        assert_eq!(at(&fixed(10, 0), i64::MIN).0, i64::MIN);
    }

    proptest! {
        #[test]
        fn the_window_of_a_time_holds_it(t in -1i64 << 55..1i64 << 55, size in 1i64..1 << 40, offset in 0i64..1 << 40) {
            let w = fixed(size, offset % size);
            let (start, end) = at(&w, t);
            prop_assert!(start <= t && t < end);
            prop_assert_eq!(end - start, size);
            prop_assert_eq!((start - offset % size).rem_euclid(size), 0);
        }
    }
}
