//! The judge: what the rows must be, computed anew from all records, slowly and plainly.
//!
//! It shares no code and no types with the engine, works on whole JSON values and ordered maps, sorts the whole sample
//! for each quantile, and keeps everything it ever saw. Where it and the engine differ, one of them is wrong.
//!
//! Not here: fields twice inside a nested object (a JSON value has forgotten them), numbers beyond a float's range in
//! fields that nobody wants (the JSON reader refuses them), limits of length and depth, filters.

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

const DAY_MS: i64 = 86_400_000;
/// The times that JavaScript has, too.
const TIME_MS: std::ops::RangeInclusive<i64> = -8_640_000_000_000_000..=8_640_000_000_000_000;
/// The years that a time in its right unit is expected in, in seconds since 1970: 2000 to 2099.
const LIKELY_S: std::ops::Range<i64> = 946_684_800..4_102_444_800;

/// What to compute, in plain terms. Times are integers in milliseconds; a field is named by its path, `a.b` for `b` in `a`.
#[derive(Clone, Debug)]
pub struct Query {
    /// The field of the event time.
    pub time: String,
    /// The field of the arrival time, if records carry it.
    pub arrival: Option<String>,
    /// The fields whose values make the key.
    pub key: Vec<String>,
    /// Size of the fixed windows.
    pub window_ms: i64,
    /// What the watermark follows.
    pub strategy: Strategy,
    /// How far it stays behind.
    pub delay_ms: i64,
    /// How far an event time may be ahead of its arrival.
    pub max_future_ms: i64,
    /// What lateness is judged by.
    pub late_by: LateBy,
    /// Where late records go.
    pub late_to: LateTo,
    /// The columns, by name.
    pub measures: Vec<(String, Measure)>,
}

/// What the watermark follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Strategy {
    /// The greatest event time.
    Max,
    /// The quantile `milli`/1000 of the last `sample` event times, once there are `min_sample`.
    Quantile {
        /// In thousandths.
        milli: i64,
        /// How many event times are remembered.
        sample: usize,
        /// How many there must be.
        min_sample: usize,
    },
    /// The greatest arrival time.
    Arrival,
}

/// What lateness is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateBy {
    /// The record's own time.
    Record,
    /// The end of its window and so many milliseconds more.
    Window {
        /// The allowed lateness.
        allowed_ms: i64,
    },
}

/// Where late records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateTo {
    /// The late rows.
    Table,
    /// Nowhere, but counted.
    Drop,
    /// The main rows.
    Accept,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measure {
    /// How many records.
    Count,
    /// The sum of a field.
    Sum(String),
    /// The least value of a field.
    Min(String),
    /// The greatest value of a field.
    Max(String),
}

/// The columns of a row, by name; absent values are those of records that said `null`.
pub type Columns = BTreeMap<String, Option<i128>>;

/// What must come out. Outcomes of several lanes are merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// By window start and key (the JSON array of the key fields' values, without spaces).
    pub rows: BTreeMap<(i64, String), Columns>,
    /// By window start, key and day of arrival (days since 1970, absent where the arrival is unknown).
    pub late_rows: BTreeMap<(i64, String, Option<i64>), Columns>,
    /// Records seen.
    pub read: u64,
    /// Records in `rows`.
    pub counted: u64,
    /// Records behind the watermark that are not in `rows`.
    pub late: u64,
    /// Records whose clock was too far ahead.
    pub future: u64,
    /// Records that are no events.
    pub rejected: u64,
}

/// Sees one lane's records in order.
#[derive(Debug)]
pub struct Oracle {
    query: Query,
    sample: VecDeque<i64>,
    max_event: Option<i64>,
    max_arrival: Option<i64>,
    watermark: Option<i64>,
    outcome: Outcome,
}

/// Computes a whole file of NDJSON as one lane. Empty lines are no records.
pub fn recompute(query: &Query, ndjson: &[u8]) -> Outcome {
    let mut oracle = Oracle::new(query.clone());
    for line in ndjson.split(|byte| *byte == b'\n') {
        if !line.iter().all(|byte| b" \t\r".contains(byte)) {
            oracle.see(line, None);
        }
    }
    oracle.outcome
}

impl Oracle {
    /// One that has seen nothing.
    pub fn new(query: Query) -> Self {
        let (sample, outcome) = (VecDeque::new(), Outcome::default());
        Self { query, sample, max_event: None, max_arrival: None, watermark: None, outcome }
    }

