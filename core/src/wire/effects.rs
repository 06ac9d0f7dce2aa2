//! Effects: what a flush of the engine gives out. Rows' deltas, dead letters and the accounting behind them.
//!
//! ```text
//! "PLE1"  u32 length of all  u32 CRC-32 of what follows
//! u16 measures  u16 0
//! i64 watermark  i64 greatest arrival  i64 greatest event time         -2^63: none yet
//! 10 x varint: read counted late future rejected filtered duplicate late_dropped late_accepted future_counted
//! varint n, n x (u16 reason, varint count)                              ascending by reason
//!   the last may be 65535: of the records counted, those in overflow rows
//! varint groups, each:
//!   u8 table (0 main, 1 late, 2 late of unknown arrival)  varint-signed start  varint-signed end
//!   varint-signed arrival day (table 1 only)  varint rows, each:
//!     varint key length, key, per measure: u8 0 | u8 1 and varint-signed value
//! varint dead letters, each:
//!   varint ordinal  u16 reason  u16 field (65535: none)  varint at  u8 has arrival, varint-signed arrival
//!   varint full length  varint raw length, raw
//! ```
//! The accounting is that of the records since the flush before.
//!
//! Invariants
//! - Groups ascend by (end, start, table, day), rows in a group by key, dead letters by ordinal: one content, one
//!   encoding, and the reader refuses anything else.
//! - No window ends before its start; no key is empty; no two rows of a group have one key.

use super::WireError;
use super::checksum::crc32;
use super::varint::{Cursor, put_i64, put_i128, put_u64};
use crate::account::{Account, Reason};
use crate::time::{ArrivalTime, EventTime};
use alloc::vec::Vec;

/// The first bytes.
pub const MAGIC: [u8; 4] = *b"PLE1";
/// Magic, length and checksum.
pub const HEADER: usize = 12;
/// No total is greater than this in magnitude: 10^30, so that 38 digits hold sums of totals.
pub const VALUE_MAX: i128 = 1_000_000_000_000_000_000_000_000_000_000;

/// All that one flush gives out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effects {
    /// Values per row.
    pub measures: usize,
    /// How far event time has come.
    pub progress: Progress,
    /// Where the records since the flush before went.
    pub account: Account,
    /// Deltas per table, window and key.
    pub groups: Vec<Group>,
    /// Records set aside.
    pub dead: Vec<DeadLetter>,
}

/// How far event time has come on a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Nothing with an earlier event time is expected any more.
    pub watermark: Option<EventTime>,
    /// Greatest arrival time seen.
    pub arrival: Option<ArrivalTime>,
    /// Greatest event time counted.
    pub event: Option<EventTime>,
}

/// Which rows. In the order of their numbers on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Table {
    /// The windows' own rows.
    Main,
    /// Late records, by the day they arrived: whole days since 1970-01-01 UTC, `None` where no arrival is known.
    Late {
        /// The day.
        day: Option<i64>,
    },
}

/// The rows of one table and window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Which table.
    pub table: Table,
    /// First instant of the window.
    pub start: EventTime,
    /// First instant after the window.
    pub end: EventTime,
    /// Ascending by key.
    pub rows: Vec<Row>,
}

/// What is to be added to one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Canonical JSON array of the key's values.
    pub key: Vec<u8>,
    /// In the order of the policy's measures; `None` where no record had a value. Counts and sums are deltas, min and
    /// max candidates.
    pub values: Vec<Option<i128>>,
}

/// A record set aside, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The source's number for it.
    pub ordinal: u64,
    /// Why.
    pub reason: Reason,
    /// Which wanted field is at fault: its index in `Decoder::fields`.
    pub field: Option<u16>,
    /// At which byte of the record.
    pub at: u32,
    /// When it arrived.
    pub arrival: Option<ArrivalTime>,
    /// Its length in bytes; `raw` holds at most `limits.dead_letter_bytes` of them.
    pub full_len: u64,
    /// Its first bytes.
    pub raw: Vec<u8>,
}

