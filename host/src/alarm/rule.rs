//! What is watched on a lane, and what a breach is.
//!
//! Invariants
//! - A rule that exists is whole: 1 <= points <= of <= 60, the period is positive.
//! - What is not known is a breach. What cannot be behind any more (a lane that is done, or idle and not waited for) is none.
//!
//! Not here: how such rules are written (`config`), when they are asked (`board`).

use crate::live::{LaneState, Sight, Trouble};
use glob::Pattern;
use plimsoll_core::policy::duration::Written;
use plimsoll_core::time::TimeDelta;
use std::time::Duration;

/// Most points that an alarm looks back on.
pub const OF_MAX: u32 = 60;

/// One of the four lags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LagKind {
    /// Reading behind the source's tip.
    Read,
    /// What arrived and is not durable.
    Commit,
    /// The watermark behind now.
    Watermark,
    /// The oldest open window's end behind now.
    Close,
}

impl LagKind {
    /// Its name in configurations and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Commit => "commit",
            Self::Watermark => "watermark",
            Self::Close => "close",
        }
    }
}

/// How a lane stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standstill {
    /// Waiting for a person.
    Paused,
    /// Stopped for good.
    Halted,
}

impl Standstill {
    /// Its name in configurations and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Halted => "halted",
        }
    }
}

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// A lag of at least so much.
    Lag {
        /// Which one.
        lag: LagKind,
        /// From here on it is a breach.
        at_least: Duration,
    },
    /// A lane that stands still.
    State(Standstill),
    /// At least so many records rejected from one point to the next, or a lane paused by poison.
    Poison(u64),
    /// Records that can no longer be read.
    Gap,
}

/// How many of the last points must be breaches: 1 <= points <= of <= `OF_MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Points {
    points: u32,
    of: u32,
}

impl Points {
    /// `points` of the last `of`; `None` where that cannot be.
    pub fn new(points: u32, of: u32) -> Option<Self> {
        (1 <= points && points <= of && of <= OF_MAX).then_some(Self { points, of })
    }

    /// How many must be breaches.
    pub fn points(self) -> u32 {
        self.points
    }

    /// Of how many.
    pub fn of(self) -> u32 {
        self.of
    }
}

/// One alarm, for every lane whose name fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name: in metrics and messages.
    pub name: String,
    /// What is watched.
    pub watched: Watched,
    /// When breaches are an alarm.
    pub points: Points,
    /// A point is taken so often.
    pub every: Duration,
    /// Which lanes.
    pub lanes: Pattern,
}

impl Rule {
    /// What is watched where nobody says anything: the commit lag, 10 minutes in 3 of 5 points of a minute, and lanes that
    /// stand still.
    pub fn defaults() -> Vec<Self> {
        let lag = Watched::Lag { lag: LagKind::Commit, at_least: Duration::from_secs(600) };
        [lag, Watched::State(Standstill::Halted), Watched::State(Standstill::Paused)].map(Self::of).into()
    }

    /// A rule as it is where only what is watched is said.
    pub fn of(watched: Watched) -> Self {
        let (name, points, every) = match &watched {
            Watched::Lag { lag, .. } => (format!("{}-lag", lag.name()), (3, 5), Duration::from_secs(60)),
            Watched::State(standstill) => (standstill.name().into(), (1, 1), Duration::from_secs(10)),
            Watched::Poison(_) => ("poison".into(), (1, 1), Duration::from_secs(60)),
            Watched::Gap => ("gap".into(), (1, 1), Duration::from_secs(10)),
        };
        let points = Points::new(points.0, points.1).expect("written here");
        Self { name, watched, points, every, lanes: Pattern::new("*").expect("written here") }
    }

    /// What a breach is, in words: `commit lag >= 10m`.
    pub fn condition(&self) -> String {
        match &self.watched {
            Watched::Lag { lag, at_least } => format!("{} lag >= {}", lag.name(), written(*at_least)),
            Watched::State(standstill) => format!("lane {}", standstill.name()),
            Watched::Poison(most) => format!("rejected records >= {most} in {}", written(self.every)),
            Watched::Gap => "records that can no longer be read".into(),
        }
    }

    /// Judges what a lane looks like now, and what was rejected on it since the last point. What was found, in words, and
    /// whether it is a breach.
    pub(super) fn judge(&self, sight: &Sight, rejected: u64) -> (bool, String) {
        let (status, lags) = (&sight.status, &sight.lags);
        let state = || format!("the lane is {}", status.state.name());
        match &self.watched {
            Watched::Lag { lag, at_least } => {
                let ms = match lag {
                    LagKind::Read => lags.read_ms,
                    LagKind::Commit => lags.commit_ms,
                    LagKind::Watermark => lags.watermark_ms,
                    LagKind::Close => lags.close_ms,
                };
                match ms {
                    Some(ms) => {
                        let breach = u64::try_from(ms).is_ok_and(|ms| u128::from(ms) >= at_least.as_millis());
                        (breach, format!("{} lag {}", lag.name(), Written(TimeDelta::from_millis(ms))))
                    }
                    None if status.state == LaneState::Done => (false, "the lane is done".into()),
                    // Only a source that does not say how far its tip is leaves this open.
                    None if *lag == LagKind::Read => (true, "read lag unknown: the source does not say it".into()),
                    None if status.idle => (false, "the lane is idle, and not waited for".into()),
                    None => (false, "no window is open".into()),
                }
            }
            Watched::State(Standstill::Paused) => (matches!(status.state, LaneState::Paused(_)), state()),
            Watched::State(Standstill::Halted) => (matches!(status.state, LaneState::Halted(_)), state()),
            Watched::Poison(most) => match status.trouble {
                Some(Trouble::Poison) => (true, "paused: most of a batch is rejected".into()),
                _ => (rejected >= *most, format!("{rejected} records rejected in {}", written(self.every))),
            },
            Watched::Gap => match status.trouble {
                Some(Trouble::Gap) => (true, "a gap: records can no longer be read".into()),
                _ => (false, "no gap".into()),
            },
        }
    }

