//! A policy as people write it: one document in TOML or JSON, one parser.
//!
//! ```text
//! text -> toml | json -> tree (values with their places) -> walk -> Spec -> Policy::new -> Policy
//!                                                       \-> findings -> Diagnostics (line, column, message, mend)
//! ```
//!
//! Invariants
//! - All errors of a document are given at once, in order of place; only a document that is no TOML or JSON has one.
//! - TOML and JSON of the same content give the same policy, and the same complaints.
//! - Time and stack are bounded for any text: its size (`SIZE_MAX`), its depth (`DEPTH_MAX`) and the number of
//!   diagnostics (`DIAGNOSTICS_MAX`) are.
//!
//! Not here: the rules over a whole policy (`validate`), the canonical form (`Policy`).

mod diagnostic;
pub mod document;
mod json;
mod print;
mod reader;
mod reference;
mod schema;
mod toml;
mod tree;
mod walk;
mod zone;

pub use diagnostic::{Code, Diagnostic, Diagnostics};
pub use reference::reference;
pub use schema::{PolicyDocument, SCHEMA_ID, schema};

use super::Policy;
use diagnostic::{Finding, finish};
use tree::{Node, Span};

/// Longest document, in bytes.
pub const SIZE_MAX: usize = 256 << 10;
/// Deepest nesting of a document: brackets in JSON; brackets, and dots of one statement, in TOML.
pub const DEPTH_MAX: usize = 32;
/// Most diagnostics that are given for one document.
pub const DIAGNOSTICS_MAX: usize = 100;

/// The language of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Syntax {
    /// TOML 1.1.
    Toml,
    /// JSON (RFC 8259): no comments, no trailing commas.
    Json,
}

impl Syntax {
    /// By the file's name; where that says nothing, by whether the text begins like a JSON object.
    pub fn guess(file_name: &str, text: &str) -> Self {
        let ends = |ending: &str| {
            let (name, ending) = (file_name.as_bytes(), ending.as_bytes());
            name.len() >= ending.len() && name[name.len() - ending.len()..].eq_ignore_ascii_case(ending)
        };
        if ends(".toml") {
            Self::Toml
        } else if ends(".json") || text.trim_start_matches('\u{feff}').trim_start().starts_with('{') {
            Self::Json
        } else {
            Self::Toml
        }
    }
}

/// Reads a policy. The error holds everything that is wrong, in order of place.
pub fn parse(text: &str, syntax: Syntax) -> Result<Policy, Diagnostics> {
    // A byte order mark is no part of the document; places count from behind it, byte ranges from the very start.
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let policy = tree(body, syntax).and_then(|tree| walk::policy(&tree, body, syntax));
    policy.map_err(|findings| finish(findings, body, text.len() - body.len()))
}

fn tree(text: &str, syntax: Syntax) -> Result<Node, Vec<Finding>> {
    if text.len() > SIZE_MAX {
        return Err(vec![Finding {
            code: Code::TooLarge,
            path: String::new(),
            span: Span { from: 0, to: 0 },
            message: format!("a document of {} bytes, expected at most {SIZE_MAX}", text.len()),
            hint: None,
        }]);
    }
    let tree = match syntax {
        Syntax::Toml => toml::tree(text),
        Syntax::Json => json::tree(text),
    };
    tree.map_err(|f| vec![f])
}

impl Policy {
    /// Reads TOML.
    pub fn from_toml(text: &str) -> Result<Self, Diagnostics> {
        parse(text, Syntax::Toml)
    }

    /// Reads JSON.
    pub fn from_json(text: &str) -> Result<Self, Diagnostics> {
        parse(text, Syntax::Json)
    }
}
