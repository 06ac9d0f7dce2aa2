//! Makes the JavaScript bindings: compiled, then taken apart by wasm-bindgen into glue, types and a module.
//!
//! ```text
//! target/plimsoll/bindings/plimsoll_bindings.js        ES module; its default export loads the wasm file it is given
//! target/plimsoll/bindings/plimsoll_bindings.d.ts      types
//! target/plimsoll/bindings/plimsoll_bindings_bg.wasm   the module behind it
//! ```
//! wasm-bindgen comes as a library: its version is locked beside that of the macros, with which it must agree exactly.
//! The glue has no default path of its wasm file, since bundlers would follow it and pack the file twice.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

use crate::compile::compile;
use crate::process::say;
use crate::product::{Stamp, files_below};
use crate::toolchain::Toolchain;

const PACKAGE: &str = "plimsoll-bindings";
/// Decides the names of the files.
const STEM: &str = "plimsoll_bindings";

/// Builds the bindings of the workspace at `root` into `out/bindings`.
///
/// # Errors
/// When they cannot be compiled, understood by wasm-bindgen, or written.
pub fn build(root: &Path, out: &Path, toolchain: &Toolchain) -> Result<()> {
    let compiled = compile(root, PACKAGE, toolchain)?;
    let bytes = fs::read(&compiled).with_context(|| format!("could not read {}", compiled.display()))?;
    let key = Stamp::key(&bytes, &toolchain.version)?;
    let (stamp, folder) = (out.join(".bindings.stamp"), out.join("bindings"));
    if Stamp::holds(&stamp, &folder, &key) {
        say(format!("{} is up to date", folder.display()));
        return Ok(());
    }

    // Made beside and moved, so that no file of an older build stays among the new ones.
    let beside = out.join(format!(".bindings.{}.new", std::process::id()));
    Bindgen::new()
        .input_bytes(STEM, bytes)
        .web(true)?
        .typescript(true)
        .omit_default_module_path(true)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(&beside)
        .with_context(|| format!("wasm-bindgen could not make bindings from {}", compiled.display()))?;
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("could not replace {}", folder.display()))?;
    }
    fs::rename(&beside, &folder).with_context(|| format!("could not write {}", folder.display()))?;
    Stamp::write(&stamp, &folder, key, &files_below(&folder)?)?;
    say(format!("{}: written", folder.display()));
    Ok(())
}
