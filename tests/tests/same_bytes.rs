//! One file with all its troubles: every way to run the engine gives the same bytes, and the judge agrees.
//!
//! Not here: the browser (`page`), other cuts of the same records (`cut_anywhere`).

use plimsoll::runtime::native::NativeEngines;
use plimsoll::runtime::{Engine, Engines as _};
use plimsoll_tests::engine::{self, Told};
use plimsoll_tests::process::{self, Host};
use plimsoll_tests::records::{self, Arrivals};
use plimsoll_tests::{oracle, rows, seed, tools, workspace};
use sha2::{Digest as _, Sha256};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const RECORDS: usize = 200_000;
const LIMIT: Duration = Duration::from_secs(60);
/// As in `abi/run.mjs` and `abi/run.py`.
const CHUNK_BYTES: usize = 65_536;
const CHUNKS_PER_FLUSH: usize = 16;

/// What `abi/run.*` write: the effects of each flush, and the snapshot.
fn run_abi(engine: &mut dyn Engine, records: &[u8]) -> Vec<Vec<u8>> {
    let (mut out, mut rest, mut ordinal, mut chunks) = (Vec::new(), records, 0, 0);
    while !rest.is_empty() {
        let least = CHUNK_BYTES.min(rest.len() - 1);
        let to = rest[least..].iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| least + at + 1);
        ordinal = engine::apply(engine, &rest[..to], ordinal).expect("it takes frames");
        rest = &rest[to..];
        chunks += 1;
        if chunks % CHUNKS_PER_FLUSH == 0 {
            out.push(engine::flush(engine).expect("it flushes"));
        }
    }
    out.push(engine::flush(engine).expect("it flushes"));
    out.push(engine::snapshot(engine).expect("it tells its state"));
    out
}

fn run_script(program: &Path, script: &str, dir: &Path) -> (Vec<u8>, String) {
    let script = workspace().join("tests/abi").join(script);
    let out = dir.join("effects");
    let mut command = Command::new(program);
    command.arg(&script).arg(process::module()).args(["policy.json", "events.ndjson"].map(|file| dir.join(file)));
    let ran = command.arg(&out).output().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    assert!(ran.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&ran.stderr));
    (std::fs::read(&out).expect("effects"), String::from_utf8(ran.stdout).expect("a digest").trim().to_owned())
}

/// `preview` of the file: main rows, late rows, dead letters, and the accounting as JSON.
fn preview(dir: &Path, native: bool) -> (Vec<u8>, Vec<u8>, Vec<u8>, serde_json::Value) {
    let mut arguments =
        vec!["preview", "--policy", "policy.toml", "--json", "--late-out", "late", "--dead-out", "dead"];
    arguments.extend(native.then_some("--native"));
    arguments.push("events.ndjson");
    let done = Host::new(arguments).current_dir(dir).run(LIMIT).expect("it ends").expect(0).expect("it previews");
    let read = |name: &str| std::fs::read(dir.join(name)).expect("preview wrote it");
    let account = done.stderr.lines().last().and_then(|line| serde_json::from_str(line).ok()).expect("the accounting");
    (done.stdout, read("late"), read("dead"), account)
}

#[test]
fn everywhere_the_same_bytes() {
    let seed = seed::seed("same_bytes");
    let dir = tempfile::tempdir().expect("a folder");
    let records = records::troubled(seed, RECORDS);
    let text = records::policy(Arrivals::Field);
    let policy = engine::policy(&text);
    for (name, content) in
        [("events.ndjson", &records[..]), ("policy.toml", text.as_bytes()), ("policy.json", policy.canonical())]
    {
        std::fs::write(dir.path().join(name), content).expect("a file");
    }

    let module = engine::module();
    let under_wasmtime = run_abi(&mut *module.open(&policy, None).expect("an engine"), &records);
    let native = run_abi(&mut *NativeEngines.open(&policy, None).expect("an engine"), &records);
    assert!(native == under_wasmtime, "native code and the module under wasmtime differ");

    let wasm = std::fs::read(process::module()).expect("the module");
    let digest: String = Sha256::digest(&wasm).iter().map(|byte| format!("{byte:02x}")).collect();
    let whole = under_wasmtime.concat();
    for (program, script) in [(Path::new("node"), "run.mjs"), (&tools::ensure().python(), "run.py")] {
        let (effects, ran) = run_script(program, script, dir.path());
        assert_eq!(ran, digest, "{script} ran other bytes");
        assert!(effects == whole, "{script}: {} bytes of effects, {} under wasmtime", effects.len(), whole.len());
    }

    let (main, late, dead, account) = preview(dir.path(), false);
    let (native_main, native_late, native_dead, native_account) = preview(dir.path(), true);
    assert!((&main, &late, &dead) == (&native_main, &native_late, &native_dead), "preview and preview --native differ");
    assert_eq!(account["account"], native_account["account"]);
    assert_eq!(account["module_sha256"], digest.as_str());
    let flushes = under_wasmtime[..under_wasmtime.len() - 1].iter().map(Vec::as_slice);
    let Told { main: told_main, late: told_late, .. } = engine::told(&policy, flushes).expect("effects");
    assert!(
        (told_main.as_bytes(), told_late.as_bytes()) == (&main[..], &late[..]),
        "preview's rows are not the effects'"
    );

    let query = records::query(Arrivals::Field);
    let expected = oracle::recompute(&query, &records);
    rows::compare(&query, &main, &late, &expected).unwrap_or_else(|error| panic!("{error:#}"));
    let counts = ["read", "counted", "late", "future", "rejected"].map(|name| account["account"][name].as_u64());
    let oracle::Outcome { read, counted, late, future, rejected, .. } = expected;
    assert_eq!(counts, [read, counted, late, future, rejected].map(Some));
    // The troubles are there.
    assert!(counted > read / 2 && late > 1_000 && future > 100 && rejected > 1_000, "{counts:?}");
    assert_eq!(dead.iter().filter(|byte| **byte == b'\n').count() as u64, future + rejected);
}
