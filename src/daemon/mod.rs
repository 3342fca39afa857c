//! Wiring: what a start needs, in order, and one numbered shutdown.

mod device;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::attempt::RetryPolicy;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, ConfigError};
use crate::dispatcher::{DispatchError, Dispatcher, Mode, Settings, SlotSettings};
use crate::engine::{HAS_CUDA, device_speed};
use crate::heartbeat::Heartbeat;
use crate::http::HttpFace;
use crate::instance::{FolderLock, InstanceLock};
use crate::intake::Intake;
use crate::job::Render;
use crate::job::spec::{ModelRules, Rules};
use crate::loras::LoraFolder;
use crate::status::{self, Status, WorkerStatus};
use crate::store::{Access, LogMark, Store, StoreError};
use crate::worker::protocol::Load;
use crate::{awake, caretaker, hooks, output, queue, recovery, systemd};

/// The pause between two tries to read the model's folder.
const MODEL_POLL: Duration = Duration::from_secs(5);

/// How long the first picture of a model may wait for its hash: most disks give what is hashed in
/// that time. A slower one has the picture without.
const HASH_WAIT_MS_MAX: u64 = 30_000;

/// How often a daemon that ends when idle looks whether it is.
const IDLE_POLL: Duration = Duration::from_millis(50);

/// The pause between two queries for what keeps all renders waiting.
const OBSTACLE_POLL: Duration = Duration::from_secs(1);

/// Makes the folders where they are missing and locks them: nobody else runs a daemon there while
/// the lock lives. A device that this build cannot use is refused before.
pub fn lock(config: &Config) -> anyhow::Result<InstanceLock> {
    device::check(config.device, HAS_CUDA)?;
    for folder in [&config.jobs, &config.outputs, &config.state, &latents_folder(config)] {
        config::make_folder(folder)?;
    }
    Ok(InstanceLock::take(&config.state, &config.jobs)?)
}

fn latents_folder(config: &Config) -> PathBuf {
    config.state.join("latents")
}

fn last_word_path(config: &Config) -> PathBuf {
    config.state.join("last-word")
}

/// A face that shows what the daemon does while it does it: a part of the daemon, which ends with
/// the status.
pub type Onlooker =
    Box<dyn FnOnce(Arc<Store>, watch::Receiver<Status>, CancellationToken) -> Watching + Send>;

