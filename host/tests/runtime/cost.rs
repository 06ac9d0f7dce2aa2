//! What a record costs, in instructions and memory of the module: fuel under wasmtime, where bytes that are moved are paid for one by
//! one. It is the same on every machine in every run, so that nothing here is timed.
//!
//! Invariants
//! - No order of a key's records makes sessions slow: four times as many cost hardly more than four times as much.
//! - A record costs the same however many keys have open windows. Of a key's windows each tenfold number adds one walk
//!   down a tree's level, a fifteenth of a record's cost.
//!
//! Not here: what the memory hierarchy adds to it (`cargo bench`).

use crate::support::{self, Rec, Step, frame_of};
use plimsoll_core::policy::{
    Accumulation, Keep, Kept, LateBy, Policy, Spec, Strategy, Touching, Trigger, Watermark, Windowing,
};
use plimsoll_core::time::TimeDelta;
use plimsoll_core::wire::effects;
use plimsoll_core::wire::frame::{self, Kind};
use std::fmt::Write as _;
use std::sync::OnceLock;
use wasmtime::{Config, Engine, Instance, Memory, Module, Store, Val};

/// The module with one engine in it, every instruction counted.
struct Metered {
    store: Store<()>,
    instance: Instance,
    memory: Memory,
    handle: i32,
}

impl Metered {
    fn open(policy: &Policy) -> Self {
        static MODULE: OnceLock<Module> = OnceLock::new();
        let module = MODULE.get_or_init(|| {
            let engine = Engine::new(Config::new().consume_fuel(true)).expect("a compiler");
            Module::from_file(&engine, crate::built::path()).expect("the module")
        });
        let mut store = Store::new(module.engine(), ());
        store.set_fuel(u64::MAX).expect("fuel is counted");
        let instance = Instance::new(&mut store, module, &[]).expect("a module without imports");
        let memory = instance.get_memory(&mut store, "memory").expect("its memory");
        let mut this = Self { store, instance, memory, handle: 0 };
        let text = policy.canonical();
        let at = this.call("plimsoll_alloc", &[text.len() as i32]);
        this.write(at, text);
        this.handle = this.call("plimsoll_open", &[at, text.len() as i32]);
        assert!(this.handle > 0);
        this
    }

    fn call(&mut self, name: &str, args: &[i32]) -> i32 {
        let function = self.instance.get_func(&mut self.store, name).expect("a function of the ABI");
        let (args, mut out) = (args.iter().map(|n| Val::I32(*n)).collect::<Vec<_>>(), [Val::I32(0)]);
        function.call(&mut self.store, &args, &mut out).expect("it does not trap");
        out[0].unwrap_i32()
    }

    fn write(&mut self, at: i32, bytes: &[u8]) {
        self.memory.write(&mut self.store, at as u32 as usize, bytes).expect("a place that it named");
    }

    /// What it costs to take these frames in.
    fn apply(&mut self, frames: &[u8]) -> u64 {
        let len = frames.len() as i32;
        let at = self.call("plimsoll_input", &[self.handle, len]);
        self.write(at, frames);
        self.cost("plimsoll_apply", &[self.handle, len])
    }

    /// What it costs to give out all that there is.
    fn drain(&mut self) -> u64 {
        self.cost("plimsoll_panes", &[self.handle]) + self.cost("plimsoll_flush", &[self.handle, 2])
    }

    fn cost(&mut self, name: &str, args: &[i32]) -> u64 {
        let before = self.store.get_fuel().expect("it is counted");
        assert_eq!(self.call(name, args), 0, "{name}");
        before - self.store.get_fuel().expect("it is counted")
    }

    /// Bytes of memory: it never shrinks.
    fn memory(&self) -> usize {
        self.memory.data_size(&self.store)
    }

    /// The last output.
    fn output(&mut self) -> &[u8] {
        let at = self.call("plimsoll_output_ptr", &[self.handle]) as u32 as usize;
        let len = self.call("plimsoll_output_len", &[self.handle]) as u32 as usize;
        &self.memory.data(&self.store)[at..at + len]
    }
}

fn ms(n: i64) -> TimeDelta {
    TimeDelta::from_millis(n)
}

fn at(t: i64) -> Step {
    Step::Record(Rec { key: 0, t, v: Some(t % 7), gap: None, arrival: None })
}

