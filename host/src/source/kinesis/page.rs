//! One answer of GetRecords, given out in chunks; positions and times of records.
//!
//! Invariants
//! - Each record is given once, in the page's order, as one frame; an empty payload is a record too.
//! - Positions of one lane sort as text like their sequence numbers do as numbers.
//!
//! Not here: asking for pages (`reader`).

use crate::source::{Chunk, Places, Position, Positions, SourceError};
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::Record;
use plimsoll_core::time::ArrivalTime;
use plimsoll_core::wire::frame::{self, Kind};

/// Digits that a sequence number is padded to; the service's have 56.
const DIGITS: usize = 60;

/// Milliseconds since the epoch. The service sends seconds with a fraction, which as a floating-point number may lie just
/// below the millisecond that is meant, so this rounds.
pub(super) fn millis(time: &DateTime) -> i64 {
    let ms = (time.as_nanos() + 500_000).div_euclid(1_000_000);
    i64::try_from(ms).expect("seconds of 64 bits that came as a floating-point number of milliseconds")
}

/// The position after a record.
pub(super) fn position(sequence: &str) -> Result<Position, SourceError> {
    if sequence.len() > DIGITS || sequence.is_empty() || !sequence.bytes().all(|b| b.is_ascii_digit()) {
        return Err(SourceError::Refused(format!(
            "the sequence number `{sequence}` is not what positions are made for, 1 to {DIGITS} digits; is this stand-in one of Kinesis?"
        )));
    }
    Ok(Position(format!("{sequence:0>DIGITS$}/0")))
}

/// The sequence number of a position, without the zeros before it.
pub(super) fn sequence(position: &Position) -> Option<&str> {
    let digits =
        position.0.strip_suffix("/0").filter(|d| d.len() == DIGITS && d.bytes().all(|b| b.is_ascii_digit()))?;
    let number = digits.trim_start_matches('0');
    Some(if number.is_empty() { &digits[DIGITS - 1..] } else { number })
}

/// Records that were read and not yet given out.
#[derive(Debug, Default)]
pub(super) struct Page {
    records: Vec<Record>,
    /// The first record that was not given out.
    at: usize,
    /// How far the page's last record lies behind the tip, in ms.
    behind_ms: Option<u64>,
    /// When the page's last record arrived.
    last_ms: Option<i64>,
}

impl Page {
    pub(super) fn new(records: Vec<Record>, behind_ms: Option<u64>) -> Self {
        let last_ms = records.last().and_then(arrival_ms);
        Self { records, at: 0, behind_ms, last_ms }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at == self.records.len()
    }

    /// The next records, numbered from `ordinal`: as many as `bytes` of payload hold, and at least one.
    ///
    /// # Errors
    /// `Refused` if a record has no usable sequence number.
    ///
    /// # Panics
    /// If the page is empty.
    pub(super) fn cut(&mut self, ordinal: u64, bytes: usize) -> Result<Chunk, SourceError> {
        let rest = &self.records[self.at..];
        let mut taken = 0;
        let mut payload = 0;
        for record in rest {
            let next = payload + record.data.as_ref().len();
            if taken > 0 && next > bytes {
                break;
            }
            payload = next;
            taken += 1;
        }
        assert!(taken > 0, "a page without records is not cut");
        let mut frames = Vec::with_capacity(payload.min(bytes) + taken * frame::HEADER);
        let mut positions = Positions::with_capacity(taken, DIGITS + 2);
        for (record, ordinal) in rest[..taken].iter().zip(ordinal..) {
            let data = record.data.as_ref();
            // No record of the service is as long; a stand-in's may be.
            let (kind, data) = match data.get(..frame::PAYLOAD_MAX) {
                Some(beginning) if data.len() > frame::PAYLOAD_MAX => (Kind::Oversize, beginning),
                _ => (Kind::Record, data),
            };
            frame::push(&mut frames, kind, ordinal, arrival_ms(record).map(ArrivalTime::from_millis), data);
            positions.push(&position(record.sequence_number())?.0);
        }
        let end = positions.get(taken - 1).expect("one record was taken");
        // Within a page the lag is larger by what lies between this record's arrival and the last one's.
        let ahead = arrival_ms(&rest[taken - 1]).zip(self.last_ms).map(|(this, last)| last.saturating_sub(this));
        let ahead = ahead.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0);
        let behind_ms = self.behind_ms.map(|ms| ms.saturating_add(ahead));
        self.at += taken;
        if self.is_empty() {
            self.records = Vec::new();
            self.at = 0;
        }
        Ok(Chunk {
            frames,
            source_bytes: payload as u64,
            end,
            places: Places::Records { first: ordinal, positions },
            behind_ms,
        })
    }
}

