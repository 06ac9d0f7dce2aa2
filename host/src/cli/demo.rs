//! `plimsoll demo`: the main job on the embedded default, with the page to watch it.

use super::common::{self, EngineArgs};
use super::serve::Service;
use super::{Exit, Outcome, run};
use crate::driver::{Parts, RunConfig, run as drive};
use crate::live::{About, StatusHub};
use crate::source::Source as _;
use crate::source::generator::{Devices, GeneratorSource};
use crate::store::Store as _;
use crate::store::sqlite::SqliteStore;
use anyhow::anyhow;
use plimsoll_core::policy::text::{Syntax, parse};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// Generated devices through the module into SQLite, with the live page.
#[derive(clap::Args)]
#[command(after_help = "Ctrl-C ends it; a second run goes on where it stopped.")]
pub struct Args {
    /// Where the demo keeps its SQLite file and its policy.
    #[arg(long, value_name = "DIR", default_value = "plimsoll-demo")]
    dir: PathBuf,
    /// Where the page is served.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7788")]
    listen: String,
    /// The devices, like `devices=15000,every=90s,seed=1`.
    #[arg(long, value_name = "SPEC", default_value = "paced=1")]
    devices: String,
    #[command(flatten)]
    engine: EngineArgs,
}

/// The policy of the demo.
pub const POLICY: &str = include_str!("demo.toml");

pub async fn demo(args: Args) -> Outcome {
    std::fs::create_dir_all(&args.dir).map_err(|e| {
        Exit::Run.because(anyhow!("cannot make the folder {}: {e}; choose another with --dir", args.dir.display()))
    })?;
    let policy = parse(POLICY, Syntax::Toml).expect("the demo's policy is tested");
    let policy = Arc::new(policy);
    let policy_file = args.dir.join("impressions.toml");
    std::fs::write(&policy_file, POLICY).map_err(|e| {
        Exit::Run.because(anyhow!("cannot write {}: {e}; choose another folder with --dir", policy_file.display()))
    })?;
    let engines = args.engine.load()?;
    let devices =
        Devices::parse(&args.devices).map_err(|e| Exit::Input.because(anyhow!("--devices {}: {e}", args.devices)))?;
    let source = Arc::new(GeneratorSource::new(devices));
    let db = args.dir.join("counts.db");
    let store = Arc::new(SqliteStore::open(&db).map_err(|e| Exit::Store.because(e))?);
    let about = About { source: source.describe(), store: store.describe(), module: engines.digest() };
    let hub = Arc::new(StatusHub::new(about, Arc::clone(&policy), Arc::new(crate::clock::now_ms)));
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(common::stop_on_signal(stop));
    let text = ("impressions.toml".to_string(), POLICY.to_string());
    let service = Service::start(&args.listen, Arc::clone(&hub), args.engine.bytes()?, text, stopped.clone()).await?;
    let digest = engines.digest().map_or_else(|| "native engine".into(), |d| super::check::hex(&d));
    println!("Plimsoll counts {} per placement, creative and minute.", source.describe());
    println!("  page    {}", service.url);
    println!(
        "  rows    {}   (plimsoll rows --policy {} --sqlite {})",
        db.display(),
        policy_file.display(),
        db.display()
    );
    println!("  module  sha256 {digest}");
    println!("Ctrl-C ends it; a second run goes on where this one stops.");
    let outcome =
        drive(RunConfig::default(), Parts { source, store, engines, policy, hub: Arc::clone(&hub) }, stopped).await;
    run::summary(&hub, &outcome, false);
    outcome.map_err(run::failure)
}
