//! `[window]` → windowing.
//!
//! Not here: which sizes and steps make sense (`validate`), the data of time zones (`zone`).

use super::{ANY_SPAN, CALENDAR, CUMULATIVE, SESSION, SLIDING, WINDOW, WINDOW_KINDS, defaults};
use crate::policy::text::diagnostic::Code;
use crate::policy::text::reader::{Field, Reader, Section, Shape};
use crate::policy::text::zone;
use crate::policy::{CalendarUnit, Touching, Windowing, Zone};
use crate::time::TimeDelta;

/// In place of windows that cannot be read.
const ANY: Windowing = Windowing::Fixed { size: ANY_SPAN, offset: TimeDelta::ZERO };

pub(super) fn window(r: &mut Reader, root: &Section<'_>) -> Windowing {
    let f = r.required(root, "window", "window = { fixed = \"1m\" }", "\"window\": {\"fixed\": \"1m\"}");
    let Some(s) = f.and_then(|f| r.section(&f, &WINDOW)) else { return ANY };
    let like = ["fixed = \"1m\"", "\"fixed\": \"1m\""];
    let kind = r.one_of(&s, WINDOW_KINDS, "a policy has one kind of windows", "leave one of them out", like);
    let written = s.optional("offset");
    let offset = written.as_ref().and_then(|f| r.duration(f)).unwrap_or(TimeDelta::ZERO);
    let Some((name, f)) = kind else { return ANY };
    if let ("session" | "calendar" | "global", Some(offset)) = (name, &written) {
        let message = format!("`{}` excludes `{}`: such windows have no offset", offset.path, f.path);
        r.note(Code::Conflict, &offset.path, offset.key, message, Some("leave it out".into()));
    }
    let windows = match name {
        "fixed" => r.duration(&f).map(|size| Windowing::Fixed { size, offset }),
        "sliding" => two(r, &f, &SLIDING).map(|[size, every]| Windowing::Sliding { size, every, offset }),
        "cumulative" => two(r, &f, &CUMULATIVE).map(|[size, step]| Windowing::Cumulative { size, step, offset }),
        "session" => session(r, &f),
        "calendar" => calendar(r, &f),
        _ => {
            r.sign(&f);
            Some(Windowing::Global)
        }
    };
    windows.unwrap_or_else(|| {
        r.give_up(&s);
        ANY
    })
}

/// A size, and what the shape names beside it.
fn two(r: &mut Reader, f: &Field<'_>, shape: &Shape) -> Option<[TimeDelta; 2]> {
    let name = shape.fields[1];
    let toml = format!("{{ size = \"10m\", {name} = \"1m\" }}");
    let s = r.group(f, shape, [&toml, &format!("{{\"size\": \"10m\", \"{name}\": \"1m\"}}")])?;
    let size = r.required(&s, "size", "size = \"10m\"", "\"size\": \"10m\"").and_then(|f| r.duration(&f));
    let other = r.required(&s, name, &format!("{name} = \"1m\""), &format!("\"{name}\": \"1m\""));
    let other = other.and_then(|f| r.duration(&f));
    Some([size?, other?])
}

fn session(r: &mut Reader, f: &Field<'_>) -> Option<Windowing> {
    let s = r.group(f, &SESSION, ["{ gap = \"30s\" }", "{\"gap\": \"30s\"}"])?;
    let gap = r.required(&s, "gap", "gap = \"30s\"", "\"gap\": \"30s\"").and_then(|f| r.duration(&f));
    let gap_field = s.optional("gap_field").and_then(|f| r.path(&f));
    let touching = [("separate", Touching::Separate), ("merge", Touching::Merge)];
    let touching = s.optional("touching").and_then(|f| r.choice(&f, &touching)).unwrap_or(defaults::TOUCHING);
    // In place of a wrong gap any other: what else is said of sessions holds for all of them.
    Some(Windowing::Session { gap: gap.unwrap_or(ANY_SPAN), gap_field, touching })
}

fn calendar(r: &mut Reader, f: &Field<'_>) -> Option<Windowing> {
    let s = r.group(
        f,
        &CALENDAR,
        ["{ every = \"day\", zone = \"Asia/Tokyo\" }", "{\"every\": \"day\", \"zone\": \"Asia/Tokyo\"}"],
    )?;
    let units = [
        ("hour", CalendarUnit::Hour),
        ("day", CalendarUnit::Day),
        ("week", CalendarUnit::Week),
        ("month", CalendarUnit::Month),
    ];
    let every = r.required(&s, "every", "every = \"day\"", "\"every\": \"day\"").and_then(|f| r.choice(&f, &units));
    let zone = r.required(&s, "zone", "zone = \"Asia/Tokyo\"", "\"zone\": \"Asia/Tokyo\"");
    let zone = zone.and_then(|f| named_zone(r, &f));
    Some(Windowing::Calendar { every: every?, zone: zone? })
}

pub(super) fn named_zone(r: &mut Reader, f: &Field<'_>) -> Option<Zone> {
    let expected = "the IANA name of a time zone";
    let like = "like \"Asia/Tokyo\" or \"UTC\"";
    let name = r.text(f, expected, Some(like.into()))?;
    match zone::resolve(name) {
        Ok(zone) => Some(zone),
        Err(meant) => {
            let hint = meant.map_or(like.into(), |meant| format!("did you mean \"{meant}\"?"));
            r.refuse(Code::WrongValue, f, expected, Some(hint));
            None
        }
    }
}
