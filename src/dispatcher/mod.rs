//! The one policy loop: which render runs next, on which rung, and what becomes of it.
//!
//! `plan` chooses a rung, `verdict` decides what a failure means, both pure; `slot` keeps a worker
//! loaded; `attempt` follows one try; `publish` makes its picture final; `hold` waits for the disk;
//! this file acts.

mod attempt;
mod hold;
mod plan;
mod publish;
mod slot;
pub(crate) mod verdict;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::attempt::{Ending, NoPicture, StopCause};
use self::hold::Hold;
use self::slot::Slot;
pub use self::slot::SlotSettings;
use self::verdict::{Policy, Verdict};
use crate::clock::Clock;
use crate::heartbeat::Heartbeat;
use crate::ladder::{Rung, Stage};
use crate::output;
use crate::planner::{Corrections, Plan};
use crate::status::Status;
use crate::store::{Candidate, Fate, Guarded, Planned, Store, StoreError};

/// How often an idle dispatcher looks for work that no hint announced (a retry, a resume, a time
/// that has come).
const POLL: Duration = Duration::from_millis(250);

/// How long the worker may take to stop a render when the daemon ends.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// What the dispatcher needs to know; everything else is in the store.
#[derive(Clone, Debug)]
pub struct Settings {
    pub slot: SlotSettings,
    pub outputs: PathBuf,
    /// See [`Store::id`].
    pub database: String,
    /// Where finished latents are kept.
    pub latents: PathBuf,
    pub step_timeout: Duration,
    /// How long nothing is rendered before the worker is released; `None` keeps it.
    pub idle_release: Option<Duration>,
    pub policy: Policy,
    pub mode: Mode,
}

/// When the dispatcher ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only when told to stop.
    Forever,
    /// When the model cannot be loaded; the daemon stops it when no work is left.
    UntilIdle,
}

/// Why the dispatcher ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Only in [`Mode::UntilIdle`].
    #[error("the model cannot be loaded: {0}")]
    Load(String),
}

/// The loop's state: one worker, and what everybody may know of it.
pub struct Dispatcher {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    accepted: Arc<Notify>,
    status: watch::Sender<Status>,
    heartbeat: Heartbeat,
    slot: Slot,
    hold: Hold,
    /// When the model was loaded, or the last render ended.
    idle_since: tokio::time::Instant,
}

impl Dispatcher {
    /// A dispatcher with no worker yet. `accepted` announces new jobs.
    pub fn new(
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        settings: Settings,
        accepted: Arc<Notify>,
        status: watch::Sender<Status>,
        heartbeat: Heartbeat,
    ) -> Self {
        let slot = Slot::new(settings.slot.clone(), status.clone(), heartbeat.clone());
        let hold = Hold::new(status.clone(), heartbeat.clone());
        let idle_since = tokio::time::Instant::now();
        Dispatcher { store, clock, settings, accepted, status, heartbeat, slot, hold, idle_since }
    }

