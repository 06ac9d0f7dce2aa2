//! Cuts bytes into input frames at the ends of lines.
//!
//! ```text
//! feed:   ...}\n{...}\n{...        frame: header | {...}\n{...}\n        carry: {...
//! ```
//! Bytes go straight from the feed into the frame; only the begun line after the last newline is copied, to the next
//! chunk.
//!
//! Invariants
//! - Which lines there are, and which of them are oversize, does not depend on how the bytes came or were asked for.
//! - `offset` and `line` are those of delivered lines: opening there gives the rest.
//! - Memory is bounded by the asked size and twice [`LINE_BYTES_MAX`].
//!
//! Not here: where the bytes come from (`feed`), what is in a line (the engine).

use super::SourceError;
use super::feed::Feed;
use plimsoll_core::wire::frame::{self, Kind};
use sha2::{Digest, Sha256};

/// A line with more bytes than this is not held in memory: its beginning becomes a dead letter.
pub const LINE_BYTES_MAX: usize = 16 << 20;
/// So much of a line over [`LINE_BYTES_MAX`] is kept.
pub const OVERSIZE_PREFIX: usize = 64 << 10;
/// A chunk reads no more than this at a time, so that only its first line can be over [`LINE_BYTES_MAX`].
const READ_MAX: usize = 8 << 20;
/// The least that is read at a time.
const READ_MIN: usize = 16 << 10;
/// So many bytes at the beginning of a file say which file it is.
pub(super) const HEAD_BYTES: usize = 4096;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// What the end of the bytes means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtEnd {
    /// A last line without a newline is a record.
    Whole,
    /// More may come: a begun line waits for its end.
    Growing,
}

/// What was cut.
#[derive(Debug)]
pub(super) enum Cut {
    /// A frame.
    Lines(Piece),
    /// The bytes ended, all lines were given; when growing, a begun line may wait.
    End,
    /// The last line was given as a record since it was the end, and now it goes on.
    Spliced,
}

/// A frame of lines.
#[derive(Debug)]
pub(super) struct Piece {
    pub frames: Vec<u8>,
    /// Ordinal of the first line.
    pub first: u64,
    /// Lines in it.
    pub count: u64,
    /// 1-based number of the first line in its file.
    pub first_line: u64,
}

/// The state between two chunks of one file.
pub(super) struct Cutter {
    /// The beginning of a line whose end was not read yet.
    carry: Vec<u8>,
    /// The kept beginning of a line over the limit, of which so many bytes were read.
    oversize: Option<(Vec<u8>, u64)>,
    /// An error that came after lines that had to be given first.
    error: Option<SourceError>,
    offset: u64,
    line: u64,
    ordinal: u64,
    ends_open: bool,
    head: Vec<u8>,
}

impl Cutter {
    /// At the beginning of a file; its first line gets `ordinal`.
    pub(super) fn start(ordinal: u64) -> Self {
        let (carry, head) = (Vec::new(), Vec::new());
        Self { carry, oversize: None, error: None, offset: 0, line: 0, ordinal, ends_open: false, head }
    }

    /// Goes on after `line` lines, at `offset`, the last line with or without newline; `head` are the file's first
    /// bytes, `offset` or [`HEAD_BYTES`] of them.
    pub(super) fn resume(mut self, offset: u64, line: u64, ends_open: bool, head: Vec<u8>) -> Self {
        assert!(head.len() as u64 == offset.min(HEAD_BYTES as u64), "head of {} bytes at {offset}", head.len());
        (self.offset, self.line, self.ends_open, self.head) = (offset, line, ends_open, head);
        self
    }

    /// Byte after the last delivered line.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Delivered lines of this file.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Ordinal of the next line.
    pub(super) fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// Whether the last delivered line had no newline.
    pub(super) fn ends_open(&self) -> bool {
        self.ends_open
    }

