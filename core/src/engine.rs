//! The engine: frames in, effects out. One per lane; `(state, input) -> (state, output)` and nothing else.
//!
//! ```text
//! frame -> decode -> filter? -> future? -> watermark -> late? -> window -> pending -> flush -> effects
//! ```
//! For each record, in this order: it is decoded (else *rejected*); its arrival moves the greatest arrival; if its clock
//! is too far ahead of its arrival it is *future*, and otherwise it is fed to the watermark; then it is judged by the
//! watermark after it: *late*, or *counted* in its window. A record that the policy's filter leaves out is *filtered*
//! whatever its time, and feeds the watermark like any other: a rare kind of record must not hold its windows open.
//!
//! Invariants
//! - How records are cut into frames, applies and flushes changes no total, no verdict and no accounting.
//! - Every record is in exactly one class of the account.
//! - Right after `flush(All)` nothing is pending, and the snapshot is small: the estimator and two times.
//!
//! Not here: arithmetic of windows and watermarks (`window`, `watermark`), merging of deltas into rows (`rows`, stores).

mod budget;
mod inherit;
mod keys;
mod many;
mod paned;
mod pending;
mod slices;
mod snapshot;

use crate::account::{Account, Reason};
use crate::decode::{Decoder, Event, Fault, Passed};
use crate::json::{Data, Framing, PADDING};
use crate::panes::Panes;
use crate::policy::{Future, LateBy, LateTo, Policy, Windowing};
use crate::time::{ArrivalTime, EventTime, TimeDelta};
use crate::watermark::Tracker;
use crate::window::{self, Window};
use crate::wire::WireError;
use crate::wire::effects::{DeadLetter, Progress, Table, Writer};
use crate::wire::frame::{self, Frame, Kind};
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use budget::Budget;
use keys::Keys;
use pending::{Hot, Pending};

pub use paned::Held;
pub(crate) use paned::Sink;
pub use snapshot::{SnapshotError, VERSION as SNAPSHOT_VERSION};

/// Interned keys are a cache; beyond this many, keys without pending rows are forgotten at a flush.
pub const KEYS_KEPT_MAX: usize = 65_536;
/// The same in bytes of their text.
pub const KEY_TEXT_KEPT_MAX: usize = 8 << 20;

/// Which windows a flush gives out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMode {
    /// Everything pending.
    All,
    /// Main windows that can receive no more. Late rows stay pending; dead letters are given out.
    Final,
    /// Everything, and windows that wait for triggers as far as they have come: the end of a run that nobody goes on with.
    Drain,
}

/// Whether a record's clock is believed, and the time at which it counts.
enum Belief {
    Yes(EventTime),
    No(EventTime),
    Quarantined,
}

/// Where a record stands, and what came with it.
struct Place<'b> {
    /// The frame that it is in.
    data: Data<'b>,
    from: usize,
    ordinal: u64,
    arrival: Option<ArrivalTime>,
}

/// A record that was understood and counts somewhere.
struct Taken<'b> {
    buf: &'b [u8],
    from: usize,
    /// The byte after it.
    to: usize,
    ordinal: u64,
    arrival: Option<ArrivalTime>,
    /// When it counts.
    time: EventTime,
    /// Whether its clock was believed.
    believed: bool,
}

impl<'b> Taken<'b> {
    fn raw(&self) -> &'b [u8] {
        &self.buf[self.from..self.to]
    }
}

/// The engine of one lane.
pub struct Engine {
    policy: Policy,
    decoder: Decoder,
    tracker: Tracker,
    keys: Keys,
    pending: Pending,
    /// Size and offset of fixed windows, which most policies have.
    fixed: Option<(TimeDelta, TimeDelta)>,
    /// Whether a record simply counts in its windows: no triggers, no budget.
    plain: bool,
    /// The windows of one record, where it may have several; those that refused it, where they wait for triggers.
    windows: Vec<Window>,
    /// Windows that wait for triggers.
    panes: Option<Box<Panes>>,
    /// Where the policy bounds the keys of a window.
    budget: Option<Box<Budget>>,
    /// Greatest event time counted; `EventTime::MIN` before the first.
    event: EventTime,
    /// Since the last flush.
    account: Account,
    /// Since the last flush.
    dead: Vec<DeadLetter>,
}

