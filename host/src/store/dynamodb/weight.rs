//! What items weigh, by the service's rules: for its limits, and for the price where it does not say it.
//!
//! ```text
//! item        names and values of all attributes           at most 400 KB
//! text, bytes as long as they are     number   1 + a byte for two digits, 1 more if negative     yes or no  1
//! map, list   3, and 1 + name + value for each element
//! a write     a unit for each KB begun of the item, before or after it, whichever is more
//! ```
//! Invariants
//! - What can never be written is known here, before the intent of its batch is (`Store::admits`): a batch whose effects
//!   the service refuses for good would stay pending for ever.
//!
//! Not here: what the totals of a row come to, which only the row knows.

use super::item::{self, Item};
use super::row;
use crate::store::Unwritable;
use aws_sdk_dynamodb::types::AttributeValue;
use plimsoll_core::policy::Measure;
use plimsoll_core::time::EventTime;
use plimsoll_core::wire::effects::{Group, Row};
use std::collections::HashMap;

/// The service's limit of an item.
pub(super) const ITEM_BYTES_MAX: usize = 400 << 10;
/// The service's limit of a partition key.
const PK_BYTES_MAX: usize = 2_048;
/// The longest position: it stands in a head four times.
const POSITION_BYTES_MAX: usize = 16 << 10;
/// The longest state: the names of its chunks stand in a head twice.
const STATE_BYTES_MAX: usize = 1 << 30;
/// A unit of writing.
const UNIT_BYTES: usize = 1_024;
/// A number of 38 digits.
const NUMBER_BYTES_MAX: usize = 21;

/// Units that writing an item takes.
pub(super) fn units(bytes: usize) -> u64 {
    bytes.div_ceil(UNIT_BYTES).max(1) as u64
}

/// An item's bytes.
pub(super) fn item_bytes(item: &Item) -> usize {
    item.iter().map(|(name, v)| name.len() + value_bytes(v)).sum()
}

/// At least the bytes of the item that an update leaves: its key, and what the update names.
pub(super) fn update_bytes(
    key: &Item,
    names: &HashMap<String, String>,
    values: &HashMap<String, AttributeValue>,
) -> usize {
    // `:b…` are bounds of conditions; they are not written.
    let written = values.iter().filter(|(name, _)| !name.starts_with(":b")).map(|(_, v)| value_bytes(v));
    item_bytes(key) + names.values().map(String::len).sum::<usize>() + written.sum::<usize>()
}

fn value_bytes(v: &AttributeValue) -> usize {
    match v {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => number_bytes(digits),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::M(map) => 3 + map.iter().map(|(name, v)| 1 + name.len() + value_bytes(v)).sum::<usize>(),
        AttributeValue::L(list) => 3 + list.iter().map(|v| 1 + value_bytes(v)).sum::<usize>(),
        // Yes, no and nothing; we write no sets.
        _ => 1,
    }
}

fn number_bytes(digits: &str) -> usize {
    let (sign, digits) = digits.strip_prefix('-').map_or((0, digits), |digits| (1, digits));
    let significant = digits.trim_start_matches('0').trim_end_matches('0').len();
    (1 + significant.div_ceil(2) + sign).min(NUMBER_BYTES_MAX)
}

/// Whether a row can be written, with fences of as many lanes as share an item.
pub(super) fn admit_row(
    (rows_id, measures, lanes): (&str, &[Measure], u64),
    group: &Group,
    row: &Row,
) -> Result<(), Unwritable> {
    let shown = || shown(&row.key, group.start, group.end);
    let pk = item::row_pk(rows_id, &row.key)
        .ok_or_else(|| Unwritable::new(shown(), "a key that is no text".into(), "UTF-8".into()))?;
    if pk.len() > PK_BYTES_MAX {
        let (found, most) = (row.key.len(), PK_BYTES_MAX + row.key.len() - pk.len());
        return Err(Unwritable::new(shown(), format!("a key of {found} bytes"), format!("at most {most}")));
    }
    if let Some(measure) = row::too_great(measures, row) {
        return Err(Unwritable::new(shown(), format!("`{measure}` beyond 10^30"), "less".into()));
    }
    // Key names and the longest sort key, the five attributes of ours, and a fence `_f<13 digits>` of 20 digits.
    let ours = pk.len() + 128 + 5 * (12 + NUMBER_BYTES_MAX) + lanes as usize * (15 + 12);
    let bytes = ours + measures.iter().map(|m| m.name.len() + NUMBER_BYTES_MAX).sum::<usize>();
    if bytes > ITEM_BYTES_MAX {
        let mend = format!("at most {ITEM_BYTES_MAX}: fewer measures, or shorter names");
        return Err(Unwritable::new(shown(), format!("an item of up to {bytes} bytes"), mend));
    }
    Ok(())
}

