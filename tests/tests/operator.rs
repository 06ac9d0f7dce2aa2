//! The operator's commands: what lanes stand where, what was late or set aside, why a number is what it is; letters driven
//! again, a source replayed under another policy, two generations compared.
//!
//! Not here: letters driven again between doubles, cut off at every request (`plimsoll::driver`).

use anyhow::{Result, ensure};
use plimsoll_tests::place::{LIMIT, Place, exit, refused};
use plimsoll_tests::process::{Finished, Host, Killed};
use plimsoll_tests::seed;
use plimsoll_tests::server::Dynamo;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Start of a minute.
const T0: i64 = 1_700_000_040_000;
const MINUTE: i64 = 60_000;
/// The exit code of two generations that differ.
const DIFFERENT: i32 = 9;

fn policy(delay: &str, limits: &str) -> String {
    format!(
        "policy = \"impressions\"\n[input]\ntime = {{ field = \"ts\", unit = \"ms\" }}\nkey = [\"placement\"]\n\
         [window]\nfixed = \"1m\"\n[watermark]\nmax = true\ndelay = \"{delay}\"\n[measures]\nevents = \"count\"\n\
         impressions = {{ sum = \"impressions\" }}\n[limits]\n{limits}\n"
    )
}

fn record(ts: i64, placement: &str, impressions: i64) -> String {
    format!("{{\"ts\":{ts},\"placement\":\"{placement}\",\"impressions\":{impressions}}}\n")
}

/// A command that succeeds, and what it prints.
#[track_caller]
fn ok(place: &Place, line: &str) -> String {
    let done = place.host(line).expect(0).unwrap_or_else(|error| panic!("{error:#}"));
    done.text().expect("text").to_owned()
}

/// The one object that a command prints.
#[track_caller]
fn object(place: &Place, line: &str) -> Value {
    serde_json::from_str(&ok(place, line)).expect("an object")
}

#[track_caller]
fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

/// Says all of these words.
#[track_caller]
fn says(text: &str, words: &[&str]) {
    words.iter().for_each(|word| assert!(text.contains(word), "says nothing of `{word}`:\n{text}"));
}

const AT: &str = "--policy policy.toml --sqlite counts.db";

/// Two files, each a lane: `a` is further than `b`, and has late and broken records.
fn two_lanes() -> Place {
    let place = Place::new();
    place.write("policy.toml", policy("1m", "key_bytes = 20\ndead_letter_bytes = 80"));
    let long = format!("{{\"ts\":{T0},\"placement\":\"p\",\"x\":\"{}\"", "x".repeat(200));
    let a = [
        record(T0, "p", 2),
        record(T0 + 5 * MINUTE, "p", 3),
        record(T0 + 1_000, "p", 5),
        record(T0 + 2_000, "a-placement-with-a-long-name", 7),
        format!("{{\"ts\":{},\"placement\":\"p\",\n", T0 + 3_000),
        long + "\n",
        record(T0 + 6 * MINUTE, "q", 1),
    ];
    place.write("a.ndjson", a.concat());
    place.write("b.ndjson", record(T0, "p", 10) + &record(T0 + 2 * MINUTE, "p", 1));
    ok(&place, &format!("run {AT} --input a.ndjson b.ndjson --lane-per-file --idle-timeout none"));
    place
}

