//! A record's bytes become an event: time, arrival, key and measured values, or the reason why not.
//!
//! Invariants
//! - The whole record is checked, fields that nobody wants too (`json`).
//! - The key is the canonical JSON array of the key fields' values: one key has one text, and attackers' text is
//!   escaped in it.
//! - No allocation per record on the common path: the buffers here are reused.
//!
//! Limits: event and arrival times within ±8.64e15 ms (the year 275,760), unless they are milliseconds whose unit is not
//! checked.
//!
//! Not here: what the event counts for (`engine`).

mod computing;
mod datetime;
mod key;

pub(crate) use datetime::date;
pub use datetime::parse as parse_rfc3339;
pub use key::{AFTER, RecordKey, hash as hash_key};

use crate::account::Reason;
use crate::decimal::{Decimal, Unscaled};
use crate::json::{self, Data, ScanErrorKind, Scanner, Slot};
use crate::panes::hash;
use crate::policy::{Measure, Op, Path, Policy, Strategy, TimeField, TimeUnit, Windowing, limits};
use crate::time::{ArrivalTime, EventTime, TimeDelta};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use computing::{Computing, Verdict};

/// Greatest magnitude of a time, in milliseconds: what a JavaScript `Date` holds.
pub const TIME_MS_MAX: i64 = 8_640_000_000_000_000;

/// What is wrong with a record, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Why it is refused.
    pub reason: Reason,
    /// Which wanted field is at fault: an index of `Decoder::fields`.
    pub field: Option<u16>,
    /// At which byte of the buffer.
    pub at: usize,
}

/// What a record says; key and values stay in the decoder until the next record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it happened.
    pub time: EventTime,
    /// When it arrived.
    pub arrival: Option<ArrivalTime>,
    /// The byte after the record.
    pub next: usize,
    /// Whether it counts.
    pub passed: Passed,
}

/// What the policy's filter says to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// It counts.
    Yes,
    /// It does not, but it tells the time as every record does. It has no key and no values.
    No,
    /// It does not, and its time cannot be read.
    Timeless,
}

/// Decodes records for one policy.
pub struct Decoder {
    scanner: Scanner,
    slots: Vec<Slot>,
    fields: Vec<Path>,
    time: Clock,
    arrival: Option<Clock>,
    keys: Vec<usize>,
    /// The measures that read a field, by their number.
    measures: Vec<(usize, Reading)>,
    /// How many of the fields are the record's own; the others are computed.
    own: usize,
    computing: Option<Box<Computing>>,
    record_bytes: usize,
    key_bytes: usize,
    key: RecordKey,
    values: Vec<Option<i64>>,
    gap_slot: Option<usize>,
    gap: Option<TimeDelta>,
    source_slot: Option<usize>,
    source: u64,
    /// Whether a record has a gap, a source or kept values to be read.
    more: bool,
    kept_slots: Vec<usize>,
    kept: Vec<Option<Vec<u8>>>,
    /// Scratch.
    text: Vec<u8>,
}

/// How a measure reads its field.
#[derive(Clone, Copy, Debug)]
struct Reading {
    op: Op,
    slot: usize,
    scale: Option<u32>,
    /// An integer is its own value.
    plain: bool,
}

#[derive(Clone, Copy, Debug)]
struct Clock {
    slot: usize,
    unit: TimeUnit,
    check: bool,
}

/// Where the values of a policy's fields come.
struct Slots<'a> {
    fields: &'a [Path],
    own: usize,
    policy: &'a Policy,
}

impl Slots<'_> {
    /// Of a field of the record.
    #[inline(never)]
    fn own(&self, p: &Path) -> usize {
        self.fields[..self.own].iter().position(|f| f == p).expect("all wanted fields are there")
    }

    /// Of one that may be computed.
    #[inline(never)]
    fn any(&self, p: &Path) -> usize {
        self.policy.computed(p).map_or_else(|| self.own(p), |i| self.own + i)
    }
}

