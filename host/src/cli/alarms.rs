//! `plimsoll alarms test`: whether a message reaches everybody, before one has to.

use super::{Exit, Outcome, watching};
use crate::alarm::{Notice, channel};
use anyhow::anyhow;
use futures::future::join_all;
use std::path::PathBuf;

/// Tries the channels of alarms.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  plimsoll alarms test --config plimsoll.toml
  plimsoll alarms test --config plimsoll.toml --json")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Sends one test message by every channel of a configuration and says what came back.
    Test {
        /// The configuration, TOML or JSON.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// One JSON object a channel.
        #[arg(long)]
        json: bool,
    },
}

impl Args {
    /// Whether a program reads what it says.
    pub fn json(&self) -> bool {
        let Action::Test { json, .. } = self.action;
        json
    }
}

pub async fn alarms(args: Args) -> Outcome {
    let Action::Test { config, json } = args.action;
    let file = config.display();
    let config = watching::config(Some(&config))?;
    if config.notify.is_empty() {
        return Err(Exit::Config.because(anyhow!(
            "{file} names nobody to tell; expected [notify] with sns, slack or webhook (host/CONFIG.md)"
        )));
    }
    let channels = channel::open(&config.notify).await.map_err(|e| Exit::Config.because(anyhow!(e)))?;
    let notice = Notice::test(crate::clock::now_ms());
    let answers = join_all(channels.iter().map(|channel| channel.send(&notice))).await;
    let mut failed = 0;
    for (channel, answer) in channels.iter().zip(answers) {
        let channel = channel.describe();
        let (ok, answer) = match answer {
            Ok(answer) => (true, answer),
            Err(error) => (false, error.to_string()),
        };
        failed += usize::from(!ok);
        if json {
            println!("{}", serde_json::json!({ "channel": channel, "delivered": ok, "answer": answer }));
        } else {
            println!("{}  {channel}: {answer}", if ok { "delivered" } else { "FAILED   " });
        }
    }
    if failed > 0 {
        let all = channels.len();
        return Err(Exit::Run.because(anyhow!("{failed} of {all} channels did not take the test message")));
    }
    Ok(())
}
