//! A scenario's policy becomes a policy of this engine, or the reason why it cannot.
//!
//! Invariants
//! - Every field of the policy is looked at: one that is not known is a reason to skip, one that is malformed a failure.
//! - What is computed over records, the engine computes: columns of integers, and the list of values where more is asked.
//!
//! Not here: the steps (`panes`, `parts`).

use super::{Failure, Stop};
use crate::policy::{
    Accumulation, Bundle, Emission, Format, Future, Input, Keep, Kept, Late, LateBy, LateTo, Limits, Measure, Op,
    Panes, Policy, PolicyError, Spec, Strategy, TimeField, TimeUnit, TimestampCombiner, Touching, Trigger, Watermark,
    Windowing, limits,
};
use crate::time::TimeDelta;
use alloc::boxed::Box;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use alloc::{format, vec};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Field of a record's event time.
pub(super) const TIME: &str = "t";
/// Field of its value.
pub(super) const VALUE: &str = "v";
/// Field of its key.
pub(super) const KEY: &str = "k";
/// Field of its own session gap.
pub(super) const GAP: &str = "gap";
/// Column of how many values are not null; the other columns are named like the panes' fields that show them.
pub(super) const VALUES: &str = "n";

/// What the steps need of the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// An element has a session gap of its own.
    pub gaps: bool,
    /// A value is a number that is no 64-bit integer: columns hold integers alone.
    pub fractions: bool,
}

/// What a policy must be among others of its kind to be refused or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offset {
    /// Any, modulo the size or period.
    Modulo,
    /// Its magnitude is below the size or period.
    Bounded,
}

/// The switches of the format that have more than one value here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Switches {
    pub touching: Touching,
    pub offset: Offset,
}

const KNOWN: [&str; 11] = [
    "window",
    "trigger",
    "accumulation",
    "allowed_lateness_ms",
    "timestamp_combiner",
    "timestamp_shift_ms",
    "aggregate",
    "on_time_pane",
    "closing_pane",
    "flush_on_expiry",
    "keys_per_window",
];

/// The fields of a policy beside its windows, triggers and switches.
#[derive(Deserialize)]
struct Fields {
    accumulation: Option<Accumulation>,
    #[serde(default)]
    allowed_lateness_ms: Value,
    timestamp_combiner: Option<TimestampCombiner>,
    #[serde(default)]
    timestamp_shift_ms: i64,
    #[serde(default)]
    aggregate: Vec<String>,
    on_time_pane: Option<Emission>,
    closing_pane: Option<Emission>,
    flush_on_expiry: Option<bool>,
    keys_per_window: Option<u32>,
}

/// The policy of a scenario with panes.
pub(super) fn policy(
    written: &Map<String, Value>,
    requires: &Map<String, Value>,
    needs: Needs,
) -> Result<Policy, Stop> {
    let switches = switches(written, requires)?;
    made(written, switches, needs)
}

/// Whether a policy is refused as it is written, with the refusal. Its offset has to be below its size.
pub(super) fn rejected(written: &Map<String, Value>, requires: &Map<String, Value>) -> Result<Option<String>, Stop> {
    let switches = Switches { offset: Offset::Bounded, ..switches(written, requires)? };
    match made(written, switches, Needs::default()) {
        Ok(_) => Ok(None),
        Err(Stop::Fail(f)) => Ok(Some(f.got)),
        Err(skip @ Stop::Skip(_)) => Err(skip),
    }
}

fn made(written: &Map<String, Value>, switches: Switches, needs: Needs) -> Result<Policy, Stop> {
    let window = windowing(written, switches, needs)?;
    let trigger = trigger(written.get("trigger"))?;
    let known = written.iter().filter(|(name, _)| KNOWN.contains(&name.as_str()));
    let fields: Map<String, Value> = known.map(|(name, value)| (name.clone(), value.clone())).collect();
    let fields: Fields = read("policy", &Value::Object(fields))?;
    let allowed_lateness = lateness(&fields.allowed_lateness_ms)?;
    let (measures, kept) = aggregates(&fields.aggregate, needs)?;
    let panes = Panes {
        trigger,
        accumulation: fields.accumulation.unwrap_or(Accumulation::Discarding),
        timestamp: fields.timestamp_combiner.unwrap_or(TimestampCombiner::EndOfWindow),
        timestamp_shift: TimeDelta::from_millis(fields.timestamp_shift_ms),
        on_time: fields.on_time_pane.unwrap_or(Emission::Always),
        closing: fields.closing_pane.unwrap_or(Emission::IfNonEmpty),
        flush_on_expiry: fields.flush_on_expiry.unwrap_or(true),
        bundle: Bundle::Frame,
        open_max: limits::OPEN_MAX,
    };
    let late = Late { by: LateBy::Window, allowed_lateness, to: LateTo::DeadLetters };
    let mut spec = Spec { measures, kept, panes: Some(panes), ..spec(window, Strategy::Given, TimeDelta::ZERO, late) };
    spec.limits.keys_per_window = fields.keys_per_window;
    Policy::new(spec).map_err(refused)
}

