//! What several commands need: a policy, a module's engines, the wish to stop.

use super::{Exit, Failure};
use crate::runtime::native::NativeEngines;
use crate::runtime::wasm::{Modules, Settings};
use crate::runtime::Engines;
use anyhow::anyhow;
use plimsoll_core::policy::Policy;
use plimsoll_core::policy::text::{Syntax, parse};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which engine runs.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct EngineArgs {
    /// The module to run [default: the plimsoll.wasm that came with this program].
    #[arg(long, value_name = "FILE", env = "PLIMSOLL_MODULE", conflicts_with = "native")]
    pub module: Option<PathBuf>,
    /// Run the engine that is compiled into this program, without a sandbox. For tests and comparisons.
    #[arg(long)]
    pub native: bool,
    /// The most memory a module's instance may have, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    pub module_memory: u32,
    /// Where compiled modules are kept [default: $XDG_CACHE_HOME/plimsoll or ~/.cache/plimsoll].
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
}

impl EngineArgs {
    /// Loads the engines.
    pub fn load(&self) -> Result<Arc<dyn Engines>, Failure> {
        if self.native {
            return Ok(Arc::new(NativeEngines));
        }
        let mut settings = Settings::default();
        settings.memory_bytes_max = u64::from(self.module_memory) << 20;
        if self.cache_dir.is_some() {
            settings.cache_dir = self.cache_dir.clone();
        }
        let engines = Modules::load(self.module.as_deref(), settings).map_err(|e| Exit::Module.because(e))?;
        Ok(Arc::new(engines))
    }
}

/// Reads a policy; the errors are whole lines with file, line and column.
pub fn policy(file: &Path) -> Result<(Arc<Policy>, String), Failure> {
    let name = file.display().to_string();
    let text = std::fs::read(file)
        .map_err(|e| Exit::Policy.because(anyhow!("cannot read the policy {name}: {e}; expected a TOML or JSON file")))?;
    let text = String::from_utf8(text)
        .map_err(|e| Exit::Policy.because(anyhow!("{name}: not UTF-8 at byte {}", e.utf8_error().valid_up_to())))?;
    match parse(&text, Syntax::guess(&name, &text)) {
        Ok(policy) => Ok((Arc::new(policy), text)),
        Err(diagnostics) => {
            let lines: Vec<String> = diagnostics.iter().map(|d| format!("{name}:{d}")).collect();
            Err(Exit::Policy.because(anyhow!("the policy is refused:\n{}", lines.join("\n"))))
        }
    }
}
