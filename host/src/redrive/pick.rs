//! Which letters a redrive drives: those that are open, wished for, whole, and would not be quarantined again.
//!
//! ```text
//! letters --open?--> --reason, lane?--> --whole?--> --its time has come?--> chosen, in order
//!            |                            |            |
//!         driven before                truncated     not yet: held, and found by the next redrive
//! ```
//! A quarantined record (`future`) is driven where the policy at hand would take it as it came, or once the moment that it
//! is dated at has passed: then it is taken to have arrived at that moment. A record that says itself when it arrived can
//! only be taken by another policy.
//!
//! Not here: what became of letters before (`mark`).

use super::mark::{Mark, Place, Plan, named, short};
use crate::source::SourceError;
use crate::store::StoredDeadLetter;
use plimsoll_core::account::Reason;
use plimsoll_core::decode::{Decoder, Event, Passed};
use plimsoll_core::json::{Framing, PADDING};
use plimsoll_core::policy::{Future, Policy};
use plimsoll_core::time::{ArrivalTime, EventTime};
use std::collections::{BTreeMap, BTreeSet};

/// So many quarantined records whose time has not come a redrive passes over: their names stand in the lane's position,
/// 27 bytes each.
pub const HELD_MAX: usize = 1_000;

/// What is wished for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// For these reasons.
    pub reasons: BTreeSet<Reason>,
    /// Of this lane only.
    pub lane: Option<String>,
}

impl Wish {
    /// All that was rejected: neither what was quarantined nor what came late, which are no faults.
    pub fn rejected() -> Self {
        let reasons = Reason::ALL.into_iter().filter(|r| !matches!(r, Reason::Future | Reason::Late));
        Self { reasons: reasons.collect(), lane: None }
    }
}

/// What is driven, and what is not.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// To be driven, in order.
    pub(super) letters: Vec<Chosen>,
    /// Only the beginning of these was kept.
    pub truncated: Vec<StoredDeadLetter>,
    /// Quarantined, and their time has not come.
    pub not_yet: Vec<StoredDeadLetter>,
    /// Whether this is what a redrive left that was cut off.
    pub resumed: bool,
}

/// A letter to be driven.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub letter: StoredDeadLetter,
    pub place: Place,
}

impl Choice {
    /// The letters that are driven, in order.
    pub fn letters(&self) -> impl ExactSizeIterator<Item = &StoredDeadLetter> {
        self.letters.iter().map(|chosen| &chosen.letter)
    }
}

/// Whether only the beginning of the record was kept.
pub(super) fn is_cut(letter: &StoredDeadLetter) -> bool {
    letter.length > letter.raw.len() as u64
}

/// Letters to pick from.
pub(super) struct Picker<'a> {
    policy: &'a Policy,
    decoder: Decoder,
    letters: Vec<StoredDeadLetter>,
    now: EventTime,
}

impl<'a> Picker<'a> {
    pub(super) fn new(policy: &'a Policy, letters: Vec<StoredDeadLetter>, now_ms: i64) -> Self {
        Self { policy, decoder: Decoder::new(policy), letters, now: EventTime::from_millis(now_ms) }
    }

