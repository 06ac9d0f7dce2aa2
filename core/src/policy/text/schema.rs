//! The text form as types: for the published JSON Schema and for writing a policy down.
//!
//! Invariants
//! - Every default, bound and word of the schema comes from the constants and types that `walk` and `validate` use.
//! - What `PolicyDocument` writes, `walk` reads: a test goes through all properties of the schema.
//!
//! Sections with a grammar of their own stand in files of their own: `window`, `trigger`, `measures`, `rollup`,
//! `expression`.
//! Not here: reading (`walk`), the document in sentences (`reference`).

mod expression;
mod measures;
mod rollup;
mod trigger;
mod window;

use super::reference::EXAMPLE;
use super::walk::defaults;
use crate::policy::duration::Written;
use crate::policy::{
    Format, Future, Late, LateBy, LateTo, Limits, Path, Policy, Spec, Strategy, TimeField, TimeUnit, Watermark, limits,
};
use crate::time::TimeDelta;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde::ser::Serializer;
use std::borrow::Cow;

use expression::{ExpressionDocument, Fields};
use measures::Measures;
use rollup::RollupDocument;
use trigger::TriggerDocument;
use window::WindowDocument;

/// The schema's `$id`; its last part is the version of the text form.
pub const SCHEMA_ID: &str = "urn:plimsoll:policy:1";

/// A policy: what is counted, in which windows, when it is believed to be complete, what is late.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Plimsoll policy")]
pub struct PolicyDocument {
    /// The schema's address, for editors; Plimsoll does not read it.
    #[serde(rename = "$schema", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", default)]
    schema: Option<String>,
    /// The policy's name. Rows of policies with other names, windows, keys or measures never mix.
    #[schemars(example = &"impressions")]
    policy: Name,
    /// Which records count: those for which it is true. The others are counted as `filtered`, and tell the time as every
    /// record does; one for which it is neither true nor false is rejected as `filter_error`.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ExpressionDocument", default, example = &"country == \"JP\" && size(page) > 0")]
    filter: Option<ExpressionDocument>,
    /// How records become events.
    input: InputDocument,
    /// Fields that records do not have themselves, by name, for keys and measures. A record for which one has no value is
    /// rejected as `computed_error`.
    #[serde(skip_serializing_if = "Fields::is_empty")]
    #[schemars(default = "Fields::none")]
    fields: Fields,
    /// Where in event time results are computed.
    window: WindowDocument,
    /// When event time is believed to be complete.
    #[schemars(default)]
    watermark: WatermarkDocument,
    /// What becomes of records behind the watermark.
    #[schemars(default)]
    late: LateDocument,
    /// When panes are given out. Where it is absent, rows are written at every batch and nothing else is kept open;
    /// sessions are always kept open, and have the defaults of this section then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TriggerDocument", default)]
    trigger: Option<TriggerDocument>,
    /// What is computed: the rows' columns by name, in the order of the text.
    measures: Measures,
    /// Rows of hours and days, made of the windows' rows; none where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RollupDocument", default)]
    rollup: Option<RollupDocument>,
    /// Bounds on what strangers can make us keep.
    #[schemars(default)]
    limits: LimitsDocument,
}

/// How records become events.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "input")]
struct InputDocument {
    /// The payload's format.
    #[schemars(default = "Self::format")]
    format: Format,
    /// Where the event time stands.
    time: TimeDocument,
    /// Where the arrival time stands, for sources that do not carry one (files). Kinesis and DynamoDB Streams do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TimeDocument", default)]
    arrival: Option<TimeDocument>,
    /// The fields whose values make the key. Their last names are columns of the rows, so no two may be the same.
    #[schemars(length(min = 1, max = limits::KEY_FIELDS_MAX), extend("examples" = [["placement", "creative"]]))]
    key: Vec<PathDocument>,
    /// Who sent the record: for statistics per source, and for `watermark.per_source`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PathDocument", default, example = &"device")]
    source: Option<PathDocument>,
}

