//! `plimsoll run`: a source into a store, exactly once, with the live page if asked for.

use super::common::{self, EngineArgs};
use super::costs::Costs;
use super::rollup::Beside;
use super::serve::Service;
use super::watching::{self, Watching};
use super::{Exit, Failure, Outcome, progress};
use crate::driver::{AtTip, BatchLimits, Parts, RunConfig, RunError, run as drive};
use crate::live::{About, StatusHub, hex};
use crate::source::file::{FileLanes, FileOptions, FileSource, Follow};
use crate::source::generator::{Devices, GeneratorSource};
use crate::source::kinesis::{KinesisOptions, KinesisSource, Start};
use crate::source::stdin::Pipe;
use crate::source::{Source, SourceError};
use crate::store::dynamodb::DynamoStore;
use crate::store::sqlite::SqliteStore;
use crate::store::stdout::StdoutStore;
use crate::store::{Store, StoreError};
use crate::telemetry::EmfTo;
use anyhow::anyhow;
use indicatif::ProgressBar;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Aggregates a source into a store, exactly once.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  plimsoll run --policy impressions.toml --input 'events/*.ndjson' --sqlite counts.db
  plimsoll run --policy impressions.toml --input app.log --follow --sqlite counts.db --listen 127.0.0.1:8080
  plimsoll run --policy impressions.toml --kinesis impressions --start trim-horizon --dynamodb prod --config plimsoll.toml
  plimsoll run --policy impressions.toml --generate rate=1000 --stdout

A second run goes on where the first one stopped. Ctrl-C finishes the batch in hand and exits with 0.")]
#[command(group(clap::ArgGroup::new("from").required(true).args(["input", "stdin", "generate", "kinesis"])))]
#[command(group(clap::ArgGroup::new("into").required(true).args(["sqlite", "dynamodb", "stdout"])))]
pub struct Args {
    /// The policy, TOML or JSON.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// NDJSON files or globs, plain, gzip or zstd.
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    input: Vec<String>,
    /// Read standard input. It cannot be read again: a second run counts what it is given then.
    #[arg(long)]
    stdin: bool,
    /// Generated devices, like `devices=15000,every=90s,seed=1`.
    #[arg(long, value_name = "SPEC")]
    generate: Option<String>,
    /// A Kinesis stream by name or ARN; region and credentials come from the environment.
    #[arg(long, value_name = "STREAM")]
    kinesis: Option<String>,
    /// Where a stream that was never read begins: trim-horizon, latest, or at:TIME (RFC 3339).
    #[arg(long, value_name = "WHERE", default_value = "trim-horizon", requires = "kinesis")]
    start: String,
    /// Read by enhanced fan-out under this name of a consumer, which is registered if it is missing. It costs extra; each host
    /// that reads at the same time takes a name of its own.
    #[arg(long, value_name = "NAME", requires = "kinesis")]
    consumer: Option<String>,
    /// Files grow: wait for more at their end.
    #[arg(long, requires = "input")]
    follow: bool,
    /// Each file is a lane of its own (shards), instead of all files one lane in name order (rotated logs).
    #[arg(long, requires = "input")]
    lane_per_file: bool,
    /// Rows go into this SQLite file.
    #[arg(long, value_name = "FILE")]
    sqlite: Option<PathBuf>,
    /// Rows go into the DynamoDB tables PREFIX-rows, -late, -dead and -lanes (`plimsoll tables create`).
    #[arg(long, value_name = "PREFIX")]
    dynamodb: Option<String>,
    /// Rows' deltas go to standard output as NDJSON, for pipes: at least once.
    #[arg(long)]
    stdout: bool,
    /// Bring the hours and days of the policy's `[rollup]` up to date as well, as `plimsoll rollup` does.
    #[arg(long, requires = "dynamodb")]
    rollup: bool,
    /// Serve the live page, metrics and health there.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Which alarms, whom they reach, where figures go (host/CONFIG.md). Without it a commit lag of 10 minutes and lanes that
    /// stand still are alarms in the log.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write rows this often while records come: longer is fewer writes [default: 1s, and at once at the source's tip].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    flush_interval: Option<Duration>,
    /// Rows of DynamoDB are deleted so long after their window's end and their last change, at least 8 days.
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "dynamodb", default_value = "8d")]
    rows_kept: Duration,
    /// A lane (a shard, a file with --lane-per-file) that gave nothing at its tip for longer than this is idle: `final` does
    /// not wait for it, and if it goes on later, rows that were called final may still change. A file at its end is idle at
    /// once. `none`: final waits for every lane, however long it is silent.
    #[arg(long, value_name = "DURATION|none", default_value = "5m", value_parser = idle_timeout)]
    idle_timeout: IdleTimeout,
    /// Recount under this name, beside the rows of other generations.
    #[arg(long, value_name = "NAME", default_value = "")]
    generation: String,
    /// End when the source is at its end or at its tip.
    #[arg(long)]
    once: bool,
    /// The summary as one JSON object on standard error.
    #[arg(long)]
    pub(super) json: bool,
    /// Set rejected records aside as dead letters even where most of a batch is rejected.
    #[arg(long)]
    accept_poison: bool,
    /// Go on past records that the stream no longer holds, with the oldest record that is left. The ledger of gaps keeps what
    /// was lost, and that it was accepted.
    #[arg(long, requires = "kinesis")]
    accept_gaps: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// How often the bar moves.
