//! Snapshots as they were written once, in `core/tests/snapshots/<version>`: each is restored, goes on and comes to the answer
//! that stands beside it. What this engine writes today is what stands there for its version.
//!
//! `UPDATE=1` writes the files of this version that are not there, and never one that is: a snapshot that was released stays
//! as it is. `core/SNAPSHOT.md` says what a new version does.
//!
//! Not here: damaged snapshots (`panes_hostile`, `fuzz_corpus`), the bytes of the ABI's examples (`vectors`).

use plimsoll_core::engine::{Engine, FlushMode, SNAPSHOT_VERSION};
use plimsoll_core::json::PADDING;
use plimsoll_core::policy::Policy;
use plimsoll_core::rows::{Rows, write_pane};
use plimsoll_core::time::ArrivalTime;
use plimsoll_core::wire::frame::{self, Kind};
use plimsoll_core::wire::{effects, panes};
use std::fs;
use std::path::{Path, PathBuf};

/// Name of a snapshot and the policy it belongs to, in canonical form. Every strategy of the watermark, every kind of content.
const CASES: [(&str, &str); 5] = [
    (
        "rows-quantile",
        r#"{"v":1,"policy":"quantile","input":{"format":"json","time":{"field":["ts"],"unit":"ms","unit_check":false},"arrival":null,"key":[["k"]],"source":null},"window":{"fixed":{"size":10,"offset":0}},"watermark":{"strategy":{"quantile":{"q_milli":500,"sample":5,"min_sample":2}},"delay":3,"max_future":50,"future":"quarantine"},"late":{"by":"record","allowed_lateness":0,"to":"table"},"measures":[{"name":"n","op":"count","field":null},{"name":"total","op":"sum","field":["v"]}],"limits":{"record_bytes":4096,"key_bytes":64,"dead_letter_bytes":128}}"#,
    ),
    (
        "rows-sliding-max",
        r#"{"v":1,"policy":"sliding","input":{"format":"json","time":{"field":["ts"],"unit":"ms","unit_check":false},"arrival":null,"key":[["k"]],"source":null},"window":{"sliding":{"size":10,"every":5,"offset":0}},"watermark":{"strategy":"max","delay":3,"max_future":50,"future":"quarantine"},"late":{"by":"record","allowed_lateness":0,"to":"table"},"measures":[{"name":"n","op":"count","field":null},{"name":"total","op":"sum","field":["v"]}],"limits":{"record_bytes":4096,"key_bytes":64,"dead_letter_bytes":128}}"#,
    ),
    (
        "panes-sessions",
        r#"{"v":1,"policy":"sessions","input":{"format":"json","time":{"field":["ts"],"unit":"ms","unit_check":false},"arrival":null,"key":[["k"]],"source":null},"window":{"session":{"gap":10,"gap_field":["gap"],"touching":"merge"}},"watermark":{"strategy":"max","delay":5,"max_future":null,"future":"accept"},"late":{"by":"window","allowed_lateness":20,"to":"dead_letters"},"measures":[{"name":"total","op":"sum","field":["v"]},{"name":"squares","op":"squares","field":["v"]}],"kept":[{"name":"first","what":"first","field":["v"]},{"name":"last","what":"last","field":["v"]},{"name":"list","what":{"list":{"most":3}},"field":["v"]},{"name":"different","what":"distinct","field":["v"]},{"name":"median","what":{"quantile":{"q_milli":500}},"field":["v"]},{"name":"top","what":{"top_k":{"k":2}},"field":["v"]}],"panes":{"trigger":{"after_watermark":{"early":{"after_count":{"count":2}},"late":{"after_count":{"count":1}}}},"accumulation":"retracting","timestamp":"earliest","timestamp_shift":0,"on_time":"always","closing":"always","flush_on_expiry":true,"bundle":"record","open_max":100},"limits":{"record_bytes":4096,"key_bytes":64,"dead_letter_bytes":128}}"#,
    ),
    (
        "panes-clock",
        r#"{"v":1,"policy":"clock","input":{"format":"json","time":{"field":["ts"],"unit":"ms","unit_check":false},"arrival":null,"key":[["k"],["n"]],"source":null},"window":{"fixed":{"size":10,"offset":3}},"watermark":{"strategy":"max","delay":4,"max_future":100,"future":"clamp"},"late":{"by":"window","allowed_lateness":5,"to":"table"},"measures":[{"name":"events","op":"count","field":null},{"name":"least","op":"min","field":["v"]},{"name":"most","op":"max","field":["v"]}],"panes":{"trigger":{"repeatedly":{"trigger":{"after_any":{"triggers":[{"after_each":{"triggers":[{"after_count":{"count":1}},{"every_event_time":{"period_ms":4}}]}},{"after_processing_time":{"delay_ms":5,"align_ms":4,"align_offset_ms":1}}]}}}},"accumulation":"accumulating","timestamp":"latest","timestamp_shift":1,"on_time":"if_non_empty","closing":"if_non_empty","flush_on_expiry":false,"bundle":"frame","open_max":50},"limits":{"record_bytes":4096,"key_bytes":64,"dead_letter_bytes":128}}"#,
    ),
    (
        "panes-arrival",
        r#"{"v":1,"policy":"arrival","input":{"format":"json","time":{"field":["at"],"unit":"rfc3339","unit_check":true},"arrival":{"field":["ts"],"unit":"s","unit_check":true},"key":[["k"]],"source":null},"window":"global","watermark":{"strategy":"arrival","delay":0,"max_future":null,"future":"quarantine"},"late":{"by":"window","allowed_lateness":0,"to":"drop"},"measures":[{"name":"n","op":"count","field":["n"]}],"kept":[{"name":"first","what":"first","field":["a"]},{"name":"last","what":"last","field":["b"]},{"name":"different","what":"distinct","field":["a"]},{"name":"median","what":{"quantile":{"q_milli":500}},"field":["b"]},{"name":"top","what":{"top_k":{"k":2}},"field":["a"]}],"panes":{"trigger":{"or_finally":{"main":{"repeatedly":{"trigger":{"after_count":{"count":2}}}},"until":{"after_count":{"count":5}}}},"accumulation":"discarding","timestamp":"end_of_window","timestamp_shift":0,"on_time":"always","closing":"always","flush_on_expiry":true,"bundle":"record","open_max":10},"limits":{"record_bytes":4096,"key_bytes":64,"dead_letter_bytes":128}}"#,
    ),
];

