//! An independent recomputation: what must come out of a policy and a stream, by the plainest means.
//!
//! Windows stand in a list that is searched from one end to the other, contents are the records themselves, triggers are
//! trees that are walked at every question, values are computed anew from all records whenever they are shown. Nothing
//! is shared with the engine but the types of a policy and the readers of what it gives out. The rules come from the
//! scenarios' format and from Apache Beam's documentation of its triggers.
//!
//! A window is asked whether it has a pane to give when a record enters it, when the watermark reaches its end or a period
//! of event time, and when the clock reaches a delay that is waited for.
//!
//! Not here: sessions under every nesting of triggers (`model` holds what merging does to each, but Beam leaves open what
//! it should do to some), frames that enter whole.

mod support;

use plimsoll_core::engine::FlushMode;
use plimsoll_core::policy::{
    Accumulation, CalendarUnit, Emission, Future, LateBy, LateTo, Panes as Rules, Policy, Spec, Strategy as Follow,
    TimestampCombiner, Touching, Trigger, Windowing,
};
use plimsoll_core::wire::panes::{KeptValue, Pane, Timing};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use support::{Case, Rec, Run, Step, check};

/// `[start, end)`.
type Interval = (i64, i64);

/// A trigger in one window.
#[derive(Clone, Debug)]
struct Node {
    kind: Trigger,
    done: bool,
    count: u64,
    /// The instant that is waited for, on the clock or in event time.
    due: Option<i64>,
    kids: Vec<Node>,
}

/// The world as a trigger sees it.
#[derive(Clone, Copy)]
struct World {
    watermark: i64,
    clock: i64,
    end: i64,
    merging: bool,
}

impl World {
    fn ended(&self) -> bool {
        self.watermark >= self.end
    }
}

impl Node {
    fn new(kind: &Trigger) -> Self {
        let kids = match kind {
            Trigger::AfterWatermark { early: None, late: None } => Vec::new(),
            Trigger::AfterWatermark { early, late } => {
                let early = early.as_deref().map_or_else(|| Self::new(&Trigger::Never), Self::new);
                core::iter::once(early).chain(late.as_deref().map(Self::new)).collect()
            }
            Trigger::Repeatedly { trigger } => vec![Self::new(trigger)],
            Trigger::AfterEach { triggers } | Trigger::AfterAny { triggers } | Trigger::AfterAll { triggers } => {
                triggers.iter().map(Self::new).collect()
            }
            Trigger::OrFinally { main, until } => vec![Self::new(main), Self::new(until)],
            _ => Vec::new(),
        };
        Self { kind: kind.clone(), done: false, count: 0, due: None, kids }
    }

    fn element(&mut self, world: World, t: i64) {
        match &self.kind {
            Trigger::AfterCount { .. } => self.count += 1,
            Trigger::AfterProcessingTime { delay_ms, align_ms, align_offset_ms } => {
                if self.due.is_none() {
                    let mut due = world.clock + delay_ms;
                    while align_ms.is_some_and(|align| (due - align_offset_ms).rem_euclid(align) != 0) {
                        due += 1;
                    }
                    self.due = Some(due);
                }
            }
            Trigger::EveryEventTime { period_ms } => {
                self.due = self.due.or(Some((t.div_euclid(*period_ms) + 1) * period_ms));
            }
            Trigger::AfterWatermark { .. } | Trigger::AfterEach { .. } if !world.merging => {
                if let Some(kid) = self.kids.iter_mut().find(|kid| !kid.done) {
                    kid.element(world, t);
                }
            }
            _ => self.kids.iter_mut().for_each(|kid| kid.element(world, t)),
        }
    }

    fn ready(&self, world: World) -> bool {
        match &self.kind {
            Trigger::Default => world.ended(),
            Trigger::AfterWatermark { .. } => match &self.kids[..] {
                [] => world.ended(),
                [early, rest @ ..] if early.done => rest.iter().any(|late| late.ready(world)),
                [early, ..] => early.ready(world) || world.ended(),
            },
            Trigger::AfterCount { count } => self.count >= *count,
            Trigger::AfterProcessingTime { .. } => self.due.is_some_and(|due| world.clock >= due),
            Trigger::Repeatedly { .. } => self.kids[0].ready(world),
            Trigger::AfterEach { .. } => self.kids.iter().find(|kid| !kid.done).is_some_and(|kid| kid.ready(world)),
            Trigger::AfterAny { .. } => self.kids.iter().any(|kid| kid.done || kid.ready(world)),
            Trigger::AfterAll { .. } => self.kids.iter().all(|kid| kid.done || kid.ready(world)),
            Trigger::OrFinally { .. } => self.kids.iter().any(|kid| kid.ready(world)),
            Trigger::Always => true,
            Trigger::Never => false,
            Trigger::EveryEventTime { .. } => world.ended() || self.due.is_some_and(|due| world.watermark > due),
            _ => unreachable!("the generator knows these"),
        }
    }

