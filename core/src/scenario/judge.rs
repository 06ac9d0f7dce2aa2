//! Whether the panes that came are the panes that were expected.
//!
//! Invariants
//! - Each expected pane is matched by a pane of its own; since an expected pane lists only what is asserted, one pane may
//!   fit several of them, and an assignment is searched (augmenting paths), not the first fit.
//! - Of one key and window, panes are expected in the order in which they came; what is taken back is a sequence of its
//!   own, since it comes together with what replaces it.
//! - Numbers are compared as numbers: 7 and 7.0 are equal, and quotients up to their last bits.
//!
//! Not here: where panes come from (`panes`).

use super::format::MustFail;
use super::{Failure, How};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Ordering;
use serde_json::{Map, Value};

/// A pane, or what is asserted of one: field by field.
pub(super) type Fields = Map<String, Value>;

/// Settles one `expect`.
pub(super) fn settle(step: usize, expected: &[Fields], got: &[Fields]) -> Result<(), Failure> {
    // Which expected pane holds each pane.
    let mut holder: Vec<Option<usize>> = vec![None; got.len()];
    for e in 0..expected.len() {
        if !assign(e, expected, got, &mut vec![false; got.len()], &mut holder) {
            let like = |p: &Fields, name: &str| expected[e].get(name).is_none_or(|v| same(v, p.get(name)));
            let near: Vec<&Fields> = got.iter().filter(|p| like(p, "window") && like(p, "key")).collect();
            let near = if near.is_empty() { got.iter().collect() } else { near };
            return Err(failure(step, MustFail::UnmatchedOutput, &Value::from(expected[e].clone()), &near));
        }
    }
    let rest: Vec<&Fields> = got.iter().zip(&holder).filter(|(_, h)| h.is_none()).map(|(p, _)| p).collect();
    if !rest.is_empty() {
        return Err(failure(step, MustFail::UnexpectedOutput, &Value::from(expected.len()), &rest));
    }
    if !in_order(expected, got) {
        let how = How::Output(MustFail::UnmatchedOutput);
        let list = |panes: &[Fields]| panes.iter().cloned().map(Value::from).collect::<Value>().to_string();
        let expected = format!("the panes of one key and window in the order {}", list(expected));
        return Err(Failure { how, step: Some(step), expected, got: list(got) });
    }
    Ok(())
}

fn failure(step: usize, how: MustFail, expected: &Value, got: &[&Fields]) -> Failure {
    const SHOWN: usize = 3;
    let mut text: Vec<String> = got.iter().take(SHOWN).map(|p| Value::from((*p).clone()).to_string()).collect();
    if got.len() > SHOWN {
        text.push(format!("and {} more", got.len() - SHOWN));
    }
    let text = if text.is_empty() { "no pane".into() } else { text.join(", ") };
    let (expected, got) = match how {
        MustFail::UnmatchedOutput => (expected.to_string(), text),
        MustFail::UnexpectedOutput if expected.as_u64() == Some(0) => ("no pane".into(), text),
        MustFail::UnexpectedOutput => (format!("{expected} panes and no more"), format!("also {text}")),
    };
    Failure { how: How::Output(how), step: Some(step), expected, got }
}

/// Finds a pane for expected pane `e`, moving others to other panes where that helps.
fn assign(e: usize, expected: &[Fields], got: &[Fields], tried: &mut [bool], holder: &mut [Option<usize>]) -> bool {
    for g in 0..got.len() {
        if tried[g] || !fits(&expected[e], &got[g]) {
            continue;
        }
        tried[g] = true;
        if holder[g].is_none_or(|other| assign(other, expected, got, tried, holder)) {
            holder[g] = Some(e);
            return true;
        }
    }
    false
}

