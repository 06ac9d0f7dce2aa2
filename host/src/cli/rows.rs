//! `plimsoll rows`: rows of a store as they stand, each with provisional or final.

use super::dead::DeadLine;
use super::stored::{WindowArgs, print};
use super::{Exit, Outcome, common};
use crate::store::dynamodb::DynamoStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{Completeness, Layout, Store, StoreError, Which};
use plimsoll_core::rollup::Level;
use plimsoll_core::rows::{write_late_row, write_row};
use plimsoll_core::wire::effects::Table;
use std::io::Write;
use std::path::PathBuf;

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
#[command(group(clap::ArgGroup::new("store").required(true).args(["sqlite", "dynamodb"])))]
pub struct Args {
    /// The policy that the rows were counted under.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The SQLite file.
    #[arg(long, value_name = "FILE")]
    sqlite: Option<PathBuf>,
    /// The prefix of the DynamoDB tables.
    #[arg(long, value_name = "PREFIX")]
    dynamodb: Option<String>,
    /// Rows of another generation.
    #[arg(long, value_name = "NAME", default_value = "")]
    generation: String,
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
    /// NDJSON, which is what is written anyway: accepted for symmetry with the other commands.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Rollup {
    Hour,
    Day,
}

pub async fn rows(args: Args) -> Outcome {
    let refused = |e: StoreError| Exit::Store.because(e);
    let (policy, _) = common::policy(&args.policy)?;
    let store: Box<dyn Store> = match (&args.sqlite, &args.dynamodb) {
        (Some(file), _) => Box::new(SqliteStore::open_read_only(file).map_err(refused)?),
        (_, Some(prefix)) => Box::new(DynamoStore::connect(prefix).await.map_err(refused)?),
        _ => unreachable!("clap wants one of them"),
    };
    let layout = Layout { policy: policy.clone(), generation: args.generation.clone() };
    let mut text = Vec::new();
    if args.dead_letters {
        for d in store.dead_letters(&layout, args.limit.unwrap_or(usize::MAX)).await.map_err(refused)? {
            writeln!(text, "{}", DeadLine::of(&d).to_json()).expect("a vector takes all");
        }
        return print(&text);
    }
    let table = if args.late { Which::Late } else { Which::Main };
    let query = args.windows.query(&policy, table, args.limit)?;
    let heads = store.heads(&layout).await.map_err(refused)?;
    let completeness = Completeness::of(&policy, &heads);
    if let Some(level) = args.rollup {
        let level = match level {
            Rollup::Hour => Level::Hour,
            Rollup::Day => Level::Day,
        };
        let spans = super::rollup::spans(&policy, level)?;
        let rolled_up = store.rollup(&layout, &spans, level, &query).await.map_err(refused)?;
        let completeness = completeness.behind(rolled_up.up_to);
        for row in rolled_up.rows {
            write_row(&policy, &row.window, Some(completeness.fate(&row.window)), &row.row, &mut text);
        }
        return print(&text);
    }
    for row in store.rows(&layout, &query).await.map_err(refused)? {
        match row.table {
            Table::Late { day } => write_late_row(&policy, &row.window, day, &row.row, &mut text),
            _ => write_row(&policy, &row.window, Some(completeness.fate(&row.window)), &row.row, &mut text),
        }
    }
    print(&text)
}
