//! `plimsoll compare`: the final rows of two generations side by side; a gate for a new policy.
//!
//! Not here: how two rows differ, and the result as text (`compare/result`).

mod result;

use super::stored::{Place, print, refused};
use super::{Exit, Failure, Outcome, common};
use crate::store::{Completeness, Layout, RowQuery, Store, StoredRow};
use anyhow::anyhow;
use plimsoll_core::account::Account;
use plimsoll_core::rows::Fate;
use plimsoll_core::time::EventTime;
use plimsoll_core::window::Window;
use plimsoll_core::wire::effects::Row;
pub use result::Comparison;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Compares the final rows of two generations.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  plimsoll compare --policy impressions.toml --sqlite counts.db --with second
  plimsoll compare --policy-a old.toml --policy-b new.toml --dynamodb prod --generation v1 --with v2 --allow-different 10 --json

Rows are compared by window and key, where the window is final in both generations; measures are compared by name. `a` is
--generation, `b` is --with. Exit code 0: equal, or at most --allow-different rows differ or stand on one side only; 9: more.")]
pub struct Args {
    /// The policy that both were counted under.
    #[arg(long, value_name = "FILE", required_unless_present_all = ["policy_a", "policy_b"])]
    policy: Option<PathBuf>,
    /// The policy of the first generation, where they differ.
    #[arg(long, value_name = "FILE")]
    policy_a: Option<PathBuf>,
    /// The policy of the second generation, where they differ.
    #[arg(long, value_name = "FILE")]
    policy_b: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// The first generation.
    #[arg(long, value_name = "NAME", default_value = "")]
    generation: String,
    /// The second generation.
    #[arg(long, value_name = "NAME")]
    with: String,
    /// Windows that start at or after this time (RFC 3339 or milliseconds).
    #[arg(long, value_name = "TIME", value_parser = common::time)]
    from: Option<EventTime>,
    /// Windows that start before this time.
    #[arg(long, value_name = "TIME", value_parser = common::time)]
    to: Option<EventTime>,
    #[command(flatten)]
    gate: Gate,
    /// The result as one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// What is let through, and what is shown.
#[derive(clap::Args, Clone, Debug)]
pub struct Gate {
    /// So many rows may differ, or stand on one side only.
    #[arg(long, value_name = "N", default_value_t = 0)]
    allow_different: u64,
    /// Show at most so many of them.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

/// One generation.
pub struct Side {
    layout: Layout,
    complete: Completeness,
    account: Account,
    rows: BTreeMap<(Window, Vec<u8>), Row>,
}

pub async fn compare(args: Args) -> Outcome {
    let policy = |given: &Option<PathBuf>| -> Result<_, Failure> {
        let file: &Path = given.as_deref().or(args.policy.as_deref()).expect("clap wants one of them");
        Ok(common::policy(file)?.0)
    };
    let a = Layout { policy: policy(&args.policy_a)?, generation: args.generation.clone() };
    let b = Layout { policy: policy(&args.policy_b)?, generation: args.with.clone() };
    if a.rows_id() == b.rows_id() {
        return Err(Exit::Run
            .because(anyhow!("both are the rows of generation `{}`; name another one with --with", a.generation)));
    }
    let store = args.place.to_read().await?;
    let query = RowQuery { from: args.from, to: args.to, ..RowQuery::default() };
    let compared = side_by_side(store.as_ref(), [a, b], &query, &args.gate).await?;
    print(compared.text(args.json))?;
    args.gate.judge(&compared)
}

/// Reads and compares two generations.
pub async fn side_by_side(
    store: &dyn Store,
    [a, b]: [Layout; 2],
    query: &RowQuery,
    gate: &Gate,
) -> Result<Comparison, Failure> {
    let (old, new) = (a.policy.spec(), b.policy.spec());
    for (same, what) in [(old.window == new.window, "windows"), (old.input.key == new.input.key, "keys")] {
        if !same {
            return Err(Exit::Policy.because(anyhow!(
                "the policies have different {what}: their rows have nothing in common that could be compared"
            )));
        }
    }
    let [a, b] = [Side::read(store, a, query).await?, Side::read(store, b, query).await?];
    Ok(Comparison::of(&a, &b, gate.limit))
}

impl Gate {
    /// Whether it is let through.
    pub fn judge(&self, compared: &Comparison) -> Outcome {
        let differ = compared.differ();
        if differ <= self.allow_different {
            return Ok(());
        }
        Err(Exit::Different.because(anyhow!(
            "{differ} rows differ or stand on one side only, {} are allowed (--allow-different)",
            self.allow_different
        )))
    }
}

impl Side {
    async fn read(store: &dyn Store, layout: Layout, query: &RowQuery) -> Result<Self, Failure> {
        let heads = store.heads(&layout).await.map_err(refused)?;
        if heads.is_empty() {
            return Err(Exit::Store.because(anyhow!(
                "{}: nothing was counted under policy `{}` in generation `{}`; check --policy, --generation and --with",
                store.describe(),
                layout.policy.spec().policy,
                layout.generation
            )));
        }
        let rows = store.rows(&layout, query).await.map_err(refused)?;
        let mut account = Account::default();
        heads.iter().for_each(|h| account.add(&h.account));
        Ok(Self {
            complete: Completeness::of(&layout.policy, &heads),
            account,
            rows: rows.into_iter().map(|StoredRow { window, row, .. }| ((window, row.key.clone()), row)).collect(),
            layout,
        })
    }

    fn is_final(&self, window: &Window) -> bool {
        self.complete.fate(window) == Fate::Final
    }
}
