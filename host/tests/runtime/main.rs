//! The runtime: hostile modules, the cache of compiled ones, the same bytes natively and as a module, and what they cost.

mod built;
#[cfg(unix)]
mod cache;
mod cost;
mod fake;
mod hostile;
mod same_bytes;
mod same_panes;
#[path = "../../../core/tests/support/mod.rs"]
mod support;
