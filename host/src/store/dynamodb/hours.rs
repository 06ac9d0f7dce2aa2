//! Rows of hours and days: a slot for each part, set where the part is newer.
//!
//! ```text
//! hours, days   _pk <rows_id>#<key>   _sk <start>/<end>       window_start, window_end  _v
//!               s07 [7, null, 13]     what minute 7 counted, in the policy's order
//!               v07 3                 at which version of its row; `07_2`: of the row in bucket 2
//! ```
//! ```text
//! SET s07 = :s, v07 = :v ADD _v 1      IF attribute_not_exists(v07) OR v07 < :v
//! ```
//! Nothing expires here. The answer holds the whole row, right after the write or as it refused it.
//!
//! Limits: an hour has 60 slots at most, a day 25 (a few more where clocks moved by odd minutes); a slot of 32 columns of 30
//! digits is 600 bytes, so that a row is 36 KB at most, and 1 to 3 KB with a few columns. Each write of it costs as many
//! write units.
//!
//! Not here: which changes there are (`stream`), how far they were followed (`notes`).

use super::item::{self, END, Item, PK, SK, START, VERSION, get_n, get_s, get_u64, n, number};
use super::{DynamoStore, read};
use crate::rollup::{At, Change, Covered, Notes, Place, Shelf};
use crate::store::{Completeness, Layout, RolledUp, RowQuery, Slots, StoreError, StoredRow, UpTo, Which, sort};
use async_trait::async_trait;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use plimsoll_core::rollup::{Level, Part, Slot, Spans, Whole};
use plimsoll_core::time::EventTime;
use plimsoll_core::window::Window;
use plimsoll_core::wire::effects::{Row, Table};

/// The hours and days of one layout.
pub struct Hours<'a> {
    pub(super) store: &'a DynamoStore,
    pub(super) layout: Layout,
    /// Under which name it is noted how far the changes were followed.
    pub(super) notes: String,
}

impl DynamoStore {
    /// Where the hours and days of a layout are kept. Asks for nothing.
    pub fn hours(&self, layout: &Layout) -> Hours<'_> {
        Hours { store: self, layout: layout.clone(), notes: super::notes::name(layout) }
    }

    pub(super) async fn read_rollup(
        &self,
        layout: &Layout,
        spans: &Spans,
        level: Level,
        query: &RowQuery,
    ) -> Result<RolledUp, StoreError> {
        // Before the rows: they may hold more than what is said of them, and never less.
        let covered = self.hours(layout).notes().await?.covered;
        let measures = &layout.policy.spec().measures;
        let mut rows: Vec<StoredRow> = Vec::new();
        for (key, window, whole) in self.wholes(layout, spans, level, query).await? {
            let row = Row { key, values: whole.total(measures) };
            rows.push(StoredRow { table: Table::Main, window, row, version: whole.version });
        }
        sort(&mut rows);
        rows.truncate(query.limit.unwrap_or(usize::MAX));
        Ok(RolledUp { rows, up_to: UpTo::Watermark(covered.and_then(|c| c.watermark)) })
    }

    /// Rows of hours or days with their slots, in no order.
    pub async fn wholes(
        &self,
        layout: &Layout,
        spans: &Spans,
        level: Level,
        query: &RowQuery,
    ) -> Result<Vec<(Vec<u8>, Window, Whole)>, StoreError> {
        let (table, id) = (self.table_of(level), layout.rows_id());
        let items = match &query.key {
            Some(key) => match item::row_pk(&id, key) {
                Some(pk) => self.query(table, pk, Some(query), usize::MAX).await?,
                None => Vec::new(),
            },
            None => self.scan(table, &id, query).await?,
        };
        let mut wholes = Vec::new();
        for item in &items {
            let (key, window) = place(item, &id).ok_or_else(|| self.broken(table, item))?;
            // What lies otherwise was made by another policy of this shape: with other hours, or other days.
            let cuts = if level == Level::Day { spans.cuts(&window) } else { String::new() };
            let ours =
                spans.span(level, window.start) == Some(window) && get_s(item, SK) == Some(sk(window, &cuts).as_str());
            if ours && query.wants(&key, window.start) {
                wholes.push((key, window, whole(item).ok_or_else(|| self.broken(table, item))?));
            }
        }
        Ok(wholes)
    }

    pub(super) async fn read_slots(&self, layout: &Layout, spans: &Spans) -> Result<Slots, StoreError> {
        let mut slots = Slots::default();
        let all = RowQuery::default();
        for (level, wholes) in [(Level::Day, &mut slots.days), (Level::Hour, &mut slots.hours)] {
            if spans.has(level) {
                let read = self.wholes(layout, spans, level, &all).await?;
                wholes.extend(read.into_iter().map(|(key, window, whole)| ((key, window), whole)));
            }
        }
        let (hours, mut from) = (self.hours(layout), None);
        loop {
            let (changes, next) = hours.rows(from).await?;
            slots.rows.extend(changes);
            from = next;
            if from.is_none() {
                return Ok(slots);
            }
        }
    }

    fn table_of(&self, level: Level) -> &str {
        match level {
            Level::Hour => &self.names.hours,
            Level::Day => &self.names.days,
        }
    }
}