#[test]
fn lanes_say_who_holds_the_watermark() {
    let place = two_lanes();
    let lanes = object(&place, &format!("lanes {AT} --json"));
    let of = |name: &str| {
        let lane = lanes["lanes"]
            .as_array()
            .expect("lanes")
            .iter()
            .find(|l| l["lane"].as_str().expect("text").ends_with(name));
        lane.expect("the lane").clone()
    };
    let (a, b) = (of("a.ndjson"), of("b.ndjson"));
    assert_eq!((lanes["watermark"].as_i64(), &lanes["held_by"]), (Some(T0 + MINUTE), &b["lane"]));
    assert_eq!((&a["holds"], &b["holds"]), (&Value::Bool(false), &Value::Bool(true)));
    assert_eq!((a["watermark"].as_i64(), a["state"].as_str()), (Some(T0 + 5 * MINUTE), Some("running")));
    assert_eq!((a["account"]["read"].as_u64(), a["account"]["late"].as_u64()), (Some(7), Some(1)));
    assert_eq!(a["reasons"][0]["reason"], "malformed");
    assert_eq!((a["reasons"][0]["count"].as_u64(), a["reasons"][0]["code"].as_u64()), (Some(2), Some(1)));
    assert_eq!(lanes["account"]["counted"].as_u64(), Some(5));
    assert_ne!(a["alias"], b["alias"]);
    for name in ["n", "position", "pending", "arrival", "behind_ms", "pin"] {
        assert!(a.get(name).is_some(), "`{name}` is missing: {a}");
    }
    assert_eq!(a["pin"]["policy_sha256"], lanes["policy_sha256"]);
    assert_eq!(a["pin"]["module_sha256"].as_str().map(str::len), Some(64));
    let text = ok(&place, &format!("lanes {AT}"));
    says(
        &text,
        &["2023-11-14T22:15:00Z", "b.ndjson holds it", "Without that lane the watermark would be", "read 9, counted 5"],
    );
    // An idle lane holds nothing.
    ok(&place, &format!("run {AT} --generation idle --input a.ndjson b.ndjson --lane-per-file"));
    let text = ok(&place, &format!("lanes {AT} --generation idle"));
    says(&text, &["no lane runs", "2 of 2 lanes are idle", "2023-11-14T22:19:00Z"]);
    says(&ok(&place, &format!("lanes {AT} --generation none")), &["No lane has begun"]);
}

#[test]
fn late_records_and_what_dropping_them_would_cost() {
    let place = two_lanes();
    let late = lines(&ok(&place, &format!("late {AT}")));
    assert_eq!(late.len(), 1, "{late:?}");
    assert_eq!((late[0]["placement"].as_str(), late[0]["impressions"].as_i64()), (Some("p"), Some(5)));
    assert_eq!(late[0]["arrival_day"], Value::Null, "files carry no arrival");
    assert_eq!(ok(&place, &format!("late {AT}")), ok(&place, &format!("rows {AT} --late")), "one table, one text");
    assert_eq!(ok(&place, &format!("late {AT} --key [\"q\"]")), "");
    assert_eq!(ok(&place, &format!("late {AT} --from {}", T0 + MINUTE)), "");
    let cost = object(&place, &format!("late {AT} --summary --json"));
    assert_eq!((cost["records"]["late"].as_u64(), cost["records"]["counted"].as_u64()), (Some(1), Some(5)));
    assert_eq!(cost["records"]["share_percent"].as_f64(), Some(16.67));
    let impressions = &cost["measures"][1];
    assert_eq!(
        (&impressions["measure"], &impressions["late"], &impressions["main"]),
        (&"impressions".into(), &"5".into(), &"17".into())
    );
    assert_eq!(impressions["share_percent"].as_f64(), Some(22.73));
    assert_eq!(cost["days"][0]["records"].as_i64(), Some(1));
    says(
        &ok(&place, &format!("late {AT} --summary")),
        &["16.67 % of all are late", "impressions", "22.73 %", "unknown"],
    );
}

