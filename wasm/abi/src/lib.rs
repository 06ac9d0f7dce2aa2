//! What ABI 1 asks of a module, as far as one reads it off the bytes. The builder and the host require the same, since both
//! take it from here; `wasm/ABI.md` tells what the functions do.
//!
//! Not here: the checks themselves, which report differently (`plimsoll-builder` every fault at once, the host the first),
//! and their limits of size and memory.

use wasmparser::WasmFeatures;

/// The version that all this describes; what `plimsoll_abi_version` returns.
pub const VERSION: i32 = 1;

/// The name under which a module exports its memory.
pub const MEMORY: &str = "memory";

/// The functions that a module exports, and how many `i32` each takes; each returns one.
pub const FUNCTIONS: &[(&str, usize)] = &[
    ("plimsoll_abi_version", 0),
    ("plimsoll_alloc", 1),
    ("plimsoll_free", 2),
    ("plimsoll_open", 2),
    ("plimsoll_restore", 4),
    ("plimsoll_input", 2),
    ("plimsoll_apply", 2),
    ("plimsoll_pending", 1),
    ("plimsoll_flush", 2),
    ("plimsoll_panes", 1),
    ("plimsoll_snapshot", 1),
    ("plimsoll_describe", 1),
    ("plimsoll_output_ptr", 1),
    ("plimsoll_output_len", 1),
    ("plimsoll_error_ptr", 0),
    ("plimsoll_error_len", 0),
    ("plimsoll_panic_ptr", 0),
    ("plimsoll_close", 1),
];

/// What a module may use beyond the first WebAssembly: what compilers emit by default and every runtime of the last years
/// has. Threads and relaxed SIMD would make results depend on the machine; the JVM's runtimes are slow at plain SIMD.
///
/// Reference types are left out but for the longer spelling of a table's index in `call_indirect`, which linkers write
/// to have room for a relocation. Bulk memory is there for `memory.copy` and `memory.fill`. Types with several results
/// may be declared; no export has one.
pub const FEATURES: WasmFeatures = WasmFeatures::MVP
    .union(WasmFeatures::MUTABLE_GLOBAL)
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::CALL_INDIRECT_OVERLONG);

/// [`FEATURES`] for people.
pub const FEATURES_IN_WORDS: &str = "bulk-memory, multi-value, mutable-globals, nontrapping-float-to-int, sign-extension on top of the first WebAssembly";
