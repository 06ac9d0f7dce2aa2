//! When a window gives out a pane: a policy's trigger as a small program, and its state in one window.
//!
//! The rules are those of Apache Beam's trigger state machines (`runners/core-java`, `...triggers`), which are the
//! Dataflow model's own: a record is shown to the trigger, the trigger is asked whether it is ready, and told when it
//! has fired; when sessions merge, their states do.
//!
//! ```text
//! tree in preorder:   [after_watermark] [early: repeatedly] [after_count] [late: after_count]
//! state:              one bit a node: has it finished?       one number a leaf that counts or waits
//! ```
//! Invariants
//! - A finished root has nothing more to say; only a merge can make it active again.
//! - A trigger that is ready stays ready while records come.
//! - Time comes from outside: the watermark and the clock are in `Now`.
//!
//! Not here: what a pane holds and whether an empty one comes out (`panes`).

use crate::policy::Trigger;
use crate::time::EventTime;
use crate::wire::WireError;
use crate::wire::varint::{Cursor, put_i64, put_u64};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// A number that counts nothing and waits for nothing.
const UNSET: i64 = i64::MIN;

/// A trigger in preorder.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    nodes: Vec<Node>,
    leaves: usize,
    merging: bool,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    kind: Kind,
    /// The node after this one's subtree.
    to: usize,
    /// Its number in `State::leaves`, for leaves that have one.
    leaf: usize,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Default,
    EndOfWindow,
    /// Children: early, and late where there is one.
    EarlyAndLate {
        late: bool,
    },
    Count(i64),
    Delay {
        delay: i64,
        align: i64,
        offset: i64,
    },
    Repeatedly,
    Each,
    Any,
    All,
    OrFinally,
    Always,
    Never,
    EventPeriod(i64),
}

/// What a trigger remembers of one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    finished: u64,
    leaves: Box<[i64]>,
}

/// What a trigger is told of the world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// The lane's watermark.
    pub watermark: EventTime,
    /// The last recorded tick, in milliseconds.
    pub clock: i64,
    /// The end of the window.
    pub end: EventTime,
}

impl Now {
    fn ended(&self) -> bool {
        self.watermark >= self.end
    }
}

impl State {
    /// Whether the trigger has nothing more to say.
    pub(crate) fn closed(&self) -> bool {
        self.finished & 1 != 0
    }

    fn is(&self, node: usize) -> bool {
        self.finished >> node & 1 != 0
    }

    fn set(&mut self, node: usize, finished: bool) {
        self.finished = self.finished & !(1 << node) | u64::from(finished) << node;
    }

    /// Appends it.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        put_u64(out, self.finished);
        for n in &self.leaves {
            put_i64(out, *n);
        }
    }
}

impl Program {
    /// A checked policy's trigger; `merging` where windows merge.
    pub(crate) fn new(trigger: &Trigger, merging: bool) -> Self {
        let mut program = Self { nodes: Vec::new(), leaves: 0, merging };
        program.compile(trigger);
        program
    }

