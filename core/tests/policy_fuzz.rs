//! Policies made at random, and documents spoiled at random: what is written is read back, and nothing panics.

use plimsoll_core::policy::text::{Code, DIAGNOSTICS_MAX, Diagnostics, Syntax, parse};
use plimsoll_core::policy::{
    Format, Future, Input, Late, LateBy, LateTo, Limits, Measure, Op, Path, Policy, Spec, Strategy as Follows,
    TimeField, TimeUnit, Watermark, Windowing, explain,
};
use plimsoll_core::time::TimeDelta;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

const SEED: &str = include_str!("policy_errors.txt");

/// A path whose first name begins with `stem`, so that paths of different stems never contain each other.
fn path(stem: &'static str) -> impl Strategy<Value = Path> {
    let odd = select(vec!["", "é", ".", "a.b", "\"", "\\", "\u{7f}", "\u{1}", " ", "\u{1f600}", "'", "]"]);
    (odd, vec("[a-z\"é. ]{1,8}", 0..3)).prop_map(move |(odd, below)| {
        let mut path = vec![format!("{stem}{odd}")];
        path.extend(below);
        path
    })
}

fn time(stem: &'static str) -> impl Strategy<Value = TimeField> {
    let units = vec![TimeUnit::S, TimeUnit::Ms, TimeUnit::Us, TimeUnit::Ns, TimeUnit::Rfc3339];
    (path(stem), select(units), any::<bool>()).prop_map(|(field, unit, unit_check)| TimeField {
        field,
        unit,
        unit_check,
    })
}

fn span(least_ms: i64) -> impl Strategy<Value = TimeDelta> {
    let most = 3_660 * 86_400_000_i64;
    prop_oneof![least_ms..100_000, least_ms..most, Just(least_ms), Just(most)].prop_map(TimeDelta::from_millis)
}

fn input() -> impl Strategy<Value = Input> {
    let keys = subsequence(vec!["k0", "k1", "k2", "k3"], 1..=4);
    (time("time"), option::of(time("arr")), keys, option::of(path("src"))).prop_map(|(time, arrival, keys, source)| {
        let key = keys.into_iter().map(|k| vec!["keys".into(), k.into()]).collect();
        Input { format: Format::Json, time, arrival, key, source }
    })
}

fn watermark() -> impl Strategy<Value = Watermark> {
    let quantile = (1..1_000_u32, 1..=2_001_u32).prop_flat_map(|(q_milli, sample)| {
        (1..=sample).prop_map(move |min_sample| Follows::Quantile { q_milli, sample, min_sample })
    });
    let strategy = prop_oneof![Just(Follows::Max), Just(Follows::Arrival), quantile];
    let future = select(vec![Future::Quarantine, Future::Clamp, Future::Accept]);
    (strategy, span(0), option::of(span(0)), future).prop_map(|(strategy, delay, max_future, future)| Watermark {
        strategy,
        delay,
        max_future,
        future,
    })
}

fn late() -> impl Strategy<Value = Late> {
    let by =
        prop_oneof![Just((LateBy::Record, TimeDelta::ZERO)), span(0).prop_map(|allowed| (LateBy::Window, allowed)),];
    (by, select(vec![LateTo::Table, LateTo::Drop, LateTo::Accept])).prop_map(|((by, allowed_lateness), to)| Late {
        by,
        allowed_lateness,
        to,
    })
}

