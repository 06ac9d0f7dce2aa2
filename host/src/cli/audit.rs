//! `plimsoll audit`: whether everything adds up, and where it does not.

use super::stored::{StoreArgs, print, refused};
use super::{Exit, Outcome};
use crate::audit::{self, Check, Outcome as Came, Report};
use crate::clock;
use anyhow::anyhow;
use std::fmt::Write as _;

/// Compares the lanes' accounts with rows, late rows and dead letters, and hours and days with what they are made of.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  plimsoll audit --policy impressions.toml --sqlite counts.db
  plimsoll audit --policy impressions.toml --dynamodb prod --json

It reads everything and writes nothing; others may write meanwhile. What has expired, or what the policy's measures do not
tell, is said to be unchecked. Exit code 10: something does not add up; what, of which lane, key and window, with what was found
and what was expected, stands in the output.")]
pub struct Args {
    #[command(flatten)]
    pub(super) at: StoreArgs,
}

pub async fn audit(args: Args) -> Outcome {
    let layout = args.at.layout()?;
    let store = args.at.place.to_read().await?;
    let report = audit::audit(store.as_ref(), &layout, clock::now_ms()).await.map_err(refused)?;
    print(if args.at.json { format!("{}\n", serde_json::json!(report)) } else { told(&report) })?;
    if report.balanced {
        return Ok(());
    }
    let wrong = report.checks.iter().filter(|c| c.outcome == Came::Imbalance).count();
    Err(Exit::Imbalance.because(anyhow!(
        "{wrong} of {} checks do not add up in {}",
        report.checks.len(),
        store.describe()
    )))
}

fn told(report: &Report) -> String {
    let mut text = String::new();
    for lane in &report.lanes {
        let a = &lane.account;
        let in_flight = lane
            .in_flight
            .map_or(String::new(), |p| format!("; batch {} with {} records is in flight", p.n, p.records));
        writeln!(
            text,
            "lane {}: {} batches, read {} = counted {} + late {} + future {} + rejected {} + filtered {} + duplicate {}{in_flight}",
            lane.lane, lane.n, a.read, a.counted, a.late, a.future, a.rejected, a.filtered, a.duplicate
        )
        .expect("a String takes any text");
    }
    for check in &report.checks {
        line(check, &mut text);
    }
    text
}

fn line(c: &Check, text: &mut String) {
    let outcome = match c.outcome {
        Came::Ok => "ok",
        Came::Imbalance => "IMBALANCE",
        Came::NotChecked => "not checked",
    };
    let mut of = String::new();
    if let Some(lane) = &c.lane {
        of.push_str(&format!(", lane {lane}"));
    }
    if let Some(key) = &c.key {
        of.push_str(&format!(", key {key}"));
    }
    if let Some([start, end]) = c.window {
        of.push_str(&format!(", window_start {start}, window_end {end}"));
    }
    let compared = match c.outcome {
        Came::NotChecked if c.found.is_empty() => String::new(),
        _ => format!(": found {}, expected {}", c.found, c.expected),
    };
    let note = if c.note.is_empty() { String::new() } else { format!(" ({})", c.note) };
    writeln!(text, "{outcome}: {}{of}{compared}{note}", c.check).expect("a String takes any text");
}
