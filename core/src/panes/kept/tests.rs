//! What the estimates promise: exact while small, errors within what is stated, no order, bytes that come back.

use super::distinct::{Distinct, EXACT_MAX};
use super::quantile::BUCKETS_MAX;
use super::top::TEXT_BYTES_MAX;
use super::*;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use proptest::prelude::*;

const T: EventTime = EventTime::from_millis(0);
const MEDIAN: Keep = Keep::Quantile { q_milli: 500 };
const TOP: Keep = Keep::TopK { k: 10 };
const ESTIMATES: [Keep; 3] = [Keep::Distinct, MEDIAN, TOP];

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

fn of(keep: Keep, values: &[i64]) -> Kept {
    let mut kept = Kept::new(keep);
    values.iter().for_each(|v| kept.add(T, v.to_string().as_bytes()));
    kept
}

fn bytes(kept: &Kept) -> Vec<u8> {
    let mut out = Vec::new();
    kept.write(&mut out);
    out
}

fn read(keep: Keep, bytes: &[u8]) -> Result<Kept, WireError> {
    let mut c = Cursor::new(bytes, "test");
    let kept = Kept::read(keep, &mut c)?;
    c.end().map(|()| kept)
}

fn estimate(kept: &Kept) -> i128 {
    match kept.output() {
        KeptValue::Estimate(n) => n,
        other => panic!("no estimate: {other:?}"),
    }
}

fn top(kept: &Kept) -> Vec<(String, u64)> {
    match kept.output() {
        KeptValue::Top(top) => top.into_iter().map(|(text, n)| (String::from_utf8(text).unwrap(), n)).collect(),
        other => panic!("no top: {other:?}"),
    }
}

/// The values cut into parts, which are merged as a random tree.
fn merged(keep: Keep, values: &[i64], random: &mut Random) -> Kept {
    let mut parts = Vec::new();
    let mut rest = values;
    while !rest.is_empty() {
        let (part, more) = rest.split_at(1 + random.below(rest.len() as u64) as usize);
        parts.push(of(keep, part));
        rest = more;
    }
    while parts.len() > 1 {
        let at = random.below(parts.len() as u64 - 1) as usize;
        let right = parts.remove(at + 1);
        parts[at].merge(&right);
    }
    parts.pop().unwrap_or_else(|| Kept::new(keep))
}

fn shuffled(values: &[i64], random: &mut Random) -> Vec<i64> {
    let mut all = values.to_vec();
    for i in (1..all.len()).rev() {
        all.swap(i, random.below(i as u64 + 1) as usize);
    }
    all
}

/// 100,000 values each: even, small, skewed, close together but far from zero, over all 64 bits, ascending.
fn distributions() -> Vec<(&'static str, Vec<i64>)> {
    let mut r = Random(7);
    let mut draw = |f: &mut dyn FnMut(&mut Random, i64) -> i64| (0..100_000).map(|i| f(&mut r, i)).collect();
    vec![
        ("even", draw(&mut |r, _| r.below(1 << 32) as i64)),
        ("small", draw(&mut |r, _| r.below(100) as i64)),
        ("skewed", draw(&mut |r, _| 1_000_000 / (1 + r.below(1_000_000) as i64))),
        ("times", draw(&mut |r, _| 1_700_000_000_000 + r.below(60_000) as i64)),
        ("wide", draw(&mut |r, _| r.next() as i64)),
        ("signs", draw(&mut |r, _| r.below(2_000_001) as i64 - 1_000_000)),
        ("ascending", draw(&mut |_, i| i)),
    ]
}

fn exact_quantile(values: &[i64], q_milli: u32) -> (i64, i64, i128) {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let position = (sorted.len() as i128 - 1) * i128::from(q_milli);
    let low = sorted[(position / 1_000) as usize];
    let high = sorted[((position + 999) / 1_000) as usize];
    let between = (i128::from(high) - i128::from(low)) * (position % 1_000);
    (low, high, i128::from(low) + between.div_euclid(1_000))
}