impl Decoder {
    /// A decoder for a policy's fields.
    pub fn new(policy: &Policy) -> Self {
        let spec = policy.spec();
        let mut fields: Vec<Path> = Vec::new();
        let gap_field = match &spec.window {
            Windowing::Session { gap_field, .. } => gap_field.as_ref(),
            _ => None,
        };
        let mut wanted = Vec::from([&spec.input.time.field]);
        wanted.extend(spec.input.arrival.iter().map(|a| &a.field));
        let fair = matches!(spec.watermark.strategy, Strategy::Quantile { per_source: Some(_), .. });
        let source = spec.input.source.as_ref().filter(|_| fair);
        wanted.extend(source);
        let times = wanted.len();
        wanted.extend(&spec.input.key);
        wanted.extend(gap_field);
        wanted.extend(spec.kept.iter().map(|k| &k.field));
        wanted.extend(spec.measures.iter().filter_map(|m| m.field.as_ref()));
        let plain = wanted.len();
        for e in spec.filter.iter().chain(spec.fields.iter().map(|f| &f.value)) {
            wanted.append(&mut e.wants());
        }
        for (i, p) in wanted.iter().enumerate() {
            let computed = (times..plain).contains(&i) && policy.computed(p).is_some();
            if !computed && !fields.contains(p) {
                fields.push((*p).clone());
            }
        }
        let own = fields.len();
        fields.extend(spec.fields.iter().map(|f| alloc::vec![f.name.clone()]));
        let slots = Slots { fields: &fields, own, policy };
        let clock = |f: &TimeField| Clock { slot: slots.own(&f.field), unit: f.unit, check: f.unit_check };
        let time = clock(&spec.input.time);
        let arrival = spec.input.arrival.as_ref().map(clock);
        let keys: Vec<usize> = spec.input.key.iter().map(|p| slots.any(p)).collect();
        let source_slot = source.map(|p| slots.own(p));
        let gap_slot = gap_field.map(|p| slots.own(p));
        let kept_slots: Vec<usize> = spec.kept.iter().map(|k| slots.any(&k.field)).collect();
        let read = |(i, m): (usize, &Measure)| {
            let slot = slots.any(m.field.as_ref()?);
            let plain = matches!(m.op, Op::Sum | Op::Min | Op::Max) && m.scale.is_none();
            Some((i, Reading { op: m.op, slot, scale: m.scale, plain }))
        };
        let measures: Vec<(usize, Reading)> = spec.measures.iter().enumerate().filter_map(read).collect();
        let computes = spec.filter.is_some() || !spec.fields.is_empty();
        // What is nothing but a part of the key is never counted with.
        let others = [Some(time.slot), arrival.map(|clock| clock.slot), gap_slot, source_slot];
        let only_key = |slot| {
            !computes
                && keys.contains(&slot)
                && !others.contains(&Some(slot))
                && !kept_slots.contains(&slot)
                && measures.iter().all(|(_, reading)| reading.slot != slot)
        };
        let computing = computes.then(|| Box::new(Computing::new(spec, own, &|p| slots.own(p))));
        Self {
            scanner: Scanner::with_digits(&fields[..own], &only_key),
            slots: alloc::vec![Slot::Missing; fields.len()],
            time,
            arrival,
            key: RecordKey::new(keys.len(), u64::from_le_bytes(*policy.digest().first_chunk().expect("8 bytes of 32"))),
            keys,
            record_bytes: spec.limits.record_bytes as usize,
            key_bytes: spec.limits.key_bytes as usize,
            // Those without a field count the record.
            values: alloc::vec![Some(1); spec.measures.len()],
            measures,
            own,
            computing,
            more: gap_slot.is_some() || source_slot.is_some() || !kept_slots.is_empty(),
            gap_slot,
            gap: None,
            source_slot,
            source: 0,
            kept: alloc::vec![None; kept_slots.len()],
            kept_slots,
            text: Vec::new(),
            fields,
        }
    }

    /// The wanted fields; `Fault::field` and a dead letter's `field` are indexes of these.
    pub fn fields(&self) -> &[Path] {
        &self.fields
    }

    /// Whether the policy has a filter or computed fields: then records are decoded by `decode_apart`.
    #[inline(always)]
    pub fn computes(&self) -> bool {
        self.computing.is_some()
    }

