//! `where` and `[fields]` → expressions, with places inside their text.
//!
//! ```text
//! where = "country = 'JP'"          the problem is at byte 8 of the expression
//!                  ^                and at byte 17 of the document
//! ```
//! Not here: the language (`crate::expr`).

use crate::expr::{Expression, Problem, Step, Wanted, parse};
use crate::policy::Computed;
use crate::policy::text::diagnostic::Code;
use crate::policy::text::reader::{Field, Reader, Section};
use crate::policy::text::tree::{Span, Value, cut};

pub(super) fn filter(r: &mut Reader, root: &Section<'_>, text: &str) -> Option<Expression> {
    let f = root.optional("where")?;
    expression(r, &f, text, Wanted::Truth, "country == 'JP'")
}

pub(super) fn computed(r: &mut Reader, root: &Section<'_>, text: &str) -> Vec<Computed> {
    let Some(s) = root.optional("fields").and_then(|f| r.members(&f, "expressions by name")) else { return Vec::new() };
    let read = |f: Field<'_>| {
        let name = f.path.strip_prefix("fields.").unwrap_or_default().to_owned();
        // In place of one that is wrong stands an integer, which fits any use.
        let value = expression(r, &f, text, Wanted::Value, "watch_ms / 1000");
        Computed { name, value: value.unwrap_or_else(|| Expression(vec![Step::Int(0)])) }
    };
    s.each().into_iter().map(read).collect()
}

fn expression(r: &mut Reader, f: &Field<'_>, text: &str, wanted: Wanted, example: &str) -> Option<Expression> {
    let written = r.text(f, "an expression in CEL, as text", Some(format!("like \"{example}\"")))?;
    match parse(written, wanted) {
        Ok(expression) => Some(expression),
        Err(Problem { at, message, hint }) => {
            let (from, to) = (place(text, f, at.start), place(text, f, at.end));
            let span = match (from, to) {
                (Some(from), Some(to)) => Span { from, to },
                _ => f.node.span,
            };
            let message = format!("`{}`: {message}", cut(&f.path));
            r.note(Code::WrongValue, &f.path, span, message, hint);
            None
        }
    }
}

/// Where a byte of a text's value stands in the document; `None` where the text is spread in a way that hides it.
fn place(document: &str, f: &Field<'_>, byte: usize) -> Option<usize> {
    let Value::Text(value) = &f.node.value else { return None };
    let raw = document.get(f.node.span.from..f.node.span.to)?;
    let quotes = ["\"\"\"\r\n", "\"\"\"\n", "'''\r\n", "'''\n", "\"\"\"", "'''", "\"", "'"];
    let quote = quotes.iter().find(|q| raw.starts_with(**q) && raw.len() > q.len())?;
    let escapes = quote.starts_with('"');
    let mut at = quote.len();
    for (i, c) in value.char_indices() {
        if i >= byte {
            break;
        }
        let rest = &raw[at..];
        at += match rest.as_bytes().first()? {
            b'\\' if escapes => match rest.as_bytes().get(1)? {
                // A character beyond the first 65,536 is two such escapes.
                b'u' => 6 * c.len_utf16(),
                b'U' => 10,
                b'x' => 4,
                _ => 2,
            },
            _ if rest.starts_with(c) => c.len_utf8(),
            _ => return None,
        };
        if at > raw.len() || !raw.is_char_boundary(at) {
            return None;
        }
    }
    Some(f.node.span.from + at)
}
