//! Panes: what triggers gave out since the flush before. Rows say what is true, panes say when it was said.
//!
//! ```text
//! "PLP1"  u32 length of all  u32 CRC-32 of what follows
//! u16 columns  u16 kept values
//! varint records refused by expired windows  varint records refused by windows whose trigger has finished
//! varint panes, each:
//!   varint key length, key   varint-signed start  varint-signed end
//!   u8 flags: bits 0-1 timing (0 early, 1 on time, 2 late), 2 first, 3 final, 4 retraction
//!   varint index   varint non-speculative index + 1   varint-signed timestamp   varint-signed watermark (-2^63: none)
//!   per column: u8 0 | u8 1 and varint-signed value
//!   per kept value: u8 0 (none)
//!                 | u8 1, JSON text (varint length, bytes)                  first, last
//!                 | u8 2, varint left out, varint n, n JSON texts           list
//!                 | u8 3, varint-signed estimate                            distinct, quantile
//!                 | u8 4, varint n, n x (JSON text, varint count)           top k
//! ```
//! Invariants
//! - Panes stand in the order in which they were given out; of one key and window, in the order of their indexes.
//! - A JSON text is one scalar in canonical form.
//!
//! Not here: rows and dead letters (`effects`).

use super::WireError;
use super::checksum::crc32;
use super::varint::{Cursor, put_i64, put_i128, put_u64};
use crate::policy::limits;
use crate::time::EventTime;
use crate::window::Window;
use alloc::vec::Vec;

/// The first bytes.
pub const MAGIC: [u8; 4] = *b"PLP1";
const HEADER: usize = 12;

/// What triggers gave out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Panes {
    /// Columns a pane has.
    pub columns: usize,
    /// Kept values a pane has.
    pub kept: usize,
    /// Records refused by a window that had expired, counted per record and window.
    pub expired: u64,
    /// Records refused by a window whose trigger had finished, counted per record and window.
    pub closed: u64,
    /// In the order they were given out.
    pub panes: Vec<Pane>,
}

/// When a pane came out, as seen from its window's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timing {
    /// Before the watermark had passed it.
    Early,
    /// The one that the watermark's passing brought.
    OnTime,
    /// After that one.
    Late,
}

/// One emission for a key and window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pane {
    /// Canonical JSON array of the key's values.
    pub key: Vec<u8>,
    /// Its window.
    pub window: Window,
    /// When it came out.
    pub timing: Timing,
    /// Whether it is the window's first.
    pub first: bool,
    /// Whether no other will follow.
    pub last: bool,
    /// Whether it takes back what an earlier pane said.
    pub retraction: bool,
    /// Its number in the window, from 0.
    pub index: u64,
    /// Its number among those that are not early, from 0; `None` while early.
    pub settled_index: Option<u64>,
    /// Its own time.
    pub timestamp: EventTime,
    /// The watermark when it came out; `None` where nothing was known.
    pub watermark: Option<EventTime>,
    /// In the order of the policy's measures.
    pub columns: Vec<Option<i128>>,
    /// In the order of the policy's kept values.
    pub kept: Vec<KeptValue>,
}

/// What was kept of a field's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptValue {
    /// No record had a value.
    None,
    /// A JSON scalar.
    Text(Vec<u8>),
    /// JSON scalars, and how many more were left out.
    List {
        /// In the order they came.
        values: Vec<Vec<u8>>,
        /// Beyond the policy's bound.
        left_out: u64,
    },
    /// A number that is an estimate.
    Estimate(i128),
    /// JSON scalars with their counts, the greatest first.
    Top(Vec<(Vec<u8>, u64)>),
}

impl Timing {
    /// As text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Early => "early",
            Self::OnTime => "on_time",
            Self::Late => "late",
        }
    }
}

/// Appends the encoding of `p`.
pub fn encode(p: &Panes, out: &mut Vec<u8>) {
    let mut w = Writer { expired: p.expired, closed: p.closed, ..Writer::new(p.columns, p.kept) };
    for pane in &p.panes {
        let Pane { window, timing, first, last, retraction, index, settled_index, timestamp, watermark, .. } = *pane;
        let (key, kept) = (&pane.key[..], pane.kept.iter().cloned());
        let told = Told { key, window, timing, first, last, retraction, index, settled_index, timestamp, watermark };
        w.push(&told, pane.columns.iter().copied(), kept);
    }
    w.write(out);
}

/// Panes that wait to be asked for, as bytes already: most hosts ask for none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writer {
    columns: usize,
    kept: usize,
    /// As in `Panes`.
    pub expired: u64,
    /// As in `Panes`.
    pub closed: u64,
    count: u64,
    panes: Vec<u8>,
}

