//! The HTTP side of a run: bound before anything is read, so that a taken port is said at once.

use super::{Exit, Failure};
use crate::http::{self, PageFiles, PolicyText, Site};
use crate::live::StatusHub;
use anyhow::anyhow;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::watch;

/// The page, metrics and health of a run.
pub struct Service {
    /// Where it is.
    pub url: String,
}

impl Service {
    /// Takes the address and serves until `stop`.
    pub async fn start(
        address: &str,
        hub: Arc<StatusHub>,
        module: Option<Bytes>,
        (file_name, text): (String, String),
        stop: watch::Receiver<bool>,
    ) -> Result<Self, Failure> {
        let page = PageFiles::find().map_err(|e| Exit::Run.because(anyhow!("the page cannot be read: {e}")))?;
        let listener = http::bind(address).await.map_err(|e| Exit::Run.because(e))?;
        let url = listener.local_addr().map(http::url).map_err(|e| Exit::Run.because(e))?;
        let site = Site { hub, page, module, policy: PolicyText { file_name, text } };
        tokio::spawn(async move {
            if let Err(error) = http::serve(listener, site, stop).await {
                tracing::error!(%error, "the live page has ended; counting goes on");
            }
        });
        Ok(Self { url })
    }
}