    /// Decodes the record at `at`. `carried` is the arrival time that came with it; a field of the record goes first.
    ///
    /// # Panics
    /// If the policy has a filter or computed fields: `decode_apart` is for all.
    // All of the usual path is inlined into the caller's loop: in a module, a call costs as much as a field.
    #[inline(always)]
    pub fn decode(&mut self, data: &Data<'_>, at: usize, carried: Option<ArrivalTime>) -> Result<Event, Fault> {
        assert!(!self.computes(), "`decode_apart` is for policies that compute");
        self.decode_as::<false>(data, at, carried)
    }

    #[inline(always)]
    fn decode_as<const COMPUTES: bool>(
        &mut self,
        data: &Data<'_>,
        at: usize,
        carried: Option<ArrivalTime>,
    ) -> Result<Event, Fault> {
        // Without computed ones all slots are the record's own; the scanner asks for just these.
        let slots = if COMPUTES { &mut self.slots[..self.own] } else { &mut self.slots[..] };
        let (buf, next) = (data.buf(), self.scanner.scan_in(data, at, slots).map_err(fault)?);
        if next - at > self.record_bytes {
            return Err(self.too_long(at));
        }
        if COMPUTES && !self.compute(buf, at)? {
            // It moves the watermark as others do.
            self.read_source(buf);
            return Ok(self.left_out(buf, at, next, carried));
        }
        let time = EventTime::from_millis(self.read_time(&self.time, buf, at)?);
        let arrival = match &self.arrival {
            None => carried,
            Some(clock) => Some(ArrivalTime::from_millis(self.read_time(clock, buf, at)?)),
        };
        self.read_values(buf, at)?;
        if self.more {
            self.read_gap(buf, at)?;
            self.read_kept(buf, at)?;
            self.read_source(buf);
        }
        self.read_key(buf, at)?;
        Ok(Event { time, arrival, next, passed: Passed::Yes })
    }

    #[cold]
    fn too_long(&self, at: usize) -> Fault {
        Fault { reason: Reason::TooLong, field: None, at: at + self.record_bytes }
    }

    /// Computes fields; whether the filter lets the record through.
    #[inline(never)]
    fn compute(&mut self, buf: &[u8], at: usize) -> Result<bool, Fault> {
        let Some(computing) = &mut self.computing else { return Ok(true) };
        match computing.record(buf, &mut self.slots) {
            Verdict::Passed => Ok(true),
            Verdict::LeftOut => Ok(false),
            Verdict::Faulty(reason, field) => Err(Fault { reason, field, at }),
        }
    }

    /// What is known of a record that does not count.
    #[inline(never)]
    fn left_out(&self, buf: &[u8], at: usize, next: usize, carried: Option<ArrivalTime>) -> Event {
        let ms = |clock: &Clock| self.read_other_time(clock, buf, at).ok();
        let arrival = match &self.arrival {
            None => Some(carried),
            Some(clock) => ms(clock).map(|ms| Some(ArrivalTime::from_millis(ms))),
        };
        let (time, arrival, passed) = match (ms(&self.time), arrival) {
            (Some(time), Some(arrival)) => (time, arrival, Passed::No),
            _ => (0, None, Passed::Timeless),
        };
        Event { time: EventTime::from_millis(time), arrival, next, passed }
    }

    /// The same as a call, for every policy.
    #[inline(never)]
    pub fn decode_apart(&mut self, data: &Data<'_>, at: usize, carried: Option<ArrivalTime>) -> Result<Event, Fault> {
        self.decode_as::<true>(data, at, carried)
    }

    /// The key of the last record decoded.
    #[inline(always)]
    pub fn key(&self) -> &RecordKey {
        &self.key
    }

    /// The values of the last record decoded, in the order of the policy's measures; a count's is `Some(1)`.
    #[inline]
    pub fn values(&self) -> &[Option<i64>] {
        &self.values
    }

    /// The session gap of the last record decoded, where it had one of its own.
    #[inline]
    pub fn gap(&self) -> Option<TimeDelta> {
        self.gap
    }

    /// 64 bits that stand for who sent the last record decoded, where the policy's watermark asks for it; 0 where that is
    /// no text, integer or truth value, or is not there.
    #[inline]
    pub fn source(&self) -> u64 {
        self.source
    }

    /// The values to be kept of the last record decoded, as canonical JSON scalars; `None` where null.
    #[inline]
    pub fn kept(&self) -> &[Option<Vec<u8>>] {
        &self.kept
    }

