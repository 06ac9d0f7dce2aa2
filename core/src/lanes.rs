//! Watermarks of several inputs: their minimum, and when a silent one stops holding it.
//!
//! ```text
//! input 0  --5---9------------|
//! input 1  --3------(idle)----|  minimum: 3, then 9
//! ```
//! The rules are those of Apache Flink's `StatusWatermarkValve` and `WatermarkOutputMultiplexer`, which differ on what an
//! idle input's watermark does ([`Waking`]), and of its `WatermarksWithIdleness`.
//!
//! Invariants
//! - The combined watermark never moves back, whoever joins, leaves, sleeps or wakes.
//! - Idle inputs hold nothing; one that wakes up behind the combined watermark holds nothing until it has caught up.
//! - Nothing here reads a clock.
//!
//! Not here: the watermark of one input (`watermark`), which lanes there are (the host).

use crate::time::{EventTime, TimeDelta};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// What an idle input's watermark does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waking {
    /// Nothing: the input has to be said active first. Once all are idle, what the furthest had reached is believed.
    ByStatus,
    /// It makes the input active.
    ByWatermark,
}

/// What came of a change of one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combined {
    /// The combined watermark moved here.
    Watermark(EventTime),
    /// All inputs are idle.
    Idle,
    /// One is active again.
    Active,
}

/// The minimum over inputs.
#[derive(Clone, Debug)]
pub struct Minimum {
    waking: Waking,
    inputs: BTreeMap<u32, Input>,
    watermark: EventTime,
    idle: bool,
}

#[derive(Clone, Copy, Debug)]
struct Input {
    watermark: EventTime,
    idle: bool,
    /// Whether it takes part in the minimum: it is active, and was not behind the combined watermark when it woke up.
    aligned: bool,
}

impl Minimum {
    /// No inputs; nothing is claimed.
    pub fn new(waking: Waking) -> Self {
        Self { waking, inputs: BTreeMap::new(), watermark: EventTime::MIN, idle: false }
    }

    /// The combined watermark; `None` while nothing is claimed.
    pub fn watermark(&self) -> Option<EventTime> {
        (self.watermark != EventTime::MIN).then_some(self.watermark)
    }

    /// Whether all inputs are idle.
    pub fn idle(&self) -> bool {
        self.idle
    }

    /// Adds an active input that has claimed nothing; one that is there stays as it is. It holds the watermark where it
    /// is until it claims as much.
    pub fn add(&mut self, input: u32) {
        self.inputs.entry(input).or_insert(Input { watermark: EventTime::MIN, idle: false, aligned: true });
    }

    /// Removes an input; whether it was there. What it held back moves at the next change of another.
    pub fn remove(&mut self, input: u32) -> bool {
        self.inputs.remove(&input).is_some()
    }

    /// An input's watermark is `w`: lower ones than before are ignored. Unknown inputs are ignored.
    pub fn watermark_from(&mut self, input: u32, w: EventTime) -> Vec<Combined> {
        let mut out = Vec::new();
        let (combined, waking) = (self.watermark, self.waking);
        let Some(i) = self.inputs.get_mut(&input) else { return out };
        match waking {
            Waking::ByStatus if i.idle => return out,
            Waking::ByStatus => {
                if w <= i.watermark {
                    return out;
                }
                i.watermark = w;
                i.aligned |= w >= combined;
            }
            Waking::ByWatermark => {
                i.idle = false;
                i.watermark = i.watermark.max(w);
            }
        }
        self.say(&mut out);
        self.advance(self.least(), &mut out);
        out
    }

    /// An input is idle now. Unknown inputs are ignored.
    pub fn idle_from(&mut self, input: u32) -> Vec<Combined> {
        let mut out = Vec::new();
        let combined = self.watermark;
        let Some(i) = self.inputs.get_mut(&input).filter(|i| !i.idle) else { return out };
        i.idle = true;
        i.aligned = false;
        let held = i.watermark == combined;
        match self.waking {
            Waking::ByWatermark => self.advance(self.least(), &mut out),
            Waking::ByStatus if !held => {}
            // Nobody will move it any more: what the furthest claimed is all that will ever be known.
            Waking::ByStatus if self.sleeps() => {
                self.advance(self.inputs.values().map(|i| i.watermark).max(), &mut out)
            }
            Waking::ByStatus => self.advance(self.least(), &mut out),
        }
        self.say(&mut out);
        out
    }

    /// An input is active again. Unknown inputs are ignored.
    pub fn active_from(&mut self, input: u32) -> Vec<Combined> {
        let mut out = Vec::new();
        let combined = self.watermark;
        let Some(i) = self.inputs.get_mut(&input).filter(|i| i.idle) else { return out };
        i.idle = false;
        i.aligned = i.watermark >= combined;
        self.say(&mut out);
        if self.waking == Waking::ByWatermark {
            self.advance(self.least(), &mut out);
        }
        out
    }

    /// The minimum over those that take part.
    fn least(&self) -> Option<EventTime> {
        let taking_part = |i: &&Input| match self.waking {
            Waking::ByStatus => i.aligned,
            Waking::ByWatermark => !i.idle,
        };
        self.inputs.values().filter(taking_part).map(|i| i.watermark).min()
    }

