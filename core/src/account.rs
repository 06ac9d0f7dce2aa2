//! Where every record went: the accounting that must add up (semantics S7).
//!
//! ```text
//! read = counted + late + future + rejected + filtered + duplicate
//! ```
//! Records still in flight have not been read by the engine yet and stand in no column.
//!
//! Invariants
//! - Each record is counted in exactly one class, before any aggregation.
//! - The reasons of rejection add up to `rejected`.

use alloc::collections::BTreeMap;
use serde::{Deserialize, Serialize};

/// Why a record became a dead letter. Part of the wire format: append, never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u16)]
#[non_exhaustive]
pub enum Reason {
    /// Not one JSON object.
    Malformed = 1,
    /// A wanted field is not there.
    MissingField = 2,
    /// A wanted field holds a value of another type.
    WrongType = 3,
    /// A number with a fraction or exponent where an integer is wanted.
    NotInteger = 4,
    /// An integer outside the 64-bit range.
    OutOfRange = 5,
    /// A text that is no time.
    BadTime = 6,
    /// A time that looks like another unit than the declared one.
    UnitSuspect = 7,
    /// A wanted field stands twice.
    DuplicateField = 8,
    /// Longer than `limits.record_bytes`.
    TooLong = 9,
    /// Its key is longer than `limits.key_bytes`.
    KeyTooLong = 10,
    /// Bytes that are no UTF-8.
    BadUtf8 = 11,
    /// Nested deeper than the scanner goes.
    TooDeep = 12,
    /// No room for another open window (`trigger.open_max`).
    NoRoom = 13,
    /// The filter is neither true nor false for it.
    FilterError = 14,
    /// A computed field has no value for it.
    ComputedError = 15,
    /// A number with more decimals than the measure's scale.
    TooPrecise = 16,
    /// Its clock runs too far ahead of its arrival (class `future`, not `rejected`).
    Future = 20,
    /// Behind the watermark, where the policy sends such records here (class `late`, not `rejected`).
    Late = 21,
    /// The module trapped on it (said by the host).
    ModuleTrap = 30,
    /// The module did not end on it (said by the host).
    ModuleOutOfTime = 31,
}

impl Reason {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 20] = [
        Self::Malformed,
        Self::MissingField,
        Self::WrongType,
        Self::NotInteger,
        Self::OutOfRange,
        Self::BadTime,
        Self::UnitSuspect,
        Self::DuplicateField,
        Self::TooLong,
        Self::KeyTooLong,
        Self::BadUtf8,
        Self::TooDeep,
        Self::NoRoom,
        Self::FilterError,
        Self::ComputedError,
        Self::TooPrecise,
        Self::Future,
        Self::Late,
        Self::ModuleTrap,
        Self::ModuleOutOfTime,
    ];

    /// The reason with this number.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|r| *r as u16 == code)
    }

    /// Its stable name, as in metrics and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::NotInteger => "not_integer",
            Self::OutOfRange => "out_of_range",
            Self::BadTime => "bad_time",
            Self::UnitSuspect => "unit_suspect",
            Self::DuplicateField => "duplicate_field",
            Self::TooLong => "too_long",
            Self::KeyTooLong => "key_too_long",
            Self::BadUtf8 => "bad_utf8",
            Self::TooDeep => "too_deep",
            Self::NoRoom => "no_room",
            Self::FilterError => "filter_error",
            Self::ComputedError => "computed_error",
            Self::TooPrecise => "too_precise",
            Self::Future => "future",
            Self::Late => "late",
            Self::ModuleTrap => "module_trap",
            Self::ModuleOutOfTime => "module_out_of_time",
        }
    }
}

/// How many records went where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Records read.
    pub read: u64,
    /// In main rows.
    pub counted: u64,
    /// Behind the watermark: in the late table, or dropped where the policy says so.
    pub late: u64,
    /// Clock too far ahead, quarantined.
    pub future: u64,
    /// Dead letters of the record's own fault.
    pub rejected: u64,
    /// Left out by the policy's filter, or in no window where windows leave gaps.
    pub filtered: u64,
    /// Seen before, where the policy removes duplicates.
    pub duplicate: u64,
    /// Of `late`: dropped, in no table.
    pub late_dropped: u64,
    /// Of `counted`: behind the watermark and accepted all the same.
    pub late_accepted: u64,
    /// Of `counted`: clock too far ahead, clamped or accepted as the policy says.
    pub future_counted: u64,
    /// Of `counted`: in an overflow row, since the window had as many keys as its budget allows. With windows that overlap:
    /// in at least one.
    #[serde(default)]
    pub overflow: u64,
    /// `rejected` by reason.
    pub reasons: BTreeMap<Reason, u64>,
}

impl Account {
    /// Counts one rejected record.
    pub fn reject(&mut self, reason: Reason) {
        self.rejected += 1;
        *self.reasons.entry(reason).or_default() += 1;
    }

    /// Adds another account to this one.
    pub fn add(&mut self, o: &Self) {
        for (a, b) in self.columns_mut().into_iter().zip(o.columns()) {
            *a += b;
        }
        self.overflow += o.overflow;
        for (reason, n) in &o.reasons {
            *self.reasons.entry(*reason).or_default() += n;
        }
    }

    /// Whether every record is in exactly one class, as far as sums can tell.
    pub fn balanced(&self) -> bool {
        let classes = [self.counted, self.late, self.future, self.rejected, self.filtered, self.duplicate]
            .iter()
            .try_fold(0u64, |a, b| a.checked_add(*b));
        let reasons = self.reasons.values().try_fold(0u64, |a, b| a.checked_add(*b));
        classes == Some(self.read)
            && reasons == Some(self.rejected)
            && self.late_dropped <= self.late
            && self.late_accepted <= self.counted
            && self.future_counted <= self.counted
            && self.overflow <= self.counted
    }

    /// The numbers in wire order; `overflow` has a place of its own.
    pub(crate) fn columns(&self) -> [u64; 10] {
        [
            self.read,
            self.counted,
            self.late,
            self.future,
            self.rejected,
            self.filtered,
            self.duplicate,
            self.late_dropped,
            self.late_accepted,
            self.future_counted,
        ]
    }

    /// The numbers in wire order.
    pub(crate) fn columns_mut(&mut self) -> [&mut u64; 10] {
        [
            &mut self.read,
            &mut self.counted,
            &mut self.late,
            &mut self.future,
            &mut self.rejected,
            &mut self.filtered,
            &mut self.duplicate,
            &mut self.late_dropped,
            &mut self.late_accepted,
            &mut self.future_counted,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_balances_only_when_every_record_has_a_class() {
        let mut a = Account { read: 3, counted: 1, late: 1, ..Account::default() };
        assert!(!a.balanced());
        a.reject(Reason::BadTime);
        assert!(a.balanced());
        a.reasons.clear();
        assert!(!a.balanced(), "reasons must add up too");
    }

    #[test]
    fn reasons_have_distinct_numbers_and_names() {
        for (i, a) in Reason::ALL.iter().enumerate() {
            assert_eq!(Reason::from_code(*a as u16), Some(*a));
            for b in &Reason::ALL[..i] {
                assert!(*a as u16 > *b as u16 && a.name() != b.name());
            }
        }
    }
}