    fn read_gap(&mut self, buf: &[u8], at: usize) -> Result<(), Fault> {
        let Some(slot) = self.gap_slot else { return Ok(()) };
        let fault = |reason| Fault { reason, field: Some(slot as u16), at };
        self.gap = match self.slots[slot] {
            Slot::Missing | Slot::Null => None,
            Slot::Int(ms) if (0..=limits::SPAN_MAX.as_millis()).contains(&ms) => Some(TimeDelta::from_millis(ms)),
            Slot::Int(_) => return Err(fault(Reason::OutOfRange)),
            other => return Err(fault(wrong_number(other, buf))),
        };
        Ok(())
    }

    #[inline(never)]
    fn read_source(&mut self, buf: &[u8]) {
        let Some(slot) = self.source_slot else { return };
        let mut text = Vec::new();
        // Who sent it changes nothing of what a record counts: no record is refused for it.
        let known = scalar(self.slots[slot], buf, &mut self.text, &mut text).is_ok();
        self.source = if known { hash(&text).max(1) } else { 0 };
    }

    fn read_kept(&mut self, buf: &[u8], at: usize) -> Result<(), Fault> {
        for i in 0..self.kept_slots.len() {
            let slot = self.kept_slots[i];
            let mut text = self.kept[i].take().unwrap_or_default();
            text.clear();
            let buf = source(&self.computing, self.own, slot, buf);
            self.kept[i] = match self.slots[slot] {
                Slot::Null => None,
                Slot::Missing => {
                    return Err(Fault { reason: Reason::MissingField, field: Some(slot as u16), at });
                }
                Slot::Number { start, end } => {
                    text.extend_from_slice(&buf[start as usize..end as usize]);
                    Some(text)
                }
                other => {
                    scalar(other, buf, &mut self.text, &mut text).map_err(|reason| Fault {
                        reason,
                        field: Some(slot as u16),
                        at,
                    })?;
                    Some(text)
                }
            };
        }
        Ok(())
    }

    #[inline(always)]
    fn read_time(&self, clock: &Clock, buf: &[u8], at: usize) -> Result<i64, Fault> {
        match self.slots[clock.slot] {
            // The usual, for which no check is left.
            Slot::Int(n) if clock.unit == TimeUnit::Ms && in_this_century(n, 1_000) => Ok(n),
            _ => self.read_other_time(clock, buf, at),
        }
    }

    #[inline(never)]
    fn read_other_time(&self, clock: &Clock, buf: &[u8], at: usize) -> Result<i64, Fault> {
        let fault = |reason| Fault { reason, field: Some(clock.slot as u16), at };
        let slot = self.slots[clock.slot];
        let ms = match (clock.unit, slot) {
            (TimeUnit::Rfc3339, _) => text_time(slot, buf).map_err(fault)?,
            (unit, Slot::Int(n)) => {
                if clock.check && suspect(unit, n) {
                    return Err(fault(Reason::UnitSuspect));
                }
                match unit {
                    TimeUnit::S => n.checked_mul(1_000).ok_or_else(|| fault(Reason::OutOfRange))?,
                    TimeUnit::Us => n.div_euclid(1_000),
                    TimeUnit::Ns => n.div_euclid(1_000_000),
                    _ => n,
                }
            }
            (_, other) => return Err(fault(wrong_number(other, buf))),
        };
        // Whoever declares milliseconds of any kind gets all of them but the one that stands for 'none'.
        let any = clock.unit == TimeUnit::Ms && !clock.check && ms != i64::MIN;
        if !any && !(-TIME_MS_MAX..=TIME_MS_MAX).contains(&ms) {
            return Err(fault(Reason::OutOfRange));
        }
        Ok(ms)
    }

    #[inline(always)]
    fn read_values(&mut self, buf: &[u8], at: usize) -> Result<(), Fault> {
        let (slots, values) = (&self.slots[..], &mut self.values[..]);
        for (i, reading) in &self.measures {
            let slot = reading.slot;
            values[*i] = match slots[slot] {
                Slot::Int(n) if reading.plain => Some(n),
                other => {
                    let buf = source(&self.computing, self.own, slot, buf);
                    other_value(other, reading, buf).map_err(|reason| Fault { reason, field: Some(slot as u16), at })?
                }
            };
        }
        Ok(())
    }

