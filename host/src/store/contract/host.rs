//! One host at work on one lane of a store, for the contract and for suites that go beyond it.
//!
//! Not here: what must come of it (`contract`).

use crate::store::{Layout, RowQuery, Store, StoredRow};
use plimsoll_core::account::Account;
use plimsoll_core::lane::{Answer, Base, Batch, Command, Config, Content, Lane, Pin, REPLAY_VERSION, Step};
use plimsoll_core::time::EventTime;
use plimsoll_core::wire::effects::{DeadLetter, Effects, Group, Progress, Table};
use std::sync::Arc;
use std::time::Duration;

/// One host at work on one lane.
pub struct Host {
    /// Its handle on the store.
    pub store: Arc<dyn Store>,
    /// The policy and generation that it counts.
    pub layout: Layout,
    /// The protocol.
    pub lane: Lane,
    /// How often the protocol asked to wait and try again.
    pub waits: u64,
    id: String,
}

impl Host {
    /// A host that has done nothing yet, on the lane `id`.
    ///
    /// # Panics
    /// If the store is not as the layout needs it.
    pub async fn new(store: &Arc<dyn Store>, layout: &Layout, id: &str) -> Self {
        store.prepare(layout).await.expect("the store is as it must be");
        let config = Config {
            atomicity: store.atomicity(),
            limits: store.limits(),
            table: store.table(),
            intent_age_ms_max: i64::MAX,
        };
        let lane = Lane::new(layout.lane(id), config);
        Self { store: Arc::clone(store), layout: layout.clone(), lane, waits: 0, id: id.to_owned() }
    }

    /// One command, tried once.
    ///
    /// # Panics
    /// If the store is refused.
    pub async fn execute(&self, command: &Command) -> Answer {
        self.store.execute(&self.layout.lane(&self.id), command).await.expect("the store works")
    }

    /// Does what the protocol says until it wants a content, or is at its end.
    ///
    /// # Panics
    /// If the store never answers.
    pub async fn settle(&mut self) -> Step {
        loop {
            match self.lane.step() {
                Step::Do(command) => {
                    let answer = self.execute(&command).await;
                    self.lane.answer(answer);
                }
                Step::Wait { attempt, why } => {
                    assert!(attempt < 30, "still not answered after {attempt} attempts: {why}");
                    self.waits += 1;
                    tokio::time::sleep(Duration::from_millis(5 * u64::from(attempt))).await;
                    self.lane.waited();
                }
                step => return step,
            }
        }
    }

    /// The tip that the protocol wants a content for.
    ///
    /// # Panics
    /// If it wants none.
    pub async fn base(&mut self) -> Base {
        match self.settle().await {
            Step::Compute(base) => base,
            other => panic!("the protocol wanted no content, but: {other:?}"),
        }
    }

    /// A content that joins onto a tip; it counts what its rows say.
    ///
    /// # Panics
    /// If it does not add up, or is too large for one.
    pub fn content(&self, base: &Base, groups: Vec<Group>, dead: Vec<DeadLetter>) -> Content {
        let count = |main: bool| -> u64 {
            let rows = groups.iter().filter(|g| (g.table == Table::Main) == main).flat_map(|g| &g.rows);
            rows.map(|r| r.values[0].unwrap_or(0)).sum::<i128>() as u64
        };
        let (counted, late) = (count(true), count(false));
        let mut account = Account { read: counted + late + dead.len() as u64, counted, late, ..Account::default() };
        dead.iter().for_each(|d| account.reject(d.reason));
        let to = base.tip.n + 1;
        let batch = Batch {
            to: Some(format!("{to}")),
            done: false,
            places: dead.iter().map(|d| format!("{}/{to}/{}", self.id, d.ordinal)).collect(),
            effects: Effects { measures: 4, progress: progress(to as i64), account, groups, dead },
            snapshot: Some(vec![to as u8; 3]),
            written_ms: crate::clock::now_ms(),
            pin: Pin {
                policy: *self.layout.policy.digest(),
                module: None,
                replay: REPLAY_VERSION,
                name: "contract".into(),
                shape: self.layout.policy.shape(),
            },
        };
        batch.check(Some(0)).expect("the suite's batches add up");
        let mut contents = base.tip.contents(batch, &self.store.limits());
        assert_eq!(contents.len(), 1, "the suite's batches are small");
        contents.remove(0)
    }

    /// One batch, committed.
    ///
    /// # Panics
    /// If the protocol does not go on after it.
    pub async fn commit(&mut self, groups: Vec<Group>, dead: Vec<DeadLetter>) {
        let base = self.base().await;
        let content = self.content(&base, groups, dead);
        self.lane.offer(content);
        self.base().await;
    }

    /// Rows as the store holds them.
    ///
    /// # Panics
    /// If they cannot be read.
    pub async fn rows(&self, query: RowQuery) -> Vec<StoredRow> {
        self.store.rows(&self.layout, &query).await.expect("rows can be read")
    }

    /// Main rows as `(key, values)`.
    ///
    /// # Panics
    /// If they cannot be read.
    pub async fn totals(&self) -> Vec<(String, Vec<Option<i128>>)> {
        let rows = self.rows(RowQuery::default()).await;
        rows.into_iter().map(|r| (String::from_utf8(r.row.key).expect("a key is text"), r.row.values)).collect()
    }
}

/// How far event time is after the batch `n`: as many milliseconds.
pub fn progress(n: i64) -> Progress {
    Progress { watermark: Some(EventTime::from_millis(n)), arrival: None, event: Some(EventTime::from_millis(n)) }
}
