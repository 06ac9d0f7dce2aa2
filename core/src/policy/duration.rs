//! Distances in time as people write them: `500ms`, `10s`, `5m`, `1h30m`, `2d`.
//!
//! ```text
//! duration = 1*( digits unit )      unit = d | h | m | s | ms, each at most once, the larger first
//! ```
//!
//! Invariants
//! - Whole numbers only: `1.5h` is `1h30m`. A day is 24 hours, whatever a calendar says.
//! - `parse(&Written(d).to_string()) == Ok(d)` for every `d` that is not negative.
//!
//! Not here: which spans a field allows (`validate`).

use crate::time::TimeDelta;
use core::fmt;

/// The units, the largest first, in milliseconds.
const UNITS: [(&str, i64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Prints a duration in its canonical form, each unit at most once: `1h30m`, `0s`, `-5m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written(pub TimeDelta);

/// Why a text is no duration. The message completes "expected ".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// No number and unit at all, or something else between them.
    #[error("a duration, like \"10m\" or \"1h30m\"")]
    Form,
    /// A number without a unit.
    #[error("a duration with a unit (ms, s, m, h, d), like \"10m\"")]
    Unit,
    /// A fraction or an exponent.
    #[error("a duration in whole numbers, like \"1h30m\" for one and a half hours")]
    Fraction,
    /// Units twice or in another order.
    #[error("a duration with each unit once, the larger first, like \"1h30m\"")]
    Order,
    /// Beyond 2^63 milliseconds.
    #[error("a duration of at most 3660d")]
    TooLong,
}

/// Reads a duration.
pub fn parse(text: &str) -> Result<TimeDelta, DurationError> {
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total = 0i64;
    if rest.is_empty() {
        return Err(DurationError::Form);
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let (number, unit) = (&rest[..digits], &rest[digits..digits + letters]);
        if number.is_empty() {
            return Err(DurationError::Form);
        }
        if unit.is_empty() {
            return Err(match rest.as_bytes().get(digits) {
                None => DurationError::Unit,
                Some(b'.' | b',') => DurationError::Fraction,
                Some(_) => DurationError::Form,
            });
        }
        let Some((_, factor)) = units.find(|(name, _)| *name == unit) else {
            let known = UNITS.iter().any(|(name, _)| *name == unit);
            return Err(if known { DurationError::Order } else { DurationError::Unit });
        };
        // More digits than an i64 holds are as wrong as a product that does not fit.
        let part = number.parse::<i64>().ok().and_then(|n| n.checked_mul(*factor));
        total = part.and_then(|p| total.checked_add(p)).ok_or(DurationError::TooLong)?;
        rest = &rest[digits + letters..];
    }
    Ok(TimeDelta::from_millis(total))
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        if ms == 0 {
            return f.write_str("0s");
        }
        if ms < 0 {
            f.write_str("-")?;
        }
        let mut rest = ms.unsigned_abs();
        for (unit, factor) in UNITS {
            let factor = factor.unsigned_abs();
            if rest >= factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn written_forms() {
        let cases = [
            ("0s", 0),
            ("500ms", 500),
            ("1s500ms", 1_500),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("1d1h1m1s1ms", 90_061_001),
        ];
        for (text, ms) in cases {
            assert_eq!(parse(text), Ok(TimeDelta::from_millis(ms)), "{text}");
            assert_eq!(Written(TimeDelta::from_millis(ms)).to_string(), text);
        }
        assert_eq!(parse("90m"), parse("1h30m"));
        assert_eq!(parse("00ms"), Ok(TimeDelta::ZERO));
        assert_eq!(Written(TimeDelta::from_mins(-5)).to_string(), "-5m");
        assert!(Written(TimeDelta::from_millis(i64::MIN)).to_string().starts_with("-106751991167d"));
    }

    #[test]
    fn refused_forms_say_which_rule_they_break() {
        use DurationError::*;
        let cases = [
            ("", Form),
            ("m", Form),
            ("-5m", Form),
            (" 5m", Form),
            ("5 m", Form),
            ("5m ", Form),
            ("5", Unit),
            ("1h30", Unit),
            ("5min", Unit),
            ("5M", Unit),
            ("1.5h", Fraction),
            ("1,5h", Fraction),
            ("1e3s", Unit),
            ("30m1h", Order),
            ("1m1m", Order),
            ("99999999999999999999d", TooLong),
            ("9223372036854775807d", TooLong),
            ("5µs", Form),
        ];
        for (text, why) in cases {
            assert_eq!(parse(text), Err(why), "{text}");
        }
    }
}
