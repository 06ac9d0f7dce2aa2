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
    columns: Columns,
    kept: Box<[Kept]>,
}

/// So many columns need no memory of their own: a record finds its session's count where it has found its bounds.
const FEW: usize = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Columns {
    Few([Column; FEW], u8),
    Many(Box<[Column]>),
}

/// A column's value. In two halves, since 128 bits at once want a place at a multiple of 16 bytes, for which a module's
/// allocator takes twice the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Column {
    low: u64,
    high: i64,
}

impl Column {
    #[inline(always)]
    fn of(v: i128) -> Self {
        Self { low: v as u64, high: (v >> 64) as i64 }
    }

    #[inline(always)]
    fn get(self) -> i128 {
        i128::from(self.high) << 64 | i128::from(self.low)
    }

    #[inline(always)]
    fn add(&mut self, op: Op, v: i128) {
        *self = Self::of(fold(op, self.get(), v));
    }
}

impl Columns {
    /// So many that no record has given a value.
    fn blank(n: usize) -> Self {
        match u8::try_from(n) {
            Ok(few) if n <= FEW => Self::Few([Column::of(NONE); FEW], few),
            _ => Self::Many(alloc::vec![Column::of(NONE); n].into()),
        }
    }

    #[inline(always)]
    fn all(&self) -> &[Column] {
        match self {
            Self::Few(all, n) => &all[..FEW.min(usize::from(*n))],
            Self::Many(all) => all,
        }
    }

    #[inline(always)]
    fn all_mut(&mut self) -> &mut [Column] {
        match self {
            Self::Few(all, n) => &mut all[..FEW.min(usize::from(*n))],
            Self::Many(all) => all,
        }
    }
}

impl Default for Columns {
    fn default() -> Self {
        Self::blank(0)
    }
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
            columns: Columns::blank(self.ops.len()),
            kept: self.keeps.iter().map(|keep| Kept::new(*keep)).collect(),
        }
    }

    /// Makes it as one that has seen nothing.
    pub(super) fn clear(&self, value: &mut Value) {
        value.columns.all_mut().fill(Column::of(NONE));
        if !self.keeps.is_empty() {
            *value = self.blank();
        }
    }

    #[inline(always)]
    pub(super) fn add(&self, value: &mut Value, t: EventTime, v: Values<'_>) {
        for ((held, op), v) in value.columns.all_mut().iter_mut().zip(&self.ops).zip(v.columns) {
            if let Some(v) = *v {
                held.add(*op, v.into());
            }
        }
        if !value.kept.is_empty() {
            add_kept(value, t, v);
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
        for ((held, op), v) in value.columns.all_mut().iter_mut().zip(&self.ops).zip(other.columns.all()) {
            if v.get() != NONE {
                held.add(*op, v.get());
            }
        }
    }

    /// Reads what `Value::write` wrote.
    pub(super) fn read(&self, c: &mut Cursor<'_>) -> Result<Value, WireError> {
        let mut value = self.blank();
        for held in value.columns.all_mut() {
            let v = match c.u8()? {
                0 => NONE,
                1 => c.varint_i128()?,
                _ => return Err(c.bad("a value begins with 0 or 1")),
            };
            if v != NONE && v.unsigned_abs() > VALUE_MAX as u128 {
                return Err(c.bad("a value over 10^30"));
            }
            *held = Column::of(v);
        }
        for (held, keep) in value.kept.iter_mut().zip(&self.keeps) {
            *held = Kept::read(*keep, c)?;
        }
        Ok(value)
    }
}

impl Value {
    /// The columns, as panes and rows hold them.
    pub(super) fn columns(&self) -> impl Iterator<Item = Option<i128>> {
        self.columns.all().iter().map(|v| Some(v.get()).filter(|v| *v != NONE))
    }

    /// The kept values, as panes hold them.
    pub(super) fn kept(&self) -> impl Iterator<Item = KeptValue> {
        self.kept.iter().map(Kept::output)
    }

    /// Appends it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for v in self.columns.all() {
            if v.get() == NONE {
                out.push(0);
            } else {
                out.push(1);
                put_i128(out, v.get());
            }
        }
        self.kept.iter().for_each(|kept| kept.write(out));
    }
}

#[inline(never)]
fn add_kept(value: &mut Value, t: EventTime, v: Values<'_>) {
    for (held, text) in value.kept.iter_mut().zip(v.kept) {
        if let Some(text) = text {
            held.add(t, text);
        }
    }
}

#[inline(always)]
fn fold(op: Op, held: i128, v: i128) -> i128 {
    match op {
        _ if held == NONE => v,
        Op::Count | Op::Sum | Op::Squares => held + v,
        Op::Min => held.min(v),
        Op::Max => held.max(v),
    }
}
