//! Reads the pieces of a document, eight bytes at a time: white space, strings, numbers, literals.
//!
//! The bytes after the data do two things: words may be loaded past the end, and the first of them is zero, which no piece
//! of JSON contains, so each loop here stops at the end of the data without asking where it is.
//!
//! Invariants
//! - No index that is handed back lies behind the end of the data.
//! - Each byte is looked at a bounded number of times.
//!
//! Not here: what surrounds the pieces (`json`, `skip`).

use super::keys::PATTERN;
use super::{Framing, PADDING, ScanError, ScanErrorKind, Slot, escape};

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x80 * ONES;

/// How far the usual path looks from a key's comma without asking whether there is so much: a key, and two words of its value.
const WINDOW: usize = PATTERN + 16;
const _: () = assert!(WINDOW <= PADDING);

/// The buffer, and where its data ends.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    /// The data, its padding, and whatever follows.
    padded: &'a [u8],
    end: usize,
    framing: Framing,
}

impl<'a> Text<'a> {
    /// # Panics
    /// If the padding is missing or does not begin with a zero, or if indices would not fit `Slot`'s 32 bits.
    #[inline(always)]
    pub(super) fn new(buf: &'a [u8], end: usize, framing: Framing) -> Self {
        assert!(u32::try_from(end).is_ok(), "the scanner takes up to 4 GiB at once, got {end} bytes");
        assert!(buf.len() >= end.saturating_add(PADDING), "the buffer ends before the scanner's padding");
        assert!(buf[end] == 0, "the byte after the data is not zero");
        Self { padded: buf, end, framing }
    }

