//! Seeds of the simulator with the engine as production runs it: the module under wasmtime. What it gives out must be the
//! same as the native engine's, byte for byte: the hosts then write the same contents, and the runs take the same way.
//!
//! Not here: the many seeds (`core/tests/simulator.rs`).

#[path = "../../core/tests/sim/mod.rs"]
mod sim;

use plimsoll::runtime::wasm::WasmEngines;
use plimsoll::runtime::{self, Engines as _};
use plimsoll_core::policy::Policy;
use plimsoll_tests::engine;
use sim::engine::{Engines, Native, Running};
use sim::mutant::Mutant;
use sim::plan::Plan;
use std::sync::Arc;

/// Every engine is an instance of the module, the snapshots are the module's own.
struct Module(WasmEngines);

struct Instance(Box<dyn runtime::Engine>);

impl Engines for Module {
    fn open(&self, policy: &Policy, snapshot: Option<&[u8]>) -> Option<Box<dyn Running>> {
        // A snapshot of another policy is refused; anything else the module must take.
        let opened = self.0.open(&Arc::new(policy.clone()), snapshot);
        opened.ok().map(|e| -> Box<dyn Running> { Box::new(Instance(e)) })
    }
}

impl Running for Instance {
    fn apply(&mut self, frames: &[u8]) {
        self.0.apply(frames).expect("it takes frames");
    }

    fn flush(&mut self) -> Vec<u8> {
        engine::flush(&mut *self.0).expect("it flushes")
    }

    fn snapshot(&mut self) -> Vec<u8> {
        engine::snapshot(&mut *self.0).expect("it tells its state")
    }
}

#[test]
fn the_protocol_holds_with_the_module_as_with_the_native_engine() {
    let module = Module(engine::module());
    for seed in 0..60 {
        let plan = Plan::drawn(seed, 48);
        let (outcome, with_module) = sim::run(&plan, Mutant::None, &module);
        assert_eq!(outcome, Ok(()), "{plan:?}");
        let (_, native) = sim::run(&plan, Mutant::None, &Native);
        let ways = |t: &sim::tally::Tally| (t.fired, t.mattered, t.requests, t.events);
        assert_eq!(ways(&with_module), ways(&native), "{plan:?}");
        // A lane that waits for a person ends a run early.
        assert!(
            with_module.faults() >= 20 || with_module.halted > 0,
            "seed {seed}: only {} faults fired",
            with_module.faults()
        );
    }
}
