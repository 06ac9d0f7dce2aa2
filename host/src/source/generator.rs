//! Devices as a source: late bursts, silences and wrong clocks without any hardware.
//!
//! Unpaced, records come as fast as they are taken. Paced, a record comes when its arrival time does: at factor 1 the
//! stream's time is the wall clock's, and a run that was stopped catches up; at other factors the stream goes on from
//! where it stopped, so many times as fast as the wall clock.
//!
//! Invariants
//! - A position is enough to go on: no record depends on those before it.
//! - The pace decides when a record comes, never which.
//!
//! Not here: the records themselves (`records`), writing them to files (`produce`).

mod devices;
mod records;

pub use devices::Devices;
pub use records::{Record, Records};

use super::ahead::{Ahead, Strand};
use super::{Chunk, LaneInfo, LaneReader, Next, Places, Position, Source, SourceError};
use async_trait::async_trait;
use plimsoll_core::time::ArrivalTime;
use plimsoll_core::wire::frame::{self, Kind};
use records::Place;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Paced: so often it is looked whether a record is due.
const POLL: Duration = Duration::from_millis(100);
/// The most payload of a chunk: records are made faster than they are counted.
const CHUNK_BYTES_MAX: usize = 8 << 20;

/// Milliseconds since the epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Generated devices.
#[derive(Clone)]
pub struct GeneratorSource {
    devices: Devices,
    clock: Clock,
}

impl GeneratorSource {
    /// Devices on the wall clock, if they are paced.
    pub fn new(devices: Devices) -> Self {
        Self::with_clock(devices, Arc::new(crate::clock::now_ms))
    }

    /// Devices on another clock.
    pub fn with_clock(devices: Devices, clock: Clock) -> Self {
        Self { devices, clock }
    }
}

/// A position, parsed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    seed: u64,
    /// Time of the first slot, in ms since the epoch.
    start: i64,
    slot: u64,
    sub: u64,
    /// Records before it.
    n: u64,
}

const NAME: &str = "generator";

#[async_trait]
impl Source for GeneratorSource {
    fn describe(&self) -> String {
        self.devices.to_string()
    }

    fn carries_arrival(&self) -> bool {
        true
    }

    fn resumable(&self) -> bool {
        true
    }

    fn finite(&self) -> bool {
        self.devices.records.is_some()
    }

    async fn lanes(&self) -> Result<Vec<LaneInfo>, SourceError> {
        let id = format!("{NAME}:{}", self.devices.identity());
        Ok(vec![LaneInfo { id, name: NAME.to_owned(), parents: Vec::new() }])
    }

    async fn open(&self, _lane: &LaneInfo, from: Option<&Position>) -> Result<Box<dyn LaneReader>, SourceError> {
        let devices = &self.devices;
        let paced = devices.paced > 0.0;
        let now = (self.clock)();
        let (records, n) = match from {
            None if paced => {
                let start = devices.start_ms.unwrap_or(now);
                (Records::at(devices, start, Place::default()), 0)
            }
            None => (Records::new(devices), 0),
            Some(position) => {
                let mark: Mark = serde_json::from_str(&position.0).map_err(|e| stranger(position, &e.to_string()))?;
                if mark.seed != devices.seed {
                    return Err(stranger(position, &format!("seed {}, expected {}", mark.seed, devices.seed)));
                }
                (Records::at(devices, mark.start, Place { slot: mark.slot, sub: mark.sub }), mark.n)
            }
        };
        let pace = paced.then(|| {
            let factor = devices.paced;
            #[expect(clippy::float_cmp, reason = "1 is read from text and exact")]
            let stream_from = if factor == 1.0 { now } else { records.arrival_ms() };
            Pace { clock: self.clock.clone(), factor, wall_from: now, stream_from }
        });
        let file = NAME.into();
        Ok(Box::new(Ahead::new(Lane { records, n, seed: devices.seed, limit: devices.records, pace, file }, POLL)))
    }
}

fn stranger(position: &Position, why: &str) -> SourceError {
    SourceError::Refused(format!(
        "the stored position is not one of this generator ({why}): {}. Give this run a store of its own",
        position.0
    ))
}

struct Pace {
    clock: Clock,
    factor: f64,
    wall_from: i64,
    stream_from: i64,
}

impl Pace {
    /// Records that arrive up to this time are due.
    fn due_ms(&self) -> i64 {
        let passed = (self.clock)() - self.wall_from;
        self.stream_from + (passed as f64 * self.factor) as i64
    }
}

struct Lane {
    records: Records,
    n: u64,
    seed: u64,
    limit: Option<u64>,
    pace: Option<Pace>,
    file: Arc<str>,
}

impl Strand for Lane {
    fn step(&mut self, bytes: usize) -> Result<Next, SourceError> {
        let bytes = bytes.min(CHUNK_BYTES_MAX);
        let due = self.pace.as_ref().map(Pace::due_ms);
        let first = self.n;
        let mut frames = Vec::with_capacity(bytes + 1024);
        let ended = |n| self.limit.is_some_and(|limit| n >= limit);
        while frames.len() < bytes.max(1) && !ended(self.n) && due.is_none_or(|due| self.records.arrival_ms() <= due) {
            let arrival = ArrivalTime::from_millis(self.records.arrival_ms());
            let at = frame::begin(&mut frames, Kind::Record, self.n, Some(arrival));
            self.records.next(&mut frames);
            frame::finish(&mut frames, at);
            self.n += 1;
        }
        let count = self.n - first;
        if count == 0 {
            return Ok(if ended(self.n) { Next::End } else { Next::Idle });
        }
        let Place { slot, sub } = self.records.place();
        let mark = Mark { seed: self.seed, start: self.records.start_ms(), slot, sub, n: self.n };
        let payload = frames.len() as u64 - count * frame::HEADER as u64;
        Ok(Next::Chunk(Chunk {
            frames,
            source_bytes: payload,
            end: Position(serde_json::to_string(&mark).expect("numbers")),
            places: Places::Lines { first, count, file: self.file.clone(), first_line: first + 1 },
            behind_ms: due.map(|due| u64::try_from(due - self.records.arrival_ms()).unwrap_or(0)),
        }))
    }
}
