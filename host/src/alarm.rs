//! Alarms: what is watched on each lane, when it is an alarm, and who is told.
//!
//! ```text
//! StatusHub -- sights, on a timer --> Board (k of n points) -- one `opened`, one `recovered` --> an outbox per channel
//!           <-- which are open -----                                                             log, SNS, Slack, webhook
//! ```
//! `rule` says what a breach is, `points` when breaches are an alarm, `board` keeps both for every lane, `notice` says it in
//! words, `outbox` sees to it that it arrives, `watch` runs all of it beside the lanes.
//!
//! Invariants
//! - Lanes never wait for an alarm, and no channel for another one: queues are bounded and drop their oldest.
//! - Judging is a pure state machine: time and sights are handed in (`Board::tick`, `Board::finish`).
//! - An alarm of a lane gives one `opened`, then one `recovered`, and so on in turn.
//!
//! Not here: how far behind a lane is (`live`), the figures for other watchers (`telemetry`), the file that says all of this
//! (`config`).

mod board;
pub mod channel;
mod notice;
mod outbox;
mod points;
mod rule;
mod watch;

pub use board::{AlarmView, Board};
pub use notice::{Kind, Notice};
pub use outbox::{Outbox, Patience};
pub(crate) use rule::written;
pub use rule::{LagKind, OF_MAX, Points, Rule, Standstill, Watched};
pub use watch::{GRACE, GRACE_FAILED, Watch};
