//! One clock in a thousand runs up to a day ahead: by default no honest event is lost, where a plain watermark loses most.
//!
//! Not here: speed on the same data, which is the bench's.

use plimsoll_tests::oracle::{self, Outcome, Strategy};
use plimsoll_tests::process::Host;
use plimsoll_tests::records::Arrivals;
use plimsoll_tests::w1::{self, Impression};
use plimsoll_tests::{rows, seed};
use std::collections::BTreeMap;
use std::time::Duration;

const RECORDS: usize = 200_000;
const LIMIT: Duration = Duration::from_secs(60);
const MAX_FUTURE_MS: i64 = 5 * 60_000;
const MEDIAN: Strategy = Strategy::Quantile { milli: 500, sample: 501, min_sample: 31 };
const PLAIN: &str = "[watermark]\nmax = true\n";

/// Runs `plimsoll preview` over the events, and has the judge look at its rows.
fn preview<'a>(
    events: impl IntoIterator<Item = &'a Impression>,
    arrivals: Arrivals,
    watermark: &str,
    strategy: Strategy,
) -> Outcome {
    let dir = tempfile::tempdir().expect("a folder");
    let records = w1::ndjson(events, arrivals);
    std::fs::write(dir.path().join("events.ndjson"), &records).expect("a file");
    std::fs::write(dir.path().join("policy.toml"), w1::policy(arrivals, watermark)).expect("a file");
    let host = Host::new(["preview", "--policy", "policy.toml", "--late-out", "late", "events.ndjson"]);
    let done = host.current_dir(dir.path()).run(LIMIT).expect("it ends").expect(0).expect("it previews");
    let late = std::fs::read(dir.path().join("late")).expect("late rows");
    let query = w1::query(arrivals, strategy);
    let outcome = oracle::recompute(&query, &records);
    rows::compare(&query, &done.stdout, &late, &outcome).unwrap_or_else(|error| panic!("{error:#}"));
    outcome
}

/// Events per window and key, late or not.
fn events(outcome: &Outcome) -> BTreeMap<(i64, String), i128> {
    let mut all = BTreeMap::new();
    let main = outcome.rows.iter().map(|(key, row)| (key.clone(), row));
    let late = outcome.late_rows.iter().map(|((start, key, _), row)| ((*start, key.clone()), row));
    for (key, row) in main.chain(late) {
        *all.entry(key).or_default() += row["events"].expect("a count");
    }
    all
}

#[test]
fn with_arrival_times_every_verdict_is_that_of_an_honest_stream() {
    let stream = w1::impressions(seed::seed("w1fa"), RECORDS);
    // Who is ahead by less than `max_future` passes for honest, in both streams.
    let caught = |e: &&Impression| e.time > e.arrival + MAX_FUTURE_MS;
    let with_liars = preview(&stream, Arrivals::Field, "", MEDIAN);
    let honest = preview(stream.iter().filter(|e| !caught(e)), Arrivals::Field, "", MEDIAN);
    rows::same("main rows", &with_liars.rows, &honest.rows).unwrap_or_else(|error| panic!("{error:#}"));
    rows::same("late rows", &with_liars.late_rows, &honest.late_rows).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(with_liars.future, stream.iter().filter(caught).count() as u64);
    assert!(with_liars.future > 100, "{} liars are too few to tell", with_liars.future);
}

#[test]
fn without_arrival_times_no_honest_event_is_lost() {
    let stream = w1::impressions(seed::seed("w1f"), RECORDS);
    let honest_only: Vec<Impression> = stream.iter().filter(|e| !e.lies).copied().collect();
    let with_liars = preview(&stream, Arrivals::Outside, "", MEDIAN);
    let honest = preview(&honest_only, Arrivals::Outside, "", MEDIAN);
    assert_eq!((with_liars.counted + with_liars.late, with_liars.rejected), (RECORDS as u64, 0));
    let found = events(&with_liars);
    for (key, expected) in events(&honest) {
        assert!(found[&key] >= expected, "{key:?}: {} events, {expected} honest ones", found[&key]);
    }
    // Half of the sample would have to lie before the median moved by more than its neighbours' distance.
    let turned_late = with_liars.late.abs_diff(honest.late);
    assert!(turned_late * 10_000 <= honest.counted, "{turned_late} honest events changed sides");

    let plain = preview(&stream, Arrivals::Outside, PLAIN, Strategy::Max);
    let lost = plain.late as f64 / plain.read as f64;
    println!(
        "late: {} by the median, {} without liars, {} by a plain watermark",
        with_liars.late, honest.late, plain.late
    );
    assert!(lost > 0.5, "a plain watermark is late on {lost} of the events: these data show nothing");
}