    /// One that goes on where these have ended, in the order of their shards: it knows the least of what they knew, and as
    /// many of their last event times as a sample holds, taken from each in turn.
    ///
    /// # Panics
    /// If there are none.
    pub fn after(parents: &[&Self]) -> Self {
        let first = parents.first().expect("a shard that goes on has parents");
        let mut child = Self::new(first.query.clone());
        let least = |of: fn(&Self) -> Option<i64>| parents.iter().map(|parent| of(parent)).min().flatten();
        child.max_event = least(|parent| parent.max_event);
        child.max_arrival = least(|parent| parent.max_arrival);
        child.watermark = least(|parent| parent.watermark);
        if let Strategy::Quantile { sample, .. } = first.query.strategy {
            let longest = parents.iter().map(|parent| parent.sample.len()).max().unwrap_or(0);
            let mut youngest = Vec::new();
            for age in 1..=longest {
                for parent in parents {
                    youngest.extend(parent.sample.len().checked_sub(age).map(|at| parent.sample[at]));
                }
            }
            youngest.truncate(sample);
            child.sample = youngest.into_iter().rev().collect();
        }
        child
    }

    /// What came of the records so far.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The lane's watermark after the records so far.
    pub fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    /// Sees the next record, with the arrival time that its source carries, if any.
    pub fn see(&mut self, record: &[u8], carried_arrival: Option<i64>) {
        self.outcome.read += 1;
        let Some(event) = self.event(record, carried_arrival) else {
            self.outcome.rejected += 1;
            return;
        };
        self.max_arrival = self.max_arrival.max(event.arrival);
        if event.arrival.is_some_and(|arrival| event.time > arrival + self.query.max_future_ms) {
            self.outcome.future += 1;
            return;
        }
        self.feed(event.time);
        let start = event.time.div_euclid(self.query.window_ms) * self.query.window_ms;
        let end = start + self.query.window_ms;
        let late = self.watermark.is_some_and(|watermark| match self.query.late_by {
            LateBy::Record => event.time < watermark,
            LateBy::Window { allowed_ms } => end + allowed_ms <= watermark,
        });
        let outcome = &mut self.outcome;
        let row = match (late, self.query.late_to) {
            (false, _) | (true, LateTo::Accept) => {
                outcome.counted += 1;
                outcome.rows.entry((start, event.key)).or_default()
            }
            (true, LateTo::Table) => {
                outcome.late += 1;
                let day = event.arrival.map(|arrival| arrival.div_euclid(DAY_MS));
                outcome.late_rows.entry((start, event.key, day)).or_default()
            }
            (true, LateTo::Drop) => {
                outcome.late += 1;
                return;
            }
        };
        for ((name, measure), value) in self.query.measures.iter().zip(event.values) {
            merge(row, name, measure, value);
        }
    }

    /// Lets the watermark follow one believed event time. (That it follows arrivals only here, and not at those of future
    /// records too, changes no judgement: the next one comes first.)
    fn feed(&mut self, time: i64) {
        self.max_event = self.max_event.max(Some(time));
        let followed = match self.query.strategy {
            Strategy::Max => self.max_event,
            Strategy::Arrival => self.max_arrival,
            Strategy::Quantile { milli, sample, min_sample } => {
                self.sample.push_back(time);
                if self.sample.len() > sample {
                    self.sample.pop_front();
                }
                (self.sample.len() >= min_sample).then(|| quantile(self.sample.iter().copied().collect(), milli))
            }
        };
        let Some(mut candidate) = followed.map(|followed| followed - self.query.delay_ms) else { return };
        if let Some(arrival) = self.max_arrival {
            candidate = candidate.min(arrival);
        }
        self.watermark = self.watermark.max(Some(candidate));
    }

    fn event(&self, record: &[u8], carried_arrival: Option<i64>) -> Option<Event> {
        let fields = object(record)?;
        let arrival = match &self.query.arrival {
            Some(field) => Some(time(find(&fields, field)?)?),
            None => carried_arrival,
        };
        let key = self.query.key.iter().map(|field| {
            let value = find(&fields, field)?;
            (value.is_string() || value.is_boolean() || value.as_i64().is_some()).then(|| value.clone())
        });
        let values = self.query.measures.iter().map(|(_, measure)| match measure {
            Measure::Count => Some(Some(1)),
            Measure::Sum(field) | Measure::Min(field) | Measure::Max(field) => match find(&fields, field)? {
                Value::Null => Some(None),
                value => value.as_i64().map(|value| Some(value.into())),
            },
        });
        Some(Event {
            time: time(find(&fields, &self.query.time)?)?,
            arrival,
            key: Value::Array(key.collect::<Option<_>>()?).to_string(),
            values: values.collect::<Option<_>>()?,
        })
    }
}

