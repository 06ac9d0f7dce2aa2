//! A store in memory: the model that the others are compared with, and the double that tests of the driver use.
//!
//! It does what the contract says with nothing in between, in either atomicity. It forgets everything with the process,
//! so the command line does not offer it.

use super::gap::{self, Gap, GapKind};
use super::{Fences, Layout, RowQuery, Store, StoreError, StoredDeadLetter, StoredRow, Which, rows_id, sort};
use async_trait::async_trait;
use plimsoll_core::decode::Decoder;
use plimsoll_core::lane::{
    Answer, Applied, Atomicity, ChunkName, Command, Content, Effect, Head, LaneKey, Limits, StoredHead,
};
use plimsoll_core::policy::Policy;
use plimsoll_core::rows::fold;
use plimsoll_core::time::EventTime;
use plimsoll_core::window::Window;
use plimsoll_core::wire::effects::{Row, Table};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

type RowKey = (String, Table, i64, i64, Vec<u8>);

/// A store in memory.
pub struct Memory {
    atomicity: Atomicity,
    limits: Limits,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    layout: Option<Layout>,
    aliases: u64,
    heads: BTreeMap<LaneKey, StoredHead>,
    chunks: BTreeMap<(u64, ChunkName), Vec<u8>>,
    rows: BTreeMap<RowKey, Kept>,
    dead: BTreeMap<(LaneKey, String), StoredDeadLetter>,
    gaps: BTreeMap<(LaneKey, GapKind, Option<String>), Gap>,
}

#[derive(Clone, Default)]
struct Kept {
    values: Vec<Option<i128>>,
    version: u64,
    fences: BTreeMap<u64, u64>,
}

impl Memory {
    /// An empty store.
    pub fn new(atomicity: Atomicity, limits: Limits) -> Self {
        Self { atomicity, limits, inner: Mutex::default() }
    }

    /// How many chunks it holds.
    pub fn chunks(&self) -> usize {
        self.lock().chunks.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.layout.as_ref().expect("prepared before it is used").policy)
    }

    fn execute(&mut self, key: &LaneKey, command: &Command) -> Result<Answer, StoreError> {
        let write = |happened: bool| if happened { Answer::Written } else { Answer::Refused };
        Ok(match command {
            Command::ReadHead => Answer::Head { stored: self.heads.get(key).cloned(), now_ms: crate::clock::now_ms() },
            Command::AllocateAlias => {
                self.aliases += 1;
                Answer::Alias(self.aliases)
            }
            Command::CreateHead { head } => write(
                !self.heads.contains_key(key) && {
                    self.heads.insert(key.clone(), head.clone());
                    true
                },
            ),
            Command::ListChunks { alias } => {
                Answer::Names(self.chunks.keys().filter(|(a, _)| a == alias).map(|(_, name)| *name).collect())
            }
            Command::GetChunks { alias, names } => {
                Answer::Chunks(names.iter().map(|name| self.chunks.get(&(*alias, *name)).cloned()).collect())
            }
            Command::PutChunks { alias, chunks } => {
                self.chunks.extend(chunks.iter().map(|c| ((*alias, c.name), c.bytes.clone())));
                Answer::Written
            }
            Command::DeleteChunks { alias, names } => {
                for name in names {
                    self.chunks.remove(&(*alias, *name));
                }
                Answer::Written
            }
            Command::Intent { pend } => {
                let held = self.heads.get_mut(key).filter(|h| h.n + 1 == pend.n && h.pend.is_none());
                write(held.map(|h| h.pend = Some(pend.clone())).is_some())
            }
            Command::Apply { alias, content, effects } => {
                self.layout.as_ref().expect("prepared before it is used").check(&content.pin)?;
                Answer::Applied(effects.iter().map(|i| self.apply(key, Some(*alias), content, *i)).collect())
            }
            Command::Commit { n, digest, head } => {
                let held = self
                    .heads
                    .get_mut(key)
                    .filter(|h| h.pend.as_ref().is_some_and(|p| p.n == *n && p.digest == *digest));
                write(held.map(|h| *h = head.clone()).is_some())
            }
            Command::Transact { content, head } => {
                self.layout.as_ref().expect("prepared before it is used").check(&content.pin)?;
                if self.heads.get(key).is_none_or(|h| h.n + 1 != content.n) {
                    return Ok(Answer::Refused);
                }
                // A transaction: the rows of before come back when one of them cannot be written.
                let before = self.rows.clone();
                for i in 0..content.len() {
                    if let Applied::Impossible(detail) = self.apply(key, None, content, i) {
                        self.rows = before;
                        return Ok(Answer::Impossible { detail });
                    }
                }
                self.heads.insert(key.clone(), head.clone());
                Answer::Written
            }
        })
    }

    fn apply(&mut self, key: &LaneKey, alias: Option<u64>, content: &Content, i: u32) -> Applied {
        let policy = self.policy();
        match content.effect(i) {
            Effect::Dead { letter, position } => {
                let at = (key.clone(), position.to_owned());
                self.dead.entry(at).or_insert_with(|| StoredDeadLetter {
                    lane: key.lane.clone(),
                    n: content.n,
                    position: position.to_owned(),
                    reason: letter.reason,
                    detail: Decoder::new(&policy).explain(letter.reason, letter.field, letter.at),
                    arrival: letter.arrival,
                    length: letter.full_len,
                    raw: letter.raw.clone(),
                });
            }
            Effect::Row { table, start, end, row } => {
                let id = rows_id(&content.pin.shape, &key.generation);
                let at = (id, table, start.as_millis(), end.as_millis(), row.key.clone());
                let kept = self.rows.entry(at).or_default();
                if let Some(fence) = alias.and_then(|a| kept.fences.get(&a)).filter(|f| **f >= content.n) {
                    return Applied::Fenced(*fence);
                }
                kept.values.resize(row.values.len(), None);
                for ((held, v), m) in kept.values.iter_mut().zip(&row.values).zip(&policy.spec().measures) {
                    let Some(total) = fold(m.op, *held, *v) else {
                        return Applied::Impossible(format!("the total of `{}` goes beyond 10^30", m.name));
                    };
                    *held = total;
                }
                kept.version += 1;
                kept.fences.extend(alias.map(|a| (a, content.n)));
            }
        }
        Applied::Done
    }
}

