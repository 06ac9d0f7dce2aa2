//! Where a panic leaves its text, for a host that must not call in any more.
//!
//! ```text
//! offset 0  u32  length of the text, 0 while nothing has panicked
//!        4  up to 1,020 bytes of UTF-8
//! ```
//! Atomics only spare `unsafe`: the module has one thread. Writing allocates nothing, since memory may be what is short.

use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

/// Longest text, in bytes; a longer one is cut between characters.
pub(crate) const TEXT_MAX: usize = 1_020;

/// The buffer.
#[repr(C)]
pub(crate) struct PanicBuffer {
    len: AtomicU32,
    text: [AtomicU8; TEXT_MAX],
}

impl PanicBuffer {
    pub(crate) const fn new() -> Self {
        Self { len: AtomicU32::new(0), text: [const { AtomicU8::new(0) }; TEXT_MAX] }
    }

    /// Replaces the text.
    pub(crate) fn set(&self, text: impl Display) {
        self.len.store(0, Relaxed);
        // An error here says that the text was cut: what fits is there.
        let _ = write!(Tail(self), "{text}");
    }
}

/// Appends to a buffer until it is full.
struct Tail<'a>(&'a PanicBuffer);

impl Write for Tail<'_> {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        let at = self.0.len.load(Relaxed) as usize;
        let fits = s.floor_char_boundary(TEXT_MAX - at);
        for (place, byte) in self.0.text[at..].iter().zip(&s.as_bytes()[..fits]) {
            place.store(*byte, Relaxed);
        }
        self.0.len.store((at + fits) as u32, Relaxed);
        if fits == s.len() { Ok(()) } else { Err(std::fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(b: &PanicBuffer) -> String {
        let bytes = b.text[..b.len.load(Relaxed) as usize].iter().map(|a| a.load(Relaxed)).collect();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_last_text_stands_there() {
        let b = PanicBuffer::new();
        b.set("a first text, a long one");
        b.set(format_args!("{}: {}", "place", 7));
        assert_eq!(text(&b), "place: 7");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let b = PanicBuffer::new();
        b.set(format_args!("x{}{}", "é".repeat(600), "after"));
        assert_eq!(text(&b), format!("x{}", "é".repeat(509)));
    }
}
