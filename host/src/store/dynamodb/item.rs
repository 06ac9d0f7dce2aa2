//! Items: the names of their keys and attributes, and values as DynamoDB spells them.
//!
//! ```text
//! rows    _pk <rows_id>#<key>       _sk <window start>/<window end>[#<part>]
//!         window_start, window_end  measures under the policy's names   _v  _x  _f<alias>
//! late    the same                  _sk <window start>/<window end>/<arrival day>[#<part>]   arrival_day
//!         _pk plimsoll              _sk aliases   table, aliases, lanes_per_item
//! dead    _pk <alias>               _sk <position>                batch
//! lanes   _pk head#<app>/<generation>/<lane>   _sk head       n, alias, pos, done, head, pend { n, digest, bytes }
//!         _pk lanes#<app>/<generation>         _sk <lane>     which heads there are
//!         _pk chunks#<alias>                   _sk <n>#<digest>   bytes
//!         _pk gaps#<app>/<generation>          _sk <kind>#<lane>#<position>   found, found_ms, accepted_ms
//! ```
//! Invariants
//! - Every attribute of ours that could meet a measure begins with `_`; a measure begins with a letter, and is not named
//!   `window_start`, `window_end` or `arrival_day`, which the policy's check refuses.
//! - Keys as text sort as the times in them, over the whole range of 64 bits.
//! - Numbers are exact: integers of up to 38 digits, as text.
//!
//! Not here: requests (`head`, `apply`, `read`), expressions (`row`).

use crate::store::{Gap, hex};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use plimsoll_core::lane::{ChunkName, LaneKey};
use plimsoll_core::rows::day_text;
use plimsoll_core::window::Window;
use plimsoll_core::wire::effects::Table;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;

/// An item as the SDK gives it.
pub(super) type Item = HashMap<String, AttributeValue>;

/// Partition key of every table.
pub(super) const PK: &str = "_pk";
/// Sort key of every table.
pub(super) const SK: &str = "_sk";
/// How often a row was changed.
pub(super) const VERSION: &str = "_v";
/// When a row may be deleted, in seconds since the epoch: the tables' TTL attribute.
pub(super) const EXPIRY: &str = "_x";
/// First instant of a row's window, in milliseconds since the epoch.
pub(super) const START: &str = "window_start";
/// First instant after it.
pub(super) const END: &str = "window_end";
/// The day late records arrived, in whole days since 1970-01-01 UTC.
pub(super) const DAY: &str = "arrival_day";

/// A DynamoDB sort key holds 1,024 bytes, a partition key 2,048: longer names of lanes and positions are cut.
pub(super) const SK_BYTES_MAX: usize = 1_000;
pub(super) const PK_BYTES_MAX: usize = 1_800;

const DAY_MS: i64 = 86_400_000;
/// 0000-01-01 and 10000-01-01: between them a date has four digits and sorts as text.
const FOUR_DIGITS: std::ops::Range<i64> = -719_528..2_932_897;

/// Name of a row's fence of a lane.
pub(super) fn fence_name(alias: u64) -> String {
    format!("_f{}", base36(alias))
}

/// The alias in a fence's name; nothing if the attribute is no fence.
pub(super) fn fence_alias(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_prefix("_f")?, 36).ok()
}

/// A number in digits and small letters: short, since it stands in every row that the lane touches.
pub(super) fn base36(mut n: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[(n % 36) as usize]);
        n /= 36;
        if n == 0 {
            break;
        }
    }
    digits.iter().rev().map(|d| char::from(*d)).collect()
}

/// An instant as text that sorts as the instants do: RFC 3339 where the year has four digits. Before that `-` and after
/// it `~`, with the distance from the least instant there is.
pub(super) fn instant(ms: i64) -> String {
    let day = ms.div_euclid(DAY_MS);
    if FOUR_DIGITS.contains(&day) {
        let rest = ms.rem_euclid(DAY_MS);
        let (h, m, s, ms) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60, rest % 1_000);
        return format!("{}T{h:02}:{m:02}:{s:02}.{ms:03}Z", day_text(day));
    }
    let sign = if day < FOUR_DIGITS.start { '-' } else { '~' };
    format!("{sign}{:020}", ms.abs_diff(i64::MIN))
}

/// A row's partition key, or nothing if the key's bytes are no text.
pub(super) fn row_pk(rows_id: &str, key: &[u8]) -> Option<String> {
    Some(format!("{rows_id}#{}", std::str::from_utf8(key).ok()?))
}

