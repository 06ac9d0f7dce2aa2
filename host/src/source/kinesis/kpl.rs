//! Records that the Kinesis Producer Library has packed into one, and packing them.
//!
//! ```text
//! F3 89 9A C2   protobuf AggregatedRecord   16 bytes MD5 of the protobuf
//! ```
//! Invariants
//! - A payload is aggregated if and only if magic and MD5 match and the message can be read; else it is what it is.
//! - Where one record in it belongs to another shard, all of it does: its producer has seen that, and puts it again.
//!
//! Not here: what a record's payload holds (`payload`).

use md5::{Digest as _, Md5};
use prost::Message;
use std::ops::RangeInclusive;

const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];
const DIGEST: usize = 16;

/// As published with the library.
#[derive(Clone, PartialEq, Message)]
struct AggregatedRecord {
    #[prost(string, repeated, tag = "1")]
    partition_key_table: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    explicit_hash_key_table: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<Packed>,
}

#[derive(Clone, PartialEq, Message)]
struct Packed {
    #[prost(uint64, required, tag = "1")]
    partition_key_index: u64,
    #[prost(uint64, optional, tag = "2")]
    explicit_hash_key_index: Option<u64>,
    // Tags (4) say nothing about the payload.
    #[prost(bytes = "bytes", required, tag = "3")]
    data: bytes::Bytes,
}

/// What a payload is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unpacked {
    /// Not aggregated.
    No,
    /// These records, in this order.
    Records(Vec<bytes::Bytes>),
    /// So many records of another shard.
    Misplaced(u64),
}

/// Looks at a payload of a shard with these hash keys.
pub(super) fn unpack(payload: &[u8], hash_keys: &RangeInclusive<u128>) -> Unpacked {
    let Some(rest) = payload.strip_prefix(&MAGIC) else { return Unpacked::No };
    let Some((message, digest)) = rest.len().checked_sub(DIGEST).map(|at| rest.split_at(at)) else {
        return Unpacked::No;
    };
    if Md5::digest(message).as_slice() != digest {
        return Unpacked::No;
    }
    let Ok(aggregate) = AggregatedRecord::decode(bytes::Bytes::copy_from_slice(message)) else { return Unpacked::No };
    let mut ours = true;
    for record in &aggregate.records {
        let Some(hash) = aggregate.hash_of(record) else { return Unpacked::No };
        ours &= hash_keys.contains(&hash);
    }
    if ours {
        Unpacked::Records(aggregate.records.into_iter().map(|record| record.data).collect())
    } else {
        Unpacked::Misplaced(aggregate.records.len() as u64)
    }
}

impl AggregatedRecord {
    /// The hash key by which a record has its shard: said explicitly, or that of its partition key.
    fn hash_of(&self, record: &Packed) -> Option<u128> {
        let at = |index: u64| usize::try_from(index).ok();
        let key = self.partition_key_table.get(at(record.partition_key_index)?)?;
        match record.explicit_hash_key_index {
            Some(index) => self.explicit_hash_key_table.get(at(index)?)?.parse().ok(),
            None => Some(hash_key(key)),
        }
    }
}

/// The hash key of a partition key.
pub(super) fn hash_key(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into())
}

/// Packs records with their partition keys into a payload that is put under `placed_by`: each says that it belongs where
/// that partition key belongs.
pub(super) fn pack(placed_by: &str, records: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut aggregate = AggregatedRecord {
        explicit_hash_key_table: vec![hash_key(placed_by).to_string()],
        ..AggregatedRecord::default()
    };
    for (key, data) in records {
        let known = aggregate.partition_key_table.iter().position(|k| k == key);
        let index = known.unwrap_or_else(|| {
            aggregate.partition_key_table.push(key.clone());
            aggregate.partition_key_table.len() - 1
        });
        aggregate.records.push(Packed {
            partition_key_index: index as u64,
            explicit_hash_key_index: Some(0),
            data: data.clone().into(),
        });
    }
    seal(&aggregate)
}

