//! A seeded world around the real lane protocol and the real engine: a stream, tables, hosts, a network, all of which
//! misbehave as the plan says. One thread, no clock of its own, no chance beside the seed.
//!
//! ```text
//! plan (seed) -> world: stream -> hosts (task: engine, lane) -> requests -> store
//!                                 faults fire by the number of a request
//! when nothing moves any more -> oracle
//! ```
//! Not here: how many seeds, and what is asserted of them (`simulator`).
#![allow(dead_code, reason = "each test uses its part")]

pub mod engine;
pub mod mutant;
pub mod oracle;
pub mod plan;
pub mod random;
pub mod setup;
pub mod store;
pub mod stream;
pub mod tally;
pub mod task;
pub mod world;

use engine::Engines;
use mutant::Mutant;
use plan::Plan;
use setup::Setup;
use tally::Tally;
use world::World;

/// Runs a plan to its end, and judges it.
pub fn run(plan: &Plan, mutant: Mutant, engines: &dyn Engines) -> (Result<(), String>, Tally) {
    run_with(&Setup::drawn(plan.seed), plan, mutant, engines)
}

/// The same with a setup of the caller's.
pub fn run_with(setup: &Setup, plan: &Plan, mutant: Mutant, engines: &dyn Engines) -> (Result<(), String>, Tally) {
    let mut world = World::new(setup, plan, mutant, engines);
    let outcome = world.run().and_then(|()| match world.halted.is_empty() {
        true => oracle::judge(setup, &world.stream, &world.store),
        // A lane waits for a person: there is no end to be judged yet.
        false => Ok(()),
    });
    let mut tally = world.tally;
    // A fault that was felt several times mattered once.
    tally.mattered.iter_mut().zip(tally.fired).for_each(|(mattered, fired)| *mattered = fired.min(*mattered));
    (outcome, tally)
}