/// What a pane says beside its values, as in `Pane`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    pub key: &'a [u8],
    pub window: Window,
    pub timing: Timing,
    pub first: bool,
    pub last: bool,
    pub retraction: bool,
    pub index: u64,
    pub settled_index: Option<u64>,
    pub timestamp: EventTime,
    pub watermark: Option<EventTime>,
}

impl Writer {
    /// No pane.
    pub fn new(columns: usize, kept: usize) -> Self {
        Self { columns, kept, ..Self::default() }
    }

    /// Forgets all; keeps the memory for the next ones while that is modest.
    pub fn clear(&mut self) {
        const KEPT_MAX: usize = 64 << 10;
        let mut panes = core::mem::take(&mut self.panes);
        panes.clear();
        panes.shrink_to(KEPT_MAX);
        *self = Self { panes, ..Self::new(self.columns, self.kept) };
    }

    /// Appends a pane.
    pub fn push(
        &mut self,
        told: &Told<'_>,
        columns: impl Iterator<Item = Option<i128>>,
        kept: impl Iterator<Item = KeptValue>,
    ) {
        self.count += 1;
        let out = &mut self.panes;
        put_text(out, told.key);
        put_i64(out, told.window.start.as_millis());
        put_i64(out, told.window.end.as_millis());
        let flags = [told.first, told.last, told.retraction].into_iter().enumerate();
        out.push(flags.fold(told.timing as u8, |all, (i, on)| all | u8::from(on) << (i + 2)));
        put_u64(out, told.index);
        put_u64(out, told.settled_index.map_or(0, |i| i.saturating_add(1)));
        put_i64(out, told.timestamp.as_millis());
        put_i64(out, told.watermark.unwrap_or(EventTime::MIN).as_millis());
        for v in columns {
            match v {
                None => out.push(0),
                Some(v) => {
                    out.push(1);
                    put_i128(out, v);
                }
            }
        }
        kept.for_each(|v| put_kept(out, &v));
    }

    /// Appends the encoding of all.
    pub fn write(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&(self.columns as u16).to_le_bytes());
        out.extend_from_slice(&(self.kept as u16).to_le_bytes());
        put_u64(out, self.expired);
        put_u64(out, self.closed);
        put_u64(out, self.count);
        out.extend_from_slice(&self.panes);
        let len = (out.len() - at) as u32;
        let sum = crc32(&out[at + HEADER..]);
        out[at + 4..at + 8].copy_from_slice(&len.to_le_bytes());
        out[at + 8..at + 12].copy_from_slice(&sum.to_le_bytes());
    }
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_u64(out, text.len() as u64);
    out.extend_from_slice(text);
}

fn put_kept(out: &mut Vec<u8>, v: &KeptValue) {
    match v {
        KeptValue::None => out.push(0),
        KeptValue::Text(text) => {
            out.push(1);
            put_text(out, text);
        }
        KeptValue::List { values, left_out } => {
            out.push(2);
            put_u64(out, *left_out);
            put_u64(out, values.len() as u64);
            values.iter().for_each(|text| put_text(out, text));
        }
        KeptValue::Estimate(n) => {
            out.push(3);
            put_i128(out, *n);
        }
        KeptValue::Top(values) => {
            out.push(4);
            put_u64(out, values.len() as u64);
            for (text, n) in values {
                put_text(out, text);
                put_u64(out, *n);
            }
        }
    }
}

/// Reads panes that may be hostile.
pub fn decode(bytes: &[u8]) -> Result<Panes, WireError> {
    let mut c = Cursor::new(bytes, "panes");
    if c.array::<4>()? != MAGIC {
        return Err(WireError::Bad { what: "panes", at: 0, problem: "does not begin with PLP1" });
    }
    if c.u32()? as usize != bytes.len() {
        return Err(c.bad("length differs from the bytes at hand"));
    }
    if c.u32()? != crc32(&bytes[HEADER..]) {
        return Err(c.bad("checksum does not match"));
    }
    let (columns, kept) = (usize::from(c.u16()?), usize::from(c.u16()?));
    if columns == 0 || columns > limits::MEASURES_MAX || kept > limits::KEPT_MAX {
        return Err(c.bad("1 to 32 columns and at most 8 kept values expected"));
    }
    let (expired, closed) = (c.varint_u64()?, c.varint_u64()?);
    let n = c.count(9 + columns + kept)?;
    let mut panes = Vec::with_capacity(n);
    for _ in 0..n {
        panes.push(take_pane(&mut c, columns, kept)?);
    }
    c.end()?;
    Ok(Panes { columns, kept, expired, closed, panes })
}

