//! Decides how far event time has come on one lane.
//!
//! ```text
//! record -> estimate (max | quantile of the last n | arrival)  -> running maximum E
//! W = max(W, min(E - delay, greatest arrival seen))
//! ```
//! A claim `W` says: nothing with an event time before `W` is expected any more. A record is fed first and judged by the
//! `W` after it.
//!
//! Invariants
//! - `W` never moves back, and never beyond the greatest arrival time where arrival times are known.
//! - Updated record by record, never per batch; nothing here reads a clock.
//! - A record classed `future` is not fed, so that one device's clock moves nothing.
//!
//! Limits: `max` follows the fastest clock. A quantile holds while less than its fraction of the sample lies (for the
//! median: half); with `per_source` that is so many senders' worth of the sample, however often each of them sends. A source
//! is a name that the sender chooses: who makes up enough names is a crowd all the same.
//!
//! Not here: lateness (`engine`), the minimum over lanes (`rows`, host).

mod sample;

use crate::policy::{Strategy, Watermark};
use crate::time::{ArrivalTime, EventTime};
use crate::wire::WireError;
use crate::wire::varint::Cursor;
use alloc::vec::Vec;
use sample::Sample;

/// The watermark of one lane.
#[derive(Clone, Debug)]
pub(crate) struct Tracker {
    policy: Watermark,
    estimator: Estimator,
    watermark: EventTime,
    arrival: Option<ArrivalTime>,
    /// Whether the greatest arrival has grown since the watermark was moved: it may have bounded it.
    freed: bool,
}

#[derive(Clone, Debug)]
enum Estimator {
    Max(EventTime),
    Quantile(Sample),
    Arrival,
    Given,
}

impl Tracker {
    pub(crate) fn new(policy: &Watermark) -> Self {
        let estimator = match policy.strategy {
            Strategy::Max => Estimator::Max(EventTime::MIN),
            Strategy::Quantile { q_milli, sample, min_sample, per_source } => {
                Estimator::Quantile(Sample::new(q_milli, sample, min_sample, per_source))
            }
            Strategy::Arrival => Estimator::Arrival,
            Strategy::Given => Estimator::Given,
        };
        Self { policy: *policy, estimator, watermark: EventTime::MIN, arrival: None, freed: false }
    }

    /// Feeds the arrival time of a record that was understood.
    #[inline(always)]
    pub(crate) fn arrived(&mut self, at: ArrivalTime) {
        if self.arrival.is_none_or(|c| c < at) {
            self.arrival = Some(at);
            self.freed = true;
            if matches!(self.estimator, Estimator::Arrival) {
                self.advance(at.as_event_time());
            }
        }
    }

    /// Feeds the source's own watermark, which only a policy that follows it heeds. Without arrivals nothing bounds it.
    pub(crate) fn given(&mut self, w: EventTime) {
        if matches!(self.estimator, Estimator::Given) {
            self.watermark = self.watermark.max(w - self.policy.delay);
        }
    }

    /// Feeds the event time of a record whose clock is believed, and who sent it.
    #[inline(always)]
    pub(crate) fn happened(&mut self, t: EventTime, source: u64) {
        let estimate = match &mut self.estimator {
            // Nothing but the greatest arrival could have changed the claim.
            Estimator::Max(max) if t <= *max && !self.freed => return,
            Estimator::Max(max) => {
                *max = (*max).max(t);
                *max
            }
            Estimator::Quantile(sample) => match sample.feed(t.as_millis(), source) {
                Some(q) => EventTime::from_millis(q),
                None => return,
            },
            Estimator::Arrival | Estimator::Given => return,
        };
        self.advance(estimate);
    }

    #[inline]
    fn advance(&mut self, estimate: EventTime) {
        let mut claim = estimate - self.policy.delay;
        if let Some(c) = self.arrival {
            claim = claim.min(c.as_event_time());
        }
        self.watermark = self.watermark.max(claim);
        self.freed = false;
    }

    /// `EventTime::MIN` while nothing is known.
    #[inline]
    pub(crate) fn watermark(&self) -> EventTime {
        self.watermark
    }

    /// Greatest arrival time seen.
    pub(crate) fn arrival(&self) -> Option<ArrivalTime> {
        self.arrival
    }

