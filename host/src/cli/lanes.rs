//! `plimsoll lanes`: how far each lane is, and which one holds the watermark.

use super::Outcome;
use super::reasons;
use super::standing::Standing;
use super::stored::{StoreArgs, moment_of, print};
use crate::store::hex;
use plimsoll_core::time::EventTime;
use serde_json::json;

/// Shows the lanes of a policy: how far each is, and which one holds the watermark.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  plimsoll lanes --policy impressions.toml --sqlite counts.db
  plimsoll lanes --policy impressions.toml --dynamodb prod --json | jq '.lanes[] | select(.holds)'

A line a lane; `>` marks the one that holds the watermark. States: running (or its host has stopped: heads do not tell), idle,
done, new (found, and nothing delivered yet). `behind` is the lane's last arrival less its watermark. With --json one object.")]
pub struct Args {
    #[command(flatten)]
    pub(super) at: StoreArgs,
}

pub async fn lanes(args: Args) -> Outcome {
    let layout = args.at.layout()?;
    let store = args.at.place.to_read().await?;
    let standing = Standing::read(store.as_ref(), &layout).await?;
    let account = standing.account();
    let watermark = standing.complete.watermark();
    if args.at.json {
        let object = json!({
            "policy": layout.policy.spec().policy,
            "policy_sha256": hex(layout.policy.digest()),
            "generation": layout.generation,
            "watermark": watermark.map(EventTime::as_millis),
            "held_by": standing.holder().map(|h| &h.key.lane),
            "account": account,
            "reasons": reasons::counts(&account.reasons),
            "lanes": standing.to_json(),
        });
        return print(format!("{object}\n"));
    }
    let mut text = format!("{} watermark {}\n", layout.policy.spec().policy, moment_of(watermark));
    if !standing.lanes.is_empty() {
        text.push_str(&standing.to_table());
        text.push_str(&standing.places());
        text.push_str(&format!("all together: {}\n", reasons::account(&account)));
    }
    standing.sentences().iter().for_each(|s| text.push_str(&format!("{s}\n")));
    for head in standing.heads() {
        let Some(pin) = head.pin.as_ref().filter(|pin| pin.policy != *layout.policy.digest()) else { continue };
        text.push_str(&format!(
            "The lane {} was counted under another policy than this file's: {} (sha256 {}...).\n",
            head.key.lane,
            pin.name,
            hex(&pin.policy[..6])
        ));
    }
    print(text)
}