/// A field that holds a time.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "time")]
struct TimeDocument {
    /// Where it stands.
    #[schemars(example = &"ts")]
    field: PathDocument,
    /// The unit of its numbers, or text.
    unit: TimeUnit,
    /// Rejects numbers that look like another unit: seconds where milliseconds are declared.
    #[schemars(default = "Self::unit_check")]
    unit_check: bool,
}

/// When event time is believed to be complete: what is followed, minus a delay. One of `quantile`, `max`, `arrival`
/// and `given`; `quantile = 0.5` where none is written.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "watermark", default, extend("allOf" = exclusions()))]
struct WatermarkDocument {
    /// Follows a quantile of the last event times, in at most three decimals. The median (0.5) holds until half of the
    /// sample lies; some device clocks run ahead.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Thousandths", extend("default" = Thousandths(defaults::Q_MILLI)))]
    quantile: Option<Thousandths>,
    /// Follows the greatest event time. One fast clock carries it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "True")]
    max: Option<True>,
    /// Follows the greatest arrival time. Event times play no part.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "True")]
    arrival: Option<True>,
    /// Follows the watermarks that the source itself gives between its records. Records move nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "True")]
    given: Option<True>,
    /// How many event times make the sample; only with `quantile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        with = "u32",
        range(min = 1, max = limits::SAMPLE_MAX),
        extend("default" = defaults::SAMPLE)
    )]
    sample: Option<u32>,
    /// No watermark before the sample holds this many; at most the sample's size, which is also the default where that
    /// is smaller. Only with `quantile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        with = "u32",
        range(min = 1, max = limits::SAMPLE_MAX),
        extend("default" = defaults::MIN_SAMPLE)
    )]
    min_sample: Option<u32>,
    /// At most this many of the sample are one source's (`input.source`), so that one chatty device is not the crowd: its
    /// own oldest makes room for its next. Records without a source are one source together. Up to the sample's size;
    /// no bound where it is absent. Only with `quantile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(min = 1, max = limits::SAMPLE_MAX))]
    per_source: Option<u32>,
    /// How far the watermark stays behind. From 0s to 3660d; 0s where nothing is said beside `given`.
    delay: Duration,
    /// How far a device's clock may run ahead of the record's arrival, or `"none"` where nothing is refused for it.
    max_future: MaxFuture,
    /// What becomes of records beyond `max_future`.
    future: Future,
}

/// What becomes of records behind the watermark.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "late", default)]
struct LateDocument {
    /// What is judged.
    by: LateBy,
    /// How long after its end a window still takes records; only with `by = "window"`. From 0s to 3660d; `"unbounded"`
    /// where a trigger gives out panes, for windows that never expire.
    allowed_lateness: Lateness,
    /// Where late records go. Each is counted.
    to: LateTo,
}

/// Bounds on what strangers can make us keep.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "limits", default)]
struct LimitsDocument {
    /// Longest record in bytes; a longer one is rejected as `too_long`.
    #[schemars(range(min = 1, max = limits::RECORD_BYTES_MAX))]
    record_bytes: u32,
    /// Longest key in bytes; a longer one is rejected as `key_too_long`.
    #[schemars(range(min = 1, max = limits::KEY_BYTES_MAX))]
    key_bytes: u32,
    /// At most this many bytes of a record go into its dead letter.
    #[schemars(range(min = 1, max = limits::DEAD_LETTER_BYTES_MAX))]
    dead_letter_bytes: u32,
    /// So many keys of a window have rows of their own, in each lane, in the order of the lane's records. Records of
    /// further keys count in the window's overflow row, whose key is null and which says `"overflow":true`, so that sums
    /// over a window's rows stay exact. Where it is absent there is no bound. It costs state: 8 bytes for each key of
    /// each open window, written with every batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(min = 1, max = limits::KEYS_PER_WINDOW_MAX), example = &100_000)]
    keys_per_window: Option<u32>,
}

