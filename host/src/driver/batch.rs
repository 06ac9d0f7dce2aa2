//! Computes one batch: reads records, feeds the engine, flushes it. No store is touched here.
//!
//! Invariants
//! - Where nothing traps, the engine goes on from batch to batch; its snapshot is taken at each batch's end.
//! - A trap or time-out decides nothing by itself: the batch is run again, record by record, by a fuel-metered engine from
//!   the state before it. Only a record on which that one stops too becomes a dead letter.
//! - A lane is idle when its last read succeeded and found nothing at the tip, nothing is in flight, and it has been so for
//!   the time-out. That is written down once, in a content without effects, so that whoever reads the heads knows it too.
//!   Trouble is not silence: it starts the time-out anew.
//! - The effects of a module are decoded as hostile bytes and must add up before anything is written.

use super::lane::{Context, Left};
use super::{AtTip, RunError, poison};
use crate::clock;
use crate::runtime::{Engine, EngineError, Flush};
use crate::source::{Chunk, LaneInfo, LaneReader, Next, Position, SourceError};
use plimsoll_core::account::Reason;
use plimsoll_core::decode::Decoder;
use plimsoll_core::lane::{Batch, LaneKey, Rest, Tip};
use plimsoll_core::lanes::IdleTimer;
use plimsoll_core::time::{ArrivalTime, TimeDelta};
use plimsoll_core::wire::effects::{self, DeadLetter, Effects};
use plimsoll_core::wire::frame::{self, Kind};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Waits after a source's passing trouble grow from this to `RETRY_MAX`.
const RETRY: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(20);
/// In a metered run the state is saved after so many records, to have something to go back to.
const METERED_STEP: usize = 256;

/// The first batch after a start ends this long after its first record: after a takeover somebody waits to see that the
/// lane goes on, and its watermark.
const FIRST_BATCH_MAX: Duration = Duration::from_millis(200);

/// What computing came to.
pub(super) enum Computed {
    /// A batch, when its first record was read, and how the lane stands after it.
    Batch(Box<Batch>, Instant, After),
    /// No records.
    Nothing(Made),
}

/// Where a worker begins.
pub(super) struct Begin<'a> {
    /// The committed tip.
    pub tip: &'a Tip,
    /// Whether the lane was idle after it.
    pub idle: bool,
    /// Whether an operator has accepted that what follows it at once is lost.
    pub past_gap: bool,
}

/// How a lane stands after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct After {
    /// It is the lane's last.
    pub last: bool,
    /// The lane is idle: silent at its tip for the time-out, or at the end of what a finite source has.
    pub idle: bool,
}

/// Why there is no batch.
#[derive(Clone, Copy, Debug)]
pub(super) enum Made {
    /// Nothing more at this moment, and the run is to end there.
    AtTip,
    /// The end of what is there, of a source that may have more another day.
    AtEnd,
    /// Told to stop.
    Stopped,
}

impl Made {
    pub(super) fn left(self) -> Left {
        match self {
            Self::AtTip => Left::AtTip,
            Self::AtEnd => Left::Done,
            Self::Stopped => Left::Stopped,
        }
    }

    /// The batch that gives out what an earlier one had to leave.
    pub(super) fn rest(context: &Context, tip: &Tip, rest: Rest, snapshot: Option<Vec<u8>>) -> Batch {
        Batch {
            to: tip.pos.clone(),
            done: false,
            effects: rest.effects,
            places: rest.places,
            snapshot,
            written_ms: clock::now_ms(),
            pin: context.pin(),
        }
    }
}

/// Reads and computes one lane.
pub(super) struct Worker {
    lane: String,
    key: LaneKey,
    reader: Box<dyn LaneReader>,
    engine: Box<dyn Engine>,
    /// The engine's state before the batch in hand.
    before: Option<Vec<u8>>,
    retries: u32,
    /// Runs while reads succeed and find nothing; `None` where lanes are never idle.
    silence: Option<IdleTimer>,
    /// Whether the content before the batch in hand says that the lane is idle.
    idle: bool,
    /// Whether no batch has been computed yet.
    first: bool,
    /// Why nothing more can be read, once it is known.
    broken: Option<RunError>,
    pub bytes_read: u64,
    pub traps: u64,
}

/// What was read for the batch in hand.
#[derive(Default)]
struct Gathered {
    chunks: Vec<Chunk>,
    bytes: usize,
    ended: bool,
}

