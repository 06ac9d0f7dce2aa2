//! Who reads what the commands say: a program gets JSON from each of them, a person at a terminal sees how far they are.
//!
//! Not here: the words of refusals (`bad_input`, `bad_aws`).

use plimsoll_tests::place::{LIMIT, Place, exit};
use plimsoll_tests::process;
use plimsoll_tests::server::Dynamo;
use plimsoll_tests::{tools, workspace};
use serde_json::Value;
use std::process::Command;

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("`{line}` is not JSON: {error}"))
}

#[test]
fn every_command_speaks_json() {
    let place = Place::new();
    let last = |line: &str| {
        let done = place.host(line).expect(0).unwrap_or_else(|error| panic!("{error:#}"));
        json(done.stderr.lines().last().unwrap_or_else(|| panic!("{line} says nothing")))
    };
    assert_eq!(last("produce --records 50 --out made.ndjson --json")["records"], 50);
    assert_eq!(last("preview --policy policy.toml good.ndjson --out rows --json")["account"]["counted"], 3);
    let run = "run --policy policy.toml --input good.ndjson --sqlite counts.db --json";
    assert_eq!((&last(run)["account"]["counted"], &last(run)["account"]["read"]), (&3.into(), &0.into()));

    let module = format!("check policy.toml --module {} --json", process::module().display());
    let cases = workspace().join("tests/scenarios/fixed.json");
    let scenario = format!("scenario {} --json", cases.display());
    for line in ["check policy.toml --json", &module, &scenario, "rows --policy policy.toml --sqlite counts.db --json"]
    {
        let done = place.host(line).expect(0).unwrap_or_else(|error| panic!("{error:#}"));
        assert!(done.text().expect("text").lines().map(json).all(|object| object.is_object()), "{line}");
        assert!(!done.stdout.is_empty(), "{line}");
    }

    let server = Dynamo::start().expect("a DynamoDB");
    let prefix = format!("json-{:016x}", rand::random::<u64>());
    for action in ["create", "check"] {
        let tables = place.command(&format!("tables {action} --dynamodb {prefix} --json"));
        let tables =
            tables.aws("http://127.0.0.1:9", server.url()).run(LIMIT).expect("it ends").expect(0).expect("tables");
        let names: Vec<Value> = tables.text().expect("text").lines().map(|line| json(line)["table"].clone()).collect();
        assert_eq!(
            names,
            ["rows", "late", "dead", "lanes", "hours", "days"].map(|table| Value::from(format!("{prefix}-{table}")))
        );
    }
}

#[test]
fn a_refusal_is_an_object_for_a_program() {
    let place = Place::new();
    place.write("bad.toml", "policy = 1");
    for (line, code) in [
        ("run --policy policy.toml --input nothere.ndjson --sqlite counts.db --json", exit::INPUT),
        ("preview --policy policy.toml nothere.ndjson --json", exit::INPUT),
        ("produce --records 5 --out no/such/folder --json", exit::RUN),
        ("rows --policy policy.toml --sqlite nothere.db --json", exit::STORE),
        ("rows --policy bad.toml --sqlite nothere.db --json", exit::POLICY),
        ("check bad.toml --json", exit::POLICY),
        ("check --module policy.toml --json", exit::MODULE),
        ("scenario nothere.json --json", exit::INPUT),
        ("tables check --dynamodb / --json", exit::STORE),
    ] {
        let done = place.command(line).env("AWS_REGION", "eu-west-1").run(LIMIT).expect("it ends").expect(code);
        let done = done.unwrap_or_else(|error| panic!("{error:#}"));
        let error = json(done.stderr.lines().last().expect("it says why"));
        assert_eq!(error["exit_code"], code, "{line}");
        assert!(error["error"].as_str().is_some_and(|text| text.len() > 10), "{error}");
    }
}

/// What a command writes to a terminal.
fn at_a_terminal(place: &Place, line: &str) -> String {
    let mut python = Command::new(tools::ensure().python());
    python.args(["-c", "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"]);
    python.arg(process::binary()).args(line.split_whitespace()).current_dir(place.dir()).env("TERM", "xterm");
    let done = python.output().expect("python can be started");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{line}: {said}");
    said
}

#[test]
fn who_watches_sees_how_far_it_is_and_a_script_does_not() {
    let place = Place::new();
    let produce = "produce --records 200000 --out events.ndjson";
    let lines = [
        (produce, "/200,000 records"),
        ("preview --policy policy.toml events.ndjson --out rows", " left"),
        ("run --policy policy.toml --input events.ndjson --sqlite counts.db", " of "),
    ];
    let policy = std::fs::read_to_string(place.path("policy.toml")).expect("the policy");
    place.write("policy.toml", policy.replacen("[\"placement\"]", "[\"placement\", \"creative\"]", 1));
    for (line, words) in lines {
        let said = at_a_terminal(&place, line);
        assert!(said.contains(['█', '░']) && said.contains("/s") && said.contains(words), "{line}: no bar in\n{said}");
    }
    let script = place.host(produce).expect(0).expect("it produces");
    assert_eq!(script.stderr.lines().count(), 1, "{}", script.stderr);
}
