//! How far behind a lane is: four lags, each of which grows by itself while the lane hangs (semantics S17).
//!
//! ```text
//! stream    --r--r--r--r--r--|tip      read       now - what the last answered read had reached
//! durable   --r--r                     commit     now - until when everything that arrived is durable
//! W         -----|                     watermark  now - W
//! windows   [---)[---)[---)            close      now - end of the oldest one that is open
//! ```
//! A lag is a difference to something that only success moves. Throttling, a store that does not answer and lost
//! credentials move nothing, so they show without being looked for.
//!
//! Invariants
//! - What is durable never moves back and never lies ahead of the clock: a record that claims to arrive next year does not
//!   hide the lag of those after it.
//! - At the tip with nothing in flight everything that had arrived when it was asked is durable. So the commit lag of a
//!   silent lane is the time since its last look, a second or so, and not that since its last record.
//! - A lane of which nothing was heard is behind since it was found.
//! - A lane that is done has no lags. One that is idle has no watermark lag and no close lag: by then it is not waited for.
//!
//! Not here: the clock (it is handed in), which lag is too large (`alarm`).

use super::{LaneState, LaneStatus};
use plimsoll_core::policy::{LateTo, Policy, limits};
use plimsoll_core::time::{EventTime, TimeDelta};
use plimsoll_core::window::{Window, assign};
use serde::Serialize;
use std::collections::BTreeSet;

/// Ends of open windows that are remembered, a lane's oldest first. Later ones come back with their next record.
const OPEN_MAX: usize = 4_096;

/// How far behind, in milliseconds; never negative. `None`: not known, or nothing that could be behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lags {
    /// Reading behind the source's tip. Not known where the source does not say how far its tip is.
    pub read_ms: Option<i64>,
    /// Now − the moment until which everything that arrived is durable.
    pub commit_ms: Option<i64>,
    /// Now − watermark.
    pub watermark_ms: Option<i64>,
    /// Now − the end of the oldest window that has rows and may still change; 0 before that end.
    pub close_ms: Option<i64>,
}

impl Lags {
    /// The greater of each.
    #[must_use]
    pub(super) fn or_worse(self, o: Self) -> Self {
        Self {
            read_ms: self.read_ms.max(o.read_ms),
            commit_ms: self.commit_ms.max(o.commit_ms),
            watermark_ms: self.watermark_ms.max(o.watermark_ms),
            close_ms: self.close_ms.max(o.close_ms),
        }
    }
}

/// The last good moments of one lane.
#[derive(Debug)]
pub(super) struct Marks {
    found_ms: i64,
    /// The last answered read: when it was asked, and how far before the tip its answer ended, where the source says.
    read: Option<(i64, Option<u64>)>,
    durable_ms: Option<i64>,
    pub open: OpenWindows,
}

impl Marks {
    pub(super) fn new(found_ms: i64) -> Self {
        Self { found_ms, read: None, durable_ms: None, open: OpenWindows::default() }
    }

    /// A read that was asked then was answered with records, or with nothing because there was nothing (0 behind).
    pub(super) fn read(&mut self, asked_ms: i64, behind_ms: Option<u64>) {
        self.read = Some((asked_ms, behind_ms));
    }

    /// Everything that arrived until then is durable, it is said at `now`.
    pub(super) fn durable(&mut self, until_ms: i64, now: i64) {
        self.durable_ms = self.durable_ms.max(Some(until_ms.min(now)));
    }

    /// How far the lane is behind.
    pub(super) fn lags(&self, lane: &LaneStatus, now: i64) -> Lags {
        if lane.state == LaneState::Done {
            return Lags::default();
        }
        let since = |ms: i64| now.saturating_sub(ms).max(0);
        let read_ms = match self.read {
            None => Some(since(self.found_ms)),
            Some((asked, behind)) => {
                behind.map(|ms| since(asked).saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
            }
        };
        let waited_for = |lag: Option<i64>| lag.filter(|_| !lane.idle);
        let watermark = lane.progress.watermark.map_or(self.found_ms, EventTime::as_millis);
        Lags {
            read_ms,
            commit_ms: Some(since(self.durable_ms.unwrap_or(self.found_ms))),
            watermark_ms: waited_for(Some(since(watermark))),
            close_ms: waited_for(self.open.lag_ms(now)),
        }
    }
}

/// Ends of windows that have rows and may still change.
#[derive(Debug, Default)]
pub(super) struct OpenWindows(BTreeSet<EventTime>);

impl OpenWindows {
    /// Windows that got rows end there.
    pub(super) fn add(&mut self, ends: impl IntoIterator<Item = EventTime>) {
        // The window of all time never closes: there is nothing to wait for.
        self.0.extend(ends.into_iter().filter(|end| *end != EventTime::MAX));
        while self.0.len() > OPEN_MAX {
            self.0.pop_last();
        }
    }

