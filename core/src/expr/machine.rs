//! Finds the value that an expression has for a record.
//!
//! Errors are values, as CEL has it: an operator that is given one gives it on, but `false && error` is false and
//! `error || true` is true, whichever side it stands on, and a condition looks at the branch it chooses alone.
//!
//! Invariants
//! - No allocation per record, and nothing is written down: texts are slices of the record or of the expression.
//! - Time is linear in the record's length, for each step.
//! - Recursion is as deep as the steps are many at most, which `limits::STEPS_MAX` bounds.
//!
//! Not here: which expressions make sense (`expr`).

use super::{Expression, Kind, Op, Step};
use crate::decimal::Decimal;
use crate::json::Slot;
use crate::policy::Path;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// An expression, ready to be asked about records.
pub(crate) struct Machine {
    nodes: Vec<Node>,
    root: u16,
}

struct Node {
    what: What,
    /// The first of the nodes that it works on.
    given: [u16; 3],
}

enum What {
    Field(u16),
    Has(u16),
    Int(i64),
    Number(Box<[u8]>),
    Text(Box<[u8]>),
    In(Box<[u16]>),
    Contains(Needle),
    Op(Op),
}

/// A record's values, as far as expressions ask for them.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    /// What the slots point into.
    pub(crate) buf: &'a [u8],
    /// By field.
    pub(crate) slots: &'a [Slot],
    /// Texts whose escapes have been resolved.
    pub(crate) plain: &'a [u8],
    /// By field: where its text stands in `plain`, if it has escapes.
    pub(crate) escaped: &'a [(u32, u32)],
}

