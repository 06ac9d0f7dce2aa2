//! Lets blocking reads overlap with the engine: one chunk is read ahead while the last one is worked on.
//!
//! A caller with a thread for each lane reads plain files on that thread instead: what is read then lies in the cache of the
//! core that counts it, and two lanes on two cores do not wait for each other's readers.
//!
//! Invariants
//! - At most one chunk is ahead: memory is bounded by two chunks.
//! - Dropping the future of `next` loses nothing: the read goes on and the next call takes its result.
//! - Nothing is read ahead of `Idle` or an error, so that those are never old news.
//!
//! Not here: what is read (`file`, `generator`).

use super::{Chunk, LaneReader, Next, SourceError};
use async_trait::async_trait;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A reader that may block its thread for as long as one read takes.
pub(super) trait Strand: Send + 'static {
    /// The next chunk of about `bytes`.
    fn step(&mut self, bytes: usize) -> Result<Next, SourceError>;
    /// Whether whoever asks takes the next step on its own thread.
    fn here(&self) -> bool {
        false
    }
    /// As `LaneReader::fill`.
    fn fill(&mut self, _place: &mut [u8]) -> Option<(usize, Chunk)> {
        None
    }
}

/// What a step on the blocking pool gives back.
type Step<S> = JoinHandle<(S, Result<Next, SourceError>)>;

enum State<S> {
    Resting(S),
    /// Nothing was there: the next question waits a moment.
    Waiting(S),
    Reading(Step<S>),
    /// An error that does not pass ended the reader.
    Broken,
}

/// A `LaneReader` over a blocking strand.
pub(super) struct Ahead<S> {
    /// `None` only within a call.
    state: Option<State<S>>,
    poll: Duration,
}

impl<S: Strand> Ahead<S> {
    /// Asks again `poll` after nothing was there.
    pub(super) fn new(strand: S, poll: Duration) -> Self {
        Self { state: Some(State::Resting(strand)), poll }
    }
}

fn begin<S: Strand>(mut strand: S, bytes: usize) -> State<S> {
    State::Reading(tokio::task::spawn_blocking(move || {
        let next = strand.step(bytes);
        (strand, next)
    }))
}

#[async_trait]
impl<S: Strand> LaneReader for Ahead<S> {
    fn fill(&mut self, place: &mut [u8]) -> Option<(usize, Chunk)> {
        match &mut self.state {
            Some(State::Resting(strand)) if strand.here() => strand.fill(place),
            _ => None,
        }
    }

    async fn next(&mut self, bytes: usize) -> Result<Next, SourceError> {
        if matches!(self.state, Some(State::Waiting(_))) {
            tokio::time::sleep(self.poll).await;
        }
        let (strand, next) = match self.state.take().expect("put back by every call") {
            State::Resting(mut strand) | State::Waiting(mut strand) if strand.here() => {
                let next = strand.step(bytes);
                (strand, next)
            }
            State::Broken => {
                self.state = Some(State::Broken);
                return Err(SourceError::Refused("this reader ended with an error; open the lane again".to_owned()));
            }
            state => {
                let reading = match state {
                    State::Resting(strand) | State::Waiting(strand) => begin(strand, bytes),
                    reading => reading,
                };
                let State::Reading(step) = self.state.insert(reading) else { unreachable!("it reads now") };
                match step.await {
                    Ok(done) => done,
                    Err(e) => std::panic::resume_unwind(e.into_panic()),
                }
            }
        };
        self.state = Some(match &next {
            Ok(Next::Chunk(_)) if !strand.here() => begin(strand, bytes),
            Ok(Next::Chunk(_) | Next::End) => State::Resting(strand),
            Ok(Next::Idle) | Err(SourceError::Passing(_)) => State::Waiting(strand),
            Err(_) => State::Broken,
        });
        next
    }
}
