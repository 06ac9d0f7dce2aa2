//! Every alarm of every lane: takes points when they are due and says what has changed.
//!
//! ```text
//! rule every 1m   |----o----o----x----x----x----|      x a breach
//!                      1    2    3    4    5  points lie on the rule's own grid, whenever `tick` is called
//! ```
//! Invariants
//! - Time is handed in: `at` is how long this board has existed by a clock that no one sets, `now_ms` is for people.
//! - A point of a lag that was not taken in time (a host that had no time for it) is missing, and missing is a breach.
//! - A lag rule for which there is no lane at all has a point too, under the name that it asks for: a source that cannot even
//!   say its lanes is no silence.
//!
//! Not here: when breaches are an alarm (`points`), what is a breach (`rule`).

use super::notice::{Kind, Notice};
use super::points::{Change, Last};
use super::rule::{Rule, Standstill, Watched};
use crate::live::{LaneState, Sight};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The name under which a run that failed before it had a lane is said.
const HOST: &str = "(host)";

/// One alarm of one lane, for those who look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AlarmView {
    /// The rule's name.
    pub alarm: String,
    /// The lane.
    pub lane: String,
    /// Since when it is open, in ms since the epoch; `None`: it is not.
    pub since_ms: Option<i64>,
    /// What was found at the last point.
    pub found: String,
}

impl AlarmView {
    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.since_ms.is_some()
    }
}

/// All alarms.
#[derive(Debug)]
pub struct Board {
    policy: String,
    rules: Vec<Rule>,
    /// The number of the next point of each rule.
    next: Vec<u64>,
    /// By rule and lane.
    tracks: BTreeMap<(usize, String), Track>,
}

#[derive(Debug)]
struct Track {
    last: Last,
    rejected: u64,
    found: String,
    since_ms: Option<i64>,
}

/// A point of a lane: the breach, what was found, and the lane, where there is one.
struct Point<'a> {
    lane: &'a str,
    breach: bool,
    found: String,
    sight: Option<&'a Sight>,
}

impl Board {
    /// A board of a policy's lanes.
    pub fn new(policy: &str, rules: Vec<Rule>) -> Self {
        Self { policy: policy.into(), next: vec![1; rules.len()], rules, tracks: BTreeMap::new() }
    }

    /// When the next point is due, as `at`; `None` where nothing is watched.
    pub fn due(&self) -> Option<Duration> {
        let due = |(rule, next): (&Rule, &u64)| rule.every.saturating_mul(u32::try_from(*next).unwrap_or(u32::MAX));
        self.rules.iter().zip(&self.next).map(due).min()
    }

    /// Takes the points that are due.
    pub fn tick(&mut self, at: Duration, now_ms: i64, sights: &[Sight]) -> Vec<Notice> {
        let mut notices = Vec::new();
        for rule in 0..self.rules.len() {
            let reached = u64::try_from(at.as_nanos() / self.rules[rule].every.as_nanos()).unwrap_or(u64::MAX);
            if reached < self.next[rule] {
                continue;
            }
            // How a lane stands is still seen a point later; how far behind it was is not.
            let missed = if self.is_lag(rule) { reached - self.next[rule] } else { 0 };
            self.next[rule] = reached + 1;
            let before: BTreeSet<String> =
                self.tracks.keys().filter(|(r, _)| *r == rule).map(|(_, l)| l.clone()).collect();
            for lane in &before {
                for _ in 0..missed.min(u64::from(self.rules[rule].points.of())) {
                    let found = "no point was taken: the host slept, or had no time".into();
                    notices.extend(self.point(rule, now_ms, Point { lane, breach: true, found, sight: None }));
                }
            }
            let fits = |sight: &&Sight| self.rules[rule].lanes.matches(&sight.status.lane);
            let mut gone = before;
            for sight in sights.iter().filter(fits).collect::<Vec<_>>() {
                gone.remove(&sight.status.lane);
                notices.extend(self.look(rule, now_ms, sight));
            }
            let nobody = self.rules[rule].lanes.as_str().to_owned();
            let fitting = sights.iter().any(|sight| self.rules[rule].lanes.matches(&sight.status.lane));
            if !fitting && self.is_lag(rule) {
                gone.remove(&nobody);
                let found = "there is no lane of this name".into();
                notices.extend(self.point(rule, now_ms, Point { lane: &nobody, breach: true, found, sight: None }));
            }
            for lane in gone {
                let found = "the lane is there no more, or has come".into();
                notices.extend(self.point(rule, now_ms, Point { lane: &lane, breach: false, found, sight: None }));
            }
        }
        notices
    }

