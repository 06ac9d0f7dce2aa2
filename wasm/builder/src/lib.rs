//! Builds and checks `plimsoll.wasm` and the JavaScript bindings.
//!
//! ```text
//! toolchain → compile → strip → check → target/plimsoll/plimsoll.wasm
//!                     → wasm-bindgen  → target/plimsoll/bindings/
//! ```
//! Nothing beyond cargo has to be installed for it. Nothing is made again when nothing has changed: cargo decides whether
//! to compile, a stamp of the inputs' digests whether to go on from there.

pub mod bindings;
pub mod check;
pub mod compile;
pub mod digest;
pub mod module;
pub mod process;
pub mod product;
pub mod sizes;
pub mod strip;
pub mod toolchain;