    fn fire(&mut self, world: World) {
        match &self.kind {
            Trigger::Default | Trigger::Always | Trigger::Never => {}
            Trigger::AfterWatermark { .. } if self.kids.is_empty() => self.done = true,
            Trigger::AfterWatermark { .. } => {
                let (early, late) = self.kids.split_first_mut().expect("early is there");
                match (early.done, late.first_mut()) {
                    (false, _) if !world.ended() => early.fire_and_repeat(world),
                    (false, late) => {
                        early.forget();
                        early.done = true;
                        self.done = late.is_none();
                        late.into_iter().for_each(Self::forget);
                    }
                    (true, Some(late)) => late.fire_and_repeat(world),
                    (true, None) => self.done = true,
                }
            }
            Trigger::AfterCount { .. } | Trigger::AfterProcessingTime { .. } => {
                self.forget();
                self.done = true;
            }
            Trigger::EveryEventTime { period_ms } => {
                if self.due.is_some_and(|due| world.watermark > due) {
                    let periods = world.watermark.div_euclid(*period_ms);
                    let whole = world.watermark.rem_euclid(*period_ms) == 0;
                    self.due = Some(if whole { world.watermark } else { (periods + 1).saturating_mul(*period_ms) });
                }
            }
            Trigger::Repeatedly { .. } => {
                self.kids[0].fire(world);
                if self.kids[0].done {
                    self.kids[0].renew();
                }
            }
            Trigger::AfterEach { .. } => {
                self.kids.iter_mut().find(|kid| !kid.done).expect("it was ready").fire(world);
                if world.merging {
                    self.kids.iter_mut().for_each(Self::forget);
                }
                self.done = self.kids.iter().all(|kid| kid.done);
            }
            Trigger::AfterAny { .. } => {
                for kid in &mut self.kids {
                    if kid.ready(world) { kid.fire(world) } else { kid.forget() }
                }
                self.done = true;
            }
            Trigger::AfterAll { .. } => {
                self.kids.iter_mut().for_each(|kid| kid.fire(world));
                self.done = true;
            }
            Trigger::OrFinally { .. } => {
                let [main, until] = &mut self.kids[..] else { unreachable!("two of them") };
                if until.ready(world) {
                    until.fire(world);
                    main.forget();
                } else {
                    main.fire(world);
                }
                self.done = main.done || until.done;
            }
            _ => unreachable!("the generator knows these"),
        }
    }

    /// What is early or late repeats by itself: what it counted is gone with its pane.
    fn fire_and_repeat(&mut self, world: World) {
        self.fire(world);
        if self.done { self.renew() } else { self.forget() }
    }

    fn forget(&mut self) {
        (self.count, self.due) = (0, None);
        self.kids.iter_mut().for_each(Self::forget);
    }

    fn renew(&mut self) {
        *self = Self::new(&self.kind);
    }

    /// The instants that are waited for.
    fn dues(&self, clock: bool) -> Vec<i64> {
        let mine = match self.kind {
            Trigger::AfterProcessingTime { .. } => clock,
            Trigger::EveryEventTime { .. } => !clock,
            _ => false,
        };
        let kids = self.kids.iter().flat_map(|kid| kid.dues(clock));
        self.due.filter(|_| mine).into_iter().chain(kids).collect()
    }

