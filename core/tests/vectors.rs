//! The test vectors of ABI 1 (`wasm/vectors/abi1.json`): policies in canonical form, input frames, and the panes, effects and
//! snapshots that must come out, byte for byte. Whoever writes a module or a host checks it against these.
//!
//! Released vectors stay as they are: a change here is a change of the ABI. New ones are written by
//! `UPDATE=1 cargo test --release -p plimsoll-core --test vectors`.

use plimsoll_core::engine::{Engine, FlushMode};
use plimsoll_core::json::PADDING;
use plimsoll_core::policy::Policy;
use plimsoll_core::policy::text::{Syntax, parse};
use plimsoll_core::time::ArrivalTime;
use plimsoll_core::wire::frame::{self, Kind};
use serde_json::{Value, json};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../wasm/vectors/abi1.json");

const MAX: &str = r#"
policy = "vectors"
[input]
time = { field = "ts", unit = "ms" }
key = ["k"]
[window]
fixed = "1m"
[watermark]
max = true
delay = "30s"
[measures]
events = "count"
total = { sum = "v" }
least = { min = "v" }
most = { max = "v" }
"#;

const MEDIAN: &str = r#"
policy = "median"
[input]
time = { field = "at.t", unit = "rfc3339" }
key = ["k", "n"]
[window]
fixed = "10s"
offset = "3s"
[watermark]
quantile = 0.5
sample = 5
min_sample = 3
delay = "1s"
max_future = "5s"
[late]
by = "window"
allowed_lateness = "10s"
[measures]
events = "count"
"#;

/// Canonical, as a host would hand it over: panes early, on time and late, that take back what they said.
const PANES: &str = r#"{"v":1,"policy":"panes","input":{"format":"json","time":{"field":["t"],"unit":"ms","unit_check":false},"arrival":null,"key":[["k"]],"source":null},"window":{"session":{"gap":10,"touching":"separate"}},"watermark":{"strategy":"given","delay":0,"max_future":null,"future":"accept"},"late":{"by":"window","allowed_lateness":20,"to":"dead_letters"},"measures":[{"name":"events","op":"count","field":null},{"name":"total","op":"sum","field":["v"]}],"kept":[{"name":"all","what":{"list":{"most":2}},"field":["v"]},{"name":"latest","what":"last","field":["w"]}],"panes":{"trigger":{"after_watermark":{"early":{"after_any":{"triggers":[{"after_count":{"count":2}},{"after_processing_time":{"delay_ms":5}}]}},"late":{"after_count":{"count":1}}}},"accumulation":"retracting","timestamp":"earliest","timestamp_shift":0,"on_time":"always","closing":"if_non_empty","flush_on_expiry":true,"bundle":"record","open_max":100},"limits":{"record_bytes":1000,"key_bytes":100,"dead_letter_bytes":100}}"#;

