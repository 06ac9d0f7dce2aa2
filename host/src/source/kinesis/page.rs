//! One answer of GetRecords, given out in chunks; positions and times of records.
//!
//! ```text
//! position   <sequence number, padded with zeros to 60 digits>/<number of the event in its record, from 0>[@<time in ms>]
//! ```
//! With a time, everything else that had arrived by then was read, too: there was nothing.
//!
//! Invariants
//! - Each event is given once, in the page's order, as one frame; an empty payload is an event too.
//! - A chunk may end inside a record, and what follows its position are the record's other events.
//! - Positions sort as text like their sequence numbers do as numbers; within a record, the events' numbers count.
//! - At most one record's events are held beside the page itself.
//!
//! Not here: asking for pages (`reader`), what a payload holds (`payload`).

use super::payload::{self, Events};
use crate::source::{Chunk, Places, Position, Positions, SourceError};
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::Record;
use plimsoll_core::time::ArrivalTime;
use plimsoll_core::wire::frame::{self, Kind};
use std::ops::RangeInclusive;

/// Digits that a sequence number is padded to; the service's have 56.
const DIGITS: usize = 60;

/// Milliseconds since the epoch. The service sends seconds with a fraction, which as a floating-point number may lie just
/// below the millisecond that is meant, so this rounds.
pub(super) fn millis(time: &DateTime) -> i64 {
    let ms = (time.as_nanos() + 500_000).div_euclid(1_000_000);
    i64::try_from(ms).expect("seconds of 64 bits that came as a floating-point number of milliseconds")
}

/// The position after an event of a record.
pub(super) fn position(sequence: &str, event: usize) -> Result<Position, SourceError> {
    if sequence.len() > DIGITS || sequence.is_empty() || !sequence.bytes().all(|b| b.is_ascii_digit()) {
        return Err(SourceError::Refused(format!(
            "the sequence number `{sequence}` is not what positions are made for, 1 to {DIGITS} digits; is this stand-in one of Kinesis?"
        )));
    }
    Ok(Position(format!("{sequence:0>DIGITS$}/{event}")))
}

/// The position after an event of a record, behind which there was nothing at this time.
pub(super) fn position_at(sequence: &str, event: usize, ms: i64) -> Result<Position, SourceError> {
    Ok(Position(format!("{}@{ms}", position(sequence, event)?.0)))
}

/// What a position says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    /// The record's sequence number, without the zeros before it.
    pub(super) sequence: &'a str,
    /// The number of the event in it.
    pub(super) event: usize,
    /// When there was nothing behind it.
    pub(super) quiet_ms: Option<i64>,
}

/// Reads a position.
pub(super) fn place(position: &Position) -> Option<Place<'_>> {
    fn number<N: std::str::FromStr + ToString>(text: &str) -> Option<N> {
        text.parse().ok().filter(|number: &N| number.to_string() == text)
    }
    let (digits, rest) = position.0.split_once('/')?;
    if digits.len() != DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (event, quiet_ms) = match rest.split_once('@') {
        Some((event, ms)) => (event, Some(number(ms)?)),
        None => (rest, None),
    };
    Some(Place { sequence: significant(digits), event: number(event)?, quiet_ms })
}

/// A sequence number without the zeros before it.
fn significant(digits: &str) -> &str {
    let number = digits.trim_start_matches('0');
    if number.is_empty() { &digits[digits.len().saturating_sub(1)..] } else { number }
}

/// Whether two sequence numbers are one.
pub(super) fn same(sequence: &str, other: &str) -> bool {
    significant(sequence) == significant(other)
}

/// Whether a sequence number comes after another one.
pub(super) fn after(sequence: &str, other: &str) -> bool {
    let (sequence, other) = (significant(sequence), significant(other));
    (sequence.len(), sequence) > (other.len(), other)
}

