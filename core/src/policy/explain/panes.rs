//! Triggers and panes in plain sentences.

use super::Written;
use crate::panes::may_lose_data;
use crate::policy::{Accumulation, Bundle, Emission, Panes, Spec, TimestampCombiner, Trigger};
use crate::time::TimeDelta;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

/// Says when panes come out and what they hold.
pub(super) fn sentences(s: &Spec, p: &Panes) -> Vec<String> {
    let when = match p.trigger {
        Trigger::Never if p.flush_on_expiry => "only when it expires".into(),
        _ => words(&p.trigger),
    };
    let mut out = Vec::from([format!("A window gives out a pane {when}.")]);
    let lateness = s.late.allowed_lateness > TimeDelta::ZERO;
    if may_lose_data(&p.trigger, lateness) {
        out.push("Records are lost that come when this has ended and their window still takes some.".into());
    }
    out.push(
        match p.accumulation {
            Accumulation::Discarding => "A pane holds what came since the one before: a window's panes add up.",
            Accumulation::Accumulating => "A pane holds all so far, and stands in for the one before.",
            Accumulation::Retracting => {
                "A pane holds all so far; the one before is taken back first, by a pane of its own."
            }
        }
        .into(),
    );
    out.extend(empty(p));
    if !p.flush_on_expiry {
        out.push("What no pane has given out when the window expires is lost.".into());
    }
    out.extend(stamp(p));
    if p.bundle == Bundle::Frame {
        out.push(
            "Each frame of input enters whole before any pane comes out, so panes depend on how it is cut.".into(),
        );
    }
    out.push(format!(
        "At most {} windows of keys are open at once in a lane; a record that would open another is rejected.",
        p.open_max
    ));
    out
}

fn empty(p: &Panes) -> Option<String> {
    let which = match (p.on_time, p.closing) {
        (Emission::Always, Emission::Always) => "at the end of a window and the last one come",
        (Emission::Always, Emission::IfNonEmpty) => "at the end of a window comes",
        (Emission::IfNonEmpty, Emission::Always) => "that is a window's last comes",
        (Emission::IfNonEmpty, Emission::IfNonEmpty) => return None,
    };
    Some(format!("The pane {which} out although nothing was added."))
}

fn stamp(p: &Panes) -> Option<String> {
    let of = match p.timestamp {
        // The shift is added to times that come from records.
        TimestampCombiner::EndOfWindow => return None,
        TimestampCombiner::Earliest => "earliest",
        TimestampCombiner::Latest => "latest",
    };
    let shift = match p.timestamp_shift.as_millis() {
        0 => String::new(),
        n if n < 0 => format!(", {} earlier", Written(TimeDelta::from_millis(n.saturating_neg()))),
        _ => format!(", {} later", Written(p.timestamp_shift)),
    };
    Some(format!("Its time is that of its {of} record on time{shift}."))
}

/// When, for the end of a sentence.
fn words(t: &Trigger) -> String {
    let span = |ms: &i64| Written(TimeDelta::from_millis(*ms)).to_string();
    match t {
        Trigger::Default => "at its end and at every later record".into(),
        Trigger::AfterWatermark { early, late } => {
            let around = |t: &Trigger, place: &str| format!("again and again {place} ({})", words(t));
            let early = early.as_ref().map(|t| around(t, "before its end"));
            let late = late.as_ref().map(|t| around(t, "after it"));
            match (early, late) {
                (None, None) => "once, at its end".into(),
                (Some(early), None) => format!("{early}, and once more at its end"),
                (None, Some(late)) => format!("at its end, and {late}"),
                (Some(early), Some(late)) => format!("{early}, at its end, and {late}"),
            }
        }
        Trigger::AfterCount { count: 1 } => "after 1 record".into(),
        Trigger::AfterCount { count } => format!("after {count} records"),
        Trigger::AfterProcessingTime { delay_ms, align_ms, align_offset_ms } => {
            let after = match delay_ms {
                0 => "when the pane's first record has come".to_string(),
                ms => format!("{} after the pane's first record came", span(ms)),
            };
            let offset = if *align_offset_ms == 0 { String::new() } else { format!(" and {}", span(align_offset_ms)) };
            match align_ms {
                None => after,
                Some(align) => format!("{after}, at the next full {}{offset}", span(align)),
            }
        }
        Trigger::Repeatedly { trigger } => format!("again and again {}", part(trigger)),
        Trigger::AfterEach { triggers } => {
            let each: Vec<String> = triggers.iter().map(part).collect();
            format!("first {}", each.join(", then "))
        }
        Trigger::AfterAny { triggers } => joined(triggers, "or", "as soon as it is time for one of"),
        Trigger::AfterAll { triggers } => joined(triggers, "and", "when it has been time for all of"),
        Trigger::OrFinally { main, until } => format!("{}, until {}", part(main), part(until)),
        Trigger::Always => "whenever a record or the watermark comes".into(),
        Trigger::Never => "never".into(),
        Trigger::EveryEventTime { period_ms } => {
            format!("at every {} of event time, at its end and at every later record", span(period_ms))
        }
    }
}

fn joined(triggers: &[Trigger], word: &str, lead: &str) -> String {
    match triggers {
        [one] => words(one),
        [a, b] => format!("{} {word} {}", part(a), part(b)),
        many => format!("{lead}: {}", many.iter().map(part).collect::<Vec<_>>().join("; ")),
    }
}

/// In brackets where its own words would run into the others.
fn part(t: &Trigger) -> String {
    match t {
        Trigger::Default
        | Trigger::AfterCount { .. }
        | Trigger::AfterProcessingTime { align_ms: None, .. }
        | Trigger::AfterWatermark { early: None, late: None }
        | Trigger::Always
        | Trigger::Never => words(t),
        _ => format!("({})", words(t)),
    }
}