    /// The watermark that a lane begins with which goes on where several have ended: the least of what they claim.
    ///
    /// # Panics
    /// If there are none.
    pub(crate) fn merge(policy: &Watermark, parents: &[Self]) -> Self {
        let least = parents.iter().map(|p| p.watermark).min().expect("a lane that goes on where others ended");
        let mut merged = Self::new(policy);
        merged.set(least, parents.iter().map(|p| p.arrival).min().flatten());
        match &mut merged.estimator {
            Estimator::Max(max) => {
                let of = |p: &Self| if let Estimator::Max(max) = p.estimator { max } else { EventTime::MIN };
                *max = parents.iter().map(of).min().unwrap_or(EventTime::MIN);
            }
            Estimator::Quantile(sample) => {
                let of = |p: &Self| if let Estimator::Quantile(s) = &p.estimator { Some(s.clone()) } else { None };
                *sample = Sample::merge(&parents.iter().filter_map(of).collect::<Vec<_>>());
            }
            Estimator::Arrival | Estimator::Given => {}
        }
        merged
    }

    /// Appends the estimator's state; watermark and arrival are written by the snapshot.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match &self.estimator {
            Estimator::Max(max) => out.extend_from_slice(&max.as_millis().to_le_bytes()),
            Estimator::Quantile(sample) => sample.write(out),
            Estimator::Arrival | Estimator::Given => {}
        }
    }

    /// Reads what `write` wrote, for the same policy; `set` gives it its two times.
    pub(crate) fn read(policy: &Watermark, c: &mut Cursor<'_>) -> Result<Self, WireError> {
        let mut tracker = Self::new(policy);
        match &mut tracker.estimator {
            Estimator::Max(max) => *max = EventTime::from_millis(c.i64()?),
            Estimator::Quantile(sample) => sample.read(c)?,
            Estimator::Arrival | Estimator::Given => {}
        }
        Ok(tracker)
    }

    /// Sets watermark and greatest arrival, as a snapshot has them.
    pub(crate) fn set(&mut self, watermark: EventTime, arrival: Option<ArrivalTime>) {
        self.watermark = watermark;
        self.arrival = arrival;
        self.freed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Future;
    use crate::time::TimeDelta;

    fn tracker(strategy: Strategy, delay: i64) -> Tracker {
        Tracker::new(&Watermark {
            strategy,
            delay: TimeDelta::from_millis(delay),
            max_future: None,
            future: Future::Quarantine,
        })
    }

    fn feed(t: &mut Tracker, times: &[i64]) -> i64 {
        times.iter().for_each(|x| t.happened(EventTime::from_millis(*x), 0));
        t.watermark().as_millis()
    }

    #[test]
    fn max_stays_behind_the_greatest_and_never_goes_back() {
        let mut t = tracker(Strategy::Max, 5);
        assert_eq!(feed(&mut t, &[10]), 5);
        assert_eq!(feed(&mut t, &[3, 9]), 5);
        assert_eq!(feed(&mut t, &[20]), 15);
    }

    #[test]
    fn no_claim_goes_beyond_the_greatest_arrival() {
        let mut t = tracker(Strategy::Max, 0);
        t.arrived(ArrivalTime::from_millis(7));
        assert_eq!(feed(&mut t, &[10]), 7);
        t.arrived(ArrivalTime::from_millis(6));
        assert_eq!(feed(&mut t, &[1]), 7);
        t.arrived(ArrivalTime::from_millis(9));
        assert_eq!(feed(&mut t, &[1]), 9, "the estimate is still 10");
    }

    #[test]
    fn arrival_needs_no_event_times() {
        let mut t = tracker(Strategy::Arrival, 5);
        t.arrived(ArrivalTime::from_millis(100));
        assert_eq!(t.watermark().as_millis(), 95);
        assert_eq!(feed(&mut t, &[1_000]), 95);
    }

    #[test]
    fn one_fast_clock_does_not_move_the_median() {
        let median = Strategy::Quantile { q_milli: 500, sample: 5, min_sample: 3, per_source: None };
        let mut t = tracker(median, 0);
        assert_eq!(feed(&mut t, &[1, 2]), i64::MIN, "too small a sample claims nothing");
        assert_eq!(feed(&mut t, &[1_000_000]), 2);
        assert_eq!(feed(&mut t, &[3, 4]), 3);
    }
}
