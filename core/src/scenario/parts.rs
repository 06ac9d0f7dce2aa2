//! Runs the scenarios of single parts: which windows a time has, how sessions merge, watermarks, refusals, properties.
//!
//! Invariants
//! - Each is answered by the function that the engine itself uses; bounded disorder by an engine.
//!
//! Not here: `panes` and `selftest` (`panes`).

use super::format::{Assign, Claim, Combining, Idling, Merge, Property, Reject, Said, Scenario, Status, Time, Written};
use super::plan::{self, KEY, Needs, TIME};
use super::{Drive, Failure, Options, Stop, trouble};
use crate::lanes::{Combined, IdleTimer, Minimum, Waking};
use crate::panes::may_lose_data;
use crate::policy::{Touching, Windowing};
use crate::time::{EventTime, TimeDelta};
use crate::window::merging::{SessionSet, merge_all};
use crate::window::{self, Window};
use crate::wire::effects;
use crate::wire::frame::{self, Kind};
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use serde::Deserialize;
use serde_json::{Value, json};

/// Runs `assign`.
pub(super) fn assign(scenario: &Scenario) -> Result<(), Stop> {
    let windowing = windowing(scenario)?;
    for (i, step) in scenario.steps::<Assign>()?.iter().enumerate() {
        let t = EventTime::from_millis(step.assign.0);
        let mut got = Vec::new();
        match &windowing {
            // By itself a record's session lasts as long as the gap.
            Windowing::Session { gap, .. } => got.push(Window { start: t, end: t + *gap }),
            other => window::assign(other, t, &mut got),
        }
        same_windows(i + 1, &step.windows, &got)?;
    }
    Ok(())
}

/// Runs `merge`.
pub(super) fn merge(scenario: &Scenario) -> Result<(), Stop> {
    let Windowing::Session { touching, .. } = windowing(scenario)? else {
        return Err(plan::malformed("window", "session windows: no others merge", &scenario.policy["window"]));
    };
    let mut set = SessionSet::new(touching);
    for (i, step) in scenario.steps::<Merge>()?.iter().enumerate() {
        merge_step(i + 1, step, touching, &mut set)?;
    }
    Ok(())
}

fn merge_step(n: usize, step: &Merge, touching: Touching, set: &mut SessionSet) -> Result<(), Stop> {
    if let Some(windows) = &step.merge_all {
        let windows: Vec<Window> = windows.iter().map(|w| w.0).collect();
        let result: Vec<Written> = plan::read("result", &step.result)?;
        same_windows(n, &result, &merge_all(&windows, touching))?;
    }
    if let Some(window) = &step.add_window {
        let added = set.add(window.0);
        if !step.result.is_null() {
            let result: Written = plan::read("result", &step.result)?;
            same_windows(n, &[result], &[added.session])?;
        }
        if step.merged.is_some_and(|merged| merged != added.changed()) {
            let (expected, got) = if added.changed() { ("no", "another") } else { ("another", "no") };
            let other = |which: &str| format!("{which} session is {}", Written(added.session).value());
            return Err(Failure::other(Some(n), &other(expected), &other(got)).into());
        }
    }
    if let Some(window) = &step.retire_window
        && !set.retire(&window.0)
    {
        let expected = format!("a session {} to retire", window.value());
        return Err(Failure::other(Some(n), &expected, &list(set.windows())).into());
    }
    match &step.windows {
        Some(expected) => same_windows(n, expected, set.windows()),
        None => Ok(()),
    }
}

