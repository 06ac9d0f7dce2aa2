//! Goes through the files of a lane, one after the other, in name order.
//!
//! ```text
//! read to the end --> next file by name --> ... --> no more: End, or when following: Idle, look again
//!                 \-> renamed away, new file under the name (following): the new file, one turn further
//! ```
//! Invariants
//! - A file is left only at its end: when following, after two looks in a row that found nothing more in it.
//! - No file that was finished has changed, and none has appeared before the one being read, unnoticed.
//!
//! Not here: cutting lines (`lines`), checks of one file (`open`).

use super::super::ahead::Strand;
use super::super::feed::Format;
use super::super::lines::{AtEnd, Cut, Piece};
use super::super::{Chunk, Next, Places, SourceError};
use super::mark::{Finished, Mark};
use super::open::{From, Open};
use super::set::{FileSet, Found};
use super::{Follow, Reads, rotated};
use std::collections::VecDeque;
use std::sync::Arc;

/// A lane of files, at a position.
pub(super) struct Walk {
    set: FileSet,
    follow: Follow,
    reads: Reads,
    finished: Finished,
    current: Option<Current>,
    /// Label of the file that was finished last.
    after: Option<String>,
    /// Files still to come, as listed last.
    queue: VecDeque<Found>,
    /// Ordinal of the next line.
    ordinal: u64,
}

struct Current {
    open: Open,
    label: String,
    /// The path, for messages.
    shown: String,
    /// The name in positions of records: the label, with the turn after the first.
    place: Arc<str>,
    turn: u64,
    /// Stored bytes that were reported.
    taken: u64,
    at_end: AtEnd,
    /// The last look found a reason to leave the file.
    leaving: bool,
    /// The last look found nothing.
    idle: bool,
}

impl Walk {
    /// At the beginning of the first file, or just after `mark`.
    pub(super) fn new(
        set: FileSet,
        (follow, reads): (Follow, Reads),
        mark: Option<&Mark>,
    ) -> Result<Self, SourceError> {
        let listing = set.list()?;
        let mut walk = Self {
            set,
            follow,
            reads,
            finished: Finished::default(),
            current: None,
            after: None,
            queue: VecDeque::new(),
            ordinal: 0,
        };
        match mark {
            None => walk.queue = listing.into(),
            Some(mark) => {
                walk.finished = Finished::of(mark, &listing);
                walk.finished.check(&walk.set, &listing, &mark.file)?;
                walk.current = Some(walk.resume(mark, &listing)?);
                walk.queue = listing.into_iter().filter(|f| f.label > mark.file).collect();
            }
        }
        Ok(walk)
    }

    fn resume(&self, mark: &Mark, listing: &[Found]) -> Result<Current, SourceError> {
        let path = self.set.path(&mark.file);
        let here = match listing.iter().find(|f| f.label == mark.file) {
            Some(_) => self.open(&path, &mark.file, mark.turn, From::Mark(mark)),
            None => Err(SourceError::Gap(format!(
                "{} is gone; it was read up to line {} (byte {}). Put it back, or give this run a new store to count \
                 the files that are there from the beginning",
                self.set.shown(&mark.file),
                mark.line,
                mark.offset
            ))),
        };
        match here {
            Err(SourceError::Gap(why)) if self.follow == Follow::Yes => {
                // It may have been rotated while nobody looked.
                let Some(old) = rotated::find(&path, mark, &why)? else { return Err(SourceError::Gap(why)) };
                if let Some(twice) = listing.iter().find(|f| f.path == old) {
                    return Err(self.read_twice(&mark.file, twice));
                }
                self.open(&old, &mark.file, mark.turn, From::Mark(mark))
            }
            here => here,
        }
    }

    fn open(&self, path: &std::path::Path, label: &str, turn: u64, from: From<'_>) -> Result<Current, SourceError> {
        let shown = path.to_string_lossy().into_owned();
        let open = Open::new(path, &shown, self.ordinal, from)?;
        self.follow.allows(open.format, &shown)?;
        let at_end = if self.follow == Follow::Yes { AtEnd::Growing } else { AtEnd::Whole };
        let place = if turn == 0 { label.into() } else { format!("{label}#{turn}").into() };
        let taken = open.feed.taken();
        let label = label.to_owned();
        Ok(Current { open, label, shown, place, turn, taken, at_end, leaving: false, idle: false })
    }

    /// Opens the next file. `None`: there is none.
    fn advance(&mut self) -> Result<Option<Current>, SourceError> {
        if self.queue.is_empty() {
            let listing = self.set.list()?;
            if let Some(after) = &self.after {
                let newer = listing.iter().find(|f| f.label > *after);
                // The last file may have grown when nothing follows it: the next start goes on in it.
                let until = newer.map_or(after, |f| &f.label);
                self.finished.check(&self.set, &listing, until)?;
            }
            let is_new = |f: &Found| self.after.as_ref().is_none_or(|after| f.label > *after);
            self.queue = listing.into_iter().filter(is_new).collect();
        }
        let Some(found) = self.queue.pop_front() else { return Ok(None) };
        self.open(&found.path, &found.label, 0, From::Start).map(Some)
    }