    fn compile(&mut self, trigger: &Trigger) {
        let at = self.nodes.len();
        let never = Trigger::Never;
        let (kind, children): (Kind, Vec<&Trigger>) = match trigger {
            Trigger::Default => (Kind::Default, Vec::new()),
            Trigger::AfterWatermark { early: None, late: None } => (Kind::EndOfWindow, Vec::new()),
            Trigger::AfterWatermark { early, late } => {
                let early = early.as_deref().unwrap_or(&never);
                let children = core::iter::once(early).chain(late.as_deref()).collect();
                (Kind::EarlyAndLate { late: late.is_some() }, children)
            }
            Trigger::AfterCount { count } => (Kind::Count(i64::try_from(*count).unwrap_or(i64::MAX)), Vec::new()),
            Trigger::AfterProcessingTime { delay_ms, align_ms, align_offset_ms } => {
                let align = align_ms.unwrap_or(1);
                (Kind::Delay { delay: *delay_ms, align, offset: *align_offset_ms }, Vec::new())
            }
            Trigger::Repeatedly { trigger } => (Kind::Repeatedly, alloc::vec![&**trigger]),
            Trigger::AfterEach { triggers } => (Kind::Each, triggers.iter().collect()),
            Trigger::AfterAny { triggers } => (Kind::Any, triggers.iter().collect()),
            Trigger::AfterAll { triggers } => (Kind::All, triggers.iter().collect()),
            Trigger::OrFinally { main, until } => (Kind::OrFinally, alloc::vec![&**main, &**until]),
            Trigger::Always => (Kind::Always, Vec::new()),
            Trigger::Never => (Kind::Never, Vec::new()),
            Trigger::EveryEventTime { period_ms } => (Kind::EventPeriod(*period_ms), Vec::new()),
        };
        let leaf = self.leaves;
        self.leaves += usize::from(matches!(kind, Kind::Count(_) | Kind::Delay { .. } | Kind::EventPeriod(_)));
        self.nodes.push(Node { kind, to: 0, leaf });
        children.into_iter().for_each(|child| self.compile(child));
        self.nodes[at].to = self.nodes.len();
    }

    /// Whether it says again what was said before, at every period, though nothing is new.
    pub(crate) fn repeats(&self) -> bool {
        self.nodes.first().is_some_and(|root| matches!(root.kind, Kind::EventPeriod(_)))
    }

    /// Whether it is the default trigger, which says nothing before the window's end and remembers nothing.
    #[inline]
    pub(crate) fn plain(&self) -> bool {
        matches!(self.nodes[..], [Node { kind: Kind::Default, .. }])
    }

    /// Whether records may give it something to wait for beside the window's end.
    pub(crate) fn waits(&self) -> bool {
        self.nodes.iter().any(|n| matches!(n.kind, Kind::Delay { .. } | Kind::EventPeriod(_)))
    }

    /// The state of a window that has seen nothing.
    pub(crate) fn fresh(&self) -> State {
        State { finished: 0, leaves: self.blank() }
    }

    fn blank(&self) -> Box<[i64]> {
        self.nodes.iter().filter_map(|n| self.unset(n)).collect()
    }

    /// A leaf's number before it has seen anything.
    fn unset(&self, node: &Node) -> Option<i64> {
        match node.kind {
            Kind::Count(_) => Some(0),
            Kind::Delay { .. } | Kind::EventPeriod(_) => Some(UNSET),
            _ => None,
        }
    }

    /// Reads what `State::write` wrote.
    pub(crate) fn read(&self, c: &mut Cursor<'_>) -> Result<State, WireError> {
        let finished = c.varint_u64()?;
        if self.nodes.len() < 64 && finished >> self.nodes.len() != 0 {
            return Err(c.bad("a trigger with more nodes than the policy's"));
        }
        let mut leaves = Vec::with_capacity(self.leaves);
        for node in &self.nodes {
            if let Some(unset) = self.unset(node) {
                let n = c.varint_i64()?;
                if unset == 0 && n < 0 {
                    return Err(c.bad("a count below 0"));
                }
                leaves.push(n);
            }
        }
        Ok(State { finished, leaves: leaves.into() })
    }

    /// Shows it a record of event time `t`, which entered the window's pane.
    pub(crate) fn element(&self, s: &mut State, now: &Now, t: EventTime) {
        self.on_element(0, s, now, t);
    }

    /// Whether a pane is to be given out.
    pub(crate) fn ready(&self, s: &State, now: &Now) -> bool {
        !s.closed() && self.should_fire(0, s, now)
    }

    /// Tells it that it fired: it was ready.
    pub(crate) fn fired(&self, s: &mut State, now: &Now) {
        self.on_fire(0, s, now);
    }

