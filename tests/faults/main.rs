//! Faults done to the whole program on purpose, and after each the same question: does everything
//! still hold that `docs/reliability.md` promises? The oracle answers it.
//!
//! The longer runs are commands: see `tools/faults.py`.

// Helpers beside the tests count as tests, too: a panic is a failure.
#![allow(clippy::unwrap_used)]

mod asking;
mod beside;
mod cases;
mod clocks;
mod cuts;
mod databases;
mod disk;
mod folders;
mod house;
mod kills;
mod ledger;
mod limits;
mod managed;
mod miniature;
mod moments;
mod mounts;
mod oracle;
mod overwritten;
mod permissions;
mod reading;
mod record;
mod soak;
mod spoiled;
#[path = "../it/support/mod.rs"]
#[allow(dead_code)]
mod support;
mod trap;
mod trouble;
