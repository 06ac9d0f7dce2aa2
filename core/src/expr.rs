//! Expressions over a record: the policy's filter and its computed fields. A small part of CEL, the Common Expression
//! Language.
//!
//! ```text
//! country == "JP" && size(page) > 0        as people write it (`parse`, `print`)
//! [["field","country"],["text","JP"],["=="],["field","page"],["size"],["int","0"],[">"],["&&"]]
//!                                          as steps: what a policy holds and its digest is taken of
//! ```
//! Steps stand behind what they work on, so brackets are gone, and how an expression was spaced, bracketed and quoted
//! is no part of a policy.
//!
//! Invariants
//! - `check` passes only steps that leave one value of the wanted kind, so that `Machine` has nothing to refuse.
//! - What CEL's type checker would refuse is refused by `check`, as far as literals tell: fields have any type.
//!
//! Not here: how a value is found (`machine`), which records a filter leaves out (`decode`).

mod machine;
#[cfg(feature = "text")]
mod parse;
#[cfg(feature = "text")]
mod print;
#[cfg(all(test, feature = "text"))]
mod tests;

use crate::decimal::Decimal;
use crate::decode::write_int;
use crate::policy::Path;
use alloc::string::String;
use alloc::vec::Vec;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) use machine::{Machine, Record, Value};
#[cfg(feature = "text")]
pub(crate) use parse::{Problem, parse};

/// Bounds of one expression.
pub mod limits {
    /// Longest text, in bytes; the same for its texts in all.
    pub const TEXT_BYTES_MAX: usize = 4_096;
    /// Most fields, literals, operators and functions in all.
    pub const STEPS_MAX: usize = 256;
    /// Deepest nesting of brackets, calls, conditions and signs.
    pub const DEPTH_MAX: usize = 32;
    /// Most different fields of the record.
    pub const FIELDS_MAX: usize = 16;
    /// Longest number with a point or exponent, in bytes of its canonical spelling.
    pub const NUMBER_BYTES_MAX: usize = 64;
}

/// An expression as its steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression(pub Vec<Step>);

/// One step: it takes the values of the steps before it, as many as it works on, and leaves one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The value of a field of the record.
    Field(Path),
    /// Whether the field is there.
    Has(Path),
    /// An integer.
    Int(i64),
    /// A number with a point or an exponent, in its one spelling: digits, `e`, exponent.
    Number(String),
    /// A text.
    Text(String),
    /// `a in [b, c]`: with how many are in the list.
    In(u32),
    /// Anything that needs no more than its name.
    Op(Op),
}

/// A step that needs no more than its name. The order is that of the table below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names in the table below say it")]
pub enum Op {
    True,
    False,
    Null,
    Not,
    Negative,
    And,
    Or,
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    If,
    StartsWith,
    EndsWith,
    Contains,
    Size,
}

/// What there is to know of an operation.
struct Row {
    op: Op,
    /// In canonical forms.
    name: &'static str,
    operands: usize,
    /// What each operand must be.
    wants: Kind,
    leaves: Kind,
    level: Level,
}

const fn row(op: Op, name: &'static str, operands: usize, wants: Kind, leaves: Kind, level: Level) -> Row {
    Row { op, name, operands, wants, leaves, level }
}

