//! Policies made at random, and documents spoiled at random: what is written is read back, and nothing panics.

use plimsoll_core::expr::{Expression, Op as Operation, Step};
use plimsoll_core::policy::text::{Code, DIAGNOSTICS_MAX, Diagnostics, Syntax, parse};
use plimsoll_core::policy::{
    Accumulation, Bundle, CalendarUnit, Computed, Derived, Emission, Format, Formula, Future, Input, Keep, Kept, Late,
    LateBy, LateTo, Limits, Measure, Op, Panes, Path, Policy, Rollup, Spec, Strategy as Follows, TimeField, TimeUnit,
    TimestampCombiner, Touching, Trigger, Watermark, Windowing, Zone, explain, limits,
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
        let of_sample = (1..=sample, option::of(1..=sample));
        of_sample.prop_map(move |(min_sample, per_source)| Follows::Quantile {
            q_milli,
            sample,
            min_sample,
            per_source,
        })
    });
    let strategy = prop_oneof![Just(Follows::Max), Just(Follows::Arrival), Just(Follows::Given), quantile];
    let future = select(vec![Future::Quarantine, Future::Clamp, Future::Accept]);
    (strategy, span(0), option::of(span(0)), future).prop_map(|(strategy, delay, max_future, future)| Watermark {
        strategy,
        delay,
        max_future,
        future,
    })
}

/// Where windows give out panes, any lateness will do, and what has expired is not accepted.
fn late(panes: bool) -> impl Strategy<Value = Late> {
    let record = Just((LateBy::Record, TimeDelta::ZERO)).boxed();
    let window = span(0).prop_map(|allowed| (LateBy::Window, allowed)).boxed();
    let for_ever = Just((LateBy::Window, limits::LATENESS_UNBOUNDED)).boxed();
    let by = select(if panes { vec![record, window, for_ever] } else { vec![record, window] }).prop_flat_map(|by| by);
    let last = if panes { LateTo::Drop } else { LateTo::Accept };
    (by, select(vec![LateTo::Table, LateTo::Drop, LateTo::DeadLetters, last]))
        .prop_map(|((by, allowed_lateness), to)| Late { by, allowed_lateness, to })
}

fn value() -> impl Strategy<Value = Path> {
    "[a-zé.\"]{1,8}".prop_map(|field| vec!["value".into(), field])
}

/// Names of a few measures, so that none of them is another's with an ending.
fn names() -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(vec!["z", "b-1", "Total", "count", "sum", "a_b", "m"], 1..=7).prop_shuffle()
}

fn measures() -> impl Strategy<Value = Vec<Measure>> {
    names().prop_flat_map(|names| {
        names
            .into_iter()
            .map(|name| {
                let op = select(vec![Op::Count, Op::Sum, Op::Min, Op::Max, Op::Squares]);
                (op, value(), any::<bool>(), scale()).prop_map(move |(op, field, all, scale)| Measure {
                    name: name.into(),
                    op,
                    field: (op != Op::Count || !all).then_some(field),
                    scale: scale.filter(|_| op != Op::Count),
                })
            })
            .collect::<Vec<_>>()
    })
}

fn scale() -> impl Strategy<Value = Option<u32>> {
    option::of(0..=limits::SCALE_MAX)
}