/// An onlooker at work, until the token tells it to end.
pub type Watching = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs the daemon, which holds the `lock` of its folders, until `stop`, or until it is idle.
/// Answers the moment of the log at which it began. Errors are those of a start or of a part that
/// cannot go on.
pub async fn run(
    config: Config,
    lock: InstanceLock,
    mode: Mode,
    onlooker: Onlooker,
    stop: CancellationToken,
) -> anyhow::Result<LogMark> {
    let InstanceLock { state: _state, jobs } = lock;
    let latents = latents_folder(&config);
    if device::is_without_card(config.device, HAS_CUDA) {
        device::tell_of_no_cuda();
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    queue::check_present(&config)?;
    let store = Arc::new(Store::open(&config.database_path(), Access::Daemon).await?);
    if let Err(error) = output::remove_temporaries(&config.outputs, store.id()) {
        let outputs = config.outputs.display();
        warn!(%outputs, %error, "temporary pictures of an earlier start stay there");
    }
    let policy = RetryPolicy {
        deaths_max: config.worker.deaths_max,
        attempts_max: config.worker.attempts_max,
    };
    let begun = store.mark().await?;
    // Before any render can end.
    hooks::begin(&store, &config.hooks, clock.now_ms()).await?;
    let left = recovery::Left { outputs: &config.outputs, last_word: &last_word_path(&config) };
    recovery::run(&store, &left, &policy, clock.now_ms()).await?;
    recovery::remove_strays(&store, clock.now_ms()).await?;
    recovery::guard_ids(&store, &config.jobs, &latents).await?;
    recovery::sweep(&store, &latents, &config.inputs_path()).await?;
    let (status, _) = watch::channel(Status::starting(clock.now_ms()));
    let daemon = Daemon { config, mode, policy, latents, clock, store, status };
    let outcome = daemon.live(jobs, onlooker, &stop).await;
    daemon.close().await;
    outcome.map(|()| begun)
}

/// The daemon after a successful start, and what its parts share.
struct Daemon {
    config: Config,
    mode: Mode,
    policy: RetryPolicy,
    latents: PathBuf,
    clock: Arc<dyn Clock>,
    store: Arc<Store>,
    status: watch::Sender<Status>,
}

/// How a part of the daemon has ended that should run until the shutdown.
type PartEnd = anyhow::Result<()>;

impl Daemon {
    /// Starts the parts and waits for `stop`, for idleness, or for a part's end; then shuts down.
    async fn live(
        &self,
        jobs: FolderLock,
        onlooker: Onlooker,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        // A token of our own: the shutdown is the same whoever begins it.
        let ending = stop.child_token();
        let face = match self.config.http.enabled {
            true => Some(HttpFace::open(&self.config, self.status.clone(), &ending).await?),
            false => None,
        };
        let heartbeat = Heartbeat::start();
        let mut parts: JoinSet<PartEnd> = JoinSet::new();
        let state = self.config.state.clone();
        parts.spawn(forever(status::publish(state, self.status.subscribe(), ending.clone())));
        let watch = systemd::watch(self.status.subscribe(), heartbeat.clone(), ending.clone());
        parts.spawn(forever(watch));
        let status = self.status.subscribe();
        parts.spawn(forever(onlooker(self.store.clone(), status, ending.clone())));
        let caretaker = caretaker::run(self.store.clone(), self.clock.clone(), ending.clone());
        parts.spawn(async { Ok(caretaker.await?) });
        if self.config.power.inhibit_sleep {
            let quiet = self.config.power.quiet.clone();
            let awake = awake::run(self.store.clone(), quiet, self.clock.clone(), ending.clone());
            parts.spawn(forever(awake));
        }
        let (config, clock) = (self.config.clone(), self.clock.clone());
        parts.spawn(forever(hooks::run(config, self.store.clone(), clock, ending.clone())));
        if let Some(face) = face {
            parts.spawn(forever(face.run(ending.clone())));
        }
        systemd::ready();
        let started = self.start_work(&mut parts, jobs, heartbeat, &ending).await;
        let outcome = match started {
            Ok(Some(intake_waiting)) => self.wait(&mut parts, intake_waiting, &ending).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        systemd::stopping();
        ending.cancel();
        while let Some(end) = parts.join_next().await {
            end.context("a part of the daemon panicked")??;
        }
        outcome
    }

    /// Intake and dispatcher, once the model's folder says what it is; `None` when stopped before.
    async fn start_work(
        &self,
        parts: &mut JoinSet<PartEnd>,
        jobs: FolderLock,
        heartbeat: Heartbeat,
        ending: &CancellationToken,
    ) -> anyhow::Result<Option<watch::Receiver<usize>>> {
        let Some(rules) = self.rules(&heartbeat, ending).await? else { return Ok(None) };
        let accepted = Arc::new(Notify::new());
        let settings = self.settings(&rules)?;
        let (store, inputs) = (self.store.clone(), self.config.inputs_path());
        let (clock, told) = (self.clock.clone(), accepted.clone());
        let loras = LoraFolder::of(&self.config, self.config.model_place()?);
        let intake = Intake::open(jobs, inputs, loras, rules, store, clock, told)
            .with_context(|| format!("cannot watch {}", self.config.jobs.display()))?;
        let waiting = intake.waiting();
        let dispatcher = Dispatcher::new(
            self.store.clone(),
            self.clock.clone(),
            settings,
            accepted,
            self.status.clone(),
            heartbeat,
            ending.clone(),
        );
        parts.spawn(forever(status::tell_intake(intake.status(), self.status.clone())));
        parts.spawn(forever(intake.run(ending.clone())));
        parts.spawn(async move { dispatcher.run().await.map_err(explain) });
        Ok(Some(waiting))
    }

    /// What job files are checked against. A model that is wrong is an error: waiting mends none.
    /// While the disk does not give it nothing is taken in: the files wait in `jobs/`.
    async fn rules(
        &self,
        heartbeat: &Heartbeat,
        ending: &CancellationToken,
    ) -> anyhow::Result<Option<Rules>> {
        loop {
            let rules = self.config.job_rules();
            let checked = rules.and_then(|rules| self.config.check_weights().map(|()| rules));
            let reason = match checked {
                Ok(rules) => return Ok(Some(rules)),
                Err(error) if self.mode == Mode::UntilIdle || !error.may_pass() => {
                    return Err(error.into());
                }
                Err(error) => error.to_string(),
            };
            warn!(%reason, "no job is taken in before the model can be read");
            self.status.send_modify(|status| {
                status.intake.trouble = Some(reason.clone());
                status.worker = WorkerStatus::Down { reason };
            });
            heartbeat.beat();
            tokio::select! {
                () = tokio::time::sleep(MODEL_POLL) => (),
                () = ending.cancelled() => return Ok(None),
            }
        }
    }

    fn settings(&self, rules: &Rules) -> anyhow::Result<Settings> {
        let worker = &self.config.worker;
        let mut loads =
            BTreeMap::from([(String::new(), self.load(&self.config, &rules.defaults)?)]);
        let mut unusable = BTreeMap::new();
        for (name, of_model) in &rules.models {
            match (of_model, self.config.with_model(name)) {
                (ModelRules::Usable { defaults, .. }, Some(config)) => {
                    loads.insert(name.clone(), self.load(&config, defaults)?);
                }
                (ModelRules::Unusable(why), _) => {
                    warn!(model = %name, reason = %why, "a model cannot be used");
                    unusable.insert(name.clone(), why.clone());
                }
                (_, None) => (),
            }
        }
        Ok(Settings {
            slot: SlotSettings {
                exe: std::env::current_exe().context("cannot find this program's file")?,
                loads,
                load_timeout: Duration::from_millis(worker.load_timeout_ms),
                backoff: Duration::from_millis(worker.backoff_ms),
            },
            unusable,
            outputs: self.config.outputs.clone(),
            sidecar: self.config.sidecar,
            database: self.store.id().to_owned(),
            latents: self.latents.clone(),
            inputs: self.config.inputs_path(),
            loras: self.config.loras.clone(),
            step_timeout: Duration::from_millis(worker.step_timeout_ms),
            idle_release: self.config.idle_release_ms.map(Duration::from_millis),
            policy: self.policy,
            power: self.config.power.clone(),
            mode: self.mode,
        })
    }

    /// What a worker for the model of `config` is told; `usual` is what it makes its weights ready
    /// for.
    fn load(&self, config: &Config, usual: &Render) -> anyhow::Result<Load> {
        Ok(Load {
            engine: config.engine,
            model: config.model_place()?,
            device: config.device,
            allowance: config.allowance(),
            usual: usual.clone(),
            prefer: config.prefer,
            embeddings_path: config.state.join("embeddings"),
            thumbnails_path: config.thumbnails_path(),
            previews_path: config.previews_path(),
            hashes_path: config.hashes_path(),
            hash_wait_ms: HASH_WAIT_MS_MAX.min(config.worker.step_timeout_ms / 2),
            last_word_path: last_word_path(config),
            speeds_path: device_speed::path(&config.state),
        })
    }

    async fn wait(
        &self,
        parts: &mut JoinSet<PartEnd>,
        waiting: watch::Receiver<usize>,
        ending: &CancellationToken,
    ) -> anyhow::Result<()> {
        let idle = async {
            match self.mode {
                Mode::Forever => std::future::pending().await,
                Mode::UntilIdle => self.until_idle(waiting).await,
            }
        };
        tokio::select! {
            end = parts.join_next() => match end {
                Some(end) => end.context("a part of the daemon panicked")?,
                None => Ok(()),
            },
            idle = idle => idle,
            () = ending.cancelled() => Ok(()),
        }
    }

    /// Returns when no job file waits and no render is queued or running.
    async fn until_idle(&self, waiting: watch::Receiver<usize>) -> anyhow::Result<()> {
        let (mut told, mut look_at) = (None, Instant::now());
        loop {
            // In this order: a file that is taken in between the two looks is then in the store.
            let files = *waiting.borrow();
            if files == 0 && self.is_idle().await? {
                return Ok(());
            }
            if Instant::now() >= look_at {
                let (quiet, now_ms) = (&self.config.power.quiet, self.clock.now_ms());
                let obstacle = match queue::obstacle(&self.store, quiet, now_ms).await {
                    Err(error) if error.may_pass_for_a_read() => None,
                    known => known?,
                };
                if let Some(obstacle) = obstacle.as_ref().filter(|_| obstacle != told) {
                    info!("{obstacle}");
                }
                (told, look_at) = (obstacle, Instant::now() + OBSTACLE_POLL);
            }
            tokio::time::sleep(IDLE_POLL).await;
        }
    }

    /// Whether no render is queued or running and nothing is to be told of one now. While the database cannot be read nobody knows, and
    /// the daemon goes on.
    async fn is_idle(&self) -> Result<bool, StoreError> {
        let models: Vec<&str> = self.config.model_names().collect();
        let idle = match self.store.is_idle(&models).await {
            Ok(true) => self.store.has_due(self.clock.now_ms()).await.map(|has_due| !has_due),
            other => other,
        };
        match idle {
            Err(error) if error.may_pass_for_a_read() => Ok(false),
            known => known,
        }
    }

    /// The end of the shutdown. 1. The parts have stopped: the running render is queued again, its
    /// worker is gone.
    /// 2. The database is checkpointed and closed. 3. The locks go with the process.
    async fn close(self) {
        match Arc::try_unwrap(self.store) {
            Ok(store) => caretaker::close(store, &self.config.state).await,
            Err(_) => warn!("the database is still in use at the end"),
        }
        info!("stopped");
    }
}

fn explain(error: DispatchError) -> anyhow::Error {
    match error {
        DispatchError::Store(error) => {
            anyhow::Error::from(error).context("the queue's database failed")
        }
        DispatchError::Model(error) => ConfigError::from(error).into(),
        load @ DispatchError::Load(_) => load.into(),
    }
}

async fn forever(part: impl Future<Output = ()>) -> PartEnd {
    part.await;
    Ok(())
}
