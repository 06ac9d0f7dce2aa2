//! Keys as small numbers: each key's text is kept once and found by one probe.
//!
//! Invariants
//! - Ids are dense and given in the order keys are first seen; nothing that leaves the engine depends on them.
//! - The table is at most half full.

use crate::decode::{AFTER, RecordKey, hash_key};
use alloc::vec::Vec;
use sha2::{Digest as _, Sha256};

/// Interned keys.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// The hash, and id + 1 or 0 where free; a power of two long. The id stands here, so that whoever goes on with it need
    /// not wait for the text.
    table: Vec<(u32, u32)>,
    /// Where each key begins in `text`, and where the last one ends.
    starts: Vec<u32>,
    /// The keys one after the other, and `AFTER` zeros.
    text: Vec<u8>,
    /// So many bytes at their beginning all keys have in common.
    alike: usize,
    /// 64 bits of each key's SHA-256, where they were asked for; 0 where not.
    prints: Vec<u64>,
    seed: u64,
}

impl Keys {
    /// The seed is that of the keys' hashes.
    pub(super) fn new(seed: u64) -> Self {
        let (table, starts, text, prints) =
            (alloc::vec![(0, 0); 64], alloc::vec![0], alloc::vec![0; AFTER], Vec::new());
        Self { table, starts, text, alike: usize::MAX, prints, seed }
    }

    /// How many keys.
    pub(super) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Bytes of text held.
    pub(super) fn text_len(&self) -> usize {
        self.text.len()
    }

    /// The text of a key.
    pub(super) fn text(&self, id: u32) -> &[u8] {
        let id = id as usize;
        &self.text[self.starts[id] as usize..self.starts[id + 1] as usize]
    }

    /// What tells keys apart as numbers, the second those whose first is the same: numbers that differ are in the order of
    /// the keys.
    pub(super) fn rank(&self, id: u32, level: usize) -> u64 {
        let text = self.text(id).get(self.alike.saturating_add(8 * level)..).unwrap_or_default();
        match text.first_chunk() {
            Some(word) => u64::from_be_bytes(*word),
            None => text.iter().fold(0, |n, b| n << 8 | u64::from(*b)) << (8 * (8 - text.len()) % 64),
        }
    }

    /// 64 bits of a key's SHA-256, never 0: what a key is known by where its text is not kept.
    pub(super) fn print(&mut self, id: u32) -> u64 {
        if self.prints.len() <= id as usize {
            self.prints.resize(self.len(), 0);
        }
        if self.prints[id as usize] == 0 {
            let digest = Sha256::digest(self.text(id));
            self.prints[id as usize] = u64::from_le_bytes(digest[..8].try_into().expect("8 bytes of 32")).max(1);
        }
        self.prints[id as usize]
    }

    /// The id of a record's key, a new one if it was not there. `buf` is the record's.
    #[inline(always)]
    pub(super) fn intern_record(&mut self, key: &RecordKey, buf: &[u8]) -> u32 {
        let (table, wanted, len) = (&self.table[..], key.hash(), key.bytes());
        let mask = table.len() - 1;
        let mut slot = wanted as usize;
        loop {
            let (hash, id) = table[slot & mask];
            if id == 0 {
                return self.insert_record(key, buf);
            }
            if hash == wanted {
                let (from, to) = (self.starts[id as usize - 1], self.starts[id as usize]);
                if to.wrapping_sub(from) as usize == len && key.is(buf, &self.text[from as usize..]) {
                    return id - 1;
                }
            }
            slot += 1;
        }
    }

    #[cold]
    #[inline(never)]
    fn insert_record(&mut self, key: &RecordKey, buf: &[u8]) -> u32 {
        let mut text = Vec::new();
        key.write(buf, &mut text);
        self.insert(key.hash(), &text)
    }

    /// The id of a key, a new one if it was not there.
    #[inline(never)]
    pub(super) fn intern(&mut self, text: &[u8]) -> u32 {
        let hash = hash_key(self.seed, text);
        let mask = self.table.len() - 1;
        let mut slot = hash as usize & mask;
        while self.table[slot].1 != 0 {
            let (other, id) = self.table[slot];
            if other == hash && self.text(id - 1) == text {
                return id - 1;
            }
            slot = (slot + 1) & mask;
        }
        self.insert(hash, text)
    }

    #[inline(never)]
    fn insert(&mut self, hash: u32, text: &[u8]) -> u32 {
        let id = self.len() as u32;
        if id > 0 {
            let first = self.text(0);
            self.alike = first.iter().zip(text).take(self.alike).take_while(|(a, b)| a == b).count();
        }
        self.text.truncate(self.text.len() - AFTER);
        self.text.extend_from_slice(text);
        self.starts.push(u32::try_from(self.text.len()).expect("the engine clears keys long before 4 GiB"));
        self.text.extend_from_slice(&[0; AFTER]);
        self.file(hash, id);
        if self.len() * 2 > self.table.len() {
            let longer = alloc::vec![(0, 0); self.table.len() * 2];
            let shorter = core::mem::replace(&mut self.table, longer);
            shorter.into_iter().filter(|(_, id)| *id > 0).for_each(|(hash, id)| self.file(hash, id - 1));
        }
        id
    }

    fn file(&mut self, hash: u32, id: u32) {
        let mask = self.table.len() - 1;
        let mut slot = hash as usize & mask;
        while self.table[slot].1 != 0 {
            slot = (slot + 1) & mask;
        }
        self.table[slot] = (hash, id + 1);
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
    proptest! {
        #[test]
        fn ranks_are_in_the_order_of_the_texts(texts in proptest::collection::vec("[a-d]{0,20}", 2..6)) {
            let mut keys = Keys::new(7);
            let ids: Vec<u32> = texts.iter().map(|text| keys.intern(text.as_bytes())).collect();
            for (a, x) in ids.iter().zip(&texts) {
                prop_assert_eq!(keys.text(*a), x.as_bytes());
                for (b, y) in ids.iter().zip(&texts) {
                    let order = |level| keys.rank(*a, level).cmp(&keys.rank(*b, level));
                    let both = order(0).then(order(1));
                    prop_assert!(both == core::cmp::Ordering::Equal || both == x.cmp(y));
                }
            }
        }
    }
}
