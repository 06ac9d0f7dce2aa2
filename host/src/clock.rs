//! The only place that asks what time it is.
//!
//! Nothing that is counted depends on it: it dates intents, paces generators and measures lags.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01T00:00:00Z by this machine's clock; 0 if it stands before that.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