/// Runs `watermark`.
pub(super) fn watermark(scenario: &Scenario, drive: &mut dyn Drive, options: Options) -> Result<(), Stop> {
    #[derive(Deserialize)]
    #[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
    enum Kinds {
        BoundedOutOfOrderness {
            bound_ms: i64,
        },
        IdleTimeout {
            timeout_ms: i64,
        },
        MinOverInputs {
            inputs: u32,
            #[serde(default)]
            idle_input_wakes_on_watermark: bool,
        },
    }
    let written = scenario.policy.get("watermark").unwrap_or(&Value::Null);
    match written.get("type").and_then(Value::as_str) {
        Some("bounded_out_of_orderness" | "idle_timeout" | "min_over_inputs") => {}
        Some(other) => return Err(Stop::Skip(format!("watermark `{other}`"))),
        None => return Err(plan::malformed("watermark", "an object with `type`", written)),
    }
    if let Some(name) = scenario.policy.keys().find(|name| *name != "watermark") {
        return Err(Stop::Skip(format!("policy field `{name}` beside a watermark alone")));
    }
    match plan::read("watermark", written)? {
        Kinds::BoundedOutOfOrderness { bound_ms } => bounded(scenario, bound_ms, drive, options),
        Kinds::IdleTimeout { timeout_ms } => idle(scenario, timeout_ms),
        Kinds::MinOverInputs { inputs, idle_input_wakes_on_watermark } => {
            let waking = if idle_input_wakes_on_watermark { Waking::ByWatermark } else { Waking::ByStatus };
            combined(scenario, inputs, waking)
        }
    }
}

fn bounded(scenario: &Scenario, bound_ms: i64, drive: &mut dyn Drive, options: Options) -> Result<(), Stop> {
    let policy = plan::bounded(bound_ms)?;
    let mut bytes = Vec::new();
    drive.open(&policy, None).map_err(trouble(1))?;
    for (i, step) in scenario.steps::<Claim>()?.iter().enumerate() {
        let n = i + 1;
        if matches!(step, Claim::Snapshot(true)) || options.snapshot_everywhere && i > 0 {
            drive.snapshot(&mut bytes).map_err(trouble(n))?;
            drive.open(&policy, Some(&bytes)).map_err(trouble(n))?;
        }
        match step {
            Claim::Event(t) => {
                bytes.clear();
                let record = json!({ TIME: t.0, KEY: false });
                frame::push(&mut bytes, Kind::Record, n as u64, None, record.to_string().as_bytes());
                drive.apply(&bytes).map_err(trouble(n))?;
            }
            Claim::Snapshot(_) => {}
            Claim::ExpectWatermark(expected) => {
                drive.flush(&mut bytes).map_err(trouble(n))?;
                let effects = effects::decode(&bytes).map_err(|e| trouble(n)(e.to_string()))?;
                let got = effects.progress.watermark.map_or(Time::BEGINNING, |w| Time(w.as_millis()));
                equal(n, &expected.written(), &got.written())?;
            }
        }
    }
    Ok(())
}

fn idle(scenario: &Scenario, timeout_ms: i64) -> Result<(), Stop> {
    let mut timer = IdleTimer::new(TimeDelta::from_millis(timeout_ms));
    let mut clock = 0;
    for (i, step) in scenario.steps::<Idling>()?.iter().enumerate() {
        if let Some(at) = step.clock {
            clock = at.0;
        }
        if step.activity {
            timer.active();
        }
        if step.poll {
            let got = timer.poll(clock);
            equal(i + 1, &json!({ "idle": step.expect_idle.unwrap_or(got) }), &json!({ "idle": got }))?;
        }
    }
    Ok(())
}

