//! Input frames: raw payload bytes with their ordinal and arrival time.
//!
//! ```text
//! offset 0  u8   0
//!        1  u8   kind      1 lines, 2 record, 4 watermark, 5 tick
//!        2  u8   flags     bit 0: the payload is only the beginning of a longer record (kind 2 only)
//!        3  u8   0
//!        4  u32  length of the payload
//!        8  u64  ordinal of the (first) record
//!       16  i64  arrival time in ms since the epoch; -2^63 where the source knows none; a watermark's or tick's own time
//!       24  payload
//! ```
//! Frames follow each other without a gap, so that a zero follows every payload: what stops the scanner. `lines` holds
//! newline-delimited records of one arrival time: each line, empty ones too, has the next ordinal; the last line may lack
//! its newline. `record` holds one record.
//! A `lines` frame without payload says that the source's arrival clock has come this far, and holds no record.
//! `watermark` says that nothing with an event time before its time will come (for policies whose watermark is given),
//! `tick` that the clock was seen at its time: the only way in which processing time passes. Both have no payload.
//! An ordinal is the source's number for a record, increasing over the life of a lane's reader; it comes back with
//! dead letters so that the host can name the position.

use super::WireError;
use crate::time::ArrivalTime;
use alloc::vec::Vec;

/// Bytes before the payload.
pub const HEADER: usize = 24;
/// Longest payload of one frame, in bytes.
pub const PAYLOAD_MAX: usize = 64 << 20;

const NO_ARRIVAL: i64 = i64::MIN;

/// What a payload holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Kind {
    /// Newline-delimited records.
    Lines = 1,
    /// One record.
    Record = 2,
    /// The beginning of one record that is longer than the source would hold.
    Oversize = 3,
    /// The source's own watermark, in `arrival`.
    Watermark = 4,
    /// The clock, in `arrival`.
    Tick = 5,
}

/// One frame, its payload as a range of the buffer it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the payload holds.
    pub kind: Kind,
    /// Ordinal of the (first) record.
    pub ordinal: u64,
    /// When the source received it.
    pub arrival: Option<ArrivalTime>,
    /// First byte of the payload.
    pub from: usize,
    /// Byte after the payload; the next frame begins here.
    pub to: usize,
}

/// Appends a frame.
///
/// # Panics
/// If the payload is longer than [`PAYLOAD_MAX`].
#[inline(always)]
pub fn push(out: &mut Vec<u8>, kind: Kind, ordinal: u64, arrival: Option<ArrivalTime>, payload: &[u8]) {
    out.reserve(HEADER + payload.len());
    out.extend_from_slice(&header(kind, ordinal, arrival, payload.len()));
    out.extend_from_slice(payload);
}

/// Appends a header whose payload follows; `finish` takes what this returns. Spares the copy for sources that read
/// straight into the buffer.
pub fn begin(out: &mut Vec<u8>, kind: Kind, ordinal: u64, arrival: Option<ArrivalTime>) -> usize {
    let at = out.len();
    out.extend_from_slice(&header(kind, ordinal, arrival, 0));
    at
}

/// Writes the length of the payload that followed `begin`.
///
/// # Panics
/// If the payload is longer than [`PAYLOAD_MAX`].
pub fn finish(out: &mut [u8], at: usize) {
    let len = length(out.len() - at - HEADER);
    out[at + 4..at + 8].copy_from_slice(&len.to_le_bytes());
}

/// The first [`HEADER`] bytes of a frame, before a payload of `len` bytes.
///
/// # Panics
/// If that is over [`PAYLOAD_MAX`].
#[inline(always)]
pub fn header(kind: Kind, ordinal: u64, arrival: Option<ArrivalTime>, len: usize) -> [u8; HEADER] {
    let (kind, flags) = if kind == Kind::Oversize { (Kind::Record as u8, 1) } else { (kind as u8, 0) };
    let mut header = [0; HEADER];
    header[1..3].copy_from_slice(&[kind, flags]);
    header[4..8].copy_from_slice(&length(len).to_le_bytes());
    header[8..16].copy_from_slice(&ordinal.to_le_bytes());
    header[16..].copy_from_slice(&arrival.map_or(NO_ARRIVAL, ArrivalTime::as_millis).to_le_bytes());
    header
}

