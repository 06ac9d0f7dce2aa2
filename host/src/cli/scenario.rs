//! `plimsoll scenario`: policies tested by cases with known answers, through the engine that production runs.

use super::check::hex;
use super::common::EngineArgs;
use super::{Exit, Outcome};
use crate::scenario::{Options, Report, Verdict, run_file};
use anyhow::anyhow;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

/// Runs scenarios: a policy, steps, and the panes that must come out.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  plimsoll scenario late.json
  plimsoll scenario --verbose scenarios/*.json          names what is skipped, and why
  plimsoll scenario --json scenarios/*.json | jq .failed

Exit codes: 0 none failed, 1 some failed, 4 a file holds no scenarios.")]
pub struct Args {
    /// Scenario files (`plimsoll-scenario/1`).
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    engine: EngineArgs,
    /// Saves, forgets the engine and restores between every two steps: it must not show.
    #[arg(long)]
    snapshot_everywhere: bool,
    /// One JSON object with every result.
    #[arg(long)]
    pub(super) json: bool,
    /// Names the skipped scenarios, with the reason.
    #[arg(long, short, conflicts_with = "json")]
    verbose: bool,
}

/// Runs the files; fails when a scenario does.
pub async fn scenario(args: Args) -> Outcome {
    let engines = args.engine.load()?;
    let options = Options::default().snapshots_everywhere(args.snapshot_everywhere);
    let mut reports = Vec::new();
    for file in &args.files {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file)
            .map_err(|e| Exit::Input.because(anyhow!("cannot read the scenarios {name}: {e}; expected a JSON file")))?;
        // Engines may wait for a module that does not end; the runtime's other tasks must not wait with them.
        let report = tokio::task::block_in_place(|| run_file(&text, engines.as_ref(), options))
            .map_err(|e| Exit::Input.because(anyhow!("{name}: {e}")))?;
        if !args.json {
            print(&lines(&report, args.verbose))?;
        }
        reports.push((name, report));
    }
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (_, report) in &reports {
        let (p, f, s) = report.counts();
        (passed, failed, skipped) = (passed + p, failed + f, skipped + s);
    }
    if args.json {
        let files: Vec<Value> =
            reports.iter().map(|(name, r)| json!({ "file": name, "scenarios": r.scenarios })).collect();
        let object = json!({
            "module_sha256": engines.digest().map(|d| hex(&d)),
            "passed": passed, "failed": failed, "skipped": skipped,
            "files": files,
        });
        print(&format!("{object}\n"))?;
    } else {
        print(&format!("{passed} passed, {failed} failed, {skipped} skipped\n"))?;
    }
    if failed > 0 {
        return Err(Exit::Run.because(anyhow!("{failed} of {} scenarios failed", passed + failed + skipped)));
    }
    Ok(())
}

/// A line for each scenario that failed, and where wanted for each that was skipped.
fn lines(report: &Report, verbose: bool) -> String {
    let mut text = String::new();
    for outcome in &report.scenarios {
        let name = &outcome.name;
        match &outcome.verdict {
            Verdict::Failed { step, expected, got } => {
                let step = step.map_or_else(String::new, |n| format!(", step {n}"));
                text += &format!("failed {name}{step}: expected {expected}, got {got}\n");
            }
            Verdict::Skipped { reason } if verbose => text += &format!("skipped {name}: {reason}\n"),
            _ => {}
        }
    }
    text
}

fn print(text: &str) -> Outcome {
    std::io::stdout().write_all(text.as_bytes()).map_err(|e| Exit::Run.because(anyhow!("cannot write to stdout: {e}")))
}
