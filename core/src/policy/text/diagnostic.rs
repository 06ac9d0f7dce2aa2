//! What is wrong with a document, where, and the mend.
//!
//! Invariants
//! - Lines and columns count from 1, columns in characters (Unicode scalar values), lines by `\n`.
//! - Codes are stable: appended, never renamed.

use super::DIAGNOSTICS_MAX;
use super::tree::Span;
use serde::Serialize;
use std::fmt;

/// One thing that is wrong with a document.
///
/// Its `Display` is `line:column: message, hint`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Diagnostic {
    /// What kind of thing.
    pub code: Code,
    /// The field, like `window.fixed` or `input.key[1]`; empty for the document as a whole.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// First byte of the place.
    pub from: usize,
    /// The byte behind the place.
    pub to: usize,
    /// What was found and what was expected.
    pub message: String,
    /// The mend, as the end of a sentence: "did you mean `window`?", "like \"60s\"".
    pub hint: Option<String>,
}

/// The kinds of errors. In JSON and for programs in snake case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// The text is no TOML or JSON.
    Syntax,
    /// The document is too long.
    TooLarge,
    /// The document is nested too deep.
    TooDeep,
    /// A field that no policy has.
    UnknownField,
    /// A field that is written twice.
    DuplicateField,
    /// A field that every policy has, and this one has not.
    MissingField,
    /// A value of another type: a number for a duration.
    WrongType,
    /// A value of the right type that is not allowed.
    WrongValue,
    /// Two fields that exclude each other.
    Conflict,
}

/// All that is wrong with a document, in order of place; never empty.
///
/// Its `Display` has a line for each, with the file's name where it was given (`in_file`):
/// ``policy.toml:7:1: unknown field `windw`, did you mean `window`?``
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Diagnostics {
    /// The document's name, if known.
    pub file: Option<String>,
    /// The first `DIAGNOSTICS_MAX` of them.
    pub all: Vec<Diagnostic>,
    /// How many more there are.
    pub more: usize,
}

impl Diagnostics {
    /// With the document's name, for printing.
    #[must_use]
    pub fn in_file(mut self, name: &str) -> Self {
        self.file = Some(name.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, ", {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, d) in self.all.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            if let Some(file) = &self.file {
                write!(f, "{file}:")?;
            }
            write!(f, "{d}")?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// A diagnostic whose place is still a range of bytes.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) code: Code,
    pub(super) path: String,
    pub(super) span: Span,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// Sorts the findings by place and looks up lines and columns. `before` bytes of the text are not part of `text`.
pub(super) fn finish(mut findings: Vec<Finding>, text: &str, before: usize) -> Diagnostics {
    assert!(!findings.is_empty(), "a document was refused without a reason");
    findings.sort_by_key(|f| (f.span, f.code));
    let more = findings.len().saturating_sub(DIAGNOSTICS_MAX);
    findings.truncate(DIAGNOSTICS_MAX);
    let all = findings
        .into_iter()
        .map(|f| {
            let up_to = &text[..floor(text, f.span.from)];
            let line_start = up_to.rfind('\n').map_or(0, |i| i + 1);
            Diagnostic {
                code: f.code,
                path: f.path,
                line: up_to.bytes().filter(|b| *b == b'\n').count() + 1,
                column: up_to[line_start..].chars().count() + 1,
                from: f.span.from + before,
                to: f.span.to + before,
                message: printable(&f.message),
                hint: f.hint.as_deref().map(printable),
            }
        })
        .collect();
    Diagnostics { file: None, all, more }
}

/// Names from the document stand in messages: a name with control characters must not speak to a terminal.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// The last character boundary up to `at`: a place given by a parser may lie within a character.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}
