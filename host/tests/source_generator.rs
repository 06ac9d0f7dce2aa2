//! Generated devices: the same bytes for ever, the shares that were asked for, and going on anywhere.

use plimsoll::source::generator::{Devices, GeneratorSource, Record, Records};
use plimsoll::source::produce::to_file;
use plimsoll::source::{Chunk, LaneReader, Next, Position, Source};
use plimsoll_core::wire::frame;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

fn devices(spec: &str) -> Devices {
    Devices::parse(spec).unwrap()
}

fn text(spec: &str, n: usize) -> (Vec<Record>, String) {
    let mut records = Records::new(&devices(spec));
    let mut out = Vec::new();
    let mut found = Vec::with_capacity(n);
    for _ in 0..n {
        found.push(records.next(&mut out));
        out.push(b'\n');
    }
    (found, String::from_utf8(out).unwrap())
}

fn digest(text: &str) -> String {
    Sha256::digest(text)[..8].iter().map(|b| format!("{b:02x}")).collect()
}

/// These bytes never change: files made from a seed are named in tests and benches elsewhere.
#[test]
fn a_seed_gives_the_same_bytes_for_ever() {
    let (_, first) = text("", 200_000);
    let lines: Vec<_> = first.lines().take(3).collect();
    assert_eq!(lines, GOLDEN);
    let (_, other) = text("seed=7,devices=300,rate=10000,late=0.1,offline=0.1,ahead=0.05,behind=0.05", 200_000);
    assert_eq!([digest(&first), digest(&other)], ["dbffa85fc36b10b8", "81e33575e52dce95"]);
}

const GOLDEN: [&str; 3] = [
    r#"{"device":"d-00000","placement":"p-066","creative":"c-1321","ts":1700000039415,"impressions":3,"watch_ms":17461}"#,
    r#"{"device":"d-09271","placement":"p-169","creative":"c-3386","ts":1700000020549,"impressions":4,"watch_ms":6243}"#,
    r#"{"device":"d-03542","placement":"p-083","creative":"c-1666","ts":1700000035225,"impressions":4,"watch_ms":5963}"#,
];

fn share(part: usize, of: usize) -> f64 {
    part as f64 / of as f64
}

#[track_caller]
fn near(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance * expected, "{found} is not {expected} within {tolerance}");
}

#[test]
fn rates_and_troubles_have_the_shares_that_were_asked_for() {
    const N: usize = 2_000_000;
    let (records, text) = text("late=0.05,offline=0.03,ahead=0.02,behind=0.01", N);
    assert!(records.is_sorted_by_key(|r| r.arrival_ms));
    let hours = (records[N - 1].arrival_ms - records[0].arrival_ms) as f64 / 3_600_000.0;
    // 15,000 records in 90 s are 600,000 in an hour; 3 % of them never come.
    near(N as f64 / hours, 600_000.0 * 0.97, 0.01);

    let mut count = BTreeMap::<u64, usize>::new();
    let mut offset = BTreeMap::<u64, i64>::new();
    for r in &records {
        *count.entry(r.device).or_default() += 1;
        // What a clock says of records that came at once: the least difference, delays being positive.
        let ahead = offset.entry(r.device).or_insert(i64::MIN);
        *ahead = (*ahead).max(r.event_ms - r.arrival_ms);
    }
    assert_eq!(count.len(), 15_000);
    near(share(offset.values().filter(|o| **o > 1_000).count(), 15_000), 0.02, 0.15);
    near(share(offset.values().filter(|o| **o < -4_000).count(), 15_000), 0.01, 0.2);
    assert!(offset.values().all(|o| o.abs() <= 86_400_000 + 30_000));
    let honest = |r: &&Record| (-4_000..=1_000).contains(&offset[&r.device]);
    let late = records.iter().filter(honest).filter(|r| r.arrival_ms - r.event_ms > 60_000);
    near(share(late.clone().count(), N), 0.05, 0.1);
    let oldest = late.map(|r| r.arrival_ms - r.event_ms).max().unwrap();
    assert!((40 * 60_000..=46 * 60_000).contains(&oldest), "{oldest} ms");

    let mut pairs = BTreeMap::<&str, usize>::new();
    for line in text.lines() {
        *pairs.entry(line.split("\"creative\":").nth(1).unwrap().split(',').next().unwrap()).or_default() += 1;
    }
    let mut frequencies: Vec<usize> = pairs.into_values().collect();
    frequencies.sort_unstable_by(|a, b| b.cmp(a));
    // The most frequent of 4,000 has 1 / (1 + 1/2 + ... + 1/4000) of all, the second half of that.
    near(share(frequencies[0], N), 0.1127, 0.02);
    near(share(frequencies[1], N), 0.0563, 0.02);
    assert!(frequencies.len() > 3_900);
}

