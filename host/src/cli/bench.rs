//! `plimsoll bench`: the whole path over a file, timed, in the form in which the peers' harness (`tests/bench`) reads it.
//!
//! ```text
//! file -> engine (module with production limits, or native) -> rows in OUT
//! file -> engine -> lane protocol -> a fresh SQLite file -> rows in OUT, after the clock has stopped
//! ```
//! Invariants
//! - What is timed is what `preview` and `run` do, by the same functions; nothing is left out for the bench.
//! - The last line is events/s of the run without start-up; the line before it holds the details as JSON.
//!
//! Not here: the input, the peers, and whether the rows are right (`tests/bench`).

mod inputs;

use super::common::EngineArgs;
use super::{Exit, Failure, Outcome, preview as preview_command, run as run_command};
use crate::driver::{BatchLimits, Parts, RunConfig, run as drive};
use crate::live::{About, StatusHub};
use crate::preview::{Watch, preview};
use crate::runtime::Engines;
use crate::source::Source;
use crate::source::file::{FileLanes, FileOptions, FileSource, Reads};
use crate::store::sqlite::SqliteStore;
use crate::store::{Completeness, Layout, RowQuery, Store, StoreError};
use anyhow::anyhow;
use inputs::{Framed, Impressions};
use plimsoll_core::policy::Policy;
use plimsoll_core::policy::text::{Syntax, parse};
use plimsoll_core::rows::write_row;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;
use tokio::sync::watch;

/// After so many records `--memory` looks at the process.
const MEMORY_AT: [u64; 3] = [100_000, 1_000_000, 10_000_000];
/// A little more than that, so that the last look too falls into the middle of a stream.
const MEMORY_RECORDS: u64 = 10_500_000;

/// Times the whole path over a file, for comparison with other programs.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  plimsoll bench w1 w1-1000000.ndjson rows.ndjson
  plimsoll bench w1 w1-1000000.ndjson rows.ndjson --sqlite fresh.db
  plimsoll bench w1 --memory

`make bench` makes the input, runs this and the programs it is compared with, and checks all rows.")]
pub struct Args {
    /// Which workload: its policy is built in.
    query: Query,
    /// Its events, NDJSON; several files by a glob.
    #[arg(value_name = "IN", required_unless_present = "memory")]
    input: Option<String>,
    /// Where the rows go.
    #[arg(value_name = "OUT", required_unless_present = "memory")]
    output: Option<PathBuf>,
    /// Through the driver into this new SQLite file, exactly once; the rows are copied to OUT afterwards.
    #[arg(long, value_name = "FILE", conflicts_with = "memory")]
    sqlite: Option<PathBuf>,
    /// Each line a record of its own with arrival time and position, as Kinesis carries them.
    #[arg(long)]
    framed: bool,
    /// Each file is a lane of its own.
    #[arg(long)]
    lane_per_file: bool,
    /// Instead of a file: ten million generated records, and the process's memory on the way.
    #[arg(long, conflicts_with_all = ["input", "output", "framed", "lane_per_file"])]
    memory: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// A workload of `tests/bench`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Query {
    /// Ad impressions per placement, creative and minute.
    W1,
    /// Nexmark's bids per auction, in windows of 10 s that start every 2 s.
    Q5,
    /// Nexmark's bids per bidder, in sessions that end after 10 s without one.
    Q11,
    /// Nexmark's bids per bidder and 10 s, with the highest price.
    Q12,
}

impl Query {
    /// Its name, the name of its policy's file and the policy.
    fn policy(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::W1 => ("w1", "bench_w1.toml", include_str!("bench_w1.toml")),
            Self::Q5 => ("q5", "bench_q5.toml", include_str!("bench_q5.toml")),
            Self::Q11 => ("q11", "bench_q11.toml", include_str!("bench_q11.toml")),
            Self::Q12 => ("q12", "bench_q12.toml", include_str!("bench_q12.toml")),
        }
    }
}

pub async fn bench(args: Args) -> Outcome {
    let started = Instant::now();
    let (query, file, text) = args.query.policy();
    let policy = parse(text, Syntax::Toml).map_err(|e| Exit::Policy.because(anyhow!("{}", e.in_file(file))))?;
    let policy = Arc::new(policy);
    let engines = args.engine.load()?;
    if args.memory {
        if query != "w1" {
            return Err(Exit::Input.because(anyhow!("--memory generates records of w1, found {query}; expected w1")));
        }
        return memory(engines, policy).await;
    }
    let (Some(input), Some(output)) = (&args.input, &args.output) else {
        unreachable!("clap wants both without --memory");
    };
    let source = source(input, &args)?;
    let setup_s = started.elapsed().as_secs_f64();
    let ready = Instant::now();
    let work = Work { engines, policy, source, output };
    let counts = match &args.sqlite {
        None => to_file(work).await?,
        Some(file) => to_sqlite(work, file).await?,
    };
    let run_s = counts.ended.duration_since(ready).as_secs_f64();
    let rate = counts.events as f64 / run_s;
    let details = serde_json::json!({
        "peer": "plimsoll", "query": query, "setup_s": setup_s, "run_s": run_s, "events": counts.events,
        "rows": counts.rows, "cpu_s": counts.cpu_s, "peak_mb": memory_mb("VmHWM"), "version": env!("CARGO_PKG_VERSION"),
    });
    println!("{details}\n{rate:.0}");
    Ok(())
}

