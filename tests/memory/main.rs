//! What the engine needs of a device's memory, counted: on a CPU the heap is the device. A binary
//! of its own, because the heap is counted for the whole process; its tests take turns.

// Helpers beside the tests count as tests, too: a panic is a failure.
#![allow(clippy::unwrap_used)]

mod input;
mod limit;
mod lora;
mod prediction;
mod stripes;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use zimaged::internals::{Continue, CountingAllocator, MemoryReading, Progress, Stage, meter};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// The scratch of convolutions and attention grows with the threads; the figures here are for this
/// many.
const THREADS: usize = 2;

/// Models of the hub's layout; `build.rs` finds the reference.
const MINI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/mini");
const REFERENCE: &str = env!("ZIMAGED_REFERENCE_MODEL");

/// In use before the first test began.
static ORIGIN_BYTES: OnceLock<u64> = OnceLock::new();

/// What earlier tests left in use: a worker's first render would find none of it, and make it
/// itself.
fn left_bytes() -> u64 {
    meter::used_bytes() - ORIGIN_BYTES.get().unwrap()
}

/// One test at a time counts the heap.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    meter::start();
    ORIGIN_BYTES.get_or_init(meter::used_bytes);
    // A second call fails, and the first one's number holds.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(THREADS).build_global();
    turn
}

/// Nobody watches; the peaks are noted by stage.
#[derive(Default)]
struct Peaks {
    of: Vec<(Stage, u64)>,
    stage: Option<Stage>,
}

impl Peaks {
    /// The stage that runs has ended with this reading.
    fn end(&mut self, reading: MemoryReading) {
        self.of.extend(self.stage.take().map(|stage| (stage, reading.peak_bytes)));
    }

    fn of(&self, stage: Stage) -> u64 {
        self.of.iter().filter(|(of, _)| *of == stage).map(|(_, bytes)| *bytes).max().unwrap_or(0)
    }
}

impl Progress for Peaks {
    fn stage(&mut self, stage: Stage, before: MemoryReading) -> Continue {
        self.end(before);
        self.stage = Some(stage);
        Continue::Yes
    }

    fn step(&mut self, _step: u32, _steps: u32) -> Continue {
        Continue::Yes
    }
}
