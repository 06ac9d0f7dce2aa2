//! Rust values as JS values, exactly.

use plimsoll_core::policy::Spec;
use plimsoll_core::rows::{derived_text, figure_text};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use wasm_bindgen::JsValue;

/// 2^53 − 1: up to here a JS number holds every integer.
const SAFE: i128 = (1 << 53) - 1;

/// Plain objects and arrays; a missing value is `null`.
pub(crate) fn to_js<T: Serialize + ?Sized>(value: &T) -> JsValue {
    let to = serde_wasm_bindgen::Serializer::new().serialize_maps_as_objects(true).serialize_missing_as_null(true);
    value.serialize(&to).expect("what crosses is texts, lists, maps and integers made exact")
}

/// An integer: a number where that is exact, else a BigInt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exact(pub(crate) i128);

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let js =
            if (-SAFE..=SAFE).contains(&self.0) { JsValue::from_f64(self.0 as f64) } else { JsValue::from(self.0) };
        serde_wasm_bindgen::preserve::serialize(&js, to)
    }
}

impl From<u64> for Exact {
    fn from(v: u64) -> Self {
        Self(v.into())
    }
}

impl From<i64> for Exact {
    fn from(v: i64) -> Self {
        Self(v.into())
    }
}

/// Puts the numbers that are derived from a row's columns into its object: what `JSON.parse` makes of its line.
pub(crate) fn put_derived<M: SerializeMap>(spec: &Spec, columns: &[Option<i128>], to: &mut M) -> Result<(), M::Error> {
    for d in &spec.derived {
        let number = derived_text(d, columns, &spec.measures).and_then(|text| text.parse::<f64>().ok());
        to.serialize_entry(&d.name, &number)?;
    }
    Ok(())
}

/// A column's value: an integer exactly, a decimal as its text, `"12.30"`: no JS number holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    pub(crate) units: i128,
    pub(crate) decimals: u32,
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.decimals == 0 {
            return Exact(self.units).serialize(to);
        }
        to.serialize_str(&figure_text(self.units, self.decimals))
    }
}

/// A part of a key: text, integer, boolean or null.
#[derive(Clone, Debug)]
pub(crate) struct KeyPart(pub(crate) serde_json::Value);

impl Serialize for KeyPart {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            serde_json::Value::Number(n) => match n.as_i128() {
                Some(v) => Exact(v).serialize(to),
                None => n.serialize(to),
            },
            other => other.serialize(to),
        }
    }
}
