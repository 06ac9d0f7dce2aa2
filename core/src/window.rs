//! Where in event time a record belongs.
//!
//! ```text
//! |---------|---------|---------|     fixed: [start, start + size), start = offset (mod size)
//! |---------|                         sliding: starts at every period; here two windows hold a time
//!      |---------|
//! |---|-----|-------|                 cumulative: one start, an end at every step up to the size
//! ```
//! Invariants
//! - Windows are half-open; `start <= end`, and only a session of one instant is empty.
//! - Each window assigned to `t` holds `t`; they come in the order in which they close.
//! - Division goes downwards, so times before 1970 fall into the right window.
//! - Near the ends of the 64-bit range bounds saturate and never wrap.
//!
//! Not here: sessions, whose bounds depend on other records (`panes`); whether a window still takes records
//! (`watermark`, `engine`).

mod calendar;
pub mod merging;

use crate::policy::{Touching, Windowing};
use crate::time::{EventTime, TimeDelta};
use alloc::vec::Vec;

/// An interval of event time, `[start, end)`. Ordered by end, then start: the order in which windows close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// First instant inside.
    pub start: EventTime,
    /// First instant after.
    pub end: EventTime,
}

impl Window {
    /// All of time.
    pub const GLOBAL: Self = Self { start: EventTime::MIN, end: EventTime::MAX };

    /// A window with these bounds.
    pub fn of_millis(start: i64, end: i64) -> Self {
        Self { start: EventTime::from_millis(start), end: EventTime::from_millis(end) }
    }

    /// What windows are filed under in the order in which they close.
    pub(crate) fn filed(&self) -> [i64; 4] {
        [self.end.as_millis(), self.start.as_millis(), 0, 0]
    }

    /// The window that is filed there.
    pub(crate) fn of_filed(filed: &[i64; 4]) -> Self {
        Self::of_millis(filed[1], filed[0])
    }

    /// Whether `t` lies inside.
    pub fn holds(&self, t: EventTime) -> bool {
        self.start <= t && t < self.end
    }

    /// Whether two sessions are one. One without extent lies in a window that holds its instant.
    #[inline(always)]
    pub fn joins(&self, o: &Self, touching: Touching) -> bool {
        match touching {
            Touching::Merge => self.start <= o.end && o.start <= self.end,
            Touching::Separate => {
                let overlap = self.start < o.end && o.start < self.end;
                let instant = |a: &Self, b: &Self| a.start == a.end && (b.holds(a.start) || a == b);
                overlap || instant(self, o) || instant(o, self)
            }
        }
    }

    /// The least window that holds both.
    #[must_use]
    #[inline(always)]
    pub fn hull(&self, o: &Self) -> Self {
        Self { start: self.start.min(o.start), end: self.end.max(o.end) }
    }

    /// From here on a watermark finds it expired.
    pub fn expiry(&self, allowed_lateness: TimeDelta) -> EventTime {
        self.end + allowed_lateness
    }

