//! `[measures]` as types.

use super::{Name, PathDocument, Thousandths};
use crate::policy::columns::{self, Moment};
use crate::policy::{Derived, Keep, Kept, Measure, Op, Spec, limits};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use std::borrow::Cow;

/// What is computed, by the name of the rows' column.
#[derive(Debug)]
pub(super) struct Measures(Vec<(String, MeasureDocument)>);

/// `"count"`, or a measure of a field. On integers, exactly; `distinct`, `quantile` and `top_k` become estimates
/// where there are many different values.
/// The last six need panes: a `[trigger]`, or sessions.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "measure")]
enum MeasureDocument {
    /// How many records.
    Count(Count),
    /// A measure of a field.
    Of(Operation),
}

/// How many records.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Count {
    /// How many records.
    Count,
}

/// A measure of a field.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Operation {
    /// How many records have a value there that is not null, of any type.
    Count(PathDocument),
    /// The sum of the field's values.
    Sum(NumberDocument),
    /// The least value.
    Min(NumberDocument),
    /// The greatest value.
    Max(NumberDocument),
    /// The sum of the squares of the field's values. A record with a value beyond ±3,037,000,499, whose square does not
    /// fit 64 bits, is rejected as `out_of_range`.
    Squares(NumberDocument),
    /// The mean, shown out of a sum and a count: of a field, whose columns are `NAME_sum` and `NAME_count` then, or out of
    /// two other measures by their names.
    Mean(MeanDocument),
    /// The variance of the whole (not an estimate from a sample), shown out of a sum, a count and the squares: of a
    /// field, whose columns are `NAME_sum`, `NAME_count` and `NAME_squares` then, with the bound of `squares`; or out of
    /// three other measures by their names.
    Variance(VarianceDocument),
    /// The value of the earliest event time; of the first to come where two are as early.
    First(PathDocument),
    /// The value of the latest event time; of the last to come where two are as late.
    Last(PathDocument),
    /// The values in the order they came, at most `most`; how many were left out is told.
    List(List),
    /// How many different values: exact up to 512 of them, beyond that an estimate with a standard error of 1.6 %.
    Distinct(PathDocument),
    /// A quantile of the numbers; `q` is 0.5 for the median. Exact up to 2,048 different values; beyond that an estimate
    /// that is off by 0.8 % for values from 0 to 2^32, and never by more than 3.2 %.
    Quantile(Quantile),
    /// The `k` most frequent values with their counts. Exact up to 1,000 different values, or 2k where that is more;
    /// beyond that a count may be too small by at most n / (that number + 1) where n values came.
    TopK(TopK),
}

/// Integers, or decimals of a scale.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
enum NumberDocument {
    /// Integers.
    Of(PathDocument),
    /// Decimals.
    Scaled(Scaled),
}

/// Decimal numbers, exactly: 12.34, "12.34" and 12 with two decimals. A record with more decimals is rejected as
/// `too_precise`; nothing is rounded.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "scaled")]
struct Scaled {
    /// Whose values.
    field: PathDocument,
    /// How many decimals they have at most.
    #[schemars(range(min = 0, max = limits::SCALE_MAX))]
    scale: u32,
}

/// Of a field, or out of other measures.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
enum MeanDocument {
    /// Of a field.
    Of(PathDocument),
    /// Of a field's decimals.
    Scaled(Scaled),
    /// Out of other measures.
    From(ColumnsOfMean),
}

/// Of a field, or out of other measures.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
enum VarianceDocument {
    /// Of a field.
    Of(PathDocument),
    /// Of a field's decimals.
    Scaled(Scaled),
    /// Out of other measures.
    From(ColumnsOfVariance),
}

/// The measures that a mean is made of.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "columns_of_mean")]
struct ColumnsOfMean {
    /// Name of a sum.
    sum: Name,
    /// Name of a count.
    count: Name,
}

/// The measures that a variance is made of.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "columns_of_variance")]
struct ColumnsOfVariance {
    /// Name of a sum.
    sum: Name,
    /// Name of a count.
    count: Name,
    /// Name of the squares of the same field.
    squares: Name,
}

/// Values in the order they came.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "list")]
struct List {
    /// Whose values.
    field: PathDocument,
    /// How many at most.
    #[schemars(range(min = 1, max = limits::LIST_MAX))]
    most: u32,
}

/// A quantile.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "quantile")]
struct Quantile {
    /// Of whose values.
    field: PathDocument,
    /// Which, from 0 to 1 in at most three decimals.
    #[schemars(with = "f64", range(min = 0, max = 1))]
    q: Thousandths,
}

