//! The stream: shards with records, split and merged and trimmed.
//!
//! Invariant: a position is the number of records of its shard before it.

use super::plan::{MINUTE, SECOND};
use super::random::Random;
use plimsoll_core::time::ArrivalTime;
use plimsoll_core::wire::frame::{self, Kind};

/// One record.
#[derive(Clone, Debug)]
pub struct Record {
    /// Random, so that in a sum of ids the swap of two records shows.
    pub id: i64,
    pub a: u8,
    pub b: u8,
    pub time: i64,
    pub arrival: i64,
    /// Is none.
    pub poison: bool,
}

impl Record {
    pub fn drawn(r: &mut Random, arrival: i64) -> Self {
        let behind = match r.below(10) {
            0 => r.range(5 * MINUTE, 20 * MINUTE),
            1 => -r.range(0, 10 * MINUTE),
            _ => r.range(0, 2 * MINUTE),
        };
        let id = r.range(1 << 40, 1 << 50);
        Self { id, a: r.below(2) as u8, b: r.below(3) as u8, time: arrival - behind, arrival, poison: false }
    }

    pub fn text(&self) -> String {
        let Self { id, a, b, time, .. } = self;
        if self.poison {
            return format!(r#"{{"id":{id},"a":"a{a}""#);
        }
        format!(r#"{{"a":"a{a}","b":"b{b}","ts":{time},"id":{id}}}"#)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Shard {
    pub parents: Vec<usize>,
    pub records: Vec<Record>,
    pub closed: bool,
    /// Records before this one are gone.
    pub trimmed: usize,
}

/// What a read found.
pub enum Read {
    /// Frames, and how many records they hold.
    Records(Vec<u8>, usize),
    /// Nothing yet.
    Tip,
    /// Nothing any more.
    End,
    /// The position is gone.
    Trimmed,
}

#[derive(Clone, Debug)]
pub struct Stream {
    pub shards: Vec<Shard>,
}

pub const SHARDS_MAX: usize = 9;

impl Stream {
    pub fn new() -> Self {
        Self { shards: vec![Shard::default(), Shard::default()] }
    }

    pub fn open(&self) -> Vec<usize> {
        (0..self.shards.len()).filter(|s| !self.shards[*s].closed).collect()
    }

    pub fn read(&self, shard: usize, from: usize, many: usize) -> Read {
        let s = &self.shards[shard];
        if from < s.trimmed {
            return Read::Trimmed;
        }
        let found = &s.records[from..s.records.len().min(from + many)];
        if found.is_empty() {
            return if s.closed { Read::End } else { Read::Tip };
        }
        let mut frames = Vec::new();
        for (i, record) in found.iter().enumerate() {
            let arrival = Some(ArrivalTime::from_millis(record.arrival));
            frame::push(&mut frames, Kind::Record, (from + i) as u64, arrival, record.text().as_bytes());
        }
        Read::Records(frames, found.len())
    }

    /// Whether the shard could be split: it is open, and there is room.
    pub fn split(&mut self, shard: usize) -> bool {
        if self.shards[shard].closed || self.shards.len() + 2 > SHARDS_MAX {
            return false;
        }
        self.shards[shard].closed = true;
        for _ in 0..2 {
            self.shards.push(Shard { parents: vec![shard], ..Shard::default() });
        }
        true
    }

    /// Whether the shard could be merged with another.
    pub fn merge(&mut self, shard: usize) -> bool {
        let Some(other) = self.open().into_iter().find(|s| *s != shard) else { return false };
        if self.shards[shard].closed || self.shards.len() + 1 > SHARDS_MAX {
            return false;
        }
        let mut parents = vec![shard, other];
        parents.sort_unstable();
        for p in &parents {
            self.shards[*p].closed = true;
        }
        self.shards.push(Shard { parents, ..Shard::default() });
        true
    }
}

/// When records arrive: in bursts, with pauses of minutes.
pub fn arrivals(r: &mut Random, many: usize, from: i64) -> Vec<i64> {
    let mut at = from;
    let mut next = || {
        at += if r.percent(60) { r.range(0, 2 * SECOND) } else { r.range(10 * SECOND, 2 * MINUTE) };
        at
    };
    (0..many).map(|_| next()).collect()
}
