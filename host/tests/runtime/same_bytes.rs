//! The module and the native engine are the same engine: equal effects, snapshots and refusals, byte for byte.

use plimsoll::runtime::native::NativeEngines;
use plimsoll::runtime::wasm::{Modules, Settings, WasmEngines};
use plimsoll::runtime::{Engine, EngineError, Engines, Flush};
use plimsoll_core::policy::Policy;
use plimsoll_core::time::ArrivalTime;
use plimsoll_core::wire::effects;
use plimsoll_core::wire::frame::{self, Kind};
use rand::{Rng, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::fmt::Write as _;
use std::sync::Arc;

const SEEDS: u64 = 60;
const BATCHES: u64 = 40;

pub fn module() -> WasmEngines {
    let mut settings = Settings::default();
    settings.cache = false;
    Modules::load(Some(crate::built::path()), settings).unwrap_or_else(|e| {
        let cause = std::error::Error::source(&e).map(|s| s.to_string()).unwrap_or_default();
        panic!("{e}: {cause}; a module older than this engine is made anew by `make build`")
    })
}

fn policy(rng: &mut impl Rng) -> Arc<Policy> {
    let mut pick = |choices: &[&str]| choices[rng.random_range(0..choices.len())].to_owned();
    let unit = pick(&["ms", "ms", "s", "rfc3339"]);
    let arrival = pick(&["null", r#"{"field":["at"],"unit":"ms","unit_check":true}"#]);
    let key = pick(&[r#"["k"]"#, r#"["k"],["d","id"]"#]);
    let (size, offset) = (pick(&["1000", "60000", "86400000"]), pick(&["0", "999"]));
    let strategy = pick(&[
        r#""max""#,
        r#""arrival""#,
        r#"{"quantile":{"q_milli":500,"sample":101,"min_sample":3}}"#,
        r#"{"quantile":{"q_milli":900,"sample":8,"min_sample":8}}"#,
    ]);
    let (delay, max_future) = (pick(&["0", "5000", "600000"]), pick(&["null", "0", "60000"]));
    let future = pick(&["quarantine", "clamp", "accept"]);
    let (by, lateness) =
        [("record", "0"), ("window", "0"), ("window", "30000")][pick(&["0", "1", "2"]).parse::<usize>().unwrap()];
    let to = pick(&["table", "drop", "accept"]);
    let text = format!(
        r#"{{"v":1,"policy":"same","input":{{"format":"json","time":{{"field":["ts"],"unit":"{unit}","unit_check":false}},"arrival":{arrival},"key":[{key}],"source":null}},"window":{{"fixed":{{"size":{size},"offset":{offset}}}}},"watermark":{{"strategy":{strategy},"delay":{delay},"max_future":{max_future},"future":"{future}"}},"late":{{"by":"{by}","allowed_lateness":{lateness},"to":"{to}"}},"measures":[{{"name":"events","op":"count","field":null}},{{"name":"total","op":"sum","field":["n"]}},{{"name":"least","op":"min","field":["n"]}},{{"name":"most","op":"max","field":["d","m"]}}],"limits":{{"record_bytes":300,"key_bytes":40,"dead_letter_bytes":50}}}}"#
    );
    Arc::new(Policy::from_canonical(text.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{text}")))
}

/// A record: mostly one that counts, now and then any of the ways in which it may not.
fn push_record(rng: &mut impl Rng, now: i64, out: &mut String) {
    let ts = now + rng.random_range(-90_000..20_000);
    let time = match rng.random_range(0..12) {
        0 => format!("{}", ts / 1000),
        1 => "\"2026-11-23T19:02:13.250Z\"".into(),
        2 => "\"yesterday\"".into(),
        3 => format!("{ts}.5"),
        _ => format!("{ts}"),
    };
    let key = match rng.random_range(0..20) {
        0 => "null".into(),
        1 => format!("\"{}\"", "long".repeat(20)),
        2 => "\"\\u00e9\\ud83d\\ude00\\n\"".into(),
        3 => format!("{}", rng.random::<i64>()),
        _ => format!("\"p-{}\"", rng.random_range(0..30)),
    };
    let n = match rng.random_range(0..10) {
        0 => "null".into(),
        1 => format!("{}", rng.random::<i64>()),
        2 => "1e3".into(),
        _ => format!("{}", rng.random_range(-50..50)),
    };
    let (id, m, at) = (rng.random_range(0..3), rng.random_range(-9..9), now - rng.random_range(0..3_000));
    let deep = rng.random_range(0..40);
    match rng.random_range(0..40) {
        0 => out.push_str("not json"),
        1 => {}
        2 => write!(out, "{{\"ts\":{time},\"ts\":1}}").unwrap(),
        3 => write!(out, "{{\"ts\":{time},\"k\":{key},\"x\":{}{}}}", "[".repeat(deep), "]".repeat(deep)).unwrap(),
        4 => write!(out, "{{\"ts\":{time},\"k\":{key}").unwrap(),
        5 => write!(out, "{{ \"pad\" : \"{}\", \"ts\":{time},\"k\":{key} }}", "x".repeat(deep * 10)).unwrap(),
        6 => {
            write!(out, "{{\"at\":{at},\"n\":{n},\"d\":{{\"m\":{m},\"id\":{id}}},\"k\":{key},\"ts\":{time}}}").unwrap()
        }
        _ => {
            write!(out, "{{\"ts\":{time},\"k\":{key},\"d\":{{\"id\":{id},\"m\":{m}}},\"n\":{n},\"at\":{at}}}").unwrap()
        }
    }
}

/// Frames of some records; now and then bytes that are none.
fn batch(rng: &mut impl Rng, ordinal: &mut u64, now: &mut i64) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..rng.random_range(0..6) {
        *now += rng.random_range(0..5_000);
        let arrival = rng.random_bool(0.8).then(|| ArrivalTime::from_millis(*now));
        let mut text = String::new();
        let kind = [Kind::Lines, Kind::Lines, Kind::Record, Kind::Oversize][rng.random_range(0..4)];
        let records = if kind == Kind::Lines { rng.random_range(0..40) } else { 1 };
        for _ in 0..records {
            push_record(rng, *now, &mut text);
            if kind == Kind::Lines {
                text.push('\n');
            }
        }
        frame::push(&mut out, kind, *ordinal, arrival, text.as_bytes());
        *ordinal += records;
    }
    if !out.is_empty() && rng.random_range(0..15) == 0 {
        // Kind, flags, length; ordinals must increase and are left alone.
        let at = rng.random_range(0..8);
        out[at] ^= 1 << rng.random_range(0..8);
    }
    out
}

fn said(answer: Result<(), EngineError>) -> Option<(i32, String)> {
    match answer {
        Ok(()) => None,
        Err(EngineError::Refused { status, detail }) => Some((status, detail)),
        Err(e) => panic!("{e}"),
    }
}

/// The frames, put into more room than they need.
fn filled(engine: &mut dyn Engine, frames: &[u8]) -> Result<(), EngineError> {
    engine.apply_filled(frames.len() + 1_000, &mut |place| {
        place.fill(b'{');
        place[..frames.len()].copy_from_slice(frames);
        frames.len()
    })
}

#[test]
fn native_and_module_give_the_same_bytes() {
    let module = module();
    let (mut records, mut refused, mut restored) = (0, 0, 0);
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let policy = policy(&mut rng);
        let mut engines: [Box<dyn Engine>; 2] =
            [NativeEngines.open(&policy, None).unwrap(), module.open(&policy, None).unwrap()];
        let (mut ordinal, mut now) = (1, 1_700_000_000_000);
        for number in 0..BATCHES {
            let frames = batch(&mut rng, &mut ordinal, &mut now);
            let flush = [Some(Flush::All), Some(Flush::Final), None][rng.random_range(0..3)];
            let restore = rng.random_range(0..5);
            let [native, wasm] = engines.each_mut().map(|engine| {
                let said = said(if number % 2 == 0 { engine.apply(&frames) } else { filled(&mut **engine, &frames) });
                let pending = engine.pending().unwrap();
                let (mut out, mut state) = (Vec::new(), Vec::new());
                if let Some(mode) = flush {
                    engine.flush(mode, &mut out).unwrap();
                }
                engine.snapshot(&mut state).unwrap();
                (said, pending, out, state)
            });
            assert_eq!(native, wasm, "seed {seed}, batch {number}");
            refused += u64::from(native.0.is_some());
            if flush.is_some() {
                records += effects::decode(&native.2).unwrap().account.read;
            }
            if restore == 0 {
                // Both sides' bytes serve the other side: they are equal.
                let metered = rng.random_bool(0.3);
                engines[0] = NativeEngines.open(&policy, Some(&wasm.3)).unwrap();
                engines[1] = if metered {
                    module.open_metered(&policy, Some(&native.3)).unwrap()
                } else {
                    module.open(&policy, Some(&native.3)).unwrap()
                };
                restored += 1;
            }
        }
    }
    assert!(
        records > 20_000 && refused > 20 && restored > 200,
        "{records} records, {refused} refused, {restored} restored"
    );
}

#[test]
fn both_refuse_a_snapshot_that_is_not_theirs_with_the_same_words() {
    let module = module();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (a, mut b) = (policy(&mut rng), policy(&mut rng));
    while a.digest() == b.digest() {
        b = policy(&mut rng);
    }
    let mut state = Vec::new();
    NativeEngines.open(&a, None).unwrap().snapshot(&mut state).unwrap();
    for (policy, bytes) in [(&b, &state[..]), (&a, &state[1..]), (&a, &[][..]), (&a, &state[..state.len() - 1])] {
        let [native, wasm] = [&NativeEngines as &dyn Engines, &module]
            .map(|engines| said(engines.open(policy, Some(bytes)).map(drop)).expect("a refusal"));
        assert_eq!(native, wasm);
        assert_eq!(native.0, 4);
    }
}

#[test]
fn a_module_of_the_size_of_a_batch_takes_many_sizes() {
    let module = module();
    let policy = policy(&mut ChaCha8Rng::seed_from_u64(2));
    let mut engines = [NativeEngines.open(&policy, None).unwrap(), module.open(&policy, None).unwrap()];
    let line = "{\"ts\":1700000000000,\"k\":\"a\",\"d\":{\"id\":1,\"m\":2},\"n\":1,\"at\":1700000000000}\n";
    for lines in [1, 100_000, 10, 0, 300_000, 1] {
        let mut frames = Vec::new();
        frame::push(&mut frames, Kind::Lines, 1, None, line.repeat(lines).as_bytes());
        let [native, wasm] = engines.each_mut().map(|engine| {
            let mut out = Vec::new();
            engine.apply(&frames).unwrap();
            engine.apply_filled(1 << 20, &mut |_| 0).unwrap();
            engine.flush(Flush::All, &mut out).unwrap();
            out
        });
        assert_eq!(native, wasm, "{lines} lines");
        assert_eq!(effects::decode(&wasm).unwrap().account.read, lines as u64);
    }
}
