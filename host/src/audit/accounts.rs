//! The accounts of the lanes against rows, late rows and dead letters (semantics S7).
//!
//! ```text
//! least = accounts before, without what is still to be given out   <=   found   <=   accounts after, with what is pending
//! ```
//! Not here: hours and days (`spans`).

use super::{Check, Lane, Outcome, Seen};
use crate::store::{Layout, StoredRow};
use plimsoll_core::account::{Account, Reason};
use plimsoll_core::policy::{LateTo, Op, Policy};
use plimsoll_core::rows::day_text;
use plimsoll_core::wire::effects::{Effects, Table};
use std::collections::{BTreeMap, BTreeSet};

const DAY_MS: i64 = 86_400_000;

/// What is added up, in accounts and in effects.
#[derive(Clone, Copy)]
enum What {
    Main { column: usize },
    LateRows { column: usize, to: LateTo },
    Letters { reason: Reason, to: LateTo },
}

pub(super) fn checks(layout: &Layout, seen: &Seen) -> Vec<Check> {
    let mut checks: Vec<Check> = seen.after.iter().map(|lane| own(lane, &seen.before)).collect();
    if let Some(other) = foreign(layout, seen) {
        checks.push(other);
        return checks;
    }
    checks.extend(rows(&layout.policy, seen));
    checks.extend(letters(&layout.policy, seen));
    checks
}

/// A lane's account by itself.
fn own(lane: &Lane, before: &[Lane]) -> Check {
    let a = &lane.head.account;
    let classes: u128 =
        [a.counted, a.late, a.future, a.rejected, a.filtered, a.duplicate].iter().map(|n| u128::from(*n)).sum();
    let earlier = before.iter().find(|b| b.head.key == lane.head.key);
    let mut check = Check::new("records read against their classes", Outcome::Ok, classes, a.read);
    check.lane = Some(lane.head.key.lane.clone());
    if !a.balanced() {
        check.outcome = Outcome::Imbalance;
        check.note = "counted + late + future + rejected + filtered + duplicate, and the reasons of rejection".into();
    } else if earlier.is_some_and(|b| b.head.n > lane.head.n) {
        check.outcome = Outcome::Imbalance;
        check.note = "its head went back while it was audited".into();
    }
    check
}

/// Accounts that count rows of another shape too.
fn foreign(layout: &Layout, seen: &Seen) -> Option<Check> {
    let shape = layout.policy.shape();
    let other = seen.after.iter().find(|l| l.head.pin.as_ref().is_some_and(|pin| pin.shape != shape))?;
    let note = format!(
        "lane {} was last counted under a policy with other windows, keys or measures: its account is not that of these rows",
        other.head.key.lane
    );
    Some(Check::not_checked("rows against the accounts", note))
}

fn rows(policy: &Policy, seen: &Seen) -> Vec<Check> {
    const MAIN: &str = "count of main rows against records counted";
    const LATE: &str = "count of late rows against records late";
    let to = policy.spec().late.to;
    let count = policy.spec().measures.iter().position(|m| m.op == Op::Count && m.field.is_none());
    let Some(column) = count else {
        let note = "the policy has no `count` of records among its measures; add one, like `events = \"count\"`";
        return [MAIN, LATE].map(|check| Check::not_checked(check, note)).into();
    };
    let name = &policy.spec().measures[column].name;
    let main = match policy.count_column() {
        Some(column) => totals(MAIN, What::Main { column }, added(&seen.main, column), seen),
        None => {
            let note = format!(
                "a record stands in several windows, or waits for a trigger: `{name}` does not add up to the records"
            );
            Check::not_checked(MAIN, note)
        }
    };
    let late = match policy.count_column() {
        Some(_) => totals(LATE, What::LateRows { column, to }, added(&seen.late, column), seen),
        None => Check::not_checked(LATE, format!("`{name}` does not add up to the records")),
    };
    vec![main, late]
}

fn added(rows: &[StoredRow], column: usize) -> i128 {
    rows.iter().filter_map(|r| r.row.values.get(column).copied().flatten()).sum()
}

/// Over all lanes, since rows are shared by them.
fn totals(check: &'static str, what: What, found: i128, seen: &Seen) -> Check {
    let Some((least, most)) = bounds(what, seen, |_| true) else { return moving(check) };
    let mut out = judged(check, found, least, most);
    if let Some(expired_ms) = seen.expired_ms
        && found <= most
    {
        out.outcome = if found >= least { Outcome::Ok } else { Outcome::NotChecked };
        out.note = format!(
            "rows of windows that ended before {}, and were not amended since, may have expired: they cannot be checked",
            day_text(expired_ms.div_euclid(DAY_MS))
        );
    }
    out
}

