//! The answers of ABI 1, and what a refusal carries: a status for programs, a text for people.

use std::fmt::Display;

/// Part of the ABI: append, never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Status {
    Ok = 0,
    BadHandle = 1,
    BadPolicy = 2,
    BadFrame = 3,
    BadSnapshot = 4,
    NoMemory = 5,
    BadArgument = 6,
    TooManyHandles = 7,
}

/// A call that was not done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub status: Status,
    pub detail: String,
}

impl Refusal {
    pub(crate) fn new(status: Status, detail: impl Display) -> Self {
        Self { status, detail: detail.to_string() }
    }

    pub(crate) fn no_memory(len: usize) -> Self {
        Self::new(Status::NoMemory, format_args!("no memory for a buffer of {len} bytes"))
    }
}

pub(crate) type Answer<T> = Result<T, Refusal>;
