//! Scenarios through the engine itself: the quickest way to see whether a case holds.
//!
//! All of `tests/scenarios` are run, the examples of its guide too; the folder named by `PLIMSOLL_SCENARIOS` where it is set.

#[path = "support/native.rs"]
mod native;

use native::Native;
use plimsoll_core::scenario::{Options, Verdict, run_file};
use std::path::{Path, PathBuf};

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("a folder that can be read").path()).collect();
    // Two files fail and skip on purpose; `tests/tests/scenarios.rs` looks at how.
    files.retain(|f| {
        let name = f.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".json") && name != "broken.json" && name != "skipped.json"
    });
    files.sort();
    files
}

/// What did not hold, and how many did.
fn run(name: &str, text: &str, wrong: &mut Vec<String>) -> usize {
    let mut passed = 0;
    for everywhere in [false, true] {
        let options = Options::default().snapshots_everywhere(everywhere);
        let report = run_file(text, &mut Native::default(), options).unwrap_or_else(|e| panic!("{name}: {e}"));
        for o in report.scenarios {
            match o.verdict {
                Verdict::Passed => passed += 1,
                other => wrong.push(format!("{name} {} (snapshots: {everywhere}): {other:?}", o.name)),
            }
        }
    }
    passed
}

#[test]
fn the_examples_of_the_guide_hold() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/scenarios/README.md");
    let guide = std::fs::read_to_string(&guide).unwrap_or_else(|e| panic!("{}: {e}", guide.display()));
    let examples: Vec<&str> =
        guide.split("```json\n").skip(1).map(|rest| rest.split("```").next().expect("of a split")).collect();
    let file = format!(r#"{{"format": "plimsoll-scenario/1", "scenarios": [{}]}}"#, examples.join(","));
    let mut wrong = Vec::new();
    assert_eq!(run("README.md", &file, &mut wrong), 6, "three examples, with and without snapshots: {wrong:#?}");
}

#[test]
fn all_scenarios_hold_with_and_without_snapshots() {
    let mut all = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/scenarios"));
    if let Some(dir) = std::env::var_os("PLIMSOLL_SCENARIOS") {
        all.extend(files(Path::new(&dir)));
    }
    let (mut passed, mut wrong) = (0, Vec::new());
    for file in all {
        let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        passed += run(&file.file_name().unwrap_or_default().to_string_lossy(), &text, &mut wrong);
    }
    assert!(wrong.is_empty(), "{passed} passed; {} did not:\n{}", wrong.len(), wrong.join("\n"));
}
