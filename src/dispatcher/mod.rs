//! The one policy loop: which render runs next, on which rung, and what becomes of it.
//!
//! `plan` chooses a rung, `slot` keeps a worker loaded, `rungs` goes from one try to the next,
//! `attempt` follows each by the rules of `watcher`, `writing` has its picture written beside the
//! next one (`rendered`), `publish` makes it final, `journal` reads and writes the queue, `hold`
//! waits for the disk, `rest` where daemon.toml wants it, `suspicion` tells a bad picture from a
//! bad place, `dead_ends` knows what need not be tried; this file puts them together.

mod attempt;
mod dead_ends;
mod hold;
mod journal;
mod models;
mod plan;
mod publish;
mod rendered;
mod rest;
mod rungs;
mod slot;
mod suspicion;
mod watcher;
mod writing;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::dead_ends::DeadEnds;
use self::hold::Hold;
use self::journal::Journal;
use self::models::Models;
use self::rendered::Rendered;
use self::rest::Rest;
pub use self::slot::SlotSettings;
use self::slot::{NotLoaded, Slot};
use self::suspicion::Suspicion;
use crate::attempt::Candidate;
use crate::clock::Clock;
use crate::config::LiveConfig;
use crate::engine::ModelError;
use crate::heartbeat::Heartbeat;
use crate::output;
use crate::status::{HoldKind, Status, WorkerWish};
use crate::store::{Store, StoreError};

/// How often an idle dispatcher looks for work that no hint announced (a retry, a resume, a time
/// that has come).
const POLL: Duration = Duration::from_millis(250);

/// How long the worker may take to stop a render when the daemon ends.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// What the dispatcher needs to know; everything else is in the store.
#[derive(Clone, Debug)]
pub struct Settings {
    pub slot: SlotSettings,
    /// Models of the configuration that cannot be used, by name, and why.
    pub unusable: BTreeMap<String, String>,
    pub outputs: PathBuf,
    /// See [`Store::id`].
    pub database: String,
    /// Where finished latents are kept.
    pub latents: PathBuf,
    /// Where pictures as input are kept.
    pub inputs: PathBuf,
    /// The folder of LoRAs.
    pub loras: PathBuf,
    /// Asked for time-outs and limits, which may change while the daemon runs.
    pub config: LiveConfig,
    pub mode: Mode,
}

/// When the dispatcher ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only when told to stop, and where the model's files are wrong.
    Forever,
    /// When the model cannot be loaded, whatever the reason; the daemon stops it when no work is
    /// left.
    UntilIdle,
}

/// Why the dispatcher ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its files are wrong, which no wait mends.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Only in [`Mode::UntilIdle`].
    #[error("the model cannot be loaded: {0}")]
    Load(String),
}

/// The state of the loop, which owns the one worker.
pub struct Dispatcher {
    settings: Settings,
    accepted: Arc<Notify>,
    status: watch::Sender<Status>,
    heartbeat: Heartbeat,
    /// Told when the daemon ends.
    stop: CancellationToken,
    slot: Slot,
    models: Models,
    journal: Journal,
    rest: Rest,
    suspicion: Suspicion,
    dead_ends: DeadEnds,
    /// The picture that was rendered last, until it has its row.
    writing: Option<Rendered>,
    /// When the model was loaded, or the last render ended.
    idle_since: Instant,
}

impl Dispatcher {
    /// A dispatcher with no worker yet. `accepted` announces new jobs; `stop` ends it.
    pub fn new(
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        settings: Settings,
        accepted: Arc<Notify>,
        status: watch::Sender<Status>,
        heartbeat: Heartbeat,
        stop: CancellationToken,
    ) -> Self {
        let slot = Slot::new(settings.slot.clone(), status.clone(), heartbeat.clone());
        let names = settings.slot.loads.keys();
        let models = Models::new(names, &settings.unusable, status.clone());
        let hold = Hold::new(status.clone());
        let journal = Journal::new(store, clock, hold, heartbeat.clone(), stop.clone());
        let rest = Rest::new();
        let idle_since = Instant::now();
        Dispatcher {
            settings,
            accepted,
            status,
            heartbeat,
            stop,
            slot,
            models,
            journal,
            rest,
            suspicion: Suspicion::default(),
            dead_ends: DeadEnds::default(),
            writing: None,
            idle_since,
        }
    }

