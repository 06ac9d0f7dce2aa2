//! What each reason and each class of the account means, in one sentence each.
//!
//! Codes and names are stable (`core::account`); the sentences are for people.

use plimsoll_core::account::{Account, Reason};
use serde_json::{Value, json};

/// Why records are set aside for this reason, and the mend.
pub fn meaning(reason: Reason) -> &'static str {
    match reason {
        Reason::Malformed => "The record is not one JSON object; mend the producer.",
        Reason::MissingField => "A field that the policy wants is not there.",
        Reason::WrongType => "A field that the policy wants holds another type.",
        Reason::NotInteger => "A measure's value has a fraction or an exponent; say `scale` for decimals.",
        Reason::OutOfRange => "A number does not fit 64 bits.",
        Reason::BadTime => "The time's text is no time.",
        Reason::UnitSuspect => {
            "The time looks like another unit than `input.time.unit` says, seconds for milliseconds."
        }
        Reason::DuplicateField => "A field that the policy wants stands twice, and nobody can say which one is meant.",
        Reason::TooLong => "The record is longer than `limits.record_bytes`.",
        Reason::KeyTooLong => "The key's text is longer than `limits.key_bytes`.",
        Reason::BadUtf8 => "The record's bytes are no UTF-8.",
        Reason::TooDeep => "The record is nested deeper than 64 levels.",
        Reason::NoRoom => "As many windows wait for triggers as `trigger.open_max` allows.",
        Reason::FilterError => "The filter `where` is neither true nor false for it.",
        Reason::ComputedError => "A computed field has no value for it.",
        Reason::TooPrecise => "A number has more decimals than the measure's `scale`.",
        Reason::Future => "The device's clock runs further ahead of the arrival than `watermark.max_future` allows.",
        Reason::Late => "It came behind the watermark, and the policy sends such records to the dead letters.",
        Reason::ModuleTrap => "The module stopped on it: a fault of the module.",
        Reason::ModuleOutOfTime => "The module did not come to an end on it: a fault of the module.",
        _ => "A reason that this version does not know.",
    }
}

/// The reason with this name.
pub fn by_name(name: &str) -> Result<Reason, String> {
    Reason::ALL.into_iter().find(|r| r.name() == name).ok_or_else(|| {
        let known: Vec<_> = Reason::ALL.iter().map(|r| r.name()).collect();
        format!("no such reason; there are {}", known.join(", "))
    })
}

/// Counts by reason, with their stable codes.
pub fn counts<'a>(counts: impl IntoIterator<Item = (&'a Reason, &'a u64)>) -> Vec<Value> {
    let object = |(reason, count): (&Reason, &u64)| json!({ "code": *reason as u16, "reason": reason.name(), "count": count, "meaning": meaning(*reason) });
    counts.into_iter().map(object).collect()
}

/// An account in one line: the classes that hold something.
pub fn account(a: &Account) -> String {
    let mut out = format!("read {}, counted {}", a.read, a.counted);
    let classes = [
        ("late", a.late),
        ("future", a.future),
        ("rejected", a.rejected),
        ("filtered", a.filtered),
        ("duplicate", a.duplicate),
    ];
    for (name, n) in classes.into_iter().filter(|(_, n)| *n > 0) {
        out.push_str(&format!(", {name} {n}"));
    }
    out
}
