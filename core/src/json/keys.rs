//! Knows field names: which are wanted, and which one a producer usually writes after which.
//!
//! A producer writes its fields in the same order in record after record. So the key that came after this one last time
//! is compared first, as the words of `,"name":`, comma, quotes and colon included; the table is asked only when that
//! fails. Names that nobody wants are learnt too, since they stand between the wanted ones.
//!
//! Invariants
//! - What was learnt never changes an answer: a prediction counts only if the bytes are the same, and a key is only ever
//!   predicted within the object (`node`) that it belongs to.
//! - What was learnt is bounded, however many names the input has; so is the time of each look-up.
//! - A learnt name is valid UTF-8: bytes that match it need no further check.
//!
//! Not here: the meaning of the value (`json`).

use super::text::Text;
use super::{PADDING, ScanError, escape};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// What to do with a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Check it only.
    Skip,
    /// Fill the slot.
    Slot(u16),
    /// If it is an object, look for wanted fields in it.
    Node(u16),
}

/// Index of a key; of a node's root, which stands before the first key.
pub(super) type KeyId = u16;

const NONE: KeyId = KeyId::MAX;
/// How many bytes of `,"name":` there may be. All of them are loaded, wherever in the data the key may stand.
const PATTERN: usize = 32;
const _: () = assert!(PATTERN <= PADDING);
/// The longest name that is learnt: `PATTERN` without comma, quotes and colon.
const NAME_MAX: usize = PATTERN - 4;
/// Names that may be learnt before all of them are forgotten. Records with more fields than that are read, a little
/// more slowly.
const LEARNT_MAX: usize = 256;
/// How far a name may stand from its place in the table. Keeps look-ups short even where a producer picks names that
/// collide.
const PROBES: usize = 8;

pub(super) struct Keys {
    /// Roots and wanted keys, then what was learnt.
    entries: Vec<Key>,
    /// How many of them are not forgotten.
    fixed: usize,
    /// Open addressing; a power of two, at most half full.
    table: Box<[KeyId]>,
    /// Wanted names that are too long for `entries`.
    long: Vec<(u16, Box<str>, Target)>,
    /// An unescaped name, and padding.
    scratch: Vec<u8>,
}

/// A key of the document.
#[derive(Clone, Copy)]
pub(super) struct Found {
    /// The key that the next one comes after.
    pub(super) key: KeyId,
    pub(super) target: Target,
    /// Where its value starts, white space allowed.
    pub(super) value: usize,
    /// The key that is expected next.
    pub(super) next: KeyId,
}

struct Key {
    /// `,"name":`, zero behind it.
    pattern: [u64; PATTERN / 8],
    mask: [u64; PATTERN / 8],
    name: Name,
    node: u16,
    target: Target,
    /// What came after this key: last time, and the time before that something else did.
    next: [KeyId; 2],
}

/// A short name as words, zero behind it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Name {
    words: [u64; PATTERN / 8],
    len: usize,
}