    /// A new plan and its letters.
    ///
    /// # Errors
    /// `Refused` if more quarantined records would have to be passed over than a position names.
    pub(super) fn plan(
        &mut self,
        mark: &Mark,
        wish: &Wish,
        until: &BTreeMap<String, u64>,
    ) -> Result<(Plan, Choice), SourceError> {
        let wished = |l: &StoredDeadLetter| {
            wish.reasons.contains(&l.reason)
                && wish.lane.as_ref().is_none_or(|lane| *lane == l.lane)
                && until.get(&l.lane).is_some_and(|n| l.n <= *n)
                && mark.is_open(l)
        };
        let open: Vec<StoredDeadLetter> = self.letters.iter().filter(|l| wished(l)).cloned().collect();
        let (mut plan, mut choice) = (Plan { reasons: wish.reasons.clone(), ..Plan::default() }, Choice::default());
        for letter in open {
            plan.until.insert(letter.lane.clone(), until[&letter.lane]);
            if is_cut(&letter) {
                choice.truncated.push(letter);
                continue;
            }
            match self.arrival(&letter) {
                Some(arrival) => choice.letters.push(chosen(letter, arrival)),
                None => {
                    plan.hold.entry(letter.lane.clone()).or_default().insert(short(&letter));
                    choice.not_yet.push(letter);
                }
            }
        }
        if choice.not_yet.len() > HELD_MAX {
            return Err(SourceError::Refused(format!(
                "{} quarantined records are dated after now, and a redrive passes over {HELD_MAX} at most; wait until their \
                 time has come, take one --lane at a time, or redrive under a policy that takes them (a greater \
                 `watermark.max_future`, or `future = \"accept\"`)",
                choice.not_yet.len()
            )));
        }
        choice.letters.sort_by(|a, b| a.place.cmp(&b.place));
        Ok((plan, choice))
    }

    /// What is left of a plan.
    pub(super) fn of_plan(&mut self, mark: &Mark, plan: &Plan) -> Choice {
        let planned = |l: &StoredDeadLetter| {
            plan.reasons.contains(&l.reason)
                && plan.until.get(&l.lane).is_some_and(|n| l.n <= *n)
                && mark.is_open(l)
                && !is_cut(l)
                && !named(&plan.hold, l)
        };
        let left: Vec<StoredDeadLetter> = self.letters.iter().filter(|l| planned(l)).cloned().collect();
        let mut choice = Choice { resumed: true, ..Choice::default() };
        for letter in left {
            // It was admitted when the plan was made: under the same policy that has not changed.
            let arrival = self.arrival(&letter).unwrap_or(letter.arrival);
            choice.letters.push(chosen(letter, arrival));
        }
        choice.letters.retain(|l| plan.after.as_ref().is_none_or(|after| l.place > *after));
        choice.letters.sort_by(|a, b| a.place.cmp(&b.place));
        choice
    }

    /// When a letter's record arrives this time; `None` where it would be quarantined again.
    fn arrival(&mut self, letter: &StoredDeadLetter) -> Option<Option<ArrivalTime>> {
        if letter.reason != Reason::Future {
            return Some(letter.arrival);
        }
        let event = read_record(&mut self.decoder, letter, letter.arrival)?;
        if self.takes(&event) {
            return Some(letter.arrival);
        }
        if event.time > self.now {
            return None;
        }
        let arrival = Some(ArrivalTime::from_millis(event.time.as_millis()));
        let again = read_record(&mut self.decoder, letter, arrival);
        again.is_some_and(|event| self.takes(&event)).then_some(arrival)
    }

    /// Whether the engine would not quarantine it.
    fn takes(&self, event: &Event) -> bool {
        let watermark = self.policy.spec().watermark;
        let latest = event.arrival.zip(watermark.max_future).map(|(at, ahead)| at.as_event_time() + ahead);
        event.passed != Passed::Yes
            || watermark.future != Future::Quarantine
            || latest.is_none_or(|latest| event.time <= latest)
    }
}

/// What a policy reads in a letter's record; `None` where it cannot.
pub fn read_record(decoder: &mut Decoder, letter: &StoredDeadLetter, arrival: Option<ArrivalTime>) -> Option<Event> {
    let end = letter.raw.len();
    let mut buf = letter.raw.clone();
    buf.resize(end + PADDING, 0);
    decoder.decode_apart(&buf, 0, end, Framing::Whole, arrival).ok()
}

fn chosen(letter: StoredDeadLetter, arrival: Option<ArrivalTime>) -> Chosen {
    let place = Place {
        arrival: arrival.map(ArrivalTime::as_millis),
        lane: letter.lane.clone(),
        n: letter.n,
        position: letter.position.clone(),
    };
    Chosen { letter, place }
}