#[inline]
fn length(len: usize) -> u32 {
    assert!(len <= PAYLOAD_MAX, "payload of {len} bytes, at most {PAYLOAD_MAX} fit a frame");
    len as u32
}

/// Reads the frame that begins at `at` of `bytes`.
#[inline(always)]
pub fn read(bytes: &[u8], at: usize) -> Result<Frame, WireError> {
    let Some(h) = bytes.get(at..).and_then(|b| b.first_chunk::<HEADER>()) else { return Err(short(bytes, at, HEADER)) };
    let word = |i: usize| u64::from_le_bytes(*h[i..].first_chunk().expect("8 bytes of the header"));
    let (first, arrival) = (word(0), word(16) as i64);
    let kind = match first as u32 {
        0x0000_0100 => Kind::Lines,
        0x0000_0200 => Kind::Record,
        0x0001_0200 => Kind::Oversize,
        0x0000_0400 => Kind::Watermark,
        0x0000_0500 => Kind::Tick,
        _ => return Err(bad(at, what_kind(h))),
    };
    let len = (first >> 32) as usize;
    if len > PAYLOAD_MAX {
        return Err(bad(at, "payload over 64 MiB"));
    }
    let from = at + HEADER;
    let to = from + len;
    if to > bytes.len() {
        return Err(short(bytes, from, len));
    }
    let arrival = (arrival != NO_ARRIVAL).then(|| ArrivalTime::from_millis(arrival));
    if matches!(kind, Kind::Watermark | Kind::Tick) && (len > 0 || arrival.is_none()) {
        return Err(bad(at, "a watermark or tick has a time and no payload"));
    }
    Ok(Frame { kind, ordinal: word(8), arrival, from, to })
}

const WHAT: &str = "input frame";

#[cold]
#[inline(never)]
fn short(bytes: &[u8], at: usize, more: usize) -> WireError {
    WireError::Short { what: WHAT, have: bytes.len(), need: at.saturating_add(more) }
}

#[cold]
#[inline(never)]
fn bad(at: usize, problem: &'static str) -> WireError {
    WireError::Bad { what: WHAT, at, problem }
}

/// What is wrong with a header's first four bytes.
#[cold]
#[inline(never)]
fn what_kind(h: &[u8; HEADER]) -> &'static str {
    match h[1] {
        1 | 2 | 4 | 5 if (h[0], h[3]) != (0, 0) => "bytes 0 and 3 must be 0",
        1 | 2 | 4 | 5 => "unknown flags",
        _ => "unknown kind, expected 1 (lines), 2 (record), 4 (watermark) or 5 (tick)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back() {
        let mut out = Vec::new();
        push(&mut out, Kind::Lines, 7, None, b"{}\n{}\n");
        push(&mut out, Kind::Record, 9, Some(ArrivalTime::from_millis(-5)), b"{}");
        push(&mut out, Kind::Oversize, 10, None, b"{");
        let a = read(&out, 0).unwrap();
        assert_eq!((a.kind, a.ordinal, a.arrival, &out[a.from..a.to]), (Kind::Lines, 7, None, &b"{}\n{}\n"[..]));
        let b = read(&out, a.to).unwrap();
        assert_eq!((b.kind, b.ordinal, b.arrival), (Kind::Record, 9, Some(ArrivalTime::from_millis(-5))));
        let c = read(&out, b.to).unwrap();
        assert_eq!((c.kind, c.to), (Kind::Oversize, out.len()));
    }

    #[test]
    fn hostile_headers_are_refused() {
        let mut out = Vec::new();
        push(&mut out, Kind::Record, 1, None, b"{}");
        for i in 0..out.len() {
            assert!(read(&out[..i], 0).is_err(), "cut at {i}");
        }
        for (at, v) in [(0, 1), (1, 0), (1, 9), (2, 2), (3, 1), (7, 0xff)] {
            let mut bad = out.clone();
            bad[at] = v;
            assert!(read(&bad, 0).is_err(), "byte {at} = {v}");
        }
        assert!(read(&out, usize::MAX).is_err());
    }
}