/// (kind, ordinal, arrival, payload)
type FrameOf = (Kind, u64, Option<i64>, &'static str);

const T: i64 = 1_700_000_000_000;

fn cases() -> Vec<(&'static str, &'static str, Vec<FrameOf>)> {
    vec![
        ("nothing", MAX, vec![]),
        (
            "lines: main rows, a late row, an empty line, a line that is no JSON",
            MAX,
            vec![(
                Kind::Lines,
                1,
                None,
                "{\"k\":\"a\",\"ts\":1700000000000,\"v\":5}\n\n{\"k\":\"b\\u0041\",\"ts\":1700000095000,\"v\":-7}\nnonsense\n{\"k\":\"a\",\"ts\":1700000001000,\"v\":9223372036854775807}\n",
            )],
        ),
        (
            "records: unknown and known arrival, a clock ahead, a wrong unit, a record too long",
            MEDIAN,
            vec![
                (Kind::Record, 10, Some(T), "{\"k\":\"x\",\"n\":1,\"at\":{\"t\":\"2023-11-14T22:13:20Z\"}}"),
                (Kind::Record, 11, Some(T + 1), "{\"k\":\"x\",\"n\":1,\"at\":{\"t\":\"2023-11-14T22:13:20.001Z\"}}"),
                (Kind::Record, 12, None, "{\"k\":\"\u{e9}\",\"n\":-2,\"at\":{\"t\":\"2023-11-14T23:13:21+01:00\"}}"),
                (Kind::Record, 13, Some(T + 2), "{\"k\":\"x\",\"n\":1,\"at\":{\"t\":\"2023-11-15T22:13:20Z\"}}"),
                (Kind::Record, 14, Some(T + 3), "{\"k\":\"x\",\"n\":1,\"at\":{\"t\":\"2023-11-14T22:12:20Z\"}}"),
                (Kind::Record, 15, Some(T + 4), "{\"k\":\"x\",\"n\":true,\"at\":{\"t\":1700000000}}"),
                (Kind::Oversize, 16, Some(T + 5), "{\"k\":\"x"),
                (Kind::Lines, 17, Some(T + 90_000), ""),
            ],
        ),
        (
            "panes: sessions that merge, early, on time and late, a retraction, a tick, records refused",
            PANES,
            vec![
                (Kind::Tick, 1, Some(100), ""),
                (Kind::Lines, 1, None, "{\"t\":1,\"k\":\"a\",\"v\":3,\"w\":\"x\"}\n{\"t\":15,\"k\":\"a\",\"v\":4}\n"),
                (Kind::Tick, 3, Some(105), ""),
                (Kind::Record, 3, None, "{\"t\":8,\"k\":\"a\",\"v\":-5,\"w\":true}"),
                (Kind::Record, 4, None, "{\"t\":9,\"k\":\"b\",\"v\":null}"),
                (Kind::Watermark, 5, Some(25), ""),
                (Kind::Record, 5, None, "{\"t\":24,\"k\":\"a\",\"v\":9223372036854775807}"),
                (Kind::Watermark, 6, Some(39), ""),
                (Kind::Record, 6, None, "{\"t\":8,\"k\":\"b\",\"v\":1}"),
                (Kind::Record, 7, None, "{\"t\":-9223372036854775808,\"k\":\"b\",\"v\":1}"),
            ],
        ),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn apply(engine: &mut Engine, frames: &[u8]) {
    let mut buf = frames.to_vec();
    buf.resize(frames.len() + PADDING, 0);
    engine.apply(&buf, frames.len()).unwrap();
}

fn make() -> Value {
    let vectors: Vec<Value> = cases()
        .into_iter()
        .map(|(name, text, frames)| {
            let policy = match Policy::from_canonical(text.as_bytes()) {
                Ok(policy) => policy,
                Err(_) => parse(text, Syntax::Toml).unwrap_or_else(|e| panic!("{e}")),
            };
            let mut bytes = Vec::new();
            for (kind, ordinal, arrival, payload) in frames {
                frame::push(&mut bytes, kind, ordinal, arrival.map(ArrivalTime::from_millis), payload.as_bytes());
            }
            let mut engine = Engine::new(policy.clone());
            apply(&mut engine, &bytes);
            let (mut before, mut effects, mut after) = (Vec::new(), Vec::new(), Vec::new());
            engine.snapshot(&mut before);
            let mut panes = Vec::new();
            engine.panes(&mut panes);
            engine.flush(FlushMode::All, &mut effects);
            engine.snapshot(&mut after);
            let mut vector = json!({
                "name": name,
                "policy": String::from_utf8_lossy(policy.canonical()),
                "policy_sha256": hex(policy.digest()),
                "frames": hex(&bytes),
                "snapshot_before_flush": hex(&before),
                "effects": hex(&effects),
                "snapshot": hex(&after),
            });
            if policy.spec().panes.is_some() {
                vector["panes"] = json!(hex(&panes));
            }
            vector
        })
        .collect();
    json!({ "abi": 1, "about": "wasm/ABI.md; bytes in hexadecimal", "vectors": vectors })
}

#[test]
fn the_committed_vectors_are_what_the_engine_does() {
    let made = format!("{:#}\n", make());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(FILE, &made).unwrap();
    }
    let committed = std::fs::read_to_string(FILE).expect("wasm/vectors/abi1.json; write it with UPDATE=1");
    assert!(committed == made, "the engine's bytes are not those of wasm/vectors/abi1.json");
}

#[test]
fn released_snapshots_stay_readable() {
    let file: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    for v in file["vectors"].as_array().unwrap() {
        let policy = Policy::from_canonical(v["policy"].as_str().unwrap().as_bytes()).unwrap();
        let mut engine = Engine::restore(policy, &unhex(v["snapshot_before_flush"].as_str().unwrap())).unwrap();
        let mut effects = Vec::new();
        engine.flush(FlushMode::All, &mut effects);
        assert_eq!(hex(&effects), v["effects"].as_str().unwrap(), "{}", v["name"]);
    }
}

/// What `ABI.md` and `SNAPSHOT.md` draw must be what the code says: the layouts are copied from the code's own comments.
#[test]
fn the_documents_show_the_layouts_of_the_code() {
    let read = |p: &str| std::fs::read_to_string(format!("{}/../{p}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let abi = read("wasm/ABI.md");
    for source in ["core/src/wire/frame.rs", "core/src/wire/effects.rs", "core/src/wire/panes.rs"] {
        let code = read(source);
        let layout = code.split("//! ```text\n").nth(1).and_then(|s| s.split("//! ```").next()).expect("a layout");
        let layout: String =
            layout.lines().map(|l| format!("{}\n", l.trim_start_matches("//!").trim_start_matches(' '))).collect();
        let shown: String = abi.lines().map(|l| format!("{}\n", l.trim_start_matches(' '))).collect();
        assert!(shown.contains(&layout), "wasm/ABI.md does not show the layout of {source}:\n{layout}");
    }
}
