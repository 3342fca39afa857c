//! Follows one attempt: from its request to the worker until the worker has said how it ended, or
//! has died.

use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use super::watcher::{AttemptWatch, Reaction, Wake};
use super::{Dispatcher, POLL, Settings};
use crate::attempt::{Candidate, Failure, Made, StopCause};
use crate::clock;
use crate::engine::latents;
use crate::job::Render;
use crate::ladder::{Residency, Rung};
use crate::output::metadata::{QueueFacts, SizeAndSteps};
use crate::output::{self, Owner};
use crate::planner::Plan;
use crate::status::RenderStatus;
use crate::store::{Store, StoreError};
use crate::worker::exit::WorkerExit;
use crate::worker::protocol::{RenderRequest, Request};

/// A step may take so many times its time-out where a processor does what was meant for a card.
const HOST_PATIENCE: u32 = 12;

/// How far an attempt was followed.
pub(super) struct Followed {
    /// It is needed further where the picture is still being written.
    pub(super) watch: AttemptWatch,
    /// How it ended; `None` while its picture, which is made, is being written.
    pub(super) end: Option<Result<Made, Failure>>,
}

/// What the worker is asked.
pub(super) fn request(
    settings: &Settings,
    candidate: &Candidate,
    attempt_id: i64,
    rung: Rung,
    now_ms: i64,
) -> RenderRequest {
    let render = &candidate.render;
    RenderRequest {
        attempt_id,
        recipe: render.recipe.clone(),
        rung,
        format: render.format,
        picture_path: temp_path(settings, attempt_id),
        latents_path: latents_path(settings, candidate.render_id),
        inputs_path: settings.inputs.clone(),
        loras_path: settings.loras.clone(),
        next_prompts: match rung.residency.releases_text_encoder() {
            // A text encoder that stays on the device gains nothing from several prompts at once.
            false => Vec::new(),
            true => candidate.next_prompts.clone(),
        },
        hash_wait_ms: settings.config.now().worker.hash_wait_ms(),
        queue: queue_facts(settings, candidate, attempt_id, &rung, now_ms),
    }
}

/// The queue's part of what a picture says of itself.
fn queue_facts(
    settings: &Settings,
    candidate: &Candidate,
    attempt_id: i64,
    rung: &Rung,
    now_ms: i64,
) -> QueueFacts {
    let &Render { width, height, steps, .. } = &candidate.render;
    QueueFacts {
        job: candidate.job_id,
        index: candidate.index,
        owner: owner(settings, attempt_id),
        asked: SizeAndSteps { width, height, steps },
        degraded: rung.degrades(&candidate.render),
        created: Some(created(now_ms)),
        file: Some(candidate.file_name.clone()),
        tags: candidate.tags.clone(),
        asked_prompt: candidate.render.asked_prompt.clone(),
    }
}

