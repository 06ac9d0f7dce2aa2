//! The estimates natively: adding a value, merging, telling and writing them.
//!
//! Figures are of this machine in this run; compare ratios only. `few` are values that the estimate still holds exactly,
//! `many` go far beyond that.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use plimsoll_core::panes::Kept;
use plimsoll_core::policy::Keep;
use plimsoll_core::time::EventTime;

const VALUES: u64 = 100_000;
const T: EventTime = EventTime::from_millis(0);
const KEEPS: [(&str, Keep); 4] = [
    ("distinct", Keep::Distinct),
    ("quantile", Keep::Quantile { q_milli: 950 }),
    ("top 10", Keep::TopK { k: 10 }),
    ("top 10,000", Keep::TopK { k: 10_000 }),
];

fn main() {
    divan::main();
}

/// Values whose number shrinks as their frequency grows, about as Zipf's law has it.
fn texts(different: u64) -> Vec<Vec<u8>> {
    let mut state = 1u64;
    // splitmix64: the bench needs spread, not quality.
    let mut random = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let mut draw = || {
        let u = random() % different;
        (u * u / different * 7).to_string().into_bytes()
    };
    (0..VALUES).map(|_| draw()).collect()
}

fn filled(keep: Keep, texts: &[Vec<u8>]) -> Kept {
    let mut kept = Kept::new(keep);
    texts.iter().for_each(|text| kept.add(T, text));
    kept
}

fn named(name: &str) -> Keep {
    KEEPS.iter().find(|(n, _)| *n == name).map(|(_, keep)| *keep).expect("a name of the list")
}

fn names() -> impl Iterator<Item = &'static str> {
    KEEPS.iter().map(|(name, _)| *name)
}

#[divan::bench(args = names(), sample_count = 10)]
fn add_few(bencher: Bencher<'_, '_>, name: &str) {
    let texts = texts(400);
    bencher.counter(ItemsCount::new(VALUES)).bench(|| filled(named(name), black_box(&texts)));
}

#[divan::bench(args = names(), sample_count = 10)]
fn add_many(bencher: Bencher<'_, '_>, name: &str) {
    let texts = texts(1_000_000);
    bencher.counter(ItemsCount::new(VALUES)).bench(|| filled(named(name), black_box(&texts)));
}

#[divan::bench(args = names(), sample_count = 100)]
fn merge_many(bencher: Bencher<'_, '_>, name: &str) {
    let texts = texts(1_000_000);
    let (left, right) = texts.split_at(texts.len() / 2);
    let (left, right) = (filled(named(name), left), filled(named(name), right));
    bencher.with_inputs(|| left.clone()).bench_values(|mut left| {
        left.merge(black_box(&right));
        left
    });
}

#[divan::bench(args = names(), sample_count = 100)]
fn tell_many(bencher: Bencher<'_, '_>, name: &str) {
    let kept = filled(named(name), &texts(1_000_000));
    bencher.bench(|| black_box(&kept).output());
}
