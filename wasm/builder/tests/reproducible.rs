//! The same sources give the same module, wherever they lie.
//!
//! Built where it is, as `make build` does, and from nothing in a copy whose path has another length.

use std::fs;
use std::path::Path;
use std::process::Command;

/// What a build of the module reads: cargo wants each member's manifest and targets, whatever it builds.
const SOURCES: &[&str] = &["Cargo.toml", "Cargo.lock", "core", "wasm", "host", "tests"];

fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let name = entry.unwrap().file_name();
        if name != "target" && name != "node_modules" {
            copy(&from.join(&name), &to.join(&name));
        }
    }
}

/// Builds the workspace at `root` and returns the digest that was written.
fn build(root: &Path) -> String {
    let built = Command::new(env!("CARGO_BIN_EXE_plimsoll-builder"))
        .args(["build", "--module-only", "--root"])
        .arg(root)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let digest = fs::read_to_string(root.join("target/plimsoll/plimsoll.wasm.sha256")).unwrap();
    let module = fs::read(root.join("target/plimsoll/plimsoll.wasm")).unwrap();
    assert_eq!(digest, format!("{}  plimsoll.wasm\n", plimsoll_builder::digest::sha256_hex(&module)));
    digest
}

#[test]
fn two_folders_give_one_digest() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let temporary = tempfile::tempdir().unwrap();
    let elsewhere = temporary.path().join("another folder/of a longer name");
    fs::create_dir_all(&elsewhere).unwrap();
    for name in SOURCES {
        copy(&workspace.join(name), &elsewhere.join(name));
    }
    assert_eq!(build(&workspace), build(&elsewhere), "a path or the time of the build has reached the module's bytes");
}
