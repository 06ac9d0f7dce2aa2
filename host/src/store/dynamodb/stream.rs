//! The change stream of the table of rows: each row as it was right after a change.
//!
//! Invariants
//! - Images of rows that were deleted are left out: a row that has expired still counts.
//! - Other items of the table (the counter of aliases), and rows of other layouts, are left out; a row of this layout that
//!   cannot be read is refused, since what it counted would be missing.
//! - One attempt a call: whoever follows the stream tries again.
//!
//! Not here: which shard is read when, and from where (`crate::rollup::follow`).

use super::DynamoStore;
use super::failure::Failure;
use super::hours::change;
use super::item::{Item, PK};
use crate::aws::{Unanswered, unanswered};
use crate::rollup::{Change, Changes, Page, Shard, Trouble};
use crate::store::{Layout, StoreError};
use async_trait::async_trait;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodbstreams::types as streams;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use plimsoll_core::policy::LateTo;
use std::error::Error;

/// The changes of a layout's rows.
pub struct RowChanges<'a> {
    store: &'a DynamoStore,
    layout: Layout,
    arn: String,
    /// For messages, and for the ARN in those about permissions.
    name: String,
}

impl DynamoStore {
    /// The changes of a layout's rows. Refused where there is no stream of them, or no table for what is made of them.
    pub async fn row_changes(&self, layout: &Layout) -> Result<RowChanges<'_>, StoreError> {
        let spec = layout.policy.spec();
        if spec.late.to == LateTo::Accept {
            return Err(StoreError::Refused(format!(
                "policy `{}`: `late.to = \"accept\"` amends rows however old they are, but in DynamoDB a row is gone 8 days \
                 after its last change, and what comes then begins a new one: its hour would not be exact; say how long rows \
                 are amended (`late.by = \"window\"`, `allowed_lateness`), or write to --sqlite",
                spec.policy
            )));
        }
        let arn = self.check_rollups().await?;
        Ok(RowChanges { store: self, layout: layout.clone(), arn, name: format!("{}/stream/*", self.names.rows) })
    }
}

impl RowChanges<'_> {
    fn trouble<E>(&self, action: &'static str, e: &SdkError<E, HttpResponse>) -> Trouble
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let SdkError::ServiceError(service) = e else {
            let at = format!("{action} on the stream of {} ({})", self.store.names.rows, self.store.region);
            return match unanswered(e, "DYNAMODB_STREAMS") {
                Unanswered::Credentials(text) => Trouble::Refused(format!("{at}: {text}")),
                Unanswered::Line(text) => Trouble::Passing(format!("{at}: {text}")),
            };
        };
        match service.err().code().unwrap_or_default() {
            "ExpiredIteratorException" => Trouble::Expired,
            "TrimmedDataAccessException" => Trouble::Trimmed,
            // A shard is listed a little longer than it is there.
            "ResourceNotFoundException" if action != "DescribeStream" => Trouble::Trimmed,
            _ => match self.store.asked(action, &self.name).failure(e) {
                Failure::Unknown(text) => Trouble::Passing(text),
                denied @ Failure::Denied { .. } => Trouble::Refused(StoreError::from(denied).to_string()),
                Failure::Refused(text) | Failure::Impossible(text) => Trouble::Refused(text),
                Failure::Expired => unreachable!("reading a stream has no deadline"),
            },
        }
    }
}

#[async_trait]
impl Changes for RowChanges<'_> {
    fn id(&self) -> String {
        self.arn.clone()
    }

    async fn shards(&self) -> Result<Vec<Shard>, Trouble> {
        let (mut shards, mut from) = (Vec::new(), None);
        loop {
            let ask = self.store.streams.describe_stream().stream_arn(&self.arn).set_exclusive_start_shard_id(from);
            let page = ask.send().await.map_err(|e| self.trouble("DescribeStream", &e))?;
            let Some(stream) = page.stream_description else { return Ok(shards) };
            for shard in stream.shards.unwrap_or_default() {
                let Some(id) = shard.shard_id else { continue };
                let parent = shard.parent_shard_id.filter(|p| !p.is_empty());
                let ending = shard.sequence_number_range.and_then(|range| range.ending_sequence_number);
                shards.push(Shard { id, parent, closed: ending.is_some_and(|last| !last.is_empty()) });
            }
            from = stream.last_evaluated_shard_id.filter(|id| !id.is_empty());
            if from.is_none() {
                return Ok(shards);
            }
        }
    }

    async fn iterator(&self, shard: &str, after: Option<&str>) -> Result<String, Trouble> {
        let kind = match after {
            Some(_) => streams::ShardIteratorType::AfterSequenceNumber,
            None => streams::ShardIteratorType::TrimHorizon,
        };
        let ask = self.store.streams.get_shard_iterator().stream_arn(&self.arn).shard_id(shard);
        let ask = ask.shard_iterator_type(kind).set_sequence_number(after.map(str::to_owned));
        let got = ask.send().await.map_err(|e| self.trouble("GetShardIterator", &e))?;
        got.shard_iterator.ok_or(Trouble::Trimmed)
    }

    async fn page(&self, iterator: &str) -> Result<Page, Trouble> {
        let got = self.store.streams.get_records().shard_iterator(iterator).send().await;
        let got = got.map_err(|e| self.trouble("GetRecords", &e))?;
        let records = got.records.unwrap_or_default();
        let mut changes = Vec::with_capacity(records.len());
        for record in &records {
            let broken = |item: &Item| Trouble::Refused(self.store.broken(&self.store.names.rows, item).to_string());
            changes.extend(change_in(record, &self.layout).map_err(|item| broken(&item))?);
        }
        let last = records.iter().rev().find_map(|r| r.dynamodb.as_ref()?.sequence_number.clone());
        Ok(Page { changes, last, next: got.next_shard_iterator })
    }
}

