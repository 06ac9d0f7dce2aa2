//! The policy reference, `core/POLICY.md`, out of the schema: every field with its type, default, bounds and meaning.
//!
//! Not here: the texts of the fields; they are the doc comments of `schema`.

use super::diagnostic::Code;
use super::{DEPTH_MAX, DIAGNOSTICS_MAX, SIZE_MAX, schema, walk};
use crate::expr::limits as expression;
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

/// Policies that show the rest.
const MORE: [(&str, &str); 5] = [
    (
        "Days of a place, with a mean and a variance; a row is amended for two more days",
        r#"policy = "views-by-day"

[input]
time = { field = "at", unit = "rfc3339" }
key  = ["page"]

[window]
calendar = { every = "day", zone = "Europe/Berlin" }

[late]
by = "window"
allowed_lateness = "2d"

[measures]
views   = "count"
with_ms = { count = "watch_ms" }
total   = { sum = "watch_ms" }
watch   = { mean = { sum = "total", count = "with_ms" } }
spread  = { variance = "watch_ms" }
"#,
    ),
    (
        "The last ten minutes, each minute; early results every ten seconds, and one more for each late record",
        r#"policy = "trends"

[input]
time = { field = "ts", unit = "ms" }
key  = ["topic"]

[window]
sliding = { size = "10m", every = "1m" }

[late]
by = "window"
allowed_lateness = "1h"
to = "dead_letters"

[trigger]
when = { after_watermark = { early = { after_processing_time = "10s" }, late = { after_count = 1 } } }
accumulation = "retracting"

[measures]
posts   = "count"
authors = { distinct = "author" }
words   = { top_k = { field = "word", k = 10 } }
"#,
    ),
    (
        "Sales in two countries, of sites that may be missing; money in hundredths",
        r#"policy = "sales"
where  = 'event == "sale" && country in ["DE", "JP"] && !page.startsWith("/test/")'

[input]
time = { field = "ts", unit = "ms" }
key  = ["country", "shop"]

[fields]
shop = 'has(site.id) ? site.id : "none"'
big  = "price >= 99.5 ? 1 : 0"

[window]
fixed = "1h"

[measures]
sales   = "count"
large   = { sum = "big" }
revenue = { sum = { field = "price", scale = 2 } }
price   = { mean = { field = "price", scale = 2 } }
"#,
    ),
    (
        "Minutes with hours and days in a place half an hour off; an hour is final when its last minute is",
        r#"policy = "orders"

[input]
time = { field = "ts", unit = "ms" }
key  = ["shop"]

[window]
fixed = "1m"

[measures]
orders  = "count"
revenue = { sum = { field = "price", scale = 2 } }
largest = { max = { field = "price", scale = 2 } }

[rollup]
hour = true
day  = { zone = "Asia/Kolkata" }
"#,
    ),
    (
        "Sessions of a device, given out when they have ended",
        r#"policy = "sessions"

[input]
time = { field = "ts", unit = "ms" }
key  = ["device"]

[window]
session = { gap = "30m", touching = "merge" }

[watermark]
max = true
delay = "1m"

[measures]
events = "count"
from   = { first = "page" }
to     = { last = "page" }
pages  = { list = { field = "page", most = 100 } }
"#,
    ),
];

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
    p("## Examples\n");
    for (title, text) in MORE {
        let policy = Policy::from_toml(text).unwrap_or_else(|e| panic!("the example '{title}': {e}"));
        p(&format!("{title}:\n"));
        p("```toml");
        p(text.trim_end());
        p("```\n");
        for sentence in explain(&policy).lines() {
            p(&format!("> {sentence}"));
        }
        p("");
    }
    p("## Fields\n");
    p(
        "Fields without a default are required, unless they are marked optional. A field that no policy has is refused.\n",
    );
    for (section, shape) in walk::SHAPES {
        let title = match *section {
            "" => "the document".to_owned(),
            "time" => "`input.time` and `input.arrival`".to_owned(),
            "sliding" | "cumulative" | "session" | "calendar" => format!("`window.{section}`"),
            "when" => "a trigger".to_owned(),
            "after_watermark" | "after_processing_time" => format!("a trigger `{section}`"),
            "measure" => "a measure".to_owned(),
            "day" => "`rollup.day`".to_owned(),
            name => format!("`{name}`"),
        };
        let node = if section.is_empty() { &schema } else { &schema["$defs"][section] };
        p(&format!("### {}{}\n", title[..1].to_uppercase(), &title[1..]));
        p(&format!("{}\n", description(node)));
        if node["anyOf"].is_array() {
            p(if *section == "when" {
                "| written | when a pane comes out |"
            } else {
                "| written | what is computed |"
            });
            p("|---|---|");
            for (written, what) in forms(&schema, node) {
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
    }
    p("## Types\n");
    for name in ["duration", "shift", "path", "name", "expression"] {
        p(&format!("- **{name}**: {}", description(&schema["$defs"][name])));
    }
    expressions(&mut p);
    p("\n## Rules over the whole policy\n");
    p(&format!("- At most {} key fields and {} measures.", limits::KEY_FIELDS_MAX, limits::MEASURES_MAX));
    p(&format!(
        "- Rows have the columns `{}`, the last names of the key's fields, and the measures. No two may be the same;",
        limits::ROW_COLUMNS.join("`, `")
    ));
    p("  measures are compared without regard to capitals, as SQL does.");
    p(&format!(
        "- At most {} computed fields. Keys and measures know them by name, in place of a field of the record that is named",
        limits::COMPUTED_MAX
    ));
    p(
        "  so; expressions know the record's fields alone. One that nothing uses is refused, and so is a time that is computed.",
    );
    p(
        "- Rows show a measure with a scale as a decimal, `12.30`. A store's own tables and views hold it in whole units of its",
    );
    p("  last decimal, `1230`. Squares have twice as many decimals.");
    p("- A field cannot be wanted both as a value and as an object that holds another wanted field (`a` and `a.b`).");
    p(
        "- `late.allowed_lateness` needs `late.by = \"window\"`; `\"unbounded\"` needs panes (a `[trigger]`, or sessions).",
    );
    p(
        "- `first`, `last`, `list`, `distinct`, `quantile` and `top_k` need panes too: rows add up over batches, these do not.",
    );
    p(&format!("  At most {} of them.", limits::KEPT_MAX));
    p(
        "- `late.to = \"accept\"` amends rows; where windows give out panes it is refused: a window that has expired gives out",
    );
    p("  none.");
    p(
        "- A trigger that may finish while its window still takes records (`after_count` alone, say) loses what comes then. It is",
    );
    p("  refused unless `trigger.may_lose_data = true` says that this is meant.");
    p(
        "- A mean makes 2 columns of the measures, a variance 3, unless they are made of measures that are there anyway.",
    );
    p(
        "- `rollup` needs fixed windows of 1m or more that divide the hour, without an offset, and no measure that does not add",
    );
    p(
        "  up. An hour's or day's row holds sums of sums, the least of the least, the greatest of the greatest, and means and",
    );
    p(
        "  variances out of these: what the same windows would give. Late rows have no hours: they are looked at one by one.",
    );
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
    p(
        "name, windows, key and measures, and of the filter and computed fields where there are some, names its rows: another",
    );
    p(
        "delay keeps the rows, another key or filter begins new ones. Of an expression only its meaning is part of both: not its",
    );
    p("spaces, needless brackets, comments, or how its texts and numbers are spelt.");
    out
}

/// The language of `where` and `[fields]`.
fn expressions(p: &mut impl FnMut(&str)) {
    p("\n## Expressions\n");
    p(
        "`where` and `[fields]` are written in a part of [CEL](https://cel.dev), the Common Expression Language. The record's",
    );
    p("fields are its variables.\n");
    p("| written | meaning |");
    p("|---|---|");
    for (written, meaning) in [
        (
            "`a`, `a.b`, `a[\"b c\"]`, `` `a-b` ``",
            "a field; one whose name is no word, or one of CEL's own, stands in backticks",
        ),
        ("`5`, `0x1f`, `1.5`, `\"x\"`, `'x'`, `r\"\\d\"`, `true`, `null`", "literals"),
        ("`a == b`, `a != b`", "values of different types differ; numbers are compared as numbers"),
        ("`a < b`, `<=`, `>`, `>=`", "numbers, texts (by characters), or truth values, of one kind"),
        ("`a && b`, `a \\|\\| b`, `!a`", "truth values"),
        ("`a ? b : c`", "`b` where `a` is true, else `c`"),
        ("`a in [b, c]`", "whether it equals one of a list that is written out"),
        ("`a + b`, `-`, `*`, `/`, `%`, `-a`", "integers of 64 bits; `/` goes towards zero, `%` has the sign of `a`"),
        ("`has(a.b)`", "whether the field is there, `null` included"),
        ("`a.startsWith(b)`, `a.endsWith(b)`", "of texts"),
        ("`a.contains(\"x\")`", "of a text; what is looked for is written out"),
        ("`size(a)`, `a.size()`", "characters of a text"),
    ] {
        p(&format!("| {written} | {meaning} |"));
    }
    p("");
    p(
        "- A missing field, a value of another type, an integer beyond 64 bits and a division by zero are errors. As in CEL,",
    );
    p(
        "  `false && error` is false and `true || error` is true on either side, `? :` looks at the branch that it takes alone,",
    );
    p("  and everything else that is given an error is one.");
    p(
        "- A filter that comes to an error, or to neither true nor false, rejects the record as `filter_error`: it becomes a dead",
    );
    p("  letter. `has(country) && country == \"JP\"` counts records without a country as `filtered` instead.");
    p(
        "- A computed field is an integer, a text, a truth value or null. One that comes to an error rejects the record as",
    );
    p("  `computed_error`. Where the filter says no, nothing is computed.");
    p(
        "- A record that the filter leaves out still moves the watermark, if its time can be read and is not too far ahead: how",
    );
    p("  far time has come does not depend on what is counted.");
    p(
        "- There are no floats: numbers with a point, an exponent, or more than 64 bits are compared as decimals, exactly, and",
    );
    p("  nothing else is done with them. `0.1 == 1e-1`, and 2^53 + 1 differs from 2^53.");
    p(
        "- Unlike in CEL, `has()` takes a field of the record itself too, and is false where what should contain the field is not",
    );
    p("  there or no object.");
    p("- An object or list differs from every other value; two of them are not compared, which is an error.");
    p(
        "- Left out: `matches`, conversions, times and durations, unsigned integers, bytes, lists and maps as values, macros",
    );
    p("  but `has`, and `+` on texts.");
    p(
        "- What literals alone show to be wrong (`1 + \"a\"`, a filter that is an integer) is refused with its place in the text.",
    );
    p(&format!(
        "- At most {} bytes, {} fields, literals, operators and functions, {} of the record's fields, and brackets, calls,",
        expression::TEXT_BYTES_MAX,
        expression::STEPS_MAX,
        expression::FIELDS_MAX
    ));
    p(&format!("  conditions and signs {} deep.", expression::DEPTH_MAX));
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

/// A type in words.
fn kind(schema: &Value, field: &Value) -> String {
    if let Some(target) = field["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) {
        let target_schema = &schema["$defs"][target];
        return match target {
            "duration" | "path" | "name" | "shift" => target.into(),
            "when" => "trigger".into(),
            "measures" => "names with measures".into(),
            "computed" => "names with expressions".into(),
            "expression" => target.into(),
            _ if target_schema["oneOf"][0]["const"].is_string() => "one of".into(),
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
    words
        .into_iter()
        .flatten()
        .filter(|w| w["const"].is_string())
        .map(|w| (w["const"].to_string(), description(w)))
        .collect()
}

/// The forms of a measure or trigger.
fn forms(schema: &Value, node: &Value) -> Vec<(String, String)> {
    let all = node["anyOf"].as_array().into_iter().flatten().flat_map(|f| f["oneOf"].as_array());
    let written = |form: &Value| match &form["const"] {
        Value::Null => shape(schema, form),
        word => word.to_string(),
    };
    all.flatten().map(|form| (written(form), description(form))).collect()
}

/// How a value is written: `{ list = { field = path, most = number } }`.
fn shape(schema: &Value, node: &Value) -> String {
    if let Some(target) = node["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) {
        return match target {
            "duration" | "path" | "name" => target.into(),
            "when" => "trigger".into(),
            // They have tables of their own.
            "after_watermark" | "after_processing_time" => "fields".into(),
            _ => shape(schema, &schema["$defs"][target]),
        };
    }
    if let Some(any) = node["anyOf"].as_array() {
        return any.iter().map(|n| shape(schema, n)).collect::<Vec<_>>().join(" or ");
    }
    if let Some(names) = node["required"].as_array() {
        let field = |name: &Value| format!("{} = {}", text(name), shape(schema, &node["properties"][text(name)]));
        return format!("{{ {} }}", names.iter().map(field).collect::<Vec<_>>().join(", "));
    }
    match text(&node["type"]) {
        "array" => format!("[{}, …]", shape(schema, &node["items"])),
        "integer" | "number" => "number".into(),
        other => unreachable!("the schema has a new form, `{other}`"),
    }
}

fn description(node: &Value) -> String {
    text(&node["description"]).into()
}

fn text(node: &Value) -> &str {
    node.as_str().unwrap_or_default()
}
