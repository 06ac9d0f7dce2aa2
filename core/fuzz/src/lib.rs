//! What must hold for any bytes. libFuzzer looks for bytes for which it does not (`make fuzz`), and
//! `core/tests/fuzz_corpus.rs` runs the corpus through the same functions.
//!
//! Invariants
//! - Nothing panics, whatever the bytes.
//! - What a reader takes has one encoding; what an engine says of itself can be read.
//!
//! Not here: whether answers are right (`core/tests/reference.rs`).

#[path = "../../tests/support/native.rs"]
mod native;

use native::Native;
use plimsoll_core::engine::{Engine, FlushMode};
use plimsoll_core::json::PADDING;
use plimsoll_core::policy::text::{Syntax, parse};
use plimsoll_core::policy::{Policy, explain};
use plimsoll_core::scenario::{Options, run_file};
use plimsoll_core::time::ArrivalTime;
use plimsoll_core::wire::frame::{self, Kind};
use plimsoll_core::wire::{effects, panes};

/// The policies under which bytes are read: an input's first byte picks one.
pub const POLICIES: [&str; 4] = [
    r#"{"v":1,"policy":"rows","input":{"format":"json","time":{"field":["ts"],"unit":"ms","unit_check":false},"arrival":null,"key":[["k"]],"source":null},"window":{"sliding":{"size":10,"every":5,"offset":0}},"watermark":{"strategy":{"quantile":{"q_milli":500,"sample":5,"min_sample":2}},"delay":3,"max_future":50,"future":"quarantine"},"late":{"by":"record","allowed_lateness":0,"to":"table"},"measures":[{"name":"n","op":"count","field":null},{"name":"total","op":"sum","field":["v"]}],"limits":{"record_bytes":4096,"key_bytes":64,"dead_letter_bytes":128}}"#,
    r#"{"v":1,"policy":"sessions","input":{"format":"json","time":{"field":["ts"],"unit":"ms","unit_check":false},"arrival":null,"key":[["k"]],"source":null},"window":{"session":{"gap":10,"gap_field":["gap"],"touching":"merge"}},"watermark":{"strategy":"max","delay":5,"max_future":null,"future":"accept"},"late":{"by":"window","allowed_lateness":20,"to":"dead_letters"},"measures":[{"name":"total","op":"sum","field":["v"]},{"name":"squares","op":"squares","field":["v"]}],"kept":[{"name":"list","what":{"list":{"most":3}},"field":["v"]}],"panes":{"trigger":{"after_watermark":{"early":{"after_count":{"count":2}},"late":{"after_count":{"count":1}}}},"accumulation":"retracting","timestamp":"earliest","timestamp_shift":0,"on_time":"always","closing":"always","flush_on_expiry":true,"bundle":"record","open_max":100},"limits":{"record_bytes":4096,"key_bytes":64,"dead_letter_bytes":128}}"#,
    r#"{"v":1,"policy":"fixed","input":{"format":"json","time":{"field":["ts"],"unit":"ms","unit_check":false},"arrival":null,"key":[["k"],["n"]],"source":null},"window":{"fixed":{"size":10,"offset":3}},"watermark":{"strategy":"given","delay":0,"max_future":100,"future":"clamp"},"late":{"by":"window","allowed_lateness":5,"to":"table"},"measures":[{"name":"events","op":"count","field":null},{"name":"least","op":"min","field":["v"]},{"name":"most","op":"max","field":["v"]}],"panes":{"trigger":{"repeatedly":{"trigger":{"after_any":{"triggers":[{"after_each":{"triggers":[{"after_count":{"count":1}},{"every_event_time":{"period_ms":4}}]}},{"after_processing_time":{"delay_ms":5,"align_ms":4,"align_offset_ms":1}}]}}}},"accumulation":"accumulating","timestamp":"latest","timestamp_shift":1,"on_time":"if_non_empty","closing":"if_non_empty","flush_on_expiry":false,"bundle":"frame","open_max":50},"limits":{"record_bytes":4096,"key_bytes":64,"dead_letter_bytes":128}}"#,
    r#"{"v":1,"policy":"global","input":{"format":"json","time":{"field":["at"],"unit":"rfc3339","unit_check":true},"arrival":{"field":["ts"],"unit":"s","unit_check":true},"key":[["k"]],"source":null},"window":"global","watermark":{"strategy":"arrival","delay":0,"max_future":null,"future":"quarantine"},"late":{"by":"window","allowed_lateness":0,"to":"drop"},"measures":[{"name":"n","op":"count","field":["v","w"]}],"kept":[{"name":"first","what":"first","field":["a"]},{"name":"last","what":"last","field":["b"]},{"name":"different","what":"distinct","field":["a"]},{"name":"median","what":{"quantile":{"q_milli":500}},"field":["b"]},{"name":"top","what":{"top_k":{"k":2}},"field":["a"]}],"panes":{"trigger":{"or_finally":{"main":{"repeatedly":{"trigger":{"after_count":{"count":2}}}},"until":{"after_count":{"count":5}}}},"accumulation":"discarding","timestamp":"end_of_window","timestamp_shift":0,"on_time":"always","closing":"always","flush_on_expiry":true,"bundle":"record","open_max":10},"limits":{"record_bytes":4096,"key_bytes":64,"dead_letter_bytes":128}}"#,
];

