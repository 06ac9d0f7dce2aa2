//! Kept values: what of a field's values a pane holds beside its columns.
//!
//! | What | Exact | Beyond that | At most |
//! |---|---|---|---|
//! | first, last | always | | one text |
//! | list | its first values | the others are counted | the policy's number of texts |
//! | distinct | up to 512 different values | standard error 1.6 % | 4 KiB |
//! | quantile | up to 2,048 different values | 0.8 % for values in 0..=2^32, never over 3.2 % | 32 KiB |
//! | top k | up to max(1000, 2k) different values | too small by at most n / (that number + 1) | that many texts |
//!
//! The estimates work on integers alone. Apache DataSketches is not behind them: of its Rust crate (0.6.0) KLL and REQ
//! take their coins from the thread's own random seed, HyperLogLog's estimate and bytes depend on the order of values
//! and merges, and the three we would use add 180 KB to a module that may have 400.
//!
//! Invariants
//! - Memory is bounded by the policy: a list and the sets behind estimates have a greatest size.
//! - The same values in the same order give the same bytes; merging is associative. For distinct and quantile no order
//!   matters at all: their bytes are a function of the values. For top k that holds while it is exact; beyond, the
//!   bytes depend on the order, and the stated error holds whatever it was.
//!
//! Not here: which text a value has (`decode`): it is one JSON scalar in canonical form.

mod distinct;
pub(crate) mod hash;
mod quantile;
#[cfg(test)]
mod tests;
mod top;

use crate::policy::{Keep, limits};
use crate::time::EventTime;
use crate::wire::WireError;
use crate::wire::panes::KeptValue;
use crate::wire::varint::{Cursor, put_i64, put_u64};
use alloc::boxed::Box;
use alloc::vec::Vec;
use distinct::Distinct;
use quantile::Quantile;
use top::Top;

/// What has been kept so far of one field's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept(State);

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    First(Option<(EventTime, Box<[u8]>)>),
    Last(Option<(EventTime, Box<[u8]>)>),
    List { most: u32, values: Vec<Box<[u8]>>, left_out: u64 },
    Distinct(Distinct),
    Quantile(Quantile),
    Top(Top),
}

impl Kept {
    /// One that has seen nothing.
    pub fn new(keep: Keep) -> Self {
        Self(match keep {
            Keep::First => State::First(None),
            Keep::Last => State::Last(None),
            Keep::List { most } => State::List { most, values: Vec::new(), left_out: 0 },
            Keep::Distinct => State::Distinct(Distinct::default()),
            Keep::Quantile { q_milli } => State::Quantile(Quantile::new(q_milli)),
            Keep::TopK { k } => State::Top(Top::new(k)),
        })
    }

    /// Adds the value of a record at `t`: a JSON scalar in canonical form.
    pub fn add(&mut self, t: EventTime, text: &[u8]) {
        match &mut self.0 {
            State::First(held) => {
                if held.as_ref().is_none_or(|(at, _)| t < *at) {
                    *held = Some((t, text.into()));
                }
            }
            State::Last(held) => {
                if held.as_ref().is_none_or(|(at, _)| t >= *at) {
                    *held = Some((t, text.into()));
                }
            }
            State::List { most, values, left_out } => {
                if values.len() < *most as usize {
                    values.push(text.into());
                } else {
                    *left_out = left_out.saturating_add(1);
                }
            }
            State::Distinct(held) => held.add(text),
            State::Quantile(held) => held.add(text),
            State::Top(held) => held.add(text),
        }
    }

    /// Adds what came after.
    ///
    /// # Panics
    /// When the other is of another kind: both must come from one policy's kept value.
    pub fn merge(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            (State::First(_) | State::Last(_), State::First(held) | State::Last(held)) => {
                if let Some((t, text)) = held {
                    self.add(*t, text);
                }
            }
            (State::List { most, values, left_out }, State::List { values: more, left_out: out, .. }) => {
                let room = (*most as usize - values.len()).min(more.len());
                values.extend_from_slice(&more[..room]);
                *left_out = left_out.saturating_add(*out).saturating_add((more.len() - room) as u64);
            }
            (State::Distinct(held), State::Distinct(other)) => held.merge(other),
            (State::Quantile(held), State::Quantile(other)) => held.merge(other),
            (State::Top(held), State::Top(other)) => held.merge(other),
            _ => unreachable!("values of one policy are of one kind"),
        }
    }

    /// Adds what came after and nobody else needs. Of two lists the shorter moves.
    pub(super) fn absorb(&mut self, mut other: Self) {
        if let (State::List { most, values, left_out }, State::List { values: more, left_out: out, .. }) =
            (&mut self.0, &mut other.0)
            && values.len() < more.len()
        {
            let room = (*most as usize - values.len()).min(more.len());
            *left_out = left_out.saturating_add(*out).saturating_add((more.len() - room) as u64);
            more.truncate(room);
            more.splice(0..0, values.drain(..));
            *values = core::mem::take(more);
            return;
        }
        self.merge(&other);
    }

    /// What a pane tells of it.
    pub fn output(&self) -> KeptValue {
        match &self.0 {
            State::First(held) | State::Last(held) => match held {
                None => KeptValue::None,
                Some((_, text)) => KeptValue::Text(text.to_vec()),
            },
            State::List { values, left_out, .. } => {
                KeptValue::List { values: values.iter().map(|v| v.to_vec()).collect(), left_out: *left_out }
            }
            State::Distinct(held) => KeptValue::Estimate(held.estimate().into()),
            State::Quantile(held) => held.estimate().map_or(KeptValue::None, KeptValue::Estimate),
            State::Top(held) => KeptValue::Top(held.most()),
        }
    }

    /// Appends it. Drawn in `core/SNAPSHOT.md`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match &self.0 {
            State::First(held) | State::Last(held) => match held {
                None => out.push(0),
                Some((t, text)) => {
                    out.push(1);
                    put_i64(out, t.as_millis());
                    put_text(out, text);
                }
            },
            State::List { values, left_out, .. } => {
                put_u64(out, *left_out);
                put_u64(out, values.len() as u64);
                values.iter().for_each(|text| put_text(out, text));
            }
            State::Distinct(held) => held.write(out),
            State::Quantile(held) => held.write(out),
            State::Top(held) => held.write(out),
        }
    }

    /// Reads what `write` wrote.
    pub(super) fn read(keep: Keep, c: &mut Cursor<'_>) -> Result<Self, WireError> {
        let mut kept = Self::new(keep);
        match &mut kept.0 {
            State::First(held) | State::Last(held) => {
                *held = match c.u8()? {
                    0 => None,
                    1 => Some((EventTime::from_millis(c.varint_i64()?), take_text(c)?)),
                    _ => return Err(c.bad("a kept value begins with 0 or 1")),
                };
            }
            State::List { most, values, left_out } => {
                *left_out = c.varint_u64()?;
                let n = c.count(1)?;
                if n > *most as usize || n > limits::LIST_MAX as usize {
                    return Err(c.bad("a list longer than the policy's"));
                }
                for _ in 0..n {
                    values.push(take_text(c)?);
                }
            }
            State::Distinct(held) => *held = Distinct::read(c)?,
            State::Quantile(held) => held.read(c)?,
            State::Top(held) => held.read(c)?,
        }
        Ok(kept)
    }
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_u64(out, text.len() as u64);
    out.extend_from_slice(text);
}

fn take_text(c: &mut Cursor<'_>) -> Result<Box<[u8]>, WireError> {
    let len = c.count(1)?;
    Ok(c.take(len)?.into())
}