#[test]
fn dead_letters_by_reason_and_lane() {
    let place = two_lanes();
    let all = lines(&ok(&place, &format!("dead-letters {AT}")));
    let seen: Vec<_> =
        all.iter().map(|l| (l["position"].as_str().expect("text"), l["reason"].as_str().expect("text"))).collect();
    assert_eq!(seen, [("a.ndjson:4", "key_too_long"), ("a.ndjson:5", "malformed"), ("a.ndjson:6", "malformed")]);
    let [first, _, cut] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(
        (&first["truncated"], &cut["truncated"], &first["redriven"]),
        (&false.into(), &true.into(), &false.into())
    );
    assert_eq!((cut["raw"].as_str().map(str::len), cut["length"].as_u64()), (Some(80), Some(242)));
    assert_eq!(first["batch"].as_u64(), Some(1));
    let one = lines(&ok(&place, &format!("dead-letters {AT} --reason key_too_long")));
    assert_eq!((one.len(), &one[0]), (1, first));
    assert_eq!(
        lines(&ok(&place, &format!("dead-letters {AT} --reason malformed --reason key_too_long --limit 2"))).len(),
        2
    );
    assert_eq!(ok(&place, &format!("dead-letters {AT} --lane nothere")), "");
    assert_eq!(ok(&place, &format!("dead-letters {AT} --from 2020-01-01T00:00:00Z")), "", "no arrival is known");
    let summary = object(&place, &format!("dead-letters {AT} --summary --json"));
    assert_eq!(summary["letters"].as_u64(), Some(3));
    let malformed = &summary["reasons"][0];
    assert_eq!((malformed["reason"].as_str(), malformed["count"].as_u64()), (Some("malformed"), Some(2)));
    assert_eq!((malformed["truncated"].as_u64(), malformed["redriven"].as_u64()), (Some(1), Some(0)));
    assert!(malformed["meaning"].as_str().expect("text").ends_with('.'));
    says(&ok(&place, &format!("dead-letters {AT} --summary")), &["key_too_long", "limits.key_bytes"]);
    // The older way says the same in its own form.
    assert_eq!(lines(&ok(&place, &format!("rows {AT} --dead-letters"))).len(), 3);
}

#[test]
fn windows_and_numbers_are_explained() {
    let place = two_lanes();
    let text = ok(&place, &format!("explain {AT} --window {T0}"));
    says(&text, &["2023-11-14T22:14:00Z to 2023-11-14T22:15:00Z is final", "by 0 s"]);
    let text = ok(&place, &format!("explain {AT} --window {}", T0 + 5 * MINUTE));
    says(&text, &["is open", "still 5 min to go", "It waits for the lane", "b.ndjson"]);
    let text = ok(&place, &format!("explain {AT} --window {T0} --key [\"p\"]"));
    says(
        &text,
        &[
            "events 2, impressions 12",
            "in the late table instead (plimsoll late): 1",
            "Set aside, and not counted: malformed (1), 2 that name this key",
            "a.ndjson:5",
            "keeps no mark of each lane",
            "by module",
        ],
    );
    let why = object(&place, &format!("explain {AT} --window {T0} --key [\"p\"] --json"));
    let window = &why["windows"][0];
    assert_eq!((window["state"].as_str(), window["end"].as_i64()), (Some("final"), Some(T0 + MINUTE)));
    let row = &window["row"];
    assert_eq!(row["version"].as_u64(), Some(2));
    assert_eq!((row["lanes"].clone(), row["reasons"][0]["perhaps"].as_u64()), (Value::Null, Some(2)));
    assert!(row["row"].as_str().expect("text").contains("\"impressions\":12"), "{row}");
    assert_eq!(row["late"].as_array().map(Vec::len), Some(1));
    assert_eq!((why["pins"].as_array().map(Vec::len), why["lanes"].as_array().map(Vec::len)), (Some(1), Some(2)));
    assert!(!why["why"].as_array().expect("sentences").is_empty());
    let whole = ok(&place, &format!("explain {AT}"));
    says(&whole, &["b.ndjson holds it", "2 x malformed (1)", "1 x key_too_long (10)"]);
    let none = ok(&place, &format!("explain {AT} --window {T0} --key [\"z\"]"));
    says(&none, &["There is no row of this key and window", "Nothing of this key and window came late"]);
    place.refuses(
        &format!("explain {AT} --window {}", T0 + 1),
        exit::RUN,
        &["no window starts at", "2023-11-14T22:14:00Z"],
    );
}

