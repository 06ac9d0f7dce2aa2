//! A change stream with a tree of shards, as no stand-in has one: it rolls over, repeats, trims and forgets; whoever
//! follows it dies at any write. The hours and days are always those that all rows ever written add up to.
//!
//! Not here: the service itself (`tests/tests/rollup.rs`).

mod fake;

use super::{Follow, Options, Summary};
use fake::{Fault, World};
use plimsoll_core::rollup::{Level, Slot, add_up};
use proptest::prelude::*;
use std::time::Duration;
use tokio::sync::watch;

const HOUR_MS: i64 = 3_600_000;

fn once() -> Options {
    Options { once: true, repair: false, poll: Duration::ZERO, settle: Duration::ZERO, backoff: Duration::ZERO }
}

/// Follows once; an error where the world has a fault.
fn follow(world: &World, options: Options) -> Result<Summary, super::RollupError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let (_stop, stopped) = watch::channel(false);
    let now = || world.now_ms();
    runtime.block_on(async { Follow::new(world, world, world.setting(), &now, options).await?.run(stopped).await })
}

/// Hours and days are what the rows that were ever written add up to.
fn check(world: &World) {
    let setting = world.setting();
    for level in [Level::Hour, Level::Day] {
        let mut expected = std::collections::BTreeMap::new();
        for ((key, window, _), part) in world.truth() {
            let span = setting.spans.span(level, window.start).expect("both levels");
            expected.entry((key, span)).or_insert_with(Vec::new).push(part.values);
        }
        let expected: std::collections::BTreeMap<_, _> = expected
            .into_iter()
            .map(|(place, rows)| (place, add_up(&setting.measures, rows.iter().map(Vec::as_slice))))
            .collect();
        let found: std::collections::BTreeMap<_, _> =
            world.wholes(level).into_iter().map(|(place, whole)| (place, whole.total(&setting.measures))).collect();
        assert_eq!(found, expected, "{level:?}");
    }
}

#[test]
fn every_shard_of_the_tree_is_read_and_amended_rows_amend_hours_both_ways() {
    let world = World::new();
    follow(&world, once()).expect("the first time");
    for n in 0..40 {
        world.write("a", n % 7, n as i128);
        world.write("b", n % 130, -3);
        if n % 10 == 9 {
            world.roll();
        }
    }
    let summary = follow(&world, once()).expect("it follows");
    assert_eq!((summary.followed.changes, summary.repairs, summary.gaps), (80, 0, 0));
    check(&world);
    // A total that falls, and a least value.
    world.write("a", 3, -1_000);
    let summary = follow(&world, once()).expect("it follows");
    assert_eq!((summary.followed.changes, summary.followed.hours, summary.followed.days), (1, 1, 1));
    check(&world);
    // Shards that were read to their end are forgotten when they leave the list, and nothing is missed for it.
    world.pass(30 * HOUR_MS);
    world.cover();
    world.trim();
    let summary = follow(&world, once()).expect("it follows");
    assert_eq!((summary.repairs, summary.gaps), (0, 0));
    // The one that goes on, and its parent.
    assert_eq!(world.shards_noted(), 2);
}

#[test]
fn a_host_that_dies_at_any_write_leaves_nothing_that_the_next_does_not_finish() {
    for crash in 0.. {
        let world = World::new();
        follow(&world, once()).expect("the first time");
        for n in 0..6 {
            world.write("a", n % 3, 5);
            world.write("b", 61, 2);
        }
        world.roll();
        world.write("a", 1, 1);
        world.fault(Fault::Crash { after_writes: crash });
        let died = follow(&world, once()).is_err();
        world.fault(Fault::None);
        follow(&world, once()).expect("the next host");
        check(&world);
        if !died {
            assert!(crash > 8, "there are more writes than {crash}");
            return;
        }
    }
}

#[test]
fn shards_that_were_closed_before_a_repair_need_not_be_read() {
    let world = World::new();
    for n in 0..9 {
        world.write("a", n, 1);
        world.roll();
    }
    world.write("a", 9, 1);
    let summary = follow(&world, once()).expect("the first time");
    assert_eq!((summary.repaired.changes, summary.followed.changes), (10, 1));
    check(&world);
}

#[test]
fn a_shard_that_is_gone_before_its_end_is_noticed_and_the_rows_are_read() {
    let world = World::new();
    world.write("a", 0, 5);
    follow(&world, once()).expect("it follows");
    world.write("a", 1, 7);
    world.roll();
    world.write("a", 2, 9);
    world.roll();
    // Less than a day has passed for the host: only lineage tells.
    world.trim();
    let summary = follow(&world, once()).expect("it follows");
    assert_eq!(summary.repairs, 1);
    assert!(summary.gaps > 0, "{summary:?}");
    check(&world);
}

#[test]
fn a_child_whose_parent_nobody_knows_is_noticed() {
    let world = World::new();
    world.write("a", 0, 5);
    world.roll();
    follow(&world, once()).expect("it follows");
    world.roll();
    world.write("a", 1, 7);
    world.roll();
    world.roll();
    // The shard that it had read to its tip is closed and empty behind it, and the next one is gone as well.
    world.trim();
    let summary = follow(&world, once()).expect("it follows");
    assert_eq!(summary.repairs, 1, "{summary:?}");
    check(&world);
}