impl Outcome {
    /// What several lanes make together.
    #[must_use]
    pub fn merged(outcomes: impl IntoIterator<Item = Self>, query: &Query) -> Self {
        let mut all = Self::default();
        for lane in outcomes {
            for (key, row) in lane.rows {
                merge_row(all.rows.entry(key).or_default(), &row, query);
            }
            for (key, row) in lane.late_rows {
                merge_row(all.late_rows.entry(key).or_default(), &row, query);
            }
            all.read += lane.read;
            all.counted += lane.counted;
            all.late += lane.late;
            all.future += lane.future;
            all.rejected += lane.rejected;
        }
        all
    }
}

struct Event {
    time: i64,
    arrival: Option<i64>,
    key: String,
    /// One per measure.
    values: Vec<Option<i128>>,
}

fn merge_row(row: &mut Columns, other: &Columns, query: &Query) {
    for (name, measure) in &query.measures {
        merge(row, name, measure, other[name]);
    }
}

fn merge(row: &mut Columns, name: &str, measure: &Measure, value: Option<i128>) {
    let column = row.entry(name.to_owned()).or_default();
    let both = column.zip(value).map(|(old, new)| match measure {
        Measure::Count | Measure::Sum(_) => old + new,
        Measure::Min(_) => old.min(new),
        Measure::Max(_) => old.max(new),
    });
    *column = both.or(*column).or(value);
}

/// An integer of milliseconds that a calendar can show, unless it looks like one of another unit.
fn time(value: &Value) -> Option<i64> {
    let time = value.as_i64().filter(|time| TIME_MS.contains(time))?;
    let likely = |per_second: i64| LIKELY_S.contains(&time.div_euclid(per_second));
    (likely(1_000) || !(likely(1) || likely(1_000_000) || likely(1_000_000_000))).then_some(time)
}

/// The quantile by linear interpolation between neighbours (type 7), rounded down.
fn quantile(mut values: Vec<i64>, milli: i64) -> i64 {
    values.sort_unstable();
    let position = milli as i128 * (values.len() as i128 - 1);
    let (below, thousandths) = (position.div_euclid(1000) as usize, position.rem_euclid(1000));
    let low = i128::from(values[below]);
    let high = i128::from(*values.get(below + 1).unwrap_or(&values[below]));
    (low + ((high - low) * thousandths).div_euclid(1000)) as i64
}

/// The fields of one JSON object in their order, those that stand twice included.
struct Fields(Vec<(String, Value)>);

fn object(record: &[u8]) -> Option<Fields> {
    let mut deserializer = serde_json::Deserializer::from_slice(record);
    let fields = deserializer.deserialize_map(Fields(Vec::new())).ok()?;
    deserializer.end().ok()?;
    Some(fields)
}

impl<'de> Visitor<'de> for Fields {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(field) = map.next_entry()? {
            self.0.push(field);
        }
        Ok(self)
    }
}

