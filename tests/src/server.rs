//! Starts and stops the loopback servers that stand in for Kinesis (kinesalite, kinesis-local) and DynamoDB (ministack).
//!
//! Invariants
//! - They listen on 127.0.0.1 only, on a port that was free.
//! - A server ends when its value is dropped; should the test itself be killed, it ends as its standard input closes.
//! - Its output is kept, and shown if the test that owns it panics.
//!
//! Where `AWS_ENDPOINT_URL_KINESIS` or `AWS_ENDPOINT_URL_DYNAMODB` is set, nothing is started and that address is used.
//!
//! Not here: clients (`aws`), faults (`proxy`), installation (`tools`).

use crate::tools;
use anyhow::{Context, Result, anyhow, bail};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to its first answer, on a machine that does much else.
const START_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// Lines of a server's output that a failed test shows.
const LOG_LINES: usize = 60;

/// Through the library rather than its command line, which listens on every address and closes idle connections
/// after 5 s: a request sent at that moment would fail by chance.
const KINESALITE: &str = r#"
const [library, port, path] = process.argv.slice(1);
const server = require(library)({
  path: path || undefined, createStreamMs: 50, deleteStreamMs: 50, updateStreamMs: 50, shardLimit: 100,
});
server.keepAliveTimeout = 600000;
server.listen(Number(port), "127.0.0.1", () => console.log("listening on port " + server.address().port));
process.stdin.resume().on("end", () => process.exit(0));
"#;

/// Its own command listens on every address, and there is no setting for that: so whatever listens does so on loopback.
const KINESIS_LOCAL: &str = r#"
const net = require("net");
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (at, ...rest) {
  const where = typeof at === "object" && at !== null ? at : { port: at };
  return listen.call(this, { ...where, host: "127.0.0.1" }, ...rest.filter((last) => typeof last === "function"));
};
process.stdin.resume().on("end", () => process.exit(0));
require(process.argv[1] + "/main.js");
"#;

const MINISTACK: &str = r#"
import os, sys, threading

def end_with_the_test():
    while os.read(0, 1):
        pass
    os._exit(0)

threading.Thread(target=end_with_the_test, daemon=True).start()
sys.argv = ["ministack"]
from ministack.app import main
main()
"#;

/// A Kinesis: kinesalite, or what `AWS_ENDPOINT_URL_KINESIS` names.
#[derive(Debug)]
pub struct Kinesis {
    url: String,
    server: Option<Server>,
    /// Where kinesalite keeps its data; in memory if absent.
    path: Option<PathBuf>,
}

impl Kinesis {
    /// One that forgets everything at its end.
    ///
    /// # Errors
    /// If it does not answer in time; its output is part of the error.
    pub fn start() -> Result<Self> {
        Self::launch(None)
    }

    /// One that keeps its streams in `path`, so that they survive [`Kinesis::kill_and_restart`].
    ///
    /// # Errors
    /// As [`Kinesis::start`].
    pub fn start_at(path: &Path) -> Result<Self> {
        Self::launch(Some(path.to_path_buf()))
    }

    /// One that has what kinesalite has not: UpdateShardCount, the lag of answers, enhanced fan-out. It is slow: a
    /// millisecond of CPU a record.
    ///
    /// # Errors
    /// As [`Kinesis::start`].
    pub fn start_full() -> Result<Self> {
        if let Some(url) = given("AWS_ENDPOINT_URL_KINESIS") {
            return Ok(Self { url, server: None, path: None });
        }
        let server = start_kinesis_local()?;
        Ok(Self { url: loopback(server.port), server: Some(server), path: None })
    }

    fn launch(path: Option<PathBuf>) -> Result<Self> {
        if let Some(url) = given("AWS_ENDPOINT_URL_KINESIS") {
            return Ok(Self { url, server: None, path: None });
        }
        let (server, port) = start_kinesalite(0, path.as_deref())?;
        Ok(Self { url: loopback(port), server: Some(server), path })
    }

    /// Its address, for `AWS_ENDPOINT_URL_KINESIS`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it was named by the environment, and so is not ours to kill.
    pub fn is_given(&self) -> bool {
        self.server.is_none()
    }

    /// Kills the server with signal 9 and starts it again at the same address.
    ///
    /// # Errors
    /// If it is not ours to kill, or does not come back.
    pub fn kill_and_restart(&mut self) -> Result<()> {
        let old = self.server.take().context("this Kinesis was given by AWS_ENDPOINT_URL_KINESIS: not ours to kill")?;
        let port = old.port;
        drop(old);
        self.server = Some(start_kinesalite(port, self.path.as_deref())?.0);
        Ok(())
    }
}

/// A DynamoDB: ministack, or what `AWS_ENDPOINT_URL_DYNAMODB` names.
#[derive(Debug)]
pub struct Dynamo {
    url: String,
    #[expect(dead_code, reason = "held for its end: dropping it stops the server")]
    server: Option<Server>,
}