/// The policy whose watermark stays `bound_ms` behind the greatest event time.
pub(super) fn bounded(bound_ms: i64) -> Result<Policy, Stop> {
    let window = Windowing::Fixed { size: TimeDelta::DAY, offset: TimeDelta::ZERO };
    let late = Late { by: LateBy::Window, allowed_lateness: TimeDelta::ZERO, to: LateTo::Accept };
    Policy::new(spec(window, Strategy::Max, TimeDelta::from_millis(bound_ms), late)).map_err(refused)
}

fn spec(window: Windowing, strategy: Strategy, delay: TimeDelta, late: Late) -> Spec {
    Spec {
        v: limits::CANONICAL_VERSION,
        policy: "scenario".into(),
        filter: None,
        input: Input {
            format: Format::Json,
            time: TimeField { field: vec![TIME.into()], unit: TimeUnit::Ms, unit_check: false },
            arrival: None,
            key: vec![vec![KEY.into()]],
            source: None,
        },
        fields: Vec::new(),
        window,
        watermark: Watermark { strategy, delay, max_future: None, future: Future::Accept },
        late,
        measures: vec![Measure { name: "count".into(), op: Op::Count, field: None, scale: None }],
        derived: Vec::new(),
        kept: Vec::new(),
        panes: None,
        rollup: None,
        limits: Limits {
            record_bytes: limits::RECORD_BYTES_MAX,
            key_bytes: limits::KEY_BYTES_MAX,
            dead_letter_bytes: 200,
            keys_per_window: None,
        },
    }
}

