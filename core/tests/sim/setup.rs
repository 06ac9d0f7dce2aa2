//! What one run has: hosts, store, policies. Drawn from the seed.

use super::plan::{MINUTE, SECOND};
use super::random::Random;
use plimsoll_core::lane::{Atomicity, Limits};
use plimsoll_core::policy::Policy;
use plimsoll_core::policy::text::{Syntax, parse};
use std::sync::Arc;

/// How event time is followed; what the oracle has to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    Max,
    Arrival,
    /// The oracle does not recompute it: it only wants every record in a main or a late row.
    Median,
}

pub const WINDOW: i64 = 2 * MINUTE;
pub const MAX_FUTURE: i64 = 5 * MINUTE;

#[derive(Clone)]
pub struct Setup {
    pub hosts: usize,
    pub records: usize,
    /// Most records of a batch.
    pub batch: i64,
    pub atomicity: Atomicity,
    pub limits: Limits,
    pub follow: Follow,
    pub delay: i64,
    /// Late by window, this long after its end; `None`: by record.
    pub lateness: Option<i64>,
    /// The same but for the key, so that their rows never meet.
    pub policies: [Arc<Policy>; 2],
}

impl Setup {
    /// Whether a batch is one request, so that there are few of them.
    pub fn in_transactions(seed: u64) -> bool {
        Random::of(seed, 6).below(20) < 2
    }

    pub fn drawn(seed: u64) -> Self {
        let mut r = Random::of(seed, 2);
        let follow = [Follow::Max, Follow::Arrival, Follow::Median][r.below(3)];
        let delay = r.range(0, 5) * 30 * SECOND;
        let lateness = r.percent(50).then(|| r.range(0, 2) * MINUTE);
        let (atomicity, limits) = match Random::of(seed, 6).below(20) {
            0..2 => (Atomicity::Transaction, Limits::NONE),
            2..9 => (Atomicity::Items, Limits::ITEMS),
            9..14 => (Atomicity::Items, Limits { state_inline: 0, intent_inline: 0, chunk: 128, ..Limits::ITEMS }),
            14..17 => (Atomicity::Items, Limits { intent: 0, ..Limits::ITEMS }),
            _ => (Atomicity::Items, Limits { state_inline: 64, intent_inline: 200, intent: 0, chunk: 128 }),
        };
        // Where a batch is one request, more batches make as many requests.
        let (records, batch) = match atomicity {
            Atomicity::Transaction => (r.range(100, 140), r.range(1, 2)),
            Atomicity::Items => (r.range(60, 100), r.range(2, 6)),
        };
        Self {
            // A host alone may be gone for days with nobody to take over.
            hosts: if r.percent(4) { 1 } else { r.range(2, 3) as usize },
            records: records as usize,
            batch,
            atomicity,
            limits,
            follow,
            delay,
            lateness,
            policies: ["a", "b"].map(|key| Arc::new(policy(key, follow, delay, lateness))),
        }
    }
}

fn policy(key: &str, follow: Follow, delay: i64, lateness: Option<i64>) -> Policy {
    let follow = match follow {
        Follow::Max => "max = true",
        Follow::Arrival => "arrival = true",
        Follow::Median => "quantile = 0.5\nsample = 9\nmin_sample = 3",
    };
    let by = if lateness.is_some() { "window" } else { "record" };
    let lateness = lateness.unwrap_or(0);
    let text = format!(
        r#"
policy = "sim"
[input]
time = {{ field = "ts", unit = "ms", unit_check = false }}
key = ["{key}"]
[window]
fixed = "{WINDOW}ms"
[watermark]
{follow}
delay = "{delay}ms"
max_future = "{MAX_FUTURE}ms"
[late]
by = "{by}"
allowed_lateness = "{lateness}ms"
to = "table"
[measures]
events = "count"
ids = {{ sum = "id" }}
most = {{ max = "id" }}
"#
    );
    parse(&text, Syntax::Toml).unwrap_or_else(|e| panic!("{e}"))
}
