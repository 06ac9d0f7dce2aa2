//! When a batch is so bad that the policy is more likely wrong than the records.
//!
//! A lane is paused, and nothing of the batch written, when more than half of a batch of at least `POISON_RECORDS_MIN`
//! records is rejected, or `POISON_RUN_MAX` records in a row are. Records of class `future` are not poison: clocks lie.

use super::{POISON_RECORDS_MIN, POISON_RUN_MAX};
use plimsoll_core::account::Reason;
use plimsoll_core::decode::Decoder;
use plimsoll_core::wire::effects::Effects;

/// What to tell a person, if the batch is poisoned.
pub(super) fn judge(effects: &Effects, places: &[String], decoder: &Decoder) -> Option<String> {
    let a = &effects.account;
    let mostly = a.read >= POISON_RECORDS_MIN && a.rejected * 2 > a.read;
    let (mut run, mut last) = (0, None);
    let mut in_a_row = false;
    let rejected = effects.dead.iter().zip(places).filter(|(d, _)| d.reason != Reason::Future);
    for (d, _) in rejected.clone() {
        run = if last == Some(d.ordinal.wrapping_sub(1)) { run + 1 } else { 1 };
        last = Some(d.ordinal);
        in_a_row |= run >= POISON_RUN_MAX;
    }
    if !mostly && !in_a_row {
        return None;
    }
    let (first, place) = rejected.clone().next()?;
    let reasons: Vec<String> = a.reasons.iter().map(|(r, n)| format!("{} {}", n, r.name())).collect();
    let raw = String::from_utf8_lossy(&first.raw[..first.raw.len().min(120)]).into_owned();
    Some(format!(
        "{} of {} records of a batch are rejected ({}); the first one is {place}: {}: {raw:?}. Nothing of this batch was written. Mend the policy, or pass \
         --accept-poison to set these records aside as dead letters and go on",
        a.rejected,
        a.read,
        reasons.join(", "),
        decoder.explain(first.reason, first.field, first.at),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_core::account::Account;
    use plimsoll_core::wire::effects::{DeadLetter, Progress};

    fn batch(good: u64, bad: &[u64]) -> (Effects, Vec<String>) {
        let mut account = Account { read: good + bad.len() as u64, counted: good, ..Account::default() };
        bad.iter().for_each(|_| account.reject(Reason::Malformed));
        let letter = |ordinal: &u64| DeadLetter {
            ordinal: *ordinal,
            reason: Reason::Malformed,
            field: None,
            at: 0,
            arrival: None,
            full_len: 1,
            raw: vec![b'x'],
        };
        let dead = bad.iter().map(letter).collect();
        let places = bad.iter().map(|o| format!("f:{o}")).collect();
        (Effects { measures: 1, progress: Progress::default(), account, groups: Vec::new(), dead }, places)
    }

    fn poisoned(good: u64, bad: &[u64]) -> bool {
        let (effects, places) = batch(good, bad);
        judge(&effects, &places, &Decoder::new(&crate::live::tests::policy())).is_some()
    }

    #[test]
    fn half_of_a_batch_or_twenty_in_a_row() {
        let apart = |n: u64| (0..n).map(|i| i * 2).collect::<Vec<_>>();
        assert!(!poisoned(0, &apart(19)), "too few to judge");
        assert!(poisoned(0, &apart(20)));
        assert!(!poisoned(20, &apart(20)), "just half");
        assert!(poisoned(19, &apart(20)));
        assert!(!poisoned(1_000, &(0..19).collect::<Vec<_>>()));
        assert!(poisoned(1_000, &(5..25).collect::<Vec<_>>()));
    }
}
