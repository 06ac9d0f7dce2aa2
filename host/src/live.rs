//! What this process is doing right now: the model behind the live page, `/metrics` and `/readyz`.
//!
//! ```text
//! driver (one per lane) -> StatusHub -> live page (SSE), metrics, readiness
//! ```
//! The driver tells the hub after each commit and while it waits; whoever watches asks for a view at its own pace.
//! A slow watcher costs nothing: it skips versions, it does not queue them.
//!
//! Invariants
//! - Telling never waits for a watcher and never fails.
//! - The policy's watermark is the least of the lanes that are neither done nor idle, and never moves back; where none is
//!   left, it is what the furthest reached. One lane without a watermark holds it back (semantics S4).
//! - A window is final exactly when it can receive no more: its end + allowed lateness <= that watermark, and late
//!   records do not go to it (S19).
//! - Lags are computed when they are asked for, so that they grow while nobody tells anything.
//!
//! Not here: the names of metrics (`telemetry`), HTTP (`http`), the clock (it is handed in).

mod lag;
mod recent;
mod together;
mod view;

pub use lag::Lags;
pub use recent::{RecentRows, WindowView};
pub use view::{About, AccountView, LaneView, Stats, hex};

use crate::alarm::AlarmView;
use crate::source::{LaneInfo, Position};
use crate::store::WriteUnits;
use lag::{Marks, OpenWindows};
use plimsoll_core::account::Account;
use plimsoll_core::policy::{LateTo, Policy};
use plimsoll_core::time::{ArrivalTime, EventTime, TimeDelta};
use plimsoll_core::wire::effects::{Effects, Progress, Table};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use together::Together;
use tokio::sync::watch;

/// Reads the host's clock: milliseconds since the epoch.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The rate is the mean over this long, in milliseconds.
const RATE_OVER_MS: i64 = 10_000;
/// Samples for the rate are at least this far apart, in milliseconds: 41 samples at most are kept.
const RATE_STEP_MS: i64 = 250;

/// What a lane is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LaneState {
    /// Nothing was heard of it yet.
    #[default]
    Starting,
    /// Reading and committing.
    Running,
    /// At the tip: asked, and nothing was there.
    Idle,
    /// Its end is committed.
    Done,
    /// Waiting for a person; nothing is lost. Why, and the mend.
    Paused(String),
    /// Stopped for good by something that must not happen. Why, and the mend.
    Halted(String),
}

impl LaneState {
    /// Its name on the page and in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Idle => "idle",
            Self::Done => "done",
            Self::Paused(_) => "paused",
            Self::Halted(_) => "halted",
        }
    }

    /// Why it stands still, where it should not.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Paused(why) | Self::Halted(why) => Some(why),
            _ => None,
        }
    }
}

/// What brought a lane to a stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// Most of a batch is poison.
    Poison,
    /// Records between two positions cannot be read any more.
    Gap,
}

/// One lane, as its driver last saw it. Totals are those since this process started.
#[derive(Clone, Debug, Default)]
pub struct LaneStatus {
    /// Short name, as in `LaneInfo::name`.
    pub lane: String,
    /// What it is doing.
    pub state: LaneState,
    /// What stopped it, where that has a name.
    pub trouble: Option<Trouble>,
    /// Where the committed records went.
    pub account: Account,
    /// How far event time has come.
    pub progress: Progress,
    /// Whether it is left out of the policy's watermark: silent at its tip for the idle time-out, as its head says.
    pub idle: bool,
    /// Everything that arrived until then is durable, by the host's clock; what the driver knows of it.
    pub durable_ms: Option<i64>,
    /// The last committed batch of the lane, counted over its whole life.
    pub n: u64,
    /// The last committed position.
    pub position: Option<Position>,
    /// The host's clock at the last commit, or at the last look that found nothing new: a sign of life.
    pub at_ms: i64,
    /// Batches committed.
    pub batches: u64,
    /// Rows written to the store.
    pub rows_written: u64,
    /// Bytes read, as the source stores them.
    pub bytes_read: u64,
    /// Times the module trapped or did not end.
    pub traps: u64,
    /// Records left out since the lane was opened, because another lane has them.
    pub misplaced: u64,
}

