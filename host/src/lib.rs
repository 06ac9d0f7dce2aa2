//! The host: reads lanes of records, runs the engine's module over them and writes rows with exactly-once effect.
//!
//! ```text
//! source -> driver -> runtime (module) -> lane protocol (core) -> store
//! ```
//! One driver, one step; embedded and AWS differ in `source` and `store` only. They do not know each other.
//!
//! Not here: windows, watermarks, decoding, the protocol's decisions (`plimsoll-core`).

pub mod alarm;
pub mod audit;
pub mod aws;
pub mod cli;
pub mod clock;
pub mod config;
pub mod driver;
pub mod http;
pub mod live;
pub mod preview;
pub mod redrive;
pub mod rollup;
pub mod runtime;
pub mod scenario;
pub mod source;
pub mod store;
pub mod telemetry;