#[test]
fn what_was_trimmed_inside_a_shard_is_noticed() {
    let world = World::new();
    world.write("a", 0, 5);
    follow(&world, once()).expect("it follows");
    world.write("a", 1, 7);
    world.write("a", 2, 9);
    world.trim_records();
    let summary = follow(&world, once()).expect("it follows");
    assert_eq!((summary.repairs, summary.gaps), (1, 1));
    check(&world);
}

#[test]
fn after_more_than_the_stream_keeps_the_rows_are_read_although_no_shard_is_missing() {
    let world = World::new();
    world.write("a", 0, 5);
    follow(&world, once()).expect("it follows");
    world.pass(19 * HOUR_MS);
    assert_eq!(follow(&world, once()).expect("it follows").repairs, 0);
    world.pass(21 * HOUR_MS);
    assert_eq!(follow(&world, once()).expect("it follows").repairs, 1);
    assert_eq!(follow(&world, once()).expect("it follows").repairs, 0);
}

#[test]
fn a_stream_that_was_turned_off_and_on_is_another_one() {
    let world = World::new();
    world.write("a", 0, 5);
    follow(&world, once()).expect("it follows");
    world.write("a", 1, 7);
    world.another_stream();
    world.write("a", 2, 9);
    assert_eq!(follow(&world, once()).expect("it follows").repairs, 1);
    check(&world);
}

#[test]
fn expired_iterators_and_trouble_that_passes_are_asked_again() {
    let world = World::new();
    follow(&world, once()).expect("the first time");
    for n in 0..30 {
        world.write("a", n, 1);
    }
    world.fault(Fault::Stream { one_in: 7 });
    let summary = follow(&world, once()).expect("it follows");
    assert!(world.faults_fired() > 2, "{}", world.faults_fired());
    assert!(summary.followed.changes >= 30);
    check(&world);
}

#[test]
fn an_expired_row_is_not_taken_out_of_its_hour() {
    let world = World::new();
    world.write("a", 0, 5);
    world.write("a", 1, 7);
    follow(&world, once()).expect("it follows");
    world.expire("a", 0);
    world.write("a", 1, 1);
    follow(&world, once()).expect("it follows");
    check(&world);
    follow(&world, Options { repair: true, ..once() }).expect("it repairs");
    check(&world);
    // Hours there begin at half past.
    let slots = world.wholes(Level::Hour).into_iter().next().expect("an hour").1.slots;
    assert_eq!(slots.keys().copied().collect::<Vec<_>>(), [30, 31].map(|minute| Slot { minute, bucket: 0 }));
}

/// What may happen in the world.
#[derive(Clone, Debug)]
enum Event {
    Write {
        key: bool,
        minute: i64,
        bucket: u32,
        by: i8,
    },
    /// The same record again, or an older one.
    Repeat {
        back: usize,
    },
    Roll,
    Pass {
        hours: i64,
    },
    Trim,
    TrimRecords,
    Follow {
        crash: Option<u32>,
        repair: bool,
    },
    Expire {
        key: bool,
        minute: i64,
    },
    Flaky {
        one_in: u32,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let write = (any::<bool>(), 0..200_i64, 0..2_u32, any::<i8>()).prop_map(|(key, minute, bucket, by)| Event::Write {
        key,
        minute,
        bucket,
        by,
    });
    let follow = (proptest::option::of(0..30_u32), any::<bool>())
        .prop_map(|(crash, repair)| Event::Follow { crash, repair: repair && crash.is_some() });
    prop_oneof![
        12 => write,
        3 => (0..8_usize).prop_map(|back| Event::Repeat { back }),
        3 => Just(Event::Roll),
        1 => (0..30_i64).prop_map(|hours| Event::Pass { hours }),
        1 => Just(Event::Trim),
        1 => Just(Event::TrimRecords),
        4 => follow,
        1 => (any::<bool>(), 0..200_i64).prop_map(|(key, minute)| Event::Expire { key, minute }),
        1 => (3..9_u32).prop_map(|one_in| Event::Flaky { one_in }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_happens_hours_and_days_are_what_the_rows_add_up_to(events in proptest::collection::vec(event(), 1..60)) {
        let world = World::new();
        let key = |first: bool| if first { "a" } else { "b" };
        for event in events {
            match event {
                Event::Write { key: k, minute, bucket, by } => world.write_in(key(k), minute, bucket, by.into()),
                Event::Repeat { back } => world.repeat(back),
                Event::Roll => world.roll(),
                Event::Pass { hours } => world.pass(hours * HOUR_MS),
                // The service keeps a day: what is gone is at least so old, and then the clock says so.
                Event::Trim => { world.pass(25 * HOUR_MS); world.trim(); }
                Event::TrimRecords => { world.pass(25 * HOUR_MS); world.trim_records(); }
                Event::Follow { crash, repair } => {
                    world.fault(crash.map_or(Fault::None, |after_writes| Fault::Crash { after_writes }));
                    // It may die.
                    let _ = follow(&world, Options { repair, ..once() });
                    world.fault(Fault::None);
                }
                // Rows expire days after their last change: what they hold has been carried by then.
                Event::Expire { key: k, minute } => {
                    follow(&world, once()).expect("it follows");
                    world.expire(key(k), minute);
                }
                Event::Flaky { one_in } => {
                    world.fault(Fault::Stream { one_in });
                    let _ = follow(&world, once());
                    world.fault(Fault::None);
                }
            }
        }
        follow(&world, once()).expect("it follows");
        check(&world);
    }
}
