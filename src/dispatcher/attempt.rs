//! Follows one attempt: from its request to the worker until the worker has said how it ended, or
//! has died.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Dispatcher, POLL, STOP_GRACE, Settings};
use crate::engine::latents;
use crate::job::Render;
use crate::ladder::{Residency, Rung};
use crate::output::metadata::{QueueFacts, SizeAndSteps};
use crate::output::{self, Owner};
use crate::status::RenderStatus;
use crate::store::{Candidate, StoreError};
use crate::worker::protocol::{Done, Failed, RenderRequest, Request, WorkerEvent};

/// So many times the time-out of a step, where a processor does the work of a card.
const HOST_PATIENCE: u32 = 12;

/// How an attempt ended in the worker.
#[derive(Debug)]
pub(super) enum Ending {
    Done(Done),
    NoPicture(NoPicture),
}

/// Why an attempt made no picture.
#[derive(Debug)]
pub(super) enum NoPicture {
    /// The worker said so.
    Failed(Failed),
    /// The worker died, or was given up; the reason in words.
    Died(String),
}

fn died(reason: String) -> Ending {
    Ending::NoPicture(NoPicture::Died(reason))
}

/// Why a running attempt was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopCause {
    Cancelled,
    ShuttingDown,
}

/// What the worker is asked.
pub(super) fn request(
    settings: &Settings,
    candidate: &Candidate,
    attempt_id: i64,
    rung: Rung,
) -> RenderRequest {
    let render = &candidate.render;
    RenderRequest {
        attempt_id,
        recipe: render.recipe.clone(),
        rung,
        format: render.format,
        picture_path: temp_path(settings, attempt_id),
        latents_path: latents_path(settings, candidate.render_id),
        queue: queue_facts(settings, candidate, attempt_id, &rung),
    }
}

/// The queue's part of what a picture says of itself.
fn queue_facts(
    settings: &Settings,
    candidate: &Candidate,
    attempt_id: i64,
    rung: &Rung,
) -> QueueFacts {
    let &Render { width, height, steps, .. } = &candidate.render;
    QueueFacts {
        job: candidate.job_id,
        index: candidate.index,
        owner: owner(settings, attempt_id),
        asked: SizeAndSteps { width, height, steps },
        degraded: rung.degrades(&candidate.render),
    }
}

fn owner(settings: &Settings, attempt_id: i64) -> Owner {
    Owner { database: settings.database.clone(), attempt_id }
}

pub(super) fn temp_path(settings: &Settings, attempt_id: i64) -> std::path::PathBuf {
    output::temp_path(&settings.outputs, &owner(settings, attempt_id))
}

pub(super) fn latents_path(settings: &Settings, render_id: i64) -> std::path::PathBuf {
    settings.latents.join(latents::file_name(render_id))
}

impl Dispatcher {
    /// Sends the request and waits for the end, acting on cancel marks, time-outs and our own
    /// shutdown.
    pub(super) async fn follow(
        &mut self,
        candidate: &Candidate,
        request: RenderRequest,
        stop: &CancellationToken,
    ) -> Result<(Ending, Option<StopCause>), StoreError> {
        let (attempt_id, step_timeout) = (request.attempt_id, self.step_timeout(&request.rung));
        self.show(candidate, &request.rung);
        let worker = match self.slot.worker() {
            Ok(worker) => worker,
            Err(reason) => return Ok((died(reason), None)),
        };
        if let Err(death) = worker.send(&Request::Render(Box::new(request))).await {
            return Ok((died(death.0), None));
        }
        let mut cause = None;
        let mut deadline = Instant::now() + step_timeout;
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = worker.event() => match event {
                    Err(death) => return Ok((died(death.0), cause)),
                    Ok(WorkerEvent::Done(done)) if done.attempt_id == attempt_id => return Ok((Ending::Done(done), cause)),
                    Ok(WorkerEvent::Failed(failed)) if failed.attempt_id == attempt_id => {
                        return Ok((Ending::NoPicture(NoPicture::Failed(failed)), cause));
                    }
                    Ok(WorkerEvent::Stage { attempt_id: id, stage }) if id == attempt_id => {
                        deadline = extended(deadline, cause, step_timeout);
                        show_progress(&self.status, |render| render.stage = Some(stage));
                    }
                    Ok(WorkerEvent::Step { attempt_id: id, step, .. }) if id == attempt_id => {
                        deadline = extended(deadline, cause, step_timeout);
                        show_progress(&self.status, |render| render.step = step);
                    }
                    Ok(event) => warn!(?event, attempt = attempt_id, "ignored: not of the running attempt"),
                },
                _ = poll.tick() => {
                    self.heartbeat.beat();
                    if cause.is_none() && self.store.cancel_wanted(candidate.render_id).await? {
                        cause = Some(StopCause::Cancelled);
                        // A worker that does not read is dead; its death is the next event.
                        let _ = worker.send(&Request::Cancel { attempt_id }).await;
                    }
                }
                () = stop.cancelled(), if cause != Some(StopCause::ShuttingDown) => {
                    cause = Some(StopCause::ShuttingDown);
                    deadline = Instant::now() + STOP_GRACE;
                    let _ = worker.send(&Request::Cancel { attempt_id }).await;
                }
                () = sleep_until(deadline) => {
                    let limit_s = step_timeout.as_secs();
                    return Ok((died(format!("no sign of progress for {limit_s} s")), cause));
                }
            }
        }
    }

    /// How long a step may take: a processor is given more time for what a card was meant to do.
    fn step_timeout(&self, rung: &Rung) -> Duration {
        match rung.residency {
            Residency::Host => self.settings.step_timeout * HOST_PATIENCE,
            _ => self.settings.step_timeout,
        }
    }

    fn show(&self, candidate: &Candidate, rung: &Rung) {
        let render = RenderStatus {
            job_id: candidate.job_id,
            index: candidate.index,
            rung: rung.to_string(),
            stage: None,
            step: 0,
            steps: rung.steps,
        };
        self.status.send_modify(|status| status.render = Some(render));
    }
}

/// Progress earns more time, but not once the daemon is shutting down.
fn extended(deadline: Instant, cause: Option<StopCause>, step_timeout: Duration) -> Instant {
    match cause {
        Some(StopCause::ShuttingDown) => deadline,
        Some(StopCause::Cancelled) | None => Instant::now() + step_timeout,
    }
}

fn show_progress(
    status: &tokio::sync::watch::Sender<crate::status::Status>,
    change: impl FnOnce(&mut RenderStatus),
) {
    status.send_modify(|status| {
        if let Some(render) = &mut status.render {
            change(render);
        }
    });
}
