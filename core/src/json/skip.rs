//! Checks values that nobody asked for, without keeping anything of them.
//!
//! Invariant: no recursion and no allocation, whatever the input: which brackets are open is one bit each in a word.
//!
//! Not here: the pieces themselves (`text`), objects in which something is wanted (`json`).

use super::text::Text;
use super::{DEPTH_MAX, ScanError, ScanErrorKind, Slot};

/// Any value that starts at `at`, inside `depth` objects and arrays; and the index after it.
pub(super) fn value(text: Text<'_>, at: usize, depth: usize, high: &mut u64) -> Result<(Slot, usize), ScanError> {
    if let b'{' | b'[' = text.byte(at) {
        let end = compound(text, at, depth, high)?;
        return Ok((Slot::Compound { start: at as u32, end: end as u32 }, end));
    }
    scalar(text, at, high)
}

fn scalar(text: Text<'_>, at: usize, high: &mut u64) -> Result<(Slot, usize), ScanError> {
    match text.byte(at) {
        b'"' => {
            let (close, escaped) = text.string(at + 1, high)?;
            Ok((Slot::Str { start: at as u32 + 1, end: close as u32, escaped }, close + 1))
        }
        b'-' | b'0'..=b'9' => text.number(at),
        _ => text.literal(at),
    }
}

/// The object or array that starts at `at`; the index after it.
fn compound(text: Text<'_>, mut at: usize, depth: usize, high: &mut u64) -> Result<usize, ScanError> {
    const { assert!(DEPTH_MAX <= 64, "one bit for each open bracket") };
    let mut open = 0;
    // The lowest bit is the innermost bracket: 1 is an object.
    let mut objects = 0u64;
    loop {
        let byte = text.byte(at);
        if let b'{' | b'[' = byte {
            if depth + open == DEPTH_MAX {
                return Err(ScanErrorKind::TooDeep.at(at));
            }
            open += 1;
            objects = objects << 1 | u64::from(byte == b'{');
            at = text.spaces(at + 1);
            // `[` and `]`, `{` and `}` are two apart.
            if text.byte(at) != byte + 2 {
                if byte == b'{' {
                    at = key(text, at, high)?;
                }
                continue;
            }
            at += 1;
            open -= 1;
            objects >>= 1;
        } else {
            at = scalar(text, at, high)?.1;
        }
        loop {
            if open == 0 {
                return Ok(at);
            }
            at = text.spaces(at);
            let object = objects & 1 == 1;
            match text.byte(at) {
                b',' => {
                    at = text.spaces(at + 1);
                    if object {
                        at = key(text, at, high)?;
                    }
                    break;
                }
                b'}' if object => {}
                b']' if !object => {}
                _ => return Err(text.unexpected(at, if object { "`,` or `}`" } else { "`,` or `]`" })),
            }
            at += 1;
            open -= 1;
            objects >>= 1;
        }
    }
}

/// A key and its colon; the index of the value.
fn key(text: Text<'_>, at: usize, high: &mut u64) -> Result<usize, ScanError> {
    if text.byte(at) != b'"' {
        return Err(text.unexpected(at, "a field name in quotes"));
    }
    let (close, _) = text.string(at + 1, high)?;
    colon(text, close + 1)
}

/// The colon after a key; the index of the value.
pub(super) fn colon(text: Text<'_>, at: usize) -> Result<usize, ScanError> {
    let at = text.spaces(at);
    if text.byte(at) != b':' {
        return Err(text.unexpected(at, "`:`"));
    }
    Ok(text.spaces(at + 1))
}
