//! The fuzz targets on their corpus: what was found once is not found again.
//!
//! `UPDATE=1` writes the seeds anew: small streams under the targets' policies, the documents' policies, scenarios. Whatever
//! `make fuzz` finds is put into the folder of its target by hand, with a name that says what it shows. The other files,
//! named by their digests, are what libFuzzer kept of a longer run: each reaches something that the others do not.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use plimsoll_core::engine::{Engine, FlushMode};
use plimsoll_core::json::PADDING;
use plimsoll_core::policy::Policy;
use plimsoll_core::scenario::FORMAT;
use plimsoll_core::time::ArrivalTime;
use plimsoll_core::wire::frame::{self, Kind};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 6] = [
    ("policy_text", targets::policy_text),
    ("records", targets::records),
    ("frames", targets::frames),
    ("snapshots", targets::snapshots),
    ("panes", targets::panes),
    ("scenarios", targets::scenarios),
];

/// Files of scenarios, and of how many of their scenarios one is a seed.
const SCENARIOS: [(&str, usize); 6] =
    [("parts", 2), ("fixed", 2), ("sessions", 3), ("triggers", 4), ("selftests", 1), ("skipped", 4)];

const LINES: &str = r#"{"k":"a","n":1,"ts":3,"at":"2026-11-23T19:02:13.250Z","v":7,"a":"x","b":null,"gap":4}
{"k":"a","n":1,"ts":12,"at":"2026-11-23T19:02:14Z","v":-2,"a":true,"b":"\u00e9","gap":null}
{"k":"b\"c","n":2,"ts":9,"at":"2026-11-23T19:02:13Z","v":null,"a":1,"b":2.5,"gap":0}

{broken
{"k":"a","n":1,"ts":9000,"at":"2026-11-23T19:02:13Z","v":1,"a":1,"b":2}
"#;

/// Name, target and bytes.
type Seed = (String, &'static str, Vec<u8>);

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// Small streams under the targets' policies, in all the forms that they take.
fn seeds() -> Vec<Seed> {
    let mut all = Vec::new();
    for (i, text) in targets::POLICIES.into_iter().enumerate() {
        let policy = Policy::from_canonical(text.as_bytes()).unwrap_or_else(|e| panic!("policy {i}: {e}"));
        let name = policy.spec().policy.clone();
        let led = |bytes: &[u8]| [&[i as u8], bytes].concat();
        all.push((name.clone(), "policy_text", text.into()));
        all.push((name.clone(), "records", led(LINES.as_bytes())));
        let mut frames = Vec::new();
        let at = |ms| Some(ArrivalTime::from_millis(ms));
        frame::push(&mut frames, Kind::Lines, 1, at(10), LINES.as_bytes());
        frame::push(&mut frames, Kind::Tick, 50, at(4), b"");
        let first = LINES.lines().next().expect("there are some").as_bytes();
        frame::push(&mut frames, Kind::Record, 60, None, first);
        frame::push(&mut frames, Kind::Oversize, 70, None, &first[..9]);
        frame::push(&mut frames, Kind::Watermark, 80, at(8), b"");
        all.push((name.clone(), "frames", led(&frames)));
        let mut engine = Engine::new(policy);
        let len = frames.len();
        frames.resize(len + PADDING, 0);
        engine.apply(&frames, len).expect("frames as a source writes them");
        let (mut given, mut saved, mut flushed) = (Vec::new(), Vec::new(), Vec::new());
        engine.panes(&mut given);
        engine.snapshot(&mut saved);
        engine.flush(FlushMode::Drain, &mut flushed);
        all.push((name.clone(), "snapshots", led(&saved)));
        all.push((format!("{name}-panes"), "panes", given));
        all.push((format!("{name}-effects"), "panes", flushed));
    }
    all
}

/// Policies of the documents and scenarios of the tests. They may move on, their seeds stay good.
fn borrowed() -> Vec<Seed> {
    let mut all = Vec::new();
    for page in ["core/POLICY.md", "README.md"] {
        let text = String::from_utf8(read(page)).expect("text");
        for (i, block) in text.split("```toml\n").skip(1).enumerate() {
            let block = block.split("```").next().expect("of a split");
            all.push((format!("{}-{i}", page.replace('/', "-")), "policy_text", block.into()));
        }
    }
    for (name, every) in SCENARIOS {
        for (i, scenario) in scenarios_of(name).into_iter().enumerate().step_by(every) {
            let file = serde_json::json!({"format": FORMAT, "scenarios": [scenario]});
            all.push((format!("{name}-{i}"), "scenarios", file.to_string().into_bytes()));
        }
    }
    all
}

fn scenarios_of(name: &str) -> Vec<Value> {
    let file: Value = serde_json::from_slice(&read(&format!("tests/scenarios/{name}.json"))).expect("JSON");
    file["scenarios"].as_array().expect("a list").clone()
}

/// A file of the repository.
fn read(name: &str) -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the person at the keyboard says whether files are to be written")]
fn seeds_are_those_in_the_repository() {
    let put = |name: &str, target: &str, bytes: &[u8]| {
        fs::create_dir_all(folder(target)).expect("a folder");
        fs::write(folder(target).join(name), bytes).expect("a file");
    };
    let update = std::env::var("UPDATE").is_ok();
    let lent = if update { borrowed() } else { Vec::new() };
    lent.iter().for_each(|(name, target, bytes)| put(name, target, bytes));
    for (name, target, bytes) in seeds() {
        if update {
            put(&name, target, &bytes);
        }
        let held = fs::read(folder(target).join(&name)).unwrap_or_default();
        assert!(held == bytes, "{target}/{name} is out of date; UPDATE=1 writes it anew");
    }
}

#[test]
fn every_file_of_the_corpus_passes() {
    for (target, run) in TARGETS {
        let mut files: Vec<PathBuf> = fs::read_dir(folder(target))
            .unwrap_or_else(|e| panic!("the corpus of {target}: {e}"))
            .map(|entry| entry.expect("an entry").path())
            .collect();
        files.sort();
        assert!(!files.is_empty());
        for file in files {
            let bytes = fs::read(&file).expect("a file");
            println!("{}", file.display());
            run(&bytes);
            // Small damage reaches a little further.
            for i in (0..bytes.len()).step_by(1 + bytes.len() / 200) {
                let mut bad = bytes.clone();
                bad[i] ^= 0x55;
                run(&bad);
                run(&bytes[..i]);
            }
        }
    }
}
