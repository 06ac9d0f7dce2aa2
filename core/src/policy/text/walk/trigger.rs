//! `[trigger]` → panes.
//!
//! A trigger is a word (`"default"`), or an object with one field that names it (`{ after_count = 5 }`), and triggers may
//! stand in triggers. Reading recurses; the depth of a document is bounded before (`DEPTH_MAX`).
//!
//! Not here: which numbers make sense, and what excludes a trigger (`validate`).

use super::{AFTER_PROCESSING_TIME, AFTER_WATERMARK, OR_FINALLY, TRIGGER, WHEN, defaults};
use crate::panes::may_lose_data;
use crate::policy::text::diagnostic::Code;
use crate::policy::text::reader::{Field, Reader, Section, nearest, one_of};
use crate::policy::text::tree::Value;
use crate::policy::{Accumulation, Bundle, Emission, Late, Panes, TimestampCombiner, Trigger, Windowing};
use crate::time::TimeDelta;

const WORDS: [&str; 4] = ["default", "after_watermark", "always", "never"];

/// Absent where windows do not merge and nothing is written: then rows are written at every batch.
pub(super) fn panes(r: &mut Reader, root: &Section<'_>, window: &Windowing, late: &Late) -> Option<Panes> {
    let Some(f) = root.optional("trigger") else {
        return matches!(window, Windowing::Session { .. }).then(|| defaults::PANES);
    };
    let Some(s) = r.section(&f, &TRIGGER) else { return Some(defaults::PANES) };
    let when = s.optional("when");
    let trigger = when.as_ref().and_then(|f| trigger(r, f));
    let accumulation = [
        ("discarding", Accumulation::Discarding),
        ("accumulating", Accumulation::Accumulating),
        ("retracting", Accumulation::Retracting),
    ];
    let timestamp = [
        ("end_of_window", TimestampCombiner::EndOfWindow),
        ("earliest", TimestampCombiner::Earliest),
        ("latest", TimestampCombiner::Latest),
    ];
    let emission = [("always", Emission::Always), ("if_non_empty", Emission::IfNonEmpty)];
    let bundle = [("record", Bundle::Record), ("frame", Bundle::Frame)];
    let d = defaults::PANES;
    let panes = Panes {
        accumulation: s.optional("accumulation").and_then(|f| r.choice(&f, &accumulation)).unwrap_or(d.accumulation),
        timestamp: s.optional("timestamp").and_then(|f| r.choice(&f, &timestamp)).unwrap_or(d.timestamp),
        timestamp_shift: s.optional("timestamp_shift").and_then(|f| r.shift(&f)).unwrap_or(d.timestamp_shift),
        on_time: s.optional("on_time_pane").and_then(|f| r.choice(&f, &emission)).unwrap_or(d.on_time),
        closing: s.optional("closing_pane").and_then(|f| r.choice(&f, &emission)).unwrap_or(d.closing),
        flush_on_expiry: s.optional("flush_on_expiry").and_then(|f| r.flag(&f)).unwrap_or(d.flush_on_expiry),
        bundle: s.optional("bundle").and_then(|f| r.choice(&f, &bundle)).unwrap_or(d.bundle),
        open_max: s.optional("open_max").and_then(|f| r.whole(&f, "1 to 10000000 windows")).unwrap_or(d.open_max),
        trigger: trigger.unwrap_or(d.trigger),
    };
    // Where this is no flag it is not held against the trigger.
    let meant = s.optional("may_lose_data").is_some_and(|f| r.flag(&f).unwrap_or(true));
    let (why, mend) = match loss(&panes, late) {
        Some(Loss::Unfinished) => (
            "can finish while its window still takes records, and those would be lost",
            "repeat it, give after_watermark a `late`, or say may_lose_data = true",
        ),
        Some(Loss::Everything) => (
            "gives out nothing, and `trigger.flush_on_expiry` = false leaves it at that",
            "choose another trigger, flush on expiry, or say may_lose_data = true",
        ),
        None => return Some(panes),
    };
    if let (Some(when), false) = (when, meant) {
        let message = format!("`{}` {why}", when.path);
        r.note(Code::WrongValue, &when.path, when.node.span, message, Some(mend.into()));
    }
    Some(panes)
}

/// How records may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Loss {
    /// The trigger finishes while its window still takes some.
    Unfinished,
    /// Nothing ever gives them out.
    Everything,
}

/// Whether panes may lose records, which people are asked about.
pub(in super::super) fn loss(p: &Panes, late: &Late) -> Option<Loss> {
    if p.trigger == Trigger::Never && !p.flush_on_expiry {
        return Some(Loss::Everything);
    }
    may_lose_data(&p.trigger, late.allowed_lateness > TimeDelta::ZERO).then_some(Loss::Unfinished)
}

