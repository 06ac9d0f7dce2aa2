//! Tree → `Spec`: which fields a policy has, their types and their defaults.
//!
//! A field that is wrong gets the most permissive value in its place (`ANY_SPAN`, no path, …), so that the rules over
//! the whole policy find what else is wrong and nothing that is not.
//!
//! Sections with a grammar of their own stand in files of their own: `window`, `trigger`, `measures`, `rollup`,
//! `expression`.
//! Not here: how a field is read (`reader`), the rules over the whole policy (`validate`), the same form as types for
//! the schema (`schema`); a test keeps the two in step.

mod expression;
mod measures;
mod rollup;
mod trigger;
mod window;

pub(super) use trigger::loss;

use super::Syntax;
use super::diagnostic::{Code, Finding};
use super::reader::{Field, Reader, Section, Shape};
use super::tree::{Node, Value};
use crate::policy::validate;
use crate::policy::{
    Format, Future, Input, Late, LateBy, LateTo, Limits, Path, Policy, Spec, Strategy, TimeField, TimeUnit, Watermark,
    limits,
};
use crate::time::TimeDelta;

/// What stands where nothing is said. The schema says so too.
pub(super) mod defaults {
    use crate::policy::{
        Accumulation, Bundle, Emission, Format, Future, Late, LateBy, LateTo, Limits, Panes, Strategy,
        TimestampCombiner, Touching, Trigger, Watermark,
    };
    use crate::time::TimeDelta;

    pub(in super::super) const FORMAT: Format = Format::Json;
    pub(in super::super) const UNIT_CHECK: bool = true;
    pub(in super::super) const Q_MILLI: u32 = 500;
    pub(in super::super) const SAMPLE: u32 = 501;
    /// Or the whole sample, where that is smaller.
    pub(in super::super) const MIN_SAMPLE: u32 = 31;
    pub(in super::super) const WATERMARK: Watermark = Watermark {
        strategy: Strategy::Quantile { q_milli: Q_MILLI, sample: SAMPLE, min_sample: MIN_SAMPLE, per_source: None },
        delay: TimeDelta::from_mins(10),
        max_future: Some(TimeDelta::from_mins(5)),
        future: Future::Quarantine,
    };
    pub(in super::super) const LATE: Late =
        Late { by: LateBy::Record, allowed_lateness: TimeDelta::ZERO, to: LateTo::Table };
    pub(in super::super) const LIMITS: Limits =
        Limits { record_bytes: 1 << 20, key_bytes: 1 << 10, dead_letter_bytes: 64 << 10, keys_per_window: None };
    pub(in super::super) const TOUCHING: Touching = Touching::Separate;
    /// Of a `[trigger]` that says nothing, and of sessions without one: late records, where some are allowed, still come
    /// out.
    pub(in super::super) const PANES: Panes = Panes {
        trigger: Trigger::Default,
        accumulation: Accumulation::Accumulating,
        timestamp: TimestampCombiner::EndOfWindow,
        timestamp_shift: TimeDelta::ZERO,
        on_time: Emission::IfNonEmpty,
        closing: Emission::IfNonEmpty,
        flush_on_expiry: true,
        bundle: Bundle::Record,
        open_max: 1_000_000,
    };
    /// The source has its own delay.
    pub(in super::super) const DELAY_GIVEN: TimeDelta = TimeDelta::ZERO;
}

