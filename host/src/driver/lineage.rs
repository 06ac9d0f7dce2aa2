//! What a child lane begins with: the ends of its parents, merged.
//!
//! ```text
//! parents' heads --all done--> their states (inline, or chunks) --Engine::inherit--> Birth --> the child's head
//! ```
//! Heads that are done never change and their chunks are never deleted, so every host finds the same birth, and two that
//! make the head at once write the same. The merging is done by the engine that is compiled into the host, whatever module
//! counts: it moves snapshots of the estimators about, which have one form, and judges no record.
//!
//! Invariants
//! - A lane that has a parent which this app counts does not begin before that parent is done.
//! - A parent that is listed will be counted, by this host or another one: it is waited for.
//! - The order of the parents is that of their ids.
//!
//! Not here: which lanes are listed and what it means that one no longer is (`survey`).

use super::RunError;
use super::lane::{Context, same_pin};
use crate::source::LaneInfo;
use plimsoll_core::engine::Engine;
use plimsoll_core::lane::{Answer, Birth, ChunkName, Command, Ended, Halt, Head, LaneKey, NotEnded};
use plimsoll_core::policy::Policy;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;

/// Whether a lane without a head may begin.
#[derive(Debug)]
pub(super) enum Kin {
    /// With what its parents have left it.
    Ready(Birth),
    /// A parent is not done.
    Waits,
    /// The store gave no answer at this moment.
    NoAnswer,
    /// The same as `Ready`, but for parents that are not listed and have no head: nobody here counted them.
    Unread(Vec<String>, Birth),
}

/// Looks at the parents of a lane.
pub(super) async fn kin(context: &Context, info: &LaneInfo, listed: &BTreeSet<String>) -> Result<Kin, RunError> {
    let parents: BTreeSet<&String> = info.parents.iter().collect();
    let (mut ends, mut snapshots, mut unread) = (Vec::new(), Vec::new(), Vec::new());
    for parent in parents {
        let key = context.layout.lane(parent);
        let Answer::Head { stored, .. } = context.store.execute(&key, &Command::ReadHead).await? else {
            return Ok(Kin::NoAnswer);
        };
        let unreadable = |detail: String| RunError::Halted {
            lane: info.name.clone(),
            halt: Halt::Unreadable { what: "the head or state of a parent", detail },
        };
        let end = match Ended::of(parent, stored.as_ref()) {
            Ok(end) => end,
            Err(NotEnded::Open { .. }) if stored.is_none() && !listed.contains(parent) => {
                unread.push(parent.clone());
                continue;
            }
            Err(NotEnded::Open { .. }) => return Ok(Kin::Waits),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        let head = stored.as_ref().map(|stored| Head::decode(&stored.bytes)).transpose();
        let head = head.map_err(|e| unreadable(e.to_string()))?;
        same_pin(context, &info.name, head.and_then(|head| head.pin).as_ref())?;
        let chunks = match end.names() {
            [] => Vec::new(),
            names => match chunks(context, &key, end.alias, names).await? {
                Ok(Some(chunks)) => chunks,
                Ok(None) => return Ok(Kin::NoAnswer),
                Err(halt) => return Err(RunError::Halted { lane: info.name.clone(), halt }),
            },
        };
        snapshots.push(end.snapshot(&chunks).map_err(|e| unreadable(e.to_string()))?);
        ends.push(end);
    }
    let snapshot = inherit(&context.policy, &snapshots).map_err(|detail| RunError::Pin {
        lane: info.name.clone(),
        detail: format!(
            "what its parents have learnt cannot be gone on with: {detail}; recount from the stream under a new --generation"
        ),
    })?;
    let birth = if ends.is_empty() { Birth::default() } else { Birth::after(&ends, snapshot) };
    Ok(if unread.is_empty() { Kin::Ready(birth) } else { Kin::Unread(unread, birth) })
}

/// The bytes of a state's chunks, one after the other; `None` where there was no answer.
async fn chunks(
    context: &Context,
    key: &LaneKey,
    alias: u64,
    names: &[ChunkName],
) -> Result<Result<Option<Vec<u8>>, Halt>, RunError> {
    let command = Command::GetChunks { alias, names: names.to_vec() };
    let Answer::Chunks(chunks) = context.store.execute(key, &command).await? else { return Ok(Ok(None)) };
    let mut all = Vec::new();
    for (name, bytes) in names.iter().zip(chunks) {
        let Some(bytes) = bytes else {
            let digest = crate::store::hex(&name.digest[..6]);
            return Ok(Err(Halt::Missing { n: name.n, digest }));
        };
        if <[u8; 32]>::from(Sha256::digest(&bytes)) != name.digest {
            let detail = "its bytes do not have its digest".to_owned();
            return Ok(Err(Halt::Unreadable { what: "a chunk of a parent's state", detail }));
        }
        all.extend_from_slice(&bytes);
    }
    Ok(Ok(Some(all)))
}

/// The snapshot that a child begins with; none where no parent had one.
fn inherit(policy: &Policy, parents: &[Option<Vec<u8>>]) -> Result<Option<Vec<u8>>, String> {
    if parents.iter().all(Option::is_none) {
        return Ok(None);
    }
    let parents: Vec<Option<&[u8]>> = parents.iter().map(Option::as_deref).collect();
    let child = Engine::inherit(policy, &parents).map_err(|e| e.to_string())?;
    let mut snapshot = Vec::new();
    child.snapshot(&mut snapshot);
    Ok(Some(snapshot))
}
