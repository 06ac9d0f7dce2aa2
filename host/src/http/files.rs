//! The page's files: found once, read once, served from memory.
//!
//! Invariants
//! - Only what lies in the page's folder itself is served, by its exact name: no path leads anywhere else.
//! - The page that goes out says that a host stands behind it.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What the page says without a host, and with one.
const ALONE: &str = r#"name="plimsoll-host" content="none""#;
const HOSTED: &str = r#"name="plimsoll-host" content="here""#;

/// The page's files by name.
#[derive(Clone, Debug)]
pub struct PageFiles(BTreeMap<String, Bytes>);

impl PageFiles {
    /// Reads the page from the first place that has one: `PLIMSOLL_SHARE`, then `../share/plimsoll` and `../plimsoll` seen
    /// from the program's own folder (installed, and in a build's `target`). `None` where none has.
    ///
    /// # Errors
    /// When a page is there and cannot be read, or when `PLIMSOLL_SHARE` is set and has none.
    pub fn find() -> io::Result<Option<Self>> {
        if let Some(share) = env::var_os("PLIMSOLL_SHARE") {
            let folder = PathBuf::from(share).join("page");
            return match Self::read(&folder) {
                Ok(page) => Ok(Some(page)),
                Err(e) => Err(io::Error::new(
                    e.kind(),
                    format!("PLIMSOLL_SHARE has no page: {}: {e}; expected index.html there", folder.display()),
                )),
            };
        }
        let program = env::current_exe()?;
        let beside = program.parent().unwrap_or(Path::new("."));
        for share in ["../share/plimsoll", "../plimsoll"] {
            let folder = beside.join(share).join("page");
            if folder.join("index.html").is_file() {
                return Self::read(&folder).map(Some);
            }
        }
        Ok(None)
    }

    /// Reads the page from a folder.
    ///
    /// # Errors
    /// When a file cannot be read, or there is no `index.html`.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if let (true, Ok(name)) = (entry.file_type()?.is_file(), entry.file_name().into_string()) {
                files.insert(name, Bytes::from(fs::read(entry.path())?));
            }
        }
        let index = files.get_mut("index.html").ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let hosted = String::from_utf8_lossy(index).replace(ALONE, HOSTED);
        *index = Bytes::from(hosted);
        Ok(Self(files))
    }

    /// A file's bytes.
    pub fn get(&self, name: &str) -> Option<Bytes> {
        self.0.get(name).cloned()
    }
}

/// The media type of a file, by its ending.
pub(super) fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("wasm") => "application/wasm",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}
