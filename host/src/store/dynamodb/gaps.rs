//! The gap ledger: items of the table of lanes.
//!
//! Invariant: an entry's first words stay; only its acceptance is added. So writing it again, by whomever, is harmless, and
//! lost replies are repeated by the SDK.

use super::DynamoStore;
use super::item::{self, Item, get_n, get_s, n, s};
use crate::store::gap::{self, Gap, GapKind};
use crate::store::{Layout, StoreError};
use aws_sdk_dynamodb::types::ReturnValue;

impl DynamoStore {
    pub(super) async fn write_gap(&self, layout: &Layout, gap: &Gap) -> Result<Gap, StoreError> {
        let table = &self.names.lanes;
        let mut update = self
            .reader
            .update_item()
            .table_name(table)
            .set_key(Some(item::gap_key(&layout.lane(&gap.lane), gap)))
            .expression_attribute_names("#lane", "lane")
            .expression_attribute_names("#kind", "kind")
            .expression_attribute_names("#found", "found")
            .expression_attribute_names("#ms", "found_ms")
            .expression_attribute_values(":lane", s(&gap.lane))
            .expression_attribute_values(":kind", s(gap.kind.name()))
            .expression_attribute_values(":found", s(&gap.found))
            .expression_attribute_values(":ms", n(gap.found_ms))
            .return_values(ReturnValue::AllNew);
        let mut set = String::from(
            "SET #lane = :lane, #kind = :kind, #found = if_not_exists(#found, :found), #ms = if_not_exists(#ms, :ms)",
        );
        if let Some(position) = &gap.position {
            set.push_str(", #position = :position");
            update = update
                .expression_attribute_names("#position", "position")
                .expression_attribute_values(":position", s(position));
        }
        if let Some(accepted_ms) = gap.accepted_ms {
            set.push_str(", #accepted = if_not_exists(#accepted, :accepted)");
            update = update
                .expression_attribute_names("#accepted", "accepted_ms")
                .expression_attribute_values(":accepted", n(accepted_ms));
        }
        let done = update.update_expression(set).send().await;
        let done = done.map_err(|e| self.asked("UpdateItem", table).failure(&e))?;
        let item = done.attributes.unwrap_or_default();
        entry(&item).ok_or_else(|| self.broken(table, &item))
    }

    pub(super) async fn read_gaps(&self, layout: &Layout) -> Result<Vec<Gap>, StoreError> {
        let table = &self.names.lanes;
        let items = self.query(table, item::gaps_pk(&layout.lane("")), None, usize::MAX).await?;
        let gaps = items.iter().map(|item| entry(item).ok_or_else(|| self.broken(table, item)));
        let mut gaps = gaps.collect::<Result<Vec<_>, _>>()?;
        gap::sort(&mut gaps);
        Ok(gaps)
    }
}

/// An entry, or nothing if this is none that this version knows.
fn entry(item: &Item) -> Option<Gap> {
    let ms = |name| i64::try_from(get_n(item, name)?).ok();
    Some(Gap {
        lane: get_s(item, "lane")?.to_owned(),
        kind: GapKind::named(get_s(item, "kind")?)?,
        position: get_s(item, "position").map(str::to_owned),
        found: get_s(item, "found")?.to_owned(),
        found_ms: ms("found_ms")?,
        accepted_ms: ms("accepted_ms"),
    })
}
