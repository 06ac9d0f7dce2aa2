//! Which columns, derived numbers and kept values make sense beside each other.
//!
//! Invariants
//! - Columns that were made for a mean or variance are spoken of as that: people never wrote them.

use super::{NAME, Problems, cut, is_name, is_row_column, limits, measure_at, operand_at, quoted, row_columns, shown};
use crate::policy::columns::{self, Moment};
use crate::policy::{Derived, Keep, Kept, Measure, Op, Path, Spec};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

impl Problems {
    #[inline(never)]
    pub(super) fn measures(&mut self, s: &Spec) {
        let n = s.measures.len();
        if n == 0 || n > limits::MEASURES_MAX {
            let counted = if s.derived.is_empty() { "" } else { "; a mean counts for 2 of them, a variance for 3" };
            let beside = if s.kept.is_empty() || n > 0 { "" } else { "; what only panes hold comes beside them" };
            self.value("measures", format_args!("{n} measures"), format_args!("1 to 32 measures{counted}{beside}"));
        }
        self.names(s);
        let owners = columns::owners(s);
        let mut checked = "";
        for (m, owner) in s.measures.iter().zip(&owners) {
            // The columns of one mean have one field: what is wrong with it is said once.
            if owner.is_some_and(|d| core::mem::replace(&mut checked, &d.name) == d.name) {
                continue;
            }
            match (m.op, &m.field) {
                (Op::Count, None) => {}
                (_, None) => self.value(&measure_at(&m.name), "no field", "a field, like { sum = \"impressions\" }"),
                (_, Some(p)) => self.path(&operand_at(m, *owner), p),
            }
            self.scale(m, *owner);
        }
        self.derived(s);
        self.kept(s);
    }

    /// Columns, derived numbers and kept values share one space of names.
    #[inline(never)]
    fn names(&mut self, s: &Spec) {
        // Names of columns do not tell capitals from small letters in SQL.
        let mut names: Vec<(String, &str)> = Vec::new();
        let columns = s.measures.iter().zip(columns::owners(s)).map(|(m, owner)| (&m.name, owner));
        let others = s.derived.iter().map(|d| &d.name).chain(s.kept.iter().map(|k| &k.name));
        // More are refused anyway, and comparing them all would take long.
        let most = limits::MEASURES_MAX + limits::DERIVED_MAX + limits::KEPT_MAX;
        for (name, owner) in columns.chain(others.map(|name| (name, None))).take(most) {
            let at = measure_at(owner.map_or(name, |d| &d.name));
            let lower = name.to_ascii_lowercase();
            // A made name is as good as the one it is made of, if not too long.
            if !is_name(name) && owner.is_none_or(|d| is_name(&d.name)) {
                self.name(&at, quoted(name), NAME);
            }
            if is_row_column(&lower, s) {
                self.name(&at, quoted(name), format_args!("a name other than {}", row_columns(s)));
            }
            // More key fields are refused anyway, and comparing them all with each measure would take long.
            let mut key = s.input.key.iter().take(limits::KEY_FIELDS_MAX);
            if let Some(p) = key.find(|p| p.last().is_some_and(|c| c.eq_ignore_ascii_case(&lower))) {
                let expected = format!("a name that is not a column of the key, as `{}` is", shown(p));
                self.name(&at, quoted(name), &expected);
            }
            let other = names.iter().rev().find(|(l, _)| *l == lower).map(|(_, name)| *name);
            names.push((lower, name));
            match other {
                None => {}
                Some(o) if o == name => {
                    self.name(&at, format_args!("the name {} twice", quoted(name)), "each measure's name once")
                }
                Some(o) => self.name(
                    &at,
                    format_args!("{} beside `{}`", quoted(name), cut(o)),
                    "names that differ in more than capitals: SQL does not tell them apart",
                ),
            }
        }
    }

