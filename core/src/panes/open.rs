//! One window of one key: its trigger's state, its contents, and what was said of it. Empty once its trigger has
//! finished.
//!
//! Invariants
//! - `base` is there exactly where something needs all that came so far: panes that accumulate, sessions' rows.
//! - `stamp` is set while a record that came in time waits for its pane: that pane is on time, however late it comes.
//! - `owed` are the panes that a retraction will take back; empty but under `Accumulation::Retracting`.
//!
//! Not here: which windows are open (`index`), when they are looked at (`panes`).

use super::trigger;
use super::value::Value;
use crate::time::EventTime;
use crate::window::Window;
use crate::wire::panes::Timing;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// An open window.
// In this order: what every record of a session looks at stands in two lines of a cache.
#[derive(Clone, Debug)]
#[repr(C)]
pub(super) struct Open {
    pub window: Window,
    /// Combined time of those records since the last pane that were not behind the watermark.
    pub stamp: Option<EventTime>,
    /// The watermark at which it is looked at next.
    pub event_timer: Option<EventTime>,
    /// Records since the last pane.
    pub new: u64,
    /// What came since the last pane.
    pub fresh: Value,
    pub trigger: trigger::State,
    /// What the last pane was, since the window took these bounds.
    pub said: Option<Said>,
    /// Id of its key.
    pub key: u32,
    /// What came before the last pane.
    pub base: Option<Box<Value>>,
    pub owed: Vec<Owed>,
    /// The tick at which it is looked at next.
    pub clock_timer: i64,
}

impl Open {
    /// Gives back what it holds: its trigger has finished.
    pub(super) fn empty(&mut self) {
        self.fresh = Value::default();
        self.base = None;
        self.new = 0;
        self.stamp = None;
        self.said = None;
        self.owed = Vec::new();
    }
}

/// What the last pane of a window was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub timing: Timing,
    pub index: u64,
    pub settled: Option<u64>,
}

/// A pane that is to be taken back.
#[derive(Clone, Debug)]
pub(super) struct Owed {
    pub window: Window,
    pub said: Said,
    pub first: bool,
    pub timestamp: EventTime,
    pub value: Value,
}

/// No tick is waited for.
pub(super) const NO_TICK: i64 = i64::MAX;