    /// One trigger of those of sessions that became one.
    fn merged(parts: &[&Node], world: World) -> Node {
        let mut whole = Self::new(&parts[0].kind);
        let all = parts.iter().all(|p| p.done);
        let any = parts.iter().any(|p| p.done);
        let kid = |i: usize| Self::merged(&parts.iter().map(|p| &p.kids[i]).collect::<Vec<_>>(), world);
        let kids = parts[0].kids.len();
        match whole.kind {
            Trigger::AfterWatermark { .. } if kids == 0 => whole.done = all && world.ended(),
            Trigger::AfterWatermark { .. } => {
                let over = parts.iter().all(|p| p.kids[0].done) && world.ended();
                if over {
                    whole.kids[0].done = true;
                    (1..kids).for_each(|i| whole.kids[i] = kid(i));
                } else {
                    whole.kids[0] = kid(0);
                    whole.kids[0].done = false;
                }
                whole.done = over && kids == 1;
            }
            Trigger::AfterCount { .. } => {
                whole.done = any;
                whole.count = if any { 0 } else { parts.iter().map(|p| p.count).sum() };
            }
            Trigger::AfterProcessingTime { .. } | Trigger::EveryEventTime { .. } => {
                whole.done = all;
                whole.due = parts.iter().filter_map(|p| p.due).min().filter(|_| !all);
            }
            Trigger::AfterEach { .. } => {
                for i in 0..kids {
                    whole.kids[i] = kid(i);
                    if !whole.kids[i].done {
                        break;
                    }
                }
                whole.done = whole.kids.iter().all(|kid| kid.done);
            }
            _ => {
                whole.kids = (0..kids).map(kid).collect();
                whole.done = match whole.kind {
                    Trigger::AfterAll { .. } => whole.kids.iter().all(|kid| kid.done),
                    Trigger::AfterAny { .. } | Trigger::OrFinally { .. } => whole.kids.iter().any(|kid| kid.done),
                    _ => false,
                };
            }
        }
        whole
    }
}

/// A window of one key.
#[derive(Clone)]
struct Window {
    key: u8,
    bounds: Interval,
    trigger: Node,
    /// Records that panes have shown, and those that none has.
    shown: Vec<Rec>,
    new: Vec<Rec>,
    /// Times of those that were not behind the watermark.
    timely: Vec<i64>,
    said: Option<Pane>,
    /// Panes that are to be taken back.
    owed: Vec<Pane>,
}

/// Columns of a row.
type Columns = Vec<Option<i128>>;
/// Rows by table (none: main, else the arrival day), window and key.
type Rows = BTreeMap<(Option<Option<i64>>, Interval, Vec<u8>), Vec<Rec>>;

/// Everything that has been and is.
struct Model<'a> {
    spec: &'a Spec,
    rules: &'a Rules,
    calendar: Vec<i64>,
    watermark: i64,
    /// While it rises: where from.
    passing: Option<i64>,
    clock: i64,
    times: Vec<i64>,
    arrivals: Vec<i64>,
    open: Vec<Window>,
    finished: Vec<(u8, Interval)>,
    panes: Vec<Pane>,
    rows: Rows,
    expired: u64,
    closed: u64,
    /// counted, late, future, filtered
    account: [u64; 4],
    /// Of those counted: in an overflow row.
    overflow: u64,
}

impl<'a> Model<'a> {
    fn new(policy: &'a Policy) -> Self {
        let spec = policy.spec();
        Self {
            spec,
            rules: spec.panes.as_ref().expect("policies with panes"),
            calendar: calendar(&spec.window),
            watermark: i64::MIN,
            passing: None,
            clock: 0,
            times: Vec::new(),
            arrivals: Vec::new(),
            open: Vec::new(),
            finished: Vec::new(),
            panes: Vec::new(),
            rows: Rows::new(),
            expired: 0,
            closed: 0,
            account: [0; 4],
            overflow: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Record(r) => self.record(r),
            Step::Watermark(w) => {
                if self.spec.watermark.strategy == Follow::Given {
                    self.rise_to(w.saturating_sub(self.spec.watermark.delay.as_millis()));
                }
            }
            Step::Tick(at) => self.tick(*at),
            Step::Arrival(at) => self.arrived(*at),
        }
    }

    fn arrived(&mut self, at: i64) {
        self.arrivals.push(at);
        if self.spec.watermark.strategy == Follow::Arrival {
            self.rise_to(at - self.spec.watermark.delay.as_millis());
        }
    }

