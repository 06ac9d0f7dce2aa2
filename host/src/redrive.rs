//! Dead letters as a source: they go through the engine again, into the same rows, as one lane of the policy.
//!
//! ```text
//! heads, dead letters --pick--> plan --Source--> driver --lane protocol--> rows, and the position (`mark`) in one write
//!                                                                          fails again: a dead letter of this lane
//! ```
//! Invariants
//! - What was driven again stands in the position of this lane, and a position moves in the same write as what it stands
//!   for. So a second redrive, a crash in the middle, or two at once count nothing twice, whatever their policies and filters.
//! - A letter is looked at only once the head of its lane says that its batch is whole: a letter that appears later, of a
//!   batch that was still being written, is never taken for one that was passed over.
//! - What is driven again is decided once (the plan) and written down with the first batch. A redrive that was cut off is
//!   finished as it was meant before another one begins, so that a crash changes nothing but the time it takes.
//! - A letter that fails again is a letter of this lane, under a position that was never used before, and is found again.
//! - Letters of which only the beginning was kept are never driven: half a record is another record.
//!
//! Lateness is judged among the records of one redrive, which come in the order of their arrival, or in their lanes' order
//! where no arrival is known; the engine begins each one anew, without a watermark. This is also why a redrive may run
//! under another policy than the one before it, while other lanes may not: nothing of the old state is needed. The lane
//! takes no part in the policy's watermark (`store::Completeness`): a redrive amends rows that are final.
//!
//! Not here: what a letter is (`store`), what is said to people (`cli::redrive`). Other sources know no store; this one reads
//! what a store set aside.

mod mark;
mod order;
mod pick;
mod reader;

pub use mark::Ledger;
pub use order::by_place;
pub use pick::{Choice, HELD_MAX, Wish, read_record};

use crate::clock;
use crate::source::{LaneInfo, LaneReader, Position, Source, SourceError};
use crate::store::{Layout, Store, StoreError};
use async_trait::async_trait;
use mark::Mark;
use pick::Picker;
use plimsoll_core::time::EventTime;
use reader::Reader;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The lane's identity: one for a policy and generation.
pub const LANE: &str = "redrive";

/// Dead letters of a policy in one generation, to be driven again.
pub struct Redrive {
    store: Arc<dyn Store>,
    layout: Layout,
    wish: Wish,
    /// Batches of each lane that were whole when this redrive was asked for; what failed in it is for another day.
    until: BTreeMap<String, u64>,
}

impl Redrive {
    /// What is there at this moment. The store needs no `prepare`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn new(store: Arc<dyn Store>, layout: Layout, wish: Wish) -> Result<Self, StoreError> {
        let until = whole(store.as_ref(), &layout).await?;
        Ok(Self { store, layout, wish, until })
    }

    /// What it would drive now, and what it would leave; with a redrive that was cut off, what is left of that one.
    ///
    /// # Errors
    /// Those of the store, or a lane of this name that is none of this source.
    pub async fn choice(&self) -> Result<Choice, SourceError> {
        let heads = self.store.heads(&self.layout).await.map_err(store_error)?;
        let position = heads.into_iter().find(|h| h.key.lane == LANE).and_then(|h| h.pos).map(Position);
        let mark = position.as_ref().map(Mark::parse).transpose()?.unwrap_or_default();
        let mut choice = self.pick(mark).await?.1;
        if let Some(kept) = self.store.rows_kept() {
            choice.expired =
                pick::expired(&self.layout.policy, &choice, EventTime::from_millis(clock::now_ms()) - kept);
        }
        Ok(choice)
    }

    /// A mark with a plan, and its letters in order.
    async fn pick(&self, mark: Mark) -> Result<(Mark, Choice), SourceError> {
        let letters = self.store.dead_letters(&self.layout, usize::MAX).await.map_err(store_error)?;
        let mut picker = Picker::new(&self.layout.policy, letters, clock::now_ms());
        let mut mark = mark;
        if let Some(plan) = &mark.plan {
            let choice = picker.of_plan(&mark, plan);
            if !choice.letters.is_empty() {
                return Ok((mark, choice));
            }
            // What was left of it has been deleted.
            mark.finish();
        }
        let (plan, choice) = picker.plan(&mark, &self.wish, &self.until)?;
        mark.plan = Some(plan);
        Ok((mark, choice))
    }
}

/// The number of each lane's last batch of which every effect is in the store.
async fn whole(store: &dyn Store, layout: &Layout) -> Result<BTreeMap<String, u64>, StoreError> {
    Ok(store.heads(layout).await?.into_iter().map(|h| (h.key.lane, h.n)).collect())
}

fn store_error(e: StoreError) -> SourceError {
    match e {
        StoreError::Passing(why) => SourceError::Passing(why),
        StoreError::Refused(why) => SourceError::Refused(why),
    }
}

#[async_trait]
impl Source for Redrive {
    fn describe(&self) -> String {
        format!("dead letters of {}", self.store.describe())
    }

    fn carries_arrival(&self) -> bool {
        true
    }

    fn resumable(&self) -> bool {
        true
    }

    fn finite(&self) -> bool {
        true
    }

    fn begins_anew(&self, at: Option<&Position>) -> bool {
        // A position that cannot be read is refused where it is opened.
        at.is_none_or(|position| Mark::parse(position).is_ok_and(|mark| mark.plan.is_none()))
    }

    async fn lanes(&self) -> Result<Vec<LaneInfo>, SourceError> {
        Ok(vec![LaneInfo { id: LANE.into(), name: LANE.into(), parents: Vec::new() }])
    }

    async fn open(&self, _lane: &LaneInfo, from: Option<&Position>) -> Result<Box<dyn LaneReader>, SourceError> {
        let mark = from.map(Mark::parse).transpose()?.unwrap_or_default();
        let (mark, choice) = self.pick(mark).await?;
        Ok(Box::new(Reader::new(mark, choice.letters)))
    }
}
