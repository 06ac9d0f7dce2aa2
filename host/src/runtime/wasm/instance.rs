//! One instance with one open handle: the calls of ABI 1, their answers taken as hostile.
//!
//! Invariants
//! - Memory is looked at anew after every call, and only within its bounds.
//! - Each call has its own time or fuel.
//! - After anything but a refusal the instance is dropped and never called again.
//!
//! Not here: what the bytes mean (`plimsoll_core::wire`).

use super::sandbox::{Limits, MemoryCap, NoHostMemory, Sandbox};
use crate::runtime::{Engine, EngineError, Flush};
use plimsoll_core::policy::Policy;
use std::sync::Arc;
use wasmtime::{Instance, Memory, Store, Trap, TypedFunc, WasmParams};

/// Longest text of a panic or refusal that is passed on, in bytes; the panic buffer holds no more.
const TEXT_MAX: usize = 1_020;

/// Statuses of ABI 1 that are more than the module's words.
mod status {
    pub const OK: i32 = 0;
    pub const BAD_HANDLE: i32 = 1;
    pub const NO_MEMORY: i32 = 5;
    pub const LAST: i32 = 7;
}

type Call<P> = TypedFunc<P, i32>;

/// The functions that are called more than once.
struct Abi {
    alloc: Call<i32>,
    free: Call<(i32, i32)>,
    input: Call<(i32, i32)>,
    apply: Call<(i32, i32)>,
    pending: Call<i32>,
    flush: Call<(i32, i32)>,
    panes: Call<i32>,
    snapshot: Call<i32>,
    output_ptr: Call<i32>,
    output_len: Call<i32>,
    error_ptr: Call<()>,
    error_len: Call<()>,
}

/// An instance that has not misbehaved yet.
pub(super) struct Live {
    sandbox: Arc<Sandbox>,
    store: Store<Limits>,
    instance: Instance,
    memory: Memory,
    abi: Abi,
    panic_at: usize,
    handle: i32,
}

impl Live {
    /// A fresh instance, no handle open yet.
    pub(super) fn new(sandbox: &Arc<Sandbox>) -> Result<Self, EngineError> {
        let host = |e: wasmtime::Error| EngineError::Host { detail: format!("{e:#}") };
        let (mut store, instance) = sandbox.instantiate().map_err(host)?;
        let memory = instance.get_memory(&mut store, "memory").expect("the check saw it");
        let abi = Abi {
            alloc: function(&mut store, &instance, "plimsoll_alloc"),
            free: function(&mut store, &instance, "plimsoll_free"),
            input: function(&mut store, &instance, "plimsoll_input"),
            apply: function(&mut store, &instance, "plimsoll_apply"),
            pending: function(&mut store, &instance, "plimsoll_pending"),
            flush: function(&mut store, &instance, "plimsoll_flush"),
            panes: function(&mut store, &instance, "plimsoll_panes"),
            snapshot: function(&mut store, &instance, "plimsoll_snapshot"),
            output_ptr: function(&mut store, &instance, "plimsoll_output_ptr"),
            output_len: function(&mut store, &instance, "plimsoll_output_len"),
            error_ptr: function(&mut store, &instance, "plimsoll_error_ptr"),
            error_len: function(&mut store, &instance, "plimsoll_error_len"),
        };
        // Until its address is known, the panic buffer is read at an address where there is none.
        let mut live =
            Self { sandbox: Arc::clone(sandbox), store, instance, memory, abi, panic_at: usize::MAX, handle: 0 };
        live.panic_at = live.call_once("plimsoll_panic_ptr", ())? as u32 as usize;
        Ok(live)
    }

    /// The version of the ABI that it speaks.
    pub(super) fn abi_version(&mut self) -> Result<i32, EngineError> {
        self.call_once("plimsoll_abi_version", ())
    }

    /// The module's description of itself.
    pub(super) fn describe(&mut self) -> Result<Vec<u8>, EngineError> {
        let status = self.call_once("plimsoll_describe", 0)?;
        self.done("plimsoll_describe", status)?;
        let mut out = Vec::new();
        self.take_output(0, &mut out)?;
        Ok(out)
    }

    /// Opens this instance's one handle.
    pub(super) fn open(&mut self, policy: &Policy, snapshot: Option<&[u8]>) -> Result<(), EngineError> {
        let p = self.give(policy.canonical())?;
        let (name, answer) = match snapshot {
            None => ("plimsoll_open", self.call_once("plimsoll_open", p)?),
            Some(snapshot) => {
                let s = self.give(snapshot)?;
                let answer = self.call_once("plimsoll_restore", (p.0, p.1, s.0, s.1))?;
                if answer > 0 {
                    self.take_back(s)?;
                }
                ("plimsoll_restore", answer)
            }
        };
        self.handle = self.value(name, answer)?;
        if self.handle == 0 {
            return Err(lie(format!("{name} gave handle 0, expected one above 0 or minus a status")));
        }
        self.take_back(p)
    }