/// Records that were read and not yet given out.
#[derive(Debug)]
pub(super) struct Page {
    records: Vec<Record>,
    /// The first record that was not given out whole.
    at: usize,
    /// Its events, once it was seen to be more than one as it stands, and the first that was not given out.
    opened: Option<(Events, usize)>,
    /// So many events of the first record were given out by an earlier reader.
    skip: usize,
    /// The hash keys of the shard.
    hash_keys: RangeInclusive<u128>,
    /// How far the page's last record lies behind the tip, in ms.
    behind_ms: Option<u64>,
    /// When the page's last record arrived.
    last_ms: Option<i64>,
    /// Records left out so far, since they are another shard's.
    misplaced: u64,
}

/// Frames in the making.
struct Cut {
    frames: Vec<u8>,
    positions: Positions,
    first: u64,
    payload: usize,
    source_bytes: u64,
    end: Option<Position>,
}

impl Page {
    /// A page of a shard with these hash keys; the first `skip` events of its first record were given out before.
    pub(super) fn new(
        records: Vec<Record>,
        skip: usize,
        hash_keys: RangeInclusive<u128>,
        behind_ms: Option<u64>,
    ) -> Self {
        let last_ms = records.last().and_then(arrival_ms);
        Self { records, at: 0, opened: None, skip, hash_keys, behind_ms, last_ms, misplaced: 0 }
    }

    /// Whether no record is left.
    pub(super) fn is_empty(&self) -> bool {
        self.at == self.records.len()
    }

    /// When the last record arrived.
    pub(super) fn last_ms(&self) -> Option<i64> {
        self.last_ms
    }

    /// Records that were left out since this was asked last.
    pub(super) fn misplaced(&mut self) -> u64 {
        std::mem::take(&mut self.misplaced)
    }

    /// The next events, numbered from `ordinal`: as many as `bytes` of payload hold, and at least one. `None` if those
    /// that are left are nobody's here.
    ///
    /// # Errors
    /// `Refused` if a record has no usable sequence number.
    pub(super) fn cut(&mut self, ordinal: u64, bytes: usize) -> Result<Option<Chunk>, SourceError> {
        let mut cut = self.begin(ordinal, bytes);
        let mut last = self.at;
        'records: while let Some(record) = self.records.get(self.at) {
            let data = record.data.as_ref();
            if self.opened.is_none() && self.skip == 0 && payload::plain(data) {
                if !cut.fits(data, bytes) {
                    break;
                }
                cut.push(record, 0, data, false)?;
                last = self.at;
            } else {
                let (events, next) = self.opened.get_or_insert_with(|| {
                    let events = payload::open(data, &self.hash_keys);
                    self.misplaced += events.misplaced;
                    (events, self.skip)
                });
                while let Some(event) = events.events.get(*next) {
                    if !cut.fits(&event.data, bytes) {
                        break 'records;
                    }
                    cut.push(record, *next, &event.data, event.too_long)?;
                    (last, *next) = (self.at, *next + 1);
                }
                (self.opened, self.skip) = (None, 0);
            }
            cut.source_bytes += data.len() as u64;
            self.at += 1;
        }
        let this_ms = self.records.get(last).and_then(arrival_ms);
        if self.is_empty() {
            self.records = Vec::new();
            self.at = 0;
        }
        let Cut { frames, positions, first, source_bytes, end, .. } = cut;
        let Some(end) = end else { return Ok(None) };
        // Within a page the lag is larger by what lies between this record's arrival and the last one's.
        let ahead = this_ms.zip(self.last_ms).map(|(this, last)| last.saturating_sub(this));
        let ahead = ahead.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0);
        let behind_ms = self.behind_ms.map(|ms| ms.saturating_add(ahead));
        Ok(Some(Chunk { frames, source_bytes, end, places: Places::Records { first, positions }, behind_ms }))
    }

    /// Room for the records that fit as they are.
    fn begin(&self, ordinal: u64, bytes: usize) -> Cut {
        let (mut payload, mut records) = (0, 0);
        for record in &self.records[self.at..] {
            if records > 0 && payload >= bytes {
                break;
            }
            payload += record.data.as_ref().len();
            records += 1;
        }
        Cut {
            frames: Vec::with_capacity(payload + records * frame::HEADER),
            positions: Positions::with_capacity(records, DIGITS + 2),
            first: ordinal,
            payload: 0,
            source_bytes: 0,
            end: None,
        }
    }
}