/// A lane and how far it is behind at the moment of looking.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// As last told.
    pub status: LaneStatus,
    /// Now.
    pub lags: Lags,
}

/// Where drivers tell and watchers look.
pub struct StatusHub {
    about: About,
    policy: Arc<Policy>,
    now: Now,
    started_ms: i64,
    inner: Mutex<Inner>,
    changed: watch::Sender<Versions>,
    batch_seconds: Histogram,
}

/// Which state of things a watcher has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// Moves with every word from a lane.
    pub lanes: u64,
    /// Moves when rows changed.
    pub rows: u64,
}

struct Inner {
    lanes: BTreeMap<String, LaneStatus>,
    together: Together,
    recent: RecentRows,
    /// (when, records read by then), oldest first.
    read: VecDeque<(i64, u64)>,
    /// By name: of lanes that were found, heard of or not.
    marks: BTreeMap<String, Marks>,
    /// What the policy's watermark has not closed yet.
    open: OpenWindows,
    /// As whoever judges them said last.
    alarms: Vec<AlarmView>,
    write_units: Vec<WriteUnits>,
    /// How long a lane that works well may be without a commit, in ms.
    interval_ms: i64,
}

impl StatusHub {
    /// A hub without lanes. `now` is asked for lags and rates only.
    pub fn new(about: About, policy: Arc<Policy>, now: Now) -> Self {
        let inner = Inner {
            lanes: BTreeMap::new(),
            together: Together::new(),
            recent: RecentRows::new(&policy),
            read: VecDeque::from([(now(), 0)]),
            marks: BTreeMap::new(),
            open: OpenWindows::default(),
            alarms: Vec::new(),
            write_units: Vec::new(),
            interval_ms: 0,
        };
        let started_ms = now();
        // 1 ms to half a minute.
        let batch_seconds = Histogram::new(exponential_buckets(0.001, 2.0, 16));
        Self {
            about,
            policy,
            now,
            started_ms,
            inner: Mutex::new(inner),
            changed: watch::Sender::default(),
            batch_seconds,
        }
    }

    /// Says which lanes the source has, before anything is heard of them: from now on they hold the watermark.
    pub fn found(&self, lanes: &[LaneInfo]) {
        let now = (self.now)();
        let mut inner = self.lock();
        inner.together.found(lanes);
        for lane in lanes {
            inner.marks.entry(lane.name.clone()).or_insert_with(|| Marks::new(now));
        }
    }

    /// Says how a lane stands: after each commit, and every second or so while it waits.
    pub fn lane(&self, status: LaneStatus) {
        self.hear(|inner, now| {
            let left_out = status.idle || status.state == LaneState::Done;
            inner.together.told(&status.lane, status.progress.watermark, left_out);
            let watermark = status.progress.watermark;
            let first = !inner.lanes.contains_key(&status.lane);
            let marks = inner.marks.entry(status.lane.clone()).or_insert_with(|| Marks::new(now));
            if let Some(until) = status.durable_ms {
                marks.durable(until, now);
            }
            if let Some(watermark) = watermark.filter(|_| first && status.n > 0 && status.batches == 0) {
                marks.open.resume(watermark, &self.policy);
                inner.open.resume(watermark, &self.policy);
            }
            marks.open.close(watermark, &self.policy);
            inner.lanes.insert(status.lane.clone(), status);
        });
    }

    /// Says that a read of a lane that was asked then was answered with records, so far before its tip.
    pub fn read(&self, lane: &str, asked_ms: i64, behind_ms: Option<u64>) {
        let now = (self.now)();
        self.lock().marks.entry(lane.to_owned()).or_insert_with(|| Marks::new(now)).read(asked_ms, behind_ms);
    }

