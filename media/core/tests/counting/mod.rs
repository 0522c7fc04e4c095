//! An allocator that counts what a thread allocates, for tests of paths that must not, and of how much is held.
#![allow(dead_code, reason = "each test is a program of its own and uses a part of it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static COUNTED: Cell<Option<u64>> = const { Cell::new(None) };
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn note(bytes: isize) {
    COUNTED.with(|counted| counted.set(counted.get().map(|count| count + 1)));
    HELD.with(|held| held.set(held.get() + bytes));
}

// SAFETY: every call goes to the system's allocator as it came; counting touches thread-local cells alone.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size().cast_signed());
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        HELD.with(|held| held.set(held.get() - layout.size().cast_signed()));
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(new_size.cast_signed() - layout.size().cast_signed());
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts the allocations of this thread from here to [`stop`].
pub(crate) fn start() {
    COUNTED.set(Some(0));
}

/// The allocations since [`start`].
pub(crate) fn stop() -> u64 {
    COUNTED.replace(None).expect("counting was on")
}

/// Bytes this thread has taken and not given back.
pub(crate) fn held() -> isize {
    HELD.get()
}