    #[inline(always)]
    fn read_key(&mut self, buf: &[u8], at: usize) -> Result<(), Fault> {
        let ((parts, mut sum), slots) = (self.key.begin(), &self.slots[..]);
        for (part, slot) in parts.iter_mut().zip(&self.keys) {
            sum = match slots[*slot] {
                // As it stands in the key, quotes included. Texts that are computed have escapes.
                Slot::Str { start, end, escaped: false } => part.put(sum, buf, start as usize - 1, end as usize + 1),
                Slot::Digits { start, end } => part.put(sum, buf, start as usize, end as usize),
                Slot::Int(n @ 0..100_000_000) => part.put_short(sum, short_decimal(n as u32)),
                _ => return self.read_other_key(buf, at),
            };
        }
        self.key.end(sum);
        if self.key.bytes() > self.key_bytes {
            Err(Fault { reason: Reason::KeyTooLong, field: None, at })
        } else {
            Ok(())
        }
    }

    /// A key of which not all is a number or a text that stands so in the record.
    #[inline(never)]
    fn read_other_key(&mut self, buf: &[u8], at: usize) -> Result<(), Fault> {
        let (_, mut sum) = self.key.begin();
        for i in 0..self.keys.len() {
            let slot = self.keys[i];
            sum = match self.slots[slot] {
                Slot::Int(n @ 0..100_000_000) => self.key.put_short(i, sum, short_decimal(n as u32)),
                Slot::Str { start, end, escaped: false } => {
                    self.key.put(i, sum, buf, start as usize - 1, end as usize + 1)
                }
                Slot::Digits { start, end } => self.key.put(i, sum, buf, start as usize, end as usize),
                other => {
                    let (buf, scratch) = (source(&self.computing, self.own, slot, buf), &mut self.text);
                    let fault = |reason| Fault { reason, field: Some(slot as u16), at };
                    self.key.put_own(i, sum, |out| scalar(other, buf, scratch, out)).map_err(fault)?
                }
            };
        }
        self.key.end(sum);
        if self.key.bytes() > self.key_bytes {
            Err(Fault { reason: Reason::KeyTooLong, field: None, at })
        } else {
            Ok(())
        }
    }

    /// A fault in words, for dead letters and people.
    pub fn explain(&self, reason: Reason, field: Option<u16>, at: u32) -> String {
        let name = field.and_then(|f| self.fields.get(usize::from(f))).map_or_else(String::new, |p| p.join("."));
        match reason {
            Reason::Malformed => alloc::format!("not one JSON object: fault at byte {at}"),
            Reason::MissingField => alloc::format!("the field `{name}` is missing"),
            Reason::WrongType => {
                alloc::format!("the field `{name}` holds a value of another type than the policy wants")
            }
            Reason::NotInteger => alloc::format!("the field `{name}` holds a number that is no integer"),
            Reason::OutOfRange => alloc::format!("the field `{name}` holds a number out of range"),
            Reason::BadTime => alloc::format!("the field `{name}` holds no RFC 3339 time"),
            Reason::UnitSuspect => {
                alloc::format!("the time in `{name}` looks like another unit than the policy declares")
            }
            Reason::DuplicateField => alloc::format!("the field `{name}` stands twice"),
            Reason::TooLong => alloc::format!("longer than limits.record_bytes = {}", self.record_bytes),
            Reason::KeyTooLong => alloc::format!("its key is longer than limits.key_bytes = {}", self.key_bytes),
            Reason::BadUtf8 => alloc::format!("not UTF-8: fault at byte {at}"),
            Reason::TooDeep => alloc::format!("nested deeper than {} levels", json::DEPTH_MAX),
            Reason::NoRoom => String::from("as many windows are open as trigger.open_max allows"),
            Reason::FilterError if field.is_some() => {
                alloc::format!("`where` says nothing of it: the field `{name}` is missing or of another type")
            }
            Reason::FilterError => String::from(
                "`where` says nothing of it: an integer overflows or is divided by zero, or values of different types meet",
            ),
            Reason::ComputedError => alloc::format!(
                "the computed field `{name}` has no value: a field that it needs is missing or of another type, or an \
                 integer overflows or is divided by zero"
            ),
            Reason::TooPrecise => {
                alloc::format!("the field `{name}` holds a number with more decimals than the measure's scale")
            }
            Reason::Late => String::from("late, and late.to is \"dead_letters\""),
            Reason::Future => String::from("its clock is further ahead of its arrival than watermark.max_future"),
            Reason::ModuleTrap => String::from("the module trapped on it"),
            Reason::ModuleOutOfTime => String::from("the module did not end on it"),
        }
    }
}

