//! The driver between doubles: a source in memory, a store that fails on purpose, an engine that traps.
//!
//! The judge is a sum: each record adds a power of its own place, so that a record lost, doubled or swapped shows.

mod idle;
mod lineage;
mod redrive;
mod writing;

use super::*;
use crate::live::About;
use crate::runtime::native::NativeEngines;
use crate::runtime::{Engine, Flush};
use crate::source::{Chunk, LaneReader, Next, Places, Position, Positions};
use crate::store::memory::Memory;
use crate::store::{Gap, RowQuery, StoredDeadLetter, StoredRow};
use async_trait::async_trait;
use plimsoll_core::account::Reason;
use plimsoll_core::lane::{Answer, Applied, Atomicity, Batch, Command, Head, LaneKey, Limits};
use plimsoll_core::policy::text::{Syntax, parse};
use plimsoll_core::wire::frame::{self, Kind};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use tokio::sync::Notify;

fn policy_of(measures: &str) -> Arc<Policy> {
    let text = format!(
        "policy = \"test\"\n[input]\nformat = \"json\"\ntime = {{ field = \"ts\", unit = \"ms\", unit_check = false }}\n\
         key = [\"k\"]\n[window]\nfixed = \"10s\"\n[watermark]\nmax = true\ndelay = \"1h\"\n[measures]\n{measures}\n"
    );
    Arc::new(parse(&text, Syntax::Toml).expect("the tests' policy"))
}

fn policy() -> Arc<Policy> {
    policy_of("n = \"count\"\nsum = { sum = \"v\" }")
}

/// Record `i` of a lane: every fifth key, a value of its own.
fn record(lane: usize, i: usize) -> String {
    format!("{{\"ts\":{},\"k\":\"{}\",\"v\":{}}}", i * 700, i % 5, value(lane, i))
}

fn value(lane: usize, i: usize) -> i64 {
    // Squares: two sums are hardly equal by accident.
    ((lane + 1) * (i + 1)).pow(2) as i64
}

/// Lanes of records in memory.
struct Lanes {
    lanes: Vec<(LaneInfo, Vec<String>)>,
    /// Records of a chunk.
    chunk: usize,
    /// Chunks given out.
    read: AtomicUsize,
    /// In the order in which lanes were opened.
    opened: Mutex<Vec<String>>,
    /// Whether reading fails for now.
    failing: AtomicBool,
}

impl Lanes {
    fn new(lanes: usize, records: usize) -> Self {
        let lane = |l: usize| {
            let info = LaneInfo { id: format!("lane-{l}"), name: format!("lane-{l}"), parents: vec![] };
            (info, (0..records).map(|i| record(l, i)).collect())
        };
        Self {
            lanes: (0..lanes).map(lane).collect(),
            chunk: 7,
            read: AtomicUsize::new(0),
            opened: Mutex::default(),
            failing: AtomicBool::new(false),
        }
    }
}

struct Reader {
    source: Arc<Lanes>,
    lane: usize,
    at: usize,
}

/// The source is the lanes and a handle on them that readers share.
struct Shared(Arc<Lanes>);

#[async_trait]
impl Source for Shared {
    fn describe(&self) -> String {
        "lanes in memory".into()
    }

    fn carries_arrival(&self) -> bool {
        false
    }

    fn resumable(&self) -> bool {
        true
    }

    fn finite(&self) -> bool {
        true
    }

    async fn lanes(&self) -> Result<Vec<LaneInfo>, SourceError> {
        Ok(self.0.lanes.iter().map(|(info, _)| info.clone()).collect())
    }

    async fn open(&self, lane: &LaneInfo, from: Option<&Position>) -> Result<Box<dyn LaneReader>, SourceError> {
        self.0.opened.lock().unwrap().push(lane.id.clone());
        let at = from.map_or(0, |p| p.0.parse().unwrap());
        let lane = self.0.lanes.iter().position(|(info, _)| info.id == lane.id).unwrap();
        Ok(Box::new(Reader { source: Arc::clone(&self.0), lane, at }))
    }
}