    /// The first bytes of the file, as many as were delivered.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// The next whole lines: about `want` bytes, or one longer line.
    pub(super) fn next(&mut self, feed: &mut dyn Feed, want: usize, at_end: AtEnd) -> Result<Cut, SourceError> {
        if let Some(e) = self.error.take() {
            return Err(e);
        }
        if self.ends_open {
            let mut byte = Vec::with_capacity(1);
            match feed.more(&mut byte, 1)? {
                0 => return Ok(Cut::End),
                _ if byte == b"\n" => self.delivered(&byte, 1),
                _ => return Ok(Cut::Spliced),
            }
            self.ends_open = false;
        }
        let want = want.clamp(READ_MIN, READ_MAX);
        loop {
            if self.oversize.is_some() {
                return self.skip(feed, at_end);
            }
            if let Some(cut) = self.fill(feed, want, at_end)? {
                return Ok(cut);
            }
        }
    }

    /// Reads whole lines straight into `place`, as `next` gives them: how many bytes the frame has, and the piece without it.
    /// `None` says nothing but that `next` is to be asked: at a file's beginning and end, where a line is longer than the place,
    /// where something is wrong.
    pub(super) fn fill_place(&mut self, feed: &mut dyn Feed, place: &mut [u8]) -> Option<(usize, Piece)> {
        let (header, lines) = place.split_at_mut_checked(frame::HEADER)?;
        let usual = self.offset > 0 && !self.ends_open && self.oversize.is_none() && self.error.is_none();
        if !usual || self.carry.len() + READ_MIN > lines.len() || lines.len() > READ_MAX {
            return None;
        }
        let from = self.carry.len();
        lines[..from].copy_from_slice(&self.carry);
        let read = match feed.fill(&mut lines[from..]) {
            Ok(n) => n,
            Err(e) => {
                self.error = Some(e);
                return None;
            }
        };
        let read = &lines[..from + read];
        let Some(last) = memchr::memrchr(b'\n', read) else {
            self.carry = read.to_vec();
            return None;
        };
        let (lines, rest) = read.split_at(last + 1);
        self.carry.clear();
        self.carry.extend_from_slice(rest);
        header.copy_from_slice(&frame::header(Kind::Lines, self.ordinal, None, lines.len()));
        let count = memchr::memchr_iter(b'\n', lines).count() as u64;
        self.delivered(lines, lines.len() as u64);
        Some((frame::HEADER + lines.len(), self.piece(Vec::new(), count)))
    }

    /// Reads until there is a newline. `None`: the line has become too long.
    fn fill(&mut self, feed: &mut dyn Feed, want: usize, at_end: AtEnd) -> Result<Option<Cut>, SourceError> {
        let mut buf = Vec::with_capacity(frame::HEADER + self.carry.len().max(want) + READ_MIN);
        frame::begin(&mut buf, Kind::Lines, self.ordinal, None);
        let from = buf.len();
        buf.append(&mut self.carry);
        // What was carried over from behind an oversize line may hold whole lines, so the first search includes it.
        let mut seen = from;
        loop {
            let room = want.saturating_sub(buf.len() - from).max(READ_MIN);
            let read = feed.more(&mut buf, room);
            let newline = memchr::memrchr(b'\n', &buf[seen..]).map(|i| seen + i);
            seen = buf.len();
            if buf.len() - from > LINE_BYTES_MAX {
                let first_end = memchr::memchr(b'\n', &buf[from..]).unwrap_or(buf.len() - from);
                if first_end > LINE_BYTES_MAX {
                    self.carry = buf.split_off(from);
                    self.error = read.err();
                    self.begin_oversize();
                    return Ok(None);
                }
            }
            match (read, newline) {
                (Ok(_), Some(at)) => return Ok(Some(self.give(buf, from, at + 1))),
                (Err(e), Some(at)) => {
                    self.error = Some(e);
                    return Ok(Some(self.give(buf, from, at + 1)));
                }
                (Err(e), None) => {
                    self.carry = buf.split_off(from);
                    return Err(e);
                }
                (Ok(0), None) if at_end == AtEnd::Whole && buf.len() > from => {
                    let to = buf.len();
                    let cut = self.give(buf, from, to);
                    self.ends_open = true;
                    return Ok(Some(cut));
                }
                (Ok(0), None) => {
                    self.carry = buf.split_off(from);
                    return Ok(Some(Cut::End));
                }
                (Ok(_), None) => {}
            }
        }
    }