    /// The data without its padding.
    pub(super) fn data(self) -> &'a [u8] {
        &self.padded[..self.end]
    }

    /// The whole buffer.
    #[inline(always)]
    pub(super) fn padded(self) -> &'a [u8] {
        self.padded
    }

    #[inline(always)]
    pub(super) fn end(self) -> usize {
        self.end
    }

    #[inline(always)]
    pub(super) fn framing(self) -> Framing {
        self.framing
    }

    /// Where the record at `at`, which does not begin with its brace, has it.
    #[inline(never)]
    pub(super) fn start(self, at: usize) -> Result<usize, ScanError> {
        let start = self.spaces(at);
        match self.byte(start) {
            b'{' => Ok(start),
            found if self.is_end(start, found) => Err(ScanErrorKind::Truncated.at(start)),
            found => Err(ScanErrorKind::NotAnObject { found }.at(start)),
        }
    }

    /// Where the next record begins, when this one's object has ended at `close`.
    #[inline(never)]
    pub(super) fn close(self, close: usize) -> Result<usize, ScanError> {
        let next = self.spaces(close);
        match self.byte(next) {
            _ if next >= self.end => Ok(self.end),
            b'\n' => Ok(next + 1),
            found => Err(ScanErrorKind::TrailingData { found }.at(next)),
        }
    }

    #[inline(always)]
    pub(super) fn byte(self, at: usize) -> u8 {
        self.padded[at]
    }

    /// The eight bytes from `at`, the first in the lowest place.
    #[inline(always)]
    pub(super) fn word(self, at: usize) -> u64 {
        word_at(self.padded, at)
    }

    /// What stands from `at` on.
    #[inline(always)]
    pub(super) fn window(self, at: usize) -> Window<'a> {
        Window::of(&self.padded[at..]).expect("the padding is there")
    }

    /// The index of the first byte from `at` on that is not white space inside a document.
    #[inline(always)]
    pub(super) fn spaces(self, mut at: usize) -> usize {
        while self.is_space(self.byte(at)) {
            at += 1;
        }
        at
    }

    #[inline(always)]
    fn is_space(self, byte: u8) -> bool {
        match byte {
            b' ' | b'\t' | b'\r' => true,
            b'\n' => self.framing == Framing::Whole,
            _ => false,
        }
    }

    /// Refuses bytes that are not UTF-8.
    #[inline(never)]
    pub(super) fn check_utf8(self, from: usize, to: usize) -> Result<(), ScanError> {
        let Err(error) = core::str::from_utf8(&self.padded[from..to]) else { return Ok(()) };
        Err(ScanErrorKind::BadUtf8.at(from + error.valid_up_to()))
    }

    /// The error for a byte that does not belong at `at`.
    #[cold]
    pub(super) fn unexpected(self, at: usize, expected: &'static str) -> ScanError {
        let found = self.byte(at);
        if self.is_end(at, found) {
            ScanErrorKind::Truncated.at(at)
        } else {
            ScanErrorKind::UnexpectedByte { found, expected }.at(at)
        }
    }

    pub(super) fn is_end(self, at: usize, byte: u8) -> bool {
        at >= self.end || (byte == b'\n' && self.framing == Framing::Line)
    }

    /// The string whose body starts at `at`: the index of its closing quote, and whether there are escapes in it.
    /// Sets a high bit in `high` if it may hold bytes that are not ASCII.
    #[inline(always)]
    pub(super) fn string(self, mut at: usize, high: &mut u64) -> Result<(usize, bool), ScanError> {
        loop {
            let word = self.word(at);
            *high |= word;
            let found = specials(word);
            if found != 0 {
                at += first(found);
                if word >> (found.trailing_zeros() - 7) & 0xff == u64::from(b'"') {
                    return Ok((at, false));
                }
                let mut more = 0;
                let close = self.string_with_escapes(at, &mut more)?;
                *high |= more;
                return Ok((close, true));
            }
            at += 8;
        }
    }

    /// The rest of a string, from its first byte that is a backslash (or not allowed in a string).
    #[inline(never)]
    fn string_with_escapes(self, mut at: usize, high: &mut u64) -> Result<usize, ScanError> {
        loop {
            match self.byte(at) {
                b'"' => return Ok(at),
                b'\\' => match escape::decode(self.data(), at) {
                    Some((_, next)) => at = next,
                    None if at + 1 >= self.end => return Err(ScanErrorKind::Truncated.at(self.end)),
                    None => return Err(ScanErrorKind::BadEscape.at(at)),
                },
                byte if self.is_end(at, byte) => return Err(ScanErrorKind::Truncated.at(at)),
                0x00..0x20 => return Err(ScanErrorKind::ControlCharacter.at(at)),
                _ => {}
            }
            loop {
                let word = self.word(at);
                *high |= word;
                let found = specials(word);
                if found != 0 {
                    at += first(found);
                    break;
                }
                at += 8;
            }
        }
    }

    /// The number that starts at `start` with a digit or a minus sign, and the index after it.
    #[inline(never)]
    pub(super) fn number(self, start: usize) -> Result<(Slot, usize), ScanError> {
        let negative = self.byte(start) == b'-';
        let digits = start + usize::from(negative);
        let at = self.digits(digits)?;
        if self.byte(digits) == b'0' && at > digits + 1 {
            return Err(ScanErrorKind::BadNumber.at(digits));
        }
        if matches!(self.byte(at), b'.' | b'e' | b'E') {
            return self.fraction(start, at);
        }
        let mut value = None;
        // More digits are certainly outside i64, and so many fit u64.
        if at - digits <= 19 {
            let add = |sum: u64, digit: &u8| 10 * sum + u64::from(digit - b'0');
            let magnitude = self.padded[digits..at].iter().fold(0, add);
            value = if negative { 0i64.checked_sub_unsigned(magnitude) } else { 0i64.checked_add_unsigned(magnitude) };
        }
        Ok((value.map_or(Slot::Number { start: start as u32, end: at as u32 }, Slot::Int), at))
    }

    /// The rest of a number after its integer part.
    fn fraction(self, start: usize, mut at: usize) -> Result<(Slot, usize), ScanError> {
        if self.byte(at) == b'.' {
            at = self.digits(at + 1)?;
        }
        if let b'e' | b'E' = self.byte(at) {
            at += 1;
            if let b'+' | b'-' = self.byte(at) {
                at += 1;
            }
            at = self.digits(at)?;
        }
        Ok((Slot::Number { start: start as u32, end: at as u32 }, at))
    }

    /// At least one digit.
    fn digits(self, mut at: usize) -> Result<usize, ScanError> {
        if !self.byte(at).is_ascii_digit() {
            return Err(self.bad_number(at));
        }
        while self.byte(at).is_ascii_digit() {
            at += 1;
        }
        Ok(at)
    }

    #[cold]
    fn bad_number(self, at: usize) -> ScanError {
        let kind = if self.is_end(at, self.byte(at)) { ScanErrorKind::Truncated } else { ScanErrorKind::BadNumber };
        kind.at(at)
    }

    /// `null`, `true` or `false`, and the index after it.
    pub(super) fn literal(self, at: usize) -> Result<(Slot, usize), ScanError> {
        for (letters, value) in [("null", Slot::Null), ("true", Slot::Bool(true)), ("false", Slot::Bool(false))] {
            if self.padded[at..].starts_with(letters.as_bytes()) {
                return Ok((value, at + letters.len()));
            }
        }
        // Data that ends inside the word was cut; any other byte does not belong.
        let word = match self.byte(at) {
            b'n' => "null",
            b't' => "true",
            b'f' => "false",
            _ => return Err(self.unexpected(at, "a value")),
        };
        let same = word.bytes().enumerate().take_while(|&(i, byte)| self.byte(at + i) == byte).count();
        Err(self.unexpected(at + same, "`null`, `true` or `false`"))
    }
}

