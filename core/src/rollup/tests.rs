//! Slots: whatever the order, repetition and loss of states, a whole is what a recomputation gives. Hours and days: each
//! instant in one of them, in every zone, and each hour in one day.

use super::*;
use proptest::prelude::*;

fn measures() -> Vec<Measure> {
    [("n", Op::Count), ("sum", Op::Sum), ("least", Op::Min), ("most", Op::Max)]
        .into_iter()
        .map(|(name, op)| Measure { name: name.into(), op, field: None, scale: None })
        .collect()
}

/// The states that a row went through, version 1 first. Amended both ways: a sum may fall, a least value does.
fn history() -> impl Strategy<Value = Vec<Part>> {
    let values = proptest::collection::vec(proptest::option::of(-50..50_i128), 4);
    proptest::collection::vec(values, 1..5)
        .prop_map(|states| states.into_iter().zip(1..).map(|(values, version)| Part { version, values }).collect())
}

/// Rows of an hour by their slots.
fn rows() -> impl Strategy<Value = BTreeMap<Slot, Vec<Part>>> {
    let slot = (0..60_u32, 0..3_u32).prop_map(|(minute, bucket)| Slot { minute, bucket });
    proptest::collection::btree_map(slot, history(), 0..6)
}

/// Which states come, each as (row, version), in this order: any may come twice, or never but for the newest.
fn deliveries(rows: &BTreeMap<Slot, Vec<Part>>) -> impl Strategy<Value = Vec<(Slot, Part)>> + use<> {
    let all: Vec<(Slot, Part)> =
        rows.iter().flat_map(|(slot, states)| states.iter().map(|part| (*slot, part.clone()))).collect();
    let newest: Vec<(Slot, Part)> =
        rows.iter().filter_map(|(slot, states)| Some((*slot, states.last()?.clone()))).collect();
    let some = proptest::collection::vec(any::<(bool, bool)>(), all.len());
    some.prop_map(move |chosen| {
        let once = all.iter().zip(&chosen).filter(|(_, c)| c.0).map(|(d, _)| d.clone());
        let twice = all.iter().zip(&chosen).filter(|(_, c)| c.1).map(|(d, _)| d.clone());
        once.chain(twice).chain(newest.iter().cloned()).collect::<Vec<_>>()
    })
    .prop_shuffle()
}

/// Nothing but the rows' newest states.
fn recomputed(rows: &BTreeMap<Slot, Vec<Part>>) -> Vec<Option<i128>> {
    add_up(&measures(), rows.values().filter_map(|states| Some(states.last()?.values.as_slice())))
}

proptest! {
    #[test]
    fn whatever_comes_in_whatever_order_it_is_what_a_recomputation_gives(
        (rows, states) in rows().prop_flat_map(|rows| { let d = deliveries(&rows); (Just(rows), d) }),
    ) {
        let mut hour = Whole::default();
        for (slot, part) in states {
            hour.set(slot, part);
        }
        prop_assert_eq!(hour.total(&measures()), recomputed(&rows));
        prop_assert!(hour.version >= rows.len() as u64);
    }

    /// As a crash between the two writes, or several hosts, leave it: the day is told some states of the hour, late and in
    /// any order, and at last the newest.
    #[test]
    fn a_day_that_is_told_of_an_hour_late_or_twice_is_right_at_last(
        (rows, states) in rows().prop_flat_map(|rows| { let d = deliveries(&rows); (Just(rows), d) }),
        told in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
    ) {
        let (mut hour, mut seen) = (Whole::default(), Vec::new());
        for (slot, part) in states {
            hour.set(slot, part);
            seen.push(hour.part(&measures()));
        }
        let mut day = Whole::default();
        let slot = Slot { minute: 120, bucket: 0 };
        for i in told.iter().filter(|_| !seen.is_empty()) {
            day.set(slot, i.get(&seen).clone());
        }
        day.set(slot, hour.part(&measures()));
        prop_assert_eq!(day.total(&measures()), recomputed(&rows));
    }

    #[test]
    fn a_slots_name_is_its_own(minute in 0..1_600_u32, bucket in 0..200_u32) {
        let slot = Slot { minute, bucket };
        prop_assert_eq!(Slot::parse(&slot.name()), Some(slot));
    }
}

