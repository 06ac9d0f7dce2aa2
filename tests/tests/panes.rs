//! Sessions and panes through the program, as a user meets them: rows, panes, means, and what a store refuses.

use plimsoll_tests::process::{Finished, Host};
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const POLICY: &str = r#"
policy = "visits"
[input]
time = { field = "ts", unit = "ms", unit_check = false }
key  = ["user"]
[window]
session = { gap = "10s" }
[watermark]
max = true
delay = "0s"
[late]
by = "window"
[trigger]
when = { after_watermark = { early = { after_count = 2 } } }
accumulation = "accumulating"
[measures]
clicks = "count"
price  = { mean = "price" }
"#;

fn line(user: &str, ts: i64, price: i64) -> String {
    format!("{{\"user\":\"{user}\",\"ts\":{ts},\"price\":{price}}}\n")
}

fn run(dir: &Path, line: &str) -> Finished {
    Host::new(line.split(' ')).current_dir(dir).run(LIMIT).expect("it ends")
}

#[test]
fn sessions_merge_and_every_pane_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let input =
        [line("a", 0, 10), line("a", 5_000, 20), line("b", 6_000, 1), line("a", 12_000, 31), line("c", 60_000, 0)];
    std::fs::write(dir.path().join("policy.toml"), POLICY).expect("a file");
    std::fs::write(dir.path().join("in.ndjson"), input.concat()).expect("a file");
    let ended = run(dir.path(), "preview --policy policy.toml --panes-out panes.ndjson in.ndjson");
    let ended = ended.expect(0).unwrap_or_else(|error| panic!("{error:#}"));
    let rows = String::from_utf8(ended.stdout).expect("text");
    let expected = [
        r#"{"user":"b","window_start":6000,"window_end":16000,"clicks":1,"price_sum":1,"price_count":1,"price":1,"state":"final"}"#,
        r#"{"user":"a","window_start":0,"window_end":22000,"clicks":3,"price_sum":61,"price_count":3,"price":20.333333,"state":"final"}"#,
        r#"{"user":"c","window_start":60000,"window_end":70000,"clicks":1,"price_sum":0,"price_count":1,"price":0,"state":"provisional"}"#,
    ];
    assert_eq!(rows.lines().collect::<Vec<_>>(), expected);
    let panes = std::fs::read_to_string(dir.path().join("panes.ndjson")).expect("panes");
    let told: Vec<(String, i64, i64, String)> = panes
        .lines()
        .map(|line| {
            let pane: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let text = |name: &str| pane[name].as_str().expect("text").to_owned();
            let number = |name: &str| pane[name].as_i64().expect("a number");
            (text("user"), number("window_end"), number("clicks"), text("timing"))
        })
        .collect();
    let pane = |user: &str, end, clicks, timing: &str| (user.to_owned(), end, clicks, timing.to_owned());
    assert_eq!(told, [pane("a", 15_000, 2, "early"), pane("b", 16_000, 1, "on_time"), pane("a", 22_000, 3, "on_time")]);
}

#[test]
fn a_store_takes_sessions_of_one_lane_and_refuses_what_does_not_add_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let input = [line("a", 0, 10), line("a", 5_000, 20), line("b", 60_000, 1)].concat();
    std::fs::write(dir.path().join("policy.toml"), POLICY).expect("a file");
    std::fs::write(dir.path().join("one.ndjson"), &input).expect("a file");
    std::fs::write(dir.path().join("two.ndjson"), &input).expect("a file");
    let stored = run(dir.path(), "run --policy policy.toml --input one.ndjson --sqlite counts.db --once");
    stored.expect(0).unwrap_or_else(|error| panic!("{error:#}"));
    let rows = run(dir.path(), "rows --policy policy.toml --sqlite counts.db").expect(0).expect("rows");
    let text = String::from_utf8(rows.stdout).expect("text");
    assert!(text.contains(r#""window_start":0,"window_end":15000,"clicks":2"#) && text.lines().count() == 1, "{text}");

    let lanes = "run --policy policy.toml --input one.ndjson two.ndjson --lane-per-file --sqlite lanes.db --once";
    let refused = run(dir.path(), lanes);
    assert_eq!(refused.code, Some(5), "{refused:?}");
    let kept = format!("{POLICY}last = {{ last = \"price\" }}\n");
    std::fs::write(dir.path().join("policy.toml"), kept).expect("a file");
    let refused = run(dir.path(), "run --policy policy.toml --input one.ndjson --sqlite kept.db --once");
    assert_eq!(refused.code, Some(3), "{refused:?}");
}
