//! `daemon.toml`, checked; the file at the root of the repository documents every key.

mod error;
mod find;
mod hooks;
mod http;
mod init;
mod lists;
mod live;
mod power;
mod read;
mod rules;
#[cfg(test)]
mod tests;
pub mod units;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

pub use self::error::ConfigError;
pub use self::hooks::HookConfig;
pub use self::http::{HttpConfig, Listen, TokenUse, Untouched};
pub use self::init::{InitAnswer, init};
pub use self::lists::Lists;
pub use self::live::LiveConfig;
pub use self::power::PowerConfig;
use crate::attempt::RetryPolicy;
use crate::engine::mini::{self, ModelTexts};
use crate::engine::{self, DeviceChoice, EngineKind, ModelDescription, ModelPlace, fake};
use crate::job::parameters::ParameterValues;
use crate::job::spec::{Limits, Rules};
use crate::ladder::Prefer;
use crate::planner::Allowance;
use crate::problem::Problem;

/// The daemon's whole configuration; paths are absolute.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file that was read; `None` where all is default.
    pub file: Option<PathBuf>,
    /// Where job files are dropped; `accepted/` and `rejected/` lie inside.
    pub jobs: PathBuf,
    /// Where pictures appear.
    pub outputs: PathBuf,
    /// Database, lock, kept latents, status.
    pub state: PathBuf,
    pub wildcards: PathBuf,
    /// The LoRAs that jobs name.
    pub loras: PathBuf,
    pub engine: EngineKind,
    pub model: ModelChoice,
    /// The models that a job may name.
    pub models: BTreeMap<String, ModelPlace>,
    pub device: DeviceChoice,
    pub memory_limit_bytes: Option<u64>,
    /// Left to others on the device; `None` is the planner's choice.
    pub reserve_bytes: Option<u64>,
    /// How long nothing is rendered before the model leaves the device; `None` keeps it for ever.
    pub idle_release_ms: Option<u64>,
    pub prefer: Prefer,
    /// `[defaults]`: what a job file may leave out. The model, or we, say what this does not.
    pub defaults: ParameterValues,
    pub limits: Limits,
    pub worker: WorkerLimits,
    pub power: PowerConfig,
    /// Whether each picture has a file beside it that says what the picture says.
    pub sidecar: bool,
    pub http: HttpConfig,
    pub hooks: HookConfig,
}

/// Where the model is.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelChoice {
    /// The folder or the files that the configuration or the command line names.
    Named(ModelPlace),
    /// None is named: the miniature, from this folder beside the configuration where it stands,
    /// else from the program.
    Miniature { beside: PathBuf },
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

impl Default for WorkerLimits {
    fn default() -> Self {
        WorkerLimits {
            // Twelve gigabytes of weights from a hard disk.
            load_timeout_ms: 10 * 60 * 1000,
            // One step of the full model on a small CPU.
            step_timeout_ms: 10 * 60 * 1000,
            deaths_max: 3,
            // Plans skip what cannot fit, so that few rungs are tried; more than this is a ladder
            // that goes nowhere.
            attempts_max: 20,
            backoff_ms: 1000,
        }
    }
}

/// How long the first pictures of a model may wait for its hash: most disks give what is hashed in
/// that time. A slower one has them without.
const HASH_WAIT_MS_MAX: u64 = 30_000;

impl WorkerLimits {
    /// How long a picture may wait for the hash of its model, which is no sign of progress.
    pub fn hash_wait_ms(&self) -> u64 {
        HASH_WAIT_MS_MAX.min(self.step_timeout_ms / 2)
    }

    /// When a render is given up.
    pub fn policy(&self) -> RetryPolicy {
        RetryPolicy { deaths_max: self.deaths_max, attempts_max: self.attempts_max }
    }
}

/// Makes a folder of the configuration where it is missing.
pub fn make_folder(path: &Path) -> Result<(), ConfigError> {
    fs::create_dir_all(path).map_err(|source| ConfigError::Folder { path: path.to_owned(), source })
}

/// The database's name in the state folder.
const DATABASE: &str = "zimaged.sqlite";

impl Config {
    /// What a render may use of the device.
    pub fn allowance(&self) -> Allowance {
        Allowance { limit_bytes: self.memory_limit_bytes, reserve_bytes: self.reserve_bytes }
    }

    /// Checks the text of a `daemon.toml`; relative paths in it are relative to `folder`, which is
    /// absolute.
    pub fn parse(text: &str, folder: &Path) -> Result<Config, Vec<Problem>> {
        read::config(text, folder)
    }

    /// Where the database is.
    pub fn database_path(&self) -> PathBuf {
        self.state.join(DATABASE)
    }

    /// What the configured model says of itself.
    pub fn describe_model(&self) -> Result<ModelDescription, ConfigError> {
        match self.engine {
            EngineKind::ZImage => Ok(ModelDescription::read(&self.model_texts()?.place())?),
            EngineKind::Fake => Ok(fake::description()),
        }
    }

    /// Fails where a file of the configured model's weights is missing, cut short or something
    /// else. Only headers are read.
    pub fn check_weights(&self) -> Result<(), ConfigError> {
        match self.engine {
            EngineKind::ZImage => Ok(engine::check_weights(&self.model_place()?)?),
            EngineKind::Fake => Ok(()),
        }
    }

    /// What job files are checked against, with the configured model and in the machine's time
    /// zone.
    pub fn job_rules(&self) -> Result<Rules, ConfigError> {
        self.rules(&self.describe_model()?, TimeZone::system())
    }

    /// The model for whoever reads everything of it but its weights. Writes nothing that stays.
    pub fn model_texts(&self) -> Result<ModelTexts, ConfigError> {
        match self.model_at_hand() {
            Some(place) => Ok(ModelTexts::At(place)),
            None => mini::texts(&self.state).map_err(|error| {
                ConfigError::no_miniature(&format!("cannot read the miniature model: {error}"))
            }),
        }
    }

    /// Where the model is, for the daemon. Unpacks the miniature where no other model is named and
    /// it does not stand beside the configuration.
    pub fn model_place(&self) -> Result<ModelPlace, ConfigError> {
        match self.model_at_hand() {
            Some(place) => Ok(place),
            None => {
                mini::unpacked(&self.state).map(|folder| ModelPlace::at(&folder)).map_err(|error| {
                    let state = self.state.display();
                    ConfigError::no_miniature(&format!(
                        "cannot unpack the miniature model into {state}: {error}"
                    ))
                })
            }
        }
    }

    /// A model that need not be unpacked. The fake engine, which has none, keeps its counts there.
    fn model_at_hand(&self) -> Option<ModelPlace> {
        match &self.model {
            ModelChoice::Named(place) => Some(place.clone()),
            ModelChoice::Miniature { beside } => {
                let at_hand = self.engine == EngineKind::Fake || beside.is_dir();
                at_hand.then(|| ModelPlace::at(beside))
            }
        }
    }
}
