//! The outside tools that the tests drive: kinesalite, kinesis-local, playwright-core, ministack, wasmtime for Python, Chromium.
//!
//! Invariants
//! - Which versions, and how they are installed, is written once: in `.ci/tools.sh` and its lists.
//! - Asking for a tool that is there costs a tenth of a second, once per process.
//!
//! Not here: starting them (`server`).

use crate::workspace;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the tools are.
#[derive(Debug)]
pub struct Tools {
    dir: PathBuf,
}

impl Tools {
    /// The folder with `node_modules`.
    pub fn npm(&self) -> PathBuf {
        self.dir.join("npm")
    }

    /// A package of npm, as a path that Node's `require` and `import` take.
    pub fn npm_package(&self, name: &str) -> PathBuf {
        self.npm().join("node_modules").join(name)
    }

    /// The Python that has ministack, cbor2 and wasmtime.
    pub fn python(&self) -> PathBuf {
        self.dir.join("venv/bin/python")
    }
}

/// Installs what is missing of the npm and Python tools, and says where they are.
///
/// # Panics
/// If `.ci/tools.sh` fails; what it printed says what to do.
pub fn ensure() -> &'static Tools {
    static TOOLS: OnceLock<Tools> = OnceLock::new();
    TOOLS.get_or_init(|| {
        install(&["npm", "python"]);
        let dir = std::env::var_os("PLIMSOLL_TOOLS").map_or_else(|| workspace().join("target/tools"), PathBuf::from);
        Tools { dir }
    })
}

/// The Chromium to drive: `CHROMIUM` if it is set, else the first one on the path, installed where that can be done.
///
/// # Panics
/// If there is none and it cannot be installed.
pub fn chromium() -> &'static Path {
    static CHROMIUM: OnceLock<PathBuf> = OnceLock::new();
    CHROMIUM.get_or_init(|| {
        install(&["browser"]);
        if let Some(named) = std::env::var_os("CHROMIUM") {
            return PathBuf::from(named);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        ["chromium", "chromium-browser", "google-chrome"]
            .iter()
            .flat_map(|name| std::env::split_paths(&path).map(move |dir| dir.join(name)))
            .find(|program| program.is_file())
            .expect("Chromium is on the path once .ci/tools.sh has succeeded")
    })
}

fn install(parts: &[&str]) {
    let script = workspace().join(".ci/tools.sh");
    let status = Command::new("bash").arg(&script).args(parts).status();
    let status = status.unwrap_or_else(|error| panic!("cannot run bash {}: {error}", script.display()));
    assert!(status.success(), "{} {} failed ({status}); see its output above", script.display(), parts.join(" "));
}
