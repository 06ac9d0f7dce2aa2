//! The key of a record: its parts, left where they stand in the record.
//!
//! ```text
//! {"placement":"p-1","creative":2}        parts: `"p-1"` in the record, `2` in the scratch        text: ["p-1",2]
//! ```
//! A key is the canonical JSON array of its fields' values. Most are texts without escapes, which stand in the record as they
//! stand in the key; what does not is written into a scratch. So a key is hashed and compared in its parts, as words, and its
//! text is made only when it is seen for the first time.
//!
//! Invariants
//! - The hash of a record's key is `hash` of its text.
//! - No two texts of keys have the same parts.
//!
//! Not here: keys as numbers (`engine::keys`).

use crate::rows::key_parts;
use alloc::vec::Vec;

const WORD: usize = 8;
/// Zeros after each part in the scratch and after a key's text wherever it is compared: words are loaded past its end.
pub const AFTER: usize = WORD;

/// The key of the record that was decoded last.
#[derive(Clone, Debug)]
pub struct RecordKey {
    parts: Vec<Part>,
    /// The parts that are not in the record, each with `AFTER` zeros.
    scratch: Vec<u8>,
    sum: Sum,
    seed: u64,
}

/// What all parts so far come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    hash: u64,
    /// Bytes of the text without its last bracket.
    len: usize,
}

/// The text of one field's value, quotes included.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    /// Its first bytes, zeros behind them.
    word: u64,
    start: u32,
    len: u32,
    /// Whether it stands in the scratch.
    own: bool,
}

impl RecordKey {
    /// A key of so many fields. The seed keeps strangers from preparing keys that collide.
    pub(super) fn new(fields: usize, seed: u64) -> Self {
        Self { parts: alloc::vec![Part::default(); fields], scratch: Vec::new(), sum: Sum::default(), seed }
    }

    /// The parts to be filled, and what they come to before that.
    #[inline(always)]
    pub(super) fn begin(&mut self) -> (&mut [Part], Sum) {
        (&mut self.parts, Sum { hash: self.seed, len: 1 })
    }

    /// Fills a part with what `write` appends to the scratch, which is emptied before the first part.
    pub(super) fn put_own<E>(
        &mut self,
        i: usize,
        sum: Sum,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Sum, E> {
        if i == 0 {
            self.scratch.clear();
        }
        let start = self.scratch.len();
        write(&mut self.scratch)?;
        let end = self.scratch.len();
        self.scratch.resize(end + AFTER, 0);
        let sum = self.parts[i].put(sum, &self.scratch, start, end);
        self.parts[i].own = true;
        Ok(sum)
    }

    /// Fills a part with `buf[start..end]`.
    pub(super) fn put(&mut self, i: usize, sum: Sum, buf: &[u8], start: usize, end: usize) -> Sum {
        if i == 0 {
            self.scratch.clear();
        }
        self.parts[i].put(sum, buf, start, end)
    }

    /// Fills a part with a text of up to eight bytes, zeros behind it.
    pub(super) fn put_short(&mut self, i: usize, sum: Sum, (word, len): (u64, usize)) -> Sum {
        if i == 0 {
            self.scratch.clear();
        }
        self.parts[i].put_short(sum, (word, len))
    }

    /// All parts are there.
    #[inline(always)]
    pub(super) fn end(&mut self, sum: Sum) {
        self.sum = Sum { hash: finish(sum.hash), ..sum };
    }

    /// The seed of its hash.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Bytes of its text.
    #[inline(always)]
    pub fn bytes(&self) -> usize {
        self.sum.len
    }

    /// `hash` of its text.
    #[inline(always)]
    pub fn hash(&self) -> u32 {
        self.sum.hash as u32
    }

    /// Whether the text at the beginning of `stored` is its text, given that it is a key's text of its length; `AFTER` bytes
    /// follow it. `buf` is that of the record.
    #[inline(always)]
    pub fn is(&self, buf: &[u8], stored: &[u8]) -> bool {
        let mut at = 1;
        for part in &self.parts {
            let len = part.len as usize;
            if word(stored, at) & first_bytes(len) != part.word {
                return false;
            }
            if len > WORD && !self.same_rest(part, buf, &stored[at..]) {
                return false;
            }
            at += len + 1;
        }
        true
    }

    #[inline(never)]
    fn same_rest(&self, part: &Part, buf: &[u8], stored: &[u8]) -> bool {
        let (start, len) = (part.start as usize, part.len as usize);
        let own = if part.own { &self.scratch[start..] } else { &buf[start..] };
        let differ = |at: usize| (word(own, at) ^ word(stored, at)) & first_bytes(len - at) != 0;
        !(WORD..len).step_by(WORD).any(differ)
    }

    /// Appends its text.
    pub fn write(&self, buf: &[u8], out: &mut Vec<u8>) {
        let mut before = b'[';
        for part in &self.parts {
            let (start, len, short) = (part.start as usize, part.len as usize, part.word.to_le_bytes());
            out.push(before);
            out.extend_from_slice(match len {
                ..=WORD => &short[..len],
                _ if part.own => &self.scratch[start..start + len],
                _ => &buf[start..start + len],
            });
            before = b',';
        }
        out.push(b']');
    }
}

impl Part {
    /// It is a text of up to eight bytes, zeros behind it.
    #[inline(always)]
    pub(super) fn put_short(&mut self, sum: Sum, (word, len): (u64, usize)) -> Sum {
        *self = Self { word, start: 0, len: len as u32, own: false };
        Sum { hash: mix(sum.hash, word), len: sum.len + len + 1 }
    }

