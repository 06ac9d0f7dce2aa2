//! `plimsoll gaps`: the ledger of records that a stream lost before they were counted.

use super::Outcome;
use super::stored::{StoreArgs, print, refused};
use std::io::Write;

/// Lists what a stream lost before it was counted.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  plimsoll gaps --policy impressions.toml --dynamodb prod
  plimsoll gaps --policy impressions.toml --sqlite counts.db | jq -r 'select(.accepted_ms == null) | .lane'

An object a line: lane, kind (trimmed: the position has passed the retention; vanished: the shard is gone, not read to its
end; unread: it came and went; replaced: the stream was made again), position (the last that was counted), found (in words),
found_ms, and accepted_ms once `run --accept-gaps` went on past it.")]
pub struct Args {
    #[command(flatten)]
    pub(super) at: StoreArgs,
}

pub async fn gaps(args: Args) -> Outcome {
    let layout = args.at.layout()?;
    let store = args.at.place.to_read().await?;
    let mut text = Vec::new();
    for gap in store.gaps(&layout).await.map_err(refused)? {
        let line = serde_json::to_string(&gap).expect("strings and numbers");
        writeln!(text, "{line}").expect("a vector takes all");
    }
    print(&text)
}
