//! Plimsoll's engine: event-time windows, watermarks and exactly-once lanes as pure state machines.
//!
//! ```text
//! frames -> decode -> watermark -> window -> aggregate -> effects        engine, wire
//! effects -> intent -> apply -> commit                                   lane (the exactly-once protocol, sans I/O)
//! ```
//!
//! Invariants
//! - No I/O, clock, randomness, threads or hash-ordered output: the same policy and input give the same bytes on every
//!   machine. The compiler sees to most of it (`no_std` without the feature `text`), clippy to the rest.
//! - No `unsafe`.
//!
//! Not here: the raw ABI (`wasm/module`), sources, stores, the sandbox (`host`).
#![cfg_attr(not(feature = "text"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod account;
mod decimal;
pub mod decode;
pub mod engine;
pub mod expr;
pub mod json;
pub mod lane;
pub mod lanes;
mod order;
pub mod panes;
pub mod policy;
pub mod rollup;
pub mod rows;
#[cfg(feature = "text")]
pub mod scenario;
pub mod time;
mod watermark;
pub mod window;
pub mod wire;
