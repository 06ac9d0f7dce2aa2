//! The published schema and reference are what the code says, and the schema says what the reader takes: each property
//! is read, each other one refused, the defaults and the required ones are the same, and whatever the reader accepts
//! the schema accepts. The judge of the schema is a few dozen lines of JSON Schema below.

use plimsoll_core::policy::Policy;
use plimsoll_core::policy::text::{Code, Diagnostics, reference, schema};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Compares a committed file with what the code generates; `UPDATE=1` writes it.
fn committed(name: &str, generated: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, generated).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
    let found = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(
        found == generated,
        "core/{name} is out of date; run `UPDATE=1 cargo test --release -p plimsoll-core --test policy_schema`"
    );
}

#[test]
fn the_committed_schema_is_the_generated_one() {
    committed("policy.schema.json", &format!("{:#}\n", schema()));
}

#[test]
fn the_committed_reference_is_the_generated_one() {
    committed("POLICY.md", &reference());
}

/// Good documents that together have every property there is, each as small or as full as it comes.
fn good() -> Vec<Value> {
    let small = json!({
        "policy": "views", "input": {"time": {"field": "ts", "unit": "ms"}, "key": ["page"]},
        "window": {"fixed": "1m"}, "measures": {"events": "count"},
    });
    let mut full = json!({
        "$schema": "policy.schema.json", "policy": "views",
        "input": {
            "format": "json", "time": {"field": "ts", "unit": "ms", "unit_check": false},
            "arrival": {"field": ["a.b", "c"], "unit": "rfc3339"}, "key": ["page", ["x.y"], "site.id"], "source": "device",
        },
        "window": {"fixed": "1h", "offset": "15m"},
        "watermark": {
            "quantile": 0.25, "sample": 99, "min_sample": 9, "per_source": 3, "delay": "90s", "max_future": "none", "future": "clamp",
        },
        "late": {"by": "window", "allowed_lateness": "1d", "to": "drop"},
        "measures": {"n": "count", "s": {"sum": "v.s"}, "l": {"min": "v.l"}, "m": {"max": ["v", "m"]}},
        "limits": {"record_bytes": 1, "key_bytes": 1900, "dead_letter_bytes": 262_144},
    });
    let mut documents = vec![small, full.clone()];
    let mut hours = documents[0].clone();
    hours["rollup"] = json!({"hour": true});
    documents.push(hours.clone());
    hours["rollup"] = json!({"hour": true, "day": {"zone": "Asia/Kolkata"}});
    documents.push(hours);
    full["limits"]["keys_per_window"] = json!(100_000);
    documents.push(full.clone());
    full["limits"].as_object_mut().expect("an object").remove("keys_per_window");
    for (unit, by, to, future) in [
        ("s", "record", "table", "quarantine"),
        ("us", "window", "accept", "accept"),
        ("ns", "window", "drop", "clamp"),
    ] {
        full["input"]["time"]["unit"] = json!(unit);
        full["late"] = json!({ "by": by, "to": to });
        full["watermark"] = json!({ "future": future });
        documents.push(full.clone());
    }
    for strategy in ["max", "arrival", "given"] {
        full["watermark"] = json!({ strategy: true, "max_future": "1h30m" });
        documents.push(full.clone());
    }
    full["late"] = json!({ "by": "window", "to": "dead_letters" });
    full["measures"] = json!({
        "n": "count", "c": {"count": "v.c"}, "s": {"sum": "v.s"}, "q": {"squares": "v.s"}, "m": {"mean": "v.m"},
        "v": {"variance": ["v", "v.v"]}, "of": {"mean": {"sum": "s", "count": "n"}},
        "off": {"variance": {"sum": "s", "count": "c", "squares": "q"}},
    });
    for window in [
        json!({"sliding": {"size": "10m", "every": "1m"}, "offset": "30s"}),
        json!({"cumulative": {"size": "1d", "step": "1h"}, "offset": "1h"}),
        json!({"session": {"gap": "30s", "gap_field": "g.ms", "touching": "merge"}}),
        json!({"session": {"gap": "30s", "touching": "separate"}}),
        json!({"calendar": {"every": "hour", "zone": "UTC"}}),
        json!({"calendar": {"every": "day", "zone": "Asia/Tokyo"}}),
        json!({"calendar": {"every": "week", "zone": "America/New_York"}}),
        json!({"calendar": {"every": "month", "zone": "Europe/Berlin"}}),
        json!({"global": true}),
    ] {
        full["window"] = window;
        documents.push(full.clone());
    }
    full["where"] = json!("country == 'JP' && size(page) > 0");
    full["fields"] = json!({ "shop": "has(at.shop) ? at.shop : 'none'", "cents": "v.euros * 100 + v.cents" });
    full["input"]["key"] = json!(["page", "shop"]);
    full["measures"] = json!({
        "n": "count", "cents": {"sum": "cents"}, "scaled_l": {"min": {"field": "v.l", "scale": 0}},
        "scaled_s": {"sum": {"field": "v.s", "scale": 2}}, "scaled_q": {"squares": {"field": "v.s", "scale": 18}},
        "scaled_h": {"max": {"field": "v.l", "scale": 1}}, "scaled_m": {"mean": {"field": "v.m", "scale": 3}},
        "scaled_v": {"variance": {"field": "v.m", "scale": 3}},
    });
    documents.push(full.clone());
    let object = full.as_object_mut().expect("an object");
    object.remove("where");
    object.remove("fields");
    full["measures"] = json!({
        "n": "count", "f": {"first": "v.f"}, "l": {"last": "v.f"}, "a": {"list": {"field": "v.a", "most": 7}},
        "d": {"distinct": "v.d"}, "p95": {"quantile": {"field": ["v", "p"], "q": 0.95}},
        "top": {"top_k": {"field": "v.t", "k": 10}},
    });
    full["late"] = json!({ "by": "window", "allowed_lateness": "unbounded" });
    full["trigger"] = json!({
        "when": {"after_watermark": {
            "early": {"after_each": [{"after_count": 9}, {"after_any": ["always", {"every_event_time": "5m"}]}]},
            "late": {"after_all": [{"after_count": 1}, {"after_processing_time": "1m"}]},
        }},
        "accumulation": "retracting", "timestamp": "earliest", "timestamp_shift": "-1m", "on_time_pane": "always",
        "closing_pane": "always", "flush_on_expiry": false, "bundle": "frame", "open_max": 1, "may_lose_data": false,
    });
    documents.push(full.clone());
    full["trigger"] = json!({
        "when": {"or_finally": {
            "main": {"repeatedly": {"after_processing_time": {"delay": "0s", "align": "1m", "align_offset": "-5s"}}},
            "until": "after_watermark",
        }},
        "accumulation": "discarding", "timestamp": "latest", "may_lose_data": true,
    });
    documents.push(full.clone());
    full["trigger"] = json!({ "when": "never", "accumulation": "accumulating", "timestamp": "end_of_window" });
    documents.push(full.clone());
    full["trigger"] = json!({ "when": "default", "on_time_pane": "if_non_empty", "bundle": "record" });
    documents.push(full.clone());
    full["trigger"] = json!({});
    documents.push(full.clone());
    documents
}