    fn sleeps(&self) -> bool {
        !self.inputs.is_empty() && self.inputs.values().all(|i| i.idle)
    }

    /// Says so where all are idle now, or one is active again.
    fn say(&mut self, out: &mut Vec<Combined>) {
        let idle = self.sleeps();
        if idle != self.idle {
            self.idle = idle;
            out.push(if idle { Combined::Idle } else { Combined::Active });
        }
    }

    fn advance(&mut self, to: Option<EventTime>, out: &mut Vec<Combined>) {
        if let Some(w) = to.filter(|w| *w > self.watermark) {
            self.watermark = w;
            out.push(Combined::Watermark(w));
        }
    }
}

/// When an input that says nothing is idle: the time-out runs from the first look after it was active.
#[derive(Clone, Debug)]
pub struct IdleTimer {
    timeout: TimeDelta,
    since: Option<i64>,
}

impl IdleTimer {
    /// Not looked at yet. More than `timeout` has to pass.
    pub fn new(timeout: TimeDelta) -> Self {
        Self { timeout, since: None }
    }

    /// It said something.
    pub fn active(&mut self) {
        self.since = None;
    }

    /// Looks, at a recorded tick in milliseconds: whether it is idle.
    pub fn poll(&mut self, tick_ms: i64) -> bool {
        let since = *self.since.get_or_insert(tick_ms);
        tick_ms.saturating_sub(since) > self.timeout.as_millis()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Combined::{Active, Idle};
    use alloc::vec;

    fn t(ms: i64) -> EventTime {
        EventTime::from_millis(ms)
    }

    fn at(ms: i64) -> Combined {
        Combined::Watermark(t(ms))
    }

    fn inputs(n: u32, waking: Waking) -> Minimum {
        let mut m = Minimum::new(waking);
        (0..n).for_each(|i| m.add(i));
        m
    }

    #[test]
    fn the_slowest_active_input_decides() {
        let mut m = inputs(3, Waking::ByStatus);
        assert_eq!(m.watermark_from(0, t(10)), []);
        assert_eq!(m.watermark_from(1, t(5)), []);
        assert_eq!(m.watermark_from(2, t(7)), [at(5)]);
        assert_eq!(m.watermark_from(1, t(4)), [], "a lower claim is ignored");
        assert_eq!(m.idle_from(1), [at(7)]);
        assert_eq!(m.watermark_from(1, t(99)), [], "an idle input's watermark is ignored");
        assert_eq!(m.active_from(1), []);
        assert_eq!(m.watermark_from(2, t(20)), [at(10)], "input 1 is behind and holds nothing");
        assert_eq!(m.watermark_from(1, t(10)), [], "it has caught up, and holds the minimum again");
        assert_eq!(m.watermark_from(0, t(30)), []);
        assert_eq!(m.watermark_from(1, t(25)), [at(20)]);
    }

    #[test]
    fn when_the_last_active_input_sleeps_the_furthest_claim_counts() {
        let mut m = inputs(2, Waking::ByStatus);
        m.watermark_from(0, t(10));
        assert_eq!(m.watermark_from(1, t(5)), [at(5)]);
        assert_eq!(m.idle_from(0), []);
        assert_eq!(m.idle_from(1), [at(10), Idle]);
        assert_eq!((m.idle(), m.idle_from(1)), (true, vec![]));
        assert_eq!(m.active_from(1), [Active]);
        assert_eq!(m.watermark(), Some(t(10)));
    }

    #[test]
    fn a_watermark_may_wake_an_input() {
        let mut m = inputs(2, Waking::ByWatermark);
        m.watermark_from(0, t(2));
        assert_eq!(m.watermark_from(1, t(5)), [at(2)]);
        assert_eq!(m.idle_from(0), [at(5)]);
        assert_eq!(m.watermark_from(0, t(3)), [], "awake, and behind: nothing moves back");
        assert_eq!(m.watermark_from(1, t(9)), [], "input 0 holds it");
        assert_eq!(m.watermark_from(0, t(8)), [at(8)]);
        assert_eq!(m.idle_from(0), [at(9)]);
        assert_eq!(m.idle_from(1), [Idle]);
        assert_eq!(m.watermark_from(1, t(9)), [Active]);
    }

    #[test]
    fn inputs_come_and_go_without_a_step_back() {
        let mut m = inputs(2, Waking::ByWatermark);
        m.watermark_from(0, t(10));
        m.watermark_from(1, t(20));
        assert!(m.remove(0) && !m.remove(0));
        assert_eq!(m.watermark(), Some(t(10)), "it moves with the next claim");
        assert_eq!(m.watermark_from(1, t(21)), [at(21)]);
        m.add(7);
        assert_eq!(m.watermark_from(1, t(30)), []);
        assert_eq!(m.watermark(), Some(t(21)));
    }

    #[test]
    fn the_time_out_runs_from_the_first_look() {
        let mut timer = IdleTimer::new(TimeDelta::from_millis(10));
        assert!(!timer.poll(1_000));
        assert!(!timer.poll(1_010));
        assert!(timer.poll(1_011) && timer.poll(2_000));
        timer.active();
        assert!(!timer.poll(3_000));
        assert!(timer.poll(3_011));
    }
}