/// Whether the expected panes can be taken from the front of what each key and window gave, one after the other. There
/// are as many of them as of the others.
fn in_order(expected: &[Fields], got: &[Fields]) -> bool {
    /// More choices than this between panes that look alike are given up.
    const TRIES_MAX: usize = 100_000;
    let mut sequences: BTreeMap<String, Vec<&Fields>> = BTreeMap::new();
    for p in got {
        let name = ["key", "window", "retraction"].map(|field| p.get(field).map_or_else(String::new, Value::to_string));
        sequences.entry(name.join(" ")).or_default().push(p);
    }
    let sequences: Vec<Vec<&Fields>> = sequences.into_values().collect();
    let mut taken = vec![0; sequences.len()];
    // Of which sequence each expected pane was taken, and the next to try where that leads nowhere.
    let mut path: Vec<usize> = Vec::new();
    let mut from = 0;
    for _ in 0..TRIES_MAX.max(2 * got.len()) {
        let Some(e) = expected.get(path.len()) else { return true };
        let next = (from..sequences.len()).find(|s| sequences[*s].get(taken[*s]).is_some_and(|p| fits(e, p)));
        match (next, path.last()) {
            (Some(s), _) => {
                taken[s] += 1;
                path.push(s);
                from = 0;
            }
            (None, None) => return false,
            (None, Some(last)) => {
                taken[*last] -= 1;
                from = *last + 1;
                path.pop();
            }
        }
    }
    path.len() == expected.len()
}

fn fits(expected: &Fields, got: &Fields) -> bool {
    let asserted = |name: &str| expected.contains_key(name);
    let holds = |name: &str, value: &Value| match (name, value) {
        ("timing_not", v) => !same(v, got.get("timing")),
        ("values", Value::Array(list)) => {
            let mut list = list.clone();
            list.sort_by(order);
            same(&Value::from(list), got.get("values"))
        }
        // Where nothing was added there is nothing to add up; some say 0.
        ("sum", v) if got.get("count") == Some(&Value::from(0)) => v.is_null() || same(v, Some(&Value::from(0))),
        ("timestamp", Value::String(end)) => {
            end == "inf" && got.get("timestamp").and_then(Value::as_i64).is_some_and(|t| t >= i64::MAX - 1)
        }
        ("window", Value::Array(bounds)) => {
            let ours = got.get("window").and_then(Value::as_array);
            ours.is_some_and(|o| o.len() == bounds.len() && o.iter().zip(bounds).all(|(a, b)| same_bound(b, a)))
        }
        (name, v) => same(v, got.get(name)),
    };
    // A pane that takes something back is expected as such, or not at all.
    (asserted("retraction") || !same(&Value::Bool(true), got.get("retraction")))
        && expected.iter().all(|(name, value)| holds(name, value))
}

/// Whether two bounds of windows are equal. Beyond 64 bits they are the ends of time.
fn same_bound(expected: &Value, got: &Value) -> bool {
    let beyond = expected.as_i64().is_none();
    match expected.as_f64() {
        Some(e) if beyond && e >= 9e18 => got.as_i64() == Some(i64::MAX),
        Some(e) if beyond && e <= -9e18 => got.as_i64() == Some(i64::MIN),
        _ => same(expected, Some(got)),
    }
}

/// An order of all values in which equal numbers stand together.
pub(super) fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => match (x.as_i64(), y.as_i64()) {
            (Some(x), Some(y)) => x.cmp(&y),
            _ => x.as_f64().unwrap_or(0.0).total_cmp(&y.as_f64().unwrap_or(0.0)),
        },
        (Value::Number(_), _) => Ordering::Less,
        (_, Value::Number(_)) => Ordering::Greater,
        (a, b) => a.to_string().cmp(&b.to_string()),
    }
}

/// Whether two values are equal, numbers by value.
pub(super) fn same(a: &Value, b: Option<&Value>) -> bool {
    match (a, b) {
        (_, None) => false,
        (Value::Number(x), Some(Value::Number(y))) => match (x.as_i64(), y.as_i64()) {
            (Some(x), Some(y)) => x == y,
            _ => x.as_f64().zip(y.as_f64()).is_some_and(|(x, y)| (x - y).abs() <= 1e-12 * x.abs().max(y.abs())),
        },
        (Value::Array(x), Some(Value::Array(y))) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, Some(y)))
        }
        (a, Some(b)) => a == b,
    }
}
