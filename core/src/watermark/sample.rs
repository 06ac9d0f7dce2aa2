//! The quantile of the last n values, as a running maximum, in amortised O(log n) per value.
//!
//! A watermark only ever wants to know when the quantile rises above its greatest value so far, `best`. So only the
//! values above `best` are kept in order, in a heap whose entries die silently when they leave the window; everything
//! at or below `best` is only counted.
//!
//! The quantile is the usual linear interpolation (Hyndman and Fan's type 7): of m sorted values, position
//! `q * (m - 1)`, rounded downwards between neighbours; the median of an even sample is the mean of the middle two.
//!
//! With `per_source` at most so many values are one source's: the sample is, of the last `per_source` values of each source,
//! the last n. A source's next value takes the place of its own oldest, so that a sample of few sources moves on too.
//! That costs a pass over the sample for each value.
//!
//! Invariants
//! - `above` is the number of living values greater than `best`; the heap holds each of them.
//! - The heap holds at most `2 * size + 64` entries: dead ones are swept out beyond that.
//!
//! A position between two values may need the greatest value at or below `best`, found by a pass over the sample: with
//! the median, an odd `sample` spares that.

use crate::order;
use crate::policy::limits;
use crate::wire::WireError;
use crate::wire::varint::{Cursor, put_i64, put_u64};
use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// A sliding sample.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    q_milli: u64,
    size: usize,
    min: usize,
    /// The last values; once full, `ring[seen % size]` is the oldest, where no source is bounded.
    ring: Vec<i64>,
    seen: u64,
    best: Option<i64>,
    above: usize,
    /// (value, its number); living as `alive` says.
    heap: BinaryHeap<Reverse<(i64, u64)>>,
    fair: Option<Fair>,
}

/// Whose the values are, where a source has a bound.
#[derive(Clone, Debug)]
struct Fair {
    most: usize,
    /// By place in the ring: the value's number, which ends in its place.
    numbers: Vec<u64>,
    /// By place in the ring.
    sources: Vec<u64>,
}

/// Digits of a number that are its place.
const PLACE_BITS: u32 = 11;
const _: () = assert!(limits::SAMPLE_MAX < 1 << PLACE_BITS);

impl Fair {
    /// The place that the next value of a source takes in a ring of `len` out of `size`.
    fn place(&self, source: u64, len: usize, size: usize) -> usize {
        let (mut oldest, mut own, mut count) = (0, 0, 0);
        for (place, s) in self.sources.iter().enumerate() {
            if self.numbers[place] < self.numbers[oldest] {
                oldest = place;
            }
            if *s == source {
                if count == 0 || self.numbers[place] < self.numbers[own] {
                    own = place;
                }
                count += 1;
            }
        }
        match count == self.most {
            true => own,
            false if len < size => len,
            false => oldest,
        }
    }

    fn put(&mut self, place: usize, source: u64, seen: u64) -> u64 {
        let number = seen << PLACE_BITS | place as u64;
        if place == self.sources.len() {
            self.sources.push(source);
            self.numbers.push(number);
        } else {
            (self.sources[place], self.numbers[place]) = (source, number);
        }
        number
    }

    fn alive(&self, number: u64) -> bool {
        self.numbers[(number & ((1 << PLACE_BITS) - 1)) as usize] == number
    }

    /// The places, oldest value first.
    fn order(&self) -> Vec<u32> {
        let mut places: Vec<u32> = (0..self.numbers.len() as u32).collect();
        order::sort(&mut places, &mut |a, b| self.numbers[a as usize].cmp(&self.numbers[b as usize]));
        places
    }
}

impl Sample {
    pub(super) fn new(q_milli: u32, size: u32, min: u32, per_source: Option<u32>) -> Self {
        let fair = |most| Fair { most: most as usize, numbers: Vec::new(), sources: Vec::new() };
        let size = size as usize;
        Self {
            q_milli: u64::from(q_milli),
            size,
            min: min as usize,
            ring: Vec::new(),
            seen: 0,
            best: None,
            above: 0,
            heap: BinaryHeap::new(),
            fair: per_source.map(fair),
        }
    }

