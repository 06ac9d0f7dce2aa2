//! The text of a record's key, built and handed on as whole words.
//!
//! Keys are short, and there is one per record: in a module a call to copy or compare a few bytes costs more than the
//! bytes. So texts are followed by zeros up to the next multiple of eight, and are copied, hashed and compared as words.
//!
//! Not here: what a key is (`decode`), keys as numbers (`engine::keys`).

use crate::json::PADDING;
use alloc::vec::Vec;

const WORD: usize = 8;
/// Copied at once, whether there is so much or not.
const PIECE: usize = 16;
const _: () = assert!(PIECE <= PADDING);

/// A key's text with the zeros that follow it.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    padded: &'a [u8],
    len: usize,
}

impl<'a> Key<'a> {
    /// A text of `len` bytes.
    ///
    /// # Panics
    /// If `padded` is not `len` rounded up to whole words.
    #[inline]
    pub fn new(padded: &'a [u8], len: usize) -> Self {
        assert!(padded.len() == len.next_multiple_of(WORD), "{} bytes for a key of {len}", padded.len());
        Self { padded, len }
    }

    /// The text.
    pub fn text(self) -> &'a [u8] {
        &self.padded[..self.len]
    }

    /// The text and its zeros: whole words.
    #[inline]
    pub fn padded(self) -> &'a [u8] {
        self.padded
    }

    /// Eight bytes of it as a number, zeros where it is shorter: of texts that are alike up to there, numbers that differ
    /// are in the order of the texts.
    #[inline]
    pub fn word_at(self, from: usize) -> u64 {
        let rest = self.padded.get(from..).unwrap_or_default();
        match rest.first_chunk() {
            Some(word) => u64::from_be_bytes(*word),
            None => rest.iter().fold(0, |n, b| n << 8 | u64::from(*b)) << (8 * (WORD - rest.len()) % 64),
        }
    }

    /// How many bytes two texts have in common at their beginning, `most` at most.
    pub fn alike(self, other: Self, most: usize) -> usize {
        self.text().iter().zip(other.text()).take(most).take_while(|(a, b)| a == b).count()
    }

    /// The same as words.
    #[inline(always)]
    pub fn words(self) -> impl Iterator<Item = u64> {
        self.padded.chunks_exact(WORD).map(|w| u64::from_le_bytes(w.try_into().expect("8 bytes")))
    }
}

impl PartialEq for Key<'_> {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.words().zip(other.words()).all(|(a, b)| a == b)
    }
}

/// Where a key's text is written.
#[derive(Clone, Debug, Default)]
pub struct KeyText {
    /// The text, room for one more piece after it, and whatever was there before.
    bytes: Vec<u8>,
    len: usize,
}

impl KeyText {
    /// Starts anew.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Bytes written.
    #[inline]
    pub fn bytes_written(&self) -> usize {
        self.len
    }

    /// Appends one byte.
    #[inline(always)]
    pub fn push(&mut self, byte: u8) {
        self.room(1);
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    /// Appends `before`, a quote, `buf[start..end]` and a quote. At least `PADDING` bytes follow that in `buf`.
    #[inline(always)]
    pub fn put_quoted(&mut self, before: u8, buf: &[u8], start: usize, end: usize) {
        let len = end - start;
        self.room(len + 3);
        let out = &mut self.bytes[self.len..];
        let out = &mut out[..len + 3 + PIECE];
        out[0] = before;
        out[1] = b'"';
        out[2..2 + PIECE].copy_from_slice(&buf[start..start + PIECE]);
        if len > PIECE {
            out[2 + PIECE..2 + len].copy_from_slice(&buf[start + PIECE..end]);
        }
        out[2 + len] = b'"';
        self.len += len + 3;
    }

    /// Appends text that has no padding.
    pub fn extend(&mut self, text: &[u8]) {
        self.room(text.len());
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text);
        self.len += text.len();
    }

    /// The key. Writes the zeros.
    #[inline(always)]
    pub fn key(&mut self) -> Key<'_> {
        self.room(0);
        self.bytes[self.len..self.len + WORD].copy_from_slice(&[0; WORD]);
        Key::new(&self.bytes[..self.len.next_multiple_of(WORD)], self.len)
    }

    #[inline(always)]
    fn room(&mut self, len: usize) {
        if self.bytes.len() - self.len < len + PIECE {
            self.grow(len);
        }
    }

    #[cold]
    fn grow(&mut self, len: usize) {
        self.bytes.resize(2 * (self.len + len + PIECE), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_of_any_length_make_one_text(pieces in proptest::collection::vec(".{0,40}", 0..6)) {
            let (mut key, mut expected) = (KeyText::default(), Vec::new());
            key.extend(&[0xff; 300]);
            key.clear();
            for (i, piece) in pieces.iter().enumerate() {
                let mut buf = vec![b'!'; 3];
                buf.extend_from_slice(piece.as_bytes());
                buf.resize(buf.len() + PADDING, 0xee);
                match i % 3 {
                    0 => {
                        key.put_quoted(b'<', &buf, 3, 3 + piece.len());
                        expected.extend_from_slice(b"<\"");
                    }
                    1 => key.extend(piece.as_bytes()),
                    _ => piece.bytes().for_each(|b| key.push(b)),
                }
                expected.extend_from_slice(piece.as_bytes());
                if i % 3 == 0 {
                    expected.push(b'"');
                }
            }
            let key = key.key();
            prop_assert_eq!(key.text(), &expected[..]);
            prop_assert!(key.padded()[expected.len()..].iter().all(|b| *b == 0));
            expected.resize(expected.len().next_multiple_of(8), 0);
            prop_assert_eq!(key.padded(), &expected[..]);
        }
    }

    proptest! {
        #[test]
        fn words_are_in_the_order_of_the_texts(a in "[a-d]{0,20}", b in "[a-d]{0,20}") {
            let text = |s: &str| {
                let mut t = KeyText::default();
                t.extend(s.as_bytes());
                t
            };
            let (mut x, mut y) = (text(&a), text(&b));
            let (x, y) = (x.key(), y.key());
            let alike = x.alike(y, usize::MAX);
            prop_assert!(a[..alike] == b[..alike] && a.as_bytes().get(alike) != b.as_bytes().get(alike) || a == b);
            prop_assert_eq!(x.alike(y, 3), alike.min(3));
            for from in 0..=alike {
                let order = x.word_at(from).cmp(&y.word_at(from));
                prop_assert!(order == core::cmp::Ordering::Equal || order == a.cmp(&b));
            }
            prop_assert_eq!(x.word_at(alike) == y.word_at(alike), a == b);
        }
    }

    #[test]
    fn keys_that_differ_only_in_zeros_at_their_end_differ() {
        let (mut a, mut b) = (KeyText::default(), KeyText::default());
        a.extend(b"x");
        b.extend(b"x\0");
        assert!(a.key() != b.key());
        b.clear();
        b.extend(b"x");
        assert!(a.key() == b.key());
    }
}
