//! The exported names of ABI 1: integers taken apart, one call into the desk, one integer back.
//!
//! Invariants
//! - Nothing here reads or writes through a pointer: addresses go to the desk, which looks them up, and come from it.
//!
//! Pointers are those of wasm32. In a native build, where they need 64 bits, the functions that give or take one are of
//! no use; the others work, and the tests call them.

#![expect(
    unsafe_code,
    reason = "`no_mangle` is unsafe since two functions of one name would be; every name here begins with plimsoll_"
)]

use crate::desk::Desk;
use crate::panic::PanicBuffer;
use crate::status::{Answer, Status};
use std::cell::RefCell;

const ABI_VERSION: i32 = 1;

static PANIC: PanicBuffer = PanicBuffer::new();

thread_local! {
    static DESK: RefCell<Desk> = RefCell::new(opened());
}

/// The desk at the first call that needs one. Natively the panic hook belongs to whoever runs the process.
fn opened() -> Desk {
    if cfg!(target_family = "wasm") {
        std::panic::set_hook(Box::new(|info| PANIC.set(info)));
    }
    Desk::default()
}

fn desk<T>(f: impl FnOnce(&mut Desk) -> T) -> T {
    DESK.with_borrow_mut(f)
}

/// Status 0 or the refusal's.
fn status(f: impl FnOnce(&mut Desk) -> Answer<()>) -> i32 {
    desk(|d| match f(d) {
        Ok(()) => Status::Ok as i32,
        Err(r) => d.refused(r) as i32,
    })
}

/// A value, or minus the refusal's status.
fn value(f: impl FnOnce(&mut Desk) -> Answer<i32>) -> i32 {
    desk(|d| match f(d) {
        Ok(v) => v,
        Err(r) => -(d.refused(r) as i32),
    })
}

/// An integer of the ABI read as what it is: unsigned.
fn unsigned(v: i32) -> usize {
    v as u32 as usize
}

fn address(bytes: &[u8]) -> i32 {
    bytes.as_ptr().addr() as i32
}

// SAFETY (of each `no_mangle` below): the name begins with `plimsoll_` and stands once in the workspace.

#[unsafe(no_mangle)]
extern "C" fn plimsoll_abi_version() -> i32 {
    ABI_VERSION
}

#[unsafe(no_mangle)]
extern "C" fn plimsoll_alloc(len: i32) -> i32 {
    desk(|d| match d.alloc(unsigned(len)) {
        Ok(address) => address as i32,
        Err(r) => {
            d.refused(r);
            0
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn plimsoll_free(ptr: i32, len: i32) -> i32 {
    status(|d| d.free(unsigned(ptr), unsigned(len)))
}

#[unsafe(no_mangle)]
extern "C" fn plimsoll_open(policy_ptr: i32, policy_len: i32) -> i32 {
    value(|d| d.open((unsigned(policy_ptr), unsigned(policy_len))))
}

#[unsafe(no_mangle)]
extern "C" fn plimsoll_restore(policy_ptr: i32, policy_len: i32, snapshot_ptr: i32, snapshot_len: i32) -> i32 {
    let policy = (unsigned(policy_ptr), unsigned(policy_len));
    value(|d| d.restore(policy, (unsigned(snapshot_ptr), unsigned(snapshot_len))))
}

#[unsafe(no_mangle)]
extern "C" fn plimsoll_input(handle: i32, len: i32) -> i32 {
    let len = unsigned(len);
    value(|d| {
        let at = address(d.input(handle, len)?);
        // A negative answer would be read as a status. The buffer stays: it will do for a shorter input.
        if at > 0 { Ok(at) } else { Err(crate::status::Refusal::no_memory(len)) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn plimsoll_apply(handle: i32, len: i32) -> i32 {
    status(|d| d.apply(handle, unsigned(len)))
}

#[unsafe(no_mangle)]
extern "C" fn plimsoll_pending(handle: i32) -> i32 {
    value(|d| Ok(i32::try_from(d.pending(handle)?).unwrap_or(i32::MAX)))
}

#[unsafe(no_mangle)]
extern "C" fn plimsoll_flush(handle: i32, mode: i32) -> i32 {
    status(|d| d.flush(handle, mode))
}

#[unsafe(no_mangle)]
extern "C" fn plimsoll_panes(handle: i32) -> i32 {
    status(|d| d.panes(handle))
}

#[unsafe(no_mangle)]
extern "C" fn plimsoll_snapshot(handle: i32) -> i32 {
    status(|d| d.snapshot(handle))
}

#[unsafe(no_mangle)]
extern "C" fn plimsoll_describe(handle: i32) -> i32 {
    status(|d| d.describe(handle))
}

#[unsafe(no_mangle)]
extern "C" fn plimsoll_output_ptr(handle: i32) -> i32 {
    desk(|d| address(d.output(handle)))
}

#[unsafe(no_mangle)]
extern "C" fn plimsoll_output_len(handle: i32) -> i32 {
    desk(|d| d.output(handle).len() as i32)
}

#[unsafe(no_mangle)]
extern "C" fn plimsoll_error_ptr() -> i32 {
    desk(|d| address(d.error().as_bytes()))
}

#[unsafe(no_mangle)]
extern "C" fn plimsoll_error_len() -> i32 {
    desk(|d| d.error().len() as i32)
}

#[unsafe(no_mangle)]
extern "C" fn plimsoll_panic_ptr() -> i32 {
    // Asking for the address also makes sure that the hook is there.
    desk(|_| (&raw const PANIC).addr() as i32)
}

#[unsafe(no_mangle)]
extern "C" fn plimsoll_close(handle: i32) -> i32 {
    status(|d| d.close(handle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_answer_with_statuses_and_their_negatives() {
        assert_eq!(plimsoll_abi_version(), 1);
        assert_eq!(plimsoll_apply(1, 0), 1);
        assert_eq!(plimsoll_pending(-7), -1);
        assert_eq!(plimsoll_panes(1), 1);
        assert_eq!(plimsoll_input(0, 10), -1);
        assert_eq!(plimsoll_close(1), 1);
        assert_eq!(plimsoll_open(0, 0), -6, "no such buffer was given out");
        assert_eq!(plimsoll_restore(0, 0, 0, 0), -6);
        assert_eq!(plimsoll_free(8, 8), 6);
        assert!(plimsoll_error_len() > 0);
    }

    #[test]
    fn the_module_describes_itself() {
        assert_eq!(plimsoll_describe(0), 0);
        assert!(plimsoll_output_len(0) > 2);
        assert_eq!(plimsoll_output_len(5), 0);
        assert_eq!(plimsoll_describe(5), 1);
    }
}
