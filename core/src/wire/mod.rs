//! The bytes that cross the module's boundary: input frames in, effects out. Drawn in `wasm/ABI.md`.
//!
//! Invariants
//! - Little-endian, sized integers; `varint` is LEB128, signed values in zigzag.
//! - The same content has one encoding: writers write it so, readers refuse anything else (order, uniqueness, padding).
//! - Readers take hostile bytes: every length is checked before it is used, nothing panics.

pub(crate) mod checksum;
pub mod effects;
pub mod frame;
pub mod panes;
pub(crate) mod varint;

/// Why bytes are not what they claim to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end early.
    #[error("{what}: ends after {have} bytes, at least {need} expected")]
    Short {
        /// What was read.
        what: &'static str,
        /// Bytes there.
        have: usize,
        /// Bytes needed.
        need: usize,
    },
    /// Something stands where something else belongs.
    #[error("{what} at byte {at}: {problem}")]
    Bad {
        /// What was read.
        what: &'static str,
        /// Where.
        at: usize,
        /// What is wrong.
        problem: &'static str,
    },
}
