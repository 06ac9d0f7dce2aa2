//! TOML text → tree.
//!
//! Invariants
//! - Members stand in the order of the text, whatever map the parser keeps them in: the order of measures is part of a
//!   policy.

use super::DEPTH_MAX;
use super::diagnostic::{Code, Finding};
use super::json::too_deep;
use super::tree::{Member, Node, Span, Value};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};
use toml_parser::lexer::TokenKind;

/// Reads a document.
pub(super) fn tree(text: &str) -> Result<Node, Finding> {
    depth(text)?;
    let document = DeTable::parse(text).map_err(|e| {
        let span = e.span().unwrap_or(text.len()..text.len());
        let (code, message) = if e.message().starts_with("duplicate key") {
            (Code::DuplicateField, format!("`{}` is written twice", text.get(span.clone()).unwrap_or_default()))
        } else {
            (Code::Syntax, format!("not TOML: {}", e.message()))
        };
        Finding { code, path: String::new(), span: Span { from: span.start, to: span.end }, message, hint: None }
    })?;
    Ok(Node { span: Span { from: 0, to: 0 }, value: table(document.into_inner(), text) })
}

/// Refuses deep documents before anything recursive sees them: brackets, and the dots of `a.b.c = 1`, which nest too.
fn depth(text: &str) -> Result<(), Finding> {
    let (mut brackets, mut dots) = (0usize, 0usize);
    for token in toml_parser::Source::new(text).lex() {
        match token.kind() {
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => brackets += 1,
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => brackets = brackets.saturating_sub(1),
            TokenKind::Dot => dots += 1,
            TokenKind::Newline if brackets == 0 => dots = 0,
            _ => {}
        }
        if brackets > DEPTH_MAX || dots > DEPTH_MAX {
            return Err(too_deep(Span { from: token.span().start(), to: token.span().end() }));
        }
    }
    Ok(())
}

fn table(table: DeTable<'_>, text: &str) -> Value {
    let mut members: Vec<Member> = table
        .into_iter()
        .map(|(key, value)| Member {
            key: Span { from: key.span().start, to: key.span().end },
            name: key.into_inner().into_owned(),
            node: node(value, text),
        })
        .collect();
    members.sort_by_key(|m| m.key);
    Value::Object(members)
}

fn node(spanned: Spanned<DeValue<'_>>, text: &str) -> Node {
    let range = spanned.span();
    let written = text.get(range.clone()).unwrap_or_default();
    let value = match spanned.into_inner() {
        DeValue::String(s) => Value::Text(s.into_owned()),
        DeValue::Integer(i) => Value::Number(decimal(&i, written)),
        DeValue::Float(f) => Value::Number(f.as_str().replace('_', "")),
        DeValue::Boolean(b) => Value::Bool(b),
        DeValue::Datetime(_) => Value::Other(written.into()),
        DeValue::Array(a) => Value::List(a.into_iter().map(|v| node(v, text)).collect()),
        DeValue::Table(t) => table(t, text),
    };
    Node { span: Span { from: range.start, to: range.end }, value }
}

/// In base ten where it fits; else as written, for the message that refuses it.
fn decimal(i: &DeInteger<'_>, written: &str) -> String {
    i64::from_str_radix(i.as_str(), i.radix()).map_or_else(|_| written.into(), |n| n.to_string())
}
