//! Runs the alarms beside the lanes: takes points on a timer, and tells the log, the channels and the hub.
//!
//! Invariants
//! - A timer of its own: it fires while no data comes and while every lane hangs.
//! - An alarm is an error in the log, whatever the channels do. What ends a run is one already, and not said twice.
//! - At the end of a run lanes that stand still are said, and what waits is sent for a bounded time.
//!
//! Not here: what is an alarm (`board`), how messages arrive (`outbox`).

use super::channel::Channel;
use super::{Board, Kind, Notice, Outbox, Patience, Rule};
use crate::live::StatusHub;
use futures::future::join_all;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// So long a run that was asked to end waits for messages that are on their way: with what its lanes may take
/// (`STOP_GRACE`) it ends within 10 s.
pub const GRACE: Duration = Duration::from_millis(1_500);
/// So long a run waits that failed: its last message is the one that matters.
pub const GRACE_FAILED: Duration = Duration::from_secs(5);

/// Alarms that run.
pub struct Watch {
    hub: Arc<StatusHub>,
    outboxes: Arc<Vec<Outbox>>,
    stop: watch::Sender<bool>,
    timer: JoinHandle<Board>,
}

impl Watch {
    /// Watches the hub's lanes by these rules and tells these channels.
    pub fn start(hub: Arc<StatusHub>, rules: Vec<Rule>, channels: Vec<Arc<dyn Channel>>, patience: Patience) -> Self {
        let outboxes =
            Arc::new(channels.into_iter().map(|channel| Outbox::open(channel, patience)).collect::<Vec<_>>());
        let (stop, stopped) = watch::channel(false);
        let board = Board::new(&hub.policy().spec().policy, rules);
        let timer = tokio::spawn(points(Arc::clone(&hub), board, Arc::clone(&outboxes), stopped));
        Self { hub, outboxes, stop, timer }
    }

    /// Ends: says which lanes stand still, and waits a bounded time for the channels. `failure` is why the run ended, where
    /// that was not asked for.
    pub async fn finish(self, failure: Option<&str>) {
        self.stop.send_replace(true);
        let Ok(mut board) = self.timer.await else {
            return tracing::error!("the alarms' timer has ended before its time; no alarm was judged since");
        };
        let notices = board.finish(self.hub.now_ms(), &self.hub.sights(), failure);
        self.hub.judged(board.views());
        send(&self.outboxes, notices);
        let grace = if failure.is_some() { GRACE_FAILED } else { GRACE };
        let left: usize = join_all(self.outboxes.iter().map(|outbox| outbox.drain(grace))).await.into_iter().sum();
        if left > 0 {
            tracing::error!(messages = left, "messages could not be delivered before the end");
        }
    }
}

async fn points(
    hub: Arc<StatusHub>,
    mut board: Board,
    outboxes: Arc<Vec<Outbox>>,
    mut stopped: watch::Receiver<bool>,
) -> Board {
    let began = Instant::now();
    while let Some(due) = board.due() {
        tokio::select! {
            // A sender that is gone means a run that is gone.
            _ = stopped.wait_for(|stop| *stop) => return board,
            () = tokio::time::sleep_until(began + due) => {}
        }
        let notices = board.tick(began.elapsed(), hub.now_ms(), &hub.sights());
        hub.judged(board.views());
        log(&notices);
        send(&outboxes, notices);
    }
    board
}

fn send(outboxes: &[Outbox], notices: Vec<Notice>) {
    for notice in notices {
        outboxes.iter().for_each(|outbox| outbox.offer(notice.clone()));
    }
}

fn log(notices: &[Notice]) {
    for notice in notices {
        let Notice { alarm, lane, found, condition, .. } = notice;
        match notice.kind {
            Kind::Opened => {
                let (reason, position) = (notice.reason.as_deref().unwrap_or("none"), notice.position.as_deref());
                let position = position.unwrap_or("none");
                tracing::error!(%alarm, %lane, %found, %condition, reason, position, to_do = %notice.to_do, "alarm opened");
            }
            Kind::Recovered | Kind::Test => tracing::info!(%alarm, %lane, %found, %condition, "alarm recovered"),
        }
    }
}
