//! Why a module is not taken. Each message says what was found and what was expected.

use crate::runtime::EngineError;
use std::path::PathBuf;

/// Why a module is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleError {
    /// No module where one is looked for.
    #[error("no plimsoll.wasm at {}; run `make build`, or pass --module FILE", places(.looked))]
    NotFound {
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// The file cannot be read.
    #[error("cannot read the module {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// More bytes than the setting allows.
    #[error("the module is larger than {limit_bytes} bytes, the most that is taken")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// Not a WebAssembly module, or one with features outside the list.
    #[error(
        "not a module of the first WebAssembly with bulk-memory, multi-value, mutable-globals, \
         nontrapping-float-to-int and sign-extension: {detail}"
    )]
    Invalid {
        /// What the validator found, with its place.
        detail: String,
    },
    /// It wants something of its host.
    #[error("the module imports `{module}.{name}`; a module of ABI 1 imports nothing")]
    Import {
        /// Namespace of the import.
        module: String,
        /// Name of the import.
        name: String,
    },
    /// It would run before it is asked.
    #[error("the module has a start function; a module of ABI 1 has none")]
    Start,
    /// Its memory is of another kind or larger than allowed.
    #[error("the module's memory: found {found}, expected {expected}")]
    Memory {
        /// What it declares.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// An export is missing or of another type.
    #[error("the module's export `{name}`: found {found}, expected {expected}")]
    Export {
        /// Name of the export.
        name: &'static str,
        /// What stands there.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// It speaks another ABI.
    #[error("the module speaks ABI {found}, this host speaks ABI {expected}")]
    AbiVersion {
        /// The module's.
        found: i32,
        /// The host's.
        expected: i32,
    },
    /// It passed every check and does not compile, or the sandbox cannot be set up.
    #[error("cannot prepare the module: {detail}")]
    Compile {
        /// The compiler's words.
        detail: String,
    },
    /// It did not get through the self-test.
    #[error("the module failed its self-test at `{step}`")]
    SelfTest {
        /// What was being done.
        step: &'static str,
        /// What happened.
        source: EngineError,
    },
    /// It got through the self-test with other results than the engine's.
    #[error("the module failed its self-test: {what} differ from those of the host's own engine: {detail}")]
    Differs {
        /// Which results.
        what: &'static str,
        /// Where they part.
        detail: String,
    },
}

fn places(looked: &[PathBuf]) -> String {
    looked.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" or ")
}