#[test]
fn letters_are_driven_again_once() {
    let place = two_lanes();
    place.write("mended.toml", policy("1m", "key_bytes = 100\ndead_letter_bytes = 80"));
    let at = "--policy mended.toml --sqlite counts.db";
    let plan = object(&place, &format!("redrive {at} --dry-run --json"));
    assert_eq!((plan["dry_run"].as_bool(), plan["chosen"].as_u64()), (Some(true), Some(2)));
    assert_eq!(plan["truncated"][0]["position"], "a.ndjson:6");
    assert_eq!(lines(&ok(&place, &format!("rows {AT} --dead-letters"))).len(), 3, "a dry run drives nothing");
    let rows = || ok(&place, &format!("rows {AT}"));
    let before = rows();
    assert!(!before.contains("a-placement-with-a-long-name"));
    let done = object(&place, &format!("redrive {at} --reason key_too_long --json"));
    assert_eq!((done["account"]["read"].as_u64(), done["account"]["counted"].as_u64()), (Some(1), Some(1)));
    let driven = rows();
    says(&driven, &["a-placement-with-a-long-name"]);
    assert_eq!(driven.lines().count(), before.lines().count() + 1);
    // Again, under either policy and every filter: nothing is left to drive of these.
    for at in [at, AT] {
        says(&ok(&place, &format!("redrive {at} --reason key_too_long")), &["Nothing to drive"]);
    }
    let text = ok(&place, &format!("redrive {at}"));
    says(&text, &["read 1, counted 0, rejected 1", "Failed again: 1", "a.ndjson:6", "80 of its 242 bytes"]);
    assert_eq!(rows(), driven);
    // It is found again, where it stood first.
    let open = lines(&ok(&place, &format!("dead-letters {at} --open")));
    let positions: Vec<_> = open.iter().map(|l| l["position"].as_str().expect("text")).collect();
    assert!(positions[0].ends_with("|a.ndjson:5") || positions[1].ends_with("|a.ndjson:5"), "{positions:?}");
    assert_eq!(positions.len(), 2, "the one that was cut, and the one that failed: {positions:?}");
    let again = object(&place, &format!("redrive {at} --json"));
    assert_eq!((again["chosen"].as_u64(), again["account"]["rejected"].as_u64()), (Some(1), Some(1)));
    let lanes = object(&place, &format!("lanes {at} --json"));
    let counted = lanes["account"]["counted"].as_i64().expect("a count");
    assert_eq!(counted, place.counted_in("counts.db"));
    assert_eq!(lanes["watermark"].as_i64(), Some(T0 + MINUTE), "old records say nothing of the time");
    let summary = object(&place, &format!("dead-letters {at} --summary --json"));
    assert_eq!(summary["letters"].as_u64(), lanes["account"]["rejected"].as_u64());
    assert_eq!(summary["redrive_under_way"].as_bool(), Some(false));
    says(&ok(&place, &format!("explain {at}")), &["Dead letters were driven again"]);
}

