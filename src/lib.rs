//! zimaged: drop a TOML job into `jobs/`, get the pictures in `outputs/` and the history in SQLite.
//!
//! The map. `tests/it/house.rs` holds that a module uses only what its test lists before it;
//! ARCHITECTURE.md says why.

// The domain: pure, no I/O, no clock, no async.
mod spelling; // one spelling for words in rows, JSON and on the screen
pub mod problem; // a mistake in a TOML text that the user can mend
pub mod table; // a strict reader of TOML tables that finds every mistake
pub mod job; // jobs and renders: their files, their states, their pictures' names
pub mod ladder; // the rungs of the out-of-memory ladder, gentlest first
pub mod planner; // which rung fits, and which one comes after an out-of-memory error
pub mod attempt; // tries at a render: what came before one, how it ended, what comes next

// Adapters: each owns one outside thing and no policy.
pub mod clock; // the time of day
pub mod heartbeat; // the sign of life
pub mod files; // steps on files that are safe to repeat
pub mod engine; // what turns a render into pixels
pub mod config; // `daemon.toml`
pub mod output; // pictures as files
pub mod worker; // the child process that holds the model
pub mod store; // the database
pub mod intake; // the watched folder
pub mod instance; // one daemon at a time
pub mod status; // what the daemon is doing, for people
pub mod systemd; // what systemd is told

// What users ask of the queue, answered in types.
pub mod queue; // submit, check, status, wait, cancel, retry, pause, fit

// Orchestration.
pub mod dispatcher; // the one policy loop
pub mod recovery; // after a crash
pub mod daemon; // wiring, start and shutdown

// Faces: translate, decide nothing.
pub mod cli; // the command line
