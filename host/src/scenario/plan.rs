//! A scenario's policy becomes a policy of this engine, or the reason why it cannot.
//!
//! This engine gives one pane a key and window: when the window expires. With an allowed lateness of zero that is the
//! window's end, and what the default trigger and the end-of-window triggers say. With more lateness it is the same as
//! long as no watermark stops between a window's end and its expiry; `run` sees to that.
//!
//! Invariants
//! - Every field of the policy is looked at: one that is not known is a reason to skip.
//!
//! Not here: the steps (`run`).

use super::{Failure, Stop};
use plimsoll_core::policy::{
    Format, Future, Input, Late, LateBy, LateTo, Limits, Measure, Op, Policy, PolicyError, Spec, Strategy, TimeField,
    TimeUnit, Watermark, Windowing, limits,
};
use plimsoll_core::time::TimeDelta;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// What a scenario with panes runs with.
pub(super) struct Plan {
    pub policy: Arc<Policy>,
    pub lateness: Lateness,
    /// The mean is asked for: sum by count.
    pub mean: bool,
    /// A pane is stamped with the end of its window.
    pub stamped: bool,
}

/// How long after its end a window takes elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lateness {
    None,
    Some,
    Unbounded,
}

/// A window of one size after the other, as a scenario writes it.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fixed {
    #[serde(rename = "type")]
    _type: FixedTag,
    size_ms: i64,
    #[serde(default)]
    offset_ms: i64,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FixedTag {
    Fixed,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum WhenEmpty {
    Always,
    IfNonEmpty,
}

/// The fields of a policy beside its windows and triggers.
#[derive(Deserialize)]
struct Fields {
    #[serde(default)]
    allowed_lateness_ms: Value,
    closing_pane: Option<WhenEmpty>,
    #[serde(default, rename = "on_time_pane")]
    _on_time_pane: Option<WhenEmpty>,
    #[serde(default, rename = "flush_on_expiry")]
    _flush_on_expiry: Option<bool>,
}

const KNOWN: [&str; 9] = [
    "window",
    "trigger",
    "accumulation",
    "allowed_lateness_ms",
    "timestamp_combiner",
    "aggregate",
    "on_time_pane",
    "closing_pane",
    "flush_on_expiry",
];

/// The plan of a scenario with panes.
pub(super) fn plan(written: &Map<String, Value>, requires: &Map<String, Value>) -> Result<Plan, Stop> {
    let fixed = fixed(written)?;
    offered(written, requires)?;
    let fields: Fields = read("policy", &Value::Object(written.clone()))?;
    let (lateness, allowed) = match &fields.allowed_lateness_ms {
        Value::Null => (Lateness::None, 0),
        Value::String(s) if s == "unbounded" => (Lateness::Unbounded, limits::SPAN_MAX.as_millis()),
        other => match other.as_i64() {
            Some(0) => (Lateness::None, 0),
            Some(ms) => (Lateness::Some, span("an allowed lateness", ms)?),
            None => return Err(malformed("allowed_lateness_ms", "whole milliseconds or \"unbounded\"", other)),
        },
    };
    trigger(written.get("trigger"), lateness)?;
    match text(written, "accumulation")? {
        None | Some("discarding" | "accumulating" | "retracting") => {}
        Some(other) => return Err(Stop::Skip(format!("accumulation `{other}`"))),
    }
    if lateness != Lateness::None && matches!(fields.closing_pane, Some(WhenEmpty::Always)) {
        return Err(Stop::Skip("a closing pane although nothing was added".into()));
    }
    let stamped = match text(written, "timestamp_combiner")? {
        None | Some("end_of_window") => true,
        Some("earliest" | "latest") => false,
        Some(other) => return Err(Stop::Skip(format!("timestamp combiner `{other}`"))),
    };
    let (ops, mean) = aggregates(written.get("aggregate"))?;
    let late = Late { by: LateBy::Window, allowed_lateness: TimeDelta::from_millis(allowed), to: LateTo::Drop };
    let policy = policy(fixed.modulo()?, Strategy::Arrival, TimeDelta::ZERO, late, &ops).map_err(refused)?;
    Ok(Plan { policy: Arc::new(policy), lateness, mean, stamped })
}

/// The policy under which an element shows its window: nothing is ever late.
pub(super) fn assigning(written: &Map<String, Value>, requires: &Map<String, Value>) -> Result<Arc<Policy>, Stop> {
    let fixed = fixed(written)?;
    offered(written, requires)?;
    policy(fixed.modulo()?, Strategy::Arrival, TimeDelta::ZERO, NEVER_LATE, &[]).map(Arc::new).map_err(refused)
}

/// The policy whose watermark stays `bound_ms` behind the greatest event time.
pub(super) fn bounded(written: &Map<String, Value>) -> Result<Arc<Policy>, Stop> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Bounded {
        #[serde(rename = "type")]
        _type: String,
        bound_ms: i64,
    }
    let watermark = written.get("watermark").unwrap_or(&Value::Null);
    match watermark.get("type").and_then(Value::as_str) {
        Some("bounded_out_of_orderness") => {}
        Some(other) => return Err(Stop::Skip(format!("watermark `{other}`"))),
        None => return Err(malformed("watermark", "an object with `type`", watermark)),
    }
    if let Some(name) = written.keys().find(|name| *name != "watermark") {
        return Err(Stop::Skip(format!("policy field `{name}`")));
    }
    let bounded: Bounded = read("watermark", watermark)?;
    let delay = TimeDelta::from_millis(span("a bound", bounded.bound_ms)?);
    let window = Windowing::Fixed { size: TimeDelta::DAY, offset: TimeDelta::ZERO };
    policy(window, Strategy::Max, delay, NEVER_LATE, &[]).map(Arc::new).map_err(refused)
}