#[test]
fn quarantined_records_are_driven_when_their_time_has_come() {
    let place = Place::new();
    let text = policy("10m", "").replacen("delay = \"10m\"", "delay = \"10m\"\nmax_future = \"5m\"", 1);
    place.write("policy.toml", &text);
    // A clock that runs ahead of arrivals of years ago says a time that has passed by now,
    let past = "devices=200,every=10s,records=4000,seed=3,ahead=0.05";
    // and one of today may say a time of tomorrow.
    ok(&place, &format!("run {AT} --generate {past}"));
    let lanes = || object(&place, &format!("lanes {AT} --json"));
    let future = lanes()["account"]["future"].as_u64().expect("a count");
    assert!(future > 20, "only {future} records were quarantined");
    let counted = place.counted_in("counts.db");
    says(&ok(&place, &format!("redrive {AT}")), &["Nothing to drive"]);
    let done = object(&place, &format!("redrive {AT} --reason future --json"));
    let account = &done["account"];
    assert_eq!((done["chosen"].as_u64(), account["read"].as_u64()), (Some(future), Some(future)));
    assert_eq!(account["future"].as_u64(), Some(0));
    let (now, late) = (account["counted"].as_i64().expect("a count"), account["late"].as_i64().expect("a count"));
    assert_eq!((now + late) as u64, future);
    assert_eq!(place.counted_in("counts.db"), counted + now);
    assert_eq!(object(&place, &format!("redrive {AT} --reason future --json"))["chosen"].as_u64(), Some(0));
    let start = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    let today = format!("devices=200,every=10s,records=4000,seed=3,ahead=0.05,start={start}");
    let at = format!("{AT} --generation today");
    ok(&place, &format!("run {at} --generate {today}"));
    let held = object(&place, &format!("redrive {at} --reason future --json"));
    let not_yet = held["not_yet"].as_array().expect("letters").len();
    assert!(not_yet > 0 && held["chosen"].as_u64() < Some(future), "{held}");
    let held_again = object(&place, &format!("redrive {at} --reason future --dry-run --json"));
    assert_eq!(held_again["not_yet"].as_array().map(Vec::len), Some(not_yet), "they are found again");
    // A policy that believes them takes them as they came.
    place.write("policy.toml", text.replacen("max_future", "future = \"accept\"\nmax_future", 1));
    let done = object(&place, &format!("redrive {at} --reason future --json"));
    assert_eq!(done["account"]["read"].as_u64(), Some(not_yet as u64));
    assert_eq!(object(&place, &format!("redrive {at} --reason future --json"))["chosen"].as_u64(), Some(0));
}

/// Many letters, and what is to become of them.
struct Case {
    place: Place,
    expected: String,
}

impl Case {
    fn new(records: i64) -> Self {
        let place = Place::new();
        place.write("policy.toml", policy("1d", "key_bytes = 20"));
        place.write("mended.toml", policy("1d", "key_bytes = 100"));
        let of = |i: i64| {
            let key = format!("a-placement-with-a-long-name-{}", i % 7);
            record(T0 + i * 20, if i % 3 == 0 { "short" } else { &key }, i * i)
        };
        place.write("events.ndjson", (0..records).map(of).collect::<String>());
        ok(&place, "run --policy mended.toml --sqlite expected.db --input events.ndjson");
        let expected = ok(&place, "rows --policy mended.toml --sqlite expected.db");
        Self { place, expected }
    }
    fn fill(&self, db: &str) {
        ok(&self.place, &format!("run --policy policy.toml --sqlite {db} --input events.ndjson --accept-poison"));
    }
    fn redrive(&self, db: &str) -> Host {
        self.place.command(&format!("redrive --policy mended.toml --sqlite {db} --flush-interval 1ms"))
    }
    fn check(&self, db: &str) -> Result<()> {
        let rows = |policy: &str| ok(&self.place, &format!("rows --policy {policy} --sqlite {db}"));
        // The redrive's lane says nothing of the time; all windows are open under this policy.
        ensure!(
            rows("mended.toml") == self.expected,
            "{db}: the rows are not those of one run under the mended policy"
        );
        says(&ok(&self.place, &format!("redrive --policy policy.toml --sqlite {db}")), &["Nothing to drive"]);
        ensure!(rows("policy.toml") == self.expected, "{db}: another redrive changed rows");
        Ok(())
    }
}

/// Whether a redrive is under way in a file.
fn is_inside(db: &Path) -> bool {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let position = rusqlite::Connection::open_with_flags(db, flags).ok().and_then(|db| {
        let sql = "SELECT pos FROM plimsoll_heads WHERE lane = 'redrive' AND pos LIKE '%\"plan\"%'";
        db.query_row(sql, [], |row| row.get::<_, String>(0)).ok()
    });
    position.is_some()
}