fn read(document: &Value) -> Result<Policy, Diagnostics> {
    Policy::from_json(&document.to_string())
}

#[test]
fn every_property_of_the_schema_is_read() {
    let schema = Judge(schema());
    let mut used = BTreeSet::new();
    for document in good() {
        read(&document).unwrap_or_else(|e| panic!("{e}\n{document}"));
        schema.judge(&document).unwrap_or_else(|e| panic!("{e}\n{document}"));
        for (place, object) in objects(&document) {
            used.extend(object.keys().map(|k| (section(&place), k.clone())));
        }
    }
    let mut there: BTreeSet<(String, String)> = BTreeSet::new();
    for (name, def) in schema.sections() {
        there.extend(properties(def).keys().map(|k| (name.clone(), k.clone())));
    }
    let missing: Vec<_> = there.difference(&used).collect();
    assert!(missing.is_empty(), "no good document above has {missing:?}");
    // Every word of every choice and every form of a measure or trigger, too.
    let text = good().iter().map(Value::to_string).collect::<String>();
    for (name, def) in schema.0["$defs"].as_object().expect("definitions") {
        let forms = def["anyOf"].as_array().into_iter().flatten().filter_map(|any| any["oneOf"].as_array());
        for form in forms.chain(def["oneOf"].as_array()).flatten() {
            let word = match &form["const"] {
                Value::Null => format!("{}:", form["required"][0]),
                word => word.to_string(),
            };
            assert!(text.contains(&word), "no good document above has {word} of {name}");
        }
    }
}

