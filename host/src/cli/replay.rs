//! `plimsoll replay`: the source once more, under a new policy, into a generation of its own, and the two compared.
//!
//! Not here: part of a source (`source::until`), the comparison (`compare`).

use super::common::{self, EngineArgs};
use super::compare::{Gate, side_by_side};
use super::run::{duration, failure};
use super::stored::{Place, print};
use super::{Exit, Failure, Outcome, reasons};
use crate::driver::{BatchLimits, Parts, RunConfig, run as drive};
use crate::live::{About, StatusHub};
use crate::source::file::{FileLanes, FileOptions, FileSource};
use crate::source::generator::{Devices, GeneratorSource};
use crate::source::kinesis::{KinesisOptions, KinesisSource, Start};
use crate::source::until::Between;
use crate::source::{Source, SourceError};
use crate::store::{Layout, RowQuery};
use anyhow::anyhow;
use plimsoll_core::time::{ArrivalTime, EventTime};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Counts a source once more under another policy, beside the old rows, and compares.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  plimsoll replay --policy new.toml --old-policy old.toml --kinesis impressions --dynamodb prod --generation v2 \\
      --from 2026-11-23T00:00:00Z --to 2026-11-24T00:00:00Z --allow-different 10
  plimsoll replay --policy new.toml --old-policy old.toml --input 'events/*.ndjson' --sqlite counts.db --generation v2

