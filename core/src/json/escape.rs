//! The escapes of JSON strings, both ways.
//!
//! Invariants
//! - What `unescape` writes for a valid body is valid UTF-8: half surrogate pairs are refused.
//! - `write_escaped` writes what serde_json writes, so one text has one spelling.
//!
//! Not here: where a string ends (`text`).

use super::text::specials;
use super::{ScanError, ScanErrorKind};
use alloc::vec::Vec;

/// Appends the text that `raw`, the body of a JSON string without its quotes, stands for.
///
/// # Errors
/// `BadEscape` at the backslash's index in `raw`. Bytes without a backslash are copied as they are.
pub fn unescape(raw: &[u8], out: &mut Vec<u8>) -> Result<(), ScanError> {
    let mut rest = 0;
    while let Some(backslash) = memchr::memchr(b'\\', &raw[rest..]).map(|i| rest + i) {
        out.extend_from_slice(&raw[rest..backslash]);
        let (character, next) = decode(raw, backslash).ok_or(ScanErrorKind::BadEscape.at(backslash))?;
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = next;
    }
    out.extend_from_slice(&raw[rest..]);
    Ok(())
}

/// Appends `text` as the body of a JSON string: the shortest escapes, and only where JSON asks for them.
pub fn write_escaped(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    if is_plain(text) {
        return out.extend_from_slice(text);
    }
    let mut rest = 0;
    for (i, &byte) in text.iter().enumerate() {
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            0x00..0x20 => 0,
            _ => continue,
        };
        out.extend_from_slice(&text[rest..i]);
        rest = i + 1;
        if short == 0 {
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        } else {
            out.extend_from_slice(&[b'\\', short]);
        }
    }
    out.extend_from_slice(&text[rest..]);
}

/// Whether no byte asks for an escape: nearly always.
fn is_plain(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks();
    let mut last = [b' '; 8];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().chain([&last]).all(|word| specials(u64::from_le_bytes(*word)) == 0)
}

/// The character that the escape at `backslash` stands for, and the index after the escape.
pub(super) fn decode(raw: &[u8], backslash: usize) -> Option<(char, usize)> {
    let character = match raw.get(backslash + 1)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let high = hex(raw, backslash + 2)?;
            let next = backslash + 6;
            if !(0xd800..0xdc00).contains(&high) {
                // A low surrogate without its high one is no character: `from_u32` says so.
                return Some((char::from_u32(high)?, next));
            }
            if raw.get(next..next + 2)? != b"\\u" {
                return None;
            }
            let low = hex(raw, next + 2)?;
            if !(0xdc00..0xe000).contains(&low) {
                return None;
            }
            return Some((char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00))?, next + 6));
        }
        _ => return None,
    };
    Some((character, backslash + 2))
}

/// Four hex digits.
fn hex(raw: &[u8], at: usize) -> Option<u32> {
    raw.get(at..at + 4)?.iter().try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)?))
}
