//! Configurations that are good, and what is said of those that are not.

use super::*;
use crate::alarm::{LagKind, Points, Standstill, Watched};
use crate::telemetry::EmfTo;
use std::time::Duration;

const SLACK: &str = "https://hooks.slack.com/services/T000/B000/verysecret";

fn env(name: &str) -> Option<String> {
    match name {
        "SLACK_URL" => Some(SLACK.into()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Config, Diagnostics> {
    Config::parse(text, Syntax::Toml, env)
}

/// The example of the reference.
fn example() -> &'static str {
    let reference = include_str!("../../CONFIG.md");
    let (_, rest) = reference.split_once("```toml\n").expect("CONFIG.md begins with an example");
    rest.split_once("```").expect("the example ends").0
}

#[test]
fn the_example_of_the_reference_is_whole_and_means_what_it_says() {
    let config = read(example()).unwrap_or_else(|refused| panic!("{refused}"));
    for field in
        ["lag", "at_least", "state", "poison", "gap", "points", "of", "every", "lane", "name", "cloudwatch", "emf"]
    {
        assert!(example().contains(field), "`{field}` is not shown");
    }
    let commit = &config.alarms[0];
    assert_eq!(commit.watched, Watched::Lag { lag: LagKind::Commit, at_least: Duration::from_secs(600) });
    assert_eq!((Some(commit.points), commit.every), (Points::new(3, 5), Duration::from_secs(60)));
    assert!(config.alarms.iter().any(|rule| rule.watched == Watched::State(Standstill::Halted)));
    assert_eq!(config.notify.len(), 3);
    assert!(config.cloudwatch.is_some() && config.emf.is_some());
    let explained = config.explain();
    assert!(
        explained.contains("Alarm `commit-lag` on each lane: commit lag >= 10m, in 3 of 5 points, one every 1m."),
        "{explained}"
    );
}

#[test]
fn who_says_nothing_has_the_defaults() {
    assert_eq!(read(""), Ok(Config::default()));
    let names: Vec<_> = Config::default().alarms.into_iter().map(|rule| rule.name).collect();
    assert_eq!(names, ["commit-lag", "halted", "paused"]);
    assert_eq!(read("alarm = []").map(|c| c.alarms.len()), Ok(0), "no alarms, on purpose");
    let one = read("[[alarm]]\nlag = \"close\"\nat_least = \"1h\"\nof = 2").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((one.alarms[0].name.as_str(), Some(one.alarms[0].points)), ("close-lag", Points::new(2, 2)));
    let one = read("[[alarm]]\nstate = \"paused\"\npoints = 4").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(Some(one.alarms[0].points), Points::new(4, 4));
}

#[test]
fn json_says_the_same() {
    let toml = "[[alarm]]\nlag = \"read\"\nat_least = \"5m\"\n[metrics]\nemf = \"stdout\"\n[notify]\nslack = { env = \"SLACK_URL\" }";
    let json = r#"{"alarm": [{"lag": "read", "at_least": "5m"}], "metrics": {"emf": "stdout"}, "notify": {"slack": {"env": "SLACK_URL"}}}"#;
    let config = read(toml);
    assert_eq!(config.as_ref().ok().and_then(|c| c.emf.as_ref()).map(|e| &e.to), Some(&EmfTo::Stdout));
    assert_eq!(Config::parse(json, Syntax::Json, env), config);
}

#[test]
fn a_secret_is_nowhere_shown() {
    let config = read("[notify]\nslack = { env = \"SLACK_URL\" }").unwrap_or_else(|e| panic!("{e}"));
    assert!(!format!("{config:?} {}", config.explain()).contains("secret"));
    for bad in [SLACK.replace("https", "http"), SLACK.replace("https://", "https:/"), format!("https://me:{SLACK}")] {
        let refused = read(&format!("[notify]\nslack = \"{bad}\"")).expect_err("it is refused").to_string();
        assert!(refused.starts_with("2:9: `notify.slack`: expected ") && !refused.contains("secret"), "{refused}");
    }
}

#[test]
fn refusals_name_place_and_mend() {
    let cases = [
        ("[[alarm]]\nlagg = \"commit\"", "2:1: unknown field `lagg` in `alarm[0]`, did you mean `lag`?"),
        ("[alarms]", "1:2: unknown field `alarms`, did you mean `alarm`?"),
        ("[[alarm]]\nlag = \"comit\"\nat_least = \"1m\"", "did you mean \"commit\"?"),
        ("[[alarm]]\nlag = \"commit\"", "2:7: `alarm[0].lag`: found \"commit\", expected `at_least` beside it"),
        (
            "[[alarm]]\nlag = \"commit\"\nat_least = 600",
            "3:12: `alarm[0].at_least`: found 600, expected a duration with a unit, like \"600s\"",
        ),
        (
            "[[alarm]]\nlag = \"commit\"\nat_least = \"0s\"",
            "3:12: `alarm[0].at_least`: found \"0s\", expected 1ms to 366d",
        ),
        (
            "[[alarm]]\nlag = \"read\"\nat_least = \"1m\"\nstate = \"halted\"",
            "4:1: `alarm[0].state` excludes `alarm[0].lag`: an alarm watches one thing",
        ),
        (
            "[[alarm]]\nstate = \"halted\"\nat_least = \"1m\"",
            "3:12: `alarm[0].at_least`: found \"1m\", expected no such field: only a lag has it",
        ),
        ("[[alarm]]\nname = \"x\"", "missing one of `lag`, `state`, `poison` or `gap` in `alarm[0]`"),
        ("[[alarm]]\ngap = true\npoints = 6\nof = 5", "3:10: `alarm[0].points`: found 6, expected 1 up to `of`"),
        ("[[alarm]]\ngap = true\nof = 61", "3:6: `alarm[0].of`: found 61, expected 1 to 60 points"),
        ("[[alarm]]\ngap = false", "2:7: `alarm[0].gap`: found false, expected true, or no such field"),
        ("[[alarm]]\npoison = 0", "2:10: `alarm[0].poison`: found 0, expected 1 or more records"),
        ("[[alarm]]\ngap = true\nevery = \"1ms\"", "3:9: `alarm[0].every`: found \"1ms\", expected 50ms to 1d"),
        ("[[alarm]]\ngap = true\n[[alarm]]\ngap = true", "expected a `name` that no other alarm has: `gap` is taken"),
        (
            "[[alarm]]\ngap = true\nname = \"a b\"",
            "3:8: `alarm[0].name`: found \"a b\", expected a name of 1 to 64 letters",
        ),
        (
            "[[alarm]]\ngap = true\nlane = \"[\"",
            "3:8: `alarm[0].lane`: found \"[\", expected a lane's name, or a pattern",
        ),
        (
            "[metrics]\ncloudwatch = { namespce = \"P\" }",
            "2:16: unknown field `namespce` in `metrics.cloudwatch`, did you mean `namespace`?",
        ),
        ("[metrics]\ncloudwatch = { namespace = \"AWS/Kinesis\" }", "expected a namespace"),
        (
            "[metrics]\nemf = { every = \"1m\" }",
            "2:7: `metrics.emf`: found a group of fields, expected a field `to` in it",
        ),
        ("[notify]\nsns = \"alarms\"", "2:7: `notify.sns`: found \"alarms\", expected a topic's ARN, like"),
        (
            "[notify]\nslack = { env = \"NOWHERE\" }",
            "2:17: `notify.slack.env`: found \"NOWHERE\", expected a variable that is set, NOWHERE is empty or not set here",
        ),
        ("[notify]\nslack = { env = \"EMPTY\" }", "EMPTY is empty or not set here"),
        ("[notify]\nslack = { url = \"x\" }", "unknown field `url` in `notify.slack`"),
        (
            "[notify]\nemail = \"me@example.com\"",
            "2:1: unknown field `email` in `notify`, expected `sns`, `slack` or `webhook`",
        ),
    ];
    for (text, words) in cases {
        let refused = read(text).map(|c| format!("{c:?}")).expect_err(text).to_string();
        assert!(refused.contains(words), "{text}\nsays\n{refused}\nand not\n{words}");
    }
}