#[async_trait]
impl LaneReader for Reader {
    async fn next(&mut self, _bytes: usize) -> Result<Next, SourceError> {
        tokio::task::yield_now().await;
        if self.source.failing.load(Ordering::Relaxed) {
            return Err(SourceError::Passing("the line is cut".into()));
        }
        let records = &self.source.lanes[self.lane].1;
        let part = &records[self.at..(self.at + self.source.chunk).min(records.len())];
        if part.is_empty() {
            return Ok(Next::End);
        }
        self.source.read.fetch_add(1, Ordering::Relaxed);
        let mut frames = Vec::new();
        let first = self.at as u64;
        let text: String = part.iter().map(|r| format!("{r}\n")).collect();
        frame::push(&mut frames, Kind::Lines, first, None, text.as_bytes());
        self.at += part.len();
        let mut positions = Positions::default();
        (first..first + part.len() as u64).for_each(|n| positions.push(&format!("at {n}")));
        Ok(Next::Chunk(Chunk {
            frames,
            source_bytes: text.len() as u64,
            end: Position(self.at.to_string()),
            places: Places::Records { first, positions },
            behind_ms: None,
        }))
    }
}

/// A chunk of the one record that stands at `at`.
fn single(at: usize, record: &str) -> Next {
    let (first, mut frames, mut positions) = (at as u64, Vec::new(), Positions::default());
    frame::push(&mut frames, Kind::Lines, first, None, record.as_bytes());
    positions.push(&format!("at {at}"));
    Next::Chunk(Chunk {
        frames,
        source_bytes: record.len() as u64,
        end: Position((at + 1).to_string()),
        places: Places::Records { first, positions },
        behind_ms: None,
    })
}

/// A store whose requests get lost, before or after they are done.
struct Flaky {
    inner: Memory,
    random: Mutex<ChaCha8Rng>,
    /// In thousandths of the requests.
    faults: u32,
    /// Whether nothing is applied any more.
    dead: AtomicBool,
    /// It holds no rows of windows that start later than this, in ms.
    start_max: AtomicI64,
    /// So many requests are still done; then the host is cut off, in the middle of a batch as it may be.
    left: AtomicUsize,
    cut_off: Notify,
}

impl Flaky {
    fn new(atomicity: Atomicity, limits: Limits, seed: u64, faults: u32) -> Arc<Self> {
        let random = Mutex::new(ChaCha8Rng::seed_from_u64(seed));
        Arc::new(Self {
            inner: Memory::new(atomicity, limits),
            random,
            faults,
            dead: AtomicBool::new(false),
            start_max: AtomicI64::new(i64::MAX),
            left: AtomicUsize::new(usize::MAX),
            cut_off: Notify::new(),
        })
    }

    async fn request(&self) {
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_err() {
            self.cut_off.notify_one();
            std::future::pending().await
        }
    }

    fn fault(&self) -> bool {
        self.random.lock().unwrap().random_range(0..1_000) < self.faults
    }
}

#[async_trait]
impl Store for Flaky {
    fn describe(&self) -> String {
        "flaky".into()
    }

