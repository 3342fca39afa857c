//! `daemon.toml`, checked.

use std::path::PathBuf;

use crate::engine::{DeviceChoice, EngineKind};
use crate::job::spec::Limits;
use crate::job::{Format, OnOom};
use crate::ladder::Prefer;

/// The daemon's whole configuration; paths are absolute.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where job files are dropped; `accepted/` and `rejected/` lie inside.
    pub jobs: PathBuf,
    /// Where pictures appear.
    pub outputs: PathBuf,
    /// Database, lock, kept latents, status.
    pub state: PathBuf,
    pub engine: EngineKind,
    /// The model's folder.
    pub model: PathBuf,
    pub device: DeviceChoice,
    pub memory_limit_bytes: Option<u64>,
    pub prefer: Prefer,
    /// What a job file leaves open and the model does not say better; `None` asks the model.
    pub defaults: ConfiguredDefaults,
    pub limits: Limits,
    pub worker: WorkerLimits,
}

/// `[defaults]`: what a job file may leave out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfiguredDefaults {
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub steps: Option<u32>,
    pub guidance: Option<f64>,
    pub negative_prompt: Option<String>,
    pub on_oom: Option<OnOom>,
    pub min_side: Option<u32>,
    pub min_steps: Option<u32>,
    pub output: Option<String>,
    pub format: Option<Format>,
}

/// `[worker]`: when a worker counts as dead, and when a render does.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerLimits {
    /// From start to `loaded`.
    pub load_timeout_ms: u64,
    /// Between two signs of progress (a stage or a step) of a running render.
    pub step_timeout_ms: u64,
    /// A render that killed the worker this often is failed as `crashed_worker`.
    pub deaths_max: u32,
    /// Attempts of one render in all, ladder steps included.
    pub attempts_max: u32,
    /// First wait before a new worker after a death; doubles up to five minutes.
    pub backoff_ms: u64,
}
