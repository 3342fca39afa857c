//! Counts the bytes of the heap: the CPU's "device memory". `main` installs [`CountingAllocator`]
//! as the global allocator; it counts nothing before [`start`], which only a worker that computes
//! on a CPU calls. Elsewhere every figure is 0.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed};

// Relaxed everywhere: the figures order nothing.
static IS_COUNTING: AtomicBool = AtomicBool::new(false);
/// Below 0 where blocks were freed that had been allocated before the counting began.
static USED_BYTES: AtomicIsize = AtomicIsize::new(0);
static PEAK_BYTES: AtomicIsize = AtomicIsize::new(0);
/// An allocation was refused. Code that survives a refusal (`try_reserve`) is rare, so an abort
/// that comes later is put down to memory.
static WAS_REFUSED: AtomicBool = AtomicBool::new(false);

/// The system's allocator, counted.
pub struct CountingAllocator;

// SAFETY: every call goes to `System` unchanged; the counting neither allocates nor panics.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        let block = unsafe { System.alloc(layout) };
        note(block, 0, layout.size());
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        let block = unsafe { System.alloc_zeroed(layout) };
        note(block, 0, layout.size());
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise about `block` and `layout` is passed on.
        unsafe { System.dealloc(block, layout) };
        if IS_COUNTING.load(Relaxed) {
            USED_BYTES.fetch_sub(layout.size().cast_signed(), Relaxed);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise about the arguments is passed on.
        let moved = unsafe { System.realloc(block, layout, new_size) };
        note(moved, layout.size(), new_size);
        moved
    }
}

/// Notes an allocation of `new_bytes` in place of `old_bytes`, which `block` is the answer to.
fn note(block: *mut u8, old_bytes: usize, new_bytes: usize) {
    if block.is_null() {
        WAS_REFUSED.store(true, Relaxed);
    } else if IS_COUNTING.load(Relaxed) {
        add(new_bytes.cast_signed() - old_bytes.cast_signed());
    }
}

fn add(bytes: isize) {
    let used = USED_BYTES.fetch_add(bytes, Relaxed).saturating_add(bytes);
    // Most blocks make no new peak: a plain load spares them the read-modify-write.
    if used > PEAK_BYTES.load(Relaxed) {
        PEAK_BYTES.fetch_max(used, Relaxed);
    }
}

/// Counts from now on, for the process's life. What was allocated before is not counted; call this
/// before anything large is.
pub fn start() {
    IS_COUNTING.store(true, Relaxed);
}

/// Bytes allocated now, of those allocated since [`start`].
pub fn used_bytes() -> u64 {
    u64::try_from(USED_BYTES.load(Relaxed)).unwrap_or(0)
}

/// The most bytes allocated at once since [`reset_peak`].
pub fn peak_bytes() -> u64 {
    u64::try_from(PEAK_BYTES.load(Relaxed)).unwrap_or(0)
}

/// Whether the system has refused an allocation.
pub fn was_refused() -> bool {
    WAS_REFUSED.load(Relaxed)
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
        let mut uncounted = Vec::<u8>::with_capacity(BLOCK_BYTES as usize);
        assert_eq!(used_bytes(), 0, "nothing is counted in a process that does not ask for it");
        uncounted.shrink_to(0);
        start();
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