#[test]
fn every_other_property_is_refused_by_both() {
    let schema = Judge(schema());
    for document in good() {
        for (place, _) in objects(&document) {
            let mut wrong = document.clone();
            let object = wrong.pointer_mut(&place).and_then(Value::as_object_mut).expect("an object");
            object.insert("unheard_of".into(), json!(1));
            let e = read(&wrong).expect_err("an unknown field");
            let code = if place == "/measures" || place == "/fields" { Code::WrongType } else { Code::UnknownField };
            let path = format!("{}.unheard_of", dotted(&place));
            let found: Vec<_> = e.all.iter().map(|d| (d.code, d.path.as_str())).collect();
            assert_eq!(found, [(code, path.trim_start_matches('.'))], "{wrong}");
            assert!(schema.judge(&wrong).is_err(), "the schema takes {wrong}");
        }
    }
}

#[test]
fn what_is_required_and_what_is_not_is_the_same_for_both() {
    let schema = Judge(schema());
    for document in good() {
        for (place, object) in objects(&document) {
            for name in object.keys() {
                let mut less = document.clone();
                less.pointer_mut(&place).and_then(Value::as_object_mut).expect("an object").remove(name);
                let missed = read(&less).err().is_some_and(|e| e.all.iter().any(|d| d.code == Code::MissingField));
                // The last measure and the last operation of one are missed in other words.
                let last = object.len() == 1 && place.starts_with("/measures");
                assert_eq!(schema.judge(&less).is_err(), missed || last, "{less}");
            }
        }
    }
}

#[test]
fn defaults_are_the_same_for_both() {
    let schema = Judge(schema());
    let mut least = good()[0].clone();
    least["trigger"] = json!({});
    let filled: Value = serde_json::from_str(&read(&least).expect("good").to_json()).expect("JSON");
    let mut seen = 0;
    for (place, object) in objects(&filled) {
        let Some((_, def)) = schema.sections().into_iter().find(|(name, _)| *name == section(&place)) else { continue };
        for (name, property) in properties(def) {
            if let Some(default) = property.get("default") {
                assert_eq!(object.get(name), Some(default), "{place}/{name}");
                seen += 1;
            }
        }
    }
    // Three sections as a whole; format, unit check, offset; six of the watermark, three of late, ten of the trigger,
    // three limits.
    assert_eq!(seen, 28);
}