#[test]
fn a_redrive_that_is_killed_is_finished_by_the_next() {
    let case = Case::new(60_000);
    let mut random = seed::generator(seed::seed("operator"));
    let (mut inside, mut rounds) = (0, 0);
    while inside < 5 {
        let db = format!("killed-{rounds}.db");
        case.fill(&db);
        rounds += 1;
        for _ in 0..6 {
            let mut running = case.redrive(&db).spawn().expect("it starts");
            let file = case.place.path(&db);
            // From the first batch on, so that what is killed is in the middle.
            if running.until("a batch", LIMIT, |_| is_inside(&file).then_some(())).is_err() {
                break;
            }
            match running.kill_at_random(&mut random, Duration::ZERO..Duration::from_millis(8)).expect("watched") {
                Killed::After(_) => inside += usize::from(is_inside(&file)),
                Killed::TooLate(done) => drop(done.expect(0).expect("it came to its end")),
            }
        }
        case.redrive(&db).run(LIMIT).expect("it ends").expect(0).unwrap_or_else(|error| panic!("{error:#}"));
        case.check(&db).unwrap_or_else(|error| panic!("round {rounds}: {error:#}"));
        assert!(rounds < 30, "only {inside} of {rounds} rounds were killed in the middle");
    }
}

#[test]
fn two_redrives_of_one_store_at_once() {
    let case = Case::new(20_000);
    case.fill("both.db");
    let both: Vec<_> = (0..2).map(|_| case.redrive("both.db").spawn().expect("it starts")).collect();
    let ends: Vec<Finished> = both.into_iter().map(|running| running.wait(LIMIT).expect("both end")).collect();
    assert!(ends.iter().all(|end| end.code == Some(0)), "{ends:?}");
    case.check("both.db").expect("each record once");
}

#[test]
fn a_replay_is_compared_with_what_was_there() {
    let place = Place::new();
    place.write("policy.toml", policy("10m", ""));
    place.write("other.toml", policy("10s", ""));
    let spec = "devices=300,every=10s,records=60000,seed=5,ahead=0,behind=0";
    let whole = format!("--generate {spec}");
    ok(&place, &format!("run {AT} {whole}"));
    let to = T0 + 20 * MINUTE;
    let before = ok(&place, &format!("rows {AT}"));
    // The same policy gives the same rows.
    let line = format!("replay {AT} {whole} --generation same --from {} --to {to} --json", T0 + 2 * MINUTE);
    let same = object(&place, &line);
    let compared = &same["compared"];
    assert_eq!(compared["verdict"], "equal", "{compared}");
    let equal = compared["equal"].as_u64().expect("a count");
    assert!(equal > 100 && compared["not_final"].as_u64() > Some(0), "{compared}");
    let counted = same["replayed"]["account"]["counted"].as_u64().expect("a count");
    assert!(counted > 1_000);
    assert_eq!(ok(&place, &format!("rows {AT}")), before, "the old rows stay");
    // A second call finds that it has ended.
    assert_eq!(object(&place, &line)["replayed"]["account"]["read"].as_u64(), Some(0));
    // A policy that waits less finds more late.
    let other = format!(
        "replay --policy other.toml --old-policy policy.toml --sqlite counts.db {whole} --generation other --to {to}"
    );
    let done = place.host(&other).expect(DIFFERENT).expect("they differ");
    says(&done.stderr, &["rows differ or stand on one side only, 0 are allowed", "--allow-different"]);
    says(done.text().expect("text"), &["that differ", "late", "events=", "and ", "--limit"]);
    let compare = "compare --policy-a policy.toml --policy-b other.toml --sqlite counts.db --with other";
    let result = place.host(&format!("{compare} --json --limit 2")).expect(DIFFERENT).expect("they differ");
    let object: Value = serde_json::from_slice(&result.stdout).expect("an object");
    assert_eq!((object["verdict"].as_str(), object["rows"].as_array().map(Vec::len)), (Some("different"), Some(2)));
    let row = &object["rows"][0];
    assert!(row["key"].is_array() && row["window_start"].is_i64(), "{row}");
    let by = row["a"]["events"].as_i64().zip(row["b"]["events"].as_i64()).map(|(a, b)| b - a);
    assert_eq!(row["by"]["events"].as_i64(), by);
    assert!(object["late"]["by"].as_i64() > Some(0), "{object}");
    let error: Value = serde_json::from_str(result.stderr.lines().last().expect("a line")).expect("an object");
    assert_eq!(error["exit_code"].as_i64(), Some(i64::from(DIFFERENT)));
    ok(&place, &format!("{compare} --allow-different 1000000"));
    ok(&place, &format!("compare {AT} --with same --from {}", T0 + 2 * MINUTE));
}

