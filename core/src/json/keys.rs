//! Knows field names: which are wanted, and which one a producer usually writes after which.
//!
//! A producer writes its fields in the same order and spelling in record after record. So the key that came after this one
//! last time is compared first, as the words of `"name":`, quotes, colon and a space before and after it included; the table
//! is asked only when that fails. Names that nobody wants are learnt too, since they stand between the wanted ones.
//!
//! Invariants
//! - What was learnt never changes an answer: a prediction counts only if the bytes are the same, and a key is only ever
//!   predicted within the object (`node`) that it belongs to.
//! - What was learnt is bounded, however many names the input has; so is the time of each look-up.
//! - A learnt name is valid UTF-8: bytes that match it need no further check.
//!
//! Not here: the meaning of the value (`json`).

use super::text::{Text, Window};
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
    /// The same, and leave a plain whole number where it stands.
    Digits(u16),
    /// If it is an object, look for wanted fields in it.
    Node(u16),
}

/// Index of a key; of a node's root, which stands before the first key.
pub(super) type KeyId = u16;

const NONE: KeyId = KeyId::MAX;
/// How many bytes of `, "name": ` are compared. All of them are loaded, wherever in the data the key may stand.
pub(super) const PATTERN: usize = 32;
const _: () = assert!(PATTERN <= PADDING);
/// The longest name that is learnt: what is compared is shorter than `PATTERN`, with comma, quotes, colon and two spaces.
const NAME_MAX: usize = PATTERN - 1 - 6;
/// Names that may be learnt before all of them are forgotten. Records with more fields than that are read, a little
/// more slowly.
const LEARNT_MAX: usize = 256;
/// How far a name may stand from its place in the table. Keeps look-ups short even where a producer picks names that
/// collide.
const PROBES: usize = 8;

pub(super) struct Keys {
    /// Roots and wanted keys, then what was learnt: how each is written.
    steps: Vec<Step>,
    /// What each of them is.
    known: Vec<Known>,
    /// How many of them are not forgotten.
    fixed: usize,
    /// Open addressing; a power of two, at most half full.
    table: Box<[KeyId]>,
    /// Wanted names that are too long for `steps`.
    long: Vec<(u16, Box<str>, Target)>,
    /// An unescaped name, and padding.
    scratch: Vec<u8>,
}

/// A key that was read.
#[derive(Clone, Copy)]
pub(super) struct Found {
    /// The key that the next one comes after.
    pub(super) key: KeyId,
    pub(super) target: Target,
    /// Where its value starts, white space allowed.
    pub(super) value: usize,
}

/// A key as it was last written, and the one that came after it.
pub(super) struct Step {
    /// `"name":`, perhaps with a space before it and after the colon, after a byte that is zero; zero behind it.
    pattern: [u64; PATTERN / 8],
    mask: [u64; PATTERN / 8],
    target: Target,
    /// What came after this key last time.
    pub(super) next: KeyId,
    /// Bytes of the pattern, fewer than `PATTERN`.
    len: u8,
    /// The target in short: the slot, or one of `SKIPPED` and `OTHER`. Compared rather than looked up: a jump to one of several
    /// places takes longer.
    pub(super) slot: u8,
}

/// Slots below this are told apart by a `Step`.
pub(super) const SLOTS: u8 = super::BITS as u8;
/// Added to a slot where `Target::Digits` is meant.
pub(super) const DIGITS: u8 = SLOTS;
/// The value is checked only.
pub(super) const SKIPPED: u8 = u8::MAX;
/// `target` says it.
const OTHER: u8 = u8::MAX - 1;

/// A key of the document.
struct Known {
    name: Name,
    node: u16,
    spaces: Spaces,
    /// What came after this key before something else did.
    other: KeyId,
}

/// A short name as words, zero behind it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Name {
    words: [u64; PATTERN / 8],
    len: usize,
}

/// How many spaces stand before a name's quote and after its colon: none or one.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Spaces {
    before: usize,
    after: usize,
}

impl Keys {
    pub(super) fn new() -> Self {
        let (steps, known, long, scratch) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { steps, known, fixed: 0, table: Box::default(), long, scratch }
    }

    /// Adds an object in which fields are wanted. Its root is where its keys' order starts.
    pub(super) fn add_root(&mut self, node: u16) -> KeyId {
        self.push(Name::of(&[]), node, Target::Skip)
    }

    /// Adds a wanted key; `freeze` must follow.
    pub(super) fn add_wanted(&mut self, node: u16, name: &str, target: Target) {
        if name.len() <= NAME_MAX {
            self.push(Name::of(name.as_bytes()), node, target);
        } else {
            self.long.push((node, name.into(), target));
        }
    }

    fn push(&mut self, name: Name, node: u16, target: Target) -> KeyId {
        let spaces = Spaces::default();
        self.steps.push(Step::new(&name, spaces, target, NONE));
        self.known.push(Known { name, node, spaces, other: NONE });
        (self.steps.len() - 1) as KeyId
    }

    /// All wanted keys are there.
    pub(super) fn freeze(&mut self) {
        self.fixed = self.steps.len();
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
        if self.steps.len() >= self.fixed + LEARNT_MAX {
            self.forget();
        }
    }