/// The i-th of n steps.
type Order = fn(usize, usize) -> Step;

/// What a stream of n steps costs, from the first to the last row.
fn whole(policy: &Policy, n: usize, order: Order) -> u64 {
    let mut frames = Vec::new();
    (0..n).for_each(|i| frames.extend(frame_of(i, &order(i, n))));
    let mut engine = Metered::open(policy);
    let cost = engine.apply(&frames) + engine.drain();
    let account = effects::decode(engine.output()).expect("effects").account;
    assert!(account.rejected == 0 && account.read + 1 >= n as u64, "{account:?}");
    cost
}

/// Four times as much for four times as many, and what a logarithm adds.
fn linear(name: &str, policy: &Policy, order: Order, slow: &mut Vec<String>) {
    const N: usize = 8_000;
    let (small, large) = (whole(policy, N, order), whole(policy, 4 * N, order));
    let ratio = large as f64 / small as f64;
    let line = format!("{name}: {} a record, then {}: {ratio:.2}", small / N as u64, large / (4 * N as u64));
    println!("{line}");
    if ratio > 5.0 {
        slow.push(line);
    }
}

#[test]
fn no_order_of_one_keys_records_makes_sessions_slow() {
    const GAP: i64 = 10;
    let orders: [(&str, Order); 7] = [
        ("one after the other", |i, _| at(i as i64)),
        ("backwards", |i, n| at((n - i) as i64)),
        ("apart", |i, _| at(i as i64 * 2 * GAP)),
        ("apart, backwards", |i, n| at((n - i) as i64 * 2 * GAP)),
        // The first half stands apart, the second joins them one by one.
        ("joined from the left", |i, n| {
            at(if i < n / 2 { i as i64 } else { (i - n / 2) as i64 } * 18 + i64::from(i >= n / 2) * 9)
        }),
        ("joined from the right", |i, n| at(if i < n / 2 { i as i64 * 18 } else { (n - i) as i64 * 18 - 9 })),
        ("from both ends", |i, n| {
            let k = (i / 2) as i64 * 5;
            at(if i % 2 == 0 { k } else { n as i64 * 10 - k })
        }),
    ];
    let repeated = |trigger| Trigger::Repeatedly { trigger: Box::new(trigger) };
    let triggers = [
        ("never", Trigger::Never),
        ("each record", repeated(Trigger::AfterCount { count: 1 })),
        ("once", Trigger::AfterCount { count: 1 }),
        ("later", Trigger::AfterWatermark { early: Some(Box::new(Trigger::AfterCount { count: 2 })), late: None }),
        ("by the clock", repeated(Trigger::AfterProcessingTime { delay_ms: 5, align_ms: None, align_offset_ms: 0 })),
    ];
    let mut slow = Vec::new();
    for touching in [Touching::Separate, Touching::Merge] {
        for (when, trigger) in &triggers {
            let window = Windowing::Session { gap: ms(GAP), gap_field: None, touching };
            let mut spec = support::spec(window, support::panes(trigger.clone(), Accumulation::Retracting));
            spec.kept.clear();
            let policy = Policy::new(spec).expect("valid");
            for (name, order) in orders {
                linear(&format!("{name}, {when}, {touching:?}"), &policy, order, &mut slow);
            }
        }
    }
    assert!(slow.is_empty(), "{}", slow.join("\n"));
}

#[test]
fn sessions_that_were_told_and_are_joined_later_are_not_slow() {
    let window = Windowing::Session { gap: ms(10), gap_field: None, touching: Touching::Separate };
    let late = Some(Box::new(Trigger::Never));
    let trigger = Trigger::AfterWatermark { early: None, late };
    let mut spec = support::spec(window, support::panes(trigger, Accumulation::Retracting));
    spec.late.allowed_lateness = ms(1 << 30);
    // Where sessions join, a list moves: its length is the policy's, and is reached by the fewer records too.
    spec.kept = vec![Kept { name: "list".into(), what: Keep::List { most: 1_000 }, field: vec!["v".into()] }];
    let policy = Policy::new(spec).expect("valid");
    let mut slow = Vec::new();
    // Half of them apart, then all are on time, then each joins the one before it with all that follow.
    let order: Order = |i, n| match i {
        _ if i < n / 2 => at(i as i64 * 18),
        _ if i == n / 2 => Step::Watermark(1 << 28),
        _ => at((n - i) as i64 * 18 - 9),
    };
    linear("joined late", &policy, order, &mut slow);
    assert!(slow.is_empty(), "{}", slow.join("\n"));
}

