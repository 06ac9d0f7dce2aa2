//! What several commands need: a policy, a module's engines, the wish to stop.

use super::{Exit, Failure};
use crate::runtime::Engines;
use crate::runtime::native::NativeEngines;
use crate::runtime::wasm::{ModuleError, Modules, Settings};
use anyhow::anyhow;
use bytes::Bytes;
use plimsoll_core::policy::Policy;
use plimsoll_core::policy::text::{Syntax, parse};
use plimsoll_core::time::EventTime;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

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
        let settings = Settings {
            memory_bytes_max: u64::from(self.module_memory) << 20,
            cache_dir: self.cache_dir.clone(),
            ..Settings::default()
        };
        let refused = |e: ModuleError| match Modules::find(self.module.as_deref()) {
            // No file to name: the error says where it was looked for.
            Err(_) => Exit::Module.because(e),
            Ok(path) => Exit::Module.because(anyhow!(e).context(format!(
                "the module {} is refused; `make module` builds the right one, --module FILE names another",
                path.display()
            ))),
        };
        Ok(Arc::new(Modules::load(self.module.as_deref(), settings).map_err(refused)?))
    }

    /// The module's own bytes, for the page; `None` for the native engine.
    pub fn bytes(&self) -> Result<Option<Bytes>, Failure> {
        if self.native {
            return Ok(None);
        }
        let path = Modules::find(self.module.as_deref()).map_err(|e| Exit::Module.because(e))?;
        let wasm = std::fs::read(&path)
            .map_err(|e| Exit::Module.because(anyhow!("cannot read the module {}: {e}", path.display())))?;
        Ok(Some(Bytes::from(wasm)))
    }
}

/// Reads a policy; the errors are whole lines with file, line and column.
pub fn policy(file: &Path) -> Result<(Arc<Policy>, String), Failure> {
    let name = file.display().to_string();
    let text = std::fs::read(file).map_err(|e| {
        Exit::Policy.because(anyhow!("cannot read the policy {name}: {e}; expected a TOML or JSON file"))
    })?;
    let text = String::from_utf8(text)
        .map_err(|e| Exit::Policy.because(anyhow!("{name}: not UTF-8 at byte {}", e.utf8_error().valid_up_to())))?;
    match parse(&text, Syntax::guess(&name, &text)) {
        Ok(policy) => Ok((Arc::new(policy), text)),
        Err(diagnostics) => {
            Err(Exit::Policy.because(anyhow!("the policy is refused:\n{}", diagnostics.in_file(&name))))
        }
    }
}

/// A time as people write it: RFC 3339, or milliseconds since the epoch.
pub fn time(text: &str) -> Result<EventTime, String> {
    let ms = text.parse::<i64>().ok().or_else(|| plimsoll_core::decode::parse_rfc3339(text.as_bytes()));
    ms.map(EventTime::from_millis)
        .ok_or_else(|| "expected a time like 2026-11-23T10:00:00Z, or milliseconds since 1970".into())
}

/// Says stop at Ctrl-C or SIGTERM. A second one ends the process as it would have without us.
pub async fn stop_on_signal(stop: watch::Sender<bool>) {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(s) => s,
        Err(error) => return tracing::error!(%error, "SIGTERM cannot be listened for"),
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("stopping: finishing the batch in hand");
    stop.send_replace(true);
    tokio::select! {
        _ = tokio::signal::ctrl_c() => std::process::exit(130),
        _ = terminate.recv() => std::process::exit(143),
        () = stop.closed() => {}
    }
}
