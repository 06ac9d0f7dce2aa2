//! The shard list as lanes, and where each of them begins.
//!
//! Invariants
//! - Only a shard of the first look without listed parents may begin at `latest`.
//! - A later look never changes where a shard begins.
//!
//! Not here: how the list is asked for (`super`).

use super::Start;
use crate::source::LaneInfo;
use aws_sdk_kinesis::types::Shard;
use std::collections::{BTreeMap, BTreeSet};

/// The lanes of a shard list, sorted by shard; `prefix` is their ids up to the shard's own.
pub(super) fn lanes(prefix: &str, stream: &str, shards: &[Shard]) -> Vec<LaneInfo> {
    let listed: BTreeSet<&str> = shards.iter().map(Shard::shard_id).collect();
    let mut lanes: Vec<LaneInfo> = shards
        .iter()
        .map(|shard| {
            let parents = [shard.parent_shard_id(), shard.adjacent_parent_shard_id()];
            let parents = parents.into_iter().flatten().filter(|parent| listed.contains(parent));
            LaneInfo {
                id: format!("{prefix}{}", shard.shard_id()),
                name: format!("{stream}/{}", number(shard.shard_id())),
                parents: parents.map(|parent| format!("{prefix}{parent}")).collect(),
            }
        })
        .collect();
    lanes.sort_by(|a, b| a.id.cmp(&b.id));
    lanes
}

/// The shards that take no record any more: what they hold is all, and their end comes after it.
pub(super) fn closed(prefix: &str, shards: &[Shard]) -> BTreeSet<String> {
    let ends = |shard: &&Shard| shard.sequence_number_range().is_some_and(|r| r.ending_sequence_number().is_some());
    shards.iter().filter(ends).map(|shard| format!("{prefix}{}", shard.shard_id())).collect()
}

/// `3` of `shardId-000000000003`; the whole id if it looks otherwise.
fn number(shard: &str) -> &str {
    let Some(digits) = shard.strip_prefix("shardId-").filter(|d| d.bytes().all(|b| b.is_ascii_digit())) else {
        return shard;
    };
    match digits.trim_start_matches('0') {
        "" if digits.is_empty() => shard,
        "" => "0",
        number => number,
    }
}

/// The shard of a lane.
pub(super) fn shard_of(lane: &str) -> &str {
    // Neither shard ids nor the names of streams hold a colon.
    lane.rsplit(':').next().expect("a split has at least one part")
}

/// What the looks at the shard list have shown.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// Whether each lane that was ever listed is a root of the first look.
    seen: BTreeMap<String, Kin>,
    /// Lanes of the latest look.
    listed: BTreeSet<String>,
    /// Those of them that are closed.
    closed: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kin {
    /// Of the first look, without listed parents.
    Root,
    /// Of the first look, with a parent beside it.
    Child,
    /// Of a later look.
    Later,
}

impl Looks {
    /// Takes note of a look.
    pub(super) fn see(&mut self, lanes: &[LaneInfo], closed: BTreeSet<String>) {
        let first = self.seen.is_empty();
        for lane in lanes {
            let kin = match (first, lane.parents.is_empty()) {
                (true, true) => Kin::Root,
                (true, false) => Kin::Child,
                (false, _) => Kin::Later,
            };
            self.seen.entry(lane.id.clone()).or_insert(kin);
        }
        self.listed = lanes.iter().map(|lane| lane.id.clone()).collect();
        self.closed = closed;
    }

    /// Whether a lane's shard took no record any more at the latest look.
    pub(super) fn closed(&self, lane: &str) -> bool {
        self.closed.contains(lane)
    }

    /// Where a lane begins that has no position; `None` if it is not listed.
    pub(super) fn begin(&self, lane: &str, start: Start) -> Option<Start> {
        let kin = self.seen.get(lane).filter(|_| self.listed.contains(lane))?;
        Some(match (start, kin) {
            (_, Kin::Root) => start,
            // A time cuts a child exactly, like its parents.
            (Start::At(_), Kin::Child) => start,
            (_, Kin::Child | Kin::Later) => Start::TrimHorizon,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_kinesis::types::{HashKeyRange, SequenceNumberRange};

    const P: &str = "kinesis:arn:aws:kinesis:eu-west-1:1:stream/s:1000:";

    fn shard(n: u64, parents: [Option<u64>; 2]) -> Shard {
        let id = |n: u64| format!("shardId-{n:012}");
        let range = HashKeyRange::builder().starting_hash_key("0").ending_hash_key("1").build().unwrap();
        let numbers = SequenceNumberRange::builder().starting_sequence_number("1").build().unwrap();
        let shard = Shard::builder().shard_id(id(n)).hash_key_range(range).sequence_number_range(numbers);
        shard.set_parent_shard_id(parents[0].map(id)).set_adjacent_parent_shard_id(parents[1].map(id)).build().unwrap()
    }

    #[test]
    fn parents_are_named_only_while_they_are_listed() {
        let list = [shard(10, [Some(2), Some(1)]), shard(1, [None; 2]), shard(2, [Some(0), None])];
        let lanes = lanes(P, "s", &list);
        let ids: Vec<&str> = lanes.iter().map(|lane| shard_of(&lane.id)).collect();
        assert_eq!(ids, ["shardId-000000000001", "shardId-000000000002", "shardId-000000000010"]);
        let names: Vec<&str> = lanes.iter().map(|lane| lane.name.as_str()).collect();
        assert_eq!(names, ["s/1", "s/2", "s/10"]);
        assert!(lanes[0].parents.is_empty() && lanes[1].parents.is_empty());
        assert_eq!(lanes[2].parents, [lanes[1].id.clone(), lanes[0].id.clone()]);
    }

    #[test]
    fn only_roots_of_the_first_look_begin_at_the_tip() {
        let mut looks = Looks::default();
        let first = lanes(P, "s", &[shard(0, [None; 2]), shard(1, [Some(0), None])]);
        looks.see(&first, BTreeSet::new());
        let begin = |looks: &Looks, n: u64, start| looks.begin(&format!("{P}shardId-{n:012}"), start);
        assert_eq!(begin(&looks, 0, Start::Latest), Some(Start::Latest));
        assert_eq!(begin(&looks, 1, Start::Latest), Some(Start::TrimHorizon));
        assert_eq!(begin(&looks, 1, Start::At(5)), Some(Start::At(5)));
        assert_eq!(begin(&looks, 2, Start::Latest), None);
        // The parent of 1 is gone, 2 is new without any parent: both are what they were at their first look.
        looks.see(&lanes(P, "s", &[shard(1, [Some(0), None]), shard(2, [None; 2])]), BTreeSet::new());
        assert_eq!(begin(&looks, 0, Start::Latest), None, "no longer listed");
        assert_eq!(begin(&looks, 1, Start::Latest), Some(Start::TrimHorizon));
        assert_eq!(begin(&looks, 2, Start::Latest), Some(Start::TrimHorizon));
        assert_eq!(begin(&looks, 2, Start::At(5)), Some(Start::TrimHorizon));
    }

    #[test]
    fn names_are_short() {
        assert_eq!(number("shardId-000000000000"), "0");
        assert_eq!(number("shardId-000000000120"), "120");
        assert_eq!(number("shardId-"), "shardId-");
        assert_eq!(number("other"), "other");
    }
}
