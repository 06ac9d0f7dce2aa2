//! Which files the patterns mean, in name order.
//!
//! A file's label is its path below the directory that all patterns share, with `/` between the parts. Labels order the
//! files, stand in positions and dead letters, and are the same from whatever directory Plimsoll is started.
//!
//! Not here: reading files (`walk`), which of them were finished (`mark`).

use super::super::SourceError;
use super::super::feed::{Format, directory, trouble};
use super::Follow;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Component, Path, PathBuf};

/// Patterns, as they were given and as they are looked up.
#[derive(Clone, Debug)]
pub(super) struct FileSet {
    patterns: Vec<Pattern>,
    base: PathBuf,
}

#[derive(Clone, Debug)]
struct Pattern {
    given: String,
    absolute: String,
    /// A file of this very name; otherwise a glob.
    literal: bool,
}

/// A file that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub label: String,
    pub path: PathBuf,
    pub size: u64,
    /// Device and inode: stays the same when the file is renamed.
    pub inode: (u64, u64),
}

impl FileSet {
    /// Resolves patterns; the directories before the first wildcard must exist.
    pub(super) fn new(patterns: &[String]) -> Result<Self, SourceError> {
        let mut resolved = patterns.iter().map(|p| resolve(p)).collect::<Result<Vec<_>, _>>()?;
        resolved.sort_by(|(a, _), (b, _)| a.absolute.cmp(&b.absolute));
        resolved.dedup_by(|(a, _), (b, _)| a.absolute == b.absolute);
        let Some(base) = resolved.iter().map(|(_, dir)| dir.clone()).reduce(|a, b| common(&a, &b)) else {
            return Err(SourceError::Refused("no input file is named; name one or more files or globs".to_owned()));
        };
        Ok(Self { patterns: resolved.into_iter().map(|(p, _)| p).collect(), base })
    }

    /// One file as a set of its own.
    pub(super) fn only(path: &Path) -> Self {
        let absolute = path.to_string_lossy().into_owned();
        let base = path.parent().unwrap_or(path).to_path_buf();
        Self { patterns: vec![Pattern { given: absolute.clone(), absolute, literal: true }], base }
    }

    /// Absolute patterns: what the lane's identity is made of.
    pub(super) fn identity(&self) -> String {
        self.patterns.iter().map(|p| p.absolute.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// The patterns as given.
    pub(super) fn name(&self) -> String {
        self.patterns.iter().map(|p| p.given.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// A label as a path for messages.
    pub(super) fn shown(&self, label: &str) -> String {
        self.base.join(label).to_string_lossy().into_owned()
    }

    /// The path behind a label.
    pub(super) fn path(&self, label: &str) -> PathBuf {
        self.base.join(label)
    }

    /// Looks that every pattern means files, and that each is readable and of a format that `follow` allows. For the
    /// start of a run.
    pub(super) fn check(&self, follow: Follow) -> Result<(), SourceError> {
        for pattern in &self.patterns {
            let found = self.expand(pattern)?;
            if found.is_empty() {
                return Err(SourceError::Refused(format!(
                    "no file matches {} (looked for {}). Check the pattern and the directory",
                    pattern.given, pattern.absolute
                )));
            }
            for file in found {
                let shown = self.shown(&file.label);
                let mut file = File::open(&file.path).map_err(|e| trouble(&shown, &e))?;
                follow.allows(Format::of_file(&mut file, &shown)?, &shown)?;
            }
        }
        Ok(())
    }

    /// The files that are there now, by label. A literal name that is missing is left out: it may be just rotating.
    pub(super) fn list(&self) -> Result<Vec<Found>, SourceError> {
        let mut files = BTreeMap::new();
        for pattern in &self.patterns {
            match self.expand(pattern) {
                Err(_) if pattern.literal && !Path::new(&pattern.absolute).exists() => {}
                found => files.extend(found?.into_iter().map(|f| (f.label.clone(), f))),
            }
        }
        Ok(files.into_values().collect())
    }

    fn expand(&self, pattern: &Pattern) -> Result<Vec<Found>, SourceError> {
        if pattern.literal {
            return Ok(vec![self.found(PathBuf::from(&pattern.absolute), &pattern.given)?]);
        }
        let options = glob::MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: true,
        };
        let paths = glob::glob_with(&pattern.absolute, options).map_err(|e| {
            SourceError::Refused(format!("{} is no glob: {} at character {}", pattern.given, e.msg, e.pos))
        })?;
        let mut found = Vec::new();
        for path in paths {
            let path = path.map_err(|e| trouble(&e.path().to_string_lossy(), e.error()))?;
            let shown = path.to_string_lossy().into_owned();
            // Directories beside the files are not meant, and a file may go away between listing and looking.
            if !path.is_dir() && path.exists() {
                found.push(self.found(path, &shown)?);
            }
        }
        Ok(found)
    }

    fn found(&self, path: PathBuf, shown: &str) -> Result<Found, SourceError> {
        let meta = std::fs::metadata(&path).map_err(|e| trouble(shown, &e))?;
        if meta.is_dir() {
            return Err(directory(shown));
        }
        if !meta.is_file() {
            return Err(SourceError::Refused(format!(
                "{shown} is a pipe or device and cannot be read again from a position. Feed it to standard input: \
                 plimsoll run --stdin < {shown}"
            )));
        }
        let label = path.strip_prefix(&self.base).unwrap_or(&path).to_str().ok_or_else(|| {
            SourceError::Refused(format!("{shown}: the name is not UTF-8 and cannot stand in a position; rename it"))
        })?;
        Ok(Found { label: label.to_owned(), size: meta.len(), inode: inode(&meta), path: path.clone() })
    }
}

#[cfg(unix)]
pub(super) fn inode(meta: &std::fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (meta.dev(), meta.ino())
}

// Without inodes a rotation is seen by the file's size and head only.
#[cfg(not(unix))]
pub(super) fn inode(_: &std::fs::Metadata) -> (u64, u64) {
    (0, 0)
}

fn is_wild(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The pattern made absolute, and its longest directory without wildcards. Links in that directory are resolved, so
/// that one file has one name.
fn resolve(given: &str) -> Result<(Pattern, PathBuf), SourceError> {
    let path = Path::new(given);
    if path.is_dir() {
        return Err(directory(given));
    }
    // A file may really be called `a[1].ndjson`.
    let literal = !is_wild(given) || path.exists();
    let parts: Vec<_> = path.components().collect();
    let wild = |c: &Component<'_>| is_wild(&c.as_os_str().to_string_lossy());
    let last = parts.len().saturating_sub(1);
    let cut = if literal { last } else { parts.iter().position(wild).unwrap_or(last) };
    let dir: PathBuf = std::iter::once(Component::CurDir).chain(parts[..cut].iter().copied()).collect();
    let rest: PathBuf = parts[cut..].iter().collect();
    let dir = dir.canonicalize().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            SourceError::Refused(format!("{given}: no such file, and no directory {}", dir.display()))
        }
        _ => trouble(given, &e),
    })?;
    let dir_text = dir.to_string_lossy();
    let dir_text = if literal { dir_text.into_owned() } else { glob::Pattern::escape(&dir_text) };
    let absolute = format!("{}/{}", dir_text.trim_end_matches('/'), rest.to_string_lossy());
    Ok((Pattern { given: given.to_owned(), absolute, literal }, dir))
}

fn common(a: &Path, b: &Path) -> PathBuf {
    a.components().zip(b.components()).take_while(|(x, y)| x == y).map(|(x, _)| x).collect()
}
