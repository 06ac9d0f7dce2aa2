//! Rows of a preview: the core's `Rows`, seen from JS.

use crate::panes;
use crate::value::{Exact, Figure, KeyPart, put_derived, to_js};
use plimsoll_core::account::Account;
use plimsoll_core::policy::Policy;
use plimsoll_core::rows::{self, Fate, column, day_text, is_overflow, key_parts};
use plimsoll_core::time::{ArrivalTime, EventTime};
use plimsoll_core::window::Window;
use plimsoll_core::wire::effects::{self, DeadLetter, Row};
use plimsoll_core::wire::panes::{self as wire, Pane};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use wasm_bindgen::prelude::*;

/// Rows of one policy, merged from the effects of one run.
#[wasm_bindgen]
pub struct Rows {
    policy: Policy,
    rows: rows::Rows,
    panes: Vec<Pane>,
}

#[wasm_bindgen]
impl Rows {
    /// No rows yet, of a policy in its canonical form.
    #[wasm_bindgen(constructor)]
    pub fn new(canonical: &[u8]) -> Result<Self, JsError> {
        let policy = Policy::from_canonical(canonical)?;
        Ok(Self { rows: rows::Rows::new(&policy), policy, panes: Vec::new() })
    }

    /// Merges what a flush gave out, in the order of the flushes.
    pub fn add(&mut self, effects: &[u8]) -> Result<(), JsError> {
        Ok(self.rows.add(effects::decode(effects)?)?)
    }

    /// Takes a block of panes.
    #[wasm_bindgen(js_name = addPanes)]
    pub fn add_panes(&mut self, block: &[u8]) -> Result<(), JsError> {
        self.panes.append(&mut wire::decode(block)?.panes);
        Ok(())
    }

    /// How many panes there are.
    #[wasm_bindgen(getter, js_name = panesLength)]
    pub fn panes_length(&self) -> usize {
        self.panes.len()
    }

    /// Panes as objects, at most `count` from the `from`-th on, in the order in which they were given out.
    pub fn panes(&self, from: usize, count: usize) -> JsValue {
        let shown = self.panes.iter().skip(from).take(count);
        to_js(&shown.map(|pane| panes::Object { policy: &self.policy, pane }).collect::<Vec<_>>())
    }

    /// How many main rows there are.
    #[wasm_bindgen(getter)]
    pub fn length(&self) -> usize {
        self.rows.main().count()
    }

    /// How many late rows there are.
    #[wasm_bindgen(getter, js_name = lateLength)]
    pub fn late_length(&self) -> usize {
        self.rows.late().count()
    }

    /// Main rows as objects, at most `count` from the `from`-th on.
    pub fn main(&self, from: usize, count: usize) -> JsValue {
        let object = |(window, row)| {
            let fate = if self.rows.is_final(window) { Fate::Final } else { Fate::Provisional };
            Object { policy: &self.policy, window, row, last: Last::State(fate) }
        };
        to_js(&self.rows.main().skip(from).take(count).map(object).collect::<Vec<_>>())
    }

    /// Late rows as objects, at most `count` from the `from`-th on.
    pub fn late(&self, from: usize, count: usize) -> JsValue {
        let object = |(window, day, row)| Object { policy: &self.policy, window, row, last: Last::ArrivalDay(day) };
        to_js(&self.rows.late().skip(from).take(count).map(object).collect::<Vec<_>>())
    }

    /// All main rows as NDJSON, the very bytes of `plimsoll preview`.
    #[wasm_bindgen(js_name = mainNdjson)]
    pub fn main_ndjson(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.rows.write_main(&mut out);
        out
    }

    /// All late rows as NDJSON, the very bytes of `plimsoll preview --late-out`.
    #[wasm_bindgen(js_name = lateNdjson)]
    pub fn late_ndjson(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.rows.write_late(&mut out);
        out
    }

    /// The main rows' totals by window, oldest first: `{ start, end, state, keys, total }`. `total` is that of the
    /// `measure`-th measure; for charts, so that one with decimals comes as the nearest number.
    pub fn windows(&self, measure: usize) -> JsValue {
        let mut windows: BTreeMap<Window, (u32, i128)> = BTreeMap::new();
        for (window, row) in self.rows.main() {
            let (keys, total) = windows.entry(*window).or_default();
            *keys += 1;
            *total = total.saturating_add(row.values.get(measure).copied().flatten().unwrap_or(0));
        }
        let decimals = self.policy.spec().measures.get(measure).map_or(0, |m| m.decimals());
        let view = |(w, (keys, total)): (Window, (u32, i128))| WindowView {
            start: w.start.as_millis().into(),
            end: w.end.as_millis().into(),
            state: if self.rows.is_final(&w) { Fate::Final } else { Fate::Provisional }.name(),
            keys,
            total: if decimals == 0 {
                Total::Exact(Exact(total))
            } else {
                Total::Near(total as f64 / 10f64.powi(decimals as i32))
            },
        };
        to_js(&windows.into_iter().map(view).collect::<Vec<_>>())
    }

