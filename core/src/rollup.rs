//! Hours and days, made of the rows of a policy's windows.
//!
//! ```text
//! rows of windows   key a   [v3: 7][v1: 2]      [v9: 4] ...    each change of a row raises its version
//! the hour's row    key a   s00: v3 7, s01: v1 2, s03: v9 4    a slot for each window: its newest state that was seen
//! the day's row     key a   s00: v14 13, s60: ...              a slot for each hour: what it adds up to, at its version
//! ```
//! A slot holds a state and no difference. So it does not matter in which order states come, how often, or which ones
//! were never seen: as soon as a row's newest state has come, its slot is right. A row that is deleted because it has
//! expired is no state: its slot stays.
//!
//! Invariants
//! - Each window lies in one hour and each hour in one day: the policy's check sees to it (`policy::validate`).
//! - `Whole::set` takes a part that is newer than its slot and no other, and raises the whole's own version with it.
//! - Totals are exact: at most a few thousand parts of ±10^30 each fit 128 bits.
//!
//! Not here: where slots are kept, and how changes come (`host`).

use crate::policy::{CalendarUnit, Measure, Op, Policy, Windowing, Zone};
use crate::time::EventTime;
use crate::window::{Window, assign};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

const MINUTE_MS: i64 = 60_000;
const HOUR_MINUTES: i64 = 60;

/// What windows are made into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Hours, made of windows.
    Hour,
    /// Days, made of hours.
    Day,
}

impl Level {
    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// The hours and days of a policy.
#[derive(Clone, Debug)]
pub struct Spans {
    hours: Windowing,
    days: Option<Windowing>,
}

impl Spans {
    /// Those of a policy; `None` where it has none.
    pub fn of(policy: &Policy) -> Option<Self> {
        let day = policy.spec().rollup.as_ref()?.day.clone();
        let calendar = |every, zone| Windowing::Calendar { every, zone };
        let utc = || Zone { name: String::from("UTC"), first: 0, changes: Vec::new() };
        let days = day.clone().map(|zone| calendar(CalendarUnit::Day, zone));
        Some(Self { hours: calendar(CalendarUnit::Hour, day.unwrap_or_else(utc)), days })
    }

    /// Whether there are rows of this level.
    pub fn has(&self, level: Level) -> bool {
        level == Level::Hour || self.days.is_some()
    }

    /// The hour that holds `t`: one of UTC, or of the days' zone. It ends where that zone's clocks change.
    pub fn hour(&self, t: EventTime) -> Window {
        one(&self.hours, t)
    }

    /// The day that holds `t`, where there are days.
    pub fn day(&self, t: EventTime) -> Option<Window> {
        self.days.as_ref().map(|days| one(days, t))
    }

    /// The hour or day that holds `t`, where there is one.
    pub fn span(&self, level: Level, t: EventTime) -> Option<Window> {
        match level {
            Level::Hour => Some(self.hour(t)),
            Level::Day => self.day(t),
        }
    }

    /// The hours of a day that are none of 60 minutes, as text: `120x30` for half an hour that begins after two. Empty for
    /// nearly every day. Should other data of a zone cut a day otherwise, its row has another name.
    pub fn cuts(&self, day: &Window) -> String {
        let mut cuts = Vec::new();
        let mut at = day.start;
        while at < day.end {
            let hour = self.hour(at);
            let minutes = (hour.end - hour.start).as_millis() / MINUTE_MS;
            if minutes != HOUR_MINUTES {
                cuts.push(format!("{}x{minutes}", Slot::of(&hour, day).minute));
            }
            at = hour.end;
        }
        cuts.join("+")
    }
}

fn one(windowing: &Windowing, t: EventTime) -> Window {
    let mut all = Vec::with_capacity(1);
    assign(windowing, t, &mut all);
    all[0]
}

/// The place of a part in its whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// How many minutes after its whole it begins.
    pub minute: u32,
    /// Which of a window's rows it is, where a store keeps several of one key and window that add up.
    pub bucket: u32,
}

impl Slot {
    /// The place of a window in its hour, or of an hour in its day.
    ///
    /// # Panics
    /// If the part begins outside.
    pub fn of(part: &Window, whole: &Window) -> Self {
        assert!(whole.holds(part.start), "{part:?} does not lie in {whole:?}");
        let minutes = (part.start - whole.start).as_millis() / MINUTE_MS;
        Self { minute: u32::try_from(minutes).expect("a day has no more minutes"), bucket: 0 }
    }

    /// The same place for another row of the window.
    #[must_use]
    pub fn in_bucket(self, bucket: u32) -> Self {
        Self { bucket, ..self }
    }

    /// As it stands in names: `07`, `1380`, `07_2`.
    pub fn name(self) -> String {
        match self.bucket {
            0 => format!("{:02}", self.minute),
            bucket => format!("{:02}_{bucket}", self.minute),
        }
    }

    /// Reads what `name` wrote, and nothing else.
    pub fn parse(name: &str) -> Option<Self> {
        let (minute, bucket) = name.split_once('_').unwrap_or((name, "0"));
        let slot = Self { minute: minute.parse().ok()?, bucket: bucket.parse().ok()? };
        (slot.name() == name).then_some(slot)
    }
}

/// The state of a window's row, or of an hour's, at one of its versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// How often the row had been changed.
    pub version: u64,
    /// Its columns, in the policy's order.
    pub values: Vec<Option<i128>>,
}

/// The row of an hour or a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whole {
    /// How often it was changed.
    pub version: u64,
    /// Its parts.
    pub slots: BTreeMap<Slot, Part>,
}

impl Whole {
    /// Takes a part, unless its slot holds one that is as new. Whether it did.
    pub fn set(&mut self, slot: Slot, part: Part) -> bool {
        if self.slots.get(&slot).is_some_and(|held| held.version >= part.version) {
            return false;
        }
        self.slots.insert(slot, part);
        self.version += 1;
        true
    }

    /// What its parts add up to.
    pub fn total(&self, measures: &[Measure]) -> Vec<Option<i128>> {
        add_up(measures, self.slots.values().map(|part| part.values.as_slice()))
    }

    /// What it is as a part of its own whole.
    pub fn part(&self, measures: &[Measure]) -> Part {
        Part { version: self.version, values: self.total(measures) }
    }
}

/// What rows add up to: sums of sums, the least of the least, the greatest of the greatest.
pub fn add_up<'v>(measures: &[Measure], rows: impl IntoIterator<Item = &'v [Option<i128>]>) -> Vec<Option<i128>> {
    let mut total: Vec<Option<i128>> = vec![None; measures.len()];
    for row in rows {
        for ((held, v), m) in total.iter_mut().zip(row).zip(measures) {
            *held = match (*held, *v) {
                (Some(a), Some(b)) => Some(match m.op {
                    Op::Count | Op::Sum | Op::Squares => a + b,
                    Op::Min => a.min(b),
                    Op::Max => a.max(b),
                }),
                (a, b) => a.or(b),
            };
        }
    }
    total
}

#[cfg(test)]
mod tests;
