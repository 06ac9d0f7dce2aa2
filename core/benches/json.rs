//! Decoding of ad impressions (113 bytes a record, five of six fields wanted), beside serde_json.
//!
//! `cargo bench -p plimsoll-core --bench json`. Read the column for items per second; on a shared machine, compare within
//! one run only.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use plimsoll_core::json::{Framing, PADDING, Scanner, Slot};
use serde::Deserialize;
use std::borrow::Cow;

const RECORDS: u64 = 2_000;
const WANTED: [[&str; 1]; 5] = [["placement"], ["creative"], ["ts"], ["impressions"], ["watch_ms"]];

fn main() {
    divan::main();
}

/// How a producer writes its records.
#[derive(Clone, Copy, Debug)]
enum Style {
    /// The same order, no white space.
    Fixed,
    /// Two producers whose orders have nothing in common, record by record.
    TwoOrders,
    /// `", "` and `": "` as Python's json writes them.
    Spaced,
    /// A quarter of the records lacks a field in the middle, a quarter has one more.
    Optional,
    /// Another order for each record.
    AnyOrder,
}

const STYLES: [Style; 5] = [Style::Fixed, Style::TwoOrders, Style::Spaced, Style::Optional, Style::AnyOrder];

/// NDJSON as the shared workload has it, and where its data ends.
fn records(style: Style) -> (Vec<u8>, usize) {
    let mut state = 1u64;
    let mut below = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut out = String::new();
    for _ in 0..RECORDS {
        let creative = below(4_000);
        let mut fields = vec![
            format!("\"device\":\"d-{:05}\"", below(15_000)),
            format!("\"placement\":\"p-{:03}\"", creative / 20),
            format!("\"creative\":\"c-{creative:04}\""),
            format!("\"ts\":{}", 1_700_000_000_000 + below(10_000_000)),
            format!("\"impressions\":{}", 1 + below(5)),
            format!("\"watch_ms\":{}", below(30_001)),
        ];
        let mut comma = ",";
        match style {
            Style::Fixed => {}
            Style::TwoOrders if below(2) == 0 => fields.reverse(),
            Style::TwoOrders => {}
            Style::Spaced => {
                fields.iter_mut().for_each(|field| *field = field.replace("\":", "\": "));
                comma = ", ";
            }
            Style::Optional => match below(4) {
                0 => drop(fields.remove(4)),
                1 => fields.insert(4, "\"muted\":true".into()),
                _ => {}
            },
            Style::AnyOrder => (1..6).for_each(|i| fields.swap(i, below(i as u64 + 1) as usize)),
        }
        out += &format!("{{{}}}\n", fields.join(comma));
    }
    let mut buf = out.into_bytes();
    let end = buf.len();
    buf.resize(end + PADDING, 0);
    (buf, end)
}

#[divan::bench(args = STYLES)]
fn scanner(bencher: Bencher, style: Style) {
    let (buf, end) = records(style);
    let mut scanner = Scanner::new(&WANTED);
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        let mut slots = [Slot::Missing; 5];
        let mut at = 0;
        while at < end {
            at = scanner.scan(&buf, at, end, Framing::Line, &mut slots).unwrap();
            black_box(&slots);
        }
    });
}

/// What one would write without a scanner: borrowed where possible, other fields skipped.
#[derive(Deserialize)]
struct Impression<'a> {
    #[serde(borrow)]
    placement: Cow<'a, str>,
    #[serde(borrow)]
    creative: Cow<'a, str>,
    ts: i64,
    impressions: Option<i64>,
    watch_ms: i64,
}

#[divan::bench(args = STYLES)]
fn serde_json(bencher: Bencher, style: Style) {
    let (buf, end) = records(style);
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        for line in buf[..end].split_inclusive(|byte| *byte == b'\n') {
            let record: Impression = serde_json::from_slice(line).unwrap();
            black_box((&record.placement, &record.creative, record.ts, record.impressions, record.watch_ms));
        }
    });
}