/// The sort key of a row's part. The first one has no name, so that most rows are one item with a short key.
pub(super) fn row_sk(table: Table, window: &Window, part: u64) -> String {
    let mut sk = whole_row_sk(table, window);
    if part > 0 {
        sk.push('#');
        sk.push_str(&base36(part));
    }
    sk
}

/// The part that a row's sort key names; none if it is no key of ours.
pub(super) fn row_part(sk: &str) -> Option<u32> {
    sk.split_once('#').map_or(Some(0), |(_, part)| u32::from_str_radix(part, 36).ok())
}

fn whole_row_sk(table: Table, window: &Window) -> String {
    let (start, end) = (instant(window.start.as_millis()), instant(window.end.as_millis()));
    match table {
        Table::Late { day: Some(day) } if FOUR_DIGITS.contains(&day) => format!("{start}/{end}/{}", day_text(day)),
        Table::Late { day: Some(day) } => format!("{start}/{end}/{day}"),
        Table::Late { day: None } => format!("{start}/{end}/unknown"),
        _ => format!("{start}/{end}"),
    }
}

/// Key of a lane's head.
pub(super) fn head_key(lane: &LaneKey) -> Item {
    key(bounded(&format!("head#{lane}"), PK_BYTES_MAX), "head".into())
}

/// Key of the item that says that a lane's head may be there.
pub(super) fn lane_key(lane: &LaneKey) -> Item {
    key(lanes_pk(lane), bounded(&lane.lane, SK_BYTES_MAX))
}

/// Partition with the names of all lanes of a lane's app and generation.
pub(super) fn lanes_pk(lane: &LaneKey) -> String {
    format!("lanes#{}/{}", lane.app, lane.generation)
}

/// Partition with the gaps of a lane's app and generation.
pub(super) fn gaps_pk(lane: &LaneKey) -> String {
    format!("gaps#{}/{}", lane.app, lane.generation)
}

/// Key of a gap.
pub(super) fn gap_key(lane: &LaneKey, gap: &Gap) -> Item {
    let position = gap.position.as_deref().unwrap_or_default();
    key(gaps_pk(lane), bounded(&format!("{}#{}#{position}", gap.kind.name(), gap.lane), SK_BYTES_MAX))
}

/// Partition with a lane's chunks.
pub(super) fn chunks_pk(alias: u64) -> String {
    format!("chunks#{}", base36(alias))
}

/// Key of a chunk.
pub(super) fn chunk_key(alias: u64, name: &ChunkName) -> Item {
    key(chunks_pk(alias), format!("{:020}#{}", name.n, hex(&name.digest)))
}

