//! Which lanes may begin now, and what has gone missing: the source's list held against the heads that are stored.
//!
//! ```text
//!                 listed                                  not listed
//! no head         begins, once its parents are done       (as a parent) gives nothing, or was missed: unread
//! head            goes on                                 vanished: a gap, unless it is done
//! head of the source's earlier self                       replaced: the run is refused
//! ```
//! Invariants
//! - What is missing is written into the gap ledger before anything is done about it, and never passed over in silence.
//! - A gap stops the lane that it is in, and the children that wait for it. The others go on: each is judged by its own order
//!   alone, and the policy's watermark waits for the lane that stands still.
//! - With `accept_gaps`, or once somebody has accepted the entry, a vanished lane is brought to its end with what was read of
//!   it, so that its children begin, and nobody waits for it for ever.
//!
//! Not here: gaps inside a lane that is still listed (`lane`), what children begin with (`lineage`).

use super::lane::{Context, Origin};
use super::lineage::{Kin, kin};
use super::{RunError, gap};
use crate::clock;
use crate::live::{LaneState, LaneStatus};
use crate::source::{LaneInfo, SourceError, Unlisted};
use crate::store::{GapKind, StoreError};
use plimsoll_core::lane::Head;
use std::collections::{BTreeMap, BTreeSet};

/// What earlier looks have shown.
#[derive(Default)]
pub(super) struct Survey {
    /// The lanes of the latest look at the heads.
    listed: Option<BTreeSet<String>>,
    heads: BTreeMap<String, Seen>,
    /// Lanes that stand still because of a gap, and were told of.
    halted: BTreeSet<String>,
    /// The first gap that was found and is not accepted: what the run ends with.
    pub gap: Option<RunError>,
    /// Whether the latest look had an answer to everything that it asked: then what is not ready waits for something.
    pub sure: bool,
}

/// What counts of a head here.
struct Seen {
    done: bool,
    position: Option<String>,
    created_ms: i64,
}

/// Lanes that may begin or go on, in the source's order.
pub(super) type Ready = Vec<(LaneInfo, Origin)>;

impl Survey {
    /// Holds the lanes that the source lists against the heads. `taken` are those that run or ran here.
    pub(super) async fn look(
        &mut self,
        context: &Context,
        lanes: Vec<LaneInfo>,
        taken: impl Fn(&str) -> bool,
    ) -> Result<Ready, RunError> {
        let listed: BTreeSet<String> = lanes.iter().map(|lane| lane.id.clone()).collect();
        self.read_heads(context, &listed).await?;
        self.sure = true;
        let mut ready = self.missing(context, &listed, &taken).await?;
        for info in lanes {
            if taken(&info.id) || self.halted.contains(&info.id) {
                continue;
            }
            // Once a lane has a head, that one counts.
            if info.parents.is_empty() || self.heads.contains_key(&info.id) {
                ready.push((info, Origin::default()));
                continue;
            }
            match kin(context, &info, &listed).await? {
                Kin::Ready(birth) => ready.push((info, birth.into())),
                Kin::Waits => {}
                Kin::NoAnswer => self.sure = false,
                Kin::Unread(_, birth) if !self.goes_on(context, &listed) => ready.push((info, birth.into())),
                Kin::Unread(parents, birth) if self.unread(context, &info, &parents).await? => {
                    ready.push((info, birth.into()));
                }
                Kin::Unread(..) => {}
            }
        }
        Ok(ready)
    }

    /// Looks at the heads where that can show something new: at first, and when lanes have come or gone.
    async fn read_heads(&mut self, context: &Context, listed: &BTreeSet<String>) -> Result<(), RunError> {
        if self.listed.as_ref() == Some(listed) {
            return Ok(());
        }
        let heads = context.store.heads(&context.layout).await?;
        if self.listed.is_none() {
            let began: Vec<(String, i64)> = heads.iter().map(|h| (h.key.lane.clone(), h.created_ms)).collect();
            context.source.began(&began);
        }
        let seen = |h: Head| (h.key.lane, Seen { done: h.done, position: h.pos, created_ms: h.created_ms });
        self.heads = heads.into_iter().map(seen).collect();
        self.listed = Some(listed.clone());
        Ok(())
    }

    /// Heads whose lanes are not listed.
    async fn missing(
        &mut self,
        context: &Context,
        listed: &BTreeSet<String>,
        taken: &impl Fn(&str) -> bool,
    ) -> Result<Ready, RunError> {
        let (mut ready, mut replaced) = (Vec::new(), None);
        for (lane, seen) in &self.heads {
            // One that runs here finds out for itself.
            if listed.contains(lane) || taken(lane) || self.halted.contains(lane) {
                continue;
            }
            match context.source.unlisted(lane) {
                Unlisted::Foreign => {}
                Unlisted::Gone(..) if seen.done => {}
                Unlisted::Gone(info, found) => {
                    let position = seen.position.as_deref();
                    if gap::note(context, &info.id, GapKind::Vanished, position, &found).await? {
                        ready.push((info, Origin::past_gap(seen.position.clone())));
                    } else {
                        self.halted.insert(lane.clone());
                        let error = halt(context, &info, &found);
                        self.gap.get_or_insert(error);
                    }
                }
                Unlisted::Replaced(why) => {
                    gap::note(context, lane, GapKind::Replaced, seen.position.as_deref(), &why).await?;
                    replaced = Some(why);
                }
            }
        }
        match replaced {
            None => Ok(ready),
            Some(why) => Err(RunError::Source { lane: context.source.describe(), error: SourceError::Refused(why) }),
        }
    }

    /// Whether this app was counting this source before: then a shard that it missed was missed, not left out.
    fn goes_on(&self, context: &Context, listed: &BTreeSet<String>) -> bool {
        let first_start = i64::try_from(context.config.first_start.as_millis()).unwrap_or(i64::MAX);
        let before = clock::now_ms().saturating_sub(first_start);
        self.heads.iter().any(|(lane, seen)| {
            seen.created_ms <= before
                && (listed.contains(lane) || matches!(context.source.unlisted(lane), Unlisted::Gone(..)))
        })
    }

    /// Parents of a lane came and went unread: whether it may begin all the same.
    async fn unread(&mut self, context: &Context, info: &LaneInfo, parents: &[String]) -> Result<bool, RunError> {
        let found = format!(
            "it goes on from {}, which this generation never counted and which is not listed any more: that shard was opened, \
             closed and passed the stream's retention while nobody read it",
            parents.join(" and ")
        );
        let mut accepted = true;
        for parent in parents {
            accepted &= gap::note(context, parent, GapKind::Unread, None, &found).await?;
        }
        if !accepted {
            self.halted.insert(info.id.clone());
            let error = halt(context, info, &found);
            self.gap.get_or_insert(error);
        }
        Ok(accepted)
    }
}

/// Says that a lane stands still because of a gap.
fn halt(context: &Context, info: &LaneInfo, found: &str) -> RunError {
    let error = gap::error(info, found);
    tracing::error!(lane = %info.name, %error, "the lane cannot go on");
    context.hub.lane(LaneStatus {
        lane: info.name.clone(),
        state: LaneState::Halted(error.to_string()),
        at_ms: clock::now_ms(),
        ..LaneStatus::default()
    });
    error
}

/// Whether heads that cannot be read now may be read at the next look.
pub(super) fn passes(error: &RunError) -> bool {
    matches!(error, RunError::Store(StoreError::Passing(_)))
}
