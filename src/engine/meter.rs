//! Counts the bytes of the heap: the CPU's "device memory". `main` installs it as the global allocator.

use std::alloc::System;

/// The system's allocator, counted.
pub struct CountingAllocator(System);

/// Bytes allocated now.
pub fn used_bytes() -> u64 {
    todo!()
}

/// The most bytes allocated at once since [`reset_peak`].
pub fn peak_bytes() -> u64 {
    todo!()
}

/// Starts a new peak at the present use.
pub fn reset_peak() {
    todo!()
}