/// What a slot points into.
fn source<'a>(computing: &'a Option<Box<Computing>>, own: usize, slot: usize, buf: &'a [u8]) -> &'a [u8] {
    match computing {
        Some(c) if slot >= own => c.texts(),
        _ => buf,
    }
}

/// What a measure counts of a value that is not simply its own.
#[inline(never)]
fn other_value(slot: Slot, reading: &Reading, buf: &[u8]) -> Result<Option<i64>, Reason> {
    let n = match (slot, reading.scale) {
        (Slot::Null, _) => return Ok(None),
        // Of any type: only whether it is there counts.
        (slot, _) if reading.op == Op::Count && slot != Slot::Missing => return Ok(Some(1)),
        (Slot::Int(n), None) => n,
        (Slot::Int(n), Some(scale)) => n.checked_mul(10i64.pow(scale)).ok_or(Reason::OutOfRange)?,
        (Slot::Number { start, end } | Slot::Str { start, end, escaped: false }, Some(scale)) => {
            let number = Decimal::read(&buf[start as usize..end as usize]).ok_or(Reason::WrongType)?;
            number.scaled(scale).map_err(|e| match e {
                Unscaled::Digits => Reason::TooPrecise,
                Unscaled::Range => Reason::OutOfRange,
            })?
        }
        (other, _) => return Err(wrong_number(other, buf)),
    };
    if reading.op == Op::Squares { n.checked_mul(n).map(Some).ok_or(Reason::OutOfRange) } else { Ok(Some(n)) }
}

/// Appends a text, integer or truth value as canonical JSON.
fn scalar(value: Slot, buf: &[u8], scratch: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), Reason> {
    match value {
        Slot::Str { start, end, escaped } => {
            let raw = &buf[start as usize..end as usize];
            out.push(b'"');
            if escaped {
                scratch.clear();
                json::unescape(raw, scratch).map_err(|_| Reason::Malformed)?;
                json::write_escaped(scratch, out);
            } else {
                out.extend_from_slice(raw);
            }
            out.push(b'"');
        }
        Slot::Int(n) => write_int(n, out),
        Slot::Bool(b) => out.extend_from_slice(if b { b"true" } else { b"false" }),
        other => return Err(wrong_number(other, buf)),
    }
    Ok(())
}

/// A time in RFC 3339. One that needs escapes is no time.
#[inline(never)]
fn text_time(slot: Slot, buf: &[u8]) -> Result<i64, Reason> {
    match slot {
        Slot::Str { start, end, escaped: false } => {
            datetime::parse(&buf[start as usize..end as usize]).ok_or(Reason::BadTime)
        }
        Slot::Str { .. } => Err(Reason::BadTime),
        other => Err(wrong(other, false)),
    }
}

#[cold]
fn fault(e: json::ScanError) -> Fault {
    let (reason, field) = match e.kind {
        ScanErrorKind::DuplicateField(slot) => (Reason::DuplicateField, Some(slot)),
        ScanErrorKind::BadUtf8 => (Reason::BadUtf8, None),
        ScanErrorKind::TooDeep => (Reason::TooDeep, None),
        _ => (Reason::Malformed, None),
    };
    Fault { reason, field, at: e.at }
}

#[cold]
fn wrong(slot: Slot, number_wanted: bool) -> Reason {
    match slot {
        Slot::Missing | Slot::Null => Reason::MissingField,
        Slot::Number { .. } if number_wanted => Reason::NotInteger,
        _ => Reason::WrongType,
    }
}

#[cold]
fn wrong_number(slot: Slot, buf: &[u8]) -> Reason {
    match slot {
        Slot::Number { start, end }
            if buf[start as usize..end as usize].iter().all(|b| b.is_ascii_digit() || *b == b'-') =>
        {
            Reason::OutOfRange
        }
        other => wrong(other, true),
    }
}

