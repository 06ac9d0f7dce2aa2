//! The live page's stream of server-sent events.
//!
//! ```text
//! hello      once: version, digests, policy's columns, source, store
//! snapshot   the last windows with their rows; at first, and when rows or their finality changed
//! stats      totals, watermark, lags, lanes; at first, and when they changed, at the latest after a second
//! ```
//! Invariants
//! - At most ten events a second for each watcher, of them two snapshots; what happens between two is coalesced, nothing
//!   queues.
//! - An event says how things stand: a watcher that missed some needs only the next one.
//! - A stream ends when the host stops.

use super::Shared;
use crate::live::{StatusHub, Versions};
use axum::http::header;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, stream};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

/// Between two events of one watcher.
const EVENT_EVERY: Duration = Duration::from_millis(100);
/// Between two snapshots of one watcher.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(500);
/// Rates fall and lags grow while nothing happens: stats come at least this often.
const STATS_EVERY: Duration = Duration::from_secs(1);
/// A comment keeps proxies from closing a silent stream.
const COMMENT_EVERY: Duration = Duration::from_secs(15);
/// A browser that lost the stream comes back after this long.
const RETRY: Duration = Duration::from_secs(2);

/// The last snapshot, made once for all watchers.
#[derive(Default)]
pub(super) struct Snapshots(Mutex<Option<(Versions, Arc<str>)>>);

impl Snapshots {
    /// The snapshot of this version of things, or of a newer one.
    fn get(&self, hub: &StatusHub, version: Versions) -> Arc<str> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((made, text)) if made.lanes >= version.lanes && made.rows >= version.rows => text.clone(),
            _ => {
                let text: Arc<str> = hub.windows().to_string().into();
                *last = Some((version, text.clone()));
                text
            }
        }
    }
}

struct Watcher {
    shared: Arc<Shared>,
    changes: watch::Receiver<Versions>,
    stop: watch::Receiver<bool>,
    sent: Sent,
    /// Gives the watcher's place free when the stream is dropped.
    _place: OwnedSemaphorePermit,
}

/// What a watcher has got so far.
#[derive(Default)]
struct Sent {
    hello: bool,
    snapshot: Option<(Instant, Arc<str>)>,
    /// There may be news that no snapshot has told yet.
    snapshot_due: bool,
    stats: Option<Instant>,
    /// What the last stats told.
    version: Versions,
    last: Option<Instant>,
}

pub(super) fn stream(shared: Arc<Shared>, place: OwnedSemaphorePermit) -> Response {
    let watcher = Watcher {
        changes: shared.site.hub.watch(),
        stop: shared.stop.clone(),
        sent: Sent::default(),
        shared,
        _place: place,
    };
    let headers = [(header::CACHE_CONTROL, "no-store"), (header::HeaderName::from_static("x-accel-buffering"), "no")];
    let keep_alive = KeepAlive::new().interval(COMMENT_EVERY).text("");
    (headers, Sse::new(events(watcher)).keep_alive(keep_alive)).into_response()
}

fn events(watcher: Watcher) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(watcher, |mut w| async move {
        let mut stop = w.stop.clone();
        tokio::select! {
            _ = stop.wait_for(|s| *s) => None,
            event = w.next() => Some((Ok(event), w)),
        }
    })
}

impl Watcher {
    async fn next(&mut self) -> Event {
        if !std::mem::replace(&mut self.sent.hello, true) {
            return Event::default().event("hello").retry(RETRY).data(self.shared.site.hub.hello().to_string());
        }
        loop {
            if let Some(last) = self.sent.last {
                sleep_until(last + EVENT_EVERY).await;
            }
            let now = Instant::now();
            if let Some(text) = self.snapshot(now) {
                self.sent.last = Some(now);
                return Event::default().event("snapshot").data(&*text);
            }
            let version = *self.changes.borrow_and_update();
            let changed = version != self.sent.version;
            if self.sent.stats.is_none_or(|at| changed || now >= at + STATS_EVERY) {
                self.sent.version = version;
                self.sent.snapshot_due |= changed;
                self.sent.stats = Some(now);
                self.sent.last = Some(now);
                let stats = serde_json::to_string(&self.shared.site.hub.stats()).expect("numbers and texts");
                return Event::default().event("stats").data(stats);
            }
            // Whether it was a change or the time: the loop looks what is due.
            let _ = timeout_at(self.wake(now), self.changes.changed()).await;
        }
    }

    /// A snapshot, if one is due and says anything new.
    fn snapshot(&mut self, now: Instant) -> Option<Arc<str>> {
        let due = match &self.sent.snapshot {
            None => true,
            Some((at, _)) => self.sent.snapshot_due && now >= *at + SNAPSHOT_EVERY,
        };
        if !due {
            return None;
        }
        self.sent.snapshot_due = false;
        let version = *self.changes.borrow();
        let text = self.shared.snapshots.get(&self.shared.site.hub, version);
        let same = self.sent.snapshot.as_ref().is_some_and(|(_, last)| *last == text);
        self.sent.snapshot = Some((now, text.clone()));
        (!same).then_some(text)
    }

    fn wake(&self, now: Instant) -> Instant {
        let stats = self.sent.stats.map_or(now, |at| at + STATS_EVERY);
        match &self.sent.snapshot {
            Some((at, _)) if self.sent.snapshot_due => stats.min(*at + SNAPSHOT_EVERY),
            _ => stats,
        }
    }
}
