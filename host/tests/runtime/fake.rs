//! Modules of ABI 1 written as text, that know the self-test's answers by heart and may then misbehave.
//!
//! A fake gets through every check. Where the payload of the last input begins with `!`, it does what its test gave it
//! to do. Layout: description at 1,024, panic buffer at 256, effects at 2,048 and 4,096, input at 65,536.

use plimsoll::runtime::wasm::{ModuleError, Modules, Settings, WasmEngines, expected_effects};
use plimsoll::runtime::{Engine, EngineError, Engines, Flush};
use plimsoll_core::policy::Policy;
use plimsoll_core::wire::frame::{self, Kind};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A module in the making: the functions' bodies by name.
pub struct Fake {
    functions: BTreeMap<&'static str, (&'static str, String)>,
    pub memory: &'static str,
    pub more: &'static str,
}

impl Fake {
    /// One that behaves.
    pub fn good() -> Self {
        let [a, b] = expected_effects();
        let answer = |a: usize, b: usize| {
            format!(
                "(if (result i32) (i32.eq (local.get 0) (i32.const 1)) (then (i32.const {a})) (else (i32.const {b})))"
            )
        };
        let set = |ptr: &str, len: &str| format!("(global.set $ptr {ptr}) (global.set $len {len}) (i32.const 0)");
        let functions = [
            ("plimsoll_abi_version", "", "(i32.const 1)".into()),
            ("plimsoll_alloc", "(param i32)", "(i32.const 131072)".into()),
            ("plimsoll_free", "(param i32 i32)", "(i32.const 0)".into()),
            ("plimsoll_open", "(param i32 i32)", "(i32.const 1)".into()),
            ("plimsoll_restore", "(param i32 i32 i32 i32)", "(i32.const 2)".into()),
            ("plimsoll_input", "(param i32 i32)", "(i32.const 65536)".into()),
            ("plimsoll_apply", "(param i32 i32)", "(i32.const 0)".into()),
            ("plimsoll_pending", "(param i32)", "(i32.const 7)".into()),
            ("plimsoll_flush", "(param i32 i32)", set(&answer(2048, 4096), &answer(a.len(), b.len()))),
            ("plimsoll_panes", "(param i32)", set("(i32.const 1024)", "(i32.const 2)")),
            ("plimsoll_snapshot", "(param i32)", set("(i32.const 1024)", "(i32.const 2)")),
            ("plimsoll_describe", "(param i32)", set("(i32.const 1024)", "(i32.const 2)")),
            ("plimsoll_output_ptr", "(param i32)", "(global.get $ptr)".into()),
            ("plimsoll_output_len", "(param i32)", "(global.get $len)".into()),
            ("plimsoll_error_ptr", "", "(i32.const 512)".into()),
            ("plimsoll_error_len", "", "(i32.const 12)".into()),
            ("plimsoll_panic_ptr", "", "(i32.const 256)".into()),
            ("plimsoll_close", "(param i32)", "(i32.const 0)".into()),
        ];
        Self {
            functions: functions.map(|(name, params, body)| (name, (params, body))).into(),
            memory: r#"(memory (export "memory") 4)"#,
            more: "",
        }
    }

    /// With another body for a function.
    pub fn with(mut self, name: &'static str, body: &str) -> Self {
        self.functions.get_mut(name).unwrap().1 = body.into();
        self
    }

    /// With instructions that run before a function's own where the input begins with `!`.
    pub fn when_hit(mut self, name: &'static str, instructions: &str) -> Self {
        let body = &mut self.functions.get_mut(name).unwrap().1;
        *body = format!("(if (call $hit) (then {instructions})) {body}");
        self
    }

    /// Without an export.
    pub fn without(mut self, name: &'static str) -> Self {
        self.functions.remove(name).unwrap();
        self
    }

    /// With another list of parameters.
    pub fn with_params(mut self, name: &'static str, params: &'static str) -> Self {
        self.functions.get_mut(name).unwrap().0 = params;
        self
    }

    /// Its bytes.
    pub fn wasm(&self) -> Vec<u8> {
        let [a, b] = expected_effects().map(|e| e.iter().map(|b| format!("\\{b:02x}")).collect::<String>());
        let functions: String = self
            .functions
            .iter()
            .map(|(name, (params, body))| format!("(func (export \"{name}\") {params} (result i32) {body})\n"))
            .collect();
        let (more, memory) = (self.more, self.memory);
        let text = format!(
            r#"(module {more} {memory}
            (global $ptr (mut i32) (i32.const 0)) (global $len (mut i32) (i32.const 0))
            (global $n (mut i32) (i32.const 0))
            (data (i32.const 512) "words\1b of it.")
            (data (i32.const 1024) "{{}}") (data (i32.const 2048) "{a}") (data (i32.const 4096) "{b}")
            (func $hit (result i32) (i32.eq (i32.load8_u (i32.const 65560)) (i32.const 33)))
            {functions})"#
        );
        wat::parse_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    pub fn load(&self) -> Result<WasmEngines, ModuleError> {
        Modules::from_bytes(self.wasm(), settings())
    }

    /// An engine of it, or why there is none.
    pub fn open(&self) -> Result<Box<dyn Engine>, EngineError> {
        self.load().unwrap().open(&policy(), None)
    }
}

/// Settings that keep a test short.
pub fn settings() -> Settings {
    let mut s = Settings::default();
    s.cache = false;
    s.engines_max = 10;
    s.memory_bytes_max = 8 << 20;
    s.output_bytes_max = 1 << 20;
    s.call_timeout = std::time::Duration::from_millis(200);
    s.call_fuel_max = 1_000_000;
    s
}

/// Any policy: a fake does not read it.
pub fn policy() -> Arc<Policy> {
    let text = r#"{"v":1,"policy":"p","input":{"format":"json","time":{"field":["ts"],"unit":"ms","unit_check":false},"arrival":null,"key":[["key"]],"source":null},"window":{"fixed":{"size":60000,"offset":0}},"watermark":{"strategy":"max","delay":0,"max_future":null,"future":"accept"},"late":{"by":"record","allowed_lateness":0,"to":"table"},"measures":[{"name":"events","op":"count","field":null}],"limits":{"record_bytes":1000,"key_bytes":100,"dead_letter_bytes":100}}"#;
    Arc::new(Policy::from_canonical(text.as_bytes()).unwrap())
}

/// One record in a frame.
pub fn record(payload: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frame::push(&mut out, Kind::Record, 1, None, payload.as_bytes());
    out
}

/// That this process still runs a module that behaves.
pub fn a_good_module_still_runs() {
    let mut engine = Fake::good().open().unwrap();
    let mut out = Vec::new();
    engine.apply(&record("{}")).unwrap();
    engine.flush(Flush::All, &mut out).unwrap();
    assert_eq!(out, expected_effects()[0]);
}