    /// The run ends, and no more points will come: lanes that stand still are said now, whatever the points. `failure` is
    /// why the run ended, where that was not asked for.
    pub fn finish(&mut self, now_ms: i64, sights: &[Sight], failure: Option<&str>) -> Vec<Notice> {
        let mut notices = Vec::new();
        let stands = |s: &Sight| matches!(s.status.state, LaneState::Paused(_) | LaneState::Halted(_));
        let failure = failure.filter(|_| !sights.iter().any(stands));
        for rule in 0..self.rules.len() {
            if self.is_lag(rule) {
                // Who stops a host that is behind knows it.
                continue;
            }
            for sight in sights.iter().filter(|s| self.rules[rule].lanes.matches(&s.status.lane)).collect::<Vec<_>>() {
                let (breach, found) = self.judge(rule, sight);
                if breach {
                    let point = Point { lane: &sight.status.lane, breach, found, sight: Some(sight) };
                    notices.extend(self.last_point(rule, now_ms, point));
                }
            }
            if let (Some(why), Watched::State(Standstill::Halted)) = (failure, &self.rules[rule].watched) {
                let point =
                    Point { lane: HOST, breach: true, found: format!("the run has failed: {why}"), sight: None };
                notices.extend(self.last_point(rule, now_ms, point));
            }
        }
        notices
    }

    /// Every alarm there is, by rule and lane.
    pub fn views(&self) -> Vec<AlarmView> {
        let view = |((rule, lane), track): (&(usize, String), &Track)| AlarmView {
            alarm: self.rules[*rule].name.clone(),
            lane: lane.clone(),
            since_ms: track.since_ms,
            found: track.found.clone(),
        };
        self.tracks.iter().map(view).collect()
    }

    fn is_lag(&self, rule: usize) -> bool {
        matches!(self.rules[rule].watched, Watched::Lag { .. })
    }

    fn look(&mut self, rule: usize, now_ms: i64, sight: &Sight) -> Option<Notice> {
        let (breach, found) = self.judge(rule, sight);
        self.point(rule, now_ms, Point { lane: &sight.status.lane, breach, found, sight: Some(sight) })
    }

    fn judge(&mut self, rule: usize, sight: &Sight) -> (bool, String) {
        let total = sight.status.account.rejected;
        let track = self.track(rule, &sight.status.lane);
        // A lane that another process has counted further begins anew here.
        let rejected = total.saturating_sub(track.rejected);
        track.rejected = total;
        self.rules[rule].judge(sight, rejected)
    }

    fn point(&mut self, rule: usize, now_ms: i64, point: Point<'_>) -> Option<Notice> {
        let of = self.rules[rule].points;
        let change = self.track(rule, point.lane).last.push(point.breach, of);
        self.changed(rule, now_ms, change, point)
    }

    fn last_point(&mut self, rule: usize, now_ms: i64, point: Point<'_>) -> Option<Notice> {
        let change = self.track(rule, point.lane).last.finish(point.breach);
        self.changed(rule, now_ms, change, point)
    }

    fn changed(&mut self, rule: usize, now_ms: i64, change: Option<Change>, point: Point<'_>) -> Option<Notice> {
        let Point { lane, found, sight, .. } = point;
        let track = self.track(rule, lane);
        track.found.clone_from(&found);
        let (kind, since_ms) = match change? {
            Change::Opened => (Kind::Opened, *track.since_ms.insert(now_ms)),
            Change::Recovered => (Kind::Recovered, track.since_ms.take().expect("it was open")),
        };
        assert_eq!(track.last.is_open(), track.since_ms.is_some(), "an alarm that is open has a beginning");
        Some(Notice::of_lane(&self.rules[rule], kind, &self.policy, (lane, sight), (now_ms, since_ms), found))
    }

