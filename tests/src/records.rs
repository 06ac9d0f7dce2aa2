//! Records as strangers send them: seeded, in arrival order, with every trouble that a stream of devices has.
//!
//! Late ones and very late ones, bursts after an offline spell, clocks ahead and far ahead, lines cut off, fields missing,
//! of a wrong type or twice, times in another unit, blank lines, CRLF, escaped and foreign names, other field orders and
//! spaces, bytes that are no UTF-8.
//!
//! Invariants
//! - The same seed and number give the same bytes on every machine.
//! - [`policy`] and [`query`] say the same, once to the engine and once to the judge.
//!
//! Not here: what must come of them (`oracle`).

use crate::oracle::{LateBy, LateTo, Measure, Query, Strategy};
use crate::seed;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::fmt::Write as _;

/// Arrival of the first record, in milliseconds; a whole minute.
pub const START_MS: i64 = 1_700_000_040_000;
const DEVICES: u32 = 2_000;
const PLACEMENTS: u32 = 40;
const CREATIVES: u32 = 8;
const MINUTE_MS: i64 = 60_000;

/// Whether records say when they arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// In the field `arr`.
    Field,
    /// The source says it, or nobody does.
    Outside,
}

/// The policy for these records, as people write it.
pub fn policy(arrivals: Arrivals) -> String {
    let arrival = match arrivals {
        Arrivals::Field => "arrival = { field = \"arr\", unit = \"ms\" }\n",
        Arrivals::Outside => "",
    };
    format!(
        r#"policy = "impressions"

[input]
time = {{ field = "ts", unit = "ms" }}
{arrival}key  = ["placement", "creative"]

[window]
fixed = "1m"

[watermark]
quantile   = 0.5
delay      = "10m"
max_future = "5m"

[late]
by = "record"
to = "table"

[measures]
events      = "count"
impressions = {{ sum = "impressions" }}
watch_ms    = {{ sum = "view.ms" }}
shortest    = {{ min = "view.ms" }}
longest     = {{ max = "view.ms" }}
"#
    )
}

/// The same for the judge.
pub fn query(arrivals: Arrivals) -> Query {
    let watched = || "view.ms".to_owned();
    Query {
        time: "ts".into(),
        arrival: (arrivals == Arrivals::Field).then(|| "arr".into()),
        key: vec!["placement".into(), "creative".into()],
        window_ms: MINUTE_MS,
        strategy: Strategy::Quantile { milli: 500, sample: 501, min_sample: 31 },
        delay_ms: 10 * MINUTE_MS,
        max_future_ms: 5 * MINUTE_MS,
        late_by: LateBy::Record,
        late_to: LateTo::Table,
        measures: vec![
            ("events".into(), Measure::Count),
            ("impressions".into(), Measure::Sum("impressions".into())),
            ("watch_ms".into(), Measure::Sum(watched())),
            ("shortest".into(), Measure::Min(watched())),
            ("longest".into(), Measure::Max(watched())),
        ],
    }
}

/// So many lines, the blank ones among them not counted, with the field `arr`.
pub fn troubled(seed: u64, lines: usize) -> Vec<u8> {
    let mut maker = Maker { random: seed::generator(seed), now: START_MS, last: Vec::new(), burst: None };
    let mut out = Vec::with_capacity(lines * 130);
    for _ in 0..lines {
        maker.line(&mut out);
    }
    // The last line lacks its newline, as in a file that was cut.
    out.extend_from_slice(maker.event(&Fault::None).as_bytes());
    out
}

/// So few records over many hours, each `step_ms` after the one before, of six keys: in order but for some that come up to 15
/// minutes late, and some that cannot be read.
pub fn over_hours(seed: u64, lines: usize, step_ms: i64) -> Vec<u8> {
    let mut random = seed::generator(seed);
    let mut out = String::new();
    for i in 0..lines as i64 {
        let arrival = START_MS + i * step_ms;
        let late = if random.random_range(0..8) == 0 { random.random_range(0..15 * MINUTE_MS) } else { 0 };
        let (placement, creative) = (random.random_range(0..3), random.random_range(0..2));
        let (impressions, watched) = (random.random_range(-3..9), random.random_range(0..30_000));
        let ts = if random.random_range(0..50) == 0 { "\"?\"".to_owned() } else { (arrival - late).to_string() };
        writeln!(
            out,
            "{{\"ts\":{ts},\"arr\":{arrival},\"placement\":\"p-{placement}\",\"creative\":\"c-{creative}\",\
             \"impressions\":{impressions},\"view\":{{\"ms\":{watched}}}}}"
        )
        .expect("a String takes any text");
    }
    out.into_bytes()
}

