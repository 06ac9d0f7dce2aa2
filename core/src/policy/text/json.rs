//! JSON text → tree. The parser gives every value's place; serde_json is the judge of what is JSON.
//!
//! Not here: duplicate fields (`reader`), since they are found where an object is read.

use super::DEPTH_MAX;
use super::diagnostic::{Code, Finding};
use super::tree::{Member, Node, Span, Value};
use jsonc_parser::common::Ranged as _;
use jsonc_parser::errors::ParseErrorKind;
use jsonc_parser::{CollectOptions, ParseOptions, ast, parse_to_ast};

const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// Reads a document.
pub(super) fn tree(text: &str) -> Result<Node, Finding> {
    let control = scan(text)?;
    if text.trim().is_empty() {
        return Err(syntax(Span { from: 0, to: 0 }, "an empty document".into(), None));
    }
    let parsed = parse_to_ast(text, &CollectOptions::default(), &STRICT).map_err(|e| {
        let range = e.range();
        let hint = match e.kind() {
            ParseErrorKind::CommentsNotAllowed => Some("leave them out, or write the policy in TOML".into()),
            ParseErrorKind::TrailingCommasNotAllowed => Some("leave the last one out".into()),
            ParseErrorKind::SingleQuotedStringsNotAllowed => Some("write double quotes".into()),
            _ => None,
        };
        let message = e.kind().to_string();
        let mut first = message.chars();
        let message = first.next().map_or(String::new(), |c| format!("{}{}", c.to_ascii_lowercase(), first.as_str()));
        syntax(Span { from: range.start, to: range.end }, message, hint)
    });
    let parsed = match (parsed, control) {
        (Ok(parsed), None) => parsed,
        (Ok(_), Some(f)) | (Err(f), None) => return Err(f),
        // The first place is the one to mend: what comes behind often follows from it.
        (Err(f), Some(g)) => return Err(if f.span.from < g.span.from { f } else { g }),
    };
    judge(text)?;
    Ok(node(parsed.value.expect("the document is not empty")))
}

/// What serde_json says: the parser lets a few things pass that are no JSON, like other spaces.
fn judge(text: &str) -> Result<(), Finding> {
    let Err(e) = serde_json::from_str::<serde::de::IgnoredAny>(text) else { return Ok(()) };
    let line_start: usize = text.split_inclusive('\n').take(e.line().saturating_sub(1)).map(str::len).sum();
    let at = (line_start + e.column().saturating_sub(1)).min(text.len());
    let message = e.to_string();
    let message = message.rfind(" at line ").map_or(message.as_str(), |i| &message[..i]);
    Err(syntax(Span { from: at, to: at }, message.into(), None))
}

fn syntax(span: Span, message: String, hint: Option<String>) -> Finding {
    Finding { code: Code::Syntax, path: String::new(), span, message: format!("not JSON: {message}"), hint }
}

/// Refuses deep documents before anything recursive sees them, and looks for control characters in strings.
fn scan(text: &str) -> Result<Option<Finding>, Finding> {
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    let mut control = None;
    for (i, b) in text.bytes().enumerate() {
        if in_text && b < b' ' && control.is_none() {
            let message = "a line break or control character in a string".into();
            let hint = Some("close the string before it, or write it as an escape, like \\n".into());
            control = Some(syntax(Span { from: i, to: i + 1 }, message, hint));
        }
        match b {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(too_deep(Span { from: i, to: i + 1 }));
                }
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(control)
}

pub(super) fn too_deep(span: Span) -> Finding {
    Finding {
        code: Code::TooDeep,
        path: String::new(),
        span,
        message: format!("a document nested deeper than {DEPTH_MAX}"),
        hint: None,
    }
}

fn node(value: ast::Value<'_>) -> Node {
    let range = value.range();
    let span = Span { from: range.start, to: range.end };
    let value = match value {
        ast::Value::NullKeyword(_) => Value::Null,
        ast::Value::BooleanLit(b) => Value::Bool(b.value),
        ast::Value::NumberLit(n) => Value::Number(n.value.into()),
        ast::Value::StringLit(s) => Value::Text(s.value.into_owned()),
        ast::Value::Array(a) => Value::List(a.elements.into_iter().map(node).collect()),
        ast::Value::Object(o) => Value::Object(o.properties.into_iter().map(member).collect()),
    };
    Node { span, value }
}

fn member(p: ast::ObjectProp<'_>) -> Member {
    let range = p.name.range();
    Member { key: Span { from: range.start, to: range.end }, name: p.name.into_string(), node: node(p.value) }
}