#[test]
fn names_of_slots_are_read_in_one_form() {
    assert_eq!(Slot { minute: 7, bucket: 0 }.name(), "07");
    assert_eq!(Slot { minute: 1380, bucket: 2 }.name(), "1380_2");
    for wrong in ["", "7", "007", "07_0", "07_", "_1", "-7", "07_01", "x"] {
        assert_eq!(Slot::parse(wrong), None, "{wrong}");
    }
}

#[cfg(feature = "text")]
mod zones {
    use super::*;

    fn spans(zone: &str) -> Spans {
        let day = if zone.is_empty() { String::new() } else { format!("day = {{ zone = \"{zone}\" }}") };
        let text = format!(
            "policy = \"p\"\ninput = {{ time = {{ field = \"t\", unit = \"ms\" }}, key = [\"k\"] }}\n\
             window = {{ fixed = \"1m\" }}\nmeasures = {{ n = \"count\" }}\n[rollup]\nhour = true\n{day}\n"
        );
        let policy = Policy::from_toml(&text).unwrap_or_else(|e| panic!("{e}"));
        Spans::of(&policy).expect("it has a rollup")
    }

    fn at(ms: i64) -> EventTime {
        EventTime::from_millis(ms)
    }

    /// 2026-01-01T00:00:00Z.
    const NEW_YEAR: i64 = 1_767_225_600_000;
    const HOUR: i64 = 3_600_000;

    #[test]
    fn hours_of_a_zone_half_an_hour_off_begin_at_half_past() {
        let india = spans("Asia/Kolkata");
        let hour = india.hour(at(NEW_YEAR));
        assert_eq!(hour, Window::of_millis(NEW_YEAR - HOUR / 2, NEW_YEAR + HOUR / 2));
        let day = india.day(at(NEW_YEAR)).expect("days");
        // Midnight there is 18:30 of the day before.
        assert_eq!(day.start, at(NEW_YEAR - 5 * HOUR - HOUR / 2));
        assert_eq!(Slot::of(&hour, &day).name(), "300");
        assert_eq!(spans("").hour(at(NEW_YEAR)).start, at(NEW_YEAR));
        assert_eq!(spans("").day(at(NEW_YEAR)), None);
    }

    #[test]
    fn each_hour_lies_in_one_day_and_they_fill_it() {
        let minute = |t: EventTime| t.as_millis().div_euclid(60_000);
        for zone in ["UTC", "Asia/Tokyo", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns"]
        {
            let spans = spans(zone);
            let (mut lengths, mut cut) = (alloc::collections::BTreeSet::new(), 0);
            let mut day = spans.day(at(NEW_YEAR)).expect("days");
            for _ in 0..366 {
                let mut t = day.start;
                let mut slots = alloc::collections::BTreeSet::new();
                while t < day.end {
                    let hour = spans.hour(t);
                    assert_eq!(hour.start, t, "{zone}");
                    assert!(hour.end <= day.end && spans.day(hour.last()) == Some(day), "{zone} {hour:?} {day:?}");
                    assert!(minute(hour.end) - minute(hour.start) <= 60);
                    assert!(slots.insert(Slot::of(&hour, &day)), "{zone}: a slot twice");
                    t = hour.end;
                }
                lengths.insert((day.end - day.start).as_millis() / (HOUR / 2));
                cut += usize::from(!spans.cuts(&day).is_empty());
                day = spans.day(day.end).expect("days");
            }
            let expected: &[i64] = match zone {
                "Europe/Berlin" | "America/St_Johns" => &[46, 48, 50],
                "Australia/Lord_Howe" => &[47, 48, 49],
                _ => &[48],
            };
            assert_eq!(lengths.into_iter().collect::<Vec<_>>(), expected, "{zone}");
            // Only where a clock moves by half an hour is an hour cut.
            assert_eq!(cut, if zone == "Australia/Lord_Howe" { 2 } else { 0 }, "{zone}");
        }
    }
}
