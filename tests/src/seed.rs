//! Seeds of random runs: printed before anything is drawn, so that a failure can be run again.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::hash::{BuildHasher, RandomState};

/// The seed of this run: `PLIMSOLL_SEED` if it is set, else a fresh one. It is printed together with `test`.
///
/// # Panics
/// If `PLIMSOLL_SEED` is not a whole number.
pub fn seed(test: &str) -> u64 {
    let seed = match std::env::var("PLIMSOLL_SEED") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("PLIMSOLL_SEED must be a whole number, got '{text}'")),
        Err(_) => RandomState::new().hash_one(test),
    };
    println!("{test}: PLIMSOLL_SEED={seed}");
    seed
}

/// A generator whose numbers are the same on every machine and in every version.
pub fn generator(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}
