//! The host's binary as a process: run, awaited with a limit, asked to stop, killed at random moments.
//!
//! Invariants
//! - The binary is the one of the code under test: `PLIMSOLL_BIN`, or else what cargo has just brought up to date.
//! - Only processes started here are signalled, by their own number.
//! - What a process printed is kept, and shown if its test panics or its exit is not what was asked for.
//!
//! Not here: the command lines themselves (each test writes its own).

use crate::{aws, workspace};
use anyhow::{Context, Result, bail, ensure};
use rand::{Rng, RngExt};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::ops::Range;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const POLL: Duration = Duration::from_millis(2);
/// Lines of a process's standard error that a failed test shows.
const LOG_LINES: usize = 60;

/// The host's binary.
///
/// # Panics
/// If cargo cannot build it; cargo's own messages come before.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("PLIMSOLL_BIN") {
            let given = PathBuf::from(given);
            assert!(given.is_file(), "PLIMSOLL_BIN names {}, which is not a file", given.display());
            return given;
        }
        // Always asked for, since a binary of yesterday would make these tests lie. It costs cargo half a second.
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut build = Command::new(cargo);
        // The whole workspace, as `make` builds it: with other packages chosen cargo would compile the large dependencies
        // again, with other features.
        build.args(["build", "--release", "--workspace", "--bins", "--message-format=json"]);
        build.current_dir(workspace()).stderr(Stdio::inherit());
        // What cargo told this test about its own package; build scripts that ask for it would run again, and all that
        // depends on them be compiled again.
        for (name, _) in std::env::vars_os() {
            let own = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
            if own.iter().any(|prefix| name.to_str().is_some_and(|name| name.starts_with(prefix))) {
                build.env_remove(name);
            }
        }
        let built = build.output().expect("cargo can be started");
        assert!(built.status.success(), "{build:?} failed ({})", built.status);
        executable(&built.stdout).expect("cargo names the executable that it has built")
    })
}

/// The module beside that binary, as `make module` puts it there, or what `PLIMSOLL_MODULE` names.
///
/// # Panics
/// If there is none.
pub fn module() -> PathBuf {
    let built = || binary().ancestors().nth(2).expect("a folder").join("plimsoll/plimsoll.wasm");
    let module = std::env::var_os("PLIMSOLL_MODULE").map_or_else(built, PathBuf::from);
    assert!(module.is_file(), "{} is not there: run `make module`, or name it by PLIMSOLL_MODULE", module.display());
    module
}

fn executable(messages: &[u8]) -> Option<PathBuf> {
    let messages = String::from_utf8_lossy(messages);
    messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let executable = PathBuf::from(message.get("executable")?.as_str()?);
        (executable.file_stem()? == "plimsoll").then_some(executable)
    })
}

/// A command line of the host, not yet run.
#[derive(Debug)]
pub struct Host {
    command: Command,
    stdin: Option<PathBuf>,
}

impl Host {
    /// `plimsoll` with these arguments.
    pub fn new<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        Self::copied(binary(), arguments)
    }

    /// The same with a copy of the binary, for users who may not see the folder of the original.
    pub fn copied<S: AsRef<OsStr>>(program: &Path, arguments: impl IntoIterator<Item = S>) -> Self {
        let mut command = Command::new(program);
        command.args(arguments);
        Self { command, stdin: None }
    }

    /// Another user runs it: one that may do nothing. Only root can ask for that.
    #[must_use]
    pub fn as_nobody(mut self) -> Self {
        const NOBODY: u32 = 65_534;
        self.command.uid(NOBODY).gid(NOBODY);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Points it at services on loopback, with dummy credentials; other addresses keep the user's own.
    #[must_use]
    pub fn aws(mut self, kinesis: &str, dynamodb: &str) -> Self {
        self.command.env("AWS_ENDPOINT_URL_KINESIS", kinesis).env("AWS_ENDPOINT_URL_DYNAMODB", dynamodb);
        if std::env::var_os("AWS_ENDPOINT_URL_DYNAMODB_STREAMS").is_none() && aws::is_loopback(dynamodb) {
            self.command.env("AWS_ENDPOINT_URL_DYNAMODB_STREAMS", dynamodb);
        }
        if aws::is_loopback(kinesis) && aws::is_loopback(dynamodb) {
            aws::set_dummy_credentials(&mut self.command);
        }
        self
    }

    /// As on a machine that was never set up for AWS: no credentials and no region, wherever one looks.
    #[must_use]
    pub fn without_aws(mut self) -> Self {
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("AWS_")) {
                self.command.env_remove(name);
            }
        }
        self.command.env("AWS_EC2_METADATA_DISABLED", "true");
        self.command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        self
    }

    /// Its working directory.
    #[must_use]
    pub fn current_dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// A file as its standard input; there is none otherwise.
    #[must_use]
    pub fn stdin(mut self, file: &Path) -> Self {
        self.stdin = Some(file.to_path_buf());
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// If the system cannot.
    pub fn spawn(mut self) -> Result<Running> {
        let dir = tempfile::tempdir()?;
        self.command.stdin(match &self.stdin {
            Some(path) => File::open(path).with_context(|| format!("cannot open {}", path.display()))?.into(),
            None => Stdio::null(),
        });
        self.command.stdout(File::create(dir.path().join("stdout"))?).stderr(File::create(dir.path().join("stderr"))?);
        let child = self.command.spawn().with_context(|| format!("cannot start {:?}", self.command))?;
        Ok(Running { line: format!("{:?}", self.command), child, ended: None, dir })
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// If it cannot be started, or has not ended within `limit`; it is killed then.
    pub fn run(self, limit: Duration) -> Result<Finished> {
        self.spawn()?.wait(limit)
    }
}

/// A process that was started and not yet awaited; it is killed when dropped.
#[derive(Debug)]
pub struct Running {
    line: String,
    child: Child,
    ended: Option<ExitStatus>,
    /// Holds what it prints.
    dir: TempDir,
}

/// What became of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    line: String,
    /// Its exit code, absent if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: String,
}

