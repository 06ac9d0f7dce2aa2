//! Takes the steps of `panes` and `selftest`, one after the other, to an engine.
//!
//! Invariants
//! - An `input` is one frame of lines, which the policy takes as one bundle.
//! - The engine is asked for effects and panes after each step, so that nothing depends on when it is asked.
//!
//! Not here: which policies can be run (`plan`), whether panes are the expected ones (`judge`).

use super::format::{Element, Key, Scenario, State, Step, Time, Written};
use super::judge::{self, Fields, same};
use super::plan::{self, GAP, KEY, Needs, TIME, VALUE, VALUES};
use super::{Drive, Failure, Options, Stop, trouble};
use crate::account::Reason;
use crate::engine::{Engine, Held};
use crate::policy::{Policy, limits};
use crate::time::ArrivalTime;
use crate::window::Window;
use crate::wire::effects;
use crate::wire::frame::{self, Kind};
use crate::wire::panes::{self, KeptValue, Pane};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use serde_json::{Map, Value, json};

/// Runs `panes` and `selftest`.
pub(super) fn run(scenario: &Scenario, drive: &mut dyn Drive, options: Options) -> Result<(), Stop> {
    let steps = scenario.pane_steps()?;
    let policy = plan::policy(&scenario.policy, &scenario.requires, needs(&steps))?;
    drive.open(&policy, None).map_err(trouble(1))?;
    let mut run = Run {
        policy: &policy,
        drive,
        ordinal: 0,
        fed: BTreeMap::new(),
        panes: Vec::new(),
        late: Vec::new(),
        drops: (0, 0),
        bytes: Vec::new(),
    };
    for (i, step) in steps.iter().enumerate() {
        if options.snapshot_everywhere && i > 0 {
            run.restore(i + 1)?;
        }
        run.step(i + 1, step)?;
    }
    Ok(judge::settle(steps.len(), &[], &run.panes)?)
}

fn needs(steps: &[Step]) -> Needs {
    let mut needs = Needs::default();
    for step in steps {
        let Step::Input(elements) = step else { continue };
        for e in elements {
            needs.gaps |= e.gap_ms.is_some();
            needs.fractions |= e.v.is_number() && !e.v.is_i64();
        }
    }
    needs
}

struct Run<'p> {
    policy: &'p Policy,
    drive: &'p mut dyn Drive,
    /// Number of the next record.
    ordinal: u64,
    /// Elements by their numbers, for those that come back.
    fed: BTreeMap<u64, Element>,
    /// Since the last `expect`.
    panes: Vec<Fields>,
    /// Refused by every window since the last `expect_late`.
    late: Vec<Element>,
    /// Since the start: by expired windows, and by windows whose trigger had finished.
    drops: (u64, u64),
    bytes: Vec<u8>,
}

