//! The command line: what is asked for, and what the process answers with.
//!
//! Invariants
//! - Standard output holds results only; words for people go to standard error.
//! - Every refusal names what was found, what was expected and the mend, and ends with its own exit code (`Exit`).
//! - With `--json` an error is an object too, the last line of standard error: `{"error":"…","exit_code":4}`.
//! - Ctrl-C and SIGTERM end a run cleanly, with exit code 0.
//!
//! Not here: what the commands do (one file each).

mod alarms;
mod audit;
mod bench;
mod check;
mod common;
mod compare;
mod costs;
mod dead;
mod dead_letters;
mod demo;
mod explain;
mod gaps;
mod lanes;
mod late;
mod preview;
mod produce;
mod progress;
mod reasons;
mod redrive;
mod replay;
mod rollup;
mod rows;
mod run;
mod scenario;
mod serve;
mod standing;
mod stored;
mod tables;
mod watching;

use crate::telemetry::{LogFormat, log_to_stderr};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// How a command failed: the exit code and the chain of reasons.
#[derive(Debug)]
pub struct Failure {
    /// What kind of trouble.
    pub exit: Exit,
    /// The reasons, outermost first.
    pub error: anyhow::Error,
}

/// Exit codes; documented in README.md. 2 is clap's: wrong usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The run ended on an error.
    Run = 1,
    /// The policy is refused.
    Policy = 3,
    /// The input is missing, unreadable, damaged or no longer what it was.
    Input = 4,
    /// The store is refused.
    Store = 5,
    /// The module is refused.
    Module = 6,
    /// A lane was paused or halted: nothing was lost, somebody must act.
    Halted = 7,
    /// The configuration is refused.
    Config = 8,
    /// Two generations were compared and differ by more than was allowed.
    Different = 9,
    /// An audit found what does not add up.
    Imbalance = 10,
}

impl Exit {
    /// A failure of this kind.
    pub fn because(self, error: impl Into<anyhow::Error>) -> Failure {
        Failure { exit: self, error: error.into() }
    }
}

/// What a command returns.
pub type Outcome = Result<(), Failure>;

#[derive(Parser)]
#[command(
    name = "plimsoll",
    version,
    about = "Right counts per key and event-time window, from late, bursty, wrongly clocked streams.",
    after_help = "Examples:
  plimsoll demo                                                  devices -> module -> SQLite, with the live page
  plimsoll check impressions.toml                                explain a policy, or say what is wrong with it
  plimsoll preview --policy impressions.toml events.ndjson.gz    rows on stdout, no store
  plimsoll run --policy impressions.toml --input 'events/*.ndjson' --sqlite counts.db
  plimsoll run --policy impressions.toml --kinesis impressions --dynamodb prod-impressions
  plimsoll rows --policy impressions.toml --sqlite counts.db

Exit codes: 0 ok, 1 the run failed, 2 usage, 3 policy, 4 input, 5 store, 6 module, 7 lane paused or halted,
8 configuration, 9 compared and different, 10 an audit found an imbalance."
)]
struct Cli {
    /// Log lines as JSON, one object a line (also PLIMSOLL_LOG=info,plimsoll=debug for levels).
    #[arg(long, global = true)]
    log_json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Generated devices through the module into SQLite, with the live page.
    Demo(demo::Args),
    /// Aggregates a source into a store, exactly once.
    Run(run::Args),
    /// Aggregates files without a store: rows on stdout, accounting on stderr.
    Preview(preview::Args),
    /// Explains a policy or names its errors; checks a module.
    Check(check::Args),
    /// Writes generated device records to a file or puts them to Kinesis.
    Produce(produce::Args),
    /// Reads rows from a store, each with provisional or final.
    Rows(rows::Args),
    /// Shows the lanes of a policy, and which one holds the watermark.
    Lanes(lanes::Args),
    /// Shows late records, or what dropping them would cost.
    Late(late::Args),
    /// Shows records that were set aside, with their reason.
    DeadLetters(dead_letters::Args),
    /// Explains why a window is open or final, and why a number is what it is.
    Explain(explain::Args),
    /// Drives records that were set aside through the engine again.
    Redrive(redrive::Args),
    /// Counts a source once more under another policy, beside the old rows, and compares.
    Replay(replay::Args),
    /// Compares the final rows of two generations.
    Compare(compare::Args),
    /// Compares accounts, rows and dead letters, and hours and days with their parts.
    Audit(audit::Args),
    /// Brings rows of hours and days in DynamoDB up to date.
    Rollup(rollup::Args),
    /// Lists what a stream lost before it was counted.
    Gaps(gaps::Args),
    /// Runs scenarios: policies tested by cases with known answers.
    Scenario(scenario::Args),
    /// Makes or checks DynamoDB tables.
    Tables(tables::Args),
    /// Tries the channels of alarms.
    Alarms(alarms::Args),
    /// Times the whole path over a file, for comparison with other programs.
    Bench(bench::Args),
}

impl Command {
    /// Whether a program reads what it says.
    fn json(&self) -> bool {
        match self {
            Self::Run(args) => args.json,
            Self::Preview(args) => args.json,
            Self::Check(args) => args.json,
            Self::Produce(args) => args.json,
            Self::Rows(args) => args.at.json,
            Self::Lanes(args) => args.at.json,
            Self::Late(args) => args.at.json,
            Self::DeadLetters(args) => args.at.json,
            Self::Explain(args) => args.at.json,
            Self::Redrive(args) => args.at.json,
            Self::Replay(args) => args.json,
            Self::Compare(args) => args.json,
            Self::Audit(args) => args.at.json,
            Self::Rollup(args) => args.json,
            Self::Gaps(args) => args.at.json,
            Self::Scenario(args) => args.json,
            Self::Tables(args) => args.json,
            Self::Alarms(args) => args.json(),
            Self::Demo(_) | Self::Bench(_) => false,
        }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.command.json();
    let format = if cli.log_json { LogFormat::Json } else { LogFormat::Human };
    if let Err(e) = log_to_stderr(format) {
        eprintln!("plimsoll: {e}");
        return ExitCode::from(Exit::Run as u8);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("plimsoll: cannot start the runtime: {e}");
            return ExitCode::from(Exit::Run as u8);
        }
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::demo(args).await,
            Command::Run(args) => run::run(args).await,
            Command::Preview(args) => preview::preview(args).await,
            Command::Check(args) => check::check(&args),
            Command::Produce(args) => produce::produce(args).await,
            Command::Rows(args) => rows::rows(args).await,
            Command::Lanes(args) => lanes::lanes(args).await,
            Command::Late(args) => late::late(args).await,
            Command::DeadLetters(args) => dead_letters::dead_letters(args).await,
            Command::Explain(args) => explain::explain(args).await,
            Command::Redrive(args) => redrive::redrive(args).await,
            Command::Replay(args) => replay::replay(args).await,
            Command::Compare(args) => compare::compare(args).await,
            Command::Audit(args) => audit::audit(args).await,
            Command::Rollup(args) => rollup::rollup(args).await,
            Command::Gaps(args) => gaps::gaps(args).await,
            Command::Scenario(args) => scenario::scenario(args).await,
            Command::Tables(args) => tables::tables(args).await,
            Command::Alarms(args) => alarms::alarms(args).await,
            Command::Bench(args) => bench::bench(args).await,
        }
    });
    // Readers of stdin block a thread that nobody can wake.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if json {
                let text = format!("{:#}", failure.error);
                eprintln!("{}", serde_json::json!({ "error": text, "exit_code": failure.exit as u8 }));
            } else {
                eprintln!("plimsoll: {:#}", failure.error);
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}
