//! Files for other programs, read by these programs or by their checkers.
//!
//! Not here: whether the metrics that dashboard and alerts name exist (`scrape`).

use crate::{deployed, output, read, succeeds};
use plimsoll_tests::{process, tools};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

fn tool(name: &str) -> Command {
    Command::new(tools::deploy().join("venv/bin").join(name))
}

#[test]
fn cfn_lint_has_nothing_to_say_of_the_template() {
    let mut lint = tool("cfn-lint");
    lint.args(["--include-checks", "I", "--"]).arg(deployed("template.yaml"));
    assert_eq!(succeeds(lint, ""), "");

    // And it would say something.
    let dir = tempfile::tempdir().expect("a folder");
    let text = std::fs::read_to_string(deployed("template.yaml")).expect("the template");
    let wrong = dir.path().join("template.yaml");
    std::fs::write(&wrong, text.replacen("KeyType: RANGE", "KeyType: SORT", 1)).expect("a file");
    let mut lint = tool("cfn-lint");
    lint.arg(wrong);
    let done = output(lint, "");
    assert!(!done.status.success() && String::from_utf8_lossy(&done.stdout).contains("SORT"), "{done:?}");
}

#[test]
fn hadolint_has_nothing_to_say_of_the_dockerfile() {
    let mut lint = tool("hadolint");
    lint.arg("--no-color").arg(deployed("Dockerfile"));
    assert_eq!(succeeds(lint, ""), "");
}

#[test]
fn the_image_builds_with_the_toolchain_that_the_workspace_asks_for() {
    let manifest = std::fs::read_to_string(plimsoll_tests::workspace().join("Cargo.toml")).expect("the workspace's");
    let wanted = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).expect("a version");
    let image = format!("FROM rust:{}-", wanted.trim_matches('"'));
    let dockerfile = std::fs::read_to_string(deployed("Dockerfile")).expect("the Dockerfile");
    assert!(dockerfile.lines().any(|line| line.starts_with(&image)), "the Dockerfile has no `{image}`");
}

/// What is said of a unit by `systemd-analyze`, or nothing on a machine without it.
fn systemd_analyze(verb: &str, unit: &Path) -> Option<String> {
    let mut analyze = Command::new("systemd-analyze");
    analyze.args([verb, "--no-pager"]).env("SYSTEMD_COLORS", "0");
    match verb {
        "verify" => analyze.arg("--man=no"),
        _ => analyze.args(["--offline=true", "--threshold=15"]),
    };
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("skipped: no systemd-analyze here");
        return None;
    }
    let done = output(
        {
            analyze.arg(unit);
            analyze
        },
        "",
    );
    let said = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(done.status.success(), "systemd-analyze {verb}: {said}");
    Some(said)
}

#[test]
fn systemd_understands_the_unit_and_finds_it_confined() {
    let dir = tempfile::tempdir().expect("a folder");
    let unit = dir.path().join("plimsoll.service");
    let text = std::fs::read_to_string(deployed("plimsoll.service")).expect("the unit");
    // It looks whether the program is there.
    let here = format!("ExecStart={}", process::binary().display());
    assert!(text.contains("ExecStart=/usr/bin/plimsoll"));
    std::fs::write(&unit, text.replacen("ExecStart=/usr/bin/plimsoll", &here, 1)).expect("a file");
    // A key that it does not know is a warning only.
    if let Some(said) = systemd_analyze("verify", &unit) {
        assert_eq!(said, "");
    }
    systemd_analyze("security", &unit);
}

/// `NAME=VALUE` lines.
fn environment(text: &str) -> BTreeMap<&str, &str> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.split_once('=').unwrap_or_else(|| panic!("{line}: expected NAME=VALUE"))).collect()
}

#[test]
fn the_unit_runs_a_command_line_that_the_host_understands() {
    let [unit, settings] =
        ["plimsoll.service", "plimsoll.env"].map(|name| std::fs::read_to_string(deployed(name)).expect("a file"));
    let environment = environment(&settings);
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/plimsoll ")).expect("a command");
    let mut used = BTreeSet::new();
    let mut words = Vec::new();
    for word in line.split(' ') {
        let Some(name) = word.strip_prefix('$') else {
            words.push(word);
            continue;
        };
        let name = name.trim_matches(['{', '}']);
        let value = environment.get(name).unwrap_or_else(|| panic!("plimsoll.env does not set {name}"));
        used.insert(name);
        // Without braces a variable may be several words, or none.
        words.extend(if word.contains('{') { vec![*value] } else { value.split_whitespace().collect() });
    }
    let config = std::fs::read_to_string(deployed("plimsoll.toml")).expect("the configuration");
    for name in environment.keys().filter(|name| !["AWS_REGION", "PLIMSOLL_LOG"].contains(name)) {
        let read = config.contains(&format!("env = \"{name}\""));
        assert!(read || used.contains(name), "{name} of plimsoll.env is used by nobody");
    }
    // The policy is the first thing that it looks for, once it has understood the line.
    let policy = environment["PLIMSOLL_POLICY"];
    let done = process::Host::new(words).run(plimsoll_tests::place::LIMIT).expect("it ends");
    let done = done.expect(plimsoll_tests::place::exit::POLICY).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(done.stderr.contains(policy), "{}", done.stderr);
}

#[test]
fn the_configuration_is_one_that_the_host_takes() {
    let config = deployed("plimsoll.toml");
    let line = ["check", "--config", config.to_str().expect("UTF-8")];
    let done = process::Host::new(line).env("PLIMSOLL_ALARM_TOPIC", "arn:aws:sns:eu-west-1:123456789012:alarms");
    let done = done.run(plimsoll_tests::place::LIMIT).expect("it ends").expect(0);
    done.unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn the_example_device_passes_its_own_tests_and_bundles_for_browsers() {
    let home = tools::deploy().join("device");
    let there = tempfile::tempdir_in(&home).expect("a folder");
    for file in ["package.json", "device.mjs", "kinesis.mjs"] {
        std::fs::copy(deployed("device").join(file), there.path().join(file)).expect("a copy");
    }
    std::fs::create_dir(there.path().join("test")).expect("a folder");
    let test = "test/device.test.mjs";
    std::fs::copy(deployed("device").join(test), there.path().join(test)).expect("a copy");
    let npm = |script: &str| {
        let mut npm = Command::new("npm");
        npm.args(["run", "--silent", script]).current_dir(there.path());
        succeeds(npm, "")
    };
    let said = npm("test");
    assert!(said.contains("# fail 0") && !said.contains("# pass 0"), "{said}");
    npm("bundle");
    let bundle = std::fs::read_to_string(there.path().join("dist/kinesis.js")).expect("a bundle");
    assert!(!bundle.contains("from\"node:"), "the bundle wants Node");
}

#[test]
fn alerts_are_rules_that_prometheus_takes() {
    let rules = read(&["yaml", deployed("prometheus-rules.yaml").to_str().expect("UTF-8")], "");
    let rules = rules["groups"][0]["rules"].as_array().expect("rules");
    let names: BTreeSet<&str> = rules.iter().map(|rule| rule["alert"].as_str().expect("a name")).collect();
    assert_eq!(names.len(), rules.len(), "two alerts of one name");
    let guide = std::fs::read_to_string(plimsoll_tests::workspace().join("OPERATIONS.md")).expect("the guide");
    for rule in rules {
        let name = rule["alert"].as_str().expect("a name");
        assert!(rule["annotations"]["summary"].is_string() && rule["labels"]["severity"].is_string(), "{name}");
        assert!(guide.contains(&format!("`{name}`")), "OPERATIONS.md says nothing of the alert `{name}`");
    }
}
