//! What the host costs beside services that cost nothing: W1 from Kinesis to DynamoDB, both as stubs on loopback.
//!
//! ```text
//! records, made before -> stub of Kinesis -> plimsoll run, a process of its own -> stub of DynamoDB, which forgets rows
//!                                            its CPU time, its memory
//! ```
//! CPU time is the host's alone: requests signed and read, records decoded from JSON and base64, the module, and a request
//! for each row. Figures are of the machine that it runs on; the ratios hardly depend on it. Nothing fails for being slow.
//!
//! Run with `cargo bench -p plimsoll-tests --bench host`, after `make build`.

use plimsoll::runtime::{Engines, Flush};
use plimsoll_core::time::ArrivalTime;
use plimsoll_core::wire::frame::{self, Kind};
use plimsoll_tests::engine;
use plimsoll_tests::live::{self, Arrived, RATE};
use plimsoll_tests::process::{Host, Running};
use plimsoll_tests::stub::Stub;
use plimsoll_tests::stub::dynamodb::Tables;
use plimsoll_tests::stub::kinesis::Stream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Forty minutes of the live stream: some thirteen batches.
const RECORDS: usize = 400_000;
/// Records of a lane where many lanes are measured.
const RECORDS_OF_MANY: usize = 40_000;
const LANES: usize = 33;
/// As the host's own batches into DynamoDB.
const BATCH_BYTES: usize = 4 << 20;
const BATCH_ROWS: u64 = 10_000;
const LIMIT: Duration = Duration::from_secs(600);

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let records = runtime.block_on(live::records(RECORDS));
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("policy.toml"), live::policy_text()).expect("a policy");
    println!("W1, {RECORDS} records of 15,000 devices, {RATE:.0} a second live; the median as watermark");
    let engine_s = engine_alone(&records);
    catch_up(&dir, &records, engine_s);
    lanes(&dir, &records);
    takeover(&dir, &records);
}

/// A stub of each service, and what the latter was asked.
struct Services {
    kinesis: Stub,
    dynamodb: Stub,
    tables: Arc<Tables>,
}

impl Services {
    fn new(stream: Stream) -> Self {
        let tables = Arc::new(Tables::default());
        let behind = Arc::clone(&tables);
        Self {
            kinesis: Stub::start(move |call| stream.answer(call)).expect("a stub"),
            dynamodb: Stub::start(move |call| behind.answer(call)).expect("a stub"),
            tables,
        }
    }

    fn host(&self, dir: &TempDir, line: &str) -> Running {
        let line = format!("run --policy policy.toml --kinesis w1 {line}");
        let host = Host::new(line.split_whitespace()).current_dir(dir.path());
        host.aws(&self.kinesis.url(), &self.dynamodb.url()).spawn().expect("the host starts")
    }
}

fn given(records: &[Arrived]) -> impl Iterator<Item = (i64, &[u8])> {
    records.iter().map(|(arrival, record)| (*arrival, record.as_slice()))
}

/// A run's CPU time and wall time in seconds, its peak memory in MB, and its summary.
struct Measured {
    cpu_s: f64,
    wall_s: f64,
    peak_mb: f64,
    stderr: String,
}

fn measured(mut host: Running) -> Measured {
    let (before, began, id) = (cpu_s().1, Instant::now(), host.id());
    let mut peak_mb = 0.0;
    while host.is_running().expect("the system says") {
        peak_mb = memory_mb(id, "VmHWM").unwrap_or(peak_mb);
        std::thread::sleep(Duration::from_millis(10));
    }
    let wall_s = began.elapsed().as_secs_f64();
    let done = host.wait(LIMIT).and_then(|done| done.expect(0)).unwrap_or_else(|error| panic!("{error:#}"));
    Measured { cpu_s: cpu_s().1 - before, wall_s, peak_mb, stderr: done.stderr }
}

/// CPU seconds of the module alone on the same records in the same batches, in this process.
fn engine_alone(records: &[Arrived]) -> f64 {
    const RUNS: u32 = 5;
    let mut frames = vec![Vec::new()];
    for (n, (arrival, record)) in records.iter().enumerate() {
        let last = frames.last_mut().expect("one at least");
        frame::push(last, Kind::Record, n as u64, Some(ArrivalTime::from_millis(*arrival)), record);
        if last.len() >= 1 << 20 {
            frames.push(Vec::new());
        }
    }
    let (engines, policy) = (engine::module(), live::policy());
    let begun = cpu_s().0;
    for _ in 0..RUNS {
        let mut engine = engines.open(&policy, None).expect("an engine");
        let (mut out, mut snapshot, mut bytes) = (Vec::new(), Vec::new(), 0);
        for chunk in &frames {
            engine.apply(chunk).expect("frames");
            bytes += chunk.len();
            if bytes >= BATCH_BYTES || engine.pending().expect("rows") >= BATCH_ROWS {
                engine.flush(Flush::All, &mut out).expect("effects");
                engine.snapshot(&mut snapshot).expect("a state");
                bytes = 0;
            }
        }
    }
    (cpu_s().0 - begun) / f64::from(RUNS)
}

