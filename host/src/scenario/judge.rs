//! Whether the panes that came are the panes that were expected.
//!
//! Invariants
//! - Each expected pane is matched by a pane of its own; since an expected pane lists only what is asserted, one pane may
//!   fit several of them, and an assignment is searched (augmenting paths), not the first fit.
//! - Numbers are compared as numbers: 7 and 7.0 are equal, and quotients up to their last bits.
//!
//! Not here: the order of panes of one key and window. The engine gives one, and `run` refuses a second.

use super::format::MustFail;
use super::{Failure, How};
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
    if rest.is_empty() {
        return Ok(());
    }
    Err(failure(step, MustFail::UnexpectedOutput, &Value::from(expected.len()), &rest))
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

fn fits(expected: &Fields, got: &Fields) -> bool {
    expected.iter().all(|(name, value)| match name.as_str() {
        "timing_not" => !same(value, got.get("timing")),
        name => same(value, got.get(name)),
    })
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