impl Worker {
    /// A worker that goes on from a committed tip; `None` when told to stop before the source could be opened.
    pub(super) async fn open(
        context: &Context,
        info: &LaneInfo,
        begin: Begin<'_>,
        snapshot: Option<&[u8]>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<Option<Self>, RunError> {
        let Begin { tip, idle, past_gap } = begin;
        let from = tip.pos.clone().map(Position);
        let mut retries = 0;
        let reader = loop {
            let opened = match past_gap {
                true => context.source.open_past_gap(info, from.as_ref()).await,
                false => context.source.open(info, from.as_ref()).await,
            };
            match opened {
                Ok(reader) => break reader,
                Err(SourceError::Passing(why)) if retries < 8 => {
                    tracing::warn!(lane = %info.name, %why, "the source cannot be opened now; trying again");
                    if stopped_within(backoff(retries), &mut stop).await {
                        return Ok(None);
                    }
                    retries += 1;
                }
                Err(error) => return Err(RunError::Source { lane: info.name.clone(), error }),
            }
        };
        let engine = context
            .engines
            .open(&context.policy, snapshot)
            .map_err(|error| RunError::Engine { lane: info.name.clone(), error })?;
        Ok(Some(Self {
            lane: info.name.clone(),
            key: context.layout.lane(&info.id),
            reader,
            engine,
            before: snapshot.map(<[u8]>::to_vec),
            retries: 0,
            silence: context.config.idle_timeout.map(|timeout| {
                let ms = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
                IdleTimer::new(TimeDelta::from_millis(ms))
            }),
            idle,
            first: true,
            broken: None,
            bytes_read: 0,
            traps: 0,
        }))
    }

    /// Reads until a batch is full and computes it.
    pub(super) async fn batch(
        &mut self,
        context: &Context,
        tip: &Tip,
        mut stop: watch::Receiver<bool>,
    ) -> Result<Computed, RunError> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        let limits = context.config.batch;
        let interval = if self.first { limits.interval.min(FIRST_BATCH_MAX) } else { limits.interval };
        let mut gathered = Gathered::default();
        let mut began: Option<Instant> = None;
        // Set once something went wrong in the engine: then everything is run again at the batch's end.
        let mut trouble: Option<EngineError> = None;
        let (mut silent, mut mark) = (false, None);
        while !gathered.ended {
            if *stop.borrow() {
                if gathered.chunks.is_empty() {
                    return Ok(Computed::Nothing(Made::Stopped));
                }
                break;
            }
            if gathered.bytes >= limits.bytes || began.is_some_and(|b| b.elapsed() >= interval) {
                break;
            }
            let asked_ms = clock::now_ms();
            let next = match self.read(limits.chunk_bytes.min(limits.bytes), &mut stop).await {
                Ok(next) => next,
                Err(error) if gathered.chunks.is_empty() => return Err(error),
                // What came before it counts; the next batch says what is wrong.
                Err(error) => {
                    self.broken = Some(error);
                    break;
                }
            };
            match next {
                Next::Chunk(mut chunk) => {
                    self.heard();
                    if began.is_none() && context.policy.needs_ticks() {
                        // In front of the records, so that a run of the batch anew sees the same clock.
                        chunk.frames.splice(..0, tick());
                    }
                    began.get_or_insert_with(Instant::now);
                    self.bytes_read += chunk.source_bytes;
                    context.hub.read(&self.lane, asked_ms, chunk.behind_ms);
                    gathered.bytes += chunk.frames.len();
                    if trouble.is_none() {
                        let full = tokio::task::block_in_place(|| {
                            self.engine.apply(&chunk.frames)?;
                            Ok(self.engine.pending()? >= limits.rows)
                        });
                        gathered.chunks.push(chunk);
                        match full {
                            Ok(true) => break,
                            Ok(false) => {}
                            Err(error) => {
                                trouble = Some(error);
                                break;
                            }
                        }
                    }
                }
                Next::Idle if *stop.borrow() => {}
                Next::Idle if gathered.chunks.is_empty() => {
                    if context.policy.needs_ticks() && self.ticked().map_err(|error| self.engine_error(error))? {
                        break;
                    }
                    mark = self.reader.mark();
                    if mark.is_some() {
                        break;
                    }
                    if context.config.once {
                        return Ok(Computed::Nothing(Made::AtTip));
                    }
                    if !self.idle && self.is_silent() {
                        silent = true;
                        break;
                    }
                    context.hub.at_tip(&self.lane, asked_ms, tip.n);
                }
                Next::Idle if limits.at_tip == AtTip::Wait && !context.config.once => {}
                // What is there is written at once: the tip is where latency counts.
                Next::Idle => break,
                Next::End => gathered.ended = true,
            }
        }
        // Whoever looks at a finite source again is another run: there is nothing to wait for.
        let at_end = gathered.ended && (context.source.finite() || self.reader.goes_on());
        silent |= at_end && self.silence.is_some();
        if gathered.chunks.is_empty() && at_end && (self.idle || !silent) {
            return Ok(Computed::Nothing(Made::AtEnd));
        }
        // A file that ended may have grown by the next run, and a glob may mean more files; a shard is closed for good.
        let done = gathered.ended && !at_end;
        // Nobody will come back to the windows of a lane that is done: what waits for triggers is given out with it.
        let mode = if done { Flush::Drain } else { Flush::All };
        let made = tokio::task::block_in_place(|| match trouble {
            None => self.flush(mode).or_else(|error| self.replay(context, &gathered, mode, error)),
            Some(error) => self.replay(context, &gathered, mode, error),
        });
        let (effects, snapshot) = made.map_err(|error| self.engine_error(error))?;
        let places = self.places(&gathered, &effects)?;
        if !context.config.accept_poison
            && let Some(detail) = poison::judge(&effects, &places, &Decoder::new(&context.policy))
        {
            return Err(RunError::Poison { lane: self.lane.clone(), detail });
        }
        self.before = Some(snapshot.clone());
        self.first = false;
        let batch = Batch {
            to: gathered.chunks.last().map(|c| c.end.0.clone()).or(mark.map(|p| p.0)).or_else(|| tip.pos.clone()),
            done,
            effects,
            places,
            snapshot: Some(snapshot),
            written_ms: clock::now_ms(),
            pin: context.pin(),
        };
        if let Err(e) = batch.check(context.policy.count_column()) {
            let error = EngineError::Lie { detail: e.to_string() };
            return Err(RunError::Engine { lane: self.lane.clone(), error });
        }
        if let Err(error) = context.store.admits(&self.key, &batch) {
            return Err(RunError::Unwritable { lane: self.lane.clone(), error });
        }
        // What a tick gives out of a silent lane wakes nobody.
        self.idle = silent || (self.idle && gathered.chunks.is_empty());
        let after = After { last: gathered.ended, idle: self.idle };
        Ok(Computed::Batch(Box::new(batch), began.unwrap_or_else(Instant::now), after))
    }

