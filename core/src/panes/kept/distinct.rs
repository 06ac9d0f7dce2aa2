//! How many different values: exact while they are few, HyperLogLog beyond.
//!
//! ```text
//! up to 512 hashes of 64 bits, sorted  ->  4,096 registers: of the hashes that begin with the register's 12 bits, the
//!                                          most zeros after them, plus 1 (0: none came)
//! estimate = m^2 / (2 ln 2) / (m sigma(C0 / m) + C1 / 2 + C2 / 4 + ...)      m = 4,096, Ci registers that hold i
//! sigma(x) = x + x^2 + 2 x^4 + 4 x^8 + ...
//! ```
//! Sources: P. Flajolet and others, "HyperLogLog", AofA 2007; S. Heule and others, "HyperLogLog in practice", EDBT 2013
//! (a set first); O. Ertl, "New cardinality estimation algorithms for HyperLogLog sketches", arXiv:1702.01284 (the
//! estimate: no tables, no switch between formulas). All in fixed point, since logarithms of floats differ natively.
//!
//! Error: exact up to 512 different values (that two of those share a hash has a chance below 10^-14); beyond, the
//! standard error is 1.04 / sqrt(4,096) = 1.6 %, so that 95 of 100 estimates are within 3.3 %.
//! Memory: 8 bytes a value up to 512, then 4 KiB.
//!
//! Invariants
//! - What is held is a function of the set of values: neither order nor repetition nor the way of merging shows.
//! - An estimate never falls when values are added.
//!
//! Not here: protection from values chosen by their hash (`hash`).

use super::hash::hash;
use crate::wire::WireError;
use crate::wire::varint::{Cursor, put_u64};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Most values that are told apart exactly: as hashes they take as many bytes as the registers.
pub(super) const EXACT_MAX: usize = 512;
const REGISTER_BITS: u32 = 12;
const REGISTERS: usize = 1 << REGISTER_BITS;
/// The bits behind the register's number are 52: all zeros make 53.
const RANK_MAX: u8 = 53;
/// A register further above the least one than a nibble says stands by itself.
const NIBBLE: u8 = 15;
/// m^2 / (2 ln 2) in units of 2^-52, that is 2^75 / ln 2.
const NUMERATOR: u128 = 54_503_477_648_770_344_926_184;

/// A set of which only the size is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Distinct {
    /// Hashes in ascending order.
    Few(Vec<u64>),
    /// Registers.
    Many(Box<[u8]>),
}

impl Default for Distinct {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Distinct {
    pub(super) fn add(&mut self, text: &[u8]) {
        self.add_hash(hash(text));
    }

    #[inline(never)]
    fn add_hash(&mut self, hash: u64) {
        match self {
            Self::Few(hashes) => {
                if let Err(at) = hashes.binary_search(&hash) {
                    hashes.insert(at, hash);
                    if hashes.len() > EXACT_MAX {
                        let mut registers: Box<[u8]> = alloc::vec![0; REGISTERS].into();
                        hashes.iter().for_each(|hash| raise(&mut registers, *hash));
                        *self = Self::Many(registers);
                    }
                }
            }
            Self::Many(registers) => raise(registers, hash),
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            (_, Self::Few(hashes)) => hashes.iter().for_each(|hash| self.add_hash(*hash)),
            (Self::Few(hashes), Self::Many(registers)) => {
                let mut all = registers.clone();
                hashes.iter().for_each(|hash| raise(&mut all, *hash));
                *self = Self::Many(all);
            }
            (Self::Many(registers), Self::Many(others)) => {
                for (held, other) in registers.iter_mut().zip(others) {
                    *held = (*held).max(*other);
                }
            }
        }
    }

    /// How many different values there were.
    pub(super) fn estimate(&self) -> u64 {
        let registers = match self {
            Self::Few(hashes) => return hashes.len() as u64,
            Self::Many(registers) => registers,
        };
        let zeros = registers.iter().filter(|r| **r == 0).count() as u128;
        // Units of 2^-52; the greatest rank counts as the one before it, which matters from 2^60 values on.
        let sum: u128 = registers.iter().filter(|r| **r > 0).map(|r| 1u128 << (RANK_MAX - 1).saturating_sub(*r)).sum();
        // sigma in units of 2^-64; times m it is the same number in units of 2^-52.
        let mut x = zeros << (64 - REGISTER_BITS);
        let mut sigma = x;
        for doubled in 0.. {
            x = (x * x) >> 64;
            if x == 0 {
                break;
            }
            sigma += x << doubled;
        }
        let z = sum + sigma;
        (((NUMERATOR + z / 2) / z) as u64).max(EXACT_MAX as u64 + 1)
    }

    /// Appends it. Drawn in `core/SNAPSHOT.md`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Few(hashes) => {
                out.push(0);
                put_u64(out, hashes.len() as u64);
                hashes.iter().for_each(|hash| out.extend_from_slice(&hash.to_le_bytes()));
            }
            Self::Many(registers) => {
                let least = registers.iter().copied().min().unwrap_or(0);
                let nibble = |r: u8| (r - least).min(NIBBLE);
                out.extend_from_slice(&[1, least]);
                out.extend(registers.as_chunks().0.iter().map(|[low, high]| nibble(*low) | nibble(*high) << 4));
                out.extend(registers.iter().filter(|r| nibble(**r) == NIBBLE).map(|r| r - least - NIBBLE));
            }
        }
    }

    /// Reads what `write` wrote.
    pub(super) fn read(c: &mut Cursor<'_>) -> Result<Self, WireError> {
        match c.u8()? {
            0 => {
                let n = c.count(8)?;
                if n > EXACT_MAX {
                    return Err(c.bad("more hashes than a set of different values holds"));
                }
                let mut hashes = Vec::with_capacity(n);
                for _ in 0..n {
                    hashes.push(u64::from_le_bytes(c.array()?));
                }
                if !hashes.is_sorted_by(|a, b| a < b) {
                    return Err(c.bad("hashes must ascend"));
                }
                Ok(Self::Few(hashes))
            }
            1 => {
                let least = c.u8()?;
                let nibbles = c.take(REGISTERS / 2)?;
                let mut registers: Box<[u8]> = nibbles.iter().flat_map(|pair| [pair & 15, pair >> 4]).collect();
                if !registers.contains(&0) {
                    return Err(c.bad("no register is the least"));
                }
                for register in &mut registers {
                    let above = if *register == NIBBLE { c.u8()? } else { 0 };
                    let rank = u32::from(least) + u32::from(*register) + u32::from(above);
                    if rank > RANK_MAX.into() {
                        return Err(c.bad("a register over 53"));
                    }
                    *register = rank as u8;
                }
                if registers.iter().all(|r| *r == 0) {
                    return Err(c.bad("registers that have seen nothing"));
                }
                Ok(Self::Many(registers))
            }
            _ => Err(c.bad("a set of different values begins with 0 or 1")),
        }
    }
}

#[inline(never)]
fn raise(registers: &mut [u8], hash: u64) {
    let register = &mut registers[(hash >> (64 - REGISTER_BITS)) as usize];
    // The bit behind the hash ends the zeros at 52.
    let rank = ((hash << REGISTER_BITS) | 1 << (REGISTER_BITS - 1)).leading_zeros() as u8 + 1;
    *register = (*register).max(rank);
}
