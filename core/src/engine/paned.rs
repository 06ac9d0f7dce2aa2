//! Records on their way into windows that wait for triggers.
//!
//! ```text
//! record -> watermark (windows that it ends give out their panes) -> late by itself? -> windows -> counted, late, ...
//! ```
//! Not here: what the windows do with it (`panes`).

use super::{Belief, Engine, Place, Taken};
use crate::account::Reason;
use crate::decode::{Fault, Passed};
use crate::engine::keys::Keys;
use crate::engine::pending::Pending;
use crate::json::{Data, Framing};
use crate::order;
use crate::panes::{Element, Fate, Values};
use crate::policy::{LateBy, LateTo};
use crate::time::{ArrivalTime, EventTime, TimeDelta};
use crate::window::{self, Window};
use crate::wire::effects::Table;
use crate::wire::frame::Frame;
use crate::wire::panes::Writer;
use alloc::vec::Vec;

/// A window of a key, as tests of a policy see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Canonical JSON array of the key's values.
    pub key: Vec<u8>,
    /// The window.
    pub window: Window,
    /// Whether its trigger has finished.
    pub closed: bool,
    /// Whether contents are kept.
    pub content: bool,
}

/// Where windows put what they give out beside panes.
pub(crate) struct Sink<'a> {
    keys: &'a Keys,
    pending: &'a mut Pending,
    /// The windows that refused the record at hand.
    pub refused: &'a mut Vec<Window>,
}

impl Sink<'_> {
    /// A key's text.
    pub(crate) fn key(&self, id: u32) -> &[u8] {
        self.keys.text(id)
    }

    /// Adds to a window's row.
    pub(crate) fn row(&mut self, window: Window, key: u32, columns: impl Iterator<Item = Option<i128>>) {
        let at = self.pending.place(window, Table::Main);
        self.pending.merge(at, key, columns);
    }
}

/// A record of a bundle.
struct Owned {
    key: u32,
    time: EventTime,
    gap: Option<TimeDelta>,
    columns: Vec<Option<i64>>,
    kept: Vec<Option<Vec<u8>>>,
    believed: bool,
    ordinal: u64,
    arrival: Option<ArrivalTime>,
    from: usize,
    to: usize,
}

macro_rules! with_panes {
    ($engine:ident, |$panes:ident, $sink:ident| $do:expr) => {
        if let Some($panes) = &mut $engine.panes {
            let $sink = &mut Sink { keys: &$engine.keys, pending: &mut $engine.pending, refused: &mut $engine.windows };
            $do
        }
    };
}

impl Engine {
    /// Appends the panes given out since this or a flush was last called, and forgets them (`wire::panes`).
    pub fn panes(&mut self, out: &mut Vec<u8>) {
        match &mut self.panes {
            Some(panes) => panes.take(out),
            None => Writer::new(self.policy.spec().measures.len(), self.policy.spec().kept.len()).write(out),
        }
    }

    /// Windows that are open or whose trigger has finished, by key and window.
    pub fn held(&self) -> Vec<Held> {
        let mut held: Vec<Held> = Vec::new();
        if let Some(panes) = &self.panes {
            held.extend(panes.held_unsorted().map(|(key, window, closed, content)| Held {
                key: self.keys.text(key).to_vec(),
                window,
                closed,
                content,
            }));
        }
        held.sort_by(|a, b| (&a.key, a.window, a.closed).cmp(&(&b.key, b.window, b.closed)));
        held
    }

    pub(super) fn bundles_frames(&self) -> bool {
        self.panes.as_ref().is_some_and(|panes| panes.bundles_frames())
    }

    #[inline(always)]
    pub(super) fn advance_panes(&mut self) {
        let watermark = self.tracker.watermark();
        if self.panes.as_mut().is_some_and(|panes| !panes.glides(watermark)) {
            self.do_advance_panes();
        }
    }

    #[inline(never)]
    fn do_advance_panes(&mut self) {
        let watermark = self.tracker.watermark();
        with_panes!(self, |panes, sink| panes.advance(watermark, sink));
    }

    pub(super) fn tick(&mut self, at: ArrivalTime) {
        with_panes!(self, |panes, sink| panes.tick(at.as_millis(), sink));
    }

