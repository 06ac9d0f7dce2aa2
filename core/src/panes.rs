//! Windows that are kept open: triggers decide when they give out a pane, accumulation what is in it.
//!
//! ```text
//! record -> its windows (sessions: merged) -> contents, trigger.element -> ready? -> pane
//! watermark or tick moves -> windows that wait for it -> ready? -> pane      expired? -> last pane, forgotten
//! ```
//! The order of things is that of Apache Beam's `ReduceFnRunner`: the records of a bundle enter whole, then each window
//! that they touched is asked once. A pane is early before its window has ended, on time once after that if a record came
//! in time, and late ever after.
//!
//! Invariants
//! - The panes of a key and window are `early* on_time? late*`, and their indexes count from 0.
//! - Discarding panes add up to the accumulating one; a retraction says just what the pane before said.
//! - Rows do not depend on panes: what a window counted is in its row when the window is forgotten, at the latest.
//! - What is due at once comes out by (window end, window start, key), so that nothing depends on how records were cut.
//!
//! Rows of windows that do not merge are written whenever a pane comes out; rows of sessions when the session can change
//! no more, since until then it may become another.
//!
//! - A window whose trigger has finished is remembered, empty, until it expires: it refuses records.
//!
//! Limits: `Panes::open_max` windows of keys. Memory: about 300 bytes a window of three columns, and its key once.
//! Not here: lateness of single records, the watermark (`engine`).

mod index;
mod kept;
mod open;
mod state;
mod trigger;
mod value;

use crate::engine::Sink;
use crate::order::{self, Tree};
use crate::policy::{Accumulation, Emission, Panes as Rules, Spec, TimestampCombiner, Touching, Windowing};
use crate::time::{EventTime, TimeDelta};
use crate::window::{self, Window};
use crate::wire::panes::{Timing, Told, Writer};
use alloc::boxed::Box;
use alloc::vec::Vec;
use index::Index;
use open::{NO_TICK, Open, Owed, Said};
use trigger::{Now, Program};
use value::Shape;

pub use kept::Kept;
pub(crate) use kept::hash::hash;
pub use trigger::may_lose_data;
pub(crate) use value::Values;

/// The open windows of one lane.
pub(crate) struct Panes {
    windowing: Windowing,
    rules: Rules,
    lateness: TimeDelta,
    touching: Option<Touching>,
    /// How sessions join, and their gap, where a trigger waits for nothing but their end.
    prolongs: Option<(Touching, TimeDelta)>,
    shape: Shape,
    program: Program,
    index: Index,
    /// How many keys of a window are open, the overflow row's included; nothing where they are not bounded.
    keys: Tree,
    keys_most: u32,
    watermark: EventTime,
    clock: i64,
    /// While the watermark moves: where it came from.
    passing: Option<EventTime>,
    given: Writer,
    /// Windows that the bundle at hand touched.
    touched: Vec<u32>,
    /// Scratch.
    windows: Vec<Window>,
    /// Scratch.
    slots: Vec<u32>,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// At least one window took it.
    Counted,
    /// The same, at least once in an overflow row.
    Overflowed,
    /// Every window refused it: expired, or its trigger had finished.
    Refused,
    /// No window holds its time.
    Nowhere,
    /// No room for another window.
    NoRoom,
}

/// One record on its way into windows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    /// Id of its key.
    pub key: u32,
    /// Id of the key of overflow rows, where the policy bounds the keys of a window.
    pub overflow: Option<u32>,
    pub time: EventTime,
    /// Its own session gap, where it has one.
    pub gap: Option<TimeDelta>,
    pub values: Values<'a>,
}

impl Panes {
    pub(crate) fn new(spec: &Spec) -> Option<Self> {
        let rules = spec.panes.clone()?;
        let sessions = match spec.window {
            Windowing::Session { touching, gap, .. } => Some((touching, gap)),
            _ => None,
        };
        let touching = sessions.map(|(touching, _)| touching);
        let program = Program::new(&rules.trigger, touching.is_some());
        let shape = Shape::new(spec);
        let (columns, kept) = shape.sizes();
        Some(Self {
            prolongs: sessions.filter(|_| program.plain()),
            program,
            windowing: spec.window.clone(),
            lateness: spec.late.allowed_lateness,
            touching,
            shape,
            rules,
            index: Index::default(),
            keys: Tree::new(),
            keys_most: spec.limits.keys_per_window.unwrap_or(u32::MAX),
            watermark: EventTime::MIN,
            clock: 0,
            passing: None,
            given: Writer::new(columns, kept),
            touched: Vec::new(),
            windows: Vec::new(),
            slots: Vec::new(),
        })
    }

