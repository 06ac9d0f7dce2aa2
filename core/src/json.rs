//! Finds the wanted fields of a JSON record, and checks all of it: the engine's hottest part.
//!
//! ```text
//! {"device":"d-7","ts":1700000000000,"at":{"lat":52.5}}     wanted: ["ts"], ["at","lat"]
//!                      Int               Number              the rest is checked and left where it is
//! ```
//!
//! Producers write the same fields in the same order again and again, so the next key is predicted and compared as words
//! (`keys`); strings and integers are read eight bytes at a time (`text`). Two functions take turns: `usual` goes from one
//! predicted key to the next while their values are plain, and is small enough for all it needs to stay in registers; what it
//! stops at, `object` reads as JSON allows it to be written.
//!
//! Invariants
//! - What is accepted is exactly RFC 8259 in UTF-8, with three refusals of our own: more than `DEPTH_MAX` levels, a wanted
//!   field that is there twice, and a document that is no object.
//! - What was learnt from earlier records never changes an answer.
//! - No input panics, and the time is linear in the record's length. No allocation but when a new name is learnt.
//!
//! Not here: what a value means to a policy (`engine`), reading policies (`policy`).

mod error;
mod escape;
mod keys;
mod skip;
mod text;

pub use error::{ScanError, ScanErrorKind};
pub use escape::{unescape, write_escaped};

use alloc::vec::Vec;
use keys::{DIGITS, KeyId, Keys, SKIPPED, SLOTS, Target};
use text::{Text, Window, first, specials, word_at};

/// Bytes that must follow the data in any buffer handed to the scanner, so that words may be loaded past its end. The
/// first of them must be zero; the others may be anything.
pub const PADDING: usize = 48;

/// How many objects and arrays may stand inside each other, the record itself included. Deeper ones are refused.
pub const DEPTH_MAX: usize = 64;

/// So many slots are told apart by bits: which of them a record has filled is known without emptying all before it.
const BITS: usize = 64;

/// What ends a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// NDJSON: a raw newline or the end of the data, after spaces, tabs and `\r` if there are any. A newline inside the
    /// object cuts it.
    Line,
    /// The data is one object. White space, newlines included, may surround it; nothing else may.
    Whole,
}

/// A buffer of records, looked over once for all of them.
#[derive(Clone, Copy)]
pub struct Data<'a>(Text<'a>);

impl<'a> Data<'a> {
    /// The data is `buf[..end]`; `PADDING` bytes follow it, the first of them zero.
    ///
    /// # Panics
    /// If the padding is missing or not zero, or `end` exceeds 32 bits.
    #[inline]
    pub fn new(buf: &'a [u8], end: usize, framing: Framing) -> Self {
        Self(Text::new(buf, end, framing))
    }

    /// The whole buffer.
    #[inline(always)]
    pub fn buf(&self) -> &'a [u8] {
        self.0.padded()
    }

    /// Where the data ends.
    pub fn end(&self) -> usize {
        self.0.data().len()
    }

    /// What ends a record.
    pub fn framing(&self) -> Framing {
        self.0.framing()
    }
}

/// What was found for one wanted path. Indices are into the scanned buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The field is not there, or what should contain it is no object.
    Missing,
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without fraction and exponent that fits 64 bits. `-0` is 0.
    Int(i64),
    /// A whole number of one to fifteen digits, where it was asked for so (`Scanner::with_digits`): as it stands.
    Digits {
        /// Its first digit.
        start: u32,
        /// After its last digit.
        end: u32,
    },
    /// Any other number, in JSON's spelling: `1.0`, `1e3`, `9223372036854775808`.
    Number {
        /// Its first byte.
        start: u32,
        /// After its last byte.
        end: u32,
    },
    /// A string: the bytes between its quotes, valid UTF-8.
    Str {
        /// The first byte after the opening quote.
        start: u32,
        /// The closing quote.
        end: u32,
        /// Whether there are escapes in it, which `unescape` resolves.
        escaped: bool,
    },
    /// An object or an array, brackets included.
    Compound {
        /// Its opening bracket.
        start: u32,
        /// After its closing bracket.
        end: u32,
    },
}

