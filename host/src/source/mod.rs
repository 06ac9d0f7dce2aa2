//! Where records come from. A source has lanes; a lane is one ordered strand with positions.
//!
//! Contract of a lane's reader
//! 1. Records come in the lane's order, each exactly once, starting just after the position it was opened at.
//! 2. `Chunk::end` is the position after the chunk's last record: opening there gives exactly what follows.
//! 3. Ordinals increase over the reader's life; `Chunk::place` names the position of each of them.
//! 4. `Idle` means: asked, and nothing was there at this moment. `End` means: nothing will ever come after.
//! 5. An error loses nothing: the reader may be opened again at the last position.
//! 6. Reading waits no longer than the poll interval, so that a driver can be stopped.
//!
//! Not here: what is done with records (`driver`), arrival times made up (nobody makes them up: `None` is unknown).

mod ahead;
mod feed;
pub mod file;
pub mod generator;
pub mod kinesis;
mod lines;
pub mod produce;
pub mod stdin;
pub mod until;

pub use lines::{LINE_BYTES_MAX, OVERSIZE_PREFIX};

use async_trait::async_trait;
use plimsoll_core::time::TimeDelta;
use std::sync::Arc;

/// A place in a lane, as text that only its source understands; kept with the lane's head.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Position(pub String);

/// One ordered strand of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneInfo {
    /// Identity over restarts: stream incarnation and shard, or file pattern. Never reused for other data.
    pub id: String,
    /// Short name for people and metrics.
    pub name: String,
    /// Lanes that this one goes on from, listed or not: those that are counted must be `done` before it begins.
    pub parents: Vec<String>,
}

/// What a lane is that has a head and is not among its source's lanes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// None of this source's, or one that may come and go, as files do.
    Foreign,
    /// It was listed once and never will be again: what was not read of it is lost. And what was found, in words.
    Gone(LaneInfo, String),
    /// Of a source that was deleted and made again under the same name: this one's records are others. And the mend.
    Replaced(String),
}

/// A source of records.
#[async_trait]
pub trait Source: Send + Sync {
    /// What it is, for people: `file events.ndjson`, `kinesis impressions (eu-west-1)`.
    fn describe(&self) -> String;
    /// Whether its records carry their arrival time.
    fn carries_arrival(&self) -> bool;
    /// Whether a lane can be read again from a position: false for stdin.
    fn resumable(&self) -> bool;
    /// Whether the lanes of the first look are all there will ever be.
    fn finite(&self) -> bool;
    /// Whether the engine begins anew at this position of a lane, rather than from the state that the lane has come to: what
    /// comes belongs to nothing before it, so that it may be counted under another policy, too. Where this is so a position
    /// has to be enough to go on, as always. Only a redrive has such places.
    fn begins_anew(&self, _at: Option<&Position>) -> bool {
        false
    }
    /// The lanes that are there now. Asked again from time to time; lanes may come.
    async fn lanes(&self) -> Result<Vec<LaneInfo>, SourceError>;
    /// A reader of one lane from just after `from`, or from the source's configured start.
    async fn open(&self, lane: &LaneInfo, from: Option<&Position>) -> Result<Box<dyn LaneReader>, SourceError>;
    /// A reader of what is left of a lane behind `from`, where an operator has accepted that what lay between is lost. It
    /// gives nothing that lies at or before `from`.
    async fn open_past_gap(
        &self,
        lane: &LaneInfo,
        from: Option<&Position>,
    ) -> Result<Box<dyn LaneReader>, SourceError> {
        let after = from.map_or("its beginning", |position| &position.0);
        Err(SourceError::Refused(format!(
            "{}: lane {} cannot go on past a gap after {after}; recount from what is left under a new --generation",
            self.describe(),
            lane.name
        )))
    }
    /// What a lane is that has a head and is not listed. Asked after `lanes`.
    fn unlisted(&self, lane: &str) -> Unlisted {
        let _ = lane;
        Unlisted::Foreign
    }
    /// Lanes that have heads, by id, with the times when those were made, in ms since the epoch: said once, before a lane is
    /// opened. A source that begins at its tip does so at the very first start only.
    fn began(&self, lanes: &[(String, i64)]) {
        let _ = lanes;
    }
    /// How long records can be read after they arrived, where the source says; known after `lanes`.
    fn keeps(&self) -> Option<TimeDelta> {
        None
    }
}

