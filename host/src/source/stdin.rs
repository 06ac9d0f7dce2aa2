//! Standard input as a source: read once, never again.
//!
//! The reading thread is its own: a read of a quiet pipe cannot be interrupted, and must not hold up the end of the
//! process. It is one chunk ahead at most.
//!
//! Not here: cutting lines (`lines`), decompression (`feed`).

use super::feed;
use super::lines::{AtEnd, Cut, Cutter};
use super::{Chunk, LaneInfo, LaneReader, Next, Places, Position, Source, SourceError};
use async_trait::async_trait;
use std::hash::{BuildHasher, RandomState};
use std::io::{PipeReader, Read};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// `next` answers `Idle` after so long, so that its caller can be stopped.
const POLL: Duration = Duration::from_millis(200);

/// A pipe that is read once; usually standard input.
pub struct Pipe {
    /// Taken by the first reader.
    pipe: Mutex<Option<Box<dyn Read + Send>>>,
    name: &'static str,
    id: String,
}

impl Pipe {
    /// Standard input.
    pub fn stdin() -> Self {
        Self::new(Box::new(std::io::stdin()), "stdin")
    }

    /// The reading end of a pipe, as standard input.
    pub fn of(pipe: PipeReader) -> Self {
        Self::new(Box::new(pipe), "pipe")
    }

    fn new(pipe: Box<dyn Read + Send>, name: &'static str) -> Self {
        // Each run is a lane of its own. The keys of a new RandomState are random, and no other use of it is made.
        let run = RandomState::new().hash_one(std::process::id());
        Self { pipe: Mutex::new(Some(pipe)), name, id: format!("{name}:{run:016x}") }
    }
}

#[async_trait]
impl Source for Pipe {
    fn describe(&self) -> String {
        self.name.to_owned()
    }

    fn carries_arrival(&self) -> bool {
        false
    }

    fn resumable(&self) -> bool {
        false
    }

    fn finite(&self) -> bool {
        true
    }

    async fn lanes(&self) -> Result<Vec<LaneInfo>, SourceError> {
        Ok(vec![LaneInfo { id: self.id.clone(), name: self.name.to_owned(), parents: Vec::new() }])
    }

    async fn open(&self, lane: &LaneInfo, from: Option<&Position>) -> Result<Box<dyn LaneReader>, SourceError> {
        let pipe = self.pipe.lock().expect("nothing panics while holding it").take();
        let (Some(pipe), None, true) = (pipe, from, lane.id == self.id) else {
            return Err(SourceError::Refused(format!(
                "{} can be read only once, from its beginning. To go on where a run stopped, write the records to a \
                 file and name it with --input",
                self.name
            )));
        };
        let name = self.name;
        let (chunks, given) = mpsc::channel(1);
        std::thread::Builder::new()
            .name(format!("read-{name}"))
            .spawn(move || read(pipe, name, &chunks))
            .map_err(|e| SourceError::Refused(format!("{name}: no thread to read it: {e}")))?;
        Ok(Box::new(PipeLane { given, state: State::Reading }))
    }
}

/// A chunk, or why there is none.
type Given = Result<Chunk, SourceError>;

fn read(pipe: Box<dyn Read + Send>, name: &str, chunks: &mpsc::Sender<Given>) {
    let mut feed = match feed::of_pipe(pipe, name) {
        Ok(feed) => feed,
        Err(e) => return drop(chunks.blocking_send(Err(e))),
    };
    let mut cutter = Cutter::start(0);
    let file: Arc<str> = name.into();
    let mut taken = 0;
    loop {
        let given = match cutter.next(feed.as_mut(), CHUNK_BYTES, AtEnd::Whole) {
            Ok(Cut::Lines(piece)) => {
                let source_bytes = feed.taken() - taken;
                taken += source_bytes;
                let (first, count, first_line) = (piece.first, piece.count, piece.first_line);
                Ok(Chunk {
                    frames: piece.frames,
                    source_bytes,
                    end: Position(format!("{name}:{}", cutter.line())),
                    places: Places::Lines { first, count, file: file.clone(), first_line },
                    behind_ms: None,
                })
            }
            Ok(Cut::End | Cut::Spliced) => return,
            Err(e) => Err(e),
        };
        let failed = given.is_err();
        if chunks.blocking_send(given).is_err() || failed {
            return;
        }
    }
}

/// A pipe is read in pieces of this size: it gives 64 KiB at a time anyway.
const CHUNK_BYTES: usize = 256 << 10;

struct PipeLane {
    given: mpsc::Receiver<Given>,
    state: State,
}

enum State {
    Reading,
    Ended,
    Broken,
}

#[async_trait]
impl LaneReader for PipeLane {
    async fn next(&mut self, _bytes: usize) -> Result<Next, SourceError> {
        match self.state {
            State::Reading => {}
            State::Ended => return Ok(Next::End),
            State::Broken => return Err(SourceError::Refused("this reader ended with an error".to_owned())),
        }
        match tokio::time::timeout(POLL, self.given.recv()).await {
            Err(_) => Ok(Next::Idle),
            Ok(Some(Ok(chunk))) => Ok(Next::Chunk(chunk)),
            Ok(Some(Err(e))) => {
                self.state = State::Broken;
                Err(e)
            }
            Ok(None) => {
                self.state = State::Ended;
                Ok(Next::End)
            }
        }
    }
}