fn catch_up(dir: &TempDir, records: &[Arrived], engine_s: f64) {
    let million = 1e6 / records.len() as f64;
    let services = Services::new(Stream::new(1, given(records)));
    let whole = measured(services.host(dir, "--dynamodb bench --once --json"));
    let updates = services.tables.requests("UpdateItem", "-rows") + services.tables.requests("UpdateItem", "-late");
    let batches = services.tables.commits().len();
    // Without rows: what is left is reading, the module, and a line for each row.
    let services = Services::new(Stream::new(1, given(records)));
    let read = measured(services.host(dir, "--stdout --once"));
    let summary: serde_json::Value =
        whole.stderr.lines().rev().find_map(|line| serde_json::from_str(line).ok()).expect("a summary");
    assert_eq!(summary["account"]["read"], records.len(), "every record was read");
    println!(
        "\ncatch-up, one lane: {batches} batches, {:.3} row writes per record",
        updates as f64 / records.len() as f64
    );
    println!("  host's CPU per million records      {:6.2} s", whole.cpu_s * million);
    println!("    of it reading and the module      {:6.2} s   (the same run to --stdout)", read.cpu_s * million);
    println!(
        "    of it the module                  {:6.2} s   {:.1} %",
        engine_s * million,
        100.0 * engine_s / whole.cpu_s
    );
    println!("    a row's write                     {:6.1} us", (whole.cpu_s - read.cpu_s) / updates as f64 * 1e6);
    println!("  write units per million records     {}", summary["write_units"]["per_million_records"]);
    println!("  peak memory                         {:6.1} MB", whole.peak_mb);
    let rate = records.len() as f64 / whole.cpu_s;
    println!("  records per second of one core      {rate:6.0}     {:.0} times the live rate", rate / RATE);
    println!(
        "  24 h of backlog on one core         {:6.0} s   ({:.0} s passed for these {} s of it)",
        24.0 * 3_600.0 * RATE / rate,
        whole.wall_s,
        (records.len() as f64 / RATE) as u64
    );
}

/// Memory of many lanes: while all catch up at once, and at rest.
fn lanes(dir: &TempDir, records: &[Arrived]) {
    let some = || given(&records[..RECORDS_OF_MANY]);
    let peak = |lanes| measured(Services::new(Stream::new(lanes, some())).host(dir, "--dynamodb bench --once")).peak_mb;
    let (one, many) = (peak(1), peak(LANES));
    println!(
        "\nmemory, {LANES} lanes that all catch up   {many:6.1} MB   {:.1} MB for each lane more",
        (many - one) / (LANES - 1) as f64
    );
    let resting = |lanes: usize| {
        let services = Services::new(Stream::new(lanes, some()).paced(RATE / lanes as f64));
        let mut host = services.host(dir, "--dynamodb bench");
        // Some batches of each lane.
        let enough = |_: &Running| (services.tables.commits().len() >= 5 * lanes).then_some(());
        host.until("batches of each lane", LIMIT, enough).unwrap_or_else(|error| panic!("{error:#}"));
        memory_mb(host.id(), "VmRSS").unwrap_or(0.0)
    };
    let (one, many) = (resting(1), resting(LANES));
    println!(
        "memory, {LANES} lanes at the live rate    {many:6.1} MB   {:.1} MB for each lane more",
        (many - one) / (LANES - 1) as f64
    );
}

/// A host at the live rate is killed with a batch in hand; how long until the next one, started at that moment, has
/// committed it.
fn takeover(dir: &TempDir, records: &[Arrived]) {
    let mut took = Vec::new();
    for _ in 0..7 {
        let services = Services::new(Stream::new(1, given(&records[..RECORDS_OF_MANY])).paced(RATE));
        let commits = || services.tables.commits();
        let mut first = services.host(dir, "--dynamodb bench");
        first
            .until("three commits", LIMIT, |_| (commits().len() >= 3).then_some(()))
            .unwrap_or_else(|error| panic!("{error:#}"));
        first.kill();
        let (killed, before) = (Instant::now(), commits().len());
        let mut second = services.host(dir, "--dynamodb bench");
        let next = second.until("a commit", LIMIT, |_| commits().get(before).copied());
        took.push(next.unwrap_or_else(|error| panic!("{error:#}")).duration_since(killed).as_secs_f64());
    }
    took.sort_by(f64::total_cmp);
    println!(
        "\ntakeover, from the start of the next process to its first commit: {:.2} s, median of {} ({:.2} to {:.2})",
        took[took.len() / 2],
        took.len(),
        took[0],
        took[took.len() - 1]
    );
}

/// CPU time of this process, and of its children that have ended, in seconds.
fn cpu_s() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("this bench reads Linux's /proc");
    // Hundredths of a second; the process's name, in parentheses, may hold spaces.
    let ticks: Vec<f64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().skip(11).take(4).filter_map(|t| t.parse().ok()).collect())
        .unwrap_or_default();
    let [user, system, of_children, system_of_children] = ticks[..] else { panic!("four times in {stat}") };
    ((user + system) / 100.0, (of_children + system_of_children) / 100.0)
}

/// A line of a process's status in megabytes; `None` once it has ended.
fn memory_mb(id: u32, name: &str) -> Option<f64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(id.to_string()).join("status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1.024 / 1_000.0)
}