fn policy(data: &[u8]) -> Option<(Policy, &[u8])> {
    let (first, rest) = data.split_first()?;
    let text = POLICIES[usize::from(*first) % POLICIES.len()];
    Some((Policy::from_canonical(text.as_bytes()).expect("a policy in canonical form"), rest))
}

fn apply(engine: &mut Engine, frames: &[u8]) -> bool {
    let mut buf = frames.to_vec();
    buf.resize(frames.len() + PADDING, 0);
    engine.apply(&buf, frames.len()).is_ok()
}

/// Panes, snapshot and effects of an engine can be read, and the restored one says the same.
fn says_what_it_holds(mut engine: Engine) {
    let mut out = Vec::new();
    engine.panes(&mut out);
    panes::decode(&out).expect("panes that an engine wrote");
    let mut saved = Vec::new();
    engine.snapshot(&mut saved);
    let mut restored = Engine::restore(engine.policy().clone(), &saved).expect("a snapshot that an engine wrote");
    let flush = |engine: &mut Engine| {
        let mut out = Vec::new();
        engine.flush(FlushMode::Drain, &mut out);
        out
    };
    let told = flush(&mut engine);
    effects::decode(&told).expect("effects that an engine wrote");
    assert_eq!(told, flush(&mut restored), "a restored engine is the saved one");
}

/// A policy as people write it, and as the engine reads it.
pub fn policy_text(data: &[u8]) {
    if let Ok(policy) = Policy::from_canonical(data) {
        assert_eq!(policy.canonical(), data, "one policy, one form");
    }
    let Ok(text) = core::str::from_utf8(data) else { return };
    for syntax in [Syntax::Toml, Syntax::Json] {
        match parse(text, syntax) {
            Ok(policy) => {
                assert_eq!(Policy::from_canonical(policy.canonical()).as_ref(), Ok(&policy), "its form is the policy");
                assert!(!explain(&policy).is_empty());
                Engine::new(policy);
            }
            Err(findings) => assert!(!findings.to_string().is_empty()),
        }
    }
}

/// Lines of records.
pub fn records(data: &[u8]) {
    let Some((policy, text)) = policy(data) else { return };
    let mut engine = Engine::new(policy);
    let mut frames = Vec::new();
    frame::push(&mut frames, Kind::Lines, 0, Some(ArrivalTime::from_millis(40)), text);
    assert!(apply(&mut engine, &frames));
    frames.clear();
    for (ordinal, line) in (1 << 32..).zip(text.split(|b| *b == b'\n')) {
        frame::push(&mut frames, Kind::Record, ordinal, None, line);
    }
    assert!(apply(&mut engine, &frames));
    says_what_it_holds(engine);
}

/// Frames: they are taken as a whole or not at all.
pub fn frames(data: &[u8]) {
    let Some((policy, frames)) = policy(data) else { return };
    let mut engine = Engine::new(policy);
    if !apply(&mut engine, frames) {
        assert!(engine.pending() == 0 && engine.held().is_empty());
    }
    // Dead letters come back in the order of the source's numbers, which bytes need not have.
    if ascending(frames) {
        says_what_it_holds(engine);
    }
}