static ROWS: [Row; 23] = [
    row(Op::True, "true", 0, Kind::Any, Kind::Bool, WHOLE),
    row(Op::False, "false", 0, Kind::Any, Kind::Bool, WHOLE),
    row(Op::Null, "null", 0, Kind::Any, Kind::Null, WHOLE),
    row(Op::Not, "!", 1, Kind::Bool, Kind::Bool, SIGN),
    row(Op::Negative, "negative", 1, Kind::Int, Kind::Int, SIGN),
    row(Op::And, "&&", 2, Kind::Bool, Kind::Bool, AND),
    row(Op::Or, "||", 2, Kind::Bool, Kind::Bool, OR),
    row(Op::Equal, "==", 2, Kind::Any, Kind::Bool, RELATION),
    row(Op::NotEqual, "!=", 2, Kind::Any, Kind::Bool, RELATION),
    row(Op::Less, "<", 2, Kind::Any, Kind::Bool, RELATION),
    row(Op::AtMost, "<=", 2, Kind::Any, Kind::Bool, RELATION),
    row(Op::Greater, ">", 2, Kind::Any, Kind::Bool, RELATION),
    row(Op::AtLeast, ">=", 2, Kind::Any, Kind::Bool, RELATION),
    row(Op::Add, "+", 2, Kind::Int, Kind::Int, SUM),
    row(Op::Subtract, "-", 2, Kind::Int, Kind::Int, SUM),
    row(Op::Multiply, "*", 2, Kind::Int, Kind::Int, PRODUCT),
    row(Op::Divide, "/", 2, Kind::Int, Kind::Int, PRODUCT),
    row(Op::Remainder, "%", 2, Kind::Int, Kind::Int, PRODUCT),
    row(Op::If, "if", 3, Kind::Any, Kind::Any, CONDITION),
    row(Op::StartsWith, "startsWith", 2, Kind::Text, Kind::Bool, WHOLE),
    row(Op::EndsWith, "endsWith", 2, Kind::Text, Kind::Bool, WHOLE),
    row(Op::Contains, "contains", 2, Kind::Text, Kind::Bool, WHOLE),
    row(Op::Size, "size", 1, Kind::Text, Kind::Int, WHOLE),
];

impl Op {
    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }
}

impl Step {
    /// On how many values it works.
    fn operands(&self) -> usize {
        match self {
            Self::Op(op) => op.row().operands,
            Self::In(n) => (*n as usize).saturating_add(1),
            _ => 0,
        }
    }

    /// How tightly it holds together as text.
    fn level(&self) -> Level {
        match self {
            Self::Op(op) => op.row().level,
            Self::In(_) => RELATION,
            Self::Int(n) if *n < 0 => SIGN,
            Self::Number(n) if n.starts_with('-') => SIGN,
            _ => WHOLE,
        }
    }

    /// How tightly its `i`th operand must hold together to stand without brackets.
    fn least(&self, i: usize) -> Level {
        match self {
            Self::In(_) if i > 0 => CONDITION,
            Self::Op(Op::If) if i < 2 => OR,
            Self::Op(Op::If | Op::Size) => CONDITION,
            Self::Op(Op::Not | Op::Negative) => SIGN,
            Self::Op(Op::StartsWith | Op::EndsWith | Op::Contains) if i > 0 => CONDITION,
            // Operators of one level are read from the left.
            _ if i > 0 => self.level() + 1,
            _ => self.level(),
        }
    }

    /// How much deeper its `i`th operand stands than itself, brackets aside.
    fn deeper(&self, i: usize) -> usize {
        match self {
            Self::Op(Op::Negative) => 2,
            Self::Op(Op::Not | Op::Size) => 1,
            Self::Op(Op::If | Op::StartsWith | Op::EndsWith | Op::Contains) | Self::In(_) => i.min(1),
            _ => 0,
        }
    }

    /// The field that it wants of the record.
    pub(crate) fn wants(&self) -> Option<&Path> {
        match self {
            Self::Field(p) | Self::Has(p) => Some(p),
            _ => None,
        }
    }

    /// Its words in the canonical form: what it is, and what it is of.
    fn words(&self) -> Vec<String> {
        let of = |what: &str, of: &str| Vec::from([String::from(what), String::from(of)]);
        match self {
            Self::Field(p) => [&[String::from("field")][..], p].concat(),
            Self::Has(p) => [&[String::from("has")][..], p].concat(),
            Self::Int(n) => of("int", &int(*n)),
            Self::Number(n) => of("number", n),
            Self::Text(t) => of("text", t),
            Self::In(n) => of("in", &int((*n).into())),
            Self::Op(op) => Vec::from([String::from(op.row().name)]),
        }
    }

