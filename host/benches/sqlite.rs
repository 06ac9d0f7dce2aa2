//! Rows a second into SQLite, exactly once: each batch one transaction through the lane protocol.
//!
//! `new_rows`: every batch opens windows. `same_rows`: every batch adds to the rows of the one before.
//! `cargo bench -p plimsoll --bench sqlite`

use divan::Bencher;
use divan::counter::ItemsCount;
use plimsoll::store::sqlite::SqliteStore;
use plimsoll::store::{Layout, Store, contract};
use plimsoll_core::account::Account;
use plimsoll_core::lane::{Batch, Config, Content, Lane, Limits, Pin, REPLAY_VERSION, Step, Tip};
use plimsoll_core::time::EventTime;
use plimsoll_core::wire::effects::{Effects, Group, Progress, Row, Table};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Keys of a window: as W1's pairs of placement and creative.
const KEYS: usize = 4_000;
/// Windows of a batch.
const WINDOWS: i64 = 10;

fn main() {
    divan::main();
}

/// A file, and a lane at work on it.
struct Host {
    _dir: TempDir,
    runtime: Runtime,
    store: SqliteStore,
    layout: Layout,
    lane: Lane,
    tip: Tip,
}

impl Host {
    fn new() -> Self {
        let dir = TempDir::new().expect("a folder");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let store = SqliteStore::open(dir.path().join("bench.db")).expect("a file");
        let layout = Layout::new(contract::policy());
        runtime.block_on(store.prepare(&layout)).expect("tables");
        let config = Config {
            atomicity: store.atomicity(),
            limits: store.limits(),
            table: store.table(),
            intent_age_ms_max: i64::MAX,
        };
        let lane = Lane::new(layout.lane("bench"), config);
        let mut host = Self { _dir: dir, runtime, store, layout, lane, tip: Tip::default() };
        host.settle();
        host
    }

    fn settle(&mut self) {
        loop {
            match self.lane.step() {
                Step::Do(command) => {
                    let key = self.layout.lane("bench");
                    let answer = self.store.execute(&key, &command);
                    self.lane.answer(self.runtime.block_on(answer).expect("the file is written"));
                }
                Step::Compute(base) => {
                    self.tip = base.tip;
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn content(&self, first: i64) -> Content {
        let row = |k: usize| Row {
            key: format!("[\"p-{:03}\",\"c-{:04}\"]", k / 20, k).into_bytes(),
            values: vec![Some(3), Some(40), Some(1), Some(20)],
        };
        let group = |w: i64| Group {
            table: Table::Main,
            start: EventTime::from_millis((first + w) * 60_000),
            end: EventTime::from_millis((first + w + 1) * 60_000),
            rows: (0..KEYS).map(row).collect(),
        };
        let read = 3 * KEYS as u64 * WINDOWS as u64;
        let batch = Batch {
            to: Some(self.tip.n.to_string()),
            done: false,
            effects: Effects {
                measures: 4,
                progress: Progress::default(),
                account: Account { read, counted: read, ..Account::default() },
                groups: (0..WINDOWS).map(group).collect(),
                dead: vec![],
            },
            places: vec![],
            snapshot: Some(vec![0; 8_000]),
            written_ms: 0,
            pin: Pin {
                policy: *self.layout.policy.digest(),
                module: None,
                replay: REPLAY_VERSION,
                name: "bench".into(),
                shape: self.layout.policy.shape(),
            },
        };
        self.tip.contents(batch, &Limits::NONE).remove(0)
    }
}

fn batches(bencher: Bencher<'_, '_>, step: i64) {
    let host = std::cell::RefCell::new(Host::new());
    let mut first = 0;
    bencher
        .counter(ItemsCount::new(KEYS * WINDOWS as usize))
        .with_inputs(|| {
            first += step;
            host.borrow().content(first)
        })
        .bench_local_values(|content| {
            let mut host = host.borrow_mut();
            host.lane.offer(content);
            host.settle();
        });
}

#[divan::bench(sample_count = 15, sample_size = 1)]
fn new_rows(bencher: Bencher<'_, '_>) {
    batches(bencher, WINDOWS);
}

#[divan::bench(sample_count = 15, sample_size = 1)]
fn same_rows(bencher: Bencher<'_, '_>) {
    batches(bencher, 0);
}