/// Finds the values of a fixed set of paths in record after record.
///
/// ```
/// use plimsoll_core::json::{Framing, PADDING, Scanner, Slot};
///
/// let mut scanner = Scanner::new(&[vec!["ts"], vec!["at", "lat"]]);
/// let mut buf = b"{\"ts\":5,\"at\":{\"lat\":-1,\"lon\":2.5}}\n".to_vec();
/// let end = buf.len();
/// buf.resize(end + PADDING, 0);
///
/// let mut slots = [Slot::Missing; 2];
/// assert_eq!(scanner.scan(&buf, 0, end, Framing::Line, &mut slots), Ok(end));
/// assert_eq!(slots, [Slot::Int(5), Slot::Int(-1)]);
/// ```
pub struct Scanner {
    nodes: Vec<Node>,
    keys: Keys,
    paths: usize,
    /// `Pass::filled` of a record that has all that is wanted.
    all: u64,
    /// Number of the scan, for `Node::seen`.
    scan: u64,
}

/// An object in which something is wanted.
struct Node {
    root: KeyId,
    /// The first path that leads through it.
    path: u16,
    /// The scan that met it last.
    seen: u64,
}

impl Scanner {
    /// A scanner for these paths, whose values come in this order: `["a", "b"]` is `{"a": {"b": ...}}`.
    ///
    /// # Panics
    /// If a path is empty, equals another one, or is the start of another one; or if there are more than about 65,000 names.
    pub fn new<P: AsRef<[S]>, S: AsRef<str>>(paths: &[P]) -> Scanner {
        Self::with_digits(paths, &|_| false)
    }

    /// The same, where whole numbers of the paths that `digits` picks by their index may come as `Slot::Digits`.
    ///
    /// # Panics
    /// As `new`.
    pub fn with_digits<P: AsRef<[S]>, S: AsRef<str>>(paths: &[P], digits: &dyn Fn(usize) -> bool) -> Scanner {
        let mut keys = Keys::new();
        let mut nodes = alloc::vec![Node { root: keys.add_root(0), path: 0, seen: 0 }];
        // What has been added so far: node, name and target.
        let mut known: Vec<(u16, &str, Target)> = Vec::new();
        for (path, names) in paths.iter().enumerate() {
            let (last, parents) = names.as_ref().split_last().expect("a wanted path has at least one name");
            let mut node = 0;
            for name in parents {
                node = match find(&known, node, name.as_ref()) {
                    Some(Target::Node(child)) => child,
                    Some(_) => panic!("a wanted path is the start of another one"),
                    None => {
                        let child = u16::try_from(nodes.len()).expect("at most 65,535 objects with wanted fields");
                        nodes.push(Node { root: keys.add_root(child), path: path as u16, seen: 0 });
                        keys.add_wanted(node, name.as_ref(), Target::Node(child));
                        known.push((node, name.as_ref(), Target::Node(child)));
                        child
                    }
                };
            }
            let target = if digits(path) { Target::Digits(path as u16) } else { Target::Slot(path as u16) };
            let before = find(&known, node, last.as_ref());
            assert!(before.is_none(), "a wanted path equals another one or is the start of it");
            known.push((node, last.as_ref(), target));
            keys.add_wanted(node, last.as_ref(), target);
        }
        keys.freeze();
        let all = u64::MAX.checked_shr(BITS.saturating_sub(paths.len()) as u32).unwrap_or(0);
        Scanner { nodes, keys, paths: paths.len(), all, scan: 0 }
    }

    /// Scans a record of a buffer of its own, as `scan_in` does.
    ///
    /// # Errors
    /// As `scan_in`.
    ///
    /// # Panics
    /// As `scan_in`, and as `Data::new`.
    pub fn scan(
        &mut self,
        buf: &[u8],
        at: usize,
        end: usize,
        framing: Framing,
        slots: &mut [Slot],
    ) -> Result<usize, ScanError> {
        self.scan_in(&Data::new(buf, end, framing), at, slots)
    }

