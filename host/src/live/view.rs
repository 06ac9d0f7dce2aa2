//! The hub's state as JSON for watchers.
//!
//! Invariants
//! - Times are integers of milliseconds since the epoch (UTC). An integer beyond 2^53 is written as text, since a
//!   browser's numbers end there; everything else is a number.
//! - Lists are bounded: at most [`LANES_SHOWN`] lanes, and windows as `recent` shows them.

pub use crate::store::hex;

use super::{Lags, LaneState, LaneStatus, RecentRows, StatusHub};
use crate::alarm::AlarmView;
use crate::store::WriteUnits;
use plimsoll_core::policy::Op;
use plimsoll_core::rows::{figure_text, is_overflow};
use plimsoll_core::time::{ArrivalTime, EventTime};
use serde::Serialize;
use serde_json::{Value, json};

/// Lanes that are listed one by one; the rest is in the totals.
pub const LANES_SHOWN: usize = 64;

/// What runs here, said once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The source, for people.
    pub source: String,
    /// The store, for people.
    pub store: String,
    /// SHA-256 of the module; `None` for the native engine.
    pub module: Option<[u8; 32]>,
}

/// Totals and lanes at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// The host's clock.
    pub now: i64,
    /// Of all lanes: the most alarming state.
    pub state: &'static str,
    /// Why, where it should not be so.
    pub reason: Option<String>,
    /// Records by class, since the process started.
    pub account: AccountView,
    /// Records per second over the last ten seconds.
    pub rate: f64,
    /// The policy's watermark.
    pub watermark: Option<i64>,
    /// Greatest arrival time of all lanes.
    pub arrival: Option<i64>,
    /// Greatest event time of all lanes.
    pub event: Option<i64>,
    /// How far behind.
    pub lag: Lags,
    /// The alarms that are open.
    pub alarms: Vec<AlarmView>,
    /// Rows written to the store since the process started.
    pub rows_written: u64,
    /// What writing has cost since the process started, by table; empty where nobody charges for it.
    pub write_units: Vec<WriteUnits>,
    /// The first lanes by name.
    pub lanes: Vec<LaneView>,
    /// How many lanes there are.
    pub lanes_total: usize,
}

/// One lane.
#[derive(Clone, Debug, Serialize)]
pub struct LaneView {
    /// Short name.
    pub name: String,
    /// What it is doing.
    pub state: &'static str,
    /// Why it stands still, where it should not.
    pub reason: Option<String>,
    /// Last committed batch.
    pub n: u64,
    /// Last committed position.
    pub position: Option<String>,
    /// Its watermark.
    pub watermark: Option<i64>,
    /// Whether it is left out of the policy's watermark: silent at its tip for the idle time-out.
    pub idle: bool,
    /// Records read since the process started.
    pub read: u64,
    /// Behind the source's tip.
    pub behind_ms: Option<i64>,
    /// How far behind.
    pub lag: Lags,
}

/// `Account` with its reasons by name.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct AccountView(plimsoll_core::account::Account);

impl AccountView {
    /// The account itself.
    pub fn account(&self) -> &plimsoll_core::account::Account {
        &self.0
    }
}

impl StatusHub {
    /// What does not change while the process lives, as the page's `hello`.
    pub fn hello(&self) -> Value {
        let spec = self.policy.spec();
        let op = |o| match o {
            Op::Count => "count",
            Op::Sum => "sum",
            Op::Min => "min",
            Op::Max => "max",
            // An operation that this page does not know yet is shown by its values alone.
            _ => "",
        };
        let name = |path: &Vec<String>| path.last().cloned().unwrap_or_default();
        let measures: Vec<Value> =
            spec.measures.iter().map(|m| json!({ "name": m.name, "op": op(m.op), "decimals": m.decimals() })).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "module": self.about.module.map(|d| hex(&d)),
            "policy": {
                "name": spec.policy,
                "sha256": hex(self.policy.digest()),
                "keys": spec.input.key.iter().map(name).collect::<Vec<_>>(),
                "measures": measures,
                "weight": RecentRows::new(&self.policy).weight(),
            },
            "source": self.about.source,
            "store": self.about.store,
            "started": self.started_ms,
        })
    }

    /// Totals and lanes now.
    pub fn stats(&self) -> Stats {
        let now = (self.now)();
        let inner = self.lock();
        let mut account = AccountView::default();
        for l in inner.lanes.values() {
            account.0.add(&l.account);
        }
        // The alarming ones first: a halted lane must not hide behind running ones.
        let worst = inner.lanes.values().max_by_key(|l| alarm(&l.state));
        let watermark = inner.watermark().map(EventTime::as_millis);
        // The sample from ten seconds ago, or the oldest: between two samples nothing is made up.
        let base = inner.read.iter().rev().find(|(at, _)| now - at >= super::RATE_OVER_MS).or(inner.read.front());
        let rate = base
            .filter(|(at, _)| now > *at)
            .map_or(0.0, |(at, read)| account.0.read.saturating_sub(*read) as f64 * 1_000.0 / (now - at) as f64);
        Stats {
            now,
            state: worst.map_or("starting", |l| l.state.name()),
            reason: worst.and_then(|l| l.state.reason()).map(String::from),
            rate: (rate * 10.0).round() / 10.0,
            watermark,
            arrival: inner.arrival().map(ArrivalTime::as_millis),
            event: inner.event().map(EventTime::as_millis),
            lag: inner.lags(now),
            alarms: inner.alarms.iter().filter(|a| a.is_open()).cloned().collect(),
            rows_written: inner.lanes.values().map(|l| l.rows_written).sum(),
            write_units: inner.write_units.clone(),
            lanes: inner
                .lanes
                .values()
                .take(LANES_SHOWN)
                .map(|l| lane_view(l, inner.marks[&l.lane].lags(l, now)))
                .collect(),
            lanes_total: inner.lanes.len(),
            account,
        }
    }

    /// The last windows and their greatest rows.
    pub fn windows(&self) -> Value {
        let inner = self.lock();
        let watermark = inner.watermark();
        let shown = inner.recent.shown(inner.believed_now(self.delay()));
        drop(inner);
        let measures = &self.policy.spec().measures;
        let weight = RecentRows::new(&self.policy).weight().map_or(0, |i| measures[i].decimals());
        let row = |(key, values): (Vec<u8>, Vec<Option<i128>>)| {
            let values = values.into_iter().zip(measures).map(|(v, m)| figure(v, m.decimals()));
            json!({ "key": key_texts(&key), "overflow": is_overflow(&key), "values": values.collect::<Vec<_>>() })
        };
        let windows = shown.into_iter().map(|w| {
            json!({
                "start": w.start.as_millis(),
                "end": w.end.as_millis(),
                "state": if self.is_final(w.end, watermark) { "final" } else { "provisional" },
                "ahead": w.ahead,
                "keys": w.keys,
                "keys_beyond": w.keys_beyond,
                "total": figure(Some(w.total), weight),
                "late": figure(Some(w.late), weight),
                "rows": w.rows.into_iter().map(row).collect::<Vec<_>>(),
            })
        });
        Value::Array(windows.collect())
    }
}