    /// Makes a frame of `buf[from..to]`, which are whole lines, and keeps the rest.
    fn give(&mut self, mut buf: Vec<u8>, from: usize, to: usize) -> Cut {
        self.carry.extend_from_slice(&buf[to..]);
        buf.truncate(to);
        let count = memchr::memchr_iter(b'\n', &buf[from..]).count() as u64 + u64::from(buf[to - 1] != b'\n');
        self.delivered(&buf[from..], (to - from) as u64);
        if self.offset == (to - from) as u64 && buf[from..].starts_with(BOM) {
            buf.drain(from..from + BOM.len());
        }
        frame::finish(&mut buf, from - frame::HEADER);
        Cut::Lines(self.piece(buf, count))
    }

    fn piece(&mut self, frames: Vec<u8>, count: u64) -> Piece {
        let piece = Piece { frames, first: self.ordinal, count, first_line: self.line + 1 };
        self.ordinal += count;
        self.line += count;
        self.ends_open = false;
        piece
    }

    /// Moves the position over `len` bytes that begin with `bytes`.
    fn delivered(&mut self, bytes: &[u8], len: u64) {
        let missing = (HEAD_BYTES - self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..missing]);
        self.offset += len;
    }

    /// Keeps the beginning of the line in `carry` and goes over to skipping; what follows its end goes on as carry.
    fn begin_oversize(&mut self) {
        let end = memchr::memchr(b'\n', &self.carry);
        let rest = self.carry.split_off(end.unwrap_or(self.carry.len()));
        let len = self.carry.len() as u64;
        let mut prefix = std::mem::replace(&mut self.carry, rest);
        prefix.truncate(OVERSIZE_PREFIX);
        prefix.shrink_to_fit();
        self.oversize = Some((prefix, len));
    }

    /// Reads to the end of an oversize line and gives its beginning.
    fn skip(&mut self, feed: &mut dyn Feed, at_end: AtEnd) -> Result<Cut, SourceError> {
        loop {
            let (_, len) = self.oversize.as_mut().expect("checked by the caller");
            if let Some(at) = memchr::memchr(b'\n', &self.carry) {
                *len += at as u64 + 1;
                self.carry.drain(..=at);
                return Ok(self.give_oversize(false));
            }
            *len += self.carry.len() as u64;
            self.carry.clear();
            if let Some(e) = self.error.take() {
                return Err(e);
            }
            if feed.more(&mut self.carry, 1 << 20)? == 0 {
                return Ok(if at_end == AtEnd::Whole { self.give_oversize(true) } else { Cut::End });
            }
        }
    }

    fn give_oversize(&mut self, ends_open: bool) -> Cut {
        let (prefix, len) = self.oversize.take().expect("an oversize line is being read");
        let text = if self.offset == 0 { prefix.strip_prefix(BOM).unwrap_or(&prefix) } else { &prefix };
        let mut frames = Vec::with_capacity(frame::HEADER + text.len());
        frame::push(&mut frames, Kind::Oversize, self.ordinal, None, text);
        self.delivered(&prefix, len);
        let piece = self.piece(frames, 1);
        self.ends_open = ends_open;
        Cut::Lines(piece)
    }
}

/// The first 128 bits of the SHA-256 of a file's first bytes, in hex.
pub(super) fn fingerprint(head: &[u8]) -> String {
    Sha256::digest(head)[..16].iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
