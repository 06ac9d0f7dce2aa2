//! The lane protocol and the engine in a world where everything goes wrong: first nothing may be counted wrongly, then,
//! once nothing fails any more, all lanes must come to their ends.
//!
//! ```text
//! PLIMSOLL_SEED=n   one seed alone           SEEDS=n   so many, from a seed that differs from run to run
//! SECONDS=n         as many as fit (`make soak`)
//! ```
//! A seed that fails prints its plan, cut down to the faults that matter.

mod sim;

use sim::engine::Native;
use sim::mutant::Mutant;
use sim::plan::{DAY, Fault, Last, MINUTE, Plan};
use sim::setup::Setup;
use sim::tally::Tally;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Faults in a plan; not all of them find their request.
const FAULTS: usize = 48;
/// At least so many fire in each seed.
const FIRED_MIN: u64 = 20;

#[expect(clippy::disallowed_methods, reason = "whoever runs the tests says how many seeds; the engine is not told")]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|n| n.parse().unwrap_or_else(|_| panic!("{variable} must be a whole number")))
}

/// The plan cut down, with what it comes to.
fn told(plan: &Plan, why: &str) -> String {
    let small = plan.shrunk(|p| sim::run(p, Mutant::None, &Native).0.is_err());
    let still = sim::run(&small, Mutant::None, &Native).0;
    format!("seed {}: {why}\n{small:?}cut down it is: {still:?}", plan.seed)
}

/// Runs seeds on all cores until `enough` says so; the first that fails, and what happened in all.
#[expect(clippy::disallowed_types, reason = "how long a run takes is asked of the tests' clock")]
fn seeds(first: u64, enough: impl Fn(u64, std::time::Duration) -> bool + Sync) -> (Tally, u64) {
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let (total, begin) = (Mutex::new(Tally::default()), std::time::Instant::now());
    let work = || {
        let mut mine = Tally::default();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if enough(i, begin.elapsed()) || failed.load(Ordering::Relaxed) {
                break total.lock().expect("no thread failed").add(&mine);
            }
            let plan = Plan::drawn(first.wrapping_add(i), FAULTS);
            let (outcome, tally) = sim::run(&plan, Mutant::None, &Native);
            if let Err(why) = outcome {
                failed.store(true, Ordering::Relaxed);
                panic!("{}", told(&plan, &why));
            }
            assert!(
                tally.faults() >= FIRED_MIN || tally.halted > 0,
                "seed {}: only {} faults fired",
                plan.seed,
                tally.faults()
            );
            mine.add(&tally);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let ran = next.into_inner() - threads as u64;
    let total = total.into_inner().expect("no thread failed");
    let (took, lanes) = (begin.elapsed(), total.halted);
    println!("{ran} seeds from {first} in {took:?}, {} requests, {lanes} lanes halted", total.requests);
    println!("{}", total.table());
    (total, ran)
}

#[test]
fn nothing_that_goes_wrong_makes_a_count_wrong_or_stops_a_lane_for_good() {
    if let Some(seed) = number("PLIMSOLL_SEED") {
        let plan = Plan::drawn(seed, FAULTS);
        let (outcome, tally) = sim::run(&plan, Mutant::None, &Native);
        println!("{plan:?}{}", tally.table());
        return outcome.unwrap_or_else(|why| panic!("{}", told(&plan, &why)));
    }
    let (seconds, many) = (number("SECONDS"), number("SEEDS"));
    // The same seeds each time, unless somebody wants more than the usual.
    let first = if seconds.or(many).is_some() { RandomState::new().hash_one("soak") } else { 0 };
    let (tally, ran) = seeds(first, |i, passed| match seconds {
        Some(s) => passed.as_secs() >= s,
        None => i >= many.unwrap_or(20_000),
    });
    if ran < 20_000 {
        return;
    }
    assert!(tally.halted < ran / 20, "{} lanes were halted in {ran} seeds: too little is judged", tally.halted);
    for kind in 0..Fault::KINDS {
        let (name, fired, mattered) = (Fault::NAMES[kind], tally.fired[kind], tally.mattered[kind]);
        assert!(fired >= 1_000, "{name} fired {fired} times, 1,000 expected");
        assert!(mattered >= 10, "{name} mattered {mattered} times, 10 expected");
    }
}

/// Found by seed 54: a content that was computed before a sleep of days was written after it, old already, and the next
/// host to come up refused to apply it.
#[test]
fn a_content_that_slept_for_days_is_computed_anew() {
    let faults = [
        (12, Fault::PauseBefore(1_002_719_426)),
        (19, Fault::Pause(1_036_461_385)),
        (26, Fault::Outage(30_861)),
        (67, Fault::Crash(449_556, Last::Late(352_383))),
    ];
    let plan = Plan { seed: 54, faults: faults.into() };
    assert_eq!(sim::run(&plan, Mutant::None, &Native).0, Ok(()));
    // The same at every other request of a host that nobody takes over from.
    let setup = Setup { hosts: 1, ..Setup::drawn(54) };
    for at in 0..80 {
        let faults = [(at, Fault::PauseBefore(9 * DAY)), (at + 5, Fault::Crash(MINUTE, Last::NotSent))];
        let plan = Plan { seed: 54, faults: faults.into() };
        assert_eq!(sim::run_with(&setup, &plan, Mutant::None, &Native).0, Ok(()), "{plan:?}");
    }
}

#[test]
fn every_broken_rule_is_found_within_two_thousand_seeds() {
    for mutant in Mutant::ALL {
        let found =
            (0..2_000).find_map(|seed| Some((seed, sim::run(&Plan::drawn(seed, FAULTS), mutant, &Native).0.err()?)));
        let (seed, why) = found.unwrap_or_else(|| panic!("{mutant:?} was not found in 2,000 seeds"));
        println!("{mutant:?}: seed {seed}: {why}");
    }
}

#[test]
fn a_failing_plan_is_cut_down_to_what_matters() {
    let fails = |mutant| move |p: &Plan| sim::run(p, mutant, &Native).0.is_err();
    let plan = (0..).map(|seed| Plan::drawn(seed, FAULTS)).find(|p| fails(Mutant::NoFence)(p)).expect("a seed");
    let small = plan.shrunk(fails(Mutant::NoFence));
    assert!(small.faults.len() <= 6 && fails(Mutant::NoFence)(&small), "{small:?}");
    assert!(sim::run(&Plan::quiet(plan.seed), Mutant::NoFence, &Native).0.is_ok(), "without faults no rule is missed");
}
