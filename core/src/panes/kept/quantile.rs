//! A quantile of integers: how often each came, to so many significant binary digits as there is room for.
//!
//! ```text
//! 8 significant digits   ... 1100_1010_1 xx -> 1100_1010_1, 4 values in one bucket          255 and less: exact
//! ```
//! It begins with all 64 digits. When there are more than 2,048 buckets, every value loses its last digit, buckets that
//! became equal are added up, and so on until they fit. Values that lie close together keep more digits, be they large
//! or small: of the times within a minute, in milliseconds since 1970, each is told within 16 ms.
//!
//! Sources: the buckets are those of G. Tene's HdrHistogram, losing digits everywhere at once is the uniform collapse of
//! I. Epicoco and others, "UDDSketch", IEEE Access 2020, which is why order does not matter.
//!
//! Error: exact up to 2,048 different values. With d digits left the values next to the quantile are each told with an
//! error below 2^-d of themselves; a bucket is told as its middle. For values in 0..=2^32 d is at least 7 (0.8 %), for
//! others not negative at least 6 (1.6 %), in the worst case 5 (3.2 %); for values that spread over a factor of 30,000
//! at least 8 (0.4 %).
//! Memory: 16 bytes a bucket, at most 32 KiB.
//!
//! The quantile is that of the watermark's sample: between the values at both sides of q (n - 1) in proportion, rounded
//! down; the median of an even number is the mean of the middle two.
//!
//! Invariants
//! - What is held is a function of the multiset of values: neither order nor the way of merging shows.
//! - Digits are never fewer than 5: all integers of 64 bits then make 1,920 buckets.
//!
//! Limits: values that are no integers of 64 bits are left out.

use crate::wire::WireError;
use crate::wire::varint::{Cursor, put_i64, put_u64};
use alloc::vec::Vec;

/// Most buckets.
pub(super) const BUCKETS_MAX: usize = 2_048;
const DIGITS_MIN: u32 = 5;
const DIGITS_MAX: u32 = 64;

/// A multiset of which only a quantile is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quantile {
    q_milli: u32,
    digits: u32,
    /// Ascending: the value next to zero in each bucket, how many came.
    buckets: Vec<(i64, u64)>,
}

impl Quantile {
    pub(super) fn new(q_milli: u32) -> Self {
        Self { q_milli, digits: DIGITS_MAX, buckets: Vec::new() }
    }

    pub(super) fn add(&mut self, text: &[u8]) {
        let value = core::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
        if let Some(value) = value {
            self.add_times(value, 1);
        }
    }

    #[inline(never)]
    fn add_times(&mut self, value: i64, times: u64) {
        let value = cut(value, self.digits);
        match self.buckets.binary_search_by_key(&value, |bucket| bucket.0) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(times),
            Err(at) => {
                self.buckets.insert(at, (value, times));
                while self.buckets.len() > BUCKETS_MAX {
                    self.cut_to(self.digits - 1);
                }
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.cut_to(other.digits);
        other.buckets.iter().for_each(|(value, times)| self.add_times(*value, *times));
    }

    fn cut_to(&mut self, digits: u32) {
        if digits < self.digits {
            self.digits = digits;
            self.buckets.iter_mut().for_each(|bucket| bucket.0 = cut(bucket.0, digits));
            self.buckets.dedup_by(|next, held| {
                let same = next.0 == held.0;
                if same {
                    held.1 = held.1.saturating_add(next.1);
                }
                same
            });
        }
    }

    /// The quantile; `None` where no value was a number.
    pub(super) fn estimate(&self) -> Option<i128> {
        let n: u128 = self.buckets.iter().map(|bucket| u128::from(bucket.1)).sum();
        let position = n.checked_sub(1)? * u128::from(self.q_milli);
        let (rank, part) = (position / 1_000, (position % 1_000) as i128);
        let low = self.at(rank)?;
        let high = if part == 0 { low } else { self.at(rank + 1)? };
        Some(low + ((high - low) * part).div_euclid(1_000))
    }

    /// The middle of the bucket that holds the value of a rank, from 0.
    fn at(&self, rank: u128) -> Option<i128> {
        let mut before = 0;
        let bucket = self.buckets.iter().find(|bucket| {
            before += u128::from(bucket.1);
            rank < before
        })?;
        let value = i128::from(bucket.0);
        let half = ((1i128 << cut_digits(bucket.0.unsigned_abs(), self.digits)) - 1) / 2;
        Some(value + value.signum() * half)
    }

    /// Appends it. Drawn in `core/SNAPSHOT.md`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(self.digits as u8);
        put_u64(out, self.buckets.len() as u64);
        let mut last = None;
        for (value, count) in &self.buckets {
            let number = to_number(*value, self.digits);
            match last {
                None => put_i64(out, number),
                Some(last) => put_u64(out, number.wrapping_sub(last) as u64),
            }
            put_u64(out, *count);
            last = Some(number);
        }
    }

    /// Reads what `write` wrote.
    pub(super) fn read(&mut self, c: &mut Cursor<'_>) -> Result<(), WireError> {
        self.digits = c.u8()?.into();
        if !(DIGITS_MIN..=DIGITS_MAX).contains(&self.digits) {
            return Err(c.bad("5 to 64 significant digits expected"));
        }
        let n = c.count(2)?;
        if n > BUCKETS_MAX {
            return Err(c.bad("more buckets than a quantile has"));
        }
        self.buckets.reserve_exact(n);
        let mut last: Option<i64> = None;
        for _ in 0..n {
            let number = match last {
                None => Some(c.varint_i64()?),
                Some(last) => Some(c.varint_u64()?).filter(|step| *step > 0).and_then(|s| last.checked_add_unsigned(s)),
            };
            let Some((number, value)) = number.and_then(|number| Some((number, from_number(number, self.digits)?)))
            else {
                return Err(c.bad("buckets must ascend within 64 bits"));
            };
            let count = c.varint_u64()?;
            if count == 0 {
                return Err(c.bad("an empty bucket"));
            }
            self.buckets.push((value, count));
            last = Some(number);
        }
        Ok(())
    }
}

/// How many digits at the end do not count.
fn cut_digits(magnitude: u64, digits: u32) -> u32 {
    (u64::BITS - magnitude.leading_zeros()).saturating_sub(digits)
}

/// The value with its significant digits, and zeros for the others.
fn cut(value: i64, digits: u32) -> i64 {
    let magnitude = value.unsigned_abs();
    let zeros = cut_digits(magnitude, digits);
    signed(value < 0, (magnitude >> zeros) << zeros).expect("a value cut is nearer to zero")
}

fn signed(negative: bool, magnitude: u64) -> Option<i64> {
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// The number of a value's bucket: neighbours in value are neighbours in number, so that differences are small.
fn to_number(value: i64, digits: u32) -> i64 {
    let magnitude = value.unsigned_abs();
    let zeros = cut_digits(magnitude, digits);
    // With zeros the first significant digit is a one, which carries `zeros` up by one.
    let number = (u64::from(zeros) << (digits - 1)) + (magnitude >> zeros);
    signed(value < 0, number).expect("buckets are no more than values")
}

fn from_number(number: i64, digits: u32) -> Option<i64> {
    let (magnitude, first) = (number.unsigned_abs(), 1u64 << (digits - 1));
    let zeros = (magnitude >> (digits - 1)).saturating_sub(1);
    if zeros + u64::from(digits) > u64::BITS.into() {
        return None;
    }
    let significant = if zeros == 0 { magnitude } else { (magnitude & (first - 1)) | first };
    signed(number < 0, significant << zeros)
}
