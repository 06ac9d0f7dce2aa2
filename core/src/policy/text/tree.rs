//! What both languages have in common: values with their places.
//!
//! Invariants
//! - The members of an object stand in the order of the text.
//! - Numbers keep their text: no float ever comes between what was written and what is meant.

/// A range of bytes of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) from: usize,
    pub(super) to: usize,
}

/// A value and its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// A decimal number: digits, sign, point, exponent; no underscores, no other base.
    Number(String),
    Text(String),
    /// A value that JSON does not have (dates, times), as it is written.
    Other(String),
    List(Vec<Node>),
    Object(Vec<Member>),
}

/// A named value of an object.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) key: Span,
    pub(super) node: Node,
}

impl Node {
    /// What stands here, for the middle of a sentence.
    pub(super) fn found(&self) -> String {
        match &self.value {
            Value::Null => "null".into(),
            Value::Bool(b) => b.to_string(),
            Value::Number(n) | Value::Other(n) => cut(n),
            Value::Text(t) => format!("{:?}", cut(t)),
            Value::List(l) if l.is_empty() => "an empty list".into(),
            Value::List(_) => "a list".into(),
            Value::Object(o) if o.is_empty() => "an empty group of fields".into(),
            Value::Object(_) => "a group of fields".into(),
        }
    }
}

/// A text as long as a message bears.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}