    #[cold]
    #[inline(never)]
    fn forget(&mut self) {
        self.steps.truncate(self.fixed);
        self.known.truncate(self.fixed);
        self.table.fill(NONE);
        for id in 0..self.fixed {
            (self.steps[id].next, self.known[id].other) = (NONE, NONE);
            // Roots have no name: they are reached through their node.
            if self.known[id].name.len > 0 || self.steps[id].target != Target::Skip {
                let mut place = self.place(self.known[id].node, &self.known[id].name);
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
        self.steps[usize::from(previous)].next
    }

    /// What a key's value is for.
    pub(super) fn target(&self, key: KeyId) -> Target {
        self.steps[usize::from(key)].target
    }

    /// Bytes from the comma before a key to its value.
    pub(super) fn len(&self, key: KeyId) -> usize {
        self.steps[usize::from(key)].len()
    }

    /// The expected key, if it is there: the window begins with the comma or brace before it.
    #[inline(always)]
    pub(super) fn expect(&self, expected: KeyId, window: Window<'_>) -> Option<&Step> {
        self.steps.get(usize::from(expected)).filter(|step| step.is_at(window))
    }

    /// Reads the key whose opening quote is at `quote`, after the comma or brace at `comma`, expected or not, and its colon;
    /// learns it.
    pub(super) fn read(
        &mut self,
        (node, previous): (u16, KeyId),
        text: Text<'_>,
        comma: usize,
        quote: usize,
        high: &mut u64,
    ) -> Result<Found, ScanError> {
        if text.byte(quote) != b'"' {
            return Err(text.unexpected(quote, "a field name in quotes"));
        }
        // The key that was expected before the one that has failed becomes the expected one.
        let other = self.known[usize::from(previous)].other;
        if let Some(step) = self.expect(other, text.window(comma)) {
            let found = Found { key: other, target: step.target, value: comma + step.len() };
            self.expect_next(previous, other);
            return Ok(found);
        }
        let (close, escaped) = text.string(quote + 1, high)?;
        let value = super::skip::colon(text, close + 1)?;
        let raw = &text.data()[quote + 1..close];
        let (key, target) =
            if escaped { self.find_escaped(node, raw)? } else { self.find_or_learn(node, raw, text, quote + 1) };
        // A key that is not in the table leaves the expectation where it is.
        let Some(key) = key else { return Ok(Found { key: previous, target, value }) };
        // Only the plain spelling is compared later on.
        if !escaped {
            self.expect_next(previous, key);
            self.spell(key, text, comma, quote, close + 1, value);
        }
        Ok(Found { key, target, value })
    }

    /// After `previous` this key is expected.
    fn expect_next(&mut self, previous: KeyId, key: KeyId) {
        let step = &mut self.steps[usize::from(previous)];
        if step.next != key {
            self.known[usize::from(previous)].other = core::mem::replace(&mut step.next, key);
        }
    }

    /// Learns how a key is written, where that is the usual way: at most a space after the comma and after the colon.
    fn spell(&mut self, key: KeyId, text: Text<'_>, comma: usize, quote: usize, colon: usize, value: usize) {
        let blank = |at: usize| usize::from(text.byte(at) == b' ');
        let spaces = Spaces { before: quote - comma - 1, after: value.wrapping_sub(colon + 1) };
        let usual = text.byte(colon) == b':'
            && (spaces.before == 0 || spaces.before == blank(comma + 1))
            && (spaces.after == 0 || spaces.after == blank(colon + 1));
        let known = &mut self.known[usize::from(key)];
        if usual && known.spaces != spaces {
            known.spaces = spaces;
            let step = &mut self.steps[usize::from(key)];
            *step = Step::new(&known.name, spaces, step.target, step.next);
        }
    }

    fn find_or_learn(&mut self, node: u16, raw: &[u8], text: Text<'_>, start: usize) -> (Option<KeyId>, Target) {
        if raw.len() > NAME_MAX {
            return (None, self.find_long(node, raw));
        }
        let name = Name::new(raw.len(), |i| text.word(start + i));
        match self.find(node, &name) {
            Ok(id) => (Some(id), self.target(id)),
            Err(Some(free)) if self.steps.len() < self.fixed + LEARNT_MAX && core::str::from_utf8(raw).is_ok() => {
                let id = self.push(name, node, Target::Skip);
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
                Ok(id) => (Some(id), self.target(id)),
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
            match self.known.get(usize::from(id)) {
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

impl Target {
    fn slot(self) -> u8 {
        match self {
            Self::Skip => SKIPPED,
            Self::Slot(path) => u8::try_from(path).ok().filter(|path| *path < SLOTS).unwrap_or(OTHER),
            Self::Digits(path) => {
                u8::try_from(path).ok().filter(|path| *path < SLOTS).map_or(OTHER, |path| path + DIGITS)
            }
            Self::Node(_) => OTHER,
        }
    }
}

impl Step {
    fn new(name: &Name, spaces: Spaces, target: Target, next: KeyId) -> Self {
        let mut pattern = [0; PATTERN];
        let mut mask = [0; PATTERN];
        let (from, to) = (2 + spaces.before, 2 + spaces.before + name.len);
        let len = to + 2 + spaces.after;
        pattern[1..len].fill(b' ');
        pattern[from - 1] = b'"';
        for (i, byte) in pattern[from..to].iter_mut().enumerate() {
            *byte = (name.words[i / 8] >> (8 * (i % 8))) as u8;
        }
        pattern[to..to + 2].copy_from_slice(b"\":");
        mask[1..len].fill(0xff);
        Self { pattern: words(&pattern), mask: words(&mask), target, next, len: len as u8, slot: target.slot() }
    }

    /// Bytes from the comma to the value.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        usize::from(self.len) % PATTERN
    }

    #[inline(always)]
    fn is_at(&self, window: Window<'_>) -> bool {
        let differs = |i: usize| (window.word(8 * i) ^ self.pattern[i]) & self.mask[i];
        differs(0) | differs(1) == 0 && (self.len <= 16 || differs(2) | differs(3) == 0)
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
