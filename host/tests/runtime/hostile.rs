//! Modules that break every rule: each gets its own clear error, and the host goes on.

use crate::fake::{Fake, a_good_module_still_runs, policy, record, settings};
use plimsoll::runtime::wasm::{ModuleError, Modules, Settings};
use plimsoll::runtime::{Engine, EngineError, Engines, Flush};
use plimsoll_core::wire::{effects, panes};

const LOOP: &str = "(loop $l (br $l))";

/// Loads it and gives the refusal in words.
fn refused(fake: &Fake) -> (ModuleError, String) {
    refused_bytes(fake.wasm())
}

fn refused_bytes(wasm: Vec<u8>) -> (ModuleError, String) {
    let e = Modules::from_bytes(wasm, settings()).unwrap_err();
    let text = format!("{:#}", anyhow_chain(&e));
    a_good_module_still_runs();
    (e, text)
}

fn anyhow_chain(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut next = e.source();
    while let Some(e) = next {
        text += &format!(": {e}");
        next = e.source();
    }
    text
}

macro_rules! assert_refused {
    ($fake:expr, $pattern:pat, $($word:expr),+) => {
        let (e, text) = refused(&$fake);
        assert!(matches!(e, $pattern), "{e:?}");
        $(assert!(text.contains($word), "no {:?} in {text:?}", $word);)+
    };
}

#[test]
fn a_fake_that_behaves_is_taken() {
    let engines = Fake::good().load().unwrap();
    assert_eq!(engines.describe(), "{}");
    assert!(engines.digest().is_some());
    a_good_module_still_runs();
}

#[test]
fn imports_are_refused() {
    let mut f = Fake::good();
    f.more = r#"(import "env" "clock" (func))"#;
    assert_refused!(f, ModuleError::Import { .. }, "env.clock", "imports nothing");
    let mut f = Fake::good();
    f.memory = r#"(import "env" "m" (memory 4)) (export "memory" (memory 0))"#;
    assert_refused!(f, ModuleError::Import { .. }, "env.m");
}

#[test]
fn a_start_function_is_refused() {
    let mut f = Fake::good();
    f.memory = r#"(memory (export "memory") 4) (func $s) (start $s)"#;
    assert_refused!(f, ModuleError::Start, "start function");
}

