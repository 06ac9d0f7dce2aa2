//! The quantile of the last n values, as a running maximum, in amortised O(log n) per value.
//!
//! A watermark only ever wants to know when the quantile rises above its greatest value so far, `best`. So only the
//! values above `best` are kept in order, in a heap whose entries die silently when they leave the window; everything
//! at or below `best` is only counted.
//!
//! The quantile is the usual linear interpolation (Hyndman and Fan's type 7): of m sorted values, position
//! `q * (m - 1)`, rounded downwards between neighbours; the median of an even sample is the mean of the middle two.
//!
//! Invariants
//! - `above` is the number of living values greater than `best`; the heap holds each of them.
//! - The heap holds at most `2 * size + 64` entries: dead ones are swept out beyond that.
//!
//! A position between two values may need the greatest value at or below `best`, found by a pass over the sample: with
//! the median, an odd `sample` spares that.

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
    /// The last values; once full, `ring[seen % size]` is the oldest.
    ring: Vec<i64>,
    seen: u64,
    best: Option<i64>,
    above: usize,
    /// (value, its number); living while `number + size >= seen`.
    heap: BinaryHeap<Reverse<(i64, u64)>>,
}

impl Sample {
    pub(super) fn new(q_milli: u32, size: u32, min: u32) -> Self {
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
        }
    }

    /// Takes a value; the greatest quantile so far, once there is one.
    pub(super) fn feed(&mut self, t: i64) -> Option<i64> {
        let slot = (self.seen % self.size as u64) as usize;
        if self.ring.len() < self.size {
            self.ring.push(t);
        } else {
            self.above -= usize::from(self.is_above(self.ring[slot]));
            self.ring[slot] = t;
        }
        if self.is_above(t) {
            self.above += 1;
            self.heap.push(Reverse((t, self.seen)));
        }
        self.seen += 1;
        self.rise();
        if self.heap.len() > 2 * self.size + 64 {
            let oldest = self.seen.saturating_sub(self.size as u64);
            self.heap.retain(|Reverse((_, number))| *number >= oldest);
        }
        self.best
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
        let oldest = self.seen.saturating_sub(self.size as u64);
        while self.heap.peek().is_some_and(|Reverse((_, number))| *number < oldest) {
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
        let mut merged = Self { best: parents.iter().map(|p| p.best).min().flatten(), ..Self::new(1, 1, 1) };
        (merged.q_milli, merged.size, merged.min) = (first.q_milli, first.size, first.min);
        let youngest = (0..).flat_map(|age| parents.iter().map(move |p| p.of_age(age)));
        let many = parents.iter().map(|p| p.ring.len()).max().unwrap_or(0) * parents.len();
        merged.ring = youngest.take(many).flatten().take(first.size).collect();
        merged.ring.reverse();
        merged.seen = merged.ring.len() as u64;
        merged.order();
        merged
    }

    /// The value that was fed so many values ago.
    fn of_age(&self, age: usize) -> Option<i64> {
        let number = self.seen.checked_sub(age as u64 + 1).filter(|_| age < self.ring.len())?;
        Some(self.ring[(number % self.size as u64) as usize])
    }

    /// Appends the values, oldest first, as differences, and `best`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_u64(out, self.ring.len() as u64);
        let oldest = if self.ring.len() < self.size { 0 } else { (self.seen % self.size as u64) as usize };
        let mut last = 0i64;
        for t in self.ring[oldest..].iter().chain(&self.ring[..oldest]) {
            put_i64(out, t.wrapping_sub(last));
            last = *t;
        }
        match self.best {
            None => out.push(0),
            Some(best) => {
                out.push(1);
                put_i64(out, best);
            }
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
        // A hostile snapshot may claim a best below its sample's quantile; the next value sets that right.
        self.order();
        Ok(())
    }

    /// Puts the values above `best` in order, none of which has been overwritten yet.
    fn order(&mut self) {
        let best = self.best;
        let living = self.ring.iter().zip(0..).filter(|(t, _)| best.is_none_or(|b| **t > b));
        self.heap = living.map(|(t, number)| Reverse((*t, number))).collect();
        self.above = self.heap.len();
    }
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

    proptest! {
        #[test]
        fn it_is_the_running_maximum_of_the_quantile(
            q in 1u32..1000, size in 1u32..40, min in 1u32..40, restore_at in 0usize..300,
            steps in proptest::collection::vec((-50i64..50, 0u32..20), 0..300),
        ) {
            let min = min.min(size);
            let mut sample = Sample::new(q, size, min);
            let (mut window, mut best, mut drift) = (VecDeque::new(), None, 0i64);
            for (i, (t, kind)) in steps.into_iter().enumerate() {
                drift += 3;
                let t = match kind { 0 => i64::MAX - t.abs(), 1 => i64::MIN + t.abs(), _ => drift + t };
                if i == restore_at {
                    let mut bytes = Vec::new();
                    sample.write(&mut bytes);
                    sample = Sample::new(q, size, min);
                    sample.read(&mut Cursor::new(&bytes, "test")).unwrap();
                }
                window.push_back(t);
                if window.len() > size as usize { window.pop_front(); }
                if window.len() >= min as usize { best = best.max(Some(naive(&window, i128::from(q)))); }
                prop_assert_eq!(sample.feed(t), best);
                prop_assert!(sample.heap.len() <= 2 * size as usize + 64);
            }
        }
    }

    #[test]
    fn merged_samples_keep_the_youngest_values_of_each_and_the_least_claim() {
        let fed = |values: &[i64]| {
            let mut s = Sample::new(500, 4, 1);
            for t in values {
                s.feed(*t);
            }
            s
        };
        let (a, b) = (fed(&[1, 2, 3, 4, 5, 6]), fed(&[10, 20]));
        let mut merged = Sample::merge(&[a.clone(), b]);
        assert_eq!((merged.ring.as_slice(), merged.best), (&[10, 5, 20, 6][..], a.best));
        assert_eq!(merged.feed(7), Some(6), "of 5, 20, 6 and 7");
        assert_eq!(Sample::merge(&[a, fed(&[])]).best, None, "a parent that claims nothing holds its child");
    }

    #[test]
    fn the_median_of_an_even_sample_is_the_mean_of_the_middle_two_rounded_down() {
        let mut s = Sample::new(500, 10, 1);
        assert_eq!(s.feed(-3), Some(-3));
        let mut s = Sample::new(500, 10, 2);
        s.feed(-4);
        assert_eq!(s.feed(-3), Some(-4));
    }
}
