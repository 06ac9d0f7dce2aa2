//! Why a record cannot be read, and where.
//!
//! Invariant: `ScanError::at` never lies behind the newline that ends the record, so that the next newline from there
//! (or from the record's start) is where the next record begins.
//!
//! Not here: what a policy does with a refused record (`engine`).

/// A refusal of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {kind}")]
pub struct ScanError {
    /// What was wrong.
    pub kind: ScanErrorKind,
    /// Index into the buffer of the byte that shows it.
    pub at: usize,
}

/// What was wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScanErrorKind {
    /// The data, or the line, ended inside the document.
    #[error("the record ends before its JSON object does; write each record as one complete object")]
    Truncated,
    /// The document is JSON's other kinds of value, or no JSON at all.
    #[error("expected a JSON object that starts with `{{`, found {}", Byte(*.found))]
    NotAnObject {
        /// The byte in the place of `{`.
        found: u8,
    },
    /// A byte that JSON does not allow here.
    #[error("expected {expected}, found {}", Byte(*.found))]
    UnexpectedByte {
        /// The byte.
        found: u8,
        /// What JSON allows here.
        expected: &'static str,
    },
    /// A backslash followed by something else than JSON's escapes, or half of a surrogate pair.
    #[error(
        "not an escape of JSON: expected \\\" \\\\ \\/ \\b \\f \\n \\r \\t or \\u and four hex digits, with surrogates in pairs"
    )]
    BadEscape,
    /// Bytes that are not UTF-8.
    #[error("not UTF-8; encode the record as UTF-8, or escape the character as \\uXXXX")]
    BadUtf8,
    /// Something that starts like a number, but is none.
    #[error(
        "not a number of JSON: no leading zeros or plus sign, digits on both sides of the point and in the exponent"
    )]
    BadNumber,
    /// A raw byte below 0x20 inside a string.
    #[error("a raw control character inside a string; escape it, for example as \\n or \\u0001")]
    ControlCharacter,
    /// More than `DEPTH_MAX` objects and arrays inside each other.
    #[error("objects and arrays are nested more than {} deep", super::DEPTH_MAX)]
    TooDeep,
    /// Something follows the object.
    #[error("expected the end of the record after the object, found {}; put one object on a line", Byte(*.found))]
    TrailingData {
        /// The first byte too many.
        found: u8,
    },
    /// A wanted field, or an object that holds wanted fields, is there twice: which of them counts is anybody's guess.
    #[error("a field that the policy reads is there twice (wanted path {0}, counted from 0); send it once")]
    DuplicateField(u16),
}

impl ScanErrorKind {
    pub(super) const fn at(self, at: usize) -> ScanError {
        ScanError { kind: self, at }
    }
}

/// A byte as a person reads it.
struct Byte(u8);

impl core::fmt::Display for Byte {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            b'\n' => f.write_str("the end of the line"),
            byte @ 0x20..=0x7e => write!(f, "`{}`", byte as char),
            byte => write!(f, "byte 0x{byte:02x}"),
        }
    }
}