    /// The step of these words; `None` where there is none, or where they are another spelling of it.
    fn of_words(words: &[String]) -> Option<Self> {
        let (what, of) = words.split_first()?;
        if let ("field" | "has", _) = (what.as_str(), of) {
            return Some(if what == "has" { Self::Has(of.to_vec()) } else { Self::Field(of.to_vec()) });
        }
        let [of] = of else {
            let row = ROWS.iter().find(|r| r.name == what).filter(|_| of.is_empty())?;
            return Some(Self::Op(row.op));
        };
        let whole = || Decimal::read(of.as_bytes())?.scaled(0).ok().filter(|n| int(*n) == *of);
        match what.as_str() {
            "int" => whole().map(Self::Int),
            "number" => Some(Self::Number(of.clone())),
            "text" => Some(Self::Text(of.clone())),
            "in" => u32::try_from(whole()?).ok().map(Self::In),
            _ => None,
        }
    }
}

#[inline(never)]
fn int(n: i64) -> String {
    let mut out = Vec::new();
    write_int(n, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

// As lists of words, which policies hold anyway: serde's code for an enum like this would be 7 KB of the module.
impl Serialize for Expression {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let words: Vec<Path> = self.0.iter().map(Step::words).collect();
        words.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let words = Vec::<Path>::deserialize(from)?;
        let steps = words.iter().map(|words| Step::of_words(words)).collect::<Option<Vec<Step>>>();
        steps.map(Self).ok_or_else(|| D::Error::custom("no step of an expression"))
    }
}

/// How tightly a text holds together: a part stands in brackets where it holds less than its place asks for.
type Level = u8;

const CONDITION: Level = 0;
const OR: Level = 1;
const AND: Level = 2;
const RELATION: Level = 3;
const SUM: Level = 4;
const PRODUCT: Level = 5;
const SIGN: Level = 6;
const WHOLE: Level = 7;

/// What an expression is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A filter: true or false.
    Truth,
    /// A computed field: an integer, a text, a truth value, or null.
    Value,
}

/// What is known of a value before there is a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Any,
    Bool,
    Int,
    Number,
    Text,
    Null,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Any => "a field's value",
            Self::Bool => "true or false",
            Self::Int => "an integer",
            Self::Number => "a number with a point or exponent",
            Self::Text => "a text",
            Self::Null => "null",
        }
    }

    fn is(self, other: Self) -> bool {
        self == other || self == Self::Any
    }

    /// Whether there is an order, or equality, between two.
    fn goes_with(self, other: Self) -> bool {
        let number = |k| matches!(k, Self::Int | Self::Number);
        self.is(other) || other == Self::Any || (number(self) && number(other))
    }
}

/// Which step cannot be, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Its index.
    pub(crate) step: usize,
    /// What it is given.
    pub(crate) found: &'static str,
    /// What it works on.
    pub(crate) expected: &'static str,
}

impl Expression {
    /// The fields that it wants, each once; of hostile lengths none, which `check` refuses.
    #[inline(never)]
    pub(crate) fn wants(&self) -> Vec<&Path> {
        let mut wanted = Vec::new();
        if self.0.len() <= limits::STEPS_MAX {
            for p in self.0.iter().filter_map(Step::wants) {
                if !wanted.contains(&p) {
                    wanted.push(p);
                }
            }
        }
        wanted
    }