fn counts(values: &[i64]) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    values.iter().for_each(|v| *all.entry(v.to_string()).or_insert(0) += 1);
    all
}

/// What the docs of `top` promise for k = 10.
fn assert_top_holds(kept: &Kept, values: &[i64], name: &str) {
    let (all, told) = (counts(values), top(kept));
    let most_lost = values.len() as u64 / 1_001;
    for (text, n) in &told {
        let exact = all[text];
        assert!(*n <= exact && exact - n <= most_lost, "{name}: {text} came {exact} times, told {n}");
    }
    let least_told = told.iter().map(|(_, n)| *n).min().filter(|_| told.len() == 10).unwrap_or(0);
    for (text, n) in &all {
        let told = told.iter().any(|(t, _)| t == text);
        assert!(told || n.saturating_sub(most_lost) <= least_told, "{name}: {text} came {n} times and is missing");
    }
    assert!(told.is_sorted_by(|a, b| (b.1, &a.0) < (a.1, &b.0)), "{name}: out of order");
}

#[test]
fn what_has_seen_nothing_says_so() {
    assert_eq!(Kept::new(Keep::Distinct).output(), KeptValue::Estimate(0));
    assert_eq!(Kept::new(MEDIAN).output(), KeptValue::None);
    assert_eq!(Kept::new(TOP).output(), KeptValue::Top(Vec::new()));
}

#[test]
fn few_values_are_exact() {
    let values: Vec<i64> = (0..EXACT_MAX as i64).flat_map(|v| [v * v, v * v]).collect();
    assert_eq!(estimate(&of(Keep::Distinct, &values)), 512);
    let values: Vec<i64> = (0..BUCKETS_MAX as i64).flat_map(|v| [v * 1_000_003, v * 1_000_003]).collect();
    assert_eq!(estimate(&of(MEDIAN, &values)), 1_000_003 * 1_023 + 500_001);
    let values: Vec<i64> = (0..1_000).flat_map(|v| (0..=v).map(move |_| v)).collect();
    let expected: Vec<_> = (0..10).map(|i| ((999 - i).to_string(), 1_000 - i)).collect();
    assert_eq!(top(&of(TOP, &values)), expected);
}

#[test]
fn the_quantile_is_that_of_the_watermarks_sample() {
    for (values, q_milli, expected) in [
        (&[3, 1, 2][..], 500, 2),
        (&[1, 2, 3, 4], 500, 2),
        (&[-3, -2], 500, -3),
        (&[-3, 4], 0, -3),
        (&[-3, 4], 1_000, 4),
        (&[0, 10], 999, 9),
        (&[7], 250, 7),
        (&[i64::MIN, i64::MAX], 500, -1),
    ] {
        assert_eq!(estimate(&of(Keep::Quantile { q_milli }, values)), expected, "{values:?} at {q_milli}");
    }
}

#[test]
fn what_is_no_integer_of_64_bits_is_left_out_of_a_quantile() {
    let mut kept = of(MEDIAN, &[5]);
    for text in [&b"1.5"[..], b"\"7\"", b"true", b"9223372036854775808", b"", b"\xff", b"1e3"] {
        kept.add(T, text);
    }
    assert_eq!(kept, of(MEDIAN, &[5]));
}

#[test]
fn a_top_k_breaks_ties_by_text_and_leaves_long_texts_out() {
    let mut kept = Kept::new(Keep::TopK { k: 2 });
    for text in ["\"c\"", "\"b\"", "\"a\"", "\"c\""] {
        kept.add(T, text.as_bytes());
    }
    for _ in 0..9 {
        kept.add(T, &[b'x'; TEXT_BYTES_MAX + 1]);
    }
    assert_eq!(top(&kept), [("\"c\"".into(), 2), ("\"a\"".into(), 1)]);
}

