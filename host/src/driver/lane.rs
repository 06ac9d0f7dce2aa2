//! One lane: the protocol's commands on one side, batches computed ahead on the other.
//!
//! Invariants
//! - A computed batch is offered only if it joins onto the tip that the protocol names; else it is thrown away.
//! - An engine whose state is not the tip's is restored from the tip's state.

use super::batch::{After, Begin, Computed, Made, Worker};
use super::{RunConfig, RunError, STOP_GRACE, gap};
use crate::clock;
use crate::live::{LaneState, LaneStatus, StatusHub};
use crate::runtime::Engines;
use crate::source::{LaneInfo, Position, Source, SourceError};
use crate::store::{GapKind, Layout, Store};
use plimsoll_core::lane::{Answer, Base, Birth, Command, Config, Content, End, Lane, Pin, REPLAY_VERSION, Step, Tip};
use plimsoll_core::policy::Policy;
use plimsoll_core::time::ArrivalTime;
use plimsoll_core::wire::effects::Effects;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What all lanes share.
pub(super) struct Context {
    pub config: RunConfig,
    pub layout: Layout,
    pub source: Arc<dyn Source>,
    pub store: Arc<dyn Store>,
    pub engines: Arc<dyn Engines>,
    pub policy: Arc<Policy>,
    pub hub: Arc<StatusHub>,
}

impl Context {
    pub(super) fn pin(&self) -> Pin {
        Pin {
            policy: *self.policy.digest(),
            module: self.engines.digest(),
            replay: REPLAY_VERSION,
            name: self.policy.spec().policy.clone(),
            shape: self.policy.shape(),
        }
    }
}

/// Where a lane's task begins.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin {
    /// What its head begins with, if it has none.
    birth: Birth,
    /// The committed position after which a gap was accepted. From another one reading goes on as always.
    past_gap: Option<Option<String>>,
}

impl Origin {
    pub(super) fn past_gap(position: Option<String>) -> Self {
        Self { past_gap: Some(position), ..Self::default() }
    }
}

impl From<Birth> for Origin {
    fn from(birth: Birth) -> Self {
        Self { birth, ..Self::default() }
    }
}

/// How a lane was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Committed to its end.
    Done,
    /// Nothing more at this moment, and the run is to end there.
    AtTip,
    /// Told to stop.
    Stopped,
}

/// Waits between attempts grow from this to `BACKOFF_MAX`, with full jitter.
const BACKOFF: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(20);
/// Throttling and a lost reply are everyday matters; what lasts longer than so many attempts a person wants to know.
const WARN_ATTEMPTS: u32 = 5;
/// So many looks in a row at a head that does not move mean that the other host is gone.
const STAND_BY_LOOKS: u32 = 5;

/// Drives one lane until its end, `stop`, or trouble.
pub(super) async fn drive(
    context: Arc<Context>,
    info: LaneInfo,
    mut origin: Origin,
    stop: watch::Receiver<bool>,
) -> Result<Left, RunError> {
    let mut driver = Driver::new(Arc::clone(&context), info.clone(), origin.clone(), stop.clone());
    let outcome = loop {
        match driver.run().await {
            // What was computed before it is committed. Whether it may be passed over is not the lane's to say.
            Err(RunError::Source { error: SourceError::Gap(found), .. }) => {
                let position = driver.lane.head().and_then(|head| head.pos.clone());
                let again = origin.past_gap.as_ref() == Some(&position);
                match gap::note(&context, &info.id, GapKind::Trimmed, position.as_deref(), &found).await {
                    Ok(true) if !again => {
                        origin.past_gap = Some(position);
                        driver = driver.anew(origin.clone());
                    }
                    Ok(_) => break Err(gap::error(&info, &found)),
                    Err(error) => break Err(error),
                }
            }
            // Read again from the head; what cannot be read again is left to the other host.
            Err(error @ RunError::Behind { .. }) if context.source.resumable() => {
                tracing::warn!(lane = %info.name, %error, "standing by");
                match driver.stand_by(&error).await {
                    Ok(None) => driver = driver.anew(origin.clone()),
                    Ok(Some(left)) => break Ok(left),
                    Err(error) => break Err(error),
                }
            }
            outcome => break outcome,
        }
    };
    let state = match &outcome {
        Ok(Left::Done) => LaneState::Done,
        Ok(Left::AtTip | Left::Stopped) => LaneState::Idle,
        Err(
            e
            @ (RunError::Poison { .. } | RunError::Pin { .. } | RunError::Behind { .. } | RunError::Unwritable { .. }),
        ) => LaneState::Paused(e.to_string()),
        Err(e) => LaneState::Halted(e.to_string()),
    };
    if let Err(error) = &outcome {
        tracing::error!(lane = %driver.info.name, %error, "the lane cannot go on");
    }
    driver.status.state = state;
    driver.status.trouble = outcome.as_ref().err().and_then(RunError::trouble);
    driver.tell();
    outcome
}