// Read in their true unit, suspects fall between 2000 and 2100; read in the declared one, into early 1970 or beyond the
// year 30,000. Honest times of those few weeks of 1970 need `unit_check = false`.
#[inline(always)]
fn suspect(unit: TimeUnit, n: i64) -> bool {
    let per_second: i64 = match unit {
        TimeUnit::S => 1,
        TimeUnit::Ms => 1_000,
        TimeUnit::Us => 1_000_000,
        TimeUnit::Ns => 1_000_000_000,
        TimeUnit::Rfc3339 => return false,
    };
    !in_this_century(n, per_second) && in_another_unit(n, per_second)
}

#[inline(always)]
fn in_this_century(n: i64, per_second: i64) -> bool {
    const FROM_S: i64 = 946_684_800;
    const TO_S: i64 = 4_102_444_800;
    n >= FROM_S.saturating_mul(per_second) && n < TO_S.saturating_mul(per_second)
}

#[cold]
fn in_another_unit(n: i64, per_second: i64) -> bool {
    [1, 1_000, 1_000_000, 1_000_000_000].into_iter().any(|other| other != per_second && in_this_century(n, other))
}

/// Appends an integer in decimal.
pub(crate) fn write_int(n: i64, out: &mut Vec<u8>) {
    let (digits, from) = decimal(n);
    out.extend_from_slice(&digits[from..]);
}

/// An integer in decimal: its digits end the array, and begin at the index.
#[inline(never)]
fn decimal(n: i64) -> ([u8; 25], usize) {
    const EIGHT: u64 = 100_000_000;
    let mut text = [0; 25];
    let mut at = 25 - 8;
    let mut rest = n.unsigned_abs();
    while rest >= EIGHT {
        text[at..at + 8].copy_from_slice(&(digits((rest % EIGHT) as u32) + ZEROS).to_le_bytes());
        rest /= EIGHT;
        at -= 8;
    }
    let (first, len) = short_decimal(rest as u32);
    at += 8 - len;
    text[at..at + len].copy_from_slice(&first.to_le_bytes()[..len]);
    if n < 0 {
        at -= 1;
        text[at] = b'-';
    }
    (text, at)
}

/// A number below 10^8 in decimal, zeros behind it; and how many digits it has.
#[inline(always)]
fn short_decimal(n: u32) -> (u64, usize) {
    let digits = digits(n);
    // The last digit stands even where it is a zero.
    let zeros = (digits | 1 << 56).trailing_zeros() / 8;
    ((digits + ZEROS) >> (8 * zeros), 8 - zeros as usize)
}

const ZEROS: u64 = u64::from_le_bytes(*b"00000000");

/// The eight digits of a number below 10^8, a byte each, the first in the lowest: halves are split three times, side by
/// side in one word.
fn digits(n: u32) -> u64 {
    let halves = u64::from(n / 10_000) | u64::from(n % 10_000) << 32;
    let hundreds = (halves * 10_486) >> 20 & 0x7f_0000_007f;
    let pairs = hundreds | (halves - 100 * hundreds) << 16;
    let tens = (pairs * 103) >> 10 & 0x000f_000f_000f_000f;
    tens | (pairs - 10 * tens) << 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    fn written(n: i64) -> Vec<u8> {
        let mut out = Vec::new();
        write_int(n, &mut out);
        out
    }

    #[test]
    fn integers_of_every_length_are_written() {
        for power in 0u32..19 {
            for n in [10i64.pow(power) - 1, 10i64.pow(power), 10i64.pow(power) + 1, 7 * 10i64.pow(power / 2)] {
                assert_eq!(written(n), n.to_string().into_bytes());
                assert_eq!(written(-n), (-n).to_string().into_bytes());
            }
        }
        for n in (0..10_000).chain([i64::MAX, i64::MIN]) {
            assert_eq!(written(n), n.to_string().into_bytes());
        }
    }

    proptest! {
        #[test]
        fn integers_are_written(n in any::<i64>(), shift in 0u32..64) {
            prop_assert_eq!(written(n >> shift), (n >> shift).to_string().into_bytes());
        }
    }
}
