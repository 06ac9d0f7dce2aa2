//! A policy written down with all of its fields, in either language.
//!
//! Invariants
//! - `parse(policy.to_toml()) == policy`, and so for JSON: measures keep their order, numbers and names are exact.

use super::json;
use super::schema::PolicyDocument;
use super::tree::{Member, Node, Value};
use crate::policy::Policy;
use std::fmt::Write as _;

impl Policy {
    /// As JSON, indented.
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(&PolicyDocument::new(self));
        let mut text = text.expect("a policy document has no map with other keys than text");
        text.push('\n');
        text
    }

    /// As TOML: a table for each section, a line for each field.
    pub fn to_toml(&self) -> String {
        let root = json::tree(&self.to_json()).expect("what serde_json writes is JSON");
        let Value::Object(members) = root.value else { unreachable!("a policy document is an object") };
        let (sections, fields): (Vec<_>, Vec<_>) =
            members.iter().partition(|m| matches!(m.node.value, Value::Object(_)));
        let mut out = String::new();
        lines(&fields, &mut out);
        for section in sections {
            let Value::Object(members) = &section.node.value else { unreachable!("sections are objects") };
            writeln!(out, "\n[{}]", key(&section.name)).expect(NO_ERROR);
            lines(&members.iter().collect::<Vec<_>>(), &mut out);
        }
        out
    }
}

const NO_ERROR: &str = "a String takes any text";

fn lines(members: &[&Member], out: &mut String) {
    for m in members {
        writeln!(out, "{} = {}", key(&m.name), value(&m.node)).expect(NO_ERROR);
    }
}

fn value(node: &Node) -> String {
    match &node.value {
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.clone(),
        Value::Text(t) => text(t),
        Value::List(l) => format!("[{}]", l.iter().map(value).collect::<Vec<_>>().join(", ")),
        Value::Object(o) => {
            let fields: Vec<String> = o.iter().map(|m| format!("{} = {}", key(&m.name), value(&m.node))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Value::Null | Value::Other(_) => unreachable!("a policy document holds neither null nor dates"),
    }
}

fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare { name.into() } else { text(name) }
}

/// JSON's escapes are TOML's too; only DEL stands bare in JSON and may not in TOML.
fn text(t: &str) -> String {
    serde_json::Value::from(t).to_string().replace('\u{7f}', "\\u007F")
}
