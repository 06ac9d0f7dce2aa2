//! The host's clock. Nothing else in the host asks for the time of day.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the epoch, negative before.
pub fn now_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}