/// Of which name, whether a variance, whether of columns of its own, where they stand, of which field and scale.
type Moment = (&'static str, bool, bool, Index, Path, Option<u32>);

/// Means and variances: of fields, with columns of their own before, between or behind the others, and of columns.
fn moments() -> impl Strategy<Value = Vec<Moment>> {
    let names = subsequence(vec!["avg", "Spread", "v_2", "mid"], 0..=4).prop_shuffle();
    names.prop_flat_map(|names| {
        let moment = |name| (Just(name), any::<bool>(), any::<bool>(), any::<Index>(), value(), scale());
        names.into_iter().map(moment).collect::<Vec<_>>()
    })
}

fn derive(measures: &mut Vec<Measure>, moments: Vec<Moment>) -> Vec<Derived> {
    let mut wanted: Vec<(&str, Vec<String>)> = Vec::new();
    for (name, variance, own, at, field, scale) in moments {
        let ops = [("_sum", Op::Sum), ("_count", Op::Count), ("_squares", Op::Squares)];
        let ops = &ops[..if variance { 3 } else { 2 }];
        let ending = if own { "" } else { "_x" };
        let names: Vec<String> = ops.iter().map(|(op, _)| format!("{name}{ending}{op}")).collect();
        let made = ops.iter().zip(&names).map(|((_, op), name)| Measure {
            name: name.clone(),
            op: *op,
            field: Some(field.clone()),
            scale: scale.filter(|_| *op != Op::Count),
        });
        // Between the columns of another it is no longer that one's own.
        let at = at.index(measures.len() + 1);
        measures.splice(at..at, made);
        wanted.push((name, names));
    }
    let column = |name: &String| measures.iter().position(|m| m.name == *name).expect("it was made") as u32;
    let derived = wanted.iter().map(|(name, names)| Derived {
        name: (*name).into(),
        of: match names.as_slice() {
            [sum, count] => Formula::Mean { sum: column(sum), count: column(count) },
            [sum, count, squares] => {
                Formula::Variance { sum: column(sum), count: column(count), squares: column(squares) }
            }
            _ => unreachable!("a mean has two columns and a variance three"),
        },
    });
    derived.collect()
}

fn concat(parts: Vec<Vec<Step>>, last: Step) -> Vec<Step> {
    parts.into_iter().flatten().chain([last]).collect()
}

fn field() -> impl Strategy<Value = Vec<Step>> {
    select(vec!["a", "in", "é", "two words", "\n", "x-1"]).prop_map(|name| {
        // Some of a policy's paths begin with others' last names.
        vec![Step::Field(vec!["expr".into(), name.into()])]
    })
}

fn text() -> impl Strategy<Value = Vec<Step>> {
    prop_oneof![
        field(),
        ".{0,6}".prop_map(|t| vec![Step::Text(t)]),
        "[\"'\\\\`]{0,4}".prop_map(|t| vec![Step::Text(t)])
    ]
}

/// Steps that make an integer or a text.
fn computed() -> impl Strategy<Value = Vec<Step>> {
    let leaf = prop_oneof![field(), any::<i64>().prop_map(|n| vec![Step::Int(n)])];
    let whole = leaf.prop_recursive(4, 20, 3, |inner| {
        let operator = select(vec![
            Step::Op(Operation::Add),
            Step::Op(Operation::Subtract),
            Step::Op(Operation::Multiply),
            Step::Op(Operation::Divide),
            Step::Op(Operation::Remainder),
        ]);
        prop_oneof![
            (inner.clone(), inner.clone(), operator).prop_map(|(a, b, o)| concat(vec![a, b], o)),
            inner.clone().prop_map(|a| concat(vec![a], Step::Op(Operation::Negative))),
            (field(), inner.clone(), inner).prop_map(|(c, a, b)| concat(vec![c, a, b], Step::Op(Operation::If))),
            text().prop_map(|a| concat(vec![a], Step::Op(Operation::Size))),
        ]
    });
    prop_oneof![3 => whole, 1 => text()]
}

/// Steps that make a truth value.
fn truth() -> impl Strategy<Value = Vec<Step>> {
    let order = || {
        select(vec![
            Step::Op(Operation::Equal),
            Step::Op(Operation::NotEqual),
            Step::Op(Operation::Less),
            Step::Op(Operation::AtMost),
            Step::Op(Operation::Greater),
            Step::Op(Operation::AtLeast),
        ])
    };
    let number = (-999..999_i64, -30..30_i32).prop_filter("in one spelling", |(n, _)| n % 10 != 0);
    let number = number.prop_map(|(n, e)| vec![Step::Number(format!("{n}e{e}"))]);
    let methods = || select(vec![Step::Op(Operation::StartsWith), Step::Op(Operation::EndsWith)]);
    let leaf = prop_oneof![
        field(),
        any::<bool>().prop_map(|b| vec![Step::Op(if b { Operation::True } else { Operation::False })]),
        field().prop_map(|f| match &f[0] {
            Step::Field(p) => vec![Step::Has(p.clone())],
            _ => f,
        }),
        (field(), number, order()).prop_map(|(a, b, o)| concat(vec![a, b], o)),
        (text(), text(), methods()).prop_map(|(a, b, m)| concat(vec![a, b], m)),
        (text(), ".{0,4}").prop_map(|(a, t)| concat(vec![a, vec![Step::Text(t)]], Step::Op(Operation::Contains))),
        (field(), vec(text(), 0..4)).prop_map(|(a, list)| {
            let n = list.len() as u32;
            concat([vec![a], list].concat(), Step::In(n))
        }),
        field().prop_map(|a| concat(vec![a, vec![Step::Op(Operation::Null)]], Step::Op(Operation::NotEqual))),
    ];
    leaf.prop_recursive(5, 30, 3, move |inner| {
        let two = select(vec![
            Step::Op(Operation::And),
            Step::Op(Operation::Or),
            Step::Op(Operation::Equal),
            Step::Op(Operation::Less),
        ]);
        prop_oneof![
            (inner.clone(), inner.clone(), two).prop_map(|(a, b, o)| concat(vec![a, b], o)),
            inner.clone().prop_map(|a| concat(vec![a], Step::Op(Operation::Not))),
            (inner.clone(), inner.clone(), inner).prop_map(|(c, a, b)| concat(vec![c, a, b], Step::Op(Operation::If))),
            (computed_number(), computed_number(), order()).prop_map(|(a, b, o)| concat(vec![a, b], o)),
        ]
    })
}

fn computed_number() -> impl Strategy<Value = Vec<Step>> {
    computed().prop_map(|steps| if matches!(steps[..], [Step::Text(_)]) { vec![Step::Int(1)] } else { steps })
}

/// Within the bounds, which the generators do not keep.
fn expression(steps: impl Strategy<Value = Vec<Step>>) -> impl Strategy<Value = Expression> {
    steps.prop_map(
        |steps| if steps.len() > 80 { Expression(vec![Step::Op(Operation::True)]) } else { Expression(steps) },
    )
}

fn kept() -> impl Strategy<Value = Vec<Kept>> {
    let what = prop_oneof![
        Just(Keep::First),
        Just(Keep::Last),
        (1..=10_000_u32).prop_map(|most| Keep::List { most }),
        Just(Keep::Distinct),
        (0..=1_000_u32).prop_map(|q_milli| Keep::Quantile { q_milli }),
        (1..=10_000_u32).prop_map(|k| Keep::TopK { k }),
    ];
    vec((what, value()), 0..=8).prop_map(|all| {
        let named = all.into_iter().enumerate();
        named.map(|(i, (what, field))| Kept { name: format!("kept{i}"), what, field }).collect()
    })
}

fn trigger() -> impl Strategy<Value = Trigger> {
    let ms = |least| span(least).prop_map(TimeDelta::as_millis);
    let most = limits::SPAN_MAX.as_millis();
    let delay = (ms(0), option::of((ms(1), -most..=most))).prop_map(|(delay_ms, align)| {
        let (align_ms, align_offset_ms) = align.map_or((None, 0), |(align, offset)| (Some(align), offset));
        Trigger::AfterProcessingTime { delay_ms, align_ms, align_offset_ms }
    });
    let leaf = prop_oneof![
        select(vec![
            Trigger::Default,
            Trigger::Always,
            Trigger::Never,
            Trigger::AfterWatermark { early: None, late: None }
        ]),
        (1..=limits::COUNT_MAX).prop_map(|count| Trigger::AfterCount { count }),
        delay,
        ms(1).prop_map(|period_ms| Trigger::EveryEventTime { period_ms }),
    ];
    let tree = leaf.prop_recursive(5, 20, 3, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        let some = || vec(inner.clone(), 1..4);
        prop_oneof![
            (option::of(boxed()), option::of(boxed()))
                .prop_map(|(early, late)| Trigger::AfterWatermark { early, late }),
            boxed().prop_map(|trigger| Trigger::Repeatedly { trigger }),
            some().prop_map(|triggers| Trigger::AfterEach { triggers }),
            some().prop_map(|triggers| Trigger::AfterAny { triggers }),
            some().prop_map(|triggers| Trigger::AfterAll { triggers }),
            (boxed(), boxed()).prop_map(|(main, until)| Trigger::OrFinally { main, until }),
        ]
    });
    // The generator's bound is no hard one.
    tree.prop_map(|t| if nodes(&t) > limits::TRIGGER_NODES_MAX { Trigger::Default } else { t })
}