From and to are times of arrival. Each lane ends with its last record that arrived before --to; then the final rows of windows
that start at or after --from are compared with those of --against, as by `plimsoll compare`, with its exit codes. The old rows
stay as they are. A second call goes on where the first one stopped; `plimsoll run --generation NAME` goes on beyond --to.
Files carry no arrival times: they are replayed whole.")]
#[command(group(clap::ArgGroup::new("what").required(true).args(["input", "generate", "kinesis"])))]
pub struct Args {
    /// The new policy.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// NDJSON files or globs, plain, gzip or zstd.
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    input: Vec<String>,
    /// Each file is a lane of its own.
    #[arg(long, requires = "input")]
    lane_per_file: bool,
    /// Generated devices.
    #[arg(long, value_name = "SPEC")]
    generate: Option<String>,
    /// A Kinesis stream by name or ARN.
    #[arg(long, value_name = "STREAM")]
    kinesis: Option<String>,
    #[command(flatten)]
    place: Place,
    /// The generation that the rows go to; `run` and `rows` know it by this name.
    #[arg(long, value_name = "NAME", value_parser = generation)]
    generation: String,
    /// Records that arrived at or after this time [default: the oldest there are].
    #[arg(long, value_name = "TIME", value_parser = common::time)]
    from: Option<EventTime>,
    /// Records that arrived before this time.
    #[arg(long, value_name = "TIME", value_parser = common::time)]
    to: Option<EventTime>,
    /// The generation to compare with.
    #[arg(long, value_name = "NAME", default_value = "")]
    against: String,
    /// The policy of that generation, if it is another one.
    #[arg(long, value_name = "FILE")]
    old_policy: Option<PathBuf>,
    /// Only count.
    #[arg(long, conflicts_with_all = ["allow_different", "against"])]
    no_compare: bool,
    #[command(flatten)]
    gate: Gate,
    /// Set rejected records aside as dead letters even where most of a batch is rejected.
    #[arg(long)]
    accept_poison: bool,
    /// Write rows at least this often while records come [default: 1s].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    flush_interval: Option<Duration>,
    /// The result as one JSON object.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// So long after a moment nothing that arrived before it can still come: what a service needs to show a record, and what its
/// clock and ours may differ by. Milliseconds.
const SETTLED_MS: i64 = 60_000;

pub async fn replay(args: Args) -> Outcome {
    let (policy, _) = common::policy(&args.policy)?;
    if let Some(kept) = policy.spec().kept.first() {
        return Err(Exit::Policy.because(anyhow!(
            "`measures.{}`: a store's rows hold numbers that add up, and this is none; leave it out to replay the policy",
            kept.name
        )));
    }
    let new = Layout { policy: Arc::clone(&policy), generation: args.generation.clone() };
    let old_policy =
        args.old_policy.as_deref().map(common::policy).transpose()?.map_or_else(|| policy.clone(), |p| p.0);
    let old = Layout { policy: old_policy, generation: args.against.clone() };
    if new.generation == old.generation {
        return Err(Exit::Run.because(anyhow!(
            "--generation and --against are both `{}`: a replay stands beside the rows that it is compared with",
            new.generation
        )));
    }
    let engines = args.engine.load()?;
    let source = source(&args).await?;
    let (store, limits) = args.place.to_write().await?;
    let about = About { source: source.describe(), store: store.describe(), module: engines.digest() };
    tracing::info!(source = %about.source, store = %about.store, generation = %args.generation, "replaying");
    let hub = Arc::new(StatusHub::new(about, Arc::clone(&policy), Arc::new(crate::clock::now_ms)));
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(common::stop_on_signal(stop));
    let config = RunConfig {
        generation: args.generation.clone(),
        batch: BatchLimits { interval: args.flush_interval.unwrap_or(limits.interval), ..limits },
        accept_poison: args.accept_poison,
        once: true,
        ..RunConfig::default()
    };
    let parts = Parts { source, store: Arc::clone(&store), engines, policy, hub: Arc::clone(&hub) };
    drive(config, parts, stopped.clone()).await.map_err(failure)?;
    let stats = hub.stats();
    let account = stats.account.account();
    if *stopped.borrow() {
        eprintln!("plimsoll: stopped before its end: {}; the same command goes on there", reasons::account(account));
        return Ok(());
    }
    let replayed = json!({ "generation": args.generation, "account": account });
    if args.no_compare {
        let text = format!("Replayed into generation {}: {}.\n", args.generation, reasons::account(account));
        return print(if args.json { format!("{}\n", json!({ "replayed": replayed })) } else { text });
    }
    let query = RowQuery { from: args.from, ..RowQuery::default() };
    let compared = side_by_side(store.as_ref(), [old, new], &query, &args.gate).await?;
    print(if args.json {
        format!("{{\"replayed\":{replayed},\"compared\":{}}}\n", compared.to_json())
    } else {
        format!("Replayed: {}.\n{}", reasons::account(account), compared.to_table())
    })?;
    args.gate.judge(&compared)
}

/// The source, or the part of it that was asked for.
async fn source(args: &Args) -> Result<Arc<dyn Source>, Failure> {
    let refused = |e: SourceError| Exit::Input.because(e);
    if !args.input.is_empty() {
        if args.from.is_some() || args.to.is_some() {
            return Err(Exit::Input.because(anyhow!(
                "--from and --to are times of arrival, which files do not carry; leave them out, and name the files that are \
                 to be replayed with --input"
            )));
        }
        let lanes = if args.lane_per_file { FileLanes::PerFile } else { FileLanes::One };
        let options = FileOptions { lanes, ..FileOptions::default() };
        return Ok(Arc::new(FileSource::new(&args.input, options).map_err(refused)?));
    }
    let Some(to) = args.to else {
        return Err(Exit::Input.because(anyhow!(
            "--to is missing: a stream has no end by itself; records that arrived before that time are replayed"
        )));
    };
    let latest = crate::clock::now_ms() - SETTLED_MS;
    if to.as_millis() > latest {
        return Err(Exit::Input.because(anyhow!(
            "--to {} is not past for a minute: records that arrived before it may still come; replay up to {} at most, and go \
             on with `plimsoll run --generation {}`",
            super::stored::moment(to.as_millis()),
            super::stored::moment(latest),
            args.generation
        )));
    }
    let arrival = |t: EventTime| ArrivalTime::from_millis(t.as_millis());
    if let Some(from) = args.from.filter(|from| *from >= to) {
        return Err(Exit::Input.because(anyhow!(
            "--from {} is not before --to {}: nothing lies between them",
            super::stored::moment(from.as_millis()),
            super::stored::moment(to.as_millis())
        )));
    }
    let whole: Arc<dyn Source> = if let Some(spec) = &args.generate {
        let devices = Devices::parse(spec).map_err(|e| Exit::Input.because(anyhow!("--generate {spec}: {e}")))?;
        Arc::new(GeneratorSource::new(devices))
    } else {
        let stream = args.kinesis.as_ref().expect("clap wants one of them");
        let start = args.from.map_or(Start::TrimHorizon, |from| Start::At(from.as_millis()));
        let options = KinesisOptions { start, ..KinesisOptions::default() };
        Arc::new(KinesisSource::connect(stream, options).await.map_err(refused)?)
    };
    Ok(Arc::new(Between::new(whole, args.from.map(arrival), arrival(to))))
}

/// The name of a generation, never the first one's, which has none.
fn generation(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !text.is_empty() && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err("expected a name of letters, digits, `_` and `-`".into())
}
