//! Lanes that fall silent: who is waited for, and how long.

use super::*;
use crate::store::Completeness;
use plimsoll_core::time::EventTime;

const TIMEOUT: Duration = Duration::from_millis(300);

/// A stream whose lanes give what they are handed, one record at a time, and nothing else.
#[derive(Default)]
pub(super) struct Quiet {
    lanes: Vec<Mutex<Vec<String>>>,
    /// Lanes that cannot be read for now.
    failing: Mutex<BTreeSet<usize>>,
    /// How often a lane was asked.
    looks: AtomicUsize,
}

impl Quiet {
    pub(super) fn new(lanes: usize) -> Arc<Self> {
        Arc::new(Self { lanes: (0..lanes).map(|_| Mutex::default()).collect(), ..Self::default() })
    }

    pub(super) fn looks(&self) -> usize {
        self.looks.load(Ordering::Relaxed)
    }

    pub(super) fn give(&self, lane: usize, hours: i64) {
        let record = format!("{{\"ts\":{},\"k\":\"a\",\"v\":1}}\n", hours * 3_600_000);
        self.lanes[lane].lock().unwrap().push(record);
    }
}

struct Handle(Arc<Quiet>);

struct QuietReader {
    source: Arc<Quiet>,
    lane: usize,
    at: usize,
}

#[async_trait]
impl Source for Handle {
    fn describe(&self) -> String {
        "a quiet stream".into()
    }

    fn carries_arrival(&self) -> bool {
        false
    }

    fn resumable(&self) -> bool {
        true
    }

    fn finite(&self) -> bool {
        false
    }

    async fn lanes(&self) -> Result<Vec<LaneInfo>, SourceError> {
        let lane = |i| LaneInfo { id: format!("id-{i}"), name: format!("lane-{i}"), parents: vec![] };
        Ok((0..self.0.lanes.len()).map(lane).collect())
    }

    async fn open(&self, lane: &LaneInfo, from: Option<&Position>) -> Result<Box<dyn LaneReader>, SourceError> {
        let number = lane.id.strip_prefix("id-").unwrap().parse().unwrap();
        let at = from.map_or(0, |p| p.0.parse().unwrap());
        Ok(Box::new(QuietReader { source: Arc::clone(&self.0), lane: number, at }))
    }
}

#[async_trait]
impl LaneReader for QuietReader {
    async fn next(&mut self, _bytes: usize) -> Result<Next, SourceError> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.source.looks.fetch_add(1, Ordering::Relaxed);
        if self.source.failing.lock().unwrap().contains(&self.lane) {
            return Err(SourceError::Passing("throttled".into()));
        }
        let record = self.source.lanes[self.lane].lock().unwrap().get(self.at).cloned();
        let Some(record) = record else { return Ok(Next::Idle) };
        self.at += 1;
        Ok(single(self.at - 1, &record))
    }
}

/// A run that goes on until it is dropped or stopped.
pub(super) struct Running {
    store: Arc<Flaky>,
    hub: Arc<StatusHub>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<Result<(), RunError>>,
}

impl Running {
    fn start(source: &Arc<Quiet>, store: &Arc<Flaky>, idle_timeout: Option<Duration>) -> Self {
        Self::with(source, store, RunConfig { idle_timeout, ..config() })
    }

    pub(super) fn with(source: &Arc<Quiet>, store: &Arc<Flaky>, config: RunConfig) -> Self {
        let (stop, stopped) = watch::channel(false);
        let none = Arc::new(Lanes::new(0, 0));
        let mut parts = parts(&none, store, Arc::new(NativeEngines), policy());
        parts.source = Arc::new(Handle(Arc::clone(source)));
        let hub = Arc::clone(&parts.hub);
        let task = tokio::spawn(run(config, parts, stopped));
        Self { store: Arc::clone(store), hub, stop, task }
    }

    /// Waits until the policy's watermark, in hours, is this.
    pub(super) async fn comes_to(&self, hours: i64) {
        self.sees(&format!("watermark {hours} h"), || self.watermark() == Some(hours)).await;
    }

    fn watermark(&self) -> Option<i64> {
        self.hub.stats().watermark.map(|ms| ms / 3_600_000)
    }

    fn idle(&self) -> Vec<bool> {
        self.hub.stats().lanes.iter().map(|l| l.idle).collect()
    }

