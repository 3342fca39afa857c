//! Tests from outside, one binary: real SQLite, files, processes and signals; the engine and the clock may be fake.

mod daemon;
mod files;
mod house;
mod intake;
mod packaging;
mod parity;
mod store;
mod support;
mod worker;
