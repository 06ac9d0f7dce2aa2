//! Which columns people asked for, and which stand in the rows for a mean or variance.
//!
//! ```text
//! watch = { mean = "ms" }        ->  columns watch_sum, watch_count             and `watch`, derived from both
//! watch = { variance = "ms" }    ->  columns watch_sum, watch_count, watch_squares
//! ```
//! Invariants
//! - `made` and `owners` are each other's inverse: what the one writes the other recognises, and nothing else.
//!
//! Not here: how a derived number is computed (`rows`).

use super::{Derived, Formula, Op, Spec};
#[cfg(feature = "text")]
use super::{Measure, Path};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// What is made of one field's values without columns of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Sum and count.
    Mean,
    /// Sum, count and squares.
    Variance,
}

impl Moment {
    pub(crate) fn of(f: &Formula) -> Self {
        match f {
            Formula::Mean { .. } => Self::Mean,
            Formula::Variance { .. } => Self::Variance,
        }
    }

    /// As people write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Variance => "variance",
        }
    }

    /// The endings of its columns' names, in their order.
    pub(crate) fn endings(self) -> &'static [(&'static str, Op)] {
        let all = &[("_sum", Op::Sum), ("_count", Op::Count), ("_squares", Op::Squares)];
        match self {
            Self::Mean => &all[..2],
            Self::Variance => all,
        }
    }

    /// Out of columns in the order of `endings`.
    #[cfg(feature = "text")]
    pub(crate) fn formula(self, columns: [u32; 3]) -> Formula {
        let [sum, count, squares] = columns;
        match self {
            Self::Mean => Formula::Mean { sum, count },
            Self::Variance => Formula::Variance { sum, count, squares },
        }
    }
}

impl Formula {
    /// Its columns with the words that people write before them, in the order of `Moment::endings`.
    pub(crate) fn columns(&self) -> Vec<(&'static str, Op, u32)> {
        match *self {
            Self::Mean { sum, count } => vec![("sum", Op::Sum, sum), ("count", Op::Count, count)],
            Self::Variance { sum, count, squares } => {
                vec![("sum", Op::Sum, sum), ("count", Op::Count, count), ("squares", Op::Squares, squares)]
            }
        }
    }
}

/// The columns of a mean or variance of a field.
#[cfg(feature = "text")]
pub(crate) fn made(moment: Moment, name: &str, field: &Path, scale: Option<u32>) -> Vec<Measure> {
    let column = |(ending, op): &(&str, Op)| Measure {
        name: format!("{name}{ending}"),
        op: *op,
        field: Some(field.clone()),
        scale: scale.filter(|_| *op != Op::Count),
    };
    moment.endings().iter().map(column).collect()
}

/// For each column the derived number that it was made for, if it was.
pub(crate) fn owners(s: &Spec) -> Vec<Option<&Derived>> {
    let mut owners = vec![None; s.measures.len()];
    for d in &s.derived {
        if let Some(first) = made_for(s, d) {
            owners[first..][..Moment::of(&d.of).endings().len()].fill(Some(d));
        }
    }
    owners
}

/// The first of the columns that were made for a derived number, if they were.
pub(crate) fn made_for(s: &Spec, d: &Derived) -> Option<usize> {
    let columns = d.of.columns();
    let first = columns[0].2;
    let side_by_side = columns.iter().enumerate().all(|(i, (_, _, column))| *column as usize == first as usize + i);
    let own = s.measures.get(first as usize..)?.get(..columns.len()).filter(|_| side_by_side)?;
    let (field, scale) = (own[0].field.as_ref()?, own[0].scale);
    let alike = own.iter().zip(Moment::of(&d.of).endings()).all(|(m, (ending, op))| {
        let named = m.name.strip_suffix(ending) == Some(d.name.as_str());
        named && m.op == *op && m.field.as_ref() == Some(field) && m.scale == scale.filter(|_| *op != Op::Count)
    });
    alike.then_some(first as usize)
}

/// The name of a column, for messages about specs whose indexes may be wrong.
pub(crate) fn name(s: &Spec, column: u32) -> String {
    s.measures.get(column as usize).map_or_else(|| format!("column {column}"), |m| m.name.clone())
}
