//! Finds the wanted fields of a JSON record, and checks all of it: the engine's hottest part.
//!
//! ```text
//! {"device":"d-7","ts":1700000000000,"at":{"lat":52.5}}     wanted: ["ts"], ["at","lat"]
//!                      Int               Number              the rest is checked and left where it is
//! ```
//!
//! Producers write the same fields in the same order again and again, so the next key is predicted and compared as words
//! (`keys`); strings and integers are read eight bytes at a time (`text`).
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
use keys::{Found, KeyId, Keys, Target};
use text::Text;

/// Bytes that must follow the data in any buffer handed to the scanner, so that words may be loaded past its end. The
/// first of them must be zero; the others may be anything.
pub const PADDING: usize = 32;

/// How many objects and arrays may stand inside each other, the record itself included. Deeper ones are refused.
pub const DEPTH_MAX: usize = 64;

/// What ends a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// NDJSON: a raw newline or the end of the data, after spaces, tabs and `\r` if there are any. A newline inside the
    /// object cuts it.
    Line,
    /// The data is one object. White space, newlines included, may surround it; nothing else may.
    Whole,
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
            let target = Target::Slot(path as u16);
            let before = find(&known, node, last.as_ref());
            assert!(before.is_none(), "a wanted path equals another one or is the start of it");
            known.push((node, last.as_ref(), target));
            keys.add_wanted(node, last.as_ref(), target);
        }
        keys.freeze();
        Scanner { nodes, keys, paths: paths.len(), scan: 0 }
    }

    /// Scans the record that starts at `at`, white space allowed before it, and fills `slots`, one for each path. The
    /// answer is the index just after the record: after its newline with `Framing::Line`, if one is there.
    ///
    /// The data is `buf[..end]`; `PADDING` bytes follow it, the first of them zero.
    ///
    /// # Errors
    /// Why it is not a record, and where. The slots then mean nothing. The next record, if any, starts after the next
    /// newline from the error or from `at`: both are the same one.
    ///
    /// # Panics
    /// If the padding is missing or not zero, the number of slots is not that of the paths, `at` lies behind `end`, or
    /// `end` exceeds 32 bits.
    #[inline(always)]
    pub fn scan(
        &mut self,
        buf: &[u8],
        at: usize,
        end: usize,
        framing: Framing,
        slots: &mut [Slot],
    ) -> Result<usize, ScanError> {
        assert!(slots.len() == self.paths, "{} paths, but {} slots", self.paths, slots.len());
        assert!(at <= end, "the record starts at {at}, behind the data's end at {end}");
        let text = Text::new(buf, end, framing);
        slots.fill(Slot::Missing);
        self.scan += 1;
        self.keys.tidy();

        let start = text.spaces(at);
        let found = text.byte(start);
        if found != b'{' {
            let kind =
                if text.is_end(start, found) { ScanErrorKind::Truncated } else { ScanErrorKind::NotAnObject { found } };
            return Err(kind.at(start));
        }
        let mut pass = Pass { text, slots, node: 0, depth: 1, high: 0 };
        let close = self.object(&mut pass, start)?;
        if pass.high & 0x8080_8080_8080_8080 != 0 {
            text.check_utf8(start, close)?;
        }
        let next = text.spaces(close);
        match text.byte(next) {
            _ if next >= end => Ok(end),
            b'\n' => Ok(next + 1),
            found => Err(ScanErrorKind::TrailingData { found }.at(next)),
        }
    }

    /// The object of `pass.node` that starts at `at`, the `pass.depth`th from outside; the index after it.
    fn object(&mut self, pass: &mut Pass<'_, '_>, mut at: usize) -> Result<usize, ScanError> {
        let (text, node, start) = (pass.text, pass.node, at);
        let mut previous = self.nodes[usize::from(node)].root;
        let mut expected = self.keys.after(previous);
        // Keys are compared together with the byte before them, which is a comma but for the first key.
        let mut flip = u64::from(b'{' ^ b',');
        let mut seen = 0;
        loop {
            let found = if let Some(found) = self.keys.expect(expected, text, at, flip) {
                found
            } else if text.byte(at) == b'}' {
                pass.high |= seen;
                return Ok(at + 1);
            } else if text.byte(at + 1) == b' '
                && text.byte(at) == b','
                && let Some(found) = self.keys.expect(expected, text, at + 1, u64::from(b' ' ^ b','))
            {
                found
            } else {
                match self.key(text, node, previous, at, at == start, &mut pass.high)? {
                    Next::Key(found) => found,
                    Next::End(after) => {
                        pass.high |= seen;
                        return Ok(after);
                    }
                }
            };
            (previous, expected, at) = (found.key, found.next, found.value);
            flip = 0;

            let mut word = text.word(at);
            if word as u8 == b' ' {
                at += 1;
                word = text.word(at);
            }
            match word as u8 {
                b'"' => {
                    let (close, escaped) = text.string(at + 1, &mut seen)?;
                    let value = Slot::Str { start: at as u32 + 1, end: close as u32, escaped };
                    self.keep(found.target, value, text, at, pass.slots)?;
                    at = close + 1;
                }
                b'0'..=b'9' if let Some((value, after)) = text.plain_integer(at, word) => {
                    self.keep(found.target, Slot::Int(value), text, at, pass.slots)?;
                    at = after;
                }
                _ => {
                    let (value, after) = self.other_value(pass, found.target, at)?;
                    self.keep(found.target, value, text, at, pass.slots)?;
                    at = after;
                }
            }
        }
    }

    /// Fills the slot of a value that starts at `at` or after white space there.
    #[inline(always)]
    fn keep(
        &mut self,
        target: Target,
        value: Slot,
        text: Text<'_>,
        at: usize,
        slots: &mut [Slot],
    ) -> Result<(), ScanError> {
        match target {
            Target::Skip => {}
            Target::Slot(path) => {
                let slot = &mut slots[usize::from(path)];
                if !matches!(slot, Slot::Missing) {
                    return Err(ScanErrorKind::DuplicateField(path).at(text.spaces(at)));
                }
                *slot = value;
            }
            Target::Node(child) => {
                let child = &mut self.nodes[usize::from(child)];
                if child.seen == self.scan {
                    return Err(ScanErrorKind::DuplicateField(child.path).at(text.spaces(at)));
                }
                child.seen = self.scan;
            }
        }
        Ok(())
    }

    /// What comes after a value or an opening brace, where it is not the expected key as it is usually written.
    #[inline(never)]
    fn key(
        &mut self,
        text: Text<'_>,
        node: u16,
        previous: KeyId,
        mut at: usize,
        first: bool,
        high: &mut u64,
    ) -> Result<Next, ScanError> {
        if !first {
            at = text.spaces(at);
            match text.byte(at) {
                b',' => {}
                b'}' => return Ok(Next::End(at + 1)),
                _ => return Err(text.unexpected(at, "`,` or `}`")),
            }
        }
        at = text.spaces(at + 1);
        if first && text.byte(at) == b'}' {
            return Ok(Next::End(at + 1));
        }
        Ok(Next::Key(self.keys.read(node, previous, text, at, high)?))
    }

    /// A value that is neither a string nor a plain integer.
    #[inline(never)]
    fn other_value(&mut self, pass: &mut Pass<'_, '_>, target: Target, at: usize) -> Result<(Slot, usize), ScanError> {
        let text = pass.text;
        let at = text.spaces(at);
        match target {
            Target::Node(child) if text.byte(at) == b'{' => {
                if pass.depth == DEPTH_MAX {
                    return Err(ScanErrorKind::TooDeep.at(at));
                }
                let outer = pass.node;
                (pass.node, pass.depth) = (child, pass.depth + 1);
                let after = self.object(pass, at)?;
                (pass.node, pass.depth) = (outer, pass.depth - 1);
                Ok((Slot::Missing, after))
            }
            _ => skip::value(text, at, pass.depth, &mut pass.high),
        }
    }
}

/// One scan, handed down as a whole: a module passes more than four arguments through memory, and waits for them there.
struct Pass<'t, 's> {
    text: Text<'t>,
    slots: &'s mut [Slot],
    /// The object in hand, and how deep it stands.
    node: u16,
    depth: usize,
    /// The bytes of strings that were looked at, or-ed: a high bit says that some are not ASCII.
    high: u64,
}

/// What a name means in a node. There are a few dozen of them at most: a policy's fields.
fn find(known: &[(u16, &str, Target)], node: u16, name: &str) -> Option<Target> {
    known.iter().find(|(n, k, _)| *n == node && *k == name).map(|(.., target)| *target)
}

/// What stands where a key was expected.
enum Next {
    Key(Found),
    /// The object's end, and the index after it.
    End(usize),
}
