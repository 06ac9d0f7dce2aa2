//! The sandbox's limits, with their defaults and their units.

use std::path::PathBuf;
use std::time::Duration;

/// What a module may use. Start from `Settings::default()`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Most memory of one engine, in bytes. Default 256 MiB, at most 4 GiB.
    pub memory_bytes_max: u64,
    /// Longest time of one call in a normal run. Default 5 s. It ends no earlier, and at most a tenth later.
    pub call_timeout: Duration,
    /// Most fuel of one call in a metered run: about one unit an instruction. Default 5,000,000,000, a few seconds.
    pub call_fuel_max: u64,
    /// Largest output of one call, in bytes. Default 64 MiB.
    pub output_bytes_max: u64,
    /// Largest module, in bytes. Default 4 MiB.
    pub module_bytes_max: u64,
    /// Most engines of one module at the same time. Default 1,000. Each reserves 4 GiB of addresses, not of memory.
    pub engines_max: u32,
    /// Whether compiled modules are kept between starts. Default yes.
    pub cache: bool,
    /// Where they are kept. Default `$XDG_CACHE_HOME/plimsoll`, else `~/.cache/plimsoll`. The folder must be the
    /// caller's own, with mode 0700; it is made so if it is not there.
    pub cache_dir: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            memory_bytes_max: 256 << 20,
            call_timeout: Duration::from_secs(5),
            call_fuel_max: 5_000_000_000,
            output_bytes_max: 64 << 20,
            module_bytes_max: 4 << 20,
            engines_max: 1_000,
            cache: true,
            cache_dir: None,
        }
    }
}
