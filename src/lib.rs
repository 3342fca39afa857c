//! zimaged: drop a TOML job into `jobs/`, get the pictures in `outputs/` and the history in SQLite.
//!
//! The map. `tests/it/house.rs` holds that a module uses only what its test lists before it;
//! ARCHITECTURE.md says why.

// The domain: pure, no I/O, no clock, no async.
mod spelling; // one spelling for words in rows, JSON and on the screen
mod problem; // a mistake in a TOML text that the user can mend
mod table; // a strict reader of TOML tables that finds every mistake
mod job; // jobs and renders: their files, their states, their pictures' names
mod ladder; // the rungs of the out-of-memory ladder, gentlest first
mod planner; // which rung fits, and which one comes after an out-of-memory error
mod attempt; // tries at a render: what came before one, how it ended, what comes next

// Adapters: each owns one outside thing and no policy.
mod clock; // the time of day
mod moment; // moments and durations for people
mod countdown; // time-outs that count only the time in which this process ran
mod heartbeat; // the sign of life
mod recent_log; // its newest lines, for pages
mod public_address; // which addresses lie in the public internet
mod access; // whose a file is that this process may not use
mod files; // steps on files that are safe to repeat
mod descriptors; // how many files may be open, and how many of them clients may take
mod engine; // what turns a render into pixels
mod card; // what a card's driver says of its power, temperature and clocks
mod config; // `daemon.toml`
mod output; // pictures as files
mod thumbnails; // small copies of pictures, for pages
mod preview; // how a picture looks while it is made
mod sheet; // contact sheets: pictures in a grid, with labels, as one picture
mod inputs; // pictures as input: read within limits, kept, decoded
mod loras; // LoRAs that a job names, found and called by their hashes
mod named_files; // all files that a job names, looked at together
mod worker; // the child process that holds the model
mod store; // the database
mod instance; // one daemon at a time
mod hub; // models fetched from where they are published
mod intake; // the watched folder
mod status; // what the daemon is doing, for people

// What users ask of the queue, answered in types.
mod queue; // submit, check, status, wait, cancel, retry, pause, fit
mod at_work; // what is being done, on one line
mod systemd; // what systemd is told
mod mcp; // the same for language models
mod http; // the same for programs and browsers, and for language models, over HTTP

// Orchestration.
mod dispatcher; // the one policy loop
mod recovery; // after a crash
mod awake; // keeps the machine from sleep while work is due
mod hooks; // tells programs and webhooks of renders that have ended
mod caretaker; // the database's file, while the daemon runs
mod daemon; // wiring, start and shutdown
mod report; // what this machine does, measured and told
mod doctor; // what is wrong with a queue and its machine

// Faces: translate, decide nothing.
mod cli; // the command line

#[doc(hidden)]
pub mod internals; // what the tests and benchmarks outside the crate use

pub use self::cli::main;
pub use self::engine::meter::CountingAllocator;