const ROOT: Shape = Shape {
    fields: &[
        "policy",
        "where",
        "input",
        "fields",
        "window",
        "watermark",
        "late",
        "trigger",
        "measures",
        "rollup",
        "limits",
        "$schema",
    ],
};
const INPUT: Shape = fields(&["format", "time", "arrival", "key", "source"]);
const TIME: Shape = fields(&["field", "unit", "unit_check"]);
pub(super) const WINDOW_KINDS: &[&str] = &["fixed", "sliding", "cumulative", "session", "calendar", "global"];
const WINDOW: Shape = fields(&["fixed", "sliding", "cumulative", "session", "calendar", "global", "offset"]);
const SLIDING: Shape = fields(&["size", "every"]);
const CUMULATIVE: Shape = fields(&["size", "step"]);
const SESSION: Shape = fields(&["gap", "gap_field", "touching"]);
const CALENDAR: Shape = fields(&["every", "zone"]);
const WATERMARK: Shape = fields(&[
    "quantile",
    "max",
    "arrival",
    "given",
    "sample",
    "min_sample",
    "per_source",
    "delay",
    "max_future",
    "future",
]);
const LATE: Shape = fields(&["by", "allowed_lateness", "to"]);
const TRIGGER: Shape = fields(&[
    "when",
    "accumulation",
    "timestamp",
    "timestamp_shift",
    "on_time_pane",
    "closing_pane",
    "flush_on_expiry",
    "bundle",
    "open_max",
    "may_lose_data",
]);
const WHEN: Shape = fields(&[
    "after_watermark",
    "after_count",
    "after_processing_time",
    "repeatedly",
    "after_each",
    "after_any",
    "after_all",
    "or_finally",
    "every_event_time",
]);
const AFTER_WATERMARK: Shape = fields(&["early", "late"]);
const AFTER_PROCESSING_TIME: Shape = fields(&["delay", "align", "align_offset"]);
const OR_FINALLY: Shape = fields(&["main", "until"]);
const MEASURE: Shape = fields(&[
    "count", "sum", "min", "max", "squares", "mean", "variance", "first", "last", "list", "distinct", "quantile",
    "top_k",
]);
const SCALED: Shape = fields(&["field", "scale"]);
const COLUMNS_OF_MEAN: Shape = fields(&["sum", "count"]);
const COLUMNS_OF_VARIANCE: Shape = fields(&["sum", "count", "squares"]);
const LIST: Shape = fields(&["field", "most"]);
const QUANTILE: Shape = fields(&["field", "q"]);
const TOP_K: Shape = fields(&["field", "k"]);
const ROLLUP: Shape = fields(&["hour", "day"]);
const DAY: Shape = fields(&["zone"]);
const LIMITS: Shape = fields(&["record_bytes", "key_bytes", "dead_letter_bytes", "keys_per_window"]);

const fn fields(fields: &'static [&'static str]) -> Shape {
    Shape { fields }
}

/// The groups of fields that the reference shows, as the schema names them, in its order.
pub(super) const SHAPES: &[(&str, &Shape)] = &[
    ("", &ROOT),
    ("input", &INPUT),
    ("time", &TIME),
    ("window", &WINDOW),
    ("sliding", &SLIDING),
    ("cumulative", &CUMULATIVE),
    ("session", &SESSION),
    ("calendar", &CALENDAR),
    ("watermark", &WATERMARK),
    ("late", &LATE),
    ("trigger", &TRIGGER),
    ("when", &WHEN),
    ("after_watermark", &AFTER_WATERMARK),
    ("after_processing_time", &AFTER_PROCESSING_TIME),
    ("measure", &MEASURE),
    ("rollup", &ROLLUP),
    ("day", &DAY),
    ("limits", &LIMITS),
];

/// The section that has a field of this name; the document itself is "".
fn owner(name: &str) -> Option<&'static str> {
    let sections = SHAPES.iter().filter(|(section, _)| section.is_empty() || ROOT.fields.contains(section));
    sections.map(|(section, shape)| (*section, shape.fields)).find(|(_, f)| f.contains(&name)).map(|(s, _)| s)
}

/// In place of a window's size that is wrong: every offset fits.
const ANY_SPAN: TimeDelta = limits::SPAN_MAX;