/// Whether the records' numbers ascend, as a source's do.
fn ascending(frames: &[u8]) -> bool {
    let (mut next, mut at) = (0, 0);
    while let Ok(f) = frame::read(frames, at) {
        let lines = frames[f.from..f.to].split(|b| *b == b'\n').count() as u64;
        let Some(end) = f.ordinal.checked_add(lines).filter(|_| f.ordinal >= next) else { return false };
        (next, at) = (end, f.to);
    }
    true
}

/// A snapshot whose digest, lengths and checksums are made right; the engine goes on with what is taken.
pub fn snapshots(data: &[u8]) {
    let Some((policy, rest)) = policy(data) else { return };
    let mut bytes = rest.to_vec();
    if bytes.len() < 48 {
        assert!(Engine::restore(policy, &bytes).is_err());
        return;
    }
    bytes[16..48].copy_from_slice(policy.digest());
    if let Some(at) = bytes.windows(4).position(|w| w == b"PLE1")
        && let Some(len) = bytes.get(at + 4..at + 8).and_then(|len| len.try_into().ok()).map(u32::from_le_bytes)
        && let end = at.saturating_add(len as usize)
        && len >= 12
        && end <= bytes.len()
    {
        let sum = crc32fast::hash(&bytes[at + 12..end]);
        bytes[at + 8..at + 12].copy_from_slice(&sum.to_le_bytes());
    }
    let len = bytes.len() as u32;
    bytes[8..12].copy_from_slice(&len.to_le_bytes());
    let sum = crc32fast::hash(&bytes[16..]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    let Ok(mut engine) = Engine::restore(policy, &bytes) else { return };
    let mut frames = Vec::new();
    let text = br#"{"k":"a","n":1,"ts":20,"at":"2026-11-23T19:02:13Z","v":{"w":1},"a":1,"b":2,"gap":4}
{"k":"a","n":1,"ts":20,"v":7,"gap":4}
{"k":"b","n":2,"ts":-4,"v":-7,"gap":0}"#;
    // Behind the last of those that it may hold.
    frame::push(&mut frames, Kind::Lines, u64::MAX - 9, Some(ArrivalTime::from_millis(9)), text);
    frame::push(&mut frames, Kind::Tick, 0, Some(ArrivalTime::from_millis(i64::MAX)), b"");
    frame::push(&mut frames, Kind::Watermark, 0, Some(ArrivalTime::from_millis(1 << 50)), b"");
    assert!(apply(&mut engine, &frames));
    let mut out = Vec::new();
    engine.panes(&mut out);
    panes::decode(&out).expect("panes that an engine wrote");
    engine.flush(FlushMode::Drain, &mut out);
}

/// Panes and effects: what is read has one encoding.
pub fn panes(data: &[u8]) {
    let mut bytes = data.to_vec();
    if bytes.len() >= 12 {
        let len = bytes.len() as u32;
        bytes[4..8].copy_from_slice(&len.to_le_bytes());
        let sum = crc32fast::hash(&bytes[12..]);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    }
    let mut again = Vec::new();
    if let Ok(read) = panes::decode(&bytes) {
        panes::encode(&read, &mut again);
        assert_eq!(again, bytes, "one content, one encoding");
    } else if let Ok(read) = effects::decode(&bytes) {
        effects::encode(&read, &mut again);
        assert_eq!(again, bytes, "one content, one encoding");
    }
}

/// A file of scenarios: whatever it says, each of them has a verdict, and another run has the same.
pub fn scenarios(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    let run = |everywhere| run_file(text, &mut Native::default(), Options::default().snapshots_everywhere(everywhere));
    match (run(false), run(true)) {
        (Ok(once), Ok(restored)) => assert_eq!(once, restored, "snapshots between the steps do not show"),
        (Err(once), Err(restored)) => assert_eq!(once.to_string(), restored.to_string()),
        (once, restored) => panic!("{once:?}, but {restored:?} with snapshots"),
    }
}
