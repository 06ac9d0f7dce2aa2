//! Tree → `Spec`: which fields a policy has, their types and their defaults.
//!
//! A field that is wrong gets the most permissive value in its place (`ANY_SPAN`, no path, …), so that the rules over
//! the whole policy find what else is wrong and nothing that is not.
//!
//! Not here: how a field is read (`reader`), the rules over the whole policy (`validate`), the same form as types for
//! the schema (`schema`); a test keeps the two in step.

use super::Syntax;
use super::diagnostic::{Code, Finding};
use super::reader::{Field, Later, Reader, Section, Shape, nearest};
use super::tree::{Node, Span, Value};
use crate::policy::validate;
use crate::policy::{
    Format, Future, Input, Late, LateBy, LateTo, Limits, Measure, Op, Path, Policy, Spec, Strategy, TimeField,
    TimeUnit, Watermark, Windowing, limits,
};
use crate::time::TimeDelta;

/// What stands where nothing is said. The schema says so too.
pub(super) mod defaults {
    use crate::policy::{Format, Future, Late, LateBy, LateTo, Limits, Strategy, Watermark};
    use crate::time::TimeDelta;

    pub(in super::super) const FORMAT: Format = Format::Json;
    pub(in super::super) const UNIT_CHECK: bool = true;
    pub(in super::super) const Q_MILLI: u32 = 500;
    pub(in super::super) const SAMPLE: u32 = 501;
    /// Or the whole sample, where that is smaller.
    pub(in super::super) const MIN_SAMPLE: u32 = 31;
    pub(in super::super) const WATERMARK: Watermark = Watermark {
        strategy: Strategy::Quantile { q_milli: Q_MILLI, sample: SAMPLE, min_sample: MIN_SAMPLE },
        delay: TimeDelta::from_mins(10),
        max_future: Some(TimeDelta::from_mins(5)),
        future: Future::Quarantine,
    };
    pub(in super::super) const LATE: Late =
        Late { by: LateBy::Record, allowed_lateness: TimeDelta::ZERO, to: LateTo::Table };
    pub(in super::super) const LIMITS: Limits =
        Limits { record_bytes: 1 << 20, key_bytes: 1 << 10, dead_letter_bytes: 64 << 10 };
}

const ROOT: Shape = Shape {
    fields: &["policy", "input", "window", "watermark", "late", "measures", "limits", "$schema"],
    later: &[
        Later { name: "trigger", instead: "rows are written at every batch", for_field: "" },
        Later { name: "rollup", instead: "rows are those of `window`", for_field: "" },
    ],
};
const INPUT: Shape = Shape { fields: &["format", "time", "arrival", "key", "source"], later: &[] };
const TIME: Shape = Shape { fields: &["field", "unit", "unit_check"], later: &[] };
const WINDOW: Shape = Shape {
    fields: &["fixed", "offset"],
    later: &[
        Later { name: "sliding", instead: ONLY_FIXED, for_field: "fixed" },
        Later { name: "session", instead: ONLY_FIXED, for_field: "fixed" },
        Later { name: "calendar", instead: ONLY_FIXED, for_field: "fixed" },
        Later { name: "cumulative", instead: ONLY_FIXED, for_field: "fixed" },
        Later { name: "global", instead: ONLY_FIXED, for_field: "fixed" },
    ],
};
const ONLY_FIXED: &str = "windows are `fixed`";
const WATERMARK: Shape = Shape {
    fields: &["quantile", "max", "arrival", "sample", "min_sample", "delay", "max_future", "future"],
    later: &[],
};
const LATE: Shape = Shape { fields: &["by", "allowed_lateness", "to"], later: &[] };
const MEASURE: Shape = Shape {
    fields: &["sum", "min", "max"],
    later: &[
        Later { name: "distinct", instead: ONLY_OPS, for_field: "" },
        Later { name: "quantile", instead: ONLY_OPS, for_field: "" },
        Later { name: "quantiles", instead: ONLY_OPS, for_field: "" },
        Later { name: "top_k", instead: ONLY_OPS, for_field: "" },
    ],
};
const ONLY_OPS: &str = "measures are count, sum, min and max; a mean is a sum beside a count";
const LIMITS: Shape = Shape {
    fields: &["record_bytes", "key_bytes", "dead_letter_bytes"],
    later: &[Later { name: "keys_per_window", instead: "the number of keys in a window has no bound", for_field: "" }],
};

