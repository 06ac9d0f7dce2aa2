//! Windows that are kept open: triggers, panes, sessions.

mod trigger;

pub use trigger::may_lose_data;