/// Reads a whole document.
pub(super) fn policy(root: &Node, text: &str, syntax: Syntax) -> Result<Policy, Vec<Finding>> {
    let mut r = Reader::new(syntax, owner);
    let Some(s) = r.document(root, &ROOT) else { return Err(r.into_findings()) };
    let spec = spec(&mut r, &s, text);
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

fn spec(r: &mut Reader, s: &Section<'_>, text: &str) -> Spec {
    if let Some(f) = s.optional("$schema") {
        r.text(&f, "text, the schema's address", None);
    }
    let name = r.required(s, "policy", "policy = \"impressions\"", "\"policy\": \"impressions\"");
    let policy = name
        .and_then(|f| r.text(&f, "a name", Some("like \"impressions\"".into())).map(str::to_owned))
        .unwrap_or_default();
    let (filter, fields) = (expression::filter(r, s, text), expression::computed(r, s, text));
    let (input, window, watermark, late) = (input(r, s), window::window(r, s), watermark(r, s), late(r, s));
    let panes = trigger::panes(r, s, &window, &late);
    let mut all = measures::measures(r, s);
    // Windows that cannot be read may have been sessions, which need no trigger.
    if panes.is_none() && r.is_broken("window") {
        all.kept.clear();
    }
    // What stands there may have been windows that make hours.
    let rollup = rollup::rollup(r, s).filter(|_| !r.is_broken("window"));
    Spec {
        v: limits::CANONICAL_VERSION,
        policy,
        filter,
        input,
        fields,
        window,
        watermark,
        late,
        measures: all.columns,
        derived: all.derived,
        kept: all.kept,
        panes,
        rollup,
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
        delay: delay.unwrap_or(match strategy {
            Strategy::Given => defaults::DELAY_GIVEN,
            _ => defaults::WATERMARK.delay,
        }),
        max_future,
        future: future.unwrap_or(defaults::WATERMARK.future),
    }
}

fn strategy(r: &mut Reader, s: &Section<'_>) -> Strategy {
    let q = s.optional("quantile");
    let signs = [("max", Strategy::Max), ("arrival", Strategy::Arrival), ("given", Strategy::Given)];
    let signs: Vec<_> = signs.iter().filter_map(|(name, strategy)| Some((s.optional(name)?, *strategy))).collect();
    // In the order of the text, so that it is the second one that is refused.
    let mut chosen: Vec<&Field<'_>> = q.iter().chain(signs.iter().map(|(f, _)| f)).collect();
    chosen.sort_by_key(|f| f.key);
    for other in chosen.iter().skip(1) {
        let message = format!("`{}` excludes `{}`: a watermark follows one thing", other.path, chosen[0].path);
        r.note(Code::Conflict, &other.path, other.key, message, Some("leave one of them out".into()));
    }
    for (f, _) in &signs {
        r.sign(f);
    }
    let thousandths = "a number from 0.001 to 0.999 with at most three decimals";
    let q_milli = q.as_ref().and_then(|f| r.thousandths(f, 1..=999, thousandths)).unwrap_or(defaults::Q_MILLI);
    let (sample, min_sample, per_source) = (s.optional("sample"), s.optional("min_sample"), s.optional("per_source"));
    if q.is_none()
        && let Some((sign, strategy)) = signs.first()
    {
        for f in [&sample, &min_sample, &per_source].into_iter().flatten() {
            let message = format!("`{}` excludes `{}`: only a quantile has a sample", f.path, sign.path);
            r.note(Code::Conflict, &f.path, f.key, message, Some("leave it out".into()));
        }
        return *strategy;
    }
    // In place of a wrong sample the largest one: every minimum fits.
    let most = limits::SAMPLE_MAX;
    let sample = sample.map(|f| r.whole(&f, &format!("1 to {most} event times")).unwrap_or(most));
    let min_sample = min_sample.map(|f| r.whole(&f, "1 up to the sample's size").unwrap_or(1));
    let per_source = per_source.map(|f| r.whole(&f, "1 up to the sample's size").unwrap_or(1));
    quantile(q_milli, sample, min_sample, per_source)
}

fn quantile(q_milli: u32, sample: Option<u32>, min_sample: Option<u32>, per_source: Option<u32>) -> Strategy {
    let sample = sample.unwrap_or(defaults::SAMPLE);
    // A sample of 0 is refused for itself, not for its minimum.
    let min_sample = min_sample.unwrap_or(defaults::MIN_SAMPLE.min(sample.max(1)));
    Strategy::Quantile { q_milli, sample, min_sample, per_source }
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
    let lateness = s.optional("allowed_lateness").and_then(|f| r.duration_or_unbounded(&f));
    let to = [
        ("table", LateTo::Table),
        ("dead_letters", LateTo::DeadLetters),
        ("drop", LateTo::Drop),
        ("accept", LateTo::Accept),
    ];
    let to = s.optional("to").and_then(|f| r.choice(&f, &to));
    let allowed_lateness = lateness.unwrap_or(defaults::LATE.allowed_lateness);
    Late { by, allowed_lateness, to: to.unwrap_or(defaults::LATE.to) }
}

fn bounds(r: &mut Reader, root: &Section<'_>) -> Limits {
    let s = root.optional("limits").and_then(|f| r.section(&f, &LIMITS));
    let keys = s.as_ref().and_then(|s| s.optional("keys_per_window"));
    // In place of what is no number the least.
    let keys_per_window = keys.map(|f| r.whole(&f, &format!("1 to {} keys", limits::KEYS_PER_WINDOW_MAX)).unwrap_or(1));
    let mut bytes = |name: &str, most: u32, default: u32| {
        let field = s.as_ref().and_then(|s| s.optional(name));
        field.and_then(|f| r.whole(&f, &format!("1 to {most} bytes"))).unwrap_or(default)
    };
    Limits {
        keys_per_window,
        record_bytes: bytes("record_bytes", limits::RECORD_BYTES_MAX, defaults::LIMITS.record_bytes),
        key_bytes: bytes("key_bytes", limits::KEY_BYTES_MAX, defaults::LIMITS.key_bytes),
        dead_letter_bytes: bytes(
            "dead_letter_bytes",
            limits::DEAD_LETTER_BYTES_MAX,
            defaults::LIMITS.dead_letter_bytes,
        ),
    }
}
