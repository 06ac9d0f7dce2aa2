//! Keys as small numbers: each key's text is kept once and found by one probe.
//!
//! Invariants
//! - Ids are dense and given in the order keys are first seen; nothing that leaves the engine depends on them.
//! - The table is at most half full.

use crate::decode::Key;
use alloc::vec::Vec;
use sha2::{Digest as _, Sha256};

/// Interned keys.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// The hash's upper half, and id + 1 or 0 where free; a power of two long. The id stands here, so that whoever goes
    /// on with it need not wait for the text.
    table: Vec<(u32, u32)>,
    /// Where each key begins in `text`, and its length.
    spans: Vec<(u32, u32)>,
    /// Each key with zeros to whole words.
    text: Vec<u8>,
    /// So many bytes at their beginning all keys have in common.
    alike: usize,
    /// 64 bits of each key's SHA-256, where they were asked for; 0 where not.
    prints: Vec<u64>,
    seed: u64,
}

impl Keys {
    /// The seed keeps strangers from preparing keys that collide.
    pub(super) fn new(seed: u64) -> Self {
        let (table, spans, text, prints) = (alloc::vec![(0, 0); 64], Vec::new(), Vec::new(), Vec::new());
        Self { table, spans, text, alike: usize::MAX, prints, seed }
    }

    /// How many keys.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Bytes of text held.
    pub(super) fn text_len(&self) -> usize {
        self.text.len()
    }

    /// A key.
    #[inline(always)]
    pub(super) fn key(&self, id: u32) -> Key<'_> {
        let (from, len) = self.spans[id as usize];
        let (from, len) = (from as usize, len as usize);
        Key::new(&self.text[from..from + len.next_multiple_of(8)], len)
    }

    /// The text of a key.
    pub(super) fn text(&self, id: u32) -> &[u8] {
        self.key(id).text()
    }

    /// What tells most keys apart as a number: numbers that differ are in the order of the keys.
    #[inline]
    pub(super) fn rank(&self, id: u32) -> u64 {
        self.key(id).word_at(self.alike)
    }

    /// 64 bits of a key's SHA-256, never 0: what a key is known by where its text is not kept.
    pub(super) fn print(&mut self, id: u32) -> u64 {
        if self.prints.len() <= id as usize {
            self.prints.resize(self.spans.len(), 0);
        }
        if self.prints[id as usize] == 0 {
            let digest = Sha256::digest(self.text(id));
            self.prints[id as usize] = u64::from_le_bytes(digest[..8].try_into().expect("8 bytes of 32")).max(1);
        }
        self.prints[id as usize]
    }

    /// The id of a key, a new one if it was not there.
    #[inline(never)]
    pub(super) fn intern(&mut self, key: Key<'_>) -> u32 {
        self.intern_here(key)
    }

    /// The same without a call.
    #[inline(always)]
    pub(super) fn intern_here(&mut self, key: Key<'_>) -> u32 {
        let hash = hash(self.seed, key);
        let tag = tag(hash);
        let mask = self.table.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            match self.table[slot & mask] {
                (_, 0) => break,
                (t, id) if t == tag && self.key(id - 1) == key => return id - 1,
                _ => {}
            }
            slot += 1;
        }
        self.insert(slot & mask, tag, key)
    }

    #[cold]
    #[inline(never)]
    fn insert(&mut self, slot: usize, tag: u32, key: Key<'_>) -> u32 {
        let id = self.spans.len() as u32;
        let from = u32::try_from(self.text.len()).expect("the engine clears keys long before 4 GiB");
        if let Some((from, len)) = self.spans.first() {
            let first = &self.text[*from as usize..*from as usize + (*len as usize).next_multiple_of(8)];
            self.alike = key.alike(Key::new(first, *len as usize), self.alike);
        }
        self.text.extend_from_slice(key.padded());
        self.spans.push((from, key.text().len() as u32));
        self.table[slot] = (tag, id + 1);
        if self.spans.len() * 2 > self.table.len() {
            self.grow();
        }
        id
    }

    fn grow(&mut self) {
        let mask = self.table.len() * 2 - 1;
        let mut table = alloc::vec![(0, 0); mask + 1];
        for id in 0..self.spans.len() as u32 {
            let hash = hash(self.seed, self.key(id));
            let mut slot = hash as usize & mask;
            while table[slot].1 != 0 {
                slot = (slot + 1) & mask;
            }
            table[slot] = (tag(hash), id + 1);
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

/// A multiplicative hash over words, finished as in splitmix64.
#[inline(always)]
fn hash(seed: u64, key: Key<'_>) -> u64 {
    const K: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut h = seed ^ (key.text().len() as u64).wrapping_mul(K);
    for word in key.words() {
        h = (h ^ word).wrapping_mul(K);
        h ^= h >> 29;
    }
    h = h.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    h ^= h >> 32;
    h
}

/// What is compared before the text: slots are taken from the lower half.
#[inline(always)]
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::KeyText;

    fn intern(keys: &mut Keys, text: &[u8]) -> u32 {
        let mut key = KeyText::default();
        key.extend(text);
        keys.intern(key.key())
    }

    #[test]
    fn a_key_has_one_id_and_keeps_its_text() {
        let mut keys = Keys::new(7);
        let text = |i: u32| alloc::format!("[\"key {i}\"]").into_bytes();
        for i in 0..10_000 {
            assert_eq!(intern(&mut keys, &text(i)), i);
        }
        for i in (0..10_000).rev() {
            assert_eq!(intern(&mut keys, &text(i)), i);
            assert_eq!(keys.text(i), text(i));
        }
        keys.clear();
        assert_eq!(intern(&mut keys, b"x"), 0);
    }
}