/// Whether a policy is refused as it is written, with the refusal.
pub(super) fn rejected(written: &Map<String, Value>, requires: &Map<String, Value>) -> Result<Option<String>, Stop> {
    let fixed = fixed(written)?;
    let window = fixed.as_written();
    if let Err(e) = policy(window, Strategy::Arrival, TimeDelta::ZERO, NEVER_LATE, &[]) {
        return Ok(Some(e.to_string()));
    }
    match plan(written, requires) {
        Ok(_) => Ok(None),
        Err(Stop::Fail(f)) => Ok(Some(f.got)),
        Err(skip @ Stop::Skip(_)) => Err(skip),
    }
}

const NEVER_LATE: Late = Late { by: LateBy::Window, allowed_lateness: TimeDelta::ZERO, to: LateTo::Accept };

impl Fixed {
    fn as_written(self) -> Windowing {
        Windowing::Fixed { size: TimeDelta::from_millis(self.size_ms), offset: TimeDelta::from_millis(self.offset_ms) }
    }

    /// The engine wants an offset below the size; the format takes any, modulo the size.
    fn modulo(self) -> Result<Windowing, Stop> {
        let size = span("a window", self.size_ms)?;
        let offset = if size > 0 { self.offset_ms.rem_euclid(size) } else { self.offset_ms };
        Ok(Windowing::Fixed { size: TimeDelta::from_millis(size), offset: TimeDelta::from_millis(offset) })
    }
}

fn fixed(written: &Map<String, Value>) -> Result<Fixed, Stop> {
    let window = written.get("window").unwrap_or(&Value::Null);
    match window.get("type").and_then(Value::as_str) {
        Some("fixed") => read("window", window),
        Some(other) => Err(Stop::Skip(format!("{other} windows"))),
        None => Err(malformed("window", "an object with `type`", window)),
    }
}

/// Sees to it that no field and no switch wants what is not offered.
fn offered(written: &Map<String, Value>, requires: &Map<String, Value>) -> Result<(), Stop> {
    let own = written.iter().filter(|(name, _)| !KNOWN.contains(&name.as_str()));
    for (name, value) in own.chain(requires) {
        match (name.as_str(), value.as_str()) {
            ("offset", Some("modulo" | "negative")) => {}
            _ => return Err(Stop::Skip(format!("switch `{name}` = {value}"))),
        }
    }
    Ok(())
}

fn trigger(trigger: Option<&Value>, lateness: Lateness) -> Result<(), Stop> {
    let Some(trigger) = trigger else { return Ok(()) };
    let Some(name) = trigger.get("type").and_then(Value::as_str) else {
        return Err(malformed("trigger", "an object with `type`", trigger));
    };
    if let Some(other) = fires_otherwise(trigger) {
        return Err(Stop::Skip(format!("trigger `{other}`")));
    }
    if lateness != Lateness::None && name != "default" {
        return Err(Stop::Skip(format!("trigger `{name}` with an allowed lateness")));
    }
    Ok(())
}