#[test]
fn files_are_replayed_whole() {
    let place = two_lanes();
    let line = format!("replay {AT} --input a.ndjson b.ndjson --lane-per-file --generation again");
    let text = ok(&place, &line);
    says(&text, &["read 9, counted 5", "final rows that are equal", "not final in both, not compared"]);
    let text = ok(&place, &format!("replay {AT} --input a.ndjson --generation one --no-compare"));
    says(&text, &["Replayed into generation one: read 7"]);
}

#[test]
fn what_is_asked_wrongly_is_refused_with_the_mend() {
    let place = two_lanes();
    place.write("shape.toml", policy("1m", "").replacen("\"1m\"", "\"5m\"", 1));
    place.write("sessions.toml", policy("1m", "").replacen("fixed = \"1m\"", "session = { gap = \"1m\" }", 1));
    for command in ["lanes", "late", "dead-letters", "explain", "redrive"] {
        let line = format!("{command} --policy policy.toml --sqlite nothere.db");
        place.refuses(&line, exit::STORE, &["nothere.db", "plimsoll run --sqlite FILE"]);
        place.refuses(&format!("{command} --policy nothere.toml --sqlite counts.db"), exit::POLICY, &["nothere.toml"]);
        place.refuses(&format!("{command} --policy policy.toml"), 2, &["--sqlite", "--dynamodb"]);
    }
    assert!(!place.path("nothere.db").exists());
    let cases = [
        (
            "redrive --policy shape.toml --sqlite counts.db".to_owned(),
            exit::POLICY,
            &["other rows", "--generation"][..],
        ),
        (
            "redrive --policy sessions.toml --sqlite counts.db".to_owned(),
            exit::POLICY,
            &["wait for triggers", "replay"],
        ),
        (format!("redrive {AT} --lane nothere"), exit::RUN, &["no lane nothere", "b.ndjson"]),
        (format!("redrive {AT} --reason nonsense"), 2, &["no such reason", "bad_time"]),
        (format!("explain {AT} --window {T0} --key p"), exit::RUN, &["--key", "JSON array"]),
        (format!("explain {AT} --window {T0} --key [\"p\",\"q\"]"), exit::RUN, &["1 of them"]),
        (format!("explain {AT} --window yesterday"), 2, &["2026-11-23T10:00:00Z"]),
        (format!("replay {AT} --input a.ndjson --generation x --to {T0}"), exit::INPUT, &["files do not carry"]),
        (format!("replay {AT} --generate seed=1 --generation x"), exit::INPUT, &["--to is missing"]),
        (
            format!("replay {AT} --generate seed=1 --generation x --to 2200-01-01T00:00:00Z"),
            exit::INPUT,
            &["not past for a minute", "run --generation x"],
        ),
        (
            format!("replay {AT} --generate seed=1 --generation x --from {T0} --to {T0}"),
            exit::INPUT,
            &["nothing lies between"],
        ),
        (format!("replay {AT} --input a.ndjson --generation a/b"), 2, &["letters, digits"]),
        (format!("replay {AT} --input a.ndjson --generation x --against x"), exit::RUN, &["both `x`"]),
        (format!("compare {AT} --with x"), exit::STORE, &["nothing was counted", "generation `x`"]),
        (
            "compare --policy-a policy.toml --policy-b shape.toml --sqlite counts.db --with x".to_owned(),
            exit::POLICY,
            &["different windows"],
        ),
    ];
    for (line, code, words) in cases {
        place.refuses(&line, code, words);
    }
}

