//! A policy over files without a store: what production would count, as rows in memory and text.
//!
//! ```text
//! lane: source -> engine -> effects --+
//! lane: source -> engine -> effects --+--> rows -> NDJSON, final windows first
//! ```
//! Each lane has a thread of its own, which reads too where the source lets it: what a lane works on stays in the cache of
//! the core that it runs on.
//!
//! Invariants
//! - Rows are the ones that a run would have in its store after the same records.
//! - Memory is bounded by the windows that are still open and the late rows: final windows are written and forgotten.
//!
//! Not here: the text of a row (`plimsoll_core::rows`), what is read (`source`).

use crate::runtime::{EngineError, Engines, Flush};
use crate::source::{LaneInfo, Next, Places, Position, Source, SourceError};
use plimsoll_core::account::Account;
use plimsoll_core::policy::Policy;
use plimsoll_core::rows::{Rows, RowsError};
use plimsoll_core::wire::WireError;
use plimsoll_core::wire::effects::{self, DeadLetter, Effects, Progress};
use plimsoll_core::wire::panes::{self as wire_panes, Pane};
use std::io::{self, Write};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Payload bytes handed to the engine at once: with what it looks at again and again they fit a core's cache.
pub const CHUNK_BYTES: usize = 512 << 10;
/// After so many bytes of frames a lane gives out its rows. For each chunk, lanes would often stop for each other's rows.
const FLUSH_BYTES: usize = 8 << 20;
/// And after so many records, all of which may be dead letters: what one call gives out is bounded.
const FLUSH_RECORDS: usize = 250_000;
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
    /// The system has no thread for a lane.
    #[error("no thread for another lane")]
    Thread(#[source] io::Error),
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
    /// Where the records of the dead letters stand.
    dead_at: Vec<Option<Position>>,
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
    let mut threads = Vec::with_capacity(lanes.len());
    for (lane, info) in lanes.into_iter().enumerate() {
        let (source, engines, policy, send) =
            (Arc::clone(&source), Arc::clone(&engines), Arc::clone(&policy), send.clone());
        let runtime = Handle::current();
        let run = move || {
            runtime.block_on(async {
                if let Err(e) = one_lane(lane, &info, &*source, &*engines, &policy, wants_panes, &send).await {
                    // If nobody listens any more, somebody else's error came first.
                    let _ = send.send(Err(e)).await;
                }
            });
        };
        threads
            .push(std::thread::Builder::new().name(format!("lane {lane}")).spawn(run).map_err(PreviewError::Thread)?);
    }
    drop(send);
    let mut text = Vec::new();
    let mut written = 0;
    while let Some(piece) = receive.recv().await {
        let Piece { lane, effects, panes, dead_at, source_bytes } = piece?;
        watch.read(source_bytes);
        watch.panes(&panes);
        rows.add_lane(lane, effects)?;
        for (letter, place) in rows.take_dead().iter().zip(&dead_at) {
            watch.dead(letter, place.as_ref(), &rows.explain(letter));
        }
        rows.drain_final(&mut text);
        written += write(out, &mut text)?;
    }
    // All have let go of the channel. One that panicked has not read its lane to the end.
    threads.into_iter().try_for_each(JoinHandle::join).unwrap_or_else(|panic| std::panic::resume_unwind(panic));
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
    // Since the last flush.
    let (mut places, mut frame_bytes, mut records, mut source_bytes) = (Vec::new(), 0, 0, 0);
    loop {
        let mut filled = None;
        engine.apply_filled(CHUNK_BYTES, &mut |place| {
            filled = reader.fill(place);
            filled.as_ref().map_or(0, |(len, _)| *len)
        })?;
        let next = match filled {
            Some(filled) => Some(filled),
            None => match reader.next(CHUNK_BYTES).await? {
                Next::Chunk(chunk) => {
                    engine.apply(&chunk.frames)?;
                    Some((chunk.frames.len(), chunk))
                }
                Next::Idle => continue,
                Next::End => None,
            },
        };
        let mode = match next {
            Some((len, chunk)) => {
                frame_bytes += len;
                records += chunk.places.len();
                source_bytes += chunk.source_bytes;
                places.push(chunk.places);
                // A source that has less than was asked for has no more for now, and somebody may wait for what there is.
                if len > CHUNK_BYTES / 2 && frame_bytes < FLUSH_BYTES && records < FLUSH_RECORDS {
                    continue;
                }
                Flush::Final
            }
            None => Flush::Drain,
        };
        let lie = |e: WireError| EngineError::Lie { detail: e.to_string() };
        let mut panes = Vec::new();
        if wants_panes {
            // A flush forgets them.
            engine.panes(&mut bytes)?;
            panes = wire_panes::decode(&bytes).map_err(lie)?.panes;
        }
        engine.flush(mode, &mut bytes)?;
        let effects = effects::decode(&bytes).map_err(lie)?;
        let place = |letter: &DeadLetter| places.iter().find_map(|places: &Places| places.find(letter.ordinal));
        let dead_at = effects.dead.iter().map(place).collect();
        let piece = Piece { lane, effects, panes, dead_at, source_bytes: std::mem::take(&mut source_bytes) };
        if send.send(Ok(piece)).await.is_err() || mode == Flush::Drain {
            return Ok(());
        }
        (frame_bytes, records) = (0, 0);
        places.clear();
    }
}