    pub(super) async fn sees(&self, what: &str, is: impl Fn() -> bool) {
        let began = std::time::Instant::now();
        while !is() {
            let (now, lanes) = (self.watermark(), self.hub.lanes());
            assert!(began.elapsed() < Duration::from_secs(20), "no {what}; watermark {now:?}, lanes {lanes:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn heads(&self) -> Vec<Head> {
        let mut heads = self.store.heads(&Layout::new(policy())).await.unwrap();
        heads.sort_by(|a, b| a.key.cmp(&b.key));
        heads
    }

    async fn stored(&self) -> Option<i64> {
        let watermark = Completeness::of(&policy(), &self.heads().await).watermark();
        watermark.map(|w| EventTime::as_millis(w) / 3_600_000)
    }

    pub(super) async fn ends(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap().unwrap();
    }
}

// The policy's delay is an hour: a record of hour 10 makes a watermark of hour 9.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_lane_holds_the_watermark_until_the_time_out() {
    for (atomicity, limits) in both() {
        let (source, store) = (Quiet::new(3), Flaky::new(atomicity, limits, 0, 0));
        source.give(0, 10);
        source.give(1, 5);
        let run = Running::start(&source, &store, Some(TIMEOUT));
        // The third never delivers. All are silent for the time-out in the end: then the furthest counts.
        run.sees("watermark 9 h", || {
            let now = run.hub.stats();
            let third = now.lanes.get(2).is_some_and(|l| l.idle);
            assert!(now.watermark.is_none() || third, "it was not waited for: {now:?}");
            now.watermark == Some(9 * 3_600_000)
        })
        .await;
        run.sees("three idle lanes", || run.idle() == [true; 3]).await;
        assert_eq!(run.stored().await, Some(9), "so do the heads say");
        let heads = run.heads().await;
        assert!(heads.iter().all(|h| h.idle && !h.done), "{heads:?}");
        // One wakes up: it alone is waited for.
        source.give(1, 30);
        run.comes_to(29).await;
        assert!(run.idle()[0] && run.idle()[2]);
        // Another one wakes up behind: what was complete is not taken back.
        source.give(0, 12);
        run.sees("the record of a waking lane", || run.hub.lanes()[0].account.read == 2).await;
        assert_eq!(run.watermark(), Some(29));
        run.ends().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_is_not_silence() {
    let (source, store) = (Quiet::new(2), Flaky::new(Atomicity::Items, Limits::ITEMS, 0, 0));
    source.give(0, 10);
    source.failing.lock().unwrap().insert(1);
    let run = Running::start(&source, &store, Some(TIMEOUT));
    run.sees("an idle lane", || run.idle().first() == Some(&true)).await;
    tokio::time::sleep(TIMEOUT * 3).await;
    assert_eq!(run.watermark(), None, "a lane that cannot be read is waited for");
    // Once it can be read, the time-out begins anew.
    source.failing.lock().unwrap().clear();
    run.comes_to(9).await;
    run.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_time_out_every_lane_is_waited_for() {
    let (source, store) = (Quiet::new(2), Flaky::new(Atomicity::Transaction, Limits::NONE, 0, 0));
    source.give(0, 10);
    let run = Running::start(&source, &store, None);
    run.sees("a commit", || run.hub.lanes().iter().any(|l| l.n > 0)).await;
    tokio::time::sleep(TIMEOUT * 3).await;
    assert_eq!((run.watermark(), run.idle()), (None, vec![false; 2]));
    run.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_lane_says_so_once_over_restarts() {
    let (source, store) = (Quiet::new(1), Flaky::new(Atomicity::Items, Limits::ITEMS, 0, 0));
    source.give(0, 10);
    let run = Running::start(&source, &store, Some(TIMEOUT));
    run.sees("an idle lane", || run.idle() == [true]).await;
    assert_eq!(run.heads().await[0].n, 2, "one content for the record, one for the silence");
    run.ends().await;
    let again = Running::start(&source, &store, Some(TIMEOUT));
    tokio::time::sleep(TIMEOUT * 3).await;
    assert_eq!((again.heads().await[0].n, again.idle()), (2, vec![true]));
    source.give(0, 11);
    again.comes_to(10).await;
    assert_eq!(again.heads().await[0].account.read, 2);
    again.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_at_their_ends_are_not_waited_for() {
    let mut lanes = Lanes::new(2, 400);
    lanes.lanes[1].1.truncate(20);
    let layout = Layout::new(policy());
    let lanes = Arc::new(lanes);
    let ends = |records: i64| (records - 1) * 700 - 3_600_000;
    for (idle_timeout, expected) in [(Some(TIMEOUT), ends(400)), (None, ends(20))] {
        let store = Flaky::new(Atomicity::Transaction, Limits::NONE, 0, 0);
        let attempt = async || {
            let (_keep, stop) = watch::channel(false);
            let config = RunConfig { idle_timeout, ..config() };
            run(config, parts(&lanes, &store, Arc::new(NativeEngines), policy()), stop).await.unwrap();
            store.heads(&layout).await.unwrap()
        };
        let heads = attempt().await;
        let watermark = Completeness::of(&policy(), &heads).watermark();
        assert_eq!(watermark.map(EventTime::as_millis), Some(expected));
        let numbers = |heads: &[Head]| heads.iter().map(|h| (h.key.clone(), h.n, h.idle)).collect::<BTreeSet<_>>();
        let again = attempt().await;
        assert_eq!(numbers(&heads), numbers(&again), "nothing new, nothing written");
    }
}
