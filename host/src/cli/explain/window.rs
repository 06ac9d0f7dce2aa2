//! Why a window is still open, or final: its end and allowed lateness against the watermark.

use super::sentences;
use crate::cli::Failure;
use crate::cli::standing::Standing;
use crate::cli::stored::{moment, refused, span};
use crate::store::{Layout, RowQuery, Store};
use plimsoll_core::policy::{LateBy, LateTo, Policy, Windowing};
use plimsoll_core::rows::Fate;
use plimsoll_core::time::{EventTime, TimeDelta};
use plimsoll_core::window::{Window, assign};
use serde_json::{Value, json};

/// A window and what is to be said of it.
pub struct Fated {
    window: Window,
    fate: Fate,
    /// It is final from here on.
    closes: EventTime,
    /// In sentences.
    pub why: Vec<String>,
}

/// The windows that start at a time: those that the policy makes there, and those that rows are there of (sessions).
pub async fn starting_at(
    store: &dyn Store,
    layout: &Layout,
    start: EventTime,
    key: Option<&[u8]>,
) -> Result<Vec<Window>, Failure> {
    let mut windows = Vec::new();
    assign(&layout.policy.spec().window, start, &mut windows);
    windows.retain(|w| w.start == start);
    // Reading rows of all keys would be a scan: only where the policy alone does not know its windows.
    let sessions = matches!(layout.policy.spec().window, Windowing::Session { .. });
    if key.is_some() || sessions {
        let to = Some(start + TimeDelta::from_millis(1));
        let query = RowQuery { key: key.map(<[u8]>::to_vec), from: Some(start), to, ..RowQuery::default() };
        windows.extend(store.rows(layout, &query).await.map_err(refused)?.into_iter().map(|r| r.window));
    }
    windows.sort();
    windows.dedup();
    Ok(windows)
}

/// What to say where no window starts.
pub fn none_starts(policy: &Policy, at: EventTime) -> String {
    let mut windows = Vec::new();
    assign(&policy.spec().window, at, &mut windows);
    let starts: Vec<_> = windows.iter().map(|w| moment(w.start.as_millis())).collect();
    let at = moment(at.as_millis());
    match starts.as_slice() {
        [] => format!("no window is known that starts at {at}; `plimsoll rows` shows the windows that have rows"),
        [one] => format!("no window starts at {at}; the one that holds this time starts at {one}"),
        many => format!("no window starts at {at}; those that hold this time start at {}", many.join(", ")),
    }
}

impl Fated {
    /// A window as the lanes stand now.
    pub fn of(policy: &Policy, standing: &Standing, window: Window) -> Self {
        let late = policy.spec().late;
        let closes = window.expiry(late.allowed_lateness);
        let fate = standing.complete.fate(&window);
        let watermark = standing.complete.watermark();
        let mut why = Vec::new();
        let bounds = format!("{} to {}", moment(window.start.as_millis()), moment(window.end.as_millis()));
        let lateness = match late.allowed_lateness {
            TimeDelta::ZERO => String::new(),
            some => format!(" and the allowed lateness of {}", span(some)),
        };
        match (fate, watermark) {
            (Fate::Final, Some(w)) => why.push(format!(
                "The window {bounds} is final: the watermark {} has passed its end{lateness} by {}.",
                moment(w.as_millis()),
                span(w - closes)
            )),
            _ if late.to == LateTo::Accept => why.push(format!(
                "The window {bounds} is never called final: the policy accepts late records in it (late.to = \"accept\")."
            )),
            (_, None) => why.push(format!("The window {bounds} is open: there is no watermark yet.")),
            (_, Some(w)) if w < window.end => why.push(format!(
                "The window {bounds} is open: the watermark {} has still {} to go to its end{}.",
                moment(w.as_millis()),
                span(window.end - w),
                if lateness.is_empty() { String::new() } else { format!(", {} to its end{lateness}", span(closes - w)) }
            )),
            (_, Some(w)) => why.push(format!(
                "The window {bounds} has ended and is not final: the watermark {} has still {} to go to its end{lateness}.",
                moment(w.as_millis()),
                span(closes - w)
            )),
        }
        if let Some(holder) = standing.holder().filter(|_| fate == Fate::Provisional) {
            why.push(format!("It waits for the lane {}.", holder.key.lane));
        }
        match (late.by, late.to) {
            (_, LateTo::Accept) => {}
            (LateBy::Record, _) => why.push(
                "A record behind its own lane's watermark is late, whether or not its window is still open.".into(),
            ),
            _ => why.push(
                "Each lane judges by its own watermark: records of a lane that is behind may still count here.".into(),
            ),
        }
        Self { window, fate, closes, why }
    }

    /// As an object.
    pub fn to_json(&self) -> Value {
        json!({
            "start": self.window.start.as_millis(),
            "end": self.window.end.as_millis(),
            "closes": self.closes.as_millis(),
            "state": self.fate.name(),
            "why": sentences(&self.why),
        })
    }
}
