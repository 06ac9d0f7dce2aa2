//! `plimsoll produce`: generated device records into a file or a Kinesis stream.

use super::{Exit, Outcome, progress};
use crate::source::generator::Devices;
use crate::source::produce::{Packing, to_file, to_kinesis};
use anyhow::anyhow;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Writes generated device records to a file or puts them to Kinesis.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  plimsoll produce --records 200000 --seed 7 --out events.ndjson
  plimsoll produce --records 1000000 --devices devices=15000,late=0.01 --arrival --out events.ndjson.gz
  plimsoll produce --records 100000 --kinesis impressions
  plimsoll produce --records 100000 --kinesis impressions --aggregate 50")]
#[command(group(clap::ArgGroup::new("to").required(true).args(["out", "kinesis"])))]
pub struct Args {
    /// How many records.
    #[arg(long, value_name = "N")]
    records: u64,
    /// The devices, like `devices=15000,every=90s,late=0.01,ahead=0.001`.
    #[arg(long, value_name = "SPEC", default_value = "")]
    devices: String,
    /// Another seed, another stream.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The file; compressed if it ends in .gz or .zst.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Each record says when it arrived, in the field `arr`.
    #[arg(long, requires = "out")]
    arrival: bool,
    /// The stream.
    #[arg(long, value_name = "STREAM")]
    kinesis: Option<String>,
    /// Pack N device records into each record of the stream, as the Kinesis Producer Library does.
    #[arg(long, value_name = "N", requires = "kinesis")]
    aggregate: Option<NonZeroUsize>,
    /// The summary as one JSON object on standard error.
    #[arg(long)]
    pub(super) json: bool,
}

pub async fn produce(args: Args) -> Outcome {
    let mut devices =
        Devices::parse(&args.devices).map_err(|e| Exit::Input.because(anyhow!("--devices {}: {e}", args.devices)))?;
    if let Some(seed) = args.seed {
        devices.seed = seed;
    }
    let bar = progress::records(args.records);
    let mut told = |made| {
        if let Some(bar) = &bar {
            bar.set_position(made);
        }
    };
    let done = match (&args.out, &args.kinesis) {
        (Some(file), _) => to_file(&devices, args.records, file, args.arrival, &mut told),
        (_, Some(stream)) => {
            let packing = args.aggregate.map_or(Packing::Single, Packing::Aggregated);
            to_kinesis(&devices, args.records, stream, packing, &mut told).await
        }
        _ => unreachable!("clap wants one of them"),
    };
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    let bytes = done.map_err(|e| Exit::Run.because(e))?;
    if args.json {
        eprintln!("{}", serde_json::json!({ "records": args.records, "bytes": bytes }));
    } else {
        eprintln!("plimsoll: {} records, {bytes} bytes", args.records);
    }
    Ok(())
}
