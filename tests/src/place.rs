//! A folder with a good policy and a few good records, where commands are run and refused.
//!
//! Not here: the host as a process (`process`), records with troubles (`records`).

use crate::process::{Finished, Host};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// How long a command may take to its end before it counts as hanging.
pub const LIMIT: Duration = Duration::from_secs(60);
/// The policy in `policy.toml`.
pub const POLICY: &str = r#"policy = "impressions"
[input]
time = { field = "ts", unit = "ms" }
key  = ["placement"]
[window]
fixed = "1m"
[measures]
events      = "count"
impressions = { sum = "impressions" }
"#;
/// A record that it counts; `good.ndjson` holds it three times.
pub const GOOD: &str = r#"{"ts":1700000040000,"placement":"p","impressions":1}"#;

/// The exit codes of the README, for those that tests expect.
pub mod exit {
    /// The run ended on an error.
    pub const RUN: i32 = 1;
    /// The policy is refused.
    pub const POLICY: i32 = 3;
    /// The input is refused.
    pub const INPUT: i32 = 4;
    /// The store is refused.
    pub const STORE: i32 = 5;
    /// The module is refused.
    pub const MODULE: i32 = 6;
    /// A lane is paused or halted.
    pub const LANE: i32 = 7;
    /// The configuration is refused.
    pub const CONFIG: i32 = 8;
}

/// The folder; it goes with its value.
#[derive(Debug)]
pub struct Place(TempDir);

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// One with `policy.toml` and `good.ndjson`.
    ///
    /// # Panics
    /// If no files can be made.
    pub fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a folder"));
        place.write("policy.toml", POLICY);
        place.write("good.ndjson", format!("{GOOD}\n").repeat(3));
        place
    }

    /// The folder itself.
    pub fn dir(&self) -> &Path {
        self.0.path()
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// Makes a file in it.
    ///
    /// # Panics
    /// If that cannot be done.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).expect("a file");
    }

    /// A command line of the host, words apart by spaces, to be run there.
    pub fn command(&self, line: &str) -> Host {
        Host::new(line.split_whitespace()).current_dir(self.dir())
    }

    /// The same, run to its end.
    ///
    /// # Panics
    /// If it does not end within [`LIMIT`].
    #[track_caller]
    pub fn host(&self, line: &str) -> Finished {
        self.command(line).run(LIMIT).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Runs it; it must be refused, see [`refused`].
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn refuses(&self, line: &str, code: i32, words: &[&str]) {
        refused(self.command(line), code, words);
    }

    /// Records counted in a SQLite file there, by the policy there.
    ///
    /// # Panics
    /// If its rows cannot be read.
    pub fn counted_in(&self, db: &str) -> i64 {
        self.try_counted_in(db).expect("a store that can be read")
    }

    /// The same; absent where there is no store yet.
    ///
    /// # Panics
    /// If what it gives are no rows.
    pub fn try_counted_in(&self, db: &str) -> Option<i64> {
        let rows = self.host(&format!("rows --policy policy.toml --sqlite {db}")).expect(0).ok()?;
        let events = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("a row")["events"].as_i64();
        Some(rows.text().expect("text").lines().map(|line| events(line).expect("a count")).sum())
    }
}

/// The command ends in time with this code, says all of these words, and writes nothing to standard output.
///
/// # Panics
/// If not.
#[track_caller]
pub fn refused(host: Host, code: i32, words: &[&str]) {
    let line = format!("{host:?}");
    let done = host.run(LIMIT).and_then(|done| done.expect(code)).unwrap_or_else(|error| panic!("{error:#}"));
    for word in words {
        assert!(done.stderr.contains(word), "{line}: says nothing of `{word}`:\n{}", done.stderr);
    }
    assert!(!done.stderr.contains("panicked"), "{line}: panics:\n{}", done.stderr);
    assert!(done.stdout.is_empty(), "{line}: prints results");
}