type Ahead = (Tip, JoinHandle<(Worker, Result<Computed, RunError>)>);

struct Driver {
    context: Arc<Context>,
    info: LaneInfo,
    stop: watch::Receiver<bool>,
    lane: Lane,
    past_gap: Option<Option<String>>,
    /// The worker while nobody computes.
    worker: Option<Worker>,
    ahead: Option<Ahead>,
    /// Contents computed and not yet taken by the protocol.
    ready: VecDeque<Content>,
    /// What the committed contents did, by number, until they are committed.
    told: VecDeque<(u64, Effects, Instant)>,
    status: LaneStatus,
    /// When the first record of the batch computed last was read.
    began: Instant,
    /// Computing has come to its end.
    left: Option<Left>,
    /// Computing has failed; what was computed before is written first.
    failed: Option<RunError>,
}

impl Driver {
    fn new(context: Arc<Context>, info: LaneInfo, origin: Origin, stop: watch::Receiver<bool>) -> Self {
        let key = context.layout.lane(&info.id);
        let config = Config {
            atomicity: context.store.atomicity(),
            limits: context.store.limits(),
            table: context.store.table(),
            intent_age_ms_max: context.config.intent_age_ms_max,
        };
        let status = LaneStatus { lane: info.name.clone(), ..LaneStatus::default() };
        Self {
            lane: Lane::child(key, config, origin.birth),
            past_gap: origin.past_gap,
            context,
            info,
            stop,
            worker: None,
            ahead: None,
            ready: VecDeque::new(),
            told: VecDeque::new(),
            status,
            began: Instant::now(),
            left: None,
            failed: None,
        }
    }

    /// The same lane from its head as it is now; what this host has counted of it stays told.
    fn anew(self, origin: Origin) -> Self {
        let fresh = Self::new(self.context, self.info, origin, self.stop);
        Self { status: LaneStatus { state: LaneState::Starting, ..self.status }, ..fresh }
    }

    async fn run(&mut self) -> Result<Left, RunError> {
        let mut stopping: Option<Instant> = None;
        loop {
            if *self.stop.borrow() {
                let since = *stopping.get_or_insert_with(Instant::now);
                if since.elapsed() > STOP_GRACE {
                    tracing::warn!(lane = %self.info.name, "left in the middle of a batch, which the next run takes up");
                    return Ok(Left::Stopped);
                }
            }
            self.offer().await?;
            match self.lane.step() {
                Step::Do(command) => self.execute(command).await?,
                Step::Wait { attempt, why } => {
                    let most = BACKOFF.saturating_mul(1 << attempt.min(12)).min(BACKOFF_MAX);
                    let wait = most.mul_f64(rand::random::<f64>());
                    if attempt >= WARN_ATTEMPTS {
                        tracing::warn!(lane = %self.info.name, attempt, %why, ?wait, "the store does not answer well; asking again");
                    } else {
                        tracing::debug!(lane = %self.info.name, attempt, %why, ?wait, "asking again");
                    }
                    self.pause(wait).await;
                    self.lane.waited();
                }
                Step::Compute(base) => {
                    self.settle();
                    if let Some(error) = self.failed.take() {
                        return Err(error);
                    }
                    if let Some(left) = self.left {
                        return Ok(left);
                    }
                    self.compute(base).await?;
                }
                Step::End(End::Done) => {
                    // Done under another policy is not done: nothing would be counted, and nobody told.
                    self.check_pin()?;
                    self.settle();
                    return Ok(Left::Done);
                }
                Step::End(End::Behind) => return Err(RunError::Behind { lane: self.info.name.clone() }),
                Step::End(End::Halted(halt)) => return Err(RunError::Halted { lane: self.info.name.clone(), halt }),
            }
        }
    }

