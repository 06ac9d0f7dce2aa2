//! Scenarios through the engine: natively and through the module, with and without a snapshot between any two steps.
//!
//! The samples in `tests/scenarios` show that cases hold, and that the harness can fail and says where. The folder
//! `../shared/scenarios` beside the workspace (or `PLIMSOLL_SCENARIOS`) holds larger collections with known answers.

use plimsoll::runtime::Engines;
use plimsoll::runtime::native::NativeEngines;
use plimsoll::runtime::wasm::{Modules, Settings};
use plimsoll::scenario::{Report, Verdict, run_file};
use plimsoll_tests::workspace;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// How many of the collection's scenarios hold with fixed windows and panes at the end of the window.
const PASSED_MIN: usize = 16;

fn module() -> impl Engines {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let file = target.join("plimsoll/plimsoll.wasm");
    if !file.is_file() {
        let built =
            Command::new(target.join("release/plimsoll-builder")).arg("build").current_dir(workspace()).status();
        assert!(built.is_ok_and(|s| s.success()), "no {}; run `make module`", file.display());
    }
    Modules::load(Some(&file), Settings::default()).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn sample(name: &str) -> String {
    let file = workspace().join("tests/scenarios").join(name);
    std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn run(text: &str, engines: &dyn Engines) -> Report {
    run_file(text, engines).unwrap_or_else(|e| panic!("{e}"))
}

/// The note of each scenario, by its place.
fn notes(text: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(text).expect("run already");
    file["scenarios"].as_array().expect("run already").iter().map(|s| s["note"].clone()).collect()
}

/// The same file with a snapshot after each step that may have one.
fn with_snapshots(text: &str) -> String {
    let mut file: Value = serde_json::from_str(text).expect("run already");
    for scenario in file.get_mut("scenarios").and_then(Value::as_array_mut).into_iter().flatten() {
        if !matches!(scenario["kind"].as_str(), Some("panes" | "selftest")) {
            continue;
        }
        let steps = scenario["steps"].as_array_mut().expect("run already");
        *steps = steps.drain(..).flat_map(|step| [step, json!({ "snapshot": true })]).collect();
    }
    file.to_string()
}

fn samples(engines: &dyn Engines) {
    for name in ["fixed.json", "selftests.json"] {
        for text in [sample(name), with_snapshots(&sample(name))] {
            for o in run(&text, engines).scenarios {
                assert_eq!(o.verdict, Verdict::Passed, "{name}: {}", o.name);
            }
        }
    }

    let broken = sample("broken.json");
    for (o, note) in run(&broken, engines).scenarios.iter().zip(notes(&broken)) {
        let Verdict::Failed { step, expected, got } = &o.verdict else { panic!("{}: {:?}", o.name, o.verdict) };
        assert_eq!(json!(step), note, "{}: expected {expected}, got {got}", o.name);
    }

    let skipped = sample("skipped.json");
    for (o, note) in run(&skipped, engines).scenarios.iter().zip(notes(&skipped)) {
        let Verdict::Skipped { reason } = &o.verdict else { panic!("{}: {:?}", o.name, o.verdict) };
        assert!(reason.starts_with(note.as_str().expect("a note")), "{}: {reason}", o.name);
    }
}

fn collection(engines: &dyn Engines) {
    let dir =
        std::env::var_os("PLIMSOLL_SCENARIOS").map_or_else(|| workspace().join("../shared/scenarios"), PathBuf::from);
    let Ok(entries) = std::fs::read_dir(&dir) else {
        return eprintln!("skipped: no folder {}; PLIMSOLL_SCENARIOS names another", dir.display());
    };
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("a folder that can be read").path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "json"));
    files.sort();
    let (mut passed, mut failed, mut reasons) = (0, Vec::new(), BTreeMap::<String, usize>::new());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let plain = run(&text, engines);
        let saved = run(&with_snapshots(&text), engines);
        assert_eq!(plain.counts(), saved.counts(), "{}: a snapshot shows", file.display());
        for o in plain.scenarios {
            match o.verdict {
                Verdict::Passed => passed += 1,
                Verdict::Failed { .. } => failed.push(o),
                Verdict::Skipped { reason } => *reasons.entry(reason).or_default() += 1,
            }
        }
    }
    println!("{passed} passed, {} failed; skipped:", failed.len());
    reasons.iter().for_each(|(reason, n)| println!("{n:4} {reason}"));
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(passed >= PASSED_MIN, "{passed} passed, at least {PASSED_MIN} expected");
}

#[test]
fn samples_natively() {
    samples(&NativeEngines);
}

#[test]
fn samples_through_the_module() {
    samples(&module());
}

#[test]
fn the_collection_natively() {
    collection(&NativeEngines);
}

#[test]
fn the_collection_through_the_module() {
    collection(&module());
}

#[test]
fn a_file_that_holds_no_scenarios_says_what_was_expected() {
    let refused = |text: &str| run_file(text, &NativeEngines).expect_err("no scenario file").to_string();
    assert!(refused("{").contains("plimsoll-scenario/1"));
    assert!(refused(r#"{"format": "plimsoll-scenario/2"}"#).contains("plimsoll-scenario/2"));
    assert_eq!(run(r#"{"format": "plimsoll-scenario/1", "datasets": {}}"#, &NativeEngines), Report::default());
}
