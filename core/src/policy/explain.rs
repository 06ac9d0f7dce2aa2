//! A policy in plain sentences, for those who are about to trust it.
//!
//! Not here: the reference of fields (`text::reference`), why a certain number is so (`plimsoll explain`).

use super::duration::Written;
use super::{CalendarUnit, Future, LateBy, LateTo, Op, Path, Policy, Spec, Strategy, TimeField, TimeUnit, Windowing};
use crate::time::TimeDelta;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

/// Says what a policy does, a sentence a line.
pub fn explain(policy: &Policy) -> String {
    let s = policy.spec();
    let sentences = [what(s), times(s), final_when(s), late(s), future(s), limits(s)];
    sentences.join("\n")
}

fn what(s: &Spec) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (op, verb) in [
        (Op::Count, "counts records as"),
        (Op::Sum, "sums"),
        (Op::Min, "keeps the least"),
        (Op::Max, "keeps the greatest"),
        (Op::Squares, "sums the squares of"),
    ] {
        let of_op = s.measures.iter().filter(|m| m.op == op);
        let names: Vec<String> = of_op.map(|m| column(&m.name, m.field.as_ref())).collect();
        if !names.is_empty() {
            parts.push(format!("{verb} {}", and(&names)));
        }
    }
    let (each, offset) = windows(s);
    let from = if offset.as_millis() == 0 { String::new() } else { format!(", offset by {}", Written(offset)) };
    let key: Vec<String> = s.input.key.iter().map(|p| p.join(".")).collect();
    format!("{} per {}, {each}{from}.", capital(&parts.join(", ")), and(&key))
}

fn windows(s: &Spec) -> (String, TimeDelta) {
    match &s.window {
        Windowing::Fixed { size, offset } => (format!("in windows of {}", Written(*size)), *offset),
        Windowing::Sliding { size, every, offset } => {
            (format!("in windows of {}, a new one every {}", Written(*size), Written(*every)), *offset)
        }
        Windowing::Cumulative { size, step, offset } => {
            (format!("in windows that grow by {} up to {}", Written(*step), Written(*size)), *offset)
        }
        Windowing::Calendar { every, zone } => {
            let every = match every {
                CalendarUnit::Hour => "hour",
                CalendarUnit::Day => "day",
                CalendarUnit::Week => "week from Monday",
                CalendarUnit::Month => "month",
            };
            (format!("in each {every} of {}'s calendar", zone.name), TimeDelta::ZERO)
        }
        Windowing::Session { gap, .. } => {
            (format!("in sessions that end after {} without a record", Written(*gap)), TimeDelta::ZERO)
        }
        Windowing::Global => ("over all of time".into(), TimeDelta::ZERO),
    }
}

fn column(name: &str, field: Option<&Path>) -> String {
    match field {
        Some(p) if p.join(".") != name => format!("{} as {name}", p.join(".")),
        _ => name.into(),
    }
}

fn times(s: &Spec) -> String {
    let event = format!("The event time is {}", time_field(&s.input.time));
    let arrival = match &s.input.arrival {
        Some(a) => format!("the arrival time is {}", time_field(a)),
        None => "the arrival time is the source's own".into(),
    };
    format!("{event}; {arrival}.")
}

fn time_field(t: &TimeField) -> String {
    let unit = match t.unit {
        TimeUnit::S => "in seconds",
        TimeUnit::Ms => "in milliseconds",
        TimeUnit::Us => "in microseconds",
        TimeUnit::Ns => "in nanoseconds",
        TimeUnit::Rfc3339 => "as text like 2026-11-23T19:02:13.250Z",
    };
    let trust = if t.unit_check || t.unit == TimeUnit::Rfc3339 { "" } else { " and is not checked for its unit" };
    format!("{} {unit}{trust}", t.field.join("."))
}

fn final_when(s: &Spec) -> String {
    let behind = s.watermark.delay.as_millis().saturating_add(s.late.allowed_lateness.as_millis());
    let behind = Written(TimeDelta::from_millis(behind));
    match s.watermark.strategy {
        Strategy::Max => format!("A window is final once an event time {behind} past its end has been seen."),
        Strategy::Given => format!("A window is final once the source's own watermark is {behind} past its end."),
        Strategy::Arrival => format!("A window is final once a record has arrived {behind} after its end."),
        Strategy::Quantile { q_milli, sample, min_sample } => {
            let quantile = if q_milli == 500 {
                "median".to_string()
            } else {
                let decimals = format!("0.{q_milli:03}");
                format!("{} quantile", decimals.trim_end_matches('0'))
            };
            format!(
                "A window is final once the {quantile} of the last {sample} event times (at least {min_sample}) is \
                 {behind} past its end."
            )
        }
    }
}

fn late(s: &Spec) -> String {
    let judged = match s.late.by {
        LateBy::Record => "A record is late when its own time is behind the watermark",
        LateBy::Window => "A record is late when its window is final",
    };
    let goes = match s.late.to {
        LateTo::Table => "it goes to the late table, with the same measures",
        LateTo::DeadLetters => "it becomes a dead letter, whole",
        LateTo::Drop => "it is counted as late and nothing else is kept of it",
        LateTo::Accept => "it still counts in its window's row, so that a final row may change",
    };
    format!("{judged}: {goes}.")
}

fn future(s: &Spec) -> String {
    let Some(most) = s.watermark.max_future else {
        return "No clock is refused for running ahead.".into();
    };
    let goes = match s.watermark.future {
        Future::Quarantine => "becomes a dead letter",
        Future::Clamp => "counts at the latest time allowed",
        Future::Accept => "counts where it says",
    };
    format!("A record more than {} ahead of its arrival {goes}, and moves no watermark.", Written(most))
}

fn limits(s: &Spec) -> String {
    let l = &s.limits;
    format!(
        "Records over {} bytes and keys over {} bytes are rejected; a dead letter keeps up to {} bytes.",
        l.record_bytes, l.key_bytes, l.dead_letter_bytes
    )
}

fn and(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}
