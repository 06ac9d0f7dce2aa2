//! Sessions of one key, merged as they come.
//!
//! ```text
//! [0,10)   [20,30)   + [8,22)   ->   [0,30)      all that the new one joins become one with it
//! ```
//! Invariants
//! - No two windows of a set join each other; they stand in the order in which they start.
//! - Whatever the order in which windows are added, the set is the same.
//!
//! Not here: contents and triggers of sessions (`panes`), which records make which interval (`engine`).

use super::Window;
use crate::policy::Touching;
use alloc::vec::Vec;

/// The sessions of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSet {
    touching: Touching,
    windows: Vec<Window>,
}

/// What adding a window did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// The session that holds it now.
    pub session: Window,
    /// The sessions that are part of it now and were sessions by themselves before, one that did not grow included.
    pub absorbed: Vec<Window>,
}

impl Added {
    /// Whether a session that was there is another now.
    pub fn changed(&self) -> bool {
        self.absorbed.iter().any(|w| *w != self.session)
    }
}

impl SessionSet {
    /// No session.
    pub fn new(touching: Touching) -> Self {
        Self { touching, windows: Vec::new() }
    }

    /// The sessions, by start.
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Adds a window, and merges what it joins.
    pub fn add(&mut self, window: Window) -> Added {
        // The sessions do not join each other: those that the new one joins lie side by side. Joined to one, it is longer
        // and may join the next, but only where it touched that one itself: their hull reaches no further than they do.
        let joins = |w: &&Window| w.joins(&window, self.touching);
        let absorbed: Vec<Window> = self.windows.iter().filter(joins).copied().collect();
        let session = absorbed.iter().fold(window, |all, w| all.hull(w));
        self.windows.retain(|w| !absorbed.contains(w));
        let at = self.windows.partition_point(|w| (w.start, w.end) < (session.start, session.end));
        self.windows.insert(at, session);
        Added { session, absorbed }
    }

    /// Forgets a session; whether it was there.
    pub fn retire(&mut self, window: &Window) -> bool {
        let before = self.windows.len();
        self.windows.retain(|w| w != window);
        self.windows.len() < before
    }
}

/// What windows become when all that join are merged, by start.
pub fn merge_all(windows: &[Window], touching: Touching) -> Vec<Window> {
    let mut set = SessionSet::new(touching);
    windows.iter().for_each(|w| {
        set.add(*w);
    });
    set.windows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::EventTime;
    use proptest::prelude::*;

    fn w(start: i64, end: i64) -> Window {
        Window { start: EventTime::from_millis(start), end: EventTime::from_millis(end) }
    }

    #[test]
    fn a_window_between_two_makes_them_one() {
        let mut set = SessionSet::new(Touching::Separate);
        assert!(!set.add(w(0, 10)).changed());
        assert!(!set.add(w(20, 30)).changed());
        assert!(!set.add(w(2, 8)).changed(), "it lies in one that does not grow");
        let added = set.add(w(8, 22));
        assert_eq!((added.session, added.absorbed.len(), added.changed()), (w(0, 30), 2, true));
        assert_eq!(set.windows(), [w(0, 30)]);
        assert!(set.retire(&w(0, 30)) && !set.retire(&w(0, 30)));
        assert!(set.windows().is_empty());
    }

    #[test]
    fn touching_sessions_are_one_where_the_policy_says_so() {
        let three = [w(19, 29), w(9, 19), w(2, 12)];
        assert_eq!(merge_all(&three, Touching::Separate), [w(2, 19), w(19, 29)]);
        assert_eq!(merge_all(&three, Touching::Merge), [w(2, 29)]);
        assert_eq!(merge_all(&[w(0, 0)], Touching::Separate), [w(0, 0)]);
        assert_eq!(merge_all(&[w(0, 10), w(5, 5)], Touching::Separate), [w(0, 10)]);
    }

    proptest! {
        #[test]
        fn the_order_of_windows_does_not_show(
            mut list in prop::collection::vec((0i64..60, 1i64..9), 0..14), seed in any::<u64>(), touch in any::<bool>(),
        ) {
            let touching = if touch { Touching::Merge } else { Touching::Separate };
            let windows = |l: &[(i64, i64)]| l.iter().map(|(s, n)| w(*s, s + n)).collect::<Vec<_>>();
            let merged = merge_all(&windows(&list), touching);
            list.sort_by_key(|(s, n)| (*s as u64 * 31 + *n as u64).wrapping_mul(seed | 1));
            prop_assert_eq!(&merge_all(&windows(&list), touching), &merged);
            prop_assert!(merged.windows(2).all(|p| p[0].start < p[1].start && !p[0].joins(&p[1], touching)));
        }
    }
}