    /// Renders until it is told to stop, then gives the running render back and ends the worker.
    pub async fn run(mut self) -> Result<(), DispatchError> {
        let accepted = self.accepted.clone();
        let stop = self.stop.clone();
        // A database that cannot be read says so in the first turn.
        if self.journal.is_day(true).await.unwrap_or(false) {
            self.slot.stay_released();
        }
        while !stop.is_cancelled() {
            self.heartbeat.beat();
            match self.turn().await {
                Ok(true) => continue,
                Ok(false) => (),
                // An attempt that was running is found by the next start, which knows what to do.
                Err(DispatchError::Store(error))
                    if stop.is_cancelled() && error.may_pass_for_a_read() =>
                {
                    warn!(%error, "the database cannot be used at the end; the next start goes on from what it has");
                    break;
                }
                Err(error) => return Err(error),
            }
            self.release_when_idle().await;
            tokio::select! {
                // A hint that came since the look at the queue is not missed: intake gives it with
                // `notify_one`, which is kept until somebody waits.
                () = accepted.notified() => (),
                () = self.slot.watch_idle() => (),
                () = sleep(POLL) => (),
                () = stop.cancelled() => (),
            }
        }
        let written = self.finish_writing().await;
        self.slot.shut_down(STOP_GRACE).await;
        match written {
            Err(error) if !error.may_pass_for_a_read() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Does one thing; false when there was nothing to do.
    async fn turn(&mut self) -> Result<bool, DispatchError> {
        let candidate = self.next_render().await?;
        if self.writing.is_some() && !self.may_go_beside(candidate.as_ref()) {
            self.finish_writing().await?;
            return Ok(true);
        }
        let model = match (&candidate, self.slot.model()) {
            (Some(candidate), _) => candidate.render.model.clone(),
            (None, Some(loaded)) => loaded.to_owned(),
            (None, None) if self.slot.is_released() => return Ok(false),
            // Whoever wants it released meanwhile is heard.
            (None, None) if self.slot.is_resting() => return Ok(false),
            (None, None) if self.models.is_aside("") => return Ok(false),
            // Before there is work the usual model is made ready for it.
            (None, None) => String::new(),
        };
        if let Err(why) = self.slot.ensure_ready(&model, &self.stop).await {
            return self.not_loaded(&model, why);
        }
        let is_new = self.note_model().await?;
        // While a model was loaded, for minutes perhaps, something else may have come first.
        let candidate = if is_new { self.next_render().await? } else { candidate };
        match candidate {
            None => Ok(false),
            Some(candidate) if candidate.render.model != model => Ok(true),
            Some(candidate) => {
                self.models.began();
                self.render(candidate).await?;
                self.idle_since = Instant::now();
                Ok(true)
            }
        }
    }

    /// What comes of a model that is not loaded. One with a name is left alone for a while where
    /// others may be waited for; so is the usual one where it could be loaded before and its files
    /// are damaged since, because the daemon has more to do than to render.
    fn not_loaded(&mut self, model: &str, why: NotLoaded) -> Result<bool, DispatchError> {
        match (why, self.settings.mode) {
            _ if self.stop.is_cancelled() => Ok(false),
            (why, Mode::Forever) if !model.is_empty() => {
                self.models.set_aside(model, &why);
                Ok(true)
            }
            (why @ NotLoaded::WrongModel(_), Mode::Forever) if self.models.has_worked(model) => {
                self.models.set_aside(model, &why);
                Ok(true)
            }
            (NotLoaded::WrongModel(what), _) => Err(ModelError::Wrong(what).into()),
            (NotLoaded::Reason(reason), Mode::UntilIdle) => Err(DispatchError::Load(reason)),
            (NotLoaded::Reason(_), Mode::Forever) => Ok(false),
        }
    }

    /// Records a model that was loaded, and its hash. Whether it was just loaded.
    async fn note_model(&mut self) -> Result<bool, StoreError> {
        let new = self.slot.newly_loaded();
        if let Some(loaded) = &new {
            let model = self.slot.model().unwrap_or_default().to_owned();
            self.journal.worker_loaded(&model, loaded).await?;
            self.models.note_worked(&model);
            // Earlier workers may have ended before they knew it.
            self.journal.model_hashed(loaded).await?;
            self.idle_since = Instant::now();
        }
        if let Some(loaded) = self.slot.newly_hashed() {
            self.journal.model_hashed(&loaded).await?;
        }
        Ok(new.is_some())
    }

    /// The render to start now: none while the queue is paused or held, while daemon.toml wants
    /// none started, or while its picture could not be written.
    async fn next_render(&mut self) -> Result<Option<Candidate>, StoreError> {
        if self.journal.hold.is_on() {
            return Ok(None);
        }
        let beside = self.suspicion.beside();
        let loaded = self.slot.model();
        let next = self.journal.next_candidate(&mut self.models, loaded, beside).await?;
        let Some(mut candidate) = next else {
            self.journal.rest(None).await?;
            self.journal.hold.lift();
            return Ok(None);
        };
        if self.rests().await? {
            return Ok(None);
        }
        candidate.history.made_elsewhere = self.suspicion.is_proven(candidate.render_id);
        let outputs = &self.settings.outputs;
        match output::make_ready(outputs) {
            Ok(false) => (),
            // It was there at the start.
            Ok(true) => warn!(
                outputs = %outputs.display(),
                "the folder of the pictures was gone and is made anew: was it moved away, or its disk \
                 unmounted?"
            ),
            Err(error) => {
                let told = format!("no pictures can be written: {error}");
                self.journal.hold.tell(HoldKind::Outputs, told);
                return Ok(None);
            }
        }
        self.journal.hold.lift();
        Ok(Some(candidate))
    }

    async fn release_when_idle(&mut self) {
        let mut wish = None;
        self.status.send_if_modified(|status| {
            wish = status.wish.take();
            wish.is_some()
        });
        let limit = self.settings.config.now().idle_release_ms.map(Duration::from_millis);
        let is_late = limit.is_some_and(|limit| self.idle_since.elapsed() >= limit);
        // Whoever says until when pictures are made wants the machine for something else then.
        let is_day = self.journal.is_day(false).await.unwrap_or(false);
        match wish {
            Some(WorkerWish::Load) => self.slot.want(),
            Some(WorkerWish::Release) => {
                self.slot.release("a client wants it", STOP_GRACE).await;
                // Where there is none, after a death, none is started either.
                self.slot.stay_released();
            }
            None if is_day => self.slot.release("nothing is due now", STOP_GRACE).await,
            None if is_late => self.slot.release("nothing was rendered for long", STOP_GRACE).await,
            None => (),
        }
    }
}