/// What in a trigger fires at other times than the end of the window; `None` where nothing does. What it does later
/// shows only with an allowed lateness.
fn fires_otherwise(trigger: &Value) -> Option<String> {
    match trigger.get("type").and_then(Value::as_str).unwrap_or("?") {
        "default" => None,
        "after_watermark" => trigger.get("early").filter(|e| !e.is_null()).map(|_| "after_watermark.early".into()),
        "repeatedly" => fires_otherwise(trigger.get("trigger").unwrap_or(&Value::Null)),
        other => Some(other.into()),
    }
}

/// The measures beside the count, and whether the mean is wanted.
fn aggregates(names: Option<&Value>) -> Result<(Vec<Op>, bool), Stop> {
    let (mut ops, mut mean) = (Vec::new(), false);
    let names: Vec<String> = names.map_or(Ok(Vec::new()), |v| read("aggregate", v))?;
    for name in &names {
        let op = match name.as_str() {
            "count" => continue,
            "sum" => Op::Sum,
            "mean" => {
                mean = true;
                Op::Sum
            }
            "min" => Op::Min,
            "max" => Op::Max,
            other => return Err(Stop::Skip(format!("aggregate `{other}`"))),
        };
        if !ops.contains(&op) {
            ops.push(op);
        }
    }
    Ok((ops, mean))
}

/// The name of a measure: the pane's field that shows it.
pub(super) fn name(op: Op) -> &'static str {
    match op {
        Op::Count => "count",
        Op::Sum => "sum",
        Op::Min => "min",
        Op::Max => "max",
        // Measures come from `aggregates` alone.
        other => unreachable!("no aggregate of scenarios is {other:?}"),
    }
}

fn policy(
    window: Windowing,
    strategy: Strategy,
    delay: TimeDelta,
    late: Late,
    ops: &[Op],
) -> Result<Policy, PolicyError> {
    let measure =
        |op: Op| Measure { name: name(op).into(), op, field: (op != Op::Count).then(|| vec![String::from("v")]) };
    Policy::new(Spec {
        derived: Vec::new(),
        kept: Vec::new(),
        panes: None,
        v: limits::CANONICAL_VERSION,
        policy: "scenario".into(),
        input: Input {
            format: Format::Json,
            time: TimeField { field: vec!["t".into()], unit: TimeUnit::Ms, unit_check: false },
            arrival: None,
            key: vec![vec!["k".into()]],
            source: None,
        },
        window,
        watermark: Watermark { strategy, delay, max_future: None, future: Future::Accept },
        late,
        measures: [Op::Count].iter().chain(ops).map(|op| measure(*op)).collect(),
        limits: Limits {
            record_bytes: limits::RECORD_BYTES_MAX,
            key_bytes: limits::KEY_BYTES_MAX,
            dead_letter_bytes: 200,
        },
    })
}

/// A span that this engine takes, or that it refuses as no span at all.
fn span(what: &str, ms: i64) -> Result<i64, Stop> {
    if ms > limits::SPAN_MAX.as_millis() {
        return Err(Stop::Skip(format!("{what} of {ms} ms: more than 3660 days")));
    }
    Ok(ms)
}

fn text<'v>(written: &'v Map<String, Value>, name: &str) -> Result<Option<&'v str>, Stop> {
    match written.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(s)) => Ok(Some(s)),
        Some(other) => Err(malformed(name, "a word", other)),
    }
}

fn read<T: for<'de> Deserialize<'de>>(field: &str, value: &Value) -> Result<T, Stop> {
    T::deserialize(value)
        .map_err(|e| Failure::other(None, &format!("`{field}` as the format says"), &format!("{e} in {value}")).into())
}

fn malformed(field: &str, expected: &str, found: &Value) -> Stop {
    Failure::other(None, &format!("`{field}`: {expected}"), &found.to_string()).into()
}

fn refused(e: PolicyError) -> Stop {
    Failure::other(None, "a policy that the engine takes", &e.to_string()).into()
}