/// What came of an attempt to kill a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Killed {
    /// It was killed so long after its start was awaited.
    After(Duration),
    /// It had ended by itself before.
    TooLate(Finished),
}

/// How a process is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Signal 2, as Ctrl-C sends it.
    Interrupt,
    /// Signal 15, as a supervisor sends it.
    Terminate,
}

impl Running {
    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended.is_none())
    }

    /// What it has printed to standard output so far.
    pub fn stdout(&self) -> Vec<u8> {
        std::fs::read(self.dir.path().join("stdout")).unwrap_or_default()
    }

    /// What it has printed to standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.path().join("stderr")).unwrap_or_default()).into_owned()
    }

    /// Waits until `check` finds something in it.
    ///
    /// # Errors
    /// If it ends first, or `limit` passes; `what` names what was awaited.
    pub fn until<T>(&mut self, what: &str, limit: Duration, check: impl Fn(&Self) -> Option<T>) -> Result<T> {
        let start = Instant::now();
        loop {
            // Asked before the check, so that what it printed at its very end is still looked at.
            let running = self.is_running()?;
            if let Some(found) = check(self) {
                return Ok(found);
            }
            ensure!(running, "{} ended before {what}; it said:\n{}", self.line, tail(&self.stderr()));
            ensure!(
                start.elapsed() < limit,
                "{}: no {what} within {limit:?}; it said:\n{}",
                self.line,
                tail(&self.stderr())
            );
            std::thread::sleep(POLL);
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it has not ended within `limit`; it is killed then.
    pub fn wait(mut self, limit: Duration) -> Result<Finished> {
        let start = Instant::now();
        while self.is_running()? {
            if start.elapsed() > limit {
                self.kill();
                bail!("{} had not ended after {limit:?}; it said:\n{}", self.line, tail(&self.stderr()));
            }
            std::thread::sleep(POLL);
        }
        Ok(self.finished())
    }

    /// Kills it with signal 9 and waits until it is gone. Nothing happens if it has ended.
    pub fn kill(&mut self) {
        if self.ended.is_none() {
            // Fails only for a process that has ended meanwhile, and waiting settles that.
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
    }

    /// Kills it with signal 9 after a random time out of `range`, unless it ends before.
    ///
    /// # Errors
    /// If the system does not say whether it runs.
    pub fn kill_at_random(mut self, generator: &mut impl Rng, range: Range<Duration>) -> Result<Killed> {
        let micros = generator.random_range(range.start.as_micros() as u64..range.end.as_micros() as u64);
        let wait = Duration::from_micros(micros);
        let start = Instant::now();
        while start.elapsed() < wait {
            if !self.is_running()? {
                return Ok(Killed::TooLate(self.finished()));
            }
            std::thread::sleep(POLL.min(wait.saturating_sub(start.elapsed())));
        }
        self.kill();
        // It may have ended between the last look and the signal.
        let finished = self.finished();
        Ok(if finished.signal == Some(9) { Killed::After(wait) } else { Killed::TooLate(finished) })
    }

    /// Asks it to stop; await its end with [`Running::wait`].
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn ask_to_stop(&mut self, signal: Stop) -> Result<()> {
        ensure!(self.is_running()?, "{} has ended already; it said:\n{}", self.line, tail(&self.stderr()));
        let name = match signal {
            Stop::Interrupt => "INT",
            Stop::Terminate => "TERM",
        };
        let kill = format!("kill -s {name} {}", self.child.id());
        ensure!(Command::new("sh").arg("-c").arg(&kill).status()?.success(), "`{kill}` failed");
        Ok(())
    }

    fn finished(&self) -> Finished {
        let ended = self.ended.expect("asked only once it has ended");
        Finished {
            line: self.line.clone(),
            code: ended.code(),
            signal: ended.signal(),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {} said last:\n{}\n---", self.line, tail(&self.stderr()));
        }
    }
}

impl Finished {
    /// Itself, if it ended with this exit code.
    ///
    /// # Errors
    /// If not; what it said is part of the error.
    pub fn expect(self, code: i32) -> Result<Self> {
        let (line, stderr) = (&self.line, tail(&self.stderr));
        match (self.code, self.signal) {
            (Some(found), _) => ensure!(found == code, "{line} ended with {found} and not {code}; it said:\n{stderr}"),
            (None, signal) => bail!("{line} was ended by signal {signal:?}; it said:\n{stderr}"),
        }
        Ok(self)
    }

    /// Its standard output as text.
    ///
    /// # Errors
    /// If that is not UTF-8.
    pub fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.stdout).with_context(|| format!("the output of {} is not UTF-8", self.line))
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_names_the_executable_among_its_messages() {
        let messages = br#"{"reason":"compiler-artifact","executable":null}
{"reason":"compiler-artifact","executable":"/x/release/plimsoll"}
{"reason":"compiler-artifact","executable":"/x/release/plimsoll-builder"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages), Some(PathBuf::from("/x/release/plimsoll")));
    }
}