/// Local time with its offset, as RFC 3339 has it.
fn created(now_ms: i64) -> String {
    clock::local(now_ms).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

pub(super) fn owner(settings: &Settings, attempt_id: i64) -> Owner {
    Owner { database: settings.database.clone(), attempt_id }
}

pub(super) fn temp_path(settings: &Settings, attempt_id: i64) -> std::path::PathBuf {
    output::temp_path(&settings.outputs, &owner(settings, attempt_id))
}

pub(super) fn latents_path(settings: &Settings, render_id: i64) -> std::path::PathBuf {
    settings.latents.join(latents::file_name(render_id))
}

impl Dispatcher {
    /// Sends the request and waits until the device is free again, acting on a cancelled render, a
    /// silent worker and the daemon's own shutdown. The picture before may be written meanwhile.
    pub(super) async fn follow(
        &mut self,
        candidate: &Candidate,
        request: RenderRequest,
        plan: &Plan,
    ) -> Result<Followed, StoreError> {
        let attempt_id = request.attempt_id;
        let mut watch =
            AttemptWatch::new(attempt_id, self.step_timeout(&request.rung), Instant::now());
        self.show(candidate, plan);
        let sent = self.tell_worker(&Request::Render(Box::new(request))).await;
        let mut unsent = sent.err().map(|exit| Wake::Worker(Err(exit)));
        let store = self.journal.store.clone();
        let mut cancelled = pin!(cancel_wanted(&store, candidate.render_id));
        loop {
            let wake = match unsent.take() {
                Some(wake) => wake,
                None => self.next_wake(&watch, cancelled.as_mut()).await?,
            };
            let Some(wake) = self.note_writing(wake).await? else { continue };
            match watch.on(wake, Instant::now()) {
                Reaction::Ignore(event) => {
                    warn!(?event, attempt = attempt_id, "ignored: not of the running attempt");
                }
                Reaction::Wait => self.heartbeat.beat(),
                Reaction::ShowStage(stage) => {
                    self.show_progress(|render| render.stage = Some(stage));
                }
                Reaction::ShowStep(step) => self.show_progress(|render| render.step = step),
                Reaction::TellToStop => {
                    // A worker that does not read is dead; its death is the next event.
                    let _ = self.tell_worker(&Request::Cancel { attempt_id }).await;
                }
                Reaction::Rendered => return Ok(Followed { watch, end: None }),
                Reaction::End(end) => return Ok(Followed { watch, end: Some(end) }),
            }
        }
    }

    async fn tell_worker(&mut self, request: &Request) -> Result<(), WorkerExit> {
        self.slot.worker()?.send(request).await
    }

    /// The next thing that happens to the attempt. `cancelled` is polled until the attempt has been
    /// told to stop.
    pub(super) async fn next_wake(
        &mut self,
        watch: &AttemptWatch,
        mut cancelled: Pin<&mut impl Future<Output = Result<(), StoreError>>>,
    ) -> Result<Wake, StoreError> {
        let looks = self.writing.iter().map(|writing| writing.watch.next_look());
        let next_look = looks.fold(watch.next_look(), Instant::min);
        let worker = match self.slot.worker() {
            Ok(worker) => worker,
            Err(exit) => return Ok(Wake::Worker(Err(exit))),
        };
        tokio::select! {
            // What the worker has said is read before the clock is asked.
            biased;
            event = worker.event() => Ok(Wake::Worker(event)),
            wanted = cancelled.as_mut(), if watch.cause().is_none() => {
                wanted.map(|()| Wake::Stop(StopCause::Cancelled))
            }
            () = self.stop.cancelled(), if watch.cause() != Some(StopCause::ShuttingDown) => {
                Ok(Wake::Stop(StopCause::ShuttingDown))
            }
            () = sleep_until(next_look) => Ok(Wake::Look),
        }
    }

    /// How long a step may take: a processor gets more time for what a card was meant to do.
    fn step_timeout(&self, rung: &Rung) -> Duration {
        let limit = Duration::from_millis(self.settings.config.now().worker.step_timeout_ms);
        match rung.residency {
            Residency::Host => limit * HOST_PATIENCE,
            _ => limit,
        }
    }

    fn show(&self, candidate: &Candidate, plan: &Plan) {
        let Plan { rung, prediction, missing_bytes } = plan;
        let render = RenderStatus {
            job_id: candidate.job_id,
            index: candidate.index,
            rung: rung.to_string(),
            stage: None,
            step: 0,
            steps: rung.steps,
            predicted_bytes: prediction.peak_bytes(),
            missing_bytes: *missing_bytes,
            lora: candidate.render.recipe.lora.clone(),
        };
        self.status.send_modify(|status| status.render = Some(render));
    }

    fn show_progress(&self, change: impl FnOnce(&mut RenderStatus)) {
        self.status.send_modify(|status| {
            if let Some(render) = &mut status.render {
                change(render);
            }
        });
    }
}

/// Returns when the user wants the render cancelled. A database that cannot be read for a while
/// only delays that: the attempt itself goes on.
async fn cancel_wanted(store: &Store, render_id: i64) -> Result<(), StoreError> {
    loop {
        sleep(POLL).await;
        match store.cancel_wanted(render_id).await {
            Ok(true) => return Ok(()),
            Ok(false) => (),
            Err(error) if error.may_pass_for_a_read() => {
                debug!(%error, "whether a cancel is wanted is not known");
            }
            Err(error) => return Err(error),
        }
    }
}