/// Reads one lane.
#[async_trait]
pub trait LaneReader: Send {
    /// The next whole records, about `bytes` of payload at most (one record may be longer).
    async fn next(&mut self, bytes: usize) -> Result<Next, SourceError>;
    /// Reads the next whole records straight into `place`: how many bytes of it are frames now, and a chunk without any. Nothing
    /// means no more than that `next` is to be asked; readers may always say so.
    fn fill(&mut self, _place: &mut [u8]) -> Option<(usize, Chunk)> {
        None
    }
    /// Asked where `next` found nothing: a position after the same record as before that can be gone on from for longer. It
    /// is committed like that of a chunk. Contract 2 holds for it.
    fn mark(&mut self) -> Option<Position> {
        None
    }
    /// Records that were left out since the reader was opened, because another lane has them.
    fn misplaced(&self) -> u64 {
        0
    }
    /// Whether `End` was that of the part which was asked for, while the lane itself goes on: then the lane is not done.
    fn goes_on(&self) -> bool {
        false
    }
}

/// What a reader had.
#[derive(Debug)]
pub enum Next {
    /// Records.
    Chunk(Chunk),
    /// Nothing at this moment.
    Idle,
    /// Nothing ever again.
    End,
}

/// Some records in a row.
#[derive(Debug)]
pub struct Chunk {
    /// Input frames, ready for the module.
    pub frames: Vec<u8>,
    /// Payload bytes as the source stores them (compressed ones counted compressed), for progress.
    pub source_bytes: u64,
    /// The position after the last record.
    pub end: Position,
    /// How ordinals become positions.
    pub places: Places,
    /// How far behind the tip reading is, in milliseconds, where the source knows.
    pub behind_ms: Option<u64>,
}

/// How the ordinals of a chunk become positions for people and dead letters.
#[derive(Clone, Debug)]
pub enum Places {
    /// Line `first_line + (ordinal - first)` of a file.
    Lines {
        /// Ordinal of the first line.
        first: u64,
        /// Ordinals in this chunk.
        count: u64,
        /// The file's name.
        file: Arc<str>,
        /// 1-based.
        first_line: u64,
    },
    /// One position per record.
    Records {
        /// Ordinal of the first record.
        first: u64,
        /// Their positions.
        positions: Positions,
    },
}

/// Positions of records in a row, one text for all: most are dropped without ever having been asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    text: String,
    /// Where each ends in `text`.
    ends: Vec<u32>,
}

impl Positions {
    /// Room for so many of so many bytes each.
    pub fn with_capacity(count: usize, bytes: usize) -> Self {
        Self { text: String::with_capacity(count * bytes), ends: Vec::with_capacity(count) }
    }

    /// Appends one.
    #[inline]
    pub fn push(&mut self, position: &str) {
        self.text.push_str(position);
        self.ends.push(u32::try_from(self.text.len()).expect("a chunk's positions are far from 4 GiB"));
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The `i`th, counted from 0.
    pub fn get(&self, i: usize) -> Option<Position> {
        let to = *self.ends.get(i)? as usize;
        let from = i.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        Some(Position(self.text[from..to].to_owned()))
    }
}

impl Places {
    /// How many ordinals.
    pub fn len(&self) -> usize {
        match self {
            Self::Lines { count, .. } => *count as usize,
            Self::Records { positions, .. } => positions.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The position of a record, unique in its lane; `None` if the ordinal is not of this chunk.
    pub fn find(&self, ordinal: u64) -> Option<Position> {
        match self {
            Self::Lines { first, count, file, first_line } => {
                let i = ordinal.checked_sub(*first).filter(|i| i < count)?;
                Some(Position(format!("{file}:{}", first_line + i)))
            }
            Self::Records { first, positions } => positions.get(usize::try_from(ordinal.checked_sub(*first)?).ok()?),
        }
    }
}

/// Why a source could not give records. Each message names the mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// What is asked for is not there, or not what it should be. Trying again does not help.
    #[error("{0}")]
    Refused(String),
    /// The data before the position is no longer what it was (a file that shrank, a trimmed stream).
    #[error("{0}")]
    Gap(String),
    /// Trouble that may pass: the driver asks again.
    #[error("{0}")]
    Passing(String),
}
