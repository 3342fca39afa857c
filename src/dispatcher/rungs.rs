//! A render from its first rung to its picture, or to what comes of it without one.

use tracing::{debug, warn};

use super::attempt::{self, Followed};
use super::rendered::Rendered;
use super::{Dispatcher, publish};
use crate::attempt::{Candidate, Failure, FailureKind, Next, Planned, StopCause, decide};
use crate::ladder::Rung;
use crate::planner::{Corrections, Evidence, Plan};
use crate::status::WorkerEnd;
use crate::store::{Guarded, StoreError};

impl Dispatcher {
    /// Tries a render on one rung after the other until no attempt is to follow at once.
    pub(super) async fn render(&mut self, mut candidate: Candidate) -> Result<(), StoreError> {
        self.refresh_plans(None).await?;
        let planning = self.slot.planning();
        if let Some(reason) = planning.and_then(|it| self.dead_end(it, &candidate)) {
            return self.fail_untried(&candidate, &reason).await;
        }
        let mut plan = self.slot.planning().and_then(|planning| planning.first(&candidate));
        // What the picture before took is known once it is written: where that has the size which
        // this one would lose, the next turn plans anew.
        let loses = |rung: &Rung| rung.degrades(&candidate.render);
        let has_made = self.writing.as_ref().is_some_and(|it| !loses(&it.planned.rung));
        if has_made && plan.is_some_and(|plan| loses(&plan.rung)) {
            return self.finish_writing().await;
        }
        while let Some(current) = plan {
            plan = self.attempt(&mut candidate, &current).await?;
        }
        if self.writing.is_none() {
            self.status.send_modify(|status| status.render = None);
        }
        Ok(())
    }

    /// Has plans go by the memory that is free now and by what earlier attempts measured; `newest`
    /// is one that has no row yet.
    async fn refresh_plans(&mut self, newest: Option<Evidence>) -> Result<(), StoreError> {
        let Some(loaded) = self.slot.loaded() else { return Ok(()) };
        let recorded = self.journal.evidence(loaded).await?;
        let evidence: Vec<Evidence> = newest.into_iter().chain(recorded).collect();
        self.slot.refresh_planning(Corrections::from(&evidence)).await;
        Ok(())
    }

    /// For the log: the picture before is still being written, and told to be done after this one
    /// was begun.
    fn beside(&self) -> String {
        let writing = self.writing.as_ref().map(|writing| &writing.candidate);
        writing.map_or(String::new(), |it| format!(" while {}.{} is written", it.job_id, it.index))
    }

    /// Makes one attempt, which is recorded before the device is touched. Answers the plan of the
    /// next one, if that is to follow at once.
    async fn attempt(
        &mut self,
        candidate: &mut Candidate,
        plan: &Plan,
    ) -> Result<Option<Plan>, StoreError> {
        let Some(planning) = self.slot.planning() else { return Ok(None) };
        let planned = planning.planned(&candidate.render, plan);
        let now_ms = self.journal.clock.now_ms();
        let path = publish::file_name(candidate, &plan.rung, now_ms);
        let begun = self.journal.begin(candidate.render_id, &planned, &path).await?;
        let Some(attempt_id) = begun else {
            return Ok(None); // cancelled between the look and the claim
        };
        let predicted_bytes = plan.prediction.peak_bytes();
        let beside = self.beside();
        // What a picture became is told when it is done; at night nobody reads that it was begun.
        debug!(job = candidate.job_id, index = candidate.index, rung = %plan.rung.way(), "rendering{beside}");
        debug!(
            attempt = attempt_id,
            rung = %plan.rung,
            predicted_bytes,
            missing_bytes = plan.missing_bytes,
            "planned"
        );
        let request = attempt::request(&self.settings, candidate, attempt_id, plan.rung, now_ms);
        let Followed { watch, end } = self.follow(candidate, request, plan).await?;
        let cause = watch.cause();
        let writing = Rendered { candidate: candidate.clone(), planned, attempt_id, path, watch };
        let failure = match end {
            None => return self.begin_writing(writing).await.map(|()| None),
            Some(Ok(made)) => return self.settle(writing, Ok(made)).await.map(|()| None),
            Some(Err(failure)) => failure,
        };
        let next = self.conclude(candidate, attempt_id, &planned, &failure, cause).await?;
        if failure.kind.took_the_worker() {
            self.lose_writing().await?;
        }
        Ok(next)
    }

    /// Decides what comes after an attempt that made no picture, and carries it out.
    pub(super) async fn conclude(
        &mut self,
        candidate: &mut Candidate,
        attempt_id: i64,
        planned: &Planned,
        failure: &Failure,
        cause: Option<StopCause>,
    ) -> Result<Option<Plan>, StoreError> {
        candidate.history = candidate.history.with(planned.rung, failure);
        self.dead_ends.note(candidate, planned, failure);
        let lower_rung = self.lower_rung(candidate, planned, failure).await?;
        let policy = self.settings.config.now().worker.policy();
        let on_oom = candidate.render.on_oom;
        let next = decide(failure, cause, &candidate.history, on_oom, lower_rung, &policy);
        warn!(
            job = candidate.job_id,
            index = candidate.index,
            outcome = %next.outcome(),
            reason = %failure.message,
            "an attempt made no picture"
        );
        if failure.kind.took_the_worker() {
            let end = match failure.kind {
                FailureKind::MemoryDeath => WorkerEnd::OutOfMemory,
                _ => WorkerEnd::Died,
            };
            self.slot.replace(end, failure.message.clone()).await;
        }
        publish::remove_temporary(&self.settings, attempt_id);
        if matches!(next, Next::Fail { .. } | Next::Cancel) {
            publish::forget_latents(&self.settings, candidate.render_id);
        }
        if self.journal.end(attempt_id, failure, &next).await? == Guarded::Stale {
            warn!(attempt = attempt_id, "the attempt had been ended by somebody else");
            return Ok(None);
        }
        match next {
            Next::LowerRung(plan) => return Ok(Some(plan)),
            Next::RequeueAndHold | Next::RequeueAndTryAnother => {
                let outputs = self.settings.outputs.display();
                self.journal.hold.pause(format!("{outputs}: {}", failure.message));
                if next == Next::RequeueAndTryAnother {
                    self.suspicion.refused(candidate.render_id);
                }
            }
            _ => (),
        }
        Ok(None)
    }

    /// The rung after the ones that ran out of memory, the failed attempt's among them; `None`
    /// where there is none, or the attempt failed in another way.
    async fn lower_rung(
        &mut self,
        candidate: &Candidate,
        planned: &Planned,
        failure: &Failure,
    ) -> Result<Option<Plan>, StoreError> {
        let Some(stage) = failure.ran_out_in() else { return Ok(None) };
        let ran_out = (stage, failure.requested_bytes().unwrap_or(0));
        self.refresh_plans(planned.evidence(&failure.measured.peaks, Some(ran_out))).await?;
        Ok(self.slot.planning().and_then(|planning| planning.next(candidate)))
    }
}