fn alarm(state: &LaneState) -> u8 {
    match state {
        LaneState::Done => 0,
        LaneState::Starting => 1,
        LaneState::Idle => 2,
        LaneState::Running => 3,
        LaneState::Paused(_) => 4,
        LaneState::Halted(_) => 5,
    }
}

fn lane_view(l: &LaneStatus, lag: Lags) -> LaneView {
    LaneView {
        name: l.lane.clone(),
        state: l.state.name(),
        reason: l.state.reason().map(String::from),
        n: l.n,
        position: l.position.as_ref().map(|p| p.0.clone()),
        watermark: l.progress.watermark.map(EventTime::as_millis),
        idle: l.idle,
        read: l.account.read,
        behind_ms: lag.read_ms,
        lag,
    }
}

/// Stands for each part of the key of an overflow row, which counts the keys beyond the budget. Text of devices has no
/// quotes around it here, so the row says by itself what it is as well: `overflow`.
const OVERFLOW: &str = "(other keys)";

/// A key's values as they are shown: texts as they are, everything else as JSON.
fn key_texts(key: &[u8]) -> Vec<String> {
    let text = |v: Value| match v {
        Value::String(s) => s,
        other => other.to_string(),
    };
    match serde_json::from_slice(key) {
        Ok(Value::Array(values)) if values.iter().all(Value::is_null) => vec![OVERFLOW.into(); values.len()],
        Ok(Value::Array(values)) => values.into_iter().map(text).collect(),
        _ => vec![String::from_utf8_lossy(key).into_owned()],
    }
}

/// A number where JS holds it exactly, else its digits.
/// An integer, or its text where a JS number would not hold it; a decimal as its text.
fn figure(v: Option<i128>, decimals: u32) -> Value {
    const EXACT: i128 = (1 << 53) - 1;
    match v {
        None => Value::Null,
        Some(v) if decimals > 0 => Value::from(figure_text(v, decimals)),
        Some(v) if (-EXACT..=EXACT).contains(&v) => Value::from(v as i64),
        Some(v) => Value::from(v.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::tests::{effects, hub, lane};
    use plimsoll_core::wire::effects::Table;

    #[test]
    fn a_window_is_final_exactly_when_the_watermark_reached_its_end() {
        let (hub, _) = hub();
        hub.rows("a", &effects(0, Table::Main, &[("a", 1, 1 << 60)]));
        let state = || hub.windows()[0]["state"].as_str().map(String::from);
        hub.lane(lane("a", Some(9), 1));
        assert_eq!(state().as_deref(), Some("provisional"));
        hub.lane(lane("a", Some(10), 1));
        assert_eq!(state().as_deref(), Some("final"));
        let row = &hub.windows()[0]["rows"][0];
        assert_eq!(row["values"], json!([1, (1i64 << 60).to_string()]), "exact beyond 2^53");
        assert_eq!(row["key"], json!(["a"]));
    }

    #[test]
    fn windows_that_a_fast_clock_opened_are_marked() {
        let (hub, _) = hub();
        hub.rows("a", &effects(0, Table::Main, &[("a", 5, 1)]));
        hub.rows("a", &effects(90_000, Table::Main, &[("fast", 1, 1)]));
        let arrived = |ms| Some(plimsoll_core::time::ArrivalTime::from_millis(ms));
        let mut status = lane("a", Some(3), 6);
        status.progress.arrival = arrived(7);
        hub.lane(status.clone());
        let marks = || hub.windows().as_array().expect("a list").iter().map(|w| w["ahead"] == true).collect::<Vec<_>>();
        assert_eq!(marks(), [false, true]);
        status.progress.arrival = arrived(90_000);
        hub.lane(status);
        assert_eq!(marks(), [false, false], "time has come that far");
    }

    #[test]
    fn the_most_alarming_lane_names_the_state() {
        let (hub, _) = hub();
        assert_eq!(hub.stats().state, "starting");
        hub.lane(lane("b", None, 1));
        hub.lane(LaneStatus { state: LaneState::Paused("21 records in a row trapped".into()), ..lane("a", None, 1) });
        let s = hub.stats();
        assert_eq!((s.state, s.reason.as_deref()), ("paused", Some("21 records in a row trapped")));
        assert_eq!((s.lanes_total, s.account.account().read), (2, 2));
    }
}
