//! Counts what one thread takes of the heap: the tests of this program run beside each other.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    // Constants without destructors: touching them allocates nothing.
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<isize> = const { Cell::new(0) };
}

struct ThreadMeter;

#[global_allocator]
static METER: ThreadMeter = ThreadMeter;

fn note(bytes: isize) {
    let live = LIVE_BYTES.get() + bytes;
    LIVE_BYTES.set(live);
    PEAK_BYTES.set(PEAK_BYTES.get().max(live));
}

// SAFETY: every call goes to `System` unchanged; the counting neither allocates nor panics.
unsafe impl GlobalAlloc for ThreadMeter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size().cast_signed());
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size().cast_signed());
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note(-layout.size().cast_signed());
        // SAFETY: the caller's promise about `block` and `layout` is passed on.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(new_size.cast_signed() - layout.size().cast_signed());
        // SAFETY: the caller's promise about the arguments is passed on.
        unsafe { System.realloc(block, layout, new_size) }
    }
}

/// What `work` answers, and the most bytes that this thread held for it at one time.
pub fn measured<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE_BYTES.get();
    PEAK_BYTES.set(before);
    let answer = work();
    (answer, usize::try_from(PEAK_BYTES.get() - before).unwrap_or(0))
}

#[test]
fn what_a_thread_takes_is_counted_also_where_it_gives_it_back() {
    let (_, bytes) = measured(|| drop(std::hint::black_box(vec![1_u8; 1 << 20])));
    assert!((1 << 20..2 << 20).contains(&bytes), "{bytes}");
}
