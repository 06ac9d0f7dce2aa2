//! Hours against their rows, days against their hours, slot by slot.
//!
//! A slot says which version of its part it holds. At that version it must hold what the part held; a part that has gone on
//! is one that the slot is behind, which passes where somebody follows the changes (`crate::rollup`). Parts are read after
//! their wholes, so a slot that is ahead of its part is no question of time.
//!
//! Not here: the accounts (`accounts`).

use super::{Check, Outcome};
use crate::store::{Layout, Slots, SpanKey};
use plimsoll_core::rollup::{Level, Part, Slot, Spans, Whole};
use plimsoll_core::time::EventTime;
use plimsoll_core::window::Window;
use std::collections::BTreeMap;

const HOURS: &str = "hours against their rows";
const DAYS: &str = "days against their hours";
/// Slots that are told one by one; of more their number is.
const TOLD_MAX: usize = 100;

/// A slot that did not hold its part's newest state yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    level: Level,
    place: SpanKey,
    slot: Slot,
    part: Part,
    found: Option<Part>,
}

impl Behind {
    /// Whether it has not caught up with that state since.
    pub(super) fn still(&self, slots: &Slots) -> bool {
        let wholes = if self.level == Level::Hour { &slots.hours } else { &slots.days };
        let held = wholes.get(&self.place).and_then(|whole| whole.slots.get(&self.slot));
        held.is_none_or(|held| held.version < self.part.version)
    }

    /// As an imbalance.
    pub(super) fn check(&self) -> Check {
        let mut check = told(self.level, &self.place, self.slot, self.found.as_ref(), Some(&self.part));
        check.note.push_str("; it is behind: `plimsoll rollup --once` brings it up to date, or with --repair");
        check
    }
}

/// What does not fit, a line for all that do, and what is only behind.
pub(super) fn checks(
    layout: &Layout,
    spans: &Spans,
    slots: &Slots,
    expired_ms: Option<i64>,
) -> (Vec<Check>, Vec<Behind>) {
    let measures = &layout.policy.spec().measures;
    let mut hours = Compare { level: Level::Hour, wholes: &slots.hours, ..Compare::default() };
    let rows = slots.rows.iter().map(|row| {
        let hour = spans.hour(row.window.start);
        ((row.key.clone(), hour), Slot::of(&row.window, &hour).in_bucket(row.bucket), row.part.clone())
    });
    // A row that is not there any more, of an hour that ended so long ago, has expired.
    let gone = |span: &Window| expired_ms.is_some_and(|ms| span.end <= EventTime::from_millis(ms));
    hours.parts(rows, gone);
    let mut days = Compare { level: Level::Day, wholes: &slots.days, ..Compare::default() };
    if spans.has(Level::Day) {
        let parts = slots.hours.iter().map(|((key, hour), whole)| {
            let day = spans.day(hour.start).expect("it has days");
            ((key.clone(), day), Slot::of(hour, &day), whole.part(measures))
        });
        days.parts(parts, |_| false);
    }
    let (mut checks, mut behind) = (Vec::new(), Vec::new());
    for compare in [hours, days] {
        if spans.has(compare.level) {
            checks.push(compare.summary());
        }
        checks.extend(compare.wrong.into_iter().take(TOLD_MAX));
        behind.extend(compare.behind.into_iter().take(TOLD_MAX));
    }
    (checks, behind)
}

struct Compare<'s> {
    level: Level,
    wholes: &'s BTreeMap<SpanKey, Whole>,
    same: usize,
    expired: usize,
    wrong: Vec<Check>,
    behind: Vec<Behind>,
}

impl Default for Compare<'_> {
    fn default() -> Self {
        static NONE: BTreeMap<SpanKey, Whole> = BTreeMap::new();
        Self { level: Level::Hour, wholes: &NONE, same: 0, expired: 0, wrong: Vec::new(), behind: Vec::new() }
    }
}

impl Compare<'_> {
    fn parts(&mut self, parts: impl Iterator<Item = (SpanKey, Slot, Part)>, may_be_gone: impl Fn(&Window) -> bool) {
        let mut seen: BTreeMap<SpanKey, BTreeMap<Slot, Part>> = BTreeMap::new();
        for (place, slot, part) in parts {
            seen.entry(place).or_default().insert(slot, part);
        }
        for (place, parts) in &seen {
            for (slot, part) in parts {
                let held = self.wholes.get(place).and_then(|whole| whole.slots.get(slot));
                match held {
                    Some(held) if held == part => self.same += 1,
                    Some(held) if held.version >= part.version => {
                        self.wrong.push(told(self.level, place, *slot, Some(held), Some(part)));
                    }
                    held => self.behind.push(Behind {
                        level: self.level,
                        place: place.clone(),
                        slot: *slot,
                        part: part.clone(),
                        found: held.cloned(),
                    }),
                }
            }
        }
        for (place, whole) in self.wholes {
            let missing = whole.slots.iter().filter(|(slot, _)| seen.get(place).is_none_or(|s| !s.contains_key(slot)));
            for (slot, held) in missing {
                if may_be_gone(&place.1) {
                    self.expired += 1;
                } else {
                    self.wrong.push(told(self.level, place, *slot, Some(held), None));
                }
            }
        }
    }

    fn summary(&self) -> Check {
        let check = if self.level == Level::Hour { HOURS } else { DAYS };
        let outcome = if self.wrong.is_empty() { Outcome::Ok } else { Outcome::Imbalance };
        let checked = self.same + self.wrong.len() + self.behind.len();
        let mut summary = Check::new(check, outcome, format!("{} slots right", self.same), format!("{checked} slots"));
        let mut notes = Vec::new();
        if self.expired > 0 {
            notes.push(format!("{} slots of rows that have expired cannot be checked", self.expired));
        }
        if !self.behind.is_empty() {
            notes.push(format!("{} slots were behind at first", self.behind.len()));
        }
        if self.wrong.len() > TOLD_MAX {
            notes.push(format!("the first {TOLD_MAX} of {} follow", self.wrong.len()));
        }
        summary.note = notes.join("; ");
        summary
    }
}

fn told(level: Level, place: &SpanKey, slot: Slot, found: Option<&Part>, expected: Option<&Part>) -> Check {
    let text = |part: Option<&Part>| {
        part.map_or("nothing".to_owned(), |Part { version, values }| {
            let values: Vec<String> = values.iter().map(|v| v.map_or("null".into(), |v| v.to_string())).collect();
            format!("[{}] at version {version}", values.join(", "))
        })
    };
    let check = if level == Level::Hour { HOURS } else { DAYS };
    let mut check = Check::new(check, Outcome::Imbalance, text(found), text(expected));
    check.key = Some(String::from_utf8_lossy(&place.0).into_owned());
    check.window = Some([place.1.start.as_millis(), place.1.end.as_millis()]);
    check.note = format!("the {}'s slot {}", level.name(), slot.name());
    check
}
