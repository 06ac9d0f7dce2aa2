//! However records are cut into batches, and wherever a snapshot is taken and restored: the same rows, late rows, dead
//! letters and accounting. Through the module, as production runs it.
//!
//! Not here: whether they are right (`same_bytes`).

use plimsoll::runtime::Engines as _;
use plimsoll_tests::engine::{self, Told};
use plimsoll_tests::records::{self, Arrivals};
use plimsoll_tests::seed;
use rand::RngExt;

/// What comes of the lines in batches of so many, each through an engine that was restored from the one before.
fn cut(records: &[u8], mut batch_lines: impl FnMut() -> usize) -> Told {
    let policy = engine::policy(&records::policy(Arrivals::Field));
    let module = engine::module();
    let (mut state, mut flushes, mut ordinal) = (None::<Vec<u8>>, Vec::new(), 0);
    let mut lines = records.split_inclusive(|byte| *byte == b'\n').peekable();
    while lines.peek().is_some() {
        let batch: Vec<u8> = lines.by_ref().take(batch_lines()).flatten().copied().collect();
        let mut engine = module.open(&policy, state.as_deref()).expect("an engine");
        ordinal = engine::apply(&mut *engine, &batch, ordinal).expect("it takes frames");
        flushes.push(engine::flush(&mut *engine).expect("it flushes"));
        state = Some(engine::snapshot(&mut *engine).expect("it tells its state"));
    }
    engine::told(&policy, flushes.iter().map(Vec::as_slice)).expect("effects")
}

fn check(lines: usize, cuts: &[usize]) {
    let seed = seed::seed("cut_anywhere");
    let records = records::troubled(seed, lines);
    let whole = cut(&records, || usize::MAX);
    assert!(whole.main.lines().count() > 10 && !whole.rest.is_empty());
    for batch in cuts {
        assert!(cut(&records, || *batch) == whole, "batches of {batch} give something else");
    }
    let mut random = seed::generator(seed);
    assert!(cut(&records, || random.random_range(1..=2 * cuts[0])) == whole, "random batches give something else");
}

#[test]
fn in_batches_of_one() {
    check(3_000, &[1]);
}

#[test]
fn in_batches_of_seven() {
    check(20_000, &[7]);
}

#[test]
fn in_batches_of_a_thousand() {
    check(200_000, &[1_000]);
}