const BAR_EVERY: Duration = Duration::from_millis(100);

pub async fn run(args: Args) -> Outcome {
    let (policy, text) = common::policy(&args.policy)?;
    if let Some(kept) = policy.spec().kept.first() {
        return Err(Exit::Policy.because(anyhow!(
            "`measures.{}`: a store's rows hold numbers that add up, and this is none; leave it out to run the policy, or \
             see it with `plimsoll preview --panes-out FILE`",
            kept.name
        )));
    }
    let watching = watching::config(args.config.as_deref())?;
    if args.stdout && watching.emf.as_ref().is_some_and(|emf| emf.to == EmfTo::Stdout) {
        return Err(Exit::Config.because(anyhow!(
            "`metrics.emf` writes to standard output, and so do the rows (--stdout); give it a file"
        )));
    }
    let engines = args.engine.load()?;
    let (source, size) = source(&args).await?;
    let (store, batch) = store(&args).await?;
    let beside = match args.dynamodb.as_ref().filter(|_| args.rollup) {
        Some(prefix) => Some(Beside::start(prefix, Arc::clone(&policy), &args.generation, args.once).await?),
        None => None,
    };
    let about = About { source: source.describe(), store: store.describe(), module: engines.digest() };
    tracing::info!(source = %about.source, store = %about.store, policy = %policy.spec().policy, "running");
    let hub = Arc::new(StatusHub::new(about, Arc::clone(&policy), Arc::new(crate::clock::now_ms)));
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(common::stop_on_signal(stop));
    let service = match &args.listen {
        Some(address) => {
            let file_name = args.policy.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
            let module = args.engine.bytes()?;
            Some(Service::start(address, Arc::clone(&hub), module, (file_name, text), stopped.clone()).await?)
        }
        None => None,
    };
    if let Some(service) = &service {
        eprintln!("plimsoll: the live page is at {}", service.url);
    }
    let config = RunConfig {
        generation: args.generation.clone(),
        batch: match args.flush_interval {
            // Who says how often does not want it more often: ten seconds of a full shard are 10 MB.
            Some(interval) => {
                let bytes = batch.bytes.max(BatchLimits::default().bytes);
                BatchLimits { interval, bytes, at_tip: AtTip::Wait, ..batch }
            }
            None => batch,
        },
        once: args.once,
        accept_poison: args.accept_poison,
        accept_gaps: args.accept_gaps,
        idle_timeout: args.idle_timeout.0,
        ..RunConfig::default()
    };
    let watching = Watching::start(watching, &hub).await?;
    let bar = size.and_then(progress::bytes_of).map(|bar| (bar.clone(), tokio::spawn(follow(bar, Arc::clone(&hub)))));
    let outcome = drive(config, Parts { source, store, engines, policy, hub: Arc::clone(&hub) }, stopped).await;
    if let Some((bar, following)) = bar {
        following.abort();
        bar.finish_and_clear();
    }
    watching.finish(&outcome).await;
    summary(&hub, &outcome, args.json);
    let rolled_up = match beside {
        Some(beside) => beside.finish(args.json).await,
        None => Ok(()),
    };
    outcome.map_err(failure).and(rolled_up)
}

/// Moves the bar as the lanes read.
async fn follow(bar: ProgressBar, hub: Arc<StatusHub>) {
    loop {
        bar.set_position(hub.lanes().iter().map(|lane| lane.bytes_read).sum());
        tokio::time::sleep(BAR_EVERY).await;
    }
}