fn nodes(t: &Trigger) -> usize {
    let below = match t {
        Trigger::AfterWatermark { early, late } => [early, late].into_iter().flatten().map(|t| nodes(t)).sum(),
        Trigger::Repeatedly { trigger } => nodes(trigger),
        Trigger::OrFinally { main, until } => nodes(main) + nodes(until),
        Trigger::AfterEach { triggers } | Trigger::AfterAny { triggers } | Trigger::AfterAll { triggers } => {
            triggers.iter().map(nodes).sum()
        }
        _ => 0,
    };
    1 + below
}

fn panes() -> impl Strategy<Value = Panes> {
    let emission = || select(vec![Emission::Always, Emission::IfNonEmpty]);
    let modes = (
        select(vec![Accumulation::Discarding, Accumulation::Accumulating, Accumulation::Retracting]),
        select(vec![TimestampCombiner::EndOfWindow, TimestampCombiner::Earliest, TimestampCombiner::Latest]),
        select(vec![Bundle::Record, Bundle::Frame]),
        any::<bool>(),
    );
    let most = limits::SPAN_MAX.as_millis();
    (trigger(), modes, -most..=most, (emission(), emission()), 1..=limits::OPEN_MAX).prop_map(
        |(trigger, (accumulation, timestamp, bundle, flush_on_expiry), shift, (on_time, closing), open_max)| Panes {
            trigger,
            accumulation,
            timestamp,
            timestamp_shift: TimeDelta::from_millis(shift),
            on_time,
            closing,
            flush_on_expiry,
            bundle,
            open_max,
        },
    )
}

