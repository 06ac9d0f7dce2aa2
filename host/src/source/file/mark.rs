//! The position in a lane of files, and what is remembered of the files before it.
//!
//! ```text
//! {"file":"b.ndjson","offset":1234,"line":20,"head":"9f86…","done":"0a1b2c3d"}
//! ```
//! `offset` and `line` count the delivered content, decompressed. `head` is the fingerprint of the first
//! min(4096, offset) bytes. `done` has 8 hex digits for each file finished before this one, the last 128 of them;
//! `forgot` is the label up to which files are not remembered any more.
//!
//! Not here: opening files (`walk`).

use super::super::{Position, SourceError};
use super::set::{FileSet, Found};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;

/// So many finished files are remembered; a position is stored with every commit and must stay small.
const DONE_MAX: usize = 128;

/// A position, parsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    /// The file's label.
    pub file: String,
    /// Content bytes before it.
    pub offset: u64,
    /// Lines before it.
    pub line: u64,
    /// Fingerprint of the file's beginning.
    pub head: String,
    /// How many times the file was renamed away and begun anew.
    #[serde(default, skip_serializing_if = "is_default")]
    pub turn: u64,
    /// The last line had no newline yet.
    #[serde(default, skip_serializing_if = "is_default")]
    pub open: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    done: Tokens,
    #[serde(default, skip_serializing_if = "is_default")]
    forgot: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Mark {
    /// In the first turn of a file, nothing open, nothing finished before it.
    pub(super) fn new(file: &str, offset: u64, line: u64, head: &str) -> Self {
        let (done, forgot) = Default::default();
        Self { file: file.to_owned(), offset, line, head: head.to_owned(), turn: 0, open: false, done, forgot }
    }

    pub(super) fn parse(position: &Position) -> Result<Self, SourceError> {
        serde_json::from_str(&position.0).map_err(|e| {
            SourceError::Refused(format!(
                "the stored position is not one of files ({e}): {}. Was the store used with another source? Give this \
                 run a store of its own",
                position.0
            ))
        })
    }

    pub(super) fn position(&self) -> Position {
        Position(serde_json::to_string(self).expect("strings and numbers"))
    }
}

/// 32 bits over label and size of each finished file, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tokens(Vec<u32>);

impl Serialize for Tokens {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0.iter().map(|t| format!("{t:08x}")).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Tokens {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let token = |c: &[u8]| std::str::from_utf8(c).ok().and_then(|c| u32::from_str_radix(c, 16).ok());
        let tokens: Option<_> = text.as_bytes().chunks(8).map(|c| if c.len() == 8 { token(c) } else { None }).collect();
        tokens.map(Self).ok_or_else(|| serde::de::Error::custom("`done` is not made of 8 hex digits a file"))
    }
}

/// The files before the one that is read.
#[derive(Clone, Debug, Default)]
pub(super) struct Finished {
    /// Token and label; no label where the file is not there any more.
    done: VecDeque<(u32, Option<String>)>,
    forgot: String,
}

impl Finished {
    /// What a mark remembers; `listing` has the files that are there.
    pub(super) fn of(mark: &Mark, listing: &[Found]) -> Self {
        let label = |t: u32| listing.iter().find(|f| token(&f.label, f.size) == t).map(|f| f.label.clone());
        Self { done: mark.done.0.iter().map(|t| (*t, label(*t))).collect(), forgot: mark.forgot.clone() }
    }

    /// Writes itself into a mark.
    pub(super) fn write(&self, mark: &mut Mark) {
        mark.done = Tokens(self.done.iter().map(|(t, _)| *t).collect());
        mark.forgot.clone_from(&self.forgot);
    }

    /// `label` was read to its end, at `size` stored bytes.
    pub(super) fn push(&mut self, label: &str, size: u64) {
        self.done.push_back((token(label, size), Some(label.to_owned())));
        if self.done.len() > DONE_MAX
            && let Some((_, Some(label))) = self.done.pop_front()
        {
            self.forgot = label;
        }
    }

    /// Every file that sorts before `current` must have been finished as it is now.
    pub(super) fn check(&self, set: &FileSet, listing: &[Found], current: &str) -> Result<(), SourceError> {
        for file in listing.iter().take_while(|f| f.label.as_str() < current) {
            let token = token(&file.label, file.size);
            if file.label > self.forgot && !self.done.iter().any(|(t, _)| *t == token) {
                return Err(SourceError::Gap(format!(
                    "{} sorts before {current}, which is being read already, and is new or has changed (now {} bytes): \
                     its records would be missed. Give new files names that sort after the old ones, or read every \
                     file as a lane of its own (--lane-per-file)",
                    set.shown(&file.label),
                    file.size
                )));
            }
        }
        Ok(())
    }
}

fn token(label: &str, size: u64) -> u32 {
    let digest = Sha256::new().chain_update(size.to_le_bytes()).chain_update(label).finalize();
    u32::from_le_bytes(digest[..4].try_into().expect("4 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_stay_small_and_come_back() {
        let mut finished = Finished::default();
        for i in 0..1000 {
            finished.push(&format!("log-{i:04}.ndjson"), i);
        }
        let mut mark = Mark::new("log-1000.ndjson", 12, 3, "00");
        finished.write(&mut mark);
        assert_eq!((mark.forgot.as_str(), mark.done.0.len()), ("log-0871.ndjson", DONE_MAX));
        let position = mark.position();
        assert!(position.0.len() < 1200, "{} bytes", position.0.len());
        assert_eq!(Mark::parse(&position).unwrap(), mark);
        assert_eq!(Mark::new("a", 0, 0, "x").position().0, r#"{"file":"a","offset":0,"line":0,"head":"x"}"#);
    }

    #[test]
    fn a_stranger_is_no_position() {
        for text in ["", "49590/0", "{}", r#"{"file":"a","offset":1,"line":1,"head":"","done":"xyz"}"#] {
            let e = Mark::parse(&Position(text.to_owned())).unwrap_err().to_string();
            assert!(e.contains("another source"), "{e}");
        }
    }
}
