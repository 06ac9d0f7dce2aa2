//! `plimsoll gaps`: the ledger of records that a stream lost before they were counted.

use super::{Exit, Outcome, common};
use crate::store::dynamodb::DynamoStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{Layout, Store, StoreError};
use anyhow::anyhow;
use std::io::{self, Write};
use std::path::PathBuf;

/// Lists what a stream lost before it was counted.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  plimsoll gaps --policy impressions.toml --dynamodb prod
  plimsoll gaps --policy impressions.toml --sqlite counts.db | jq -r 'select(.accepted_ms == null) | .lane'

An object a line: lane, kind (trimmed: the position has passed the retention; vanished: the shard is gone, not read to its
end; unread: it came and went; replaced: the stream was made again), position (the last that was counted), found (in words),
found_ms, and accepted_ms once `run --accept-gaps` went on past it.")]
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
    /// Another generation.
    #[arg(long, value_name = "NAME", default_value = "")]
    generation: String,
    /// NDJSON, which is what is written anyway: accepted for symmetry with the other commands.
    #[arg(long)]
    pub(super) json: bool,
}

pub async fn gaps(args: Args) -> Outcome {
    let refused = |e: StoreError| Exit::Store.because(e);
    let (policy, _) = common::policy(&args.policy)?;
    let store: Box<dyn Store> = match (&args.sqlite, &args.dynamodb) {
        (Some(file), _) => Box::new(SqliteStore::open_read_only(file).map_err(refused)?),
        (_, Some(prefix)) => Box::new(DynamoStore::connect(prefix).await.map_err(refused)?),
        _ => unreachable!("clap wants one of them"),
    };
    let layout = Layout { policy, generation: args.generation };
    let mut text = Vec::new();
    for gap in store.gaps(&layout).await.map_err(refused)? {
        let line = serde_json::to_string(&gap).expect("strings and numbers");
        writeln!(text, "{line}").expect("a vector takes all");
    }
    match io::stdout().write_all(&text) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Exit::Run.because(anyhow!("cannot write to stdout: {e}")))
        }
        _ => Ok(()),
    }
}
