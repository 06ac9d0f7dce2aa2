//! What a pane holds: columns that add up, and kept values.
//!
//! Invariants
//! - `merge` is associative; over columns it is commutative too, and a blank one is its neutral element.
//! - Columns are 128 bits wide: no sum of 64-bit values leaves them.
//!
//! Not here: when it is given out (`panes`), the deltas of rows (`engine::pending`).

use super::kept::Kept;
use crate::policy::{Keep, Op, Spec};
use crate::time::EventTime;
use crate::wire::WireError;
use crate::wire::effects::VALUE_MAX;
use crate::wire::panes::KeptValue;
use crate::wire::varint::{Cursor, put_i128};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// No record had a value.
const NONE: i128 = i128::MIN;

/// What the policy computes.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    ops: Vec<Op>,
    keeps: Vec<Keep>,
}

/// What one record brings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'a> {
    /// In the order of the policy's columns.
    pub columns: &'a [Option<i64>],
    /// JSON scalars in the order of the policy's kept values; `None` where the field is null.
    pub kept: &'a [Option<Vec<u8>>],
}

/// A pane's contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Value {
    columns: Box<[i128]>,
    kept: Box<[Kept]>,
}

impl Shape {
    pub(super) fn new(spec: &Spec) -> Self {
        Self { ops: spec.measures.iter().map(|m| m.op).collect(), keeps: spec.kept.iter().map(|k| k.what).collect() }
    }

    /// Columns and kept values.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.ops.len(), self.keeps.len())
    }

    /// A value that has seen nothing.
    pub(super) fn blank(&self) -> Value {
        Value {
            columns: alloc::vec![NONE; self.ops.len()].into(),
            kept: self.keeps.iter().map(|keep| Kept::new(*keep)).collect(),
        }
    }

    /// Makes it as one that has seen nothing.
    pub(super) fn clear(&self, value: &mut Value) {
        value.columns.fill(NONE);
        if !self.keeps.is_empty() {
            *value = self.blank();
        }
    }

    pub(super) fn add(&self, value: &mut Value, t: EventTime, v: Values<'_>) {
        for ((held, op), v) in value.columns.iter_mut().zip(&self.ops).zip(v.columns) {
            if let Some(v) = *v {
                *held = fold(*op, *held, v.into());
            }
        }
        for (held, text) in value.kept.iter_mut().zip(v.kept) {
            if let Some(text) = text {
                held.add(t, text);
            }
        }
    }

    pub(super) fn merge(&self, value: &mut Value, other: &Value) {
        self.merge_columns(value, other);
        for (held, other) in value.kept.iter_mut().zip(&other.kept) {
            held.merge(other);
        }
    }

    /// Merges what nobody else needs.
    pub(super) fn absorb(&self, value: &mut Value, other: Value) {
        self.merge_columns(value, &other);
        for (held, other) in value.kept.iter_mut().zip(other.kept) {
            held.absorb(other);
        }
    }

    fn merge_columns(&self, value: &mut Value, other: &Value) {
        for ((held, op), v) in value.columns.iter_mut().zip(&self.ops).zip(&other.columns) {
            if *v != NONE {
                *held = fold(*op, *held, *v);
            }
        }
    }

    /// Reads what `Value::write` wrote.
    pub(super) fn read(&self, c: &mut Cursor<'_>) -> Result<Value, WireError> {
        let mut value = self.blank();
        for held in &mut value.columns {
            *held = match c.u8()? {
                0 => NONE,
                1 => c.varint_i128()?,
                _ => return Err(c.bad("a value begins with 0 or 1")),
            };
            if *held != NONE && held.unsigned_abs() > VALUE_MAX as u128 {
                return Err(c.bad("a value over 10^30"));
            }
        }
        for (held, keep) in value.kept.iter_mut().zip(&self.keeps) {
            *held = Kept::read(*keep, c)?;
        }
        Ok(value)
    }
}

impl Value {
    /// The columns, as panes and rows hold them.
    pub(super) fn columns(&self) -> Vec<Option<i128>> {
        self.columns.iter().map(|v| Some(*v).filter(|v| *v != NONE)).collect()
    }

    /// The kept values, as panes hold them.
    pub(super) fn kept(&self) -> Vec<KeptValue> {
        self.kept.iter().map(Kept::output).collect()
    }

    /// Appends it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for v in &self.columns {
            if *v == NONE {
                out.push(0);
            } else {
                out.push(1);
                put_i128(out, *v);
            }
        }
        self.kept.iter().for_each(|kept| kept.write(out));
    }
}

fn fold(op: Op, held: i128, v: i128) -> i128 {
    match op {
        _ if held == NONE => v,
        Op::Count | Op::Sum | Op::Squares => held + v,
        Op::Min => held.min(v),
        Op::Max => held.max(v),
    }
}
