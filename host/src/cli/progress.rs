//! Bars on standard error for long work, where a person watches; nothing in scripts.
//!
//! Not here: what the work is.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;

/// A bar over so many bytes, with the time that is left.
pub fn bytes(size: u64) -> Option<ProgressBar> {
    bar(size, "{bar:30} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left")
}

/// A bar over so many bytes of which an earlier run may have done a part, so that nobody knows the time that is left.
pub fn bytes_of(size: u64) -> Option<ProgressBar> {
    bar(size, "{bar:30} {bytes} of {total_bytes} {bytes_per_sec}")
}

/// A bar over so many records, with the time that is left.
pub fn records(count: u64) -> Option<ProgressBar> {
    bar(count, "{bar:30} {human_pos}/{human_len} records {per_sec}, {eta} left")
}

fn bar(whole: u64, template: &str) -> Option<ProgressBar> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let bar = ProgressBar::new(whole);
    bar.set_style(ProgressStyle::with_template(template).expect("a template that was tried"));
    // Shown at once: the first piece may take a while.
    bar.tick();
    Some(bar)
}
