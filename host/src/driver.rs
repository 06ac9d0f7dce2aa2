//! Drives lanes: reads, runs the engine, and does what the lane protocol says, until told to stop.
//!
//! ```text
//! source -> [read -> apply ... flush, snapshot] -> content(n) -> lane protocol -> store
//!            one batch ahead of the store
//! ```
//! One task per lane. Content n+1 is computed while n is written; the protocol sees to it that nothing of n+1 is written
//! before n is committed.
//!
//! Invariants
//! - The driver decides when a batch ends (`BatchLimits`), never what counts: totals do not depend on it.
//! - A record's own fault makes a dead letter; the host's or the store's fault stops the lane and quarantines nothing.
//! - After `stop` every lane finishes the batch in hand; one that cannot within `STOP_GRACE` is left where it is, which
//!   loses nothing.
//!
//! Not here: what a command's answer means (`plimsoll_core::lane`), how a store writes (`store`).

mod batch;
mod gap;
mod lane;
mod lineage;
mod poison;
mod survey;
#[cfg(test)]
mod tests;

use crate::live::{StatusHub, Trouble};
use crate::runtime::{EngineError, Engines};
use crate::source::{LaneInfo, Source, SourceError};
use crate::store::{Layout, Store, StoreError, Unwritable, kept_long_enough};
use plimsoll_core::lane::Halt;
use plimsoll_core::policy::Policy;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use survey::Survey;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// After this long a lane that cannot finish its batch is left where it is.
pub const STOP_GRACE: Duration = Duration::from_secs(8);
/// So long a lane has to be silent before it holds the watermark back no longer, where nothing else is said.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// A batch of fewer records is never called poisoned for its share.
pub const POISON_RECORDS_MIN: u64 = 20;
/// So many dead letters in a row pause a lane.
pub const POISON_RUN_MAX: usize = 20;

/// When a batch ends.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// At about this many payload bytes. They are kept until the batch is computed, for the case of a trap.
    pub bytes: usize,
    /// At this many rows and dead letters.
    pub rows: u64,
    /// This long after its first record; the first batch after a start is shorter.
    pub interval: Duration,
    /// Payload bytes handed to the module at once.
    pub chunk_bytes: usize,
    /// What is done with a batch when the source has nothing more for now.
    pub at_tip: AtTip,
}

/// What is done with a batch at the source's tip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtTip {
    /// It is written at once: the tip is where latency counts.
    #[default]
    Write,
    /// It waits for its interval: each write costs, and a lane of few records would make one for nearly each of them.
    Wait,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            bytes: 16 << 20,
            rows: 100_000,
            interval: Duration::from_secs(1),
            chunk_bytes: 1 << 20,
            at_tip: AtTip::Write,
        }
    }
}

/// What a run is told.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Recounts under another name beside the old rows; empty for the first.
    pub generation: String,
    /// When a batch ends.
    pub batch: BatchLimits,
    /// Stop when every lane is at its end or at the tip.
    pub once: bool,
    /// Go on where a batch is mostly poison.
    pub accept_poison: bool,
    /// Go on past records that the source no longer holds, with the oldest that is left; the ledger of gaps says so.
    pub accept_gaps: bool,
    /// A lane that was silent at its tip for longer than this, by the host's clock, is idle and holds the policy's watermark
    /// back no longer; so is a file at its end. `None`: no lane ever is.
    pub idle_timeout: Option<Duration>,
    /// How often to look for new lanes.
    pub discover_every: Duration,
    /// How often to look at a lane that another host is running.
    pub stand_by_every: Duration,
    /// A start is not over as long as no head is older: until then, that a shard without a head has an unknown parent means
    /// that the parent was gone before anything was counted.
    pub first_start: Duration,
    /// A pending intent older than this is not applied any more, in milliseconds.
    pub intent_age_ms_max: i64,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            generation: String::new(),
            batch: BatchLimits::default(),
            once: false,
            accept_poison: false,
            accept_gaps: false,
            idle_timeout: Some(IDLE_TIMEOUT),
            discover_every: Duration::from_secs(10),
            stand_by_every: Duration::from_secs(2),
            first_start: Duration::from_secs(60),
            // R - 24 h with rows kept 8 days: see exactly-once, 'Old intent'.
            intent_age_ms_max: 7 * 86_400_000,
        }
    }
}

/// Why a run ended before its time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The source cannot go on.
    #[error("{lane}: {error}")]
    Source {
        /// Which lane, or the source.
        lane: String,
        /// Why.
        error: SourceError,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The module cannot be used.
    #[error("{lane}: {error}")]
    Engine {
        /// Which lane.
        lane: String,
        /// Why.
        error: EngineError,
    },
    /// A batch is mostly poison; nothing of it was written.
    #[error("{lane}: paused: {detail}")]
    Poison {
        /// Which lane.
        lane: String,
        /// What was found, and the mend.
        detail: String,
    },
    /// The store can never take a batch; nothing of it was written, and nothing is pending.
    #[error("{lane}: paused before a batch that the store can never take, of which nothing was written: {error}")]
    Unwritable {
        /// Which lane.
        lane: String,
        /// What is too much, and the mend.
        error: Unwritable,
    },
    /// Going on could count wrongly.
    #[error("{lane}: halted: {halt}")]
    Halted {
        /// Which lane.
        lane: String,
        /// Why, and the mend.
        halt: Halt,
    },
    /// The lane was counted under another policy or module until now.
    #[error("{lane}: {detail}")]
    Pin {
        /// Which lane.
        lane: String,
        /// What was found, and the mend.
        detail: String,
    },
    /// Two hosts took the same lane, and the other one is further on.
    #[error(
        "{lane}: another host is running this lane and is ahead; nothing was lost or doubled, this one leaves it alone"
    )]
    Behind {
        /// Which lane.
        lane: String,
    },
    /// A bug.
    #[error("{lane}: the lane's task ended unexpectedly: {detail}")]
    Bug {
        /// Which lane.
        lane: String,
        /// What was seen.
        detail: String,
    },
}

