//! Counts the bytes of the heap: the CPU's "device memory". `main` installs [`CountingAllocator`]
//! as the global allocator; without it every figure is 0.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

// Relaxed everywhere: the figures order nothing.
static USED_BYTES: AtomicUsize = AtomicUsize::new(0);
static PEAK_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counted.
pub struct CountingAllocator;

// SAFETY: every call goes to `System` unchanged; the counting neither allocates nor panics.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        let block = unsafe { System.alloc(layout) };
        if !block.is_null() {
            add(layout.size());
        }
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        let block = unsafe { System.alloc_zeroed(layout) };
        if !block.is_null() {
            add(layout.size());
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise about `block` and `layout` is passed on.
        unsafe { System.dealloc(block, layout) };
        USED_BYTES.fetch_sub(layout.size(), Relaxed);
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise about the arguments is passed on.
        let moved = unsafe { System.realloc(block, layout, new_size) };
        if !moved.is_null() {
            USED_BYTES.fetch_sub(layout.size(), Relaxed);
            add(new_size);
        }
        moved
    }
}

fn add(bytes: usize) {
    let used = USED_BYTES.fetch_add(bytes, Relaxed).saturating_add(bytes);
    // Most blocks make no new peak: a plain load spares them the read-modify-write.
    if used > PEAK_BYTES.load(Relaxed) {
        PEAK_BYTES.fetch_max(used, Relaxed);
    }
}

/// Bytes allocated now.
pub fn used_bytes() -> u64 {
    USED_BYTES.load(Relaxed) as u64
}

/// The most bytes allocated at once since [`reset_peak`].
pub fn peak_bytes() -> u64 {
    PEAK_BYTES.load(Relaxed) as u64
}

/// Starts a new peak at the present use.
pub fn reset_peak() {
    PEAK_BYTES.store(USED_BYTES.load(Relaxed), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: CountingAllocator = CountingAllocator;

    /// Far more than the tests beside this one use; never touched, so it costs no memory.
    const BLOCK_BYTES: u64 = 2 << 30;

    #[test]
    fn a_block_counts_while_it_lives_and_in_the_peak_afterwards() {
        let before = used_bytes();
        let mut block = Vec::<u8>::with_capacity(BLOCK_BYTES as usize);
        let held = used_bytes() - before;
        block.shrink_to(BLOCK_BYTES as usize / 2);
        let shrunk = used_bytes() - before;
        drop(block);
        let near = |bytes: u64, wanted: u64| bytes.abs_diff(wanted) < BLOCK_BYTES / 4;
        assert!(near(held, BLOCK_BYTES), "{held}");
        assert!(near(shrunk, BLOCK_BYTES / 2), "{shrunk}");
        assert!(near(used_bytes(), before), "{}", used_bytes());
        assert!(near(peak_bytes() - before, BLOCK_BYTES), "{}", peak_bytes());
        reset_peak();
        assert!(near(peak_bytes(), before), "{}", peak_bytes());
    }
}
