//! Things with numbers, so that a state of the search is a few words: the same thing always has the same number.

#![expect(clippy::disallowed_types, reason = "the order of these tables reaches nothing")]

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Number of a thing in its pool; 0 is nothing.
pub(super) type Id = u32;

/// Answers that are looked up rather than found out again.
pub(super) type Memo<K, V> = HashMap<K, V, BuildHasherDefault<Fold>>;

/// Things with numbers.
pub(super) struct Pool<T> {
    ids: Memo<u64, Id>,
    things: Vec<T>,
}

impl<T> Pool<T> {
    pub(super) fn new() -> Self {
        Self { ids: Memo::default(), things: Vec::new() }
    }

    /// The number of the thing with this fingerprint.
    pub(super) fn id(&mut self, fingerprint: u64, thing: impl FnOnce() -> T) -> Id {
        *self.ids.entry(fingerprint).or_insert_with(|| {
            self.things.push(thing());
            self.things.len() as Id
        })
    }

    pub(super) fn get(&self, id: Id) -> &T {
        &self.things[id as usize - 1]
    }
}

/// 64 bits that say what it is: among 10^8 things two share theirs with a chance of about 10^-4, and then one state of
/// 10^8 is not looked at.
pub(super) fn fingerprint(thing: &impl Hash) -> u64 {
    let mut h = Fold::default();
    thing.hash(&mut h);
    h.finish()
}

/// Multiplies and folds: several times quicker than the library's hash, which is made against malice.
#[derive(Default)]
pub(super) struct Fold(u64);

impl Fold {
    fn take(&mut self, word: u64) {
        let wide = u128::from(self.0 ^ 0xa076_1d64_78bd_642f) * u128::from(word ^ 0xe703_7ed1_a0b4_28db);
        self.0 = wide as u64 ^ (wide >> 64) as u64;
    }
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.take(u64::from_le_bytes(word) ^ (part.len() as u64) << 61);
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.take(n.into());
    }

    fn write_u16(&mut self, n: u16) {
        self.take(n.into());
    }

    fn write_u32(&mut self, n: u32) {
        self.take(n.into());
    }

    fn write_u64(&mut self, n: u64) {
        self.take(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.take(n as u64);
    }

    fn finish(&self) -> u64 {
        let mut end = Self(self.0);
        end.take(0);
        end.0
    }
}

/// Fingerprints that were met, eight bytes each, at most two thirds of the table.
pub(super) struct Seen {
    table: Vec<u64>,
    len: usize,
}

impl Seen {
    pub(super) fn new() -> Self {
        Self { table: vec![0; 1 << 16], len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether it is met for the first time.
    pub(super) fn insert(&mut self, fingerprint: u64) -> bool {
        if 3 * self.len > 2 * self.table.len() {
            let double = vec![0; 2 * self.table.len()];
            for old in std::mem::replace(&mut self.table, double).into_iter().filter(|f| *f != 0) {
                place(&mut self.table, old);
            }
        }
        let new = place(&mut self.table, fingerprint.max(1));
        self.len += usize::from(new);
        new
    }
}

fn place(table: &mut [u64], fingerprint: u64) -> bool {
    let mask = table.len() - 1;
    let mut at = fingerprint as usize & mask;
    while table[at] != 0 {
        if table[at] == fingerprint {
            return false;
        }
        at = (at + 1) & mask;
    }
    table[at] = fingerprint;
    true
}