impl Run<'_> {
    fn step(&mut self, n: usize, step: &Step) -> Result<(), Stop> {
        match step {
            Step::Input(elements) => self.input(n, elements),
            Step::Watermark(Time::BEGINNING) | Step::Clock(Time::BEGINNING) => Ok(()),
            Step::Watermark(w) => self.time(n, Kind::Watermark, *w),
            Step::Clock(at) => self.time(n, Kind::Tick, *at),
            Step::Snapshot(wanted) => {
                if *wanted {
                    self.restore(n)?;
                }
                Ok(())
            }
            Step::Expect(expected) => Ok(judge::settle(n, expected, &core::mem::take(&mut self.panes))?),
            Step::ExpectDrops(drops) => {
                same_number(n, "late drops", drops.late, self.drops.0)?;
                same_number(n, "closed drops", drops.closed, self.drops.1)
            }
            Step::ExpectLate(expected) => self.expect_late(n, expected),
            Step::ExpectState(state) => self.expect_state(n, state),
            Step::DiscardOutput(wanted) => {
                if *wanted {
                    self.panes.clear();
                }
                Ok(())
            }
        }
    }

    fn input(&mut self, n: usize, elements: &[Element]) -> Result<(), Stop> {
        if elements.is_empty() {
            return Ok(());
        }
        let mut lines = String::new();
        let first = self.ordinal;
        for e in elements {
            lines += &record(e).to_string();
            lines.push('\n');
            self.fed.insert(self.ordinal, e.clone());
            self.ordinal += 1;
        }
        self.bytes.clear();
        frame::push(&mut self.bytes, Kind::Lines, first, None, lines.as_bytes());
        self.apply(n)
    }

    fn time(&mut self, n: usize, kind: Kind, at: Time) -> Result<(), Stop> {
        self.bytes.clear();
        frame::push(&mut self.bytes, kind, self.ordinal, Some(ArrivalTime::from_millis(at.0)), b"");
        self.apply(n)
    }

    /// Feeds the frames at hand, and takes what comes of them.
    fn apply(&mut self, n: usize) -> Result<(), Stop> {
        self.drive.apply(&self.bytes).map_err(trouble(n))?;
        // Panes first: a flush forgets them.
        self.drive.panes(&mut self.bytes).map_err(trouble(n))?;
        let given = panes::decode(&self.bytes).map_err(|e| trouble(n)(e.to_string()))?;
        self.drops = (self.drops.0 + given.expired, self.drops.1 + given.closed);
        for pane in &given.panes {
            let pane = shown(self.policy, pane).map_err(trouble(n))?;
            self.panes.push(pane);
        }
        self.drive.flush(&mut self.bytes).map_err(trouble(n))?;
        for dead in effects::decode(&self.bytes).map_err(|e| trouble(n)(e.to_string()))?.dead {
            match self.fed.get(&dead.ordinal) {
                Some(element) if dead.reason == Reason::Late => self.late.push(element.clone()),
                _ => {
                    let raw = String::from_utf8_lossy(&dead.raw);
                    return Err(trouble(n)(format!("it refused {raw}: {}", dead.reason.name())));
                }
            }
        }
        Ok(())
    }

    /// Saves, forgets the engine, restores.
    fn restore(&mut self, n: usize) -> Result<(), Stop> {
        self.drive.snapshot(&mut self.bytes).map_err(trouble(n))?;
        self.drive.open(self.policy, Some(&self.bytes)).map_err(trouble(n))
    }

    fn expect_late(&mut self, n: usize, expected: &[Element]) -> Result<(), Stop> {
        let mut got = core::mem::take(&mut self.late);
        let all = elements(&got);
        for e in expected {
            let Some(i) = got.iter().position(|g| g.t == e.t && g.key == e.key && same(&e.v, Some(&g.v))) else {
                return Err(Failure::other(Some(n), &elements(expected), &all).into());
            };
            got.remove(i);
        }
        if got.is_empty() { Ok(()) } else { Err(Failure::other(Some(n), &elements(expected), &all).into()) }
    }

    fn expect_state(&mut self, n: usize, state: &State) -> Result<(), Stop> {
        if state.advisory {
            return Ok(());
        }
        self.drive.snapshot(&mut self.bytes).map_err(trouble(n))?;
        let engine = Engine::restore(self.policy.clone(), &self.bytes).map_err(|e| trouble(n)(e.to_string()))?;
        let held = engine.held();
        let wrong = |windows: &[Written], wanted: bool, is: fn(&Held) -> bool| {
            let holds = |w: &Window| held.iter().any(|h| h.window == *w && is(h));
            windows.iter().find(|w| holds(&w.0) != wanted).map(|w| w.value())
        };
        let expected = wrong(&state.closed, true, |h| h.closed)
            .map(|w| format!("the trigger of {w} finished"))
            .or_else(|| wrong(&state.open, false, |h| h.closed).map(|w| format!("the trigger of {w} not finished")))
            .or_else(|| wrong(&state.present, true, |h| h.content).map(|w| format!("the contents of {w} kept")))
            .or_else(|| wrong(&state.absent, false, |h| h.content).map(|w| format!("the contents of {w} gone")));
        let Some(expected) = expected else { return Ok(()) };
        let got: Vec<String> = held
            .iter()
            .map(|h| {
                let closed = if h.closed { ", trigger finished" } else { "" };
                let content = if h.content { "" } else { ", no contents" };
                format!("{}{closed}{content}", Written(h.window).value())
            })
            .collect();
        let got = if got.is_empty() { "no window held".into() } else { got.join("; ") };
        Err(Failure::other(Some(n), &expected, &got).into())
    }
}

/// An element as a record.
fn record(e: &Element) -> Value {
    let mut fields = Map::new();
    fields.insert(TIME.into(), json!(e.t.0));
    // No element's own key is a truth value, so this one is common to those without.
    let key = match &e.key {
        None => Value::Bool(false),
        Some(Key::Text(text)) => json!(text),
        Some(Key::Int(n)) => json!(n),
    };
    fields.insert(KEY.into(), key);
    fields.insert(VALUE.into(), e.v.clone());
    if let Some(gap) = e.gap_ms {
        fields.insert(GAP.into(), json!(gap));
    }
    Value::Object(fields)
}

