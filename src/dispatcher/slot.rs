//! Keeps one worker loaded: starts it, waits for its model, replaces a dead one after a pause that
//! grows.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::plan::Planning;
use crate::card::CardReading;
use crate::config::LiveConfig;
use crate::countdown::{Countdown, within};
use crate::heartbeat::Heartbeat;
use crate::planner::Corrections;
use crate::status::{Status, WorkerEnd, WorkerStatus};
use crate::worker::exit::WorkerExit;
use crate::worker::handle::Worker;
use crate::worker::protocol::{HashedModel, Load, Loaded, WorkerEvent};

/// The longest pause between two starts of a worker.
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// Between two heartbeats during a long wait.
const BEAT: Duration = Duration::from_secs(1);

/// How long an idle worker may take to answer how much memory there is, or how the card is: longer
/// than a request may take to be sent.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an idle worker may take to end before one with another model is started.
const CHANGE_GRACE: Duration = Duration::from_secs(10);

/// What a worker is started with.
#[derive(Clone, Debug)]
pub struct SlotSettings {
    /// This program.
    pub exe: PathBuf,
    /// By the names of the models; that of `[model]` is empty.
    pub loads: BTreeMap<String, Load>,
    /// Asked for the time that loading may take, and for the pause after the first death, which
    /// doubles with each further one until a render is done.
    pub config: LiveConfig,
}

/// Why there is no loaded worker.
#[derive(Debug)]
pub(super) enum NotLoaded {
    /// The model's files are wrong, for a user to mend.
    WrongModel(String),
    /// Anything that may be otherwise the next time.
    Reason(String),
}

impl NotLoaded {
    pub(super) fn reason(&self) -> &str {
        match self {
            NotLoaded::WrongModel(reason) | NotLoaded::Reason(reason) => reason,
        }
    }

    fn end(&self) -> WorkerEnd {
        match self {
            NotLoaded::WrongModel(_) => WorkerEnd::WrongModel,
            NotLoaded::Reason(_) => WorkerEnd::NotLoaded,
        }
    }
}

impl From<String> for NotLoaded {
    fn from(reason: String) -> NotLoaded {
        NotLoaded::Reason(reason)
    }
}

/// A loaded worker.
struct Ready {
    worker: Worker,
    /// The name of its model.
    model: String,
    loaded: Loaded,
    planning: Planning,
}

/// Keeps the daemon's one worker: starts it, replaces it when it has died, and ends it.
pub(super) struct Slot {
    settings: SlotSettings,
    status: watch::Sender<Status>,
    heartbeat: Heartbeat,
    ready: Option<Ready>,
    /// A new worker has loaded its model, and nobody has recorded that yet.
    unrecorded: bool,
    /// The worker was ended by [`Slot::release`], and none was wanted since.
    released: bool,
    deaths_in_a_row: u32,
    /// How the last worker died.
    last_death: (WorkerEnd, String),
    retry_at: Instant,
}

impl Slot {
    pub(super) fn new(
        settings: SlotSettings,
        status: watch::Sender<Status>,
        heartbeat: Heartbeat,
    ) -> Slot {
        let retry_at = Instant::now();
        Slot {
            settings,
            status,
            heartbeat,
            ready: None,
            unrecorded: false,
            released: false,
            deaths_in_a_row: 0,
            last_death: Default::default(),
            retry_at,
        }
    }

    /// The loaded worker; an error when there is none.
    pub(super) fn worker(&mut self) -> Result<&mut Worker, WorkerExit> {
        match &mut self.ready {
            Some(ready) => Ok(&mut ready.worker),
            None => Err(WorkerExit::unknown("no worker is running")),
        }
    }

    /// The name of the loaded model.
    pub(super) fn model(&self) -> Option<&str> {
        self.ready.as_ref().map(|ready| ready.model.as_str())
    }

    pub(super) fn loaded(&self) -> Option<&Loaded> {
        self.ready.as_ref().map(|ready| &ready.loaded)
    }

    pub(super) fn planning(&self) -> Option<&Planning> {
        self.ready.as_ref().map(|ready| &ready.planning)
    }

