//! `plimsoll explain`: why a window is still open or final, and why a number is what it is.
//!
//! Not here: the lanes (`standing`), a window (`explain/window`), a row (`explain/row`).

mod row;
mod window;

use super::standing::{Standing, pin_json};
use super::stored::{StoreArgs, canonical_key, print};
use super::{Exit, Outcome, common, reasons};
use crate::store::{Layout, hex};
use anyhow::anyhow;
use plimsoll_core::lane::Pin;
use plimsoll_core::time::EventTime;
use row::Number;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use window::Fated;

/// Explains why a window is still open or final, and why a number is what it is.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  plimsoll explain --policy impressions.toml --sqlite counts.db
  plimsoll explain --policy impressions.toml --sqlite counts.db --window 2026-11-23T10:00:00Z
  plimsoll explain --policy impressions.toml --dynamodb prod --window 2026-11-23T10:00:00Z --key '[\"p-017\",\"c-0342\"]'

Without --window: where the policy's watermark stands and why, where all records went, and which policies and modules counted.
Sentences; with --json one object, with the sentences in `why`.")]
pub struct Args {
    #[command(flatten)]
    pub(super) at: StoreArgs,
    /// The window that starts at this time (RFC 3339 or milliseconds).
    #[arg(long, value_name = "TIME", value_parser = common::time)]
    window: Option<EventTime>,
    /// The row of this key: the JSON array of its values.
    #[arg(long, value_name = "JSON", requires = "window")]
    key: Option<String>,
}

pub async fn explain(args: Args) -> Outcome {
    let layout = args.at.layout()?;
    let store = args.at.place.to_read().await?;
    let standing = Standing::read(store.as_ref(), &layout).await?;
    let key = args.key.as_deref().map(|text| canonical_key(&layout.policy, text)).transpose()?;
    let mut windows = Vec::new();
    if let Some(start) = args.window {
        let found = window::starting_at(store.as_ref(), &layout, start, key.as_deref()).await?;
        if found.is_empty() {
            return Err(Exit::Run.because(anyhow!("--window: {}", window::none_starts(&layout.policy, start))));
        }
        for w in found {
            let fated = Fated::of(&layout.policy, &standing, w);
            let number = match &key {
                Some(key) => Some(Number::read(store.as_ref(), &layout, &standing, w, key).await?),
                None => None,
            };
            windows.push((fated, number));
        }
    }
    let whole = whole(&layout, &standing);
    if args.at.json {
        let mut object = json!({
            "policy": layout.policy.spec().policy,
            "policy_sha256": hex(layout.policy.digest()),
            "generation": layout.generation,
            "watermark": standing.complete.watermark().map(EventTime::as_millis),
            "held_by": standing.holder().map(|h| &h.key.lane),
            "allowed_lateness_ms": layout.policy.spec().late.allowed_lateness.as_millis(),
            "why": whole,
            "lanes": standing.to_json(),
            "account": standing.account(),
            "reasons": reasons::counts(&standing.account().reasons),
            "pins": pins(&standing).values().map(|(pin, lanes)| {
                let mut object = pin_json(pin);
                object["lanes"] = json!(lanes);
                object
            }).collect::<Vec<_>>(),
        });
        if !windows.is_empty() {
            object["windows"] = windows
                .iter()
                .map(|(fated, number)| {
                    let mut window = fated.to_json();
                    if let Some(number) = number {
                        window["row"] = number.to_json(&layout.policy);
                    }
                    window
                })
                .collect();
        }
        return print(format!("{object}\n"));
    }
    let mut text = String::new();
    let say = |text: &mut String, sentences: &[String]| sentences.iter().for_each(|s| text.push_str(&format!("{s}\n")));
    for (fated, number) in &windows {
        say(&mut text, &fated.why);
        if let Some(number) = number {
            say(&mut text, &number.why);
        }
    }
    say(&mut text, &whole);
    print(text)
}

/// The state of the whole policy, in sentences.
fn whole(layout: &Layout, standing: &Standing) -> Vec<String> {
    let mut out = standing.sentences();
    let account = standing.account();
    out.push(format!("Of all lanes together: {}.", reasons::account(&account)));
    if account.late_dropped > 0 {
        out.push(format!("{} of the late records were dropped, as the policy says.", account.late_dropped));
    }
    for (reason, n) in &account.reasons {
        out.push(format!("{n} x {} ({}): {}", reason.name(), *reason as u16, reasons::meaning(*reason)));
    }
    if account.future > 0 {
        let future = plimsoll_core::account::Reason::Future;
        out.push(format!("{} x future ({}): {}", account.future, future as u16, reasons::meaning(future)));
    }
    let pins = pins(standing);
    for (pin, lanes) in pins.values() {
        let module = pin.module.map_or_else(|| "the native engine".into(), |d| format!("module {}...", hex(&d[..6])));
        let lanes = if lanes.len() == 1 { lanes[0].clone() } else { format!("{} lanes", lanes.len()) };
        let other = if pin.policy == *layout.policy.digest() { "" } else { ", which is not this file's policy" };
        out.push(format!(
            "{lanes}: counted last under policy {} (sha256 {}...{other}) by {module}.",
            pin.name,
            hex(&pin.policy[..6])
        ));
    }
    out
}

/// What lanes were counted with last.
type Pins = BTreeMap<([u8; 32], Option<[u8; 32]>), (Pin, Vec<String>)>;

fn pins(standing: &Standing) -> Pins {
    let mut out = Pins::new();
    for head in standing.heads() {
        if let Some(pin) = &head.pin {
            let (_, lanes) = out.entry((pin.policy, pin.module)).or_insert_with(|| (pin.clone(), Vec::new()));
            lanes.push(head.key.lane.clone());
        }
    }
    out
}

/// Sentences as JSON.
fn sentences(why: &[String]) -> Value {
    json!(why)
}
