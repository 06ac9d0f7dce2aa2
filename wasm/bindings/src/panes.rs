//! Panes as JS objects: what triggers gave out.
//!
//! Not here: rows (`rows`); what a pane is (`plimsoll_core::wire::panes`).

use crate::value::{Exact, Figure, KeyPart, put_derived};
use plimsoll_core::policy::Policy;
use plimsoll_core::rows::{column, key_parts};
use plimsoll_core::time::EventTime;
use plimsoll_core::wire::panes::{KeptValue, Pane};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// A pane with its policy, which names the columns.
pub(crate) struct Object<'a> {
    pub policy: &'a Policy,
    pub pane: &'a Pane,
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (spec, p) = (self.policy.spec(), self.pane);
        let mut map = to.serialize_map(None)?;
        for (path, value) in spec.input.key.iter().zip(key_parts(&p.key)) {
            map.serialize_entry(column(path), &KeyPart(read(value)))?;
        }
        map.serialize_entry("window_start", &Exact::from(p.window.start.as_millis()))?;
        map.serialize_entry("window_end", &Exact::from(p.window.end.as_millis()))?;
        for (m, value) in spec.measures.iter().zip(&p.columns) {
            map.serialize_entry(&m.name, &value.map(|units| Figure { units, decimals: m.decimals() }))?;
        }
        put_derived(spec, &p.columns, &mut map)?;
        for (k, value) in spec.kept.iter().zip(&p.kept) {
            map.serialize_entry(&k.name, &Kept(value))?;
        }
        map.serialize_entry("pane", &Info(p))?;
        map.end()
    }
}

/// What a pane says of itself, apart from the columns so that no name of a policy's can hide it.
struct Info<'a>(&'a Pane);

impl Serialize for Info<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let p = self.0;
        let time = |t: EventTime| Exact::from(t.as_millis());
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("timing", p.timing.name())?;
        map.serialize_entry("index", &Exact::from(p.index))?;
        map.serialize_entry("nonspeculative_index", &p.settled_index.map_or(Exact(-1), Exact::from))?;
        map.serialize_entry("first", &p.first)?;
        map.serialize_entry("final", &p.last)?;
        map.serialize_entry("retraction", &p.retraction)?;
        map.serialize_entry("timestamp", &time(p.timestamp))?;
        map.serialize_entry("watermark", &p.watermark.map(time))?;
        map.end()
    }
}

/// A kept value: a scalar, a list, a number, or a list of `{ value, count }`; null where there was none.
struct Kept<'a>(&'a KeptValue);

impl Serialize for Kept<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            KeptValue::None => to.serialize_none(),
            KeptValue::Text(text) => KeyPart(read(text)).serialize(to),
            KeptValue::Estimate(n) => Exact(*n).serialize(to),
            KeptValue::List { values, .. } => to.collect_seq(values.iter().map(|text| KeyPart(read(text)))),
            KeptValue::Top(values) => {
                let mut list = to.serialize_seq(Some(values.len()))?;
                for (text, count) in values {
                    list.serialize_element(&Counted { value: KeyPart(read(text)), count: (*count).into() })?;
                }
                list.end()
            }
        }
    }
}

#[derive(Serialize)]
struct Counted {
    value: KeyPart,
    count: Exact,
}

fn read(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap_or_default()
}