    /// Windows held.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether a frame's records are one bundle.
    pub(crate) fn bundles_frames(&self) -> bool {
        self.rules.bundle == crate::policy::Bundle::Frame
    }

    /// Appends the panes since this was last asked (`wire::panes`), and forgets them.
    pub(crate) fn take(&mut self, out: &mut Vec<u8>) {
        self.given.write(out);
        self.given.clear();
    }

    /// Forgets the panes that nobody has asked for.
    pub(crate) fn forget_given(&mut self) {
        self.given.clear();
    }

    /// Gives every key another id.
    pub(crate) fn rekey(&mut self, id: impl FnMut(u32) -> u32) {
        self.index.rekey(id);
    }

    fn now(&self, window: &Window) -> Now {
        Now { watermark: self.watermark, clock: self.clock, end: window.end }
    }

    fn expired(&self, window: &Window) -> bool {
        window.expiry(self.lateness) <= self.watermark
    }

    /// The watermark has come to `w`, where no window waits for it; false, and nothing has happened, where one may.
    #[inline(always)]
    pub(crate) fn glides(&mut self, w: EventTime) -> bool {
        let idle = !self.index.is_due(w);
        if idle {
            self.watermark = self.watermark.max(w);
        }
        idle
    }

    /// The watermark has come to `w`.
    #[inline]
    pub(crate) fn advance(&mut self, w: EventTime, sink: &mut Sink<'_>) {
        if w > self.watermark {
            let before = core::mem::replace(&mut self.watermark, w);
            self.passing = Some(before);
            if self.index.is_due(w) {
                self.watermark_moved(before, sink);
            }
            self.passing = None;
        }
    }

    fn watermark_moved(&mut self, before: EventTime, sink: &mut Sink<'_>) {
        let mut due = core::mem::take(&mut self.slots);
        due.clear();
        self.index.take_due_unsorted(self.watermark, &mut due);
        self.sort(&mut due, sink);
        for slot in &due {
            let window = self.index.get(*slot).window;
            if self.expired(&window) {
                self.expire(*slot, sink);
            } else if self.due(self.index.get(*slot), before) <= self.watermark {
                self.ask(*slot, sink);
            } else {
                // What it waited for has gone with a pane. A restored engine has no such timer, so nothing is asked.
                self.wake(*slot);
            }
        }
        self.slots = due;
    }

    /// The clock has come to `at`.
    pub(crate) fn tick(&mut self, at: i64, sink: &mut Sink<'_>) {
        self.clock = self.clock.max(at);
        let mut due = core::mem::take(&mut self.slots);
        due.clear();
        self.index.take_due_ticks_unsorted(self.clock, &mut due);
        self.sort(&mut due, sink);
        for slot in &due {
            if self.program.clock_due(&self.index.get(*slot).trigger).is_some_and(|due| due <= self.clock) {
                self.ask(*slot, sink);
            } else {
                self.wake(*slot);
            }
        }
        self.slots = due;
    }

    fn sort(&self, slots: &mut [u32], sink: &Sink<'_>) {
        if slots.len() > 1 {
            let by = |slot| {
                let open = self.index.get(slot);
                (open.window, sink.key(open.key))
            };
            order::sort(slots, &mut |a, b| by(a).cmp(&by(b)));
        }
    }

    /// One record, which is a bundle of its own.
    pub(crate) fn element(&mut self, e: &Element<'_>, sink: &mut Sink<'_>) -> Fate {
        let fate = if self.touching.is_some() { self.enter_session(e, sink) } else { self.enter_windows(e, sink) };
        self.bundle_ends(sink);
        fate
    }

    /// Whether `prolong` may take records.
    #[inline(always)]
    pub(crate) fn prolongs(&self) -> bool {
        self.prolongs.is_some()
    }

    /// Takes a record of a session that goes on, the only one of its key, where the trigger waits for nothing but its
    /// end: the usual way, without a look at anything else. False, and nothing has happened, wherever it is not that.
    #[inline(always)]
    pub(crate) fn prolong(&mut self, e: &Element<'_>) -> bool {
        let Some((touching, gap)) = self.prolongs else { return false };
        let Some((slot, open)) = self.index.only(e.key) else { return false };
        let own = Window { start: e.time, end: e.time + e.gap.unwrap_or(gap) };
        let hull = open.window.hull(&own);
        if !open.window.joins(&own, touching) || hull.end <= self.watermark {
            return false;
        }
        if hull != open.window {
            open.window = hull;
            // With other bounds it is another window, of which nothing has been said.
            if open.said.is_some() {
                open.said = None;
            }
        }
        enter(open, e, &self.shape, self.watermark, self.rules.timestamp);
        if open.event_timer.is_none_or(|timer| hull.end < timer) {
            self.index.wake_at(slot, hull.end);
        }
        true
    }

