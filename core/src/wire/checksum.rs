//! The CRC-32 of zlib, Ethernet and PNG over snapshots, effects and panes.
//!
//! Natively a kept crate computes it with the processor's help. In the module, which has no such help, that crate's
//! tables would be 16 KB of its bytes: here they are made when there is enough to sum up.
//!
//! Invariant: both give the same sums (a test compares them).

/// The CRC-32 of some bytes.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

#[cfg(target_family = "wasm")]
pub(crate) use small::crc32;

#[cfg(any(test, target_family = "wasm"))]
mod small {
    /// What each byte does to a sum.
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let mut sum = i as u32;
            let mut bit = 0;
            while bit < 8 {
                sum = if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
                bit += 1;
            }
            table[i] = sum;
            i += 1;
        }
        table
    };
    /// From so many bytes on, tables for four bytes at once pay for themselves.
    pub(super) const LONG: usize = 4_096;

    /// The CRC-32 of some bytes.
    pub(crate) fn crc32(bytes: &[u8]) -> u32 {
        let (sum, rest) = if bytes.len() < LONG { (!0, bytes) } else { four_at_once(bytes) };
        !rest.iter().fold(sum, |sum, byte| step(sum, sum ^ u32::from(*byte)))
    }

    #[inline(always)]
    fn step(sum: u32, index: u32) -> u32 {
        sum >> 8 ^ TABLE[index as usize & 0xff]
    }

    /// The sum so far over all whole words, and what is left.
    fn four_at_once(bytes: &[u8]) -> (u32, &[u8]) {
        let mut tables = [TABLE; 4];
        for k in 1..4 {
            tables[k] = tables[k - 1].map(|sum| step(sum, sum));
        }
        let [t0, t1, t2, t3] = &tables;
        let (words, rest) = bytes.as_chunks::<4>();
        let sum = words.iter().fold(!0, |sum: u32, word| {
            let [a, b, c, d] = (sum ^ u32::from_le_bytes(*word)).to_le_bytes().map(usize::from);
            t3[a] ^ t2[b] ^ t1[c] ^ t0[d]
        });
        (sum, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_check_value_of_crc_32_comes_out() {
        assert_eq!(small::crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    proptest! {
        #[test]
        fn both_ways_give_one_sum(bytes in proptest::collection::vec(any::<u8>(), 0..2 * small::LONG)) {
            prop_assert_eq!(small::crc32(&bytes), crc32(&bytes));
        }
    }
}