impl Dynamo {
    /// An empty one.
    ///
    /// # Errors
    /// If it does not answer in time; its output is part of the error.
    pub fn start() -> Result<Self> {
        if let Some(url) = given("AWS_ENDPOINT_URL_DYNAMODB") {
            return Ok(Self { url, server: None });
        }
        let server = start_ministack()?;
        Ok(Self { url: loopback(server.port), server: Some(server) })
    }

    /// Its address, for `AWS_ENDPOINT_URL_DYNAMODB`.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// A port of loopback that nothing listens on at this moment.
///
/// # Errors
/// If the system has none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn given(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|url| !url.is_empty())
}

fn loopback(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn start_kinesalite(port: u16, path: Option<&Path>) -> Result<(Server, u16)> {
    let mut command = Command::new("node");
    command.arg("-e").arg(KINESALITE).arg(tools::ensure().npm_package("kinesalite")).arg(port.to_string());
    command.args(path);
    let mut server = Server::spawn("kinesalite", command, port)?;
    // With port 0 the system chooses, and only the server knows.
    server.port = server.until("says its port", |server| {
        let log = server.log();
        let port = log.split_once("listening on port ").and_then(|(_, rest)| rest.lines().next());
        port.and_then(|port| port.parse().ok())
    })?;
    server.until("answers", |server| answers(server.port, "/").then_some(()))?;
    let port = server.port;
    Ok((server, port))
}

fn start_ministack() -> Result<Server> {
    on_a_free_port("ministack", "/_ministack/health", |port| {
        let mut command = Command::new(tools::ensure().python());
        command.arg("-c").arg(MINISTACK);
        command.env("BIND_HOST", "127.0.0.1").env("GATEWAY_PORT", port.to_string()).env("LOG_LEVEL", "WARNING");
        Ok(command)
    })
}

fn start_kinesis_local() -> Result<Server> {
    on_a_free_port("kinesis-local", "/healthcheck", |port| {
        let package = tools::ensure().npm_package("kinesis-local");
        let mut command = Command::new("node");
        command.arg("-e").arg(KINESIS_LOCAL).arg(&package).env("KINESIS_MOCK_CERT_PATH", package.join("server.json"));
        command.env("KINESIS_MOCK_PLAIN_PORT", port.to_string()).env("LOG_LEVEL", "ERROR");
        command.env("KINESIS_MOCK_TLS_PORT", free_port()?.to_string());
        for what in [
            "CREATE_STREAM",
            "DELETE_STREAM",
            "REGISTER_STREAM_CONSUMER",
            "SPLIT_SHARD",
            "MERGE_SHARDS",
            "UPDATE_SHARD_COUNT",
        ] {
            command.env(format!("{what}_DURATION"), "20ms");
        }
        Ok(command)
    })
}

/// For servers that want their port told: another program may take that port first; then once more with another one.
fn on_a_free_port(name: &'static str, health: &str, command: impl Fn(u16) -> Result<Command>) -> Result<Server> {
    let mut refused = anyhow!("no attempt was made");
    for _ in 0..3 {
        let port = free_port()?;
        let mut server = Server::spawn(name, command(port)?, port)?;
        match server.until("answers", |server| answers(server.port, health).then_some(())) {
            Ok(()) => return Ok(server),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// True once the port speaks HTTP, whatever it says.
fn answers(port: u16, path: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")?;
        let mut start = [0; 7];
        stream.read_exact(&mut start)?;
        Ok(&start == b"HTTP/1.")
    };
    ask().unwrap_or(false)
}

/// A child process with its log, in a process group of its own.
#[derive(Debug)]
struct Server {
    name: &'static str,
    child: Child,
    port: u16,
    /// Holds the log, and whatever the server writes to its temporary folder.
    dir: TempDir,
}

impl Server {
    fn spawn(name: &'static str, mut command: Command, port: u16) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let log = File::create(dir.path().join("log"))?;
        command.env("TMPDIR", dir.path()).stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {name} ({:?})", command.get_program()))?;
        Ok(Self { name, child, port, dir })
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.path().join("log")).unwrap_or_default()).into_owned()
    }

    fn until<T>(&mut self, what: &str, mut check: impl FnMut(&Self) -> Option<T>) -> Result<T> {
        let start = Instant::now();
        loop {
            if let Some(found) = check(self) {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) before it {what}; it said:\n{}", self.name, self.log());
            }
            if start.elapsed() > START_MAX {
                bail!("no {} that {what} within {START_MAX:?}; it said:\n{}", self.name, self.log());
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Once it has ended and been waited for, its number may belong to another program.
        if matches!(self.child.try_wait(), Ok(None)) {
            // The whole group, since a server may have children of its own.
            let group = format!("kill -s KILL -- -{}", self.child.id());
            let killed = Command::new("sh").arg("-c").arg(group).status().is_ok_and(|status| status.success());
            if !killed {
                let _ = self.child.kill();
            }
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
            eprintln!("--- {} on port {} said last:\n{}\n---", self.name, self.port, tail.join("\n"));
        }
    }
}