/// The most frequent values.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "top_k")]
struct TopK {
    /// Whose values.
    field: PathDocument,
    /// How many.
    #[schemars(range(min = 1, max = limits::LIST_MAX))]
    k: u32,
}

impl Serialize for Measures {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(self.0.len()))?;
        for (name, measure) in &self.0 {
            map.serialize_entry(name, measure)?;
        }
        map.end()
    }
}

impl JsonSchema for Measures {
    fn schema_name() -> Cow<'static, str> {
        "measures".into()
    }

    fn json_schema(g: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "What is computed, by the name of the rows' column; columns have the order of the text.",
            "propertyNames": g.subschema_for::<Name>(),
            "additionalProperties": g.subschema_for::<MeasureDocument>(),
            "minProperties": 1,
            "maxProperties": limits::MEASURES_MAX + limits::DERIVED_MAX + limits::KEPT_MAX,
            "examples": [{ "events": "count", "impressions": { "sum": "impressions" }, "longest": { "max": "watch_ms" } }],
        })
    }
}

impl Measures {
    /// All measures, so that reading them gives columns, derived numbers and kept values in the same order.
    pub(super) fn of(s: &Spec) -> Self {
        let mut all = Vec::new();
        let mut written = 0;
        let columns = |all: &mut Vec<(String, MeasureDocument)>, range: &[Measure]| {
            all.extend(range.iter().map(|m| (m.name.clone(), MeasureDocument::of(m))));
        };
        for d in &s.derived {
            let moment = Moment::of(&d.of);
            // One whose columns stand before what is written already, names them as others do.
            let own = columns::made_for(s, d).filter(|first| *first >= written);
            if let Some(first) = own {
                columns(&mut all, &s.measures[written..first]);
                written = first + moment.endings().len();
            }
            all.push((d.name.clone(), MeasureDocument::derived(s, d, own.is_some())));
        }
        columns(&mut all, &s.measures[written..]);
        all.extend(s.kept.iter().map(|k| (k.name.clone(), MeasureDocument::kept(k))));
        Self(all)
    }
}

impl NumberDocument {
    fn of(field: PathDocument, scale: Option<u32>) -> Self {
        match scale {
            None => Self::Of(field),
            Some(scale) => Self::Scaled(Scaled { field, scale }),
        }
    }
}

impl MeasureDocument {
    fn of(m: &Measure) -> Self {
        let Some(p) = m.field.as_ref().map(PathDocument::of) else { return Self::Count(Count::Count) };
        Self::Of(match m.op {
            Op::Count => Operation::Count(p),
            Op::Sum => Operation::Sum(NumberDocument::of(p, m.scale)),
            Op::Min => Operation::Min(NumberDocument::of(p, m.scale)),
            Op::Max => Operation::Max(NumberDocument::of(p, m.scale)),
            Op::Squares => Operation::Squares(NumberDocument::of(p, m.scale)),
        })
    }

    fn derived(s: &Spec, d: &Derived, own: bool) -> Self {
        let columns = d.of.columns();
        let name = |i: usize| Name(columns::name(s, columns[i].2));
        let column = &s.measures[columns[0].2 as usize];
        let field = column.field.as_ref().filter(|_| own).map(PathDocument::of);
        Self::Of(match (Moment::of(&d.of), field, column.scale) {
            (Moment::Mean, Some(p), None) => Operation::Mean(MeanDocument::Of(p)),
            (Moment::Mean, Some(field), Some(scale)) => Operation::Mean(MeanDocument::Scaled(Scaled { field, scale })),
            (Moment::Mean, None, _) => {
                Operation::Mean(MeanDocument::From(ColumnsOfMean { sum: name(0), count: name(1) }))
            }
            (Moment::Variance, Some(p), None) => Operation::Variance(VarianceDocument::Of(p)),
            (Moment::Variance, Some(field), Some(scale)) => {
                Operation::Variance(VarianceDocument::Scaled(Scaled { field, scale }))
            }
            (Moment::Variance, None, _) => Operation::Variance(VarianceDocument::From(ColumnsOfVariance {
                sum: name(0),
                count: name(1),
                squares: name(2),
            })),
        })
    }

    fn kept(k: &Kept) -> Self {
        let p = PathDocument::of(&k.field);
        Self::Of(match k.what {
            Keep::First => Operation::First(p),
            Keep::Last => Operation::Last(p),
            Keep::List { most } => Operation::List(List { field: p, most }),
            Keep::Distinct => Operation::Distinct(p),
            Keep::Quantile { q_milli } => Operation::Quantile(Quantile { field: p, q: Thousandths(q_milli) }),
            Keep::TopK { k } => Operation::TopK(TopK { field: p, k }),
        })
    }
}
