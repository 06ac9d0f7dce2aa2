//! The most frequent values, by Misra and Gries: a bounded number of counters, and when they are all taken everyone pays.
//!
//! ```text
//! m counters, a value without one comes: every counter loses 1, those at 0 are free again, the value is not counted
//! merge: counts of the same value add up; if there are more than m, all lose the (m+1)th greatest count
//! ```
//! Sources: J. Misra and D. Gries, "Finding repeated elements", 1982; the merge and its bound from P. K. Agarwal and
//! others, "Mergeable summaries", PODS 2012.
//!
//! Error: with m = max(1000, 2k) the counts are exact up to m different values. Beyond, a count is never too large, and
//! too small by at most n / (m + 1) after n values, however they were cut and merged: each loss of 1 takes 1 from m + 1
//! values. A value that came more often than that is held. For k up to 500 that is below a thousandth of all values.
//! Memory: 32 bytes and the text for each of m values.
//!
//! Invariants
//! - The values are told by their texts; the hash only orders them, so that chosen values gain nothing.
//! - A new value costs at most one pass over the counters.
//!
//! Limits: texts over 1,024 bytes are left out.

use super::hash::hash;
use super::{put_text, take_text};
use crate::order;
use crate::policy::limits;
use crate::wire::WireError;
use crate::wire::varint::{Cursor, put_u64};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// Longest text, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 1_024;
/// Fewest counters.
const COUNTERS_MIN: usize = 1_000;

/// A multiset of which only the most frequent are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Top {
    k: u32,
    /// By (hash, text).
    counters: Vec<Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Counter {
    hash: u64,
    count: u64,
    text: Box<[u8]>,
}

impl Counter {
    #[inline(never)]
    fn order(&self, hash: u64, text: &[u8]) -> Ordering {
        self.hash.cmp(&hash).then_with(|| (*self.text).cmp(text))
    }
}

impl Top {
    pub(super) fn new(k: u32) -> Self {
        Self { k, counters: Vec::new() }
    }

    /// How many counters there may be.
    pub(super) fn room(&self) -> usize {
        (2 * self.k.min(limits::LIST_MAX) as usize).max(COUNTERS_MIN)
    }

    pub(super) fn add(&mut self, text: &[u8]) {
        if text.len() > TEXT_BYTES_MAX {
            return;
        }
        let hash = hash(text);
        match self.counters.binary_search_by(|counter| counter.order(hash, text)) {
            Ok(at) => self.counters[at].count = self.counters[at].count.saturating_add(1),
            Err(at) if self.counters.len() < self.room() => {
                self.counters.insert(at, Counter { hash, count: 1, text: text.into() });
            }
            Err(_) => self.charge(1),
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        let mut all = Vec::with_capacity(self.counters.len() + other.counters.len());
        let mut more = other.counters.iter().peekable();
        for mut counter in core::mem::take(&mut self.counters) {
            while let Some(next) = more.next_if(|next| next.order(counter.hash, &counter.text).is_lt()) {
                all.push(next.clone());
            }
            if let Some(same) = more.next_if(|next| next.order(counter.hash, &counter.text).is_eq()) {
                counter.count = counter.count.saturating_add(same.count);
            }
            all.push(counter);
        }
        all.extend(more.cloned());
        self.counters = all;
        if self.counters.len() > self.room() {
            let first_without = self.ranked()[self.room()];
            self.charge(self.counters[first_without as usize].count);
        }
    }

    /// Takes so much from every counter, and frees those that had no more.
    fn charge(&mut self, much: u64) {
        self.counters.retain_mut(|counter| {
            counter.count = counter.count.saturating_sub(much);
            counter.count > 0
        });
    }

    /// The k most frequent with their counts, the greatest first, by text where they are equal.
    pub(super) fn most(&self) -> Vec<(Vec<u8>, u64)> {
        let ids = self.ranked();
        let top = ids.iter().take(self.k as usize).map(|id| &self.counters[*id as usize]);
        top.map(|counter| (counter.text.to_vec(), counter.count)).collect()
    }

    /// The places of the counters, the greatest count first, by text where they are equal.
    fn ranked(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = (0..self.counters.len() as u32).collect();
        order::sort(&mut ids, &mut |a, b| {
            let (a, b) = (&self.counters[a as usize], &self.counters[b as usize]);
            b.count.cmp(&a.count).then_with(|| a.text.cmp(&b.text))
        });
        ids
    }

    /// Appends it. Drawn in `core/SNAPSHOT.md`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_u64(out, self.counters.len() as u64);
        for counter in &self.counters {
            put_text(out, &counter.text);
            put_u64(out, counter.count);
        }
    }

    /// Reads what `write` wrote.
    pub(super) fn read(&mut self, c: &mut Cursor<'_>) -> Result<(), WireError> {
        let n = c.count(2)?;
        if n > self.room() {
            return Err(c.bad("more counters than the policy's top k has"));
        }
        self.counters.reserve_exact(n);
        for _ in 0..n {
            let text = take_text(c)?;
            let hash = hash(&text);
            if text.len() > TEXT_BYTES_MAX || self.counters.last().is_some_and(|last| last.order(hash, &text).is_ge()) {
                return Err(c.bad("counted texts must ascend by hash, each of at most 1,024 bytes"));
            }
            let count = c.varint_u64()?;
            if count == 0 {
                return Err(c.bad("a text that was not counted"));
            }
            self.counters.push(Counter { hash, count, text });
        }
        Ok(())
    }
}
