//! One compilation of a module, with the limits it runs under.
//!
//! ```text
//! epochs   normal runs: a thread counts time up, a call that outlives its deadline is thrown away and decides nothing
//! fuel     metered runs: every instruction is paid for, so a call ends at the same instruction on every machine
//! ```
//!
//! Invariants
//! - Compiled code never depends on the machine's floats (NaNs are made canonical), threads or relaxed SIMD.
//! - A module that asks for more memory than its cap traps; it is not told and cannot go on differently. Its table
//!   cannot grow: that instruction is not among the features.
//!
//! Not here: the calls (`instance`), the compiled files (`cache`).

use super::cache::Cache;
use super::error::ModuleError;
use super::settings::Settings;
use std::time::Duration;
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, InstancePre, Linker, Module, PoolingAllocationConfig, ResourceLimiter,
    Store,
};

/// Most elements of the module's table: its indirect calls.
const TABLE_ELEMENTS: usize = 20_000;
/// Spacing of the epochs: this many fit a time-out.
const TICKS: u32 = 50;

/// How a call is kept from running for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meter {
    Epochs,
    Fuel,
}

/// A module compiled for one kind of run.
pub(super) struct Sandbox {
    pre: InstancePre<Limits>,
    meter: Meter,
    pub(super) settings: Settings,
    /// Epochs until a call's time is over.
    deadline: u64,
}

impl Sandbox {
    /// Compiles `wasm`, or takes its compiled form from the cache.
    pub(super) fn new(
        wasm: &[u8],
        digest: &[u8; 32],
        meter: Meter,
        settings: &Settings,
        cache: Option<&Cache>,
    ) -> Result<Self, ModuleError> {
        let fail = |e: wasmtime::Error| ModuleError::Compile { detail: format!("{e:#}") };
        let engine = engine(meter, settings).map_err(fail)?;
        let module = match cache {
            Some(cache) => cache.module(&engine, wasm, digest, meter),
            None => Module::from_binary(&engine, wasm),
        };
        let pre = Linker::new(&engine).instantiate_pre(&module.map_err(fail)?).map_err(fail)?;
        let every = tick_length(settings.call_timeout);
        if meter == Meter::Epochs {
            count_epochs(&engine, every).map_err(|e| ModuleError::Compile { detail: format!("no thread: {e}") })?;
        }
        // One more, since the first may end at once.
        let deadline = settings.call_timeout.as_nanos().div_ceil(every.as_nanos()) as u64 + 1;
        Ok(Self { pre, meter, settings: settings.clone(), deadline })
    }

    /// A fresh instance in its own store.
    pub(super) fn instantiate(&self) -> wasmtime::Result<(Store<Limits>, wasmtime::Instance)> {
        let limits = Limits { memory_bytes: self.settings.memory_bytes_max as usize };
        let mut store = Store::new(self.pre.module().engine(), limits);
        store.limiter(|limits| limits);
        self.refill(&mut store);
        let instance = self.pre.instantiate(&mut store)?;
        Ok((store, instance))
    }

    /// Gives the next call its time or fuel.
    pub(super) fn refill(&self, store: &mut Store<Limits>) {
        match self.meter {
            Meter::Epochs => store.set_epoch_deadline(self.deadline),
            Meter::Fuel => store.set_fuel(self.settings.call_fuel_max).expect("the engine was made to count fuel"),
        }
    }

    /// The limit on a call's time, for people.
    pub(super) fn limit(&self) -> String {
        match self.meter {
            Meter::Epochs => format!("{:?}, the time of one call", self.settings.call_timeout),
            Meter::Fuel => format!("{} units of fuel, those of one call", self.settings.call_fuel_max),
        }
    }
}

/// What an instance may have. The module itself declares one memory and one table.
pub(super) struct Limits {
    memory_bytes: usize,
}

/// The memory cap was reached.
#[derive(Debug, thiserror::Error)]
#[error("memory cap")]
pub(super) struct MemoryCap;

/// The operating system refused memory within the cap.
#[derive(Debug, thiserror::Error)]
#[error("no memory from the operating system: {0}")]
pub(super) struct NoHostMemory(String);

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.memory_bytes {
            return Err(MemoryCap.into());
        }
        Ok(maximum.is_none_or(|own| desired <= own))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(NoHostMemory(format!("{error:#}")).into())
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > TABLE_ELEMENTS {
            return Err(wasmtime::Error::msg(format!(
                "a table of {desired} elements, at most {TABLE_ELEMENTS} are given"
            )));
        }
        Ok(true)
    }
}

/// Everything that decides what code comes out: a part of the cache's key.
pub(super) fn compile_settings(meter: Meter) -> String {
    format!("{meter:?}, canonical NaNs, no SIMD, 1")
}

fn engine(meter: Meter, settings: &Settings) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .wasm_extended_const(false)
        // A panic's text says more than addresses of compiled code would.
        .wasm_backtrace_max_frames(None);
    match meter {
        Meter::Epochs => config.epoch_interruption(true),
        // Metered runs are rare: they take their memory when they need it.
        Meter::Fuel => return Engine::new(config.consume_fuel(true)),
    };
    let mut pool = PoolingAllocationConfig::default();
    pool.total_core_instances(settings.engines_max)
        .total_memories(settings.engines_max)
        .total_tables(settings.engines_max)
        .max_tables_per_module(1)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(settings.memory_bytes_max as usize);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config).or_else(|e| {
        // Where address space is short (`ulimit -v`, small virtual machines) single engines may still find room.
        tracing::debug!("no pool of {} instances, allocating each: {e:#}", settings.engines_max);
        Engine::new(config.allocation_strategy(InstanceAllocationStrategy::OnDemand))
    })
}

fn tick_length(timeout: Duration) -> Duration {
    (timeout / TICKS).clamp(Duration::from_millis(1), Duration::from_millis(100))
}

/// Counts epochs until the engine is gone.
fn count_epochs(engine: &Engine, every: Duration) -> std::io::Result<()> {
    let engine = engine.weak();
    let count = move || {
        loop {
            std::thread::sleep(every);
            match engine.upgrade() {
                Some(engine) => engine.increment_epoch(),
                None => return,
            }
        }
    };
    std::thread::Builder::new().name("plimsoll-epochs".into()).spawn(count).map(drop)
}
