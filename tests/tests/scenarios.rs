//! Scenarios through the engine: natively and through the module, with and without a snapshot between any two steps.
//!
//! The samples in `tests/scenarios` show that cases hold, and that the harness can fail and says where. The folder
//! `../shared/scenarios` beside the workspace (or `PLIMSOLL_SCENARIOS`) holds larger collections with known answers.

use plimsoll::runtime::Engines;
use plimsoll::runtime::native::NativeEngines;
use plimsoll::runtime::wasm::{Modules, Settings};
use plimsoll::scenario::{Options, Report, Verdict, run_file};
use plimsoll_tests::workspace;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Samples that do not all hold, and are looked at one by one.
const NOT_HOLDING: [&str; 2] = ["broken.json", "skipped.json"];

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

fn text(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn sample(name: &str) -> String {
    text(&workspace().join("tests/scenarios").join(name))
}

fn run(text: &str, engines: &dyn Engines, snapshot_everywhere: bool) -> Report {
    let options = Options::default().snapshots_everywhere(snapshot_everywhere);
    run_file(text, engines, options).unwrap_or_else(|e| panic!("{e}"))
}

/// The scenario files of a folder, but for those that do not hold on purpose.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("a folder that can be read").path()).collect();
    files.retain(|f| {
        let name = f.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".json") && !NOT_HOLDING.contains(&&*name)
    });
    files.sort();
    files
}

/// Whether all scenarios of a folder hold. Skipped may be what the format says may be skipped, and nothing else.
fn hold(dir: &Path, engines: &dyn Engines) {
    const MAY_BE_SKIPPED: [&str; 3] = ["own_window", "absorb", "preserve"];
    let (mut passed, mut wrong) = (0, Vec::new());
    for file in files(dir) {
        let text = text(&file);
        for snapshot_everywhere in [false, true] {
            for o in run(&text, engines, snapshot_everywhere).scenarios {
                match o.verdict {
                    Verdict::Passed => passed += 1,
                    Verdict::Skipped { reason } if MAY_BE_SKIPPED.iter().any(|word| reason.contains(word)) => {}
                    other => wrong.push(format!("{} {} ({snapshot_everywhere}): {other:?}", file.display(), o.name)),
                }
            }
        }
    }
    println!("{passed} passed in {}", dir.display());
    assert!(wrong.is_empty(), "{passed} passed; {} did not:\n{}", wrong.len(), wrong.join("\n"));
}

/// The note of each scenario, by its place.
fn notes(text: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(text).expect("run already");
    file["scenarios"].as_array().expect("run already").iter().map(|s| s["note"].clone()).collect()
}

fn samples(engines: &dyn Engines) {
    hold(&workspace().join("tests/scenarios"), engines);

    let broken = sample("broken.json");
    for (o, note) in run(&broken, engines, false).scenarios.iter().zip(notes(&broken)) {
        let Verdict::Failed { step, expected, got } = &o.verdict else { panic!("{}: {:?}", o.name, o.verdict) };
        assert_eq!(json!(step), note, "{}: expected {expected}, got {got}", o.name);
    }

    let skipped = sample("skipped.json");
    for (o, note) in run(&skipped, engines, false).scenarios.iter().zip(notes(&skipped)) {
        let Verdict::Skipped { reason } = &o.verdict else { panic!("{}: {:?}", o.name, o.verdict) };
        assert!(reason.starts_with(note.as_str().expect("a note")), "{}: {reason}", o.name);
    }
}

fn collection(engines: &dyn Engines) {
    let dir =
        std::env::var_os("PLIMSOLL_SCENARIOS").map_or_else(|| workspace().join("../shared/scenarios"), PathBuf::from);
    if !dir.is_dir() {
        return eprintln!("skipped: no folder {}; PLIMSOLL_SCENARIOS names another", dir.display());
    }
    hold(&dir, engines);
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
    let refused =
        |text: &str| run_file(text, &NativeEngines, Options::default()).expect_err("no scenario file").to_string();
    assert!(refused("{").contains("plimsoll-scenario/1"));
    assert!(refused(r#"{"format": "plimsoll-scenario/2"}"#).contains("plimsoll-scenario/2"));
    assert_eq!(run(r#"{"format": "plimsoll-scenario/1", "datasets": {}}"#, &NativeEngines, false), Report::default());
}
