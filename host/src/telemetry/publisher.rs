//! Gives figures out on a timer, with or without data, each way in a task of its own.
//!
//! Invariants
//! - A way out that fails or hangs holds up neither another one nor a lane; it is said once when it begins to fail, and once
//!   when it is well again.
//! - At the end of a run the last figures are given out, within a bounded time.
//!
//! Not here: which figures (`figures`), each way (`cloudwatch`, `emf`).

use super::cloudwatch::CloudWatch;
use super::emf::Emf;
use super::figures::Figures;
use super::{CloudWatchConfig, EmfConfig, Group};
use crate::aws;
use crate::live::StatusHub;
use async_trait::async_trait;
use futures::future::join_all;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// A way out.
#[async_trait]
pub(super) trait Out: Send {
    /// Gives out the figures of one moment. What fails is tried again with those of the next.
    async fn put(&mut self, at_ms: i64, groups: Vec<Group>) -> Result<(), String>;
}

/// Ways out that run.
#[derive(Default)]
pub struct Publisher {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Publisher {
    /// Begins to give out figures of a hub.
    ///
    /// # Errors
    /// If a file cannot be written to.
    pub async fn start(
        hub: &Arc<StatusHub>,
        cloudwatch: Option<&CloudWatchConfig>,
        emf: Option<&EmfConfig>,
    ) -> Result<Self, String> {
        let mut publisher = Self::default();
        if let Some(config) = cloudwatch {
            let out = CloudWatch::new(&config.namespace, &aws::config().await);
            publisher.spawn("cloudwatch", Figures::new(Arc::clone(hub), config.per_lane), config.every, out);
        }
        if let Some(config) = emf {
            let out = Emf::open(config).await?;
            publisher.spawn("emf", Figures::new(Arc::clone(hub), config.per_lane), config.every, out);
        }
        Ok(publisher)
    }

    fn spawn(&mut self, name: &'static str, figures: Figures, every: Duration, out: impl Out + 'static) {
        self.tasks.push(tokio::spawn(publish(name, figures, every, out, self.stop.subscribe())));
    }

    /// Gives out the last figures; whatever takes longer than `grace` is left.
    pub async fn finish(self, grace: Duration) {
        self.stop.send_replace(true);
        let aborts: Vec<_> = self.tasks.iter().map(JoinHandle::abort_handle).collect();
        if tokio::time::timeout(grace, join_all(self.tasks)).await.is_err() {
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
            tracing::warn!("the last figures could not be given out before the end");
        }
    }
}

async fn publish(
    name: &'static str,
    mut figures: Figures,
    every: Duration,
    mut out: impl Out,
    mut stopped: watch::Receiver<bool>,
) {
    let mut timer = tokio::time::interval(every);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, when nothing is known yet.
    timer.tick().await;
    let mut failing = false;
    loop {
        let last = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => true,
            _ = timer.tick() => false,
        };
        let (at_ms, groups) = figures.take();
        let done = out.put(at_ms, groups).await;
        match &done {
            Ok(()) if failing => tracing::info!(to = name, "figures are given out again"),
            Ok(()) => {}
            Err(why) if !failing => tracing::warn!(to = name, %why, "figures cannot be given out; trying again"),
            Err(why) => tracing::debug!(to = name, %why, "figures still cannot be given out"),
        }
        failing = done.is_err();
        if last {
            return;
        }
    }
}