    /// Takes a value of a source; the greatest quantile so far, once there is one.
    pub(super) fn feed(&mut self, t: i64, source: u64) -> Option<i64> {
        let (slot, number) = match &mut self.fair {
            None => ((self.seen % self.size as u64) as usize, self.seen),
            Some(fair) => {
                let place = fair.place(source, self.ring.len(), self.size);
                (place, fair.put(place, source, self.seen))
            }
        };
        if slot == self.ring.len() {
            self.ring.push(t);
        } else {
            self.above -= usize::from(self.is_above(self.ring[slot]));
            self.ring[slot] = t;
        }
        if self.is_above(t) {
            self.above += 1;
            self.heap.push(Reverse((t, number)));
        }
        self.seen += 1;
        self.rise();
        if self.heap.len() > 2 * self.size + 64 {
            let (oldest, fair) = (self.oldest(), &self.fair);
            self.heap.retain(|Reverse((_, number))| alive(*number, oldest, fair.as_ref()));
        }
        self.best
    }

    /// The number of the oldest value, where no source is bounded.
    fn oldest(&self) -> u64 {
        self.seen.saturating_sub(self.size as u64)
    }

    fn is_above(&self, t: i64) -> bool {
        self.best.is_none_or(|b| t > b)
    }

    /// Lifts `best` to the quantile if that is greater.
    fn rise(&mut self) {
        let m = self.ring.len();
        if m < self.min {
            return;
        }
        let position = self.q_milli * (m as u64 - 1);
        let (low, fraction) = ((position / 1_000) as usize, position % 1_000);
        let high = low + usize::from(fraction > 0);
        // Sorted index `i` lies above `best` exactly when i >= m - above.
        if high < m - self.above {
            return;
        }
        // Values sorted below `high` are at or below the new best: the interpolation lies between `low` and `high`.
        let mut below = None;
        while self.above > m - high {
            below = Some(self.pop());
        }
        let top = self.peek();
        let q = if fraction == 0 {
            top
        } else {
            let below = below.unwrap_or_else(|| self.greatest_not_above());
            let step = (i128::from(top) - i128::from(below)) * i128::from(fraction) / 1_000;
            // Between two 64-bit values, so it fits.
            (i128::from(below) + step) as i64
        };
        if self.is_above(q) {
            self.best = Some(q);
        }
        while self.above > 0 {
            let least = self.peek();
            if self.is_above(least) {
                break;
            }
            self.pop();
        }
    }

    fn sweep(&mut self) {
        let (oldest, fair) = (self.oldest(), self.fair.as_ref());
        while self.heap.peek().is_some_and(|Reverse((_, number))| !alive(*number, oldest, fair)) {
            self.heap.pop();
        }
    }

    /// The least living value above `best`.
    fn peek(&mut self) -> i64 {
        self.sweep();
        let Reverse((t, _)) = *self.heap.peek().expect("`above` counts the living values of the heap");
        t
    }

    fn pop(&mut self) -> i64 {
        self.sweep();
        let Reverse((t, _)) = self.heap.pop().expect("`above` counts the living values of the heap");
        self.above -= 1;
        t
    }

    fn greatest_not_above(&self) -> i64 {
        let best = self.best.expect("with nothing below `best`, the value below `high` came from the heap");
        self.ring.iter().copied().filter(|t| *t <= best).max().expect("`low` is not above `best`")
    }

    /// The samples of several lanes as one: their youngest values take turns, and the least quantile is believed, so that
    /// nothing is claimed that not all of them claim. The first one's settings count.
    pub(super) fn merge(parents: &[Self]) -> Self {
        let first = &parents[0];
        let most = first.fair.as_ref().map(|fair| fair.most as u32);
        let mut merged = Self::new(1, 1, 1, most);
        (merged.q_milli, merged.size, merged.min) = (first.q_milli, first.size, first.min);
        merged.best = parents.iter().map(|p| p.best).min().flatten();
        let orders: Vec<Vec<u32>> = parents.iter().map(Self::places).collect();
        let longest = orders.iter().map(Vec::len).max().unwrap_or(0);
        let youngest = (1..=longest).flat_map(|age| {
            parents.iter().zip(&orders).filter_map(move |(parent, order)| {
                let place = order[order.len().checked_sub(age)?] as usize;
                Some((parent.ring[place], parent.fair.as_ref().map_or(0, |fair| fair.sources[place])))
            })
        });
        let mut taken: Vec<(i64, u64)> = Vec::new();
        for (t, source) in youngest {
            let count = taken.iter().filter(|(_, s)| *s == source).count();
            if taken.len() < first.size && most.is_none_or(|most| count < most as usize) {
                taken.push((t, source));
            }
        }
        for (place, (t, source)) in taken.into_iter().rev().enumerate() {
            merged.ring.push(t);
            merged.fair.iter_mut().for_each(|fair| _ = fair.put(place, source, place as u64));
        }
        merged.seen = merged.ring.len() as u64;
        merged.order();
        merged
    }