#[async_trait]
impl Shelf for Hours<'_> {
    async fn set(&self, at: &At<'_>, slot: Slot, part: &Part) -> Result<(Whole, bool), StoreError> {
        let (store, table) = (self.store, self.store.table_of(at.level));
        let Some(pk) = item::row_pk(&self.layout.rows_id(), at.key) else {
            return Err(StoreError::Refused(format!("table {table}: a row's key is no text")));
        };
        let update = store
            .reader
            .update_item()
            .table_name(table)
            .set_key(Some(item::key(pk, sk(at.span, at.cuts))))
            .update_expression("SET #s = :s, #sv = :v, #start = :start, #end = :end ADD #version :one")
            .condition_expression("attribute_not_exists(#sv) OR #sv < :v")
            .expression_attribute_names("#s", format!("s{}", slot.name()))
            .expression_attribute_names("#sv", format!("v{}", slot.name()))
            .expression_attribute_names("#start", START)
            .expression_attribute_names("#end", END)
            .expression_attribute_names("#version", VERSION)
            .expression_attribute_values(":s", columns(&part.values))
            .expression_attribute_values(":v", n(part.version))
            .expression_attribute_values(":start", n(at.span.start.as_millis()))
            .expression_attribute_values(":end", n(at.span.end.as_millis()))
            .expression_attribute_values(":one", n(1))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let (held, taken) = match update.send().await {
            Ok(done) => (done.attributes.unwrap_or_default(), true),
            Err(e) => match e.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    (refused.item().cloned().unwrap_or_default(), false)
                }
                _ => return Err(store.asked("UpdateItem", table).failure(&e).into()),
            },
        };
        whole(&held).map(|whole| (whole, taken)).ok_or_else(|| store.broken(table, &held))
    }

    async fn rows(&self, from: Option<String>) -> Result<(Vec<Change>, Option<String>), StoreError> {
        let (store, table, id) = (self.store, &self.store.names.rows, self.layout.rows_id());
        let from = from.map(|text| {
            let (pk, sk) = text.split_once('\u{0}').expect("a place of ours has both parts");
            item::key(pk.to_owned(), sk.to_owned())
        });
        let scan = store
            .reader
            .scan()
            .table_name(table)
            .consistent_read(true)
            .filter_expression("begins_with(#pk, :id)")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_values(":id", item::s(format!("{id}#")))
            .set_exclusive_start_key(from);
        let page = scan.send().await.map_err(|e| store.asked("Scan", table).failure(&e))?;
        let changes = page
            .items()
            .iter()
            .map(|i| change(i, &self.layout).ok_or_else(|| store.broken(table, i)))
            .collect::<Result<_, _>>()?;
        let next = page.last_evaluated_key.as_ref();
        // Keys are text of ours: without NUL, which JSON escapes.
        Ok((changes, next.and_then(|key| Some(format!("{}\u{0}{}", get_s(key, PK)?, get_s(key, SK)?)))))
    }

    async fn watermark(&self) -> Result<Option<EventTime>, StoreError> {
        let lanes = self.store.read_lanes(&self.layout).await?;
        let heads: Vec<_> = lanes.into_iter().map(|(head, _)| head).collect();
        Ok(Completeness::of(&self.layout.policy, &heads).watermark())
    }

    async fn notes(&self) -> Result<Notes, StoreError> {
        self.read_notes().await
    }

    async fn note(&self, shard: &str, place: &Place) -> Result<(), StoreError> {
        self.write_place(shard, place).await
    }

    async fn forget(&self, shard: &str) -> Result<(), StoreError> {
        self.delete_place(shard).await
    }

    async fn cover(&self, stream: &str, covered: &Covered) -> Result<(), StoreError> {
        self.write_covered(stream, covered).await
    }
}

