//! Decimal numbers as they are spelt: compared and scaled exactly, never made floats.
//!
//! ```text
//! -0.01250e3  ->  sign -, digits 125, point 2        value = ±0.125 * 10^2
//! ```
//! Invariants
//! - Two spellings of one number are equal, however many zeros, points and exponents they are written with.
//! - Time is linear in the spelling; the number itself is never written out.
//!
//! Limits: exponents beyond ±10^18 are taken for that.
//!
//! Not here: JSON's grammar as a whole (`json`), arithmetic, which integers do (`expr`, `rows`).

use crate::decode::write_int;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// Most decimals of a scaled number: with one digit before them they fit 64 bits.
pub const SCALE_MAX: u32 = 18;

/// Greatest exponent; beyond it lies no number that is compared in earnest.
const EXPONENT_MAX: i64 = 1_000_000_000_000_000_000;

/// A number, as its digits and the place of its point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimal<'a> {
    negative: bool,
    /// Its digits, these before those, without zeros around them; none at all for zero.
    first: &'a [u8],
    then: &'a [u8],
    /// How many of its digits stand before the point; negative for zeros after it.
    point: i64,
}

/// Why a number has no scaled integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unscaled {
    /// It has more decimals than the scale.
    Digits,
    /// Its units do not fit 64 bits.
    Range,
}

impl<'a> Decimal<'a> {
    /// Reads a number in JSON's spelling, and nothing else.
    pub(crate) fn read(text: &'a [u8]) -> Option<Self> {
        let negative = text.first() == Some(&b'-');
        let (whole, rest) = digits(&text[usize::from(negative)..]);
        if whole.is_empty() || (whole.len() > 1 && whole[0] == b'0') {
            return None;
        }
        let (fraction, rest) = match rest.split_first() {
            Some((b'.', rest)) => Some(digits(rest)).filter(|(fraction, _)| !fraction.is_empty())?,
            _ => (&rest[..0], rest),
        };
        let exponent = match rest.split_first() {
            None => 0,
            Some((b'e' | b'E', rest)) => exponent(rest)?,
            Some(_) => return None,
        };
        Some(Self::normal(negative, whole, fraction, exponent))
    }

    /// An integer, whose digits go into the buffer.
    pub(crate) fn of_int(n: i64, buffer: &'a mut [u8; 20]) -> Self {
        let mut rest = n.unsigned_abs();
        let mut from = buffer.len();
        while rest > 0 {
            from -= 1;
            buffer[from] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let buffer: &'a [u8; 20] = buffer;
        Self::normal(n < 0, &buffer[from..], &[], 0)
    }

    fn normal(negative: bool, whole: &'a [u8], fraction: &'a [u8], exponent: i64) -> Self {
        let zeros = |text: &[u8]| text.iter().take_while(|d| **d == b'0').count();
        let zeros_behind = |text: &[u8]| text.iter().rev().take_while(|d| **d == b'0').count();
        let mut first = &whole[zeros(whole)..];
        let mut then = &fraction[..fraction.len() - zeros_behind(fraction)];
        let mut point = exponent + first.len() as i64;
        if first.is_empty() {
            let before = zeros(then);
            point -= before as i64;
            then = &then[before..];
        }
        if then.is_empty() {
            first = &first[..first.len() - zeros_behind(first)];
        }
        if first.is_empty() && then.is_empty() {
            return Self { negative: false, first, then, point: 0 };
        }
        Self { negative, first, then, point }
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.first.iter().chain(self.then).copied()
    }

    fn len(&self) -> usize {
        self.first.len() + self.then.len()
    }

    /// -1, 0 or 1.
    fn sign(&self) -> i8 {
        if self.len() == 0 { 0 } else { 1 - 2 * i8::from(self.negative) }
    }

    /// The order of the numbers.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let signs = self.sign().cmp(&other.sign());
        let sizes = || self.point.cmp(&other.point).then_with(|| self.digits().cmp(other.digits()));
        signs.then_with(|| if self.negative { sizes().reverse() } else { sizes() })
    }

    /// How many units of `10^-scale` it is.
    pub(crate) fn scaled(&self, scale: u32) -> Result<i64, Unscaled> {
        if self.len() == 0 {
            return Ok(0);
        }
        let zeros = self.point - self.len() as i64 + i64::from(scale);
        if zeros < 0 {
            return Err(Unscaled::Digits);
        }
        // More digits than these do not fit 64 bits, whatever they are.
        if self.len() as i64 + zeros > 19 {
            return Err(Unscaled::Range);
        }
        let digits = self.digits().fold(0, |sum: u64, digit| 10 * sum + u64::from(digit - b'0'));
        let units = digits.checked_mul(10u64.pow(zeros as u32)).ok_or(Unscaled::Range)?;
        let units = if self.negative { 0i64.checked_sub_unsigned(units) } else { 0i64.checked_add_unsigned(units) };
        units.ok_or(Unscaled::Range)
    }

