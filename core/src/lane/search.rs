//! An exhaustive search over the real machine: two hosts, a table in memory, lost and late requests, crashes.
//!
//! Every state that can be reached within the budget of faults is visited. In each of them
//! - no row holds a record twice, and every record before the committed position is in its row (I2, I3, I4, I5);
//! - a host that starts anew finishes the lanes with no help, and the totals are right (I7).
//!
//! The mutants break one rule each; the search must find every one of them.
//!
//! Things have numbers (`pool`), what a host does when told something is found out once (`world`), and a state is
//! remembered by eight bytes: a million states a second, 1.5 GB for the largest search.

mod host;
mod pool;
mod setup;
mod world;

use pool::{Seen, fingerprint};
use setup::{Mutant, Setup};
use world::Space;

/// Visits everything; the first thing that is wrong, and how many states there were.
fn search(setup: Setup) -> (Option<String>, usize) {
    let mut space = Space::new(setup);
    let first = space.first();
    let mut seen = Seen::new();
    seen.insert(fingerprint(&first));
    let (mut stack, mut next) = (vec![first], Vec::new());
    while let Some(w) = stack.pop() {
        let wrong = space.wrong(&w).map_or_else(|| space.finishes(&w), Err);
        if let Err(wrong) = wrong {
            return (Some(wrong), seen.len());
        }
        space.successors(&w, &mut next);
        for w in next.drain(..) {
            let w = space.canonical(w);
            if seen.insert(fingerprint(&w)) {
                stack.push(w);
            }
        }
    }
    (None, seen.len())
}

/// Nothing is wrong, and there is enough to be searched.
fn sound(setup: Setup, least: usize) {
    let (wrong, states) = search(setup);
    assert_eq!(wrong, None);
    println!("{states} states");
    assert!(states >= least, "only {states} states: the search does not search");
}

fn found(mutant: Mutant, setup: Setup) {
    let (wrong, states) = search(Setup { mutant, ..setup });
    println!("{mutant:?}: {wrong:?} after {states} states");
    assert!(wrong.is_some(), "{mutant:?} was not found in {states} states");
}

#[test]
fn no_interleaving_of_two_hosts_and_three_faults_counts_wrongly_or_gets_stuck() {
    sound(Setup { faults: 3, ..Setup::ITEMS }, 250_000);
}

/// Three records, three faults, and every content and state in chunks that are written, read, swept and deleted.
#[test]
fn the_same_with_state_and_intents_in_chunks() {
    sound(Setup { records: 3, split: 3, faults: 3, ahead: false, ..Setup::CHUNKS }, 50_000_000);
}

#[test]
fn the_same_with_chunks_of_contents_offered_ahead() {
    sound(Setup::CHUNKS, 500_000);
}

#[test]
fn the_same_with_a_child_lane() {
    sound(Setup { faults: 3, ..Setup::LINEAGE }, 100_000);
}

#[test]
fn the_same_with_transactions() {
    sound(Setup { faults: 3, ..Setup::TRANSACTION }, 10_000);
}

#[test]
fn every_broken_rule_is_found() {
    use Mutant::*;
    for mutant in [
        NoFence,
        FenceWithoutIntent,
        UnpinnedPolicy,
        UnsteadyModule,
        CommitFirst,
        CommitAlways,
        IntentAlways,
        CommitBeforeAnswers,
        AssumeWritten,
        FencesExpire,
        GiveUp,
        ReaderPosition,
    ] {
        found(mutant, Setup::ITEMS);
    }
    for mutant in [ChildAtLatest, ChildBeforeDone] {
        found(mutant, Setup::LINEAGE);
    }
    for mutant in [LoserDeletesChunks, ChunksNotAwaited, SweepsTooMuch] {
        found(mutant, Setup::CHUNKS);
    }
    found(TransactAlways, Setup::TRANSACTION);
}