/// Appends the encoding of `e`.
pub fn encode(e: &Effects, out: &mut Vec<u8>) {
    let mut w = Writer::begin(out, e.measures, e.progress, &e.account);
    w.groups(e.groups.len());
    for g in &e.groups {
        w.group(g.table, g.start, g.end, g.rows.len());
        for r in &g.rows {
            w.row(&r.key, r.values.iter().copied());
        }
    }
    w.dead(e.dead.len());
    for d in &e.dead {
        w.dead_letter(d);
    }
    w.finish();
}

/// Writes effects piece by piece, in their order, without building them first.
pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    at: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn begin(out: &'a mut Vec<u8>, measures: usize, p: Progress, a: &Account) -> Self {
        let at = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&(measures as u16).to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        for t in [
            p.watermark.map(EventTime::as_millis),
            p.arrival.map(ArrivalTime::as_millis),
            p.event.map(EventTime::as_millis),
        ] {
            out.extend_from_slice(&t.unwrap_or(i64::MIN).to_le_bytes());
        }
        put_account(out, a);
        Self { out, at }
    }

    pub(crate) fn groups(&mut self, n: usize) {
        put_u64(self.out, n as u64);
    }

    pub(crate) fn group(&mut self, table: Table, start: EventTime, end: EventTime, rows: usize) {
        let (code, day) = match table {
            Table::Main => (0, None),
            Table::Late { day: Some(day) } => (1, Some(day)),
            Table::Late { day: None } => (2, None),
        };
        self.out.push(code);
        put_i64(self.out, start.as_millis());
        put_i64(self.out, end.as_millis());
        if let Some(day) = day {
            put_i64(self.out, day);
        }
        put_u64(self.out, rows as u64);
    }

    pub(crate) fn row(&mut self, key: &[u8], values: impl Iterator<Item = Option<i128>>) {
        put_u64(self.out, key.len() as u64);
        self.out.extend_from_slice(key);
        for v in values {
            match v {
                None => self.out.push(0),
                Some(v) => {
                    self.out.push(1);
                    put_i128(self.out, v);
                }
            }
        }
    }

    pub(crate) fn dead(&mut self, n: usize) {
        put_u64(self.out, n as u64);
    }

    pub(crate) fn dead_letter(&mut self, d: &DeadLetter) {
        put_u64(self.out, d.ordinal);
        self.out.extend_from_slice(&(d.reason as u16).to_le_bytes());
        self.out.extend_from_slice(&d.field.unwrap_or(u16::MAX).to_le_bytes());
        put_u64(self.out, u64::from(d.at));
        match d.arrival {
            None => self.out.push(0),
            Some(a) => {
                self.out.push(1);
                put_i64(self.out, a.as_millis());
            }
        }
        put_u64(self.out, d.full_len);
        put_u64(self.out, d.raw.len() as u64);
        self.out.extend_from_slice(&d.raw);
    }

    pub(crate) fn finish(self) {
        let len = (self.out.len() - self.at) as u32;
        let sum = crc32(&self.out[self.at + HEADER..]);
        self.out[self.at + 4..self.at + 8].copy_from_slice(&len.to_le_bytes());
        self.out[self.at + 8..self.at + 12].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Stands in the place of a reason, after all of them, before the number of records in overflow rows.
const OVERFLOW: u16 = u16::MAX;

/// Appends an account: its columns, then its reasons, and behind these what stands in overflow rows, if anything does.
pub(crate) fn put_account(out: &mut Vec<u8>, a: &Account) {
    for n in a.columns() {
        put_u64(out, n);
    }
    let overflow = Some((OVERFLOW, a.overflow)).filter(|(_, n)| *n > 0);
    put_u64(out, (a.reasons.len() + usize::from(overflow.is_some())) as u64);
    for (code, n) in a.reasons.iter().map(|(reason, n)| (*reason as u16, *n)).chain(overflow) {
        out.extend_from_slice(&code.to_le_bytes());
        put_u64(out, n);
    }
}

/// Reads an account.
pub(crate) fn take_account(c: &mut Cursor<'_>) -> Result<Account, WireError> {
    let mut a = Account::default();
    for n in a.columns_mut() {
        *n = c.varint_u64()?;
    }
    let mut last = 0;
    for _ in 0..c.count(3)? {
        let code = c.u16()?;
        let reason = Reason::from_code(code);
        if code <= last || (reason.is_none() && code != OVERFLOW) {
            return Err(c.bad("unknown reason, or not in order"));
        }
        last = code;
        let n = c.varint_u64()?;
        if n == 0 {
            return Err(c.bad("a reason without records"));
        }
        match reason {
            Some(reason) => {
                a.reasons.insert(reason, n);
            }
            None => a.overflow = n,
        }
    }
    if !a.balanced() {
        return Err(c.bad("the classes do not add up to the records read"));
    }
    Ok(a)
}

/// How long effects say they are, that begin these bytes.
pub(crate) fn length(bytes: &[u8]) -> Option<usize> {
    let len = bytes.get(MAGIC.len()..MAGIC.len() + 4)?;
    Some(u32::from_le_bytes(len.try_into().ok()?) as usize)
}

/// Reads effects that may be hostile.
pub fn decode(bytes: &[u8]) -> Result<Effects, WireError> {
    let mut c = Cursor::new(bytes, "effects");
    if c.array::<4>()? != MAGIC {
        return Err(WireError::Bad { what: "effects", at: 0, problem: "does not begin with PLE1" });
    }
    if c.u32()? as usize != bytes.len() {
        return Err(c.bad("length differs from the bytes at hand"));
    }
    let sum = c.u32()?;
    if crc32(&bytes[HEADER..]) != sum {
        return Err(c.bad("checksum does not match"));
    }
    let measures = usize::from(c.u16()?);
    if measures == 0 || measures > crate::policy::limits::MEASURES_MAX || c.u16()? != 0 {
        return Err(c.bad("1 to 32 measures expected"));
    }
    let mut time = || -> Result<Option<i64>, WireError> { Ok(Some(c.i64()?).filter(|t| *t != i64::MIN)) };
    let (watermark, arrival, event) = (time()?, time()?, time()?);
    let progress = Progress {
        watermark: watermark.map(EventTime::from_millis),
        arrival: arrival.map(ArrivalTime::from_millis),
        event: event.map(EventTime::from_millis),
    };
    let account = take_account(&mut c)?;
    let mut groups = Vec::new();
    for _ in 0..c.count(5)? {
        let g = take_group(&mut c, measures)?;
        let order = |g: &Group| (g.end, g.start, g.table);
        if groups.last().is_some_and(|l| order(l) >= order(&g)) {
            return Err(c.bad("groups must ascend by end, start, table and day"));
        }
        groups.push(g);
    }
    let mut dead: Vec<DeadLetter> = Vec::new();
    for _ in 0..c.count(10)? {
        let d = take_dead_letter(&mut c)?;
        if dead.last().is_some_and(|l| l.ordinal >= d.ordinal) {
            return Err(c.bad("dead letters must ascend by ordinal"));
        }
        dead.push(d);
    }
    c.end()?;
    Ok(Effects { measures, progress, account, groups, dead })
}

fn take_group(c: &mut Cursor<'_>, measures: usize) -> Result<Group, WireError> {
    let code = c.u8()?;
    let start = EventTime::from_millis(c.varint_i64()?);
    let end = EventTime::from_millis(c.varint_i64()?);
    if start > end {
        return Err(c.bad("a window must not end before its start"));
    }
    let table = match code {
        0 => Table::Main,
        1 => Table::Late { day: Some(c.varint_i64()?) },
        2 => Table::Late { day: None },
        _ => return Err(c.bad("unknown table")),
    };
    let n = c.count(2 + measures)?;
    if n == 0 {
        return Err(c.bad("a group without rows"));
    }
    let mut rows: Vec<Row> = Vec::with_capacity(n);
    for _ in 0..n {
        let len = c.count(1)?;
        let key = c.take(len)?.to_vec();
        if key.is_empty() || rows.last().is_some_and(|l| l.key >= key) {
            return Err(c.bad("keys must not be empty and must ascend"));
        }
        let mut values = Vec::with_capacity(measures);
        for _ in 0..measures {
            values.push(match c.u8()? {
                0 => None,
                1 => Some(c.varint_i128()?)
                    .filter(|v| v.unsigned_abs() <= VALUE_MAX as u128)
                    .map(Some)
                    .ok_or_else(|| c.bad("a value over 10^30"))?,
                _ => return Err(c.bad("a value begins with 0 or 1")),
            });
        }
        rows.push(Row { key, values });
    }
    Ok(Group { table, start, end, rows })
}

fn take_dead_letter(c: &mut Cursor<'_>) -> Result<DeadLetter, WireError> {
    let ordinal = c.varint_u64()?;
    let reason = Reason::from_code(c.u16()?).ok_or_else(|| c.bad("unknown reason"))?;
    let field = Some(c.u16()?).filter(|f| *f != u16::MAX);
    let at = u32::try_from(c.varint_u64()?).map_err(|_| c.bad("a place over 32 bits"))?;
    let arrival = match c.u8()? {
        0 => None,
        1 => Some(ArrivalTime::from_millis(c.varint_i64()?)),
        _ => return Err(c.bad("an arrival begins with 0 or 1")),
    };
    let full_len = c.varint_u64()?;
    let len = c.count(1)?;
    if len as u64 > full_len {
        return Err(c.bad("more raw bytes than the record had"));
    }
    Ok(DeadLetter { ordinal, reason, field, at, arrival, full_len, raw: c.take(len)?.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn sample() -> Effects {
        let mut account = Account { read: 4, counted: 2, late: 1, overflow: 1, ..Account::default() };
        account.reject(Reason::BadTime);
        let row = |k: &str, v: i128| Row { key: k.as_bytes().to_vec(), values: alloc::vec![Some(v), None] };
        let group = |table, start, rows| Group {
            table,
            start: EventTime::from_millis(start),
            end: EventTime::from_millis(start + 10),
            rows,
        };
        Effects {
            measures: 2,
            progress: Progress {
                watermark: Some(EventTime::from_millis(-7)),
                arrival: None,
                event: Some(EventTime::from_millis(9)),
            },
            account,
            groups: alloc::vec![
                group(Table::Late { day: Some(-1) }, -10, alloc::vec![row("[\"a\"]", -3)]),
                group(Table::Main, 0, alloc::vec![row("[\"a\"]", i128::from(i64::MAX) * 3), row("[\"b\"]", 0)]),
            ],
            dead: alloc::vec![DeadLetter {
                ordinal: 3,
                reason: Reason::BadTime,
                field: Some(1),
                at: 9,
                arrival: Some(ArrivalTime::from_millis(5)),
                full_len: 100,
                raw: b"{\"ts\":\"x\"".to_vec(),
            }],
        }
    }

    #[test]
    fn effects_come_back() {
        let e = sample();
        let mut out = Vec::new();
        encode(&e, &mut out);
        assert_eq!(decode(&out), Ok(e));
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

    #[test]
    fn a_lying_order_is_refused_though_its_checksum_is_right() {
        let swap: [fn(&mut Effects); 6] = [
            |e| e.groups.swap(0, 1),
            |e| e.groups[1].rows.swap(0, 1),
            |e| e.groups[1].start = EventTime::MAX,
            |e| e.groups[1].rows.clear(),
            |e| e.account.counted += 1,
            |e| e.dead[0].full_len = 1,
        ];
        for (i, f) in swap.into_iter().enumerate() {
            let mut e = sample();
            f(&mut e);
            let mut out = Vec::new();
            encode(&e, &mut out);
            assert!(decode(&out).is_err(), "lie {i}");
        }
    }
}