/// All groups of fields, as the schema names them, in the order of the reference.
pub(super) const SHAPES: &[(&str, &Shape)] = &[
    ("", &ROOT),
    ("input", &INPUT),
    ("time", &TIME),
    ("window", &WINDOW),
    ("watermark", &WATERMARK),
    ("late", &LATE),
    ("measure", &MEASURE),
    ("limits", &LIMITS),
];

/// The section that has a field of this name; the document itself is "".
pub(super) fn owner(name: &str) -> Option<&'static str> {
    let sections = SHAPES.iter().filter(|(section, _)| !matches!(*section, "time" | "measure"));
    sections.map(|(section, shape)| (*section, shape.fields)).find(|(_, f)| f.contains(&name)).map(|(s, _)| s)
}

/// In place of a window's size that is wrong: every offset fits.
const ANY_SPAN: TimeDelta = limits::SPAN_MAX;

/// Reads a whole document.
pub(super) fn policy(root: &Node, text: &str, syntax: Syntax) -> Result<Policy, Vec<Finding>> {
    let mut r = Reader::new(syntax);
    let Some(s) = r.document(root, &ROOT) else { return Err(r.into_findings()) };
    let spec = spec(&mut r, &s);
    for problem in validate::problems(&spec) {
        r.refusal(&problem);
    }
    let findings = r.into_findings();
    if !findings.is_empty() {
        return Err(findings);
    }
    Policy::new(spec).map_err(|e| {
        // `problems` found none, and `new` asks nothing else.
        unreachable!("a policy without problems was refused: {e}: {text}")
    })
}

fn spec(r: &mut Reader, s: &Section<'_>) -> Spec {
    if let Some(f) = s.optional("$schema") {
        r.text(&f, "text, the schema's address", None);
    }
    let name = r.required(s, "policy", "policy = \"impressions\"", "\"policy\": \"impressions\"");
    Spec {
        v: limits::CANONICAL_VERSION,
        policy: name
            .and_then(|f| r.text(&f, "a name", Some("like \"impressions\"".into())).map(str::to_owned))
            .unwrap_or_default(),
        input: input(r, s),
        window: window(r, s),
        watermark: watermark(r, s),
        late: late(r, s),
        measures: measures(r, s),
        derived: Vec::new(),
        kept: Vec::new(),
        panes: None,
        limits: bounds(r, s),
    }
}

fn input(r: &mut Reader, root: &Section<'_>) -> Input {
    let f = r.required(
        root,
        "input",
        "input = { time = { field = \"ts\", unit = \"ms\" }, key = [\"placement\"] }",
        "\"input\": {\"time\": {\"field\": \"ts\", \"unit\": \"ms\"}, \"key\": [\"placement\"]}",
    );
    let nothing = TimeField { field: Path::new(), unit: TimeUnit::Ms, unit_check: true };
    let Some(s) = f.and_then(|f| r.section(&f, &INPUT)) else {
        return Input { format: Format::Json, time: nothing, arrival: None, key: Vec::new(), source: None };
    };
    let format = s.optional("format").and_then(|f| r.choice(&f, &[("json", Format::Json)]));
    let time = r.required(
        &s,
        "time",
        "time = { field = \"ts\", unit = \"ms\" }",
        "\"time\": {\"field\": \"ts\", \"unit\": \"ms\"}",
    );
    let time = time.and_then(|f| time_field(r, &f));
    let arrival = s.optional("arrival").and_then(|f| time_field(r, &f));
    let key = r.required(&s, "key", "key = [\"placement\"]", "\"key\": [\"placement\"]");
    let key = key.and_then(|f| {
        let example = match &f.node.value {
            Value::Text(t) if t.len() <= 80 => format!("like [{t:?}]"),
            _ => "like [\"placement\", \"creative\"]".into(),
        };
        r.list(&f, "a list of fields", Some(example))
    });
    let key = key.unwrap_or_default().iter().map(|f| r.path(f).unwrap_or_default()).collect();
    let source = s.optional("source").and_then(|f| r.path(&f));
    Input { format: format.unwrap_or(defaults::FORMAT), time: time.unwrap_or(nothing), arrival, key, source }
}