#[test]
fn the_same_on_dynamodb() {
    let dynamodb = Dynamo::start().expect("a DynamoDB");
    let place = two_lanes();
    place.write("mended.toml", policy("1m", "key_bytes = 100\ndead_letter_bytes = 80"));
    let prefix = format!("ops-{:016x}", rand::random::<u64>());
    let ask = |line: &str| {
        let host = place.command(&format!("{line} --dynamodb {prefix}")).aws(dynamodb.url(), dynamodb.url());
        let done = host.run(LIMIT).and_then(|done| done.expect(0)).unwrap_or_else(|error| panic!("{error:#}"));
        done.text().expect("text").to_owned()
    };
    let one = |line: &str| serde_json::from_str::<Value>(&ask(line)).expect("an object");
    ask("tables create");
    ask("run --policy policy.toml --input a.ndjson b.ndjson --lane-per-file --idle-timeout none");
    // What both stores say of lanes, late records and letters is the same, but for what only one of them has.
    for line in ["late", "dead-letters", "late --summary --json", "dead-letters --summary --json"] {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let sqlite = ok(&place, &format!("{command} {AT} {rest}"));
        assert_eq!(ask(&format!("{command} --policy policy.toml {rest}")), sqlite, "{line}");
    }
    let lanes = one("lanes --policy policy.toml --json");
    assert_eq!(lanes["watermark"].as_i64(), Some(T0 + MINUTE));
    assert_eq!(lanes["account"]["counted"].as_u64(), Some(5));
    let why = one(&format!("explain --policy policy.toml --window {T0} --key [\"p\"] --json"));
    let wrote: Vec<_> =
        why["windows"][0]["row"]["lanes"].as_array().expect("lanes").iter().map(|l| l["n"].as_u64()).collect();
    assert_eq!(wrote, [Some(1), Some(1)], "both lanes wrote the row, in their first batch: {why}");
    // Nobody knows whether rows of windows of years ago are still there.
    let expired = place.command(&format!("redrive --policy mended.toml --reason key_too_long --dynamodb {prefix}"));
    let words = ["1 of 1 records", "may have expired", "a.ndjson:4", "plimsoll replay", "--accept-expired"];
    refused(expired.aws(dynamodb.url(), dynamodb.url()), exit::STORE, &words);
    let done = one("redrive --policy mended.toml --reason key_too_long --accept-expired --json");
    assert_eq!((done["account"]["counted"].as_u64(), done["expired"].as_u64()), (Some(1), Some(1)), "{done}");
    for policy in ["mended.toml", "policy.toml"] {
        let again = one(&format!("redrive --policy {policy} --reason key_too_long --json"));
        assert_eq!(again["chosen"].as_u64(), Some(0));
    }
    says(&ask("rows --policy policy.toml"), &["a-placement-with-a-long-name"]);
    says(&ask("redrive --policy mended.toml"), &["rejected 1", "Failed again: 1", "Cannot be driven"]);
    let open = lines(&ask("dead-letters --policy mended.toml --open"));
    assert!(open.iter().any(|l| l["position"].as_str().expect("text").ends_with("|a.ndjson:5")), "{open:?}");
    ask("replay --policy policy.toml --input a.ndjson b.ndjson --lane-per-file --generation again --no-compare");
    let done = one("compare --policy policy.toml --with again --allow-different 1 --json");
    assert_eq!((done["only_a"].as_u64(), done["equal"].as_u64()), (Some(1), Some(1)), "{done}");
}
