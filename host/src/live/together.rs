//! The watermark of all lanes together: what 'complete up to' means (semantics S4).
//!
//! ```text
//! lane a  --5---9-------------|
//! lane b  --3-----(idle)------|  together: 3, then 9
//! ```
//! Invariants
//! - It is the least of the lanes that are active, and never moves back. Where none is, it is what the furthest one reached.
//! - A lane counts from the moment it is found: one of which nothing was heard holds the watermark where it is.
//! - A lane that has parents claims the least of theirs until it speaks for itself. Which lanes are parents is the source's
//!   to say (`LaneInfo::parents`).
//! - A lane that wakes up behind the others holds nothing until it has caught up: what was complete is not taken back.
//!
//! Not here: when a lane is idle (`driver`), the minimum itself (`plimsoll_core::lanes`), the same from stored heads
//! (`store::Completeness`).

use crate::source::LaneInfo;
use plimsoll_core::lanes::{Minimum, Waking};
use plimsoll_core::time::EventTime;
use std::collections::BTreeMap;

/// The lanes that were found, and how far they are.
#[derive(Debug)]
pub(super) struct Together {
    minimum: Minimum,
    /// By name.
    lanes: BTreeMap<String, Known>,
    /// Names by id.
    names: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Known {
    input: u32,
    watermark: Option<EventTime>,
    idle: bool,
    /// Ids, while it has not spoken for itself.
    parents: Vec<String>,
}

impl Together {
    /// No lanes.
    pub(super) fn new() -> Self {
        Self { minimum: Minimum::new(Waking::ByStatus), lanes: BTreeMap::new(), names: BTreeMap::new() }
    }

    /// The watermark, once there is one.
    pub(super) fn watermark(&self) -> Option<EventTime> {
        self.minimum.watermark()
    }

    /// The source has these lanes; those that were known stay as they are.
    pub(super) fn found(&mut self, lanes: &[LaneInfo]) {
        for lane in lanes {
            self.names.entry(lane.id.clone()).or_insert_with(|| lane.name.clone());
            self.known(&lane.name, &lane.parents);
        }
        self.inherit();
    }

    /// A lane is so far, and is left out or not.
    pub(super) fn told(&mut self, lane: &str, watermark: Option<EventTime>, idle: bool) {
        let known = self.known(lane, &[]);
        let input = known.input;
        let woke = known.idle && !idle;
        let slept = !known.idle && idle;
        known.idle = idle;
        if watermark > known.watermark {
            known.watermark = watermark;
            known.parents.clear();
        }
        if woke {
            self.minimum.active_from(input);
        }
        if let Some(w) = watermark {
            self.minimum.watermark_from(input, w);
        }
        // What it reached counts, where it is the furthest of lanes that all are idle.
        if slept {
            self.minimum.idle_from(input);
        }
        self.inherit();
    }

    fn known(&mut self, lane: &str, parents: &[String]) -> &mut Known {
        let input = self.lanes.len() as u32;
        self.lanes.entry(lane.to_owned()).or_insert_with(|| {
            self.minimum.add(input);
            Known { input, watermark: None, idle: false, parents: parents.to_vec() }
        })
    }

    /// Children that have not spoken claim the least of their parents.
    fn inherit(&mut self) {
        let Self { minimum, lanes, names } = self;
        for child in lanes.values().filter(|lane| !lane.parents.is_empty()) {
            // A parent that is not listed any more cannot be asked.
            let parents = child.parents.iter().filter_map(|id| lanes.get(names.get(id)?));
            if let Some(w) = parents.map(|parent| parent.watermark).min().flatten() {
                minimum.watermark_from(child.input, w);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(name: &str, parents: &[&str]) -> LaneInfo {
        let id = |name: &str| format!("id of {name}");
        LaneInfo { id: id(name), name: name.into(), parents: parents.iter().map(|p| id(p)).collect() }
    }

    struct Told(Together);

    impl Told {
        fn of(lanes: &[LaneInfo]) -> Self {
            let mut all = Together::new();
            all.found(lanes);
            Self(all)
        }

        fn says(&mut self, lane: &str, watermark: Option<i64>, idle: bool) -> Option<i64> {
            self.0.told(lane, watermark.map(EventTime::from_millis), idle);
            self.0.watermark().map(EventTime::as_millis)
        }
    }

    #[test]
    fn a_lane_that_never_delivered_holds_all_until_it_is_idle() {
        let mut all = Told::of(&[lane("a", &[]), lane("b", &[])]);
        assert_eq!(all.says("a", Some(30), false), None);
        assert_eq!(all.says("b", None, false), None);
        assert_eq!(all.says("b", None, true), Some(30));
        assert_eq!(all.says("b", Some(7), false), Some(30), "awake, and behind: nothing is taken back");
        assert_eq!(all.says("a", Some(40), false), Some(40));
        assert_eq!(all.says("b", Some(40), false), Some(40));
        assert_eq!(all.says("a", Some(50), false), Some(40), "it has caught up, and counts again");
    }

    #[test]
    fn when_all_are_idle_the_furthest_counts() {
        let mut all = Told::of(&[lane("a", &[]), lane("b", &[]), lane("c", &[])]);
        all.says("a", Some(30), false);
        all.says("b", Some(5), false);
        assert_eq!(all.says("c", Some(20), false), Some(5));
        assert_eq!(all.says("a", Some(30), true), Some(5));
        assert_eq!(all.says("b", Some(5), true), Some(20));
        assert_eq!(all.says("c", Some(20), true), Some(30));
        assert_eq!(all.says("c", Some(20), true), Some(30), "said again");
    }

    #[test]
    fn a_child_starts_at_the_least_of_its_parents() {
        let (parents, child) = ([lane("p", &[]), lane("q", &[])], lane("c", &["p", "q", "gone"]));
        let mut all = Told::of(&[parents[0].clone(), parents[1].clone(), child]);
        all.says("p", Some(10), false);
        assert_eq!(all.says("q", Some(20), false), Some(10), "the child holds no more than its parents");
        assert_eq!(all.says("p", Some(10), true), Some(10), "the parent is done; its child goes on from there");
        assert_eq!(all.says("q", Some(20), true), Some(10));
        assert_eq!(all.says("c", None, false), Some(10));
        assert_eq!(all.says("c", Some(15), false), Some(15));
    }

    #[test]
    fn a_lane_found_later_holds_the_watermark_where_it_is() {
        let mut all = Told::of(&[lane("a", &[])]);
        assert_eq!(all.says("a", Some(10), false), Some(10));
        all.0.found(&[lane("a", &[]), lane("b", &[])]);
        assert_eq!(all.says("a", Some(20), false), Some(10));
        assert_eq!(all.says("b", Some(3), false), Some(10));
        assert_eq!(all.says("b", Some(18), false), Some(18));
    }
}