    pub(super) fn drain_panes(&mut self) {
        with_panes!(self, |panes, sink| panes.drain(sink));
    }

    pub(super) fn forget_panes(&mut self) {
        if let Some(panes) = &mut self.panes {
            panes.forget_given();
        }
    }

    /// Takes a record of a session that goes on, which is the usual way; false, and nothing has changed, where it is not that.
    #[inline(never)]
    pub(super) fn prolong(&mut self, time: EventTime, believed: bool, place: &Place<'_>) -> bool {
        self.advance_panes();
        if self.late_by_itself(time) {
            return false;
        }
        let decoder = &self.decoder;
        let key = self.keys.intern_record(decoder.key(), place.data.buf());
        let values = Values { columns: decoder.values(), kept: decoder.kept() };
        // Those of overflow rows have windows of their own; a session that goes on is none.
        let element = Element { key, overflow: None, time, gap: decoder.gap(), values };
        let prolonged = self.panes.as_mut().is_some_and(|panes| panes.prolong(&element));
        if prolonged {
            self.settle(Fate::Counted, believed, time);
        }
        prolonged
    }

    /// Judges one record, which is a bundle of its own.
    #[inline(never)]
    pub(super) fn judge_panes(&mut self, taken: &Taken<'_>) {
        let (t, believed) = (taken.time, taken.believed);
        self.advance_panes();
        let key = self.keys.intern_record(self.decoder.key(), taken.buf);
        let overflow = self.overflow_key();
        let decoder = &self.decoder;
        let values = Values { columns: decoder.values(), kept: decoder.kept() };
        let element = Element { key, overflow, time: t, gap: decoder.gap(), values };
        self.windows.clear();
        let fate = if self.late_by_itself(t) {
            self.windows_of(t, self.decoder.gap());
            if self.windows.is_empty() { Fate::Nowhere } else { Fate::Refused }
        } else {
            let mut fate = Fate::Nowhere;
            with_panes!(self, |panes, sink| fate = panes.element(&element, sink));
            fate
        };
        self.settle(fate, believed, t);
        if !self.windows.is_empty() && self.policy.spec().late.to == LateTo::Table {
            for window in core::mem::take(&mut self.windows) {
                let at = self.pending.place(window, Table::Late { day: taken.arrival.map(ArrivalTime::day) });
                self.pending.add(at, key, self.decoder.values());
            }
        }
        self.bury_refused(fate, taken.ordinal, taken.arrival, taken.raw());
    }

    /// Judges the records of a frame, which enter whole.
    pub(super) fn bundle(&mut self, buf: &[u8], f: &Frame) {
        let data = Data::new(buf, f.to, Framing::Line);
        let mut place = Place { data, from: f.from, ordinal: f.ordinal, arrival: f.arrival };
        let (mut all, dead): (Vec<Owned>, usize) = (Vec::new(), self.dead.len());
        while place.from < f.to {
            let (from, ordinal) = (place.from, place.ordinal);
            match self.decoder.decode_apart(&data, from, f.arrival) {
                Ok(event) => {
                    self.account.read += 1;
                    let to = event.next;
                    (place.from, place.ordinal) = (to, ordinal.wrapping_add(1));
                    if event.passed != Passed::Yes {
                        // The watermark rises before any of the bundle is judged, and no pane comes out between.
                        self.account.filtered += 1;
                        if event.passed == Passed::No {
                            self.believe_apart(event.time, event.arrival);
                        }
                        continue;
                    }
                    let (time, believed) = match self.believe_apart(event.time, event.arrival) {
                        Belief::Yes(t) => (t, true),
                        Belief::No(t) => (t, false),
                        Belief::Quarantined => {
                            self.quarantine(&buf[from..to], ordinal, event.arrival);
                            continue;
                        }
                    };
                    all.push(Owned {
                        key: self.keys.intern_record(self.decoder.key(), buf),
                        time,
                        gap: self.decoder.gap(),
                        columns: self.decoder.values().to_vec(),
                        kept: self.decoder.kept().to_vec(),
                        believed,
                        ordinal,
                        arrival: event.arrival,
                        from,
                        to,
                    });
                }
                Err(fault) => {
                    place.from = self.refuse(fault, &place);
                    place.ordinal = ordinal.wrapping_add(1);
                }
            }
        }
        self.advance_panes();
        let (late, timely): (Vec<Owned>, Vec<Owned>) = all.into_iter().partition(|o| self.late_by_itself(o.time));
        let overflow = self.overflow_key();
        let elements: Vec<Element<'_>> = timely
            .iter()
            .map(|o| Element {
                key: o.key,
                overflow,
                time: o.time,
                gap: o.gap,
                values: Values { columns: &o.columns, kept: &o.kept },
            })
            .collect();
        let mut fates = Vec::new();
        self.windows.clear();
        with_panes!(self, |panes, sink| fates = panes.bundle(&elements, sink));
        let refused = core::mem::take(&mut self.windows);
        let mut from = 0;
        for (o, (fate, to)) in timely.iter().zip(fates) {
            self.settle_owned(o, fate, &refused[from..to], buf);
            from = to;
        }
        for o in &late {
            self.windows_of(o.time, o.gap);
            let refused = core::mem::take(&mut self.windows);
            let fate = if refused.is_empty() { Fate::Nowhere } else { Fate::Refused };
            self.settle_owned(o, fate, &refused, buf);
        }
        self.order_dead(dead);
    }

