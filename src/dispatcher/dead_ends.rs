//! Renders that would run out of memory as others of their kind did a moment ago: they fail with
//! that reason, and nobody waits for it.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::Dispatcher;
use super::plan::Planning;
use crate::attempt::{Candidate, ErrorCode, Failure, Planned};
use crate::ladder::Rung;
use crate::planner::{DeadEnd, Plan};
use crate::store::{Guarded, StoreError};

/// After so long it is tried again: not all that may have changed shows in what is free.
const LIFE: Duration = Duration::from_secs(10 * 60);

/// More than a batch has of ways to be asked for.
const KNOWN_MAX: usize = 64;

/// What ran out of memory as its plan had foreseen, by this daemon; of each rung the newest.
#[derive(Default)]
pub(super) struct DeadEnds {
    known: Vec<Known>,
    /// Rungs that made a picture all the same, with their models, newest first: they may again.
    made: Vec<(String, Rung)>,
}

struct Known {
    /// The model's name.
    model: String,
    at: Instant,
    end: DeadEnd,
}

impl DeadEnds {
    /// Notes an attempt that made no picture, where it was such a one.
    pub(super) fn note(&mut self, candidate: &Candidate, planned: &Planned, failure: &Failure) {
        let (Some(predicted), Some(stage)) = (planned.predicted, failure.ran_out_in()) else {
            return;
        };
        let plan = Plan {
            rung: planned.rung,
            prediction: predicted.corrected,
            missing_bytes: predicted.missing_bytes,
        };
        let Candidate { job_id, index, render, .. } = candidate;
        if self.made.iter().any(|(model, rung)| (model, rung) == (&render.model, &plan.rung)) {
            return;
        }
        let reason = format!("{job_id}.{index} on {}: {}", plan.rung, failure.message);
        let Some(end) = DeadEnd::of(&plan, stage, reason) else { return };
        self.known.retain(|known| known.model != render.model || known.end.rung != end.rung);
        self.known.truncate(KNOWN_MAX - 1);
        self.known.insert(0, Known { model: render.model.clone(), at: Instant::now(), end });
    }

    /// Notes an attempt that made its picture.
    pub(super) fn note_made(&mut self, candidate: &Candidate, planned: &Planned) {
        let made = (candidate.render.model.clone(), planned.rung);
        self.known.retain(|known| (&known.model, &known.end.rung) != (&made.0, &made.1));
        self.made.retain(|known| *known != made);
        self.made.truncate(KNOWN_MAX - 1);
        self.made.insert(0, made);
    }

    /// Those of this model that still count.
    fn of(&self, model: &str) -> Vec<DeadEnd> {
        let counts = |known: &&Known| known.model == model && known.at.elapsed() < LIFE;
        self.known.iter().filter(counts).map(|known| known.end.clone()).collect()
    }
}

impl Dispatcher {
    /// Why `candidate`, which was never tried, need not be.
    pub(super) fn dead_end(&self, planning: &Planning, candidate: &Candidate) -> Option<String> {
        let known = self.dead_ends.of(&candidate.render.model);
        if known.is_empty() || !candidate.history.is_empty() {
            return None;
        }
        let attempts_max = self.settings.config.now().worker.attempts_max;
        let end = planning.dead_end(candidate, &known, attempts_max)?;
        Some(format!(
            "out of memory, by the last try of a picture like it, and there is no more of it now \
             ({}); {}",
            end.reason,
            candidate.render.on_oom.cure()
        ))
    }

    /// Fails a render without an attempt.
    pub(super) async fn fail_untried(
        &mut self,
        candidate: &Candidate,
        reason: &str,
    ) -> Result<(), StoreError> {
        let code = ErrorCode::OutOfMemory;
        let failed = self.journal.fail_untried(candidate.render_id, code, reason).await?;
        if failed == Guarded::Changed {
            warn!(job = candidate.job_id, index = candidate.index, reason, "not tried");
        }
        Ok(())
    }
}