    /// The state of a window that others have become one with.
    pub(crate) fn merge(&self, parts: &[&State], now: &Now) -> State {
        let mut s = parts.first().map_or_else(|| self.fresh(), |first| (*first).clone());
        self.on_merge(0, &mut s, parts, now);
        s
    }

    /// The earliest tick at which it may become ready.
    pub(crate) fn clock_due(&self, s: &State) -> Option<i64> {
        self.due(s, |kind| matches!(kind, Kind::Delay { .. }))
    }

    /// The earliest watermark, before the window's end, at which it may become ready.
    pub(crate) fn event_due(&self, s: &State) -> Option<EventTime> {
        // Due once the watermark is past the instant, as its end is past a window's last millisecond.
        let due = self.due(s, |kind| matches!(kind, Kind::EventPeriod(_)))?;
        Some(EventTime::from_millis(due.saturating_add(1)))
    }

    fn due(&self, s: &State, wanted: impl Fn(&Kind) -> bool) -> Option<i64> {
        if self.leaves == 0 {
            return None;
        }
        let leaves = self.nodes.iter().filter(|n| wanted(&n.kind)).map(|n| s.leaves[n.leaf]);
        leaves.filter(|due| *due != UNSET).min()
    }

    fn children(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        let (mut next, end) = (node + 1, self.nodes[node].to);
        core::iter::from_fn(move || {
            let child = (next < end).then_some(next)?;
            next = self.nodes[child].to;
            Some(child)
        })
    }

    fn unfinished(&self, node: usize, s: &State) -> Option<usize> {
        self.children(node).find(|child| !s.is(*child))
    }

    fn on_element(&self, node: usize, s: &mut State, now: &Now, t: EventTime) {
        let Node { kind, leaf, .. } = self.nodes[node];
        match kind {
            Kind::Default | Kind::EndOfWindow | Kind::Always | Kind::Never => {}
            Kind::Count(_) => s.leaves[leaf] = s.leaves[leaf].saturating_add(1),
            Kind::Delay { delay, align, offset } => {
                if s.leaves[leaf] == UNSET {
                    s.leaves[leaf] = up_to_multiple(now.clock.saturating_add(delay), align, offset);
                }
            }
            Kind::EventPeriod(period) => {
                if s.leaves[leaf] == UNSET {
                    s.leaves[leaf] = after(t, period);
                }
            }
            // Where windows merge, a merge may bring any of them back: all see every record.
            Kind::EarlyAndLate { .. } | Kind::Each if !self.merging => {
                if let Some(child) = self.unfinished(node, s) {
                    self.on_element(child, s, now, t);
                }
            }
            Kind::EarlyAndLate { .. } | Kind::Each | Kind::Repeatedly | Kind::Any | Kind::All | Kind::OrFinally => {
                self.children(node).for_each(|child| self.on_element(child, s, now, t))
            }
        }
    }

    fn should_fire(&self, node: usize, s: &State, now: &Now) -> bool {
        let Node { kind, leaf, .. } = self.nodes[node];
        let fires = |child| self.should_fire(child, s, now);
        match kind {
            Kind::Default | Kind::EndOfWindow => now.ended(),
            Kind::EarlyAndLate { .. } => {
                let mut children = self.children(node);
                let early = children.next().expect("early is always there");
                if s.is(early) { children.next().is_some_and(fires) } else { fires(early) || now.ended() }
            }
            Kind::Count(n) => s.leaves[leaf] >= n,
            Kind::Delay { .. } => s.leaves[leaf] != UNSET && now.clock >= s.leaves[leaf],
            Kind::EventPeriod(_) => {
                now.ended() || (s.leaves[leaf] != UNSET && now.watermark.as_millis() > s.leaves[leaf])
            }
            Kind::Repeatedly => fires(node + 1),
            Kind::Each => self.unfinished(node, s).is_some_and(fires),
            Kind::Any => self.children(node).any(|child| s.is(child) || fires(child)),
            Kind::All => self.children(node).all(|child| s.is(child) || fires(child)),
            Kind::OrFinally => self.children(node).any(fires),
            Kind::Always => true,
            Kind::Never => false,
        }
    }