    /// What a person does about it.
    pub(super) fn to_do(&self) -> &'static str {
        match &self.watched {
            Watched::Lag { lag: LagKind::Read, .. } => {
                "the host reads less than arrives: look in its log for throttling and errors of the source; more shards, or a \
                 store that takes more, let it catch up"
            }
            Watched::Lag { lag: LagKind::Commit, .. } => {
                "what arrived is not counted yet, and nothing is lost while the source keeps its records: look in the host's \
                 log for the store (throttled, unreachable, credentials), and whether the host runs at all"
            }
            Watched::Lag { lag: LagKind::Watermark, .. } => {
                "event time does not move on: see whether records come, whether their clocks are behind, and how long \
                 `watermark.delay` is"
            }
            Watched::Lag { lag: LagKind::Close, .. } => {
                "a window stays provisional: see which lane holds the watermark, and `--idle-timeout`"
            }
            Watched::State(_) => "the reason above names the mend; start the host again after it",
            Watched::Poison(_) => {
                "see the dead letters for what is wrong with the records (`plimsoll rows --dead-letters`), then mend the \
                 policy or the producer"
            }
            Watched::Gap => {
                "records between the last position and the oldest that is left may be lost: lengthen the stream's retention, \
                 and recount what it holds under a new --generation"
            }
        }
    }
}

/// A duration as people write it.
pub(crate) fn written(d: Duration) -> Written {
    Written(TimeDelta::from_millis(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::{Lags, LaneStatus};

    fn sight(state: LaneState, lags: Lags) -> Sight {
        Sight { status: LaneStatus { lane: "a".into(), state, ..LaneStatus::default() }, lags }
    }

    fn lag(lag: LagKind) -> Rule {
        Rule::of(Watched::Lag { lag, at_least: Duration::from_secs(600) })
    }

    #[test]
    fn ten_minutes_are_a_breach_and_a_millisecond_less_is_none() {
        let at = |ms| sight(LaneState::Running, Lags { commit_ms: Some(ms), ..Lags::default() });
        let rule = lag(LagKind::Commit);
        assert_eq!(rule.condition(), "commit lag >= 10m");
        assert_eq!(rule.judge(&at(599_999), 0), (false, "commit lag 9m59s999ms".into()));
        assert_eq!(rule.judge(&at(600_000), 0), (true, "commit lag 10m".into()));
    }

    #[test]
    fn what_is_not_known_is_a_breach_and_what_cannot_be_is_none() {
        let none = Lags::default();
        assert!(lag(LagKind::Read).judge(&sight(LaneState::Running, none), 0).0);
        assert!(!lag(LagKind::Close).judge(&sight(LaneState::Running, none), 0).0, "no window is open");
        for kind in [LagKind::Read, LagKind::Commit, LagKind::Watermark, LagKind::Close] {
            assert!(!lag(kind).judge(&sight(LaneState::Done, none), 0).0);
        }
    }

    #[test]
    fn lanes_that_stand_still_poison_and_gaps() {
        let halted = sight(LaneState::Halted("its head was reset".into()), Lags::default());
        assert!(Rule::of(Watched::State(Standstill::Halted)).judge(&halted, 0).0);
        assert!(!Rule::of(Watched::State(Standstill::Paused)).judge(&halted, 0).0);
        let poison = Rule::of(Watched::Poison(10));
        assert_eq!((poison.judge(&halted, 9).0, poison.judge(&halted, 10).0), (false, true));
        let mut gap = halted.clone();
        assert!(!Rule::of(Watched::Gap).judge(&gap, 0).0);
        gap.status.trouble = Some(Trouble::Gap);
        assert!(Rule::of(Watched::Gap).judge(&gap, 0).0 && !poison.judge(&gap, 0).0);
        gap.status.trouble = Some(Trouble::Poison);
        assert!(poison.judge(&gap, 0).0, "nothing of that batch was counted");
    }

    #[test]
    fn points_that_cannot_be_are_none() {
        for (points, of) in [(0, 1), (2, 1), (1, OF_MAX + 1), (0, 0)] {
            assert_eq!(Points::new(points, of), None);
        }
        assert!(Points::new(OF_MAX, OF_MAX).is_some());
    }
}
