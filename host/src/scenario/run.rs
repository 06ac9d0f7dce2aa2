//! Takes a scenario's steps, one after the other, to an engine.
//!
//! Invariants
//! - An element arrives at the watermark of its moment, so that it moves nothing. The watermark is `-inf` until a step
//!   moves it.
//! - The engine is flushed after each element, to see which were refused. That shows nowhere else: how an engine is
//!   flushed changes no total.
//!
//! Not here: which policies can be run (`plan`), whether panes are the expected ones (`judge`).

use super::drive::{Drive, Trouble, written};
use super::format::{Assign, Claim, Element, Key, Reject, Scenario, State, Step, Time};
use super::judge::{self, Fields, same};
use super::plan::{self, Lateness, Plan};
use super::{Failure, Stop};
use crate::runtime::{Engines, Flush};
use plimsoll_core::decode::TIME_MS_MAX;
use plimsoll_core::time::EventTime;
use plimsoll_core::window::{self, Window};
use plimsoll_core::wire::effects::{Effects, Row};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The end of time, as an engine's clock says it.
const END_MS: i64 = i64::MAX;

/// Runs `panes` and `selftest`.
pub(super) fn panes(scenario: &Scenario, engines: &dyn Engines) -> Result<(), Stop> {
    let plan = plan::plan(&scenario.policy, &scenario.requires)?;
    let steps = scenario.pane_steps()?;
    assertable(&plan, &steps)?;
    let drive = Drive::new(engines, &plan.policy).map_err(trouble(1))?;
    let mut run = Run {
        plan: &plan,
        drive,
        watermark: None,
        open: BTreeSet::new(),
        seen: BTreeSet::new(),
        panes: Vec::new(),
        late: Vec::new(),
        dropped: 0,
    };
    for (i, step) in steps.iter().enumerate() {
        run.step(i + 1, step)?;
    }
    Ok(judge::settle(steps.len(), &[], &run.panes)?)
}

/// Sees to it that the steps ask nothing that cannot be told.
fn assertable(plan: &Plan, steps: &[Step]) -> Result<(), Stop> {
    let skip = |reason: &str| Err(Stop::Skip(reason.into()));
    let measured = plan.policy.spec().measures.len() > 1;
    for step in steps {
        match step {
            Step::Input(elements) => {
                for e in elements {
                    finite(e.t)?;
                    if measured && !(e.v.is_null() || e.v.is_i64()) {
                        return skip("aggregates over values that are no 64-bit integers");
                    }
                    if plan.mean && e.v.is_null() {
                        return skip("a mean over null values");
                    }
                }
            }
            Step::Watermark(t @ (Time::At(_) | Time::Beyond)) | Step::Clock(t @ (Time::At(_) | Time::Beyond)) => {
                finite(*t)?;
            }
            Step::Expect(panes) => {
                let asks = |name: &str| panes.iter().any(|p| p.contains_key(name));
                if asks("timestamp") && !plan.stamped {
                    return skip("timestamps combined from elements");
                }
                if asks("final") && plan.lateness != Lateness::None {
                    return skip("whether a pane is final, with an allowed lateness");
                }
            }
            Step::ExpectDrops(drops) if drops.closed.is_some_and(|n| n > 0) => {
                return skip("drops by a finished trigger");
            }
            Step::ExpectState(State { closed, open, advisory: false, .. }) if closed.is_some() || open.is_some() => {
                return skip("whether a window's trigger has finished");
            }
            _ => {}
        }
    }
    Ok(())
}

struct Run<'p> {
    plan: &'p Plan,
    drive: Drive<'p>,
    /// `None` before the beginning.
    watermark: Option<i64>,
    /// With an allowed lateness: the windows that hold elements and have not expired.
    open: BTreeSet<Window>,
    /// Of which key and window a pane came.
    seen: BTreeSet<(Window, Vec<u8>)>,
    /// Since the last `expect`.
    panes: Vec<Fields>,
    /// Refused since the last `expect_late`.
    late: Vec<Element>,
    dropped: u64,
}