    fn atomicity(&self) -> Atomicity {
        self.inner.atomicity()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn table(&self) -> String {
        self.inner.table()
    }

    async fn prepare(&self, layout: &Layout) -> Result<(), StoreError> {
        self.inner.prepare(layout).await
    }

    fn admits(&self, _key: &LaneKey, batch: &Batch) -> Result<(), Unwritable> {
        let most = self.start_max.load(Ordering::Relaxed);
        match batch.effects.groups.iter().map(|g| g.start.as_millis()).find(|start| *start > most) {
            Some(start) => Err(Unwritable::new(format!("the row of {start}"), "a late start".into(), "less".into())),
            None => Ok(()),
        }
    }

    async fn execute(&self, key: &LaneKey, command: &Command) -> Result<Answer, StoreError> {
        tokio::task::yield_now().await;
        let lost = || Answer::Unknown { detail: "lost".into() };
        if let Command::Apply { alias, content, effects } = command {
            let mut answers = Vec::new();
            for i in effects {
                self.request().await;
                if self.dead.load(Ordering::Relaxed) || self.fault() {
                    answers.push(Applied::Unknown("lost".into()));
                    continue;
                }
                let one = Command::Apply { alias: *alias, content: Arc::clone(content), effects: vec![*i] };
                let Answer::Applied(mut one) = self.inner.execute(key, &one).await? else { unreachable!() };
                answers.push(if self.fault() { Applied::Unknown("lost".into()) } else { one.remove(0) });
            }
            return Ok(Answer::Applied(answers));
        }
        self.request().await;
        if self.fault() {
            return Ok(lost());
        }
        let answer = self.inner.execute(key, command).await?;
        Ok(if self.fault() { lost() } else { answer })
    }

    async fn heads(&self, layout: &Layout) -> Result<Vec<Head>, StoreError> {
        self.inner.heads(layout).await
    }

    async fn rows(&self, layout: &Layout, query: &RowQuery) -> Result<Vec<StoredRow>, StoreError> {
        self.inner.rows(layout, query).await
    }

    async fn dead_letters(&self, layout: &Layout, limit: usize) -> Result<Vec<StoredDeadLetter>, StoreError> {
        self.inner.dead_letters(layout, limit).await
    }

    async fn note_gap(&self, layout: &Layout, gap: &Gap) -> Result<Gap, StoreError> {
        self.inner.note_gap(layout, gap).await
    }

    async fn gaps(&self, layout: &Layout) -> Result<Vec<Gap>, StoreError> {
        self.inner.gaps(layout).await
    }
}

fn config() -> RunConfig {
    RunConfig {
        batch: BatchLimits { bytes: 2_000, ..BatchLimits::default() },
        discover_every: Duration::from_millis(20),
        stand_by_every: Duration::from_millis(20),
        ..RunConfig::default()
    }
}

fn parts(lanes: &Arc<Lanes>, store: &Arc<Flaky>, engines: Arc<dyn Engines>, policy: Arc<Policy>) -> Parts {
    let about = About { source: String::new(), store: String::new(), module: None };
    let hub = Arc::new(StatusHub::new(about, Arc::clone(&policy), Arc::new(crate::clock::now_ms)));
    Parts { source: Arc::new(Shared(Arc::clone(lanes))), store: store.clone(), engines, policy, hub }
}

async fn drive(lanes: &Arc<Lanes>, store: &Arc<Flaky>) -> Result<(), RunError> {
    let (_keep, stop) = watch::channel(false);
    run(config(), parts(lanes, store, Arc::new(NativeEngines), policy()), stop).await
}

/// Rows as `(window start, key) -> (count, sum)`, and dead letters' positions.
type Counted = (BTreeMap<(i64, String), (i128, i128)>, Vec<String>);

async fn counted(store: &Arc<Flaky>) -> Counted {
    let layout = Layout::new(policy());
    let rows = store.rows(&layout, &RowQuery::default()).await.unwrap();
    let rows = rows.into_iter().map(|r| {
        let key = String::from_utf8(r.row.key).unwrap();
        ((r.window.start.as_millis(), key), (r.row.values[0].unwrap(), r.row.values[1].unwrap()))
    });
    let mut dead: Vec<_> = store.dead_letters(&layout, 1_000).await.unwrap().into_iter().map(|d| d.position).collect();
    dead.sort();
    (rows.collect(), dead)
}

fn expected(lanes: usize, records: usize, without: &[usize]) -> BTreeMap<(i64, String), (i128, i128)> {
    let mut rows = BTreeMap::new();
    for lane in 0..lanes {
        for i in (0..records).filter(|i| !without.contains(i)) {
            let start = (i as i64 * 700).div_euclid(10_000) * 10_000;
            let row: &mut (i128, i128) = rows.entry((start, format!("[\"{}\"]", i % 5))).or_default();
            row.0 += 1;
            row.1 += i128::from(value(lane, i));
        }
    }
    rows
}

fn both() -> [(Atomicity, Limits); 2] {
    [(Atomicity::Items, Limits::ITEMS), (Atomicity::Transaction, Limits::NONE)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_are_counted_to_their_ends() {
    for (atomicity, limits) in both() {
        let (lanes, store) = (Arc::new(Lanes::new(3, 500)), Flaky::new(atomicity, limits, 0, 0));
        drive(&lanes, &store).await.unwrap();
        assert_eq!(counted(&store).await, (expected(3, 500, &[]), vec![]));
        let heads = store.heads(&Layout::new(policy())).await.unwrap();
        // This source is finite, like files: what has ended may have grown by the next run, so no head is closed.
        assert!(heads.iter().all(|h| !h.done && h.account.read == 500 && h.n > 5), "{heads:?}");
        assert_eq!(store.inner.chunks(), 0, "no chunk stays behind");
        // A second run finds nothing new.
        drive(&lanes, &store).await.unwrap();
        assert_eq!(counted(&store).await.0, expected(3, 500, &[]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_requests_and_answers_change_no_total() {
    // Everything goes through chunks, and large batches are given out in parts.
    let small = Limits { state_inline: 64, intent_inline: 200, intent: 33 << 10, chunk: 128 };
    for (seed, (atomicity, limits)) in
        both().into_iter().chain([(Atomicity::Items, small)]).enumerate().map(|(i, b)| (i as u64 + 1, b))
    {
        let (lanes, store) = (Arc::new(Lanes::new(2, 300)), Flaky::new(atomicity, limits, seed, 50));
        drive(&lanes, &store).await.unwrap();
        assert_eq!(counted(&store).await, (expected(2, 300, &[]), vec![]), "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_cut_off_anywhere_change_no_total() {
    for (atomicity, limits) in both() {
        let (lanes, store) = (Arc::new(Lanes::new(2, 600)), Flaky::new(atomicity, limits, 5, 20));
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut cut = 0;
        loop {
            // Some batches' worth of requests: an effect is one where each item is written for itself.
            let most = if atomicity == Atomicity::Items { 80 } else { 10 };
            store.left.store(random.random_range(0..most), Ordering::Relaxed);
            tokio::select! {
                ended = drive(&lanes, &store) => break ended.unwrap(),
                () = store.cut_off.notified() => cut += 1,
            }
            assert!(cut < 1_000, "it comes to no end");
        }
        assert!(cut > 3, "cut off only {cut} times");
        assert_eq!(counted(&store).await, (expected(2, 600, &[]), vec![]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hosts_started_by_mistake_count_once_and_both_end() {
    for (atomicity, limits) in both() {
        let (lanes, store) = (Arc::new(Lanes::new(2, 400)), Flaky::new(atomicity, limits, 9, 20));
        let (a, b) = tokio::join!(drive(&lanes, &store), drive(&lanes, &store));
        a.unwrap();
        b.unwrap();
        assert_eq!(counted(&store).await, (expected(2, 400, &[]), vec![]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_lanes_write_to_the_same_rows() {
    let lanes = Arc::new(Lanes::new(100, 3));
    let store = Flaky::new(Atomicity::Items, Limits::ITEMS, 0, 0);
    drive(&lanes, &store).await.unwrap();
    assert_eq!(counted(&store).await.0, expected(100, 3, &[]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_store_holds_reading_back_and_stopping_works() {
    let (lanes, store) = (Arc::new(Lanes::new(1, 100_000)), Flaky::new(Atomicity::Items, Limits::ITEMS, 0, 0));
    store.dead.store(true, Ordering::Relaxed);
    let (stop, stopped) = watch::channel(false);
    let parts = parts(&lanes, &store, Arc::new(NativeEngines), policy());
    let running = tokio::spawn(run(config(), parts, stopped));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let chunks = lanes.read.load(Ordering::Relaxed);
    // A batch of 2,000 bytes is some eight chunks: in hand, offered, ready, and computed ahead.
    assert!((8..=40).contains(&chunks), "{chunks} chunks read while nothing can be written");
    stop.send_replace(true);
    tokio::time::timeout(STOP_GRACE + Duration::from_secs(2), running).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_does_not_wait_for_a_source_that_fails() {
    let (lanes, store) = (Arc::new(Lanes::new(2, 50)), Flaky::new(Atomicity::Items, Limits::ITEMS, 0, 0));
    lanes.failing.store(true, Ordering::Relaxed);
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(run(config(), parts(&lanes, &store, Arc::new(NativeEngines), policy()), stopped));
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(!running.is_finished(), "passing trouble ends no run");
    stop.send_replace(true);
    tokio::time::timeout(Duration::from_secs(3), running).await.unwrap().unwrap().unwrap();
    lanes.failing.store(false, Ordering::Relaxed);
    drive(&lanes, &store).await.unwrap();
    assert_eq!(counted(&store).await.0, expected(2, 50, &[]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_batch_pauses_after_what_came_before_is_written() {
    let mut lanes = Lanes::new(1, 200);
    lanes.lanes[0].1.extend((0..40).map(|_| "no json".to_owned()));
    let (lanes, store) = (Arc::new(lanes), Flaky::new(Atomicity::Items, Limits::ITEMS, 3, 50));
    let why = drive(&lanes, &store).await.unwrap_err();
    assert!(matches!(&why, RunError::Poison { .. }) && why.to_string().contains("--accept-poison"), "{why}");
    let head = store.heads(&Layout::new(policy())).await.unwrap().remove(0);
    assert!(head.account.read > 0 && head.account.rejected == 0, "{:?}", head.account);
    let (_keep, stop) = watch::channel(false);
    let accept = RunConfig { accept_poison: true, ..config() };
    run(accept, parts(&lanes, &store, Arc::new(NativeEngines), policy()), stop).await.unwrap();
    let (rows, dead) = counted(&store).await;
    assert_eq!((rows, dead.len()), (expected(1, 200, &[]), 40));
}

/// Native engines that trap on a marked record, or complain about memory for no reason of the record's.
struct Trapping {
    fault: fn() -> EngineError,
    opened: AtomicUsize,
}

struct TrappingEngine {
    inner: Box<dyn Engine>,
    fault: fn() -> EngineError,
}

impl Engines for Trapping {
    fn digest(&self) -> Option<[u8; 32]> {
        Some([9; 32])
    }

    fn open(&self, policy: &Arc<Policy>, snapshot: Option<&[u8]>) -> Result<Box<dyn Engine>, EngineError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let inner = NativeEngines.open(policy, snapshot)?;
        Ok(Box::new(TrappingEngine { inner, fault: self.fault }))
    }

    fn open_metered(&self, policy: &Arc<Policy>, snapshot: Option<&[u8]>) -> Result<Box<dyn Engine>, EngineError> {
        self.open(policy, snapshot)
    }
}

impl Engine for TrappingEngine {
    fn apply(&mut self, frames: &[u8]) -> Result<(), EngineError> {
        if frames.windows(4).any(|w| w == b"TRAP") {
            // What a broken engine says is not to be believed: half of the frames are in it.
            self.inner.apply(&[]).ok();
            return Err((self.fault)());
        }
        self.inner.apply(frames)
    }

    fn pending(&mut self) -> Result<u64, EngineError> {
        self.inner.pending()
    }

    fn flush(&mut self, mode: Flush, out: &mut Vec<u8>) -> Result<(), EngineError> {
        self.inner.flush(mode, out)
    }

    fn panes(&mut self, out: &mut Vec<u8>) -> Result<(), EngineError> {
        self.inner.panes(out)
    }

    fn snapshot(&mut self, out: &mut Vec<u8>) -> Result<(), EngineError> {
        self.inner.snapshot(out)
    }
}

/// 300 records, three of them marked.
fn marked() -> Arc<Lanes> {
    let mut lanes = Lanes::new(1, 300);
    for i in [0, 150, 299] {
        lanes.lanes[0].1[i] = format!("{{\"ts\":{},\"k\":\"TRAP\",\"v\":1}}", i * 700);
    }
    Arc::new(lanes)
}

async fn trapped(fault: fn() -> EngineError) -> (Result<(), RunError>, Arc<Flaky>) {
    let store = Flaky::new(Atomicity::Transaction, Limits::NONE, 0, 0);
    let (_keep, stop) = watch::channel(false);
    let engines = Arc::new(Trapping { fault, opened: AtomicUsize::new(0) });
    (run(config(), parts(&marked(), &store, engines, policy()), stop).await, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_stop_the_module_are_set_aside_one_by_one() {
    let cases: [(fn() -> EngineError, Reason); 3] = [
        (|| EngineError::Trap { reason: "unreachable".into() }, Reason::ModuleTrap),
        (|| EngineError::Lie { detail: "nonsense".into() }, Reason::ModuleTrap),
        (|| EngineError::OutOfTime { limit: "fuel".into() }, Reason::ModuleOutOfTime),
    ];
    for (fault, reason) in cases {
        let (ended, store) = trapped(fault).await;
        ended.unwrap();
        let (rows, dead) = counted(&store).await;
        assert_eq!(
            (rows, dead),
            (expected(1, 300, &[0, 150, 299]), vec!["at 0".into(), "at 150".into(), "at 299".into()])
        );
        let letters = store.dead_letters(&Layout::new(policy()), 10).await.unwrap();
        assert!(letters.iter().all(|d| d.reason == reason && d.raw.starts_with(b"{\"ts\"")), "{letters:?}");
        let head = store.heads(&Layout::new(policy())).await.unwrap().remove(0);
        assert_eq!((head.account.read, head.account.counted, head.account.rejected), (300, 297, 3));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hosts_own_trouble_sets_no_record_aside() {
    let cases: [fn() -> EngineError; 2] = [
        || EngineError::OutOfMemory { limit_bytes: 1 },
        || EngineError::Refused { status: 3, detail: "bad frame".into() },
    ];
    for fault in cases {
        let (ended, store) = trapped(fault).await;
        assert!(matches!(ended, Err(RunError::Engine { .. })), "{ended:?}");
        assert_eq!(counted(&store).await.1, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_policy_is_refused_with_both_digests() {
    let (lanes, store) = (Arc::new(Lanes::new(1, 20)), Flaky::new(Atomicity::Items, Limits::ITEMS, 0, 0));
    drive(&lanes, &store).await.unwrap();
    let other = policy_of("n = \"count\"");
    let attempt = async |generation: &str| {
        let (_keep, stop) = watch::channel(false);
        let config = RunConfig { generation: generation.into(), ..config() };
        run(config, parts(&lanes, &store, Arc::new(NativeEngines), Arc::clone(&other)), stop).await
    };
    let why = attempt("").await.unwrap_err().to_string();
    for digest in [policy().digest(), other.digest()] {
        assert!(why.contains(&crate::store::hex(&digest[..6])), "{why}");
    }
    assert!(why.contains("--generation"), "{why}");
    attempt("second").await.unwrap();
    let layout = Layout { policy: Arc::clone(&other), generation: "second".into() };
    let counts: i128 =
        store.rows(&layout, &RowQuery::default()).await.unwrap().iter().filter_map(|r| r.row.values[0]).sum();
    assert_eq!(counts, 20);
}
