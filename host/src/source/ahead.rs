//! Lets blocking reads overlap with the engine: one chunk is read ahead while the last one is worked on.
//!
//! Invariants
//! - At most one chunk is ahead: memory is bounded by two chunks.
//! - Dropping the future of `next` loses nothing: the read goes on and the next call takes its result.
//! - Nothing is read ahead of `Idle` or an error, so that those are never old news.
//!
//! Not here: what is read (`file`, `generator`).

use super::{LaneReader, Next, SourceError};
use async_trait::async_trait;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A reader that may block its thread for as long as one read takes.
pub(super) trait Strand: Send + 'static {
    /// The next chunk of about `bytes`.
    fn step(&mut self, bytes: usize) -> Result<Next, SourceError>;
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
    async fn next(&mut self, bytes: usize) -> Result<Next, SourceError> {
        if matches!(self.state, Some(State::Waiting(_))) {
            tokio::time::sleep(self.poll).await;
        }
        self.state = match self.state.take().expect("put back by every call") {
            State::Resting(strand) | State::Waiting(strand) => Some(begin(strand, bytes)),
            other => Some(other),
        };
        let Some(State::Reading(step)) = &mut self.state else {
            return Err(SourceError::Refused("this reader ended with an error; open the lane again".to_owned()));
        };
        let (strand, next) = match step.await {
            Ok(done) => done,
            Err(e) => std::panic::resume_unwind(e.into_panic()),
        };
        self.state = Some(match &next {
            Ok(Next::Chunk(_)) => begin(strand, bytes),
            Ok(Next::End) => State::Resting(strand),
            Ok(Next::Idle) | Err(SourceError::Passing(_)) => State::Waiting(strand),
            Err(_) => State::Broken,
        });
        next
    }
}