    fn apply(&mut self, frames: &[u8]) -> Result<(), EngineError> {
        self.apply_filled(frames.len(), &mut |place| {
            place.copy_from_slice(frames);
            frames.len()
        })
    }

    fn apply_filled(&mut self, room: usize, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> Result<(), EngineError> {
        let most = i32::try_from(room).map_err(|_| EngineError::Host {
            detail: format!("{room} bytes of frames in one call, at most 2^31 can be given"),
        })?;
        let at = self.call(|a| &a.input, (self.handle, most))?;
        let at = self.value("plimsoll_input", at)?;
        let len = fill(self.place("plimsoll_input", at, room)?);
        let len = i32::try_from(len).ok().filter(|len| *len <= most).expect("no more than there is room for");
        let status = self.call(|a| &a.apply, (self.handle, len))?;
        self.done("plimsoll_apply", status)
    }

    fn pending(&mut self) -> Result<u64, EngineError> {
        let answer = self.call(|a| &a.pending, self.handle)?;
        self.value("plimsoll_pending", answer).map(|n| n as u64)
    }

    fn flush(&mut self, mode: Flush, out: &mut Vec<u8>) -> Result<(), EngineError> {
        let mode = match mode {
            Flush::All => 0,
            Flush::Final => 1,
            Flush::Drain => 2,
        };
        let status = self.call(|a| &a.flush, (self.handle, mode))?;
        self.done("plimsoll_flush", status)?;
        self.take_output(self.handle, out)
    }

    fn panes(&mut self, out: &mut Vec<u8>) -> Result<(), EngineError> {
        let status = self.call(|a| &a.panes, self.handle)?;
        self.done("plimsoll_panes", status)?;
        self.take_output(self.handle, out)
    }

    fn snapshot(&mut self, out: &mut Vec<u8>) -> Result<(), EngineError> {
        let status = self.call(|a| &a.snapshot, self.handle)?;
        self.done("plimsoll_snapshot", status)?;
        self.take_output(self.handle, out)
    }

    /// Puts bytes into a buffer of the module's.
    fn give(&mut self, bytes: &[u8]) -> Result<(i32, i32), EngineError> {
        let len = i32::try_from(bytes.len())
            .map_err(|_| EngineError::Host { detail: format!("{} bytes for one buffer, at most 2^31", bytes.len()) })?;
        let at = self.call(|a| &a.alloc, len)?;
        if at == 0 {
            return Err(self.out_of_memory());
        }
        self.write("plimsoll_alloc", at, bytes)?;
        Ok((at, len))
    }

    fn take_back(&mut self, buffer: (i32, i32)) -> Result<(), EngineError> {
        let status = self.call(|a| &a.free, buffer)?;
        self.done("plimsoll_free", status)
    }

    fn write(&mut self, name: &str, at: i32, bytes: &[u8]) -> Result<(), EngineError> {
        self.place(name, at, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Bytes of the module's memory that it has named.
    fn place(&mut self, name: &str, at: i32, len: usize) -> Result<&mut [u8], EngineError> {
        let memory = self.memory.data_mut(&mut self.store);
        let (at, size) = (at as u32 as usize, memory.len());
        memory.get_mut(at..).and_then(|m| m.get_mut(..len)).ok_or_else(|| outside(name, at, len, size))
    }

    fn take_output(&mut self, handle: i32, out: &mut Vec<u8>) -> Result<(), EngineError> {
        out.clear();
        let at = self.call(|a| &a.output_ptr, handle)? as u32 as usize;
        let len = self.call(|a| &a.output_len, handle)? as u32 as usize;
        let limit = self.sandbox.settings.output_bytes_max;
        if len as u64 > limit {
            return Err(lie(format!("an output of {len} bytes, at most {limit} are taken")));
        }
        let memory = self.memory.data(&self.store);
        let bytes = memory.get(at..).and_then(|m| m.get(..len));
        out.extend_from_slice(bytes.ok_or_else(|| outside("plimsoll_output_ptr", at, len, memory.len()))?);
        Ok(())
    }

    /// Status 0, or what another one means.
    fn done(&mut self, name: &str, status: i32) -> Result<(), EngineError> {
        if status == status::OK { Ok(()) } else { Err(self.refusal(name, status)) }
    }

    /// A value, or what minus a status means.
    fn value(&mut self, name: &str, answer: i32) -> Result<i32, EngineError> {
        if answer >= 0 { Ok(answer) } else { Err(self.refusal(name, answer.wrapping_neg())) }
    }

    fn refusal(&mut self, name: &str, status: i32) -> EngineError {
        match status {
            status::BAD_HANDLE => lie(format!("{name} does not know the handle {} that it gave", self.handle)),
            status::NO_MEMORY => self.out_of_memory(),
            status::OK..=status::LAST => match self.error_text() {
                Ok(detail) => EngineError::Refused { status, detail },
                Err(e) => e,
            },
            _ => lie(format!("{name} answered with status {status}, expected 0 to {}", status::LAST)),
        }
    }

    fn out_of_memory(&self) -> EngineError {
        EngineError::OutOfMemory { limit_bytes: self.sandbox.settings.memory_bytes_max }
    }

    fn error_text(&mut self) -> Result<String, EngineError> {
        let at = self.call(|a| &a.error_ptr, ())? as u32 as usize;
        let len = self.call(|a| &a.error_len, ())? as u32 as usize;
        let memory = self.memory.data(&self.store);
        let text = memory.get(at..).and_then(|m| m.get(..len));
        text.map(tidy).ok_or_else(|| outside("plimsoll_error_ptr", at, len, memory.len()))
    }

    /// What a panic left, read without a call.
    fn panic_text(&self) -> Option<String> {
        let (len, text) = self.memory.data(&self.store).get(self.panic_at..)?.split_first_chunk()?;
        let len = u32::from_le_bytes(*len) as usize;
        (1..=TEXT_MAX).contains(&len).then(|| text.get(..len).map(tidy))?
    }

    /// A function that is called once in the life of an instance.
    fn call_once<P: WasmParams>(&mut self, name: &str, params: P) -> Result<i32, EngineError> {
        let function = function(&mut self.store, &self.instance, name);
        self.run(&function, params)
    }

    fn call<P: WasmParams>(&mut self, function: fn(&Abi) -> &Call<P>, params: P) -> Result<i32, EngineError> {
        let function = function(&self.abi).clone();
        self.run(&function, params)
    }

    fn run<P: WasmParams>(&mut self, function: &Call<P>, params: P) -> Result<i32, EngineError> {
        self.sandbox.refill(&mut self.store);
        function.call(&mut self.store, params).map_err(|e| self.fault(&e))
    }

    fn fault(&self, e: &wasmtime::Error) -> EngineError {
        if e.is::<MemoryCap>() {
            return self.out_of_memory();
        }
        if let Some(e) = e.downcast_ref::<NoHostMemory>() {
            return EngineError::Host { detail: e.to_string() };
        }
        match e.downcast_ref::<Trap>() {
            Some(Trap::Interrupt | Trap::OutOfFuel) => EngineError::OutOfTime { limit: self.sandbox.limit() },
            Some(trap) => EngineError::Trap { reason: self.panic_text().unwrap_or_else(|| trap.to_string()) },
            None => EngineError::Trap { reason: format!("{e:#}") },
        }
    }
}

fn function<P: WasmParams>(store: &mut Store<Limits>, instance: &Instance, name: &str) -> Call<P> {
    instance.get_typed_func(store, name).expect("the check saw it with this type")
}

fn lie(detail: String) -> EngineError {
    EngineError::Lie { detail }
}

fn outside(name: &str, at: usize, len: usize, size: usize) -> EngineError {
    lie(format!("{name}: {len} bytes at address {at}, expected a place within its memory of {size} bytes"))
}

/// A stranger's text for a log: no control characters, no more than a screen of it.
fn tidy(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_MAX)]);
    text.trim().chars().map(|c| if c == '\n' || c == '\t' { ' ' } else { c }).flat_map(visible).collect()
}