    /// Plans from now on by the memory that the device has now, which other programs share, and by
    /// `corrections`. If the worker is dead or does not answer, its next render will find out.
    pub(super) async fn refresh_planning(&mut self, corrections: Corrections) {
        let Some(Ready { worker, planning, .. }) = &mut self.ready else { return };
        planning.correct(corrections);
        match within(ANSWER_TIMEOUT, worker.memory()).await {
            Some(Ok(memory)) => {
                planning.note_memory(memory);
                self.tell_memory(memory.used_bytes);
            }
            Some(Err(death)) => {
                warn!(%death, "the memory is not known: plans go by what was told last")
            }
            None => warn!("the worker does not tell its memory: plans go by what it told last"),
        }
    }

    /// How the card is; `None` where there is no worker, or it does not say so.
    pub(super) async fn card(&mut self) -> Option<CardReading> {
        let Ready { worker, .. } = self.ready.as_mut()?;
        match within(ANSWER_TIMEOUT, worker.card()).await {
            Some(Ok(card)) => return Some(card),
            Some(Err(death)) => warn!(%death, "how the card is is not known"),
            None => warn!("the card's driver does not tell how the card is"),
        }
        None
    }

    /// The model that was loaded since the last call, if one was.
    pub(super) fn newly_loaded(&mut self) -> Option<Loaded> {
        std::mem::take(&mut self.unrecorded).then(|| self.loaded().cloned()).flatten()
    }

    /// The loaded model with its hash, if that became known since the last call.
    pub(super) fn newly_hashed(&mut self) -> Option<Loaded> {
        let Ready { worker, loaded, .. } = self.ready.as_mut()?;
        let HashedModel { model_hash, parts } = worker.take_model_hash()?;
        loaded.model_hash = Some(model_hash);
        loaded.parts = parts;
        Some(loaded.clone())
    }

    /// Notes that a render was done: the next death counts as the first one again.
    pub(super) fn proved_itself(&mut self) {
        self.deaths_in_a_row = 0;
    }

    /// Starts a worker for `model` where there is none, after the pause that the last death earned.
    /// One with another model is ended before, in good order. The error says why there is still
    /// none.
    pub(super) async fn ensure_ready(
        &mut self,
        model: &str,
        stop: &CancellationToken,
    ) -> Result<(), NotLoaded> {
        if self.model() == Some(model) {
            return Ok(());
        }
        if self.ready.is_some() {
            info!(from = %self.model().unwrap_or_default(), to = %model, "the model is changed");
            self.shut_down(CHANGE_GRACE).await;
        }
        if self.is_resting() {
            let (end, reason) = self.last_death.clone();
            self.set_status(WorkerStatus::Down { reason, end });
        }
        while self.is_resting() {
            self.heartbeat.beat();
            tokio::select! {
                () = sleep_until(self.retry_at.min(Instant::now() + BEAT)) => (),
                () = stop.cancelled() => return Err("stopping".to_owned().into()),
            }
        }
        self.released = false;
        self.set_status(WorkerStatus::Loading);
        let started = tokio::select! {
            started = start(&self.settings, model, &self.heartbeat) => started,
            () = stop.cancelled() => return Err("stopping".to_owned().into()),
        };
        let ready = started.inspect_err(|why| self.note_death(why.end(), why.reason()))?;
        let (worker, loaded) = (&ready.worker, &ready.loaded);
        info!(device = %loaded.device, model = %loaded.model_name, "model loaded");
        debug!(load_ms = loaded.load_ms, model_hash = %loaded.known_hash(), "model");
        let (pid, used_bytes) = (worker.pid(), loaded.memory.used_bytes);
        let (device, model) = (loaded.device.clone(), model.to_owned());
        self.set_status(WorkerStatus::Ready { pid, device, used_bytes, model });
        (self.ready, self.unrecorded) = (Some(ready), true);
        Ok(())
    }

    /// Kills the worker; the next one starts after a pause.
    pub(super) async fn replace(&mut self, end: WorkerEnd, reason: String) {
        if let Some(Ready { worker, .. }) = self.ready.take() {
            let how = worker.kill().await.words;
            // Where it had died by itself, that is what is told.
            let told = if reason == how { reason } else { format!("{reason} ({how})") };
            self.note_death(end, &told);
        }
    }

