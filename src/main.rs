//! The zimaged program: arguments, logging, subcommand; nothing else.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: zimaged::engine::meter::CountingAllocator = zimaged::engine::meter::CountingAllocator;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("worker") => zimaged::worker::serve::serve(),
        _ => ExitCode::from(2),
    }
}
