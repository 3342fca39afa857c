//! Wiring: what a start needs, in order, and one shutdown, whoever begins it.

mod device;
mod reload;
mod settings;
mod waiting;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::reload::Reload;
pub use self::waiting::NothingStarted;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, ConfigError, LiveConfig};
use crate::dispatcher::{DispatchError, Dispatcher, Mode};
use crate::engine::{HAS_CUDA, model_hash};
use crate::heartbeat::Heartbeat;
use crate::http::HttpFace;
use crate::instance::{FolderLock, InstanceLock};
use crate::intake::{Intake, IntakePlaces};
use crate::job::spec::Rules;
use crate::loras::LoraFolder;
use crate::status::{self, Status, WorkerEnd, WorkerStatus};
use crate::store::{Access, DatabasePlace, LogMark, Store};
use crate::{awake, caretaker, descriptors, hooks, output, queue, recovery, systemd};

/// The pause between two tries to read the model's folder.
const MODEL_POLL: Duration = Duration::from_secs(5);

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

/// Runs the daemon, which holds the `lock` of its folders, until `stop`, or until it is idle; its
/// configuration is read anew whenever `reload` is notified. Answers the moment of the log at which
/// it began. Errors are those of a start or of a part that cannot go on.
pub async fn run(
    config: Config,
    lock: InstanceLock,
    mode: Mode,
    onlooker: Onlooker,
    reload: Arc<Notify>,
    stop: CancellationToken,
) -> anyhow::Result<LogMark> {
    let InstanceLock { state, jobs } = lock;
    descriptors::raise();
    model_hash::let_read(true);
    if device::is_without_card(config.device, HAS_CUDA) {
        device::tell_of_no_cuda();
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (store, begun) = systemd::start(prepare(&config, (&state, &jobs), &*clock)).await?;
    let config_sha256 = config.file_sha256();
    let starting = Status { config_sha256, ..Status::starting(clock.now_ms()) };
    let (status, _) = watch::channel(starting);
    // As the file has it: that the command line names another model is no change of the file.
    let at_start = Config::load(config.file.as_deref()).unwrap_or_else(|_| config.clone());
    let (config, at_start) = (LiveConfig::new(config), Arc::new(at_start));
    let daemon = Daemon { config, at_start, mode, reload, clock, store: Arc::new(store), status };
    let outcome = daemon.live(jobs, onlooker, &stop).await;
    daemon.close(&state, outcome.is_err()).await;
    outcome.map(|()| begun)
}

/// Opens the database and mends what an earlier start has left. Also the moment of the log before
/// anything was done.
async fn prepare(
    config: &Config,
    (state, jobs): (&FolderLock, &FolderLock),
    clock: &dyn Clock,
) -> anyhow::Result<(Store, LogMark)> {
    queue::check_present(config)?;
    if let Err(error) = queue::note_beginning(config, jobs.taken_before()) {
        warn!(%error, "it is not noted that there was a queue before");
    }
    let store = Store::open(&config.database_path(), Access::Daemon).await?;
    if let Err(error) = state.note(&store.inodes()) {
        warn!(%error, "commands cannot be told which files the daemon has open");
    }
    if let Err(error) = output::remove_temporaries(&config.outputs, store.id()) {
        let outputs = config.outputs.display();
        warn!(%outputs, %error, "temporary pictures of an earlier start stay there");
    }
    let begun = store.mark().await?;
    // Before any render can end.
    hooks::begin(&store, &config.hooks, clock.now_ms()).await?;
    let left = recovery::Left { outputs: &config.outputs, last_word: &last_word_path(config) };
    recovery::run(&store, &left, &config.worker.policy(), clock.now_ms()).await?;
    recovery::remove_strays(&store, clock.now_ms()).await?;
    let latents = latents_folder(config);
    recovery::guard_ids(&store, &config.jobs, &latents).await?;
    recovery::sweep(&store, &latents, &config.inputs_path()).await?;
    for told in [queue::saved_database(config), queue::begun_anew(config)].into_iter().flatten() {
        warn!("{told}");
    }
    // From now on nobody else does.
    if let Err(error) = store.carry_over().await {
        debug!(%error, "the database's log stays as it is");
    }
    Ok((store, begun))
}

/// The daemon after a successful start, and what its parts share.
struct Daemon {
    config: LiveConfig,
    /// What its file said at the start.
    at_start: Arc<Config>,
    mode: Mode,
    /// Told when the configuration is to be read anew.
    reload: Arc<Notify>,
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
        let heartbeat = Heartbeat::start();
        let mut parts: JoinSet<PartEnd> = JoinSet::new();
        if self.config.now().http.enabled {
            let face = HttpFace::open(&self.config, self.status.clone(), &ending).await?;
            parts.spawn(forever(face.run(ending.clone())));
        }
        self.start_watching(&mut parts, onlooker, &heartbeat, &ending);
        systemd::ready();
        let started = self.start_work(&mut parts, jobs, heartbeat, &ending).await;
        let outcome = match started {
            Ok(Some(intake_waiting)) => self.wait(&mut parts, intake_waiting, &ending).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        systemd::stopping();
        ending.cancel();
        model_hash::let_read(false);
        while let Some(end) = parts.join_next().await {
            end.context("a part of the daemon panicked")??;
        }
        outcome
    }

    /// The parts that look on, or after something, and need no model.
    fn start_watching(
        &self,
        parts: &mut JoinSet<PartEnd>,
        onlooker: Onlooker,
        heartbeat: &Heartbeat,
        ending: &CancellationToken,
    ) {
        let config = self.config.now();
        let end = || ending.clone();
        let (store, live, clock) =
            (|| self.store.clone(), || self.config.clone(), || self.clock.clone());
        let status = || self.status.subscribe();
        parts.spawn(forever(status::publish(config.state.clone(), status(), end())));
        parts.spawn(forever(systemd::feed_watchdog(heartbeat.clone(), end())));
        parts.spawn(forever(systemd::tell_status(live(), store(), status(), end())));
        parts.spawn(forever(onlooker(store(), status(), end())));
        parts.spawn(waiting::tell_obstacles(live(), store(), clock(), end()));
        let caretaker = caretaker::run(store(), clock(), config.inputs_path(), end());
        parts.spawn(async { Ok(caretaker.await?) });
        if config.power.inhibit_sleep {
            let told = self.status.clone();
            parts.spawn(forever(awake::run(store(), live(), clock(), told, end())));
        }
        parts.spawn(forever(hooks::run(live(), store(), clock(), end())));
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
        let config = self.config.now();
        let settings = self.settings(&config, &rules)?;
        let places = IntakePlaces {
            inputs: config.inputs_path(),
            loras: LoraFolder::of(&config, config.model_place()?),
            reading: config.reading_path(),
        };
        let (store, clock, told) = (self.store.clone(), self.clock.clone(), accepted.clone());
        let (rules, rules_now) = watch::channel(rules);
        let intake = Intake::open(jobs, places, rules_now, store, clock, told)
            .with_context(|| format!("cannot watch {}", config.jobs.display()))?;
        let reload = Reload::new(self, rules);
        parts.spawn(forever(reload.run(self.reload.clone(), ending.clone())));
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
            let config = self.config.now();
            let rules = config.job_rules();
            let checked = rules.and_then(|rules| config.check_weights().map(|()| rules));
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
                status.worker = WorkerStatus::Down { reason, end: WorkerEnd::NotLoaded };
            });
            heartbeat.beat();
            tokio::select! {
                () = tokio::time::sleep(MODEL_POLL) => (),
                () = ending.cancelled() => return Ok(None),
            }
        }
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

    /// The end of the shutdown, after the parts have stopped and the running render is queued
    /// again: the database is closed. The locks go with the process.
    async fn close(self, state: &FolderLock, is_in_doubt: bool) {
        match Arc::try_unwrap(self.store) {
            Ok(store) => {
                // What cannot be looked at counts as being there.
                let place = store.place().await.unwrap_or(DatabasePlace::Kept);
                // The last one that closes a database removes its log: that is no sign of a hand's
                // work.
                if place == DatabasePlace::Kept {
                    let _ = state.note("");
                }
                caretaker::close(store, place, is_in_doubt, &self.config.now().state).await;
            }
            Err(_) => warn!("the database is still in use at the end"),
        }
        status::remove(&self.config.now().state);
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
