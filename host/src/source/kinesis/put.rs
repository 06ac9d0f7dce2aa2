//! Puts generated device records to a stream.
//!
//! Invariants
//! - A device's records enter the stream in their order: it is the partition key, a request holds at most one record of
//!   it, and what the service did not take goes before everything that follows.
//! - Every record is put. A reply that is lost may put one twice: only the service could tell, and it does not.
//! - Packed together are records of devices that share a bucket, which is the partition key then: a device is in one bucket.
//!
//! Not here: the records themselves (`generator`), the form of those that are packed (`kpl`).

use super::kpl;
use super::trouble::Trouble;
use super::{Stream, client};
use crate::source::generator::{Devices, Records};
use anyhow::{Result, bail};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

/// The service's most in one request.
const REQUEST_RECORDS: usize = 500;
/// The service's most in one request, keys included.
const REQUEST_BYTES: usize = 5_000_000;
/// Records waiting, so that a request is full though it holds a device once.
const WAITING: usize = 4 * REQUEST_RECORDS;
/// Buckets of devices whose records are packed together.
const BUCKETS: u128 = 64;
/// A packed record is put at this size, whatever it was to hold: what the producer library does.
const PACKED_BYTES: usize = 50 << 10;
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// After so long in which nothing was taken, this gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same while nothing was ever taken: more likely something is set up wrong, and somebody waits to see it work.
const PATIENCE_FIRST: Duration = Duration::from_secs(10);

/// How many device records a record of the stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Packing {
    /// One.
    #[default]
    Single,
    /// So many of one bucket, as the Kinesis Producer Library packs them.
    Aggregated(NonZeroUsize),
}

/// Puts `records` records of `devices` to a stream, named or given by its ARN; credentials and region come from the
/// environment. `told` hears how many are put. Gives the payload bytes.
///
/// # Errors
/// If the stream is not there or may not be written, or takes nothing for long (`PATIENCE`).
pub async fn to_kinesis(
    devices: &Devices,
    records: u64,
    stream: &str,
    packing: Packing,
    told: &mut (dyn FnMut(u64) + Send),
) -> Result<u64> {
    let (client, region) = client(stream).await?;
    put(&client, (stream, &region), devices, records, packing, told).await
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
    packing: Packing,
    told: &mut (dyn FnMut(u64) + Send),
) -> Result<u64> {
    let stream = Stream { given: stream.to_owned(), region: region.to_owned() };
    let mut generator = Records::new(devices);
    let (mut made, mut bytes) = (0, 0);
    let (mut waiting, mut packer) = (Waiting::default(), Packer { packing, buckets: BTreeMap::new() });
    let (mut failures, mut taken, mut patience) = (0, Instant::now(), PATIENCE_FIRST);
    loop {
        while made < records && waiting.0.len() < WAITING {
            let mut data = Vec::new();
            let device = generator.next(&mut data).device_name();
            bytes += data.len() as u64;
            made += 1;
            waiting.0.extend(packer.take(device, data));
        }
        if made == records {
            waiting.0.extend(packer.rest());
        }
        let items = waiting.take();
        if items.is_empty() {
            return Ok(bytes);
        }
        let sent = items.len();
        // Of those made: at hand still, whether they wait or are sent.
        let held = waiting.records() + packer.records() + count(&items);
        let (back, why) = request(client, &stream, items).await?;
        if back.len() < sent {
            told(made - (waiting.records() + packer.records() + count(&back)));
            (failures, taken, patience) = (0, Instant::now(), PATIENCE);
        } else {
            failures += 1;
        }
        if taken.elapsed() > patience {
            bail!("{} of {records} records were put, then none for {} s: {why}", made - held, patience.as_secs());
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
            Trouble::Passing(why) | Trouble::Throttled(why) => return Ok((items, why)),
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

/// A record of the stream.
#[derive(Debug, PartialEq, Eq)]
struct Item {
    /// Its partition key: a device, or a bucket of devices.
    device: String,
    data: Vec<u8>,
    /// So many device records are in it.
    records: u64,
}

fn count(items: &[Item]) -> u64 {
    items.iter().map(|item| item.records).sum()
}

/// Device records on their way into records of the stream.
struct Packer {
    packing: Packing,
    /// What is not full yet, by bucket: devices and data.
    buckets: BTreeMap<String, Vec<(String, Vec<u8>)>>,
}

impl Packer {
    /// Takes a record in; what is ready then.
    fn take(&mut self, device: String, data: Vec<u8>) -> Option<Item> {
        let Packing::Aggregated(most) = self.packing else { return Some(Item { device, data, records: 1 }) };
        let bucket = format!("bucket-{:02}", kpl::hash_key(&device) % BUCKETS);
        let held = self.buckets.entry(bucket.clone()).or_default();
        held.push((device, data));
        let bytes: usize = held.iter().map(|(device, data)| device.len() + data.len()).sum();
        let full = held.len() >= most.get() || bytes >= PACKED_BYTES;
        full.then(|| packed(bucket, &std::mem::take(held)))
    }

    /// What is left, full or not.
    fn rest(&mut self) -> Vec<Item> {
        let rest = std::mem::take(&mut self.buckets).into_iter().filter(|(_, held)| !held.is_empty());
        rest.map(|(bucket, held)| packed(bucket, &held)).collect()
    }

    /// How many records it holds.
    fn records(&self) -> u64 {
        self.buckets.values().map(|held| held.len() as u64).sum()
    }
}

fn packed(bucket: String, held: &[(String, Vec<u8>)]) -> Item {
    Item { data: kpl::pack(&bucket, held), device: bucket, records: held.len() as u64 }
}

/// Records that are still to be put, in order.
#[derive(Debug, Default)]
struct Waiting(VecDeque<Item>);

impl Waiting {
    fn records(&self) -> u64 {
        self.0.iter().map(|item| item.records).sum()
    }

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
        Item { device: format!("d-{device}"), data, records: 1 }
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

    #[test]
    fn packed_records_hold_all_in_each_devices_order() {
        let packing = Packing::Aggregated(NonZeroUsize::new(10).unwrap());
        let mut packer = Packer { packing, buckets: BTreeMap::new() };
        let made = |n: u32| (format!("d-{}", n % 300), n.to_string().into_bytes());
        let mut items: Vec<Item> = Vec::new();
        for n in 0..2_000 {
            let (device, data) = made(n);
            items.extend(packer.take(device, data));
            assert_eq!(count(&items) + packer.records(), u64::from(n) + 1);
        }
        assert!(items.iter().all(|item| item.records == 10), "only the rest is not full");
        items.extend(packer.rest());
        assert!(packer.rest().is_empty());
        let mut out: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for item in items {
            let hash = kpl::hash_key(&item.device);
            let kpl::Unpacked::Records(records) = kpl::unpack(&item.data, &(hash..=hash)) else { panic!("packed") };
            assert_eq!(records.len() as u64, item.records);
            for record in records {
                let n: u32 = std::str::from_utf8(&record).unwrap().parse().unwrap();
                out.entry(n % 300).or_default().push(n);
            }
        }
        assert!(out.values().all(|numbers| numbers.is_sorted()));
        assert_eq!(out.values().map(Vec::len).sum::<usize>(), 2_000);
        // A bucket that is large before it has so many.
        let mut packer = Packer { packing: Packing::Aggregated(NonZeroUsize::MAX), buckets: BTreeMap::new() };
        assert!(packer.take("d".into(), vec![b'x'; PACKED_BYTES]).is_some());
    }
}
