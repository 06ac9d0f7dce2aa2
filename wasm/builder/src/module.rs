//! Makes `plimsoll.wasm`: compiled, stripped, checked, written with its digest.
//!
//! ```text
//! target/plimsoll/plimsoll.wasm          the module that host, page and every other runtime load
//! target/plimsoll/plimsoll.wasm.sha256   its digest, as `sha256sum --check` reads it
//! target/plimsoll/build.json             digest, size, ABI version and the compiler that gave these bytes
//! ```

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::check::{ABI_VERSION, check};
use crate::compile::compile;
use crate::process::say;
use crate::product::{Stamp, write};
use crate::strip::without_custom_sections;
use crate::toolchain::Toolchain;

const PACKAGE: &str = "plimsoll-module";
const FILE: &str = "plimsoll.wasm";
const FILE_SHA256: &str = "plimsoll.wasm.sha256";
const FILE_BUILD: &str = "build.json";

/// What `build.json` says.
#[derive(Debug, Serialize)]
struct Build<'a> {
    file: &'a str,
    sha256: &'a str,
    size_bytes: usize,
    abi_version: i32,
    compiler: &'a str,
    toolchain: &'a str,
}

/// Builds the module of the workspace at `root` into `out`.
///
/// # Errors
/// When it cannot be compiled or written, or when the result is refused.
pub fn build(root: &Path, out: &Path, toolchain: &Toolchain) -> Result<()> {
    let compiled = compile(root, PACKAGE, toolchain)?;
    let bytes = fs::read(&compiled).with_context(|| format!("could not read {}", compiled.display()))?;
    let key = Stamp::key(&bytes, &toolchain.version)?;
    let stamp = out.join(".module.stamp");
    let path = out.join(FILE);
    if Stamp::holds(&stamp, out, &key) {
        say(format!("{} is up to date", path.display()));
        return Ok(());
    }

    let module = without_custom_sections(&bytes)?;
    let report = check(&module).with_context(|| format!("{PACKAGE} built a module that must not be used"))?;
    let build = Build {
        file: FILE,
        sha256: &report.sha256,
        size_bytes: report.size_bytes,
        abi_version: ABI_VERSION,
        compiler: &toolchain.version,
        toolchain: toolchain.origin.name(),
    };
    let mut json = serde_json::to_string_pretty(&build)?;
    json.push('\n');
    write(&path, &module)?;
    write(&out.join(FILE_SHA256), format!("{}  {FILE}\n", report.sha256).as_bytes())?;
    write(&out.join(FILE_BUILD), json.as_bytes())?;
    Stamp::write(&stamp, out, key, &[FILE, FILE_SHA256, FILE_BUILD].map(str::to_owned))?;
    say(format!("{}: {} bytes, sha256 {}", path.display(), report.size_bytes, report.sha256));
    Ok(())
}