/// A name: a letter, then letters, digits, `_` or `-`; at most 64.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "name", transparent, extend("pattern" = "^[A-Za-z][A-Za-z0-9_-]{0,63}$"))]
struct Name(String);

/// A duration: whole numbers with units (`ms`, `s`, `m`, `h`, `d`), each unit once, the larger first. A day is 24 hours.
#[derive(Debug, JsonSchema)]
#[schemars(
    rename = "duration",
    transparent,
    extend("pattern" = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$", "minLength" = 2),
    example = &"10m",
    example = &"1h30m"
)]
struct Duration(#[schemars(with = "String")] TimeDelta);

/// Where a value stands in a record: `"a.b"` is the field `b` of the object `a`. A field whose name has dots itself is
/// written as a list of names: `["a.b"]`. At most 16 deep, 256 bytes a name.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "path")]
enum PathDocument {
    /// Names joined by dots.
    Dotted(#[schemars(length(min = 1))] String),
    /// The names one by one.
    Names(#[schemars(length(min = 1, max = limits::PATH_DEPTH_MAX), inner(length(min = 1)))] Path),
}

/// A duration or `"none"`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
enum MaxFuture {
    /// At most this.
    Span(Duration),
    /// No bound.
    Unbounded(Unbounded),
}

/// No bound.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Unbounded {
    /// No bound.
    None,
}

/// A duration or `"unbounded"`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
enum Lateness {
    /// So long.
    Span(Duration),
    /// For ever.
    Unbounded(ForEver),
}

/// For ever.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum ForEver {
    /// For ever.
    Unbounded,
}

/// A fraction in thousandths.
#[derive(Debug)]
struct Thousandths(u32);

/// Written `true` or not at all.
#[derive(Debug)]
struct True;

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&Written(self.0))
    }
}

impl Serialize for Thousandths {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        // The shortest decimal that reads back as this float is the fraction itself.
        s.serialize_f64(f64::from(self.0) / 1_000.0)
    }
}

impl JsonSchema for Thousandths {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "thousandths".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": Thousandths(1), "maximum": Thousandths(999) })
    }
}

impl Serialize for True {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bool(true)
    }
}

impl JsonSchema for True {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "true".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "boolean", "const": true })
    }
}

impl Default for WatermarkDocument {
    fn default() -> Self {
        Self::of(&defaults::WATERMARK)
    }
}

impl Default for LateDocument {
    fn default() -> Self {
        Self::of(&defaults::LATE)
    }
}

impl Default for LimitsDocument {
    fn default() -> Self {
        Self::of(&defaults::LIMITS)
    }
}

impl PolicyDocument {
    /// A policy with all of its fields written.
    pub fn new(policy: &Policy) -> Self {
        let spec = policy.spec();
        // Its version is the document's; columns, derived numbers and kept values are written together.
        let Spec { v: _, policy, filter, input, fields, window, .. } = spec;
        let Spec { watermark, late, measures: _, derived: _, kept: _, panes, rollup, limits, .. } = spec;
        Self {
            schema: None,
            policy: Name(policy.clone()),
            filter: filter.as_ref().map(ExpressionDocument::of),
            input: InputDocument {
                format: input.format,
                time: TimeDocument::of(&input.time),
                arrival: input.arrival.as_ref().map(TimeDocument::of),
                key: input.key.iter().map(PathDocument::of).collect(),
                source: input.source.as_ref().map(PathDocument::of),
            },
            fields: Fields::of(fields),
            window: WindowDocument::of(window),
            watermark: WatermarkDocument::of(watermark),
            late: LateDocument::of(late),
            trigger: panes.as_ref().map(|p| TriggerDocument::of(p, late)),
            measures: Measures::of(spec),
            rollup: rollup.as_ref().map(RollupDocument::of),
            limits: LimitsDocument::of(limits),
        }
    }
}

