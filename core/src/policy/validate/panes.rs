//! Which triggers make sense, and what needs them or excludes them.
//!
//! Invariants
//! - A trigger is counted before anything else looks at it, without recursion: a hostile one costs time in proportion to
//!   its size, and no stack.
//!
//! Not here: whether a trigger loses records (`crate::panes::may_lose_data`); a spec may say so, `text` asks back.

use super::{Problems, limits};
use crate::policy::duration::Written;
use crate::policy::{LateBy, LateTo, Panes, Spec, Trigger, Windowing};
use crate::time::TimeDelta;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;

impl Problems {
    #[inline(never)]
    pub(super) fn lateness(&mut self, s: &Spec) {
        let lateness = s.late.allowed_lateness;
        let unbounded = lateness == limits::LATENESS_UNBOUNDED;
        let found = if unbounded { String::from("\"unbounded\"") } else { Written(lateness).to_string() };
        if s.late.by == LateBy::Record && lateness != TimeDelta::ZERO {
            self.value(
                "late.allowed_lateness",
                found,
                "0s where late.by is \"record\": a record is late as soon as it is behind the watermark; \
                 use late.by = \"window\"",
            );
        } else if unbounded && s.panes.is_none() {
            self.value(
                "late.allowed_lateness",
                found,
                "a duration up to 3660d where no [trigger] keeps windows open; late.to = \"accept\" amends rows for ever",
            );
        } else if !unbounded {
            self.span("late.allowed_lateness", lateness, 0);
        }
        if s.panes.is_some() && s.late.to == LateTo::Accept {
            self.value(
                "late.to",
                "\"accept\"",
                "\"table\", \"dead_letters\" or \"drop\" where windows give out panes: what has expired gives out none; \
                 to take every record say late.by = \"window\" and late.allowed_lateness = \"unbounded\"",
            );
        }
    }

    #[inline(never)]
    pub(super) fn panes(&mut self, s: &Spec) {
        let Some(p) = &s.panes else {
            if matches!(s.window, Windowing::Session { .. }) {
                self.value("trigger", "nothing", "a trigger where windows are sessions: they are kept open to merge");
            }
            return;
        };
        self.shift("trigger.timestamp_shift", p.timestamp_shift);
        if p.open_max == 0 || p.open_max > limits::OPEN_MAX {
            self.value("trigger.open_max", p.open_max, "1 to 10000000 windows");
        }
        self.trigger(p);
    }

    #[inline(never)]
    fn shift(&mut self, at: &str, d: TimeDelta) {
        if d > limits::SPAN_MAX || d.as_millis() < -limits::SPAN_MAX.as_millis() {
            self.value(at, Written(d), "a duration from -3660d to 3660d");
        }
    }

    #[inline(never)]
    fn trigger(&mut self, p: &Panes) {
        let (nodes, depth) = size(&p.trigger);
        if nodes > limits::TRIGGER_NODES_MAX {
            self.value("trigger.when", format_args!("{nodes} triggers in all"), "at most 32");
        }
        if depth > limits::TRIGGER_DEPTH_MAX {
            self.value("trigger.when", format_args!("triggers {depth} deep in each other"), "at most 12");
        }
        if nodes > limits::TRIGGER_NODES_MAX || depth > limits::TRIGGER_DEPTH_MAX {
            return;
        }
        let mut rest = vec![(&p.trigger, String::from("trigger.when"))];
        while let Some((trigger, at)) = rest.pop() {
            self.node(trigger, &at);
            let below = children(trigger).into_iter().map(|(t, within)| (t, format!("{at}.{within}")));
            rest.extend(below.rev());
        }
    }

    #[inline(never)]
    fn node(&mut self, trigger: &Trigger, at: &str) {
        match trigger {
            Trigger::AfterCount { count } => {
                if *count == 0 || *count > limits::COUNT_MAX {
                    self.value(&format!("{at}.after_count"), count, "1 to 9223372036854775807 records");
                }
            }
            Trigger::AfterProcessingTime { delay_ms, align_ms, align_offset_ms } => {
                let at = |field: &str| format!("{at}.after_processing_time.{field}");
                self.span(&at("delay"), TimeDelta::from_millis(*delay_ms), 0);
                if let Some(align) = align_ms {
                    self.span(&at("align"), TimeDelta::from_millis(*align), 1);
                }
                let offset = TimeDelta::from_millis(*align_offset_ms);
                // Any multiple of the alignment may be added to it.
                if align_ms.is_some() {
                    self.shift(&at("align_offset"), offset);
                } else if offset != TimeDelta::ZERO {
                    self.value(&at("align_offset"), Written(offset), "0s, or `align` beside it");
                }
            }
            Trigger::EveryEventTime { period_ms } => {
                self.span(&format!("{at}.every_event_time"), TimeDelta::from_millis(*period_ms), 1);
            }
            Trigger::AfterEach { triggers } | Trigger::AfterAny { triggers } | Trigger::AfterAll { triggers } => {
                if triggers.is_empty() {
                    let name = match trigger {
                        Trigger::AfterEach { .. } => "after_each",
                        Trigger::AfterAny { .. } => "after_any",
                        _ => "after_all",
                    };
                    self.value(&format!("{at}.{name}"), "no trigger", "a list of at least one");
                }
            }
            Trigger::Default
            | Trigger::AfterWatermark { .. }
            | Trigger::Repeatedly { .. }
            | Trigger::OrFinally { .. }
            | Trigger::Always
            | Trigger::Never => {}
        }
    }
}

/// How many triggers there are in a trigger, and how deep they stand in each other.
#[inline(never)]
fn size(trigger: &Trigger) -> (usize, usize) {
    let (mut nodes, mut deepest) = (0, 0);
    let mut rest = vec![(trigger, 1)];
    while let Some((trigger, depth)) = rest.pop() {
        nodes += 1;
        deepest = deepest.max(depth);
        match trigger {
            Trigger::AfterEach { triggers } | Trigger::AfterAny { triggers } | Trigger::AfterAll { triggers } => {
                rest.extend(triggers.iter().map(|t| (t, depth + 1)));
            }
            other => rest.extend(children(other).into_iter().map(|(t, _)| (t, depth + 1))),
        }
    }
    (nodes, deepest)
}

/// The triggers right below one, each with its place in people's text.
#[inline(never)]
fn children(trigger: &Trigger) -> Vec<(&Trigger, String)> {
    let listed = |name: &str, triggers: &'_ [Trigger]| -> Vec<String> {
        (0..triggers.len()).map(|i| format!("{name}[{i}]")).collect()
    };
    match trigger {
        Trigger::AfterWatermark { early, late } => [("early", early), ("late", late)]
            .into_iter()
            .filter_map(|(name, t)| Some((&**t.as_ref()?, format!("after_watermark.{name}"))))
            .collect(),
        Trigger::Repeatedly { trigger } => vec![(&**trigger, "repeatedly".to_string())],
        Trigger::AfterEach { triggers } => triggers.iter().zip(listed("after_each", triggers)).collect(),
        Trigger::AfterAny { triggers } => triggers.iter().zip(listed("after_any", triggers)).collect(),
        Trigger::AfterAll { triggers } => triggers.iter().zip(listed("after_all", triggers)).collect(),
        Trigger::OrFinally { main, until } => {
            vec![(&**main, "or_finally.main".to_string()), (&**until, "or_finally.until".to_string())]
        }
        Trigger::Default
        | Trigger::AfterCount { .. }
        | Trigger::AfterProcessingTime { .. }
        | Trigger::Always
        | Trigger::Never
        | Trigger::EveryEventTime { .. } => Vec::new(),
    }
}