/// 95 of 100 estimates are within 2 standard errors; of these 60 fixed sets none may be beyond 4, and their mean error
/// must show no bias.
#[test]
fn distinct_counts_keep_their_error() {
    let mut sum = 0.0;
    for (i, n) in [600u64, 1_000, 2_000, 4_000, 8_000, 20_000].into_iter().cycle().take(60).enumerate() {
        let mut kept = Kept::new(Keep::Distinct);
        let mut random = Random(i as u64 + 1);
        (0..n).for_each(|_| kept.add(T, format!("\"{:x}\"", random.next()).as_bytes()));
        let error = estimate(&kept) as f64 / n as f64 - 1.0;
        assert!(error.abs() < 0.065, "set {i}: {n} values told as {}", estimate(&kept));
        sum += error;
    }
    assert!((sum / 60.0).abs() < 0.008, "biased by {}", sum / 60.0);
}

#[test]
fn estimates_keep_their_errors_on_every_distribution() {
    for (name, values) in distributions() {
        let n = counts(&values).len() as f64;
        let told = estimate(&of(Keep::Distinct, &values)) as f64;
        assert!((told / n - 1.0).abs() < 0.05, "{name}: {n} values told as {told}");

        let digits = bytes(&of(MEDIAN, &values))[0];
        let promised = match name {
            "small" => 64,
            "even" => 7,
            "skewed" => 6,
            "times" => 36,
            "wide" => 5,
            _ => 7,
        };
        assert!(digits >= promised, "{name}: {digits} digits");
        for q_milli in [0, 1, 10, 250, 500, 900, 990, 999, 1_000] {
            let told = estimate(&of(Keep::Quantile { q_milli }, &values));
            let (low, high, exact) = exact_quantile(&values, q_milli);
            let most = i128::from(low.unsigned_abs().max(high.unsigned_abs())) >> digits;
            // Rounding down is the 1.
            assert!((told - exact).abs() <= most + 1, "{name} at {q_milli}: {exact} told as {told}");
        }

        assert_top_holds(&of(TOP, &values), &values, name);
    }
}

#[test]
fn no_order_and_no_cut_shows_in_distinct_and_quantile() {
    let mut random = Random(3);
    for (name, values) in distributions() {
        for keep in [Keep::Distinct, MEDIAN] {
            let expected = of(keep, &values);
            let values = shuffled(&values, &mut random);
            assert!(merged(keep, &values, &mut random) == expected, "{name} {keep:?}");
        }
    }
}

#[test]
fn a_top_k_keeps_its_error_however_it_was_cut() {
    let mut random = Random(4);
    for (name, values) in distributions() {
        let values = shuffled(&values, &mut random);
        assert_top_holds(&merged(TOP, &values, &mut random), &values, name);
    }
}

#[test]
fn a_distinct_count_never_falls() {
    let mut kept = Distinct::default();
    let mut last = 0;
    for i in 0..5_000u32 {
        kept.add(&i.to_le_bytes());
        assert!(kept.estimate() >= last, "{last} values, then {}", kept.estimate());
        last = kept.estimate();
    }
}

/// Counters that are all taken, by values that never come again.
#[test]
fn a_flood_of_new_values_does_not_hide_a_frequent_one() {
    let mut values = Vec::new();
    for i in 0..100_000 {
        values.push(if i % 100 == 0 { -1 } else { i });
    }
    let kept = of(TOP, &values);
    assert_top_holds(&kept, &values, "flood");
    assert_eq!(top(&kept)[0].0, "-1");
}

#[test]
fn bytes_are_bounded() {
    for (name, values) in distributions() {
        for (keep, most) in [(Keep::Distinct, 4_200), (MEDIAN, 8_200), (TOP, 30_000)] {
            let len = bytes(&of(keep, &values)).len();
            assert!(len <= most, "{name} {keep:?}: {len} bytes");
        }
    }
}

/// Bytes that were written stay readable, and the same on every machine.
#[test]
fn bytes_do_not_change_between_versions() {
    let values: Vec<i64> = (0..3_000).map(|i| i * i % 7_919 - 2_000).collect();
    let sums = ESTIMATES.map(|keep| crc32fast::hash(&bytes(&of(keep, &values))));
    assert_eq!(sums, [2_316_037_858, 3_449_875_241, 2_088_982_979]);
}