#[test]
fn other_memories_are_refused() {
    for (memory, found) in [
        (r#"(memory (export "memory") 4 8 shared)"#, "shared memory"),
        (r#"(memory (export "memory") 200)"#, "13107200 bytes"),
    ] {
        let mut f = Fake::good();
        f.memory = memory;
        assert_refused!(f, ModuleError::Memory { .. }, found, "expected");
    }
    let wide = wat::parse_str(r#"(module (memory (export "memory") i64 4))"#).unwrap();
    let (e, text) = refused_bytes(wide);
    assert!(matches!(e, ModuleError::Memory { .. }) && text.contains("64-bit"), "{text}");
    let mut f = Fake::good();
    f.memory = r#"(memory 4) (global (export "memory") i32 (i32.const 0))"#;
    assert_refused!(f, ModuleError::Export { name: "memory", .. }, "a global");
}

#[test]
fn features_outside_the_list_are_refused() {
    for more in [
        "(func (drop (v128.const i64x2 0 0)))",
        "(func $t (return_call $t))",
        "(tag (param i32))",
        "(type (struct))",
        "(table $t 1 funcref) (func (drop (table.grow $t (ref.null func) (i32.const 1))))",
        "(memory $second 1)",
    ] {
        let mut f = Fake::good();
        f.more = more;
        assert_refused!(f, ModuleError::Invalid { .. }, "the first WebAssembly");
    }
}

#[test]
fn missing_and_mistyped_exports_are_refused() {
    assert_refused!(
        Fake::good().without("plimsoll_pending"),
        ModuleError::Export { name: "plimsoll_pending", .. },
        "found nothing",
        "a function of (i32) that returns i32"
    );
    assert_refused!(
        Fake::good().with_params("plimsoll_free", "(param i64 i32)"),
        ModuleError::Export { name: "plimsoll_free", .. },
        "found a function of (i64, i32) that returns (i32)",
        "(i32, i32)"
    );
}

#[test]
fn what_is_no_module_is_refused() {
    for bytes in [&b""[..], b"hello", b"\0asm\x0d\0\x01\0", b"\0asm\x01\0\0\0\xff"] {
        let (e, text) = refused_bytes(bytes.to_vec());
        assert!(matches!(e, ModuleError::Invalid { .. } | ModuleError::Export { .. }), "{text}");
    }
    let wasm = Fake::good().wasm();
    // Without the names at its end it would be whole.
    let names = wasmparser::Parser::new(0).parse_all(&wasm).find_map(|p| match p.unwrap() {
        wasmparser::Payload::CustomSection(s) => Some(s.range().start),
        _ => None,
    });
    let needed = names.expect("names, as wat writes them") - 5;
    for end in (0..needed).step_by(7) {
        Modules::from_bytes(wasm[..end].to_vec(), settings()).unwrap_err();
    }
    let mut small = settings();
    small.module_bytes_max = 100;
    let e = Modules::from_bytes(wasm, small).unwrap_err();
    assert!(matches!(e, ModuleError::TooLarge { limit_bytes: 100 }), "{e:?}");
}

#[test]
fn a_file_larger_than_allowed_is_not_read_to_its_end() {
    let e = Modules::load(Some(std::path::Path::new("/dev/zero")), settings()).unwrap_err();
    assert!(matches!(e, ModuleError::TooLarge { .. }), "{e:?}");
    let e = Modules::load(Some(std::path::Path::new("no/such.wasm")), settings()).unwrap_err();
    assert!(matches!(e, ModuleError::Read { .. }) && e.to_string().contains("no/such.wasm"), "{e}");
}

#[test]
fn another_abi_is_refused() {
    let f = Fake::good().with("plimsoll_abi_version", "(i32.const 2)");
    assert_refused!(f, ModuleError::AbiVersion { found: 2, expected: 1 }, "speaks ABI 2");
}

#[test]
fn a_module_that_counts_otherwise_is_refused() {
    let f = Fake::good().with("plimsoll_restore", "(i32.const 1)");
    assert_refused!(f, ModuleError::Differs { .. }, "after a restore", "expected");
    let f = Fake::good().with("plimsoll_flush", "(global.set $len (i32.const 5)) (i32.const 0)");
    assert_refused!(f, ModuleError::Differs { .. }, "no effects");
}

#[test]
fn a_module_that_fails_while_it_is_tested_is_refused() {
    let f = Fake::good().with("plimsoll_open", "unreachable");
    assert_refused!(f, ModuleError::SelfTest { step: "open", .. }, "trapped");
    let f = Fake::good().with("plimsoll_abi_version", &format!("{LOOP} unreachable"));
    assert_refused!(f, ModuleError::SelfTest { .. }, "abi_version", "did not end");
    let f = Fake::good().with("plimsoll_panic_ptr", "unreachable");
    assert_refused!(f, ModuleError::SelfTest { step: "instantiate", .. }, "trapped");
    let f = Fake::good().with("plimsoll_describe", "(global.set $len (i32.const 0)) (i32.const 0)");
    assert_refused!(f, ModuleError::SelfTest { step: "describe", .. }, "no JSON object");
}

/// Gives an engine the input that makes it misbehave, and what it said to `ask`.
fn hit<T: std::fmt::Debug>(fake: &Fake, ask: impl Fn(&mut dyn Engine) -> Result<T, EngineError>) -> EngineError {
    let engines = fake.load().unwrap();
    let mut engine = engines.open(&policy(), None).unwrap();
    engine.apply(&record("{}")).unwrap();
    let e = match engine.apply(&record("!")) {
        Ok(()) => ask(&mut *engine).unwrap_err(),
        Err(e) => e,
    };
    let again = engine.apply(&record("{}"));
    if e.is_refusal() {
        again.unwrap();
    } else {
        assert!(matches!(again, Err(EngineError::Gone { .. })), "asked again after {e}: {again:?}");
        engine.pending().unwrap_err();
    }
    // Another engine of the same module has not noticed.
    let mut other = engines.open(&policy(), None).unwrap();
    other.apply(&record("{}")).unwrap();
    a_good_module_still_runs();
    e
}

fn hit_apply(instructions: &str) -> EngineError {
    hit(&Fake::good().when_hit("plimsoll_apply", instructions), |e| e.pending())
}

#[test]
fn a_trap_is_an_answer() {
    let e = hit_apply("unreachable");
    assert!(matches!(&e, EngineError::Trap { reason } if reason.contains("unreachable")), "{e}");
    let e = hit_apply("(drop (i32.load (i32.const 0x7fffffff)))");
    assert!(matches!(&e, EngineError::Trap { reason } if reason.contains("out of bounds")), "{e}");
    let mut f = Fake::good();
    f.more =
        "(func $deep (param i64) (call $deep (i64.add (local.get 0) (i64.const 1))) (drop (i64.clz (local.get 0))))";
    let e = hit(&f.when_hit("plimsoll_apply", "(call $deep (i64.const 1))"), |e| e.pending());
    assert!(matches!(&e, EngineError::Trap { reason } if reason.contains("stack")), "{e}");
}

#[test]
fn a_panic_gives_its_text() {
    let panic = r#"(i32.store (i32.const 256) (i32.const 16)) (memory.copy (i32.const 260) (i32.const 65561) (i32.const 16)) unreachable"#;
    let f = Fake::good().when_hit("plimsoll_apply", panic);
    let engines = f.load().unwrap();
    for (payload, text) in
        [("!lost at line 7:", "lost at line 7:"), ("!a\x1b[31m \u{7f}\nend ...", "a\\u{1b}[31m \\u{7f} end ...")]
    {
        let mut engine = engines.open(&policy(), None).unwrap();
        let e = engine.apply(&record(&format!("{payload:<17}"))).unwrap_err();
        assert!(matches!(&e, EngineError::Trap { reason } if reason == text), "{e:?}");
    }
    // Lengths that cannot be: the trap's own name is all there is.
    for len in ["1021", "-1", "0"] {
        let e = hit_apply(&format!("(i32.store (i32.const 256) (i32.const {len})) unreachable"));
        assert!(matches!(&e, EngineError::Trap { reason } if reason.contains("unreachable")), "{e}");
    }
    let f = Fake::good().with("plimsoll_panic_ptr", "(i32.const -2)").when_hit("plimsoll_apply", "unreachable");
    assert!(matches!(hit(&f, |e| e.pending()), EngineError::Trap { .. }));
}

#[test]
fn a_call_that_does_not_end_is_ended() {
    let e = hit_apply(LOOP);
    assert!(matches!(&e, EngineError::OutOfTime { limit } if limit.contains("200ms")), "{e}");
    let f = Fake::good().when_hit("plimsoll_output_len", LOOP);
    let e = hit(&f, |e| e.flush(Flush::All, &mut Vec::new()));
    assert!(matches!(e, EngineError::OutOfTime { .. }), "{e}");
}

#[test]
fn fuel_ends_a_run_at_the_same_record_every_time() {
    // Each call costs more than the one before.
    let work = "(global.set $n (i32.add (global.get $n) (i32.const 1))) (local.set 2 (i32.mul (global.get $n) (i32.const 1000)))
        (loop $l (local.set 2 (i32.sub (local.get 2) (i32.const 1))) (br_if $l (local.get 2)))";
    let fake = Fake::good().with("plimsoll_apply", &format!("(local i32) {work} (i32.const 0)"));
    let runs: Vec<_> = (0..4)
        .map(|_| {
            let engines = fake.load().unwrap();
            let mut engine = engines.open_metered(&policy(), None).unwrap();
            let done = (0..).take_while(|_| engine.apply(&record("{}")).is_ok()).count();
            assert!(matches!(engine.pending(), Err(EngineError::Gone { .. })));
            done
        })
        .collect();
    assert!(runs[0] > 10 && runs.iter().all(|r| *r == runs[0]), "{runs:?}");

    let engines = Fake::good().when_hit("plimsoll_apply", LOOP).load().unwrap();
    let mut engine = engines.open_metered(&policy(), None).unwrap();
    let e = engine.apply(&record("!")).unwrap_err();
    assert!(matches!(&e, EngineError::OutOfTime { limit } if limit.contains("1000000 units of fuel")), "{e}");
    a_good_module_still_runs();
}

#[test]
fn memory_has_a_cap() {
    let grow = "(loop $l (drop (memory.grow (i32.const 1))) (br $l))";
    let e = hit_apply(grow);
    assert!(matches!(e, EngineError::OutOfMemory { limit_bytes: 8_388_608 }), "{e}");
    let e = hit_apply("(drop (memory.grow (i32.const 65536)))");
    assert!(matches!(e, EngineError::OutOfMemory { .. }), "{e}");
    // The metered run allocates otherwise and answers the same.
    let engines = Fake::good().when_hit("plimsoll_apply", grow).load().unwrap();
    let mut engine = engines.open_metered(&policy(), None).unwrap();
    let e = engine.apply(&record("!")).unwrap_err();
    assert!(matches!(e, EngineError::OutOfMemory { .. }), "{e}");
    // A module's own, smaller maximum is its own affair.
    let mut f = Fake::good();
    f.memory = r#"(memory (export "memory") 4 5)"#;
    let engines = f
        .when_hit("plimsoll_apply", "(if (i32.ne (memory.grow (i32.const 9)) (i32.const -1)) (then unreachable))")
        .load()
        .unwrap();
    engines.open(&policy(), None).unwrap().apply(&record("!")).unwrap();
}

#[test]
fn tables_have_a_cap() {
    let mut f = Fake::good();
    f.more = "(table 1000000 funcref)";
    assert_refused!(f, ModuleError::Compile { .. }, "table");
}

#[test]
fn outputs_must_lie_within_memory_and_limits() {
    let out = |e: &mut dyn Engine| e.flush(Flush::All, &mut Vec::new());
    for (name, answer, word) in [
        ("plimsoll_output_ptr", "-1", "within its memory of 262144 bytes"),
        ("plimsoll_output_ptr", "262140", "within its memory"),
        ("plimsoll_output_len", "-1", "4294967295 bytes, at most 1048576"),
        ("plimsoll_output_len", "1048577", "at most"),
        ("plimsoll_output_len", "1048576", "within its memory"),
    ] {
        let f = Fake::good().when_hit(name, &format!("(return (i32.const {answer}))"));
        let e = hit(&f, out);
        assert!(matches!(&e, EngineError::Lie { detail } if detail.contains(word)), "{name} {answer}: {e}");
    }
    let mut bytes = vec![1, 2, 3];
    let engines = Fake::good()
        .when_hit(
            "plimsoll_flush",
            "(global.set $ptr (i32.const 65536)) (global.set $len (i32.const 25)) (return (i32.const 0))",
        )
        .load()
        .unwrap();
    let mut engine = engines.open(&policy(), None).unwrap();
    engine.apply(&record("!")).unwrap();
    engine.flush(Flush::All, &mut bytes).unwrap();
    assert_eq!(bytes.len(), 25, "cleared first");
    effects::decode(&bytes).unwrap_err();
}

#[test]
fn panes_are_taken_as_hostile() {
    let out = |e: &mut dyn Engine| e.panes(&mut Vec::new());
    for (name, answer, word) in [
        ("plimsoll_output_ptr", "-1", "within its memory of 262144 bytes"),
        ("plimsoll_output_len", "1048577", "at most 1048576"),
        ("plimsoll_panes", "99", "answered with status 99"),
    ] {
        let f = Fake::good().when_hit(name, &format!("(return (i32.const {answer}))"));
        let e = hit(&f, out);
        assert!(matches!(&e, EngineError::Lie { detail } if detail.contains(word)), "{name} {answer}: {e}");
    }
    let e = hit(&Fake::good().when_hit("plimsoll_panes", "unreachable"), out);
    assert!(matches!(e, EngineError::Trap { .. }), "{e}");
    let e = hit(&Fake::good().when_hit("plimsoll_panes", LOOP), out);
    assert!(matches!(e, EngineError::OutOfTime { .. }), "{e}");
    let mut bytes = vec![1, 2, 3];
    let mut engine = Fake::good().open().unwrap();
    engine.panes(&mut bytes).unwrap();
    assert_eq!(bytes, b"{}", "cleared first");
    panes::decode(&bytes).unwrap_err();
}

#[test]
fn input_buffers_must_lie_within_memory() {
    for at in ["262100", "0x7fffffff"] {
        let f = Fake::good().with("plimsoll_input", &format!(
            "(if (result i32) (i32.eqz (global.get $n)) (then (global.set $n (i32.const 1)) (i32.const 65536)) (else (i32.const {at})))"
        ));
        let engines = f.load().unwrap();
        let mut engine = engines.open(&policy(), None).unwrap();
        engine.apply(&record("{}")).unwrap();
        let e = engine.apply(&record(&"x".repeat(100))).unwrap_err();
        assert!(matches!(&e, EngineError::Lie { detail } if detail.contains("plimsoll_input")), "{e}");
    }
    // And what the host writes at the start.
    let f = Fake::good().with("plimsoll_alloc", "(i32.const -8)");
    assert_refused!(f, ModuleError::SelfTest { step: "open", .. }, "plimsoll_alloc", "4294967288");
}

#[test]
fn statuses_mean_what_the_abi_says() {
    for (status, refusal) in
        [(2, true), (3, true), (6, true), (1, false), (5, false), (8, false), (-1, false), (i32::MIN, false)]
    {
        let f = Fake::good().when_hit("plimsoll_apply", &format!("(return (i32.const {status}))"));
        let e = hit(&f, |e| e.pending());
        assert_eq!(e.is_refusal(), refusal, "status {status}: {e}");
        match (status, &e) {
            (1 | 8 | -1 | i32::MIN, EngineError::Lie { .. }) | (5, EngineError::OutOfMemory { .. }) => {}
            (_, EngineError::Refused { status: s, detail }) => {
                assert_eq!((*s, detail.as_str()), (status, "words\\u{1b} of it"));
            }
            _ => panic!("status {status}: {e}"),
        }
    }
    for (answer, word) in [("-1", "does not know"), ("-2147483648", "status -2147483648"), ("-99", "status 99")] {
        let f = Fake::good().when_hit("plimsoll_pending", &format!("(return (i32.const {answer}))"));
        let e = hit(&f, |e| e.pending());
        assert!(matches!(&e, EngineError::Lie { detail } if detail.contains(word)), "{e}");
    }
    let f = Fake::good()
        .when_hit("plimsoll_apply", "(return (i32.const 3))")
        .when_hit("plimsoll_error_len", "(return (i32.const -1))");
    assert!(matches!(hit(&f, |e| e.pending()), EngineError::Lie { .. }));
}

#[test]
fn handles_are_above_zero() {
    let open = |answer: &str| Fake::good().with("plimsoll_open", &format!("(i32.const {answer})"));
    assert_refused!(open("0"), ModuleError::SelfTest { .. }, "handle 0");
    assert_refused!(open("-2"), ModuleError::SelfTest { .. }, "refused", "words", "status 2");
    assert_refused!(open("-77"), ModuleError::SelfTest { .. }, "status 77");
}

#[test]
fn there_are_no_more_engines_than_allowed_and_room_comes_back() {
    let engines = Fake::good().load().unwrap();
    let mut open: Vec<_> = (0..10).map(|_| engines.open(&policy(), None).unwrap()).collect();
    let Err(e) = engines.open(&policy(), None) else { panic!("an eleventh engine") };
    assert!(matches!(&e, EngineError::Host { detail } if detail.contains("limit")), "{e}");
    open[3].apply(&record("{}")).unwrap();
    // A thrown-away instance leaves its room at once, though its engine is still held.
    let engines = Fake::good().when_hit("plimsoll_apply", "unreachable").load().unwrap();
    let mut open: Vec<_> = (0..10).map(|_| engines.open(&policy(), None).unwrap()).collect();
    open[0].apply(&record("!")).unwrap_err();
    engines.open(&policy(), None).unwrap();
}

#[test]
fn the_defaults_take_a_module_too() {
    let mut s = Settings::default();
    s.cache = false;
    Modules::from_bytes(Fake::good().wasm(), s).unwrap().open(&policy(), None).unwrap();
}