    /// Renders until `stop`, then gives the running render back and ends the worker.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), DispatchError> {
        let accepted = self.accepted.clone();
        while !stop.is_cancelled() {
            // Registered before the look at the queue, so that nothing that arrives in between is
            // missed.
            let hint = accepted.notified();
            self.heartbeat.beat();
            if self.turn(&stop).await? {
                continue;
            }
            self.release_when_idle().await;
            tokio::select! {
                () = hint => (),
                () = self.slot.watch_idle() => (),
                () = tokio::time::sleep(POLL) => (),
                () = stop.cancelled() => (),
            }
        }
        self.slot.shut_down(STOP_GRACE).await;
        Ok(())
    }

    /// Does one thing; false when there was nothing to do.
    async fn turn(&mut self, stop: &CancellationToken) -> Result<bool, DispatchError> {
        if self.slot.is_released() && self.next_render().await?.is_none() {
            return Ok(false);
        }
        if let Err(reason) = self.slot.ensure_ready(stop).await {
            return match self.settings.mode {
                Mode::UntilIdle if !stop.is_cancelled() => Err(DispatchError::Load(reason)),
                _ => Ok(false),
            };
        }
        if let Some(loaded) = self.slot.newly_loaded() {
            let (store, now_ms) = (self.store.clone(), self.clock.now_ms());
            self.hold.record(stop, || store.worker_loaded(&loaded, now_ms)).await?;
            self.idle_since = tokio::time::Instant::now();
        }
        let Some(candidate) = self.next_render().await? else { return Ok(false) };
        self.render(candidate, stop).await?;
        self.idle_since = tokio::time::Instant::now();
        Ok(true)
    }

    /// The render to start now: none while the queue is paused or held, nor while its picture could
    /// not be written.
    async fn next_render(&mut self) -> Result<Option<Candidate>, StoreError> {
        if self.hold.is_on() {
            return Ok(None);
        }
        let Some(candidate) = self.store.next_candidate(self.clock.now_ms()).await? else {
            self.hold.lift();
            return Ok(None);
        };
        if let Err(error) = output::make_ready(&self.settings.outputs) {
            self.hold.tell(format!("no pictures can be written: {error}"));
            return Ok(None);
        }
        self.hold.lift();
        Ok(Some(candidate))
    }

    async fn release_when_idle(&mut self) {
        if self.settings.idle_release.is_some_and(|limit| self.idle_since.elapsed() >= limit) {
            self.slot.release(STOP_GRACE).await;
        }
    }

    /// Tries a render on one rung after the other until its fate is another than the next attempt.
    async fn render(
        &mut self,
        mut candidate: Candidate,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        while let Some(plan) = self.plan(&candidate).await? {
            if !self.attempt(&mut candidate, plan, stop).await? {
                break;
            }
        }
        self.status.send_modify(|status| status.render = None);
        Ok(())
    }

    /// The next rung, on what is known by now. At the bottom of the ladder, where a restart or a
    /// late correction may find a render, it is the last one again: how often is bounded by the
    /// verdict.
    async fn plan(&mut self, candidate: &Candidate) -> Result<Option<Plan>, StoreError> {
        let Some(loaded) = self.slot.loaded() else { return Ok(None) };
        let evidence = self.store.evidence(&loaded.model_hash, &loaded.device).await?;
        self.slot.refresh_planning(Corrections::from(&evidence)).await;
        Ok(self.slot.planning().and_then(|planning| planning.next(candidate)))
    }

    /// One try, recorded before the device is touched; true when another is to follow at once.
    async fn attempt(
        &mut self,
        candidate: &mut Candidate,
        plan: Plan,
        stop: &CancellationToken,
    ) -> Result<bool, StoreError> {
        let rung = plan.rung;
        let predicted =
            self.slot.planning().and_then(|planning| planning.predicted(&candidate.render, &plan));
        let planned = Planned { rung, predicted };
        let path = publish::file_name(candidate, &rung, self.clock.now_ms());
        let (store, render_id, now_ms) =
            (self.store.clone(), candidate.render_id, self.clock.now_ms());
        let begun = self
            .hold
            .record(stop, || store.begin_attempt(render_id, &planned, &path, now_ms))
            .await?;
        let Some(attempt_id) = begun else {
            return Ok(false); // cancelled between the look and the claim
        };
        info!(job = candidate.job_id, index = candidate.index, attempt = attempt_id, %rung,
              predicted_bytes = plan.prediction.peak_bytes(), missing_bytes = plan.missing_bytes, "rendering");
        let request = attempt::request(&self.settings, candidate, attempt_id, rung);
        let (ending, cause) = self.follow(candidate, request, stop).await?;
        let no_picture = match ending {
            Ending::NoPicture(no_picture) => no_picture,
            Ending::Done(done) => match self.publish(candidate, &rung, path, &done, stop).await? {
                Ok(()) => return Ok(false),
                Err(error) => NoPicture::Failed(publish::unpublished(done, &error)),
            },
        };
        self.conclude(candidate, attempt_id, rung, &no_picture, cause, stop).await
    }

    /// Carries out the verdict on an attempt that made no picture.
    async fn conclude(
        &mut self,
        candidate: &mut Candidate,
        attempt_id: i64,
        rung: Rung,
        ending: &NoPicture,
        cause: Option<StopCause>,
        stop: &CancellationToken,
    ) -> Result<bool, StoreError> {
        let planning = self.slot.planning();
        let has_next = |tried: &[(Rung, Stage)]| {
            planning.is_some_and(|planning| planning.has_next(&candidate.render, tried))
        };
        let Verdict { end, fate, hold, replace_worker } =
            verdict::verdict(ending, cause, candidate, rung, &self.settings.policy, &has_next);
        warn!(job = candidate.job_id, index = candidate.index, attempt = attempt_id, outcome = ?end.outcome,
              reason = %end.message, "an attempt made no picture");
        if replace_worker {
            self.slot.replace(end.message.clone()).await;
        }
        publish::remove_temporary(&self.settings, attempt_id);
        if matches!(fate, Fate::Fail { .. } | Fate::Cancel) {
            publish::forget_latents(&self.settings, candidate.render_id);
        }
        let again = fate == Fate::NextAttempt;
        let (store, now_ms) = (self.store.clone(), self.clock.now_ms());
        if self.hold.record(stop, || store.end_attempt(attempt_id, &end, &fate, now_ms)).await?
            == Guarded::Stale
        {
            warn!(attempt = attempt_id, "the attempt had been ended by somebody else");
            return Ok(false);
        }
        if let Some(reason) = hold {
            self.hold.pause(format!("{}: {reason}", self.settings.outputs.display()));
        }
        if let (true, Some(stage)) = (again, end.stage) {
            candidate.tried.push((rung, stage));
        }
        Ok(again)
    }
}