    fn track(&mut self, rule: usize, lane: &str) -> &mut Track {
        let new = || Track { last: Last::NONE, rejected: 0, found: String::new(), since_ms: None };
        self.tracks.entry((rule, lane.to_owned())).or_insert_with(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarm::rule::{LagKind, Points};
    use crate::live::{Lags, LaneStatus};

    const MINUTE: Duration = Duration::from_secs(60);

    fn behind(lane: &str, minutes: i64) -> Sight {
        let status = LaneStatus { lane: lane.into(), state: LaneState::Running, ..LaneStatus::default() };
        Sight { status, lags: Lags { commit_ms: Some(minutes * 60_000), ..Lags::default() } }
    }

    fn halted(lane: &str) -> Sight {
        let state = LaneState::Halted("its head was reset; give it another --generation".into());
        Sight { status: LaneStatus { lane: lane.into(), state, ..LaneStatus::default() }, lags: Lags::default() }
    }

    fn board() -> Board {
        Board::new("impressions", Rule::defaults())
    }

    /// What is said at a minute, as `alarm lane kind`.
    fn said(notices: Vec<Notice>) -> Vec<String> {
        notices.iter().map(|n| format!("{} {} {}", n.alarm, n.lane, n.kind.name())).collect()
    }

    #[test]
    fn one_opened_and_one_recovered_for_each_lane() {
        let mut board = board();
        let minutes = [(0, 0), (12, 0), (13, 0), (14, 0), (15, 0), (1, 0), (1, 0), (1, 0), (1, 0)];
        let mut all = Vec::new();
        for (at, (a, b)) in (1..).zip(minutes) {
            assert!(board.due().is_some_and(|due| due <= MINUTE * at));
            all.extend(said(board.tick(MINUTE * at, 0, &[behind("a", a), behind("b", b)])));
            // Between two points nothing is due.
            assert!(board.tick(MINUTE * at + MINUTE / 10, 0, &[behind("a", 99), behind("b", 99)]).is_empty());
        }
        assert_eq!(all, ["commit-lag a opened", "commit-lag a recovered"]);
        assert!(board.views().iter().all(|view| !view.is_open()));
    }

    #[test]
    fn a_host_that_slept_has_missed_points_and_says_so() {
        let mut board = board();
        assert!(board.tick(MINUTE, 0, &[behind("a", 0)]).is_empty());
        let notices = board.tick(MINUTE * 60, 5, &[behind("a", 0)]);
        assert_eq!(said(notices.clone()), ["commit-lag a opened"]);
        assert!(notices[0].found.contains("no point was taken"), "{}", notices[0].found);
    }

    #[test]
    fn no_lane_at_all_is_no_silence() {
        let mut board = board();
        let mut all = Vec::new();
        for at in 1..=10 {
            let sights = if at <= 5 { vec![] } else { vec![behind("a", 0)] };
            all.extend(said(board.tick(MINUTE * at, 0, &sights)));
        }
        assert_eq!(all, ["commit-lag * opened", "commit-lag * recovered"]);
    }

    #[test]
    fn a_run_that_ends_says_what_stands_still_without_waiting_for_points() {
        let mut rules = Rule::defaults();
        rules[1].points = Points::new(5, 5).unwrap();
        let mut board = Board::new("impressions", rules);
        assert!(board.tick(MINUTE, 0, &[halted("a"), behind("b", 60)]).is_empty());
        assert_eq!(said(board.finish(1, &[halted("a"), behind("b", 60)], Some("a: halted"))), ["halted a opened"]);
        assert!(board.finish(2, &[halted("a")], Some("a: halted")).is_empty(), "it was said");
        let mut early = self::board();
        assert_eq!(said(early.finish(1, &[], Some("the store is refused"))), ["halted (host) opened"]);
        assert!(self::board().finish(1, &[], None).is_empty());
    }

    #[test]
    fn a_rule_for_one_lane_leaves_the_others_alone() {
        let mut rule = Rule::of(Watched::Lag { lag: LagKind::Commit, at_least: MINUTE });
        rule.points = Points::new(1, 1).unwrap();
        rule.lanes = glob::Pattern::new("shard-*1").unwrap();
        let mut board = Board::new("p", vec![rule]);
        let sights = [behind("shard-01", 2), behind("shard-02", 2), behind("other", 2)];
        assert_eq!(said(board.tick(MINUTE, 0, &sights)), ["commit-lag shard-01 opened"]);
    }
}
