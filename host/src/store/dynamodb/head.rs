//! Requests about a lane's head, its chunks and its alias.
//!
//! ```text
//! INTENT   SET pend                        IF n = pend.n - 1 AND attribute_not_exists(pend)
//! COMMIT   SET n, head, ... [pend]         IF pend.n = :n AND pend.digest = :d
//!          REMOVE pend where there is no next one
//! ```
//! Invariants
//! - Heads and chunks are read with `ConsistentRead`: a read sees every write answered before it.
//! - A lane is listed before its head is made, so that no head is missing in the list.
//! - An alias is given out only while the counter knows the table as its own.
//!
//! Not here: effects (`apply`).

use super::deadline::Watch;
use super::failure::Failure;
use super::item::{self, Item, PK, SK, b, get_b, get_s, get_u64, n, s};
use super::{DynamoStore, IN_FLIGHT, weight};
use crate::clock;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity, ReturnValue};
use futures::stream::{self, StreamExt, TryStreamExt};
use plimsoll_core::lane::{Answer, Chunk, ChunkName, LaneKey, Limits, StoredHead, StoredPend};
use std::collections::HashMap;

/// Key of the counter of aliases. Rows' keys begin with hexadecimal digits and `#`.
pub(super) fn counter_key() -> Item {
    item::key("plimsoll".into(), "aliases".into())
}

impl DynamoStore {
    pub(super) async fn read_head(&self, key: &LaneKey) -> Result<Answer, Failure> {
        let (table, watch) = (&self.names.lanes, Watch::free());
        // Before it is asked: a host that sleeps over the answer must not take what it saw for what is.
        let now_ms = clock::now_ms();
        let get = self.writer.get_item().table_name(table).set_key(Some(item::head_key(key))).consistent_read(true);
        let got = get.customize().interceptor(watch.clone()).send().await;
        let got = got.map_err(|e| self.asked("GetItem", table).failure(&e))?;
        let stored = got.item.as_ref().map(|item| stored(item).ok_or_else(|| self.damaged(item))).transpose()?;
        self.looked(key, watch.signed_s());
        Ok(Answer::Head { stored, now_ms })
    }

