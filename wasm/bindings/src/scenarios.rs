//! Scenarios run by the core's runner on the engine of the JS side.
//!
//! Not here: what a scenario is and how it is judged (`plimsoll_core::scenario`); the engine's calls (`js/src/scenarios.ts`).

use crate::value::to_js;
use plimsoll_core::policy::Policy;
use plimsoll_core::scenario::{Drive, Options, run_file};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// The engine that the JS side drives: an object with these functions.
    pub type Driven;
    #[wasm_bindgen(method, catch)]
    fn open(this: &Driven, canonical: &[u8], snapshot: Option<Vec<u8>>) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch)]
    fn apply(this: &Driven, frames: &[u8]) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch)]
    fn flush(this: &Driven) -> Result<Vec<u8>, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn panes(this: &Driven) -> Result<Vec<u8>, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn snapshot(this: &Driven) -> Result<Vec<u8>, JsValue>;
    /// What was thrown: an error with its message.
    type Thrown;
    #[wasm_bindgen(method, getter)]
    fn message(this: &Thrown) -> Option<String>;
}

/// Runs the scenarios of a file: `{ scenarios: [{ name, verdict, step, expected, got, reason }] }`.
#[wasm_bindgen(js_name = runScenarios)]
pub fn run_scenarios(text: &str, driven: &Driven, snapshot_everywhere: bool) -> Result<JsValue, JsError> {
    let options = Options::default().snapshots_everywhere(snapshot_everywhere);
    let report = run_file(text, &mut Callbacks(driven), options)?;
    Ok(to_js(&report))
}

struct Callbacks<'a>(&'a Driven);

impl Drive for Callbacks<'_> {
    fn open(&mut self, policy: &Policy, snapshot: Option<&[u8]>) -> Result<(), String> {
        self.0.open(policy.canonical(), snapshot.map(<[u8]>::to_vec)).map_err(words)
    }

    fn apply(&mut self, frames: &[u8]) -> Result<(), String> {
        self.0.apply(frames).map_err(words)
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        *out = self.0.flush().map_err(words)?;
        Ok(())
    }

    fn panes(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        *out = self.0.panes().map_err(words)?;
        Ok(())
    }

    fn snapshot(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        *out = self.0.snapshot().map_err(words)?;
        Ok(())
    }
}

fn words(thrown: JsValue) -> String {
    let text = thrown.as_string();
    text.or_else(|| thrown.unchecked_ref::<Thrown>().message()).unwrap_or_else(|| "an error without words".into())
}