    /// Says that a read of a lane that was asked then found nothing at the tip; everything before it is in batch `n`, or in
    /// one before that. Once that is committed the lane is a sign of life and nothing is in flight.
    pub fn at_tip(&self, lane: &str, asked_ms: i64, n: u64) {
        self.hear(|inner, now| {
            let marks = inner.marks.entry(lane.to_owned()).or_insert_with(|| Marks::new(now));
            marks.read(asked_ms, Some(0));
            let status = inner.lanes.entry(lane.to_owned()).or_default();
            lane.clone_into(&mut status.lane);
            // A reader that has not heard yet that its lane stands still does not wake it.
            let stands = matches!(status.state, LaneState::Paused(_) | LaneState::Halted(_) | LaneState::Done);
            if status.n >= n && !stands {
                marks.durable(asked_ms, now);
                (status.state, status.at_ms) = (LaneState::Idle, now);
            }
        });
    }

    fn hear(&self, word: impl FnOnce(&mut Inner, i64)) {
        let now = (self.now)();
        let mut inner = self.lock();
        word(&mut inner, now);
        let read = inner.lanes.values().map(|l| l.account.read).sum();
        if inner.read.back().is_none_or(|(at, _)| now - at >= RATE_STEP_MS) {
            inner.read.push_back((now, read));
        }
        while inner.read.len() > 2 && inner.read.front().is_some_and(|(at, _)| now - at > RATE_OVER_MS) {
            inner.read.pop_front();
        }
        let watermark = inner.watermark();
        inner.open.close(watermark, &self.policy);
        drop(inner);
        self.changed.send_modify(|v| v.lanes += 1);
    }

    /// Says what a committed batch of a lane added.
    pub fn rows(&self, lane: &str, effects: &Effects) {
        if effects.groups.is_empty() {
            return;
        }
        let at = (self.now)();
        let mut inner = self.lock();
        let ends = || effects.groups.iter().filter(|g| g.table == Table::Main).map(|g| g.end);
        inner.marks.entry(lane.to_owned()).or_insert_with(|| Marks::new(at)).open.add(ends());
        inner.open.add(ends());
        let now = inner.believed_now(self.delay()).max(believed(&effects.progress, self.delay()));
        inner.recent.add(effects, now);
        drop(inner);
        self.changed.send_modify(|v| v.rows += 1);
    }

    /// Says how often rows are written: so long a lane is silent by intention.
    pub fn writes_every(&self, interval: Duration) {
        self.lock().interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
    }

    /// Says what writing has cost so far, by table.
    pub fn write_units(&self, units: Vec<WriteUnits>) {
        self.lock().write_units = units;
    }

    /// Says how long a batch took from its first record read to its commit.
    pub fn batch_took(&self, time: Duration) {
        self.batch_seconds.observe(time.as_secs_f64());
    }

    /// How long batches took, in seconds.
    pub fn batch_seconds(&self) -> &Histogram {
        &self.batch_seconds
    }