impl Cut {
    fn fits(&self, data: &[u8], bytes: usize) -> bool {
        self.positions.is_empty() || self.payload + data.len() <= bytes
    }

    fn push(&mut self, record: &Record, event: usize, data: &[u8], too_long: bool) -> Result<(), SourceError> {
        let position = position(record.sequence_number(), event)?;
        // No record of the service is longer than a frame; a stand-in's may be.
        let (data, too_long) = match data.get(..frame::PAYLOAD_MAX) {
            Some(beginning) if data.len() > frame::PAYLOAD_MAX => (beginning, true),
            _ => (data, too_long),
        };
        let kind = if too_long { Kind::Oversize } else { Kind::Record };
        let ordinal = self.first + self.positions.len() as u64;
        frame::push(&mut self.frames, kind, ordinal, arrival_ms(record).map(ArrivalTime::from_millis), data);
        self.payload += data.len();
        self.positions.push(&position.0);
        self.end = Some(position);
        Ok(())
    }
}

/// When a record arrived.
pub(super) fn arrival_ms(record: &Record) -> Option<i64> {
    record.approximate_arrival_timestamp().map(millis)
}

#[cfg(test)]
mod tests {
    use super::super::kpl::{hash_key, pack};
    use super::*;
    use aws_sdk_kinesis::primitives::Blob;

    const ALL: RangeInclusive<u128> = 0..=u128::MAX;

    fn record(sequence: &str, data: &[u8], ms: i64) -> Record {
        let record = Record::builder().sequence_number(sequence).data(Blob::new(data)).partition_key("k");
        record.approximate_arrival_timestamp(DateTime::from_millis(ms)).build().unwrap()
    }

    #[test]
    fn positions_sort_as_numbers_and_come_back() {
        let (nine, ten) = (position("9", 0).unwrap(), position("10", 0).unwrap());
        assert!(nine.0 < ten.0);
        assert_eq!(nine.0.len(), DIGITS + 2);
        let long = "49545115243490985018280067714973144582180062593244200961";
        for number in ["0", "9", "10", long] {
            for event in [0, 9, 99_999] {
                let mut expected = Place { sequence: number, event, quiet_ms: None };
                assert_eq!(place(&position(number, event).unwrap()), Some(expected));
                expected.quiet_ms = Some(1_700_000_000_123);
                assert_eq!(place(&position_at(number, event, 1_700_000_000_123).unwrap()), Some(expected));
            }
        }
        for bad in ["", "-1", "4a", &"1".repeat(61)] {
            assert!(matches!(position(bad, 0), Err(SourceError::Refused(_))), "{bad}");
        }
        let seven = format!("{:060}", 7);
        for bad in ["", "12", "events.ndjson:7", "/0", &seven, &format!("{seven}/"), &format!("{seven}/01")] {
            assert_eq!(place(&Position(bad.into())), None, "{bad}");
        }
        for bad in ["/-1", "/1/2", "/1@", "/@1", "/1@x", "/1@1@2"].map(|end| format!("{seven}{end}")) {
            assert_eq!(place(&Position(bad.clone())), None, "{bad}");
        }
        assert!(after("10", "9") && after("0010", "9") && !after("9", "9") && !after("9", "0010"));
    }

    #[test]
    fn times_are_rounded_to_the_millisecond_that_was_meant() {
        for ms in [0, 1, -1, 1_700_000_000_123, 1_795_401_543_181, -86_400_001] {
            let seconds = DateTime::from_secs_f64(ms as f64 / 1000.0);
            assert_eq!(millis(&seconds), ms);
        }
    }

    /// An event: its position, payload and arrival.
    type Event = (Position, String, i64);

