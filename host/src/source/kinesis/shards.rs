//! The shard list as lanes, and where each of them begins.
//!
//! Invariants
//! - Only a shard of the first look without listed parents may begin at `latest`, and only at the very first start: once a
//!   lane has been counted, what is put into a shard that has not is there to be counted too.
//! - A later look never changes where a shard begins.
//!
//! Not here: how the list is asked for (`super`).

use super::{SKEW_MAX_MS, Start};
use crate::source::LaneInfo;
use aws_sdk_kinesis::types::Shard;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// The lanes of a shard list, sorted by shard; `prefix` is their ids up to the shard's own.
pub(super) fn lanes(prefix: &str, stream: &str, shards: &[Shard]) -> Vec<LaneInfo> {
    let mut lanes: Vec<LaneInfo> = shards
        .iter()
        .map(|shard| {
            let parents = [shard.parent_shard_id(), shard.adjacent_parent_shard_id()];
            let parents = parents.into_iter().flatten().map(|parent| format!("{prefix}{parent}"));
            LaneInfo { parents: parents.collect(), ..lane(stream, &format!("{prefix}{}", shard.shard_id())) }
        })
        .collect();
    lanes.sort_by(|a, b| a.id.cmp(&b.id));
    lanes
}

/// A lane by its id alone.
pub(super) fn lane(stream: &str, id: &str) -> LaneInfo {
    LaneInfo { id: id.to_owned(), name: format!("{stream}/{}", number(shard_of(id))), parents: Vec::new() }
}

