//! A policy's filter and computed fields, for record after record.
//!
//! Computed values stand in slots of their own behind those of the record's fields; the texts among them are written into
//! a buffer that these slots point into. They count as texts with escapes, so that the usual way past the slots is that of
//! the record's own fields.
//!
//! Invariants
//! - No allocation per record on the common path: the buffers here are reused.
//! - A record that the filter leaves out has none of its fields computed: they may make no sense of it.
//!
//! Not here: what an expression comes to (`crate::expr`).

use crate::account::Reason;
use crate::expr::{Machine, Record, Value};
use crate::json::{self, Slot};
use crate::policy::{Path, Spec};
use alloc::vec::Vec;

/// The expressions of one policy.
pub(super) struct Computing {
    filter: Option<Machine>,
    fields: Vec<Machine>,
    /// How many fields are the record's own, and which of them expressions name.
    own: usize,
    used: Vec<u16>,
    /// Texts whose escapes have been resolved, and where by field.
    plain: Vec<u8>,
    escaped: Vec<(u32, u32)>,
    /// Computed texts, as bodies of JSON strings.
    texts: Vec<u8>,
}

/// What the expressions say of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    LeftOut,
    /// And which field is to blame, if one is.
    Faulty(Reason, Option<u16>),
}

impl Computing {
    pub(super) fn new(spec: &Spec, own: usize, slot: &dyn Fn(&Path) -> usize) -> Self {
        let expressions = spec.filter.iter().chain(spec.fields.iter().map(|f| &f.value));
        let mut used: Vec<u16> = Vec::new();
        expressions.for_each(|e| used.extend(e.wants().into_iter().map(|p| slot(p) as u16)));
        Self {
            filter: spec.filter.as_ref().map(|e| Machine::new(e, slot)),
            fields: spec.fields.iter().map(|f| Machine::new(&f.value, slot)).collect(),
            own,
            plain: Vec::new(),
            escaped: alloc::vec![(0, 0); own],
            texts: Vec::new(),
            used,
        }
    }

    /// What the slots of computed fields point into.
    pub(super) fn texts(&self) -> &[u8] {
        &self.texts
    }

    /// Asks the filter, and fills the slots of computed fields.
    pub(super) fn record(&mut self, buf: &[u8], slots: &mut [Slot]) -> Verdict {
        let (slots, computed) = slots.split_at_mut(self.own);
        self.resolve(buf, slots);
        let record = Record { buf, slots, plain: &self.plain, escaped: &self.escaped };
        match self.filter.as_ref().map_or(Value::Bool(true), |filter| filter.value(&record)) {
            Value::Bool(true) => {}
            Value::Bool(false) => return Verdict::LeftOut,
            Value::Error(field) => return Verdict::Faulty(Reason::FilterError, field),
            _ => return Verdict::Faulty(Reason::FilterError, None),
        }
        self.texts.clear();
        for (i, (machine, slot)) in self.fields.iter().zip(computed).enumerate() {
            *slot = match machine.value(&record) {
                Value::Null => Slot::Null,
                Value::Bool(b) => Slot::Bool(b),
                Value::Int(n) => Slot::Int(n),
                Value::Text(text) => {
                    let start = self.texts.len() as u32;
                    json::write_escaped(text, &mut self.texts);
                    Slot::Str { start, end: self.texts.len() as u32, escaped: true }
                }
                Value::Error(_) | Value::Number(_) | Value::Compound => {
                    return Verdict::Faulty(Reason::ComputedError, Some((self.own + i) as u16));
                }
            };
        }
        Verdict::Passed
    }

    /// Resolves the escapes of texts. They are few.
    #[inline]
    fn resolve(&mut self, buf: &[u8], slots: &[Slot]) {
        self.plain.clear();
        for used in &self.used {
            let used = usize::from(*used);
            if let Slot::Str { start, end, escaped: true } = slots[used] {
                let from = self.plain.len() as u32;
                // The scanner has seen that they are well formed.
                let resolved = json::unescape(&buf[start as usize..end as usize], &mut self.plain);
                assert!(resolved.is_ok(), "a text that was scanned has a bad escape");
                self.escaped[used] = (from, self.plain.len() as u32);
            }
        }
    }
}
