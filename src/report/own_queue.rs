//! A queue of its own for the measurement: the configured model on the configured device, in a
//! temporary folder. The user's queue is neither read nor written.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::daemon::{self, Onlooker};
use crate::dispatcher::Mode;
use crate::engine::device_speed;
use crate::instance::InstanceLock;
use crate::job::parameters::ParameterValues;
use crate::job::spec::{self, Limits};
use crate::planner::DeviceSpeed;
use crate::problem::Problem;
use crate::store::{Access, Store};

/// A picture that nobody will count may be at a step, or a model being loaded, for half a minute.
/// After so long the daemon is dropped with its worker; its queue is removed anyway.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// One job of the measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuringJob {
    /// Names its rows: the job's file without `.toml`.
    pub name: String,
    pub width: u32,
    pub height: u32,
    pub steps: u32,
    pub guidance: f64,
    /// A picture for each.
    pub prompts: Vec<String>,
}

/// Why nothing is measured now; later it may be.
#[derive(Debug, thiserror::Error)]
pub enum NoMeasurement {
    /// Its pictures would be measured with ours.
    #[error("a daemon runs for {} and may use the device: stop it first, then ask again", state.display())]
    DaemonRuns { state: PathBuf },
    #[error("stopped: nothing was written")]
    Stopped,
    /// The model cannot render what is asked: a size that is no multiple of its granularity.
    #[error("this cannot be rendered: {0}")]
    Refused(String),
}

/// The folder; it goes with this value.
pub struct MeasuringQueue {
    _folder: TempDir,
    config: Config,
}

impl MeasuringQueue {
    /// Refuses where the daemon of the user's queue runs: its pictures would be in the measurement.
    pub fn build(user: &Config) -> anyhow::Result<MeasuringQueue> {
        if InstanceLock::is_held(&user.state) {
            return Err(NoMeasurement::DaemonRuns { state: user.state.clone() }.into());
        }
        let folder = tempfile::Builder::new().prefix("zimaged-report-").tempdir();
        let folder = folder.context("cannot make a temporary folder for the measurement")?;
        let config = own(user, folder.path());
        for path in [&config.jobs, &config.outputs, &config.state] {
            fs::create_dir(path).with_context(|| path.display().to_string())?;
        }
        // A model of 20 GB that a daemon of the user's has hashed is not hashed anew for each
        // report.
        let _ = fs::copy(user.hashes_path(), config.hashes_path());
        Ok(MeasuringQueue { _folder: folder, config })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Refuses a job that would not be taken in, before anything is measured.
    pub fn check(&self, job: &MeasuringJob) -> anyhow::Result<()> {
        let rules = self.config.job_rules()?;
        let read = spec::parse_bytes(job.text(0).as_bytes(), &rules, 0, &mut || 0);
        read.map(drop).map_err(|problems| {
            let told = problems.into_iter().map(told).collect::<Vec<_>>();
            NoMeasurement::Refused(told.join("; ")).into()
        })
    }

    /// Runs the daemon until these jobs have ended, in their order, with the device made as small
    /// as `limit_bytes` says. Each session loads the model anew.
    pub async fn session(
        &self,
        jobs: &[MeasuringJob],
        limit_bytes: Option<u64>,
        onlooker: Onlooker,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        for (place, job) in jobs.iter().enumerate() {
            let path = self.config.jobs.join(format!("{}.toml", job.name));
            fs::write(&path, job.text(place)).with_context(|| path.display().to_string())?;
        }
        let mut config = self.config.clone();
        config.memory_limit_bytes = limit_bytes.or(config.memory_limit_bytes);
        let lock = daemon::lock(&config)?;
        let running =
            daemon::run(config, lock, Mode::UntilIdle, onlooker, Arc::default(), stop.clone());
        let patience = async {
            stop.cancelled().await;
            sleep(STOP_PATIENCE).await;
        };
        let ended = tokio::select! {
            ended = running => Some(ended),
            () = patience => None,
        };
        if stop.is_cancelled() {
            return Err(NoMeasurement::Stopped.into());
        }
        ended.transpose()?;
        match self.store().await?.rejections(1).await?.into_iter().next() {
            Some(refused) => Err(NoMeasurement::Refused(refused.reason).into()),
            None => Ok(()),
        }
    }

    /// What was measured so far.
    pub async fn store(&self) -> anyhow::Result<Store> {
        Ok(Store::open(&self.config.database_path(), Access::Client).await?)
    }

    /// The measured speed of `device`.
    pub fn device_speed(&self, device: &str) -> Option<DeviceSpeed> {
        device_speed::kept(&device_speed::path(&self.config.state), device)
    }
}

fn told(problem: Problem) -> String {
    let help = problem.help.map(|help| format!(" ({help})"));
    problem.message + help.as_deref().unwrap_or_default()
}

/// The user's configuration as far as it says what is measured; the rest is as it is by default,
/// so that reports of two machines can be compared.
fn own(user: &Config, folder: &Path) -> Config {
    let mut config = user.clone();
    config.jobs = folder.join("jobs");
    config.outputs = folder.join("outputs");
    config.state = folder.join("state");
    config.models.clear();
    config.idle_release_ms = None;
    config.defaults = ParameterValues::default();
    config.limits = Limits::default();
    config.http.enabled = false;
    config
}

impl MeasuringJob {
    /// The job's file; those that come first are rendered first.
    fn text(&self, place: usize) -> String {
        let MeasuringJob { width, height, steps, guidance, prompts, .. } = self;
        let priority = 1000 - i64::try_from(place.min(1000)).unwrap_or(1000);
        // TOML writes what is no number in small letters.
        let guidance = format!("{guidance:?}").to_lowercase();
        format!(
            "prompt = {prompts:?}\nwidth = {width}\nheight = {height}\nsteps = {steps}\n\
             guidance = {guidance}\nseed = 1\npriority = {priority}\n"
        )
    }
}