#[test]
fn a_burst_comes_at_once_and_in_the_order_of_its_events() {
    let (records, _) = text("devices=50,late=0.1,offline=0,ahead=0,behind=0,delay=1s", 50_000);
    let mut bursts = 0;
    for pair in records.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        if a.device == b.device {
            bursts += 1;
            assert_eq!(a.arrival_ms, b.arrival_ms);
            assert!((89_000..=91_000).contains(&(b.event_ms - a.event_ms)), "{a:?} {b:?}");
        }
    }
    near(share(bursts, records.len()), 0.1, 0.1);
}

async fn open(source: &GeneratorSource, from: Option<&Position>) -> Box<dyn LaneReader> {
    let lanes = source.lanes().await.unwrap();
    source.open(&lanes[0], from).await.unwrap()
}

/// Payloads, each with a newline, and arrival times.
fn payloads(chunk: &Chunk) -> (String, Vec<i64>) {
    let (mut text, mut arrivals, mut at) = (String::new(), Vec::new(), 0);
    while at < chunk.frames.len() {
        let f = frame::read(&chunk.frames, at).unwrap();
        text += std::str::from_utf8(&chunk.frames[f.from..f.to]).unwrap();
        text.push('\n');
        arrivals.push(f.arrival.unwrap().as_millis());
        let position = chunk.places.find(f.ordinal).unwrap();
        assert_eq!(position.0, format!("generator:{}", f.ordinal + 1));
        at = f.to;
    }
    (text, arrivals)
}

#[tokio::test]
async fn the_source_gives_the_records_and_goes_on_from_any_chunk() {
    let spec = "devices=100,late=0.1,records=5000";
    let (expected, all) = text(spec, 5000);
    let source = GeneratorSource::new(devices(spec));
    assert!(source.finite() && source.carries_arrival() && source.resumable());
    let (mut got, mut arrivals, mut ends) = (String::new(), Vec::new(), Vec::new());
    let mut reader = open(&source, None).await;
    while let Next::Chunk(chunk) = reader.next(10_000).await.unwrap() {
        let (text, times) = payloads(&chunk);
        got += &text;
        arrivals.extend(times);
        ends.push((got.len(), chunk.end));
    }
    assert!(matches!(reader.next(1).await.unwrap(), Next::End));
    assert_eq!(got, all);
    assert_eq!(arrivals, expected.iter().map(|r| r.arrival_ms).collect::<Vec<_>>());
    assert!(ends.len() > 50);
    for (before, end) in &ends {
        let mut reader = open(&source, Some(end)).await;
        let mut rest = String::new();
        while let Next::Chunk(chunk) = reader.next(77_777).await.unwrap() {
            rest += &payloads(&chunk).0;
        }
        assert!(rest == all[*before..], "from {end:?}");
    }
    let other = GeneratorSource::new(devices("seed=2"));
    assert_ne!(other.lanes().await.unwrap(), source.lanes().await.unwrap());
    let e = other.open(&other.lanes().await.unwrap()[0], Some(&ends[0].1)).await.map(|_| ()).unwrap_err();
    assert!(e.to_string().contains("seed 1, expected 2"), "{e}");
}