#[test]
fn bytes_that_no_one_wrote_are_refused() {
    let mut many = Vec::from([1, 0]);
    many.resize(2 + 2_048, 0);
    let cases: [(Keep, &[u8]); 16] = [
        (Keep::Distinct, &[2]),
        (Keep::Distinct, &[0, 1, 1, 2, 3]),
        (Keep::Distinct, &[0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
        (Keep::Distinct, &many),
        (Keep::Distinct, &many[..2_000]),
        (MEDIAN, &[4, 0]),
        (MEDIAN, &[65, 0]),
        (MEDIAN, &[64, 1, 2, 0]),
        (MEDIAN, &[64, 2, 2, 1, 0, 1]),
        (MEDIAN, &[64, 255, 255, 255, 255, 15, 2, 1]),
        // The 60th octave of 5 digits is the last: 960 = 60 * 16 would begin another.
        (MEDIAN, &[5, 1, 0x82, 0x0f, 1]),
        (TOP, &[1, 1, b'1', 0]),
        (TOP, &[2, 1, b'1', 1, 1, b'1', 1]),
        (TOP, &[255, 255, 255, 255, 15, 1, b'1', 1]),
        (TOP, &[1, 255, 255, 3, b'1', 1]),
        (TOP, &[]),
    ];
    for (keep, bytes) in cases {
        assert!(read(keep, bytes).is_err(), "{keep:?} {:?}", &bytes[..bytes.len().min(20)]);
    }
    many[2] = 1;
    assert!(read(Keep::Distinct, &many).is_ok());
    many[1] = 53;
    assert!(read(Keep::Distinct, &many).is_err(), "a rank of 54");
}

fn values() -> impl Strategy<Value = Vec<i64>> {
    let value = prop_oneof![any::<i64>(), -50i64..50, 1_700_000_000_000i64..1_700_000_010_000];
    let many = (any::<u64>(), 0..6_000usize, 0..63u32).prop_map(|(seed, n, shift)| {
        let mut random = Random(seed);
        (0..n).map(|_| random.next() as i64 >> shift).collect()
    });
    prop_oneof![proptest::collection::vec(value, 0..200), many]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bytes_come_back(values in values()) {
        for keep in ESTIMATES {
            let kept = of(keep, &values);
            prop_assert!(read(keep, &bytes(&kept)) == Ok(kept.clone()));
            prop_assert_eq!(bytes(&kept), bytes(&of(keep, &values)));
        }
    }

    #[test]
    fn merging_is_associative(values in values(), seed in any::<u64>()) {
        let mut random = Random(seed);
        let shuffled = shuffled(&values, &mut random);
        for keep in [Keep::Distinct, MEDIAN] {
            prop_assert!(merged(keep, &shuffled, &mut random) == of(keep, &values));
        }
        let few: Vec<i64> = values.iter().map(|v| v % 500).collect();
        prop_assert!(merged(TOP, &few, &mut random) == of(TOP, &shuffled.iter().map(|v| v % 500).collect::<Vec<_>>()));
        assert_top_holds(&merged(TOP, &shuffled, &mut random), &values, "random");
    }

    /// Whatever is read without error is what `write` would write, and can be used.
    #[test]
    fn hostile_bytes_are_errors(values in values(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        for keep in ESTIMATES {
            let kept = of(keep, &values);
            let mut hostile = bytes(&kept);
            let at = at.index(hostile.len());
            prop_assert!(read(keep, &hostile[..at]).is_err(), "cut at {}", at);
            hostile[at] = byte;
            if let Ok(mut other) = read(keep, &hostile) {
                prop_assert_eq!(&bytes(&other), &hostile);
                other.merge(&kept);
                other.add(T, b"-9223372036854775808");
                other.output();
            }
        }
    }
}