/// What is wrong with an event's fields.
enum Fault {
    None,
    /// In place of the field's value.
    Value(&'static str, String),
    Missing(&'static str),
    Twice(&'static str),
}

struct Maker {
    random: ChaCha8Rng,
    now: i64,
    /// The line before, for senders that send twice.
    last: Vec<u8>,
    /// A device that is back: so many records left, of this age at first.
    burst: Option<(u32, i64)>,
}

impl Maker {
    fn one_in(&mut self, n: u32) -> bool {
        self.random.random_range(0..n) == 0
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.random.random_range(0..all.len())]
    }

    fn line(&mut self, out: &mut Vec<u8>) {
        // About 55 a second, so that 200,000 fill an hour; arrivals stumble now and then.
        self.now += self.random.random_range(0..37);
        if self.one_in(400) {
            let blank: &[u8] = self.pick(&[&b"\n"[..], b"   \n", b"\r\n", b"\t \r\n"]);
            out.extend_from_slice(blank);
        }
        let line = match self.random.random_range(0..1000) {
            0..=979 => self.event(&Fault::None).into_bytes(),
            980..=989 => {
                let fault = self.fault();
                self.event(&fault).into_bytes()
            }
            990..=993 => self.broken(),
            _ => self.last.clone(),
        };
        out.extend_from_slice(&line);
        let end: &[u8] = if self.one_in(50) { b"\r\n" } else { b"\n" };
        out.extend_from_slice(end);
        self.last = line;
    }

    fn fault(&mut self) -> Fault {
        let field = self.pick(&["ts", "arr", "placement", "creative", "impressions", "view"]);
        match self.random.random_range(0..4) {
            0 => Fault::Missing(field),
            1 => Fault::Twice(field),
            2 => {
                let seconds = self.now / 1000;
                let micros = self.now * 1000;
                let units = [seconds.to_string(), micros.to_string(), format!("\"{}\"", self.now)];
                let at = self.random.random_range(0..units.len());
                let time = self.pick(&["ts", "arr"]);
                Fault::Value(time, units[at].clone())
            }
            _ => {
                let value =
                    self.pick(&["null", "1.5", "1e3", "[]", "{}", "[1]", "9223372036854775808", "NaN", "-", "01"]);
                // A null is no fault where it is only a value to add: it is counted and adds nothing.
                Fault::Value(field, value.to_owned())
            }
        }
    }

    /// A line that is no JSON object.
    fn broken(&mut self) -> Vec<u8> {
        let whole = self.event(&Fault::None).into_bytes();
        match self.random.random_range(0..8) {
            0 => whole[..self.random.random_range(1..whole.len())].to_vec(),
            1 => [&whole[..], b" {}"].concat(),
            2 => b"[1,2,3]".to_vec(),
            3 => b"not json at all".to_vec(),
            4 => [&whole[..whole.len() - 1], b",}"].concat(),
            5 => [&whole[..whole.len() - 1], b",\"note\":\"\xff\xfe\"}"].concat(),
            6 => [&whole[..whole.len() - 1], b",\"deep\":", "[".repeat(100_000).as_bytes()].concat(),
            _ => [&whole[..whole.len() - 1], b",\"tab\":\"a\tb\"}"].concat(),
        }
    }

    /// How old the event is as it arrives; negative where its clock runs ahead.
    fn age(&mut self) -> i64 {
        if let Some((left, age)) = self.burst.take() {
            if left > 0 {
                self.burst = Some((left - 1, age - 15_000));
            }
            return age;
        }
        match self.random.random_range(0..1000) {
            0..=959 => self.random.random_range(0..90_000),
            960..=979 => self.random.random_range(MINUTE_MS..20 * MINUTE_MS),
            980..=989 => self.random.random_range(MINUTE_MS..3 * 24 * 60 * MINUTE_MS),
            990..=993 => -self.random.random_range(0..=5 * MINUTE_MS),
            994..=996 => -self.random.random_range(5 * MINUTE_MS..24 * 60 * MINUTE_MS),
            // Times before 1970 are times.
            997 => self.now + self.random.random_range(0..1_000_000_000_000),
            _ => {
                self.burst = Some((20, 30 * MINUTE_MS));
                30 * MINUTE_MS
            }
        }
    }

    fn event(&mut self, fault: &Fault) -> String {
        let age = self.age();
        let stumble = if self.one_in(20) { self.random.random_range(0..3_000) } else { 0 };
        // The product of two is small more often: some keys are hot.
        let hot = |random: &mut ChaCha8Rng, n: u32| {
            (u64::from(random.random_range(0..n)) * u64::from(random.random_range(0..n)) / u64::from(n)) as u32
        };
        let (placement, creative) = (hot(&mut self.random, PLACEMENTS), hot(&mut self.random, CREATIVES));
        let watched = if self.one_in(100) { "null".into() } else { self.random.random_range(-50..30_000).to_string() };
        let watched = if self.one_in(5_000) { self.pick(&[i64::MIN, i64::MAX]).to_string() } else { watched };
        let device = self.random.random_range(0..DEVICES);
        let mut fields = vec![
            ("device", format!("\"d-{device:05}\"")),
            ("placement", self.name(placement)),
            ("creative", if creative == 3 { "3".into() } else { format!("\"c-{creative:04}\"") }),
            ("ts", (self.now - age).to_string()),
            ("impressions", self.random.random_range(1..6).to_string()),
            ("view", format!("{{\"ms\":{watched},\"full\":true}}")),
            ("arr", (self.now - stumble).to_string()),
        ];
        if self.one_in(30) {
            let extra = [
                r#"{"a":[1,2.5e-3,{"ts":1}],"b":null}"#,
                r#""say \"hi\" \\ \/ \b\f\n\r\t \u00e9 \ud83d\ude00""#,
                "[[[[[[[[]]]]]]]]",
                "-0.0",
                "false",
            ];
            fields.push(("extra", self.pick(&extra).to_owned()));
        }
        match fault {
            Fault::None => {}
            Fault::Value(name, value) => fields.iter_mut().filter(|f| f.0 == *name).for_each(|f| f.1.clone_from(value)),
            Fault::Missing(name) => fields.retain(|f| f.0 != *name),
            Fault::Twice(name) => fields.extend(fields.iter().find(|f| f.0 == *name).cloned()),
        }
        if self.one_in(40) {
            let by = self.random.random_range(0..fields.len());
            fields.rotate_left(by);
        }
        let (space, escape) = (self.one_in(40), self.one_in(60));
        let mut line = String::from(if space { " { " } else { "{" });
        for (at, (name, value)) in fields.iter().enumerate() {
            line.push_str(match (at, space) {
                (0, _) => "",
                (_, true) => " ,\t",
                (_, false) => ",",
            });
            line.push('"');
            if escape {
                write!(line, "\\u{:04x}{}", name.as_bytes()[0], &name[1..]).expect("text takes all");
            } else {
                line.push_str(name);
            }
            line.push_str(if space { "\" : " } else { "\":" });
            line.push_str(value);
        }
        line.push_str(if space { " }  " } else { "}" });
        line
    }

    /// A placement's name as JSON; one name may be written in several ways.
    fn name(&mut self, number: u32) -> String {
        match number {
            1 => self.pick(&["\"\u{e9}t\u{e9}\"", r#""\u00e9t\u00E9""#]).to_owned(),
            2 => self.pick(&["\"\u{1f600}\"", r#""\ud83d\ude00""#]).to_owned(),
            3 => self.pick(&[r#""a\"b\\c\/d""#, r#""a\u0022b\u005cc/d""#]).to_owned(),
            4 => "\"\u{65e5}\u{672c}\u{8a9e}\"".to_owned(),
            5 => self.pick(&[r#""\n\u0001""#, r#""\u000a\u0001""#]).to_owned(),
            6 => "true".to_owned(),
            7 => "\"\"".to_owned(),
            _ => format!("\"p-{number:03}\""),
        }
    }
}
