//! `plimsoll preview`: rows on standard output, accounting on standard error, no store.

use super::common::{self, EngineArgs};
use super::dead::DeadLine;
use super::progress;
use super::{Exit, Failure, Outcome};
use crate::preview::{PreviewError, Summary, Watch, preview as run};
use crate::source::file::{FileLanes, FileOptions, FileSource, Reads};
use crate::source::stdin::Pipe;
use crate::source::{Position, Source};
use anyhow::anyhow;
use indicatif::ProgressBar;
use plimsoll_core::policy::Policy;
use plimsoll_core::rows::write_pane;
use plimsoll_core::wire::effects::DeadLetter;
use plimsoll_core::wire::panes::Pane;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// Aggregates files without a store: rows on stdout, accounting on stderr.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  plimsoll preview --policy impressions.toml events.ndjson
  plimsoll preview --policy impressions.toml 'events/*.ndjson.gz' --late-out late.ndjson --dead-out dead.ndjson > rows.ndjson
  cat events.ndjson | plimsoll preview --policy impressions.toml -

A row a line, final windows first; `state` says whether a row may still change.")]
pub struct Args {
    /// The policy, TOML or JSON.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// NDJSON files or globs, plain, gzip or zstd; `-` is standard input.
    #[arg(value_name = "INPUT", required = true)]
    inputs: Vec<String>,
    /// Write the rows there instead of stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the late rows there.
    #[arg(long, value_name = "FILE")]
    late_out: Option<PathBuf>,
    /// Write the records that were set aside there, as `rows --dead-letters` does: an object a line.
    #[arg(long, value_name = "FILE")]
    dead_out: Option<PathBuf>,
    /// Write the panes there that triggers gave out, in their order: what was said, and when.
    #[arg(long, value_name = "FILE")]
    panes_out: Option<PathBuf>,
    /// Each file is a lane of its own (shards), instead of all files one lane in name order (rotated logs).
    #[arg(long)]
    lane_per_file: bool,
    /// The accounting as one JSON object.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// How many dead letters are shown when nobody asked for all of them.
const SHOWN: u64 = 5;

pub async fn preview(args: Args) -> Outcome {
    let (policy, _) = common::policy(&args.policy)?;
    let engines = args.engine.load()?;
    let (source, size): (Arc<dyn Source>, Option<u64>) = if args.inputs == ["-"] {
        (Arc::new(Pipe::stdin()), None)
    } else {
        let lanes = if args.lane_per_file { FileLanes::PerFile } else { FileLanes::One };
        let options = FileOptions { lanes, reads: Reads::Here, ..FileOptions::default() };
        let files = FileSource::new(&args.inputs, options).map_err(|e| Exit::Input.because(e))?;
        let size = files.size().map_err(|e| Exit::Input.because(e))?;
        (Arc::new(files), Some(size))
    };
    let mut out: Box<dyn Write + Send> = match &args.out {
        Some(file) => Box::new(create(file)?),
        None => Box::new(BufWriter::with_capacity(1 << 17, io::stdout())),
    };
    let mut seen = Seen {
        bar: size.and_then(progress::bytes),
        policy: Arc::clone(&policy),
        panes: args.panes_out.as_ref().map(create).transpose()?,
        dead: args.dead_out.as_ref().map(create).transpose()?,
        shown: 0,
        failed: None,
    };
    let summary = run(source, Arc::clone(&engines), Arc::clone(&policy), &mut *out, &mut seen).await;
    if let Some(bar) = &seen.bar {
        bar.finish_and_clear();
    }
    let summary = match summary {
        Ok(summary) => summary,
        // Whoever read our rows has seen enough: `plimsoll preview ... | head`.
        Err(PreviewError::Write(e)) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        Err(e) => return Err(failure(e)),
    };
    if let Some(file) = &args.late_out {
        std::fs::write(file, &summary.late)
            .map_err(|e| Exit::Run.because(anyhow!("cannot write the late rows to {}: {e}", file.display())))?;
    }
    seen.finish()?;
    report(&summary, args.json, engines.digest());
    Ok(())
}

/// The exit code of a preview's error.
pub fn failure(e: PreviewError) -> Failure {
    match e {
        PreviewError::Source(e) => Exit::Input.because(e),
        PreviewError::Engine(e) => Exit::Module.because(e),
        other => Exit::Run.because(other),
    }
}

fn create(file: &PathBuf) -> Result<BufWriter<File>, Failure> {
    let opened = File::create(file).map_err(|e| Exit::Run.because(anyhow!("cannot write {}: {e}", file.display())))?;
    Ok(BufWriter::with_capacity(1 << 17, opened))
}

struct Seen {
    bar: Option<ProgressBar>,
    policy: Arc<Policy>,
    panes: Option<BufWriter<File>>,
    dead: Option<BufWriter<File>>,
    shown: u64,
    failed: Option<io::Error>,
}

impl Seen {
    fn finish(self) -> Outcome {
        let flushed = [self.dead, self.panes].into_iter().flatten().try_for_each(|mut f| f.flush());
        match self.failed.map_or(flushed, Err) {
            Ok(()) => Ok(()),
            Err(e) => Err(Exit::Run.because(anyhow!("cannot write the dead letters or panes: {e}"))),
        }
    }
}

impl Watch for Seen {
    fn read(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    fn wants_panes(&self) -> bool {
        self.panes.is_some()
    }

    fn panes(&mut self, panes: &[Pane]) {
        let Some(file) = &mut self.panes else { return };
        let mut text = Vec::new();
        panes.iter().for_each(|pane| write_pane(&self.policy, pane, &mut text));
        if let Err(e) = file.write_all(&text) {
            self.failed = Some(e);
        }
    }

    fn dead(&mut self, letter: &DeadLetter, place: Option<&Position>, why: &str) {
        let place = place.map_or("?", |p| p.0.as_str());
        if let Some(file) = &mut self.dead {
            let arrival = letter.arrival.map(|a| a.as_millis());
            let what = (place, letter.reason.name(), why);
            let line = DeadLine::new(what, arrival, letter.full_len, &letter.raw).to_json();
            if let Err(e) = writeln!(file, "{line}") {
                self.failed = Some(e);
            }
        } else if self.shown < SHOWN {
            self.shown += 1;
            eprintln!("plimsoll: {place}: {}: {why}", letter.reason.name());
            if self.shown == SHOWN {
                eprintln!("plimsoll: further rejected records are counted only; --dead-out FILE writes all of them");
            }
        }
    }
}

fn report(s: &Summary, json: bool, module: Option<[u8; 32]>) {
    let a = &s.account;
    let digest = module.map(|d| super::check::hex(&d));
    if json {
        let object = serde_json::json!({
            "account": a,
            "rows": s.rows,
            "late_rows": s.late.iter().filter(|b| **b == b'\n').count(),
            "watermark": s.progress.watermark,
            "greatest_arrival": s.progress.arrival,
            "greatest_event": s.progress.event,
            "arrival": if s.arrival_known { "known" } else { "unknown: records are judged in the order of their lines" },
            "module_sha256": digest,
        });
        eprintln!("{object}");
        return;
    }
    let share = |n: u64| if a.read == 0 { 0.0 } else { 100.0 * n as f64 / a.read as f64 };
    eprintln!("{:>14} records read", a.read);
    eprintln!("{:>14} counted   {:6.2} %   in {} rows", a.counted, share(a.counted), s.rows);
    if a.overflow > 0 {
        eprintln!("{:>14}   of them in overflow rows, of keys beyond a window's budget", a.overflow);
    }
    for (name, n) in [("late", a.late), ("future", a.future), ("filtered", a.filtered), ("rejected", a.rejected)] {
        // Most policies have no filter.
        if name != "filtered" || n > 0 {
            eprintln!("{n:>14} {name:<9} {:6.2} %", share(n));
        }
    }
    for (reason, n) in &a.reasons {
        eprintln!("{n:>14}   {}", reason.name());
    }
    let w = s.progress.watermark.map_or("none yet".to_string(), |w| w.as_millis().to_string());
    eprintln!(
        "watermark {w}; arrival times {}",
        if s.arrival_known { "known" } else { "unknown: records are judged in the order of their lines" }
    );
    eprintln!("module {}", digest.unwrap_or_else(|| "none: the native engine".into()));
}
