//! Faults done to the whole program on purpose, and after each the same question: does everything
//! still hold that `docs/reliability.md` promises? The oracle answers it.
//!
//! The longer runs are commands: see `tools/faults.py`.

// Helpers beside the tests count as tests, too: a panic is a failure.
#![allow(clippy::unwrap_used)]

mod cases;
mod cuts;
mod house;
mod kills;
mod ledger;
mod miniature;
mod oracle;
mod reading;
mod record;
mod spoiled;
#[path = "../it/support/mod.rs"]
#[allow(dead_code)]
mod support;
mod trap;