/// Every value of every good document replaced by every other kind of value.
#[test]
fn what_the_reader_accepts_the_schema_accepts() {
    let schema = Judge(schema());
    let others = [
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(0.5),
        json!(-1),
        json!(5_000),
        json!(1e12),
        json!(""),
        json!("x"),
        json!("1m"),
        json!("0s"),
        json!("1h30m"),
        json!("m1"),
        json!("5 m"),
        json!("none"),
        json!("count"),
        json!("json"),
        json!("record"),
        json!("max"),
        json!("a.b"),
        json!("7up"),
        json!("é"),
        json!([]),
        json!(["a"]),
        json!(["a", "b.c"]),
        json!([["a"]]),
        json!([1]),
        json!({}),
        json!({"sum": "n"}),
        json!({"sum": "n", "max": "n"}),
        json!({"fixed": "1m"}),
        json!({"field": "f", "unit": "s"}),
        json!({"max": true}),
        json!({"max": true, "quantile": 0.5}),
        json!({"max": true, "sample": 5}),
        json!("after_watermark"),
        json!("unbounded"),
        json!("-5m"),
        json!("UTC"),
        json!({"after_count": 3}),
        json!({"repeatedly": "always", "after_count": 3}),
        json!({"when": "default"}),
        json!({"session": {"gap": "5s"}}),
        json!({"session": {"gap": "5s"}, "offset": "1s"}),
        json!({"global": true, "fixed": "1m"}),
        json!({"field": "f", "most": 5}),
        json!({"sum": "s", "count": "n"}),
    ];
    let (mut accepted, mut refused) = (0, 0);
    let mut before = Value::Null;
    for document in good() {
        // What the document before had as well was tried there.
        let new = |place: &String| before.pointer(place) != document.pointer(place);
        for place in places(&document).into_iter().filter(new) {
            for other in &others {
                let mut changed = document.clone();
                *changed.pointer_mut(&place).expect("it is there") = other.clone();
                let structural = |c: Code| matches!(c, Code::UnknownField | Code::MissingField | Code::WrongType);
                match (read(&changed), schema.judge(&changed)) {
                    (Ok(_), judged) => {
                        judged.unwrap_or_else(|e| panic!("the schema refuses a policy: {e}\n{changed}"));
                        accepted += 1;
                    }
                    (Err(e), Ok(())) if e.all.iter().any(|d| structural(d.code)) => {
                        panic!("the schema takes what is no policy: {e}\n{changed}");
                    }
                    (Err(_), _) => refused += 1,
                }
            }
        }
        before = document;
    }
    assert!(accepted > 500 && refused > 5_000, "{accepted} accepted, {refused} refused");
}

/// A place as messages name it: `a.b[0]`.
fn dotted(place: &str) -> String {
    let steps = place
        .split('/')
        .skip(1)
        .map(|step| if step.bytes().all(|b| b.is_ascii_digit()) { format!("[{step}]") } else { format!(".{step}") });
    steps.collect::<String>().trim_start_matches('.').into()
}

/// The definition that describes the object at a place.
fn section(place: &str) -> String {
    let names: Vec<&str> = place.split('/').skip(1).collect();
    match names.as_slice() {
        [] => String::new(),
        ["input", _] => "time".into(),
        ["window", kind] => (*kind).into(),
        ["fields"] => "computed".into(),
        ["rollup", "day"] => "day".into(),
        ["measures", _] => "measure".into(),
        ["measures", name, _] if name.starts_with("scaled") => "scaled".into(),
        ["measures", _, moment @ ("mean" | "variance")] => format!("columns_of_{moment}"),
        ["measures", .., kept] => (*kept).into(),
        ["trigger", .., trigger @ ("after_watermark" | "after_processing_time" | "or_finally")] => (*trigger).into(),
        ["trigger", _, ..] => "when".into(),
        [name, ..] => (*name).into(),
    }
}

fn properties(def: &Value) -> &Map<String, Value> {
    def["properties"].as_object().expect("properties")
}

/// All objects of a document with their places.
fn objects(document: &Value) -> Vec<(String, Map<String, Value>)> {
    let all = std::iter::once(String::new()).chain(places(document));
    all.filter_map(|p| Some((p.clone(), document.pointer(&p)?.as_object()?.clone()))).collect()
}

/// All places in a document but itself.
fn places(document: &Value) -> Vec<String> {
    fn walk(v: &Value, at: &str, out: &mut Vec<String>) {
        let below: Vec<(String, &Value)> = match v {
            Value::Object(o) => o.iter().map(|(k, v)| (format!("{at}/{k}"), v)).collect(),
            Value::Array(a) => a.iter().enumerate().map(|(i, v)| (format!("{at}/{i}"), v)).collect(),
            _ => Vec::new(),
        };
        for (at, v) in below {
            out.push(at.clone());
            walk(v, &at, out);
        }
    }
    let mut out = Vec::new();
    walk(document, "", &mut out);
    out
}

/// As much of JSON Schema as ours uses; an unknown keyword is a failure.
struct Judge(Value);

impl Judge {
    fn judge(&self, v: &Value) -> Result<(), String> {
        self.check(&self.0, v)
    }

