//! Sorting small numbers by what they stand for, and keeping them in order.
//!
//! One sort and one tree for all uses: each further copy of the library's sort or tree would be 10 KB of the module.

use alloc::collections::BTreeMap;
use core::cmp::Ordering;

/// Small numbers in the order of what they stand for, which is written as four numbers.
pub(crate) type Tree = BTreeMap<[i64; 4], u32>;

/// Sorts numbers by `compare`; equal ones in any order.
#[inline(never)]
pub(crate) fn sort(ids: &mut [u32], compare: &mut dyn FnMut(u32, u32) -> Ordering) {
    ids.sort_unstable_by(|a, b| compare(*a, *b));
}