impl Run<'_> {
    fn step(&mut self, n: usize, step: &Step) -> Result<(), Stop> {
        match step {
            Step::Input(elements) => elements.iter().try_for_each(|e| self.element(n, e)),
            Step::Watermark(Time::Beginning) => Ok(()),
            Step::Watermark(Time::End) => self.advance(n, END_MS),
            Step::Watermark(w) => self.advance(n, finite(*w)?),
            // Nothing that is run here is due by processing time.
            Step::Clock(_) => Ok(()),
            Step::Snapshot(wanted) => {
                if *wanted {
                    self.drive.restore().map_err(trouble(n))?;
                }
                Ok(())
            }
            Step::Expect(expected) => Ok(judge::settle(n, expected, &std::mem::take(&mut self.panes))?),
            Step::ExpectDrops(drops) => {
                same_number(n, "late drops", drops.late, self.dropped)?;
                same_number(n, "closed drops", drops.closed, 0)
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

    fn element(&mut self, n: usize, element: &Element) -> Result<(), Stop> {
        let t = finite(element.t)?;
        if self.plan.lateness != Lateness::None {
            let spec = self.plan.policy.spec();
            let mut windows = Vec::new();
            window::assign(&spec.window, EventTime::from_millis(t), &mut windows);
            let window = windows[0];
            if let Some(w) = self.watermark.map(EventTime::from_millis) {
                let expired = self.plan.lateness == Lateness::Some && window.end + spec.late.allowed_lateness <= w;
                if window.end <= w && !expired {
                    return Err(Stop::Skip("a late pane, after the window's end and before its expiry".into()));
                }
                if !expired {
                    self.open.insert(window);
                }
            } else {
                self.open.insert(window);
            }
        }
        self.drive.feed(t, Some(element), self.watermark).map_err(trouble(n))?;
        let effects = self.drive.flush(Flush::Final).map_err(trouble(n))?;
        if effects.account.late > 0 {
            self.dropped += effects.account.late;
            self.late.push(element.clone());
        }
        self.emit(n, &effects)
    }

    fn advance(&mut self, n: usize, to: i64) -> Result<(), Stop> {
        let w = EventTime::from_millis(to);
        let allowed = self.plan.policy.spec().late.allowed_lateness;
        let expires = |end: EventTime| match self.plan.lateness {
            Lateness::Unbounded => EventTime::MAX,
            _ => end + allowed,
        };
        self.open.retain(|window| w < expires(window.end));
        if self.open.iter().any(|window| window.end <= w) {
            return Err(Stop::Skip("a pane at the window's end, before its expiry".into()));
        }
        self.watermark = self.watermark.max(Some(to));
        self.drive.arrive(to).map_err(trouble(n))?;
        let effects = self.drive.flush(Flush::Final).map_err(trouble(n))?;
        self.emit(n, &effects)
    }

    fn emit(&mut self, n: usize, effects: &Effects) -> Result<(), Stop> {
        for group in &effects.groups {
            let window = Window { start: group.start, end: group.end };
            for row in &group.rows {
                if !self.seen.insert((window, row.key.clone())) {
                    let got = format!("a second of key {}", String::from_utf8_lossy(&row.key));
                    return Err(Failure::other(Some(n), &format!("one pane of {}", written(window)), &got).into());
                }
                self.panes.push(self.pane(window, row));
            }
        }
        Ok(())
    }

    fn pane(&self, window: Window, row: &Row) -> Fields {
        let mut pane = Fields::new();
        let key = serde_json::from_slice::<Vec<Value>>(&row.key).ok().and_then(|parts| parts.into_iter().next());
        if let Some(key) = key.filter(|k| !k.is_boolean()) {
            pane.insert("key".into(), key);
        }
        pane.insert("window".into(), written(window));
        for (measure, value) in self.plan.policy.spec().measures.iter().zip(&row.values) {
            pane.insert(measure.name.clone(), value.map_or(Value::Null, number));
        }
        if let (true, Some(sum), Some(count)) = (self.plan.mean, pane.get("sum"), pane.get("count")) {
            let mean = sum.as_f64().zip(count.as_f64()).map(|(s, c)| s / c);
            pane.insert("mean".into(), mean.map_or(Value::Null, Value::from));
        }
        let stamp = window.end.as_millis() - 1;
        for (name, value) in [
            ("timing", json!("on_time")),
            ("index", json!(0)),
            ("nonspeculative_index", json!(0)),
            ("first", json!(true)),
            ("final", json!(true)),
            ("timestamp", json!(stamp)),
            ("retraction", json!(false)),
        ] {
            pane.insert(name.into(), value);
        }
        pane
    }

    fn expect_late(&mut self, n: usize, expected: &[Element]) -> Result<(), Stop> {
        let mut got = std::mem::take(&mut self.late);
        let all = elements(&got);
        for e in expected {
            let Some(i) = got.iter().position(|g| g == e) else {
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
        let kept: Vec<Value> = self.drive.kept().map_err(trouble(n))?.into_iter().map(written).collect();
        let is_kept = |w: &Value| kept.iter().any(|k| same(w, Some(k)));
        let absent = state.present.iter().find(|w| !is_kept(w)).map(|w| format!("the contents of {w} kept"));
        let present = state.absent.iter().find(|w| is_kept(w)).map(|w| format!("the contents of {w} gone"));
        match absent.or(present) {
            None => Ok(()),
            Some(expected) => Err(Failure::other(Some(n), &expected, &format!("kept: {}", Value::from(kept))).into()),
        }
    }
}

/// Runs `assign`: an element shows its window.
pub(super) fn assign(scenario: &Scenario, engines: &dyn Engines) -> Result<(), Stop> {
    let policy = plan::assigning(&scenario.policy, &scenario.requires)?;
    let steps: Vec<Assign> = scenario.steps()?;
    let mut drive = Drive::new(engines, &policy).map_err(trouble(1))?;
    for (i, step) in steps.iter().enumerate() {
        drive.feed(finite(step.assign)?, None, None).map_err(trouble(i + 1))?;
        let effects = drive.flush(Flush::All).map_err(trouble(i + 1))?;
        let got: Vec<Value> = effects.groups.iter().map(|g| written(Window { start: g.start, end: g.end })).collect();
        let among = |list: &[Value], w: &Value| list.iter().any(|x| same(w, Some(x)));
        if got.len() != step.windows.len() || !step.windows.iter().all(|w| among(&got, w)) {
            let (expected, got) = (Value::from(step.windows.clone()), Value::from(got));
            return Err(Failure::other(Some(i + 1), &expected.to_string(), &got.to_string()).into());
        }
    }
    Ok(())
}

/// Runs `watermark` with bounded disorder.
pub(super) fn watermark(scenario: &Scenario, engines: &dyn Engines) -> Result<(), Stop> {
    let policy = plan::bounded(&scenario.policy)?;
    let steps: Vec<Claim> = scenario.steps()?;
    let mut drive = Drive::new(engines, &policy).map_err(trouble(1))?;
    for (i, step) in steps.iter().enumerate() {
        match step {
            Claim::Event(t) => drive.feed(finite(*t)?, None, None).map_err(trouble(i + 1))?,
            Claim::Snapshot(true) => drive.restore().map_err(trouble(i + 1))?,
            Claim::Snapshot(false) => {}
            Claim::ExpectWatermark(expected) => {
                let effects = drive.flush(Flush::Final).map_err(trouble(i + 1))?;
                let got = effects.progress.watermark.map_or(Time::Beginning, |w| Time::At(w.as_millis()));
                if *expected != got {
                    return Err(Failure::other(Some(i + 1), &time(*expected), &time(got)).into());
                }
            }
        }
    }
    Ok(())
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

/// A time that the engine takes.
fn finite(t: Time) -> Result<i64, Stop> {
    match t {
        Time::At(ms) if (-TIME_MS_MAX..=TIME_MS_MAX).contains(&ms) => Ok(ms),
        _ => Err(Stop::Skip("times beyond the year 275760, ±8.64e15 ms".into())),
    }
}

fn same_number(n: usize, what: &str, expected: Option<u64>, got: u64) -> Result<(), Stop> {
    match expected {
        Some(e) if e != got => Err(Failure::other(Some(n), &format!("{e} {what}"), &got.to_string()).into()),
        _ => Ok(()),
    }
}

fn trouble(step: usize) -> impl Fn(Trouble) -> Stop {
    move |e| Failure::other(Some(step), "an engine that does its work", &e.to_string()).into()
}

// Beyond 64 bits the nearest binary fraction is shown and compared, as it is in the scenario's own JSON.
fn number(n: i128) -> Value {
    i64::try_from(n).map_or_else(|_| Value::from(n as f64), Value::from)
}

fn time(t: Time) -> String {
    match t {
        Time::Beginning => "\"-inf\"".into(),
        Time::At(ms) => ms.to_string(),
        Time::End => "\"inf\"".into(),
        Time::Beyond => "a time beyond 64 bits".into(),
    }
}

fn elements(list: &[Element]) -> String {
    let one = |e: &Element| match &e.key {
        None => format!("{{\"t\":{},\"v\":{}}}", time(e.t), e.v),
        Some(Key::Text(k)) => format!("{{\"t\":{},\"v\":{},\"key\":{}}}", time(e.t), e.v, Value::from(k.as_str())),
        Some(Key::Int(k)) => format!("{{\"t\":{},\"v\":{},\"key\":{k}}}", time(e.t), e.v),
    };
    format!("late elements [{}]", list.iter().map(one).collect::<Vec<_>>().join(", "))
}
