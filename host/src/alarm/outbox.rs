//! Sees to it that messages arrive: a bounded queue and one sender for each channel, in order, with repetition.
//!
//! ```text
//! offer -> [ n4 n3 n2 ] -> n1 in hand -> channel      not taken: wait, longer each time, and again
//!          at most QUEUE_MAX; the oldest goes first
//! ```
//! Invariants
//! - `offer` never waits and never fails.
//! - A channel that fails or hangs holds up its own messages only, and at most `QUEUE_MAX` of them.
//! - A message is given up when the service refused it `REFUSALS_MAX` times, or when it is older than `Patience::age`. Each
//!   one that is given up or dropped is logged as an error.
//!
//! Not here: what is sent (`notice`), one attempt (`channel`).

use super::Notice;
use super::channel::{Channel, Undelivered};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Messages that wait for a channel.
pub const QUEUE_MAX: usize = 256;
/// A service that does not want a message is asked so often; what a person mends within a few minutes still gets through.
const REFUSALS_MAX: u32 = 8;

/// How long is waited for a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Before the second attempt; doubled from there on, with jitter.
    pub first: Duration,
    /// At most.
    pub most: Duration,
    /// A message that is older is old news.
    pub age: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), most: Duration::from_secs(60), age: Duration::from_secs(6 * 3_600) }
    }
}

/// A channel with its queue; its sender ends when this is dropped.
pub struct Outbox {
    shared: Arc<Shared>,
    sender: JoinHandle<()>,
    idle: watch::Receiver<bool>,
}

struct Shared {
    channel: Arc<dyn Channel>,
    patience: Patience,
    queue: Mutex<VecDeque<(Notice, Instant)>>,
    changed: Notify,
    /// Whoever stops does not want to wait for the next attempt.
    hurry: Notify,
    idle: watch::Sender<bool>,
}

impl Outbox {
    /// Begins to send by a channel.
    pub fn open(channel: Arc<dyn Channel>, patience: Patience) -> Self {
        let (idle, idles) = watch::channel(true);
        let queue = Mutex::default();
        let shared = Arc::new(Shared { channel, patience, queue, changed: Notify::new(), hurry: Notify::new(), idle });
        let sender = tokio::spawn(send(Arc::clone(&shared)));
        Self { shared, sender, idle: idles }
    }

    /// Takes a message; where too many wait, the oldest is dropped.
    pub fn offer(&self, notice: Notice) {
        let mut queue = self.shared.lock();
        self.shared.idle.send_replace(false);
        let dropped = if queue.len() == QUEUE_MAX { queue.pop_front() } else { None };
        queue.push_back((notice, Instant::now()));
        drop(queue);
        self.shared.changed.notify_one();
        if let Some((dropped, _)) = dropped {
            let channel = self.shared.channel.describe();
            tracing::error!(%channel, id = %dropped.id, "too many messages wait for this channel; the oldest is dropped");
        }
    }

    /// Tries what waits once more, and waits until all is sent or given up, at most `grace`. How many are left.
    pub async fn drain(&self, grace: Duration) -> usize {
        self.shared.hurry.notify_one();
        let mut idle = self.idle.clone();
        // Its sender is there as long as this is.
        let _ = tokio::time::timeout(grace, idle.wait_for(|idle| *idle)).await;
        let in_hand = usize::from(!*idle.borrow());
        self.shared.lock().len() + in_hand
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.sender.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Notice, Instant)>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next message; says that there is none under the same lock under which one would be offered.
    fn take(&self) -> Option<(Notice, Instant)> {
        let mut queue = self.lock();
        let next = queue.pop_front();
        if next.is_none() {
            self.idle.send_replace(true);
        }
        next
    }
}

async fn send(shared: Arc<Shared>) {
    loop {
        match shared.take() {
            Some((notice, since)) => deliver(&shared, &notice, since).await,
            None => shared.changed.notified().await,
        }
    }
}

