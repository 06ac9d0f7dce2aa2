//! Some changes into hours and days.
//!
//! Invariants
//! - Of several states of a row only the newest is written; of several slots of an hour each by itself, since each has a
//!   condition of its own, and the day once.
//! - It is done when everything is written; on an error some of it is, and doing it again does the rest.

use super::{At, Change, Setting, Shelf};
use crate::store::StoreError;
use futures::stream::{self, StreamExt, TryStreamExt};
use plimsoll_core::rollup::{Level, Part, Slot, Whole};
use plimsoll_core::window::Window;
use std::collections::BTreeMap;

/// Hours whose writes are in flight at once.
const IN_FLIGHT: usize = 32;

/// What came of some changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Changes that were given.
    pub changes: u64,
    /// Slots of hours that took a newer state.
    pub hours: u64,
    /// Slots of days that did.
    pub days: u64,
}

impl std::ops::AddAssign for Carried {
    fn add_assign(&mut self, o: Self) {
        self.changes += o.changes;
        self.hours += o.hours;
        self.days += o.days;
    }
}

/// Writes some changes into their hours and days.
pub async fn carry(shelf: &dyn Shelf, setting: &Setting, changes: Vec<Change>) -> Result<Carried, StoreError> {
    let given = changes.len() as u64;
    let hours = newest(setting, changes);
    let carried = stream::iter(hours)
        .map(|((key, hour), parts)| async move { carry_hour(shelf, setting, &key, hour, parts).await })
        .buffer_unordered(IN_FLIGHT)
        .try_fold(Carried::default(), |mut all, one| async move {
            all += one;
            Ok(all)
        });
    Ok(Carried { changes: given, ..carried.await? })
}

type Parts = BTreeMap<Slot, Part>;

/// The newest state of each row, by key and hour.
fn newest(setting: &Setting, changes: Vec<Change>) -> BTreeMap<(Vec<u8>, Window), Parts> {
    let mut hours: BTreeMap<(Vec<u8>, Window), Parts> = BTreeMap::new();
    for Change { key, window, bucket, part } in changes {
        let hour = setting.spans.hour(window.start);
        let slot = Slot::of(&window, &hour).in_bucket(bucket);
        let parts = hours.entry((key, hour)).or_default();
        if parts.get(&slot).is_none_or(|held| held.version < part.version) {
            parts.insert(slot, part);
        }
    }
    hours
}

async fn carry_hour(
    shelf: &dyn Shelf,
    setting: &Setting,
    key: &[u8],
    hour: Window,
    parts: Parts,
) -> Result<Carried, StoreError> {
    let at = At { level: Level::Hour, key, span: hour, cuts: "" };
    let mut carried = Carried::default();
    let mut newest = Whole::default();
    for (slot, part) in parts {
        let (whole, taken) = shelf.set(&at, slot, &part).await?;
        carried.hours += u64::from(taken);
        if whole.version >= newest.version {
            newest = whole;
        }
    }
    if let Some(day) = setting.spans.day(hour.start) {
        let cuts = setting.spans.cuts(&day);
        let at = At { level: Level::Day, key, span: day, cuts: &cuts };
        let (_, taken) = shelf.set(&at, Slot::of(&hour, &day), &newest.part(&setting.measures)).await?;
        carried.days += u64::from(taken);
    }
    Ok(carried)
}