    /// It is `buf[start..end]`; at least `AFTER` bytes follow it.
    #[inline(always)]
    pub(super) fn put(&mut self, sum: Sum, buf: &[u8], start: usize, end: usize) -> Sum {
        let len = end - start;
        let word = word(buf, start) & first_bytes(len);
        *self = Self { word, start: start as u32, len: len as u32, own: false };
        let mut hash = mix(sum.hash, word);
        if len > WORD {
            hash = mix_rest(hash, &buf[start..], len);
        }
        Sum { hash, len: sum.len + len + 1 }
    }
}

/// The hash of a key's text: multiplicative, over the words of its parts, finished as in splitmix64.
pub fn hash(seed: u64, text: &[u8]) -> u32 {
    let mut hash = seed;
    for part in key_parts(text) {
        for piece in part.chunks(WORD) {
            let mut word = [0; WORD];
            word[..piece.len()].copy_from_slice(piece);
            hash = mix(hash, u64::from_le_bytes(word));
        }
    }
    finish(hash) as u32
}

#[inline(always)]
fn mix(hash: u64, word: u64) -> u64 {
    let hash = (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    hash ^ hash >> 29
}

#[inline(never)]
fn mix_rest(mut hash: u64, part: &[u8], len: usize) -> u64 {
    for at in (WORD..len).step_by(WORD) {
        hash = mix(hash, word(part, at) & first_bytes(len - at));
    }
    hash
}

#[inline(always)]
fn finish(hash: u64) -> u64 {
    hash.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 32
}

/// The word at `at`, the first byte in the lowest place.
#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u64 {
    // No index of a slice has its highest bit set. Saying so spares the check that the sum does not overflow.
    let at = at & (usize::MAX >> 1);
    u64::from_le_bytes(*bytes[at..at + WORD].first_chunk().expect("eight bytes"))
}

/// What picks the first bytes of a word, all of them if it has no more; at least one.
#[inline(always)]
fn first_bytes(len: usize) -> u64 {
    u64::MAX >> ((64 - 8 * len.min(WORD) as u32) & 63)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use proptest::prelude::*;

    /// A key of these parts, each in the record or not, and the record.
    fn key(parts: &[(String, bool)]) -> (RecordKey, Vec<u8>) {
        let (mut key, mut buf) = (RecordKey::new(parts.len(), 7), Vec::new());
        let starts: Vec<usize> = parts
            .iter()
            .map(|(part, _)| {
                buf.extend_from_slice(b"..");
                buf.extend_from_slice(part.as_bytes());
                buf.len() - part.len()
            })
            .collect();
        buf.resize(buf.len() + AFTER, 0xee);
        let (_, mut sum) = key.begin();
        for (i, ((part, own), start)) in parts.iter().zip(starts).enumerate() {
            let mut short = [0; WORD];
            sum = if *own {
                let write = |out: &mut Vec<u8>| {
                    out.extend_from_slice(part.as_bytes());
                    Ok::<_, ()>(())
                };
                key.put_own(i, sum, write).expect("it writes")
            } else if part.len() <= WORD && i > 0 {
                short[..part.len()].copy_from_slice(part.as_bytes());
                key.put_short(i, sum, (u64::from_le_bytes(short), part.len()))
            } else {
                key.put(i, sum, &buf, start, start + part.len())
            };
        }
        key.end(sum);
        (key, buf)
    }

    fn text(key: &RecordKey, buf: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        key.write(buf, &mut out);
        out
    }

    fn parts() -> impl Strategy<Value = Vec<(String, bool)>> {
        proptest::collection::vec(("\"[ab,]{0,20}\"|-?[1-9][0-9]{0,18}|true", any::<bool>()), 2)
    }

    proptest! {
        #[test]
        fn a_key_is_its_text_and_no_other(a in parts(), b in parts()) {
            let (x, from) = key(&a);
            let (y, in_y) = key(&b);
            let (one, mut two) = (text(&x, &from), text(&y, &in_y));
            prop_assert_eq!(x.bytes(), one.len());
            prop_assert_eq!(x.hash(), hash(7, &one));
            let same = one == two;
            two.resize(two.len() + AFTER, 0xff);
            if x.bytes() == y.bytes() {
                prop_assert_eq!(x.is(&from, &two), same);
            }
            prop_assert!(y.is(&in_y, &two));
        }
    }

    #[test]
    fn a_part_that_cannot_be_written_is_reported() {
        let mut key = RecordKey::new(1, 7);
        let (_, sum) = key.begin();
        assert_eq!(key.put_own(0, sum, |_| Err("no")).err(), Some("no"));
    }
}
