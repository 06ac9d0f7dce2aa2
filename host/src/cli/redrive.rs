//! `plimsoll redrive`: dead letters through the engine again, into the same rows, exactly once.
//!
//! Not here: which letters, and why nothing counts twice (`crate::redrive`).

use super::common::{self, EngineArgs};
use super::dead_letters::Filter;
use super::run::{duration, failure};
use super::stored::{StoreArgs, moment, print, refused, unreadable};
use super::{Exit, Failure, Outcome, reasons};
use crate::driver::{BatchLimits, Parts, RunConfig, RunError, run as drive};
use crate::live::{About, StatusHub};
use crate::redrive::{Choice, LANE, Redrive, Wish};
use crate::source::Source;
use crate::store::{Layout, StoredDeadLetter, hex};
use anyhow::anyhow;
use plimsoll_core::account::{Account, Reason};
use plimsoll_core::lane::Head;
use plimsoll_core::policy::Policy;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Drives records that were set aside through the engine again, into the same rows.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  plimsoll redrive --policy mended.toml --sqlite counts.db --dry-run
  plimsoll redrive --policy mended.toml --dynamodb prod --reason missing_field --reason wrong_type
  plimsoll redrive --policy impressions.toml --sqlite counts.db --reason future

Each letter is driven once, whatever policies and filters come later; a second call, a crash, or two calls at once count nothing
twice. What fails again is a new letter in the lane `redrive`, and is driven by the next call. The policy must count the same
rows (windows, keys, measures) as the one before. Without --reason all that was rejected: `future` only if asked for, and then
only records whose time has come or that this policy takes; `late` only if asked for. Late is judged among the driven records.")]
pub struct Args {
    #[command(flatten)]
    pub(super) at: StoreArgs,
    #[command(flatten)]
    filter: Filter,
    /// Say what would be driven, and drive nothing.
    #[arg(long)]
    dry_run: bool,
    /// Go on where most of a batch is rejected again.
    #[arg(long)]
    accept_poison: bool,
    /// Count records of windows whose rows may have expired (DynamoDB), in rows that hold nothing else.
    #[arg(long)]
    accept_expired: bool,
    /// Write rows at least this often [default: 1s].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    flush_interval: Option<Duration>,
    #[command(flatten)]
    engine: EngineArgs,
}

/// So many letters that are not driven are named to people.
const NAMED: usize = 20;
/// Letters of a batch, in bytes: a redrive that is cut off repeats little.
const BATCH_BYTES: usize = 1 << 20;
const CHUNK_BYTES: usize = 64 << 10;
/// How often a second redrive looks whether the first one goes on.
const STAND_BY_EVERY: Duration = Duration::from_millis(500);

pub async fn redrive(args: Args) -> Outcome {
    let layout = args.at.layout()?;
    allowed(&layout.policy)?;
    let mut wish = Wish { lane: args.filter.lane.clone(), ..Wish::rejected() };
    if !args.filter.reasons.is_empty() {
        wish.reasons = args.filter.reasons.iter().copied().collect();
    }
    // Looked at before anything can be written: a store that is not there is not made by this.
    let reading = args.at.place.to_read().await?;
    let heads = reading.heads(&layout).await.map_err(refused)?;
    if let Some(lane) = wish.lane.as_ref().filter(|lane| heads.iter().all(|h| h.key.lane != **lane)) {
        let known: Vec<_> = heads.iter().map(|h| h.key.lane.as_str()).collect();
        return Err(Exit::Run.because(anyhow!(
            "--lane: no lane {lane} under this policy's name and generation; there are {}",
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        )));
    }
    same_rows(&layout, &heads)?;
    let source = Redrive::new(reading, layout.clone(), wish).await.map_err(refused)?;
    let choice = source.choice().await.map_err(unreadable)?;
    if args.dry_run || choice.letters().len() == 0 {
        return report(&args, &choice, &Account::default());
    }
    if let Some(first) = choice.expired.first().filter(|_| !args.accept_expired && !choice.resumed) {
        return Err(Exit::Store.because(anyhow!(
            "{} of {} records are of windows whose rows may have expired in {} (the first: {} of lane {}): what is driven would \
             stand there alone. Nothing was driven; recount those windows from the source (plimsoll replay), or pass \
             --accept-expired",
            choice.expired.len(),
            choice.letters().len(),
            source.describe(),
            first.position,
            first.lane
        )));
    }
    let engines = args.engine.load()?;
    let (store, limits) = args.at.place.to_write().await?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(common::stop_on_signal(stop));
    let source = Arc::new(source);
    let config = RunConfig {
        generation: layout.generation.clone(),
        batch: BatchLimits {
            bytes: BATCH_BYTES,
            chunk_bytes: CHUNK_BYTES,
            interval: args.flush_interval.unwrap_or(limits.interval),
            ..limits
        },
        accept_poison: args.accept_poison,
        stand_by_every: STAND_BY_EVERY,
        ..RunConfig::default()
    };
    let mut account = Account::default();
    let mut left = choice.letters().len();
    // Once, unless another redrive was cut off, or is running: that one's letters come first.
    while left > 0 && !*stopped.borrow() {
        let about = About { source: source.describe(), store: store.describe(), module: engines.digest() };
        let hub = Arc::new(StatusHub::new(about, Arc::clone(&layout.policy), Arc::new(crate::clock::now_ms)));
        let parts = Parts {
            source: Arc::clone(&source) as Arc<dyn Source>,
            store: Arc::clone(&store),
            engines: Arc::clone(&engines),
            policy: Arc::clone(&layout.policy),
            hub: Arc::clone(&hub),
        };
        let outcome = drive(config.clone(), parts, stopped.clone()).await;
        account.add(hub.stats().account.account());
        outcome.map_err(|e| match e {
            RunError::Pin { .. } => Exit::Halted.because(anyhow!(
                "a redrive that was cut off began under another policy; finish it with that one, then drive the rest under \
                 this one: {e}"
            )),
            e => failure(e),
        })?;
        left = source.choice().await.map_err(unreadable)?.letters().len();
    }
    report(&args, &choice, &account)
}

