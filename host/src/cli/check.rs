//! `plimsoll check`: a policy explained or its errors named; a module or a configuration checked before anybody runs it.

use super::common::{self, EngineArgs};
use super::{Exit, Outcome, watching};
pub use crate::store::hex;
use anyhow::anyhow;
use plimsoll_core::policy::text::{Syntax, parse};
use std::io::Write;
use std::path::PathBuf;

/// Explains a policy or names all of its errors; checks a module.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  plimsoll check impressions.toml
  plimsoll check --canonical impressions.toml > impressions.canonical.json
  plimsoll check --json a.toml b.json
  plimsoll check --module plimsoll.wasm
  plimsoll check --config plimsoll.toml")]
pub struct Args {
    /// Policies in TOML or JSON.
    #[arg(value_name = "POLICY", required_unless_present_any = ["module", "config"])]
    policies: Vec<PathBuf>,
    /// Write the canonical form, whose SHA-256 is the policy's identity.
    #[arg(long, conflicts_with = "json")]
    canonical: bool,
    /// One JSON object a policy or module.
    #[arg(long)]
    pub(super) json: bool,
    /// Check a module: imports, exports, size, ABI and self-test.
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// Check a configuration, with the environment it will have: alarms, channels, figures.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub fn check(args: &Args) -> Outcome {
    if let Some(file) = &args.module {
        let engines = EngineArgs { module: Some(file.clone()), module_memory: 256, ..EngineArgs::default() }.load()?;
        let digest = hex(&engines.digest().expect("a module has a digest"));
        let name = file.display().to_string();
        if args.json {
            let object = serde_json::json!({ "file": name, "ok": true, "abi": 1, "sha256": digest });
            print(&format!("{object}\n"))?;
        } else {
            print(&format!("{name}: a module of ABI 1 that imports nothing\nsha256 {digest}\n"))?;
        }
    }
    if let Some(file) = &args.config {
        let explained = watching::config(Some(file))?.explain();
        let name = file.display().to_string();
        if args.json {
            print(&format!("{}\n", serde_json::json!({ "file": name, "ok": true, "explained": explained })))?;
        } else {
            print(&format!("{name}:\n{explained}\n"))?;
        }
    }
    let mut refused = 0;
    for file in &args.policies {
        let name = file.display().to_string();
        if !args.json {
            let (policy, _) = match common::policy(file) {
                Ok(p) => p,
                Err(failure) if args.policies.len() > 1 => {
                    eprintln!("plimsoll: {:#}", failure.error);
                    refused += 1;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            if args.canonical {
                print(&String::from_utf8_lossy(policy.canonical()))?;
                continue;
            }
            let explained = plimsoll_core::policy::explain(&policy);
            print(&format!("{name}: {}\nsha256 {}\n{explained}\n", policy.spec().policy, hex(policy.digest())))?;
            continue;
        }
        let text = std::fs::read_to_string(file)
            .map_err(|e| Exit::Policy.because(anyhow!("cannot read the policy {name}: {e}")))?;
        let object = match parse(&text, Syntax::guess(&name, &text)) {
            Ok(policy) => serde_json::json!({
                "file": name,
                "ok": true,
                "policy": policy.spec().policy,
                "sha256": hex(policy.digest()),
                "shape": hex(&policy.shape()),
                "explained": plimsoll_core::policy::explain(&policy),
            }),
            Err(diagnostics) => {
                refused += 1;
                let list: Vec<_> = diagnostics
                    .all
                    .iter()
                    .map(|d| {
                        serde_json::json!({
                            "path": d.path, "line": d.line, "column": d.column, "code": d.code,
                            "message": d.message, "hint": d.hint,
                        })
                    })
                    .collect();
                serde_json::json!({ "file": name, "ok": false, "errors": list })
            }
        };
        print(&format!("{object}\n"))?;
    }
    if refused > 0 {
        return Err(Exit::Policy.because(anyhow!("{refused} of {} policies refused", args.policies.len())));
    }
    Ok(())
}

fn print(text: &str) -> Outcome {
    std::io::stdout().write_all(text.as_bytes()).map_err(|e| Exit::Run.because(anyhow!("cannot write to stdout: {e}")))
}