/// The hash keys of a shard; all there are where the list does not say.
fn hash_keys(shard: &Shard) -> RangeInclusive<u128> {
    let range = shard.hash_key_range();
    let bound = |text: Option<&str>| text.and_then(|text| text.parse().ok());
    let from = bound(range.map(|r| r.starting_hash_key())).unwrap_or(0);
    from..=bound(range.map(|r| r.ending_hash_key())).unwrap_or(u128::MAX)
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

/// The stream of a lane, as its id names it, and when that was made.
pub(super) fn stream_of(lane: &str) -> Option<(&str, i64)> {
    let mut parts = lane.rsplitn(3, ':').skip(1);
    let created_ms = parts.next()?.parse().ok()?;
    Some((parts.next()?, created_ms))
}

/// What the looks at the shard list have shown.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// Whether each lane that was ever listed is a root of the first look.
    seen: BTreeMap<String, Kin>,
    /// Lanes of the latest look, with the hash keys of their shards.
    listed: BTreeMap<String, RangeInclusive<u128>>,
    /// Those of them that are closed.
    closed: BTreeSet<String>,
    /// Lanes that earlier runs have begun, and when, in ms since the epoch.
    began: BTreeMap<String, i64>,
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
    /// Takes note of a look: its lanes, made of its shards.
    pub(super) fn see(&mut self, prefix: &str, lanes: &[LaneInfo], shards: &[Shard]) {
        let first = self.seen.is_empty();
        let id = |shard: &Shard| format!("{prefix}{}", shard.shard_id());
        self.listed = shards.iter().map(|shard| (id(shard), hash_keys(shard))).collect();
        self.closed = closed(prefix, shards);
        for lane in lanes {
            let beside = lane.parents.iter().any(|parent| self.listed.contains_key(parent));
            let kin = match (first, beside) {
                (true, false) => Kin::Root,
                (true, true) => Kin::Child,
                (false, _) => Kin::Later,
            };
            self.seen.entry(lane.id.clone()).or_insert(kin);
        }
    }

    /// Takes note of the lanes that have heads.
    pub(super) fn began(&mut self, lanes: impl Iterator<Item = (String, i64)>) {
        self.began.extend(lanes);
    }

    /// Whether a lane's shard took no record any more at the latest look.
    pub(super) fn closed(&self, lane: &str) -> bool {
        self.closed.contains(lane)
    }

    /// The hash keys of a lane's shard; `None` if it is not listed.
    pub(super) fn hash_keys(&self, lane: &str) -> Option<RangeInclusive<u128>> {
        self.listed.get(lane).cloned()
    }

    /// Where a lane begins that has no position; `None` if it is not listed.
    pub(super) fn begin(&self, lane: &str, start: Start) -> Option<Start> {
        let kin = self.seen.get(lane).filter(|_| self.listed.contains_key(lane))?;
        Some(match (start, kin, self.began.get(lane)) {
            // It began at the tip, and committed nothing yet: what has come since is its own.
            (Start::Latest, Kin::Root, Some(began_ms)) => Start::At(began_ms.saturating_sub(SKEW_MAX_MS)),
            (Start::Latest, _, None) if !self.began.is_empty() => Start::TrimHorizon,
            (_, Kin::Root, _) => start,
            // A time cuts a child exactly, like its parents.
            (Start::At(_), Kin::Child, _) => start,
            (_, Kin::Child | Kin::Later, _) => Start::TrimHorizon,
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
        let range = HashKeyRange::builder().starting_hash_key(n.to_string()).ending_hash_key("99").build().unwrap();
        let numbers = SequenceNumberRange::builder().starting_sequence_number("1").build().unwrap();
        let shard = Shard::builder().shard_id(id(n)).hash_key_range(range).sequence_number_range(numbers);
        shard.set_parent_shard_id(parents[0].map(id)).set_adjacent_parent_shard_id(parents[1].map(id)).build().unwrap()
    }

    fn see(looks: &mut Looks, shards: &[Shard]) {
        looks.see(P, &lanes(P, "s", shards), shards);
    }

    fn begin(looks: &Looks, n: u64, start: Start) -> Option<Start> {
        looks.begin(&format!("{P}shardId-{n:012}"), start)
    }

    #[test]
    fn lanes_are_sorted_and_name_all_their_parents() {
        let list = [shard(10, [Some(2), Some(1)]), shard(1, [None; 2]), shard(2, [Some(0), None])];
        let lanes = lanes(P, "s", &list);
        let ids: Vec<&str> = lanes.iter().map(|lane| shard_of(&lane.id)).collect();
        assert_eq!(ids, ["shardId-000000000001", "shardId-000000000002", "shardId-000000000010"]);
        let names: Vec<&str> = lanes.iter().map(|lane| lane.name.as_str()).collect();
        assert_eq!(names, ["s/1", "s/2", "s/10"]);
        assert!(lanes[0].parents.is_empty());
        assert_eq!(lanes[1].parents, [format!("{P}shardId-000000000000")], "listed or not");
        assert_eq!(lanes[2].parents, [lanes[1].id.clone(), lanes[0].id.clone()]);
    }

    #[test]
    fn only_roots_of_the_first_look_begin_at_the_tip() {
        let mut looks = Looks::default();
        see(&mut looks, &[shard(0, [Some(9), None]), shard(1, [Some(0), None])]);
        assert_eq!(begin(&looks, 0, Start::Latest), Some(Start::Latest), "its parent was gone before");
        assert_eq!(begin(&looks, 1, Start::Latest), Some(Start::TrimHorizon));
        assert_eq!(begin(&looks, 1, Start::At(5)), Some(Start::At(5)));
        assert_eq!(begin(&looks, 2, Start::Latest), None);
        // The parent of 1 is gone, 2 is new without any parent: both are what they were at their first look.
        see(&mut looks, &[shard(1, [Some(0), None]), shard(2, [None; 2])]);
        assert_eq!(begin(&looks, 0, Start::Latest), None, "no longer listed");
        assert_eq!(begin(&looks, 1, Start::Latest), Some(Start::TrimHorizon));
        assert_eq!(begin(&looks, 2, Start::Latest), Some(Start::TrimHorizon));
        assert_eq!(begin(&looks, 2, Start::At(5)), Some(Start::TrimHorizon));
        assert_eq!(looks.hash_keys(&format!("{P}shardId-000000000002")), Some(2..=99));
        assert_eq!(looks.hash_keys(&format!("{P}shardId-000000000000")), None);
    }

    #[test]
    fn the_tip_is_for_the_very_first_start() {
        let mut looks = Looks::default();
        see(&mut looks, &[shard(0, [None; 2]), shard(1, [None; 2])]);
        looks.began(std::iter::once((format!("{P}shardId-000000000000"), 1_000_000)));
        let at = Start::At(1_000_000 - SKEW_MAX_MS);
        assert_eq!(begin(&looks, 0, Start::Latest), Some(at), "it has a head and committed nothing");
        assert_eq!(begin(&looks, 1, Start::Latest), Some(Start::TrimHorizon), "another lane has been counted");
        assert_eq!(begin(&looks, 1, Start::At(7)), Some(Start::At(7)));
        assert_eq!(begin(&looks, 1, Start::TrimHorizon), Some(Start::TrimHorizon));
    }

    #[test]
    fn names_are_short() {
        assert_eq!(number("shardId-000000000000"), "0");
        assert_eq!(number("shardId-000000000120"), "120");
        assert_eq!(number("shardId-"), "shardId-");
        assert_eq!(number("other"), "other");
    }
}
