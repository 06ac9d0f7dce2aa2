//! What writing has cost so far, in write units by table.
//!
//! The service says it with each answer that went well. A write that its condition refused is charged too and not said, and
//! some stand-ins say nothing: then it is computed from the size of the item (`weight`), and counted apart.
//!
//! Invariants
//! - What may not have been executed (throttled, no answer) is not counted; so the sum is at least what was charged for
//!   answers that came.
//!
//! Not here: reading, which is a few requests where a lane begins.

use super::tables::Names;
use super::weight;
use crate::store::WriteUnits;
use aws_sdk_dynamodb::types::ConsumedCapacity;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of the tables of a prefix.
#[derive(Debug)]
pub(super) struct Meter([Table; 4]);

#[derive(Debug)]
struct Table {
    name: String,
    reported: AtomicU64,
    computed: AtomicU64,
}

impl Meter {
    pub(super) fn new(names: &Names) -> Self {
        let table = |(name, _): (&str, _)| Table {
            name: name.to_owned(),
            reported: AtomicU64::new(0),
            computed: AtomicU64::new(0),
        };
        Self(names.all().map(table))
    }

    /// A write was answered well; `bytes` of the item count where the service does not say the units.
    pub(super) fn wrote(&self, table: &str, said: Option<&ConsumedCapacity>, bytes: impl FnOnce() -> usize) {
        match said.and_then(|capacity| capacity.capacity_units) {
            // Whole numbers, since no write of ours is a transaction.
            Some(units) if units >= 0.0 => drop(self.table(table).reported.fetch_add(units.ceil() as u64, Relaxed)),
            _ => self.computed(table, bytes()),
        }
    }

    /// A write was refused by its condition, of an item of so many bytes.
    pub(super) fn computed(&self, table: &str, bytes: usize) {
        self.table(table).computed.fetch_add(weight::units(bytes), Relaxed);
    }

    pub(super) fn read(&self) -> Vec<WriteUnits> {
        let units = |t: &Table| WriteUnits {
            table: t.name.clone(),
            reported: t.reported.load(Relaxed),
            computed: t.computed.load(Relaxed),
        };
        self.0.iter().map(units).collect()
    }

    fn table(&self, name: &str) -> &Table {
        self.0.iter().find(|t| t.name == name).expect("one of the four tables is written to")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_service_says_and_what_is_computed_stand_apart() {
        let meter = Meter::new(&Names::new("prod").expect("a prefix"));
        let said = ConsumedCapacity::builder().capacity_units(3.0).build();
        meter.wrote("prod-rows", Some(&said), || panic!("it was said"));
        meter.wrote("prod-rows", None, || 1_025);
        meter.wrote("prod-lanes", Some(&ConsumedCapacity::builder().build()), || 1);
        meter.computed("prod-rows", 10);
        let seen: Vec<_> = meter.read().into_iter().map(|u| (u.table, u.reported, u.computed)).collect();
        let table = |name: &str, reported, computed| (name.to_owned(), reported, computed);
        assert_eq!(
            seen,
            [table("prod-rows", 3, 3), table("prod-late", 0, 0), table("prod-dead", 0, 0), table("prod-lanes", 0, 1)]
        );
    }
}
