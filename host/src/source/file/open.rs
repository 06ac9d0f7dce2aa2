//! One file, open at a position, after a check that it still is the file of that position.
//!
//! Not here: which file (`walk`), the text of positions (`mark`).

use super::super::SourceError;
use super::super::feed::{self, Feed, Format, PlainFile, trouble};
use super::super::lines::{Cutter, HEAD_BYTES, fingerprint};
use super::mark::Mark;
use super::set::inode;
use std::fs::File;
use std::path::Path;

/// Where an open file is to be read from.
pub(super) enum From<'a> {
    Start,
    Mark(&'a Mark),
}

/// A file that is being read.
pub(super) struct Open {
    pub feed: Box<dyn Feed>,
    pub cutter: Cutter,
    pub format: Format,
    pub inode: (u64, u64),
    /// The same file once more, for looking at its beginning.
    handle: File,
    /// The fingerprint of so many first bytes.
    head: (usize, String),
}

impl Open {
    /// Opens `path`; `shown` is its name in messages, `ordinal` that of its next line.
    pub(super) fn new(path: &Path, shown: &str, ordinal: u64, from: From<'_>) -> Result<Self, SourceError> {
        let io = |e| trouble(shown, &e);
        let mut file = File::open(path).map_err(io)?;
        let handle = file.try_clone().map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        let format = Format::of_file(&mut file, shown)?;
        let mut feed = feed::of_file(file, format, shown)?;
        let mut cutter = Cutter::start(ordinal);
        if let From::Mark(mark) = from {
            let head = read_head(feed.as_mut(), mark, shown)?;
            if format == Format::Plain {
                if meta.len() < mark.offset {
                    return Err(shrunk(shown, mark, meta.len()));
                }
                feed = Box::new(PlainFile::new(handle.try_clone().map_err(io)?, shown, mark.offset)?);
            } else {
                skip(feed.as_mut(), mark, shown)?;
            }
            cutter = cutter.resume(mark.offset, mark.line, mark.open, head);
        }
        let head = (0, fingerprint(&[]));
        Ok(Self { feed, cutter, format, inode: inode(&meta), handle, head })
    }

    /// The position after the last delivered line of this file.
    pub(super) fn mark(&mut self, label: &str, turn: u64) -> Mark {
        let head = self.cutter.head();
        if self.head.0 != head.len() {
            self.head = (head.len(), fingerprint(head));
        }
        let mut mark = Mark::new(label, self.cutter.offset(), self.cutter.line(), &self.head.1);
        (mark.turn, mark.open) = (turn, self.cutter.ends_open());
        mark
    }

    /// Whether the beginning of the file still is what was read. A plain file only.
    pub(super) fn keeps_its_head(&self, shown: &str) -> Result<bool, SourceError> {
        let mut now = vec![0; self.cutter.head().len()];
        match read_exact_at(&self.handle, &mut now) {
            Ok(()) => Ok(now == self.cutter.head()),
            // It shrank; the next read says by how much.
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(true),
            Err(e) => Err(trouble(shown, &e)),
        }
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, buf: &mut [u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buf, 0)
}

// Elsewhere a read at a position moves the reader's own, so the check is left to the next start.
#[cfg(not(unix))]
fn read_exact_at(_: &File, _: &mut [u8]) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// Reads and checks the beginning that the mark has seen.
fn read_head(feed: &mut dyn Feed, mark: &Mark, shown: &str) -> Result<Vec<u8>, SourceError> {
    let want = mark.offset.min(HEAD_BYTES as u64) as usize;
    let mut head = Vec::with_capacity(want);
    while head.len() < want {
        let missing = want - head.len();
        if feed.more(&mut head, missing)? == 0 {
            return Err(shrunk(shown, mark, head.len() as u64));
        }
    }
    let found = fingerprint(&head);
    if found == mark.head {
        return Ok(head);
    }
    Err(SourceError::Gap(format!(
        "{shown} is not the file that was read up to line {} (byte {}): its first {want} bytes have the fingerprint \
         {found}, expected {}. Put the old file back under this name, or give this run a new store to count the new \
         file from its beginning",
        mark.line, mark.offset, mark.head
    )))
}

/// Moves a compressed file, whose head was read, to the position.
fn skip(feed: &mut dyn Feed, mark: &Mark, shown: &str) -> Result<(), SourceError> {
    const STEP: usize = 1 << 20;
    let mut at = mark.offset.min(HEAD_BYTES as u64);
    let mut scratch = Vec::with_capacity(STEP);
    while at < mark.offset {
        scratch.clear();
        let n = feed.more(&mut scratch, STEP.min((mark.offset - at) as usize))?;
        if n == 0 {
            return Err(shrunk(shown, mark, at));
        }
        at += n as u64;
    }
    Ok(())
}

fn shrunk(shown: &str, mark: &Mark, size: u64) -> SourceError {
    SourceError::Gap(format!(
        "{shown} shrank: it was read up to line {} at byte {}, and its content has only {size} bytes now. Put the whole \
         file back and run again, or give this run a new store to count what is there from the beginning",
        mark.line, mark.offset
    ))
}
