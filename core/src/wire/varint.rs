//! Integers of variable length: LEB128, signed ones in zigzag; and a cursor over bytes that may be hostile.
//!
//! What many places call is never inlined: the module is some 10 KB smaller so, and records do not pass through here.

use super::WireError;
use alloc::vec::Vec;

/// Appends an unsigned integer.
#[inline(never)]
pub(crate) fn put_u128(out: &mut Vec<u8>, mut v: u128) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// Appends an unsigned integer.
#[inline(never)]
pub(crate) fn put_u64(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// Appends a signed integer in zigzag.
pub(crate) fn put_i128(out: &mut Vec<u8>, v: i128) {
    if let Ok(small) = i64::try_from(v) {
        return put_i64(out, small);
    }
    put_u128(out, ((v << 1) ^ (v >> 127)) as u128);
}

/// Appends a signed integer in zigzag.
pub(crate) fn put_i64(out: &mut Vec<u8>, v: i64) {
    put_u64(out, ((v << 1) ^ (v >> 63)) as u64);
}

/// Reads bytes from the front; every read names what it wanted.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    what: &'static str,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, at: 0, what }
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn bad(&self, problem: &'static str) -> WireError {
        WireError::Bad { what: self.what, at: self.at, problem }
    }

    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        if self.left() < n {
            return Err(WireError::Short { what: self.what, have: self.bytes.len(), need: self.at.saturating_add(n) });
        }
        let s = &self.bytes[self.at..self.at + n];
        self.at += n;
        Ok(s)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        Ok(self.take(N)?.try_into().expect("take gives N bytes"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, WireError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// A variable-length integer in its shortest form.
    #[inline(never)]
    pub(crate) fn varint_u128(&mut self) -> Result<u128, WireError> {
        // Nearly all of them.
        if let Some(b) = self.bytes.get(self.at).filter(|b| **b < 0x80) {
            self.at += 1;
            return Ok(u128::from(*b));
        }
        let mut v = 0u128;
        let mut shift = 0;
        loop {
            let b = self.u8()?;
            if shift == 126 && b > 3 {
                return Err(self.bad("a varint over 128 bits"));
            }
            v |= u128::from(b & 0x7f) << shift;
            if b & 0x80 == 0 {
                if b == 0 && shift > 0 {
                    return Err(self.bad("a varint longer than it needs to be"));
                }
                return Ok(v);
            }
            shift += 7;
        }
    }

    #[inline(never)]
    pub(crate) fn varint_i128(&mut self) -> Result<i128, WireError> {
        let v = self.varint_u128()?;
        Ok(((v >> 1) as i128) ^ -((v & 1) as i128))
    }

    #[inline(never)]
    pub(crate) fn varint_u64(&mut self) -> Result<u64, WireError> {
        u64::try_from(self.varint_u128()?).map_err(|_| self.bad("a varint over 64 bits"))
    }

    #[inline(never)]
    pub(crate) fn varint_i64(&mut self) -> Result<i64, WireError> {
        i64::try_from(self.varint_i128()?).map_err(|_| self.bad("a varint over 64 bits"))
    }

    /// A count of things that take at least `each` bytes: more than the bytes left cannot be true.
    #[inline(never)]
    pub(crate) fn count(&mut self, each: usize) -> Result<usize, WireError> {
        let n = self.varint_u64()?;
        if n > (self.left() / each.max(1)) as u64 {
            return Err(self.bad("a count of more than the bytes left can hold"));
        }
        Ok(n as usize)
    }

    pub(crate) fn end(&self) -> Result<(), WireError> {
        if self.left() == 0 { Ok(()) } else { Err(self.bad("bytes after the end")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_come_back() {
        for v in [
            0,
            1,
            -1,
            63,
            64,
            -64,
            -65,
            i128::from(i64::MAX),
            i128::from(i64::MIN),
            i128::from(i64::MAX) + 1,
            i128::MAX,
            i128::MIN,
        ] {
            let mut out = Vec::new();
            put_i128(&mut out, v);
            let mut c = Cursor::new(&out, "test");
            assert_eq!(c.varint_i128(), Ok(v));
            assert_eq!(c.left(), 0);
        }
    }

    #[test]
    fn one_value_has_one_encoding() {
        let mut c = Cursor::new(&[0x80, 0x00], "test");
        assert!(c.varint_u64().is_err());
        let mut c = Cursor::new(&[0xff; 19], "test");
        assert!(c.varint_u128().is_err());
    }
}
