//! `plimsoll dead-letters`: the records that were set aside, with filters, and counts by reason.
//!
//! Not here: a letter as a line (`dead`), driving letters again (`redrive`).

use super::dead::DeadLine;
use super::stored::{StoreArgs, print, refused, table, unreadable};
use super::{Outcome, common, reasons};
use crate::redrive::{Ledger, by_place};
use crate::store::StoredDeadLetter;
use plimsoll_core::account::Reason;
use plimsoll_core::time::{ArrivalTime, EventTime};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;

/// Shows records that were set aside, with their reason.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  plimsoll dead-letters --policy impressions.toml --sqlite counts.db --summary
  plimsoll dead-letters --policy impressions.toml --dynamodb prod --reason bad_time --reason unit_suspect --limit 20
  plimsoll dead-letters --policy impressions.toml --sqlite counts.db --open | jq -r .raw

An object a line, by lane, batch and position: lane, position, reason, detail, arrival (ms), length (bytes), the record itself
as text in `raw` or else in `raw_base64`, batch, truncated (only its beginning was kept), redriven (`plimsoll redrive` has driven
it: it is counted now, or has a younger letter in the lane `redrive`).")]
pub struct Args {
    #[command(flatten)]
    pub(super) at: StoreArgs,
    #[command(flatten)]
    filter: Filter,
    /// Letters of records that arrived at or after this time (RFC 3339 or milliseconds).
    #[arg(long, value_name = "TIME", value_parser = common::time)]
    from: Option<EventTime>,
    /// Letters of records that arrived before this time.
    #[arg(long, value_name = "TIME", value_parser = common::time)]
    to: Option<EventTime>,
    /// Only those that no redrive has driven.
    #[arg(long)]
    open: bool,
    /// At most so many.
    #[arg(long, value_name = "N", conflicts_with = "summary")]
    limit: Option<usize>,
    /// How many there are for each reason, instead of the letters.
    #[arg(long)]
    summary: bool,
}

/// Which letters.
#[derive(clap::Args, Clone, Debug)]
pub struct Filter {
    /// For this reason only; may be given several times.
    #[arg(long = "reason", value_name = "NAME", value_parser = reasons::by_name)]
    pub reasons: Vec<Reason>,
    /// Of this lane only.
    #[arg(long, value_name = "ID")]
    pub lane: Option<String>,
}

impl Filter {
    fn wants(&self, letter: &StoredDeadLetter) -> bool {
        (self.reasons.is_empty() || self.reasons.contains(&letter.reason))
            && self.lane.as_ref().is_none_or(|lane| *lane == letter.lane)
    }
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    letter: DeadLine<'a>,
    batch: u64,
    truncated: bool,
    redriven: bool,
}

/// How many letters there are for a reason.
#[derive(Default)]
struct Count {
    all: u64,
    redriven: u64,
    truncated: u64,
}

pub async fn dead_letters(args: Args) -> Outcome {
    let layout = args.at.layout()?;
    let store = args.at.place.to_read().await?;
    let ledger = Ledger::of(&store.heads(&layout).await.map_err(refused)?).map_err(unreadable)?;
    let mut letters = store.dead_letters(&layout, usize::MAX).await.map_err(refused)?;
    let in_time = |l: &StoredDeadLetter| {
        let arrival = l.arrival.map(ArrivalTime::as_event_time);
        let none = args.from.is_none() && args.to.is_none();
        arrival.map_or(none, |at| args.from.is_none_or(|t| t <= at) && args.to.is_none_or(|t| at < t))
    };
    letters.retain(|l| args.filter.wants(l) && in_time(l) && !(args.open && ledger.redriven(l)));
    if args.summary {
        return summary(&letters, &ledger, args.at.json);
    }
    letters.sort_by(by_place);
    let mut text = String::new();
    for l in letters.iter().take(args.limit.unwrap_or(usize::MAX)) {
        let line = Line {
            letter: DeadLine::of(l),
            batch: l.n,
            truncated: l.length > l.raw.len() as u64,
            redriven: ledger.redriven(l),
        };
        text.push_str(&serde_json::to_string(&line).expect("strings and numbers"));
        text.push('\n');
    }
    print(text)
}

fn summary(letters: &[StoredDeadLetter], ledger: &Ledger, as_json: bool) -> Outcome {
    let mut counts: BTreeMap<Reason, Count> = BTreeMap::new();
    for l in letters {
        let count = counts.entry(l.reason).or_default();
        count.all += 1;
        count.redriven += u64::from(ledger.redriven(l));
        count.truncated += u64::from(l.length > l.raw.len() as u64);
    }
    if as_json {
        let reason = |(reason, c): (&Reason, &Count)| {
            json!({
                "code": *reason as u16, "reason": reason.name(), "count": c.all, "redriven": c.redriven,
                "truncated": c.truncated, "meaning": reasons::meaning(*reason),
            })
        };
        let object = json!({
            "letters": letters.len(),
            "reasons": counts.iter().map(reason).collect::<Vec<_>>(),
            "redrive_under_way": ledger.is_under_way(),
        });
        return print(format!("{object}\n"));
    }
    if letters.is_empty() {
        return print("No dead letters.\n");
    }
    let row = |(reason, c): (&Reason, &Count)| {
        let code = (*reason as u16).to_string();
        let numbers = [c.all, c.redriven, c.truncated].map(|n| n.to_string());
        [code, reason.name().to_owned()].into_iter().chain(numbers).chain([reasons::meaning(*reason).into()]).collect()
    };
    let rows: Vec<Vec<String>> = counts.iter().map(row).collect();
    let mut text = table(&["code", "reason", "letters", "redriven", "truncated", "meaning"], &rows);
    if ledger.is_under_way() {
        text.push_str("A redrive is under way, or was cut off: `plimsoll redrive` finishes it.\n");
    }
    print(text)
}
