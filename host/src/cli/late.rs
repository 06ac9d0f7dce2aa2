//! `plimsoll late`: the late table, and what dropping it would cost.
//!
//! Not here: rows of both tables side by side (`rows`).

use super::Outcome;
use super::standing::Standing;
use super::stored::{StoreArgs, WindowArgs, print, refused, table};
use crate::store::{RowQuery, StoredRow, Which};
use plimsoll_core::policy::{LateTo, Measure, Op, Policy};
use plimsoll_core::rows::{day_text, figure_text, write_late_row};
use plimsoll_core::wire::effects::Table;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Shows late records, per key, window and arrival day, or what dropping them would cost.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  plimsoll late --policy impressions.toml --sqlite counts.db --from 2026-11-23T00:00:00Z
  plimsoll late --policy impressions.toml --dynamodb prod --summary

An object a line: the row's keys and measures with window_start, window_end (ms) and arrival_day. With --summary a table by
arrival day and one by measure; with --json, too, one object. The summary reads the windows' own rows as well; in DynamoDB
that is a scan of the table unless --key is given.")]
pub struct Args {
    #[command(flatten)]
    pub(super) at: StoreArgs,
    #[command(flatten)]
    windows: WindowArgs,
    /// At most so many rows.
    #[arg(long, value_name = "N", conflicts_with = "summary")]
    limit: Option<usize>,
    /// What dropping late records would cost, instead of the rows.
    #[arg(long)]
    summary: bool,
}

pub async fn late(args: Args) -> Outcome {
    let layout = args.at.layout()?;
    let policy = &layout.policy;
    let store = args.at.place.to_read().await?;
    let query = args.windows.query(policy, Which::Late, args.limit)?;
    let late = store.rows(&layout, &query).await.map_err(refused)?;
    if !args.summary {
        let mut text = Vec::new();
        for r in &late {
            write_late_row(policy, &r.window, day(r), &r.row, &mut text);
        }
        return print(text);
    }
    let main = store.rows(&layout, &RowQuery { table: Which::Main, ..query }).await.map_err(refused)?;
    let account = Standing::read(store.as_ref(), &layout).await?.account();
    let cost = Cost::of(policy, &main, &late);
    if args.at.json {
        let object = json!({
            "policy": policy.spec().policy,
            "generation": layout.generation,
            "late_to": policy.spec().late.to,
            "records": {
                "counted": account.counted, "late": account.late,
                "dropped": account.late_dropped, "accepted": account.late_accepted,
                "share_percent": share(account.late.into(), account.counted.into()),
            },
            "rows": late.len(),
            "days": cost.days.iter().map(|(day, d)| json!({
                "arrival_day": day.map(day_text), "rows": d.rows, "records": d.records,
            })).collect::<Vec<_>>(),
            "measures": cost.measures.iter().map(|m| json!({
                "measure": m.name, "late": m.late, "main": m.main, "share_percent": m.share,
            })).collect::<Vec<_>>(),
        });
        return print(format!("{object}\n"));
    }
    let mut text = format!(
        "All lanes together: {} records counted in time, {} late ({} of them dropped, in no table); {} % of all are late.\n",
        account.counted,
        account.late,
        account.late_dropped,
        share(account.late.into(), account.counted.into())
    );
    text.push_str(match policy.spec().late.to {
        LateTo::Table => "The policy keeps late records in the late table. Dropping them would cost:\n",
        LateTo::Drop => "The policy drops late records: they are counted, and in no table.\n",
        LateTo::Accept => "The policy accepts late records in the windows' own rows.\n",
        LateTo::DeadLetters => {
            "The policy sends late records to the dead letters (plimsoll dead-letters --reason late).\n"
        }
        _ => "",
    });
    if !late.is_empty() {
        let measures: Vec<_> = cost
            .measures
            .iter()
            .map(|m| vec![m.name.clone(), m.late.clone(), m.main.clone(), format!("{} %", m.share)])
            .collect();
        text.push_str(&table(&["measure", "late", "in time", "share"], &measures));
        let days = cost.days.iter().map(|(day, d)| {
            let day = day.map_or_else(|| "unknown".to_owned(), day_text);
            vec![day, d.rows.to_string(), d.records.map_or_else(|| "-".into(), |n| n.to_string())]
        });
        text.push_str(&table(&["arrival day", "rows", "records"], &days.collect::<Vec<_>>()));
    }
    print(text)
}

fn day(r: &StoredRow) -> Option<i64> {
    match r.table {
        Table::Late { day } => day,
        _ => None,
    }
}

/// What the late rows hold beside the main ones.
struct Cost {
    days: BTreeMap<Option<i64>, Day>,
    measures: Vec<Part>,
}

#[derive(Default)]
struct Day {
    rows: u64,
    /// Where the policy counts records.
    records: Option<i128>,
}

struct Part {
    name: String,
    late: String,
    main: String,
    share: Value,
}

impl Cost {
    fn of(policy: &Policy, main: &[StoredRow], late: &[StoredRow]) -> Self {
        let measures = &policy.spec().measures;
        let count = policy.count_column();
        let mut days: BTreeMap<Option<i64>, Day> = BTreeMap::new();
        for r in late {
            let held = days.entry(day(r)).or_default();
            held.rows += 1;
            if let Some(n) = count.and_then(|i| r.row.values[i]) {
                held.records = Some(held.records.unwrap_or(0) + n);
            }
        }
        let adds_up = |m: &Measure| matches!(m.op, Op::Count | Op::Sum);
        let parts = measures.iter().enumerate().filter(|(_, m)| adds_up(m)).map(|(i, m)| {
            // Totals are at most 10^30 each: 10^8 of them fit.
            let total = |rows: &[StoredRow]| rows.iter().filter_map(|r| r.row.values[i]).sum::<i128>();
            let (late, main) = (total(late), total(main));
            Part {
                name: m.name.clone(),
                late: figure_text(late, m.decimals()),
                main: figure_text(main, m.decimals()),
                share: share(late, main),
            }
        });
        Self { measures: parts.collect(), days }
    }
}

/// The first as a part of both, in percent with two decimals.
fn share(part: i128, rest: i128) -> Value {
    match part.saturating_add(rest) {
        0 => json!(0.0),
        whole => json!((part as f64 * 10_000.0 / whole as f64).round() / 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_whole() {
        assert_eq!([share(1, 3), share(0, 0), share(0, 7), share(2, 998)], [25.0, 0.0, 0.0, 0.2].map(|s| json!(s)));
    }
}
