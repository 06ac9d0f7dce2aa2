//! The engine as a module under wasmtime: found, checked, compiled, tested, and run in a sandbox.
//!
//! ```text
//! load   find -> check (wasmparser) -> compile or cache -> ABI version -> self-test
//! run    one instance per engine; epochs for normal runs, a fuel-metered compilation for the run that decides
//! ```
//!
//! Invariants
//! - A module that is loaded imports nothing, starts nothing and has counted right once.
//! - A trap, a time-out or a lie costs the instance it happened in, and nothing else.
//!
//! Not here: which record is to blame (the driver's bisection), what effects mean (`plimsoll_core::wire`).

mod cache;
mod check;
mod error;
mod instance;
mod sandbox;
mod self_test;
mod settings;

use super::{Engine, EngineError, Engines};
use cache::Cache;
use instance::{Live, WasmEngine};
use plimsoll_core::policy::Policy;
use sandbox::{Meter, Sandbox};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::{env, fs, io};

pub use error::ModuleError;
pub use self_test::expected_effects;
pub use settings::Settings;

/// The version of the ABI that this host speaks.
pub use plimsoll_abi::VERSION as ABI_VERSION;

/// Where modules come from.
#[derive(Clone, Copy, Debug)]
pub struct Modules;

impl Modules {
    /// The module's place: `given` (`--module`), else `PLIMSOLL_MODULE`, else a `plimsoll.wasm` beside the executable,
    /// in `../share/plimsoll` (installed) or in `../plimsoll` (built with cargo).
    pub fn find(given: Option<&Path>) -> Result<PathBuf, ModuleError> {
        if let Some(path) = given.map(PathBuf::from).or_else(|| env::var_os("PLIMSOLL_MODULE").map(PathBuf::from)) {
            return Ok(path);
        }
        let executable = env::current_exe().and_then(|p| p.canonicalize()).unwrap_or_default();
        let folder = executable.parent().unwrap_or(Path::new("."));
        let looked = ["plimsoll.wasm", "../share/plimsoll/plimsoll.wasm", "../plimsoll/plimsoll.wasm"]
            .map(|place| folder.join(place));
        let there = looked.iter().find(|p| p.is_file()).cloned();
        there.ok_or_else(|| ModuleError::NotFound { looked: looked.into() })
    }

    /// Reads, checks, compiles and tests a module: the given one, else the one that `find` finds.
    pub fn load(given: Option<&Path>, settings: Settings) -> Result<WasmEngines, ModuleError> {
        let path = Self::find(given)?;
        match read(&path, settings.module_bytes_max) {
            Ok(wasm) => Self::from_bytes(wasm, settings),
            Err(source) => Err(ModuleError::Read { path, source }),
        }
    }

    /// The same for a module that was read already.
    pub fn from_bytes(wasm: Vec<u8>, settings: Settings) -> Result<WasmEngines, ModuleError> {
        check::check(&wasm, &settings)?;
        let digest: [u8; 32] = Sha256::digest(&wasm).into();
        let cache = Cache::open(&settings);
        let normal = Arc::new(Sandbox::new(&wasm, &digest, Meter::Epochs, &settings, cache.as_ref())?);
        let at = |step| move |source| ModuleError::SelfTest { step, source };
        let mut live = Live::new(&normal).map_err(at("instantiate"))?;
        let found = live.abi_version().map_err(at("abi_version"))?;
        if found != ABI_VERSION {
            return Err(ModuleError::AbiVersion { found, expected: ABI_VERSION });
        }
        let description = String::from_utf8(live.describe().map_err(at("describe"))?)
            .ok()
            .filter(|text| serde_json::from_str::<serde_json::Value>(text).is_ok_and(|v| v.is_object()))
            .ok_or_else(|| EngineError::Lie { detail: "the description is no JSON object".into() })
            .map_err(at("describe"))?;
        let engines = WasmEngines { wasm, digest, description, normal, metered: OnceLock::new(), cache };
        self_test::self_test(&engines)?;
        Ok(engines)
    }
}

/// Reads at most one byte more than is allowed: enough to say that it is too many.
fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut wasm = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(fs::File::open(path)?, limit.saturating_add(1)), &mut wasm)?;
    Ok(wasm)
}

/// A loaded module.
pub struct WasmEngines {
    wasm: Vec<u8>,
    digest: [u8; 32],
    description: String,
    normal: Arc<Sandbox>,
    metered: OnceLock<Result<Arc<Sandbox>, String>>,
    cache: Option<Cache>,
}

impl WasmEngines {
    /// What the module says about itself: a JSON object.
    pub fn describe(&self) -> &str {
        &self.description
    }

    /// The fuel-metered compilation, made when it is first wanted.
    fn metered(&self) -> Result<&Arc<Sandbox>, EngineError> {
        let compile = || {
            Sandbox::new(&self.wasm, &self.digest, Meter::Fuel, &self.normal.settings, self.cache.as_ref())
                .map(Arc::new)
                .map_err(|e| e.to_string())
        };
        let metered = self.metered.get_or_init(compile);
        metered.as_ref().map_err(|detail| EngineError::Host { detail: detail.clone() })
    }
}

impl Engines for WasmEngines {
    fn digest(&self) -> Option<[u8; 32]> {
        Some(self.digest)
    }

    fn open(&self, policy: &Arc<Policy>, snapshot: Option<&[u8]>) -> Result<Box<dyn Engine>, EngineError> {
        open(&self.normal, policy, snapshot)
    }

    fn open_metered(&self, policy: &Arc<Policy>, snapshot: Option<&[u8]>) -> Result<Box<dyn Engine>, EngineError> {
        open(self.metered()?, policy, snapshot)
    }
}

fn open(sandbox: &Arc<Sandbox>, policy: &Policy, snapshot: Option<&[u8]>) -> Result<Box<dyn Engine>, EngineError> {
    let mut live = Live::new(sandbox)?;
    live.open(policy, snapshot)?;
    Ok(Box::new(WasmEngine::new(live)))
}

impl std::fmt::Debug for WasmEngines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digest: String = self.digest.iter().map(|b| format!("{b:02x}")).collect();
        f.debug_struct("WasmEngines").field("digest", &digest).finish_non_exhaustive()
    }
}
