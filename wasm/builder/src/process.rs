//! Runs other programs and tells the person at the terminal what is done.
//!
//! All telling goes to standard error, so that standard output stays free for results.

use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a program with a time limit is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Tells the person what is being done.
pub fn say(what: impl AsRef<str>) {
    eprintln!("builder: {}", what.as_ref());
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// When it cannot be started, fails, or prints something else than UTF-8; with the last line that it complained.
pub fn output(command: &mut Command) -> Result<String> {
    let done = command.output().with_context(|| format!("could not run {}", name(command)))?;
    if !done.status.success() {
        let complaint = String::from_utf8_lossy(&done.stderr);
        bail!("{} failed ({}): {}", name(command), done.status, complaint.trim().lines().last().unwrap_or_default());
    }
    String::from_utf8(done.stdout).with_context(|| format!("{} printed something else than UTF-8", name(command)))
}

/// Runs a program, its output going where ours goes.
///
/// # Errors
/// When it cannot be started or fails.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("could not run {}", name(command)))?;
    succeeded(command, status)
}

/// As [`run`], but ends the program when it takes longer than `limit`.
///
/// # Errors
/// When it cannot be started, fails, or takes too long.
pub fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    let mut child = command.spawn().with_context(|| format!("could not run {}", name(command)))?;
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return succeeded(command, status);
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            bail!("{} took longer than {} s", name(command), limit.as_secs());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn succeeded(command: &Command, status: ExitStatus) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    bail!("{} failed ({status})", name(command))
}

/// The command as one would type it, without its environment.
fn name(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    format!("`{}`", words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_ended() {
        let error = run_within(Command::new("sleep").arg("60"), Duration::from_millis(100)).unwrap_err();
        assert!(error.to_string().starts_with("`sleep 60` took longer than"), "{error}");
    }

    #[test]
    fn a_failure_carries_the_last_complaint() {
        let error = output(Command::new("sh").args(["-c", "echo one >&2; echo two >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().ends_with("(exit status: 3): two"), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut Command::new("plimsoll-no-such-program")).unwrap_err();
        assert_eq!(error.to_string(), "could not run `plimsoll-no-such-program`");
    }
}