    /// Returns when the idle worker has died, and never while it lives.
    pub(super) async fn watch_idle(&mut self) {
        let death = match self.ready.as_mut() {
            None => std::future::pending().await,
            Some(Ready { worker, .. }) => loop {
                match worker.event().await {
                    Ok(event) => warn!(?event, "ignored: no render is running"),
                    Err(death) => break death,
                }
            },
        };
        self.ready = None;
        let end = if death.of_memory { WorkerEnd::OutOfMemory } else { WorkerEnd::Died };
        self.note_death(end, &death.to_string());
    }

    /// Asks the worker to end, and waits for it up to `grace`.
    pub(super) async fn shut_down(&mut self, grace: Duration) {
        if let Some(Ready { worker, .. }) = self.ready.take() {
            worker.stop(grace).await;
        }
    }

    /// Ends the idle worker, if there is one, so that other programs can use the device's memory.
    /// That is no death: the next worker starts without a pause.
    pub(super) async fn release(&mut self, why: &str, grace: Duration) {
        if self.ready.is_some() {
            info!("{why}: the model leaves the device until the next job");
            self.shut_down(grace).await;
            self.released = true;
            self.set_status(WorkerStatus::Released);
        }
    }

    /// Whether a death is so short ago that no worker is started yet.
    pub(super) fn is_resting(&self) -> bool {
        self.ready.is_none() && Instant::now() < self.retry_at
    }

    /// From now on no worker is started before there is work.
    pub(super) fn stay_released(&mut self) {
        self.released = true;
        self.set_status(WorkerStatus::Released);
    }

    /// Has a worker started although there is no work.
    pub(super) fn want(&mut self) {
        self.released = false;
    }

    pub(super) fn is_released(&self) -> bool {
        self.released
    }

    fn note_death(&mut self, end: WorkerEnd, reason: &str) {
        let first = Duration::from_millis(self.settings.config.now().worker.backoff_ms);
        let doubled = first.saturating_mul(1 << self.deaths_in_a_row.min(16));
        let pause = doubled.min(BACKOFF_MAX);
        self.deaths_in_a_row += 1;
        self.retry_at = Instant::now() + pause;
        error!(
            reason,
            pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "the worker is down"
        );
        self.last_death = (end, reason.to_owned());
        self.set_status(WorkerStatus::Down { reason: reason.to_owned(), end });
    }

    /// Says what the worker takes of its device now.
    fn tell_memory(&self, now_bytes: u64) {
        self.status.send_if_modified(|status| match &mut status.worker {
            WorkerStatus::Ready { used_bytes, .. } => {
                std::mem::replace(used_bytes, now_bytes) != now_bytes
            }
            _ => false,
        });
    }

    fn set_status(&self, worker: WorkerStatus) {
        self.status.send_modify(|status| status.worker = worker);
    }
}

/// Starts a worker and waits for its model.
async fn start(
    settings: &SlotSettings,
    model: &str,
    heartbeat: &Heartbeat,
) -> Result<Ready, NotLoaded> {
    let load = settings.loads.get(model).ok_or_else(|| format!("there is no model {model}"))?;
    let limits = &settings.config.now().worker;
    let mut worker = Worker::spawn(&settings.exe, load).await.map_err(|exit| exit.to_string())?;
    let load_timeout = Duration::from_millis(limits.load_timeout_ms);
    let mut countdown = Countdown::new(load_timeout, Instant::now());
    loop {
        heartbeat.beat();
        tokio::select! {
            biased;
            event = worker.event() => match event {
                Ok(WorkerEvent::Hello { .. }) => (),
                Ok(WorkerEvent::Loaded(loaded)) => {
                    let planning = Planning::new(load, &loaded)?;
                    let model = model.to_owned();
                    return Ok(Ready { worker, model, loaded: *loaded, planning });
                }
                Ok(WorkerEvent::LoadFailed { message, is_wrong_model: true }) => {
                    return Err(NotLoaded::WrongModel(message));
                }
                Ok(WorkerEvent::LoadFailed { message, .. }) => return Err(message.into()),
                Ok(other) => {
                    let told = format!("the worker sent {other:?} before its model was loaded");
                    return Err(told.into());
                }
                Err(exit) => return Err(exit.to_string().into()),
            },
            () = sleep_until(countdown.next_look()) => {
                if countdown.is_over(Instant::now()) {
                    worker.kill().await;
                    let limit_s = load_timeout.as_secs();
                    return Err(format!("the model was not loaded within {limit_s} s").into());
                }
            }
        }
    }
}
