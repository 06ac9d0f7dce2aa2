//! Open windows as bytes: a part of the engine's snapshot. Drawn in `core/SNAPSHOT.md`.
//!
//! Invariants
//! - Windows stand by (key, window): one state, one encoding.
//! - What restoring reads is checked for what the rest relies on: order, bounds, sessions that do not overlap.
//! - The watermark is the lane's: nothing that it has ended is told twice.
//!
//! Not here: panes that were given out and not asked for; they are asked for before a snapshot is taken.

use super::Panes;
use super::open::{Open, Owed, Said};
use crate::order;
use crate::time::EventTime;
use crate::window::Window;
use crate::wire::WireError;
use crate::wire::panes::Timing;
use crate::wire::varint::{Cursor, put_i64, put_u64};
use alloc::boxed::Box;
use alloc::vec::Vec;

impl Panes {
    /// Appends the clock and the windows.
    pub(crate) fn write<'k>(&self, key: impl Fn(u32) -> &'k [u8], out: &mut Vec<u8>) {
        put_i64(out, self.clock);
        let mut all: Vec<u32> = self.index.slots_unsorted().collect();
        let by = |slot| {
            let open = self.index.get(slot);
            (key(open.key), open.window)
        };
        order::sort(&mut all, &mut |a, b| by(a).cmp(&by(b)));
        put_u64(out, all.len() as u64);
        for slot in all {
            let open = self.index.get(slot);
            put_key(out, key(open.key));
            put_window(out, &open.window);
            open.trigger.write(out);
            if open.trigger.closed() {
                continue;
            }
            open.fresh.write(out);
            put_u64(out, open.new);
            put_option(out, open.base.as_ref(), |out, base| base.write(out));
            put_option(out, open.stamp, |out, stamp| put_i64(out, stamp.as_millis()));
            put_option(out, open.said, put_said);
            put_u64(out, open.owed.len() as u64);
            for owed in &open.owed {
                put_window(out, &owed.window);
                put_said(out, owed.said);
                out.push(owed.first.into());
                put_i64(out, owed.timestamp.as_millis());
                owed.value.write(out);
            }
        }
    }

    /// Reads what `write` wrote into one that has seen nothing. `id` gives a key its number.
    pub(crate) fn read(
        &mut self,
        watermark: EventTime,
        id: &mut impl FnMut(&[u8]) -> u32,
        c: &mut Cursor<'_>,
    ) -> Result<(), WireError> {
        self.watermark = watermark;
        self.clock = c.varint_i64()?;
        let n = c.count(4)?;
        if n > self.rules.open_max as usize {
            return Err(c.bad("more open windows than the policy allows"));
        }
        let mut last: Option<(Vec<u8>, Window)> = None;
        // The last session of that key that is open.
        let mut session: Option<Window> = None;
        for _ in 0..n {
            let (key, window) = (take_key(c)?, take_window(c)?);
            if last.as_ref().is_some_and(|(k, w)| (k, w) >= (&key, &window)) {
                return Err(c.bad("windows must ascend by key, end and start"));
            }
            if last.as_ref().is_none_or(|(k, _)| *k != key) {
                session = None;
            }
            if self.expired(&window) {
                return Err(c.bad("an open window that has expired"));
            }
            let open = self.take_open(id(&key), window, c)?;
            if let (Some(touching), false) = (self.touching, open.trigger.closed()) {
                if session.is_some_and(|before| before.joins(&window, touching)) {
                    return Err(c.bad("open sessions of a key must be apart"));
                }
                session = Some(window);
            }
            let slot = self.index.insert(open);
            self.count_key(window);
            self.wake(slot);
            last = Some((key, window));
        }
        Ok(())
    }

    fn take_open(&self, key: u32, window: Window, c: &mut Cursor<'_>) -> Result<Open, WireError> {
        let trigger = self.program.read(c)?;
        if trigger.closed() {
            let mut open = self.fresh(key, window);
            open.trigger = trigger;
            open.empty();
            return Ok(open);
        }
        let fresh = self.shape.read(c)?;
        let new = c.varint_u64()?;
        let base = take_option(c, |c| self.shape.read(c).map(Box::new))?;
        let stamp = take_option(c, |c| Ok(EventTime::from_millis(c.varint_i64()?)))?;
        let said = take_option(c, take_said)?;
        let mut owed = Vec::new();
        for _ in 0..c.count(6)? {
            owed.push(Owed {
                window: take_window(c)?,
                said: take_said(c)?,
                first: take_flag(c)?,
                timestamp: EventTime::from_millis(c.varint_i64()?),
                value: self.shape.read(c)?,
            });
        }
        if new == 0 && base.is_none() && said.is_none() {
            return Err(c.bad("an open window without contents"));
        }
        Ok(Open { trigger, fresh, base, new, stamp, said, owed, ..self.fresh(key, window) })
    }
}

fn put_key(out: &mut Vec<u8>, key: &[u8]) {
    put_u64(out, key.len() as u64);
    out.extend_from_slice(key);
}

fn take_key(c: &mut Cursor<'_>) -> Result<Vec<u8>, WireError> {
    let len = c.count(1)?;
    match c.take(len)? {
        [] => Err(c.bad("a window without a key")),
        key => Ok(key.to_vec()),
    }
}

fn put_window(out: &mut Vec<u8>, w: &Window) {
    put_i64(out, w.start.as_millis());
    put_i64(out, w.end.as_millis());
}

fn take_window(c: &mut Cursor<'_>) -> Result<Window, WireError> {
    let w = Window { start: EventTime::from_millis(c.varint_i64()?), end: EventTime::from_millis(c.varint_i64()?) };
    if w.start > w.end { Err(c.bad("a window must not end before its start")) } else { Ok(w) }
}

fn put_said(out: &mut Vec<u8>, said: Said) {
    out.push(said.timing as u8);
    put_u64(out, said.index);
    put_option(out, said.settled, put_u64);
}

fn take_said(c: &mut Cursor<'_>) -> Result<Said, WireError> {
    let timing = match c.u8()? {
        0 => Timing::Early,
        1 => Timing::OnTime,
        2 => Timing::Late,
        _ => return Err(c.bad("unknown timing")),
    };
    Ok(Said { timing, index: c.varint_u64()?, settled: take_option(c, |c| c.varint_u64())? })
}

fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(value.is_some().into());
    if let Some(value) = value {
        put(out, value);
    }
}

fn take_option<T>(
    c: &mut Cursor<'_>,
    take: impl FnOnce(&mut Cursor<'_>) -> Result<T, WireError>,
) -> Result<Option<T>, WireError> {
    if take_flag(c)? { take(c).map(Some) } else { Ok(None) }
}

fn take_flag(c: &mut Cursor<'_>) -> Result<bool, WireError> {
    match c.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(c.bad("a flag is 0 or 1")),
    }
}
