//! What a lane's account says and its rows do not hold yet, or the other way round: for those who compare the two.
//!
//! ```text
//! account of the head   |--- in the rows ---|--- still to be given out (rest) ---|
//! the pending batch                          |--- some of it is in the rows already ---|
//! ```
//! A batch whose effects are too many for one intent is accounted with its first content (`content`), and its rest is a part
//! of the state until it has been given out.
//!
//! Not here: the protocol, which never needs to know (`machine`).

use super::chunk::{ChunkName, StateRef};
use super::content::{Content, State, decode_pend};
use super::head::{Head, StoredPend};
use crate::account::Account;
use crate::wire::WireError;
use crate::wire::effects::Effects;
use alloc::vec::Vec;

/// What is under way in a lane.
#[derive(Clone, Debug, Default)]
pub struct InFlight {
    /// The batch that is being written: its number and account. Any part of it may be in the rows.
    pub pending: Option<(u64, Account)>,
    /// Of the head's account: effects that are in no row for sure, but for those of the pending batch.
    pub rest: Option<Effects>,
}

/// The chunks that are needed to tell.
pub fn chunks_of(head: &Head, pend: Option<&StoredPend>) -> Result<Vec<ChunkName>, WireError> {
    let mut names = head.state.names().to_vec();
    if let Some(pend) = pend
        && let Err(of_pend) = decode_pend(&pend.bytes)?
    {
        names.extend(of_pend);
    }
    Ok(names)
}

/// What is under way. `chunk` gives the bytes of those that `chunks_of` names; without one of them it is not known.
pub fn in_flight<'c>(
    head: &Head,
    pend: Option<&StoredPend>,
    chunk: impl Fn(&ChunkName) -> Option<&'c [u8]>,
) -> Result<Option<InFlight>, WireError> {
    let together = |names: &[ChunkName]| -> Option<Vec<u8>> {
        let parts = names.iter().map(&chunk).collect::<Option<Vec<&[u8]>>>()?;
        Some(parts.concat())
    };
    let state = match &head.state {
        StateRef::Empty => None,
        StateRef::Inline(bytes) => Some(bytes.clone()),
        StateRef::Chunks(names) => match together(names) {
            Some(bytes) => Some(bytes),
            None => return Ok(None),
        },
    };
    let rest = state.map(|bytes| State::decode(&bytes)).transpose()?.and_then(|s| s.rest).map(|r| r.effects);
    let Some(pend) = pend else { return Ok(Some(InFlight { pending: None, rest })) };
    let body = match decode_pend(&pend.bytes)? {
        Ok(body) => body.to_vec(),
        Err(names) => match together(&names) {
            Some(body) => body,
            None => return Ok(None),
        },
    };
    let content = Content::decode(&body)?;
    Ok(Some(InFlight { pending: Some((pend.n, content.effects.account)), rest }))
}
