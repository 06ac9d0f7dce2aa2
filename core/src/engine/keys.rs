//! Keys as small numbers: each key's text is kept once and found by one probe.
//!
//! Invariants
//! - Ids are dense and given in the order keys are first seen; nothing that leaves the engine depends on them.
//! - The table is at most half full.

use alloc::vec::Vec;

/// Interned keys.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// id + 1, or 0 where free; a power of two long.
    table: Vec<u32>,
    /// End of each key in `text`; a key begins where the one before ends.
    ends: Vec<u32>,
    text: Vec<u8>,
    seed: u64,
}

impl Keys {
    /// The seed keeps strangers from preparing keys that collide.
    pub(super) fn new(seed: u64) -> Self {
        Self { table: alloc::vec![0; 64], ends: Vec::new(), text: Vec::new(), seed }
    }

    /// How many keys.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of text held.
    pub(super) fn text_len(&self) -> usize {
        self.text.len()
    }

    /// The text of a key.
    pub(super) fn text(&self, id: u32) -> &[u8] {
        let i = id as usize;
        let from = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.text[from as usize..self.ends[i] as usize]
    }

    /// The id of a key, a new one if it was not there.
    #[inline]
    pub(super) fn intern(&mut self, key: &[u8]) -> u32 {
        let mask = self.table.len() - 1;
        let mut slot = hash(self.seed, key) as usize & mask;
        loop {
            match self.table[slot] {
                0 => break,
                id if self.text(id - 1) == key => return id - 1,
                _ => slot = (slot + 1) & mask,
            }
        }
        self.insert(slot, key)
    }

    #[cold]
    fn insert(&mut self, slot: usize, key: &[u8]) -> u32 {
        let id = self.ends.len() as u32;
        self.text.extend_from_slice(key);
        self.ends.push(u32::try_from(self.text.len()).expect("the engine clears keys long before 4 GiB"));
        self.table[slot] = id + 1;
        if self.ends.len() * 2 > self.table.len() {
            self.grow();
        }
        id
    }

    fn grow(&mut self) {
        let mask = self.table.len() * 2 - 1;
        let mut table = alloc::vec![0u32; mask + 1];
        for id in 0..self.ends.len() as u32 {
            let mut slot = hash(self.seed, self.text(id)) as usize & mask;
            while table[slot] != 0 {
                slot = (slot + 1) & mask;
            }
            table[slot] = id + 1;
        }
        self.table = table;
    }

    /// The same table without keys.
    pub(super) fn emptied(&self) -> Self {
        Self::new(self.seed)
    }

    /// Forgets all keys.
    pub(super) fn clear(&mut self) {
        *self = self.emptied();
    }
}

/// A multiplicative hash over 8-byte words, finished as in splitmix64.
#[inline]
fn hash(seed: u64, key: &[u8]) -> u64 {
    const K: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut h = seed ^ (key.len() as u64).wrapping_mul(K);
    let mut words = key.chunks_exact(8);
    for w in words.by_ref() {
        h = (h ^ u64::from_le_bytes(w.try_into().expect("8 bytes"))).wrapping_mul(K);
        h ^= h >> 29;
    }
    let mut tail = 0u64;
    for b in words.remainder() {
        tail = tail << 8 | u64::from(*b);
    }
    h = (h ^ tail).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    h ^= h >> 32;
    h
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_id_and_keeps_its_text() {
        let mut keys = Keys::new(7);
        let text = |i: u32| alloc::format!("[\"key {i}\"]").into_bytes();
        for i in 0..10_000 {
            assert_eq!(keys.intern(&text(i)), i);
        }
        for i in (0..10_000).rev() {
            assert_eq!(keys.intern(&text(i)), i);
            assert_eq!(keys.text(i), text(i));
        }
        keys.clear();
        assert_eq!(keys.intern(b"x"), 0);
    }
}