/// The change that a record holds for a layout, or the row that cannot be read.
fn change_in(record: &streams::Record, layout: &Layout) -> Result<Option<Change>, Item> {
    if record.event_name == Some(streams::OperationType::Remove) {
        return Ok(None);
    }
    let Some(image) = record.dynamodb.as_ref().and_then(|d| d.new_image.as_ref()) else { return Ok(None) };
    let ours = format!("{}#", layout.rows_id());
    if !image.get(PK).and_then(|v| v.as_s().ok()).is_some_and(|pk| pk.starts_with(&ours)) {
        return Ok(None);
    }
    let item: Item = image.iter().filter_map(|(name, v)| Some((name.clone(), value(v)?))).collect();
    change(&item, layout).map(Some).ok_or(item)
}

/// A value as the tables' client has it; none for kinds that a row does not have.
fn value(v: &streams::AttributeValue) -> Option<AttributeValue> {
    match v {
        streams::AttributeValue::S(text) => Some(AttributeValue::S(text.clone())),
        streams::AttributeValue::N(number) => Some(AttributeValue::N(number.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::item;
    use super::*;
    use plimsoll_core::policy::Policy;
    use plimsoll_core::rollup::Part;
    use plimsoll_core::window::Window;
    use std::sync::Arc;

    fn layout() -> Layout {
        let text = "policy = \"p\"\ninput = { time = { field = \"t\", unit = \"ms\" }, key = [\"k\"] }\n\
                    window = { fixed = \"1m\" }\nmeasures = { n = \"count\", least = { min = \"v\" } }\n[rollup]\nhour = true\n";
        Layout::new(Arc::new(Policy::from_toml(text).unwrap_or_else(|e| panic!("{e}"))))
    }

    fn record(event: streams::OperationType, id: &str, count: Option<&str>) -> streams::Record {
        let text = |v: &str| streams::AttributeValue::S(v.into());
        let number = |v: &str| streams::AttributeValue::N(v.into());
        let mut image = streams::StreamRecord::builder()
            .sequence_number("1")
            .new_image(PK, text(&format!("{id}#[\"a\"]")))
            .new_image(item::SK, text("x"))
            .new_image(item::START, number("60000"))
            .new_image(item::END, number("120000"))
            .new_image(item::VERSION, number("4"))
            .new_image("_f1", number("9"));
        if let Some(count) = count {
            image = image.new_image("n", number(count));
        }
        streams::Record::builder().event_name(event).dynamodb(image.build()).build()
    }

    #[test]
    fn what_expired_and_what_belongs_to_others_is_no_change() {
        use streams::OperationType::{Insert, Modify, Remove};
        let layout = layout();
        let id = layout.rows_id();
        let expected = Change {
            key: b"[\"a\"]".to_vec(),
            window: Window::of_millis(60_000, 120_000),
            bucket: 0,
            part: Part { version: 4, values: vec![Some(7), None] },
        };
        assert_eq!(change_in(&record(Insert, &id, Some("7")), &layout), Ok(Some(expected.clone())));
        assert_eq!(change_in(&record(Modify, &id, Some("7")), &layout), Ok(Some(expected)));
        assert_eq!(change_in(&record(Remove, &id, Some("7")), &layout), Ok(None));
        assert_eq!(change_in(&record(Modify, "0123456789abcdef", Some("7")), &layout), Ok(None));
        // The counter of aliases has no image of a row.
        assert_eq!(change_in(&record(Modify, "plimsoll", None), &layout), Ok(None));
        assert!(
            change_in(&record(Modify, &id, Some("1.5")), &layout).is_err(),
            "a row that something else has written"
        );
    }
}