    pub(super) async fn allocate_alias(&self) -> Result<Answer, Failure> {
        let (table, id) = (&self.names.rows, self.prepared().table.clone());
        let update = self
            .writer
            .update_item()
            .table_name(table)
            .set_key(Some(counter_key()))
            .update_expression("ADD #next :one")
            .condition_expression("#table = :id")
            .expression_attribute_names("#next", "aliases")
            .expression_attribute_names("#table", "table")
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":id", s(&id))
            .return_values(ReturnValue::UpdatedNew)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match update.send().await {
            Ok(done) => match done.attributes.as_ref().and_then(|a| get_u64(a, "aliases")) {
                Some(alias) => {
                    self.meter.wrote(table, done.consumed_capacity(), || 0);
                    Ok(Answer::Alias(alias))
                }
                None => {
                    Err(Failure::Unknown(format!("table {table}: the counter of aliases was raised without an answer")))
                }
            },
            Err(e) if matches!(e.as_service_error(), Some(UpdateItemError::ConditionalCheckFailedException(_))) => {
                Err(Failure::Refused(format!(
                    "table {table} ({}): the counter of aliases is not that of table {id} any more; it was deleted or \
                     replaced: recount from the stream into tables of a new prefix",
                    self.region
                )))
            }
            Err(e) => Err(self.asked("UpdateItem", table).failure(&e)),
        }
    }

    pub(super) async fn create_head(&self, key: &LaneKey, head: &StoredHead) -> Result<Answer, Failure> {
        let (table, watch) = (&self.names.lanes, Watch::free());
        let mut listed = item::lane_key(key);
        listed.insert("lane".into(), s(&key.lane));
        self.put(listed).await?;
        let mut whole = item::head_key(key);
        whole.extend(attributes(head).into_iter().filter_map(|(name, v)| Some((name.to_owned(), v?))));
        let bytes = weight::item_bytes(&whole);
        let put = self
            .writer
            .put_item()
            .table_name(table)
            .set_item(Some(whole))
            .condition_expression("attribute_not_exists(#pk)")
            .expression_attribute_names("#pk", PK)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match put.customize().interceptor(watch.clone()).send().await {
            Ok(done) => {
                self.meter.wrote(table, done.consumed_capacity(), || bytes);
                self.looked(key, watch.signed_s());
                Ok(Answer::Written)
            }
            Err(e) if matches!(e.as_service_error(), Some(PutItemError::ConditionalCheckFailedException(_))) => {
                self.meter.computed(table, bytes);
                Ok(Answer::Refused)
            }
            Err(e) => Err(self.asked("PutItem", table).failure(&e)),
        }
    }

    pub(super) async fn intent(&self, key: &LaneKey, pend: &StoredPend) -> Result<Answer, Failure> {
        self.update_head(key, intent(pend)).await
    }

    pub(super) async fn commit(
        &self,
        key: &LaneKey,
        number: u64,
        digest: &[u8; 32],
        head: &StoredHead,
    ) -> Result<Answer, Failure> {
        self.update_head(key, commit(number, digest, head)).await
    }

    async fn update_head(&self, key: &LaneKey, change: HeadUpdate) -> Result<Answer, Failure> {
        let (table, watch) = (&self.names.lanes, Watch::free());
        let head = item::head_key(key);
        let bytes = weight::update_bytes(&head, &change.names, &change.values);
        let update = self
            .writer
            .update_item()
            .table_name(table)
            .set_key(Some(head))
            .update_expression(change.update)
            .condition_expression(change.condition)
            .set_expression_attribute_names(Some(change.names))
            .set_expression_attribute_values(Some(change.values))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match update.customize().interceptor(watch.clone()).send().await {
            Ok(done) => {
                self.meter.wrote(table, done.consumed_capacity(), || bytes);
                self.looked(key, watch.signed_s());
                Ok(Answer::Written)
            }
            Err(e) if matches!(e.as_service_error(), Some(UpdateItemError::ConditionalCheckFailedException(_))) => {
                self.meter.computed(table, bytes);
                Ok(Answer::Refused)
            }
            Err(e) => Err(self.asked("UpdateItem", table).failure(&e)),
        }
    }

    pub(super) async fn list_chunks(&self, alias: u64) -> Result<Answer, Failure> {
        let table = &self.names.lanes;
        let (mut names, mut from) = (Vec::new(), None);
        loop {
            let page = self
                .writer
                .query()
                .table_name(table)
                .key_condition_expression("#pk = :pk")
                .projection_expression("#sk")
                .expression_attribute_names("#pk", PK)
                .expression_attribute_names("#sk", SK)
                .expression_attribute_values(":pk", s(item::chunks_pk(alias)))
                .consistent_read(true)
                .set_exclusive_start_key(from);
            let page = page.send().await.map_err(|e| self.asked("Query", table).failure(&e))?;
            for item in page.items() {
                names.push(get_s(item, SK).and_then(item::chunk_name).ok_or_else(|| self.damaged(item))?);
            }
            from = page.last_evaluated_key;
            if from.is_none() {
                return Ok(Answer::Names(names));
            }
        }
    }

    pub(super) async fn get_chunks(&self, alias: u64, names: &[ChunkName]) -> Result<Answer, Failure> {
        let table = &self.names.lanes;
        let chunks = stream::iter(names.to_vec()).map(|name| async move {
            let key = Some(item::chunk_key(alias, &name));
            let got = self.writer.get_item().table_name(table).set_key(key).consistent_read(true).send().await;
            let got = got.map_err(|e| self.asked("GetItem", table).failure(&e))?;
            let bytes = got.item.as_ref().map(|i| get_b(i, "bytes").map(<[u8]>::to_vec).ok_or_else(|| self.damaged(i)));
            bytes.transpose()
        });
        Ok(Answer::Chunks(chunks.buffered(IN_FLIGHT).try_collect().await?))
    }

    pub(super) async fn put_chunks(&self, alias: u64, chunks: &[Chunk]) -> Result<Answer, Failure> {
        let items: Vec<Item> = chunks
            .iter()
            .map(|chunk| {
                let mut item = item::chunk_key(alias, &chunk.name);
                item.insert("bytes".into(), b(&chunk.bytes));
                item
            })
            .collect();
        let puts = stream::iter(items.into_iter().map(Ok));
        puts.try_for_each_concurrent(IN_FLIGHT, |item| self.put(item)).await?;
        Ok(Answer::Written)
    }

    /// An item of the table of lanes, whatever is there.
    async fn put(&self, item: Item) -> Result<(), Failure> {
        let (table, bytes) = (&self.names.lanes, weight::item_bytes(&item));
        let put = self.writer.put_item().table_name(table).set_item(Some(item));
        let done = put.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await;
        let done = done.map_err(|e| self.asked("PutItem", table).failure(&e))?;
        self.meter.wrote(table, done.consumed_capacity(), || bytes);
        Ok(())
    }

    pub(super) async fn delete_chunks(&self, alias: u64, names: &[ChunkName]) -> Result<Answer, Failure> {
        let table = &self.names.lanes;
        let keys: Vec<Item> = names.iter().map(|name| item::chunk_key(alias, name)).collect();
        let deletes = stream::iter(keys.into_iter().map(Ok));
        deletes
            .try_for_each_concurrent(IN_FLIGHT, |key| async move {
                let delete = self.writer.delete_item().table_name(table).set_key(Some(key));
                let done = delete.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await;
                let done = done.map_err(|e| self.asked("DeleteItem", table).failure(&e))?;
                // What is deleted is charged like what was written: a chunk of the usual length.
                self.meter.wrote(table, done.consumed_capacity(), || Limits::ITEMS.chunk);
                Ok(())
            })
            .await?;
        Ok(Answer::Written)
    }

    fn damaged(&self, item: &Item) -> Failure {
        Failure::Refused(damaged(&self.names.lanes, &self.region, item))
    }
}