    /// Records that another lane has.
    pub(super) fn misplaced(&self) -> u64 {
        self.reader.misplaced()
    }

    /// The lane said something, or could not be asked.
    fn heard(&mut self) {
        self.silence.iter_mut().for_each(IdleTimer::active);
    }

    /// A read found nothing at the tip: whether it has been so for the time-out.
    fn is_silent(&mut self) -> bool {
        self.silence.as_mut().is_some_and(|timer| timer.poll(clock::now_ms()))
    }

    /// Lets the clock go on while no records come; whether that gave out anything.
    fn ticked(&mut self) -> Result<bool, EngineError> {
        tokio::task::block_in_place(|| {
            self.engine.apply(&tick())?;
            Ok(self.engine.pending()? > 0)
        })
    }

    fn engine_error(&self, error: EngineError) -> RunError {
        RunError::Engine { lane: self.lane.clone(), error }
    }

    /// What the source has next. Its passing trouble is waited out; once told to stop, that is as if nothing were there.
    async fn read(&mut self, bytes: usize, stop: &mut watch::Receiver<bool>) -> Result<Next, RunError> {
        loop {
            match self.reader.next(bytes).await {
                Ok(next) => {
                    self.retries = 0;
                    return Ok(next);
                }
                Err(SourceError::Passing(why)) => {
                    tracing::warn!(lane = %self.lane, %why, "the source cannot be read now; trying again");
                    self.heard();
                    let wait = backoff(self.retries);
                    self.retries += 1;
                    if stopped_within(wait, stop).await {
                        return Ok(Next::Idle);
                    }
                }
                Err(error) => return Err(RunError::Source { lane: self.lane.clone(), error }),
            }
        }
    }

    fn flush(&mut self, mode: Flush) -> Result<(Effects, Vec<u8>), EngineError> {
        let (mut out, mut snapshot) = (Vec::new(), Vec::new());
        self.engine.flush(mode, &mut out)?;
        self.engine.snapshot(&mut snapshot)?;
        let effects = effects::decode(&out).map_err(|e| EngineError::Lie { detail: e.to_string() })?;
        Ok((effects, snapshot))
    }

