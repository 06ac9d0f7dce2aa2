//! One engine behind `runtime::Engines`, driven by hand: a watermark that goes where a step says.
//!
//! The engine has no such watermark; but one that follows arrival times without a delay is where the greatest arrival
//! is, and a frame without records moves the arrivals.
//!
//! Not here: what is fed and what must come out (`run`).

use super::format::{Element, Key};
use crate::runtime::{Engine, EngineError, Engines, Flush};
use plimsoll_core::policy::Policy;
use plimsoll_core::time::ArrivalTime;
use plimsoll_core::window::Window;
use plimsoll_core::wire::WireError;
use plimsoll_core::wire::effects::{self, Effects};
use plimsoll_core::wire::frame::{self, Kind};
use serde_json::{Value, json};
use std::sync::Arc;

/// Why the engine did not do as asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("the engine: {0}")]
    Engine(#[from] EngineError),
    #[error("the engine's effects: {0}")]
    Effects(#[from] WireError),
    #[error("the engine refused {raw}: {reason}")]
    Refused { raw: String, reason: &'static str },
}

pub(super) struct Drive<'e> {
    engines: &'e dyn Engines,
    policy: Arc<Policy>,
    engine: Box<dyn Engine>,
    ordinal: u64,
    bytes: Vec<u8>,
}

impl<'e> Drive<'e> {
    pub fn new(engines: &'e dyn Engines, policy: &Arc<Policy>) -> Result<Self, Trouble> {
        let engine = engines.open(policy, None)?;
        Ok(Self { engines, policy: policy.clone(), engine, ordinal: 0, bytes: Vec::new() })
    }

    /// Feeds one element at event time `t`.
    pub fn feed(&mut self, t: i64, element: Option<&Element>, arrival: Option<i64>) -> Result<(), Trouble> {
        let key = match element.and_then(|e| e.key.as_ref()) {
            // No element's own key is a truth value, so this one is common to those without.
            None => Value::Bool(false),
            Some(Key::Text(text)) => Value::from(text.as_str()),
            Some(Key::Int(n)) => Value::from(*n),
        };
        let record = json!({ "t": t, "k": key, "v": element.map_or(&Value::Null, |e| &e.v) });
        self.ordinal += 1;
        let arrival = arrival.map(ArrivalTime::from_millis);
        self.bytes.clear();
        frame::push(&mut self.bytes, Kind::Record, self.ordinal, arrival, record.to_string().as_bytes());
        Ok(self.engine.apply(&self.bytes)?)
    }

    /// Moves the arrivals, and with them the watermark.
    pub fn arrive(&mut self, at: i64) -> Result<(), Trouble> {
        self.bytes.clear();
        frame::push(&mut self.bytes, Kind::Lines, self.ordinal, Some(ArrivalTime::from_millis(at)), b"");
        Ok(self.engine.apply(&self.bytes)?)
    }

    /// What the engine gives out; that it refuses nothing is seen to here.
    pub fn flush(&mut self, mode: Flush) -> Result<Effects, Trouble> {
        flush(self.engine.as_mut(), mode, &mut self.bytes)
    }

    /// Saves, forgets the engine, restores.
    pub fn restore(&mut self) -> Result<(), Trouble> {
        self.engine.snapshot(&mut self.bytes)?;
        self.engine = self.engines.open(&self.policy, Some(&self.bytes))?;
        Ok(())
    }

    /// The windows whose contents are kept.
    pub fn kept(&mut self) -> Result<Vec<Window>, Trouble> {
        // Asked of a copy, which gives everything away.
        self.engine.snapshot(&mut self.bytes)?;
        let mut copy = self.engines.open(&self.policy, Some(&self.bytes))?;
        let effects = flush(copy.as_mut(), Flush::All, &mut self.bytes)?;
        Ok(effects.groups.iter().map(|g| Window { start: g.start, end: g.end }).collect())
    }
}

fn flush(engine: &mut dyn Engine, mode: Flush, bytes: &mut Vec<u8>) -> Result<Effects, Trouble> {
    engine.flush(mode, bytes)?;
    let effects = effects::decode(bytes)?;
    match effects.dead.first() {
        None => Ok(effects),
        Some(d) => Err(Trouble::Refused { raw: String::from_utf8_lossy(&d.raw).into_owned(), reason: d.reason.name() }),
    }
}

/// A window as a scenario writes it.
pub(super) fn written(window: Window) -> Value {
    json!([window.start.as_millis(), window.end.as_millis()])
}
