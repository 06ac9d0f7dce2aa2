//! `plimsoll audit` on SQLite files, and the hours and days that are made when they are read: what is right is called so, and
//! each thing changed by hand is found, with what was found and expected.
//!
//! Not here: DynamoDB (`rollup`), accounts that lanes would never write (unit tests in `plimsoll::audit`).

use plimsoll_tests::oracle::{self, Query};
use plimsoll_tests::process::{Finished, Host};
use plimsoll_tests::records::{self, Arrivals};
use plimsoll_tests::{rows, seed};
use rusqlite::Connection;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const RECORDS: usize = 20_000;
const LIMIT: Duration = Duration::from_secs(120);

fn ask(dir: &Path, line: &str, code: i32) -> Finished {
    let end = Host::new(line.split_whitespace()).current_dir(dir).run(LIMIT).expect("it ends");
    end.expect(code).unwrap_or_else(|error| panic!("{line}: {error:#}"))
}

/// The first imbalance that an audit finds in a copy of the file in which SQL has changed something.
fn planted(dir: &Path, sql: &str) -> Value {
    let copy = dir.join("planted.db");
    std::fs::copy(dir.join("counts.db"), &copy).expect("a copy");
    let db = Connection::open(&copy).expect("it opens");
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB ?1";
    let name = |glob: &str| db.query_row(tables, [glob], |r| r.get::<_, String>(0)).expect("a table");
    let sql = sql.replace("ROWS", &name("rows_*")).replace("LATE", &name("late_*"));
    assert!(db.execute(&sql, []).expect("SQL") > 0, "{sql}");
    drop(db);
    let end = ask(dir, "audit --policy policy.toml --sqlite planted.db --json", 10);
    let report: Value = serde_json::from_slice(&end.stdout).expect("a report");
    let wrong: Vec<&Value> =
        report["checks"].as_array().expect("checks").iter().filter(|c| c["outcome"] == "imbalance").collect();
    assert_eq!(wrong.len(), 1, "{report:#}");
    wrong[0].clone()
}

#[test]
fn what_is_changed_by_hand_is_found() {
    let dir = tempfile::tempdir().expect("a folder");
    let seed = seed::seed("audit");
    let events = records::troubled(seed, RECORDS);
    let expected = oracle::recompute(&records::query(Arrivals::Field), &events);
    std::fs::write(dir.path().join("events.ndjson"), &events).expect("a file");
    let policy = records::policy(Arrivals::Field);
    std::fs::write(dir.path().join("plain.toml"), &policy).expect("a file");
    let rollup = "[rollup]\nhour = true\nday = { zone = \"Asia/Tokyo\" }\n";
    std::fs::write(dir.path().join("policy.toml"), format!("{policy}\n{rollup}")).expect("a file");
    ask(dir.path(), "run --policy policy.toml --input events.ndjson --accept-poison --sqlite counts.db", 0);
    // All of it in the file itself, so that a copy of that has it.
    let db = Connection::open(dir.path().join("counts.db")).expect("it opens");
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("a checkpoint");
    drop(db);

    let end = ask(dir.path(), "audit --policy policy.toml --sqlite counts.db", 0);
    let told = String::from_utf8_lossy(&end.stdout).into_owned();
    assert!(told.contains(&format!("read {} = counted {}", expected.read, expected.counted)), "{told}");
    assert!(told.contains("ok: count of main rows") && told.contains("made of the rows when they are read"), "{told}");
    assert!(!told.contains("IMBALANCE"), "{told}");

    let wrong = planted(
        dir.path(),
        "UPDATE ROWS SET m0 = m0 + 1 WHERE (window_start, key) = (SELECT window_start, key FROM ROWS LIMIT 1)",
    );
    assert_eq!(wrong["check"], "count of main rows against records counted");
    assert_eq!(
        (wrong["found"].clone(), wrong["expected"].clone()),
        ((expected.counted + 1).to_string().into(), expected.counted.to_string().into())
    );
    let wrong = planted(dir.path(), "DELETE FROM LATE WHERE m0 = (SELECT max(m0) FROM LATE)");
    assert_eq!(
        (wrong["check"].clone(), wrong["expected"].clone()),
        ("count of late rows against records late".into(), expected.late.to_string().into())
    );
    let wrong = planted(
        dir.path(),
        "DELETE FROM plimsoll_dead_letters WHERE rowid = (SELECT max(rowid) FROM plimsoll_dead_letters WHERE reason = 'malformed')",
    );
    assert_eq!(wrong["check"], "dead letters against the account");
    assert!(wrong["lane"].as_str().is_some_and(|lane| lane.contains("events.ndjson")), "{wrong}");
    assert_eq!(wrong["note"], "reason `malformed`");
}

