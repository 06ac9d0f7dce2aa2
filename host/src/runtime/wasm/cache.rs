//! Compiled modules, kept between starts: compiling takes a second, loading a few milliseconds.
//!
//! ```text
//! folder (0700, ours)/<key>.cwasm     offset 0  "PLCWASM1"  8  SHA-256 of what follows  40  wasmtime's serialised module
//! key = SHA-256 of (module's digest, wasmtime's compatibility hash, our own compile settings)
//! ```
//!
//! Invariants
//! - Machine code is loaded only from files that this user wrote in a folder that only this user can write to.
//!   The checksum finds damage; it is no signature.
//! - The cache is never needed: whatever is wrong with it, the module is compiled and the reason goes to the log.
//!
//! Wasmtime checks its version, tunables and features when it loads, but not NaN canonicalisation: hence our settings
//! in the key. Files are read whole, since bytes that were checked must be the ones that are loaded.

use super::sandbox::{self, Meter};
use super::settings::Settings;
use sha2::{Digest as _, Sha256};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs, io};
use wasmtime::{Engine, Module};

const MAGIC: &[u8; 8] = b"PLCWASM1";
const HEADER: usize = 8 + 32;
/// Files kept: two compilations of a few versions. The oldest go first.
const FILES_MAX: usize = 16;

/// A folder that may be trusted.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    owner: u32,
}

impl Cache {
    /// The cache of these settings; `None` where there is none or it cannot be trusted.
    pub(super) fn open(settings: &Settings) -> Option<Self> {
        let folder = settings.cache.then(|| settings.cache_dir.clone().or_else(default_folder))??;
        trusted(&folder)
            .map(|owner| Self { folder: folder.clone(), owner })
            .inspect_err(|e| tracing::debug!("no cache of compiled modules in {}: {e}", folder.display()))
            .ok()
    }

    /// The compiled module: from its file, else compiled and kept.
    pub(super) fn module(
        &self,
        engine: &Engine,
        wasm: &[u8],
        digest: &[u8; 32],
        meter: Meter,
    ) -> wasmtime::Result<Module> {
        let path = self.folder.join(format!("{}.cwasm", key(engine, digest, meter)));
        match self.load(engine, &path) {
            Ok(module) => {
                tracing::debug!("compiled module from {}", path.display());
                return Ok(module);
            }
            Err(e) => tracing::debug!("compiling the module, since {}: {e}", path.display()),
        }
        let module = Module::from_binary(engine, wasm)?;
        match self.store(&path, &module.serialize()?) {
            Ok(()) => self.forget_oldest(),
            Err(e) => tracing::debug!("cannot keep the compiled module in {}: {e}", path.display()),
        }
        Ok(module)
    }

    #[expect(unsafe_code, reason = "wasmtime loads machine code as it is told; this is the only place that tells it")]
    fn load(&self, engine: &Engine, path: &Path) -> io::Result<Module> {
        let mut file = fs::File::open(path)?;
        only_ours(&file.metadata()?, self.owner)?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes)?;
        let damaged = || io::Error::other("the file is damaged");
        let (header, code) = bytes.split_at_checked(HEADER).ok_or_else(damaged)?;
        if header[..MAGIC.len()] != MAGIC[..] || header[MAGIC.len()..] != Sha256::digest(code)[..] {
            return Err(damaged());
        }
        // SAFETY: these bytes are wasmtime's own serialisation: they stand as `store` wrote them (checksum), in a file
        // and a folder that nobody but this user, or root, can write to (`only_ours`, `trusted`), and under a key that
        // names module, wasmtime's version and settings.
        unsafe { Module::deserialize(engine, code) }.map_err(|e| io::Error::other(format!("{e:#}")))
    }

    /// Writes a file that is there whole or not at all.
    fn store(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(HEADER + code.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&Sha256::digest(code));
        bytes.extend_from_slice(code);
        let new = path.with_extension(format!("{}.new", std::process::id()));
        // What a process of the same number left when it was killed.
        let _ = fs::remove_file(&new);
        let written = create(&new).and_then(|mut f| io::Write::write_all(&mut f, &bytes));
        written.and_then(|()| fs::rename(&new, path)).inspect_err(|_| {
            let _ = fs::remove_file(&new);
        })
    }

    /// Removes all but the newest files. Best effort: another process may do the same.
    fn forget_oldest(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut files: Vec<_> = entries
            .flatten()
            .filter(|e| e.path().extension().is_some_and(|x| x == "cwasm" || x == "new"))
            .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())))
            .collect();
        files.sort_unstable_by(|a, b| b.cmp(a));
        for (_, path) in files.iter().skip(FILES_MAX) {
            let _ = fs::remove_file(path);
        }
    }
}

fn default_folder() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache"))).map(|p| p.join("plimsoll"))
}

/// The file's name: whatever changes the code changes it.
fn key(engine: &Engine, digest: &[u8; 32], meter: Meter) -> String {
    let mut key = KeyHasher(Sha256::new_with_prefix(digest));
    engine.precompile_compatibility_hash().hash(&mut key);
    sandbox::compile_settings(meter).hash(&mut key);
    key.0.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// Takes in what `Hash` gives; std's own hashers may change with its version.
struct KeyHasher(Sha256);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let sum = self.0.clone().finalize();
        u64::from_le_bytes(*sum.first_chunk().expect("a SHA-256 has 32 bytes"))
    }
}

/// Makes the folder where there is none, and sees that it is ours alone. Gives this user's number.
#[cfg(unix)]
fn trusted(folder: &Path) -> io::Result<u32> {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // Who we are is who owns what we make: std does not tell otherwise.
    let probe = folder.join(format!("{}.probe", std::process::id()));
    let _ = fs::remove_file(&probe);
    let us = create(&probe)?.metadata()?.uid();
    fs::remove_file(&probe)?;
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() {
        return Err(io::Error::other("it is a link, expected a folder"));
    }
    only_ours(&found, us)?;
    Ok(us)
}

#[cfg(unix)]
fn only_ours(found: &fs::Metadata, us: u32) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let (owner, mode) = (found.uid(), found.mode() & 0o777);
    if owner != us {
        return Err(io::Error::other(format!("it belongs to user {owner}, expected {us}")));
    }
    if mode & 0o077 != 0 {
        return Err(io::Error::other(format!("others may use it (mode {mode:o}); `chmod go-rwx` mends that")));
    }
    Ok(())
}

#[cfg(unix)]
fn create(path: &Path) -> io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Elsewhere nothing is known about who may write: no cache.
#[cfg(not(unix))]
fn trusted(_folder: &Path) -> io::Result<u32> {
    Err(io::Error::other("kept on Unix only"))
}

#[cfg(not(unix))]
fn only_ours(_found: &fs::Metadata, _us: u32) -> io::Result<()> {
    Err(io::Error::other("kept on Unix only"))
}

#[cfg(not(unix))]
fn create(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create_new(true).open(path)
}