/// Each lane by itself: their letters are their own.
fn letters(policy: &Policy, seen: &Seen) -> Vec<Check> {
    const CHECK: &str = "dead letters against the account";
    let to = policy.spec().late.to;
    let known: BTreeSet<&str> = seen.after.iter().map(|l| l.head.key.lane.as_str()).collect();
    let mut checks = Vec::new();
    for ((lane, reason), found) in seen.letters.iter().filter(|((lane, _), _)| !known.contains(lane.as_str())) {
        let mut check = Check::new(CHECK, Outcome::Imbalance, format!("{found} {}", reason.name()), "no such lane");
        check.lane = Some(lane.clone());
        checks.push(check);
    }
    for lane in known {
        let mut all = BTreeMap::new();
        for reason in Reason::ALL {
            let found = seen.letters.get(&(lane.to_owned(), reason)).copied().unwrap_or(0);
            let what = What::Letters { reason, to };
            let bounds = bounds(what, seen, |l| l.head.key.lane == lane);
            all.insert(reason, (i128::from(found), bounds));
        }
        let wrong: Vec<Check> = all
            .iter()
            .filter_map(|(reason, (found, bounds))| {
                let (least, most) = (*bounds)?;
                let check = judged(CHECK, *found, least, most);
                (check.outcome == Outcome::Imbalance)
                    .then(|| Check { note: format!("reason `{}`", reason.name()), ..check })
            })
            .collect();
        let found: i128 = all.values().map(|(found, _)| found).sum();
        let sum = all.values().map(|(_, bounds)| *bounds).try_fold((0, 0), |(least, most), b| {
            let (l, m) = b?;
            Some((least + l, most + m))
        });
        let of_lane = if wrong.is_empty() {
            vec![sum.map_or_else(|| moving(CHECK), |(least, most)| judged(CHECK, found, least, most))]
        } else {
            wrong
        };
        checks.extend(of_lane.into_iter().map(|check| Check { lane: Some(lane.to_owned()), ..check }));
    }
    checks
}

fn judged(check: &'static str, found: i128, least: i128, most: i128) -> Check {
    let expected = if least == most { least.to_string() } else { format!("{least} to {most}, as lanes go on") };
    let outcome = if (least..=most).contains(&found) { Outcome::Ok } else { Outcome::Imbalance };
    Check::new(check, outcome, found, expected)
}

fn moving(check: &'static str) -> Check {
    Check::not_checked(check, "a lane went on while its batch in flight was read; ask again")
}

/// The least and the most that may be found of lanes; none where what is under way is not known.
fn bounds(what: What, seen: &Seen, wanted: impl Fn(&Lane) -> bool) -> Option<(i128, i128)> {
    let (mut least, mut most) = (0, 0);
    for lane in seen.before.iter().filter(|l| wanted(l)) {
        let rest = lane.in_flight.as_ref()?.rest.as_ref();
        least += what.accounted(&lane.head.account) - rest.map_or(0, |e| what.given_out(e));
    }
    for lane in seen.after.iter().filter(|l| wanted(l)) {
        let pending = lane.in_flight.as_ref()?.pending.as_ref();
        most += what.accounted(&lane.head.account) + pending.map_or(0, |(_, account)| what.accounted(account));
    }
    Some((least, most))
}

impl What {
    fn accounted(self, a: &Account) -> i128 {
        let n = match self {
            Self::Main { .. } => a.counted,
            Self::LateRows { to: LateTo::Table, .. } => a.late - a.late_dropped,
            Self::LateRows { .. } => 0,
            Self::Letters { reason: Reason::Future, .. } => a.future,
            Self::Letters { reason: Reason::Late, to: LateTo::DeadLetters } => a.late - a.late_dropped,
            Self::Letters { reason: Reason::Late, .. } => 0,
            Self::Letters { reason, .. } => a.reasons.get(&reason).copied().unwrap_or(0),
        };
        i128::from(n)
    }

    fn given_out(self, e: &Effects) -> i128 {
        let rows = |main: bool, column: usize| {
            let groups = e.groups.iter().filter(|g| (g.table == Table::Main) == main);
            groups.flat_map(|g| &g.rows).filter_map(|r| r.values.get(column).copied().flatten()).sum()
        };
        match self {
            Self::Main { column } => rows(true, column),
            Self::LateRows { column, .. } => rows(false, column),
            Self::Letters { reason, .. } => e.dead.iter().filter(|d| d.reason == reason).count() as i128,
        }
    }
}