fn measures() -> impl Strategy<Value = Vec<Measure>> {
    let names = subsequence(vec!["z", "b-1", "Total", "count", "sum", "a_b", "m"], 1..=7).prop_shuffle();
    names.prop_flat_map(|names| {
        names
            .into_iter()
            .map(|name| {
                let op = select(vec![Op::Count, Op::Sum, Op::Min, Op::Max]);
                (op, "[a-zé.\"]{1,8}").prop_map(move |(op, field)| Measure {
                    name: name.into(),
                    op,
                    field: (op != Op::Count).then(|| vec!["value".into(), field]),
                })
            })
            .collect::<Vec<_>>()
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let window = span(1).prop_flat_map(|size| {
        (0..size.as_millis()).prop_map(move |o| Windowing::Fixed { size, offset: TimeDelta::from_millis(o) })
    });
    let limits = (1..=16_u32 << 20, 1..=1_900_u32, 1..=256_u32 << 10).prop_map(|(r, k, d)| Limits {
        record_bytes: r,
        key_bytes: k,
        dead_letter_bytes: d,
    });
    ("[A-Za-z][A-Za-z0-9_-]{0,63}", input(), window, watermark(), late(), measures(), limits).prop_map(
        |(policy, input, window, watermark, late, measures, limits)| {
            let spec = Spec {
                v: 1,
                policy,
                input,
                window,
                watermark,
                late,
                measures,
                derived: Vec::new(),
                kept: Vec::new(),
                panes: None,
                limits,
            };
            Policy::new(spec).expect("only policies are made here")
        },
    )
}

/// What holds for any document, right or wrong.
fn sound(text: &str, syntax: Syntax) -> Result<Policy, Diagnostics> {
    let read = parse(text, syntax);
    if let Err(e) = &read {
        assert!(!e.all.is_empty() && e.all.len() <= DIAGNOSTICS_MAX);
        assert!(e.all.is_sorted_by_key(|d| d.from), "not in order: {e}");
        for d in &e.all {
            let body = text.strip_prefix('\u{feff}').unwrap_or(text);
            let line = body.split('\n').nth(d.line - 1).expect("the line exists");
            assert!(d.column <= line.chars().count() + 1, "no such column: {d}");
            assert!(d.from <= d.to && d.to <= text.len(), "no such place: {d:?}");
            assert!(!d.message.contains(char::is_control), "speaks to the terminal: {d:?}");
        }
    }
    read
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_written_is_read_back(p in policy()) {
        prop_assert_eq!(&Policy::from_toml(&p.to_toml()).map_err(|e| TestCaseError::fail(format!("{e}\n{}", p.to_toml())))?, &p);
        prop_assert_eq!(&Policy::from_json(&p.to_json()).map_err(|e| TestCaseError::fail(format!("{e}\n{}", p.to_json())))?, &p);
        prop_assert_eq!(&Policy::from_canonical(p.canonical()).map_err(|e| TestCaseError::fail(e.to_string()))?, &p);
        prop_assert!(!explain(&p).is_empty());
    }

    #[test]
    fn spoiled_documents_get_an_answer(p in policy(), toml in any::<bool>(), spoils in vec((any::<Index>(), 0..8_usize, ".{0,6}"), 1..6)) {
        let (syntax, mut text) = if toml { (Syntax::Toml, p.to_toml()) } else { (Syntax::Json, p.to_json()) };
        for (at, cut, put) in spoils {
            let mut bounds: Vec<usize> = text.char_indices().map(|(i, _)| i).collect();
            bounds.push(text.len());
            let from = at.index(bounds.len());
            let to = bounds[(from + cut).min(bounds.len() - 1)];
            text.replace_range(bounds[from]..to, &put);
        }
        if let Ok(q) = sound(&text, syntax) {
            prop_assert_eq!(Policy::from_canonical(q.canonical()).ok(), Some(q));
        }
    }

    #[test]
    fn pieces_of_documents_in_any_order_get_an_answer(pieces in vec(any::<Index>(), 0..40), json in any::<bool>(), mark in any::<bool>()) {
        let words: Vec<&str> = SEED.split_inclusive([' ', '\n', '⏎', '"', '{', '=']).collect();
        let mut text = String::from(if mark { "\u{feff}" } else { "" });
        text.extend(pieces.iter().map(|i| words[i.index(words.len())]));
        let _ = sound(&text, if json { Syntax::Json } else { Syntax::Toml });
    }

    #[test]
    fn any_text_gets_an_answer(text in "\\PC{0,60}", bytes in vec(any::<u8>(), 0..60)) {
        for text in [text.as_str(), &String::from_utf8_lossy(&bytes)] {
            let _ = sound(text, Syntax::Toml);
            let _ = sound(text, Syntax::Json);
        }
    }

    /// One value of a good policy replaced: both languages say the same of it.
    #[test]
    fn both_languages_get_the_same_complaints(p in policy(), at in any::<Index>(), kind in 0..9_usize) {
        let mut document: serde_json::Value = serde_json::from_str(&p.to_json()).expect("JSON");
        let mut places = Vec::new();
        pointers(&document, String::new(), &mut places);
        let place = &places[at.index(places.len())];
        let (parent, name) = place.rsplit_once('/').expect("a pointer");
        let wrong = [
            serde_json::json!("x"), serde_json::json!(-7), serde_json::json!(true), serde_json::json!([]),
            serde_json::json!({}), serde_json::json!("5m"), serde_json::json!(["a", "b"]),
        ];
        match (kind, document.pointer_mut(parent).expect("the parent exists")) {
            (0, serde_json::Value::Object(o)) => { o.remove(&unescaped(name)); }
            (1, serde_json::Value::Object(o)) => { let v = o.remove(&unescaped(name)).expect("it exists"); o.insert("renamd".into(), v); }
            (k, _) => *document.pointer_mut(place).expect("it exists") = wrong[k % wrong.len()].clone(),
        }
        let complaints = |r: Result<Policy, Diagnostics>| r.map_err(|e| {
            let mut all: Vec<(Code, String)> = e.all.into_iter().map(|d| (d.code, d.path)).collect();
            all.sort();
            all
        });
        let json = complaints(sound(&document.to_string(), Syntax::Json));
        let toml = complaints(sound(&toml::to_string(&document).expect("no nulls in it"), Syntax::Toml));
        // The order of measures is the text's, and these two writers do not keep it.
        prop_assert_eq!(json.as_ref().err(), toml.as_ref().err());
    }
}

fn pointers(v: &serde_json::Value, at: String, out: &mut Vec<String>) {
    match v {
        serde_json::Value::Object(o) => {
            for (name, v) in o {
                let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                out.push(at.clone());
                pointers(v, at, out);
            }
        }
        serde_json::Value::Array(a) => {
            for (i, v) in a.iter().enumerate() {
                out.push(format!("{at}/{i}"));
                pointers(v, format!("{at}/{i}"), out);
            }
        }
        _ => {}
    }
}

fn unescaped(name: &str) -> String {
    name.replace("~1", "/").replace("~0", "~")
}
