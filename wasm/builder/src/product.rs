//! Writes what was built, and knows when there is nothing to write.
//!
//! Invariants
//! - A file appears under its name whole or not at all: it is written beside and renamed.
//! - A [`Stamp`] is written after its files, and holds only while each of them has the bytes that it names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::digest::sha256_hex;

/// Writes a file whole, or leaves the old one.
///
/// # Errors
/// When the folder cannot be written to.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    // Two builders at once must not write into each other's file.
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    fs::write(&beside, bytes)
        .and_then(|()| fs::rename(&beside, path))
        .with_context(|| format!("could not write {}", path.display()))
}

/// What a set of files was made from, and their digests.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Names everything that decides the files' content.
    key: String,
    /// Digests by file name.
    files: BTreeMap<String, String>,
}

impl Stamp {
    /// The key for files made from `input` by this very program with `compiler`.
    ///
    /// # Errors
    /// When the program cannot read its own file.
    pub fn key(input: &[u8], compiler: &str) -> Result<String> {
        let program = std::env::current_exe().and_then(fs::read).context("could not read the builder's own file")?;
        Ok(format!("{} {} {compiler}", sha256_hex(input), sha256_hex(&program)))
    }

    /// Whether the files in `folder` are what `key` gives, by the stamp at `path`.
    pub fn holds(path: &Path, folder: &Path, key: &str) -> bool {
        let stamp = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        stamp.is_some_and(|stamp| {
            stamp.key == key
                && stamp
                    .files
                    .iter()
                    .all(|(name, digest)| fs::read(folder.join(name)).is_ok_and(|bytes| sha256_hex(&bytes) == *digest))
        })
    }

    /// Writes the stamp for `files`, names below `folder`.
    ///
    /// # Errors
    /// When one of them is not there or the stamp cannot be written.
    pub fn write(path: &Path, folder: &Path, key: String, files: &[String]) -> Result<()> {
        let mut stamp = Self { key, files: BTreeMap::new() };
        for name in files {
            let file = folder.join(name);
            let bytes = fs::read(&file).with_context(|| format!("could not read {}", file.display()))?;
            stamp.files.insert(name.clone(), sha256_hex(&bytes));
        }
        write(path, &serde_json::to_vec_pretty(&stamp)?)
    }
}

/// The files below `folder`, as names with `/`, sorted.
///
/// # Errors
/// When a folder cannot be read.
pub fn files_below(folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(prefix) = folders.pop() {
        let here = folder.join(&prefix);
        for entry in fs::read_dir(&here).with_context(|| format!("could not read {}", here.display()))? {
            let entry = entry?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            match entry.file_type()?.is_dir() {
                true => folders.push(format!("{name}/")),
                false => files.push(name),
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_holds_until_key_or_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, stamp) = (folder.path(), folder.path().join("stamp"));
        fs::create_dir(folder.join("sub")).unwrap();
        write(&folder.join("a"), b"1").unwrap();
        write(&folder.join("sub/b"), b"2").unwrap();
        let files = files_below(folder).unwrap();
        assert_eq!(files, ["a", "sub/b"]);

        assert!(!Stamp::holds(&stamp, folder, "key"), "there is none yet");
        Stamp::write(&stamp, folder, "key".to_owned(), &files).unwrap();
        assert!(Stamp::holds(&stamp, folder, "key"));
        assert!(!Stamp::holds(&stamp, folder, "another key"));
        write(&folder.join("sub/b"), b"3").unwrap();
        assert!(!Stamp::holds(&stamp, folder, "key"), "a file was changed");
        fs::remove_file(folder.join("sub/b")).unwrap();
        assert!(!Stamp::holds(&stamp, folder, "key"), "a file is missing");
    }
}
