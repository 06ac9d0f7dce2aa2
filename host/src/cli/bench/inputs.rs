//! Inputs that no file has: lines framed one by one, and a stream without end of the same keys.
//!
//! Not here: what is measured (`bench`).

use crate::clock;
use crate::source::file::FileSource;
use crate::source::{Chunk, LaneInfo, LaneReader, Next, Places, Position, Positions, Source, SourceError};
use async_trait::async_trait;
use plimsoll_core::time::ArrivalTime;
use plimsoll_core::wire::frame::{self, Kind};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Files whose lines come as Kinesis carries records: each a frame with the time it arrived and its own position.
pub(super) struct Framed(pub(super) FileSource);

struct FramedReader {
    lines: Box<dyn LaneReader>,
    /// Lines that are to be framed.
    scratch: Vec<u8>,
    /// The same, where their frames had no room.
    waiting: Option<Chunk>,
}

#[async_trait]
impl Source for Framed {
    fn describe(&self) -> String {
        format!("{}, framed one by one", self.0.describe())
    }

    fn carries_arrival(&self) -> bool {
        true
    }

    fn resumable(&self) -> bool {
        self.0.resumable()
    }

    fn finite(&self) -> bool {
        self.0.finite()
    }

    async fn lanes(&self) -> Result<Vec<LaneInfo>, SourceError> {
        self.0.lanes().await
    }

    async fn open(&self, lane: &LaneInfo, from: Option<&Position>) -> Result<Box<dyn LaneReader>, SourceError> {
        let lines = self.0.open(lane, from).await?;
        Ok(Box::new(FramedReader { lines, scratch: Vec::new(), waiting: None }))
    }
}

#[async_trait]
impl LaneReader for FramedReader {
    async fn next(&mut self, bytes: usize) -> Result<Next, SourceError> {
        let next = match self.waiting.take() {
            Some(chunk) => Next::Chunk(chunk),
            None => self.lines.next(bytes).await?,
        };
        Ok(match next {
            Next::Chunk(chunk) => Next::Chunk(one_by_one(chunk)),
            other => other,
        })
    }

    fn fill(&mut self, place: &mut [u8]) -> Option<(usize, Chunk)> {
        if self.waiting.is_some() {
            return None;
        }
        // Headers are a quarter of all but for short lines.
        self.scratch.resize(place.len() / 4 * 3, 0);
        let (len, mut chunk) = self.lines.fill(&mut self.scratch)?;
        let lines = &self.scratch[..len];
        if len + count(&chunk.places) * frame::HEADER > place.len() {
            chunk.frames = lines.to_vec();
            self.waiting = Some(chunk);
            return None;
        }
        let mut at = 0;
        let places = frame_each(lines, &chunk.places, |head, record| {
            let to = at + frame::HEADER + record.len();
            let (header, payload) = place[at..to].split_at_mut(frame::HEADER);
            header.copy_from_slice(head);
            payload.copy_from_slice(record);
            at = to;
        });
        Some((at, Chunk { places, ..chunk }))
    }
}

fn count(places: &Places) -> usize {
    let Places::Lines { count, .. } = places else { unreachable!("the file source counts lines") };
    *count as usize
}

/// Gives each line of a frame as a record, with its frame's header; and what they are called.
fn frame_each(lines: &[u8], places: &Places, mut each: impl FnMut(&[u8; frame::HEADER], &[u8])) -> Places {
    let now = Some(ArrivalTime::from_millis(clock::now_ms()));
    let whole = frame::read(lines, 0).expect("the file source makes frames");
    let payload = &lines[whole.from..whole.to];
    let mut positions = Positions::with_capacity(count(places), SEQUENCE_DIGITS);
    let mut number = SequenceNumber::at(whole.ordinal);
    let mut from = 0;
    let open = payload.last().is_some_and(|last| *last != b'\n').then_some(payload.len());
    for end in memchr::memchr_iter(b'\n', payload).chain(open) {
        let record = &payload[from..end];
        each(&frame::header(Kind::Record, whole.ordinal + positions.len() as u64, now, record.len()), record);
        positions.push(number.text());
        number.step();
        from = end + 1;
    }
    Places::Records { first: whole.ordinal, positions }
}

fn one_by_one(chunk: Chunk) -> Chunk {
    let mut frames = Vec::with_capacity(chunk.frames.len() + count(&chunk.places) * frame::HEADER);
    let places = frame_each(&chunk.frames, &chunk.places, |head, record| {
        frames.extend_from_slice(head);
        frames.extend_from_slice(record);
    });
    Chunk { frames, places, ..chunk }
}

