//! `where` and `[fields]` as types.

use super::Name;
use crate::expr::{Expression, limits as bounds};
use crate::policy::{Computed, limits};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use std::borrow::Cow;

/// An expression in a part of CEL, the Common Expression Language, as text.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "expression", transparent)]
pub(super) struct ExpressionDocument(#[schemars(length(min = 1, max = bounds::TEXT_BYTES_MAX))] String);

/// Computed fields by name.
#[derive(Debug)]
pub(super) struct Fields(Vec<(String, ExpressionDocument)>);

impl ExpressionDocument {
    pub(super) fn of(e: &Expression) -> Self {
        Self(e.to_string())
    }
}

impl Fields {
    pub(super) fn of(fields: &[Computed]) -> Self {
        Self(fields.iter().map(|f| (f.name.clone(), ExpressionDocument::of(&f.value))).collect())
    }

    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(self.0.len()))?;
        for (name, expression) in &self.0 {
            map.serialize_entry(name, expression)?;
        }
        map.end()
    }
}

impl JsonSchema for Fields {
    fn schema_name() -> Cow<'static, str> {
        "computed".into()
    }

    fn json_schema(g: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "Computed fields by name.",
            "propertyNames": g.subschema_for::<Name>(),
            "additionalProperties": g.subschema_for::<ExpressionDocument>(),
            "maxProperties": limits::COMPUTED_MAX,
            "examples": [{ "site": "has(site) ? site : \"none\"", "seconds": "watch_ms / 1000" }],
        })
    }
}
