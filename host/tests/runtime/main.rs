//! The runtime: hostile modules, the cache of compiled ones, and the same bytes natively and as a module.

mod built;
#[cfg(unix)]
mod cache;
mod fake;
mod hostile;
mod same_bytes;
