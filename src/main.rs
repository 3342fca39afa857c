//! Arguments, logging, subcommand; nothing else.

use std::process::ExitCode;

use zimaged::CountingAllocator;

/// On a CPU the heap is the device's memory: counted, so that it can be limited and measured.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn main() -> ExitCode {
    zimaged::main()
}
