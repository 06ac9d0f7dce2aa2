//! Four tables as they must be, for one host at a time: lanes and the counter are kept, rows and dead letters are taken and
//! forgotten.
//!
//! Invariants
//! - Conditions are not evaluated, but for "is it there": a lane's head survives its host, and that is all.
//! - Rows cost it as little as can be, since they are nearly all of what is asked.
//!
//! Not here: a DynamoDB that counts (`server`).

use super::{Call, Reply};
use crate::aws;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The account of all ARNs.
pub const ACCOUNT: &str = "123456789012";

/// The tables.
#[derive(Debug, Default)]
pub struct Tables(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// By table, partition key and sort key.
    items: BTreeMap<[String; 3], Map<String, Value>>,
    /// Requests by operation and table.
    requests: BTreeMap<(String, String), u64>,
    /// When heads were committed.
    commits: Vec<Instant>,
}

impl Tables {
    /// Answers a request.
    pub fn answer(&self, call: &Call) -> Reply {
        let mut inner = self.lock();
        let table = table_of(&call.body).unwrap_or_default();
        *inner.requests.entry((call.operation.clone(), table.clone())).or_default() += 1;
        // A row's update says which table, and its answer says nothing.
        let ours = |name: &str| contains(&call.body, name);
        if call.operation == "UpdateItem" && !table.ends_with("-lanes") && !ours("\"plimsoll\"") {
            return Reply::ok("{}");
        }
        inner.answer(&call.operation, table, &call.json())
    }

    /// Requests of an operation on tables whose name ends so.
    pub fn requests(&self, operation: &str, table: &str) -> u64 {
        let inner = self.lock();
        let of = inner.requests.iter().filter(|((o, t), _)| o == operation && t.ends_with(table));
        of.map(|(_, n)| n).sum()
    }

    /// When heads were committed.
    pub fn commits(&self) -> Vec<Instant> {
        self.lock().commits.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn answer(&mut self, operation: &str, table: String, asked: &Value) -> Reply {
        let condition = asked["ConditionExpression"].as_str().unwrap_or_default();
        let given = if operation == "PutItem" { &asked["Item"] } else { &asked["Key"] };
        let text = |name: &str| given[name]["S"].as_str().unwrap_or_default().to_owned();
        let key = [table.clone(), text("_pk"), text("_sk")];
        let there = self.items.contains_key(&key);
        if (condition.starts_with("attribute_exists") && !there)
            || (condition.starts_with("attribute_not_exists") && there)
        {
            return Reply::error("ConditionalCheckFailedException", "The conditional request failed");
        }
        match operation {
            "DescribeTable" => Reply::json(&json!({ "Table": description(&table, aws::REGION) })),
            "DescribeTimeToLive" => Reply::json(&json!({
                "TimeToLiveDescription": { "AttributeName": "_x", "TimeToLiveStatus": "ENABLED" }
            })),
            "GetItem" => match self.items.get(&key) {
                Some(item) => Reply::json(&json!({ "Item": item })),
                None => Reply::ok("{}"),
            },
            "PutItem" => {
                if !table.ends_with("-dead") {
                    self.items.insert(key, given.as_object().cloned().unwrap_or_default());
                }
                Reply::ok("{}")
            }
            "DeleteItem" => {
                self.items.remove(&key);
                Reply::ok("{}")
            }
            "UpdateItem" => self.update(key, given, asked),
            "Query" => {
                let pk = asked["ExpressionAttributeValues"][":pk"]["S"].as_str().unwrap_or_default();
                let items: Vec<_> = self.items.iter().filter(|(k, _)| k[0] == table && k[1] == pk).collect();
                let items: Vec<_> = items.into_iter().map(|(_, item)| item).collect();
                Reply::json(&json!({ "Items": items, "Count": items.len(), "ScannedCount": items.len() }))
            }
            "Scan" => Reply::ok(r#"{"Items":[],"Count":0,"ScannedCount":0}"#),
            other => Reply::error("UnknownOperationException", other),
        }
    }

    /// `SET #a = :a, ... REMOVE #b, ...` and `ADD #n :one`, as heads and the counter are written.
    fn update(&mut self, key: [String; 3], given: &Value, asked: &Value) -> Reply {
        let (names, values) = (&asked["ExpressionAttributeNames"], &asked["ExpressionAttributeValues"]);
        let name = |placeholder: &str| names[placeholder.trim()].as_str().unwrap_or_default().to_owned();
        let item = self.items.entry(key).or_insert_with(|| given.as_object().cloned().unwrap_or_default());
        let expression = asked["UpdateExpression"].as_str().unwrap_or_default();
        if let Some(added) = expression.strip_prefix("ADD ") {
            let name = name(added.split(' ').next().unwrap_or_default());
            let held = item.get(&name).and_then(|v| v["N"].as_str()).and_then(|n| n.parse::<u64>().ok());
            let next = json!({ "N": (held.unwrap_or(0) + 1).to_string() });
            item.insert(name.clone(), next.clone());
            return Reply::json(&json!({ "Attributes": { name: next } }));
        }
        let (set, remove) = expression.split_once(" REMOVE ").unwrap_or((expression, ""));
        let set: Vec<_> = set.trim_start_matches("SET ").split(", ").filter_map(|s| s.split_once(" = ")).collect();
        for (placeholder, value) in &set {
            item.insert(name(placeholder), values[value.trim()].clone());
        }
        for placeholder in remove.split(", ").filter(|r| !r.is_empty()) {
            item.remove(&name(placeholder));
        }
        // An intent alone sets nothing but `pend`.
        if set.iter().any(|(placeholder, _)| name(placeholder) == "head") {
            self.commits.push(Instant::now());
        }
        Reply::ok("{}")
    }
}

/// A table as `DescribeTable` tells it.
pub fn description(table: &str, region: &str) -> Value {
    json!({
        "TableName": table,
        "TableStatus": "ACTIVE",
        "TableId": format!("id-of-{table}"),
        "TableArn": format!("arn:aws:dynamodb:{region}:{ACCOUNT}:table/{table}"),
        "AttributeDefinitions": [
            { "AttributeName": "_pk", "AttributeType": "S" }, { "AttributeName": "_sk", "AttributeType": "S" }
        ],
        "KeySchema": [{ "AttributeName": "_pk", "KeyType": "HASH" }, { "AttributeName": "_sk", "KeyType": "RANGE" }],
    })
}

/// The table of a request, without reading all of it.
fn table_of(body: &[u8]) -> Option<String> {
    const FIELD: &[u8] = b"\"TableName\":\"";
    let at = body.windows(FIELD.len()).position(|w| w == FIELD)? + FIELD.len();
    let end = body[at..].iter().position(|b| *b == b'"')?;
    Some(String::from_utf8_lossy(&body[at..at + end]).into_owned())
}

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|w| w == text.as_bytes())
}
