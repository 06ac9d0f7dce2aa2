//! The ways to people: an SNS topic, a Slack webhook, a webhook of anybody's.
//!
//! Contract of a channel
//! 1. `send` tries once, within `SEND_MAX`; whether and when to try again is the outbox's business.
//! 2. What was answered `Ok` has reached the service. What failed may have reached it too: a reply can get lost.
//! 3. Neither an error nor a description holds a secret.
//!
//! Not here: the order of messages and repetition (`outbox`).

mod sns;
mod web;

pub use sns::{Topic, TopicError};
pub use web::{Address, AddressError};

use super::Notice;
use crate::aws;
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

/// How long one attempt may take.
pub const SEND_MAX: Duration = Duration::from_secs(10);

/// Why a message was not delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// The service does not take it; a person must act. The text says how.
    #[error("{0}")]
    Refused(String),
    /// That may pass.
    #[error("{0}")]
    Passing(String),
}

/// A way to people.
#[async_trait]
pub trait Channel: Send + Sync {
    /// What it is, for people: `slack https://hooks.slack.com/...`.
    fn describe(&self) -> String;
    /// Delivers one message. What came back, in a few words.
    async fn send(&self, notice: &Notice) -> Result<String, Undelivered>;
}

/// A channel as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A topic of SNS.
    Sns(Topic),
    /// An incoming webhook of Slack.
    Slack(Address),
    /// Anything that takes a POST of JSON.
    Webhook(Address),
}

/// Makes the channels ready. Nothing is sent; credentials are looked for at the first message.
///
/// # Errors
/// When the system has no root certificates.
pub async fn open(targets: &[Target]) -> Result<Vec<Arc<dyn Channel>>, String> {
    let mut channels: Vec<Arc<dyn Channel>> = Vec::new();
    let aws = if targets.iter().any(|t| matches!(t, Target::Sns(_))) { Some(aws::config().await) } else { None };
    let web = if targets.iter().all(|t| matches!(t, Target::Sns(_))) { None } else { Some(web::client()?) };
    for target in targets {
        channels.push(match (target, &aws, &web) {
            (Target::Sns(topic), Some(aws), _) => Arc::new(sns::Sns::new(topic.clone(), aws)),
            (Target::Slack(to), _, Some(web)) => Arc::new(web::Hook::slack(to.clone(), web.clone())),
            (Target::Webhook(to), _, Some(web)) => Arc::new(web::Hook::plain(to.clone(), web.clone())),
            _ => unreachable!("each kind of target has its client"),
        });
    }
    Ok(channels)
}
