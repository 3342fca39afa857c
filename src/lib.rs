//! zimaged: drop a TOML job into `jobs/`, get the pictures in `outputs/` and the history in SQLite.
//!
//! The map, in the order in which things depend on each other (never upwards):

// The domain: pure, no I/O, no clock, no async.
pub mod job;
pub mod ladder;
pub mod problem;
pub mod table;

// Adapters: each owns one outside thing and no policy.
pub mod clock;
pub mod config;
pub mod engine;
pub mod files;
pub mod instance;
pub mod intake;
pub mod output;
pub mod pulse;
pub mod status;
pub mod store;
pub mod worker;

// Orchestration.
pub mod daemon;
pub mod dispatcher;
pub mod recovery;

// Faces: translate, decide nothing.
pub mod cli;
pub mod systemd;