    /// Whether the lanes do their work: none stands still, and each has committed or looked within `silence_ms_max`
    /// beyond the interval at which rows are written.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self, silence_ms_max: i64) -> Result<(), String> {
        let now = (self.now)();
        let inner = self.lock();
        if inner.lanes.is_empty() {
            return Err("no lane has started yet".into());
        }
        let most = silence_ms_max.saturating_add(inner.interval_ms);
        for l in inner.lanes.values() {
            let silence = now - l.at_ms;
            match &l.state {
                LaneState::Paused(why) | LaneState::Halted(why) => {
                    return Err(format!("lane {} is {}: {why}", l.lane, l.state.name()));
                }
                LaneState::Starting => return Err(format!("lane {} has not committed yet", l.lane)),
                LaneState::Done => {}
                LaneState::Running | LaneState::Idle if silence > most => {
                    return Err(format!("lane {} gave no sign of life for {} s", l.lane, silence / 1_000));
                }
                LaneState::Running | LaneState::Idle => {}
            }
        }
        Ok(())
    }

    /// Tells when something changed.
    pub fn watch(&self) -> watch::Receiver<Versions> {
        self.changed.subscribe()
    }

    /// What runs here.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The policy that runs here.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The lanes as last told, by name.
    pub fn lanes(&self) -> Vec<LaneStatus> {
        self.lock().lanes.values().cloned().collect()
    }

    /// All lanes that were found, by name, and how far behind they are now.
    pub fn sights(&self) -> Vec<Sight> {
        let now = (self.now)();
        let inner = self.lock();
        let sight = |(name, marks): (&String, &Marks)| {
            let unheard = || LaneStatus { lane: name.clone(), ..LaneStatus::default() };
            let status = inner.lanes.get(name).cloned().unwrap_or_else(unheard);
            Sight { lags: marks.lags(&status, now), status }
        };
        inner.marks.iter().map(sight).collect()
    }

    /// How far behind all lanes together are: the slowest lane, the policy's watermark, its oldest open window.
    pub fn lags(&self) -> Lags {
        let now = (self.now)();
        self.lock().lags(now)
    }

    /// The host's clock, as lags are taken by.
    pub fn now_ms(&self) -> i64 {
        (self.now)()
    }

    /// Says which alarms there are, and which of them are open.
    pub fn judged(&self, alarms: Vec<AlarmView>) {
        let mut inner = self.lock();
        if inner.alarms != alarms {
            inner.alarms = alarms;
            drop(inner);
            self.changed.send_modify(|v| v.lanes += 1);
        }
    }

    /// Every alarm that is watched, by name and lane, as said last.
    pub fn alarms(&self) -> Vec<AlarmView> {
        self.lock().alarms.clone()
    }

    fn delay(&self) -> TimeDelta {
        self.policy.spec().watermark.delay
    }

    fn is_final(&self, end: EventTime, watermark: Option<EventTime>) -> bool {
        let late = self.policy.spec().late;
        late.to != LateTo::Accept && watermark.is_some_and(|w| end + late.allowed_lateness <= w)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock; if something did, old numbers are better than a dead page.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    fn watermark(&self) -> Option<EventTime> {
        self.together.watermark()
    }

    fn lags(&self, now: i64) -> Lags {
        let unheard = LaneStatus::default();
        let lags = |(name, marks): (&String, &Marks)| marks.lags(self.lanes.get(name).unwrap_or(&unheard), now);
        let worst = self.marks.iter().map(lags).fold(Lags::default(), Lags::or_worse);
        let watermark_ms = self.watermark().map(|w| now.saturating_sub(w.as_millis()).max(0));
        Lags { watermark_ms, close_ms: self.open.lag_ms(now), ..worst }
    }

    fn arrival(&self) -> Option<ArrivalTime> {
        self.lanes.values().filter_map(|l| l.progress.arrival).max()
    }

    /// The latest of what the lanes make believe.
    fn believed_now(&self, delay: TimeDelta) -> Option<EventTime> {
        self.lanes.values().filter_map(|l| believed(&l.progress, delay)).max()
    }

    fn event(&self) -> Option<EventTime> {
        self.lanes.values().filter_map(|l| l.progress.event).max()
    }
}