/// Policies whose windows wait for triggers keep them in a lane's state until the watermark passes, and a redrive's lane has
/// no future in which it would.
fn allowed(policy: &Policy) -> Result<(), Failure> {
    let what = match policy.spec() {
        s if !s.kept.is_empty() => "lists and estimates, which no store holds",
        s if policy.merges() || s.panes.is_some() => "windows that wait for triggers in their lane's state",
        _ => return Ok(()),
    };
    Err(Exit::Policy.because(anyhow!(
        "policy `{}` has {what}, so its records cannot be driven again by a lane of their own; mend the records or the \
         policy, and recount from the source under a new --generation (plimsoll replay)",
        policy.spec().policy
    )))
}

/// Refuses a policy that counts other rows than the lanes do: what is driven would stand alone.
fn same_rows(layout: &Layout, heads: &[Head]) -> Result<(), Failure> {
    let mut pins = heads.iter().filter(|h| h.key.lane != LANE).filter_map(|h| h.pin.as_ref());
    let Some(other) = pins.clone().next() else { return Ok(()) };
    if pins.any(|pin| pin.shape == layout.policy.shape()) {
        return Ok(());
    }
    Err(Exit::Policy.because(anyhow!(
        "policy `{}` (sha256 {}...) counts other rows than the lanes do (windows, keys, measures, filter or computed fields \
         differ from those of sha256 {}...): redriven records would stand apart from the others; mend the policy without \
         changing these, or recount under a new --generation (plimsoll replay)",
        layout.policy.spec().policy,
        hex(&layout.policy.digest()[..6]),
        hex(&other.policy[..6])
    )))
}

/// Says what was driven, or would be.
fn report(args: &Args, choice: &Choice, account: &Account) -> Outcome {
    let mut chosen: BTreeMap<Reason, u64> = BTreeMap::new();
    choice.letters().for_each(|l| *chosen.entry(l.reason).or_default() += 1);
    let place = |l: &StoredDeadLetter| json!({ "lane": l.lane, "position": l.position, "reason": l.reason.name(), "length": l.length, "kept": l.raw.len() });
    if args.at.json {
        let object = json!({
            "dry_run": args.dry_run,
            "resumed": choice.resumed,
            "chosen": choice.letters().len(),
            "reasons": reasons::counts(&chosen),
            "account": account,
            "truncated": choice.truncated.iter().map(place).collect::<Vec<_>>(),
            "expired": choice.expired.len(),
            "not_yet": choice.not_yet.iter().map(place).collect::<Vec<_>>(),
        });
        return print(format!("{object}\n"));
    }
    let mut text = String::new();
    if choice.resumed {
        text.push_str("A redrive that was cut off is finished first.\n");
    }
    match (choice.letters().len(), args.dry_run) {
        (0, _) => text.push_str("Nothing to drive.\n"),
        (n, true) => text.push_str(&format!("Would be driven: {n}.\n")),
        (_, false) => text.push_str(&format!("Driven: {}.\n", reasons::account(account))),
    }
    if args.dry_run {
        chosen.iter().for_each(|(reason, n)| text.push_str(&format!("  {n} x {}\n", reason.name())));
    }
    let again = account.rejected + account.future;
    if again > 0 {
        text.push_str(&format!("Failed again: {again}; they are dead letters of the lane `{LANE}` now.\n"));
    }
    for l in choice.truncated.iter().take(NAMED) {
        text.push_str(&format!(
            "Cannot be driven: {} of lane {} ({}): {} of its {} bytes were kept (limits.dead_letter_bytes).\n",
            l.position,
            l.lane,
            l.reason.name(),
            l.raw.len(),
            l.length
        ));
    }
    text.push_str(&more(choice.truncated.len(), "cannot be driven"));
    for l in choice.not_yet.iter().take(NAMED) {
        let arrival = l.arrival.map_or_else(|| "at a time not known".into(), |at| moment(at.as_millis()));
        text.push_str(&format!(
            "Not yet: {} of lane {}, arrived {arrival}, is dated after now, or says itself when it arrived.\n",
            l.position, l.lane
        ));
    }
    text.push_str(&more(choice.not_yet.len(), "are not driven yet"));
    print(text)
}

/// How many letters are not named.
fn more(all: usize, what: &str) -> String {
    all.checked_sub(NAMED)
        .filter(|more| *more > 0)
        .map_or_else(String::new, |more| format!("{more} more {what}; --json names all of them.\n"))
}
