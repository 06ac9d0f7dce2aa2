//! No effect is sent that was signed too long after the head was looked at.
//!
//! A host may sleep between reading a head and writing a row: a paused machine, a long wait for a socket. Whatever its clock
//! says then, the service refuses what was signed minutes ago or by a clock minutes off; so an effect that is signed
//! within the deadline of a look at the head, by the clock that the look was signed with, is dead within an hour of it.
//! Rows are kept far longer (`row::ROW_KEPT_S`).
//!
//! Invariants
//! - Both times are those in the requests' signatures: they are compared with each other and never with another clock.
//! - The check runs after signing, in every attempt; what fails it is not sent.

use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// An effect signed longer than this after the last confirmed look at the head is not sent, in seconds.
pub const DEADLINE_S: i64 = 10 * 60;

/// Watches the signing of one request.
#[derive(Clone, Debug)]
pub(super) struct Watch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The last second the request may be signed in.
    not_after_s: i64,
    signed_s: AtomicI64,
    expired: AtomicBool,
}

impl Watch {
    /// A request that may be signed whenever.
    pub(super) fn free() -> Self {
        Self::until(i64::MAX)
    }

    /// A request that must be signed within the deadline of a look.
    pub(super) fn since(looked_s: i64) -> Self {
        Self::until(looked_s.saturating_add(DEADLINE_S))
    }

    fn until(not_after_s: i64) -> Self {
        Self(Arc::new(Inner { not_after_s, signed_s: AtomicI64::new(i64::MIN), expired: AtomicBool::new(false) }))
    }

    /// When it was signed, in seconds since the epoch by the host's clock.
    pub(super) fn signed_s(&self) -> i64 {
        self.0.signed_s.load(Ordering::SeqCst)
    }

    /// Whether it was held back.
    pub(super) fn expired(&self) -> bool {
        self.0.expired.load(Ordering::SeqCst)
    }

    fn signed(&self, date: Option<&str>) -> Result<(), BoxError> {
        let at = date.and_then(amz_date_s).ok_or("the request carries no time of signing")?;
        self.0.signed_s.store(at, Ordering::SeqCst);
        if at > self.0.not_after_s {
            self.0.expired.store(true, Ordering::SeqCst);
            return Err("signed too long after the lane's head was looked at".into());
        }
        Ok(())
    }
}

impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "PlimsollDeadline"
    }

    fn read_after_signing(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.signed(context.request().headers().get("x-amz-date"))
    }
}

/// Seconds since the epoch of `20261123T190213Z`.
fn amz_date_s(text: &str) -> Option<i64> {
    let t = text.strip_suffix('Z').filter(|t| t.len() == 15 && t.is_ascii() && t.as_bytes()[8] == b'T')?;
    let part = |range: std::ops::Range<usize>| {
        let digits = &t[range];
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<i64>().ok())?
    };
    let (year, month, day) = (part(0..4)?, part(4..6)?, part(6..8)?);
    let (h, m, s) = (part(9..11)?, part(11..13)?, part(13..15)?);
    // Days of the civil calendar, with years that begin in March.
    let (y, mp) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * mp + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + h) * 60 + m) * 60 + s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_times_are_read() {
        assert_eq!(amz_date_s("19700101T000000Z"), Some(0));
        assert_eq!(amz_date_s("20000229T235959Z"), Some(951_868_799));
        assert_eq!(amz_date_s("20251123T200000Z"), Some(1_763_928_000));
        for wrong in ["", "20261123T190213", "2026-11-23T19:02:1Z", "20261123 190213Z", "+0261123T190213Z"] {
            assert_eq!(amz_date_s(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_signed_in_time_goes_and_what_is_not_is_held_back() {
        let looked = amz_date_s("20261123T190000Z").unwrap();
        for (date, goes) in [("20261123T190959Z", true), ("20261123T191000Z", true), ("20261123T191001Z", false)] {
            let watch = Watch::since(looked);
            assert_eq!(watch.signed(Some(date)).is_ok(), goes, "{date}");
            assert_eq!(watch.expired(), !goes, "{date}");
            assert_eq!(watch.signed_s(), amz_date_s(date).unwrap());
        }
        assert!(Watch::free().signed(Some("99991231T235959Z")).is_ok());
        assert!(Watch::since(looked).signed(None).is_err());
    }
}
