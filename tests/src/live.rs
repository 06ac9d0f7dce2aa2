//! The stream that the host is measured with: 15,000 devices that report every 90 s, with all their troubles, as they come.
//!
//! Invariants
//! - The same records on every machine: the generator of `plimsoll run --generate`, with its default seed.
//!
//! Not here: W1's own records, whose rate swings (`w1`); the policy is W1's.

use crate::records::Arrivals;
use crate::{engine, w1};
use plimsoll::source::generator::{Devices, GeneratorSource};
use plimsoll::source::{Next, Source};
use plimsoll_core::policy::Policy;
use plimsoll_core::wire::frame;
use std::sync::Arc;

/// Records a second.
pub const RATE: f64 = 15_000.0 / 90.0;

/// W1's policy with the watermark that survives clocks that lie: the median's.
pub fn policy_text() -> String {
    w1::policy(Arrivals::Outside, "[watermark]\nquantile = 0.5\ndelay = \"10m\"\n")
}

/// The same, read.
pub fn policy() -> Arc<Policy> {
    engine::policy(&policy_text())
}

/// A record and when it arrived, in ms since the epoch.
pub type Arrived = (i64, Vec<u8>);

/// The first records of the stream.
pub async fn records(how_many: usize) -> Vec<Arrived> {
    records_at("every=90s", how_many).await
}

/// The first records of such a stream at another pace: `rate=10000`, say.
///
/// # Panics
/// If the generator does not give them.
pub async fn records_at(pace: &str, how_many: usize) -> Vec<Arrived> {
    let devices = Devices::parse(&format!("devices=15000,{pace},records={how_many}")).expect("devices");
    let source = GeneratorSource::new(devices);
    let lane = source.lanes().await.expect("a lane").remove(0);
    let mut reader = source.open(&lane, None).await.expect("a reader");
    let mut records = Vec::with_capacity(how_many);
    loop {
        match reader.next(1 << 20).await.expect("records") {
            Next::Chunk(chunk) => {
                let mut at = 0;
                while at < chunk.frames.len() {
                    let record = frame::read(&chunk.frames, at).expect("the generator writes frames");
                    let arrival = record.arrival.expect("each with its arrival").as_millis();
                    records.push((arrival, chunk.frames[record.from..record.to].to_vec()));
                    at = record.to;
                }
            }
            Next::Idle => tokio::task::yield_now().await,
            Next::End => return records,
        }
    }
}
