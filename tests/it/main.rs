//! Tests from outside, one binary: real SQLite, files, processes and signals; the engine and the
//! clock may be fake.

// Helpers beside the tests count as tests, too: a panic is a failure.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "cuda")]
mod card;
#[cfg(feature = "cuda")]
mod card_libraries;
mod answers;
mod awake;
mod bad_jobs;
mod between;
mod bf16;
mod cli;
mod daemon;
mod deaths;
mod doctor;
mod energy;
mod estimate;
mod evening;
mod evening_again;
mod faces;
mod faults;
mod fetch;
mod files;
mod formats;
mod fit;
mod fresh_user;
mod fuzz;
mod history;
mod hooks;
mod house;
mod http;
mod install;
mod intake;
mod jobs_folder;
mod json;
mod loras;
mod mcp;
mod mini;
mod mini_judge;
mod mistakes;
mod models;
mod neighbour;
mod nights;
mod packaging;
mod parity;
mod pictures;
mod pipes;
mod promises;
mod quality;
mod quantised;
mod queue;
mod replay;
mod report;
mod sidecar;
mod store;
mod submit;
mod supply;
mod readme;
mod real;
mod rest;
mod run;
mod support;
mod systemd;
mod times;
mod told;
mod upgrades;
mod verify;
mod want_of_memory;
mod worker;
