//! What a run's writing has cost, in a sentence and as JSON.
//!
//! Invariants
//! - What was computed rather than said by the service is called computed.
//!
//! Not here: where the numbers come from (`store::dynamodb`).

use crate::live::Stats;
use crate::store::WriteUnits;
use serde::Serialize;

/// Costs of a run into a store that charges for writing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Costs {
    /// Units of all tables.
    pub total: u64,
    /// Of them: computed from the sizes of items, since the service did not say.
    pub computed: u64,
    /// For a million of the records read; `None` where none was.
    pub per_million_records: Option<u64>,
    /// By table.
    pub tables: Vec<WriteUnits>,
}

impl Costs {
    /// The costs so far; `None` for a store that does not charge.
    pub fn of(stats: &Stats) -> Option<Self> {
        Self::new(stats.write_units.clone(), stats.account.account().read)
    }

    fn new(tables: Vec<WriteUnits>, read: u64) -> Option<Self> {
        let computed = tables.iter().map(|t| t.computed).sum();
        let total = tables.iter().map(|t| t.reported).sum::<u64>() + computed;
        let of_million = (u128::from(total) * 1_000_000).checked_div(u128::from(read));
        let per_million_records = of_million.and_then(|units| u64::try_from(units).ok());
        (!tables.is_empty()).then_some(Self { total, computed, per_million_records, tables })
    }

    /// The end of a run's summary.
    pub fn sentence(&self) -> String {
        let per_million = self.per_million_records.map_or_else(String::new, |n| format!(", {n} per million records"));
        let computed = match self.computed {
            0 => String::new(),
            n => format!(" ({n} of them computed from items' sizes)"),
        };
        format!("; {} write units{per_million}{computed}", self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_told_for_a_million_records() {
        let table = |table: &str, reported, computed| WriteUnits { table: table.into(), reported, computed };
        let costs = Costs::new(vec![table("p-rows", 700, 0), table("p-lanes", 300, 20)], 5_000).expect("it charges");
        assert_eq!((costs.total, costs.computed, costs.per_million_records), (1_020, 20, Some(204_000)));
        let text = costs.sentence();
        assert_eq!(text, "; 1020 write units, 204000 per million records (20 of them computed from items' sizes)");
        let idle = Costs::new(vec![table("p-rows", 8, 0)], 0).expect("it charges");
        assert_eq!(idle.sentence(), "; 8 write units");
        assert_eq!(Costs::new(vec![], 10), None, "a file is written for nothing");
    }
}