    fn record(&mut self, r: &Rec) {
        let mut r = r.clone();
        let mut believed = true;
        if let Some(at) = r.arrival {
            self.arrived(at);
            if let Some(limit) = self.spec.watermark.max_future.map(|f| at + f.as_millis()).filter(|limit| r.t > *limit)
            {
                believed = false;
                match self.spec.watermark.future {
                    _ if !support::passes(self.spec, &r) => return self.account[3] += 1,
                    Future::Quarantine => return self.account[2] += 1,
                    Future::Clamp => r.t = limit,
                    _ => {}
                }
            }
        }
        if believed {
            self.times.push(r.t);
            let estimate = match self.spec.watermark.strategy {
                Follow::Max => self.times.iter().max().copied(),
                // The greatest that it ever was.
                Follow::Quantile { q_milli, sample, min_sample, .. } => (1..=self.times.len())
                    .filter_map(|n| quantile(&self.times[..n], q_milli, sample as usize, min_sample as usize))
                    .max(),
                _ => None,
            };
            if let Some(estimate) = estimate {
                let claim = estimate - self.spec.watermark.delay.as_millis();
                self.rise_to(self.arrivals.iter().max().map_or(claim, |at| claim.min(*at)));
            }
        }
        if !support::passes(self.spec, &r) {
            return self.account[3] += 1;
        }
        let by_itself = self.spec.late.by == LateBy::Record && r.t < self.watermark;
        let (mut refused, mut taken) = (Vec::new(), Vec::new());
        for bounds in self.assign(&r) {
            let own = Rec { key: self.within_budget(r.key, bounds), ..r.clone() };
            if by_itself || (self.joined(&own, bounds).is_empty() && self.refuses(own.key, bounds)) {
                refused.push(bounds);
            } else {
                taken.push((bounds, own));
            }
        }
        self.overflow += u64::from(taken.iter().any(|(_, own)| own.key != r.key));
        let class = if !taken.is_empty() {
            0
        } else if !refused.is_empty() {
            1
        } else {
            3
        };
        self.account[class] += 1;
        if self.spec.late.to == LateTo::Table {
            let day = r.arrival.map(|at| at.div_euclid(86_400_000));
            for bounds in refused {
                self.rows.entry((Some(day), bounds, support::key_text(r.key))).or_default().push(r.clone());
            }
        }
        taken.sort_by_key(|((start, end), _)| (*end, *start));
        let taken: Vec<_> = taken.into_iter().map(|(bounds, own)| (self.enter(&own, bounds), own.key)).collect();
        for (bounds, key) in taken {
            let at = self.open.iter().position(|w| w.key == key && w.bounds == bounds).expect("just entered");
            self.ask(at);
        }
    }

    /// The key whose row a window counts a record in.
    fn within_budget(&self, key: u8, bounds: Interval) -> u8 {
        let Some(most) = self.spec.limits.keys_per_window else { return key };
        let open = self.open.iter().map(|w| (w.key, w.bounds));
        let all = open.chain(self.finished.iter().copied()).filter(|(_, b)| *b == bounds).map(|(key, _)| key);
        let keys: BTreeSet<u8> = all.filter(|key| *key != support::OVERFLOW).collect();
        if keys.contains(&key) || keys.len() < most as usize { key } else { support::OVERFLOW }
    }

    fn merging(&self) -> bool {
        matches!(self.spec.window, Windowing::Session { .. })
    }

    /// The windows that a record would be in by itself.
    fn assign(&self, r: &Rec) -> Vec<Interval> {
        let t = r.t;
        let starts_at = |size: i64, period: i64, offset: i64| {
            (t - size + 1..=t).filter(move |start| (start - offset).rem_euclid(period) == 0)
        };
        match &self.spec.window {
            Windowing::Fixed { size, offset } => {
                let (size, offset) = (size.as_millis(), offset.as_millis());
                starts_at(size, size, offset).map(|start| (start, start + size)).collect()
            }
            Windowing::Sliding { size, every, offset } => {
                let size = size.as_millis();
                starts_at(size, every.as_millis(), offset.as_millis()).map(|start| (start, start + size)).collect()
            }
            Windowing::Cumulative { size, step, offset } => {
                let (size, step) = (size.as_millis(), step.as_millis());
                let starts = starts_at(size, size, offset.as_millis());
                let all = starts.flat_map(|start| (1..=size / step).map(move |k| (start, start + k * step)));
                all.filter(|(_, end)| t < *end).collect()
            }
            Windowing::Calendar { .. } => {
                let next = self.calendar.iter().position(|bound| *bound > t).expect("the calendar reaches far enough");
                vec![(self.calendar[next - 1], self.calendar[next])]
            }
            Windowing::Session { gap, gap_field, .. } => {
                let own = r.gap.filter(|_| gap_field.is_some());
                vec![(t, t + own.unwrap_or(gap.as_millis()))]
            }
            _ => vec![(i64::MIN, i64::MAX)],
        }
    }