    /// Where the values stand, oldest first.
    fn places(&self) -> Vec<u32> {
        let len = self.ring.len() as u32;
        let oldest = if self.ring.len() < self.size { 0 } else { (self.seen % self.size as u64) as u32 };
        self.fair.as_ref().map_or_else(|| (0..len).map(|i| (oldest + i) % len).collect(), Fair::order)
    }

    /// Appends the values, oldest first, as differences, and `best`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_u64(out, self.ring.len() as u64);
        let order = self.places();
        let mut last = 0i64;
        for place in &order {
            let t = self.ring[*place as usize];
            put_i64(out, t.wrapping_sub(last));
            last = t;
        }
        match self.best {
            None => out.push(0),
            Some(best) => {
                out.push(1);
                put_i64(out, best);
            }
        }
        if let Some(fair) = &self.fair {
            order.iter().for_each(|place| out.extend_from_slice(&fair.sources[*place as usize].to_le_bytes()));
        }
    }

    /// Reads what `write` wrote.
    pub(super) fn read(&mut self, c: &mut Cursor<'_>) -> Result<(), WireError> {
        let n = c.count(1)?;
        if n > self.size {
            return Err(c.bad("a sample larger than the policy's"));
        }
        let mut last = 0i64;
        for _ in 0..n {
            last = last.wrapping_add(c.varint_i64()?);
            self.ring.push(last);
        }
        self.best = match c.u8()? {
            0 => None,
            1 => Some(c.varint_i64()?),
            _ => return Err(c.bad("the best quantile begins with 0 or 1")),
        };
        self.seen = n as u64;
        if let Some(fair) = &mut self.fair {
            for place in 0..n {
                let source = u64::from_le_bytes(c.array()?);
                if fair.place(source, place, self.size) != place {
                    return Err(c.bad("more of one source in the sample than the policy allows"));
                }
                fair.put(place, source, place as u64);
            }
        }
        // A hostile snapshot may claim a best below its sample's quantile; the next value sets that right.
        self.order();
        Ok(())
    }

    /// Puts the values above `best` in order, none of which has been overwritten yet.
    fn order(&mut self) {
        let best = self.best;
        let fair = self.fair.as_ref();
        let numbered = (0..self.ring.len()).map(|place| fair.map_or(place as u64, |fair| fair.numbers[place]));
        let living = self.ring.iter().zip(numbered).filter(|(t, _)| best.is_none_or(|b| **t > b));
        self.heap = living.map(|(t, number)| Reverse((*t, number))).collect();
        self.above = self.heap.len();
    }
}

