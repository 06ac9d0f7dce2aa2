//! What the sandbox costs: a batch through the module beside the same batch natively, and a call that does no work.
//!
//! Run with `cargo bench -p plimsoll --bench module`, after `make build`.

use divan::Bencher;
use divan::counter::BytesCount;
use plimsoll::runtime::native::NativeEngines;
use plimsoll::runtime::wasm::{Modules, Settings};
use plimsoll::runtime::{Engines, Flush};
use plimsoll_core::policy::Policy;
use plimsoll_core::wire::frame::{self, Kind};
use std::path::Path;
use std::sync::Arc;

const SIZES: [usize; 2] = [256 << 10, 1 << 20];
const POLICY: &[u8] = br#"{"v":1,"policy":"bench","input":{"format":"json","time":{"field":["ts"],"unit":"ms","unit_check":true},"arrival":null,"key":[["placement"],["creative"]],"source":null},"window":{"fixed":{"size":60000,"offset":0}},"watermark":{"strategy":{"quantile":{"q_milli":500,"sample":1001,"min_sample":100}},"delay":600000,"max_future":300000,"future":"quarantine"},"late":{"by":"record","allowed_lateness":0,"to":"table"},"measures":[{"name":"events","op":"count","field":null},{"name":"impressions","op":"sum","field":["impressions"]},{"name":"watch_ms","op":"sum","field":["watch_ms"]}],"limits":{"record_bytes":1048576,"key_bytes":256,"dead_letter_bytes":1024}}"#;

fn main() {
    divan::main();
}

fn policy() -> Arc<Policy> {
    Arc::new(Policy::from_canonical(POLICY).expect("a canonical policy"))
}

fn module() -> Box<dyn Engines> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plimsoll/plimsoll.wasm");
    Box::new(Modules::load(Some(&path), Settings::default()).expect("a module; `make build` makes it"))
}

/// Lines of 124 bytes with 7 fields.
fn lines(bytes: usize) -> Vec<u8> {
    let mut text = String::new();
    for i in (0u64..).take_while(|i| *i < bytes as u64 / 124) {
        // Half of the records on 50 keys, the rest on 4,000.
        let key = if i % 2 == 0 { i / 2 % 50 } else { i * 7 % 4_000 };
        let (ts, p, c, d) = (1_700_000_000_000 + i * 10, key % 40, key / 10, i * 31 % 15_000);
        text += &format!(
            "{{\"ts\":{ts},\"device\":\"d-{d:06}\",\"placement\":\"p-{p:03}\",\"creative\":\"c-{c:04}\",\"impressions\":1,\"watch_ms\":{:05},\"v\":\"1.2.345\"}}\n",
            10_000 + i % 9_000
        );
    }
    let mut frames = Vec::new();
    frame::push(&mut frames, Kind::Lines, 1, None, text.as_bytes());
    frames
}

/// As many bytes that the engine sets aside unread: what is left is the call and the copy.
fn unread(bytes: usize) -> Vec<u8> {
    let mut frames = Vec::new();
    frame::push(&mut frames, Kind::Oversize, 1, None, &vec![b'x'; bytes]);
    frames
}

fn batches(bencher: Bencher<'_, '_>, engines: &dyn Engines, frames: &[u8]) {
    let mut engine = engines.open(&policy(), None).expect("an engine");
    let mut out = Vec::new();
    bencher.counter(BytesCount::new(frames.len())).bench_local(|| {
        engine.apply(frames).expect("frames");
        engine.flush(Flush::All, &mut out).expect("effects");
        out.len()
    });
}

#[divan::bench(args = SIZES)]
fn batch_native(bencher: Bencher<'_, '_>, bytes: usize) {
    batches(bencher, &NativeEngines, &lines(bytes));
}

#[divan::bench(args = SIZES)]
fn batch_module(bencher: Bencher<'_, '_>, bytes: usize) {
    batches(bencher, &*module(), &lines(bytes));
}

#[divan::bench(args = SIZES)]
fn copy_native(bencher: Bencher<'_, '_>, bytes: usize) {
    batches(bencher, &NativeEngines, &unread(bytes));
}

#[divan::bench(args = SIZES)]
fn copy_module(bencher: Bencher<'_, '_>, bytes: usize) {
    batches(bencher, &*module(), &unread(bytes));
}

#[divan::bench]
fn open_and_drop(bencher: Bencher<'_, '_>) {
    let engines = module();
    let policy = policy();
    bencher.bench_local(|| drop(engines.open(&policy, None).expect("an engine")));
}

#[divan::bench]
fn load_with_a_warm_cache(bencher: Bencher<'_, '_>) {
    module();
    bencher.bench_local(|| module().digest());
}