    /// How many records were set aside.
    #[wasm_bindgen(getter, js_name = deadLength)]
    pub fn dead_length(&self) -> usize {
        self.rows.dead().len()
    }

    /// Records set aside, at most `count` from the `from`-th on: `{ ordinal, reason, detail, arrival, length, raw }`, `raw`
    /// being their first bytes.
    pub fn dead(&self, from: usize, count: usize) -> JsValue {
        let shown = self.rows.dead().iter().skip(from).take(count);
        to_js(&shown.map(|d| DeadView::new(d, self.rows.explain(d))).collect::<Vec<_>>())
    }

    /// Where all the records went.
    pub fn account(&self) -> JsValue {
        to_js(&AccountView::from(self.rows.account()))
    }

    /// How far event time has come: `{ watermark, arrival, event }`.
    pub fn progress(&self) -> JsValue {
        let p = self.rows.progress();
        to_js(&ProgressView {
            watermark: p.watermark.map(EventTime::as_millis).map(Exact::from),
            arrival: p.arrival.map(ArrivalTime::as_millis).map(Exact::from),
            event: p.event.map(EventTime::as_millis).map(Exact::from),
        })
    }
}

enum Last {
    State(Fate),
    ArrivalDay(Option<i64>),
}

/// A row as an object with the fields of its NDJSON line, in their order.
struct Object<'a> {
    policy: &'a Policy,
    window: &'a Window,
    row: &'a Row,
    last: Last,
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let spec = self.policy.spec();
        let mut map = to.serialize_map(None)?;
        for (path, value) in spec.input.key.iter().zip(key_parts(&self.row.key)) {
            let value = serde_json::from_slice(value).unwrap_or_default();
            map.serialize_entry(column(path), &KeyPart(value))?;
        }
        map.serialize_entry("window_start", &Exact::from(self.window.start.as_millis()))?;
        map.serialize_entry("window_end", &Exact::from(self.window.end.as_millis()))?;
        for (m, value) in spec.measures.iter().zip(&self.row.values) {
            map.serialize_entry(&m.name, &value.map(|units| Figure { units, decimals: m.decimals() }))?;
        }
        put_derived(spec, &self.row.values, &mut map)?;
        if is_overflow(&self.row.key) {
            map.serialize_entry("overflow", &true)?;
        }
        match self.last {
            Last::State(fate) => map.serialize_entry("state", fate.name())?,
            Last::ArrivalDay(day) => map.serialize_entry("arrival_day", &day.map(day_text))?,
        }
        map.end()
    }
}

#[derive(Serialize)]
struct WindowView {
    start: Exact,
    end: Exact,
    state: &'static str,
    keys: u32,
    total: Total,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Total {
    Exact(Exact),
    Near(f64),
}

#[derive(Serialize)]
struct DeadView<'a> {
    ordinal: Exact,
    reason: &'static str,
    detail: String,
    arrival: Option<Exact>,
    length: Exact,
    raw: Raw<'a>,
}

impl<'a> DeadView<'a> {
    fn new(d: &'a DeadLetter, detail: String) -> Self {
        Self {
            ordinal: d.ordinal.into(),
            reason: d.reason.name(),
            detail,
            arrival: d.arrival.map(|a| a.as_millis().into()),
            length: d.full_len.into(),
            raw: Raw(&d.raw),
        }
    }
}

struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self.0)
    }
}

#[derive(Serialize)]
struct ProgressView {
    watermark: Option<Exact>,
    arrival: Option<Exact>,
    event: Option<Exact>,
}

/// The classes in the order in which they add up.
#[derive(Serialize)]
struct AccountView {
    read: Exact,
    counted: Exact,
    late: Exact,
    future: Exact,
    rejected: Exact,
    filtered: Exact,
    duplicate: Exact,
    late_dropped: Exact,
    late_accepted: Exact,
    future_counted: Exact,
    overflow: Exact,
    reasons: BTreeMap<&'static str, Exact>,
}

impl From<&Account> for AccountView {
    fn from(a: &Account) -> Self {
        Self {
            read: a.read.into(),
            counted: a.counted.into(),
            late: a.late.into(),
            future: a.future.into(),
            rejected: a.rejected.into(),
            filtered: a.filtered.into(),
            duplicate: a.duplicate.into(),
            late_dropped: a.late_dropped.into(),
            late_accepted: a.late_accepted.into(),
            future_counted: a.future_counted.into(),
            overflow: a.overflow.into(),
            reasons: a.reasons.iter().map(|(r, n)| (r.name(), Exact::from(*n))).collect(),
        }
    }
}
