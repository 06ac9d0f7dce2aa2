//! Scenarios: a policy, steps and the panes that must come out, as data. Users test their policies with them, and the
//! engine is judged by them.
//!
//! ```text
//! file -> format -> plan (a policy of this engine, or the reason why not) -> panes | parts (steps) -> judge
//! ```
//! The runner has no I/O and no engine of its own: it is handed a [`Drive`], so that the command, the JS package and a
//! user's tests judge alike whatever runs the engine.
//!
//! Invariants
//! - A scenario is skipped for one reason only: it wants something this engine does not offer, and the reason names it.
//!   A scenario that is not written as the format says fails.
//! - What is judged came out of the engine: nothing here aggregates over records, and no window is closed here.
//! - Output that no step asserts or discards is a failure, also at the end of a scenario.
//!
//! Not here: the command (the host's `cli`), the JS function (`wasm/bindings`).

mod format;
mod judge;
mod panes;
mod parts;
mod plan;

use crate::policy::Policy;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use format::{Kind, MustFail, Scenario};
use serde::Serialize;
use serde_json::Value;

/// The value of a file's field `format`.
pub const FORMAT: &str = "plimsoll-scenario/1";

/// One engine at a time, behind whatever runs it. Errors are words for people.
///
/// Contract
/// 1. After `open` the engine before is gone, and this one has seen nothing but its snapshot.
/// 2. The other functions are those of the engine's ABI on it; what they append is one whole block.
pub trait Drive {
    /// Opens a fresh engine, or one that goes on from a snapshot.
    fn open(&mut self, policy: &Policy, snapshot: Option<&[u8]>) -> Result<(), String>;
    /// Feeds frames (`wire::frame`).
    fn apply(&mut self, frames: &[u8]) -> Result<(), String>;
    /// Effects (`wire::effects`) of what can change no more, and all dead letters, into `out`, which is cleared first.
    fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), String>;
    /// Panes (`wire::panes`) since the last call, into `out`, which is cleared first.
    fn panes(&mut self, out: &mut Vec<u8>) -> Result<(), String>;
    /// The state, into `out`, which is cleared first.
    fn snapshot(&mut self, out: &mut Vec<u8>) -> Result<(), String>;
}

/// How scenarios are run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Save, forget the engine and restore between every two steps: it must not show.
    pub snapshot_everywhere: bool,
}

impl Options {
    /// The same with `snapshot_everywhere` so.
    #[must_use]
    pub fn snapshots_everywhere(self, snapshot_everywhere: bool) -> Self {
        Self { snapshot_everywhere }
    }
}

/// What became of the scenarios of one file, in the file's order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// One entry a scenario.
    pub scenarios: Vec<Outcome>,
}

/// What became of one scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The scenario's name.
    pub name: String,
    /// What became of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Whether a scenario held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It held; a selftest failed as it must.
    Passed,
    /// It did not.
    Failed {
        /// Number of the step, the first is 1; `None` where the scenario as a whole is at fault.
        step: Option<usize>,
        /// What should have been.
        expected: String,
        /// What was.
        got: String,
    },
    /// It wants what this engine does not offer.
    Skipped {
        /// What that is.
        reason: String,
    },
}

/// Why a file holds no scenarios.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// Not JSON, or not an object with a list of scenarios.
    #[error("no scenario file: {0}; expected {{\"format\": \"{FORMAT}\", \"scenarios\": [...]}}")]
    Form(#[from] serde_json::Error),
    /// Another format, or another version of it.
    #[error("the format is `{found}`, expected `{FORMAT}`")]
    Format {
        /// What the file says.
        found: String,
    },
}

impl Report {
    /// How many passed, failed and were skipped.
    pub fn counts(&self) -> (usize, usize, usize) {
        self.scenarios.iter().fold((0, 0, 0), |(p, f, s), o| match o.verdict {
            Verdict::Passed => (p + 1, f, s),
            Verdict::Failed { .. } => (p, f + 1, s),
            Verdict::Skipped { .. } => (p, f, s + 1),
        })
    }
}

/// Runs the scenarios of a file, each on an engine of its own.
pub fn run_file(text: &str, drive: &mut dyn Drive, options: Options) -> Result<Report, FileError> {
    let file: format::File = serde_json::from_str(text)?;
    if file.format != FORMAT {
        return Err(FileError::Format { found: file.format });
    }
    let mut names = BTreeSet::new();
    let mut report = Report::default();
    for (i, value) in file.scenarios.into_iter().enumerate() {
        let name = value.get("name").and_then(Value::as_str).map_or_else(|| format!("#{}", i + 1), String::from);
        let verdict = if names.insert(name.clone()) {
            verdict(value, drive, options)
        } else {
            Failure::other(None, "a name of its own for each scenario of a file", &name).into()
        };
        report.scenarios.push(Outcome { name, verdict });
    }
    Ok(report)
}

fn verdict(value: Value, drive: &mut dyn Drive, options: Options) -> Verdict {
    let scenario = match Scenario::read(value) {
        Ok(s) => s,
        Err(failure) => return failure.into(),
    };
    let outcome = match scenario.kind {
        Kind::Panes | Kind::Selftest => panes::run(&scenario, drive, options),
        Kind::Assign => parts::assign(&scenario),
        Kind::Merge => parts::merge(&scenario),
        Kind::Watermark => parts::watermark(&scenario, drive, options),
        Kind::Reject => parts::reject(&scenario),
        Kind::Property => parts::property(&scenario),
    };
    match (outcome, scenario.must_fail) {
        (Err(Stop::Skip(reason)), _) => Verdict::Skipped { reason },
        (Ok(()), None) => Verdict::Passed,
        (Err(Stop::Fail(failure)), None) => failure.into(),
        (Ok(()), Some(wanted)) => {
            Failure::other(None, &format!("a failure: {}", wanted.name()), "everything held").into()
        }
        (Err(Stop::Fail(failure)), Some(wanted)) if failure.how == How::Output(wanted) => Verdict::Passed,
        (Err(Stop::Fail(failure)), Some(wanted)) => {
            let got = format!("another: expected {}, got {}", failure.expected, failure.got);
            Failure::other(failure.step, &format!("a failure: {}", wanted.name()), &got).into()
        }
    }
}

/// Why a run ends early.
enum Stop {
    /// The engine does not offer this.
    Skip(String),
    /// The scenario does not hold.
    Fail(Failure),
}

/// How a scenario fails; selftests ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// In its panes.
    Output(MustFail),
    /// In anything else.
    Other,
}

struct Failure {
    how: How,
    step: Option<usize>,
    expected: String,
    got: String,
}

impl Failure {
    /// In anything but its panes.
    fn other(step: Option<usize>, expected: &str, got: &str) -> Self {
        Self { how: How::Other, step, expected: expected.into(), got: got.into() }
    }
}

impl From<Failure> for Verdict {
    fn from(f: Failure) -> Self {
        Self::Failed { step: f.step, expected: f.expected, got: f.got }
    }
}

impl From<Failure> for Stop {
    fn from(f: Failure) -> Self {
        Self::Fail(f)
    }
}

/// The engine, or what runs it, did not do as asked in step `n`.
fn trouble(n: usize) -> impl Fn(String) -> Stop {
    move |e| Failure::other(Some(n), "an engine that does its work", &e.to_string()).into()
}