    fn on_fire(&self, node: usize, s: &mut State, now: &Now) {
        let Node { kind, leaf, .. } = self.nodes[node];
        match kind {
            Kind::Default | Kind::Always | Kind::Never => {}
            Kind::EndOfWindow => s.set(node, true),
            Kind::Count(_) | Kind::Delay { .. } => {
                self.clear(node, s);
                s.set(node, true);
            }
            Kind::EventPeriod(period) => {
                if s.leaves[leaf] != UNSET && now.watermark.as_millis() > s.leaves[leaf] {
                    s.leaves[leaf] = after(EventTime::from_millis(now.watermark.as_millis() - 1), period);
                }
            }
            Kind::EarlyAndLate { late } => self.fire_early_or_late(node, late, s, now),
            Kind::Repeatedly => {
                self.on_fire(node + 1, s, now);
                if s.is(node + 1) {
                    self.reset(node + 1, s);
                }
            }
            Kind::Each => {
                if let Some(child) = self.unfinished(node, s) {
                    self.on_fire(child, s, now);
                }
                if self.merging {
                    self.children(node).for_each(|child| self.clear(child, s));
                }
                s.set(node, self.unfinished(node, s).is_none());
            }
            Kind::Any => {
                for child in self.children(node) {
                    // What it was waiting for is gone with the pane either way.
                    if self.should_fire(child, s, now) { self.on_fire(child, s, now) } else { self.clear(child, s) }
                }
                s.set(node, true);
            }
            Kind::All => {
                self.children(node).for_each(|child| self.on_fire(child, s, now));
                s.set(node, true);
            }
            Kind::OrFinally => {
                let (main, until) = (node + 1, self.nodes[node + 1].to);
                if self.should_fire(until, s, now) {
                    self.on_fire(until, s, now);
                    self.clear(main, s);
                } else {
                    // `until` keeps what it has: it looks beyond single panes.
                    self.on_fire(main, s, now);
                }
                s.set(node, s.is(main) || s.is(until));
            }
        }
    }

    fn fire_early_or_late(&self, node: usize, late: bool, s: &mut State, now: &Now) {
        let early = node + 1;
        let later = late.then(|| self.nodes[early].to);
        if s.is(early) {
            match later {
                None => s.set(node, true),
                Some(later) => self.fire_and_repeat(later, s, now),
            }
        } else if !now.ended() {
            self.fire_and_repeat(early, s, now);
        } else {
            self.clear(early, s);
            s.set(early, true);
            match later {
                None => s.set(node, true),
                // Until now it was run as though it were early.
                Some(later) => self.clear(later, s),
            }
        }
    }

    /// What comes early or late repeats by itself. One that goes on by itself keeps its place, not what it counted.
    fn fire_and_repeat(&self, node: usize, s: &mut State, now: &Now) {
        self.on_fire(node, s, now);
        if s.is(node) {
            self.reset(node, s);
        } else {
            self.clear(node, s);
        }
    }