    /// Its one spelling in canonical forms: digits without zeros around them, `e`, and the exponent.
    pub(crate) fn spelling(&self) -> String {
        let mut out = Vec::new();
        if self.negative {
            out.push(b'-');
        }
        if self.len() == 0 {
            out.push(b'0');
        }
        out.extend_from_slice(self.first);
        out.extend_from_slice(self.then);
        out.push(b'e');
        write_int(if self.len() == 0 { 0 } else { self.point - self.len() as i64 }, &mut out);
        String::from_utf8(out).unwrap_or_default()
    }
}

/// The digits that the text begins with, and the rest.
fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|b| b.is_ascii_digit()).count())
}

fn exponent(text: &[u8]) -> Option<i64> {
    let (negative, text) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let (all, rest) = digits(text);
    if all.is_empty() || !rest.is_empty() {
        return None;
    }
    let add = |sum: i64, digit: &u8| sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')).min(EXPONENT_MAX);
    let magnitude = all.iter().fold(0, add);
    Some(if negative { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Decimal<'_> {
        Decimal::read(text.as_bytes()).unwrap_or_else(|| panic!("{text} is a number"))
    }

    #[test]
    fn one_number_has_one_spelling() {
        for (texts, spelling) in [
            (&["0", "-0", "0.000", "0e9", "-0.0e-3"][..], "0e0"),
            (&["12.5", "12.50", "1.25e1", "125E-1", "0.0125e+3"], "125e-1"),
            (&["100", "1e2", "0.1e3", "100.00"], "1e2"),
            (&["-0.001", "-1e-3", "-10e-4"], "-1e-3"),
            (&["9223372036854775808"], "9223372036854775808e0"),
        ] {
            for text in texts {
                assert_eq!(read(text).spelling(), spelling, "{text}");
                assert_eq!(read(spelling).compare(&read(text)), Ordering::Equal, "{text}");
            }
        }
    }

    #[test]
    fn what_json_does_not_spell_is_no_number() {
        for text in ["", "-", "+1", "01", "1.", ".5", "1e", "1e+", "1x", "0x1", "NaN", " 1", "1 ", "1_0", "--1"] {
            assert!(Decimal::read(text.as_bytes()).is_none(), "{text:?}");
        }
    }

    #[test]
    fn numbers_are_in_their_order() {
        let order = [
            "-1e400",
            "-10",
            "-9.99",
            "-0.1",
            "0",
            "1e-400",
            "0.09",
            "0.1",
            "0.11",
            "9",
            "10",
            "10.01",
            "1e18",
            "1e999999999999",
        ];
        for (i, a) in order.iter().enumerate() {
            for (j, b) in order.iter().enumerate() {
                assert_eq!(read(a).compare(&read(b)), i.cmp(&j), "{a} and {b}");
            }
        }
    }

    #[test]
    fn scaled_is_exact_or_refused() {
        for (text, scale, units) in [
            ("12.34", 2, Ok(1_234)),
            ("12.3400", 2, Ok(1_234)),
            ("12", 2, Ok(1_200)),
            ("-0.01", 2, Ok(-1)),
            ("1.2e1", 0, Ok(12)),
            ("0.000", 0, Ok(0)),
            ("12.345", 2, Err(Unscaled::Digits)),
            ("1e-3", 2, Err(Unscaled::Digits)),
            ("92233720368547758.07", 2, Ok(i64::MAX)),
            ("-92233720368547758.08", 2, Ok(i64::MIN)),
            ("92233720368547758.08", 2, Err(Unscaled::Range)),
            ("99999999999999999999", 2, Err(Unscaled::Range)),
            ("1e999999999999999999999999", 18, Err(Unscaled::Range)),
            ("9.999999999999999999", 18, Err(Unscaled::Range)),
            ("9.223372036854775807", 18, Ok(i64::MAX)),
        ] {
            assert_eq!(read(text).scaled(scale), units, "{text} in {scale} decimals");
        }
    }

    proptest! {
        #[test]
        fn integers_are_as_in_their_own_arithmetic(a in any::<i64>(), b in any::<i64>(), near in -3i64..4) {
            let (mut x, mut y) = ([0; 20], [0; 20]);
            for b in [b, a.saturating_add(near)] {
                let (p, q) = (Decimal::of_int(a, &mut x), Decimal::of_int(b, &mut y));
                prop_assert_eq!(p.compare(&q), a.cmp(&b));
                prop_assert_eq!(p.scaled(0), Ok(a));
            }
            let text = alloc::format!("{a}");
            prop_assert_eq!(read(&text).compare(&Decimal::of_int(a, &mut x)), Ordering::Equal);
        }

        #[test]
        fn floats_of_few_digits_are_in_the_same_order(a in -9_999_999i64..9_999_999, b in -9_999_999i64..9_999_999, m in 0usize..9, n in 0usize..9) {
            let text = |v: i64, places: usize| alloc::format!("{v}e-{places}");
            let float = |t: &str| t.parse::<f64>().unwrap();
            let (a, b) = (text(a, m), text(b, n));
            prop_assert_eq!(read(&a).compare(&read(&b)), float(&a).total_cmp(&(float(&b) + 0.0)).then(Ordering::Equal));
        }
    }
}
