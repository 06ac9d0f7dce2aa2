//! A policy in plain sentences, for those who are about to trust it.
//!
//! Not here: the reference of fields (`text::reference`), why a certain number is so (`plimsoll explain`).

mod panes;

use super::columns::{self, Moment};
use super::duration::Written;
use super::{
    CalendarUnit, Future, Keep, LateBy, LateTo, Op, Path, Policy, Spec, Strategy, TimeField, TimeUnit, Touching,
    Windowing, limits,
};
use crate::time::TimeDelta;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

/// Says what a policy does, a sentence a line.
pub fn explain(policy: &Policy) -> String {
    let s = policy.spec();
    let mut sentences = Vec::from([what(s)]);
    sentences.extend(expressions(s));
    sentences.extend([times(s), final_when(s)]);
    sentences.extend(s.panes.iter().flat_map(|p| panes::sentences(s, p)));
    sentences.extend([late(s), future(s)]);
    sentences.extend(rollup(s));
    sentences.push(bounds(s));
    sentences.join("\n")
}

fn what(s: &Spec) -> String {
    let owners = columns::owners(s);
    let mut parts: Vec<String> = Vec::new();
    let mut say = |verb: &str, names: Vec<String>| {
        if !names.is_empty() {
            parts.push(format!("{verb} {}", and(&names)));
        }
    };
    let of_op = |op: Op, field: bool| {
        let columns = s.measures.iter().zip(&owners);
        // What is kept for a mean is told as the mean.
        let asked = columns.filter(move |(m, owner)| owner.is_none() && m.op == op && m.field.is_some() == field);
        asked.map(|(m, _)| column(&m.name, m.field.as_ref())).collect::<Vec<_>>()
    };
    say("counts records as", of_op(Op::Count, false));
    say("counts records that have", of_op(Op::Count, true));
    say("sums", of_op(Op::Sum, true));
    say("keeps the least", of_op(Op::Min, true));
    say("keeps the greatest", of_op(Op::Max, true));
    say("sums the squares of", of_op(Op::Squares, true));
    for (moment, of_field, of_columns) in [
        (Moment::Mean, "shows the mean of", "divides"),
        (Moment::Variance, "shows the variance of", "shows the variance out of"),
    ] {
        let of_moment = || s.derived.iter().filter(|d| Moment::of(&d.of) == moment);
        let own = of_moment().filter_map(|d| {
            let first = columns::made_for(s, d)?;
            Some(column(&d.name, s.measures[first].field.as_ref()))
        });
        say(of_field, own.collect());
        let out_of = of_moment().filter(|d| columns::made_for(s, d).is_none()).map(|d| {
            let names: Vec<String> = d.of.columns().iter().map(|(_, _, i)| columns::name(s, *i)).collect();
            let of = if moment == Moment::Mean { names.join(" by ") } else { and(&names) };
            format!("{of} as {}", d.name)
        });
        say(of_columns, out_of.collect());
    }
    for k in &s.kept {
        let named = column(&k.name, Some(&k.field));
        let verb = match k.what {
            Keep::First => "keeps the first".to_string(),
            Keep::Last => "keeps the last".to_string(),
            Keep::List { most } => format!("lists the first {most} of"),
            Keep::Distinct => "estimates how many different".to_string(),
            Keep::Quantile { q_milli } => format!("estimates the {} of", quantile(q_milli)),
            Keep::TopK { k } => format!("estimates the {k} most frequent"),
        };
        say(&verb, Vec::from([named]));
    }
    let (each, offset) = windows(s);
    let from = if offset.as_millis() == 0 { String::new() } else { format!(", offset by {}", Written(offset)) };
    let key: Vec<String> = s.input.key.iter().map(|p| p.join(".")).collect();
    format!("{} per {}, {each}{from}.", capital(&parts.join(", ")), and(&key))
}

