//! Good policies as people write them: both languages, all the fields, the defaults, the identity.

use plimsoll_core::policy::text::{Syntax, parse};
use plimsoll_core::policy::{
    Format, Future, Input, Late, LateBy, LateTo, Limits, Measure, Op, Policy, Spec, Strategy, TimeField, TimeUnit,
    Watermark, Windowing, explain,
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
    Measure { name: name.into(), op, field: field.map(path) }
}

fn full() -> Spec {
    Spec {
        v: 1,
        policy: "impressions".into(),
        input: Input {
            format: Format::Json,
            time: TimeField { field: path("meta.ts"), unit: TimeUnit::Us, unit_check: false },
            arrival: Some(TimeField { field: path("meta.arr"), unit: TimeUnit::Rfc3339, unit_check: true }),
            key: vec![path("placement"), path("ad.creative"), vec!["v1.0".into(), "size".into()]],
            source: Some(path("device")),
        },
        window: Windowing::Fixed { size: TimeDelta::from_mins(60), offset: TimeDelta::from_mins(15) },
        watermark: Watermark {
            strategy: Strategy::Quantile { q_milli: 250, sample: 1_001, min_sample: 32 },
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
        limits: Limits { record_bytes: 2_048, key_bytes: 512, dead_letter_bytes: 1_024 },
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
            strategy: Strategy::Quantile { q_milli: 500, sample: 501, min_sample: 31 },
            delay: TimeDelta::from_mins(10),
            max_future: Some(TimeDelta::from_mins(5)),
            future: Future::Quarantine,
        }
    );
    assert_eq!(s.late, Late { by: LateBy::Record, allowed_lateness: TimeDelta::ZERO, to: LateTo::Table });
    assert_eq!(s.limits, Limits { record_bytes: 1 << 20, key_bytes: 1 << 10, dead_letter_bytes: 64 << 10 });
    // An empty section says no more than none.
    assert_eq!(toml(&format!("{SMALL}[watermark]\n[late]\n[limits]\n")), p);
}

#[test]
fn the_strategies() {
    let strategy = |text: &str| toml(&format!("{SMALL}[watermark]\n{text}\n")).spec().watermark.strategy;
    assert_eq!(strategy("max = true"), Strategy::Max);
    assert_eq!(strategy("arrival = true"), Strategy::Arrival);
    assert_eq!(strategy("quantile = 0.999"), Strategy::Quantile { q_milli: 999, sample: 501, min_sample: 31 });
    assert_eq!(strategy("quantile = 0.001"), Strategy::Quantile { q_milli: 1, sample: 501, min_sample: 31 });
    assert_eq!(strategy("sample = 7"), Strategy::Quantile { q_milli: 500, sample: 7, min_sample: 7 });
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
