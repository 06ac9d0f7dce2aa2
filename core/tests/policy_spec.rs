//! Specs that no text made: what a stranger's canonical form may say. Each gets an answer in bounded time, and what is
//! no policy is refused with the field's name.

use plimsoll_core::policy::{
    Accumulation, Bundle, Derived, Emission, Formula, Keep, Kept, LateBy, LateTo, Measure, Op, Panes, Policy,
    PolicyError, Spec, TimestampCombiner, Touching, Trigger, Windowing, limits,
};
use plimsoll_core::time::TimeDelta;

fn good() -> Spec {
    let text = "policy = \"p\"\ninput = { time = { field = \"t\", unit = \"ms\" }, key = [\"k\"] }\n\
                window = { fixed = \"1m\" }\nmeasures = { n = \"count\", s = { sum = \"v\" }, q = { squares = \"w\" } }\n\
                [trigger]\n";
    Policy::from_toml(text).expect("a policy").spec().clone()
}

fn panes(trigger: Trigger) -> Panes {
    Panes {
        trigger,
        accumulation: Accumulation::Discarding,
        timestamp: TimestampCombiner::EndOfWindow,
        timestamp_shift: TimeDelta::ZERO,
        on_time: Emission::IfNonEmpty,
        closing: Emission::IfNonEmpty,
        flush_on_expiry: true,
        bundle: Bundle::Record,
        open_max: 1,
    }
}

/// The field that is refused first.
fn refused(change: impl FnOnce(&mut Spec)) -> String {
    let mut spec = good();
    change(&mut spec);
    match Policy::new(spec) {
        Err(PolicyError::Value { field, .. } | PolicyError::Name { field, .. }) => field,
        other => panic!("not refused: {other:?}"),
    }
}

fn deep(n: usize) -> Trigger {
    (1..n).fold(Trigger::Always, |t, _| Trigger::Repeatedly { trigger: Box::new(t) })
}

#[test]
fn triggers_are_bounded_in_number_and_depth() {
    let deepest = Policy::new(Spec { panes: Some(panes(deep(limits::TRIGGER_DEPTH_MAX))), ..good() });
    let deepest = deepest.expect("as deep as triggers go");
    assert_eq!(Policy::from_canonical(deepest.canonical()), Ok(deepest.clone()));
    assert_eq!(Policy::from_toml(&deepest.to_toml()).as_ref(), Ok(&deepest));
    for trigger in [deep(limits::TRIGGER_DEPTH_MAX + 1), deep(2_000)] {
        assert_eq!(refused(|s| s.panes = Some(panes(trigger))), "trigger.when");
    }
    let wide = |n: usize| Trigger::AfterAny { triggers: vec![Trigger::Always; n] };
    assert!(Policy::new(Spec { panes: Some(panes(wide(limits::TRIGGER_NODES_MAX - 1))), ..good() }).is_ok());
    for n in [limits::TRIGGER_NODES_MAX, 1_000_000] {
        assert_eq!(refused(|s| s.panes = Some(panes(wide(n)))), "trigger.when");
    }
}

#[test]
fn a_trigger_of_any_depth_in_a_canonical_form_gets_an_answer() {
    let p = Policy::new(Spec { panes: Some(panes(Trigger::Always)), ..good() }).expect("a policy");
    let text = std::str::from_utf8(p.canonical()).expect("JSON is text");
    let (head, tail) = text.split_once("\"always\"").expect("the trigger");
    for n in [13, 70, 100_000] {
        let hostile = [head, &"{\"repeatedly\":{\"trigger\":".repeat(n), "\"always\"", &"}}".repeat(n), tail].concat();
        assert!(Policy::from_canonical(hostile.as_bytes()).is_err(), "{n}");
    }
}

#[test]
fn numbers_of_triggers_have_bounds() {
    let after =
        |delay_ms, align_ms, align_offset_ms| Trigger::AfterProcessingTime { delay_ms, align_ms, align_offset_ms };
    let at = |field: &str| format!("trigger.when.{field}");
    let cases = [
        (Trigger::AfterCount { count: 0 }, at("after_count")),
        (Trigger::AfterCount { count: u64::MAX }, at("after_count")),
        (after(-1, None, 0), at("after_processing_time.delay")),
        (after(i64::MAX, None, 0), at("after_processing_time.delay")),
        (after(0, Some(0), 0), at("after_processing_time.align")),
        (after(0, Some(i64::MIN), i64::MIN), at("after_processing_time.align")),
        (after(0, None, 1), at("after_processing_time.align_offset")),
        (after(0, Some(5), i64::MAX), at("after_processing_time.align_offset")),
        (after(0, Some(5), i64::MIN), at("after_processing_time.align_offset")),
        (Trigger::EveryEventTime { period_ms: 0 }, at("every_event_time")),
        (Trigger::AfterAll { triggers: vec![] }, at("after_all")),
        (
            Trigger::AfterEach { triggers: vec![Trigger::Always, deep_wrong()] },
            at("after_each[1].repeatedly.after_count"),
        ),
    ];
    for (trigger, field) in cases {
        assert_eq!(refused(|s| s.panes = Some(panes(trigger))), field);
    }
    assert_eq!(refused(|s| s.panes = Some(Panes { open_max: 0, ..panes(Trigger::Always) })), "trigger.open_max");
    let shift = TimeDelta::from_millis(i64::MIN);
    let shifted = Panes { timestamp_shift: shift, ..panes(Trigger::Always) };
    assert_eq!(refused(|s| s.panes = Some(shifted)), "trigger.timestamp_shift");
}

