//! Reading for people: heads, rows, dead letters.
//!
//! Invariants
//! - Reads are consistent: whatever was answered before is seen.
//! - It needs no `prepare`, and writes nothing.
//! - One page after the other: reading takes little of what writers need.
//! - The items of a row (`part`) are added up: who asks sees rows.
//!
//! Not here: the protocol's own reads (`head`).

use super::head::{damaged, stored};
use super::item::{self, DAY, END, Item, PK, SK, START, VERSION, get_n, get_s, get_u64, n, s};
use super::{DynamoStore, IN_FLIGHT, part};
use crate::store::{Fences, Layout, RowQuery, StoreError, StoredDeadLetter, StoredRow, Which};
use aws_sdk_dynamodb::types::AttributeValue;
use futures::stream::{self, StreamExt, TryStreamExt};
use plimsoll_core::account::Reason;
use plimsoll_core::lane::{Head, LaneKey, StoredPend};
use plimsoll_core::policy::Measure;
use plimsoll_core::time::{ArrivalTime, EventTime};
use plimsoll_core::window::Window;
use plimsoll_core::wire::effects::{Row, Table};
use std::collections::BTreeMap;

impl DynamoStore {
    /// Heads with what is pending beside them.
    pub(super) async fn read_lanes(&self, layout: &Layout) -> Result<Vec<(Head, Option<StoredPend>)>, StoreError> {
        let table = &self.names.lanes;
        let listed = self.query(table, item::lanes_pk(&layout.lane("")), None, usize::MAX).await?;
        let lanes: Vec<LaneKey> = listed
            .iter()
            .map(|i| get_s(i, "lane").map(|lane| layout.lane(lane)).ok_or_else(|| self.broken(table, i)))
            .collect::<Result<_, _>>()?;
        let heads = stream::iter(lanes).map(|lane| async move {
            let get =
                self.reader.get_item().table_name(table).set_key(Some(item::head_key(&lane))).consistent_read(true);
            let got = get.send().await.map_err(|e| self.asked("GetItem", table).failure(&e))?;
            // Listed and never made: its host died between the two.
            let Some(item) = got.item else { return Ok(None) };
            let lane = stored(&item).and_then(|h| Some((Head::decode(&h.bytes).ok()?, h.pend)));
            lane.map(Some).ok_or_else(|| self.broken(table, &item))
        });
        let heads: Vec<Option<(Head, Option<StoredPend>)>> = heads.buffered(IN_FLIGHT).try_collect().await?;
        Ok(heads.into_iter().flatten().collect())
    }

    pub(super) async fn read_rows(&self, layout: &Layout, query: &RowQuery) -> Result<Vec<StoredRow>, StoreError> {
        let table = if query.table == Which::Main { &self.names.rows } else { &self.names.late };
        let id = layout.rows_id();
        let items = match &query.key {
            Some(key) => match item::row_pk(&id, key) {
                Some(pk) => self.query(table, pk, Some(query), usize::MAX).await?,
                None => Vec::new(),
            },
            None => self.scan(table, &id, query).await?,
        };
        let measures = &layout.policy.spec().measures;
        let parts: Vec<StoredRow> = items
            .iter()
            .map(|item| row(item, &id, query.table, measures).ok_or_else(|| self.broken(table, item)))
            .collect::<Result<_, _>>()?;
        let mut rows = part::whole(parts, measures);
        rows.retain(|r| query.wants(&r.row.key, r.window.start));
        rows.truncate(query.limit.unwrap_or(usize::MAX));
        Ok(rows)
    }

    pub(super) async fn read_dead_letters(
        &self,
        layout: &Layout,
        limit: usize,
    ) -> Result<Vec<StoredDeadLetter>, StoreError> {
        let table = &self.names.dead;
        let mut letters = Vec::new();
        for (head, _) in self.read_lanes(layout).await? {
            let left = limit - letters.len();
            if left == 0 {
                break;
            }
            for item in self.query(table, item::base36(head.alias), None, left).await? {
                letters.push(letter(&item).ok_or_else(|| self.broken(table, &item))?);
            }
        }
        Ok(letters)
    }

    pub(super) async fn read_fences(&self, layout: &Layout, window: &Window, key: &[u8]) -> Result<Fences, StoreError> {
        let Some(pk) = item::row_pk(&layout.rows_id(), key) else { return Ok(Fences::new()) };
        let to = EventTime::from_millis(window.start.as_millis().saturating_add(1));
        let query = RowQuery { from: Some(window.start), to: Some(to), ..RowQuery::default() };
        let items = self.query(&self.names.rows, pk, Some(&query), usize::MAX).await?;
        // Each part of the row holds the fences of other lanes.
        let parts = items.iter().filter(|part| get_n(part, END) == Some(i128::from(window.end.as_millis())));
        let fences = parts
            .flat_map(|part| part.keys().filter_map(|name| Some((item::fence_alias(name)?, get_u64(part, name)?))));
        Ok(fences.collect())
    }