    /// Scans the record that starts at `at`, white space allowed before it, and fills `slots`, one for each path. The
    /// answer is the index just after the record: after its newline with `Framing::Line`, if one is there.
    ///
    /// # Errors
    /// Why it is not a record, and where. The slots then mean nothing. The next record, if any, starts after the next
    /// newline from the error or from `at`: both are the same one.
    ///
    /// # Panics
    /// If the number of slots is not that of the paths, or `at` lies behind the data.
    #[inline(always)]
    pub fn scan_in(&mut self, data: &Data<'_>, at: usize, slots: &mut [Slot]) -> Result<usize, ScanError> {
        let text = &data.0;
        assert!(slots.len() == self.paths, "{} paths, but {} slots", self.paths, slots.len());
        assert!(at <= text.end(), "the record starts at {at}, behind the data's end at {}", text.end());
        if slots.len() > BITS {
            slots[BITS..].fill(Slot::Missing);
        }
        self.scan += 1;
        self.keys.tidy();

        let start = if text.byte(at) == b'{' { at } else { text.start(at)? };
        let mut pass = Pass { text, slots, filled: 0, node: 0, depth: 1, high: 0 };
        let mut here = Here { start, at: start, previous: self.nodes[0].root };
        match self.usual(&mut pass, &mut here) {
            Halt::End => {}
            halt => here.at = self.object(&mut pass, here, halt)?,
        }
        let close = here.at;
        if pass.filled != self.all {
            pass.empty();
        }
        if pass.high & 0x8080_8080_8080_8080 != 0 {
            text.check_utf8(start, close)?;
        }
        match text.framing() {
            Framing::Line if text.byte(close) == b'\n' => Ok(close + 1),
            Framing::Whole if close == text.end() => Ok(close),
            _ => text.close(close),
        }
    }

    /// Goes on from key to key while each is the expected one and its value a plain string or integer.
    // No calls, and little that is kept in mind: here a record spends half of its time.
    #[inline(never)]
    fn usual(&self, pass: &mut Pass<'_, '_>, here: &mut Here) -> Halt {
        let (buf, slots) = (pass.text.padded(), &mut *pass.slots);
        let (mut high, mut filled) = (pass.high, pass.filled);
        let mut expected = self.keys.after(here.previous);
        // It begins with the comma before a key, or the object's brace.
        let mut rest = &buf[here.at..];
        let mut halt = match rest[0] {
            _ if here.at == here.start => Halt::Value,
            byte => Halt::after_value(byte),
        };
        while halt == Halt::Value {
            let Some((window, step)) = Window::of(rest).and_then(|w| Some((w, self.keys.expect(expected, w)?))) else {
                halt = Halt::Key;
                break;
            };
            here.previous = expected;
            expected = step.next;
            let value = step.len();
            let word = window.word(value);
            let is_text = word as u8 == b'"';
            let len = if is_text {
                let mut len = 1;
                let mut word = window.word(value + 1);
                let mut found = specials(word);
                while found == 0 {
                    high |= word;
                    len += 8;
                    word = word_at(rest, value + len);
                    found = specials(word);
                }
                high |= word;
                if word >> (found.trailing_zeros() - 7) & 0xff != u64::from(b'"') {
                    break;
                }
                len + first(found) + 1
            } else if word as u8 ^ 0x30 < 10
                && let Some(len) = window.plain_integer(value, word)
            {
                len
            } else {
                break;
            };
            let start = buf.len() - rest.len() + value;
            if step.slot < SLOTS + DIGITS {
                let path = step.slot % SLOTS;
                if filled >> path & 1 != 0 {
                    break;
                }
                slots[usize::from(path)] = if is_text {
                    Slot::Str { start: start as u32 + 1, end: (start + len) as u32 - 1, escaped: false }
                } else if step.slot >= DIGITS {
                    Slot::Digits { start: start as u32, end: (start + len) as u32 }
                } else {
                    Slot::Int(window.integer(value, word, len))
                };
                filled |= 1 << path;
            } else if step.slot != SKIPPED {
                break;
            }
            rest = &rest[value + len..];
            halt = Halt::after_value(rest[0]);
        }
        (pass.high, pass.filled) = (high, filled);
        here.at = buf.len() - rest.len();
        match halt {
            // The key was read, its value was not.
            Halt::Value => here.at += self.keys.len(here.previous),
            Halt::End => here.at += 1,
            Halt::Key => {}
        }
        halt
    }

    /// Reads on from where `usual` has halted, to the end of the object of `pass.node`, the `pass.depth`th from outside; the
    /// index after it.
    #[inline(never)]
    fn object(&mut self, pass: &mut Pass<'_, '_>, mut here: Here, mut halt: Halt) -> Result<usize, ScanError> {
        let text = *pass.text;
        loop {
            let (target, value) = match halt {
                Halt::End => return Ok(here.at),
                Halt::Value => (self.keys.target(here.previous), here.at),
                Halt::Key => {
                    let first = here.at == here.start;
                    let comma = if first { here.at } else { text.spaces(here.at) };
                    match text.byte(comma) {
                        _ if first => {}
                        b',' => {}
                        b'}' => return Ok(comma + 1),
                        _ => return Err(text.unexpected(comma, "`,` or `}`")),
                    }
                    let quote = text.spaces(comma + 1);
                    if first && text.byte(quote) == b'}' {
                        return Ok(quote + 1);
                    }
                    let found = self.keys.read((pass.node, here.previous), text, comma, quote, &mut pass.high)?;
                    here.previous = found.key;
                    (found.target, found.value)
                }
            };
            let value = text.spaces(value);
            let (slot, after) = self.value(pass, target, value)?;
            self.keep(target, slot, value, pass)?;
            here.at = after;
            halt = self.usual(pass, &mut here);
        }
    }

