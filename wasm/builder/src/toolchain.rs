//! Finds a compiler for wasm32-unknown-unknown, or installs one.
//!
//! In this order, and every choice is told with its reason:
//! 1. The `rustc` at hand has the target, or rustup adds it within a time limit.
//! 2. On Debian, as root: the packages `rustc-web` and `rust-web-src`; cargo then compiles the standard library too.
//! 3. Otherwise the error says in one sentence what to install.
//!
//! Invariant: nothing is installed where a compiler is already at hand, and apt never removes a package for us.
//!
//! Not here: how cargo is called with what was found (`compile`).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::process::{output, run_within, say};

/// The target both modules are built for.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// rustup needs some 20 MB; where its server is out of reach it would try for many minutes.
const RUSTUP_LIMIT: Duration = Duration::from_secs(90);

/// apt fetches some 140 MB and waits up to two minutes for another apt.
const APT_LIMIT: Duration = Duration::from_secs(600);

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// The oldest compiler that takes this workspace, as its manifest says.
const RUSTC_MIN: &str = env!("CARGO_PKG_RUST_VERSION");

/// Where a compiler comes from; also the values of `PLIMSOLL_WASM_TOOLCHAIN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Origin {
    /// The `rustc` at hand (`$RUSTC`, or the one on the path) with the target's standard library, usually by rustup.
    Rustup,
    /// Debian's `rustc-web` with the standard library compiled from `rust-web-src`.
    Debian,
}

impl Origin {
    /// The word for it, as in `PLIMSOLL_WASM_TOOLCHAIN`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rustup => "rustup",
            Self::Debian => "debian",
        }
    }
}

/// A compiler that can build for [`TARGET`].
#[derive(Debug, Clone)]
pub struct Toolchain {
    /// Where it comes from.
    pub origin: Origin,
    /// The command or path that cargo gets as `RUSTC`.
    pub rustc: PathBuf,
    /// What it says of itself, for example `rustc 1.95.0 (59807616e 2026-04-14)`.
    pub version: String,
    /// The commit it was built from, or its release where it does not say.
    pub commit: String,
    /// `rustc --print sysroot`.
    pub sysroot: PathBuf,
    /// A linker of another toolchain, where this one has none.
    pub linker: Option<PathBuf>,
}

/// Finds a toolchain, installing what is missing; `forced` allows one origin only.
///
/// # Errors
/// When there is none, with the reason for each origin and what to install.
pub fn find(forced: Option<Origin>) -> Result<Toolchain> {
    let mut reasons = Vec::new();
    for origin in [Origin::Rustup, Origin::Debian] {
        if forced.is_some_and(|forced| forced != origin) {
            continue;
        }
        let found = match origin {
            Origin::Rustup => rustup(),
            Origin::Debian => debian(),
        };
        match found {
            Ok((toolchain, why)) => {
                say(format!("{TARGET} by {} ({}): {why}", toolchain.version, origin.name()));
                return Ok(toolchain);
            }
            Err(error) => reasons.push(format!("  {}: {error:#}", origin.name())),
        }
    }
    bail!(
        "no compiler for {TARGET} was found; install Rust {RUSTC_MIN} or later from https://rustup.rs and run `rustup target add {TARGET}`.\nTried:\n{}",
        reasons.join("\n")
    )
}

/// The compiler at hand; the target is added when it is missing.
fn rustup() -> Result<(Toolchain, String)> {
    let rustc = std::env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
    let mut toolchain = Toolchain::describe(Origin::Rustup, rustc)?;
    if toolchain.has_target() {
        return Ok((toolchain, "it has the target".to_owned()));
    }
    say(format!("{} lacks {TARGET}: running `rustup target add {TARGET}`", toolchain.version));
    run_within(Command::new("rustup").args(["target", "add", TARGET]), RUSTUP_LIMIT)?;
    // rustup may have added it to another toolchain than the one that `RUSTC` names.
    toolchain = Toolchain::describe(Origin::Rustup, toolchain.rustc)?;
    ensure!(toolchain.has_target(), "rustup added {TARGET}, but not to {}", toolchain.sysroot.display());
    Ok((toolchain, "rustup added the target".to_owned()))
}

/// Debian's compiler and the sources of its standard library.
fn debian() -> Result<(Toolchain, String)> {
    let linker = rust_lld()?;
    let at_hand = |linker| {
        let toolchain = Toolchain::describe(Origin::Debian, PathBuf::from(DEBIAN_RUSTC))?;
        ensure!(toolchain.has_source(), "{} has no source of its standard library", toolchain.version);
        Ok(Toolchain { linker: Some(linker), ..toolchain })
    };
    if Path::new(DEBIAN_RUSTC).exists()
        && let Ok(toolchain) = at_hand(linker.clone())
    {
        return Ok((toolchain, "its packages are installed".to_owned()));
    }
    apt_install(&["rustc-web", "rust-web-src"])?;
    Ok((at_hand(linker)?, "its packages were just installed".to_owned()))
}

