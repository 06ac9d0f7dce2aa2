//! The policy reference, `core/POLICY.md`, out of the schema: every field with its type, default, bounds and meaning.
//!
//! Not here: the texts of the fields; they are the doc comments of `schema`.

use super::diagnostic::Code;
use super::reader::Later;
use super::{DEPTH_MAX, DIAGNOSTICS_MAX, SIZE_MAX, schema, walk};
use crate::policy::{Policy, explain, limits};
use schemars::schema_for;
use serde_json::Value;
use std::fmt::Write as _;

/// The example that the reference and the schema show.
pub(super) const EXAMPLE: &str = r#"policy = "impressions"

[input]
time   = { field = "ts", unit = "ms" }
key    = ["placement", "creative"]
source = "device"

[window]
fixed = "1m"

[measures]
events      = "count"
impressions = { sum = "impressions" }
watch_ms    = { sum = "watch_ms" }
longest     = { max = "watch_ms" }
"#;

/// The whole reference, in Markdown.
pub fn reference() -> String {
    let schema = schema();
    let example = Policy::from_toml(EXAMPLE).expect("the example is a policy");
    let mut out = String::new();
    let mut p = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    p("# Policy reference\n");
    p(
        "A policy says what is counted, in which windows, when it is believed to be complete, and what is late. It is one",
    );
    p(
        "document in TOML or in JSON of the same shape; `plimsoll check policy.toml` reads it, says what is wrong with it",
    );
    p("and explains it. For editors there is a JSON Schema, `core/policy.schema.json`. This file and the schema are");
    p("generated from the code: `UPDATE=1 cargo test --release -p plimsoll-core --test policy_schema`.\n");
    p("```toml");
    p(EXAMPLE.trim_end());
    p("```\n");
    p("In words, as `plimsoll check` puts it:\n");
    for sentence in explain(&example).lines() {
        p(&format!("> {sentence}"));
    }
    p("\nThe same policy with nothing left to its defaults:\n");
    p("```toml");
    p(example.to_toml().trim_end());
    p("```\n");
    p("As JSON: no comments, no trailing commas, no field twice.\n");
    p("```json");
    p(example.to_json().trim_end());
    p("```\n");
    p("## Fields\n");
    p(
        "Fields without a default are required, unless they are marked optional. A field that no policy has is refused.\n",
    );
    for (section, shape) in walk::SHAPES {
        let (title, node) = match *section {
            "" => ("the document".to_owned(), &schema),
            "measure" => ("a measure".to_owned(), &schema["$defs"]["measure"]),
            "time" => ("`input.time` and `input.arrival`".to_owned(), &schema["$defs"]["time"]),
            name => (format!("`{name}`"), &schema["$defs"][name]),
        };
        p(&format!("### {}{}\n", title[..1].to_uppercase(), &title[1..]));
        p(&format!("{}\n", description(node)));
        if *section == "measure" {
            p("| written | what is computed |");
            p("|---|---|");
            for (written, what) in operations(node) {
                p(&format!("| `{written}` | {what} |"));
            }
        } else {
            p("| field | type | default | meaning |");
            p("|---|---|---|---|");
            for name in shape.fields {
                p(&field(&schema, node, name));
            }
        }
        p("");
        for sentence in later(shape.later) {
            p(&format!("{sentence}\n"));
        }
    }
    p("## Types\n");
    for name in ["duration", "path", "name"] {
        p(&format!("- **{name}**: {}", description(&schema["$defs"][name])));
    }
    p("\n## Rules over the whole policy\n");
    p(&format!("- At most {} key fields and {} measures.", limits::KEY_FIELDS_MAX, limits::MEASURES_MAX));
    p(&format!(
        "- Rows have the columns `{}`, the last names of the key's fields, and the measures. No two may be the same;",
        limits::ROW_COLUMNS.join("`, `")
    ));
    p("  measures are compared without regard to capitals, as SQL does.");
    p("- A field cannot be wanted both as a value and as an object that holds another wanted field (`a` and `a.b`).");
    p("- `late.allowed_lateness` needs `late.by = \"window\"`.");
    p(&format!("- A document has at most {} KiB and is at most {DEPTH_MAX} deep.\n", SIZE_MAX >> 10));
    p("## Errors\n");
    p("All errors of a document are given at once, by line and column (in characters, from 1), as");
    p("``policy.toml:7:2: unknown field `windw`, did you mean `window`?``, and with `--json` as objects with `code`,");
    p("`path`, `line`, `column`, `from`, `to` (bytes), `message` and `hint`. Codes are stable.");
    p(&format!("At most {DIAGNOSTICS_MAX} are given.\n"));
    p("| code | meaning |");
    p("|---|---|");
    let codes = schema_for!(Code);
    for code in codes.as_value()["oneOf"].as_array().into_iter().flatten() {
        p(&format!("| `{}` | {} |", text(&code["const"]), description(code)));
    }
    p("\n## Identity\n");
    p(
        "A policy's digest is the SHA-256 of its canonical form: every field, defaults included, as compact JSON in a fixed",
    );
    p(
        "order, with times in milliseconds. Comments, spaces, the order of sections, the language and the way a duration is",
    );
    p(
        "written are no part of it; the order of key fields and measures is. Its shape, the first 8 bytes of the SHA-256 of",
    );
    p("name, windows, key and measures, names its rows: another delay keeps the rows, another key begins new ones.");
    out
}

