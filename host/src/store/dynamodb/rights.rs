//! What a role may do, tried before anything is counted: a run does not stop at midnight because a right is missing that
//! the first hour did not need.
//!
//! Each action that a run uses is asked for once on each table, with a condition that cannot hold: the service checks
//! rights before conditions, so that what is allowed is refused by its condition, and nothing is ever written. That costs
//! about ten write units a start.
//!
//! Invariants
//! - All that is missing is said at once, each with its action and the table's ARN.
//! - Only a refusal of rights is taken for one. Other trouble is what it is anywhere else.
//!
//! Not here: rights of administration, which `tables create` needs; those that `rows` needs alone (Scan).

use super::DynamoStore;
use super::failure::Failure;
use super::item::{self, Item, PK, n, s};
use crate::store::StoreError;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;

/// What is not allowed.
pub(super) type Denied = Vec<(String, String)>;

/// A result, where the rights were there; what was missing is kept for later.
pub(super) fn allowed<T>(result: Result<T, Failure>, denied: &mut Denied) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Failure::Denied { seen, allow }) => {
            denied.push((seen, allow));
            Ok(None)
        }
        Err(other) => Err(other.into()),
    }
}

/// Refuses if anything was missing: all of it in one sentence.
pub(super) fn refuse(denied: Denied) -> Result<(), StoreError> {
    let Some((first, _)) = denied.first() else { return Ok(()) };
    let all: Vec<&str> = denied.iter().map(|(_, allow)| allow.as_str()).collect();
    Err(StoreError::Refused(format!("{first}; allow {} to this role or user", all.join(", "))))
}

/// An action that a run uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Get,
    Put,
    Update,
    Delete,
    Query,
}

impl DynamoStore {
    /// Tries all that a run does. The tables are there.
    pub(super) async fn try_rights(&self) -> Result<(), StoreError> {
        let names = &self.names;
        let uses = [
            (&names.rows, Use::Update),
            (&names.late, Use::Update),
            (&names.dead, Use::Put),
            (&names.lanes, Use::Get),
            (&names.lanes, Use::Put),
            (&names.lanes, Use::Update),
            (&names.lanes, Use::Delete),
            (&names.lanes, Use::Query),
        ];
        let tried = futures::future::join_all(uses.map(|(table, how)| self.try_right(table, how))).await;
        let mut denied = Denied::new();
        for result in tried {
            allowed(result, &mut denied)?;
        }
        refuse(denied)
    }

    async fn try_right(&self, table: &str, how: Use) -> Result<(), Failure> {
        let key = || -> Item { item::key("plimsoll".into(), "rights".into()) };
        // Nothing of ours has this key, so that what must be there never is.
        let there = "attribute_exists(#pk)";
        let (reader, asked) = (&self.reader, |action| self.asked(action, table));
        if matches!(how, Use::Put | Use::Update | Use::Delete) {
            self.meter.computed(table, 1);
        }
        match how {
            Use::Get => {
                let get = reader.get_item().table_name(table).set_key(Some(key())).send().await;
                get.map(drop).map_err(|e| asked("GetItem").failure(&e))
            }
            Use::Query => {
                let query = reader.query().table_name(table).key_condition_expression("#pk = :pk").limit(1);
                let query =
                    query.expression_attribute_names("#pk", PK).expression_attribute_values(":pk", s("plimsoll"));
                query.send().await.map(drop).map_err(|e| asked("Query").failure(&e))
            }
            Use::Put => {
                let put = reader.put_item().table_name(table).set_item(Some(key()));
                let put = put.condition_expression(there).expression_attribute_names("#pk", PK).send().await;
                refused_by_condition(put.map_err(|e| (e.code() == CONDITION, asked("PutItem").failure(&e))))
            }
            Use::Update => {
                let update = reader.update_item().table_name(table).set_key(Some(key()));
                let update = update.update_expression("SET #n = :n").condition_expression(there);
                let update = update.expression_attribute_names("#pk", PK).expression_attribute_names("#n", "tried");
                let update = update.expression_attribute_values(":n", n(1)).send().await;
                refused_by_condition(update.map_err(|e| (e.code() == CONDITION, asked("UpdateItem").failure(&e))))
            }
            Use::Delete => {
                let delete = reader.delete_item().table_name(table).set_key(Some(key()));
                let delete = delete.condition_expression(there).expression_attribute_names("#pk", PK).send().await;
                refused_by_condition(delete.map_err(|e| (e.code() == CONDITION, asked("DeleteItem").failure(&e))))
            }
        }
    }
}

const CONDITION: Option<&str> = Some("ConditionalCheckFailedException");

/// A write that its condition refused was allowed.
fn refused_by_condition<T>(answer: Result<T, (bool, Failure)>) -> Result<(), Failure> {
    match answer {
        Ok(_) | Err((true, _)) => Ok(()),
        Err((false, failure)) => Err(failure),
    }
}