fn time_field(r: &mut Reader, f: &Field<'_>) -> Option<TimeField> {
    let s = r.section(f, &TIME)?;
    let field = r.required(&s, "field", "field = \"ts\"", "\"field\": \"ts\"").and_then(|f| r.path(&f));
    let unit = r.required(&s, "unit", "unit = \"ms\"", "\"unit\": \"ms\"");
    let units = [
        ("s", TimeUnit::S),
        ("ms", TimeUnit::Ms),
        ("us", TimeUnit::Us),
        ("ns", TimeUnit::Ns),
        ("rfc3339", TimeUnit::Rfc3339),
    ];
    let unit = unit.and_then(|f| r.choice(&f, &units));
    let check = s.optional("unit_check").and_then(|f| r.flag(&f));
    Some(TimeField {
        field: field.unwrap_or_default(),
        unit: unit.unwrap_or(TimeUnit::Ms),
        unit_check: check.unwrap_or(defaults::UNIT_CHECK),
    })
}

fn window(r: &mut Reader, root: &Section<'_>) -> Windowing {
    let f = r.required(root, "window", "window = { fixed = \"1m\" }", "\"window\": {\"fixed\": \"1m\"}");
    let Some(s) = f.and_then(|f| r.section(&f, &WINDOW)) else {
        return Windowing::Fixed { size: ANY_SPAN, offset: TimeDelta::ZERO };
    };
    let size = r.required(&s, "fixed", "fixed = \"1m\"", "\"fixed\": \"1m\"").and_then(|f| r.duration(&f));
    let offset = s.optional("offset").and_then(|f| r.duration(&f));
    Windowing::Fixed { size: size.unwrap_or(ANY_SPAN), offset: offset.unwrap_or(TimeDelta::ZERO) }
}

fn watermark(r: &mut Reader, root: &Section<'_>) -> Watermark {
    let f = root.optional("watermark");
    let Some(s) = f.and_then(|f| r.section(&f, &WATERMARK)) else {
        return defaults::WATERMARK;
    };
    let strategy = strategy(r, &s);
    let delay = s.optional("delay").and_then(|f| r.duration(&f));
    let max_future = match s.optional("max_future") {
        Some(f) => r.duration_or_none(&f),
        None => defaults::WATERMARK.max_future,
    };
    let future = [("quarantine", Future::Quarantine), ("clamp", Future::Clamp), ("accept", Future::Accept)];
    let future = s.optional("future").and_then(|f| r.choice(&f, &future));
    Watermark {
        strategy,
        delay: delay.unwrap_or(defaults::WATERMARK.delay),
        max_future,
        future: future.unwrap_or(defaults::WATERMARK.future),
    }
}

fn strategy(r: &mut Reader, s: &Section<'_>) -> Strategy {
    let q = s.optional("quantile");
    let max = s.optional("max");
    let arrival = s.optional("arrival");
    // In the order of the text, so that it is the second one that is refused.
    let mut chosen: Vec<&Field<'_>> = [&q, &max, &arrival].into_iter().flatten().collect();
    chosen.sort_by_key(|f| f.key);
    for other in chosen.iter().skip(1) {
        let message = format!("`{}` excludes `{}`: a watermark follows one thing", other.path, chosen[0].path);
        r.note(Code::Conflict, &other.path, other.key, message, Some("leave one of them out".into()));
    }
    for f in [&max, &arrival].into_iter().flatten() {
        r.sign(f);
    }
    let q_milli = q.as_ref().and_then(|f| r.thousandths(f)).unwrap_or(defaults::Q_MILLI);
    let (sample, min_sample) = (s.optional("sample"), s.optional("min_sample"));
    if q.is_none()
        && let Some(strategy) = max.as_ref().or(arrival.as_ref())
    {
        for f in [&sample, &min_sample].into_iter().flatten() {
            let message = format!("`{}` excludes `{}`: only a quantile has a sample", f.path, strategy.path);
            r.note(Code::Conflict, &f.path, f.key, message, Some("leave it out".into()));
        }
        return if max.is_some() { Strategy::Max } else { Strategy::Arrival };
    }
    // In place of a wrong sample the largest one: every minimum fits.
    let most = limits::SAMPLE_MAX;
    let sample = sample.map(|f| r.whole(&f, &format!("1 to {most} event times")).unwrap_or(most));
    let min_sample = min_sample.map(|f| r.whole(&f, "1 up to the sample's size").unwrap_or(1));
    quantile(q_milli, sample, min_sample)
}

fn quantile(q_milli: u32, sample: Option<u32>, min_sample: Option<u32>) -> Strategy {
    let sample = sample.unwrap_or(defaults::SAMPLE);
    // A sample of 0 is refused for itself, not for its minimum.
    let min_sample = min_sample.unwrap_or(defaults::MIN_SAMPLE.min(sample.max(1)));
    Strategy::Quantile { q_milli, sample, min_sample }
}

