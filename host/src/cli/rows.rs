//! `plimsoll rows`: rows of a store as they stand, each with provisional or final.

use super::Outcome;
use super::dead::DeadLine;
use super::stored::{StoreArgs, WindowArgs, print, refused};
use crate::store::{Completeness, Which};
use plimsoll_core::rollup::Level;
use plimsoll_core::rows::{write_late_row, write_row};
use plimsoll_core::wire::effects::Table;
use std::io::Write;

/// Reads rows from a store, each with provisional or final.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  plimsoll rows --policy impressions.toml --sqlite counts.db
  plimsoll rows --policy impressions.toml --dynamodb prod --key '[\"p-017\",\"c-0342\"]' --from 2026-11-23T10:00:00Z
  plimsoll rows --policy impressions.toml --sqlite counts.db --dead-letters
  plimsoll rows --policy impressions.toml --sqlite counts.db --rollup day

An object a line: a row, its keys and measures with window_start, window_end (ms) and state (provisional, final); a late row
has arrival_day instead of a state. A dead letter has lane, position, reason, detail, arrival (ms), length (bytes) and the
record itself: as text in `raw`, or in `raw_base64` if it is no UTF-8. In no particular order.")]
pub struct Args {
    #[command(flatten)]
    pub(super) at: StoreArgs,
    /// Late rows instead.
    #[arg(long, conflicts_with = "dead_letters")]
    late: bool,
    /// Records that were set aside instead.
    #[arg(long)]
    dead_letters: bool,
    /// Rows of hours or days instead, of the policy's `[rollup]`.
    #[arg(long, value_name = "LEVEL", value_enum, conflicts_with_all = ["late", "dead_letters"])]
    rollup: Option<Rollup>,
    #[command(flatten)]
    windows: WindowArgs,
    /// At most so many.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Rollup {
    Hour,
    Day,
}

pub async fn rows(args: Args) -> Outcome {
    let layout = args.at.layout()?;
    let policy = &layout.policy;
    let store = args.at.place.to_read().await?;
    let mut text = Vec::new();
    if args.dead_letters {
        for d in store.dead_letters(&layout, args.limit.unwrap_or(usize::MAX)).await.map_err(refused)? {
            writeln!(text, "{}", DeadLine::of(&d).to_json()).expect("a vector takes all");
        }
        return print(&text);
    }
    let table = if args.late { Which::Late } else { Which::Main };
    let query = args.windows.query(policy, table, args.limit)?;
    let heads = store.heads(&layout).await.map_err(refused)?;
    let completeness = Completeness::of(policy, &heads);
    if let Some(level) = args.rollup {
        let level = match level {
            Rollup::Hour => Level::Hour,
            Rollup::Day => Level::Day,
        };
        let spans = super::rollup::spans(policy, level)?;
        let rolled_up = store.rollup(&layout, &spans, level, &query).await.map_err(refused)?;
        let completeness = completeness.behind(rolled_up.up_to);
        for row in rolled_up.rows {
            write_row(policy, &row.window, Some(completeness.fate(&row.window)), &row.row, &mut text);
        }
        return print(&text);
    }
    for row in store.rows(&layout, &query).await.map_err(refused)? {
        match row.table {
            Table::Late { day } => write_late_row(policy, &row.window, day, &row.row, &mut text),
            _ => write_row(policy, &row.window, Some(completeness.fate(&row.window)), &row.row, &mut text),
        }
    }
    print(&text)
}
