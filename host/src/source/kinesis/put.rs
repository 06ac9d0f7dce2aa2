//! Puts generated device records to a stream.
//!
//! Invariants
//! - A device's records enter the stream in their order: it is the partition key, a request holds at most one record of
//!   it, and what the service did not take goes before everything that follows.
//! - Every record is put. A reply that is lost may put one twice: only the service could tell, and it does not.
//!
//! Not here: the records themselves (`generator`).

use super::trouble::Trouble;
use super::{Stream, client};
use crate::source::generator::{Devices, Records};
use anyhow::{Result, bail};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// The service's most in one request.
const REQUEST_RECORDS: usize = 500;
/// The service's most in one request, keys included.
const REQUEST_BYTES: usize = 5_000_000;
/// Records waiting, so that a request is full though it holds a device once.
const WAITING: usize = 4 * REQUEST_RECORDS;
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// After so long in which nothing was taken, this gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same while nothing was ever taken: more likely something is set up wrong, and somebody waits to see it work.
const PATIENCE_FIRST: Duration = Duration::from_secs(10);

/// Puts `records` records of `devices` to a stream, named or given by its ARN; credentials and region come from the
/// environment. `told` hears how many are put. Gives the payload bytes.
///
/// # Errors
/// If the stream is not there or may not be written, or takes nothing for long (`PATIENCE`).
pub async fn to_kinesis(
    devices: &Devices,
    records: u64,
    stream: &str,
    told: &mut (dyn FnMut(u64) + Send),
) -> Result<u64> {
    let (client, region) = client(stream).await?;
    put(&client, (stream, &region), devices, records, told).await
}

/// As [`to_kinesis`], through a client of the caller's; `region` is for messages.
///
/// # Errors
/// As [`to_kinesis`].
pub async fn put(
    client: &Client,
    (stream, region): (&str, &str),
    devices: &Devices,
    records: u64,
    told: &mut (dyn FnMut(u64) + Send),
) -> Result<u64> {
    let stream = Stream { given: stream.to_owned(), region: region.to_owned() };
    let mut generator = Records::new(devices);
    let (mut made, mut bytes) = (0, 0);
    let mut waiting = Waiting::default();
    let (mut failures, mut taken, mut patience) = (0, Instant::now(), PATIENCE_FIRST);
    loop {
        while made < records && waiting.0.len() < WAITING {
            let mut data = Vec::new();
            let device = generator.next(&mut data).device_name();
            bytes += data.len() as u64;
            made += 1;
            waiting.0.push_back(Item { device, data });
        }
        let items = waiting.take();
        if items.is_empty() {
            return Ok(bytes);
        }
        let sent = items.len();
        let (back, why) = request(client, &stream, items).await?;
        if back.len() < sent {
            told(made - (waiting.0.len() + back.len()) as u64);
            (failures, taken, patience) = (0, Instant::now(), PATIENCE);
        } else {
            failures += 1;
        }
        if taken.elapsed() > patience {
            bail!(
                "{} of {records} records were put, then none for {} s: {why}",
                made - waiting.0.len() as u64 - sent as u64,
                patience.as_secs()
            );
        }
        if !back.is_empty() {
            tracing::debug!(records = back.len(), %why, "not taken; putting them again");
            waiting.put_back(back);
            let most = BACKOFF_MIN.saturating_mul(1 << u32::min(failures, 10)).min(BACKOFF_MAX);
            tokio::time::sleep(most.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        }
    }
}

/// One request: what it did not put, or of which nobody knows, and why.
async fn request(client: &Client, stream: &Stream, items: Vec<Item>) -> Result<(Vec<Item>, String)> {
    let call = stream.call("PutRecords");
    let mut entries = Vec::with_capacity(items.len());
    for item in &items {
        let entry = PutRecordsRequestEntry::builder().partition_key(&item.device);
        entries.push(entry.data(Blob::new(item.data.clone())).build()?);
    }
    let request = client.put_records().set_stream_name(stream.by_name()).set_stream_arn(stream.by_arn());
    let answer = match request.set_records(Some(entries)).send().await {
        Ok(answer) => answer,
        Err(error) => match Trouble::of(&call, &error) {
            Trouble::Passing(why) => return Ok((items, why)),
            other => return Err(other.into_source().into()),
        },
    };
    if answer.records.len() != items.len() {
        bail!("{call}: {} records were put, and the answer speaks of {}", items.len(), answer.records.len());
    }
    let mut why = String::new();
    let mut back = Vec::new();
    for (item, answer) in items.into_iter().zip(&answer.records) {
        if let Some(code) = &answer.error_code {
            why = format!("{call}: {code}: {}", answer.error_message().unwrap_or(""));
            back.push(item);
        }
    }
    Ok((back, why))
}

#[derive(Debug, PartialEq, Eq)]
struct Item {
    device: String,
    data: Vec<u8>,
}

/// Records that are still to be put, in order.
#[derive(Debug, Default)]
struct Waiting(VecDeque<Item>);

impl Waiting {
    /// What fits one request: of each device its first record.
    fn take(&mut self) -> Vec<Item> {
        let mut devices = BTreeSet::new();
        let (mut taken, mut bytes) = (Vec::new(), 0);
        let mut left = VecDeque::with_capacity(self.0.len());
        for item in self.0.drain(..) {
            let size = item.device.len() + item.data.len();
            let fits = taken.len() < REQUEST_RECORDS && (taken.is_empty() || bytes + size <= REQUEST_BYTES);
            // A device that is passed over once is passed over for good, or its next record would overtake this one.
            if devices.insert(item.device.clone()) && fits {
                bytes += size;
                taken.push(item);
            } else {
                left.push_back(item);
            }
        }
        self.0 = left;
        taken
    }

    /// Before everything else again, in their order.
    fn put_back(&mut self, items: Vec<Item>) {
        for item in items.into_iter().rev() {
            self.0.push_front(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn item(device: u32, n: u32, bytes: usize) -> Item {
        let mut data = n.to_string().into_bytes();
        data.resize(data.len().max(bytes), b' ');
        Item { device: format!("d-{device}"), data }
    }

    #[test]
    fn failures_of_single_records_keep_the_order_of_each_device() {
        let mut waiting = Waiting::default();
        // Devices in bursts, large records among small ones.
        let all = || (0..3_000).map(|n| item(n / 3 % 700, n, if n % 50 == 0 { 900_000 } else { 0 }));
        waiting.0.extend(all());
        let mut put: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        let mut turn = 0_u32;
        loop {
            let items = waiting.take();
            if items.is_empty() {
                break;
            }
            let bytes: usize = items.iter().map(|i| i.device.len() + i.data.len()).sum();
            assert!(items.len() <= REQUEST_RECORDS && bytes <= REQUEST_BYTES, "{} records, {bytes} bytes", items.len());
            let devices: BTreeSet<&str> = items.iter().map(|i| i.device.as_str()).collect();
            assert_eq!(devices.len(), items.len(), "a device twice in one request");
            let mut back = Vec::new();
            for item in items {
                turn += 1;
                // Of every three, one is not taken.
                if turn.is_multiple_of(3) {
                    back.push(item)
                } else {
                    put.entry(item.device).or_default().push(item.data)
                }
            }
            waiting.put_back(back);
        }
        let mut expected: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for item in all() {
            expected.entry(item.device).or_default().push(item.data);
        }
        assert_eq!(put, expected);
    }
}
