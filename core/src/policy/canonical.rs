//! The canonical form as bytes: compact JSON in which every field stands in the order of its struct.
//!
//! The module hashes and reads policies too, and a general JSON library would be a quarter of it. Since there is one
//! order, reading is comparing: after `{` comes `"v":` or the bytes are no canonical form. A struct is therefore read as
//! a sequence, and serde's derived code for names, duplicates and floats is never made.
//!
//! Invariants
//! - What is written is what serde_json writes for the same value (a test compares them).
//! - What is read is what would be written, byte for byte. Fields that `skip_serializing_if` leaves out may be missing
//!   when they have a `default`, and then may not stand there with it: `there`, `not_empty` and `not_zero` see to that.
//! - No input panics; nesting is bounded by `DEPTH_MAX`.
//!
//! Limits: integers of 64 bits, text, lists, options, structs and enums. No floats, maps or bytes.
//!
//! Not here: which values make a policy (`validate`), the form people write (`text`).

mod reader;
mod writer;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Display};
use serde::{Deserialize, Deserializer, Serialize, de, ser};

pub(super) use reader::read;

/// How deep lists, structs and enums may stand in each other.
const DEPTH_MAX: u32 = 64;

/// The canonical form of a value.
///
/// # Panics
/// If it holds what has no canonical form: floats, maps, bytes.
pub(super) fn write(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::new();
    value.serialize(writer::Writer(&mut out)).expect("a spec is made of integers, text, lists, structs and enums");
    out
}

/// An option that is left out where it is none.
pub(super) fn there<'de, T: Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}

/// A list that is left out where it is empty.
pub(super) fn not_empty<'de, T: Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Vec<T>, D::Error> {
    let list = Vec::deserialize(d)?;
    if list.is_empty() { Err(de::Error::custom("an empty list is left out")) } else { Ok(list) }
}

/// A number that is left out where it is 0.
pub(super) fn not_zero<'de, D: Deserializer<'de>>(d: D) -> Result<i64, D::Error> {
    match i64::deserialize(d)? {
        0 => Err(de::Error::custom("a 0 is left out")),
        n => Ok(n),
    }
}

/// What is wrong, without the place.
#[derive(Debug)]
pub(super) struct Wrong(String);

impl Wrong {
    #[cold]
    fn new(problem: &str) -> Self {
        Self(String::from(problem))
    }
}

impl Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Wrong {}

// What was found stands at the place that the reader names; serde's words for it would bring along the text of floats.
impl de::Error for Wrong {
    fn custom<T: Display>(problem: T) -> Self {
        Self(problem.to_string())
    }

    fn invalid_type(_: de::Unexpected<'_>, _: &dyn de::Expected) -> Self {
        Self::new("a value of another kind")
    }

    fn invalid_value(_: de::Unexpected<'_>, _: &dyn de::Expected) -> Self {
        Self::new("a number out of range")
    }

    fn invalid_length(_: usize, _: &dyn de::Expected) -> Self {
        Self::new("a field is missing, unknown or out of order")
    }
}