    fn has_expired(&self, (_, end): Interval) -> bool {
        self.watermark >= end.saturating_add(self.spec.late.allowed_lateness.as_millis())
    }

    fn refuses(&mut self, key: u8, bounds: Interval) -> bool {
        if self.has_expired(bounds) {
            self.expired += 1;
            return true;
        }
        let finished = self.finished.contains(&(key, bounds));
        self.closed += u64::from(finished);
        finished
    }

    /// The open windows that are one with a record's interval, in the order of time.
    fn joined(&self, r: &Rec, (start, end): Interval) -> Vec<usize> {
        let touching = match self.spec.window {
            Windowing::Session { touching, .. } => Some(touching),
            _ => None,
        };
        let one = |w: &Window| match touching {
            None => w.bounds == (start, end),
            Some(Touching::Merge) => w.bounds.0 <= end && start <= w.bounds.1,
            // Two that share an instant, where one without extent is its instant.
            Some(_) => {
                let last = |(start, end): Interval| if start == end { start } else { end - 1 };
                w.bounds.0 <= last((start, end)) && start <= last(w.bounds)
            }
        };
        let mut all: Vec<usize> =
            (0..self.open.len()).filter(|i| self.open[*i].key == r.key && one(&self.open[*i])).collect();
        all.sort_by_key(|i| (self.open[*i].bounds.1, self.open[*i].bounds.0));
        all
    }

    /// Puts a record into the window of its interval, which it may merge; that window's bounds.
    fn enter(&mut self, r: &Rec, (start, end): Interval) -> Interval {
        let joined = self.joined(r, (start, end));
        let mut parts: Vec<Window> = joined.iter().map(|i| self.open[*i].clone()).collect();
        self.open.retain(|w| !parts.iter().any(|p| p.key == w.key && p.bounds == w.bounds));
        let hull = parts.iter().fold((start, end), |h, p| (h.0.min(p.bounds.0), h.1.max(p.bounds.1)));
        let mut window = match &parts[..] {
            [] => Window {
                key: r.key,
                bounds: hull,
                trigger: Node::new(&self.rules.trigger),
                shown: Vec::new(),
                new: Vec::new(),
                timely: Vec::new(),
                said: None,
                owed: Vec::new(),
            },
            [one] if one.bounds == hull => parts.remove(0),
            _ => {
                let triggers: Vec<&Node> = parts.iter().map(|p| &p.trigger).collect();
                Window {
                    key: r.key,
                    bounds: hull,
                    trigger: Node::merged(&triggers, self.world(hull)),
                    shown: parts.iter().flat_map(|p| p.shown.clone()).collect(),
                    new: parts.iter().flat_map(|p| p.new.clone()).collect(),
                    timely: parts.iter().flat_map(|p| p.timely.clone()).collect(),
                    said: parts.iter().find(|p| p.bounds == hull).and_then(|p| p.said.clone()),
                    owed: parts.iter().flat_map(|p| p.owed.clone()).collect(),
                }
            }
        };
        window.new.push(r.clone());
        if r.t >= self.watermark {
            window.timely.push(r.t);
        }
        let world = self.world(hull);
        window.trigger.element(world, r.t);
        self.open.push(window);
        hull
    }

    fn world(&self, bounds: Interval) -> World {
        World { watermark: self.watermark, clock: self.clock, end: bounds.1, merging: self.merging() }
    }

    fn rise_to(&mut self, w: i64) {
        if w <= self.watermark {
            return;
        }
        let before = self.watermark;
        self.passing = Some(before);
        self.watermark = w;
        for (key, bounds) in self.in_order() {
            let at = self.open.iter().position(|o| o.key == key && o.bounds == bounds).expect("still open");
            let ends = before < bounds.1 && w >= bounds.1;
            let period = before < bounds.1 && self.open[at].trigger.dues(false).iter().any(|due| w > *due);
            if self.has_expired(bounds) {
                let world = self.world(bounds);
                let window = &self.open[at];
                let due = self.rules.flush_on_expiry || window.trigger.ready(world);
                if due || (window.new.is_empty() && self.rules.closing == Emission::Always) {
                    self.speak(at, true);
                }
                let window = self.open.remove(at);
                self.complete(&window);
            } else if ends || period {
                self.ask(at);
            }
        }
        self.passing = None;
        let lateness = self.spec.late.allowed_lateness.as_millis();
        self.finished.retain(|(_, (_, end))| end.saturating_add(lateness) > w);
    }