/// Whether a dead letter can be written.
pub(super) fn admit_letter(position: &str, letter: &Item) -> Result<(), Unwritable> {
    let bytes = item_bytes(letter);
    if bytes > ITEM_BYTES_MAX {
        let mend = format!("at most {ITEM_BYTES_MAX}: lower `limits.dead_letter_bytes`");
        return Err(Unwritable::new(
            format!("the dead letter of {position}"),
            format!("an item of {bytes} bytes"),
            mend,
        ));
    }
    Ok(())
}

/// Whether a head can hold the position and the state after a batch.
pub(super) fn admit_head(position: Option<&str>, state: Option<&[u8]>) -> Result<(), Unwritable> {
    let (position, state) = (position.map_or(0, str::len), state.map_or(0, <[u8]>::len));
    let head = |what: &str, found, most| {
        Err(Unwritable::new("the lane's head".into(), format!("{what} of {found} bytes"), format!("at most {most}")))
    };
    if position > POSITION_BYTES_MAX {
        return head("a position", position, POSITION_BYTES_MAX);
    }
    if state > STATE_BYTES_MAX {
        return head("a state", state, STATE_BYTES_MAX);
    }
    Ok(())
}

fn shown(key: &[u8], start: EventTime, end: EventTime) -> String {
    let mut key = String::from_utf8_lossy(key).into_owned();
    if key.len() > 200 {
        key.truncate(key.floor_char_boundary(200));
        key.push_str("...");
    }
    format!("the row of key {key}, {}/{}", item::instant(start.as_millis()), item::instant(end.as_millis()))
}

#[cfg(test)]
mod tests {
    use super::super::item::{b, n, s};
    use super::*;
    use plimsoll_core::policy::Op;
    use plimsoll_core::wire::effects::{Table, VALUE_MAX};

    #[test]
    fn items_weigh_what_the_service_says() {
        let numbers = ["0", "7", "12", "-12", "100", "123456789", "-99999999999999999999999999999999999999"];
        assert_eq!(numbers.map(number_bytes), [1, 2, 2, 3, 2, 6, 21]);
        let map = AttributeValue::M(HashMap::from([("ab".to_owned(), b(&[0; 10]))]));
        let item = Item::from([("_pk".to_owned(), s("four")), ("n".to_owned(), n(12)), ("m".to_owned(), map)]);
        assert_eq!(item_bytes(&item), 3 + 4 + 1 + 2 + 1 + 3 + 1 + 2 + 10);
        assert_eq!([0, 1, 1_024, 1_025, 409_600].map(units), [1, 1, 1, 2, 400]);
    }

    fn admit(key: &[u8], value: i128, measures: usize) -> Result<(), String> {
        let measure = |i| Measure { name: format!("{i:064}"), op: Op::Sum, field: None, scale: None };
        let measures: Vec<Measure> = (0..measures).map(measure).collect();
        let row = Row { key: key.to_vec(), values: vec![Some(value); measures.len()] };
        let (start, end) = (EventTime::from_millis(0), EventTime::from_millis(60_000));
        let group = Group { table: Table::Main, start, end, rows: vec![] };
        admit_row(("0123456789abcdef", &measures, 64), &group, &row).map_err(|e| e.to_string())
    }

    #[test]
    fn a_row_that_no_item_can_hold_is_named() {
        assert_eq!(admit(&[b'k'; 1_900], VALUE_MAX, 32), Ok(()), "the longest that a policy allows");
        assert_eq!(admit(&[b'k'; 2_031], 1, 1), Ok(()));
        let text = admit(&[b'k'; 2_032], 1, 1).unwrap_err();
        assert!(text.contains("kkk...") && text.contains("a key of 2032 bytes, expected at most 2031"), "{text}");
        assert!(text.contains("1970-01-01T00:00:00.000Z/1970-01-01T00:01:00.000Z"), "{text}");
        let text = admit(b"\xff", 1, 1).unwrap_err();
        assert!(text.contains("no text"), "{text}");
        let text = admit(b"k", VALUE_MAX + 1, 1).unwrap_err();
        assert!(text.contains("beyond 10^30"), "{text}");
        let text = admit(b"k", 1, 5_000).unwrap_err();
        assert!(text.contains("fewer measures"), "{text}");
    }

    #[test]
    fn letters_and_heads_that_no_item_can_hold_are_named() {
        let letter = |raw: usize| Item::from([("_pk".to_owned(), s("1")), ("raw".to_owned(), b(&vec![0; raw]))]);
        assert_eq!(admit_letter("file:7", &letter(ITEM_BYTES_MAX - 7)), Ok(()));
        let text = admit_letter("file:7", &letter(ITEM_BYTES_MAX - 6)).unwrap_err().to_string();
        assert!(text.contains("file:7") && text.contains("409601") && text.contains("dead_letter_bytes"), "{text}");
        assert_eq!(admit_head(Some(&"9".repeat(POSITION_BYTES_MAX)), Some(&[0; 9])), Ok(()));
        let text = admit_head(Some(&"9".repeat(POSITION_BYTES_MAX + 1)), None).unwrap_err().to_string();
        assert!(text.contains("head") && text.contains("position of 16385 bytes"), "{text}");
    }
}
