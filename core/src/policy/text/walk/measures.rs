//! `[measures]` → columns, derived numbers and kept values.
//!
//! Not here: the columns of a mean or variance (`columns`), which names and fields make sense (`validate`).

use super::{COLUMNS_OF_MEAN, COLUMNS_OF_VARIANCE, LIST, MEASURE, QUANTILE, SCALED, TOP_K};
use crate::policy::columns::{self, Moment};
use crate::policy::text::diagnostic::Code;
use crate::policy::text::reader::{Field, Reader, Section, nearest};
use crate::policy::text::tree::Value;
use crate::policy::{Derived, Keep, Kept, Measure, Op, Path, limits};
use std::collections::{BTreeMap, BTreeSet};

/// All that `[measures]` says.
#[derive(Debug, Default)]
pub(super) struct Measures {
    pub(super) columns: Vec<Measure>,
    pub(super) derived: Vec<Derived>,
    pub(super) kept: Vec<Kept>,
}

/// What one measure is.
enum Made<'n> {
    Column(Op, Option<Path>, Option<u32>),
    Moment(Moment, Path, Option<u32>),
    /// Out of columns that have names of their own, and stand in these fields.
    Formula(Moment, Vec<(Field<'n>, &'n str)>),
    Kept(Keep, Path),
}

const EXPECTED: &str = "\"count\", or one of the measures of a field";

pub(super) fn measures(r: &mut Reader, root: &Section<'_>) -> Measures {
    let f = r.required(root, "measures", "measures = { events = \"count\" }", "\"measures\": {\"events\": \"count\"}");
    let mut all = Measures::default();
    let Some(s) = f.and_then(|f| r.members(&f, "measures by name")) else { return all };
    let mut formulas = Vec::new();
    for f in s.each() {
        let name = f.path.strip_prefix("measures.").unwrap_or_default().to_owned();
        // In place of one that is wrong stands a count, which fits any name.
        match measure(r, &f).unwrap_or(Made::Column(Op::Count, None, None)) {
            Made::Column(op, field, scale) => all.columns.push(Measure { name, op, field, scale }),
            Made::Moment(moment, field, scale) => {
                let first = all.columns.len() as u32;
                all.columns.extend(columns::made(moment, &name, &field, scale));
                all.derived.push(Derived { name, of: moment.formula([first, first + 1, first + 2]) });
            }
            Made::Formula(moment, names) => {
                formulas.push((all.derived.len(), names));
                // Its columns are looked up below, when all of them have their names.
                all.derived.push(Derived { name, of: moment.formula([u32::MAX; 3]) });
            }
            Made::Kept(what, field) => all.kept.push(Kept { name, what, field }),
        }
    }
    look_up(r, &mut all, formulas);
    all
}

/// Finds the columns that formulas name; a formula whose columns are not all there is left out.
fn look_up(r: &mut Reader, all: &mut Measures, formulas: Vec<(usize, Vec<(Field<'_>, &str)>)>) {
    let mut places: BTreeMap<&str, u32> = BTreeMap::new();
    for (i, m) in all.columns.iter().enumerate() {
        places.entry(&m.name).or_insert(i as u32);
    }
    // Documents may have very many names; policies have few.
    let near: Vec<&str> = places.keys().copied().take(limits::MEASURES_MAX).collect();
    let mut wrong = BTreeSet::new();
    for (at, names) in formulas {
        let mut found = [u32::MAX; 3];
        for ((f, name), column) in names.iter().zip(&mut found) {
            if let Some(place) = places.get(name) {
                *column = *place;
            } else {
                let hint = nearest(name, &near).map(|meant| format!("did you mean \"{meant}\"?"));
                r.refuse(Code::WrongValue, f, "the name of another measure", hint);
                wrong.insert(at);
            }
        }
        let d = &mut all.derived[at];
        d.of = Moment::of(&d.of).formula(found);
    }
    let mut at = 0..;
    all.derived.retain(|_| at.next().is_none_or(|i| !wrong.contains(&i)));
}

fn measure<'n>(r: &mut Reader, f: &Field<'n>) -> Option<Made<'n>> {
    let like = r.like("{ sum = \"impressions\" }", "{\"sum\": \"impressions\"}");
    match &f.node.value {
        Value::Text(t) if t == "count" => Some(Made::Column(Op::Count, None, None)),
        Value::Text(t) => {
            let hint = match MEASURE.fields.iter().find(|name| *name == t) {
                Some(name) => {
                    let [toml, json] = example(name);
                    r.like(&toml, &json)
                }
                None => nearest(t, &["count"]).map(|_| "did you mean \"count\"?".into()).or(like),
            };
            r.refuse(Code::WrongValue, f, EXPECTED, hint);
            None
        }
        Value::Object(members) if !members.is_empty() => {
            let s = r.section(f, &MEASURE)?;
            let (mend, like) = ("give the second its own name", ["sum = \"impressions\"", "\"sum\": \"impressions\""]);
            let (name, field) = r.one_of(&s, MEASURE.fields, "a measure computes one thing", mend, like)?;
            operation(r, name, &field)
        }
        Value::Object(_) => {
            r.refuse(Code::WrongValue, f, EXPECTED, like);
            None
        }
        _ => {
            r.refuse(Code::WrongType, f, EXPECTED, like);
            None
        }
    }
}