    /// Fills the slot of a value that starts at `at`.
    fn keep(&mut self, target: Target, value: Slot, at: usize, pass: &mut Pass<'_, '_>) -> Result<(), ScanError> {
        match target {
            Target::Skip => {}
            Target::Slot(path) | Target::Digits(path) => {
                let (slot, bit) = (&mut pass.slots[usize::from(path)], 1u64.checked_shl(path.into()).unwrap_or(0));
                if bit & pass.filled != 0 || (bit == 0 && !matches!(slot, Slot::Missing)) {
                    return Err(ScanErrorKind::DuplicateField(path).at(at));
                }
                *slot = value;
                pass.filled |= bit;
            }
            Target::Node(child) => {
                let child = &mut self.nodes[usize::from(child)];
                if child.seen == self.scan {
                    return Err(ScanErrorKind::DuplicateField(child.path).at(at));
                }
                child.seen = self.scan;
            }
        }
        Ok(())
    }

    /// Any value that starts at `at`, and the index after it.
    fn value(&mut self, pass: &mut Pass<'_, '_>, target: Target, at: usize) -> Result<(Slot, usize), ScanError> {
        let text = *pass.text;
        match target {
            Target::Node(child) if text.byte(at) == b'{' => {
                if pass.depth == DEPTH_MAX {
                    return Err(ScanErrorKind::TooDeep.at(at));
                }
                let outer = pass.node;
                (pass.node, pass.depth) = (child, pass.depth + 1);
                let mut here = Here { start: at, at, previous: self.nodes[usize::from(child)].root };
                let halt = self.usual(pass, &mut here);
                let after = self.object(pass, here, halt)?;
                (pass.node, pass.depth) = (outer, pass.depth - 1);
                Ok((Slot::Missing, after))
            }
            _ => skip::value(text, at, pass.depth, &mut pass.high),
        }
    }
}

/// One scan, handed down as a whole: a module passes more than four arguments through memory, and waits for them there.
struct Pass<'t, 's> {
    text: &'t Text<'t>,
    slots: &'s mut [Slot],
    /// Which of the first `BITS` slots are filled; the others are not, hold what an earlier record had.
    filled: u64,
    /// The object in hand, and how deep it stands.
    node: u16,
    depth: usize,
    /// The bytes of strings that were looked at, or-ed: a high bit says that some are not ASCII.
    high: u64,
}

impl Pass<'_, '_> {
    /// Empties the slots of what the record does not have.
    #[inline(never)]
    fn empty(&mut self) {
        let slots = self.slots.iter_mut().take(BITS).enumerate();
        slots.filter(|(path, _)| self.filled >> path & 1 == 0).for_each(|(_, slot)| *slot = Slot::Missing);
    }
}

/// A place in an object.
#[derive(Clone, Copy)]
struct Here {
    /// Its brace.
    start: usize,
    /// The brace, or what comes after a value; with `Halt::Value`, where that begins.
    at: usize,
    /// The key that was read last.
    previous: KeyId,
}

/// Why `usual` goes no further.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Halt {
    /// The object has ended, and this is the index after it.
    End,
    /// Another key than the expected one, or none, or not as it is usually written.
    Key,
    /// The key's value is not plain, stands there twice, or may hold wanted fields.
    Value,
}

impl Halt {
    /// With `Value`, another key and its value follow.
    #[inline(always)]
    fn after_value(byte: u8) -> Self {
        match byte {
            b',' => Self::Value,
            b'}' => Self::End,
            _ => Self::Key,
        }
    }
}

/// What a name means in a node. There are a few dozen of them at most: a policy's fields.
fn find(known: &[(u16, &str, Target)], node: u16, name: &str) -> Option<Target> {
    known.iter().find(|(n, k, _)| *n == node && *k == name).map(|(.., target)| *target)
}