    /// Sleeps, unless told to stop meanwhile.
    async fn pause(&mut self, wait: Duration) {
        if *self.stop.borrow() {
            // The grace is short: look again soon.
            tokio::time::sleep(wait.min(Duration::from_millis(200))).await;
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = self.stop.changed() => {}
        }
    }

    /// Another host is further on: leaves the lane to it, and takes it over once its head has not moved for
    /// `STAND_BY_LOOKS` looks. Two hosts that run by mistake do not push each other out for ever, and one that died is
    /// replaced. `Some`: there is nothing to take over any more.
    async fn stand_by(&mut self, why: &RunError) -> Result<Option<Left>, RunError> {
        self.status.state = LaneState::Paused(why.to_string());
        self.tell();
        let key = self.context.layout.lane(&self.info.id);
        let (mut seen, mut looks) = (None, 0);
        while looks < STAND_BY_LOOKS {
            let every = self.context.config.stand_by_every;
            self.pause(every.mul_f64(0.5 + rand::random::<f64>())).await;
            if *self.stop.borrow() {
                return Ok(Some(Left::Stopped));
            }
            let Answer::Head { stored, .. } = self.context.store.execute(&key, &Command::ReadHead).await? else {
                continue;
            };
            if stored.as_ref().is_some_and(|head| head.done && head.pend.is_none()) {
                return Ok(Some(Left::Done));
            }
            let now = stored.map(|head| (head.n, head.pend.map(|p| p.n)));
            looks = if now == seen { looks + 1 } else { 0 };
            seen = now;
        }
        tracing::warn!(lane = %self.info.name, "the other host has stopped; taking the lane over");
        Ok(None)
    }

    async fn execute(&mut self, command: Command) -> Result<(), RunError> {
        let key = self.context.layout.lane(&self.info.id);
        let commits = matches!(command, Command::Commit { .. } | Command::Transact { .. });
        let answer = self.context.store.execute(&key, &command).await?;
        self.lane.answer(answer);
        if commits {
            self.settle();
        }
        Ok(())
    }

    /// Tells the hub of every content that the head has taken in.
    fn settle(&mut self) {
        let Some(head) = self.lane.head() else { return };
        let (n, position) = (head.n, head.pos.clone());
        (self.status.progress, self.status.idle) = (head.progress, head.idle);
        // Nothing arrives at what has an end, such as files of last year: there it counts when a batch was read.
        let arrival = head.progress.arrival.filter(|_| !self.context.source.finite());
        self.status.durable_ms = self.status.durable_ms.max(arrival.map(ArrivalTime::as_millis));
        while self.told.front().is_some_and(|(told, ..)| *told <= n) {
            let (_, effects, began) = self.told.pop_front().expect("there is a front");
            self.status.account.add(&effects.account);
            self.status.rows_written += effects.groups.iter().map(|g| g.rows.len() as u64).sum::<u64>();
            self.status.batches += 1;
            self.context.hub.rows(&self.info.name, &effects);
            self.context.hub.batch_took(began.elapsed());
            if arrival.is_none() {
                let took = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
                self.status.durable_ms = self.status.durable_ms.max(Some(clock::now_ms().saturating_sub(took)));
            }
        }
        self.status.n = n;
        self.status.position = position.map(Position);
        self.tell();
    }

    fn tell(&mut self) {
        self.status.at_ms = clock::now_ms();
        self.context.hub.write_units(self.context.store.write_units());
        self.context.hub.lane(self.status.clone());
    }

    /// Hands the protocol the next content where it wants one, and keeps the worker one batch ahead: while the store is
    /// slow or gone, one batch waits in `ready` and one in `ahead`, and no more is read.
    async fn offer(&mut self) -> Result<(), RunError> {
        if self.ready.is_empty() && self.ahead.as_ref().is_some_and(|(_, task)| task.is_finished()) {
            self.take().await?;
        }
        while self.lane.wants() && !self.ready.is_empty() {
            let content = self.ready.pop_front().expect("not empty");
            self.told.push_back((content.n, content.effects.clone(), self.began));
            self.lane.offer(content);
        }
        Ok(())
    }