/// What event time is at the latest, going by what one fast clock cannot move: the greatest arrival. Where records do not
/// say when they arrived, a delay beyond what the watermark follows, since that is how far honest clocks are apart.
fn believed(progress: &Progress, delay: TimeDelta) -> Option<EventTime> {
    match progress.arrival {
        Some(arrival) => Some(arrival.as_event_time()),
        None => progress.watermark.map(|w| w + delay + delay),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use plimsoll_core::wire::effects::{Group, Row};
    use std::sync::atomic::{AtomicI64, Ordering};

    /// Count and max per key and 10 ms.
    pub(crate) fn policy() -> Policy {
        let canonical = concat!(
            r#"{"v":1,"policy":"test","input":{"format":"json","time":{"field":["ts"],"unit":"ms","unit_check":true},"#,
            r#""arrival":null,"key":[["k"]],"source":null},"window":{"fixed":{"size":10,"offset":0}},"#,
            r#""watermark":{"strategy":"max","delay":0,"max_future":null,"future":"quarantine"},"#,
            r#""late":{"by":"record","allowed_lateness":0,"to":"table"},"#,
            r#""measures":[{"name":"n","op":"count","field":null},{"name":"top","op":"max","field":["v"]}],"#,
            r#""limits":{"record_bytes":1048576,"key_bytes":1024,"dead_letter_bytes":65536}}"#,
        );
        Policy::from_canonical(canonical.as_bytes()).expect("the test's policy is canonical")
    }

    pub(crate) fn effects(start: i64, table: Table, rows: &[(&str, i128, i128)]) -> Effects {
        let row = |(k, n, max): &(&str, i128, i128)| Row {
            key: format!("[\"{k}\"]").into_bytes(),
            values: vec![Some(*n), Some(*max)],
        };
        Effects {
            measures: 2,
            progress: Progress::default(),
            account: Account::default(),
            groups: vec![Group {
                table,
                start: EventTime::from_millis(start),
                end: EventTime::from_millis(start + 10),
                rows: rows.iter().map(row).collect(),
            }],
            dead: vec![],
        }
    }

    pub(crate) fn hub() -> (Arc<StatusHub>, Arc<AtomicI64>) {
        let clock = Arc::new(AtomicI64::new(1_000));
        let about = About { source: "file a.ndjson".into(), store: "sqlite a.db".into(), module: Some([7; 32]) };
        let now = {
            let clock = clock.clone();
            Arc::new(move || clock.load(Ordering::Relaxed))
        };
        (Arc::new(StatusHub::new(about, Arc::new(policy()), now)), clock)
    }

    pub(crate) fn lane(name: &str, watermark: Option<i64>, read: u64) -> LaneStatus {
        LaneStatus {
            lane: name.into(),
            state: LaneState::Running,
            account: Account { read, counted: read, ..Account::default() },
            progress: Progress { watermark: watermark.map(EventTime::from_millis), ..Progress::default() },
            at_ms: 1_000,
            ..LaneStatus::default()
        }
    }

    #[test]
    fn the_slowest_lane_holds_the_watermark_until_it_is_done() {
        let (hub, _) = hub();
        let info = |name: &str| LaneInfo { id: name.into(), name: name.into(), parents: vec![] };
        hub.found(&[info("a"), info("b")]);
        hub.lane(lane("a", Some(30), 1));
        assert_eq!(hub.stats().watermark, None, "b is there, and was not heard of");
        hub.lane(lane("b", None, 1));
        assert_eq!(hub.stats().watermark, None, "b has said nothing yet");
        hub.lane(lane("b", Some(5), 1));
        assert_eq!(hub.stats().watermark, Some(5));
        hub.lane(LaneStatus { state: LaneState::Done, ..lane("b", Some(5), 1) });
        assert_eq!(hub.stats().watermark, Some(30));
        hub.lane(LaneStatus { state: LaneState::Done, ..lane("a", Some(30), 1) });
        assert_eq!(hub.stats().watermark, Some(30), "all done: nothing is taken back");
    }

    #[test]
    fn a_fast_clock_does_not_make_it_later() {
        let delay = TimeDelta::from_millis(10);
        let at = |arrival: Option<i64>, watermark: Option<i64>| Progress {
            arrival: arrival.map(ArrivalTime::from_millis),
            watermark: watermark.map(EventTime::from_millis),
            event: Some(EventTime::from_millis(1_000_000)),
        };
        let believed = |p: Progress| believed(&p, delay).map(EventTime::as_millis);
        assert_eq!(believed(at(Some(500), Some(3))), Some(500));
        assert_eq!(believed(at(None, Some(480))), Some(500));
        assert_eq!(believed(at(None, None)), None);
    }

    #[test]
    fn rate_and_lags_follow_the_clock() {
        let (hub, clock) = hub();
        hub.rows("a", &effects(0, Table::Main, &[("a", 1, 1)]));
        clock.store(3_000, Ordering::Relaxed);
        hub.lane(lane("a", Some(9), 500));
        let s = hub.stats();
        assert_eq!((s.rate, s.lag.watermark_ms, s.lag.close_ms), (250.0, Some(2_991), Some(2_990)));
        hub.lane(lane("a", Some(10), 500));
        assert_eq!(hub.stats().lag.close_ms, None, "the watermark has closed the only window");
        clock.store(60_000, Ordering::Relaxed);
        assert_eq!(hub.stats().rate, 0.0, "nothing was read in the last ten seconds");
    }

    #[test]
    fn readiness_names_the_lane_that_stands_still() {
        let (hub, clock) = hub();
        assert!(hub.ready(60_000).unwrap_err().contains("no lane"));
        hub.lane(lane("a", None, 1));
        assert_eq!(hub.ready(60_000), Ok(()));
        clock.store(62_000, Ordering::Relaxed);
        assert_eq!(hub.ready(60_000).unwrap_err(), "lane a gave no sign of life for 61 s");
        hub.writes_every(Duration::from_secs(2));
        assert_eq!(hub.ready(60_000), Ok(()), "it is not expected to speak sooner");
        hub.writes_every(Duration::ZERO);
        hub.lane(LaneStatus { state: LaneState::Done, ..lane("a", None, 1) });
        assert_eq!(hub.ready(60_000), Ok(()), "what is done need not speak");
        hub.lane(LaneStatus { state: LaneState::Halted("its head was reset".into()), ..lane("b", None, 1) });
        assert_eq!(hub.ready(60_000).unwrap_err(), "lane b is halted: its head was reset");
    }

    #[test]
    fn a_look_at_the_tip_is_a_sign_of_life_only_where_nothing_is_in_flight() {
        let (hub, clock) = hub();
        hub.lane(LaneStatus { n: 4, durable_ms: Some(900), ..lane("a", Some(5), 1) });
        clock.store(61_000, Ordering::Relaxed);
        // Batch 5 is computed, and the store does not take it.
        hub.at_tip("a", 60_900, 5);
        let lags = hub.lags();
        assert_eq!((lags.read_ms, lags.commit_ms), (Some(100), Some(60_100)));
        assert!(hub.ready(50_000).unwrap_err().contains("no sign of life"));
        hub.lane(LaneStatus { n: 5, durable_ms: Some(900), at_ms: 61_000, ..lane("a", Some(5), 2) });
        hub.at_tip("a", 60_950, 5);
        assert_eq!(hub.lags().commit_ms, Some(50), "all that had come was written when it was asked");
        assert_eq!(hub.ready(50_000), Ok(()));
        clock.store(71_000, Ordering::Relaxed);
        assert_eq!(hub.lags().commit_ms, Some(10_050), "nobody says anything, and it grows");
        assert_eq!(hub.sights()[0].lags.commit_ms, Some(10_050));
    }

    #[test]
    fn a_late_look_at_the_tip_does_not_hide_that_a_lane_stands_still() {
        let (hub, clock) = hub();
        hub.lane(LaneStatus { state: LaneState::Halted("its head was reset".into()), ..lane("a", None, 1) });
        clock.store(9_000, Ordering::Relaxed);
        hub.at_tip("a", 8_000, 0);
        assert_eq!(hub.stats().state, "halted");
        assert_eq!(hub.lags().commit_ms, Some(8_000));
    }

    #[test]
    fn a_lane_that_was_found_and_never_spoke_is_behind() {
        let (hub, clock) = hub();
        hub.found(&[LaneInfo { id: "1".into(), name: "a".into(), parents: vec![] }]);
        clock.store(4_000, Ordering::Relaxed);
        let sights = hub.sights();
        assert_eq!((sights.len(), &sights[0].status.state), (1, &LaneState::Starting));
        let behind = Lags { read_ms: Some(3_000), commit_ms: Some(3_000), watermark_ms: Some(3_000), close_ms: None };
        assert_eq!(sights[0].lags, behind);
    }

    #[test]
    fn watchers_see_versions_not_queues() {
        let (hub, _) = hub();
        let mut seen = hub.watch();
        for _ in 0..1_000 {
            hub.lane(lane("a", Some(1), 1));
        }
        assert!(seen.has_changed().unwrap());
        assert_eq!(*seen.borrow_and_update(), Versions { lanes: 1_000, rows: 0 });
        assert!(!seen.has_changed().unwrap());
    }
}