    /// Whatever a watermark has closed is open no more.
    pub(super) fn close(&mut self, watermark: Option<EventTime>, policy: &Policy) {
        if let Some(closed) = watermark.map(|w| closed_until(w, policy)) {
            while self.0.first().is_some_and(|end| *end <= closed) {
                self.0.pop_first();
            }
        }
    }

    /// A lane goes on from here: the window in which its watermark stands may have rows of an earlier run.
    pub(super) fn resume(&mut self, watermark: EventTime, policy: &Policy) {
        let mut windows: Vec<Window> = Vec::new();
        assign(&policy.spec().window, closed_until(watermark, policy), &mut windows);
        self.add(windows.first().map(|window| window.end));
    }

    pub(super) fn lag_ms(&self, now: i64) -> Option<i64> {
        self.0.first().map(|end| now.saturating_sub(end.as_millis()).max(0))
    }
}

/// Windows that end up to here change no more. Where late records go to their window for ever, it closes at its end.
fn closed_until(watermark: EventTime, policy: &Policy) -> EventTime {
    let late = policy.spec().late;
    let for_ever = late.to == LateTo::Accept || late.allowed_lateness == limits::LATENESS_UNBOUNDED;
    watermark - if for_ever { TimeDelta::ZERO } else { late.allowed_lateness }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::tests::{lane, policy};

    fn ends(of: &[i64]) -> Vec<EventTime> {
        of.iter().copied().map(EventTime::from_millis).collect()
    }

    #[test]
    fn a_lane_that_hangs_falls_behind_in_everything() {
        let mut marks = Marks::new(100);
        let status = lane("a", Some(40), 1);
        assert_eq!(marks.lags(&status, 150).commit_ms, Some(50), "nothing was heard since it was found");
        marks.read(200, Some(30));
        marks.durable(180, 210);
        marks.open.add(ends(&[50, 60]));
        for later in [0, 1_000, 1_000_000] {
            let now = 210 + later;
            let lags = Lags {
                read_ms: Some(40 + later),
                commit_ms: Some(30 + later),
                watermark_ms: Some(170 + later),
                close_ms: Some(160 + later),
            };
            assert_eq!(marks.lags(&status, now), lags);
        }
    }

    #[test]
    fn durable_moves_forward_only_and_not_ahead_of_the_clock() {
        let mut marks = Marks::new(0);
        let status = lane("a", None, 1);
        marks.durable(1_000_000, 500);
        assert_eq!(marks.lags(&status, 600).commit_ms, Some(100), "a record that arrives in the future");
        marks.durable(20, 700);
        assert_eq!(marks.lags(&status, 700).commit_ms, Some(200), "an old record came after it");
    }

    #[test]
    fn who_is_done_has_no_lag_and_who_is_idle_holds_nothing() {
        let mut marks = Marks::new(0);
        marks.open.add(ends(&[10]));
        let idle = LaneStatus { idle: true, ..lane("a", Some(3), 1) };
        let lags = marks.lags(&idle, 100);
        assert_eq!((lags.watermark_ms, lags.close_ms, lags.commit_ms), (None, None, Some(100)));
        let done = LaneStatus { state: LaneState::Done, ..idle };
        assert_eq!(marks.lags(&done, 100), Lags::default());
    }

    #[test]
    fn the_oldest_open_window_is_the_one_that_counts() {
        let mut open = OpenWindows::default();
        assert_eq!(open.lag_ms(100), None, "no window, no lag");
        open.add(ends(&[30, 20, i64::MAX]));
        assert_eq!((open.lag_ms(15), open.lag_ms(25)), (Some(0), Some(5)));
        open.close(Some(EventTime::from_millis(20)), &policy());
        assert_eq!(open.lag_ms(100), Some(70));
        open.close(Some(EventTime::from_millis(30)), &policy());
        assert_eq!(open.lag_ms(100), None, "only the window of all time is left, which never closes");
        open.resume(EventTime::from_millis(34), &policy());
        assert_eq!(open.lag_ms(100), Some(60), "[30, 40) may have rows of an earlier run");
        open.add((0..2 * OPEN_MAX as i64).map(EventTime::from_millis));
        assert_eq!((open.0.len(), open.lag_ms(100)), (OPEN_MAX, Some(100)));
    }
}
