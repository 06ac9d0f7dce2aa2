//! Sorting small numbers by what they stand for, and keeping them in order.
//!
//! One sort and one tree for all uses: each further copy of the library's sort or tree would be 10 KB of the module. The sort
//! is a merge sort of half a kilobyte, since what is compared here are texts and windows far away in memory: it compares
//! less often than the library's, and the library's is kept for numbers that are themselves the order (`engine::pending`).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// Small numbers in the order of what they stand for, which is written as four numbers.
pub(crate) type Tree = BTreeMap<[i64; 4], u32>;

/// Sorts numbers by `compare`; equal ones stay in their order.
#[inline(never)]
pub(crate) fn sort(ids: &mut [u32], compare: &mut dyn FnMut(u32, u32) -> Ordering) {
    let mut merged = Vec::with_capacity(ids.len());
    let mut run = 1;
    // Runs of one are sorted; two neighbours at a time become one.
    while run < ids.len() {
        for pair in ids.chunks_mut(2 * run) {
            let (left, right) = pair.split_at(run.min(pair.len()));
            merge(left, right, &mut merged, compare);
            pair.copy_from_slice(&merged);
        }
        run *= 2;
    }
}

fn merge(left: &[u32], right: &[u32], out: &mut Vec<u32>, compare: &mut dyn FnMut(u32, u32) -> Ordering) {
    out.clear();
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let next = if compare(**a, **b) == Ordering::Greater { &mut right } else { &mut left };
        out.extend(next.next());
    }
    out.extend(left.chain(right));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_are_sorted_and_equal_ones_stay_in_their_order(values in proptest::collection::vec(0u8..20, 0..200)) {
            let mut ids: Vec<u32> = (0..values.len() as u32).collect();
            sort(&mut ids, &mut |a, b| values[a as usize].cmp(&values[b as usize]));
            let mut expected: Vec<u32> = (0..values.len() as u32).collect();
            expected.sort_by_key(|id| values[*id as usize]);
            prop_assert_eq!(ids, expected);
        }
    }
}
