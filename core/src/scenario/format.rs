//! How a scenario is written: the shapes of `plimsoll-scenario/1`.
//!
//! Invariants
//! - A field that the format does not know is refused, so that a typo asserts nothing by silence. Only a policy may have
//!   fields of its own: extensions (`plan`).
//! - Steps are read when they are wanted: a scenario that is skipped for its policy may hold any steps.
//!
//! Not here: which of it this engine offers (`plan`).

use super::Failure;
use crate::time::EventTime;
use crate::window::Window;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;
use serde::de::{DeserializeOwned, Error, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

/// A file; fields beside these are the writer's own.
#[derive(Deserialize)]
pub(super) struct File {
    pub format: String,
    #[serde(default)]
    pub scenarios: Vec<Value>,
}

/// One scenario; its steps are not read yet.
pub(super) struct Scenario {
    pub kind: Kind,
    pub requires: Map<String, Value>,
    pub policy: Map<String, Value>,
    pub must_fail: Option<MustFail>,
    steps: Vec<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Panes,
    Selftest,
    Assign,
    Merge,
    Watermark,
    Reject,
    Property,
}

/// How a selftest fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MustFail {
    /// An expected pane did not come.
    UnmatchedOutput,
    /// All of them came, and others too.
    UnexpectedOutput,
}

impl MustFail {
    pub fn name(self) -> &'static str {
        match self {
            Self::UnmatchedOutput => "unmatched_output",
            Self::UnexpectedOutput => "unexpected_output",
        }
    }
}

/// A time in milliseconds, the end of time, or the time before the beginning; beyond 64 bits one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time(pub i64);

impl Time {
    /// Before the beginning.
    pub const BEGINNING: Self = Self(i64::MIN);
    /// The end of time.
    pub const END: Self = Self(i64::MAX);

    /// As a scenario writes it.
    pub fn written(self) -> Value {
        match self {
            Self::BEGINNING => json!("-inf"),
            Self::END => json!("inf"),
            Self(ms) => json!(ms),
        }
    }
}

/// A window as a scenario writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written(pub Window);

impl Written {
    pub fn value(self) -> Value {
        if self.0 == Window::GLOBAL {
            return json!("global");
        }
        json!([self.0.start.as_millis(), self.0.end.as_millis()])
    }
}

/// A step of `panes` and `selftest`.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    Input(Vec<Element>),
    Watermark(Time),
    Clock(Time),
    Snapshot(bool),
    Expect(Vec<Map<String, Value>>),
    ExpectDrops(Drops),
    ExpectLate(Vec<Element>),
    ExpectState(State),
    DiscardOutput(bool),
}

/// One element of a bundle. Sessions alone heed its own gap.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Element {
    pub t: Time,
    #[serde(default)]
    pub v: Value,
    pub key: Option<Key>,
    pub gap_ms: Option<i64>,
}

#[derive(Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum Key {
    Text(String),
    Int(i64),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Drops {
    pub late: Option<u64>,
    pub closed: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    #[serde(default)]
    pub closed: Vec<Written>,
    #[serde(default)]
    pub open: Vec<Written>,
    #[serde(default)]
    pub present: Vec<Written>,
    #[serde(default)]
    pub absent: Vec<Written>,
    /// The source does not check it either.
    #[serde(default)]
    pub advisory: bool,
}

/// A step of `assign`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Assign {
    pub assign: Time,
    pub windows: Vec<Written>,
}

/// A step of `merge`: one of these, `result` and `merged` beside theirs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Merge {
    pub merge_all: Option<Vec<Written>>,
    pub add_window: Option<Written>,
    #[serde(default)]
    pub result: Value,
    pub merged: Option<bool>,
    pub retire_window: Option<Written>,
    pub windows: Option<Vec<Written>>,
    #[serde(default, rename = "snapshot")]
    _snapshot: bool,
}

/// A step of `watermark` with bounded disorder.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Claim {
    Event(Time),
    ExpectWatermark(Time),
    Snapshot(bool),
}

/// A step of `watermark` with an idle time-out: one of these, `expect_idle` beside `poll`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Idling {
    pub clock: Option<Time>,
    #[serde(default)]
    pub poll: bool,
    pub expect_idle: Option<bool>,
    #[serde(default)]
    pub activity: bool,
    #[serde(default, rename = "snapshot")]
    _snapshot: bool,
}

