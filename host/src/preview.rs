//! A policy over files without a store: what production would count, as rows in memory and text.
//!
//! ```text
//! lane: source -> engine -> effects --+
//! lane: source -> engine -> effects --+--> rows -> NDJSON, final windows first
//! ```
//! Invariants
//! - Rows are the ones that a run would have in its store after the same records.
//! - Memory is bounded by the windows that are still open and the late rows: final windows are written and forgotten.
//!
//! Not here: the text of a row (`plimsoll_core::rows`), what is read (`source`).

use crate::runtime::{EngineError, Engines, Flush};
use crate::source::{LaneInfo, Next, Position, Source, SourceError};
use plimsoll_core::account::Account;
use plimsoll_core::policy::Policy;
use plimsoll_core::rows::{Rows, RowsError};
use plimsoll_core::wire::WireError;
use plimsoll_core::wire::effects::{self, DeadLetter, Effects, Progress};
use plimsoll_core::wire::panes::{self as wire_panes, Pane};
use std::io::{self, Write};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Payload bytes handed to the engine at once. The chunk that is worked on, the one that is read ahead and the engine's
/// own copy fit a core's cache together: twice as much takes a tenth longer.
pub const CHUNK_BYTES: usize = 512 << 10;
/// Effects that may wait to be merged: what a lane may be ahead of the rows.
const EFFECTS_WAITING_MAX: usize = 8;

/// Why there is no preview.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PreviewError {
    /// The input cannot be read on.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The module cannot go on.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A total beyond 10^30, or effects of another policy.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// The rows cannot be written.
    #[error("cannot write the rows")]
    Write(#[from] io::Error),
}

/// What is watched while it runs.
pub trait Watch {
    /// So many bytes of the source, as stored, are done.
    fn read(&mut self, _bytes: u64) {}
    /// Whether `panes` is asked for: what triggers gave out, and when.
    fn wants_panes(&self) -> bool {
        false
    }
    /// Triggers gave out these, in this order, on one lane.
    fn panes(&mut self, _panes: &[Pane]) {}
    /// A record was set aside.
    fn dead(&mut self, _letter: &DeadLetter, _place: Option<&Position>, _why: &str) {}
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Where the records went.
    pub account: Account,
    /// How far event time has come on all lanes.
    pub progress: Progress,
    /// Whether the records said when they arrived.
    pub arrival_known: bool,
    /// Main rows written.
    pub rows: u64,
    /// Late rows, as NDJSON.
    pub late: Vec<u8>,
}

struct Piece {
    lane: usize,
    effects: Effects,
    panes: Vec<Pane>,
    places: Vec<Option<Position>>,
    source_bytes: u64,
}

/// Runs a policy over a source to its end and writes the main rows to `out`.
///
/// # Errors
/// When the source, the engine or `out` cannot go on; rows that were final before are written already.
pub async fn preview(
    source: Arc<dyn Source>,
    engines: Arc<dyn Engines>,
    policy: Arc<Policy>,
    out: &mut (dyn Write + Send),
    watch: &mut (dyn Watch + Send),
) -> Result<Summary, PreviewError> {
    let lanes = source.lanes().await?;
    let mut rows = Rows::with_lanes(&policy, lanes.len().max(1));
    let wants_panes = watch.wants_panes();
    let (send, mut receive) = mpsc::channel::<Result<Piece, PreviewError>>(EFFECTS_WAITING_MAX);
    for (lane, info) in lanes.into_iter().enumerate() {
        let (source, engines, policy, send) =
            (Arc::clone(&source), Arc::clone(&engines), Arc::clone(&policy), send.clone());
        tokio::spawn(async move {
            if let Err(e) = one_lane(lane, &info, &*source, &*engines, &policy, wants_panes, &send).await {
                // If nobody listens any more, somebody else's error came first.
                let _ = send.send(Err(e)).await;
            }
        });
    }
    drop(send);
    let mut text = Vec::new();
    let mut written = 0;
    while let Some(piece) = receive.recv().await {
        let Piece { lane, effects, panes, places, source_bytes } = piece?;
        watch.read(source_bytes);
        watch.panes(&panes);
        rows.add_lane(lane, effects)?;
        for (letter, place) in rows.take_dead().iter().zip(&places) {
            watch.dead(letter, place.as_ref(), &rows.explain(letter));
        }
        rows.drain_final(&mut text);
        written += write(out, &mut text)?;
    }
    rows.write_main(&mut text);
    written += write(out, &mut text)?;
    out.flush()?;
    let mut late = Vec::new();
    rows.write_late(&mut late);
    let progress = rows.progress();
    Ok(Summary {
        account: rows.account().clone(),
        progress,
        arrival_known: progress.arrival.is_some(),
        rows: written,
        late,
    })
}

fn write(out: &mut (dyn Write + Send), text: &mut Vec<u8>) -> io::Result<u64> {
    out.write_all(text)?;
    let lines = memchr::memchr_iter(b'\n', text).count();
    text.clear();
    Ok(lines as u64)
}

async fn one_lane(
    lane: usize,
    info: &LaneInfo,
    source: &dyn Source,
    engines: &dyn Engines,
    policy: &Arc<Policy>,
    wants_panes: bool,
    send: &mpsc::Sender<Result<Piece, PreviewError>>,
) -> Result<(), PreviewError> {
    let mut reader = source.open(info, None).await?;
    let mut engine = engines.open(policy, None)?;
    let mut bytes = Vec::new();
    loop {
        let chunk = match reader.next(CHUNK_BYTES).await? {
            Next::Chunk(chunk) => Some(chunk),
            Next::Idle => continue,
            Next::End => None,
        };
        let mode = if chunk.is_some() { Flush::Final } else { Flush::Drain };
        // In the task itself: a chunk takes about a millisecond, and a lane that stays on its thread finds its keys and rows
        // in that core's cache. Handed over to another thread for each chunk, two lanes would move between the cores.
        let lie = |e: WireError| EngineError::Lie { detail: e.to_string() };
        if let Some(chunk) = &chunk {
            engine.apply(&chunk.frames)?;
        }
        let mut panes = Vec::new();
        if wants_panes {
            // A flush forgets them.
            engine.panes(&mut bytes)?;
            panes = wire_panes::decode(&bytes).map_err(lie)?.panes;
        }
        engine.flush(mode, &mut bytes)?;
        let effects = effects::decode(&bytes).map_err(lie)?;
        let places = effects.dead.iter().map(|d| chunk.as_ref().and_then(|c| c.places.find(d.ordinal))).collect();
        let source_bytes = chunk.as_ref().map_or(0, |c| c.source_bytes);
        if send.send(Ok(Piece { lane, effects, panes, places, source_bytes })).await.is_err() || chunk.is_none() {
            return Ok(());
        }
    }
}