    /// Records that enter whole before any trigger is asked. With each fate, how many windows have refused a record of the
    /// bundle by then.
    pub(crate) fn bundle(&mut self, elements: &[Element<'_>], sink: &mut Sink<'_>) -> Vec<(Fate, usize)> {
        let fates = if self.touching.is_some() {
            self.enter_sessions(elements, sink)
        } else {
            elements.iter().map(|e| (self.enter_windows(e, sink), sink.refused.len())).collect()
        };
        self.bundle_ends(sink);
        fates
    }

    fn bundle_ends(&mut self, sink: &mut Sink<'_>) {
        let mut touched = core::mem::take(&mut self.touched);
        if touched.len() > 1 {
            self.sort(&mut touched, sink);
            touched.dedup();
        }
        touched.iter().for_each(|slot| self.ask(*slot, sink));
        touched.clear();
        self.touched = touched;
    }

    fn enter_windows(&mut self, e: &Element<'_>, sink: &mut Sink<'_>) -> Fate {
        let mut windows = core::mem::take(&mut self.windows);
        window::assign(&self.windowing, e.time, &mut windows);
        let mut fate = if windows.is_empty() { Fate::Nowhere } else { Fate::Refused };
        for window in &windows {
            let (mut key, mut found) = (e.key, self.index.find(e.key, window));
            if let (None, Some(overflow)) = (found, e.overflow)
                && self.keys.get(&window.filed()).is_some_and(|n| *n >= self.keys_most)
            {
                (key, found) = (overflow, self.index.find(overflow, window));
            }
            if self.refuses(window, found, sink) {
                continue;
            }
            let slot = match found {
                Some(slot) => slot,
                None => match self.open_window(key, *window) {
                    Some(slot) => slot,
                    None => {
                        // Later windows of this record would find no room either; those before have it.
                        fate = if fate == Fate::Refused { Fate::NoRoom } else { fate };
                        break;
                    }
                },
            };
            fate = if key == e.key && fate != Fate::Overflowed { Fate::Counted } else { Fate::Overflowed };
            self.add(slot, e);
        }
        self.windows = windows;
        fate
    }

    /// Counts the refusal of one record by one window, where it is refused.
    fn refuses(&mut self, window: &Window, found: Option<u32>, sink: &mut Sink<'_>) -> bool {
        if self.expired(window) {
            self.given.expired += 1;
        } else if found.is_some_and(|slot| self.index.get(slot).trigger.closed()) {
            self.given.closed += 1;
        } else {
            return false;
        }
        sink.refused.push(*window);
        true
    }

    fn open_window(&mut self, key: u32, window: Window) -> Option<u32> {
        if self.index.len() >= self.rules.open_max as usize {
            return None;
        }
        let slot = self.index.insert(self.fresh(key, window));
        self.count_key(window);
        self.wake(slot);
        Some(slot)
    }

    /// Remembers that a window has one key more, where their number is bounded.
    fn count_key(&mut self, window: Window) {
        if self.keys_most != u32::MAX {
            let count = self.keys.get(&window.filed()).map_or(1, |count| count + 1);
            self.keys.insert(window.filed(), count);
        }
    }

    /// A window that has seen nothing.
    fn fresh(&self, key: u32, window: Window) -> Open {
        Open {
            key,
            window,
            trigger: self.program.fresh(),
            fresh: self.shape.blank(),
            base: None,
            new: 0,
            stamp: None,
            said: None,
            owed: Vec::new(),
            event_timer: None,
            clock_timer: NO_TICK,
        }
    }

    /// Waits for the next instant at which the window may have something to say.
    fn wake(&mut self, slot: u32) {
        let open = self.index.get(slot);
        let at = self.due(open, self.watermark);
        let tick = self.program.clock_due(&open.trigger);
        self.index.wake_at(slot, at);
        if let Some(tick) = tick {
            self.index.wake_at_tick(slot, tick);
        }
    }

    /// The watermark that a window waits for, when the watermark was last at `seen`.
    fn due(&self, open: &Open, seen: EventTime) -> EventTime {
        if seen < open.window.end && !open.trigger.closed() {
            self.program.event_due(&open.trigger).map_or(open.window.end, |due| due.min(open.window.end))
        } else {
            open.window.expiry(self.lateness)
        }
    }

    fn add(&mut self, slot: u32, e: &Element<'_>) {
        let open = self.index.get_mut(slot);
        enter(open, e, &self.shape, self.watermark, self.rules.timestamp);
        let now = Now { watermark: self.watermark, clock: self.clock, end: open.window.end };
        self.program.element(&mut open.trigger, &now, e.time);
        if self.program.waits() {
            self.wake(slot);
        }
        self.touched.push(slot);
    }

    fn interval(&self, e: &Element<'_>) -> Window {
        let Windowing::Session { gap, .. } = &self.windowing else { unreachable!("only sessions have gaps") };
        Window { start: e.time, end: e.time + e.gap.unwrap_or(*gap) }
    }

    fn enter_session(&mut self, e: &Element<'_>, sink: &mut Sink<'_>) -> Fate {
        let own = self.interval(e);
        let (hull, mut parts) = self.joined(e.key, own);
        let fate = match self.session(e.key, hull, &mut parts, sink) {
            Ok(slot) => {
                self.add(slot, e);
                Fate::Counted
            }
            Err(fate) => fate,
        };
        parts.clear();
        self.slots = parts;
        fate
    }

    /// What an interval becomes together with the sessions it joins, and these.
    fn joined(&mut self, key: u32, own: Window) -> (Window, Vec<u32>) {
        let touching = self.touching.expect("only sessions join");
        let mut parts = core::mem::take(&mut self.slots);
        self.index.joining(key, own.start, own.end, |w| w.joins(&own, touching), &mut parts);
        let hull = parts.iter().fold(own, |hull, slot| hull.hull(&self.index.get(*slot).window));
        (hull, parts)
    }

    /// The session with these bounds, made of its parts; or why there is none.
    fn session(&mut self, key: u32, hull: Window, parts: &mut [u32], sink: &mut Sink<'_>) -> Result<u32, Fate> {
        match parts {
            [] if self.refuses(&hull, self.index.find(key, &hull), sink) => Err(Fate::Refused),
            [] => self.open_window(key, hull).ok_or(Fate::NoRoom),
            [one] if self.index.get(*one).window == hull => Ok(*one),
            _ => Ok(self.merge(hull, parts)),
        }
    }

    fn merge(&mut self, hull: Window, parts: &mut [u32]) -> u32 {
        // In the order of time, so that what is kept in order does not depend on who came first.
        order::sort(parts, &mut |a, b| self.index.get(a).window.cmp(&self.index.get(b).window));
        let now = self.now(&hull);
        let states: Vec<&trigger::State> = parts.iter().map(|slot| &self.index.get(*slot).trigger).collect();
        let state = self.program.merge(&states, &now);
        let first = parts[0];
        let kept =
            parts.iter().find(|slot| self.index.get(**slot).window == hull).map(|slot| self.index.get(*slot).said);
        for slot in &parts[1..] {
            let mut part = self.index.remove(*slot);
            let whole = self.index.get_mut(first);
            self.shape.absorb(&mut whole.fresh, part.fresh);
            whole.base = match (whole.base.take(), part.base) {
                (Some(mut a), Some(b)) => {
                    self.shape.absorb(&mut a, *b);
                    Some(a)
                }
                (a, b) => a.or(b),
            };
            whole.new = whole.new.saturating_add(part.new);
            whole.stamp = match (whole.stamp, part.stamp) {
                (Some(a), Some(b)) if self.rules.timestamp == TimestampCombiner::Latest => Some(a.max(b)),
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            // The few to the many, or a session that takes in one after the other would move them all each time.
            if whole.owed.len() < part.owed.len() {
                core::mem::swap(&mut whole.owed, &mut part.owed);
            }
            whole.owed.extend(part.owed);
        }
        self.index.rename(first, hull);
        let whole = self.index.get_mut(first);
        whole.trigger = state;
        // With other bounds it is another window, of which nothing has been said.
        whole.said = kept.flatten();
        self.wake(first);
        first
    }

    /// A bundle of sessions: all bounds are merged before any record enters.
    fn enter_sessions(&mut self, elements: &[Element<'_>], sink: &mut Sink<'_>) -> Vec<(Fate, usize)> {
        let touching = self.touching.expect("only sessions merge");
        let mut hulls: Vec<(u32, Window, Vec<u32>)> = Vec::new();
        for e in elements {
            let (mut hull, parts) = self.joined(e.key, self.interval(e));
            let mut parts = parts.clone();
            // What it joins may join others; they are looked at until none does.
            while let Some(i) = hulls.iter().position(|(key, w, _)| *key == e.key && w.joins(&hull, touching)) {
                let (_, other, slots) = hulls.swap_remove(i);
                hull = hull.hull(&other);
                parts.extend(slots);
            }
            order::sort(&mut parts, &mut |a, b| a.cmp(&b));
            parts.dedup();
            hulls.push((e.key, hull, parts));
        }
        let mut sessions: Vec<(u32, Window, Option<u32>)> = Vec::new();
        let mut fates = Vec::with_capacity(elements.len());
        for e in elements {
            let own = self.interval(e);
            let known = sessions.iter().find(|(key, w, _)| *key == e.key && w.joins(&own, touching)).copied();
            let slot = match known {
                Some((_, hull, None)) => {
                    // The first of them counted one refusal; each record counts its own.
                    let found = self.index.find(e.key, &hull);
                    let fate = if self.refuses(&hull, found, sink) { Fate::Refused } else { Fate::NoRoom };
                    fates.push((fate, sink.refused.len()));
                    continue;
                }
                Some((_, _, Some(slot))) => slot,
                None => {
                    let i = hulls.iter().position(|(key, w, _)| *key == e.key && w.joins(&own, touching));
                    let (key, hull, mut parts) = hulls.swap_remove(i.expect("each record is in a hull"));
                    match self.session(key, hull, &mut parts, sink) {
                        Ok(slot) => {
                            sessions.push((key, hull, Some(slot)));
                            slot
                        }
                        Err(fate) => {
                            sessions.push((key, hull, None));
                            fates.push((fate, sink.refused.len()));
                            continue;
                        }
                    }
                }
            };
            self.add(slot, e);
            fates.push((Fate::Counted, sink.refused.len()));
        }
        fates
    }

    /// Gives out a pane if the window's trigger is ready.
    fn ask(&mut self, slot: u32, sink: &mut Sink<'_>) {
        let open = self.index.get_mut(slot);
        let now = Now { watermark: self.watermark, clock: self.clock, end: open.window.end };
        if self.program.ready(&open.trigger, &now) {
            self.program.fired(&mut open.trigger, &now);
            let closed = open.trigger.closed();
            self.speak(slot, closed, sink);
            if closed {
                self.settle_row(slot, sink);
                self.index.get_mut(slot).empty();
                self.index.close(slot);
            }
        }
        self.wake(slot);
    }

    fn expire(&mut self, slot: u32, sink: &mut Sink<'_>) {
        let open = self.index.get(slot);
        if !open.trigger.closed() {
            // A closing pane needs no trigger; records that none has given out need one, or a policy that flushes them.
            let closing = open.new == 0 && self.rules.closing == Emission::Always;
            if closing || self.rules.flush_on_expiry || self.program.ready(&open.trigger, &self.now(&open.window)) {
                self.speak(slot, true, sink);
            }
            self.settle_row(slot, sink);
        }
        let window = self.index.remove(slot).window;
        // Those of its other keys expire with it.
        self.keys.remove(&window.filed());
    }

    /// The window can change no more: its row becomes complete.
    fn settle_row(&mut self, slot: u32, sink: &mut Sink<'_>) {
        let open = self.index.get_mut(slot);
        if self.touching.is_some() {
            if let Some(base) = &open.base {
                self.shape.merge(&mut open.fresh, base);
            }
            sink.row(open.window, open.key, open.fresh.columns());
        } else if open.new > 0 {
            sink.row(open.window, open.key, open.fresh.columns());
        }
    }

    /// Gives out a pane, unless it is empty and the policy wants none.
    fn speak(&mut self, slot: u32, last: bool, sink: &mut Sink<'_>) {
        let open = self.index.get_mut(slot);
        let window = open.window;
        // Whether the watermark is just coming by, from before the window's end.
        let passing = self.passing.is_some_and(|from| from < window.end);
        let timing = match open.said.map_or(Timing::Early, |said| said.timing) {
            Timing::Early if self.watermark < window.end => Timing::Early,
            // A record of it came in time, or the window's end is just passing: nothing later was said yet.
            Timing::Early if open.stamp.is_some() || passing => Timing::OnTime,
            _ => Timing::Late,
        };
        let all_again = self.program.repeats()
            && passing
            && self.rules.accumulation != Accumulation::Discarding
            && open.base.is_some();
        let wanted = open.new > 0
            || all_again
            || (timing == Timing::OnTime && self.rules.on_time == Emission::Always)
            || (last && self.rules.closing == Emission::Always);
        if !wanted {
            return;
        }
        let first = open.said.is_none();
        let settled = open.said.and_then(|said| said.settled);
        let said = Said {
            timing,
            index: open.said.map_or(0, |said| said.index.saturating_add(1)),
            settled: (timing != Timing::Early).then(|| settled.map_or(0, |i| i.saturating_add(1))),
        };
        open.said = Some(said);
        let stamp = open.stamp.take().map(|stamp| match self.rules.timestamp {
            TimestampCombiner::EndOfWindow => window.last() + self.rules.timestamp_shift,
            _ => stamp + self.rules.timestamp_shift,
        });
        let timestamp = stamp.unwrap_or(window.last());
        let new = core::mem::take(&mut open.new);
        if self.touching.is_none() && new > 0 {
            sink.row(window, open.key, open.fresh.columns());
        }
        let discarding = self.rules.accumulation == Accumulation::Discarding;
        let keep = |open: &mut Open| match &mut open.base {
            Some(base) => self.shape.merge(base, &open.fresh),
            None => open.base = Some(Box::new(open.fresh.clone())),
        };
        if !discarding {
            keep(open);
            self.shape.clear(&mut open.fresh);
        }
        let value = if discarding { Some(&open.fresh) } else { open.base.as_deref() };
        let value = value.expect("a pane has what is new or what is all");
        let told = |window, said: Said| Told {
            key: sink.key(open.key),
            window,
            timing: said.timing,
            first,
            last,
            retraction: false,
            index: said.index,
            settled_index: said.settled,
            timestamp,
            watermark: Some(self.watermark).filter(|w| *w != EventTime::MIN),
        };
        self.given.push(&told(window, said), value.columns(), value.kept());
        if self.rules.accumulation == Accumulation::Retracting {
            let mut order: Vec<u32> = (0..open.owed.len() as u32).collect();
            order::sort(&mut order, &mut |a, b| open.owed[a as usize].window.cmp(&open.owed[b as usize].window));
            for id in order {
                let Owed { window, said, first, timestamp, ref value } = open.owed[id as usize];
                let taken_back = Told { first, last: false, retraction: true, timestamp, ..told(window, said) };
                self.given.push(&taken_back, value.columns(), value.kept());
            }
            let value = value.clone();
            open.owed.clear();
            open.owed.push(Owed { window, said, first, timestamp, value });
        } else if discarding && !last {
            // Not after the last pane: the window goes, and its row takes both together.
            if self.touching.is_some() {
                keep(open);
            }
            self.shape.clear(&mut open.fresh);
        }
    }

    /// Gives the rows of all windows that are still open, as far as they have come, and forgets them.
    pub(crate) fn drain(&mut self, sink: &mut Sink<'_>) {
        let mut all: Vec<u32> = self.index.slots_unsorted().collect();
        self.sort(&mut all, sink);
        for slot in all {
            if !self.index.get(slot).trigger.closed() {
                self.settle_row(slot, sink);
            }
            self.index.remove(slot);
        }
        self.keys = Tree::new();
    }

    /// Windows that are open or whose trigger has finished: key, window, whether it has, whether contents are kept.
    pub(crate) fn held_unsorted(&self) -> impl Iterator<Item = (u32, Window, bool, bool)> {
        let content = |o: &Open| o.new > 0 || self.accumulates(o);
        self.index.iter_unsorted().map(move |o| (o.key, o.window, o.trigger.closed(), content(o)))
    }

    fn accumulates(&self, open: &Open) -> bool {
        self.rules.accumulation != Accumulation::Discarding && open.base.is_some()
    }
}

/// The contents of a window take a record.
#[inline(always)]
fn enter(open: &mut Open, e: &Element<'_>, shape: &Shape, watermark: EventTime, combiner: TimestampCombiner) {
    shape.add(&mut open.fresh, e.time, e.values);
    open.new = open.new.saturating_add(1);
    if e.time >= watermark {
        let stamp = open.stamp.unwrap_or(e.time);
        open.stamp = Some(match combiner {
            TimestampCombiner::Latest => stamp.max(e.time),
            _ => stamp.min(e.time),
        });
    }
}