    fn tick(&mut self, at: i64) {
        self.clock = self.clock.max(at);
        for (key, bounds) in self.in_order() {
            let at = self.open.iter().position(|o| o.key == key && o.bounds == bounds).expect("still open");
            if self.open[at].trigger.dues(true).iter().any(|due| self.clock >= *due) {
                self.ask(at);
            }
        }
    }

    /// The open windows in the order in which they speak.
    fn in_order(&self) -> Vec<(u8, Interval)> {
        let mut all: Vec<(u8, Interval)> = self.open.iter().map(|w| (w.key, w.bounds)).collect();
        all.sort_by_key(|(key, (start, end))| (*end, *start, support::key_text(*key)));
        all
    }

    fn ask(&mut self, at: usize) {
        let world = self.world(self.open[at].bounds);
        if self.open[at].trigger.ready(world) {
            self.open[at].trigger.fire(world);
            let done = self.open[at].trigger.done;
            self.speak(at, done);
            if done {
                let window = self.open.remove(at);
                self.complete(&window);
                self.finished.push((window.key, window.bounds));
            }
        }
    }

    /// The window has all the records it will ever have.
    fn complete(&mut self, w: &Window) {
        let all = w.shown.iter().chain(&w.new).cloned();
        self.rows.entry((None, w.bounds, support::key_text(w.key))).or_default().extend(all);
    }

    fn speak(&mut self, at: usize, last: bool) {
        let w = &mut self.open[at];
        let only_early = w.said.as_ref().is_none_or(|said| said.timing == Timing::Early);
        let timing = match only_early {
            true if self.watermark < w.bounds.1 => Timing::Early,
            // A record of it came in time, or the end passes at this very moment.
            true if !w.timely.is_empty() || self.passing.is_some_and(|from| from < w.bounds.1) => Timing::OnTime,
            _ => Timing::Late,
        };
        let all_again = matches!(self.rules.trigger, plimsoll_core::policy::Trigger::EveryEventTime { .. })
            && self.passing.is_some_and(|from| from < w.bounds.1)
            && self.rules.accumulation != Accumulation::Discarding
            && !w.shown.is_empty();
        let wanted = !w.new.is_empty()
            || all_again
            || (timing == Timing::OnTime && self.rules.on_time == Emission::Always)
            || (last && self.rules.closing == Emission::Always);
        if !wanted {
            return;
        }
        let combined = match self.rules.timestamp {
            TimestampCombiner::Earliest => w.timely.iter().min().copied(),
            TimestampCombiner::Latest => w.timely.iter().max().copied(),
            TimestampCombiner::EndOfWindow => w.timely.first().map(|_| w.bounds.1 - 1),
        };
        let timestamp = combined.map_or(w.bounds.1 - 1, |t| t.saturating_add(self.rules.timestamp_shift.as_millis()));
        let new = std::mem::take(&mut w.new);
        w.timely.clear();
        w.shown.extend(new.iter().cloned());
        let value = if self.rules.accumulation == Accumulation::Discarding { &new } else { &w.shown };
        let settled = w.said.as_ref().and_then(|said| said.settled_index);
        let pane = Pane {
            key: support::key_text(w.key),
            window: plimsoll_core::window::Window {
                start: plimsoll_core::time::EventTime::from_millis(w.bounds.0),
                end: plimsoll_core::time::EventTime::from_millis(w.bounds.1),
            },
            timing,
            first: w.said.is_none(),
            last,
            retraction: false,
            index: w.said.as_ref().map_or(0, |said| said.index + 1),
            settled_index: (timing != Timing::Early).then(|| settled.map_or(0, |i| i + 1)),
            timestamp: plimsoll_core::time::EventTime::from_millis(timestamp),
            watermark: Some(plimsoll_core::time::EventTime::from_millis(self.watermark))
                .filter(|_| self.watermark > i64::MIN),
            columns: columns(value),
            kept: kept(value),
        };
        let back: Vec<Pane> = std::mem::take(&mut w.owed)
            .into_iter()
            .map(|owed| Pane { retraction: true, last: false, watermark: pane.watermark, ..owed })
            .collect();
        if self.rules.accumulation == Accumulation::Retracting {
            w.owed.push(pane.clone());
        }
        w.said = Some(pane.clone());
        self.panes.push(pane);
        self.panes.extend(back);
    }

    /// The stream is over: what is still open has its row.
    fn end(&mut self) {
        for w in std::mem::take(&mut self.open) {
            self.complete(&w);
        }
    }
}