/// A measure of this name as it may be written, in both languages.
fn example(name: &str) -> [String; 2] {
    let [toml, json] = operand(name);
    [format!("{{ {name} = {toml} }}"), format!("{{\"{name}\": {json}}}")]
}

fn operand(name: &str) -> [String; 2] {
    let (word, n) = match name {
        "list" => ("most", "100"),
        "quantile" => ("q", "0.95"),
        "top_k" => ("k", "10"),
        _ => return ["\"watch_ms\"".into(), "\"watch_ms\"".into()],
    };
    [format!("{{ field = \"watch_ms\", {word} = {n} }}"), format!("{{\"field\": \"watch_ms\", \"{word}\": {n}}}")]
}

fn operation<'n>(r: &mut Reader, name: &str, f: &Field<'n>) -> Option<Made<'n>> {
    let number = |r: &mut Reader, op: Op| numbers(r, f).map(|(path, scale)| Made::Column(op, Some(path), scale));
    let kept = |what: Keep, path: Option<Path>| Some(Made::Kept(what, path?));
    let [toml, json] = operand(name);
    match name {
        "count" => Some(Made::Column(Op::Count, Some(r.path(f)?), None)),
        "sum" => number(r, Op::Sum),
        "min" => number(r, Op::Min),
        "max" => number(r, Op::Max),
        "squares" => number(r, Op::Squares),
        "mean" => moment(r, f, Moment::Mean),
        "variance" => moment(r, f, Moment::Variance),
        "first" => kept(Keep::First, r.path(f)),
        "last" => kept(Keep::Last, r.path(f)),
        "distinct" => kept(Keep::Distinct, r.path(f)),
        "list" => {
            let s = r.group(f, &LIST, [&toml, &json])?;
            let field = of_field(r, &s);
            let most = r.required(&s, "most", "most = 100", "\"most\": 100");
            let most = most.and_then(|f| r.whole(&f, "1 to 10000 values"));
            kept(Keep::List { most: most? }, field)
        }
        "top_k" => {
            let s = r.group(f, &TOP_K, [&toml, &json])?;
            let field = of_field(r, &s);
            let k = r.required(&s, "k", "k = 10", "\"k\": 10").and_then(|f| r.whole(&f, "1 to 10000 values"));
            kept(Keep::TopK { k: k? }, field)
        }
        _ => {
            let s = r.group(f, &QUANTILE, [&toml, &json])?;
            let field = of_field(r, &s);
            let q = r.required(&s, "q", "q = 0.95", "\"q\": 0.95");
            let q = q.and_then(|f| r.thousandths(&f, 0..=1_000, "a number from 0 to 1 with at most three decimals"));
            kept(Keep::Quantile { q_milli: q? }, field)
        }
    }
}

fn of_field(r: &mut Reader, s: &Section<'_>) -> Option<Path> {
    r.required(s, "field", "field = \"watch_ms\"", "\"field\": \"watch_ms\"").and_then(|f| r.path(&f))
}

/// Integers of a field, or decimals: `{ field = "price", scale = 2 }`.
fn numbers(r: &mut Reader, f: &Field<'_>) -> Option<(Path, Option<u32>)> {
    if !matches!(f.node.value, Value::Object(_)) {
        return Some((r.path(f)?, None));
    }
    let s = r.section(f, &SCALED)?;
    let field = of_field(r, &s);
    let scale = r.required(&s, "scale", "scale = 2", "\"scale\": 2").and_then(|f| r.whole(&f, "0 to 18 decimals"));
    Some((field?, Some(scale?)))
}

/// Of a field, or of columns that are there anyway.
fn moment<'n>(r: &mut Reader, f: &Field<'n>, moment: Moment) -> Option<Made<'n>> {
    let of_field = match &f.node.value {
        Value::Object(members) => members.iter().any(|m| SCALED.fields.contains(&m.name.as_str())),
        _ => true,
    };
    if of_field {
        let (path, scale) = numbers(r, f)?;
        return Some(Made::Moment(moment, path, scale));
    }
    let s = r.section(f, if moment == Moment::Mean { &COLUMNS_OF_MEAN } else { &COLUMNS_OF_VARIANCE })?;
    let words = ["sum", "count", "squares"].into_iter().take(moment.endings().len());
    let mut columns = Vec::new();
    for word in words {
        let f = r.required(&s, word, &format!("{word} = \"{word}\""), &format!("\"{word}\": \"{word}\""));
        columns.push(f.and_then(|f| Some((f.clone(), r.text(&f, "the name of another measure", None)?))));
    }
    Some(Made::Formula(moment, columns.into_iter().collect::<Option<Vec<_>>>()?))
}