fn take_pane(c: &mut Cursor<'_>, columns: usize, kept: usize) -> Result<Pane, WireError> {
    let key = take_text(c)?;
    if key.is_empty() {
        return Err(c.bad("a pane without a key"));
    }
    let window =
        Window { start: EventTime::from_millis(c.varint_i64()?), end: EventTime::from_millis(c.varint_i64()?) };
    if window.start > window.end {
        return Err(c.bad("a window must not end before its start"));
    }
    let flags = c.u8()?;
    let timing = match flags & 3 {
        0 => Timing::Early,
        1 => Timing::OnTime,
        2 => Timing::Late,
        _ => return Err(c.bad("unknown timing")),
    };
    if flags >> 5 != 0 {
        return Err(c.bad("unknown flags"));
    }
    let (index, settled) = (c.varint_u64()?, c.varint_u64()?);
    let (timestamp, watermark) = (c.varint_i64()?, c.varint_i64()?);
    let mut values = Vec::with_capacity(columns);
    for _ in 0..columns {
        values.push(match c.u8()? {
            0 => None,
            1 => Some(c.varint_i128()?),
            _ => return Err(c.bad("a value begins with 0 or 1")),
        });
    }
    let mut kept_values = Vec::with_capacity(kept);
    for _ in 0..kept {
        kept_values.push(take_kept(c)?);
    }
    Ok(Pane {
        key,
        window,
        timing,
        first: flags & 4 != 0,
        last: flags & 8 != 0,
        retraction: flags & 16 != 0,
        index,
        settled_index: settled.checked_sub(1),
        timestamp: EventTime::from_millis(timestamp),
        watermark: Some(EventTime::from_millis(watermark)).filter(|w| *w != EventTime::MIN),
        columns: values,
        kept: kept_values,
    })
}

fn take_text(c: &mut Cursor<'_>) -> Result<Vec<u8>, WireError> {
    let len = c.count(1)?;
    Ok(c.take(len)?.to_vec())
}

fn take_kept(c: &mut Cursor<'_>) -> Result<KeptValue, WireError> {
    Ok(match c.u8()? {
        0 => KeptValue::None,
        1 => KeptValue::Text(take_text(c)?),
        2 => {
            let left_out = c.varint_u64()?;
            let n = c.count(1)?;
            let values = (0..n).map(|_| take_text(c)).collect::<Result<_, _>>()?;
            KeptValue::List { values, left_out }
        }
        3 => KeptValue::Estimate(c.varint_i128()?),
        4 => {
            let n = c.count(2)?;
            let values = (0..n).map(|_| Ok((take_text(c)?, c.varint_u64()?))).collect::<Result<_, WireError>>()?;
            KeptValue::Top(values)
        }
        _ => return Err(c.bad("unknown kind of kept value")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn sample() -> Panes {
        let pane = Pane {
            key: b"[\"a\"]".to_vec(),
            window: Window { start: EventTime::from_millis(-10), end: EventTime::from_millis(0) },
            timing: Timing::OnTime,
            first: true,
            last: false,
            retraction: true,
            index: 3,
            settled_index: Some(0),
            timestamp: EventTime::from_millis(-1),
            watermark: None,
            columns: vec![Some(i128::from(i64::MIN) * 3), None],
            kept: vec![
                KeptValue::None,
                KeptValue::Text(b"\"x\"".to_vec()),
                KeptValue::List { values: vec![b"1".to_vec(), Vec::new()], left_out: 2 },
                KeptValue::Estimate(-4),
                KeptValue::Top(vec![(b"true".to_vec(), 9)]),
            ],
        };
        let early = Pane { timing: Timing::Early, settled_index: None, window: Window::GLOBAL, ..pane.clone() };
        Panes { columns: 2, kept: 5, expired: 1, closed: 7, panes: vec![pane, early] }
    }

    #[test]
    fn panes_come_back() {
        let mut out = Vec::new();
        encode(&sample(), &mut out);
        assert_eq!(decode(&out), Ok(sample()));
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_refused() {
        let mut out = Vec::new();
        encode(&sample(), &mut out);
        for i in 0..out.len() {
            assert!(decode(&out[..i]).is_err(), "cut at {i}");
            for bit in 0..8 {
                let mut bad = out.clone();
                bad[i] ^= 1 << bit;
                assert!(decode(&bad).is_err(), "byte {i} bit {bit}");
            }
        }
    }
}