/// Of the last `sample` times the quantile by linear interpolation, once there are enough.
fn quantile(times: &[i64], q_milli: u32, sample: usize, least: usize) -> Option<i64> {
    let mut last: Vec<i64> = times[times.len().saturating_sub(sample)..].to_vec();
    if last.len() < least {
        return None;
    }
    last.sort_unstable();
    let place = i64::from(q_milli) * (last.len() as i64 - 1);
    let (low, part) = ((place / 1_000) as usize, place % 1_000);
    let high = (low + 1).min(last.len() - 1);
    Some(last[low] + (last[high] - last[low]) * part / 1_000)
}

fn columns(records: &[Rec]) -> Columns {
    let values: Vec<i128> = records.iter().filter_map(|r| r.v.map(i128::from)).collect();
    let some = |n: i128| (!values.is_empty()).then_some(n);
    vec![
        (!records.is_empty()).then_some(records.len() as i128),
        some(values.len() as i128),
        some(values.iter().sum()),
        values.iter().min().copied(),
        values.iter().max().copied(),
        some(values.iter().map(|v| v * v).sum()),
    ]
}

fn kept(records: &[Rec]) -> Vec<KeptValue> {
    let values: Vec<(i64, Vec<u8>)> =
        records.iter().filter_map(|r| r.v.map(|v| (r.t, v.to_string().into_bytes()))).collect();
    let text =
        |found: Option<&(i64, Vec<u8>)>| found.map_or(KeptValue::None, |(_, text)| KeptValue::Text(text.clone()));
    let first = values.iter().min_by_key(|(t, _)| *t);
    let last = values.iter().max_by_key(|(t, _)| *t);
    let list = values.iter().take(3).map(|(_, text)| text.clone()).collect();
    vec![text(first), text(last), KeptValue::List { values: list, left_out: values.len().saturating_sub(3) as u64 }]
}

/// The bounds of a calendar's windows, found by walking through time in quarters of an hour.
fn calendar(windowing: &Windowing) -> Vec<i64> {
    let Windowing::Calendar { every, zone } = windowing else { return Vec::new() };
    const QUARTER: i64 = 900;
    let (mut bounds, mut furthest, mut changes) = (Vec::new(), None, 0);
    let mut second = -70 * 86_400;
    while second < 90 * 86_400 {
        let passed = zone.changes.iter().filter(|(at, _)| *at <= second).count();
        let offset = if passed == 0 { zone.first } else { zone.changes[passed - 1].1 };
        let local = second + i64::from(offset);
        let unit = match every {
            CalendarUnit::Hour => local.div_euclid(3_600),
            CalendarUnit::Day => local.div_euclid(86_400),
            CalendarUnit::Week => (local.div_euclid(86_400) + 3).div_euclid(7),
            _ => month(local.div_euclid(86_400)),
        };
        // An hour is cut where the clock changes; longer units go on to where the next begins for the first time.
        let cut = *every == CalendarUnit::Hour && (passed != changes || furthest != Some(unit));
        if cut || furthest.is_none_or(|f| unit > f) {
            bounds.push(second * 1_000);
            furthest = Some(unit);
        }
        changes = passed;
        second += QUARTER;
    }
    bounds
}

/// Months since January 1970, by counting days.
fn month(day: i64) -> i64 {
    let length = |m: i64| match m.rem_euclid(12) {
        1 => {
            if (1970 + m.div_euclid(12)) % 4 == 0 {
                29
            } else {
                28
            }
        }
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    };
    let (mut m, mut first) = (0, 0);
    while day < first {
        m -= 1;
        first -= length(m);
    }
    while day >= first + length(m) {
        first += length(m);
        m += 1;
    }
    m
}

