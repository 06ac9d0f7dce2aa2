//! `plimsoll.wasm`: the engine behind ABI 1 (`wasm/ABI.md`), importing nothing.
//!
//! ```text
//! exports (pointers, names)  ->  desk (handles, buffers, statuses)  ->  plimsoll-core
//! ```
//!
//! Invariants
//! - A pointer from outside is looked up among the buffers that were given out, never followed: a wrong one is a status.
//! - A handle's number is never used twice: one that was closed cannot meet another engine.
//! - A panic leaves its text in the panic buffer and traps.
//!
//! Not here: what the engine computes (`plimsoll-core`), limits on memory and time (the host's sandbox).

mod desk;
mod exports;
mod panic;
mod status;