impl Engine {
    /// An engine that has seen nothing.
    pub fn new(policy: Policy) -> Self {
        let decoder = Decoder::new(&policy);
        Self {
            tracker: Tracker::new(&policy.spec().watermark),
            keys: Keys::new(decoder.key().seed()),
            decoder,
            pending: Pending::new(policy.spec()),
            fixed: match policy.spec().window {
                Windowing::Fixed { size, offset } => Some((size, offset)),
                _ => None,
            },
            plain: policy.spec().panes.is_none() && policy.spec().limits.keys_per_window.is_none(),
            windows: Vec::new(),
            panes: Panes::new(policy.spec()).map(Box::new),
            budget: policy.spec().limits.keys_per_window.map(|most| Box::new(Budget::new(most, policy.spec()))),
            event: EventTime::MIN,
            account: Account::default(),
            dead: Vec::new(),
            policy,
        }
    }

    /// The policy it runs.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Feeds frames. `buf[..len]` are frames, the rest of `buf` is at least `json::PADDING` zero bytes.
    /// On an error none of them was applied.
    ///
    /// # Panics
    /// If the padding is missing.
    pub fn apply(&mut self, buf: &[u8], len: usize) -> Result<(), WireError> {
        assert!(buf.len() >= len + PADDING, "{} bytes after the frames, {PADDING} expected", buf.len() - len);
        let frames = &buf[..len];
        let mut at = 0;
        while at < len {
            at = frame::read(frames, at)?.to;
        }
        at = 0;
        while at < len {
            let f = frame::read(frames, at)?;
            match f.kind {
                // A frame without records says how far the source's own clock has come.
                Kind::Lines if f.from == f.to => {
                    f.arrival.into_iter().for_each(|at| self.tracker.arrived(at));
                    self.advance_panes();
                }
                Kind::Lines if self.bundles_frames() => self.bundle(buf, &f),
                Kind::Lines => self.lines(buf, &f),
                Kind::Record => {
                    let data = Data::new(buf, f.to, Framing::Whole);
                    self.record(&Place { data, from: f.from, ordinal: f.ordinal, arrival: f.arrival });
                }
                Kind::Oversize => self.oversize(buf, &f),
                Kind::Watermark => {
                    f.arrival.into_iter().for_each(|w| self.tracker.given(w.as_event_time()));
                    self.advance_panes();
                }
                Kind::Tick => f.arrival.into_iter().for_each(|at| self.tick(at)),
            }
            at = f.to;
        }
        Ok(())
    }

    fn lines(&mut self, buf: &[u8], f: &Frame) {
        let data = Data::new(buf, f.to, Framing::Line);
        let mut place = Place { data, from: f.from, ordinal: f.ordinal, arrival: f.arrival };
        while place.from < f.to {
            place.from = self.record(&place);
            // A stranger's number may be the last there is.
            place.ordinal = place.ordinal.wrapping_add(1);
        }
    }

    /// Takes one record in; where the next begins.
    // The only function on a record's usual way but `Scanner::usual`: all that it calls there is inlined.
    #[inline(never)]
    fn record(&mut self, place: &Place<'_>) -> usize {
        let decoded = if self.decoder.computes() {
            self.decode_apart(place)
        } else {
            // Taken apart at once, so that it never stands in memory.
            match self.decoder.decode(&place.data, place.from, place.arrival) {
                Ok(Event { time, arrival, next, .. }) => Ok((time, arrival, next)),
                Err(fault) => Err(self.refuse(fault, place)),
            }
        };
        match decoded {
            Ok((time, arrival, next)) => {
                self.judge(time, arrival, next, place);
                next
            }
            Err(next) => next,
        }
    }

