//! The frame around every stored document: magic, length, checksum; and the fields several of them share.
//!
//! ```text
//! 4 bytes magic with version digit   u32 length of all   u32 CRC-32 of what follows   fields
//! ```
//! Integers little-endian or varint as in `wire`; a text is a varint length and UTF-8; an optional thing is a byte
//! 0, or 1 and the thing.

use crate::wire::WireError;
use crate::wire::checksum::crc32;
use crate::wire::varint::{Cursor, put_u64};
use alloc::string::String;
use alloc::vec::Vec;

const HEADER: usize = 12;

/// Begins a document in an empty buffer.
pub(super) fn begin(magic: [u8; 4]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(&magic);
    out.extend_from_slice(&[0; 8]);
    out
}

/// Fills in length and checksum.
pub(super) fn finish(out: &mut [u8]) {
    let len = u32::try_from(out.len()).expect("documents are bounded far below 4 GiB");
    let sum = crc32(&out[HEADER..]);
    out[4..8].copy_from_slice(&len.to_le_bytes());
    out[8..12].copy_from_slice(&sum.to_le_bytes());
}

/// Checks magic, length and checksum; the cursor stands at the first field.
pub(super) fn open<'a>(bytes: &'a [u8], magic: [u8; 4], what: &'static str) -> Result<Cursor<'a>, WireError> {
    let mut c = Cursor::new(bytes, what);
    if c.array::<4>()? != magic {
        return Err(WireError::Bad { what, at: 0, problem: "is of an unknown kind or a newer version" });
    }
    if c.u32()? as usize != bytes.len() {
        return Err(c.bad("length differs from the bytes at hand"));
    }
    let sum = c.u32()?;
    if crc32(&bytes[HEADER..]) != sum {
        return Err(c.bad("checksum does not match"));
    }
    Ok(c)
}

pub(super) fn put_bytes(out: &mut Vec<u8>, b: &[u8]) {
    put_u64(out, b.len() as u64);
    out.extend_from_slice(b);
}

pub(super) fn take_bytes(c: &mut Cursor<'_>) -> Result<Vec<u8>, WireError> {
    let n = c.count(1)?;
    Ok(c.take(n)?.to_vec())
}

pub(super) fn take_text(c: &mut Cursor<'_>) -> Result<String, WireError> {
    String::from_utf8(take_bytes(c)?).map_err(|_| c.bad("a text that is no UTF-8"))
}

pub(super) fn put_option<T>(out: &mut Vec<u8>, v: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    match v {
        None => out.push(0),
        Some(v) => {
            out.push(1);
            put(out, v);
        }
    }
}

pub(super) fn take_option<'a, T>(
    c: &mut Cursor<'a>,
    take: impl FnOnce(&mut Cursor<'a>) -> Result<T, WireError>,
) -> Result<Option<T>, WireError> {
    Ok(if take_flag(c)? { Some(take(c)?) } else { None })
}

pub(super) fn take_flag(c: &mut Cursor<'_>) -> Result<bool, WireError> {
    match c.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(c.bad("a flag is 0 or 1")),
    }
}
