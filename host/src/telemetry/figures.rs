//! The figures that CloudWatch gets, by its API or as lines in the embedded metric format.
//!
//! ```text
//! {Policy}        ReadLag CommitLag WatermarkLag CloseLag  Counted Late Future Rejected  LanesStanding AlarmsOpen
//! {Policy, Lane}  ReadLag CommitLag WatermarkLag CloseLag
//! ```
//! Invariants
//! - Lags are milliseconds now, in each period, with or without data; counts are those of one period: their sum is the total.
//! - What is not known, or cannot be behind, has no sample. An alarm on one that should be there treats that as a breach.
//! - Names are stable: appended, never renamed.
//!
//! Not here: how they get there (`cloudwatch`, `emf`), the names that Prometheus reads (`telemetry`).

use crate::live::{Lags, LaneState, StatusHub};
use plimsoll_core::account::Account;
use std::fmt::Write as _;
use std::sync::Arc;

/// Where nobody names another one.
pub const NAMESPACE: &str = "Plimsoll";
/// The names of dimensions.
pub const POLICY: &str = "Policy";
/// The same, of a lane.
pub const LANE: &str = "Lane";
/// Longest value of a dimension: CloudWatch takes no more.
const DIMENSION_MAX: usize = 1_024;

/// What a figure is counted in, by CloudWatch's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A distance in time.
    Milliseconds,
    /// A number of things.
    Count,
}

impl Unit {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "Milliseconds",
            Self::Count => "Count",
        }
    }
}

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// Its name.
    pub name: &'static str,
    /// What it is counted in.
    pub unit: Unit,
    /// How much. All are whole numbers.
    pub value: u64,
}

/// Figures of the policy or of one lane. Names are values of dimensions: ASCII, not too long.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The policy.
    pub policy: String,
    /// The lane; `None`: all together.
    pub lane: Option<String>,
    /// What is known.
    pub figures: Vec<Figure>,
}

/// Takes figures, period by period.
pub struct Figures {
    hub: Arc<StatusHub>,
    per_lane: bool,
    told: Account,
}

impl Figures {
    /// Figures of a hub, with those of each lane or without.
    pub fn new(hub: Arc<StatusHub>, per_lane: bool) -> Self {
        Self { hub, per_lane, told: Account::default() }
    }

    /// The figures of now, and the counts since the last call.
    pub fn take(&mut self) -> (i64, Vec<Group>) {
        let policy = dimension(&self.hub.policy().spec().policy);
        let (now, sights) = (self.hub.now_ms(), self.hub.sights());
        let mut account = Account::default();
        sights.iter().for_each(|sight| account.add(&sight.status.account));
        let count = |name, value| Figure { name, unit: Unit::Count, value };
        let stands = |s: &LaneState| matches!(s, LaneState::Paused(_) | LaneState::Halted(_));
        let mut all = lags(&self.hub.lags());
        all.extend([
            count("Counted", account.counted.saturating_sub(self.told.counted)),
            count("Late", account.late.saturating_sub(self.told.late)),
            count("Future", account.future.saturating_sub(self.told.future)),
            count("Rejected", account.rejected.saturating_sub(self.told.rejected)),
            count("LanesStanding", sights.iter().filter(|s| stands(&s.status.state)).count() as u64),
            count("AlarmsOpen", self.hub.alarms().iter().filter(|a| a.is_open()).count() as u64),
        ]);
        self.told = account;
        let mut groups = vec![Group { policy: policy.clone(), lane: None, figures: all }];
        let lanes = sights.iter().filter(|_| self.per_lane).map(|s| Group {
            policy: policy.clone(),
            lane: Some(dimension(&s.status.lane)),
            figures: lags(&s.lags),
        });
        groups.extend(lanes.filter(|group| !group.figures.is_empty()));
        (now, groups)
    }
}

fn lags(lags: &Lags) -> Vec<Figure> {
    let named = [
        ("ReadLag", lags.read_ms),
        ("CommitLag", lags.commit_ms),
        ("WatermarkLag", lags.watermark_ms),
        ("CloseLag", lags.close_ms),
    ];
    let figure = |(name, ms): (&'static str, Option<i64>)| {
        Some(Figure { name, unit: Unit::Milliseconds, value: u64::try_from(ms?).unwrap_or(0) })
    };
    named.into_iter().filter_map(figure).collect()
}

/// A name as the value of a dimension: printable ASCII that does not begin with a colon; what is not is escaped, and what is
/// too long is cut.
pub fn dimension(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for (at, c) in name.chars().enumerate() {
        if c.is_ascii_graphic() && !(at == 0 && c == ':') || c == ' ' && at > 0 {
            out.push(c);
        } else {
            write!(out, "%{:x}", u32::from(c)).expect("writing to a string does not fail");
        }
        if out.len() > DIMENSION_MAX {
            break;
        }
    }
    out.truncate(DIMENSION_MAX);
    if out.is_empty() { "%".into() } else { out }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::live::tests::{hub, lane};
    use proptest::prelude::*;
    use std::sync::atomic::Ordering;

    /// A hub with a lane that has counted five records, ten seconds later.
    pub(in super::super) fn behind() -> Arc<StatusHub> {
        let (hub, clock) = hub();
        hub.lane(lane("shard \"é\"", Some(500), 5));
        clock.store(11_000, Ordering::Relaxed);
        hub
    }

    fn value(group: &Group, name: &str) -> Option<u64> {
        group.figures.iter().find(|f| f.name == name).map(|f| f.value)
    }

    #[test]
    fn lags_are_there_without_data_and_counts_are_those_of_a_period() {
        let mut figures = Figures::new(behind(), true);
        let (now, groups) = figures.take();
        assert_eq!((now, groups.len(), groups[0].lane.as_deref()), (11_000, 2, None));
        assert_eq!(groups[1].lane.as_deref(), Some("shard \"%e9\""));
        for group in &groups {
            assert_eq!((value(group, "CommitLag"), value(group, "WatermarkLag")), (Some(10_000), Some(10_500)));
            assert_eq!(value(group, "CloseLag"), None, "no window is open");
        }
        assert_eq!((value(&groups[0], "Counted"), value(&groups[1], "Counted")), (Some(5), None));
        let (_, groups) = figures.take();
        assert_eq!((value(&groups[0], "Counted"), value(&groups[0], "CommitLag")), (Some(0), Some(10_000)));
        assert_eq!(Figures::new(behind(), false).take().1.len(), 1, "lanes cost, and may be left out");
    }

    proptest! {
        #[test]
        fn any_name_is_a_dimension(name in any::<String>(), long in 0usize..3_000) {
            for name in [name.clone(), format!("{}{name}", "é".repeat(long))] {
                let d = dimension(&name);
                prop_assert!((1..=DIMENSION_MAX).contains(&d.len()));
                prop_assert!(d.bytes().all(|b| b == b' ' || b.is_ascii_graphic()));
                prop_assert!(!d.starts_with(':') && !d.trim().is_empty());
            }
        }
    }
}