/// A row of a section's table.
fn field(schema: &Value, section: &Value, name: &str) -> String {
    let field = &section["properties"][name];
    let required = section["required"].as_array().is_some_and(|r| r.iter().any(|n| n == name));
    let default = match &field["default"] {
        _ if required => "required".into(),
        Value::Null => "optional".into(),
        Value::Object(_) => "see below".into(),
        other => format!("`{other}`"),
    };
    let mut meaning = description(field);
    for (word, what) in words(schema, field) {
        write!(meaning, "<br>`{word}`: {what}").expect("a String takes any text");
    }
    format!("| `{name}` | {} | {default} | {meaning} |", kind(schema, field))
}

/// What a later version will have, a sentence for each reason.
fn later(all: &[Later]) -> Vec<String> {
    let same = all.chunk_by(|a, b| a.instead == b.instead);
    same.map(|group| {
        let names: Vec<String> = group.iter().map(|l| format!("`{}`", l.name)).collect();
        let verb = if names.len() == 1 { "is" } else { "are" };
        format!("{} {verb} not in this version yet: {}.", names.join(", "), group[0].instead)
    })
    .collect()
}

/// A type in words.
fn kind(schema: &Value, field: &Value) -> String {
    if let Some(target) = field["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) {
        let target_schema = &schema["$defs"][target];
        return match target {
            "duration" | "path" | "name" => target.into(),
            "measures" => "names with measures".into(),
            _ if target_schema["oneOf"].is_array() => "one of".into(),
            _ => "fields".into(),
        };
    }
    if let Some(all) = field["anyOf"].as_array() {
        let kinds: Vec<String> = all.iter().map(|f| kind(schema, f)).collect();
        return kinds.join(" or ");
    }
    if let Some(only) = field["oneOf"].as_array() {
        let words: Vec<String> = only.iter().map(|w| format!("`{}`", w["const"])).collect();
        return words.join(" or ");
    }
    match (text(&field["type"]), &field["const"], &field["minimum"], &field["maximum"]) {
        ("boolean", Value::Bool(b), ..) => format!("`{b}`"),
        ("boolean", ..) => "`true` or `false`".into(),
        ("string", ..) => "text".into(),
        ("array", ..) => format!("list of {} to {} paths", field["minItems"], field["maxItems"]),
        ("integer", _, least, most) => format!("whole number, {least} to {most}"),
        ("number", _, least, most) => format!("number, {least} to {most}"),
        (other, ..) => unreachable!("the schema has a new type of field, `{other}`"),
    }
}

/// The words that a field may be, with their meaning.
fn words(schema: &Value, field: &Value) -> Vec<(String, String)> {
    let target = field["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/"));
    let words = target.and_then(|t| schema["$defs"][t]["oneOf"].as_array());
    words.into_iter().flatten().map(|w| (w["const"].to_string(), description(w))).collect()
}

/// The forms of a measure.
fn operations(measure: &Value) -> Vec<(String, String)> {
    let forms = measure["anyOf"].as_array().into_iter().flatten().flat_map(|f| f["oneOf"].as_array());
    forms
        .flatten()
        .map(|form| match form["required"][0].as_str() {
            Some(op) => (format!("{{ {op} = path }}"), description(form)),
            None => (form["const"].to_string(), description(form)),
        })
        .collect()
}

fn description(node: &Value) -> String {
    text(&node["description"]).into()
}

fn text(node: &Value) -> &str {
    node.as_str().unwrap_or_default()
}