/// A zone comes from text, since its data does.
fn zone(name: &str) -> Zone {
    let text = format!(
        "policy = \"p\"\ninput = {{ time = {{ field = \"t\", unit = \"ms\" }}, key = [\"k\"] }}\n\
         measures = {{ n = \"count\" }}\nwindow = {{ calendar = {{ every = \"day\", zone = \"{name}\" }} }}"
    );
    let p = Policy::from_toml(&text).expect("a known zone");
    let Windowing::Calendar { zone, .. } = p.spec().window.clone() else { panic!("not the calendar") };
    zone
}

/// Fixed windows that make hours, and what they make.
fn rollup() -> impl Strategy<Value = (Windowing, Rollup)> {
    let size = select(vec![1, 5, 15, 30, 60]).prop_map(TimeDelta::from_mins);
    let zones = vec!["UTC", "Asia/Tokyo", "Europe/Berlin"];
    (size, option::of(select(zones)))
        .prop_map(|(size, name)| (Windowing::Fixed { size, offset: TimeDelta::ZERO }, Rollup { day: name.map(zone) }))
}

/// Of every kind.
fn window() -> impl Strategy<Value = Windowing> {
    fn within(d: TimeDelta) -> impl Strategy<Value = TimeDelta> {
        (0..d.as_millis()).prop_map(TimeDelta::from_millis)
    }
    let fixed = span(1).prop_flat_map(|size| within(size).prop_map(move |offset| Windowing::Fixed { size, offset }));
    let sliding = (span(1), span(1)).prop_flat_map(|(size, every)| {
        let every = TimeDelta::from_millis(every.as_millis().max(size.as_millis() / 1_000 + 1));
        within(every).prop_map(move |offset| Windowing::Sliding { size, every, offset })
    });
    let cumulative = (1..100_000_i64, 1..=1_000_i64).prop_flat_map(|(step, n)| {
        let (size, step) = (TimeDelta::from_millis(step * n), TimeDelta::from_millis(step));
        within(size).prop_map(move |offset| Windowing::Cumulative { size, step, offset })
    });
    let touching = select(vec![Touching::Separate, Touching::Merge]);
    let session = (span(1), option::of(path("gap")), touching)
        .prop_map(|(gap, gap_field, touching)| Windowing::Session { gap, gap_field, touching });
    let units = vec![CalendarUnit::Hour, CalendarUnit::Day, CalendarUnit::Week, CalendarUnit::Month];
    let zones =
        vec!["UTC", "Asia/Tokyo", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"];
    let calendar =
        (select(units), select(zones)).prop_map(|(every, name)| Windowing::Calendar { every, zone: zone(name) });
    prop_oneof![3 => fixed, 2 => sliding, 1 => cumulative, 2 => session, 1 => calendar, 1 => Just(Windowing::Global)]
}

fn policy() -> impl Strategy<Value = Policy> {
    let sizes = (1..=16_u32 << 20, 1..=1_900_u32, 1..=256_u32 << 10, option::of(1..=1_000_000_u32));
    let limits = sizes.prop_map(|(r, k, d, n)| Limits {
        record_bytes: r,
        key_bytes: k,
        dead_letter_bytes: d,
        keys_per_window: n,
    });
    let windows = prop_oneof![
        4 => window().prop_map(|window| (window, None)),
        1 => rollup().prop_map(|(window, rollup)| (window, Some(rollup))),
    ];
    let when = (windows, option::of(panes()), panes()).prop_flat_map(|((window, rollup), panes, of_sessions)| {
        let merging = matches!(window, Windowing::Session { .. });
        let panes = panes.or(merging.then_some(of_sessions));
        (late(panes.is_some()), Just(window), Just(panes), Just(rollup))
    });
    // Computed fields are known by the last measure that is no count of all.
    let fields = option::of(vec(expression(computed()), 1..3));
    let what = (measures(), moments(), kept(), option::of(expression(truth())), fields);
    ("[A-Za-z][A-Za-z0-9_-]{0,63}", input(), watermark(), when, what, limits).prop_map(
        |(
            policy,
            input,
            mut watermark,
            (late, window, panes, rollup),
            (mut measures, moments, mut kept, filter, fields),
            mut limits,
        )| {
            if matches!(window, Windowing::Session { .. }) || late.to == LateTo::Accept {
                limits.keys_per_window = None;
            }
            if let (Follows::Quantile { per_source, .. }, None) = (&mut watermark.strategy, &input.source) {
                *per_source = None;
            }
            if panes.is_none() || rollup.is_some() {
                kept.clear();
            }
            let mut named = Vec::new();
            let free = measures.iter_mut().filter(|m| m.field.is_some());
            for ((i, value), m) in fields.into_iter().flatten().enumerate().zip(free) {
                let name = format!("computed-{i}");
                m.field = Some(vec![name.clone()]);
                named.push(Computed { name, value });
            }
            let derived = derive(&mut measures, moments);
            let fields = named;
            let spec = Spec {
                v: 1,
                policy,
                filter,
                input,
                fields,
                window,
                watermark,
                late,
                measures,
                derived,
                kept,
                panes,
                rollup,
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
