//! APPLY: the effects of a content, each at most once.
//!
//! ```text
//! row   add (deltas and fence) -> done, or refused with the old row: its fence says whether it is in
//!       then the extremes that are better than the row's, also where an earlier attempt's add is what is found
//! dead  put, unless it is there
//! ```
//! Invariants
//! - An effect is answered `Done` or `Fenced(n)` only after its extremes are in the row: the add's own answer may have been
//!   lost together with the host that would have written them.
//! - Nothing is sent after the deadline (`deadline`), extremes included.
//! - Failing requests do not pile up: after `FAILURES_MAX` in one command the rest is left for the next attempt.
//!
//! Not here: expressions (`row`), the next attempt (`plimsoll_core::lane`).

use super::deadline::Watch;
use super::failure::Failure;
use super::item::{self, Item, PK, b, get_u64, n, s};
use super::row::{self, Add, Update};
use super::{DynamoStore, IN_FLIGHT, part, weight};
use crate::clock;
use crate::store::{Layout, StoreError, rows_id};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnConsumedCapacity, ReturnValue, ReturnValuesOnConditionCheckFailure};
use futures::stream::{self, StreamExt};
use plimsoll_core::decode::Decoder;
use plimsoll_core::lane::{Answer, Applied, Content, Effect, LaneKey};
use plimsoll_core::policy::Measure;
use plimsoll_core::window::Window;
use plimsoll_core::wire::effects::{DeadLetter, Row, Table};
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many failed requests end a command: a service that throttles is not helped by thousands more.
const FAILURES_MAX: usize = 64;
/// How often a row's extremes are compared again because another lane was faster.
const RACES_MAX: usize = 20;

/// What an effect's requests have in common.
struct Context<'a> {
    rows_id: String,
    measures: &'a [Measure],
    fence: String,
    /// Which item of each row.
    part: u64,
    n: u64,
    looked_s: i64,
    failures: AtomicUsize,
}

/// An effect as it is sent.
enum Sent<'a> {
    Row { table: Table, window: Window, row: &'a Row },
    Dead(Box<Item>),
}

/// An update's answer.
enum Updated {
    /// It happened; the row after it, where it was asked for.
    Done(Item),
    /// Its condition did not hold; the row as it is.
    Refused(Option<Item>),
}

impl DynamoStore {
    pub(super) async fn apply(
        &self,
        key: &LaneKey,
        alias: u64,
        content: &Content,
        effects: &[u32],
    ) -> Result<Answer, StoreError> {
        let prepared = self.prepared();
        prepared.layout.check(&content.pin)?;
        let context = Context {
            rows_id: rows_id(&content.pin.shape, &key.generation),
            measures: &prepared.layout.policy.spec().measures,
            fence: item::fence_name(alias),
            part: part::of(alias, prepared.lanes_per_item),
            n: content.n,
            looked_s: self.last_look(key),
            failures: AtomicUsize::new(0),
        };
        let context = &context;
        let sent = sent(&prepared.layout, key, alias, content, effects);
        let mut answers = vec![Applied::Expired; effects.len()];
        let sent = &sent;
        let mut requests = stream::iter(0..sent.len())
            .map(|place| async move { (place, self.apply_one(context, &sent[place]).await) })
            .buffer_unordered(IN_FLIGHT);
        while let Some((place, answer)) = requests.next().await {
            answers[place] = answer.or_else(Failure::applied)?;
        }
        Ok(Answer::Applied(answers))
    }

    async fn apply_one(&self, context: &Context<'_>, sent: &Sent<'_>) -> Result<Applied, Failure> {
        if context.failures.load(Ordering::Relaxed) >= FAILURES_MAX {
            return Ok(Applied::Unknown(format!("not sent, since {FAILURES_MAX} requests before it failed")));
        }
        let applied = match sent {
            Sent::Row { table, window, row } => self.apply_row(context, *table, *window, row).await,
            Sent::Dead(item) => self.apply_dead(context, (**item).clone()).await,
        };
        if let Err(Failure::Unknown(_)) = applied {
            context.failures.fetch_add(1, Ordering::Relaxed);
        }
        applied
    }