fn arrival_ms(record: &Record) -> Option<i64> {
    record.approximate_arrival_timestamp().map(millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_kinesis::primitives::Blob;

    fn record(sequence: &str, data: &str, ms: i64) -> Record {
        let record = Record::builder().sequence_number(sequence).data(Blob::new(data)).partition_key("k");
        record.approximate_arrival_timestamp(DateTime::from_millis(ms)).build().unwrap()
    }

    #[test]
    fn positions_sort_as_numbers_and_come_back() {
        let (nine, ten) = (position("9").unwrap(), position("10").unwrap());
        assert!(nine.0 < ten.0);
        assert_eq!(nine.0.len(), DIGITS + 2);
        let long = "49545115243490985018280067714973144582180062593244200961";
        for number in ["0", "9", "10", long] {
            assert_eq!(sequence(&position(number).unwrap()), Some(number));
        }
        for bad in ["", "-1", "4a", &"1".repeat(61)] {
            assert!(matches!(position(bad), Err(SourceError::Refused(_))), "{bad}");
        }
        for bad in ["", "12", "events.ndjson:7", "/0", &format!("{:060}/1", 7), &format!("{:059}x/0", 7)] {
            assert_eq!(sequence(&Position(bad.into())), None, "{bad}");
        }
    }

    #[test]
    fn times_are_rounded_to_the_millisecond_that_was_meant() {
        for ms in [0, 1, -1, 1_700_000_000_123, 1_795_401_543_181, -86_400_001] {
            let seconds = DateTime::from_secs_f64(ms as f64 / 1000.0);
            assert_eq!(millis(&seconds), ms);
        }
    }

    #[test]
    fn pages_are_cut_by_bytes_and_lose_nothing() {
        let records = [("1", "aaaa", 10), ("2", "", 10), ("3", "bbbbbbbbbb", 30), ("4", "c", 40), ("5", "", 50)];
        let page = || Page::new(records.iter().map(|(s, d, ms)| record(s, d, *ms)).collect(), Some(7));
        for bytes in [0, 1, 4, 5, 14, 100] {
            let mut page = page();
            let (mut next, mut seen) = (3, Vec::new());
            while !page.is_empty() {
                let chunk = page.cut(next, bytes).unwrap();
                let mut at = 0;
                let mut count = 0;
                let mut last = Position(String::new());
                while at < chunk.frames.len() {
                    let f = frame::read(&chunk.frames, at).unwrap();
                    assert_eq!((f.kind, f.ordinal), (Kind::Record, next));
                    last = chunk.places.find(f.ordinal).expect("a position of each record");
                    let data = String::from_utf8(chunk.frames[f.from..f.to].to_vec()).unwrap();
                    seen.push((sequence(&last).unwrap().to_owned(), data, f.arrival.unwrap().as_millis()));
                    (at, next, count) = (f.to, next + 1, count + 1);
                }
                assert_eq!(chunk.end, last);
                assert!(count == 1 || chunk.source_bytes <= bytes as u64, "{count} records in {bytes} bytes");
                let behind = 7 + u64::try_from(50 - seen.last().unwrap().2).unwrap();
                assert_eq!(chunk.behind_ms, Some(behind));
            }
            let expected: Vec<_> = records.iter().map(|(s, d, ms)| ((*s).to_owned(), (*d).to_owned(), *ms)).collect();
            assert_eq!(seen, expected, "{bytes} bytes");
        }
    }
}
