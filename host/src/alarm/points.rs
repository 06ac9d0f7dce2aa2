//! When breaches are an alarm: `k` of the last `n` points.
//!
//! ```text
//! 3 of 5   . ! . ! ! . . . .
//!                  ^opened
//!                      ^recovered: only 2 of the last 5
//! ```
//! Invariants
//! - It is open exactly while at least `k` of the last `n` points are breaches; points before the first are none.
//! - Changes come in turn: opened, recovered, opened, ...
//!
//! Not here: what a breach is (`rule`), when points are taken (`board`).

use super::rule::Points;

/// What a point changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Opened,
    Recovered,
}

/// The last points of one alarm of one lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    /// The last point is bit 0; a breach is 1.
    bits: u64,
    open: bool,
}

impl Last {
    pub(super) const NONE: Self = Self { bits: 0, open: false };

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Takes the next point.
    pub(super) fn push(&mut self, breach: bool, of: Points) -> Option<Change> {
        self.bits = (self.bits << 1 | u64::from(breach)) & (u64::MAX >> (64 - of.of()));
        self.change(self.bits.count_ones() >= of.points())
    }

    /// No more points will come, and points that are missing are breaches: if the last one is a breach, all are.
    pub(super) fn finish(&mut self, breach: bool) -> Option<Change> {
        self.change(breach)
    }

    fn change(&mut self, open: bool) -> Option<Change> {
        let changed = open != self.open;
        self.open = open;
        changed.then_some(if open { Change::Opened } else { Change::Recovered })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Knows nothing of bits: counts in the whole history, anew at each point.
    fn judge(history: &[bool], points: usize, of: usize) -> bool {
        history.iter().rev().take(of).filter(|breach| **breach).count() >= points
    }

    proptest! {
        #[test]
        fn open_is_what_a_recount_says(
            history in prop::collection::vec(any::<bool>(), 0..200), of in 1u32..=60, part in 0u32..60,
        ) {
            let points = 1 + part % of;
            let rule = Points::new(points, of).unwrap();
            let (mut last, mut open) = (Last::NONE, false);
            for at in 0..history.len() {
                let change = last.push(history[at], rule);
                let now = judge(&history[..=at], points as usize, of as usize);
                prop_assert_eq!(last.is_open(), now);
                let expected = match (open, now) {
                    (false, true) => Some(Change::Opened),
                    (true, false) => Some(Change::Recovered),
                    _ => None,
                };
                prop_assert_eq!(change, expected);
                open = now;
            }
        }
    }

    #[test]
    fn at_the_end_the_last_point_decides() {
        let rule = Points::new(3, 5).unwrap();
        let mut last = Last::NONE;
        assert_eq!(last.push(true, rule), None);
        assert_eq!(last.finish(true), Some(Change::Opened));
        assert_eq!(last.finish(true), None);
        assert_eq!(last.finish(false), Some(Change::Recovered));
    }
}
