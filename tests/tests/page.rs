//! The page of a running host, in Chromium: a file dropped on it gives the very bytes that `plimsoll preview` writes and
//! that the host counts, by the same module, and the browser has nothing to complain of.
//!
//! Not here: the page without a host, and its handling (`js/test`).

use plimsoll_tests::process::{Finished, Host};
use plimsoll_tests::records::{self, Arrivals};
use plimsoll_tests::{seed, tools, workspace};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const RECORDS: usize = 200_000;
const LIMIT: Duration = Duration::from_secs(120);

fn plimsoll(dir: &Path, line: &str) -> Finished {
    let host = Host::new(line.split_whitespace()).current_dir(dir);
    host.run(LIMIT).and_then(|done| done.expect(0)).unwrap_or_else(|error| panic!("{error:#}"))
}

#[test]
fn a_dropped_file_gives_the_bytes_of_preview_and_of_the_host() {
    let seed = seed::seed("page");
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name);
    // Who follows a file waits for the end of its last line.
    let events = [records::troubled(seed, RECORDS), b"\n".to_vec()].concat();
    std::fs::write(path("events.ndjson"), events).expect("a file");
    std::fs::write(path("policy.toml"), records::policy(Arrivals::Field)).expect("a file");
    let preview = "preview --policy policy.toml --json --late-out late --dead-out dead events.ndjson";
    let preview = plimsoll(dir.path(), preview);
    let summary = preview.stderr.lines().last().expect("the accounting");
    let summary: serde_json::Value = serde_json::from_str(summary).expect("JSON");

    // The host counts the same file, and waits for more of it while it serves its page.
    let line = "run --policy policy.toml --input events.ndjson --follow --accept-poison --sqlite counts.db --listen 127.0.0.1:0";
    let mut host = Host::new(line.split_whitespace()).current_dir(dir.path()).spawn().expect("the host starts");
    let address =
        |said: &str| said.lines().find_map(|line| Some(line.split_once("the live page is at ")?.1.to_owned()));
    let url = host.until("address", LIMIT, |host| address(&host.stderr())).expect("it serves");

    std::fs::create_dir(path("page")).expect("a folder");
    let mut node = Command::new("node");
    node.arg(workspace().join("tests/page/drop.mjs"));
    node.arg(tools::ensure().npm_package("playwright-core")).arg(tools::chromium()).arg(&url);
    let dropped = node.arg(path("events.ndjson")).arg(path("page")).output().expect("node can be started");
    assert!(dropped.status.success(), "{}", String::from_utf8_lossy(&dropped.stderr));
    if let Some(shots) = std::env::var_os("PLIMSOLL_SCREENSHOTS") {
        std::fs::copy(path("page/page.png"), Path::new(&shots).join("dropped.png")).expect("a copy");
    }

    let seen: serde_json::Value = serde_json::from_slice(&dropped.stdout).expect("what was seen, as JSON");
    assert_eq!(seen["digest"], summary["module_sha256"], "the page ran another module");
    assert!(seen["same"].as_str().is_some_and(|same| same == "same bytes as the host"), "{seen}");
    let given = |name: &str| std::fs::read(path(&format!("page/{name}"))).expect("a download");
    let wrote = |name: &str| std::fs::read(path(name)).expect("preview wrote it");
    let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
    assert!(
        lines(&preview.stdout) > 1_000 && lines(&wrote("late")) > 100 && lines(&wrote("dead")) > 1_000,
        "no troubles"
    );
    for (what, given, wrote) in [
        ("rows", given("rows"), preview.stdout.clone()),
        ("late rows", given("late"), wrote("late")),
        ("dead letters", given("dead"), wrote("dead")),
    ] {
        assert!(given == wrote, "{what}: the page gives {} lines, preview {}", lines(&given), lines(&wrote));
    }

    let rows = || plimsoll(dir.path(), "rows --policy policy.toml --sqlite counts.db").stdout;
    host.until("whole count", LIMIT, |_| (rows() == preview.stdout).then_some(()))
        .expect("production's rows are the same");
}