fn apt_install(packages: &[&str]) -> Result<()> {
    ensure!(Path::new("/usr/bin/apt-get").exists(), "this is not Debian: there is no apt-get");
    ensure!(
        output(Command::new("id").arg("-u"))?.trim() == "0",
        "only root can install packages: run `sudo apt-get install --no-install-recommends {}`",
        packages.join(" ")
    );
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-o", "DPkg::Lock::Timeout=120"]);
        // Its progress goes; what is wrong it says on standard error.
        command.stdout(Stdio::null());
        command
    };
    say("refreshing Debian's package lists: apt-get update");
    run_within(apt().arg("update"), APT_LIMIT)?;
    // Debian says what it would take; an older compiler would only fail later, after a long download.
    let policy = output(Command::new("apt-cache").env("LC_ALL", "C").args(["policy", packages[0]]))?;
    let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: ")).unwrap_or("(none)");
    ensure!(
        is_recent_enough(candidate),
        "Debian offers {} {candidate}, Rust {RUSTC_MIN} or later is needed",
        packages[0]
    );
    say(format!("installing Debian's packages (140 MB to fetch, a minute): {}", packages.join(", ")));
    run_within(apt().args(["install", "-y", "--no-install-recommends", "--no-remove"]).args(packages), APT_LIMIT)
}

/// The linker that rustup's toolchains ship; Debian's has none.
fn rust_lld() -> Result<PathBuf> {
    let toolchain = Toolchain::describe(Origin::Rustup, PathBuf::from("rustc"))?;
    let verbose = output(Command::new("rustc").arg("-vV"))?;
    let host = field(&verbose, "host").ok_or_else(|| anyhow!("`rustc -vV` names no host"))?;
    let linker = toolchain.sysroot.join("lib/rustlib").join(host).join("bin/rust-lld");
    ensure!(linker.exists(), "the linker rust-lld is not at {}; rustup's toolchains have it", linker.display());
    Ok(linker)
}

impl Toolchain {
    fn describe(origin: Origin, rustc: PathBuf) -> Result<Self> {
        let verbose = output(Command::new(&rustc).arg("-vV").stdin(Stdio::null()))?;
        let version = verbose.lines().next().context("`rustc -vV` printed nothing")?.to_owned();
        let release = field(&verbose, "release").with_context(|| format!("no release in `{version}`"))?;
        ensure!(is_recent_enough(release), "found {version}, Rust {RUSTC_MIN} or later is needed");
        let commit = field(&verbose, "commit-hash").filter(|hash| *hash != "unknown").unwrap_or(release).to_owned();
        let sysroot = PathBuf::from(output(Command::new(&rustc).args(["--print", "sysroot"]))?.trim());
        Ok(Self { origin, rustc, version, commit, sysroot, linker: None })
    }

    /// Whether the standard library is there, compiled for the target.
    fn has_target(&self) -> bool {
        let lib = self.sysroot.join("lib/rustlib").join(TARGET).join("lib");
        std::fs::read_dir(lib).is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
        })
    }

    /// Where the standard library's source is, when it is installed.
    pub fn source(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust")
    }

    fn has_source(&self) -> bool {
        self.source().join("library/std/Cargo.toml").exists()
    }
}

/// The value of a line `key: value` in what `rustc -vV` prints.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
}

/// Compares major and minor, as in `1.96.0+dfsg1-1~deb12u1` or `1.97.0-nightly`.
fn is_recent_enough(version: &str) -> bool {
    let pair = |text: &str| {
        let mut numbers = text.split('.').map(|part| part.parse::<u32>().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    pair(version) >= pair(RUSTC_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_versions_by_number() {
        assert!(is_recent_enough("1.95.0"));
        assert!(is_recent_enough("1.100.0-nightly"));
        assert!(is_recent_enough("2.0.0"));
        assert!(is_recent_enough("1.96.0+dfsg1-1~deb12u1"));
        assert!(!is_recent_enough("1.85.0+dfsg3-1~deb12u3"));
        assert!(!is_recent_enough("(none)"));
    }

    #[test]
    fn reads_what_rustc_says_of_itself() {
        let text =
            "rustc 1.95.0 (59807616e 2026-04-14)\ncommit-hash: 5980\nhost: x86_64-unknown-linux-gnu\nrelease: 1.95.0\n";
        assert_eq!(field(text, "host"), Some("x86_64-unknown-linux-gnu"));
        assert_eq!(field(text, "release"), Some("1.95.0"));
        assert_eq!(field(text, "LLVM version"), None);
    }
}
