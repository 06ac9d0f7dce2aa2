//! A host that aggregates a file into SQLite may be killed, stopped or started twice: the rows are those of one
//! undisturbed run, and those of the judge.
//!
//! Not here: other sources and stores.

use anyhow::{Context, Result, ensure};
use plimsoll_tests::oracle::{self, Outcome};
use plimsoll_tests::process::{Finished, Host, Killed, Stop};
use plimsoll_tests::records::{self, Arrivals};
use plimsoll_tests::{rows, seed};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const RECORDS: usize = 100_000;
/// At least so many kills,
const KILLS: usize = 50;
/// of which so many hit a run that has committed something and is not at its end: a host that starts slowly and counts
/// quickly gives few such moments, so it is killed until there are enough, or until it is clear that there are none.
const KILLS_INSIDE: usize = 30;
const KILLS_MAX: usize = 1_000;
const LIMIT: Duration = Duration::from_secs(60);
/// What `driver::STOP_GRACE` and the way out may take together.
const STOP_MAX: Duration = Duration::from_secs(10);

/// The same records for all tests here, and what an undisturbed run makes of them.
struct Case {
    dir: TempDir,
    seed: u64,
    expected: Outcome,
    undisturbed: Stored,
    took: Duration,
}

/// All that a store shows of a policy.
#[derive(PartialEq, Eq)]
struct Stored {
    main: Vec<u8>,
    late: Vec<u8>,
    dead: Vec<u8>,
}

fn case() -> &'static Case {
    static CASE: OnceLock<Case> = OnceLock::new();
    CASE.get_or_init(|| Case::new().expect("one undisturbed run"))
}

impl Case {
    fn new() -> Result<Self> {
        let seed = seed::seed("embedded_kill");
        let dir = tempfile::tempdir()?;
        let records = records::troubled(seed, RECORDS);
        std::fs::write(dir.path().join("events.ndjson"), &records)?;
        std::fs::write(dir.path().join("policy.toml"), records::policy(Arrivals::Field))?;
        let expected = oracle::recompute(&records::query(Arrivals::Field), &records);
        let mut case = Self { dir, seed, expected, undisturbed: Stored::nothing(), took: Duration::ZERO };
        let file = case.file("undisturbed.db");
        // The first run may have to compile the module, and would make the others' moments come too late.
        case.run(&case.file("first.db")).run(LIMIT)?.expect(0)?;
        let start = Instant::now();
        case.run(&file).run(LIMIT)?.expect(0)?;
        case.took = start.elapsed();
        case.undisturbed = case.stored(&file)?;
        case.check_against_the_judge()?;
        Ok(case)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Small batches, so that there are many moments between two commits.
    fn run(&self, db: &Path) -> Host {
        let arguments = ["run", "--policy", "policy.toml", "--input", "events.ndjson", "--once", "--accept-poison"];
        let host =
            Host::new(arguments.map(Into::into).into_iter().chain(batches()).chain(["--sqlite".into(), db.into()]));
        host.current_dir(self.dir.path())
    }

    fn stored(&self, db: &Path) -> Result<Stored> {
        let ask = |which: &[&str]| -> Result<Vec<u8>> {
            let arguments = ["rows", "--policy", "policy.toml"].iter().chain(which).map(Into::into);
            let host = Host::new(arguments.chain([PathBuf::from("--sqlite"), db.to_path_buf()]));
            Ok(host.current_dir(self.dir.path()).run(LIMIT)?.expect(0)?.stdout)
        };
        Ok(Stored { main: ask(&[])?, late: ask(&["--late"])?, dead: ask(&["--dead-letters"])? })
    }

    fn check_against_the_judge(&self) -> Result<()> {
        let Stored { main, late, dead } = &self.undisturbed;
        rows::compare(&records::query(Arrivals::Field), main, late, &self.expected)?;
        let letters = dead.iter().filter(|byte| **byte == b'\n').count() as u64;
        let expected = self.expected.rejected + self.expected.future;
        ensure!(letters == expected, "{letters} dead letters, expected {expected}");
        Ok(())
    }

    /// Goes on to the end, and compares with the undisturbed run.
    fn finish(&self, db: &Path) -> Result<()> {
        self.run(db).run(LIMIT)?.expect(0)?;
        let stored = self.stored(db)?;
        let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect::<Vec<_>>();
        for (what, found, expected) in [
            ("main rows", &stored.main, &self.undisturbed.main),
            ("late rows", &stored.late, &self.undisturbed.late),
            ("dead letters", &stored.dead, &self.undisturbed.dead),
        ] {
            if found != expected {
                let (found, expected) = (show(found), show(expected));
                let at =
                    found.iter().zip(&expected).position(|(f, e)| f != e).unwrap_or(found.len().min(expected.len()));
                let (f, e) = (found.get(at), expected.get(at));
                anyhow::bail!("{what}: {} and {} lines; line {at}:\n{f:?}\n{e:?}", found.len(), expected.len());
            }
        }
        Ok(())
    }
}

fn batches() -> [PathBuf; 2] {
    ["--flush-interval", "10ms"].map(Into::into)
}

impl Stored {
    const fn nothing() -> Self {
        Self { main: Vec::new(), late: Vec::new(), dead: Vec::new() }
    }
}

/// The number of the lane's last commit, absent where there is none.
fn commits(db: &Path) -> Option<i64> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let db = rusqlite::Connection::open_with_flags(db, flags).ok()?;
    db.query_row("SELECT n FROM plimsoll_heads", [], |row| row.get(0)).ok()
}