/// The name in a chunk's sort key.
pub(super) fn chunk_name(sk: &str) -> Option<ChunkName> {
    let (n, digest) = sk.split_once('#')?;
    if digest.len() != 64 || !digest.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (i, b) in bytes.iter_mut().enumerate() {
        *b = u8::from_str_radix(&digest[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(ChunkName { n: n.parse().ok()?, digest: bytes })
}

/// Text of at most `most` bytes: a longer one is cut, and its SHA-256 tells it from others that begin the same.
pub(super) fn bounded(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let digest = hex(&Sha256::digest(text.as_bytes()));
    let end = text.floor_char_boundary(most - digest.len() - 1);
    format!("{}#{digest}", &text[..end])
}

/// A key of any of the tables.
pub(super) fn key(pk: String, sk: String) -> Item {
    HashMap::from([(PK.to_owned(), AttributeValue::S(pk)), (SK.to_owned(), AttributeValue::S(sk))])
}

/// A number.
pub(super) fn n(v: impl ToString) -> AttributeValue {
    AttributeValue::N(v.to_string())
}

/// A text.
pub(super) fn s(v: impl Into<String>) -> AttributeValue {
    AttributeValue::S(v.into())
}

/// Bytes.
pub(super) fn b(v: &[u8]) -> AttributeValue {
    AttributeValue::B(Blob::new(v))
}

/// An attribute's number.
pub(super) fn get_n(item: &Item, name: &str) -> Option<i128> {
    number(item.get(name)?.as_n().ok()?)
}

/// An attribute's number, not negative.
pub(super) fn get_u64(item: &Item, name: &str) -> Option<u64> {
    u64::try_from(get_n(item, name)?).ok()
}

/// An attribute's text.
pub(super) fn get_s<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// An attribute's bytes.
pub(super) fn get_b<'a>(item: &'a Item, name: &str) -> Option<&'a [u8]> {
    item.get(name)?.as_b().ok().map(AsRef::as_ref)
}

/// An integer in any of the forms that services write: `-12`, `1E+30`, `12.0`. Anything else is none.
pub(super) fn number(text: &str) -> Option<i128> {
    if let Ok(v) = text.parse() {
        return Some(v);
    }
    let (mantissa, exponent) = text.split_once(['E', 'e']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let zeros = exponent.parse::<i64>().ok()?.checked_sub(fraction.len() as i64)?;
    let zeros = usize::try_from(zeros).ok().filter(|z| *z <= 40)?;
    format!("{whole}{fraction}{}", "0".repeat(zeros)).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_core::time::EventTime;

    #[test]
    fn instants_sort_as_text() {
        let times = [
            i64::MIN,
            i64::MIN + 1,
            FOUR_DIGITS.start * DAY_MS - 1,
            FOUR_DIGITS.start * DAY_MS,
            -1,
            0,
            1_763_928_000_123,
            FOUR_DIGITS.end * DAY_MS - 1,
            FOUR_DIGITS.end * DAY_MS,
            i64::MAX - 1,
            i64::MAX,
        ];
        let texts: Vec<String> = times.iter().map(|t| instant(*t)).collect();
        assert!(texts.is_sorted(), "{texts:#?}");
        assert_eq!(texts[3], "0000-01-01T00:00:00.000Z");
        assert_eq!(texts[6], "2025-11-23T20:00:00.123Z");
        assert_eq!(texts[7], "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_window_that_starts_later_sorts_later_whatever_its_end() {
        let sk = |start, end| {
            let window = Window { start: EventTime::from_millis(start), end: EventTime::from_millis(end) };
            row_sk(Table::Main, &window, 0)
        };
        assert!(sk(0, i64::MAX) < sk(1, 2));
        // A range of starts ends before the rows that start there.
        assert!(sk(0, 10) < instant(10) && instant(10) < sk(10, 11));
    }

    #[test]
    fn parts_of_a_row_stand_beside_each_other() {
        let window = Window { start: EventTime::from_millis(0), end: EventTime::from_millis(60_000) };
        let sk = |part| row_sk(Table::Late { day: Some(0) }, &window, part);
        assert_eq!(sk(0), "1970-01-01T00:00:00.000Z/1970-01-01T00:01:00.000Z/1970-01-01");
        assert_eq!(sk(36), format!("{}#10", sk(0)));
    }

    #[test]
    fn numbers_are_read_in_every_form() {
        for (text, v) in [
            ("0", Some(0)),
            ("-12", Some(-12)),
            ("1E+30", Some(10i128.pow(30))),
            ("1.5E+1", Some(15)),
            ("-12.0", Some(-12)),
            ("1E-1", None),
            ("1.5", None),
            ("", None),
            ("1E999999999999", None),
        ] {
            assert_eq!(number(text), v, "{text}");
        }
    }

    #[test]
    fn long_names_stay_apart() {
        let (a, b) = ("ü".repeat(600) + "a", "ü".repeat(600) + "b");
        assert_ne!(bounded(&a, SK_BYTES_MAX), bounded(&b, SK_BYTES_MAX));
        assert!(bounded(&a, SK_BYTES_MAX).len() <= SK_BYTES_MAX);
        assert_eq!(bounded("short", SK_BYTES_MAX), "short");
    }

    #[test]
    fn a_chunks_name_is_its_key() {
        let name = ChunkName { n: 17, digest: std::array::from_fn(|i| i as u8 * 7) };
        let key = chunk_key(36, &name);
        assert_eq!(get_s(&key, PK), Some("chunks#10"));
        assert_eq!(chunk_name(get_s(&key, SK).unwrap()), Some(name));
        assert_eq!(chunk_name("17#zz"), None);
    }

    #[test]
    fn aliases_are_short_and_differ() {
        assert_eq!([0, 35, 36, u64::MAX].map(base36), ["0", "z", "10", "3w5e11264sgsf"]);
        assert_eq!([7, 36, u64::MAX].map(|alias| fence_alias(&fence_name(alias))), [Some(7), Some(36), Some(u64::MAX)]);
        assert_eq!((fence_alias("_v"), fence_alias("f1"), fence_alias("_f")), (None, None, None));
    }
}