/// The bytes from a key's comma on, of which all may be looked at.
#[derive(Clone, Copy)]
pub(super) struct Window<'a>(&'a [u8; WINDOW]);

impl<'a> Window<'a> {
    /// The first bytes of a text; `None` where it is shorter.
    #[inline(always)]
    pub(super) fn of(text: &'a [u8]) -> Option<Self> {
        text.first_chunk().map(Self)
    }

    /// The eight bytes from `at`, the first in the lowest place.
    #[inline(always)]
    pub(super) fn word(self, at: usize) -> u64 {
        u64::from_le_bytes(*self.0[at..at + 8].first_chunk().expect("eight bytes"))
    }

    /// How many bytes the usual integer at `at` has: one to fifteen digits, then a comma or a brace. `word` is the one at `at`
    /// and starts with a digit. `None` says nothing but that `number` must look.
    #[inline(always)]
    pub(super) fn plain_integer(self, at: usize, word: u64) -> Option<usize> {
        let digits = word ^ (0x30 * ONES);
        let (len, next) = match first(not_digits(digits)) {
            // A zero does not lead other digits.
            2.. if digits & 0xff == 0 => return None,
            8.. => {
                let word = self.word(at + 8);
                let count = first(not_digits(word ^ (0x30 * ONES)));
                if count == 8 {
                    return None;
                }
                (8 + count, word >> (8 * count))
            }
            count => (count, word >> (8 * count)),
        };
        matches!(next as u8, b',' | b'}').then_some(len)
    }

    /// The usual integer at `at` that has so many bytes; `word` is the one at `at`.
    #[inline(always)]
    pub(super) fn integer(self, at: usize, word: u64, len: usize) -> i64 {
        const POWERS: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];
        let digits = word ^ (0x30 * ONES);
        let n = if len < 8 {
            eight_digits(digits << (64 - 8 * len))
        } else {
            let more = self.word(at + 8) ^ (0x30 * ONES);
            let low = eight_digits(more.unbounded_shl(128 - 8 * len as u32));
            eight_digits(digits) * POWERS[len & 7] + low
        };
        n as i64
    }
}

/// The eight bytes from `at`, the first in the lowest place.
#[inline(always)]
pub(super) fn word_at(bytes: &[u8], at: usize) -> u64 {
    // No index of a slice has its highest bit set. Saying so spares the check that the sum does not overflow.
    let at = at & (usize::MAX >> 1);
    u64::from_le_bytes(*bytes[at..at + 8].first_chunk().expect("eight bytes"))
}

/// The high bit of the first quote, backslash or byte below 0x20; bits above the first may be wrong.
#[inline(always)]
pub(super) fn specials(word: u64) -> u64 {
    // Flipping 0x02 takes the quote to 0x20 and leaves what is below 0x20 there: one comparison for both.
    let quotes_and_controls = (word ^ (0x02 * ONES)).wrapping_sub(0x21 * ONES);
    let backslashes = (word ^ (0x5c * ONES)).wrapping_sub(ONES);
    (quotes_and_controls | backslashes) & !word & HIGHS
}

/// The high bit of the first byte that is not 0..=9; bits above the first may be wrong.
#[inline(always)]
fn not_digits(word: u64) -> u64 {
    (word.wrapping_add(0x76 * ONES) | word) & HIGHS
}

/// Which byte the lowest set bit is in; 8 if there is none.
#[inline(always)]
pub(super) fn first(bits: u64) -> usize {
    (bits.trailing_zeros() / 8) as usize
}

/// The number whose eight digits are the word's bytes, the first in the lowest place.
#[inline(always)]
fn eight_digits(word: u64) -> u64 {
    let pairs = word.wrapping_mul(10 << 8 | 1) >> 8;
    let fours = (pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul(100 << 16 | 1) >> 16;
    (fours & 0x0000_ffff_0000_ffff).wrapping_mul(10_000 << 32 | 1) >> 32
}