    /// Their codes alone: letters may be long, and there may be many.
    pub(super) async fn count_dead_letters(
        &self,
        layout: &Layout,
    ) -> Result<BTreeMap<(String, Reason), u64>, StoreError> {
        let table = &self.names.dead;
        let mut counts = BTreeMap::new();
        for (head, _) in self.read_lanes(layout).await? {
            let query = self
                .reader
                .query()
                .table_name(table)
                .consistent_read(true)
                .key_condition_expression("#pk = :pk")
                .projection_expression("#pk, #sk, #code")
                .expression_attribute_names("#pk", PK)
                .expression_attribute_names("#sk", SK)
                .expression_attribute_names("#code", "code")
                .expression_attribute_values(":pk", s(item::base36(head.alias)));
            let mut next = None;
            loop {
                let page = query.clone().set_exclusive_start_key(next).send().await;
                let page = page.map_err(|e| self.asked("Query", table).failure(&e))?;
                for item in page.items() {
                    let code = get_n(item, "code").and_then(|code| u16::try_from(code).ok());
                    let reason = code.and_then(Reason::from_code).ok_or_else(|| self.broken(table, item))?;
                    *counts.entry((head.key.lane.clone(), reason)).or_default() += 1;
                }
                next = page.last_evaluated_key;
                if next.is_none() {
                    break;
                }
            }
        }
        Ok(counts)
    }

    /// Items of one partition, of windows that start where `rows` wants them, at most `limit`.
    pub(super) async fn query(
        &self,
        table: &str,
        pk: String,
        rows: Option<&RowQuery>,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let (from, to) = rows.map_or((None, None), |q| (q.from, q.to));
        let mut query = self
            .reader
            .query()
            .table_name(table)
            .consistent_read(true)
            .expression_attribute_names("#pk", PK)
            .expression_attribute_values(":pk", s(pk));
        // A row's sort key begins with its start and goes on: it is above the text of the start alone.
        let mut condition = String::from("#pk = :pk");
        if from.is_some() || to.is_some() {
            let text = |t: EventTime| s(item::instant(t.as_millis()));
            condition.push_str(" AND #sk BETWEEN :from AND :to");
            query = query
                .expression_attribute_names("#sk", SK)
                .expression_attribute_values(":from", text(from.unwrap_or(EventTime::MIN)))
                .expression_attribute_values(":to", to.map_or_else(|| s("~~"), text));
        }
        let query = query.key_condition_expression(condition);
        let (mut items, mut next) = (Vec::new(), None);
        loop {
            // Never 0: the loop ends before.
            let most = i32::try_from(limit - items.len()).unwrap_or(i32::MAX);
            let page = query.clone().limit(most).set_exclusive_start_key(next).send().await;
            let page = page.map_err(|e| self.asked("Query", table).failure(&e))?;
            items.extend(page.items.unwrap_or_default());
            next = page.last_evaluated_key;
            if next.is_none() || items.len() >= limit {
                return Ok(items);
            }
        }
    }

    /// All rows of a name, of windows that start where `query` wants them. Reads the whole table.
    pub(super) async fn scan(&self, table: &str, id: &str, query: &RowQuery) -> Result<Vec<Item>, StoreError> {
        let at = |t: Option<EventTime>, otherwise| n(t.map_or(otherwise, EventTime::as_millis));
        let scan = self
            .reader
            .scan()
            .table_name(table)
            .consistent_read(true)
            .filter_expression("begins_with(#pk, :id) AND #s BETWEEN :from AND :to")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#s", START)
            .expression_attribute_values(":id", s(format!("{id}#")))
            .expression_attribute_values(":from", at(query.from, i64::MIN))
            .expression_attribute_values(":to", at(query.to, i64::MAX));
        let (mut items, mut next) = (Vec::new(), None);
        loop {
            let page = scan.clone().set_exclusive_start_key(next).send().await;
            let page = page.map_err(|e| self.asked("Scan", table).failure(&e))?;
            items.extend(page.items.unwrap_or_default());
            next = page.last_evaluated_key;
            if next.is_none() {
                return Ok(items);
            }
        }
    }

    pub(super) fn broken(&self, table: &str, item: &Item) -> StoreError {
        StoreError::Refused(damaged(table, &self.region, item))
    }
}

pub(super) fn row(item: &Item, id: &str, which: Which, measures: &[Measure]) -> Option<StoredRow> {
    let time = |name| Some(EventTime::from_millis(i64::try_from(get_n(item, name)?).ok()?));
    let key = get_s(item, PK)?.strip_prefix(id)?.strip_prefix('#')?;
    let day = match item.get(DAY) {
        None => None,
        Some(_) => Some(i64::try_from(get_n(item, DAY)?).ok()?),
    };
    let value = |m: &Measure| match item.get(&m.name) {
        None => Some(None),
        Some(_) => Some(Some(get_n(item, &m.name)?)),
    };
    Some(StoredRow {
        table: if which == Which::Main { Table::Main } else { Table::Late { day } },
        window: Window { start: time(START)?, end: time(END)? },
        row: Row { key: key.as_bytes().to_vec(), values: measures.iter().map(value).collect::<Option<_>>()? },
        version: get_u64(item, VERSION)?,
    })
}

fn letter(item: &Item) -> Option<StoredDeadLetter> {
    let arrival = match item.get("arrival") {
        None => None,
        Some(_) => Some(ArrivalTime::from_millis(i64::try_from(get_n(item, "arrival")?).ok()?)),
    };
    // Items of before do not say which batch wrote them.
    let batch = match item.get("batch") {
        None => 0,
        Some(_) => get_u64(item, "batch")?,
    };
    Some(StoredDeadLetter {
        lane: get_s(item, "lane")?.to_owned(),
        n: batch,
        position: get_s(item, "position")?.to_owned(),
        reason: Reason::from_code(u16::try_from(get_n(item, "code")?).ok()?)?,
        detail: get_s(item, "detail")?.to_owned(),
        arrival,
        length: get_u64(item, "length")?,
        raw: item.get("raw").map_or(Some(&[][..]), |v: &AttributeValue| v.as_b().ok().map(AsRef::as_ref))?.to_vec(),
    })
}
