//! For tests that ask an engine themselves; shared by path with the test binary that counts the
//! heap.

use zimaged::internals::{Continue, MemoryReading, Progress, Stage};

/// Hears nothing and never stops a render.
pub struct Silent;

impl Progress for Silent {
    fn stage(&mut self, _stage: Stage, _before: MemoryReading) -> Continue {
        Continue::Yes
    }

    fn step(&mut self, _step: u32, _steps: u32) -> Continue {
        Continue::Yes
    }
}