    fn on_merge(&self, node: usize, s: &mut State, parts: &[&State], now: &Now) {
        let Node { kind, leaf, .. } = self.nodes[node];
        match kind {
            Kind::Default | Kind::Always | Kind::Never => {}
            // Active wherever it was active in one of them, and again where the merged window has not ended.
            Kind::EndOfWindow => s.set(node, parts.iter().all(|p| p.is(node)) && now.ended()),
            Kind::EarlyAndLate { late } => {
                let early = node + 1;
                let done = parts.iter().all(|p| p.is(early)) && now.ended();
                if done {
                    // Should another merge bring it back, it begins anew: of which part it would go on from there is no saying.
                    self.reset(early, s);
                    s.set(early, true);
                } else {
                    self.on_merge(early, s, parts, now);
                    s.set(early, false);
                }
                if late {
                    let later = self.nodes[early].to;
                    if done {
                        self.on_merge(later, s, parts, now);
                    } else {
                        self.reset(later, s);
                    }
                }
                s.set(node, done && !late);
            }
            Kind::Count(_) => {
                let finished = parts.iter().any(|p| p.is(node));
                s.set(node, finished);
                s.leaves[leaf] = 0;
                if !finished {
                    s.leaves[leaf] = parts.iter().map(|p| p.leaves[leaf]).fold(0, i64::saturating_add);
                }
            }
            Kind::Delay { .. } | Kind::EventPeriod(_) => {
                s.set(node, parts.iter().all(|p| p.is(node)));
                let due = parts.iter().map(|p| p.leaves[leaf]).filter(|due| *due != UNSET).min();
                s.leaves[leaf] = due.filter(|_| !s.is(node)).unwrap_or(UNSET);
            }
            Kind::Repeatedly => self.on_merge(node + 1, s, parts, now),
            Kind::Each => {
                let mut before = true;
                for child in self.children(node) {
                    if before {
                        self.on_merge(child, s, parts, now);
                        before = s.is(child);
                    } else {
                        // Not started, whatever the first of the parts had come to.
                        self.reset(child, s);
                    }
                }
                s.set(node, self.unfinished(node, s).is_none());
            }
            Kind::Any | Kind::OrFinally => {
                self.children(node).for_each(|child| self.on_merge(child, s, parts, now));
                s.set(node, self.children(node).any(|child| s.is(child)));
            }
            Kind::All => {
                self.children(node).for_each(|child| self.on_merge(child, s, parts, now));
                s.set(node, self.children(node).all(|child| s.is(child)));
            }
        }
    }

    /// Forgets what a subtree counted or waited for; what has finished stays so.
    fn clear(&self, node: usize, s: &mut State) {
        for n in &self.nodes[node..self.nodes[node].to] {
            if let Some(unset) = self.unset(n) {
                s.leaves[n.leaf] = unset;
            }
        }
    }

    /// Makes a subtree as new.
    fn reset(&self, node: usize, s: &mut State) {
        self.clear(node, s);
        (node..self.nodes[node].to).for_each(|n| s.set(n, false));
    }
}

/// The first instant at or after `t` that is `offset` modulo `align`.
fn up_to_multiple(t: i64, align: i64, offset: i64) -> i64 {
    let into = (t.rem_euclid(align) - offset.rem_euclid(align)).rem_euclid(align);
    if into == 0 { t } else { t.saturating_add(align - into) }
}

/// The first multiple of `period` after `t`.
fn after(t: EventTime, period: i64) -> i64 {
    t.as_millis().saturating_add(period - t.as_millis().rem_euclid(period))
}

/// Whether records may be lost because the trigger finishes while the window still takes some (Beam's
/// `may_lose_data`). `lateness` is whether the window takes records after its end.
pub fn may_lose_data(trigger: &Trigger, lateness: bool) -> bool {
    match trigger {
        Trigger::Default | Trigger::Always | Trigger::Never | Trigger::EveryEventTime { .. } => false,
        Trigger::AfterWatermark { late, .. } => late.is_none() && lateness,
        Trigger::AfterCount { .. } | Trigger::AfterProcessingTime { .. } => true,
        Trigger::Repeatedly { .. } => false,
        Trigger::AfterAny { triggers } => triggers.iter().all(|t| may_lose_data(t, lateness)),
        Trigger::AfterAll { triggers } | Trigger::AfterEach { triggers } => {
            triggers.iter().any(|t| may_lose_data(t, lateness))
        }
        Trigger::OrFinally { main, until } => may_lose_data(main, lateness) && may_lose_data(until, lateness),
    }
}
