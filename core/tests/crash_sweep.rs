//! A fixed run in which every request in turn, and every two of them, is the one at which a host dies or hears nothing.
//!
//! Not here: everything else that can go wrong (`simulator`).

mod sim;

use plimsoll_core::lane::{Atomicity, Limits};
use sim::engine::Native;
use sim::mutant::Mutant;
use sim::plan::{Fault, Last, MINUTE, Plan, SECOND};
use sim::setup::Setup;

/// What becomes of one request.
const STEPS: [Fault; 6] = [
    // Before it: by a host that dies, and by one that lives.
    Fault::Crash(20 * SECOND, Last::NotSent),
    Fault::Lost,
    // Done, but unanswered.
    Fault::Crash(20 * SECOND, Last::Done),
    Fault::Unanswered,
    // Delayed, until somebody else is at work.
    Fault::Crash(20 * SECOND, Last::Late(3 * MINUTE)),
    Fault::Delayed(3 * MINUTE),
];

/// A run of two hosts, two shards and six records; one shard is split, two are merged.
fn fixed(atomicity: Atomicity, limits: Limits) -> (Setup, Plan) {
    let setup = Setup { hosts: 2, records: 6, batch: 3, atomicity, limits, ..Setup::drawn(1) };
    let mut plan = Plan::quiet(1);
    plan.faults.insert(9, Fault::Split);
    plan.faults.insert(15, Fault::Merge);
    (setup, plan)
}

fn with(plan: &Plan, faults: &[(u32, Fault)]) -> Plan {
    let mut plan = plan.clone();
    plan.faults.extend(faults.iter().copied());
    plan
}

/// Every request alone, then every two; how many runs.
fn sweep(atomicity: Atomicity, limits: Limits) -> usize {
    let (setup, plan) = fixed(atomicity, limits);
    let (outcome, tally) = sim::run_with(&setup, &plan, Mutant::None, &Native);
    assert_eq!(outcome, Ok(()));
    assert_eq!(tally.faults(), 2, "a split and a merge: {}", tally.table());
    let requests = tally.requests as u32;
    let mut runs = 0;
    let mut check = |faults: &[(u32, Fault)]| {
        let plan = with(&plan, faults);
        let (outcome, _) = sim::run_with(&setup, &plan, Mutant::None, &Native);
        runs += 1;
        assert_eq!(outcome, Ok(()), "{plan:?}");
    };
    for at in 0..requests {
        for step in STEPS {
            check(&[(at, step)]);
        }
    }
    // Of a pair, whether each host dies or lives takes turns.
    for first in 0..requests {
        for second in first + 1..requests {
            for pair in 0..9 {
                let turn = (first + second + pair) as usize;
                let step = |what: u32, dies: usize| STEPS[2 * what as usize + dies % 2];
                check(&[(first, step(pair / 3, turn)), (second, step(pair % 3, turn / 2))]);
            }
        }
    }
    println!("{requests} requests, {runs} runs");
    assert!(requests > 20 && runs > 2_000, "{requests} requests are no run to speak of");
    runs
}

#[test]
fn with_contents_in_the_head() {
    sweep(Atomicity::Items, Limits::ITEMS);
}

#[test]
fn with_contents_and_states_in_chunks() {
    sweep(Atomicity::Items, Limits { state_inline: 0, intent_inline: 0, chunk: 128, ..Limits::ITEMS });
}

#[test]
fn with_batches_given_out_in_parts() {
    sweep(Atomicity::Items, Limits { intent: 0, ..Limits::ITEMS });
}

#[test]
fn with_transactions() {
    sweep(Atomicity::Transaction, Limits::NONE);
}

#[test]
fn a_broken_rule_is_found_by_the_sweep() {
    let (setup, plan) = fixed(Atomicity::Items, Limits::ITEMS);
    for mutant in [Mutant::NoFence, Mutant::CommitFirst, Mutant::CommitBeforeAnswers, Mutant::AssumeWritten] {
        let fails = |at, step| sim::run_with(&setup, &with(&plan, &[(at, step)]), mutant, &Native).0.is_err();
        assert!((0..60).any(|at| STEPS.into_iter().any(|step| fails(at, step))), "{mutant:?} was not found");
    }
}