#[test]
fn hours_and_days_of_a_file_are_what_its_rows_add_up_to() {
    let dir = tempfile::tempdir().expect("a folder");
    let events = records::over_hours(seed::seed("hours of a file"), RECORDS, 1_000);
    std::fs::write(dir.path().join("events.ndjson"), &events).expect("a file");
    let policy = |more: &str| format!("{}\n{more}", records::policy(Arrivals::Field));
    std::fs::write(dir.path().join("plain.toml"), policy("")).expect("a file");
    std::fs::write(dir.path().join("hours.toml"), policy("[rollup]\nhour = true\n")).expect("a file");
    std::fs::write(dir.path().join("days.toml"), policy("[rollup]\nhour = true\nday = { zone = \"UTC\" }\n"))
        .expect("a file");
    // Counted without a rollup: it changes no row.
    ask(dir.path(), "run --policy plain.toml --input events.ndjson --accept-poison --sqlite counts.db", 0);
    let refused = ask(dir.path(), "rows --policy plain.toml --sqlite counts.db --rollup hour", 3);
    assert!(refused.stderr.contains("has no `[rollup]`"), "{}", refused.stderr);
    let refused = ask(dir.path(), "rows --policy hours.toml --sqlite counts.db --rollup day", 3);
    assert!(refused.stderr.contains("has no days"), "{}", refused.stderr);

    // The same records counted in windows of an hour, whose own rows the judge has.
    let hour_ms = 3_600_000;
    let minutes = oracle::recompute(&records::query(Arrivals::Field), &events);
    let query = Query { window_ms: hour_ms, ..records::query(Arrivals::Field) };
    let all = ask(dir.path(), "rows --policy days.toml --sqlite counts.db --rollup hour", 0);
    let found = rows::main(&query, &all.stdout).unwrap_or_else(|e| panic!("{e:#}"));
    let hours = oracle::recompute(&query, &events);
    assert_eq!(minutes.counted, hours.counted, "lateness is judged by the record");
    rows::same("hours", &found, &hours.rows).unwrap_or_else(|e| panic!("{e:#}"));
    let states = |out: &[u8]| -> Vec<(i64, String)> {
        let lines = String::from_utf8_lossy(out).lines().map(str::to_owned).collect::<Vec<_>>();
        let row = |line: &String| serde_json::from_str::<Value>(line).expect("a row");
        lines.iter().map(row).map(|r| (r["window_end"].as_i64().expect("ms"), r["state"].to_string())).collect()
    };
    // An hour is final when its last minute is.
    let minutes = ask(dir.path(), "rows --policy plain.toml --sqlite counts.db", 0);
    let last_final = states(&minutes.stdout).iter().filter(|(_, s)| s == "\"final\"").map(|(end, _)| *end).max();
    let last_final = last_final.expect("some minutes are final");
    let of_hours = states(&all.stdout);
    assert!(of_hours.iter().any(|(_, s)| s == "\"final\"") && of_hours.iter().any(|(_, s)| s == "\"provisional\""));
    for (end, state) in &of_hours {
        assert!(*end <= last_final + 60_000 || state == "\"provisional\"", "{end} {state}");
    }
    // From and to look at the hour's own start, and its minutes are all there.
    let starts: Vec<i64> = found.keys().map(|(start, _)| *start).collect();
    let (from, to) = (starts[0], starts[0] + hour_ms);
    let some = ask(
        dir.path(),
        &format!("rows --policy days.toml --sqlite counts.db --rollup hour --from {from} --to {to}"),
        0,
    );
    let some = rows::main(&query, &some.stdout).unwrap_or_else(|e| panic!("{e:#}"));
    let expected = found.into_iter().filter(|((start, _), _)| *start == from).collect();
    rows::same("one hour", &some, &expected).unwrap_or_else(|e| panic!("{e:#}"));
}