/// Sends one message until it is taken or given up.
async fn deliver(shared: &Shared, notice: &Notice, since: Instant) {
    let channel = shared.channel.describe();
    let (mut attempt, mut refusals) = (0u32, 0);
    loop {
        let error = match shared.channel.send(notice).await {
            Ok(answer) => return tracing::debug!(%channel, id = %notice.id, %answer, "sent"),
            Err(error) => error,
        };
        refusals += u32::from(matches!(error, Undelivered::Refused(_)));
        if refusals >= REFUSALS_MAX || since.elapsed() >= shared.patience.age {
            return tracing::error!(%channel, id = %notice.id, %error, "a message is given up");
        }
        let wait = shared.patience.first.saturating_mul(1 << attempt.min(16)).min(shared.patience.most);
        let wait = wait.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        if attempt.is_power_of_two() || attempt == 0 {
            tracing::warn!(%channel, id = %notice.id, %error, ?wait, "a message is not delivered yet; trying again");
        }
        attempt += 1;
        let _ = tokio::time::timeout(wait, shared.hurry.notified()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::Semaphore;

    const QUICK: Patience =
        Patience { first: Duration::from_millis(1), most: Duration::from_millis(2), age: Duration::from_secs(60) };
    const LIMIT: Duration = Duration::from_secs(20);

    /// Fails so often, then takes messages, each as one is let through.
    struct Scripted {
        failures: AtomicU32,
        error: Undelivered,
        gate: Semaphore,
        got: Mutex<Vec<String>>,
    }

    impl Scripted {
        fn new(failures: u32, error: Undelivered, open: usize) -> Arc<Self> {
            Arc::new(Self {
                failures: AtomicU32::new(failures),
                error,
                gate: Semaphore::new(open),
                got: Mutex::default(),
            })
        }

        fn got(&self) -> Vec<String> {
            self.got.lock().expect("nobody panics with it").clone()
        }
    }

    #[async_trait]
    impl Channel for Scripted {
        fn describe(&self) -> String {
            "scripted".into()
        }

        async fn send(&self, notice: &Notice) -> Result<String, Undelivered> {
            self.gate.acquire().await.expect("it stays open").forget();
            let left = self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            if left.is_ok() {
                self.gate.add_permits(1);
                return Err(self.error.clone());
            }
            self.got.lock().expect("nobody panics with it").push(notice.id.clone());
            Ok("taken".into())
        }
    }

    fn passing() -> Undelivered {
        Undelivered::Passing("not now".into())
    }

    fn ids(of: impl Iterator<Item = i64>) -> Vec<String> {
        of.map(|at| format!("test/{at}")).collect()
    }

    #[tokio::test]
    async fn what_fails_for_a_while_arrives_once_and_in_order() {
        let channel = Scripted::new(30, passing(), 1_000);
        let outbox = Outbox::open(channel.clone(), QUICK);
        (0..5).for_each(|at| outbox.offer(Notice::test(at)));
        assert_eq!(outbox.drain(LIMIT).await, 0);
        assert_eq!(channel.got(), ids(0..5));
    }

    #[tokio::test]
    async fn what_is_refused_again_and_again_holds_nothing_up() {
        let channel = Scripted::new(REFUSALS_MAX, Undelivered::Refused("no".into()), 1_000);
        let outbox = Outbox::open(channel.clone(), QUICK);
        (0..3).for_each(|at| outbox.offer(Notice::test(at)));
        assert_eq!(outbox.drain(LIMIT).await, 0);
        assert_eq!(channel.got(), ids(1..3), "the first one was given up");
    }

    #[tokio::test]
    async fn a_channel_that_hangs_keeps_a_bounded_number_and_holds_up_no_other() {
        let (hung, well) = (Scripted::new(0, passing(), 0), Scripted::new(0, passing(), 1_000));
        let (slow, quick) = (Outbox::open(hung.clone(), QUICK), Outbox::open(well.clone(), QUICK));
        let all = 3 * QUEUE_MAX as i64;
        for at in 0..all {
            slow.offer(Notice::test(at));
            quick.offer(Notice::test(at));
            tokio::task::yield_now().await;
        }
        assert_eq!(quick.drain(LIMIT).await, 0);
        assert_eq!(well.got().len() as i64, all);
        assert_eq!(slow.drain(Duration::ZERO).await, QUEUE_MAX + 1, "those that wait, and the one in hand");
        hung.gate.add_permits(1_000);
        assert_eq!(slow.drain(LIMIT).await, 0);
        let expected: Vec<_> = ids(0..1).into_iter().chain(ids(all - QUEUE_MAX as i64..all)).collect();
        assert_eq!(hung.got(), expected, "the oldest were dropped");
    }

    #[tokio::test]
    async fn who_stops_does_not_wait_for_the_next_attempt() {
        let patient = Patience { first: Duration::from_secs(3_600), most: Duration::from_secs(3_600), ..QUICK };
        let patient = Patience { age: Duration::from_secs(7_200), ..patient };
        let channel = Scripted::new(1, passing(), 1_000);
        let outbox = Outbox::open(channel.clone(), patient);
        outbox.offer(Notice::test(1));
        assert_eq!(outbox.drain(LIMIT).await, 0, "it was tried again at once");
        assert_eq!(channel.got(), ids(1..2));
    }
}