/// A position with as many digits as Kinesis writes. Counted up as text, since formatting each number would take longer
/// than the engine does.
struct SequenceNumber(String);

const SEQUENCE_DIGITS: usize = 56;

impl SequenceNumber {
    fn at(n: u64) -> Self {
        let text = format!("495903382714902566085596925383615710{n:020}");
        assert!(text.len() == SEQUENCE_DIGITS, "{text}");
        Self(text)
    }

    fn step(&mut self) {
        let mut nines = 0;
        while self.0.ends_with('9') {
            self.0.pop();
            nines += 1;
        }
        let digit = self.0.pop().expect("a number whose first digits are no nines");
        self.0.push(char::from(digit as u8 + 1));
        (0..nines).for_each(|_| self.0.push('0'));
    }

    fn text(&self) -> &str {
        &self.0
    }
}

/// So many ad impressions in arrival order: 4,000 keys, one event a millisecond, up to 90 s late.
pub(super) struct Impressions {
    pub(super) records: u64,
    /// How many were given.
    pub(super) given: Arc<AtomicU64>,
}

struct ImpressionsReader {
    records: u64,
    given: Arc<AtomicU64>,
}

const KEYS: u64 = 4_000;

#[async_trait]
impl Source for Impressions {
    fn describe(&self) -> String {
        format!("{} generated impressions", self.records)
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
        Ok(vec![LaneInfo { id: "impressions".to_owned(), name: "impressions".to_owned(), parents: Vec::new() }])
    }

    async fn open(&self, _: &LaneInfo, _: Option<&Position>) -> Result<Box<dyn LaneReader>, SourceError> {
        Ok(Box::new(ImpressionsReader { records: self.records, given: Arc::clone(&self.given) }))
    }
}

#[async_trait]
impl LaneReader for ImpressionsReader {
    async fn next(&mut self, bytes: usize) -> Result<Next, SourceError> {
        let first = self.given.load(Relaxed);
        if first == self.records {
            return Ok(Next::End);
        }
        let mut frames = Vec::with_capacity(bytes + 256);
        let at = frame::begin(&mut frames, Kind::Lines, first, None);
        let mut n = first;
        while n < self.records && frames.len() < bytes {
            impression(n, &mut frames);
            n += 1;
        }
        frame::finish(&mut frames, at);
        self.given.store(n, Relaxed);
        Ok(Next::Chunk(Chunk {
            source_bytes: frames.len() as u64,
            frames,
            end: Position(n.to_string()),
            places: Places::Lines { first, count: n - first, file: "generated".into(), first_line: first + 1 },
            behind_ms: None,
        }))
    }
}

fn impression(n: u64, out: &mut Vec<u8>) {
    // Scattered numbers, the same in every run.
    let mut random = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    random = (random ^ random >> 31).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let (device, creative) = ((random >> 40) % 15_000, (random >> 24) % KEYS);
    let time = 1_700_000_040_000 + n - (random >> 8) % 90_000;
    writeln!(
        out,
        r#"{{"device":"d-{device:05}","placement":"p-{:03}","creative":"c-{creative:04}","ts":{time},"impressions":{},"watch_ms":{}}}"#,
        creative / 20,
        n % 5 + 1,
        random % 30_001,
    )
    .expect("a vector takes all");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_becomes_a_record_with_arrival_and_position() {
        let mut frames = Vec::new();
        frame::push(&mut frames, Kind::Lines, 7, None, b"{\"a\":1}\n{}\n{}");
        let places = Places::Lines { first: 7, count: 3, file: "f".into(), first_line: 1 };
        let chunk = Chunk { frames, source_bytes: 14, end: Position("end".into()), places, behind_ms: None };
        let chunk = one_by_one(chunk);
        let (mut at, mut found) = (0, Vec::new());
        while at < chunk.frames.len() {
            let f = frame::read(&chunk.frames, at).unwrap();
            assert!(f.kind == Kind::Record && f.arrival.is_some());
            found.push((f.ordinal, chunk.frames[f.from..f.to].to_vec()));
            at = f.to;
        }
        assert_eq!(found, [(7, b"{\"a\":1}".to_vec()), (8, b"{}".to_vec()), (9, b"{}".to_vec())]);
        assert!(chunk.places.find(9).is_some() && chunk.places.find(10).is_none());
    }

    #[test]
    fn positions_count_up_without_a_gap() {
        let mut number = SequenceNumber::at(98);
        for n in 98..1_002 {
            assert_eq!(number.text(), SequenceNumber::at(n).text());
            number.step();
        }
    }
}