/// A step of `watermark` over several inputs: one of these, `watermark` or `status` beside `from`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Combining {
    pub from: Option<u32>,
    pub watermark: Option<Time>,
    pub status: Option<Status>,
    pub add: Option<u32>,
    pub remove: Option<u32>,
    pub expect_combined: Option<Vec<Said>>,
    pub expect_now: Option<Map<String, Value>>,
    #[serde(default, rename = "snapshot")]
    _snapshot: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Active,
    Idle,
}

/// What came of a combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    Watermark(Time),
    Status(Status),
}

/// A step of `reject`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reject {
    pub expect_rejected: bool,
}

/// A step of `property`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Property {
    pub expect_property: Properties,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Properties {
    pub may_lose_data: bool,
}

/// What a pane may be asserted to be.
const PANE: [&str; 17] = [
    "key",
    "window",
    "values",
    "sum",
    "count",
    "min",
    "max",
    "mean",
    "count_distinct",
    "timing",
    "timing_not",
    "index",
    "nonspeculative_index",
    "first",
    "final",
    "timestamp",
    "retraction",
];

impl Scenario {
    /// Reads all but the steps.
    pub fn read(value: Value) -> Result<Self, Failure> {
        const TOLD: [&str; 4] = ["source", "fidelity", "tags", "note"];
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            #[serde(rename = "name")]
            _name: String,
            kind: Kind,
            #[serde(default)]
            requires: Map<String, Value>,
            policy: Map<String, Value>,
            steps: Vec<Value>,
            must_fail: Option<MustFail>,
        }
        let bad = |got: &str| Failure::other(None, "a scenario as the format says", got);
        let Value::Object(mut fields) = value else { return Err(bad("no object")) };
        // What is told to people alone may have any form.
        fields.retain(|name, _| !TOLD.contains(&name.as_str()));
        let w: Written = serde_json::from_value(fields.into()).map_err(|e| bad(&e.to_string()))?;
        match (w.kind, w.must_fail) {
            (Kind::Selftest, None) => return Err(bad("a selftest without `must_fail`")),
            (Kind::Selftest, Some(_)) | (_, None) => {}
            (_, Some(_)) => return Err(bad("`must_fail` outside a selftest")),
        }
        let Written { kind, requires, policy, steps, must_fail, .. } = w;
        Ok(Self { kind, requires, policy, must_fail, steps })
    }

    /// Reads the steps.
    pub fn steps<S: DeserializeOwned>(&self) -> Result<Vec<S>, Failure> {
        let read = |(i, value): (usize, &Value)| {
            S::deserialize(value)
                .map_err(|e| Failure::other(Some(i + 1), "a step as the format says", &format!("{e} in {value}")))
        };
        self.steps.iter().enumerate().map(read).collect()
    }

    /// Reads the steps of `panes` and `selftest`.
    pub fn pane_steps(&self) -> Result<Vec<Step>, Failure> {
        let steps = self.steps::<Step>()?;
        for (i, step) in steps.iter().enumerate() {
            let Step::Expect(panes) = step else { continue };
            if let Some(name) = panes.iter().flat_map(Map::keys).find(|name| !PANE.contains(&name.as_str())) {
                let expected = format!("fields of a pane: one of {}", PANE.join(", "));
                return Err(Failure::other(Some(i + 1), &expected, &format!("`{name}`")));
            }
        }
        Ok(steps)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Time;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time in whole milliseconds, \"inf\" or \"-inf\"")
            }
            fn visit_i64<E>(self, ms: i64) -> Result<Time, E> {
                Ok(Time(ms))
            }
            fn visit_u64<E>(self, ms: u64) -> Result<Time, E> {
                Ok(i64::try_from(ms).map_or(Time::END, Time))
            }
            fn visit_f64<E: Error>(self, ms: f64) -> Result<Time, E> {
                // JSON integers beyond 64 bits come as these.
                match ms {
                    _ if ms >= 9e18 => Ok(Time::END),
                    _ if ms <= -9e18 => Ok(Time::BEGINNING),
                    _ => Err(E::custom(format!("{ms} is no whole number"))),
                }
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Time, E> {
                match text {
                    "inf" => Ok(Time::END),
                    "-inf" => Ok(Time::BEGINNING),
                    other => Err(E::custom(format!("`{other}` is no time"))),
                }
            }
        }
        d.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Bounds(Time, Time),
            Name(String),
        }
        let time = |t: Time| EventTime::from_millis(t.0);
        match Form::deserialize(d) {
            Ok(Form::Bounds(start, end)) => Ok(Self(Window { start: time(start), end: time(end) })),
            Ok(Form::Name(name)) if name == "global" => Ok(Self(Window::GLOBAL)),
            _ => Err(D::Error::custom("a window is [start, end) or \"global\"")),
        }
    }
}