    /// The current file has ended: goes over to its successor under the same name, or leaves it.
    fn finish(&mut self, current: Current) -> Result<(), SourceError> {
        if self.follow == Follow::Yes {
            let path = self.set.path(&current.label);
            let listing = self.set.list()?;
            if listing.iter().any(|f| f.label == current.label && f.inode != current.open.inode) {
                self.current = Some(self.open(&path, &current.label, current.turn + 1, From::Start)?);
                return Ok(());
            }
        }
        self.finished.push(&current.label, current.open.feed.taken());
        self.after = Some(current.label);
        Ok(())
    }

    /// Nothing more is in the current file: is there a reason to leave it?
    fn look_around(&mut self) -> Result<(), SourceError> {
        let current = self.current.as_mut().expect("the caller reads it");
        let listing = self.set.list()?;
        self.finished.check(&self.set, &listing, &current.label)?;
        let renamed = |f: &&Found| f.inode == current.open.inode && f.label != current.label;
        // Two names for one file from the start (hard links) are the user's will; a new name is a rotation.
        let here = listing.iter().find(|f| f.label == current.label);
        let moved = here.is_none_or(|f| f.inode != current.open.inode);
        if moved && let Some(twice) = listing.iter().find(renamed) {
            return Err(self.read_twice(&self.current.as_ref().expect("as above").label, twice));
        }
        let replaced = moved && here.is_some();
        let newer = listing.last().is_some_and(|f| f.label > current.label);
        if !replaced && !newer {
            current.leaving = false;
        } else if current.leaving {
            current.at_end = AtEnd::Whole;
        } else {
            current.leaving = true;
        }
        self.queue = listing.into_iter().filter(|f| f.label > current.label).collect();
        current.idle = true;
        Ok(())
    }

    fn read_twice(&self, label: &str, twice: &Found) -> SourceError {
        SourceError::Refused(format!(
            "{} was renamed to {}, which the pattern also matches: its records would be counted twice. Use a pattern \
             that matches the file being written and not its rotated names",
            self.set.shown(label),
            self.set.shown(&twice.label)
        ))
    }

    fn chunk(&mut self, piece: Piece) -> Chunk {
        let current = self.current.as_mut().expect("the piece comes from it");
        let mut mark = current.open.mark(&current.label, current.turn);
        self.finished.write(&mut mark);
        self.ordinal = current.open.cutter.ordinal();
        let taken = current.open.feed.taken();
        let source_bytes = taken - current.taken;
        (current.taken, current.leaving, current.idle) = (taken, false, false);
        let (first, count, first_line) = (piece.first, piece.count, piece.first_line);
        Chunk {
            frames: piece.frames,
            source_bytes,
            end: mark.position(),
            places: Places::Lines { first, count, file: current.place.clone(), first_line },
            behind_ms: None,
        }
    }
}

impl Strand for Walk {
    fn fill(&mut self, place: &mut [u8]) -> Option<(usize, Chunk)> {
        let current = self.current.as_mut().filter(|current| !current.idle)?;
        let (len, piece) = current.open.cutter.fill_place(current.open.feed.as_mut(), place)?;
        Some((len, self.chunk(piece)))
    }

    fn here(&self) -> bool {
        self.reads == Reads::Here && self.current.as_ref().is_none_or(|c| c.open.format == Format::Plain)
    }

    fn step(&mut self, bytes: usize) -> Result<Next, SourceError> {
        loop {
            if self.current.is_none() {
                self.current = self.advance()?;
            }
            let Some(current) = &mut self.current else {
                return Ok(if self.follow == Follow::Yes { Next::Idle } else { Next::End });
            };
            if current.idle && !current.open.keeps_its_head(&current.shown)? {
                return Err(SourceError::Gap(format!(
                    "{} was overwritten while it was followed: its beginning is not what was read (up to line {}, byte \
                     {}). What was in between cannot be counted; let the writer rotate by renaming, not by truncating",
                    current.shown,
                    current.open.cutter.line(),
                    current.open.cutter.offset()
                )));
            }
            match current.open.cutter.next(current.open.feed.as_mut(), bytes, current.at_end)? {
                Cut::Lines(piece) => return Ok(Next::Chunk(self.chunk(piece))),
                Cut::End if current.at_end == AtEnd::Growing => {
                    self.look_around()?;
                    return Ok(Next::Idle);
                }
                Cut::End => {
                    let current = self.current.take().expect("borrowed above");
                    self.finish(current)?;
                }
                Cut::Spliced => {
                    return Err(SourceError::Gap(format!(
                        "{}: line {} had no newline when it was counted, and has grown since. Let the writer finish its \
                         lines before the file is read, or read it with --follow; to count it right, give this run a \
                         new store",
                        current.shown,
                        current.open.cutter.line()
                    )));
                }
            }
        }
    }
}