impl RunError {
    /// What stopped a lane, where alarms have a name for it.
    pub fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Poison { .. } => Some(Trouble::Poison),
            Self::Source { error: SourceError::Gap(_), .. } => Some(Trouble::Gap),
            _ => None,
        }
    }
}

/// What a driver works with.
pub struct Parts {
    /// Where records come from.
    pub source: Arc<dyn Source>,
    /// Where rows go.
    pub store: Arc<dyn Store>,
    /// What runs the policy.
    pub engines: Arc<dyn Engines>,
    /// The policy.
    pub policy: Arc<Policy>,
    /// Who is told how it goes.
    pub hub: Arc<StatusHub>,
}

/// Runs all lanes of a source until its end, `stop`, or the first lane that cannot go on. A lane with a gap stops alone, and
/// is what the run ends with.
pub async fn run(config: RunConfig, parts: Parts, stop: watch::Receiver<bool>) -> Result<(), RunError> {
    let Parts { source, store, engines, policy, hub } = parts;
    let layout = Layout { policy: Arc::clone(&policy), generation: config.generation.clone() };
    store.prepare(&layout).await?;
    if let Some(kept) = store.rows_kept() {
        kept_long_enough(&layout, kept, source.keeps())?;
    }
    hub.writes_every(config.batch.interval);
    let context = Arc::new(lane::Context { config, layout, source, store, engines, policy, hub });
    let mut tasks: JoinSet<(LaneInfo, Result<lane::Left, RunError>)> = JoinSet::new();
    let mut running: BTreeMap<String, LaneInfo> = BTreeMap::new();
    let mut left: BTreeSet<String> = BTreeSet::new();
    let mut failure: Option<RunError> = None;
    let mut survey = Survey::default();
    // Lanes stop together: the first one that fails stops the others.
    let (halt, halted) = watch::channel(false);
    let mut stop = stop;
    loop {
        let mut looked = false;
        if failure.is_none() && !*stop.borrow() {
            match context.source.lanes().await {
                Ok(lanes) => {
                    context.hub.found(&lanes);
                    let taken = |id: &str| running.contains_key(id) || left.contains(id);
                    match survey.look(&context, lanes, taken).await {
                        Ok(ready) => {
                            looked = survey.sure;
                            for (info, origin) in ready {
                                if context.policy.merges() && running.len() + left.len() >= 1 {
                                    failure.get_or_insert_with(|| sessions_on_lanes(&context));
                                    break;
                                }
                                running.insert(info.id.clone(), info.clone());
                                let (context, halted) = (Arc::clone(&context), halted.clone());
                                tasks.spawn(
                                    async move { (info.clone(), lane::drive(context, info, origin, halted).await) },
                                );
                            }
                        }
                        Err(error) if survey::passes(&error) => tracing::warn!(%error, "the heads cannot be read now"),
                        Err(error) => failure = Some(error),
                    }
                }
                Err(SourceError::Passing(why)) => tracing::warn!(%why, "the source's lanes cannot be listed now"),
                Err(error) => failure = Some(RunError::Source { lane: context.source.describe(), error }),
            }
        }
        if *stop.borrow() || failure.is_some() {
            halt.send_replace(true);
        }
        let ends = (context.config.once && looked) || failure.is_some() || *stop.borrow() || finite(&context, &left);
        // Where no lane is left but what waits for a person, nothing will come of waiting.
        if tasks.is_empty() && (ends || (looked && survey.gap.is_some())) {
            return failure.or(survey.gap).map_or(Ok(()), Err);
        }
        tokio::select! {
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => match ended {
                Ok((info, outcome)) => {
                    running.remove(&info.id);
                    left.insert(info.id.clone());
                    match outcome {
                        Ok(lane::Left::Done | lane::Left::Stopped) => {}
                        // At the tip of a source that goes on, with `once`: no need to look again.
                        Ok(lane::Left::AtTip) => {}
                        Err(error @ RunError::Source { error: SourceError::Gap(_), .. }) => {
                            survey.gap.get_or_insert(error);
                        }
                        Err(error) => failure = Some(failure.take().unwrap_or(error)),
                    }
                }
                Err(e) => {
                    failure = Some(failure.take().unwrap_or(RunError::Bug { lane: "?".into(), detail: e.to_string() }));
                }
            },
            _ = stop.changed(), if !*stop.borrow() => {}
            () = tokio::time::sleep(context.config.discover_every) => {}
        }
    }
}

/// A session is whole only where all records of its key come by one lane.
fn sessions_on_lanes(context: &lane::Context) -> RunError {
    RunError::Store(StoreError::Refused(format!(
        "{} has more than one lane, and the records of one key may come by any of them: each lane would have sessions of \
         its own; use one lane (a stream of one shard, files without --lane-per-file), or windows that do not merge",
        context.source.describe(),
    )))
}

/// Whether nothing can come any more: all lanes that were ever seen have ended, of a source that makes no new ones.
fn finite(context: &lane::Context, left: &BTreeSet<String>) -> bool {
    !left.is_empty() && context.source.finite()
}