    /// Takes what was computed ahead, and goes on computing unless that was the end.
    async fn take(&mut self) -> Result<(), RunError> {
        let Some((tip, task)) = self.ahead.take() else { return Ok(()) };
        let (worker, computed) =
            task.await.map_err(|e| RunError::Bug { lane: self.info.name.clone(), detail: e.to_string() })?;
        self.status.bytes_read = worker.bytes_read;
        self.status.traps = worker.traps;
        self.status.misplaced = worker.misplaced();
        self.worker = Some(worker);
        match computed {
            Ok(Computed::Batch(batch, began, After { last, idle })) => {
                self.began = began;
                self.status.state = if idle { LaneState::Idle } else { LaneState::Running };
                let limits = self.context.store.limits();
                let contents = if idle { tip.contents_at_rest(*batch, &limits) } else { tip.contents(*batch, &limits) };
                let next = contents.last().map_or(tip, Content::tip);
                self.ready.extend(contents);
                if last {
                    self.left = Some(Left::Done);
                } else {
                    self.start(next);
                }
            }
            Ok(Computed::Nothing(made)) => self.left = Some(made.left()),
            // What was computed before it is written first.
            Err(error) => self.failed = Some(error),
        }
        Ok(())
    }

    /// Computes onto `tip` in a task of its own.
    fn start(&mut self, tip: Tip) {
        let mut worker = self.worker.take().expect("nobody computes");
        let (context, stop) = (Arc::clone(&self.context), self.stop.clone());
        let at = tip.clone();
        let task = tokio::spawn(async move {
            let made = worker.batch(&context, &at, stop).await;
            (worker, made)
        });
        self.ahead = Some((tip, task));
    }

    /// The protocol has nothing to write: waits for the batch that joins onto its tip.
    async fn compute(&mut self, base: Base) -> Result<(), RunError> {
        if let Some(mut state) = base.state {
            let at = base.tip.pos.clone().map(Position);
            // What is still to be given out was computed under the policy of before.
            if state.rest.is_none() && self.context.source.begins_anew(at.as_ref()) {
                state.snapshot = None;
            } else {
                self.check_pin()?;
            }
            // Whatever was computed ahead joined onto something else.
            self.ready.clear();
            self.told.clear();
            if let Some((_, task)) = self.ahead.take() {
                task.abort();
            }
            let (snapshot, stop) = (state.snapshot.as_deref(), self.stop.clone());
            let idle = self.lane.head().is_some_and(|head| head.idle);
            let begin = Begin { tip: &base.tip, idle, past_gap: self.past_gap.as_ref() == Some(&base.tip.pos) };
            let Some(worker) = Worker::open(&self.context, &self.info, begin, snapshot, stop).await? else {
                self.left = Some(Left::Stopped);
                return Ok(());
            };
            self.worker = Some(worker);
            if let Some(rest) = state.rest {
                let batch = Made::rest(&self.context, &base.tip, rest, state.snapshot);
                self.ready.extend(base.tip.contents(batch, &self.context.store.limits()));
                return Ok(());
            }
            self.start(base.tip);
        } else if self.ahead.is_none() && self.ready.is_empty() {
            self.start(base.tip);
        }
        self.take().await
    }

    fn check_pin(&self) -> Result<(), RunError> {
        same_pin(&self.context, &self.info.name, self.lane.head().and_then(|head| head.pin.as_ref()))
    }
}

/// A lane goes on under the policy and module that it, or its parents, were counted with; anything else is a swap, and said so.
pub(super) fn same_pin(context: &Context, lane: &str, was: Option<&Pin>) -> Result<(), RunError> {
    let Some(was) = was else { return Ok(()) };
    let is = context.pin();
    if was.policy == is.policy {
        return Ok(());
    }
    let hex = |d: &[u8]| d.iter().take(6).map(|b| format!("{b:02x}")).collect::<String>();
    Err(RunError::Pin {
        lane: lane.to_owned(),
        detail: format!(
            "counted until now under policy {} (sha256 {}...), this is policy {} (sha256 {}...); run the old policy, or recount under the new one \
             with --generation NAME or into another store",
            was.name,
            hex(&was.policy),
            is.name,
            hex(&is.policy)
        ),
    })
}