/// Says where the records of this run went.
pub fn summary(hub: &StatusHub, outcome: &Result<(), RunError>, json: bool) {
    let stats = hub.stats();
    let a = stats.account.account();
    let costs = Costs::of(&stats);
    if json {
        let object = serde_json::json!({
            "account": a,
            "rows_written": stats.rows_written,
            "write_units": costs.as_ref(),
            "watermark": stats.watermark,
            "module_sha256": hub.about().module.map(|d| hex(&d)),
        });
        return eprintln!("{object}");
    }
    if a.read == 0 {
        // An error speaks for itself.
        if outcome.is_ok() {
            eprintln!("plimsoll: no new records");
        }
        return;
    }
    let overflow = match a.overflow {
        0 => String::new(),
        n => format!(" ({n} of them in overflow rows)"),
    };
    // Most policies have no filter.
    let filtered = if a.filtered > 0 { format!(", filtered {}", a.filtered) } else { String::new() };
    let costs = costs.map_or_else(String::new, |costs| costs.sentence());
    eprintln!(
        "plimsoll: read {}, counted {}{overflow}, late {}, future {}, rejected {}{filtered}; {} rows written{costs}",
        a.read, a.counted, a.late, a.future, a.rejected, stats.rows_written
    );
}

/// The exit code of a run's error.
pub fn failure(e: RunError) -> Failure {
    let exit = match &e {
        RunError::Source { .. } => Exit::Input,
        RunError::Store(_) => Exit::Store,
        RunError::Engine { .. } => Exit::Module,
        RunError::Poison { .. } | RunError::Halted { .. } | RunError::Pin { .. } | RunError::Behind { .. } => {
            Exit::Halted
        }
        RunError::Unwritable { .. } => Exit::Halted,
        _ => Exit::Run,
    };
    exit.because(e)
}

/// The source, and the bytes of all its files where they are read to their end.
async fn source(args: &Args) -> Result<(Arc<dyn Source>, Option<u64>), Failure> {
    let refused = |e: SourceError| Exit::Input.because(e);
    if args.stdin {
        return Ok((Arc::new(Pipe::stdin()), None));
    }
    if let Some(spec) = &args.generate {
        let devices = Devices::parse(spec).map_err(|e| Exit::Input.because(anyhow!("--generate {spec}: {e}")))?;
        return Ok((Arc::new(GeneratorSource::new(devices)), None));
    }
    if let Some(stream) = &args.kinesis {
        let start =
            Start::parse(&args.start).map_err(|e| Exit::Input.because(anyhow!("--start {}: {e}", args.start)))?;
        let options = KinesisOptions { start, consumer: args.consumer.clone(), ..KinesisOptions::default() };
        return Ok((Arc::new(KinesisSource::connect(stream, options).await.map_err(refused)?), None));
    }
    let lanes = if args.lane_per_file { FileLanes::PerFile } else { FileLanes::One };
    let follow = if args.follow { Follow::Yes } else { Follow::No };
    let options = FileOptions { lanes, follow, ..FileOptions::default() };
    let files = FileSource::new(&args.input, options).map_err(refused)?;
    let size = if args.follow { None } else { Some(files.size().map_err(refused)?) };
    Ok((Arc::new(files), size))
}

async fn store(args: &Args) -> Result<(Arc<dyn Store>, BatchLimits), Failure> {
    let refused = |e: StoreError| Exit::Store.because(e);
    let batch = BatchLimits::default();
    if let Some(file) = &args.sqlite {
        return Ok((Arc::new(SqliteStore::open(file).map_err(refused)?), batch));
    }
    if let Some(prefix) = &args.dynamodb {
        // Each row is a request, and an intent holds at most 4 MiB: smaller batches.
        let batch = BatchLimits { bytes: 4 << 20, rows: 10_000, ..batch };
        let store = DynamoStore::connect(prefix).await.map_err(refused)?;
        return Ok((Arc::new(store.keeping_rows(args.rows_kept).map_err(refused)?), batch));
    }
    Ok((Arc::new(StdoutStore::default()), batch))
}

/// How long a lane has to be silent; `None`: it never is.
#[derive(Clone, Copy, Debug)]
struct IdleTimeout(Option<Duration>);

fn idle_timeout(text: &str) -> Result<IdleTimeout, String> {
    if text == "none" {
        return Ok(IdleTimeout(None));
    }
    duration(text).map(|d| IdleTimeout(Some(d))).map_err(|e| format!("{e}, or `none`"))
}

/// A duration as people write it.
pub fn duration(text: &str) -> Result<Duration, String> {
    let d = plimsoll_core::policy::duration::parse(text).map_err(|e| e.to_string())?;
    u64::try_from(d.as_millis())
        .map(Duration::from_millis)
        .map_err(|_| "expected a duration that is not negative".into())
}