/// A row as the table or its stream holds it; none if it is no row of this layout's form.
pub(super) fn change(item: &Item, layout: &Layout) -> Option<Change> {
    let row = read::row(item, &layout.rows_id(), Which::Main, &layout.policy.spec().measures)?;
    let part = Part { version: row.version, values: row.row.values };
    Some(Change { key: row.row.key, window: row.window, bucket: item::row_part(get_s(item, SK)?)?, part })
}

fn sk(span: Window, cuts: &str) -> String {
    let bounds = item::row_sk(Table::Main, &span, 0);
    if cuts.is_empty() { bounds } else { format!("{bounds}/{cuts}") }
}

/// Key and bounds of an hour or day.
fn place(item: &Item, id: &str) -> Option<(Vec<u8>, Window)> {
    let key = get_s(item, PK)?.strip_prefix(id)?.strip_prefix('#')?.as_bytes().to_vec();
    let time = |name| i64::try_from(get_n(item, name)?).ok();
    Some((key, Window::of_millis(time(START)?, time(END)?)))
}

/// The slots of an hour or day.
fn whole(item: &Item) -> Option<Whole> {
    let mut whole = Whole { version: get_u64(item, VERSION)?, ..Whole::default() };
    for (name, columns) in item {
        let Some(slot) = name.strip_prefix('s').and_then(Slot::parse) else { continue };
        let values = columns.as_l().ok()?.iter().map(|v| match v {
            AttributeValue::Null(_) => Some(None),
            v => Some(Some(number(v.as_n().ok()?)?)),
        });
        let version = get_u64(item, &format!("v{}", slot.name()))?;
        whole.slots.insert(slot, Part { version, values: values.collect::<Option<_>>()? });
    }
    Some(whole)
}

fn columns(values: &[Option<i128>]) -> AttributeValue {
    AttributeValue::L(values.iter().map(|v| v.map_or(AttributeValue::Null(true), n)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item_of(parts: &[(Slot, Part)]) -> Item {
        let mut item = item::key("00#[\"a\"]".into(), "x".into());
        item.extend([(VERSION.to_owned(), n(9)), (START.to_owned(), n(0)), (END.to_owned(), n(3_600_000))]);
        for (slot, part) in parts {
            item.insert(format!("s{}", slot.name()), columns(&part.values));
            item.insert(format!("v{}", slot.name()), n(part.version));
        }
        item
    }

    #[test]
    fn slots_come_back_as_they_were_set() {
        let parts = [
            (Slot { minute: 7, bucket: 0 }, Part { version: 3, values: vec![Some(7), None, Some(-13)] }),
            (Slot { minute: 7, bucket: 2 }, Part { version: 1, values: vec![Some(10i128.pow(33)), None, None] }),
        ];
        let read = whole(&item_of(&parts)).expect("slots");
        assert_eq!((read.version, read.slots.into_iter().collect::<Vec<_>>()), (9, parts.to_vec()));
        assert_eq!(place(&item_of(&[]), "00"), Some((b"[\"a\"]".to_vec(), Window::of_millis(0, 3_600_000))));
        assert_eq!(place(&item_of(&[]), "01"), None);
    }

    #[test]
    fn a_slot_without_its_version_is_no_row_of_ours() {
        let mut item = item_of(&[(Slot { minute: 0, bucket: 0 }, Part { version: 1, values: vec![Some(1)] })]);
        item.remove("v00");
        assert_eq!(whole(&item), None);
    }

    #[test]
    fn each_part_of_a_row_has_a_slot_of_its_own() {
        let window = Window::of_millis(60_000, 120_000);
        let parts = [0, 1, 40].map(|part| item::row_part(&item::row_sk(Table::Main, &window, part)));
        assert_eq!(parts, [Some(0), Some(1), Some(40)]);
        assert_eq!(item::row_part("1970-01-01T00:01:00.000Z/x#-"), None);
    }

    #[test]
    fn days_whose_hours_differ_have_rows_of_their_own() {
        let day = Window::of_millis(0, 86_400_000);
        assert_eq!(sk(day, ""), "1970-01-01T00:00:00.000Z/1970-01-02T00:00:00.000Z");
        assert_eq!(sk(day, "120x30"), format!("{}/120x30", sk(day, "")));
    }
}