fn trigger(r: &mut Reader, f: &Field<'_>) -> Option<Trigger> {
    match &f.node.value {
        Value::Text(t) => match t.as_str() {
            "default" => Some(Trigger::Default),
            "after_watermark" => Some(Trigger::AfterWatermark { early: None, late: None }),
            "always" => Some(Trigger::Always),
            "never" => Some(Trigger::Never),
            other => {
                let hint = match WHEN.fields.iter().find(|name| **name == other) {
                    Some(name) => {
                        let [toml, json] = parts(name);
                        r.like(&format!("{{ {name} = {toml} }}"), &format!("{{\"{name}\": {json}}}"))
                    }
                    None => nearest(other, &WORDS).map(|meant| format!("did you mean \"{meant}\"?")),
                };
                r.refuse(Code::WrongValue, f, &expected(), hint);
                None
            }
        },
        Value::Object(members) => {
            if let [only] = members.as_slice()
                && WORDS.contains(&only.name.as_str())
                && !WHEN.fields.contains(&only.name.as_str())
            {
                let path = format!("{}.{}", f.path, only.name);
                let message = format!("unknown field `{}` in `{}`", only.name, f.path);
                r.note(Code::UnknownField, &path, only.key, message, Some(format!("write \"{}\" alone", only.name)));
                return None;
            }
            let s = r.section(f, &WHEN)?;
            let mend = "join them with after_any, after_all or after_each";
            let like = ["after_count = 100", "\"after_count\": 100"];
            let (name, f) = r.one_of(&s, WHEN.fields, "a trigger is one thing", mend, like)?;
            rule(r, name, &f)
        }
        _ => {
            let like = r.like("{ after_count = 100 }", "{\"after_count\": 100}");
            r.refuse(Code::WrongType, f, &expected(), like);
            None
        }
    }
}

/// What may stand behind a trigger's name, in both languages.
fn parts(name: &str) -> [&'static str; 2] {
    match name {
        "after_watermark" => ["{ early = { after_count = 100 } }", "{\"early\": {\"after_count\": 100}}"],
        "after_count" => ["100", "100"],
        "repeatedly" => ["{ after_count = 100 }", "{\"after_count\": 100}"],
        "or_finally" => [
            "{ main = \"default\", until = { after_count = 100 } }",
            "{\"main\": \"default\", \"until\": {\"after_count\": 100}}",
        ],
        "after_processing_time" | "every_event_time" => ["\"1m\"", "\"1m\""],
        _ => ["[\"after_watermark\", { after_count = 100 }]", "[\"after_watermark\", {\"after_count\": 100}]"],
    }
}

fn expected() -> String {
    format!("{}, or a trigger with its parts", one_of(&WORDS, "\"").replace(" or ", ", "))
}

fn rule(r: &mut Reader, name: &str, f: &Field<'_>) -> Option<Trigger> {
    match name {
        "after_watermark" => {
            let s = r.group(f, &AFTER_WATERMARK, parts(name))?;
            let mut part = |name: &str| match s.optional(name) {
                None => Some(None),
                Some(f) => Some(Some(Box::new(trigger(r, &f)?))),
            };
            let (early, late) = (part("early"), part("late"));
            Some(Trigger::AfterWatermark { early: early?, late: late? })
        }
        "after_count" => Some(Trigger::AfterCount { count: r.whole(f, "1 to 9223372036854775807 records")? }),
        "after_processing_time" => after_processing_time(r, f),
        "repeatedly" => Some(Trigger::Repeatedly { trigger: Box::new(trigger(r, f)?) }),
        "after_each" => Some(Trigger::AfterEach { triggers: triggers(r, f)? }),
        "after_any" => Some(Trigger::AfterAny { triggers: triggers(r, f)? }),
        "after_all" => Some(Trigger::AfterAll { triggers: triggers(r, f)? }),
        "or_finally" => {
            let s = r.group(f, &OR_FINALLY, parts(name))?;
            let main = r.required(&s, "main", "main = \"default\"", "\"main\": \"default\"");
            let main = main.and_then(|f| trigger(r, &f));
            let until = r.required(&s, "until", "until = \"after_watermark\"", "\"until\": \"after_watermark\"");
            let until = until.and_then(|f| trigger(r, &f));
            Some(Trigger::OrFinally { main: Box::new(main?), until: Box::new(until?) })
        }
        _ => Some(Trigger::EveryEventTime { period_ms: r.duration(f)?.as_millis() }),
    }
}

fn triggers(r: &mut Reader, f: &Field<'_>) -> Option<Vec<Trigger>> {
    let all = r.list(f, "a list of triggers", {
        let [toml, json] = parts("after_any");
        r.like(toml, json)
    })?;
    // What is wrong with each of them is said before the list is given up.
    let read: Vec<Option<Trigger>> = all.iter().map(|f| trigger(r, f)).collect();
    read.into_iter().collect()
}

fn after_processing_time(r: &mut Reader, f: &Field<'_>) -> Option<Trigger> {
    if !matches!(f.node.value, Value::Object(_)) {
        let delay_ms = r.duration(f)?.as_millis();
        return Some(Trigger::AfterProcessingTime { delay_ms, align_ms: None, align_offset_ms: 0 });
    }
    let s = r.section(f, &AFTER_PROCESSING_TIME)?;
    let delay = r.required(&s, "delay", "delay = \"1m\"", "\"delay\": \"1m\"").and_then(|f| r.duration(&f));
    let align = s.optional("align").map(|f| r.duration(&f));
    let offset = s.optional("align_offset").map(|f| r.shift(&f));
    let ms = |d: Option<Option<TimeDelta>>| match d {
        None => Some(None),
        Some(d) => Some(Some(d?.as_millis())),
    };
    let (align_ms, offset) = (ms(align)?, ms(offset)?);
    Some(Trigger::AfterProcessingTime { delay_ms: delay?.as_millis(), align_ms, align_offset_ms: offset.unwrap_or(0) })
}