/// Whether a value of the heap is still in the sample.
fn alive(number: u64, oldest: u64, fair: Option<&Fair>) -> bool {
    fair.map_or(number >= oldest, |fair| fair.alive(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use proptest::prelude::*;

    /// The definition, word by word.
    fn naive(values: &VecDeque<i64>, q_milli: i128) -> i64 {
        let mut v: Vec<i128> = values.iter().map(|t| i128::from(*t)).collect();
        v.sort_unstable();
        let position = q_milli * (v.len() as i128 - 1);
        let (i, fraction) = ((position / 1_000) as usize, position % 1_000);
        let next = v[(i + 1).min(v.len() - 1)];
        (v[i] + (next - v[i]) * fraction / 1_000) as i64
    }

    /// Of each source's last `most` values, the last `size`: the definition, word by word.
    fn chosen(all: &[(i64, u64)], size: usize, most: Option<u32>) -> VecDeque<i64> {
        let later = |i: usize| all[i + 1..].iter().filter(|(_, s)| *s == all[i].1).count();
        let fair = |i: &usize| most.is_none_or(|most| later(*i) < most as usize);
        let kept: Vec<usize> = (0..all.len()).filter(fair).collect();
        kept[kept.len().saturating_sub(size)..].iter().map(|i| all[*i].0).collect()
    }

    proptest! {
        #[test]
        fn it_is_the_running_maximum_of_the_quantile(
            q in 1u32..1000, size in 1u32..40, min in 1u32..40, restore_at in 0usize..300,
            most in proptest::option::of(1u32..10), sources in 1u64..30,
            steps in proptest::collection::vec((-50i64..50, 0u32..20, any::<u64>()), 0..300),
        ) {
            let (min, most) = (min.min(size), most.map(|most| most.min(size)));
            let mut sample = Sample::new(q, size, min, most);
            let (mut all, mut best, mut drift) = (Vec::new(), None, 0i64);
            for (i, (t, kind, source)) in steps.into_iter().enumerate() {
                drift += 3;
                let t = match kind { 0 => i64::MAX - t.abs(), 1 => i64::MIN + t.abs(), _ => drift + t };
                if i == restore_at {
                    let mut bytes = Vec::new();
                    sample.write(&mut bytes);
                    sample = Sample::new(q, size, min, most);
                    let mut c = Cursor::new(&bytes, "test");
                    sample.read(&mut c).unwrap();
                    c.end().unwrap();
                    let mut again = Vec::new();
                    sample.write(&mut again);
                    prop_assert_eq!(bytes, again);
                }
                all.push((t, source % sources));
                let window = chosen(&all, size as usize, most);
                if window.len() >= min as usize { best = best.max(Some(naive(&window, i128::from(q)))); }
                prop_assert_eq!(sample.feed(t, source % sources), best);
                prop_assert!(sample.heap.len() <= 2 * size as usize + 64);
            }
        }

        /// Of 101 devices, each with one value, the liars' clocks run ahead; each of them sends as often as it likes.
        #[test]
        fn chatty_liars_do_not_move_the_median_until_they_are_more_than_half(
            liars in 0u64..101, turns in proptest::collection::vec(any::<u64>(), 0..3_000),
        ) {
            let mut fair = Sample::new(500, 101, 101, Some(1));
            for source in 0..101 {
                fair.feed(if source < liars { 1_000_000 } else { 50 }, source);
            }
            for turn in turns.iter().filter(|_| liars > 0) {
                fair.feed(1_000_000, turn % liars);
            }
            prop_assert_eq!(fair.best, Some(if liars > 50 { 1_000_000 } else { 50 }));
        }
    }

    #[test]
    fn one_chatty_liar_is_the_crowd_where_no_source_is_bounded() {
        let median = |per_source| {
            let mut s = Sample::new(500, 11, 11, per_source);
            (0..11).for_each(|source| _ = s.feed(50, source));
            (0..100).for_each(|_| _ = s.feed(1_000_000, 0));
            s.best
        };
        assert_eq!((median(None), median(Some(5)), median(Some(6))), (Some(1_000_000), Some(50), Some(1_000_000)));
    }

    #[test]
    fn a_sample_of_few_sources_moves_on() {
        let mut s = Sample::new(500, 501, 4, Some(2));
        (0..1_000).for_each(|t| _ = s.feed(t, t as u64 % 2));
        assert_eq!((s.best, s.ring.len()), (Some(997), 4));
    }

    #[test]
    fn merged_samples_keep_the_youngest_values_of_each_and_the_least_claim() {
        let fed = |values: &[i64], per_source| {
            let mut s = Sample::new(500, 4, 1, per_source);
            for t in values {
                s.feed(*t, *t as u64 % 2);
            }
            s
        };
        let (a, b) = (fed(&[1, 2, 3, 4, 5, 6], None), fed(&[10, 20], None));
        let mut merged = Sample::merge(&[a.clone(), b]);
        assert_eq!((merged.ring.as_slice(), merged.best), (&[10, 5, 20, 6][..], a.best));
        assert_eq!(merged.feed(7, 0), Some(6), "of 5, 20, 6 and 7");
        assert_eq!(Sample::merge(&[a, fed(&[], None)]).best, None, "a parent that claims nothing holds its child");
        let fair = Sample::merge(&[fed(&[1, 2, 3, 4, 5, 6], Some(1)), fed(&[10, 20], Some(1))]);
        assert_eq!(fair.ring, [5, 6], "of each source the youngest value");
    }

    #[test]
    fn the_median_of_an_even_sample_is_the_mean_of_the_middle_two_rounded_down() {
        let mut s = Sample::new(500, 10, 1, None);
        assert_eq!(s.feed(-3, 0), Some(-3));
        let mut s = Sample::new(500, 10, 2, None);
        s.feed(-4, 0);
        assert_eq!(s.feed(-3, 0), Some(-4));
    }
}
