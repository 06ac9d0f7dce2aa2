//! What DynamoDB charges for W1: write units for a million records, by how often rows are written at the live rate.
//!
//! ```text
//! 15,000 devices -> batches of 1, 10, 60 s of the stream's own time -> module -> the store, against four tables that forget
//! ```
//! The units are the store's own count, computed from items' sizes, which `tests/dynamodb_limits.rs` holds against a
//! stand-in for the service. Nothing is timed: the same figures on every machine. No interval can do with fewer row writes
//! than there are rows in the end, which is told too.
//!
//! Run with `cargo bench -p plimsoll-tests --bench writes`, after `make build`.

use async_trait::async_trait;
use plimsoll::driver::{BatchLimits, Parts, RunConfig, run};
use plimsoll::live::{About, StatusHub};
use plimsoll::runtime::native::NativeEngines;
use plimsoll::runtime::{Engines, Flush};
use plimsoll::source::{Chunk, LaneInfo, LaneReader, Next, Places, Position, Positions, Source, SourceError};
use plimsoll::store::Store;
use plimsoll::store::dynamodb::DynamoStore;
use plimsoll_core::time::ArrivalTime;
use plimsoll_core::wire::effects;
use plimsoll_core::wire::frame::{self, Kind};
use plimsoll_tests::aws::{self, Retries};
use plimsoll_tests::engine;
use plimsoll_tests::live::{self, Arrived, RATE};
use plimsoll_tests::stub::Stub;
use plimsoll_tests::stub::dynamodb::Tables;
use std::sync::Arc;
use tokio::sync::watch;

/// A quarter of an hour of the stream.
const RECORDS: usize = (RATE * 900.0) as usize;
/// W1 at its peak: records a second, and forty seconds of them.
const PEAK_RATE: usize = 10_000;
const PEAK_RECORDS: usize = 40 * PEAK_RATE;

/// Records in batches of so many milliseconds of arrival time, dealt out to lanes.
struct Batches {
    records: Arc<Vec<Arrived>>,
    every_ms: i64,
    lanes: usize,
}

struct Reader {
    records: Arc<Vec<Arrived>>,
    every_ms: i64,
    lanes: usize,
    lane: usize,
    at: usize,
    /// The batch was given; the tip comes after it, so that it is written.
    given: bool,
}

#[async_trait]
impl Source for Batches {
    fn describe(&self) -> String {
        format!("batches of {} ms", self.every_ms)
    }

    fn carries_arrival(&self) -> bool {
        true
    }

    fn resumable(&self) -> bool {
        true
    }

    fn finite(&self) -> bool {
        true
    }

    async fn lanes(&self) -> Result<Vec<LaneInfo>, SourceError> {
        let lane = |n| LaneInfo { id: format!("{n}"), name: format!("lane-{n}"), parents: vec![] };
        Ok((0..self.lanes).map(lane).collect())
    }

    async fn open(&self, lane: &LaneInfo, _: Option<&Position>) -> Result<Box<dyn LaneReader>, SourceError> {
        let Self { every_ms, lanes, .. } = *self;
        let lane = lane.id.parse().expect("a number of ours");
        Ok(Box::new(Reader { records: Arc::clone(&self.records), every_ms, lanes, lane, at: 0, given: false }))
    }
}

#[async_trait]
impl LaneReader for Reader {
    async fn next(&mut self, _: usize) -> Result<Next, SourceError> {
        if std::mem::take(&mut self.given) {
            return Ok(Next::Idle);
        }
        let Some((first_ms, _)) = self.records.get(self.at) else { return Ok(Next::End) };
        let end_ms = (first_ms.div_euclid(self.every_ms) + 1) * self.every_ms;
        let (mut frames, mut positions, first) = (Vec::new(), Positions::default(), self.at as u64);
        let mut source_bytes = 0;
        while let Some((arrival, record)) = self.records.get(self.at).filter(|(arrival, _)| *arrival < end_ms) {
            if self.at % self.lanes == self.lane {
                let ordinal = first + positions.len() as u64;
                frame::push(&mut frames, Kind::Record, ordinal, Some(ArrivalTime::from_millis(*arrival)), record);
                // As long as a sequence number of the service.
                positions.push(&format!("{:060}/0", self.at));
                source_bytes += record.len() as u64;
            }
            self.at += 1;
        }
        self.given = true;
        let end = Position(format!("{:060}/0", self.at));
        Ok(Next::Chunk(Chunk {
            frames,
            source_bytes,
            end,
            places: Places::Records { first, positions },
            behind_ms: None,
        }))
    }
}