/// Reads the switches; sees to it that no field and no switch wants what is not offered.
pub(super) fn switches(written: &Map<String, Value>, requires: &Map<String, Value>) -> Result<Switches, Stop> {
    let mut s = Switches { touching: Touching::Separate, offset: Offset::Modulo };
    let own = written.iter().filter(|(name, _)| !KNOWN.contains(&name.as_str()));
    for (name, value) in own.chain(requires) {
        match (name.as_str(), value.as_str()) {
            ("session_touching", Some("separate")) => s.touching = Touching::Separate,
            ("session_touching", Some("merge")) => s.touching = Touching::Merge,
            ("offset", Some("modulo")) => s.offset = Offset::Modulo,
            ("offset", Some("negative")) => s.offset = Offset::Bounded,
            ("session_late_check", Some("merged_window"))
            | ("closed_session", Some("forget"))
            | ("pane_index_on_merge", Some("reset"))
            | ("after_watermark_on_merge", Some("rewind"))
            | ("processing_delay_due", Some("at"))
            | ("bundle", Some("atomic")) => {}
            _ => return Err(Stop::Skip(format!("switch `{name}` = {value}"))),
        }
    }
    Ok(s)
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum WrittenWindow {
    Global {},
    Fixed {
        size_ms: i64,
        #[serde(default)]
        offset_ms: i64,
    },
    Sliding {
        size_ms: i64,
        period_ms: i64,
        #[serde(default)]
        offset_ms: i64,
    },
    Session {
        gap_ms: i64,
    },
    Cumulative {
        size_ms: i64,
        step_ms: i64,
        #[serde(default)]
        offset_ms: i64,
    },
}

/// The windows of a policy.
pub(super) fn windowing(written: &Map<String, Value>, switches: Switches, needs: Needs) -> Result<Windowing, Stop> {
    let window = written.get("window").unwrap_or(&Value::Null);
    match window.get("type").and_then(Value::as_str) {
        Some("global" | "fixed" | "sliding" | "session" | "cumulative") => {}
        Some(other) => return Err(Stop::Skip(format!("{other} windows"))),
        None => return Err(malformed("window", "an object with `type`", window)),
    }
    let ms = TimeDelta::from_millis;
    // Below the size or period as the engine wants it, unless the policy shall be refused for it.
    let offset = |offset: i64, below: i64| match switches.offset {
        _ if below <= 0 => Ok(ms(offset)),
        Offset::Bounded if offset.unsigned_abs() >= below.unsigned_abs() => {
            let expected = format!("an offset of less than {below} ms in magnitude");
            Err(Stop::from(Failure::other(
                None,
                "a policy that the engine takes",
                &format!("{offset}, not {expected}"),
            )))
        }
        _ => Ok(ms(offset.rem_euclid(below))),
    };
    Ok(match read("window", window)? {
        WrittenWindow::Global {} => Windowing::Global,
        WrittenWindow::Fixed { size_ms, offset_ms } => {
            Windowing::Fixed { size: ms(size_ms), offset: offset(offset_ms, size_ms)? }
        }
        WrittenWindow::Sliding { size_ms, period_ms, offset_ms } => {
            Windowing::Sliding { size: ms(size_ms), every: ms(period_ms), offset: offset(offset_ms, period_ms)? }
        }
        WrittenWindow::Session { gap_ms } => Windowing::Session {
            gap: ms(gap_ms),
            gap_field: needs.gaps.then(|| vec![GAP.into()]),
            touching: switches.touching,
        },
        WrittenWindow::Cumulative { size_ms, step_ms, offset_ms } => {
            Windowing::Cumulative { size: ms(size_ms), step: ms(step_ms), offset: offset(offset_ms, size_ms)? }
        }
    })
}

/// How long after its end a window takes elements: `LATENESS_UNBOUNDED` for ever.
pub(super) fn lateness(written: &Value) -> Result<TimeDelta, Stop> {
    match written {
        Value::Null => Ok(TimeDelta::ZERO),
        Value::String(s) if s == "unbounded" => Ok(limits::LATENESS_UNBOUNDED),
        other => match other.as_i64() {
            Some(ms) => Ok(TimeDelta::from_millis(ms)),
            None => Err(malformed("allowed_lateness_ms", "whole milliseconds or \"unbounded\"", other)),
        },
    }
}

/// A policy's trigger; the default one where there is none.
pub(super) fn trigger(written: Option<&Value>) -> Result<Trigger, Stop> {
    let Some(written) = written else { return Ok(Trigger::Default) };
    let Some(name) = written.get("type").and_then(Value::as_str) else {
        return Err(malformed("trigger", "an object with `type`", written));
    };
    let fields = Node { written, name };
    Ok(match name {
        "default" => fields.only(&[], Trigger::Default)?,
        "always" => fields.only(&[], Trigger::Always)?,
        "never" => fields.only(&[], Trigger::Never)?,
        "after_watermark" => {
            let (early, late) = (fields.perhaps("early")?, fields.perhaps("late")?);
            fields.only(&["early", "late"], Trigger::AfterWatermark { early, late })?
        }
        "after_count" => fields.only(&["count"], Trigger::AfterCount { count: fields.number("count")? })?,
        "after_processing_time" => {
            let align_ms: Option<i64> = fields.number("align_ms")?;
            let offset = fields.number::<Option<i64>>("align_offset_ms")?.unwrap_or(0);
            let trigger = Trigger::AfterProcessingTime {
                delay_ms: fields.number("delay_ms")?,
                align_ms,
                // Any instant of alignment says where they all are.
                align_offset_ms: align_ms.filter(|a| *a > 0).map_or(0, |a| offset.rem_euclid(a)),
            };
            fields.only(&["delay_ms", "align_ms", "align_offset_ms"], trigger)?
        }
        "repeatedly" => fields.only(&["trigger"], Trigger::Repeatedly { trigger: fields.child("trigger")? })?,
        "after_each" => fields.only(&["triggers"], Trigger::AfterEach { triggers: fields.children()? })?,
        "after_any" => fields.only(&["triggers"], Trigger::AfterAny { triggers: fields.children()? })?,
        "after_all" => fields.only(&["triggers"], Trigger::AfterAll { triggers: fields.children()? })?,
        "or_finally" => {
            let (main, until) = (fields.child("main")?, fields.child("until")?);
            fields.only(&["main", "until"], Trigger::OrFinally { main, until })?
        }
        "every_event_time" => {
            fields.only(&["period_ms"], Trigger::EveryEventTime { period_ms: fields.number("period_ms")? })?
        }
        other => return Err(Stop::Skip(format!("trigger `{other}`"))),
    })
}

/// A trigger as it is written.
struct Node<'v> {
    written: &'v Value,
    name: &'v str,
}