fn expressions(s: &Spec) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(filter) = &s.filter {
        out.push(format!(
            "Counts only records where {filter}; the others tell the time and are counted as filtered, and one for which \
             that is neither true nor false is rejected."
        ));
    }
    if !s.fields.is_empty() {
        let all: Vec<String> = s.fields.iter().map(|f| format!("{} is {}", f.name, f.value)).collect();
        out.push(format!("Computes fields: {}. A record for which one has no value is rejected.", all.join("; ")));
    }
    let exact = |scale| {
        let columns = s.measures.iter().zip(columns::owners(s)).filter(move |(m, _)| m.scale == Some(scale));
        let mut names: Vec<String> = columns.map(|(m, owner)| owner.map_or(&m.name, |d| &d.name).clone()).collect();
        names.dedup();
        names
    };
    for scale in 0..=limits::SCALE_MAX {
        let names = exact(scale);
        if !names.is_empty() {
            let have = if names.len() == 1 { "has" } else { "have" };
            let places = if scale == 1 { "1 decimal".into() } else { format!("{scale} decimals") };
            out.push(format!("{} {have} {places}; a record with more is rejected.", and(&names)));
        }
    }
    out
}

/// `0.95 quantile`, or `median`.
fn quantile(q_milli: u32) -> String {
    match q_milli {
        0 => "least".into(),
        500 => "median".into(),
        1_000 => "greatest".into(),
        q => format!("{} quantile", format!("0.{q:03}").trim_end_matches('0')),
    }
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
        Windowing::Session { gap, gap_field, touching } => {
            let own = gap_field
                .as_ref()
                .map_or(String::new(), |p| format!(", or as many milliseconds as {} says,", p.join(".")));
            let touching = match touching {
                Touching::Separate => "",
                Touching::Merge => " (those that touch are one)",
            };
            (format!("in sessions{touching} that end after {}{own} without a record", Written(*gap)), TimeDelta::ZERO)
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
    let lateness = s.late.allowed_lateness;
    if s.window == Windowing::Global {
        return "The window is final when the stream ends, and never before.".into();
    }
    if lateness == limits::LATENESS_UNBOUNDED {
        return "No window is ever final: each takes records however late they are.".into();
    }
    let behind = s.watermark.delay.as_millis().saturating_add(lateness.as_millis());
    let behind = Written(TimeDelta::from_millis(behind));
    match s.watermark.strategy {
        Strategy::Max => format!("A window is final once an event time {behind} past its end has been seen."),
        Strategy::Given => format!("A window is final once the source's own watermark is {behind} past its end."),
        Strategy::Arrival => format!("A window is final once a record has arrived {behind} after its end."),
        Strategy::Quantile { q_milli, sample, min_sample, per_source } => {
            let fair = per_source.map_or(String::new(), |most| format!(", {most} of one source at most"));
            format!(
                "A window is final once the {} of the last {sample} event times (at least {min_sample}{fair}) is \
                 {behind} past its end.",
                quantile(q_milli)
            )
        }
    }
}

fn late(s: &Spec) -> String {
    let never = s.late.allowed_lateness == limits::LATENESS_UNBOUNDED || s.window == Windowing::Global;
    if s.late.by == LateBy::Window && never {
        return "No record is late.".into();
    }
    let many = matches!(s.window, Windowing::Sliding { .. } | Windowing::Cumulative { .. });
    let judged = match s.late.by {
        LateBy::Record => "A record is late when its own time is behind the watermark",
        LateBy::Window if many => "A record is late when all of its windows are final",
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

fn rollup(s: &Spec) -> Option<String> {
    let made = match &s.rollup.as_ref()?.day {
        None => "hours of UTC".into(),
        Some(zone) => format!("hours and days of {}'s calendar", zone.name),
    };
    Some(format!("The windows' rows make rows of {made}, exactly, and go on doing so when they are amended."))
}

fn bounds(s: &Spec) -> String {
    let l = &s.limits;
    let budget = l.keys_per_window.map_or(String::new(), |n| {
        format!(
            " In each lane, {n} keys of a window have rows of their own; records of further keys count in its overflow row."
        )
    });
    format!(
        "Records over {} bytes and keys over {} bytes are rejected; a dead letter keeps up to {} bytes.{budget}",
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
