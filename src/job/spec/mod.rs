//! TOML text -> resolved renders, or every error at once with line and column.

use super::{Format, Job, OnOom};
use crate::problem::Problem;

/// What a job file may leave out, resolved from `daemon.toml` and the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    pub width: u32,
    pub height: u32,
    pub steps: u32,
    pub guidance: f64,
    pub negative_prompt: String,
    pub on_oom: OnOom,
    pub min_side: u32,
    pub min_steps: u32,
    pub output: String,
    pub format: Format,
}

/// Bounds on what one job may ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    pub file_bytes_max: u64,
    pub renders_max: u32,
    pub prompt_bytes_max: usize,
    pub side_max: u32,
    pub steps_max: u32,
}

/// Everything that a job file is checked against.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    pub defaults: Defaults,
    pub limits: Limits,
    /// Both sides must be multiples of this (pixels).
    pub granularity: u32,
}

/// Parses and resolves a job file's text. `random_seed` is asked for each seed left open.
pub fn parse(_text: &str, _rules: &Rules, _random_seed: &mut dyn FnMut() -> u64) -> Result<Job, Vec<Problem>> {
    todo!()
}