    /// Runs the batch again from the state before it, one record at a time, to find what the engine cannot take.
    fn replay(
        &mut self,
        context: &Context,
        gathered: &Gathered,
        mode: Flush,
        first: EngineError,
    ) -> Result<(Effects, Vec<u8>), EngineError> {
        self.traps += 1;
        tracing::warn!(lane = %self.lane, error = %first, "the engine stopped; running the batch again record by record");
        let records = split(gathered);
        let mut saved = self.before.clone();
        let mut engine = context.engines.open_metered(&context.policy, saved.as_deref())?;
        let mut since: Vec<&[u8]> = Vec::new();
        let mut bad: Vec<(DeadLetter, EngineError)> = Vec::new();
        for record in &records {
            match engine.apply(&record.frame) {
                Ok(()) => since.push(&record.frame),
                // Too little memory or a refused frame is no fault of the record that happened to come next.
                Err(error) if !of_the_record(&error) => return Err(error),
                Err(error) => {
                    engine = context.engines.open_metered(&context.policy, saved.as_deref())?;
                    for frame in &since {
                        engine.apply(frame)?;
                    }
                    bad.push((record.dead_letter(&error, context), error));
                }
            }
            if since.len() == METERED_STEP {
                let mut bytes = Vec::new();
                engine.snapshot(&mut bytes)?;
                saved = Some(bytes);
                since.clear();
            }
        }
        self.engine = engine;
        // If nothing but the flush itself fails, no record is at fault: that is the module's.
        let (mut effects, snapshot) = self.flush(mode)?;
        for (letter, error) in bad {
            tracing::error!(lane = %self.lane, ordinal = letter.ordinal, %error, "a record stops the module; it is set aside");
            effects.account.read += 1;
            effects.account.reject(letter.reason);
            effects.dead.push(letter);
        }
        effects.dead.sort_by_key(|d| d.ordinal);
        // Back to the quick engine.
        self.engine = context.engines.open(&context.policy, Some(&snapshot))?;
        Ok((effects, snapshot))
    }

    fn places(&self, gathered: &Gathered, effects: &Effects) -> Result<Vec<String>, RunError> {
        let find = |ordinal| gathered.chunks.iter().find_map(|c| c.places.find(ordinal));
        effects
            .dead
            .iter()
            .map(|d| {
                find(d.ordinal).map(|p| p.0).ok_or_else(|| RunError::Engine {
                    lane: self.lane.clone(),
                    error: EngineError::Lie {
                        detail: format!("a dead letter for record {}, which was not in the batch", d.ordinal),
                    },
                })
            })
            .collect()
    }
}

/// The clock, recorded: the only way in which processing time passes for an engine.
fn tick() -> Vec<u8> {
    let mut frame = Vec::with_capacity(frame::HEADER);
    frame::push(&mut frame, Kind::Tick, 0, Some(ArrivalTime::from_millis(clock::now_ms())), b"");
    frame
}

struct Record {
    frame: Vec<u8>,
    ordinal: u64,
    arrival: Option<ArrivalTime>,
    from: usize,
}

impl Record {
    fn dead_letter(&self, error: &EngineError, context: &Context) -> DeadLetter {
        let raw = self.frame[self.from..].trim_ascii_end();
        let kept = raw.len().min(context.policy.spec().limits.dead_letter_bytes as usize);
        let reason =
            if matches!(error, EngineError::OutOfTime { .. }) { Reason::ModuleOutOfTime } else { Reason::ModuleTrap };
        DeadLetter {
            ordinal: self.ordinal,
            reason,
            field: None,
            at: 0,
            arrival: self.arrival,
            full_len: raw.len() as u64,
            raw: raw[..kept].to_vec(),
        }
    }
}

/// A frame for each record of a batch. A line stays a frame of lines, so that it means the same.
fn split(gathered: &Gathered) -> Vec<Record> {
    let mut out = Vec::new();
    for chunk in &gathered.chunks {
        let mut at = 0;
        while at < chunk.frames.len() {
            let f = frame::read(&chunk.frames, at).expect("sources write frames");
            let mut push = |kind, ordinal, payload: &[u8]| {
                let mut bytes = Vec::with_capacity(frame::HEADER + payload.len());
                frame::push(&mut bytes, kind, ordinal, f.arrival, payload);
                out.push(Record { frame: bytes, ordinal, arrival: f.arrival, from: frame::HEADER });
            };
            let payload = &chunk.frames[f.from..f.to];
            if f.kind == Kind::Lines && !payload.is_empty() {
                for (line, ordinal) in payload.split_inclusive(|b| *b == b'\n').zip(f.ordinal..) {
                    push(Kind::Lines, ordinal, line);
                }
            } else {
                push(f.kind, f.ordinal, payload);
            }
            at = f.to;
        }
    }
    out
}

/// Whether a record can be at fault: the module trapped on it, did not end on it, or answered it with nonsense.
fn of_the_record(error: &EngineError) -> bool {
    matches!(error, EngineError::Trap { .. } | EngineError::OutOfTime { .. } | EngineError::Lie { .. })
}

/// Sleeps; `true` as soon as the run is told to stop.
async fn stopped_within(wait: Duration, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::time::timeout(wait, stop.wait_for(|stop| *stop)).await.is_ok()
}

fn backoff(retries: u32) -> Duration {
    RETRY.saturating_mul(1 << retries.min(10)).min(RETRY_MAX).mul_f64(0.5 + rand::random::<f64>() / 2.0)
}