struct Cost {
    rows: u64,
    other: u64,
    units: u64,
    batches: u64,
}

/// Runs the records through the driver into the store.
async fn cost(records: &Arc<Vec<Arrived>>, every_ms: i64, lanes: usize) -> Cost {
    let tables = Arc::new(Tables::default());
    let behind = Arc::clone(&tables);
    let stub = Stub::start(move |call| behind.answer(call)).expect("a stub");
    let config = aws::config(&stub.url(), Retries::None).await;
    let store: Arc<dyn Store> = Arc::new(DynamoStore::new(&config, "bench").expect("a store"));
    let policy = live::policy();
    let about = About { source: String::new(), store: store.describe(), module: None };
    let hub = Arc::new(StatusHub::new(about, Arc::clone(&policy), Arc::new(plimsoll::clock::now_ms)));
    let source = Arc::new(Batches { records: Arc::clone(records), every_ms, lanes });
    let parts =
        Parts { source, store: Arc::clone(&store), engines: Arc::new(engine::module()), policy, hub: Arc::clone(&hub) };
    // As with `--flush-interval`; a batch ends at the tip, which the source says at its interval's end.
    let batch = BatchLimits { rows: 10_000, ..BatchLimits::default() };
    let (_keep, stopped) = watch::channel(false);
    run(RunConfig { batch, ..RunConfig::default() }, parts, stopped).await.expect("it ends");
    assert_eq!(hub.stats().account.account().read, records.len() as u64, "every record was read");
    let updates = tables.requests("UpdateItem", "-rows") + tables.requests("UpdateItem", "-late");
    let other = ["UpdateItem", "PutItem", "DeleteItem"].map(|o| tables.requests(o, "-lanes"));
    Cost {
        rows: updates,
        other: other.iter().sum::<u64>() + tables.requests("PutItem", "-dead"),
        units: store.write_units().iter().map(|u| u.reported + u.computed).sum(),
        batches: hub.lanes().iter().map(|l| l.batches).sum(),
    }
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let records = Arc::new(live::records(RECORDS).await);
        let peak = Arc::new(live::records_at(&format!("rate={PEAK_RATE}"), PEAK_RECORDS).await);
        println!("W1, 15,000 devices; one update per record: 1 write, 1,000,000 units per million records");
        println!(
            "lanes  records/s  written every  batches  row writes per record (rows in the end)  all writes  units per \
             million  of one per record"
        );
        let cases = [(1, 1, &records, RATE), (1, 10, &records, RATE), (1, 60, &records, RATE), (4, 10, &records, RATE)];
        // A shard takes a thousand records a second, or a megabyte of them where producers aggregate.
        let at_peak = [10, 2].map(|lanes| (lanes, 10, &peak, PEAK_RATE as f64));
        for (lanes, every_s, records, rate) in cases.into_iter().chain(at_peak) {
            let c = cost(records, every_s * 1_000, lanes).await;
            let of_record = |n: u64| n as f64 / records.len() as f64;
            println!(
                "{lanes:5}  {rate:9.0}  {every_s:11} s  {:7}  {:21.3} {:18.3}  {:10.3}  {:17.0}  {:15.1} %",
                c.batches,
                of_record(c.rows),
                of_record(rows_in_the_end(records)),
                of_record(c.rows + c.other),
                of_record(c.units) * 1e6,
                of_record(c.units) * 100.0,
            );
        }
    });
}

/// Rows that there are once all records are counted, late ones included: each is written once at least.
fn rows_in_the_end(records: &[Arrived]) -> u64 {
    let mut engine = NativeEngines.open(&live::policy(), None).expect("an engine");
    for (n, (arrival, record)) in records.iter().enumerate() {
        let mut frames = Vec::new();
        frame::push(&mut frames, Kind::Record, n as u64, Some(ArrivalTime::from_millis(*arrival)), record);
        engine.apply(&frames).expect("a record");
    }
    let mut out = Vec::new();
    engine.flush(Flush::All, &mut out).expect("effects");
    let effects = effects::decode(&out).expect("effects of ours");
    effects.groups.iter().map(|g| g.rows.len() as u64).sum()
}
