//! Good policies as people write them: both languages, all the fields, the defaults, the identity.

use plimsoll_core::policy::text::{Syntax, parse};
use plimsoll_core::policy::{
    Accumulation, Bundle, CalendarUnit, Derived, Emission, Format, Formula, Future, Input, Keep, Late, LateBy, LateTo,
    Limits, Measure, Op, Panes, Policy, Rollup, Spec, Strategy, TimeField, TimeUnit, TimestampCombiner, Touching,
    Trigger, Watermark, Windowing, explain, limits,
};
use plimsoll_core::time::TimeDelta;

const SMALL: &str = r#"
policy = "views"
input = { time = { field = "ts", unit = "ms" }, key = ["page"] }
window = { fixed = "1m" }
measures = { events = "count" }
"#;

const FULL_TOML: &str = r#"
policy = "impressions"                  # every field written
[input]
format  = "json"
time    = { field = "meta.ts", unit = "us", unit_check = false }
arrival = { field = ["meta", "arr"], unit = "rfc3339" }
key     = ["placement", "ad.creative", ["v1.0", "size"]]
source  = "device"
[window]
fixed  = "1h"
offset = "15m"
[watermark]
quantile   = 0.25
sample     = 1_001
min_sample = 0x20
delay      = "90s"
max_future = "1h30m"
future     = "clamp"
[late]
by = "window"
allowed_lateness = "2d"
to = "accept"
[measures]
zebras      = "count"
impressions = { sum = "n" }
shortest    = { min = "watch.ms" }
longest     = { max = ["watch", "ms"] }
apples      = "count"
[limits]
record_bytes = 2048
key_bytes = 512
dead_letter_bytes = 1024
"#;

const FULL_JSON: &str = r#"{
  "policy": "impressions",
  "limits": {"record_bytes": 2048, "key_bytes": 512, "dead_letter_bytes": 1024},
  "input": {
    "format": "json",
    "time": {"field": "meta.ts", "unit": "us", "unit_check": false},
    "arrival": {"field": "meta.arr", "unit": "rfc3339"},
    "key": ["placement", "ad.creative", ["v1.0", "size"]],
    "source": "device"
  },
  "window": {"fixed": "60m", "offset": "900s"},
  "watermark": {
    "quantile": 0.250, "sample": 1001, "min_sample": 32, "delay": "1m30s", "max_future": "1h30m", "future": "clamp"
  },
  "late": {"by": "window", "allowed_lateness": "48h", "to": "accept"},
  "measures": {
    "zebras": "count", "impressions": {"sum": "n"}, "shortest": {"min": "watch.ms"},
    "longest": {"max": "watch.ms"}, "apples": "count"
  }
}"#;

fn path(p: &str) -> Vec<String> {
    p.split('.').map(str::to_owned).collect()
}

fn measure(name: &str, op: Op, field: Option<&str>) -> Measure {
    Measure { name: name.into(), op, field: field.map(path), scale: None }
}

fn full() -> Spec {
    Spec {
        v: 1,
        policy: "impressions".into(),
        filter: None,
        input: Input {
            format: Format::Json,
            time: TimeField { field: path("meta.ts"), unit: TimeUnit::Us, unit_check: false },
            arrival: Some(TimeField { field: path("meta.arr"), unit: TimeUnit::Rfc3339, unit_check: true }),
            key: vec![path("placement"), path("ad.creative"), vec!["v1.0".into(), "size".into()]],
            source: Some(path("device")),
        },
        fields: Vec::new(),
        window: Windowing::Fixed { size: TimeDelta::from_mins(60), offset: TimeDelta::from_mins(15) },
        watermark: Watermark {
            strategy: Strategy::Quantile { q_milli: 250, sample: 1_001, min_sample: 32, per_source: None },
            delay: TimeDelta::from_secs(90),
            max_future: Some(TimeDelta::from_mins(90)),
            future: Future::Clamp,
        },
        late: Late { by: LateBy::Window, allowed_lateness: TimeDelta::from_mins(2 * 24 * 60), to: LateTo::Accept },
        measures: vec![
            measure("zebras", Op::Count, None),
            measure("impressions", Op::Sum, Some("n")),
            measure("shortest", Op::Min, Some("watch.ms")),
            measure("longest", Op::Max, Some("watch.ms")),
            measure("apples", Op::Count, None),
        ],
        derived: Vec::new(),
        kept: Vec::new(),
        panes: None,
        rollup: None,
        limits: Limits { record_bytes: 2_048, key_bytes: 512, dead_letter_bytes: 1_024, keys_per_window: None },
    }
}

