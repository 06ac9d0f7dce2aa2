//! The engines that are open in this instance, with their buffers: everything of the ABI but pointers.
//!
//! Invariants
//! - Each input buffer and each buffer of `alloc` is followed by at least `PADDING` zero bytes.
//! - The output belongs to a handle (0: to the module itself), the error text to the last refusal.
//!
//! Not here: the exported names and their integers (`exports`).

use crate::status::{Answer, Refusal, Status};
use plimsoll_core::engine::{Engine, FlushMode, describe_engine};
use plimsoll_core::json::PADDING;
use plimsoll_core::policy::Policy;

/// Most engines open at once.
pub(crate) const HANDLES_MAX: usize = 4_096;

/// All that one instance holds.
#[derive(Default)]
pub(crate) struct Desk {
    /// Ascending by handle.
    slots: Vec<(i32, Slot)>,
    last: i32,
    /// Buffers of `alloc`, the youngest last; their addresses are their names. Their length is that asked for, with the
    /// padding after it.
    buffers: Vec<Vec<u8>>,
    described: Vec<u8>,
    error: String,
}

/// One open engine.
struct Slot {
    engine: Engine,
    /// As long as the longest input so far and its padding: it is used again, not allocated again.
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Desk {
    /// Gives out a buffer; its address is its name.
    pub(crate) fn alloc(&mut self, len: usize) -> Answer<usize> {
        let mut buffer = Vec::new();
        lengthen(&mut buffer, len)?;
        let address = buffer.as_ptr().addr();
        self.buffers.push(buffer);
        Ok(address)
    }

    /// Takes back what `alloc(len)` gave out.
    pub(crate) fn free(&mut self, address: usize, len: usize) -> Answer<()> {
        let at = self.buffer(address, len)?;
        self.buffers.swap_remove(at);
        Ok(())
    }

    /// The contents of what `alloc` gave out.
    fn given(&self, address: usize, len: usize) -> Answer<&[u8]> {
        Ok(&self.buffers[self.buffer(address, len)?][..len])
    }

    /// Which of the buffers. They are few: a host gives one back before it asks for the next but one.
    fn buffer(&self, address: usize, len: usize) -> Answer<usize> {
        let same = |b: &Vec<u8>| b.as_ptr().addr() == address && b.len() - PADDING == len;
        self.buffers.iter().rposition(same).ok_or_else(|| {
            Refusal::new(
                Status::BadArgument,
                format_args!("{len} bytes at address {address}: expected what plimsoll_alloc({len}) returned"),
            )
        })
    }

    /// A fresh engine.
    pub(crate) fn open(&mut self, policy: (usize, usize)) -> Answer<i32> {
        let policy = self.policy(policy)?;
        self.insert(Engine::new(policy))
    }

    /// An engine that goes on from a snapshot.
    pub(crate) fn restore(&mut self, policy: (usize, usize), snapshot: (usize, usize)) -> Answer<i32> {
        let policy = self.policy(policy)?;
        let snapshot = self.given(snapshot.0, snapshot.1)?;
        let engine = Engine::restore(policy, snapshot).map_err(|e| Refusal::new(Status::BadSnapshot, e))?;
        self.insert(engine)
    }

    fn policy(&self, (address, len): (usize, usize)) -> Answer<Policy> {
        Policy::from_canonical(self.given(address, len)?).map_err(|e| Refusal::new(Status::BadPolicy, e))
    }

    fn insert(&mut self, engine: Engine) -> Answer<i32> {
        // The second condition takes 2^31 engines to hold.
        if self.slots.len() >= HANDLES_MAX || self.last == i32::MAX {
            return Err(Refusal::new(
                Status::TooManyHandles,
                format_args!("{} handles are open, at most {HANDLES_MAX} may be; close one", self.slots.len()),
            ));
        }
        self.last += 1;
        self.slots.push((self.last, Slot { engine, input: Vec::new(), output: Vec::new() }));
        Ok(self.last)
    }

    fn place(&self, handle: i32) -> Answer<usize> {
        self.slots
            .binary_search_by_key(&handle, |(h, _)| *h)
            .map_err(|_| Refusal::new(Status::BadHandle, format_args!("no handle {handle} is open")))
    }

    fn slot(&mut self, handle: i32) -> Answer<&mut Slot> {
        let at = self.place(handle)?;
        Ok(&mut self.slots[at].1)
    }

    /// Room for `len` bytes of frames: the place to write them to.
    pub(crate) fn input(&mut self, handle: i32, len: usize) -> Answer<&mut [u8]> {
        let slot = self.slot(handle)?;
        lengthen(&mut slot.input, len)?;
        slot.input[len..len + PADDING].fill(0);
        Ok(&mut slot.input[..len])
    }

    /// Feeds the first `len` bytes of the input buffer.
    pub(crate) fn apply(&mut self, handle: i32, len: usize) -> Answer<()> {
        let slot = self.slot(handle)?;
        let room = slot.input.len().saturating_sub(PADDING);
        if len > room {
            return Err(Refusal::new(
                Status::BadArgument,
                format_args!("{len} bytes to apply, the input buffer holds {room}; ask plimsoll_input for room first"),
            ));
        }
        let padded = &mut slot.input[..len + PADDING];
        // What follows a shorter input is the rest of a longer one.
        padded[len..].fill(0);
        slot.engine.apply(padded, len).map_err(|e| Refusal::new(Status::BadFrame, e))
    }

    /// Rows and dead letters that a flush would give out now.
    pub(crate) fn pending(&mut self, handle: i32) -> Answer<u64> {
        Ok(self.slot(handle)?.engine.pending())
    }

    /// Effects into the output.
    pub(crate) fn flush(&mut self, handle: i32, mode: i32) -> Answer<()> {
        let slot = self.slot(handle)?;
        let mode = match mode {
            0 => FlushMode::All,
            1 => FlushMode::Final,
            2 => FlushMode::Drain,
            _ => {
                return Err(Refusal::new(
                    Status::BadArgument,
                    format_args!(
                        "flush mode {mode}: expected 0 (everything pending), 1 (final windows only) or 2 (all windows)"
                    ),
                ));
            }
        };
        slot.output.clear();
        slot.engine.flush(mode, &mut slot.output);
        Ok(())
    }

    /// The panes given out since the last call, into the output.
    pub(crate) fn panes(&mut self, handle: i32) -> Answer<()> {
        let slot = self.slot(handle)?;
        slot.output.clear();
        slot.engine.panes(&mut slot.output);
        Ok(())
    }

    /// The state into the output.
    pub(crate) fn snapshot(&mut self, handle: i32) -> Answer<()> {
        let slot = self.slot(handle)?;
        slot.output.clear();
        slot.engine.snapshot(&mut slot.output);
        Ok(())
    }

    /// A description of an engine, or with handle 0 of the module, into the output.
    pub(crate) fn describe(&mut self, handle: i32) -> Answer<()> {
        let mut text = String::new();
        if handle == 0 {
            describe_engine(&mut text);
            self.described = text.into_bytes();
        } else {
            let slot = self.slot(handle)?;
            slot.engine.describe(&mut text);
            slot.output = text.into_bytes();
        }
        Ok(())
    }

    /// What the last flush, snapshot or description gave; nothing for a handle that is not open.
    pub(crate) fn output(&self, handle: i32) -> &[u8] {
        match handle {
            0 => &self.described,
            _ => self.place(handle).map_or(&[], |at| &self.slots[at].1.output),
        }
    }

    /// The last refusal's text.
    pub(crate) fn error(&self) -> &str {
        &self.error
    }

    /// Ends an engine and gives its memory back.
    pub(crate) fn close(&mut self, handle: i32) -> Answer<()> {
        let at = self.place(handle)?;
        self.slots.remove(at);
        Ok(())
    }

    /// Keeps a refusal's text and gives its status.
    pub(crate) fn refused(&mut self, refusal: Refusal) -> Status {
        self.error = refusal.detail;
        refusal.status
    }
}

/// Makes `buffer` hold at least `len` bytes and the padding; new bytes are zero.
fn lengthen(buffer: &mut Vec<u8>, len: usize) -> Answer<()> {
    let need = len.checked_add(PADDING).ok_or_else(|| Refusal::no_memory(len))?;
    if buffer.len() < need {
        buffer.try_reserve_exact(need - buffer.len()).map_err(|_| Refusal::no_memory(len))?;
        buffer.resize(need, 0);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
