//! Sorting small numbers by what they stand for.
//!
//! One sort for all uses: each further copy of the library's sort would be 10 KB of the module.

use core::cmp::Ordering;

/// Sorts numbers by `compare`; equal ones in any order.
#[inline(never)]
pub(crate) fn sort(ids: &mut [u32], compare: &mut dyn FnMut(u32, u32) -> Ordering) {
    ids.sort_unstable_by(|a, b| compare(*a, *b));
}
