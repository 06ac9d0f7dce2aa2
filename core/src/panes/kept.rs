//! Kept values: what of a field's values a pane holds beside its columns.
//!
//! Invariants
//! - Memory is bounded by the policy: a list and the sets behind estimates have a greatest size.
//! - The same values in the same order give the same bytes; merging is associative.
//!
//! Not here: which text a value has (`decode`): it is one JSON scalar in canonical form.

use crate::policy::{Keep, limits};
use crate::time::EventTime;
use crate::wire::WireError;
use crate::wire::panes::KeptValue;
use crate::wire::varint::{Cursor, put_i64, put_u64};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// What has been kept so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    First(Option<(EventTime, Box<[u8]>)>),
    Last(Option<(EventTime, Box<[u8]>)>),
    List { most: u32, values: Vec<Box<[u8]>>, left_out: u64 },
}

impl Kept {
    pub(super) fn new(keep: Keep) -> Self {
        match keep {
            Keep::First => Self::First(None),
            Keep::Last => Self::Last(None),
            Keep::List { most } => Self::List { most, values: Vec::new(), left_out: 0 },
            Keep::Distinct | Keep::Quantile { .. } | Keep::TopK { .. } => todo!(),
        }
    }

    pub(super) fn add(&mut self, t: EventTime, text: &[u8]) {
        match self {
            Self::First(held) => {
                if held.as_ref().is_none_or(|(at, _)| t < *at) {
                    *held = Some((t, text.into()));
                }
            }
            Self::Last(held) => {
                if held.as_ref().is_none_or(|(at, _)| t >= *at) {
                    *held = Some((t, text.into()));
                }
            }
            Self::List { most, values, left_out } => {
                if values.len() < *most as usize {
                    values.push(text.into());
                } else {
                    *left_out = left_out.saturating_add(1);
                }
            }
        }
    }

    /// Adds what came after.
    pub(super) fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::First(_) | Self::Last(_), Self::First(held) | Self::Last(held)) => {
                if let Some((t, text)) = held {
                    self.add(*t, text);
                }
            }
            (Self::List { most, values, left_out }, Self::List { values: more, left_out: out, .. }) => {
                let room = (*most as usize - values.len()).min(more.len());
                values.extend_from_slice(&more[..room]);
                *left_out = left_out.saturating_add(*out).saturating_add((more.len() - room) as u64);
            }
            _ => unreachable!("values of one policy are of one kind"),
        }
    }

    pub(super) fn output(&self) -> KeptValue {
        match self {
            Self::First(held) | Self::Last(held) => match held {
                None => KeptValue::None,
                Some((_, text)) => KeptValue::Text(text.to_vec()),
            },
            Self::List { values, left_out, .. } => {
                KeptValue::List { values: values.iter().map(|v| v.to_vec()).collect(), left_out: *left_out }
            }
        }
    }

    /// Appends it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::First(held) | Self::Last(held) => match held {
                None => out.push(0),
                Some((t, text)) => {
                    out.push(1);
                    put_i64(out, t.as_millis());
                    put_text(out, text);
                }
            },
            Self::List { values, left_out, .. } => {
                put_u64(out, *left_out);
                put_u64(out, values.len() as u64);
                values.iter().for_each(|text| put_text(out, text));
            }
        }
    }

    /// Reads what `write` wrote.
    pub(super) fn read(keep: Keep, c: &mut Cursor<'_>) -> Result<Self, WireError> {
        let mut kept = Self::new(keep);
        match &mut kept {
            Self::First(held) | Self::Last(held) => {
                *held = match c.u8()? {
                    0 => None,
                    1 => Some((EventTime::from_millis(c.varint_i64()?), take_text(c)?)),
                    _ => return Err(c.bad("a kept value begins with 0 or 1")),
                };
            }
            Self::List { most, values, left_out } => {
                *left_out = c.varint_u64()?;
                let n = c.count(1)?;
                if n > *most as usize || n > limits::LIST_MAX as usize {
                    return Err(c.bad("a list longer than the policy's"));
                }
                for _ in 0..n {
                    values.push(take_text(c)?);
                }
            }
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
