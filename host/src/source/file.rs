//! NDJSON files and globs: plain, gzip, zstd; read once, or followed as they grow.
//!
//! All files of a run are one lane in name order, as rotated logs are one stream; or each is a lane of its own, as
//! files of different writers are.
//!
//! ```text
//! FileSource --lanes--> set (patterns -> files)
//!            --open---> ahead ( walk ( open ( feed -> lines ) ) )       mark: the position
//! ```
//! Invariants
//! - Opening at a position gives exactly the lines after it, or an error: a file that shrank, was replaced or has a new
//!   neighbour before it is noticed by size, fingerprint and name.
//! - Line numbers count every line, empty ones too, from 1 in each file.
//!
//! Not here: standard input (`stdin`), what is in a line (the engine).

mod mark;
mod open;
mod rotated;
mod set;
mod walk;

use super::ahead::Ahead;
use super::feed::Format;
use super::{LaneInfo, LaneReader, Position, Source, SourceError};
use async_trait::async_trait;
use mark::Mark;
use set::FileSet;
use std::path::Path;
use std::time::Duration;
use walk::Walk;

/// Whether to wait for more at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Follow {
    /// The end of the last file is the end.
    #[default]
    No,
    /// Files grow, are rotated by renaming, and new ones come.
    Yes,
}

impl Follow {
    fn allows(self, format: Format, shown: &str) -> Result<(), SourceError> {
        if self == Self::No || format == Format::Plain {
            return Ok(());
        }
        Err(SourceError::Refused(format!(
            "{shown} is compressed, and --follow reads plain files only, since a compressed file cannot be read while it \
             grows. Leave it out of the pattern, or read it without --follow"
        )))
    }
}

/// How files become lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileLanes {
    /// One lane of all files, in name order.
    #[default]
    One,
    /// Each file a lane.
    PerFile,
}

/// Which thread reads a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    /// Another one, a chunk ahead.
    #[default]
    Ahead,
    /// The one that asks, which waits for the file system; for callers with a thread for each lane. Compressed files are
    /// read ahead all the same: unpacking them takes as long as counting.
    Here,
}

/// How files are read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileOptions {
    /// Default: [`FileLanes::One`].
    pub lanes: FileLanes,
    /// Default: [`Follow::No`].
    pub follow: Follow,
    /// When following: how long to wait before looking again. Default: 200 ms.
    pub poll: Duration,
    /// Default: [`Reads::Ahead`].
    pub reads: Reads,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            lanes: FileLanes::default(),
            follow: Follow::default(),
            poll: Duration::from_millis(200),
            reads: Reads::default(),
        }
    }
}

/// Files as a source.
#[derive(Clone, Debug)]
pub struct FileSource {
    set: FileSet,
    options: FileOptions,
}

impl FileSource {
    /// Resolves names and globs and checks that each means a readable file.
    ///
    /// # Errors
    /// `Refused`, naming the file: not there, no match, a directory, no permission, a pipe, a format not read here,
    /// a compressed file to follow.
    pub fn new(patterns: &[String], options: FileOptions) -> Result<Self, SourceError> {
        let set = FileSet::new(patterns)?;
        set.check(options.follow)?;
        Ok(Self { set, options })
    }

    /// The stored size of all files together, in bytes: the whole of `Chunk::source_bytes`, for progress.
    ///
    /// # Errors
    /// As [`FileSource::new`].
    pub fn size(&self) -> Result<u64, SourceError> {
        Ok(self.set.list()?.iter().map(|f| f.size).sum())
    }
}

const SCHEME: &str = "file:";

#[async_trait]
impl Source for FileSource {
    fn describe(&self) -> String {
        format!("file {}", self.set.name())
    }

    fn carries_arrival(&self) -> bool {
        false
    }

    fn resumable(&self) -> bool {
        true
    }

    fn finite(&self) -> bool {
        self.options.follow == Follow::No
    }

    async fn lanes(&self) -> Result<Vec<LaneInfo>, SourceError> {
        if self.options.lanes == FileLanes::One {
            let id = format!("{SCHEME}{}", self.set.identity());
            return Ok(vec![LaneInfo { id, name: self.set.name(), parents: Vec::new() }]);
        }
        let lane = |f: set::Found| LaneInfo {
            id: format!("{SCHEME}{}", f.path.display()),
            name: f.label,
            parents: Vec::new(),
        };
        Ok(self.set.list()?.into_iter().map(lane).collect())
    }

    async fn open(&self, lane: &LaneInfo, from: Option<&Position>) -> Result<Box<dyn LaneReader>, SourceError> {
        let set = match self.options.lanes {
            FileLanes::One => self.set.clone(),
            FileLanes::PerFile => FileSet::only(path_of(lane)?),
        };
        let mark = from.map(Mark::parse).transpose()?;
        let FileOptions { follow, poll, reads, .. } = self.options;
        // Moving to a position in a compressed file reads all before it.
        let walk = tokio::task::spawn_blocking(move || Walk::new(set, (follow, reads), mark.as_ref()));
        Ok(Box::new(Ahead::new(
            walk.await.map_err(|e| std::panic::resume_unwind(e.into_panic())).and_then(|w| w)?,
            poll,
        )))
    }
}

fn path_of(lane: &LaneInfo) -> Result<&Path, SourceError> {
    lane.id.strip_prefix(SCHEME).map(Path::new).ok_or_else(|| {
        SourceError::Refused(format!("{} is no lane of files, expected {SCHEME} and an absolute path", lane.id))
    })
}