fn late(r: &mut Reader, root: &Section<'_>) -> Late {
    let Some(s) = root.optional("late").and_then(|f| r.section(&f, &LATE)) else {
        return defaults::LATE;
    };
    let by = match s.optional("by") {
        // In place of a wrong word the one that takes any lateness.
        Some(f) => r.choice(&f, &[("record", LateBy::Record), ("window", LateBy::Window)]).unwrap_or(LateBy::Window),
        None => defaults::LATE.by,
    };
    let lateness = s.optional("allowed_lateness").and_then(|f| r.duration(&f));
    let to = [("table", LateTo::Table), ("drop", LateTo::Drop), ("accept", LateTo::Accept)];
    let to = s.optional("to").and_then(|f| r.choice(&f, &to));
    let allowed_lateness = lateness.unwrap_or(defaults::LATE.allowed_lateness);
    Late { by, allowed_lateness, to: to.unwrap_or(defaults::LATE.to) }
}

fn measures(r: &mut Reader, root: &Section<'_>) -> Vec<Measure> {
    let f = r.required(root, "measures", "measures = { events = \"count\" }", "\"measures\": {\"events\": \"count\"}");
    let Some(s) = f.and_then(|f| r.members(&f, "measures by name")) else { return Vec::new() };
    s.each().iter().map(|f| measure(r, f)).collect()
}

fn measure(r: &mut Reader, f: &Field<'_>) -> Measure {
    let name = f.path.strip_prefix("measures.").unwrap_or_default().to_owned();
    let like = r.like("{ sum = \"impressions\" }", "{\"sum\": \"impressions\"}");
    let expected = "\"count\", or sum, min or max with a field";
    let computed = match &f.node.value {
        Value::Text(t) if t == "count" => Some((Op::Count, None)),
        Value::Text(t) => {
            if let Some(later) = MEASURE.later.iter().find(|l| l.name == t) {
                let message = format!("`{}`: {t:?} is not in this version yet: {}", f.path, later.instead);
                r.note(Code::NotYet, &f.path, f.node.span, message, None);
            } else {
                let hint = nearest(t, &["count"]).map(|_| "did you mean \"count\"?".into()).or(like);
                r.refuse(Code::WrongValue, f, expected, hint);
            }
            None
        }
        Value::Object(members) if members.len() == 1 && members[0].name == "count" => {
            r.refuse(Code::WrongValue, f, "\"count\" alone: it counts records", None);
            None
        }
        Value::Object(members) if !members.is_empty() => r.section(f, &MEASURE).and_then(|s| operation(r, f, &s)),
        Value::Object(_) => {
            r.refuse(Code::WrongValue, f, expected, like);
            None
        }
        _ => {
            r.refuse(Code::WrongType, f, expected, like);
            None
        }
    };
    let (op, field) = computed.unwrap_or((Op::Count, None));
    Measure { name, op, field }
}

fn operation(r: &mut Reader, f: &Field<'_>, s: &Section<'_>) -> Option<(Op, Option<Path>)> {
    let ops = [("sum", Op::Sum), ("min", Op::Min), ("max", Op::Max)];
    let mut written: Vec<(Field<'_>, Op)> =
        ops.iter().filter_map(|(name, op)| s.optional(name).map(|f| (f, *op))).collect();
    written.sort_by_key(|(f, _)| f.key);
    if let [_, (second, _), ..] = written.as_slice() {
        let message = format!("`{}` beside `{}`: a measure computes one thing", second.path, written[0].0.path);
        let span = Span { from: second.key.from, to: second.node.span.to };
        r.note(Code::Conflict, &f.path, span, message, Some("give the second its own name".into()));
    }
    let (field, op) = written.first()?;
    Some((*op, Some(r.path(field)?)))
}

fn bounds(r: &mut Reader, root: &Section<'_>) -> Limits {
    let s = root.optional("limits").and_then(|f| r.section(&f, &LIMITS));
    let mut bytes = |name: &str, most: u32, default: u32| {
        let field = s.as_ref().and_then(|s| s.optional(name));
        field.and_then(|f| r.whole(&f, &format!("1 to {most} bytes"))).unwrap_or(default)
    };
    Limits {
        record_bytes: bytes("record_bytes", limits::RECORD_BYTES_MAX, defaults::LIMITS.record_bytes),
        key_bytes: bytes("key_bytes", limits::KEY_BYTES_MAX, defaults::LIMITS.key_bytes),
        dead_letter_bytes: bytes(
            "dead_letter_bytes",
            limits::DEAD_LETTER_BYTES_MAX,
            defaults::LIMITS.dead_letter_bytes,
        ),
    }
}