impl InputDocument {
    fn format() -> Format {
        defaults::FORMAT
    }
}

impl TimeDocument {
    fn of(t: &TimeField) -> Self {
        Self { field: PathDocument::of(&t.field), unit: t.unit, unit_check: t.unit_check }
    }

    fn unit_check() -> bool {
        defaults::UNIT_CHECK
    }
}

impl WatermarkDocument {
    fn of(w: &Watermark) -> Self {
        let mut document = Self {
            quantile: None,
            max: None,
            arrival: None,
            given: None,
            sample: None,
            min_sample: None,
            per_source: None,
            delay: Duration(w.delay),
            max_future: w.max_future.map_or(MaxFuture::Unbounded(Unbounded::None), |d| MaxFuture::Span(Duration(d))),
            future: w.future,
        };
        match w.strategy {
            Strategy::Max => document.max = Some(True),
            Strategy::Arrival => document.arrival = Some(True),
            Strategy::Given => document.given = Some(True),
            Strategy::Quantile { q_milli, sample, min_sample, per_source } => {
                document.quantile = Some(Thousandths(q_milli));
                document.sample = Some(sample);
                document.min_sample = Some(min_sample);
                document.per_source = per_source;
            }
        }
        document
    }
}

impl LateDocument {
    fn of(l: &Late) -> Self {
        let allowed_lateness = match l.allowed_lateness {
            limits::LATENESS_UNBOUNDED => Lateness::Unbounded(ForEver::Unbounded),
            d => Lateness::Span(Duration(d)),
        };
        Self { by: l.by, allowed_lateness, to: l.to }
    }
}

impl LimitsDocument {
    fn of(l: &Limits) -> Self {
        let Limits { record_bytes, key_bytes, dead_letter_bytes, keys_per_window } = *l;
        Self { record_bytes, key_bytes, dead_letter_bytes, keys_per_window }
    }
}

impl PathDocument {
    fn of(p: &Path) -> Self {
        if p.iter().any(|name| name.contains('.')) { Self::Names(p.clone()) } else { Self::Dotted(p.join(".")) }
    }
}

impl Duration {
    fn zero() -> Self {
        Self(TimeDelta::ZERO)
    }
}

/// The JSON Schema (draft 2020-12) of the text form.
pub fn schema() -> serde_json::Value {
    let one_line = RecursiveTransform(|schema: &mut Schema| {
        if let Some(serde_json::Value::String(text)) = schema.get_mut("description") {
            *text = text.replace('\n', " ");
        }
    });
    let generator = SchemaSettings::draft2020_12().for_deserialize().with_transform(one_line).into_generator();
    let mut schema = generator.into_root_schema_for::<PolicyDocument>();
    let example = Policy::from_toml(EXAMPLE).expect("the example is a policy");
    let example = serde_json::to_value(PolicyDocument::new(&example)).expect("a document has only text as keys");
    schema.insert("$id".into(), SCHEMA_ID.into());
    schema.insert("examples".into(), vec![example].into());
    schema.into()
}

// Pairs of fields that no watermark has both of.
fn exclusions() -> Vec<serde_json::Value> {
    not_both(&[
        ["quantile", "max"],
        ["quantile", "arrival"],
        ["quantile", "given"],
        ["max", "arrival"],
        ["max", "given"],
        ["arrival", "given"],
        ["sample", "max"],
        ["sample", "arrival"],
        ["sample", "given"],
        ["min_sample", "max"],
        ["min_sample", "arrival"],
        ["min_sample", "given"],
        ["per_source", "max"],
        ["per_source", "arrival"],
        ["per_source", "given"],
    ])
}

fn not_both(pairs: &[[&str; 2]]) -> Vec<serde_json::Value> {
    pairs.iter().map(|pair| serde_json::json!({ "not": { "required": pair } })).collect()
}