struct Work<'a> {
    engines: Arc<dyn Engines>,
    policy: Arc<Policy>,
    source: Arc<dyn Source>,
    output: &'a Path,
}

struct Counts {
    events: u64,
    rows: u64,
    ended: Instant,
    /// CPU time of the process until then.
    cpu_s: Option<f64>,
}

fn source(input: &str, args: &Args) -> Result<Arc<dyn Source>, Failure> {
    let lanes = if args.lane_per_file { FileLanes::PerFile } else { FileLanes::One };
    // The driver's lanes share their threads.
    let reads = if args.sqlite.is_some() { Reads::Ahead } else { Reads::Here };
    let options = FileOptions { lanes, reads, ..FileOptions::default() };
    let files = FileSource::new(&[input.to_owned()], options).map_err(|e| Exit::Input.because(e))?;
    Ok(if args.framed { Arc::new(Framed(files)) } else { Arc::new(files) })
}

async fn to_file(work: Work<'_>) -> Result<Counts, Failure> {
    let mut out = create(work.output)?;
    let summary = preview(work.source, work.engines, work.policy, &mut out, &mut Quiet).await;
    let (ended, cpu_s) = (Instant::now(), cpu_s());
    let summary = summary.map_err(preview_command::failure)?;
    Ok(Counts { events: summary.account.read, rows: summary.rows, ended, cpu_s })
}

async fn to_sqlite(work: Work<'_>, file: &Path) -> Result<Counts, Failure> {
    let refused = |e: StoreError| Exit::Store.because(e);
    if file.exists() {
        return Err(Exit::Store.because(anyhow!(
            "{} exists, expected a new file, since a second run over the same input has nothing to do; remove it",
            file.display()
        )));
    }
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(file).map_err(refused)?);
    let about = About { source: work.source.describe(), store: store.describe(), module: work.engines.digest() };
    let hub = Arc::new(StatusHub::new(about, Arc::clone(&work.policy), Arc::new(crate::clock::now_ms)));
    let config = RunConfig { batch: BatchLimits::default(), once: true, ..RunConfig::default() };
    let (_stop, stopped) = watch::channel(false);
    let parts = Parts {
        source: work.source,
        store: Arc::clone(&store),
        engines: work.engines,
        policy: Arc::clone(&work.policy),
        hub: Arc::clone(&hub),
    };
    let outcome = drive(config, parts, stopped).await;
    let (ended, cpu_s) = (Instant::now(), cpu_s());
    outcome.map_err(run_command::failure)?;

    let layout = Layout::new(Arc::clone(&work.policy));
    let completeness = Completeness::of(&work.policy, &store.heads(&layout).await.map_err(refused)?);
    let mut text = Vec::new();
    let rows = store.rows(&layout, &RowQuery::default()).await.map_err(refused)?;
    for r in &rows {
        write_row(&work.policy, &r.window, Some(completeness.fate(&r.window)), &r.row, &mut text);
    }
    create(work.output)?.write_all(&text).map_err(|e| Exit::Run.because(e))?;
    Ok(Counts { events: hub.stats().account.account().read, rows: rows.len() as u64, ended, cpu_s })
}

fn create(file: &Path) -> Result<BufWriter<File>, Failure> {
    let opened = File::create(file).map_err(|e| Exit::Run.because(anyhow!("cannot write {}: {e}", file.display())))?;
    Ok(BufWriter::with_capacity(1 << 18, opened))
}

/// Ten million records of the same keys through one lane; says on the way what the process takes.
async fn memory(engines: Arc<dyn Engines>, policy: Arc<Policy>) -> Outcome {
    let given = Arc::new(AtomicU64::new(0));
    let source = Arc::new(Impressions { records: MEMORY_RECORDS, given: Arc::clone(&given) });
    let mut looks = Looks { given, next: 0 };
    let summary =
        preview(source, engines, policy, &mut io::sink(), &mut looks).await.map_err(preview_command::failure)?;
    looks.look(summary.account.read);
    Ok(())
}

struct Quiet;

impl Watch for Quiet {}

/// Prints the memory in use at each of `MEMORY_AT`.
struct Looks {
    given: Arc<AtomicU64>,
    next: usize,
}

impl Looks {
    fn look(&mut self, records: u64) {
        while MEMORY_AT.get(self.next).is_some_and(|at| records >= *at) {
            self.next += 1;
            let line =
                serde_json::json!({"records": records, "rss_mb": memory_mb("VmRSS"), "peak_mb": memory_mb("VmHWM")});
            println!("{line}");
        }
    }
}

impl Watch for Looks {
    fn read(&mut self, _bytes: u64) {
        // A chunk or two are on their way from the source: nothing beside a million.
        self.look(self.given.load(Relaxed));
    }
}

/// User and system time of this process so far, start-up included; `None` where the system does not say.
fn cpu_s() -> Option<f64> {
    // Linux counts them in hundredths of a second; the process's name, in parentheses, may hold spaces.
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / 100.0)
}

/// A line of this process's status in megabytes; `None` where the system has none.
fn memory_mb(name: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some((kib * 1.024 / 10.0).round() / 100.0)
}
