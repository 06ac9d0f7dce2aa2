//! Which filters and computed fields make sense.
//!
//! Not here: what an expression is (`crate::expr`); its place in the text, where it came from one (`text`).

use super::{NAME, Problems, is_name, limits, quoted, wanted};
use crate::expr::{Expression, Wanted};
use crate::policy::Spec;
use alloc::format;
use alloc::string::String;

impl Problems {
    #[inline(never)]
    pub(super) fn expressions(&mut self, s: &Spec) {
        if s.fields.len() > limits::COMPUTED_MAX {
            return self.value("fields", format_args!("{} computed fields", s.fields.len()), "at most 16");
        }
        if let Some(filter) = &s.filter {
            self.expression("where", filter, Wanted::Truth);
        }
        for (i, f) in s.fields.iter().enumerate() {
            let at = field_at(&f.name);
            if !is_name(&f.name) {
                self.name(&at, quoted(&f.name), NAME);
            }
            if s.fields[..i].iter().any(|g| g.name == f.name) {
                self.name(&at, format_args!("the name {} twice", quoted(&f.name)), "each computed field's name once");
            }
            self.expression(&at, &f.value, Wanted::Value);
            self.used(s, &f.name, &at);
        }
    }

    #[inline(never)]
    fn expression(&mut self, at: &str, e: &Expression, wanted: Wanted) {
        if let Err(wrong) = e.check(wanted) {
            return self.value(at, wrong.found, wrong.expected);
        }
        e.wants().into_iter().for_each(|p| self.path(at, p));
    }

    /// Keys and measures have computed fields; times are the record's own.
    #[inline(never)]
    fn used(&mut self, s: &Spec, name: &str, at: &str) {
        let mut used = false;
        for (field, _) in wanted(s).iter().filter(|(_, p)| p.len() == 1 && p[0] == name) {
            // Expressions know the record's fields alone.
            let expression = field == "where" || field.starts_with("fields.");
            if field.starts_with("input.key") || field.starts_with("measures.") {
                used = true;
            } else if !expression {
                let expected = "a field of the record itself: computed ones are for keys and measures";
                self.value(field, quoted(name), expected);
            }
        }
        if !used {
            let found = format_args!("the computed field {}, which nothing uses", quoted(name));
            self.name(at, found, "a key or measure of it");
        }
    }
}

/// The filter and the computed fields, each with its place in people's text.
#[inline(never)]
pub(super) fn all(s: &Spec) -> impl Iterator<Item = (String, &Expression)> {
    let filter = s.filter.iter().map(|e| (String::from("where"), e));
    filter.chain(s.fields.iter().map(|f| (field_at(&f.name), &f.value)))
}

#[inline(never)]
fn field_at(name: &str) -> String {
    format!("fields.{name}")
}