    /// The objects with fixed properties, by name; the document is "".
    fn sections(&self) -> Vec<(String, &Value)> {
        let defs = self.0["$defs"].as_object().expect("definitions");
        let named = defs.iter().map(|(name, def)| (name.clone(), def));
        std::iter::once((String::new(), &self.0))
            .chain(named)
            .filter(|(_, def)| def["properties"].is_object())
            .collect()
    }

    fn check(&self, schema: &Value, v: &Value) -> Result<(), String> {
        for (keyword, arg) in schema.as_object().expect("a schema is an object") {
            if !self.keyword(keyword, arg, schema, v) {
                return Err(format!("{v} against {keyword}: {arg}"));
            }
        }
        Ok(())
    }

    fn keyword(&self, keyword: &str, arg: &Value, schema: &Value, v: &Value) -> bool {
        let ok = |s: &Value, v: &Value| self.check(s, v).is_ok();
        let all = || arg.as_array().expect("a list of schemas").iter();
        let least = |n: Option<usize>| n.is_none_or(|n| n as u64 >= arg.as_u64().expect("a number"));
        let most = |n: Option<usize>| n.is_none_or(|n| n as u64 <= arg.as_u64().expect("a number"));
        let (object, array, text) = (v.as_object(), v.as_array(), v.as_str());
        match keyword {
            "$schema" | "$id" | "$defs" | "title" | "description" | "default" | "examples" | "format" => true,
            "$ref" => ok(self.0.pointer(&arg.as_str().expect("a reference")[1..]).expect("its target"), v),
            "type" => match arg.as_str().expect("one type") {
                "object" => object.is_some(),
                "array" => array.is_some(),
                "string" => text.is_some(),
                "boolean" => v.is_boolean(),
                "number" => v.is_number(),
                "integer" => v.is_i64() || v.is_u64(),
                other => panic!("unknown type {other}"),
            },
            "const" => v == arg,
            "anyOf" => all().any(|s| ok(s, v)),
            "oneOf" => all().filter(|s| ok(s, v)).count() == 1,
            "allOf" => all().all(|s| ok(s, v)),
            "not" => !ok(arg, v),
            "required" => object.is_none_or(|o| all().all(|n| o.contains_key(n.as_str().expect("a name")))),
            "properties" => object.is_none_or(|o| o.iter().all(|(n, v)| arg.get(n).is_none_or(|s| ok(s, v)))),
            "additionalProperties" => object.is_none_or(|o| {
                let rest = o.iter().filter(|(n, _)| schema["properties"].get(n).is_none());
                rest.into_iter().all(|(_, v)| if arg == &json!(false) { false } else { ok(arg, v) })
            }),
            "propertyNames" => object.is_none_or(|o| o.keys().all(|n| ok(arg, &json!(n)))),
            "items" => array.is_none_or(|a| a.iter().all(|v| ok(arg, v))),
            "minProperties" => least(object.map(Map::len)),
            "maxProperties" => most(object.map(Map::len)),
            "minItems" => least(array.map(Vec::len)),
            "maxItems" => most(array.map(Vec::len)),
            // The schema counts characters, the reader bytes.
            "maxLength" => most(text.map(|t| t.chars().count())),
            "minLength" => least(text.map(|t| t.chars().count())),
            "minimum" => v.as_f64().is_none_or(|n| n >= arg.as_f64().expect("a number")),
            "maximum" => v.as_f64().is_none_or(|n| n <= arg.as_f64().expect("a number")),
            "pattern" => text.is_none_or(|t| matches(arg.as_str().expect("a pattern"), t)),
            other => panic!("the judge does not know `{other}` yet"),
        }
    }
}

/// The patterns of the schema.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern {
        "^[A-Za-z][A-Za-z0-9_-]{0,63}$" => {
            let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            text.len() <= 64 && text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(word)
        }
        "^-?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$" => {
            matches("^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$", text.strip_prefix('-').unwrap_or(text))
        }
        "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$" => {
            let mut rest = text;
            for unit in ["d", "h", "m", "s", "ms"] {
                let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
                if after.len() < rest.len() && &after[..letters] == unit {
                    rest = &after[letters..];
                }
            }
            rest.is_empty()
        }
        other => panic!("the judge does not know the pattern {other} yet"),
    }
}
