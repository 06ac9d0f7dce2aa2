//! Ad impressions of honest devices in which a few clocks lie: up to a day ahead.
//!
//! The arrival rate swings between 167 and 10,000 a second; 98.9 % of the events are up to 90 s old as they arrive, 1 % up
//! to an hour, and of one in a thousand the clock runs 1 s to 24 h ahead.
//!
//! Invariants
//! - The same seed gives the same events on every machine.
//!
//! Not here: any other trouble (`records`).

use crate::oracle::{LateBy, LateTo, Measure, Query, Strategy};
use crate::records::{Arrivals, START_MS};
use crate::seed;
use rand::RngExt;
use std::fmt::Write as _;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Impression {
    /// When it arrived.
    pub arrival: i64,
    /// When its device says it happened.
    pub time: i64,
    /// Whether that device's clock runs ahead.
    pub lies: bool,
    pair: u32,
    device: u32,
    impressions: u32,
    watch_ms: u32,
}

/// So many events in the order of their arrival, of which one in a thousand lies.
pub fn impressions(seed: u64, count: usize) -> Vec<Impression> {
    let mut random = seed::generator(seed);
    let (mut out, mut second) = (Vec::with_capacity(count), 0_i64);
    while out.len() < count {
        let phase = std::f64::consts::TAU * second as f64 / 3600.0;
        let rate = (167.0_f64.ln() + (10_000.0_f64 / 167.0).ln() * (1.0 - phase.cos()) / 2.0).exp() as i64;
        for nth in 0..rate.min((count - out.len()) as i64) {
            let arrival = START_MS + second * 1000 + nth * 1000 / rate;
            let kind = random.random_range(0..1000);
            let age = match kind {
                0..10 => random.random_range(MINUTE_MS..60 * MINUTE_MS),
                10 => -random.random_range(1000..DAY_MS),
                _ => random.random_range(0..=90_000),
            };
            // Ranks by the inverse of Zipf's law for 4,000 pairs.
            let pair = (4000.0_f64.powf(random.random::<f64>()) as u32).min(3999);
            let (device, impressions) = (random.random_range(0..15_000), random.random_range(1..6));
            let watch_ms = random.random_range(0..30_001);
            out.push(Impression {
                arrival,
                time: arrival - age,
                lies: kind == 10,
                pair,
                device,
                impressions,
                watch_ms,
            });
        }
        second += 1;
    }
    out
}

/// Events as NDJSON.
pub fn ndjson<'a>(events: impl IntoIterator<Item = &'a Impression>, arrivals: Arrivals) -> Vec<u8> {
    let mut out = String::new();
    for e in events {
        let Impression { device, pair, time, impressions, watch_ms, .. } = e;
        write!(
            out,
            r#"{{"device":"d-{device:05}","placement":"p-{:03}","creative":"c-{pair:04}","ts":{time},"impressions":{impressions},"watch_ms":{watch_ms}"#,
            pair / 20
        )
        .expect("text takes all");
        if arrivals == Arrivals::Field {
            write!(out, r#","arr":{}"#, e.arrival).expect("text takes all");
        }
        out.push_str("}\n");
    }
    out.into_bytes()
}

/// The policy of these events with everything about time left at its default.
pub fn policy(arrivals: Arrivals, watermark: &str) -> String {
    let arrival = match arrivals {
        Arrivals::Field => "arrival = { field = \"arr\", unit = \"ms\" }\n",
        Arrivals::Outside => "",
    };
    format!(
        r#"policy = "w1"

[input]
time = {{ field = "ts", unit = "ms" }}
{arrival}key  = ["placement", "creative"]

[window]
fixed = "1m"

{watermark}
[measures]
events      = "count"
impressions = {{ sum = "impressions" }}
watch_ms    = {{ sum = "watch_ms" }}
"#
    )
}

/// The same for the judge.
pub fn query(arrivals: Arrivals, strategy: Strategy) -> Query {
    Query {
        time: "ts".into(),
        arrival: (arrivals == Arrivals::Field).then(|| "arr".into()),
        key: vec!["placement".into(), "creative".into()],
        window_ms: MINUTE_MS,
        strategy,
        delay_ms: 10 * MINUTE_MS,
        max_future_ms: 5 * MINUTE_MS,
        late_by: LateBy::Record,
        late_to: LateTo::Table,
        measures: vec![
            ("events".into(), Measure::Count),
            ("impressions".into(), Measure::Sum("impressions".into())),
            ("watch_ms".into(), Measure::Sum("watch_ms".into())),
        ],
    }
}