    /// Decodes a record of a policy that computes: its times and where the next begins, or only the latter where the record
    /// does not count.
    #[inline(never)]
    fn decode_apart(&mut self, place: &Place<'_>) -> Result<(EventTime, Option<ArrivalTime>, usize), usize> {
        match self.decoder.decode_apart(&place.data, place.from, place.arrival) {
            Ok(Event { time, arrival, next, passed: Passed::Yes }) => Ok((time, arrival, next)),
            Ok(Event { time, arrival, next, passed }) => {
                self.account.read += 1;
                self.pass_over(passed == Passed::No, time, arrival);
                Err(next)
            }
            Err(fault) => Err(self.refuse(fault, place)),
        }
    }

    /// Sets a record aside; where the next begins.
    #[cold]
    #[inline(never)]
    fn refuse(&mut self, fault: Fault, place: &Place<'_>) -> usize {
        let (rest, framing) = (&place.data.buf()[place.from..place.data.end()], place.data.framing());
        let raw = match framing {
            Framing::Line => &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())],
            Framing::Whole => rest,
        };
        // An empty line has an ordinal and is no record.
        let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r');
        if framing == Framing::Whole || !raw.iter().all(blank) {
            self.reject(fault, raw, raw.len(), place.from, place.ordinal, place.arrival);
        }
        place.from + raw.len() + 1
    }

    fn oversize(&mut self, buf: &[u8], f: &Frame) {
        let raw = &buf[f.from..f.to];
        let fault = Fault { reason: Reason::TooLong, field: None, at: f.to };
        // How long it was the source did not find out: more than what it sent.
        self.reject(fault, raw, raw.len() + 1, f.from, f.ordinal, f.arrival);
    }

    #[inline(always)]
    fn judge(&mut self, time: EventTime, arrival: Option<ArrivalTime>, to: usize, place: &Place<'_>) {
        self.account.read += 1;
        let buf = place.data.buf();
        let (time, believed) = match self.believe(time, arrival) {
            Belief::Yes(t) => (t, true),
            Belief::No(t) => (t, false),
            Belief::Quarantined => {
                // Its arrival may have moved the watermark.
                self.advance_panes();
                return self.quarantine(&buf[place.from..to], place.ordinal, arrival);
            }
        };
        // The usual: rows that were used lately and still take the record.
        let (from, ordinal) = (place.from, place.ordinal);
        let taken = || Taken { buf, from, to, ordinal, arrival, time, believed };
        if !self.plain {
            if self.panes.as_ref().is_some_and(|panes| panes.prolongs()) && self.prolong(time, believed, place) {
                return;
            }
            return if self.panes.is_some() { self.judge_panes(&taken()) } else { self.judge_apart(&taken()) };
        }
        let hot = self.pending.hot(time);
        if !hot.takes(self.policy.spec().late.by, time, self.tracker.watermark()) {
            return self.judge_apart(&taken());
        }
        let open = hot.at;
        self.account.counted += 1;
        if !believed {
            self.account.future_counted += 1;
        }
        self.event = self.event.max(time);
        let key = self.keys.intern_record(self.decoder.key(), buf);
        self.pending.add_here(open, key, self.decoder.values());
    }

    /// Judges a record that does not simply count in rows used lately.
    #[inline(never)]
    fn judge_apart(&mut self, taken: &Taken<'_>) {
        let Some((size, offset)) = self.fixed else {
            return self.judge_many(taken);
        };
        let (late, watermark) = (self.policy.spec().late, self.tracker.watermark());
        let hot = Some(*self.pending.hot(taken.time)).filter(|hot| hot.times.holds(taken.time));
        let window = hot.map_or_else(|| window::fixed(size, offset, taken.time), |hot| hot.times);
        let expiry = window.expiry(late.allowed_lateness);
        let is_late = match late.by {
            LateBy::Record => taken.time < watermark,
            LateBy::Window => expiry <= watermark,
        };
        let counts = !is_late || late.to == LateTo::Accept;
        let table = if counts { Table::Main } else { Table::Late { day: taken.arrival.map(ArrivalTime::day) } };
        if counts {
            self.account.late_accepted += u64::from(is_late);
            self.count(taken);
        } else {
            self.account.late += 1;
            match late.to {
                LateTo::Drop => {
                    self.account.late_dropped += 1;
                    return;
                }
                LateTo::DeadLetters => return self.bury_late(taken),
                _ => {}
            }
        }
        let at = match hot {
            Some(hot) if counts => hot.at,
            _ => self.pending.place(window, table),
        };
        let mut key = self.keys.intern_record(self.decoder.key(), taken.buf);
        if counts {
            self.pending.heat(taken.time, Hot { times: window, expiry, at });
            if self.budget.is_some() {
                let own = key;
                key = self.within_budget(window, at, own);
                self.account.overflow += u64::from(key != own);
            }
        }
        self.pending.add(at, key, self.decoder.values());
    }

    /// A record counts in a main row.
    fn count(&mut self, taken: &Taken<'_>) {
        self.account.counted += 1;
        self.account.future_counted += u64::from(!taken.believed);
        self.event = self.event.max(taken.time);
    }

    /// The key whose row a record counts in: its own, or that of the window's overflow row.
    #[inline(never)]
    fn within_budget(&mut self, window: Window, at: usize, key: u32) -> u32 {
        let Some(budget) = &mut self.budget else { return key };
        // Whoever has a row was let in.
        if self.pending.has(at, key) || budget.admits(window, self.keys.print(key), self.tracker.watermark()) {
            return key;
        }
        self.keys.intern(budget.overflow())
    }

    /// Feeds the watermark with a record, unless its clock is too far ahead of its arrival.
    #[inline(always)]
    fn believe(&mut self, time: EventTime, arrival: Option<ArrivalTime>) -> Belief {
        let spec = self.policy.spec();
        if let Some(arrival) = arrival {
            self.tracker.arrived(arrival);
            if let Some(max_future) = spec.watermark.max_future {
                let latest = arrival.as_event_time() + max_future;
                // Mostly the first comparison says all.
                if time > arrival.as_event_time() && time > latest {
                    return match spec.watermark.future {
                        Future::Quarantine => Belief::Quarantined,
                        Future::Clamp => Belief::No(latest),
                        Future::Accept => Belief::No(time),
                    };
                }
            }
        }
        self.tracker.happened(time, self.decoder.source());
        Belief::Yes(time)
    }

    /// A record that the filter leaves out: it tells the time, if it can, and is no dead letter whatever its time.
    #[inline(never)]
    fn pass_over(&mut self, timed: bool, time: EventTime, arrival: Option<ArrivalTime>) {
        self.account.filtered += 1;
        if timed {
            self.believe_apart(time, arrival);
            self.advance_panes();
        }
    }

    /// The same as `believe`, in a copy for all that is not the usual way.
    #[inline(never)]
    fn believe_apart(&mut self, time: EventTime, arrival: Option<ArrivalTime>) -> Belief {
        self.believe(time, arrival)
    }

    #[cold]
    fn bury_late(&mut self, taken: &Taken<'_>) {
        let raw = taken.raw().trim_ascii_end();
        self.bury(Fault { reason: Reason::Late, field: None, at: 0 }, raw, raw.len(), 0, taken.ordinal, taken.arrival);
    }

    #[cold]
    fn quarantine(&mut self, raw: &[u8], ordinal: u64, arrival: Option<ArrivalTime>) {
        self.account.future += 1;
        let raw = raw.trim_ascii_end();
        self.bury(Fault { reason: Reason::Future, field: None, at: 0 }, raw, raw.len(), 0, ordinal, arrival);
    }

    #[cold]
    fn reject(
        &mut self,
        fault: Fault,
        raw: &[u8],
        full_len: usize,
        from: usize,
        ordinal: u64,
        arrival: Option<ArrivalTime>,
    ) {
        self.account.read += 1;
        self.account.reject(fault.reason);
        let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
        self.bury(fault, raw, full_len, from, ordinal, arrival);
    }

    fn bury(
        &mut self,
        fault: Fault,
        raw: &[u8],
        full_len: usize,
        from: usize,
        ordinal: u64,
        arrival: Option<ArrivalTime>,
    ) {
        let kept = raw.len().min(self.policy.spec().limits.dead_letter_bytes as usize);
        self.dead.push(DeadLetter {
            ordinal,
            reason: fault.reason,
            field: fault.field,
            at: u32::try_from(fault.at.saturating_sub(from)).unwrap_or(u32::MAX),
            arrival,
            full_len: full_len.max(kept) as u64,
            raw: raw[..kept].to_vec(),
        });
    }

    /// Rows and dead letters that `flush(All)` would give out now; where windows overlap, how many they are at most.
    pub fn pending(&self) -> u64 {
        self.pending.rows() as u64 + self.dead.len() as u64
    }

    /// How far event time has come.
    pub fn progress(&self) -> Progress {
        let known = |t: EventTime| (t != EventTime::MIN).then_some(t);
        Progress {
            watermark: known(self.tracker.watermark()),
            arrival: self.tracker.arrival(),
            event: known(self.event),
        }
    }

    /// Appends effects (`wire::effects`) and forgets what they hold.
    pub fn flush(&mut self, mode: FlushMode, out: &mut Vec<u8>) {
        assert!(self.account.balanced(), "a record is in no class, or in two: {:?}", self.account);
        if mode == FlushMode::Drain {
            self.drain_panes();
        }
        let late = self.policy.spec().late;
        let paned = self.panes.is_some();
        let watermark = self.tracker.watermark();
        let wanted = |window: &Window, table: Table| match mode {
            FlushMode::All | FlushMode::Drain => true,
            // Triggers have decided when rows are written.
            FlushMode::Final if paned => true,
            FlushMode::Final => {
                table == Table::Main && late.to != LateTo::Accept && window.end + late.allowed_lateness <= watermark
            }
        };
        self.pending.merge_slices(&wanted);
        self.write(&self.pending, out, &wanted);
        self.pending.forget(&wanted);
        self.forget_panes();
        self.account = Account::default();
        self.dead.clear();
        if self.keys.len() > KEYS_KEPT_MAX || self.keys.text_len() > KEY_TEXT_KEPT_MAX {
            self.forget_keys();
        }
    }

    fn forget_keys(&mut self) {
        let open = self.panes.as_ref().map_or(0, |panes| panes.len());
        if self.pending.rows() + open == 0 {
            self.keys.clear();
        } else if self.keys.len() > 4 * (self.pending.rows() + open) {
            let mut kept = self.keys.emptied();
            self.pending.rekey(|old| kept.intern(self.keys.text(old)));
            if let Some(panes) = &mut self.panes {
                panes.rekey(|old| kept.intern(self.keys.text(old)));
            }
            self.keys = kept;
        }
    }

    #[inline(never)]
    fn write(&self, pending: &Pending, out: &mut Vec<u8>, wanted: &dyn Fn(&Window, Table) -> bool) {
        let mut w = Writer::begin(out, self.policy.spec().measures.len(), self.progress(), &self.account);
        pending.write(&self.keys, &mut w, wanted);
        w.dead(self.dead.len());
        for d in &self.dead {
            w.dead_letter(d);
        }
        w.finish();
    }

    /// What it is and where it stands, as a JSON object.
    pub fn describe(&self, out: &mut String) {
        let p = self.progress();
        let hex: String = self.policy.digest().iter().map(|b| alloc::format!("{b:02x}")).collect();
        let time = |ms: Option<i64>| ms.map_or_else(|| String::from("null"), |ms| ms.to_string());
        // The policy's name needs no escapes: letters, digits, `_` and `-`.
        out.push_str(&alloc::format!(
            "{{\"arrival\":{},\"event\":{},\"pending\":{},\"policy\":\"{}\",\"policy_sha256\":\"{hex}\",\"watermark\":{}}}",
            time(p.arrival.map(ArrivalTime::as_millis)),
            time(p.event.map(EventTime::as_millis)),
            self.pending(),
            self.policy.spec().policy,
            time(p.watermark.map(EventTime::as_millis)),
        ));
    }
}

/// The engine's name, version and ABI as a JSON object.
pub fn describe_engine(out: &mut String) {
    out.push_str(concat!(
        "{\"engine\":\"plimsoll\",\"version\":\"",
        env!("CARGO_PKG_VERSION"),
        "\",\"abi\":1,\"snapshot\":1,\"effects\":1}"
    ));
}
