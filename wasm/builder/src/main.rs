//! The command line of the builder: `build`, `check` and `sizes`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use plimsoll_builder::process::{output, say};
use plimsoll_builder::toolchain::{self, Origin};
use plimsoll_builder::{bindings, check, module, sizes};

/// Builds and checks plimsoll.wasm and the JavaScript bindings.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Build the module and the bindings into target/plimsoll, installing a wasm32 toolchain when there is none.
    Build {
        /// Where the compiler comes from; without it, the first that works.
        #[arg(long, env = "PLIMSOLL_WASM_TOOLCHAIN", hide_env_values = true)]
        toolchain: Option<Origin>,
        /// The workspace; without it, that of the current folder.
        #[arg(long)]
        root: Option<PathBuf>,
        /// Leave the bindings out.
        #[arg(long)]
        module_only: bool,
    },
    /// Check any module against the ABI; prints its digest, size and exports.
    Check {
        /// A WebAssembly module.
        file: PathBuf,
    },
    /// Say what each part of the program takes of the module's bytes; after a build.
    Sizes {
        /// A module with its names; without it, the one that the build left in target/wasm.
        file: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        What::Build { toolchain, root, module_only } => build(toolchain, root, module_only),
        What::Check { file } => print_check(&file),
        What::Sizes { file } => print_sizes(file),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain of causes in one message; a backtrace into the builder would help nobody here.
            say(format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn build(forced: Option<Origin>, root: Option<PathBuf>, module_only: bool) -> Result<()> {
    let root = match root {
        Some(root) => root.canonicalize().with_context(|| format!("could not find {}", root.display()))?,
        None => workspace()?,
    };
    let out = root.join("target/plimsoll");
    std::fs::create_dir_all(&out).with_context(|| format!("could not make {}", out.display()))?;
    let toolchain = toolchain::find(forced)?;
    module::build(&root, &out, &toolchain)?;
    if !module_only {
        bindings::build(&root, &out, &toolchain)?;
    }
    Ok(())
}

/// The workspace of the current folder.
fn workspace() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = output(Command::new(cargo).args(["locate-project", "--workspace", "--message-format", "plain"]))
        .context("run the builder inside the workspace, or name it with --root")?;
    let root = Path::new(manifest.trim()).parent().context("cargo named no manifest")?;
    Ok(root.canonicalize()?)
}

fn print_check(file: &Path) -> Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("could not read {}", file.display()))?;
    let report = check::check(&bytes).with_context(|| file.display().to_string())?;
    let mut text = format!("sha256  {}\nsize    {} bytes\n", report.sha256, report.size_bytes);
    for (name, ty) in &report.exports {
        text.push_str(&format!("export  {name} {ty}\n"));
    }
    std::io::stdout().write_all(text.as_bytes()).context("could not print the report")
}

fn print_sizes(file: Option<PathBuf>) -> Result<()> {
    let file = match file {
        Some(file) => file,
        None => workspace()?.join("target/wasm/wasm32-unknown-unknown/wasm/plimsoll_module.wasm"),
    };
    let bytes =
        std::fs::read(&file).with_context(|| format!("could not read {}; build the module first", file.display()))?;
    let sizes = sizes::sizes(&bytes).with_context(|| file.display().to_string())?;
    let mut text: String = sizes.iter().map(|(place, size)| format!("{size:>7}  {place}\n")).collect();
    text.push_str(&format!("{:>7}  all\n", sizes.iter().map(|(_, size)| size).sum::<usize>()));
    std::io::stdout().write_all(text.as_bytes()).context("could not print the sizes")
}