fn seal(aggregate: &AggregatedRecord) -> Vec<u8> {
    let message = aggregate.encode_to_vec();
    let digest = Md5::digest(&message);
    [&MAGIC[..], &message, digest.as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: RangeInclusive<u128> = 0..=u128::MAX;

    fn aggregate(hashes: &[Option<&str>]) -> AggregatedRecord {
        let mut all = AggregatedRecord { partition_key_table: vec!["a".into(), "b".into()], ..Default::default() };
        for (i, hash) in hashes.iter().enumerate() {
            let explicit_hash_key_index = hash.map(|hash| {
                all.explicit_hash_key_table.push(hash.to_owned());
                all.explicit_hash_key_table.len() as u64 - 1
            });
            let data = format!("record {i}").into();
            all.records.push(Packed { partition_key_index: i as u64 % 2, explicit_hash_key_index, data });
        }
        all
    }

    #[test]
    fn what_was_packed_comes_out_in_order() {
        let records: Vec<_> = (0..5).map(|i| (format!("k{}", i % 2), format!("{{\"n\":{i}}}").into_bytes())).collect();
        let packed = pack("bucket", &records);
        let hash = hash_key("bucket");
        let Unpacked::Records(out) = unpack(&packed, &(hash..=hash)) else { panic!("it is aggregated") };
        assert_eq!(out, records.iter().map(|(_, data)| data.clone()).collect::<Vec<_>>());
        assert_eq!(unpack(&packed, &(hash + 1..=u128::MAX)), Unpacked::Misplaced(5));
    }

    #[test]
    fn the_librarys_own_bytes_are_read() {
        // Written by hand after the published format: one key, one record `{}` with a tag.
        let message = b"\x0a\x01k\x1a\x0d\x08\x00\x1a\x02{}\x22\x05\x0a\x01t\x12\x00";
        let payload = [&MAGIC[..], message, Md5::digest(message).as_slice()].concat();
        assert_eq!(unpack(&payload, &ALL), Unpacked::Records(vec!["{}".into()]));
        // MD5 of "k" is 8ce4b16b22b58894aa86c421e8759df3.
        assert_eq!(hash_key("k"), 0x8ce4_b16b_22b5_8894_aa86_c421_e875_9df3);
    }

    #[test]
    fn one_record_of_another_shard_makes_all_of_them_so() {
        let shard = 0..=(u128::MAX >> 1);
        let (inside, outside) = (Some("7"), Some("340282366920938463463374607431768211455"));
        assert!(matches!(unpack(&seal(&aggregate(&[inside, inside])), &shard), Unpacked::Records(_)));
        assert_eq!(unpack(&seal(&aggregate(&[inside, outside, inside])), &shard), Unpacked::Misplaced(3));
        assert!(matches!(unpack(&seal(&aggregate(&[])), &shard), Unpacked::Records(r) if r.is_empty()));
        // Without one said, the partition key's: MD5 of "a" is 0c…, of "b" 92….
        assert_eq!(unpack(&seal(&aggregate(&[None])), &shard), Unpacked::Records(vec!["record 0".into()]));
        assert_eq!(unpack(&seal(&aggregate(&[None, None])), &shard), Unpacked::Misplaced(2));
    }

    #[test]
    fn what_is_not_quite_aggregated_is_opaque() {
        let whole = pack("b", &[("k".into(), b"{}".to_vec())]);
        assert!(matches!(unpack(&whole, &ALL), Unpacked::Records(_)));
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 1;
            assert_eq!(unpack(&broken, &ALL), Unpacked::No, "bit of byte {at}");
            assert_eq!(unpack(&whole[..at], &ALL), Unpacked::No, "cut at {at}");
        }
        let mut indexless = aggregate(&[None]);
        indexless.records[0].partition_key_index = 2;
        assert_eq!(unpack(&seal(&indexless), &ALL), Unpacked::No);
        let mut strange = aggregate(&[Some("no number")]);
        assert_eq!(unpack(&seal(&strange), &ALL), Unpacked::No);
        strange.explicit_hash_key_table.clear();
        assert_eq!(unpack(&seal(&strange), &ALL), Unpacked::No);
        let garbage = [&MAGIC[..], b"\xff\xff", Md5::digest(b"\xff\xff").as_slice()].concat();
        assert_eq!(unpack(&garbage, &ALL), Unpacked::No);
    }
}
