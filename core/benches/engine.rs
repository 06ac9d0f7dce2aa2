//! The engine natively on the records of workload W1 (`ad impressions`): decode, watermark, window, aggregate, flush.
//!
//! Figures are records per second on this machine in this run; compare ratios only.

use divan::counter::ItemsCount;
use plimsoll_core::engine::{Engine, FlushMode};
use plimsoll_core::json::PADDING;
use plimsoll_core::policy::Policy;
use plimsoll_core::policy::text::{Syntax, parse};
use plimsoll_core::wire::frame::{self, Kind};

const RECORDS: u64 = 200_000;
const FRAME_BYTES: usize = 1 << 20;

fn main() {
    divan::main();
}

fn policy(watermark: &str) -> Policy {
    let text = format!(
        r#"policy = "w1"
[input]
time = {{ field = "ts", unit = "ms" }}
key = ["placement", "creative"]
[window]
fixed = "1m"
[watermark]
{watermark}
delay = "10m"
[late]
by = "window"
[measures]
count = "count"
impressions = {{ sum = "impressions" }}
watch_ms = {{ sum = "watch_ms" }}
"#
    );
    parse(&text, Syntax::Toml).unwrap_or_else(|e| panic!("{e}"))
}

/// Buffers of one frame each, padded.
fn frames() -> Vec<(Vec<u8>, usize)> {
    let mut out = Vec::new();
    let mut buf = Vec::new();
    let mut head = None;
    // splitmix64: the bench needs spread, not quality.
    let mut state = 1u64;
    let mut below = |n: u64| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    };
    for i in 0..RECORDS {
        let at = *head.get_or_insert_with(|| frame::begin(&mut buf, Kind::Lines, i, None));
        // Squaring a uniform number favours small ones, as Zipf's law does.
        let (u, ts) = (below(64), 1_700_000_040_000 + i / 5 - below(90_001));
        let pair = u * u * 4_000 / 4_096 + below(4_000 / 64);
        let line = format!(
            "{{\"device\":\"d-{:05}\",\"placement\":\"p-{:03}\",\"creative\":\"c-{:04}\",\"ts\":{ts},\"impressions\":{},\"watch_ms\":{}}}\n",
            below(15_000),
            pair / 20,
            pair,
            below(5) + 1,
            below(30_001)
        );
        buf.extend_from_slice(line.as_bytes());
        if buf.len() > FRAME_BYTES || i + 1 == RECORDS {
            frame::finish(&mut buf, at);
            head = None;
            let len = buf.len();
            buf.resize(len + PADDING, 0);
            out.push((core::mem::take(&mut buf), len));
        }
    }
    out
}

fn run(bencher: divan::Bencher, policy: Policy, flush: FlushMode) {
    let frames = frames();
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        let mut engine = Engine::new(policy.clone());
        let mut out = Vec::new();
        for (buf, len) in &frames {
            engine.apply(buf, *len).unwrap();
            out.clear();
            engine.flush(flush, &mut out);
        }
        engine.flush(FlushMode::All, &mut out);
        out.len()
    });
}

#[divan::bench]
fn w1_max_final_rows(bencher: divan::Bencher) {
    run(bencher, policy("max = true"), FlushMode::Final);
}

#[divan::bench]
fn w1_median_final_rows(bencher: divan::Bencher) {
    run(bencher, policy("quantile = 0.5"), FlushMode::Final);
}

#[divan::bench]
fn w1_max_delta_rows(bencher: divan::Bencher) {
    run(bencher, policy("max = true"), FlushMode::All);
}