/// The one value at a path; a field that stands twice has none.
fn find<'a>(fields: &'a Fields, path: &str) -> Option<&'a Value> {
    let mut names = path.split('.');
    let first = names.next()?;
    let mut found = fields.0.iter().filter(|(name, _)| name == first);
    let (Some((_, value)), None) = (found.next(), found.next()) else { return None };
    names.try_fold(value, |value, name| value.as_object()?.get(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(strategy: Strategy) -> Query {
        Query {
            time: "t".into(),
            arrival: Some("a".into()),
            key: vec!["k".into()],
            window_ms: 10,
            strategy,
            delay_ms: 5,
            max_future_ms: 100,
            late_by: LateBy::Record,
            late_to: LateTo::Table,
            measures: vec![("n".into(), Measure::Count), ("s".into(), Measure::Sum("v.x".into()))],
        }
    }

    fn line(time: i64, arrival: i64, value: i64) -> String {
        format!("{{\"t\":{time},\"a\":{arrival},\"k\":\"x\",\"v\":{{\"x\":{value}}}}}\n")
    }

    fn row(count: i128, sum: i128) -> Columns {
        Columns::from([("n".to_owned(), Some(count)), ("s".to_owned(), Some(sum))])
    }

    #[test]
    fn late_and_future_records_by_hand() {
        // Watermarks: 15, 20 (t + 5 allowed), 20 still, so 19 is late and 20 is not; 131 is 101 ahead of its arrival.
        let input = [line(20, 30, 1), line(25, 31, 2), line(19, 31, 4), line(20, 30, 8), line(131, 30, 16)].concat();
        let outcome = recompute(&query(Strategy::Max), input.as_bytes());
        assert_eq!(outcome.rows, BTreeMap::from([((20, r#"["x"]"#.to_owned()), row(3, 11))]));
        assert_eq!(outcome.late_rows, BTreeMap::from([((10, r#"["x"]"#.to_owned(), Some(0)), row(1, 4))]));
        assert_eq!((outcome.read, outcome.counted, outcome.late, outcome.future, outcome.rejected), (5, 3, 1, 1, 0));
    }

    #[test]
    fn a_watermark_is_never_beyond_the_arrivals() {
        let mut oracle = Oracle::new(query(Strategy::Max));
        oracle.see(line(100, 40, 1).trim_end().as_bytes(), None);
        assert_eq!(oracle.watermark(), Some(40));
    }

    #[test]
    fn the_median_ignores_one_fast_clock() {
        let mut oracle = Oracle::new(query(Strategy::Quantile { milli: 500, sample: 3, min_sample: 2 }));
        let mut watermarks = Vec::new();
        for time in [10, 95, 11, 12] {
            oracle.see(line(time, 50, 1).trim_end().as_bytes(), None);
            watermarks.push(oracle.watermark());
        }
        // Samples: one; 10 and 95, whose mean is 52, less the delay; then medians of three that are lower.
        assert_eq!(watermarks, [None, Some(47), Some(47), Some(47)]);
    }

    #[test]
    fn quantiles_are_interpolated_and_rounded_down() {
        assert_eq!(quantile(vec![4, 1], 500), 2);
        assert_eq!(quantile(vec![-4, -1], 500), -3);
        assert_eq!(quantile(vec![0, 10, 20, 30], 900), 27);
        assert_eq!(quantile(vec![7], 999), 7);
    }

    #[test]
    fn what_is_no_event_is_rejected() {
        let lines = [
            "[]",
            "{",
            r#"{"t":1,"a":1,"k":"x"}"#,
            r#"{"t":1.0,"a":1,"k":"x","v":{"x":1}}"#,
            r#"{"t":1,"a":1,"k":null,"v":{"x":1}}"#,
            r#"{"t":1,"t":2,"a":1,"k":"x","v":{"x":1}}"#,
            r#"{"t":1,"a":1,"k":"x","v":{"x":9223372036854775808}}"#,
            r#"{"t":1,"a":1,"k":"x","v":{"x":1}} {}"#,
            r#"{"t":1700000000,"a":1,"k":"x","v":{"x":1}}"#,
            " \r",
        ];
        let outcome = recompute(&query(Strategy::Max), lines.join("\n").as_bytes());
        assert_eq!((outcome.read, outcome.rejected), (9, 9));
        assert_eq!(recompute(&query(Strategy::Max), b"").read, 0);
    }

    #[test]
    fn a_null_is_counted_and_adds_nothing() {
        let null = br#"{"t":20,"a":20,"k":"x","v":{"x":null}}"#;
        let outcome = recompute(&query(Strategy::Arrival), null);
        let columns = Columns::from([("n".to_owned(), Some(1)), ("s".to_owned(), None)]);
        assert_eq!(outcome.rows, BTreeMap::from([((20, r#"["x"]"#.to_owned()), columns)]));
    }

    #[test]
    fn a_child_knows_the_least_of_its_parents() {
        let query = query(Strategy::Quantile { milli: 500, sample: 3, min_sample: 1 });
        let of = |times: &[i64]| {
            let mut oracle = Oracle::new(query.clone());
            times.iter().for_each(|t| oracle.see(line(*t, 1_000, 1).trim_end().as_bytes(), None));
            oracle
        };
        let (a, b) = (of(&[10, 20, 30, 40]), of(&[100]));
        let child = Oracle::after(&[&a, &b]);
        assert_eq!((child.watermark(), child.sample.clone()), (Some(25), VecDeque::from([30, 100, 40])));
        assert_eq!(child.outcome().read, 0, "what they counted is theirs");
        assert_eq!(Oracle::after(&[&a, &of(&[])]).watermark(), None, "a parent that claims nothing");
    }

    #[test]
    fn lanes_add_up() {
        let query = query(Strategy::Arrival);
        let lane = |value| recompute(&query, line(20, 21, value).as_bytes());
        let all = Outcome::merged([lane(1), lane(2)], &query);
        assert_eq!(all.rows, BTreeMap::from([((20, r#"["x"]"#.to_owned()), row(2, 3))]));
        assert_eq!(all.read, 2);
    }
}