    /// All that a page gives in chunks of so many bytes, and the lag that the last chunk says.
    fn drain(mut page: Page, bytes: usize) -> (Vec<Event>, Option<u64>) {
        let (mut next, mut seen, mut behind_ms) = (3, Vec::new(), None);
        while !page.is_empty() {
            let Some(chunk) = page.cut(next, bytes).unwrap() else { continue };
            let (mut at, mut payload, before) = (0, 0, seen.len());
            while at < chunk.frames.len() {
                let f = frame::read(&chunk.frames, at).unwrap();
                assert_eq!((f.kind, f.ordinal), (Kind::Record, next));
                let place = chunk.places.find(f.ordinal).expect("a position of each event");
                let data = String::from_utf8(chunk.frames[f.from..f.to].to_vec()).unwrap();
                payload += data.len();
                seen.push((place, data, f.arrival.unwrap().as_millis()));
                (at, next) = (f.to, next + 1);
            }
            assert_eq!(chunk.end, seen.last().unwrap().0);
            assert!(seen.len() == before + 1 || payload <= bytes, "{payload} of {bytes} bytes");
            behind_ms = chunk.behind_ms;
        }
        (seen, behind_ms)
    }

    #[test]
    fn pages_are_cut_by_bytes_and_lose_nothing() {
        let records = [("1", "aaaa", 10), ("2", "", 10), ("3", "bbbbbbbbbb", 30), ("4", "c", 40), ("5", "", 50)];
        let made = || records.iter().map(|(s, d, ms)| record(s, d.as_bytes(), *ms)).collect();
        let expected: Vec<Event> =
            records.iter().map(|(s, d, ms)| (position(s, 0).unwrap(), (*d).to_owned(), *ms)).collect();
        for bytes in [0, 1, 4, 5, 14, 100] {
            let page = Page::new(made(), 0, ALL, Some(7));
            assert_eq!(drain(page, bytes), (expected.clone(), Some(7)), "{bytes} bytes");
        }
        let mut page = Page::new(made(), 0, ALL, Some(7));
        assert_eq!(page.cut(0, 4).unwrap().unwrap().behind_ms, Some(7 + 40));
    }

    fn mixed() -> Vec<Record> {
        let aggregate: Vec<_> = (0..3).map(|i| ("k".to_owned(), format!("{{\"n\":{i}}}").into_bytes())).collect();
        vec![
            record("1", b"{\"a\":1}", 10),
            record("2", &pack("b", &aggregate), 20),
            record("3", b"[{\"b\":1},{\"b\":2}]", 30),
            record("4", b"{\"c\":1}", 40),
        ]
    }

    #[test]
    fn every_event_of_a_record_is_a_place_to_go_on() {
        let (all, _) = drain(Page::new(mixed(), 0, ALL, None), 1_000);
        let texts: Vec<&str> = all.iter().map(|(_, text, _)| text.as_str()).collect();
        let expected =
            [r#"{"a":1}"#, r#"{"n":0}"#, r#"{"n":1}"#, r#"{"n":2}"#, r#"{"b":1}"#, r#"{"b":2}"#, r#"{"c":1}"#];
        assert_eq!(texts, expected);
        for bytes in [0, 7, 14, 15, 30] {
            assert_eq!(drain(Page::new(mixed(), 0, ALL, None), bytes).0, all, "{bytes} bytes");
        }
        for (given, (end, ..)) in all.iter().enumerate() {
            let Place { sequence, event, .. } = place(end).unwrap();
            let from: usize = sequence.parse::<usize>().unwrap() - 1;
            let rest = Page::new(mixed().split_off(from), event + 1, ALL, None);
            assert_eq!(drain(rest, 10).0, all[given + 1..], "after {end:?}");
        }
        // Everything of the first record was given out.
        assert_eq!(drain(Page::new(mixed().split_off(1), usize::MAX, ALL, None), 10).0, all[4..]);
    }

    #[test]
    fn what_is_another_shards_is_left_out_and_counted() {
        let hash = hash_key("b");
        let mut page = Page::new(mixed(), 0, hash + 1..=u128::MAX, None);
        let first = page.cut(0, 1_000).unwrap().unwrap();
        let Places::Records { positions, .. } = &first.places else { panic!("records") };
        assert_eq!((positions.len(), page.misplaced(), page.misplaced()), (4, 3, 0));
        let only = vec![mixed().remove(1)];
        let mut page = Page::new(only, 0, 0..=hash - 1, None);
        assert!(page.cut(0, 1_000).unwrap().is_none() && page.is_empty());
        assert_eq!(page.misplaced(), 3);
    }
}
