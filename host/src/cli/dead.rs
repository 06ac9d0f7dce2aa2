//! A record that was set aside, as a line of JSON: what `preview --dead-out` and `rows --dead-letters` write, and the
//! page's download.
//!
//! ```text
//! {"position":"a.ndjson:17","reason":"bad_time","detail":"…","arrival":null,"length":123,"raw":"…"}
//! {"lane":"a.ndjson","position":"a.ndjson:18","reason":"malformed","detail":"…","arrival":1700000040000,"length":3,"raw_base64":"/w=="}
//! ```
//! Invariants
//! - `raw` is the record's text where it is UTF-8, so that one reads it; else `raw_base64` holds its bytes, so that nothing
//!   is lost. Base64 rather than hexadecimal: a third longer instead of twice, and every language and `jq` (`@base64d`)
//!   decodes it.
//! - `length` is that of the whole record in bytes; of a longer one than `limits.dead_letter_bytes` only the beginning is
//!   kept.

use crate::store::StoredDeadLetter;
use plimsoll_core::time::ArrivalTime;
use serde::Serialize;

/// The line's fields, in their order.
#[derive(Clone, Debug, Serialize)]
pub struct DeadLine<'a> {
    /// The lane, where the position is unique in it only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<&'a str>,
    /// Where the record stood.
    pub position: &'a str,
    /// Stable name.
    pub reason: &'a str,
    /// Why, in words.
    pub detail: &'a str,
    /// When it arrived, in milliseconds.
    pub arrival: Option<i64>,
    /// Its length in bytes.
    pub length: u64,
    #[serde(flatten)]
    raw: Raw<'a>,
}

#[derive(Clone, Debug, Serialize)]
enum Raw<'a> {
    #[serde(rename = "raw")]
    Text(&'a str),
    #[serde(rename = "raw_base64")]
    Bytes(String),
}

impl<'a> DeadLine<'a> {
    /// A line without a lane.
    pub fn new(
        (position, reason, detail): (&'a str, &'a str, &'a str),
        arrival: Option<i64>,
        length: u64,
        raw: &'a [u8],
    ) -> Self {
        let raw = match std::str::from_utf8(raw) {
            Ok(text) => Raw::Text(text),
            Err(_) => Raw::Bytes(aws_smithy_types::base64::encode(raw)),
        };
        Self { lane: None, position, reason, detail, arrival, length, raw }
    }

    /// A letter of a store.
    pub fn of(letter: &'a StoredDeadLetter) -> Self {
        let what = (letter.position.as_str(), letter.reason.name(), letter.detail.as_str());
        Self::new(what, letter.arrival.map(ArrivalTime::as_millis), letter.length, &letter.raw).in_lane(&letter.lane)
    }

    /// The same with its lane.
    pub fn in_lane(self, lane: &'a str) -> Self {
        Self { lane: Some(lane), ..self }
    }

    /// As JSON, without a newline.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_text_and_bytes_are_base64() {
        let line = |raw| DeadLine::new(("a:1", "malformed", "why"), None, 9, raw).to_json();
        let head = r#"{"position":"a:1","reason":"malformed","detail":"why","arrival":null,"length":9,"#;
        assert_eq!(line(b"not \"json\"\n"), format!(r#"{head}"raw":"not \"json\"\n"}}"#));
        assert_eq!(line(b"\xff\x00{"), format!(r#"{head}"raw_base64":"/wB7"}}"#));
        assert_eq!(line("ä".as_bytes().split_last().unwrap().1), format!(r#"{head}"raw_base64":"ww=="}}"#));
        let in_lane = DeadLine::new(("1", "late", ""), Some(5), 0, b"").in_lane("s/0").to_json();
        let expected = r#"{"lane":"s/0","position":"1","reason":"late","detail":"","arrival":5,"length":0,"raw":""}"#;
        assert_eq!(in_lane, expected);
    }
}
