//! What the end-to-end tests stand on: outside tools, loopback servers, a proxy that loses replies, the host as a
//! process to be killed, troubled records, and a naive recomputation that is the judge of every row.
//!
//! Invariants
//! - Everything listens on loopback only, on free ports, and ends with the test that started it, even if that is killed.
//! - Where a test draws random numbers it prints its seed first; `PLIMSOLL_SEED` replays it.
//! - `AWS_ENDPOINT_URL_KINESIS` and `AWS_ENDPOINT_URL_DYNAMODB` point the same tests at servers of the user's choice.
//!
//! Not here: the tests themselves (`tests/`), and anything that the engine computes with.

pub mod aws;
pub mod engine;
pub mod oracle;
pub mod place;
pub mod process;
pub mod proxy;
pub mod records;
pub mod rows;
pub mod seed;
pub mod server;
pub mod streams;
pub mod tools;
pub mod w1;

use std::path::PathBuf;

/// The workspace's folder, the one with `Cargo.toml`, `core/` and `tests/`.
pub fn workspace() -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests are a folder of the workspace").to_path_buf()
}
