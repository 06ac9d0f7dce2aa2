//! Where the tests find plimsoll.wasm: as built by `make build`, else built here.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The module's path.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        if let Some(given) = std::env::var_os("PLIMSOLL_MODULE") {
            return given.into();
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the host is a folder of the workspace");
        let module = root.join("target/plimsoll/plimsoll.wasm");
        if !module.is_file() {
            let built = Command::new(env!("CARGO"))
                .args(["run", "--release", "-p", "plimsoll-builder", "--", "build", "--module-only"])
                .current_dir(root)
                .status();
            assert!(built.is_ok_and(|s| s.success()), "the builder failed; `make build` says more");
        }
        module
    })
}