#[test]
fn killed_at_random_moments() {
    let case = case();
    let mut random = seed::generator(case.seed);
    let (mut kills, mut inside, mut rounds) = (0, 0, 0);
    let enough = |kills: usize, inside: usize| kills >= KILLS_MAX || (kills >= KILLS && inside >= KILLS_INSIDE);
    while !enough(kills, inside) {
        let db = case.file(&format!("killed-{rounds}.db"));
        rounds += 1;
        loop {
            let before = commits(&db);
            let running = case.run(&db).spawn().expect("the host starts");
            match running.kill_at_random(&mut random, Duration::ZERO..case.took).expect("the host is watched") {
                Killed::TooLate(finished) => {
                    finished.expect(0).expect("a run that was not killed");
                    break;
                }
                Killed::After(_) => {
                    kills += 1;
                    inside += usize::from(commits(&db) > before);
                }
            }
            if enough(kills, inside) {
                break;
            }
        }
        case.finish(&db).unwrap_or_else(|error| panic!("round {rounds}, after {kills} kills: {error:#}"));
    }
    println!("{kills} kills in {rounds} files, {inside} between two commits; an undisturbed run takes {:?}", case.took);
    assert!(inside >= KILLS_INSIDE, "only {inside} of {kills} kills hit a run between two commits");
}

#[test]
fn stopped_by_either_signal_and_run_again() {
    let case = case();
    for (signal, name) in [(Stop::Interrupt, "interrupted.db"), (Stop::Terminate, "terminated.db")] {
        let db = case.file(name);
        let mut running = case.run(&db).spawn().expect("the host starts");
        running.until("the first commit", LIMIT, |_| commits(&db).filter(|n| *n > 0)).expect("it commits");
        running.ask_to_stop(signal).expect("it runs still");
        let finished = running.wait(STOP_MAX).expect("it stops in time");
        finished.expect(0).unwrap_or_else(|error| panic!("{signal:?}: {error:#}"));
        let stopped_at = commits(&db);
        case.finish(&db).unwrap_or_else(|error| panic!("after {signal:?}: {error:#}"));
        assert!(stopped_at < commits(&db), "{signal:?} came after the end");
    }
}

#[test]
fn two_hosts_on_one_file() {
    let case = case();
    let db = case.file("shared.db");
    let both: Vec<_> = (0..2).map(|_| case.run(&db).spawn().expect("the host starts")).collect();
    let ends: Vec<Finished> = both.into_iter().map(|r| r.wait(LIMIT).expect("both end")).collect();
    // One of them may find that the other is ahead, and says so with the code of a halted lane.
    let whole = ends.iter().filter(|end| end.code == Some(0)).count();
    assert!(whole >= 1 && ends.iter().all(|end| matches!(end.code, Some(0 | 7))), "{ends:?}");
    case.finish(&db).context("after two hosts").expect("one row each");
}