fn visible(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control().then(|| c.escape_default());
    let plain = (!c.is_control()).then_some(c);
    escaped.into_iter().flatten().chain(plain)
}

/// An engine in an instance of its own.
pub(super) struct WasmEngine {
    live: Result<Box<Live>, String>,
}

impl WasmEngine {
    pub(super) fn new(live: Live) -> Self {
        Self { live: Ok(Box::new(live)) }
    }

    /// Does one thing with the instance, and drops it where that fails by anything but a refusal.
    fn with<T>(&mut self, f: impl FnOnce(&mut Live) -> Result<T, EngineError>) -> Result<T, EngineError> {
        let live = match &mut self.live {
            Ok(live) => live,
            Err(after) => return Err(EngineError::Gone { after: after.clone() }),
        };
        f(live).inspect_err(|e| {
            if !e.is_refusal() {
                self.live = Err(e.to_string());
            }
        })
    }
}

impl Engine for WasmEngine {
    fn apply(&mut self, frames: &[u8]) -> Result<(), EngineError> {
        self.with(|live| live.apply(frames))
    }

    fn apply_filled(&mut self, room: usize, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> Result<(), EngineError> {
        self.with(|live| live.apply_filled(room, fill))
    }

    fn pending(&mut self) -> Result<u64, EngineError> {
        self.with(Live::pending)
    }

    fn flush(&mut self, mode: Flush, out: &mut Vec<u8>) -> Result<(), EngineError> {
        self.with(|live| live.flush(mode, out))
    }

    fn panes(&mut self, out: &mut Vec<u8>) -> Result<(), EngineError> {
        self.with(|live| live.panes(out))
    }

    fn snapshot(&mut self, out: &mut Vec<u8>) -> Result<(), EngineError> {
        self.with(|live| live.snapshot(out))
    }
}
