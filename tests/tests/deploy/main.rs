//! What `host/deploy` holds works: the stack is made and run in, roles allow what the code does and no more, and what cannot
//! be run here (an image, a service, a dashboard) is at least what its own tools take it for.
//!
//! Not here: the outbox of the example device, which has tests of its own (`device/test`) that `programs` runs.

mod calls;
mod programs;
mod scrape;
mod stack;
mod template;

use plimsoll_tests::{aws, tools, workspace};
use serde_json::Value;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A file of `host/deploy`.
fn deployed(name: &str) -> PathBuf {
    workspace().join("host/deploy").join(name)
}

/// Runs a command to its end, with this standard input.
#[track_caller]
fn output(mut command: Command, stdin: &str) -> Output {
    let words = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{words}: {error}"));
    child.stdin.take().expect("it was asked for").write_all(stdin.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

/// The same; it must succeed. Gives what it printed.
#[track_caller]
fn succeeds(command: Command, stdin: &str) -> String {
    let words = format!("{command:?}");
    let done = output(command, stdin);
    let [stdout, stderr] = [&done.stdout, &done.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(done.status.success(), "{words} failed ({}):\n{stdout}\n{stderr}", done.status);
    stdout
}

/// What `read.py` makes of something.
#[track_caller]
fn read(arguments: &[&str], stdin: &str) -> Value {
    let mut python = Command::new(tools::deploy().join("venv/bin/python"));
    python.arg(workspace().join("tests/deploy/read.py")).args(arguments);
    serde_json::from_str(&succeeds(python, stdin)).expect("JSON")
}

/// What `aws.py` answers.
#[track_caller]
fn ask_aws(arguments: &[&str]) -> Value {
    let mut python = Command::new(tools::ensure().python());
    python.arg(workspace().join("tests/deploy/aws.py")).args(arguments);
    aws::set_dummy_credentials(&mut python);
    python.env("AWS_DEFAULT_REGION", aws::REGION);
    serde_json::from_str(&succeeds(python, "")).expect("JSON")
}
