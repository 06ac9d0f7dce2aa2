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
use plimsoll_core::json::{Data, Framing, PADDING};
use plimsoll_core::policy::{Future, Policy};
use plimsoll_core::time::{ArrivalTime, EventTime};
use plimsoll_core::window::assign;
use std::collections::{BTreeMap, BTreeSet};

/// So many quarantined records whose time has not come a redrive passes over: their names stand in the lane's position,
/// some 30 bytes each.
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
    /// Of those that are driven: the rows of their windows may be gone.
    pub expired: Vec<StoredDeadLetter>,
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
        let (mut plan, mut choice) = (Plan::default(), Choice::default());
        for letter in open {
            plan.reasons.insert(letter.reason);
            plan.until.insert(letter.lane.clone(), until[&letter.lane]);
            if is_cut(&letter) {
                choice.truncated.push(letter);
                continue;
            }
            match self.arrival(&letter) {
                Some(arrival) => choice.letters.push(chosen(letter, arrival)),
                None => {
                    plan.hold.entry(letter.lane.clone()).or_default().insert(short(&letter), letter.n);
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
        let (event, _) = read_record(&mut self.decoder, letter, letter.arrival)?;
        if self.takes(&event) {
            return Some(letter.arrival);
        }
        if event.time > self.now {
            return None;
        }
        let arrival = Some(ArrivalTime::from_millis(event.time.as_millis()));
        let again = read_record(&mut self.decoder, letter, arrival).map(|(event, _)| event);
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

/// Chosen letters whose windows all ended before `kept_since`: rows of such windows may have expired.
pub(super) fn expired(policy: &Policy, choice: &Choice, kept_since: EventTime) -> Vec<StoredDeadLetter> {
    let mut decoder = Decoder::new(policy);
    let mut windows = Vec::new();
    let mut is_over = |letter: &&StoredDeadLetter| {
        // What cannot be read is set aside again, and touches no row.
        let Some((event, _)) = read_record(&mut decoder, letter, letter.arrival) else { return false };
        assign(&policy.spec().window, event.time, &mut windows);
        !windows.is_empty() && windows.iter().all(|w| w.end < kept_since)
    };
    choice.letters().filter(|l| is_over(l)).cloned().collect()
}

/// What a policy reads in a letter's record, and the key's text; `None` where it cannot.
pub fn read_record(
    decoder: &mut Decoder,
    letter: &StoredDeadLetter,
    arrival: Option<ArrivalTime>,
) -> Option<(Event, Vec<u8>)> {
    let end = letter.raw.len();
    let mut buf = letter.raw.clone();
    buf.resize(end + PADDING, 0);
    let event = decoder.decode_apart(&Data::new(&buf, end, Framing::Whole), 0, arrival).ok()?;
    let mut key = Vec::new();
    decoder.key().write(&buf, &mut key);
    Some((event, key))
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

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_core::policy::text::{Syntax, parse};

    fn policy(watermark: &str) -> Policy {
        let text = format!(
            "policy = \"p\"\n[input]\ntime = {{ field = \"ts\", unit = \"ms\", unit_check = false }}\nkey = [\"k\"]\n\
             [window]\nfixed = \"1m\"\n[watermark]\nmax = true\ndelay = \"1m\"\nmax_future = \"1m\"\n{watermark}\n\
             [measures]\nn = \"count\"\n"
        );
        parse(&text, Syntax::Toml).expect("the tests' policy")
    }

    fn letter(n: u64, line: u64, reason: Reason, ts: i64) -> StoredDeadLetter {
        let raw = format!("{{\"ts\":{ts},\"k\":\"a\"}}").into_bytes();
        StoredDeadLetter {
            lane: "f".into(),
            n,
            position: format!("f:{line}"),
            reason,
            detail: String::new(),
            arrival: (reason == Reason::Future).then(|| ArrivalTime::from_millis(0)),
            length: raw.len() as u64,
            raw,
        }
    }

    fn wish(reasons: &[Reason]) -> Wish {
        Wish { reasons: reasons.iter().copied().collect(), lane: None }
    }

    fn until(n: u64) -> BTreeMap<String, u64> {
        BTreeMap::from([("f".to_owned(), n)])
    }

    fn positions(choice: &Choice) -> Vec<&str> {
        choice.letters().map(|l| l.position.as_str()).collect()
    }

    #[test]
    fn whole_letters_of_whole_batches_come_in_their_lanes_order() {
        let policy = policy("");
        let mut cut = letter(1, 7, Reason::Malformed, 0);
        cut.length += 1;
        let of = |n, line| letter(n, line, Reason::Malformed, 0);
        let letters = vec![of(2, 10), of(2, 9), of(1, 100), cut, of(3, 1), letter(1, 5, Reason::Late, 0)];
        let mut picker = Picker::new(&policy, letters, 0);
        let mut mark = Mark::default();
        let (plan, choice) = picker.plan(&mark, &Wish::rejected(), &until(2)).unwrap();
        assert_eq!(positions(&choice), ["f:100", "f:9", "f:10"], "batch 3 may not be whole yet");
        assert_eq!(choice.truncated.len(), 1);
        // Cut off after the first: what is left is the rest, whatever was wished for later.
        mark.plan = Some(Plan { after: Some(choice.letters[0].place.clone()), ..plan });
        let mut mark = Mark::parse(&mark.position()).unwrap();
        assert_eq!(positions(&picker.of_plan(&mark, mark.plan.as_ref().unwrap())), ["f:9", "f:10"]);
        mark.finish();
        let (_, choice) = picker.plan(&mark, &Wish::rejected(), &until(3)).unwrap();
        assert_eq!(positions(&choice), ["f:1"]);
        let (_, choice) = picker.plan(&mark, &wish(&[Reason::Late]), &until(3)).unwrap();
        assert_eq!(positions(&choice), ["f:5"], "other reasons were not passed over");
    }

    #[test]
    fn a_quarantined_record_waits_for_its_time_and_is_not_forgotten() {
        let minute = 60_000;
        let letters: Vec<_> = (2..6).map(|i| letter(1, i as u64, Reason::Future, i * minute)).collect();
        let strict = policy("");
        let future = wish(&[Reason::Future]);
        let mut mark = Mark::default();
        let mut picker = Picker::new(&strict, letters.clone(), 3 * minute);
        let (plan, choice) = picker.plan(&mark, &future, &until(1)).unwrap();
        assert_eq!(positions(&choice), ["f:2", "f:3"]);
        // They are taken to have arrived when their time came, else they would be quarantined again.
        let arrivals: Vec<_> = choice.letters.iter().map(|c| c.place.arrival).collect();
        assert_eq!(arrivals, [Some(2 * minute), Some(3 * minute)]);
        assert_eq!(choice.not_yet.len(), 2);
        mark.plan = Some(plan);
        mark.finish();
        assert!(!mark.is_open(&letters[0]) && mark.is_open(&letters[3]));
        let (_, choice) = picker.plan(&mark, &future, &until(1)).unwrap();
        assert_eq!((choice.letters.len(), choice.not_yet.len()), (0, 2));
        // A minute later, and under a policy that takes all.
        let (_, choice) = Picker::new(&strict, letters.clone(), 4 * minute).plan(&mark, &future, &until(1)).unwrap();
        assert_eq!(positions(&choice), ["f:4"]);
        let generous = policy("future = \"accept\"");
        let (plan, choice) = Picker::new(&generous, letters.clone(), 0).plan(&mark, &future, &until(1)).unwrap();
        assert_eq!(positions(&choice), ["f:4", "f:5"]);
        assert!(choice.letters.iter().all(|c| c.place.arrival == Some(0)), "as they came");
        mark.plan = Some(plan);
        mark.finish();
        assert!(letters.iter().all(|l| !mark.is_open(l)));
    }

    #[test]
    fn a_redrive_that_comes_second_forgets_nothing_of_later_batches() {
        let policy = policy("");
        let letters = vec![letter(1, 1, Reason::Future, 3_600_000), letter(2, 2, Reason::Future, 7_200_000)];
        let future = wish(&[Reason::Future]);
        let mut mark = Mark::default();
        // The first one knew of batch 2, the second one asked earlier and knows of batch 1 only.
        for n in [2, 1] {
            let (plan, _) = Picker::new(&policy, letters.clone(), 0).plan(&mark, &future, &until(n)).unwrap();
            mark.plan = Some(plan);
            mark.finish();
        }
        let (_, choice) = Picker::new(&policy, letters, 7_200_000).plan(&mark, &future, &until(2)).unwrap();
        assert_eq!(positions(&choice), ["f:1", "f:2"]);
    }

    #[test]
    fn letters_whose_rows_may_be_gone_are_told() {
        let policy = policy("");
        let mut broken = letter(1, 3, Reason::Malformed, 0);
        broken.raw.pop();
        broken.length -= 1;
        let letters = vec![letter(1, 1, Reason::KeyTooLong, 0), letter(1, 2, Reason::KeyTooLong, 60_000), broken];
        let (_, choice) =
            Picker::new(&policy, letters, 0).plan(&Mark::default(), &Wish::rejected(), &until(1)).unwrap();
        let told = |since| expired(&policy, &choice, EventTime::from_millis(since)).len();
        assert_eq!([told(60_000), told(60_001), told(120_001)], [0, 1, 2]);
    }

    #[test]
    fn more_than_a_position_can_name_is_refused() {
        let policy = policy("");
        let letters = (0..=HELD_MAX as u64).map(|i| letter(1, i, Reason::Future, 3_600_000)).collect();
        let refused = Picker::new(&policy, letters, 0).plan(&Mark::default(), &wish(&[Reason::Future]), &until(1));
        let why = refused.unwrap_err().to_string();
        assert!(why.contains("1001") && why.contains("--lane"), "{why}");
    }
}