#[async_trait]
impl Store for Memory {
    fn describe(&self) -> String {
        "memory".into()
    }

    fn atomicity(&self) -> Atomicity {
        self.atomicity
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn table(&self) -> String {
        "memory".into()
    }

    async fn prepare(&self, layout: &Layout) -> Result<(), StoreError> {
        self.lock().layout = Some(layout.clone());
        Ok(())
    }

    async fn execute(&self, key: &LaneKey, command: &Command) -> Result<Answer, StoreError> {
        self.lock().execute(key, command)
    }

    async fn heads(&self, layout: &Layout) -> Result<Vec<Head>, StoreError> {
        let inner = self.lock();
        let of_layout = layout.lane("");
        let heads = inner.heads.iter();
        let heads = heads.filter(|(k, _)| k.app == of_layout.app && k.generation == of_layout.generation);
        Ok(heads.map(|(_, h)| Head::decode(&h.bytes).expect("what the machine wrote")).collect())
    }

    async fn rows(&self, layout: &Layout, query: &RowQuery) -> Result<Vec<StoredRow>, StoreError> {
        let inner = self.lock();
        let id = layout.rows_id();
        let rows = inner.rows.iter().filter(|((of, table, start, _, key), _)| {
            *of == id
                && (*table == Table::Main) == (query.table == Which::Main)
                && query.wants(key, EventTime::from_millis(*start))
        });
        let mut rows: Vec<_> = rows
            .map(|((_, table, start, end, key), kept)| StoredRow {
                table: *table,
                window: Window { start: EventTime::from_millis(*start), end: EventTime::from_millis(*end) },
                row: Row { key: key.clone(), values: kept.values.clone() },
                version: kept.version,
            })
            .collect();
        sort(&mut rows);
        rows.truncate(query.limit.unwrap_or(usize::MAX));
        Ok(rows)
    }

    async fn dead_letters(&self, layout: &Layout, limit: usize) -> Result<Vec<StoredDeadLetter>, StoreError> {
        let inner = self.lock();
        let of_layout = layout.lane("");
        let dead = inner.dead.iter();
        let dead = dead.filter(|((k, _), _)| k.app == of_layout.app && k.generation == of_layout.generation);
        Ok(dead.map(|(_, d)| d.clone()).take(limit).collect())
    }

    async fn fences(&self, layout: &Layout, window: &Window, key: &[u8]) -> Result<Option<Fences>, StoreError> {
        if self.atomicity == Atomicity::Transaction {
            return Ok(None);
        }
        let (start, end) = (window.start.as_millis(), window.end.as_millis());
        let at = (layout.rows_id(), Table::Main, start, end, key.to_vec());
        Ok(Some(self.lock().rows.get(&at).map(|kept| kept.fences.clone()).unwrap_or_default()))
    }

    async fn note_gap(&self, layout: &Layout, gap: &Gap) -> Result<Gap, StoreError> {
        let at = (layout.lane(&gap.lane), gap.kind, gap.position.clone());
        let mut inner = self.lock();
        let kept = inner.gaps.entry(at).or_insert_with(|| gap.clone());
        kept.accepted_ms = kept.accepted_ms.or(gap.accepted_ms);
        Ok(kept.clone())
    }

    async fn gaps(&self, layout: &Layout) -> Result<Vec<Gap>, StoreError> {
        let of_layout = layout.lane("");
        let inner = self.lock();
        let gaps = inner.gaps.iter();
        let gaps = gaps.filter(|((k, ..), _)| k.app == of_layout.app && k.generation == of_layout.generation);
        let mut gaps: Vec<Gap> = gaps.map(|(_, gap)| gap.clone()).collect();
        gap::sort(&mut gaps);
        Ok(gaps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract;

    #[tokio::test]
    async fn it_keeps_the_contract_in_both_atomicities() {
        for (atomicity, limits) in [(Atomicity::Items, Limits::ITEMS), (Atomicity::Transaction, Limits::NONE)] {
            contract::check(async || {
                let store: Arc<dyn Store> = Arc::new(Memory::new(atomicity, limits));
                [Arc::clone(&store), store]
            })
            .await;
        }
    }
}