/// A pane as scenarios write it, all of its fields.
fn shown(policy: &Policy, p: &Pane) -> Result<Fields, String> {
    let mut fields = Fields::new();
    let key = serde_json::from_slice::<Vec<Value>>(&p.key).ok().and_then(|parts| parts.into_iter().next());
    let key = key.ok_or("a pane whose key is no list of one value")?;
    if !key.is_boolean() {
        fields.insert("key".into(), key);
    }
    let columns: BTreeMap<&str, Option<i128>> =
        policy.spec().measures.iter().map(|m| m.name.as_str()).zip(p.columns.iter().copied()).collect();
    if columns.len() != p.columns.len() || policy.spec().kept.len() != p.kept.len() {
        return Err("a pane with other columns than the policy's".into());
    }
    for (name, value) in columns.iter().filter(|(name, _)| **name != VALUES) {
        fields.insert((*name).into(), value.map_or(Value::Null, number));
    }
    // Where nothing was added nothing was counted.
    fields.entry("count").and_modify(|n| *n = if n.is_null() { json!(0) } else { n.clone() });
    if let (Some(sum), Some(n)) = (columns.get("sum"), columns.get(VALUES)) {
        let mean = sum.zip(*n).filter(|(_, n)| *n > 0).map(|(sum, n)| sum as f64 / n as f64);
        fields.insert("mean".into(), mean.map_or(Value::Null, Value::from));
    }
    match p.kept.first() {
        None => {}
        Some(KeptValue::None) => listed(&mut fields, Vec::new()),
        Some(KeptValue::List { values, left_out: 0 }) => {
            let read = |text: &Vec<u8>| serde_json::from_slice(text).map_err(|e| format!("a kept value: {e}"));
            listed(&mut fields, values.iter().map(read).collect::<Result<_, _>>()?);
        }
        Some(KeptValue::List { .. }) => {
            return Err(format!("a pane of more than {} values, which are not listed", limits::LIST_MAX));
        }
        Some(_) => return Err("a pane whose kept value is no list".into()),
    }
    let settled = p.settled_index.map_or(json!(-1), |i| json!(i));
    for (name, value) in [
        ("window", Written(p.window).value()),
        ("timing", json!(p.timing.name())),
        ("index", json!(p.index)),
        ("nonspeculative_index", settled),
        ("first", json!(p.first)),
        ("final", json!(p.last)),
        ("timestamp", json!(p.timestamp.as_millis())),
        ("retraction", json!(p.retraction)),
    ] {
        fields.insert(name.into(), value);
    }
    Ok(fields)
}

/// What follows from a pane's values: the list, how many differ, and where the columns cannot hold them their sum,
/// least, greatest and mean.
fn listed(fields: &mut Fields, values: Vec<Value>) {
    let mut all = values;
    all.sort_by(judge::order);
    let mut different = all.clone();
    different.dedup_by(|a, b| same(a, Some(b)));
    fields.insert("count_distinct".into(), json!(different.len()));
    if !fields.contains_key("sum") {
        let numbers: Vec<f64> = all.iter().filter_map(Value::as_f64).collect();
        let sum: f64 = numbers.iter().sum();
        let some = |n: f64| if numbers.is_empty() { Value::Null } else { json!(n) };
        fields.insert("sum".into(), some(sum));
        fields.insert("mean".into(), some(sum / numbers.len() as f64));
    }
    for (name, value) in [("min", all.first()), ("max", all.last())] {
        let value = value.cloned().unwrap_or(Value::Null);
        fields.entry(name).or_insert(value);
    }
    fields.insert("values".into(), all.into());
}

fn same_number(n: usize, what: &str, expected: Option<u64>, got: u64) -> Result<(), Stop> {
    match expected {
        Some(e) if e != got => Err(Failure::other(Some(n), &format!("{e} {what}"), &got.to_string()).into()),
        _ => Ok(()),
    }
}

// Beyond 64 bits the nearest binary fraction is shown and compared, as it is in the scenario's own JSON.
fn number(n: i128) -> Value {
    i64::try_from(n).map_or_else(|_| Value::from(n as f64), Value::from)
}

fn elements(list: &[Element]) -> String {
    let one = |e: &Element| match &e.key {
        None => format!("{{\"t\":{},\"v\":{}}}", e.t.written(), e.v),
        Some(Key::Text(k)) => format!("{{\"t\":{},\"v\":{},\"key\":{}}}", e.t.written(), e.v, json!(k)),
        Some(Key::Int(k)) => format!("{{\"t\":{},\"v\":{},\"key\":{k}}}", e.t.written(), e.v),
    };
    format!("late elements [{}]", list.iter().map(one).collect::<Vec<_>>().join(", "))
}
