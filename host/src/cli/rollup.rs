//! `plimsoll rollup`: hours and days follow the rows of DynamoDB tables, in a process of its own or beside a run.

use super::{Exit, Failure, Outcome, common};
use crate::clock;
use crate::rollup::{Follow, Options, RollupError, Setting, Summary, Trouble};
use crate::store::dynamodb::DynamoStore;
use crate::store::{Layout, StoreError};
use anyhow::anyhow;
use plimsoll_core::policy::Policy;
use plimsoll_core::rollup::{Level, Spans};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Brings rows of hours and days up to date, from the change stream of the rows.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  plimsoll rollup --policy impressions.toml --dynamodb prod             follows the rows until Ctrl-C
  plimsoll rollup --policy impressions.toml --dynamodb prod --once      what is written now, then ends
  plimsoll rollup --policy impressions.toml --dynamodb prod --repair    reads all rows first
  plimsoll rows --policy impressions.toml --dynamodb prod --rollup day

The policy says which hours and days there are (`[rollup]`). Several may run at once, and any may be killed. The stream keeps a
day: after more than 20 hours without it, and whenever changes were missed, the rows themselves are read. A SQLite file needs
no such process: its hours and days are made when they are read.")]
pub struct Args {
    /// The policy that the rows were counted under.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The prefix of the DynamoDB tables.
    #[arg(long, value_name = "PREFIX")]
    dynamodb: String,
    /// Rows of another generation.
    #[arg(long, value_name = "NAME", default_value = "")]
    generation: String,
    /// End when all that was written before the start is in the hours and days.
    #[arg(long)]
    once: bool,
    /// Read all rows first, whatever was missed.
    #[arg(long)]
    repair: bool,
    /// The summary as one JSON object on standard error.
    #[arg(long)]
    pub(super) json: bool,
}

pub async fn rollup(args: Args) -> Outcome {
    let (policy, _) = common::policy(&args.policy)?;
    let follower = Follower::connect(&args.dynamodb, policy, &args.generation).await?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(common::stop_on_signal(stop));
    let options = Options { once: args.once, repair: args.repair, ..Options::default() };
    let summary = follower.follow(options, stopped).await.map_err(failure)?;
    say(&summary, args.json);
    Ok(())
}

/// The hours and days of a policy, or why it has none.
pub fn spans(policy: &Policy, level: Level) -> Result<Spans, Failure> {
    let name = &policy.spec().policy;
    let Some(spans) = Spans::of(policy) else {
        return Err(Exit::Policy.because(anyhow!(
            "policy `{name}` has no `[rollup]`; add one with `hour = true`, and `day = {{ zone = \"Asia/Tokyo\" }}` for days: \
             its rows stay the same"
        )));
    };
    if !spans.has(level) {
        return Err(Exit::Policy.because(anyhow!(
            "policy `{name}` has no days; add `day = {{ zone = \"Asia/Tokyo\" }}` to its `[rollup]`"
        )));
    }
    Ok(spans)
}

/// Follows the rows of one layout.
struct Follower {
    store: DynamoStore,
    layout: Layout,
    setting: Setting,
}

impl Follower {
    /// Refused where the policy has no hours, or the tables cannot have them.
    async fn connect(prefix: &str, policy: Arc<Policy>, generation: &str) -> Result<Self, Failure> {
        let refused = |e: StoreError| Exit::Store.because(e);
        let setting = Setting { spans: spans(&policy, Level::Hour)?, measures: policy.spec().measures.clone() };
        let store = DynamoStore::connect(prefix).await.map_err(refused)?;
        let layout = Layout { policy, generation: generation.to_owned() };
        store.row_changes(&layout).await.map_err(refused)?;
        Ok(Self { store, layout, setting })
    }

    async fn follow(&self, options: Options, stop: watch::Receiver<bool>) -> Result<Summary, RollupError> {
        let changes = self.store.row_changes(&self.layout).await?;
        let hours = self.store.hours(&self.layout);
        Follow::new(&changes, &hours, &self.setting, &clock::now_ms, options).await?.run(stop).await
    }
}

/// A follower beside a run.
pub struct Beside {
    follower: Arc<Follower>,
    /// While the run goes on; with `--once` it follows when the run has ended.
    task: Option<(watch::Sender<bool>, Following)>,
}

type Following = JoinHandle<Result<Summary, RollupError>>;

impl Beside {
    /// Refuses what cannot be before the run begins.
    pub async fn start(prefix: &str, policy: Arc<Policy>, generation: &str, once: bool) -> Result<Self, Failure> {
        let follower = Arc::new(Follower::connect(prefix, policy, generation).await?);
        let task = (!once).then(|| {
            let (halt, halted) = watch::channel(false);
            let follower = Arc::clone(&follower);
            let task = tokio::spawn(async move {
                let outcome = follower.follow(Options::default(), halted).await;
                if let Err(error) = &outcome {
                    // Counting goes on: the rows are right, and hours and days can be repaired from them.
                    tracing::error!(%error, "hours and days stand still; `plimsoll rollup` brings them up to date later");
                }
                outcome
            });
            (halt, task)
        });
        Ok(Self { follower, task })
    }

    /// The run has ended.
    pub async fn finish(self, json: bool) -> Outcome {
        let outcome = match self.task {
            Some((halt, task)) => {
                halt.send_replace(true);
                task.await.map_err(|e| Exit::Run.because(anyhow!("the rollup's task ended unexpectedly: {e}")))?
            }
            None => {
                let (_stop, stopped) = watch::channel(false);
                self.follower.follow(Options { once: true, ..Options::default() }, stopped).await
            }
        };
        say(&outcome.map_err(failure)?, json);
        Ok(())
    }
}

fn failure(e: RollupError) -> Failure {
    match &e {
        RollupError::Store(StoreError::Passing(_)) | RollupError::Stream(Trouble::Passing(_)) => Exit::Run.because(e),
        _ => Exit::Store.because(e),
    }
}

fn say(s: &Summary, json: bool) {
    let (f, r) = (&s.followed, &s.repaired);
    if json {
        let object = serde_json::json!({ "rollup": {
            "changes": f.changes, "hours_written": f.hours + r.hours, "days_written": f.days + r.days,
            "repairs": s.repairs, "rows_repaired": r.changes, "gaps": s.gaps,
        }});
        return eprintln!("{object}");
    }
    let repaired = match s.repairs {
        0 => String::new(),
        _ => format!(", {} rows read for repair", r.changes),
    };
    eprintln!(
        "plimsoll: {} changes of rows followed{repaired}; {} writes to hours, {} to days",
        f.changes,
        f.hours + r.hours,
        f.days + r.days
    );
}