fn combined(scenario: &Scenario, inputs: u32, waking: Waking) -> Result<(), Stop> {
    let mut minimum = Minimum::new(waking);
    (0..inputs).for_each(|i| minimum.add(i));
    let mut said = Vec::new();
    for (i, step) in scenario.steps::<Combining>()?.iter().enumerate() {
        let n = i + 1;
        if let Some(from) = step.from {
            if let Some(w) = step.watermark {
                said.extend(minimum.watermark_from(from, EventTime::from_millis(w.0)));
            }
            match step.status {
                Some(Status::Idle) => said.extend(minimum.idle_from(from)),
                Some(Status::Active) => said.extend(minimum.active_from(from)),
                None => {}
            }
        }
        if let Some(input) = step.add {
            minimum.add(input);
        }
        if let Some(input) = step.remove {
            minimum.remove(input);
        }
        if let Some(expected) = &step.expect_combined {
            let got: Vec<Value> = core::mem::take(&mut said).into_iter().map(of_combined).collect();
            equal(n, &expected.iter().map(|s| of_said(*s)).collect(), &got.into())?;
        }
        if let Some(expected) = &step.expect_now {
            let watermark = minimum.watermark().map_or(Value::Null, |w| Time(w.as_millis()).written());
            let now = json!({ "watermark": watermark, "idle": minimum.idle() });
            for (name, value) in expected {
                let got = now.get(name).unwrap_or(&Value::Null);
                equal(n, &json!({ name.as_str(): value }), &json!({ name.as_str(): got }))?;
            }
        }
    }
    Ok(())
}

fn of_combined(c: Combined) -> Value {
    of_said(match c {
        Combined::Watermark(w) => Said::Watermark(Time(w.as_millis())),
        Combined::Idle => Said::Status(Status::Idle),
        Combined::Active => Said::Status(Status::Active),
    })
}

fn of_said(s: Said) -> Value {
    match s {
        Said::Watermark(w) => json!({ "watermark": w.written() }),
        Said::Status(Status::Idle) => json!({ "status": "idle" }),
        Said::Status(Status::Active) => json!({ "status": "active" }),
    }
}

/// Runs `reject`.
pub(super) fn reject(scenario: &Scenario) -> Result<(), Stop> {
    let refusal = plan::rejected(&scenario.policy, &scenario.requires)?;
    for (i, step) in scenario.steps::<Reject>()?.iter().enumerate() {
        match &refusal {
            None if step.expect_rejected => {
                return Err(Failure::other(Some(i + 1), "a refusal of the policy", "it is accepted").into());
            }
            Some(why) if !step.expect_rejected => {
                return Err(Failure::other(Some(i + 1), "a policy that the engine takes", why).into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Runs `property`.
pub(super) fn property(scenario: &Scenario) -> Result<(), Stop> {
    plan::switches(&scenario.policy, &scenario.requires)?;
    let trigger = plan::trigger(scenario.policy.get("trigger"))?;
    let lateness = plan::lateness(scenario.policy.get("allowed_lateness_ms").unwrap_or(&Value::Null))?;
    let got = may_lose_data(&trigger, lateness > TimeDelta::ZERO);
    for (i, step) in scenario.steps::<Property>()?.iter().enumerate() {
        let loses = |b: bool| json!({ "may_lose_data": b });
        equal(i + 1, &loses(step.expect_property.may_lose_data), &loses(got))?;
    }
    Ok(())
}

fn windowing(scenario: &Scenario) -> Result<Windowing, Stop> {
    let switches = plan::switches(&scenario.policy, &scenario.requires)?;
    plan::policy(&scenario.policy, &scenario.requires, Needs::default())?;
    plan::windowing(&scenario.policy, switches, Needs::default())
}

fn same_windows(n: usize, expected: &[Written], got: &[Window]) -> Result<(), Stop> {
    let sorted = |windows: &mut Vec<Window>| windows.sort_unstable();
    let (mut a, mut b): (Vec<Window>, Vec<Window>) = (expected.iter().map(|w| w.0).collect(), got.to_vec());
    sorted(&mut a);
    sorted(&mut b);
    if a == b { Ok(()) } else { Err(Failure::other(Some(n), &list(&a), &list(&b)).into()) }
}

fn list(windows: &[Window]) -> String {
    Value::from(windows.iter().map(|w| Written(*w).value()).collect::<Vec<_>>()).to_string()
}

fn equal(n: usize, expected: &Value, got: &Value) -> Result<(), Stop> {
    if expected == got {
        return Ok(());
    }
    Err(Failure::other(Some(n), &expected.to_string(), &got.to_string()).into())
}