/// How a stream's records are spread.
#[derive(Clone, Copy, Debug)]
enum Spread {
    Keys,
    Windows,
}

/// A policy without panes whose watermark stays far behind.
fn rows(window: Windowing) -> Spec {
    let mut spec = support::spec(window, support::panes(Trigger::Default, Accumulation::Discarding));
    (spec.kept, spec.panes) = (Vec::new(), None);
    spec.late.by = LateBy::Record;
    spec.watermark = Watermark { strategy: Strategy::Max, delay: TimeDelta::DAY, ..spec.watermark };
    spec
}

/// Lines of records, one each for these keys or windows. Names and times are of one length: digits cost.
fn lines(spread: Spread, which: impl Iterator<Item = u64>) -> String {
    let mut text = String::new();
    for i in which {
        let (key, t) = match spread {
            Spread::Keys => (i, 0),
            Spread::Windows => (0, i),
        };
        writeln!(text, "{{\"k\":\"{key:07}\",\"ts\":{},\"v\":5}}", 10_000_000 + t * 20).expect("to memory");
    }
    text
}

#[test]
fn a_record_costs_the_same_however_many_keys_and_windows_are_open() {
    const MEASURED: u64 = 10_000;
    let fixed = || Windowing::Fixed { size: ms(20), offset: ms(0) };
    let session = || Windowing::Session { gap: ms(10), gap_field: None, touching: Touching::Separate };
    let panes = |window| {
        let mut spec = support::spec(window, support::panes(Trigger::Default, Accumulation::Discarding));
        spec.kept.clear();
        spec
    };
    let policies = [
        ("rows of fixed windows", rows(fixed()), 175, 400),
        ("fixed windows with a trigger", panes(fixed()), 400, 425),
        ("sessions", panes(session()), 400, 425),
    ];
    let mut grown = Vec::new();
    for (name, spec, of_key, of_window) in policies {
        let policy = Policy::new(spec).expect("valid");
        // In thousandths of the first, per tenfold number; and bytes of memory each, when there are a million.
        for (spread, most, bytes_max) in [(Spread::Keys, 10.0, of_key), (Spread::Windows, 80.0, of_window)] {
            let empty = Metered::open(&policy).memory();
            let (mut engine, mut records, mut open, mut first) = (Metered::open(&policy), 0, 0, None);
            let mut take = |engine: &mut Metered, which: &mut dyn Iterator<Item = u64>| {
                let (mut frames, text) = (Vec::new(), lines(spread, which));
                frame::push(&mut frames, Kind::Lines, records, None, text.as_bytes());
                records += MEASURED;
                engine.apply(&frames)
            };
            for (tenfold, n) in [1_000, 10_000, 100_000, 1_000_000].into_iter().enumerate() {
                while open < n {
                    let to = n.min(open + MEASURED);
                    take(&mut engine, &mut (open..to));
                    open = to;
                }
                // All over the place: 7,919 is a prime number.
                let cost = take(&mut engine, &mut (0..MEASURED).map(|i| i * 7_919 % n)) as f64 / MEASURED as f64;
                let first = *first.get_or_insert(cost);
                let bytes = (engine.memory() - empty) / n as usize;
                let line = format!("{name}, {n} {spread:?}: {cost:.0} a record, {bytes} bytes each");
                println!("{line}");
                if cost > first * (1.0 + most / 1_000.0 * tenfold as f64) {
                    grown.push(format!("{line}, {first:.0} at first"));
                }
                if n == 1_000_000 && bytes > bytes_max {
                    grown.push(format!("{line}, at most {bytes_max} are stated"));
                }
            }
            engine.drain();
            let account = effects::decode(engine.output()).expect("effects").account;
            assert_eq!((account.read, account.counted), (open + 4 * MEASURED, open + 4 * MEASURED));
        }
    }
    assert!(grown.is_empty(), "{}", grown.join("\n"));
}
