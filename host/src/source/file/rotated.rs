//! Finds a followed file again that was renamed while Plimsoll was not running: `app.log` as `app.log.1`.
//!
//! Invariant: an answer is given only when it is the one file that was read, and no rotated file is younger: such a
//! file would have been written in between, and jumping over it would lose its records.
//!
//! Not here: rotation while running, which the inode tells (`walk`).

use super::super::SourceError;
use super::super::feed::trouble;
use super::super::lines::fingerprint;
use super::mark::Mark;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The file beside `path` whose name begins with that of `path` and whose beginning is that of `mark`. `why` is the
/// reason for searching. `None`: nothing like it is there.
pub(super) fn find(path: &Path, mark: &Mark, why: &str) -> Result<Option<PathBuf>, SourceError> {
    let shown = path.to_string_lossy();
    let io = |e| trouble(&shown, &e);
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Ok(None);
    };
    let mut same = Vec::new();
    let mut siblings = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let file_name = entry.file_name();
        let rest = file_name.to_str().and_then(|n| n.strip_prefix(name));
        if !rest.is_some_and(|rest| rest.starts_with(['.', '-', '_'])) {
            continue;
        }
        let meta = entry.metadata().map_err(io)?;
        let changed = meta.modified().map_err(io)?;
        if meta.is_file() && meta.len() >= mark.offset && begins(&entry.path(), mark).map_err(io)? {
            same.push((changed, entry.path()));
        } else {
            siblings.push((changed, entry.path()));
        }
    }
    let Some((changed, found)) = same.pop() else { return Ok(None) };
    if let Some((_, other)) = same.pop() {
        return Err(SourceError::Gap(format!(
            "{why}. Both {} and {} begin like it; leave only the one that was read",
            found.display(),
            other.display()
        )));
    }
    if let Some((_, younger)) = siblings.into_iter().find(|(when, _)| *when > changed) {
        return Err(SourceError::Gap(format!(
            "{why}. It is {} now, and {} was rotated after it and never read. Read that one as input of its own, or \
             move it away",
            found.display(),
            younger.display()
        )));
    }
    Ok(Some(found))
}

fn begins(path: &Path, mark: &Mark) -> std::io::Result<bool> {
    let mut head = Vec::new();
    let len = mark.offset.min(super::super::lines::HEAD_BYTES as u64);
    File::open(path)?.take(len).read_to_end(&mut head)?;
    // A file of which nothing was read begins like any other.
    Ok(len > 0 && fingerprint(&head) == mark.head)
}
