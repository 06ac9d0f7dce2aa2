//! Rows' deltas on standard output, as NDJSON: for pipes.
//!
//! A line a row and batch, with what the batch adds (`min` and `max`: its candidates) and the batch's number `n`. Nothing
//! is remembered: a second run counts the source from its start, so that what reads this sees each delta at least once.
//!
//! Not here: totals (any other store).

use super::{Gap, Layout, RowQuery, Store, StoreError, StoredDeadLetter, StoredRow};
use async_trait::async_trait;
use plimsoll_core::lane::{Answer, Atomicity, Command, Content, Head, LaneKey, Limits, StoredHead};
use plimsoll_core::policy::Policy;
use plimsoll_core::rows::{write_late_row, write_row};
use plimsoll_core::window::Window;
use plimsoll_core::wire::effects::Table;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

/// Writes deltas to standard output.
#[derive(Debug, Default)]
pub struct StdoutStore {
    policy: Mutex<Option<Arc<Policy>>>,
    /// Heads of this run: the protocol reads back what it wrote.
    heads: Mutex<BTreeMap<LaneKey, StoredHead>>,
}

impl StdoutStore {
    fn write(&self, content: &Content) -> Result<(), StoreError> {
        let policy = self.policy.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let policy = policy.ok_or_else(|| StoreError::Refused("standard output was not prepared".into()))?;
        let mut text = Vec::new();
        for g in &content.effects.groups {
            let window = Window { start: g.start, end: g.end };
            for row in &g.rows {
                match g.table {
                    Table::Late { day } => write_late_row(&policy, &window, day, row, &mut text),
                    _ => write_row(&policy, &window, None, row, &mut text),
                }
                // Each line is an object: the number goes in before its closing brace.
                text.truncate(text.len() - 2);
                text.extend_from_slice(format!(",\"n\":{}}}\n", content.n).as_bytes());
            }
        }
        let mut out = std::io::stdout().lock();
        out.write_all(&text)
            .and_then(|()| out.flush())
            .map_err(|e| StoreError::Refused(format!("cannot write to standard output: {e}")))
    }
}

#[async_trait]
impl Store for StdoutStore {
    fn describe(&self) -> String {
        "standard output (at least once)".into()
    }

    fn atomicity(&self) -> Atomicity {
        Atomicity::Transaction
    }

    fn limits(&self) -> Limits {
        Limits::NONE
    }

    fn table(&self) -> String {
        "stdout".into()
    }

    async fn prepare(&self, layout: &Layout) -> Result<(), StoreError> {
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&layout.policy));
        Ok(())
    }

    async fn execute(&self, key: &LaneKey, command: &Command) -> Result<Answer, StoreError> {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match command {
            Command::ReadHead => Answer::Head { stored: heads.get(key).cloned(), now_ms: crate::clock::now_ms() },
            Command::AllocateAlias => Answer::Alias(heads.len() as u64 + 1),
            Command::CreateHead { head } => {
                heads.entry(key.clone()).or_insert_with(|| head.clone());
                Answer::Written
            }
            Command::Transact { content, head } => {
                self.write(content)?;
                heads.insert(key.clone(), head.clone());
                Answer::Written
            }
            other => panic!("a store with transactions is not asked for {other:?}"),
        })
    }

    async fn heads(&self, _layout: &Layout) -> Result<Vec<Head>, StoreError> {
        Ok(Vec::new())
    }

    async fn rows(&self, _layout: &Layout, _query: &RowQuery) -> Result<Vec<StoredRow>, StoreError> {
        Ok(Vec::new())
    }

    async fn dead_letters(&self, _layout: &Layout, _limit: usize) -> Result<Vec<StoredDeadLetter>, StoreError> {
        Ok(Vec::new())
    }

    async fn note_gap(&self, _layout: &Layout, gap: &Gap) -> Result<Gap, StoreError> {
        // As with heads, nothing is remembered: the run itself says what it found.
        Ok(gap.clone())
    }

    async fn gaps(&self, _layout: &Layout) -> Result<Vec<Gap>, StoreError> {
        Ok(Vec::new())
    }
}