    #[inline(never)]
    fn scale(&mut self, m: &Measure, owner: Option<&Derived>) {
        let at = || format!("{}.scale", operand_at(m, owner));
        match m.scale {
            Some(_) if m.op == Op::Count => self.value(&at(), "a scale", "none: a count has no decimals"),
            Some(n) if n > limits::SCALE_MAX => self.value(&at(), n, "0 to 18 decimals"),
            _ => {}
        }
    }

    #[inline(never)]
    fn derived(&mut self, s: &Spec) {
        if s.derived.len() > limits::DERIVED_MAX {
            self.value("measures", format_args!("{} means and variances", s.derived.len()), "at most 32 of them");
        }
        for d in &s.derived {
            self.formula(s, d);
        }
    }

    #[inline(never)]
    fn formula(&mut self, s: &Spec, d: &Derived) {
        let moment = Moment::of(&d.of);
        let mut fields: [Option<(&Path, Option<u32>)>; 3] = [None; 3];
        for (i, (word, op, column)) in d.of.columns().into_iter().enumerate() {
            let measure = s.measures.get(column as usize);
            fields[i] = measure.and_then(|m| Some((m.field.as_ref()?, m.scale)));
            if measure.is_none_or(|m| m.op != op) {
                let at = format!("measures.{}.{}.{word}", d.name, moment.name());
                let expected = match op {
                    Op::Count => "the name of a count",
                    Op::Squares => "the name of a sum of squares",
                    _ => "the name of a sum",
                };
                self.value(&at, quoted(&columns::name(s, column)), expected);
            }
        }
        if let (Moment::Variance, [Some(of_sum), _, Some(of_squares)]) = (moment, fields)
            && of_sum != of_squares
        {
            let at = format!("measures.{}.variance.squares", d.name);
            let scale = if of_sum.0 == of_squares.0 { ", with its scale" } else { "" };
            self.value(
                &at,
                quoted(&of_squares.0.join(".")),
                format_args!("squares of what is summed, `{}`{scale}", shown(of_sum.0)),
            );
        }
    }

    #[inline(never)]
    fn kept(&mut self, s: &Spec) {
        if s.kept.len() > limits::KEPT_MAX {
            let found = format!("{} values that only panes hold", s.kept.len());
            self.value("measures", found, "at most 8 of first, last, list, distinct, quantile and top_k");
        }
        for k in s.kept.iter().take(limits::KEPT_MAX) {
            let at = measure_at(&k.name);
            let op = keep_name(k);
            let field = kept_at(k);
            self.path(&field, &k.field);
            let most = |n: u32| (1..=limits::LIST_MAX).contains(&n);
            match k.what {
                Keep::List { most: n } if !most(n) => self.value(&format!("{at}.list.most"), n, "1 to 10000 values"),
                Keep::TopK { k: n } if !most(n) => self.value(&format!("{at}.top_k.k"), n, "1 to 10000 values"),
                Keep::Quantile { q_milli } if q_milli > 1_000 => {
                    let found = format!("{}.{:03}", q_milli / 1_000, q_milli % 1_000);
                    self.value(&format!("{at}.quantile.q"), found, "between 0 and 1");
                }
                _ => {}
            }
            if s.panes.is_none() {
                let expected = "a measure that adds up over batches (count, sum, min, max, squares, mean or variance), \
                                or a [trigger]: only panes hold such a value";
                self.value(&at, format_args!("\"{op}\""), expected);
            }
        }
    }
}

#[inline(never)]
pub(super) fn keep_name(k: &Kept) -> &'static str {
    match k.what {
        Keep::First => "first",
        Keep::Last => "last",
        Keep::List { .. } => "list",
        Keep::Distinct => "distinct",
        Keep::Quantile { .. } => "quantile",
        Keep::TopK { .. } => "top_k",
    }
}

/// Where its field is written.
#[inline(never)]
pub(super) fn kept_at(k: &Kept) -> String {
    let below = if matches!(k.what, Keep::First | Keep::Last | Keep::Distinct) { "" } else { ".field" };
    format!("{}.{}{below}", measure_at(&k.name), keep_name(k))
}