impl ser::Error for Wrong {
    fn custom<T: Display>(problem: T) -> Self {
        Self(problem.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::boxed::Box;
    use proptest::prelude::*;

    /// Everything that a spec may be made of.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct All {
        small: u32,
        signed: i64,
        flag: bool,
        text: String,
        list: Vec<Vec<String>>,
        pairs: Vec<(i64, i32)>,
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
        left_out: Option<u32>,
        option: Option<String>,
        kind: Kind,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case", deny_unknown_fields)]
    enum Kind {
        Unit,
        New(Box<Kind>),
        Many(Vec<Kind>),
        Tuple(i64, bool),
        Fields {
            a: i64,
            #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "not_empty")]
            b: Vec<u32>,
        },
    }

    fn kind() -> impl Strategy<Value = Kind> {
        let leaf = prop_oneof![
            Just(Kind::Unit),
            (any::<i64>(), any::<bool>()).prop_map(|(n, b)| Kind::Tuple(n, b)),
            (any::<i64>(), proptest::collection::vec(any::<u32>(), 0..3)).prop_map(|(a, b)| Kind::Fields { a, b }),
        ];
        leaf.prop_recursive(4, 20, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|k| Kind::New(Box::new(k))),
                proptest::collection::vec(inner, 0..3).prop_map(Kind::Many),
            ]
        })
    }

    prop_compose! {
        fn all()(
            (small, signed, flag, left_out) in any::<(u32, i64, bool, Option<u32>)>(),
            text in "\\PC*|[\"\\\\\n\u{0}-\u{1f}\u{7f}é😀]*",
            list in proptest::collection::vec(proptest::collection::vec("[a-z\"]{0,3}", 0..3), 0..3),
            pairs in proptest::collection::vec(any::<(i64, i32)>(), 0..3),
            option in proptest::option::of("[a-z]*"),
            kind in kind(),
        ) -> All {
            All { small, signed, flag, text, list, pairs, left_out, option, kind }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_compact_json_and_comes_back(value in all()) {
            let bytes = write(&value);
            prop_assert_eq!(core::str::from_utf8(&bytes).unwrap(), serde_json::to_string(&value).unwrap());
            prop_assert_eq!(read::<All>(&bytes).unwrap(), value);
        }

        #[test]
        fn no_beginning_of_it_and_no_other_byte_in_it_panics_or_is_taken_for_it(
            value in all(),
            at in any::<prop::sample::Index>(),
            by in 1u8..,
        ) {
            let mut bytes = write(&value);
            let at = at.index(bytes.len());
            prop_assert!(read::<All>(&bytes[..at]).is_err());
            bytes[at] ^= by;
            if let Ok(other) = read::<All>(&bytes) {
                prop_assert_eq!(write(&other), bytes);
            }
        }
    }

    #[test]
    fn there_is_no_second_form() {
        let kind = |bytes: &[u8]| read::<Kind>(bytes).unwrap_err();
        assert_eq!(kind(b"{\"fields\":{\"a\":1,\"b\":[]}}"), "an empty list is left out (byte 23)");
        assert_eq!(kind(b"{\"fields\":{\"a\":-0}}"), "a number in another form (byte 16)");
        let text = |bytes: &[u8]| read::<String>(bytes);
        assert_eq!(text(b"\"\\u001f\"").unwrap(), "\u{1f}");
        for second in [&b"\"\\u001F\""[..], b"\"\\u0041\"", b"\"\\/\"", b"\"\\u00e9\""] {
            assert!(text(second).unwrap_err().starts_with("a text in another form"), "{second:?}");
        }
        assert!(there::<i64, _>(serde_json::Value::Null).is_err());
        assert!(not_zero(serde_json::Value::from(0)).is_err());
    }

    #[test]
    fn a_refusal_names_the_byte() {
        let unit = |bytes: &[u8]| read::<Kind>(bytes).unwrap_err();
        assert_eq!(unit(b"{\"fields\":{\"b\":[]}}"), "a field is missing, unknown or out of order (byte 11)");
        assert_eq!(unit(b"\"other\""), "an unknown name (byte 0)");
        assert_eq!(unit(b"\"unit\" "), "more after the end (byte 6)");
        assert_eq!(unit(b"{\"fields\":{\"a\":01}}"), "expected `}` (byte 16)");
        assert_eq!(unit(b"{\"tuple\":[9223372036854775808,true]}"), "a number out of range (byte 10)");
        assert_eq!(unit(b"{\"tuple\":[true,true]}"), "expected an integer (byte 10)");
    }

    #[test]
    fn deep_nesting_ends_in_a_refusal() {
        let deep = |n: usize| [&b"{\"new\":".repeat(n)[..], b"\"unit\"", &b"}".repeat(n)].concat();
        assert!(read::<Kind>(&deep(60)).is_ok());
        assert!(read::<Kind>(&deep(100_000)).unwrap_err().starts_with("nested too deep"));
    }
}
