//! Compiles a package of the workspace to WebAssembly, with the same bytes in every folder.
//!
//! Panic messages carry the paths of source files. All of them are rewritten: the workspace becomes `/plimsoll`, cargo's
//! registry `/cargo/registry`, the standard library `/rustc/<commit>` as in rustup's builds of it. The target folder is one
//! of its own, so that this build and the host's do not wait for each other.
//!
//! Another compiler gives other bytes; `build.json` therefore names it beside the digest.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::{run, say};
use crate::toolchain::{Origin, TARGET, Toolchain};

/// The cargo profile both packages are built with; it is in the workspace's manifest.
const PROFILE: &str = "wasm";

/// What separates flags in `CARGO_ENCODED_RUSTFLAGS`; unlike a space it cannot be part of a path.
const SEPARATOR: &str = "\x1f";

/// Compiles the `cdylib` of `package` and returns the path of its module, names and all.
///
/// Cargo decides whether there is anything to do. Packages are compiled one by one: in one call, cargo would compile
/// what they share with the features of both.
///
/// # Errors
/// When cargo cannot be run or fails; its own messages have then been printed.
pub fn compile(root: &Path, package: &str, toolchain: &Toolchain) -> Result<PathBuf> {
    say(format!("compiling {package}"));
    let target_dir = root.join("target/wasm");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root)
        .args(["build", "--locked", "--package", package, "--profile", PROFILE, "--target", TARGET])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("RUSTC", &toolchain.rustc)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(root, toolchain)?);
    if toolchain.origin == Origin::Debian {
        cargo.arg("-Zbuild-std=std,panic_abort").env("RUSTC_BOOTSTRAP", "1");
    }
    if let Some(linker) = &toolchain.linker {
        cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    }
    run(&mut cargo)?;
    Ok(target_dir.join(TARGET).join(PROFILE).join(package.replace('-', "_")).with_extension("wasm"))
}

fn rustflags(root: &Path, toolchain: &Toolchain) -> Result<OsString> {
    // Where several fit the compiler takes the last, so the most particular ones come last.
    let mut remaps = vec![(root.to_owned(), "/plimsoll".to_owned())];
    for registry in registries()? {
        remaps.push((registry, "/cargo/registry".to_owned()));
    }
    let source = toolchain.source();
    let library = format!("/rustc/{}", toolchain.commit);
    // Debian has a link in the toolchain to where the source really is.
    if let Ok(real) = source.canonicalize() {
        remaps.push((real, library.clone()));
    }
    remaps.push((source, library));

    // Policies are hashed once, when they are opened: 8 KB of unrolled rounds would gain nothing.
    let mut flags = OsString::from("--cfg=sha2_backend_soft=\"compact\"");
    // What a record passes through says itself that it is to be inlined; the compiler's own measure makes the rest a
    // twentieth larger and nothing faster.
    flags.push(SEPARATOR);
    flags.push("-Cllvm-args=-inline-threshold=75");
    for (from, to) in remaps {
        flags.push(SEPARATOR);
        flags.push("--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    }
    Ok(flags)
}

/// The folders below which cargo unpacks packages, sorted. Their names differ between versions of cargo.
///
/// There is one at least: the builder's own dependencies came from there.
fn registries() -> Result<Vec<PathBuf>> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")))
        .context("neither CARGO_HOME nor a home directory is known")?;
    let sources = home.join("registry/src");
    let Ok(entries) = std::fs::read_dir(&sources) else {
        // Packages come from a folder of the workspace, by `cargo vendor`.
        return Ok(Vec::new());
    };
    let mut folders = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .with_context(|| format!("could not read {}", sources.display()))?;
    folders.sort();
    Ok(folders)
}