    /// Whether the steps make one value of the kind that is wanted.
    #[inline(never)]
    pub(crate) fn check(&self, wanted: Wanted) -> Result<(), Wrong> {
        let last = self.0.len().saturating_sub(1);
        let wrong = |found, expected| Err(Wrong { step: last, found, expected });
        if self.0.len() > limits::STEPS_MAX {
            return wrong("more of them", "at most 256 fields, literals, operators and functions");
        }
        let paths = self.wants();
        if paths.iter().any(|p| p.first().is_some_and(|name| name.as_bytes().contains(&b'`'))) {
            return wrong("a backtick in a field's name", "a name without one");
        }
        let mut text = 0;
        let mut kinds: Vec<Kind> = Vec::new();
        // How tightly each holds together, and how deep it goes.
        let mut texts: Vec<(Level, usize)> = Vec::new();
        for (step, s) in self.0.iter().enumerate() {
            if let Step::Text(t) = s {
                text += t.len();
            }
            let Some(from) = kinds.len().checked_sub(s.operands()) else {
                return Err(Wrong { step, found: "too few values", expected: "one for each place" });
            };
            let kind = match self.kind(step, &kinds[from..]) {
                Ok(kind) => kind,
                Err((found, expected)) => return Err(Wrong { step, found: found.name(), expected }),
            };
            kinds.truncate(from);
            kinds.push(kind);
            let depths = texts[from..].iter().enumerate();
            let depth = depths.map(|(i, (level, depth))| depth + s.deeper(i) + usize::from(*level < s.least(i))).max();
            let depth = depth.unwrap_or(1);
            if depth > limits::DEPTH_MAX {
                return Err(Wrong { step, found: "more of them in each other", expected: "at most 32 deep" });
            }
            texts.truncate(from);
            texts.push((s.level(), depth));
        }
        if paths.len() > limits::FIELDS_MAX {
            return wrong("more fields", "at most 16 different fields of the record");
        }
        if text > limits::TEXT_BYTES_MAX {
            return wrong("longer texts", "at most 4096 bytes of text");
        }
        let [kind] = kinds[..] else { return wrong("another number of values", "one value") };
        match wanted {
            Wanted::Truth if !kind.is(Kind::Bool) => wrong(kind.name(), "true or false"),
            Wanted::Value if matches!(kind, Kind::Number | Kind::Null) => {
                wrong(kind.name(), "an integer, a text, or true or false")
            }
            _ => Ok(()),
        }
    }

    /// What a step leaves, or what it finds and what it expects.
    #[inline(never)]
    fn kind(&self, at: usize, given: &[Kind]) -> Result<Kind, (Kind, &'static str)> {
        let op = match &self.0[at] {
            Step::Field(_) => return Ok(Kind::Any),
            Step::Has(_) => return Ok(Kind::Bool),
            Step::Int(_) => return Ok(Kind::Int),
            Step::Text(_) => return Ok(Kind::Text),
            Step::Number(text) => {
                let short = text.len() <= limits::NUMBER_BYTES_MAX;
                return match Decimal::read(text.as_bytes()).filter(|d| short && d.spelling() == *text) {
                    Some(_) => Ok(Kind::Number),
                    None => Err((Kind::Number, "its digits, `e` and the exponent, in 64 bytes")),
                };
            }
            Step::In(_) => Op::Equal,
            Step::Op(op) => *op,
        };
        let row = op.row();
        if row.wants != Kind::Any
            && let Some(other) = given.iter().find(|k| !k.is(row.wants))
        {
            return Err((*other, row.wants.name()));
        }
        match op {
            Op::Contains if !matches!(self.0[at - 1], Step::Text(_)) => {
                Err((given[1], "a text to look for that is written out, like \"x\""))
            }
            Op::Equal | Op::NotEqual | Op::Less | Op::AtMost | Op::Greater | Op::AtLeast => {
                let equality = matches!(op, Op::Equal | Op::NotEqual);
                for other in &given[1..] {
                    match (given[0], *other) {
                        // Anything may be asked whether it is null.
                        (Kind::Null, _) | (_, Kind::Null) if equality => {}
                        (Kind::Null, _) | (_, Kind::Null) => {
                            return Err((Kind::Null, "numbers, texts or truth values, which have an order"));
                        }
                        (a, b) if !a.goes_with(b) => return Err((b, unlike(a))),
                        _ => {}
                    }
                }
                Ok(Kind::Bool)
            }
            Op::If if !given[0].is(Kind::Bool) => Err((given[0], Kind::Bool.name())),
            Op::If => Ok(if given[1] == given[2] { given[1] } else { Kind::Any }),
            _ => Ok(row.leaves),
        }
    }
}

/// What a value of this kind is compared with.
fn unlike(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "true or false, like what it is compared with",
        Kind::Text => "a text, like what it is compared with",
        _ => "a number, like what it is compared with",
    }
}