/// What is said of an item that this store cannot have written.
pub(super) fn damaged(table: &str, region: &str, item: &Item) -> String {
    format!(
        "table {table} ({region}): the item {} = {:?}, {} = {:?} was not written by this program, or by a newer version; use \
         that version, or tables of another --dynamodb PREFIX",
        PK,
        get_s(item, PK).unwrap_or_default(),
        SK,
        get_s(item, SK).unwrap_or_default(),
    )
}

/// A head as it is stored, or nothing if this is none.
pub(super) fn stored(item: &Item) -> Option<StoredHead> {
    let pend = match item.get("pend") {
        None => None,
        Some(pend) => {
            let pend = pend.as_m().ok()?;
            let digest = get_b(pend, "digest")?.try_into().ok()?;
            Some(StoredPend { n: get_u64(pend, "n")?, digest, bytes: get_b(pend, "bytes")?.to_vec() })
        }
    };
    Some(StoredHead {
        bytes: get_b(item, "head")?.to_vec(),
        n: get_u64(item, "n")?,
        alias: get_u64(item, "alias")?,
        pos: get_s(item, "pos").map(str::to_owned),
        done: *item.get("done")?.as_bool().ok()?,
        pend,
    })
}

/// A head's attributes; none where one is to be absent.
fn attributes(head: &StoredHead) -> [(&'static str, Option<AttributeValue>); 6] {
    [
        ("n", Some(n(head.n))),
        ("alias", Some(n(head.alias))),
        ("done", Some(AttributeValue::Bool(head.done))),
        ("head", Some(b(&head.bytes))),
        ("pos", head.pos.as_ref().map(s)),
        ("pend", head.pend.as_ref().map(pending)),
    ]
}

fn pending(pend: &StoredPend) -> AttributeValue {
    AttributeValue::M(HashMap::from([
        ("n".to_owned(), n(pend.n)),
        ("digest".to_owned(), b(&pend.digest)),
        ("bytes".to_owned(), b(&pend.bytes)),
    ]))
}

struct HeadUpdate {
    update: String,
    condition: &'static str,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

fn intent(pend: &StoredPend) -> HeadUpdate {
    // Content 0 does not exist: nothing precedes content 1 but a head with n = 0.
    assert!(pend.n > 0, "contents are numbered from 1");
    HeadUpdate {
        update: "SET #pend = :pend".into(),
        condition: "#n = :before AND attribute_not_exists(#pend)",
        names: HashMap::from([("#pend".into(), "pend".into()), ("#n".into(), "n".into())]),
        values: HashMap::from([(":pend".into(), pending(pend)), (":before".into(), n(pend.n - 1))]),
    }
}

fn commit(number: u64, digest: &[u8; 32], head: &StoredHead) -> HeadUpdate {
    let mut names = HashMap::from([("#digest".to_owned(), "digest".to_owned())]);
    let mut values = HashMap::from([(":n_pend".to_owned(), n(number)), (":digest".to_owned(), b(digest))]);
    let (mut set, mut remove) = (Vec::new(), Vec::new());
    for (name, v) in attributes(head) {
        names.insert(format!("#{name}"), name.to_owned());
        match v {
            Some(v) => {
                set.push(format!("#{name} = :{name}"));
                values.insert(format!(":{name}"), v);
            }
            None => remove.push(format!("#{name}")),
        }
    }
    let mut update = format!("SET {}", set.join(", "));
    if !remove.is_empty() {
        update.push_str(&format!(" REMOVE {}", remove.join(", ")));
    }
    HeadUpdate { update, condition: "#pend.#n = :n_pend AND #pend.#digest = :digest", names, values }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(pend: Option<u64>, pos: Option<&str>) -> StoredHead {
        let pend = pend.map(|n| StoredPend { n, digest: [n as u8; 32], bytes: vec![0, 9] });
        StoredHead { bytes: vec![1, 2, 3], n: 4, alias: 77, pos: pos.map(str::to_owned), done: true, pend }
    }

    #[test]
    fn a_head_comes_back_as_it_was_stored() {
        for head in [head(None, None), head(Some(5), Some("49/0"))] {
            let attributes = attributes(&head).into_iter();
            let item = attributes.filter_map(|(name, v)| Some((name.to_owned(), v?))).collect();
            assert_eq!(stored(&item), Some(head));
        }
        assert_eq!(stored(&Item::new()), None);
    }

    #[test]
    fn an_intent_follows_the_head_before_it() {
        let u = intent(&StoredPend { n: 5, digest: [5; 32], bytes: vec![] });
        assert_eq!(u.condition, "#n = :before AND attribute_not_exists(#pend)");
        assert_eq!(u.values[":before"], n(4));
    }

    #[test]
    fn a_commit_names_the_pending_content_and_leaves_nothing_of_it() {
        let u = commit(4, &[4; 32], &head(None, None));
        assert_eq!(u.condition, "#pend.#n = :n_pend AND #pend.#digest = :digest");
        assert_eq!(u.values[":n_pend"], n(4));
        assert_eq!(u.update, "SET #n = :n, #alias = :alias, #done = :done, #head = :head REMOVE #pos, #pend");
        let u = commit(4, &[4; 32], &head(Some(5), Some("1")));
        assert!(u.update.contains("#pend = :pend") && !u.update.contains("REMOVE"), "{}", u.update);
    }
}