    async fn apply_row(
        &self,
        context: &Context<'_>,
        table: Table,
        window: Window,
        row: &Row,
    ) -> Result<Applied, Failure> {
        let name = if table == Table::Main { &self.names.rows } else { &self.names.late };
        let Some(pk) = item::row_pk(&context.rows_id, &row.key) else {
            return Err(Failure::Impossible("a row's key is no text".into()));
        };
        let key = item::key(pk, item::row_sk(table, &window, context.part));
        let shown = || String::from_utf8_lossy(&row.key).into_owned();
        if let Some(measure) = row::too_great(context.measures, row) {
            return Err(Failure::Impossible(format!("`{measure}` of key {} is beyond 10^30", shown())));
        }
        let add = Add {
            measures: context.measures,
            row,
            table,
            window,
            fence: &context.fence,
            n: context.n,
            now_ms: clock::now_ms(),
            kept_s: self.rows_kept_s,
        };
        let extremes = row::has_extremes(context.measures);
        let (applied, mut known) = match self.update(context, name, &key, add.update(), extremes).await? {
            Updated::Done(after) => (Applied::Done, after),
            Updated::Refused(Some(held)) => match get_u64(&held, &context.fence) {
                Some(fence) if fence == context.n => (Applied::Fenced(fence), held),
                Some(fence) if fence > context.n => return Ok(Applied::Fenced(fence)),
                _ => {
                    return Err(Failure::Impossible(format!(
                        "table {name}: a total of key {} would go beyond 10^30",
                        shown()
                    )));
                }
            },
            // Without a row both parts of the condition hold.
            Updated::Refused(None) => {
                return Err(Failure::Impossible(format!(
                    "table {name}: a row that is not there refused an update of key {}; this service does not return \
                     the old item of a failed condition",
                    shown()
                )));
            }
        };
        for _ in 0..RACES_MAX {
            let Some(update) = row::extremes(context.measures, row, &known) else { return Ok(applied) };
            match self.update(context, name, &key, update, false).await? {
                Updated::Done(_) => return Ok(applied),
                // Another lane was faster: perhaps ours is still better than that one's.
                Updated::Refused(Some(held)) => known = held,
                Updated::Refused(None) => {
                    return Err(Failure::Impossible(format!(
                        "table {name}: the row of key {} vanished while it was written; rows must not be deleted",
                        shown()
                    )));
                }
            }
        }
        Err(Failure::Unknown(format!("table {name}: {RACES_MAX} others were faster at the row of key {}", shown())))
    }

    async fn update(
        &self,
        context: &Context<'_>,
        table: &str,
        key: &Item,
        update: Update,
        want_row: bool,
    ) -> Result<Updated, Failure> {
        let watch = Watch::since(context.looked_s);
        let bytes = weight::update_bytes(key, &update.names, &update.values);
        let request = self
            .writer
            .update_item()
            .table_name(table)
            .set_key(Some(key.clone()))
            .update_expression(update.update)
            .condition_expression(update.condition)
            .set_expression_attribute_names(Some(update.names))
            .set_expression_attribute_values(Some(update.values))
            .return_values(if want_row { ReturnValue::AllNew } else { ReturnValue::None })
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match request.customize().interceptor(watch.clone()).send().await {
            Ok(done) => {
                self.meter
                    .wrote(table, done.consumed_capacity(), || done.attributes().map_or(bytes, weight::item_bytes));
                Ok(Updated::Done(done.attributes.unwrap_or_default()))
            }
            Err(_) if watch.expired() => Err(Failure::Expired),
            Err(e) => match e.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    self.meter.computed(table, refused.item().map_or(0, weight::item_bytes));
                    Ok(Updated::Refused(refused.item().filter(|item| !item.is_empty()).cloned()))
                }
                _ => Err(self.asked("UpdateItem", table).failure(&e)),
            },
        }
    }

    async fn apply_dead(&self, context: &Context<'_>, letter: Item) -> Result<Applied, Failure> {
        let (table, watch) = (&self.names.dead, Watch::since(context.looked_s));
        let bytes = weight::item_bytes(&letter);
        let put = self
            .writer
            .put_item()
            .table_name(table)
            .set_item(Some(letter))
            .condition_expression("attribute_not_exists(#pk)")
            .expression_attribute_names("#pk", PK)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match put.customize().interceptor(watch.clone()).send().await {
            Ok(done) => {
                self.meter.wrote(table, done.consumed_capacity(), || bytes);
                Ok(Applied::Done)
            }
            Err(_) if watch.expired() => Err(Failure::Expired),
            // Alias and position name one record: it is there already.
            Err(e) if matches!(e.as_service_error(), Some(PutItemError::ConditionalCheckFailedException(_))) => {
                self.meter.computed(table, bytes);
                Ok(Applied::Done)
            }
            Err(e) => Err(self.asked("PutItem", table).failure(&e)),
        }
    }
}

/// Effects as they are sent.
fn sent<'a>(layout: &Layout, key: &LaneKey, alias: u64, content: &'a Content, effects: &[u32]) -> Vec<Sent<'a>> {
    let mut decoder = None;
    let effects = effects.iter().map(|i| match content.effect(*i) {
        Effect::Row { table, start, end, row } => Sent::Row { table, window: Window { start, end }, row },
        Effect::Dead { letter, position } => {
            let decoder = decoder.get_or_insert_with(|| Decoder::new(&layout.policy));
            let detail = decoder.explain(letter.reason, letter.field, letter.at);
            Sent::Dead(Box::new(dead_letter(key, (alias, content.n), letter, position, detail)))
        }
    });
    effects.collect()
}

/// A dead letter's item.
pub(super) fn dead_letter(
    key: &LaneKey,
    (alias, batch): (u64, u64),
    letter: &DeadLetter,
    position: &str,
    detail: String,
) -> Item {
    let mut item = item::key(item::base36(alias), item::bounded(position, item::SK_BYTES_MAX));
    let attributes = [
        ("app", s(&key.app)),
        ("generation", s(&key.generation)),
        ("lane", s(&key.lane)),
        ("batch", n(batch)),
        ("position", s(position)),
        ("reason", s(letter.reason.name())),
        ("code", n(letter.reason as u16)),
        ("detail", s(detail)),
        ("length", n(letter.full_len)),
        ("raw", b(&letter.raw)),
    ];
    item.extend(attributes.map(|(name, v)| (name.to_owned(), v)));
    if let Some(arrival) = letter.arrival {
        item.insert("arrival".into(), n(arrival.as_millis()));
    }
    item
}