/// What came before the snapshot: in order, out of order, late, from a clock ahead, broken.
const BEFORE: &str = r#"{"k":"a","n":1,"ts":3,"at":"2026-11-23T19:02:13.250Z","v":7,"a":"x","b":null,"gap":4}
{"k":"a","n":1,"ts":12,"at":"2026-11-23T19:02:14Z","v":-2,"a":true,"b":"\u00e9","gap":null}
{"k":"b\"c","n":2,"ts":9,"at":"2026-11-23T19:02:13Z","v":null,"a":1,"b":2.5,"gap":0}

{broken
{"k":"a","n":1,"ts":9000,"at":"2026-11-23T19:02:13Z","v":1,"a":1,"b":2}
{"k":"a","n":1,"ts":14,"at":"2026-11-23T19:02:15Z","v":2147483647,"a":"x","b":3,"gap":9}
{"k":"a","n":1,"ts":16,"at":"2026-11-23T19:02:15Z","v":7,"a":"x","b":3}
{"k":"c","n":3,"ts":2,"at":"2026-11-23T19:02:12Z","v":5,"a":"y","b":4}
"#;

/// What comes after it.
const AFTER: &str = r#"{"k":"a","n":1,"ts":18,"at":"2026-11-23T19:02:16Z","v":3,"a":"z","b":1,"gap":2}
{"k":"b\"c","n":2,"ts":11,"at":"2026-11-23T19:02:14Z","v":4,"a":"x","b":2}
{"k":"c","n":3,"ts":1,"at":"2026-11-23T19:02:11Z","v":6,"a":"y","b":4}
{"k":"d","n":4,"ts":60,"at":"2026-11-23T19:03:00Z","v":1,"a":"y","b":4}
"#;

fn folder(version: u16) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(version.to_string())
}

