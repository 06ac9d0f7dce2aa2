//! What runs beside the lanes of a run: alarms and figures, as a configuration asks for them.

use super::{Exit, Failure};
use crate::alarm::{GRACE, GRACE_FAILED, Patience, Watch, channel};
use crate::config::Config;
use crate::driver::RunError;
use crate::live::StatusHub;
use crate::telemetry::Publisher;
use anyhow::anyhow;
use std::path::Path;
use std::sync::Arc;

/// The configuration in a file, or what holds without one.
pub fn config(file: Option<&Path>) -> Result<Config, Failure> {
    file.map_or_else(|| Ok(Config::default()), |file| Config::read(file).map_err(|e| Exit::Config.because(e)))
}

/// Alarms and figures that run.
pub struct Watching {
    alarms: Watch,
    figures: Publisher,
}

impl Watching {
    /// Begins.
    pub async fn start(config: Config, hub: &Arc<StatusHub>) -> Result<Self, Failure> {
        let refused = |e: String| Exit::Config.because(anyhow!(e));
        let figures = Publisher::start(hub, config.cloudwatch.as_ref(), config.emf.as_ref()).await.map_err(refused)?;
        let channels = channel::open(&config.notify).await.map_err(refused)?;
        let alarms = Watch::start(Arc::clone(hub), config.alarms, channels, Patience::default());
        Ok(Self { alarms, figures })
    }

    /// The run has ended: says what stands still, gives out the last figures.
    pub async fn finish(self, outcome: &Result<(), RunError>) {
        let failure = outcome.as_ref().err().map(ToString::to_string);
        let grace = if failure.is_some() { GRACE_FAILED } else { GRACE };
        tokio::join!(self.alarms.finish(failure.as_deref()), self.figures.finish(grace));
    }
}