    /// The key of overflow rows, where there is a budget.
    fn overflow_key(&mut self) -> Option<u32> {
        let budget = self.budget.as_mut()?;
        Some(self.keys.intern(budget.overflow()))
    }

    /// Puts the dead letters from the one at `from` on in the order of their records, which were judged after all had
    /// been read.
    fn order_dead(&mut self, from: usize) {
        let mut ids: Vec<u32> = (from as u32..self.dead.len() as u32).collect();
        order::sort(&mut ids, &mut |a, b| self.dead[a as usize].ordinal.cmp(&self.dead[b as usize].ordinal));
        let mut dead: Vec<_> = self.dead.drain(from..).map(Some).collect();
        self.dead.extend(ids.into_iter().filter_map(|id| dead[id as usize - from].take()));
    }

    fn settle_owned(&mut self, o: &Owned, fate: Fate, refused: &[Window], buf: &[u8]) {
        self.settle(fate, o.believed, o.time);
        if self.policy.spec().late.to == LateTo::Table {
            for window in refused {
                let at = self.pending.place(*window, Table::Late { day: o.arrival.map(ArrivalTime::day) });
                self.pending.add(at, o.key, &o.columns);
            }
        }
        self.bury_refused(fate, o.ordinal, o.arrival, &buf[o.from..o.to]);
    }

    fn late_by_itself(&self, t: EventTime) -> bool {
        self.policy.spec().late.by == LateBy::Record && t < self.tracker.watermark()
    }

    /// The windows that a record would have had, for the late table; a session of its own where windows merge.
    fn windows_of(&mut self, t: EventTime, own_gap: Option<TimeDelta>) {
        let windowing = &self.policy.spec().window;
        window::assign(windowing, t, &mut self.windows);
        if let crate::policy::Windowing::Session { gap, .. } = windowing {
            self.windows.push(Window { start: t, end: t + own_gap.unwrap_or(*gap) });
        }
    }

    fn settle(&mut self, fate: Fate, believed: bool, t: EventTime) {
        match fate {
            Fate::Counted | Fate::Overflowed => {
                self.account.counted += 1;
                self.account.overflow += u64::from(fate == Fate::Overflowed);
                self.account.future_counted += u64::from(!believed);
                self.event = self.event.max(t);
            }
            Fate::Refused => {
                self.account.late += 1;
                self.account.late_dropped += u64::from(self.policy.spec().late.to == LateTo::Drop);
            }
            Fate::Nowhere => self.account.filtered += 1,
            Fate::NoRoom => self.account.reject(Reason::NoRoom),
        }
    }

    fn bury_refused(&mut self, fate: Fate, ordinal: u64, arrival: Option<ArrivalTime>, raw: &[u8]) {
        let reason = match fate {
            Fate::Refused if self.policy.spec().late.to == LateTo::DeadLetters => Reason::Late,
            Fate::NoRoom => Reason::NoRoom,
            _ => return,
        };
        let raw = raw.trim_ascii_end();
        self.bury(Fault { reason, field: None, at: 0 }, raw, raw.len(), 0, ordinal, arrival);
    }
}