fn apply(engine: &mut Engine, first: u64, lines: &str, clock: i64) {
    let mut frames = Vec::new();
    let at = |ms| Some(ArrivalTime::from_millis(ms));
    frame::push(&mut frames, Kind::Tick, first, at(clock), b"");
    frame::push(&mut frames, Kind::Lines, first, at(clock + 10), lines.as_bytes());
    frame::push(&mut frames, Kind::Tick, first + 100, at(clock + 7), b"");
    let len = frames.len();
    frames.resize(len + PADDING, 0);
    engine.apply(&frames, len).expect("frames as a source writes them");
}

/// The snapshot that this engine writes.
fn made(policy: &str) -> Vec<u8> {
    let policy = Policy::from_canonical(policy.as_bytes()).unwrap_or_else(|e| panic!("{e}"));
    let mut engine = Engine::new(policy);
    apply(&mut engine, 1, BEFORE, 3);
    // Panes that nobody asked for are not part of a snapshot.
    engine.panes(&mut Vec::new());
    let mut out = Vec::new();
    engine.snapshot(&mut out);
    out
}

/// What a snapshot's engine comes to, as text.
fn answer(policy: &str, snapshot: &[u8]) -> String {
    let policy = Policy::from_canonical(policy.as_bytes()).unwrap_or_else(|e| panic!("{e}"));
    let mut engine = Engine::restore(policy.clone(), snapshot).unwrap_or_else(|e| panic!("{e}"));
    apply(&mut engine, 200, AFTER, 20);
    let (mut given, mut flushed, mut out) = (Vec::new(), Vec::new(), Vec::new());
    engine.panes(&mut given);
    engine.flush(FlushMode::Drain, &mut flushed);
    panes::decode(&given).expect("panes").panes.iter().for_each(|pane| write_pane(&policy, pane, &mut out));
    let mut rows = Rows::new(&policy);
    rows.add(effects::decode(&flushed).expect("effects")).expect("small totals");
    rows.write_main(&mut out);
    rows.write_late(&mut out);
    let dead: String = rows.dead().iter().map(|d| format!("{} {}\n", d.ordinal, rows.explain(d))).collect();
    let (a, text) = (rows.account(), String::from_utf8(out).expect("rows are text"));
    format!("{text}{dead}read {}, counted {}, late {}, rejected {}\n", a.read, a.counted, a.late, a.rejected)
}

#[test]
fn snapshots_of_every_version_are_read_and_gone_on_with() {
    let update = std::env::var_os("UPDATE").is_some();
    let write = |file: &Path, content: &[u8]| {
        if update && !file.exists() {
            fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            fs::write(file, content).expect("a file");
        }
    };
    for version in 1..=SNAPSHOT_VERSION {
        for (name, policy) in CASES {
            let file = |kind: &str| folder(version).join(format!("{name}.{kind}"));
            let now = (version == SNAPSHOT_VERSION).then(|| made(policy));
            if let Some(now) = &now {
                write(&file("snapshot"), now);
            }
            let saved = fs::read(file("snapshot")).unwrap_or_else(|e| panic!("{}: {e}", file("snapshot").display()));
            let same = now.is_none_or(|now| now == saved);
            assert!(same, "{name}: other bytes are another version; core/SNAPSHOT.md says what to do");
            let got = answer(policy, &saved);
            write(&file("answer"), got.as_bytes());
            let expected = fs::read_to_string(file("answer")).unwrap_or_default();
            assert_eq!(got, expected, "{}", file("answer").display());
        }
    }
}