fn toml(text: &str) -> Policy {
    Policy::from_toml(text).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn every_field_is_read_in_both_languages() {
    let expected = Policy::new(full()).expect("a good policy");
    assert_eq!(toml(FULL_TOML), expected);
    assert_eq!(Policy::from_json(FULL_JSON).unwrap_or_else(|e| panic!("{e}")), expected);
}

#[test]
fn a_rollup_has_a_zone_of_its_own_in_the_policy_and_changes_no_row() {
    let plain = with("fixed = \"1m\"", "");
    let hours = with("fixed = \"1m\"", "[rollup]\nhour = true");
    let days = with("fixed = \"1m\"", "[rollup]\nhour = true\nday = { zone = \"Asia/Kolkata\" }");
    assert_eq!(plain.spec().rollup, None);
    assert_eq!(hours.spec().rollup, Some(Rollup { day: None }));
    let zone = days.spec().rollup.as_ref().and_then(|r| r.day.as_ref()).expect("a zone");
    assert_eq!((zone.name.as_str(), zone.first, zone.changes.len()), ("Asia/Kolkata", 19_800, 0));
    assert!(!String::from_utf8_lossy(plain.canonical()).contains("rollup"), "old digests stay");
    assert_eq!([plain.shape(), hours.shape()], [days.shape(); 2], "rows are the same");
    assert_ne!(hours.digest(), days.digest());
    assert!(explain(&days).contains("make rows of hours and days of Asia/Kolkata's calendar, exactly"));
    assert!(explain(&hours).contains("make rows of hours of UTC, exactly"));
}

#[test]
fn measures_keep_the_order_of_the_text() {
    let names = |p: &Policy| p.spec().measures.iter().map(|m| m.name.clone()).collect::<Vec<_>>();
    let table = toml(&format!(
        "{}[measures]\nz.sum = \"a\"\nb = \"count\"\ny.max = \"a\"\n",
        SMALL.replace("measures = { events = \"count\" }\n", "",)
    ));
    assert_eq!(names(&table), ["z", "b", "y"]);
    let headers = SMALL.replace(
        "measures = { events = \"count\" }\n",
        "[measures.z]\nsum = \"a\"\n[late]\n[measures.a]\nmin = \"a\"\n",
    );
    assert_eq!(names(&toml(&headers)), ["z", "a"]);
}

#[test]
fn what_is_not_said_has_its_default() {
    let p = toml(SMALL);
    let s = p.spec();
    assert_eq!(s.input.format, Format::Json);
    assert!(s.input.time.unit_check);
    assert_eq!((&s.input.arrival, &s.input.source), (&None, &None));
    assert_eq!(s.window, Windowing::Fixed { size: TimeDelta::from_mins(1), offset: TimeDelta::ZERO });
    assert_eq!(
        s.watermark,
        Watermark {
            strategy: Strategy::Quantile { q_milli: 500, sample: 501, min_sample: 31, per_source: None },
            delay: TimeDelta::from_mins(10),
            max_future: Some(TimeDelta::from_mins(5)),
            future: Future::Quarantine,
        }
    );
    assert_eq!(s.late, Late { by: LateBy::Record, allowed_lateness: TimeDelta::ZERO, to: LateTo::Table });
    assert_eq!(
        s.limits,
        Limits { record_bytes: 1 << 20, key_bytes: 1 << 10, dead_letter_bytes: 64 << 10, keys_per_window: None }
    );
    // An empty section says no more than none.
    assert_eq!(toml(&format!("{SMALL}[watermark]\n[late]\n[limits]\n")), p);
}

/// The small policy with other windows and with sections behind it.
fn with(window: &str, more: &str) -> Policy {
    toml(&format!("{}{more}\n", SMALL.replace("fixed = \"1m\"", window)))
}

#[test]
fn windows_of_every_kind() {
    let window = |text: &str| with(text, "").spec().window.clone();
    let min = TimeDelta::from_mins;
    assert_eq!(
        window("sliding = { size = \"10m\", every = \"1m\" }, offset = \"30s\""),
        Windowing::Sliding { size: min(10), every: min(1), offset: TimeDelta::from_secs(30) }
    );
    assert_eq!(
        window("cumulative = { size = \"1d\", step = \"1h\" }"),
        Windowing::Cumulative { size: min(24 * 60), step: min(60), offset: TimeDelta::ZERO }
    );
    assert_eq!(
        window("session = { gap = \"30s\" }"),
        Windowing::Session { gap: TimeDelta::from_secs(30), gap_field: None, touching: Touching::Separate }
    );
    assert_eq!(
        window("session = { gap = \"30s\", gap_field = \"g.ms\", touching = \"merge\" }"),
        Windowing::Session { gap: TimeDelta::from_secs(30), gap_field: Some(path("g.ms")), touching: Touching::Merge }
    );
    assert_eq!(window("global = true"), Windowing::Global);
    let Windowing::Calendar { every, zone } = window("calendar = { every = \"week\", zone = \"Europe/Berlin\" }")
    else {
        panic!("a calendar was asked for")
    };
    assert_eq!((every, zone.name.as_str(), zone.first), (CalendarUnit::Week, "Europe/Berlin", 3_600));
    assert!(zone.changes.contains(&(1_774_746_000, 7_200)), "summer time of 2026");
}

/// What a `[trigger]` that says nothing means.
fn default_panes() -> Panes {
    Panes {
        trigger: Trigger::Default,
        accumulation: Accumulation::Accumulating,
        timestamp: TimestampCombiner::EndOfWindow,
        timestamp_shift: TimeDelta::ZERO,
        on_time: Emission::IfNonEmpty,
        closing: Emission::IfNonEmpty,
        flush_on_expiry: true,
        bundle: Bundle::Record,
        open_max: 1_000_000,
    }
}

#[test]
fn panes_come_of_a_trigger_and_of_sessions() {
    assert_eq!(with("fixed = \"1m\"", "").spec().panes, None);
    assert_eq!(with("global = true", "").spec().panes, None);
    assert_eq!(with("fixed = \"1m\"", "[trigger]").spec().panes, Some(default_panes()));
    assert_eq!(with("session = { gap = \"1m\" }", "").spec().panes, Some(default_panes()));
    let full = with(
        "fixed = \"1m\"",
        "[trigger]\nwhen = \"always\"\naccumulation = \"discarding\"\ntimestamp = \"latest\"\ntimestamp_shift = \"-1s\"\n\
         on_time_pane = \"always\"\nclosing_pane = \"always\"\nflush_on_expiry = false\nbundle = \"frame\"\nopen_max = 7",
    );
    assert_eq!(
        full.spec().panes,
        Some(Panes {
            trigger: Trigger::Always,
            accumulation: Accumulation::Discarding,
            timestamp: TimestampCombiner::Latest,
            timestamp_shift: TimeDelta::from_secs(-1),
            on_time: Emission::Always,
            closing: Emission::Always,
            flush_on_expiry: false,
            bundle: Bundle::Frame,
            open_max: 7,
        })
    );
}

#[test]
fn triggers_of_every_kind() {
    let when = |text: &str| {
        let p = with("fixed = \"1m\"", &format!("[trigger]\nmay_lose_data = true\nwhen = {text}"));
        // What is written says the same in JSON.
        assert_eq!(Policy::from_json(&p.to_json()).as_ref(), Ok(&p));
        p.spec().panes.clone().expect("panes").trigger
    };
    let count = |count| Trigger::AfterCount { count };
    let boxed = |t: Trigger| Box::new(t);
    assert_eq!(when("\"default\""), Trigger::Default);
    assert_eq!(when("\"never\""), Trigger::Never);
    assert_eq!(when("\"after_watermark\""), Trigger::AfterWatermark { early: None, late: None });
    assert_eq!(when("{ after_watermark = {} }"), Trigger::AfterWatermark { early: None, late: None });
    assert_eq!(
        when("{ after_watermark = { early = { after_count = 5 }, late = \"always\" } }"),
        Trigger::AfterWatermark { early: Some(boxed(count(5))), late: Some(boxed(Trigger::Always)) }
    );
    assert_eq!(when("{ after_count = 9223372036854775807 }"), count(limits::COUNT_MAX));
    let after =
        |delay_ms, align_ms, align_offset_ms| Trigger::AfterProcessingTime { delay_ms, align_ms, align_offset_ms };
    assert_eq!(when("{ after_processing_time = \"1m\" }"), after(60_000, None, 0));
    assert_eq!(when("{ after_processing_time = { delay = \"0s\" } }"), after(0, None, 0));
    assert_eq!(
        when("{ after_processing_time = { delay = \"1s\", align = \"1m\", align_offset = \"5s\" } }"),
        after(1_000, Some(60_000), 5_000)
    );
    assert_eq!(when("{ repeatedly = { after_count = 2 } }"), Trigger::Repeatedly { trigger: boxed(count(2)) });
    let both = || vec![count(1), Trigger::Always];
    assert_eq!(when("{ after_each = [{ after_count = 1 }, \"always\"] }"), Trigger::AfterEach { triggers: both() });
    assert_eq!(when("{ after_any = [{ after_count = 1 }, \"always\"] }"), Trigger::AfterAny { triggers: both() });
    assert_eq!(when("{ after_all = [{ after_count = 1 }, \"always\"] }"), Trigger::AfterAll { triggers: both() });
    assert_eq!(
        when("{ or_finally = { main = \"default\", until = { after_count = 3 } } }"),
        Trigger::OrFinally { main: boxed(Trigger::Default), until: boxed(count(3)) }
    );
    assert_eq!(when("{ every_event_time = \"1h\" }"), Trigger::EveryEventTime { period_ms: 3_600_000 });
}

#[test]
fn means_have_columns_and_kept_values_have_none() {
    let p = toml(&format!(
        "{}[trigger]\n[measures]\na = {{ mean = \"x\" }}\nn = {{ count = \"y\" }}\nb = {{ variance = \"x\" }}\n\
         c = {{ mean = {{ sum = \"a_sum\", count = \"n\" }} }}\nu = {{ list = {{ field = \"z\", most = 3 }} }}\n",
        SMALL.replace("measures = { events = \"count\" }\n", "")
    ));
    let s = p.spec();
    assert_eq!(
        s.measures,
        [
            measure("a_sum", Op::Sum, Some("x")),
            measure("a_count", Op::Count, Some("x")),
            measure("n", Op::Count, Some("y")),
            measure("b_sum", Op::Sum, Some("x")),
            measure("b_count", Op::Count, Some("x")),
            measure("b_squares", Op::Squares, Some("x")),
        ]
    );
    let derived = |name: &str, of: Formula| Derived { name: name.into(), of };
    assert_eq!(
        s.derived,
        [
            derived("a", Formula::Mean { sum: 0, count: 1 }),
            derived("b", Formula::Variance { sum: 3, count: 4, squares: 5 }),
            derived("c", Formula::Mean { sum: 0, count: 2 }),
        ]
    );
    assert_eq!((s.kept.len(), s.kept[0].what), (1, Keep::List { most: 3 }));
    // As it was written, not as it is stored.
    let text = p.to_toml();
    assert!(text.contains("\na = { mean = \"x\" }\nn = { count = \"y\" }\nb = { variance = \"x\" }\n"), "{text}");
    assert_eq!(toml(&text), p);
}

#[test]
fn no_square_of_a_value_leaves_64_bits() {
    assert!(limits::SQUARED_MAX.checked_mul(limits::SQUARED_MAX).is_some());
    assert!((limits::SQUARED_MAX + 1).checked_mul(limits::SQUARED_MAX + 1).is_none());
}

#[test]
fn a_source_with_its_own_watermark_has_its_own_delay() {
    let watermark = |text: &str| with("fixed = \"1m\"", &format!("[watermark]\n{text}")).spec().watermark;
    let given = watermark("given = true");
    assert_eq!((given.strategy, given.delay), (Strategy::Given, TimeDelta::ZERO));
    assert_eq!(watermark("given = true\ndelay = \"1m\"").delay, TimeDelta::from_mins(1));
}

#[test]
fn windows_that_never_expire_lose_nothing() {
    let late = "[late]\nby = \"window\"\nallowed_lateness = \"unbounded\"\n[trigger]";
    let p = with("fixed = \"1m\"", late);
    assert_eq!(p.spec().late.allowed_lateness, limits::LATENESS_UNBOUNDED);
    assert_eq!(toml(&p.to_toml()), p);
}

#[test]
fn the_strategies() {
    let strategy = |text: &str| toml(&format!("{SMALL}[watermark]\n{text}\n")).spec().watermark.strategy;
    assert_eq!(strategy("max = true"), Strategy::Max);
    assert_eq!(strategy("arrival = true"), Strategy::Arrival);
    assert_eq!(
        strategy("quantile = 0.999"),
        Strategy::Quantile { q_milli: 999, sample: 501, min_sample: 31, per_source: None }
    );
    assert_eq!(
        strategy("quantile = 0.001"),
        Strategy::Quantile { q_milli: 1, sample: 501, min_sample: 31, per_source: None }
    );
    assert_eq!(strategy("sample = 7"), Strategy::Quantile { q_milli: 500, sample: 7, min_sample: 7, per_source: None });
    assert_eq!(toml(&format!("{SMALL}[watermark]\nmax_future = \"none\"\n")).spec().watermark.max_future, None);
}

#[test]
fn the_canonical_form_is_read_back_and_nothing_like_it() {
    for p in [toml(SMALL), toml(FULL_TOML)] {
        assert_eq!(Policy::from_canonical(p.canonical()), Ok(p.clone()));
        let mut spaced = p.canonical().to_vec();
        spaced.push(b' ');
        assert!(Policy::from_canonical(&spaced).is_err());
    }
}

#[test]
fn a_policy_keeps_its_identity_over_versions_of_plimsoll() {
    let hex = |b: &[u8]| b.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let p = toml(SMALL);
    assert_eq!(
        std::str::from_utf8(p.canonical()).expect("JSON is text"),
        "{\"v\":1,\"policy\":\"views\",\"input\":{\"format\":\"json\",\"time\":{\"field\":[\"ts\"],\"unit\":\"ms\",\
         \"unit_check\":true},\"arrival\":null,\"key\":[[\"page\"]],\"source\":null},\"window\":{\"fixed\":{\"size\":\
         60000,\"offset\":0}},\"watermark\":{\"strategy\":{\"quantile\":{\"q_milli\":500,\"sample\":501,\
         \"min_sample\":31}},\"delay\":600000,\"max_future\":300000,\"future\":\"quarantine\"},\"late\":{\"by\":\
         \"record\",\"allowed_lateness\":0,\"to\":\"table\"},\"measures\":[{\"name\":\"events\",\"op\":\"count\",\
         \"field\":null}],\"limits\":{\"record_bytes\":1048576,\"key_bytes\":1024,\"dead_letter_bytes\":65536}}"
    );
    assert_eq!(hex(p.digest()), "a39ffa0c7e9cd318ddb678095b15ca96f39b147a32a635563fdc164f4a217eb1");
    assert_eq!(hex(&p.shape()), "64d09df24a074a06");
    // Comments, spaces, the order of sections and the way a duration is written are no part of it.
    let other = "measures.events = \"count\"\nwindow.fixed = \"60s\"\ninput.key = [[\"page\"]]\n\
                 input.time = { unit = \"ms\", field = \"ts\" }\npolicy = 'views'\nlate = { to = \"table\" }";
    assert_eq!(toml(other), p);
}

#[test]
fn the_language_is_guessed_from_the_name_and_then_from_the_text() {
    assert_eq!(Syntax::guess("p.toml", "{"), Syntax::Toml);
    assert_eq!(Syntax::guess("P.JSON", "policy = 1"), Syntax::Json);
    assert_eq!(Syntax::guess("p", " \n{\"policy\""), Syntax::Json);
    assert_eq!(Syntax::guess("-", "\u{feff}{}"), Syntax::Json);
    assert_eq!(Syntax::guess("", "policy = 1"), Syntax::Toml);
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_no_obstacle() {
    let dos = format!("\u{feff}{}", SMALL.replace('\n', "\r\n"));
    assert_eq!(toml(&dos), toml(SMALL));
    let json = format!("\u{feff}{}", FULL_JSON.replace('\n', "\r\n"));
    assert_eq!(parse(&json, Syntax::Json).unwrap_or_else(|e| panic!("{e}")), toml(FULL_TOML));
}

#[test]
fn a_policy_is_explained_in_sentences() {
    assert_eq!(
        explain(&toml(SMALL)),
        "Counts records as events per page, in windows of 1m.\n\
         The event time is ts in milliseconds; the arrival time is the source's own.\n\
         A window is final once the median of the last 501 event times (at least 31) is 10m past its end.\n\
         A record is late when its own time is behind the watermark: it goes to the late table, with the same \
         measures.\n\
         A record more than 5m ahead of its arrival becomes a dead letter, and moves no watermark.\n\
         Records over 1048576 bytes and keys over 1024 bytes are rejected; a dead letter keeps up to 65536 bytes."
    );
    assert_eq!(
        explain(&toml(FULL_TOML)),
        "Counts records as zebras and apples, sums n as impressions, keeps the least watch.ms as shortest, keeps the \
         greatest watch.ms as longest per placement, ad.creative and v1.0.size, in windows of 1h, offset by 15m.\n\
         The event time is meta.ts in microseconds and is not checked for its unit; the arrival time is meta.arr as \
         text like 2026-11-23T19:02:13.250Z.\n\
         A window is final once the 0.25 quantile of the last 1001 event times (at least 32) is 2d1m30s past its \
         end.\n\
         A record is late when its window is final: it still counts in its window's row, so that a final row may \
         change.\n\
         A record more than 1h30m ahead of its arrival counts at the latest time allowed, and moves no watermark.\n\
         Records over 2048 bytes and keys over 512 bytes are rejected; a dead letter keeps up to 1024 bytes."
    );
}

#[test]
fn windows_triggers_and_panes_are_explained() {
    /// The sentences that hold one of the words.
    fn said(p: &Policy, words: &[&str]) -> String {
        let all = explain(p);
        let lines = all.lines().filter(|l| words.iter().any(|w| l.contains(w)));
        lines.collect::<Vec<_>>().join("\n")
    }
    let what = |window: &str| said(&with(window, ""), &["Counts"]);
    assert_eq!(
        what("sliding = { size = \"10m\", every = \"1m\" }"),
        "Counts records as events per page, in windows of 10m, a new one every 1m."
    );
    assert_eq!(
        what("session = { gap = \"30s\", gap_field = \"g\", touching = \"merge\" }"),
        "Counts records as events per page, in sessions (those that touch are one) that end after 30s, or as many \
         milliseconds as g says, without a record."
    );
    assert_eq!(
        what("calendar = { every = \"day\", zone = \"Asia/Tokyo\" }"),
        "Counts records as events per page, in each day of Asia/Tokyo's calendar."
    );
    let finality = |window: &str, more: &str| said(&with(window, more), &[" final", " is late"]);
    assert_eq!(
        finality("global = true", "[late]\nby = \"window\""),
        "The window is final when the stream ends, and never before.\nNo record is late."
    );
    assert_eq!(
        finality("fixed = \"1m\"", "[trigger]\n[late]\nby = \"window\"\nallowed_lateness = \"unbounded\""),
        "No window is ever final: each takes records however late they are.\nNo record is late."
    );
    let panes = |when: &str, more: &str| {
        let p = with("fixed = \"1m\"", &format!("[trigger]\nmay_lose_data = true\nwhen = {when}\n{more}"));
        said(&p, &["pane", "lost"])
    };
    assert_eq!(
        panes("\"default\"", ""),
        "A window gives out a pane at its end and at every later record.\n\
         A pane holds all so far, and stands in for the one before."
    );
    assert_eq!(
        panes(
            "{ after_watermark = { early = { after_processing_time = \"1m\" }, late = { after_count = 1 } } }",
            "accumulation = \"discarding\"\non_time_pane = \"always\"\nflush_on_expiry = false",
        ),
        "A window gives out a pane again and again before its end (1m after the pane's first record came), at its end, \
         and again and again after it (after 1 record).\n\
         A pane holds what came since the one before: a window's panes add up.\n\
         The pane at the end of a window comes out although nothing was added.\n\
         What no pane has given out when the window expires is lost."
    );
    assert_eq!(
        panes("{ after_any = [{ after_count = 5 }, { every_event_time = \"1h\" }] }", "accumulation = \"retracting\""),
        "A window gives out a pane after 5 records or (at every 1h of event time, at its end and at every later record).\n\
         A pane holds all so far; the one before is taken back first, by a pane of its own."
    );
    assert_eq!(
        panes("\"never\"", "accumulation = \"discarding\""),
        "A window gives out a pane only when it expires.\n\
         A pane holds what came since the one before: a window's panes add up."
    );
    assert_eq!(
        panes("{ after_count = 5 }", ""),
        "A window gives out a pane after 5 records.\n\
         Records are lost that come when this has ended and their window still takes some.\n\
         A pane holds all so far, and stands in for the one before."
    );
}