/// What an expression comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// It has no value: a field is missing or of another type (then which one), an integer overflows or is divided by zero.
    Error(Option<u16>),
    Null,
    Bool(bool),
    Int(i64),
    /// A number with a fraction or exponent, or beyond 64 bits, as the record spells it.
    Number(&'a [u8]),
    Text(&'a [u8]),
    /// An object or a list.
    Compound,
}

impl Machine {
    /// A machine for an expression that `check` passed, among fields found by `slot`.
    ///
    /// # Panics
    /// If `check` would not have passed it.
    pub(crate) fn new(expression: &Expression, slot: &dyn Fn(&Path) -> usize) -> Self {
        let mut nodes: Vec<Node> = Vec::with_capacity(expression.0.len());
        let mut stack: Vec<u16> = Vec::new();
        for step in &expression.0 {
            let from = stack.len() - step.operands();
            let all = &stack[from..];
            let given = core::array::from_fn(|i| all.get(i).copied().unwrap_or_default());
            let what = match step {
                Step::Field(p) => What::Field(slot(p) as u16),
                Step::Has(p) => What::Has(slot(p) as u16),
                Step::Int(n) => What::Int(*n),
                Step::Number(t) => What::Number(t.as_bytes().into()),
                Step::Text(t) => What::Text(t.as_bytes().into()),
                Step::In(_) => What::In(all[1..].into()),
                Step::Op(Op::Contains) => match &nodes[usize::from(given[1])].what {
                    What::Text(t) => What::Contains(Needle::new(t)),
                    _ => unreachable!("`check` lets texts alone be looked for"),
                },
                Step::Op(op) => What::Op(*op),
            };
            stack.truncate(from);
            stack.push(nodes.len() as u16);
            nodes.push(Node { what, given });
        }
        let root = *stack.last().expect("`check` passes no expression without a value");
        Self { nodes, root }
    }

    /// The expression's value for a record.
    #[inline]
    pub(crate) fn value<'a>(&'a self, r: &Record<'a>) -> Value<'a> {
        self.find(self.root, r)
    }

    fn find<'a>(&'a self, at: u16, r: &Record<'a>) -> Value<'a> {
        self.leaf(at, r)
    }

    /// A field or a text, which are most of all nodes; the others take a call.
    #[inline(always)]
    fn leaf<'a>(&'a self, at: u16, r: &Record<'a>) -> Value<'a> {
        match &self.nodes[usize::from(at)].what {
            What::Field(slot) => r.value(*slot),
            What::Text(t) => Value::Text(t),
            _ => self.operation(at, r),
        }
    }

    #[inline(never)]
    fn operation<'a>(&'a self, at: u16, r: &Record<'a>) -> Value<'a> {
        let Node { what, given: [a, b, c] } = &self.nodes[usize::from(at)];
        let op = match what {
            What::Field(slot) => return r.value(*slot),
            What::Has(slot) => return Value::Bool(r.slots[usize::from(*slot)] != Slot::Missing),
            What::Int(n) => return Value::Int(*n),
            What::Number(t) => return Value::Number(t),
            What::Text(t) => return Value::Text(t),
            What::In(list) => return self.is_in(*a, list, r),
            What::Contains(needle) => {
                return match self.find(*a, r) {
                    Value::Text(t) => Value::Bool(needle.is_in(t)),
                    other => self.wrong(other, *a),
                };
            }
            What::Op(op) => *op,
        };
        match op {
            Op::True => Value::Bool(true),
            Op::False => Value::Bool(false),
            Op::Null => Value::Null,
            Op::And | Op::Or => self.both(*a, *b, op == Op::And, r),
            Op::If => match self.truth(*a, r) {
                Value::Bool(then) => self.find(if then { *b } else { *c }, r),
                error => error,
            },
            _ => {
                let two = op.row().operands == 2;
                let x = self.leaf(*a, r);
                let y = if two { self.leaf(*b, r) } else { x };
                result(op, x, y).unwrap_or_else(|| self.blamed(op, &[(x, *a), (y, if two { *b } else { *a })]))
            }
        }
    }

    /// A truth value, or an error.
    fn truth<'a>(&'a self, at: u16, r: &Record<'a>) -> Value<'a> {
        match self.find(at, r) {
            Value::Bool(b) => Value::Bool(b),
            other => self.wrong(other, at),
        }
    }

    /// `&&` or `||`: `neutral` where both sides are, the other where one is, and else the first side's error.
    fn both<'a>(&'a self, a: u16, b: u16, neutral: bool, r: &Record<'a>) -> Value<'a> {
        let first = self.truth(a, r);
        if first == Value::Bool(!neutral) {
            return first;
        }
        let second = self.truth(b, r);
        if first == Value::Bool(neutral) || second == Value::Bool(!neutral) { second } else { first }
    }

    fn is_in<'a>(&'a self, a: u16, list: &[u16], r: &Record<'a>) -> Value<'a> {
        let x = self.leaf(a, r);
        let mut found = false;
        for at in list {
            let y = self.leaf(*at, r);
            match equal(x, y) {
                Some(same) => found |= same,
                None => return self.blamed(Op::Equal, &[(x, a), (y, *at)]),
            }
        }
        if let Value::Error(_) = x { x } else { Value::Bool(found) }
    }

    /// The error of operands for which there is no result: the first that one of them has, or that one is of another type.
    #[cold]
    #[inline(never)]
    fn blamed(&self, op: Op, operands: &[(Value<'_>, u16)]) -> Value<'static> {
        for (value, at) in operands {
            if let Value::Error(_) = value {
                return self.wrong(*value, *at);
            }
        }
        for (value, at) in operands {
            let fits = match op.row().wants {
                Kind::Int => matches!(value, Value::Int(_)),
                Kind::Text => matches!(value, Value::Text(_)),
                // What is compared with a field is usually written out.
                _ => !matches!(self.nodes[usize::from(*at)].what, What::Field(_)),
            };
            if !fits {
                return self.wrong(*value, *at);
            }
        }
        Value::Error(None)
    }

    /// The error that `at` has another type than is wanted, or the error that it has already.
    #[inline(never)]
    fn wrong(&self, value: Value<'_>, at: u16) -> Value<'static> {
        match (value, &self.nodes[usize::from(at)].what) {
            (Value::Error(field), _) => Value::Error(field),
            (_, What::Field(slot)) => Value::Error(Some(*slot)),
            _ => Value::Error(None),
        }
    }
}

impl<'a> Record<'a> {
    #[inline]
    fn value(&self, slot: u16) -> Value<'a> {
        match self.slots[usize::from(slot)] {
            Slot::Str { start, end, escaped: false } => Value::Text(&self.buf[start as usize..end as usize]),
            Slot::Int(n) => Value::Int(n),
            Slot::Str { .. } => {
                let (start, end) = self.escaped[usize::from(slot)];
                Value::Text(&self.plain[start as usize..end as usize])
            }
            Slot::Number { start, end } => Value::Number(&self.buf[start as usize..end as usize]),
            Slot::Bool(b) => Value::Bool(b),
            Slot::Null => Value::Null,
            // What is computed with is never asked for as digits.
            Slot::Missing | Slot::Digits { .. } => Value::Error(Some(slot)),
            Slot::Compound { .. } => Value::Compound,
        }
    }
}

/// What an operation makes of its operands, if they fit. One that has a single operand gets it twice.
fn result<'a>(op: Op, x: Value<'_>, y: Value<'_>) -> Option<Value<'a>> {
    let found = match op {
        Op::Equal => equal(x, y)?,
        Op::NotEqual => !equal(x, y)?,
        Op::Less => order(x, y)?.is_lt(),
        Op::AtMost => order(x, y)?.is_le(),
        Op::Greater => order(x, y)?.is_gt(),
        Op::AtLeast => order(x, y)?.is_ge(),
        _ => match (x, y) {
            (Value::Int(x), Value::Int(y)) => return arithmetic(op, x, y).map(Value::Int),
            (Value::Text(x), Value::Text(y)) => match op {
                Op::StartsWith => x.starts_with(y),
                Op::EndsWith => x.ends_with(y),
                // A character's first byte is not of the form 10xxxxxx.
                Op::Size => return Some(Value::Int(x.iter().filter(|b| **b & 0xc0 != 0x80).count() as i64)),
                _ => return None,
            },
            (Value::Bool(x), _) if op == Op::Not => !x,
            _ => return None,
        },
    };
    Some(Value::Bool(found))
}

fn arithmetic(op: Op, x: i64, y: i64) -> Option<i64> {
    match op {
        Op::Negative => x.checked_neg(),
        Op::Add => x.checked_add(y),
        Op::Subtract => x.checked_sub(y),
        Op::Multiply => x.checked_mul(y),
        Op::Divide => x.checked_div(y),
        Op::Remainder => x.checked_rem(y),
        _ => None,
    }
}

/// Values of different types differ; `None` for errors, and for objects and lists among themselves.
#[inline]
fn equal(x: Value<'_>, y: Value<'_>) -> Option<bool> {
    match (x, y) {
        (Value::Text(x), Value::Text(y)) => Some(x == y),
        (Value::Error(_), _) | (_, Value::Error(_)) | (Value::Compound, Value::Compound) => None,
        (Value::Int(_) | Value::Number(_), Value::Int(_) | Value::Number(_)) => order(x, y).map(Ordering::is_eq),
        _ => Some(x == y),
    }
}

/// The order of numbers, of texts (by their characters) and of truth values; `None` for anything else.
#[inline(never)]
fn order(x: Value<'_>, y: Value<'_>) -> Option<Ordering> {
    match (x, y) {
        (Value::Int(x), Value::Int(y)) => Some(x.cmp(&y)),
        (Value::Text(x), Value::Text(y)) => Some(x.cmp(y)),
        (Value::Bool(x), Value::Bool(y)) => Some(x.cmp(&y)),
        _ => {
            let (mut a, mut b) = ([0; 20], [0; 20]);
            Some(number(x, &mut a)?.compare(&number(y, &mut b)?))
        }
    }
}

fn number<'a>(value: Value<'a>, buffer: &'a mut [u8; 20]) -> Option<Decimal<'a>> {
    match value {
        Value::Int(n) => Some(Decimal::of_int(n, buffer)),
        Value::Number(text) => Decimal::read(text),
        _ => None,
    }
}

/// A text to be looked for, with what makes it linear (Knuth, Morris, Pratt): how much of its beginning has been seen
/// again before each byte.
struct Needle {
    text: Box<[u8]>,
    again: Box<[u16]>,
}

impl Needle {
    fn new(text: &[u8]) -> Self {
        let mut again = alloc::vec![0; text.len()];
        let mut seen = 0;
        for at in 1..text.len() {
            seen = advance(text, &again, seen, text[at]);
            again[at] = seen as u16;
        }
        Self { text: text.into(), again: again.into() }
    }

    fn is_in(&self, text: &[u8]) -> bool {
        let mut seen = 0;
        self.text.is_empty()
            || text.iter().any(|byte| {
                seen = advance(&self.text, &self.again, seen, *byte);
                seen == self.text.len()
            })
    }
}

/// How much of the needle ends with this byte, after so much of it (but not all) ended before.
fn advance(needle: &[u8], again: &[u16], mut seen: usize, byte: u8) -> usize {
    while seen > 0 && needle[seen] != byte {
        seen = usize::from(again[seen - 1]);
    }
    seen + usize::from(needle[seen] == byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_needle_is_found_where_it_is(needle in "[ab]{0,6}", text in "[ab]{0,40}") {
            prop_assert_eq!(Needle::new(needle.as_bytes()).is_in(text.as_bytes()), text.contains(&needle));
        }
    }
}