impl Keys {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new(), fixed: 0, table: Box::default(), long: Vec::new(), scratch: Vec::new() }
    }

    /// Adds an object in which fields are wanted. Its root is where its keys' order starts.
    pub(super) fn add_root(&mut self, node: u16) -> KeyId {
        self.push(Key::new(&[], node, Target::Skip))
    }

    /// Adds a wanted key; `freeze` must follow.
    pub(super) fn add_wanted(&mut self, node: u16, name: &str, target: Target) {
        if name.len() <= NAME_MAX {
            self.push(Key::new(name.as_bytes(), node, target));
        } else {
            self.long.push((node, name.into(), target));
        }
    }

    fn push(&mut self, key: Key) -> KeyId {
        self.entries.push(key);
        (self.entries.len() - 1) as KeyId
    }

    /// All wanted keys are there.
    pub(super) fn freeze(&mut self) {
        self.fixed = self.entries.len();
        assert!(
            self.fixed + LEARNT_MAX <= usize::from(NONE),
            "too many wanted names: {} with their objects",
            self.fixed
        );
        self.table = alloc::vec![NONE; (2 * (self.fixed + LEARNT_MAX)).next_power_of_two()].into();
        self.forget();
    }

    /// Makes room for names to come, if there is none. Between records: within one, `KeyId`s must stay.
    #[inline(always)]
    pub(super) fn tidy(&mut self) {
        if self.entries.len() >= self.fixed + LEARNT_MAX {
            self.forget();
        }
    }

    #[cold]
    fn forget(&mut self) {
        self.entries.truncate(self.fixed);
        self.table.fill(NONE);
        for id in 0..self.fixed {
            self.entries[id].next = [NONE; 2];
            // Roots have no name: they are reached through their node.
            if self.entries[id].name.len > 0 || self.entries[id].target != Target::Skip {
                let name = self.entries[id].name;
                let mut place = self.place(self.entries[id].node, &name);
                while self.table[place] != NONE {
                    place = (place + 1) & (self.table.len() - 1);
                }
                self.table[place] = id as KeyId;
            }
        }
    }

    /// What is expected after `previous`.
    #[inline(always)]
    pub(super) fn after(&self, previous: KeyId) -> KeyId {
        self.entries[usize::from(previous)].next[0]
    }

    /// The expected key, if it is there: `at` is just before its opening quote, and `flip` turns the byte at `at` into a
    /// comma.
    #[inline(always)]
    pub(super) fn expect(&self, expected: KeyId, text: Text<'_>, at: usize, flip: u64) -> Option<Found> {
        let key = self.entries.get(usize::from(expected))?;
        let found = Found { key: expected, target: key.target, value: at + key.name.len + 4, next: key.next[0] };
        key.is_at(text, at, flip).then_some(found)
    }

    /// The same for the key that was expected before that, which becomes the expected one.
    fn expect_other(&mut self, previous: KeyId, text: Text<'_>, at: usize, flip: u64) -> Option<Found> {
        let other = self.entries[usize::from(previous)].next[1];
        let found = self.expect(other, text, at, flip)?;
        self.entries[usize::from(previous)].next.swap(0, 1);
        Some(found)
    }

    /// Reads the key whose opening quote is at `quote`, expected or not, and its colon; learns it.
    #[inline(never)]
    pub(super) fn read(
        &mut self,
        node: u16,
        previous: KeyId,
        text: Text<'_>,
        quote: usize,
        high: &mut u64,
    ) -> Result<Found, ScanError> {
        if text.byte(quote) != b'"' {
            return Err(text.unexpected(quote, "a field name in quotes"));
        }
        // There is a byte before each key: a brace, a comma or white space.
        let flip = u64::from(text.byte(quote - 1) ^ b',');
        if let Some(found) = self.expect_other(previous, text, quote - 1, flip) {
            return Ok(found);
        }
        if let Some(found) = self.expect(self.after(previous), text, quote - 1, flip) {
            return Ok(found);
        }
        let (close, escaped) = text.string(quote + 1, high)?;
        let value = super::skip::colon(text, close + 1)?;
        let raw = &text.data()[quote + 1..close];
        let (key, target) =
            if escaped { self.find_escaped(node, raw)? } else { self.find_or_learn(node, raw, text, quote + 1) };
        // A key that is not in the table leaves the expectation where it is.
        let Some(key) = key else { return Ok(Found { key: previous, target, value, next: self.after(previous) }) };
        // Only the plain spelling is compared later on.
        if !escaped {
            let next = &mut self.entries[usize::from(previous)].next;
            if next[0] != key {
                *next = [key, next[0]];
            }
        }
        Ok(Found { key, target, value, next: self.after(key) })
    }

    fn find_or_learn(&mut self, node: u16, raw: &[u8], text: Text<'_>, start: usize) -> (Option<KeyId>, Target) {
        if raw.len() > NAME_MAX {
            return (None, self.find_long(node, raw));
        }
        let name = Name::new(raw.len(), |i| text.word(start + i));
        match self.find(node, &name) {
            Ok(id) => (Some(id), self.entries[usize::from(id)].target),
            Err(Some(free)) if self.entries.len() < self.fixed + LEARNT_MAX && core::str::from_utf8(raw).is_ok() => {
                let id = self.push(Key::new(raw, node, Target::Skip));
                self.table[free] = id;
                (Some(id), Target::Skip)
            }
            Err(_) => (None, Target::Skip),
        }
    }

    #[cold]
    fn find_escaped(&mut self, node: u16, raw: &[u8]) -> Result<(Option<KeyId>, Target), ScanError> {
        let mut name = core::mem::take(&mut self.scratch);
        name.clear();
        escape::unescape(raw, &mut name)?;
        let found = if name.len() > NAME_MAX {
            (None, self.find_long(node, &name))
        } else {
            match self.find(node, &Name::of(&name)) {
                Ok(id) => (Some(id), self.entries[usize::from(id)].target),
                Err(_) => (None, Target::Skip),
            }
        };
        self.scratch = name;
        Ok(found)
    }

    fn find_long(&self, node: u16, name: &[u8]) -> Target {
        let same = |key: &&(u16, Box<str>, Target)| key.0 == node && key.1.as_bytes() == name;
        self.long.iter().find(same).map_or(Target::Skip, |key| key.2)
    }

    /// The key, or where in the table it could be put.
    fn find(&self, node: u16, name: &Name) -> Result<KeyId, Option<usize>> {
        let start = self.place(node, name);
        // Wanted keys may stand farther than `PROBES` if they collide, but there are only so many of them.
        for distance in 0..PROBES.max(self.fixed) {
            let place = (start + distance) & (self.table.len() - 1);
            let id = self.table[place];
            match self.entries.get(usize::from(id)) {
                Some(key) if key.node == node && key.name == *name => return Ok(id),
                Some(_) => {}
                None => return Err((distance < PROBES).then_some(place)),
            }
        }
        Err(None)
    }

    fn place(&self, node: u16, name: &Name) -> usize {
        let mut hash = u64::from(node) ^ (name.len as u64) << 32;
        for word in &name.words[..name.len.div_ceil(8)] {
            hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 32;
        }
        hash as usize & (self.table.len() - 1)
    }
}