async fn chunk(reader: &mut dyn LaneReader) -> Option<Chunk> {
    match reader.next(1 << 20).await.unwrap() {
        Next::Chunk(chunk) => Some(chunk),
        Next::Idle => None,
        Next::End => panic!("the stream has no end"),
    }
}

#[tokio::test]
async fn paced_records_come_when_they_are_due() {
    const NOW: i64 = 1_800_000_000_000;
    let time = Arc::new(AtomicI64::new(NOW));
    let clock = Arc::clone(&time);
    let clock = Arc::new(move || clock.load(Ordering::SeqCst));
    // Ten records a second.
    let source = GeneratorSource::with_clock(devices("devices=900,paced=1,late=0,offline=0"), clock.clone());
    assert!(!source.finite());
    let mut reader = open(&source, None).await;
    let first = chunk(reader.as_mut()).await.unwrap();
    assert_eq!(payloads(&first).1, [NOW]);
    assert!(chunk(reader.as_mut()).await.is_none());
    time.fetch_add(1000, Ordering::SeqCst);
    let second = chunk(reader.as_mut()).await.unwrap();
    assert_eq!(payloads(&second).1, (1..=10).map(|i| NOW + i * 100).collect::<Vec<_>>());
    // Stopped for an hour, it catches up.
    time.fetch_add(3_600_000, Ordering::SeqCst);
    let mut reader = open(&source, Some(&second.end)).await;
    let mut missed = 0;
    while let Some(chunk) = chunk(reader.as_mut()).await {
        missed += payloads(&chunk).1.len();
    }
    assert_eq!(missed, 36_000);
    // Ten times as fast, it goes on where it was.
    let fast = GeneratorSource::with_clock(devices("devices=900,paced=10,late=0,offline=0"), clock);
    let mut reader = open(&fast, Some(&second.end)).await;
    assert_eq!(payloads(&chunk(reader.as_mut()).await.unwrap()).1.len(), 1);
    time.fetch_add(1000, Ordering::SeqCst);
    let tenfold = loop {
        if let Some(chunk) = chunk(reader.as_mut()).await {
            break chunk;
        }
    };
    assert_eq!(payloads(&tenfold).1.len(), 100);
}

#[test]
fn files_appear_whole_and_packed_as_their_name_says() {
    let dir = tempfile::tempdir().unwrap();
    let spec = devices("devices=100");
    let (records, expected) = text("devices=100", 20_000);
    for name in ["a.ndjson", "a.ndjson.gz", "a.ndjson.zst"] {
        let path = dir.path().join(name);
        let mut told = Vec::new();
        let bytes = to_file(&spec, 20_000, &path, false, &mut |made| told.push(made)).unwrap();
        let file = std::fs::read(&path).unwrap();
        assert_eq!(bytes, file.len() as u64);
        assert!(!told.is_empty() && told.is_sorted() && told.iter().all(|made| *made <= 20_000), "{told:?}");
        let found = match name {
            "a.ndjson.gz" => {
                let mut text = Vec::new();
                flate2::read::GzDecoder::new(file.as_slice()).read_to_end(&mut text).unwrap();
                text
            }
            "a.ndjson.zst" => zstd::decode_all(file.as_slice()).unwrap(),
            _ => file,
        };
        assert!(found == expected.as_bytes(), "{name}");
    }
    let path = dir.path().join("b.ndjson");
    to_file(&spec, 3, &path, true, &mut |_| ()).unwrap();
    let line = std::fs::read_to_string(&path).unwrap().lines().nth(1).unwrap().to_owned();
    let plain = expected.lines().nth(1).unwrap().strip_suffix('}').unwrap();
    assert_eq!(line, format!("{plain},\"arr\":{}}}", records[1].arrival_ms));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4);

    let e = to_file(&spec, 3, &dir.path().join("none/b.ndjson"), false, &mut |_| ()).unwrap_err();
    assert!(format!("{e:#}").contains("cannot write") && format!("{e:#}").contains("none/b.ndjson"), "{e:#}");
}
