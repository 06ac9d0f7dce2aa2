//! How far the changes of the rows were followed, noted in the table of lanes.
//!
//! ```text
//! lanes   _pk rollup#<rows_id>/<SHA-256 of the rollup>   _sk covered          stream, at, watermark
//!                                                        _sk shard#<id>       after, done
//! ```
//! Another zone for the days is another name: its hours and days are made of the rows anew.
//!
//! Not here: what is made of it (`crate::rollup::follow`).

use super::hours::Hours;
use super::item::{self, Item, SK, get_n, get_s, n, s};
use crate::rollup::{Covered, Notes, Place};
use crate::store::{Layout, StoreError, hex};
use aws_sdk_dynamodb::types::AttributeValue;
use plimsoll_core::time::EventTime;
use sha2::{Digest as _, Sha256};

const COVERED: &str = "covered";
const SHARD: &str = "shard#";

/// The notes' partition.
pub(super) fn name(layout: &Layout) -> String {
    let rollup = serde_json::to_vec(&layout.policy.spec().rollup).expect("numbers and text");
    format!("rollup#{}/{}", layout.rows_id(), hex(&Sha256::digest(rollup)[..8]))
}

impl Hours<'_> {
    pub(super) async fn read_notes(&self) -> Result<Notes, StoreError> {
        let table = &self.store.names.lanes;
        let mut notes = Notes::default();
        for item in self.store.query(table, self.notes.clone(), None, usize::MAX).await? {
            let broken = || self.store.broken(table, &item);
            let sk = get_s(&item, SK).ok_or_else(broken)?;
            if let Some(shard) = sk.strip_prefix(SHARD) {
                notes.shards.insert(shard.to_owned(), place(&item).ok_or_else(broken)?);
            } else if sk == COVERED {
                notes.stream = get_s(&item, "stream").map(str::to_owned);
                notes.covered = Some(covered(&item).ok_or_else(broken)?);
            }
        }
        Ok(notes)
    }

    pub(super) async fn write_place(&self, shard: &str, place: &Place) -> Result<(), StoreError> {
        let mut note = self.key(&format!("{SHARD}{shard}"));
        note.insert("done".into(), AttributeValue::Bool(place.done));
        if let Some(after) = &place.after {
            note.insert("after".into(), s(after));
        }
        self.put(note).await
    }

    pub(super) async fn write_covered(&self, stream: &str, covered: &Covered) -> Result<(), StoreError> {
        let mut note = self.key(COVERED);
        note.extend([("stream".to_owned(), s(stream)), ("at".to_owned(), n(covered.at_ms))]);
        if let Some(watermark) = covered.watermark {
            note.insert("watermark".into(), n(watermark.as_millis()));
        }
        self.put(note).await
    }

    pub(super) async fn delete_place(&self, shard: &str) -> Result<(), StoreError> {
        let table = &self.store.names.lanes;
        let key = self.key(&format!("{SHARD}{shard}"));
        let delete = self.store.reader.delete_item().table_name(table).set_key(Some(key)).send().await;
        delete.map(drop).map_err(|e| self.store.asked("DeleteItem", table).failure(&e).into())
    }

    fn key(&self, sk: &str) -> Item {
        item::key(self.notes.clone(), sk.to_owned())
    }

    async fn put(&self, note: Item) -> Result<(), StoreError> {
        let table = &self.store.names.lanes;
        let put = self.store.reader.put_item().table_name(table).set_item(Some(note)).send().await;
        put.map(drop).map_err(|e| self.store.asked("PutItem", table).failure(&e).into())
    }
}

fn place(item: &Item) -> Option<Place> {
    Some(Place { after: get_s(item, "after").map(str::to_owned), done: *item.get("done")?.as_bool().ok()? })
}

fn covered(item: &Item) -> Option<Covered> {
    let time = |name| i64::try_from(get_n(item, name)?).ok();
    let watermark = match item.get("watermark") {
        None => None,
        Some(_) => Some(EventTime::from_millis(time("watermark")?)),
    };
    Some(Covered { at_ms: time("at")?, watermark })
}