impl Key {
    fn new(name: &[u8], node: u16, target: Target) -> Self {
        let mut pattern = [0; PATTERN];
        let mut mask = [0; PATTERN];
        let len = name.len();
        pattern[..2].copy_from_slice(b",\"");
        pattern[2..2 + len].copy_from_slice(name);
        pattern[2 + len..4 + len].copy_from_slice(b"\":");
        mask[..4 + len].fill(0xff);
        Self { pattern: words(&pattern), mask: words(&mask), name: Name::of(name), node, target, next: [NONE; 2] }
    }

    #[inline(always)]
    fn is_at(&self, text: Text<'_>, at: usize, flip: u64) -> bool {
        let differs = |i: usize, word: u64| (word ^ self.pattern[i]) & self.mask[i];
        let [a, b] = text.words(at);
        if differs(0, a ^ flip) | differs(1, b) != 0 {
            return false;
        }
        if self.name.len <= 12 {
            return true;
        }
        let [c, d] = text.words(at + 16);
        differs(2, c) | differs(3, d) == 0
    }
}

impl Name {
    fn of(name: &[u8]) -> Self {
        let mut bytes = [0; PATTERN];
        bytes[..name.len()].copy_from_slice(name);
        Self { words: words(&bytes), len: name.len() }
    }

    /// From words that may hold something else behind the name.
    fn new(len: usize, word_at: impl Fn(usize) -> u64) -> Self {
        let mut words = [0; PATTERN / 8];
        for (i, word) in words.iter_mut().enumerate().take(len.div_ceil(8)) {
            let bytes = (len - 8 * i).min(8);
            *word = word_at(8 * i) & (u64::MAX >> (64 - 8 * bytes));
        }
        Self { words, len }
    }
}

fn words(bytes: &[u8; PATTERN]) -> [u64; PATTERN / 8] {
    core::array::from_fn(|i| bytes[8 * i..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk)))
}