fn agree(case: &Case) -> Result<(), TestCaseError> {
    let mut model = Model::new(&case.policy);
    let mut run = Run::new(&case.policy);
    for (i, step) in case.steps.iter().enumerate() {
        let (told, given) = (model.panes.len(), run.panes.len());
        model.step(step);
        run.apply(&support::frame_of(i, step));
        run.ask();
        prop_assert_eq!(&model.panes[told..], &run.panes[given..], "panes (expected, got) of step {}", i);
        prop_assert_eq!((model.expired, model.closed), (run.expired, run.closed), "refused by step {}", i);
        let watermark = run.engine.progress().watermark.map_or(i64::MIN, |w| w.as_millis());
        prop_assert_eq!(model.watermark, watermark, "watermark after step {}", i);
    }
    model.end();
    run.flush(FlushMode::Drain);
    let rows: BTreeMap<_, Columns> = model.rows.iter().map(|(at, records)| (at.clone(), columns(records))).collect();
    prop_assert_eq!(&rows, &engine_rows(&run), "rows (expected, got)");
    let account = run.rows.account();
    let told = [account.counted, account.late, account.future, account.filtered];
    prop_assert_eq!(model.account, told, "counted, late, future, filtered");
    prop_assert_eq!(model.overflow, account.overflow, "in overflow rows");
    let letters: u64 = if case.policy.spec().late.to == LateTo::DeadLetters { model.account[1] } else { 0 };
    prop_assert_eq!(run.rows.dead().len() as u64, letters + model.account[2], "dead letters");
    Ok(())
}

type EngineRows = BTreeMap<(Option<Option<i64>>, Interval, Vec<u8>), Columns>;

fn engine_rows(run: &Run) -> EngineRows {
    let at = |w: &plimsoll_core::window::Window| (w.start.as_millis(), w.end.as_millis());
    let main = run.rows.main().map(|(w, row)| ((None, at(w), row.key.clone()), row.values.clone()));
    let late = run.rows.late().map(|(w, day, row)| ((Some(day), at(w), row.key.clone()), row.values.clone()));
    main.chain(late).collect()
}

#[test]
fn windows_that_do_not_merge_under_the_whole_algebra() {
    let policies = support::policies(support::windows(), support::triggers());
    check("windows", 14_000, &support::cases(policies, 40), |case| agree(&case));
}

/// Triggers of which Beam says what merging does to them.
fn merging_triggers() -> impl Strategy<Value = Trigger> {
    let repeated = support::leaves().prop_map(|trigger| Trigger::Repeatedly { trigger: Box::new(trigger) });
    let part = || proptest::option::of(support::leaves().prop_map(Box::new));
    let ends = (part(), part()).prop_map(|(early, late)| Trigger::AfterWatermark { early, late });
    let any = || proptest::collection::vec(support::leaves(), 2..4).prop_map(|triggers| Trigger::AfterAny { triggers });
    let again = any().prop_map(|trigger| Trigger::Repeatedly { trigger: Box::new(trigger) });
    prop_oneof![3 => support::leaves(), 3 => repeated, 4 => ends, 1 => any(), 1 => again]
}

#[test]
fn sessions_of_one_key_after_the_other() {
    let policies = support::policies(support::sessions(), merging_triggers());
    check("sessions", 8_000, &support::cases(policies, 40), |case| agree(&case));
}

#[test]
fn an_early_trigger_that_comes_back_begins_anew() {
    // The session of key "2" has a pane, ends, is prolonged while it stays ended, and then lives on.
    let ms = plimsoll_core::time::TimeDelta::from_millis;
    let waits = |delay_ms| Trigger::AfterProcessingTime { delay_ms, align_ms: None, align_offset_ms: 0 };
    let early = Trigger::AfterEach { triggers: vec![waits(2), Trigger::AfterCount { count: 3 }] };
    let trigger = Trigger::AfterWatermark { early: Some(Box::new(early)), late: Some(Box::new(waits(4))) };
    let window = Windowing::Session { gap: ms(4), gap_field: None, touching: Touching::Merge };
    let mut spec = support::spec(window, support::panes(trigger, Accumulation::Discarding));
    spec.late.allowed_lateness = ms(9);
    let record = |t| Step::Record(Rec { key: 2, t, v: None, gap: None, arrival: None });
    let steps =
        vec![record(-10), Step::Tick(2), Step::Watermark(-2), record(-6), Step::Tick(4), record(-2), Step::Tick(9)];
    let case = Case { policy: Policy::new(spec).expect("valid"), steps };
    agree(&case).unwrap_or_else(|e| panic!("{e}"));
    let mut run = Run::new(&case.policy);
    case.steps.iter().enumerate().for_each(|(i, step)| run.apply(&support::frame_of(i, step)));
    run.ask();
    assert_eq!(run.panes.iter().map(|p| p.columns[0]).collect::<Vec<_>>(), [Some(1), None, Some(2)]);
}

#[test]
fn sessions_under_the_whole_algebra() {
    let policies = support::policies(support::sessions(), support::triggers());
    check("sessions, all triggers", 4_000, &support::cases(policies, 40), |case| agree(&case));
}