    /// The last instant inside: what a pane without a time of its own is stamped with.
    pub fn last(&self) -> EventTime {
        self.end - TimeDelta::from_millis(1)
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

/// The windows that hold `t`, into `out`, which is cleared first; none where sliding windows leave a gap, and none for
/// sessions.
pub fn assign(windowing: &Windowing, t: EventTime, out: &mut Vec<Window>) {
    out.clear();
    match windowing {
        Windowing::Fixed { size, offset } => out.push(fixed(*size, *offset, t)),
        Windowing::Sliding { size, every, offset } => sliding(*size, *every, *offset, t, out),
        Windowing::Cumulative { size, step, offset } => cumulative(*size, *step, *offset, t, out),
        Windowing::Calendar { every, zone } => out.push(calendar::assign(*every, zone, t)),
        Windowing::Global => out.push(Window::GLOBAL),
        Windowing::Session { .. } => {}
    }
}

/// The times that lie in just these windows, which were assigned to one time.
pub fn alike(windowing: &Windowing, windows: &[Window]) -> Window {
    let (first, last) = (windows[0], windows[windows.len() - 1]);
    let (start, end) = match *windowing {
        // The window before the first ends one period before it, and the one after the last starts one after it.
        Windowing::Sliding { every, .. } => (last.start.max(first.end - every), first.end.min(last.start + every)),
        Windowing::Cumulative { step, .. } => (first.end - step, first.end),
        _ => return first,
    };
    // Bounds that were cut off at the ends of time tell nothing.
    let whole = |t: EventTime| t.as_millis().unsigned_abs() < 1 << 62;
    let told = whole(first.start) && whole(last.end) && whole(start) && whole(end);
    if told { Window { start, end } } else { Window { start, end: start } }
}

/// The fixed window that holds `t`.
#[inline]
pub fn fixed(size: TimeDelta, offset: TimeDelta, t: EventTime) -> Window {
    let size = size.as_millis();
    // The remainder of t and of t - offset can be had without leaving 64 bits; the difference t - offset cannot.
    let into = (t.as_millis().rem_euclid(size) - offset.as_millis()).rem_euclid(size);
    Window { start: t - TimeDelta::from_millis(into), end: t + TimeDelta::from_millis(size - into) }
}

fn sliding(size: TimeDelta, every: TimeDelta, offset: TimeDelta, t: EventTime, out: &mut Vec<Window>) {
    let latest = fixed(every, offset, t).start;
    let into = i128::from(t.as_millis()) - i128::from(latest.as_millis());
    let (size, every) = (i128::from(size.as_millis()), i128::from(every.as_millis()));
    // Window k starts k periods before the latest and still holds t while into + k * every < size.
    let older = (size - 1 - into).div_euclid(every);
    for k in (0..=older).rev() {
        let start = i128::from(latest.as_millis()) - k * every;
        out.push(Window { start: saturated(start), end: saturated(start + size) });
    }
}

fn cumulative(size: TimeDelta, step: TimeDelta, offset: TimeDelta, t: EventTime, out: &mut Vec<Window>) {
    let whole = fixed(size, offset, t);
    let into = t - whole.start;
    let first = into.as_millis() / step.as_millis() + 1;
    for k in first..=size.as_millis() / step.as_millis() {
        let end = i128::from(whole.start.as_millis()) + i128::from(k) * i128::from(step.as_millis());
        out.push(Window { start: whole.start, end: saturated(end) });
    }
}

fn saturated(ms: i128) -> EventTime {
    EventTime::from_millis(ms.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(n: i64) -> TimeDelta {
        TimeDelta::from_millis(n)
    }

    fn fixed(size: i64, offset: i64) -> Windowing {
        Windowing::Fixed { size: ms(size), offset: ms(offset) }
    }

    fn at(w: &Windowing, t: i64) -> Vec<(i64, i64)> {
        let mut out = Vec::new();
        assign(w, EventTime::from_millis(t), &mut out);
        out.iter().map(|w| (w.start.as_millis(), w.end.as_millis())).collect()
    }

    #[test]
    fn bounds_belong_to_the_window_they_start() {
        let w = fixed(10, 0);
        assert_eq!(at(&w, 0), [(0, 10)]);
        assert_eq!(at(&w, 9), [(0, 10)]);
        assert_eq!(at(&w, 10), [(10, 20)]);
        assert_eq!(at(&w, -1), [(-10, 0)]);
        assert_eq!(at(&w, -10), [(-10, 0)]);
        assert_eq!(at(&fixed(10, 3), 2), [(-7, 3)]);
        assert_eq!(at(&fixed(10, 3), 3), [(3, 13)]);
    }

    #[test]
    fn sliding_windows_overlap_or_leave_gaps() {
        let w = |size, every| Windowing::Sliding { size: ms(size), every: ms(every), offset: ms(0) };
        assert_eq!(at(&w(10, 5), 12), [(5, 15), (10, 20)]);
        assert_eq!(at(&w(10, 4), -1), [(-8, 2), (-4, 6)]);
        assert_eq!(at(&w(3, 10), 2), [(0, 3)]);
        assert_eq!(at(&w(3, 10), 3), []);
    }

    #[test]
    fn cumulative_windows_share_their_start() {
        let w = Windowing::Cumulative { size: ms(15), step: ms(5), offset: ms(0) };
        assert_eq!(at(&w, 15), [(15, 20), (15, 25), (15, 30)]);
        assert_eq!(at(&w, 24), [(15, 25), (15, 30)]);
        assert_eq!(at(&w, 29), [(15, 30)]);
    }

    #[test]
    fn the_ends_of_time_saturate() {
        assert_eq!(at(&fixed(10, 0), i64::MAX)[0].1, i64::MAX);
        assert_eq!(at(&fixed(10, 0), i64::MIN)[0].0, i64::MIN);
        let w = Windowing::Sliding { size: ms(10), every: ms(5), offset: ms(0) };
        assert_eq!(at(&w, i64::MAX).last().unwrap().1, i64::MAX);
        assert_eq!(at(&w, i64::MIN)[0].0, i64::MIN);
    }

    #[test]
    fn sessions_that_touch_join_where_the_policy_says_so() {
        let w = |start, end| Window { start: EventTime::from_millis(start), end: EventTime::from_millis(end) };
        assert!(!w(0, 10).joins(&w(10, 20), Touching::Separate));
        assert!(w(0, 10).joins(&w(10, 20), Touching::Merge));
        assert!(w(0, 10).joins(&w(9, 20), Touching::Separate));
        for touching in [Touching::Separate, Touching::Merge] {
            assert!(w(0, 10).joins(&w(0, 0), touching));
            assert!(w(0, 10).joins(&w(5, 5), touching) && w(5, 5).joins(&w(0, 10), touching));
            assert!(w(5, 5).joins(&w(5, 5), touching));
            assert!(!w(0, 10).joins(&w(11, 11), touching));
        }
        assert!(!w(0, 10).joins(&w(10, 10), Touching::Separate));
    }

    proptest! {
        #[test]
        fn the_windows_of_a_time_hold_it(
            t in -1i64 << 55..1i64 << 55, size in 1i64..1 << 40, offset in 0i64..1 << 40, part in 1i64..40,
        ) {
            let every = (size / part).max(1);
            for w in [
                fixed(size, offset % size),
                Windowing::Sliding { size: ms(size), every: ms(every), offset: ms(offset % every) },
                Windowing::Cumulative { size: ms(every * part), step: ms(every), offset: ms(offset % (every * part)) },
            ] {
                let all = at(&w, t);
                prop_assert!(!all.is_empty());
                prop_assert!(all.iter().all(|(start, end)| *start <= t && t < *end));
                let windows = |t: i64| {
                    let mut out = Vec::new();
                    assign(&w, EventTime::from_millis(t), &mut out);
                    out
                };
                let like = alike(&w, &windows(t));
                let (from, to) = (like.start.as_millis(), like.end.as_millis());
                prop_assert!(from <= t && t < to);
                prop_assert!(windows(from) == windows(t) && windows(to - 1) == windows(t));
                prop_assert!(windows(from - 1) != windows(t) && windows(to) != windows(t));
                let mut sorted = all.clone();
                sorted.sort_by_key(|(start, end)| (*end, *start));
                sorted.dedup();
                prop_assert_eq!(&sorted, &all);
            }
            let (start, end) = at(&fixed(size, offset % size), t)[0];
            prop_assert_eq!(end - start, size);
            prop_assert_eq!((start - offset % size).rem_euclid(size), 0);
        }
    }
}