impl Node<'_> {
    fn number<T: for<'de> Deserialize<'de>>(&self, field: &str) -> Result<T, Stop> {
        read(&format!("{}.{field}", self.name), self.written.get(field).unwrap_or(&Value::Null))
    }

    fn child(&self, field: &str) -> Result<Box<Trigger>, Stop> {
        match self.perhaps(field)? {
            Some(t) => Ok(t),
            None => Err(malformed(&format!("{}.{field}", self.name), "a trigger", self.written)),
        }
    }

    fn perhaps(&self, field: &str) -> Result<Option<Box<Trigger>>, Stop> {
        let child = self.written.get(field).filter(|v| !v.is_null());
        child.map(|v| trigger(Some(v)).map(Box::new)).transpose()
    }

    fn children(&self) -> Result<Vec<Trigger>, Stop> {
        let list = self.written.get("triggers").and_then(Value::as_array);
        let Some(list) = list.filter(|l| !l.is_empty()) else {
            return Err(malformed(&format!("{}.triggers", self.name), "a list of at least one trigger", self.written));
        };
        list.iter().map(|v| trigger(Some(v))).collect()
    }

    /// Sees to it that there are no other fields.
    fn only(&self, fields: &[&str], trigger: Trigger) -> Result<Trigger, Stop> {
        let mut names = self.written.as_object().into_iter().flat_map(Map::keys);
        match names.find(|name| *name != "type" && !fields.contains(&name.as_str())) {
            None => Ok(trigger),
            Some(other) => Err(malformed(&format!("{}.{other}", self.name), "no such field", self.written)),
        }
    }
}

/// The columns, and what is kept beside them.
fn aggregates(names: &[String], needs: Needs) -> Result<(Vec<Measure>, Vec<Kept>), Stop> {
    let field = || vec![String::from(VALUE)];
    let mut measures = vec![Measure { name: "count".into(), op: Op::Count, field: None, scale: None }];
    let mut kept = Vec::new();
    let mut column = |name: &str, op: Op| {
        if measures.iter().all(|m| m.name != name) {
            measures.push(Measure { name: name.into(), op, field: Some(field()), scale: None });
        }
    };
    for name in names {
        let listed = match name.as_str() {
            "count" => false,
            "sum" | "min" | "max" | "mean" if needs.fractions => true,
            "sum" => {
                column("sum", Op::Sum);
                false
            }
            "mean" => {
                column("sum", Op::Sum);
                column(VALUES, Op::Count);
                false
            }
            "min" => {
                column("min", Op::Min);
                false
            }
            "max" => {
                column("max", Op::Max);
                false
            }
            "list" | "count_distinct" => true,
            other => return Err(Stop::Skip(format!("aggregate `{other}`"))),
        };
        if listed && kept.is_empty() {
            let what = Keep::List { most: limits::LIST_MAX };
            kept.push(Kept { name: "values".into(), what, field: field() });
        }
    }
    Ok((measures, kept))
}

/// Reads a value that stands in a policy.
pub(super) fn read<T: for<'de> Deserialize<'de>>(field: &str, value: &Value) -> Result<T, Stop> {
    T::deserialize(value)
        .map_err(|e| Failure::other(None, &format!("`{field}` as the format says"), &format!("{e} in {value}")).into())
}

/// A value of a policy that is not as the format says.
pub(super) fn malformed(field: &str, expected: &str, found: &Value) -> Stop {
    Failure::other(None, &format!("`{field}`: {expected}"), &found.to_string()).into()
}

fn refused(e: PolicyError) -> Stop {
    Failure::other(None, "a policy that the engine takes", &e.to_string()).into()
}