fn deep_wrong() -> Trigger {
    Trigger::Repeatedly { trigger: Box::new(Trigger::AfterCount { count: 0 }) }
}

#[test]
fn a_spec_may_lose_data_since_nobody_wrote_it_by_mistake() {
    let p = Policy::new(Spec { panes: Some(panes(Trigger::AfterCount { count: 1 })), ..good() }).expect("a policy");
    assert!(p.to_toml().contains("\nmay_lose_data = true\n"));
    assert_eq!(Policy::from_toml(&p.to_toml()), Ok(p));
}

#[test]
fn what_needs_panes_is_refused_without_them() {
    let kept = |what| Kept { name: "x".into(), what, field: vec!["x".into()] };
    let session = Windowing::Session { gap: TimeDelta::from_secs(1), gap_field: None, touching: Touching::Separate };
    assert_eq!(refused(|s| (s.panes, s.window) = (None, session)), "trigger");
    assert_eq!(refused(|s| (s.panes, s.kept) = (None, vec![kept(Keep::First)])), "measures.x");
    assert_eq!(
        refused(|s| {
            s.panes = None;
            (s.late.by, s.late.allowed_lateness) = (LateBy::Window, limits::LATENESS_UNBOUNDED);
        }),
        "late.allowed_lateness"
    );
    assert_eq!(refused(|s| s.late.to = LateTo::Accept), "late.to");
    assert_eq!(refused(|s| s.kept = vec![kept(Keep::List { most: 0 })]), "measures.x.list.most");
    assert_eq!(refused(|s| s.kept = vec![kept(Keep::TopK { k: 10_001 })]), "measures.x.top_k.k");
    assert_eq!(refused(|s| s.kept = vec![kept(Keep::Quantile { q_milli: 1_001 })]), "measures.x.quantile.q");
}

#[test]
fn derived_numbers_name_columns_of_the_right_kind() {
    let refused = |of: Formula| refused(|s| s.derived = vec![Derived { name: "d".into(), of }]);
    // Columns: 0 counts, 1 sums v, 2 squares w.
    assert_eq!(refused(Formula::Mean { sum: 0, count: 0 }), "measures.d.mean.sum");
    assert_eq!(refused(Formula::Mean { sum: 1, count: 1 }), "measures.d.mean.count");
    assert_eq!(refused(Formula::Mean { sum: 1, count: 3 }), "measures.d.mean.count");
    assert_eq!(refused(Formula::Mean { sum: u32::MAX, count: 0 }), "measures.d.mean.sum");
    assert_eq!(refused(Formula::Variance { sum: 1, count: 0, squares: 1 }), "measures.d.variance.squares");
    // Squares of something else than what is summed.
    assert_eq!(refused(Formula::Variance { sum: 1, count: 0, squares: 2 }), "measures.d.variance.squares");
}

#[test]
fn a_million_of_anything_gets_an_answer() {
    let many = |f: &dyn Fn(usize) -> String| (0..1_000_000).map(f).collect::<Vec<_>>();
    let names = many(&|i| format!("m{i}"));
    let column = |name: &String| Measure {
        name: name.clone(),
        op: Op::Sum,
        field: Some(vec!["a".into(), name.clone()]),
        scale: None,
    };
    assert_eq!(refused(|s| s.measures = names.iter().map(column).collect()), "measures");
    let of = Formula::Mean { sum: 1, count: 0 };
    assert_eq!(
        refused(|s| s.derived = names.iter().map(|name| Derived { name: name.clone(), of }).collect()),
        "measures"
    );
    let kept = |name: &String| Kept { name: name.clone(), what: Keep::Last, field: vec![name.clone()] };
    assert_eq!(refused(|s| s.kept = names.iter().map(kept).collect()), "measures");
    assert_eq!(refused(|s| s.input.key = names.iter().map(|n| vec![n.clone()]).collect()), "input.key");
}
