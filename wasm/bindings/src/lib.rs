//! The JS face: policies checked, effects merged into rows, scenarios judged. Each export takes its arguments apart, makes one call into
//! the core and puts the answer together.
//!
//! Invariants
//! - No engine state: the engine runs as `plimsoll.wasm`, the production bytes, beside this module.
//! - Policies cross as text, so that the core's parser gives the same verdict, line and column everywhere.
//! - An integer is a JS number where that is exact (up to 2^53 − 1 in magnitude), else a BigInt. Times are numbers of
//!   milliseconds.
//!
//! Not here: loading, files, workers (`js/`); the engine (`wasm/module`).

mod panes;
mod rows;
mod scenarios;
mod value;

use plimsoll_core::policy::text::{Diagnostics, Syntax, parse};
use plimsoll_core::policy::{Op, Path, Policy, explain};
use plimsoll_core::rows::column;
use serde::Serialize;
use value::to_js;
use wasm_bindgen::prelude::*;

pub use rows::Rows;
pub use scenarios::{Driven, run_scenarios};

/// What is wrong with a policy: `{ code, path, line, column, from, to, message, hint }` each, in order of place; empty if
/// the policy is right. `fileName` decides between TOML and JSON, as does the text where there is none.
#[wasm_bindgen(js_name = checkPolicy)]
pub fn check_policy(text: &str, file_name: &str) -> JsValue {
    match parse(text, Syntax::guess(file_name, text)) {
        Ok(_) => to_js(&[(); 0]),
        Err(d) => to_js(&d.all),
    }
}

/// The canonical form of a policy: what the engine is handed and what its digest is taken of.
#[wasm_bindgen(js_name = canonicalPolicy)]
pub fn canonical_policy(text: &str, file_name: &str) -> Result<Vec<u8>, JsError> {
    Ok(read(text, file_name)?.canonical().to_vec())
}

/// What a policy does, in plain sentences, one a line.
#[wasm_bindgen(js_name = explainPolicy)]
pub fn explain_policy(text: &str, file_name: &str) -> Result<String, JsError> {
    Ok(explain(&read(text, file_name)?))
}

/// What a policy's rows look like: `{ name, sha256, keys, measures: [{ name, op, decimals }], arrivalField, panes }`.
#[wasm_bindgen(js_name = describePolicy)]
pub fn describe_policy(text: &str, file_name: &str) -> Result<JsValue, JsError> {
    let policy = read(text, file_name)?;
    let spec = policy.spec();
    let measures = spec.measures.iter().map(|m| Measure { name: &m.name, op: m.op, decimals: m.decimals() }).collect();
    Ok(to_js(&Description {
        name: &spec.policy,
        sha256: policy.digest().iter().map(|b| format!("{b:02x}")).collect(),
        keys: spec.input.key.iter().map(column).collect(),
        measures,
        arrival_field: spec.input.arrival.as_ref().map(|a| dotted(&a.field)),
        panes: spec.panes.is_some(),
    }))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Description<'a> {
    name: &'a str,
    sha256: String,
    keys: Vec<&'a str>,
    measures: Vec<Measure<'a>>,
    arrival_field: Option<String>,
    panes: bool,
}

#[derive(Serialize)]
struct Measure<'a> {
    name: &'a str,
    op: Op,
    decimals: u32,
}

fn dotted(path: &Path) -> String {
    path.join(".")
}

fn read(text: &str, file_name: &str) -> Result<Policy, JsError> {
    let named = |d: Diagnostics| if file_name.is_empty() { d } else { d.in_file(file_name) };
    parse(text, Syntax::guess(file_name, text)).map_err(|d| JsError::new(&named(d).to_string()))
}
