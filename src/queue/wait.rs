//! How far a job is, and how its pictures ended.

use serde::Serialize;

use super::{Obstacle, Queue, has_daemon};
use crate::job::state::State;
use crate::ladder::Stage;
use crate::status::{self, RenderStatus};
use crate::store::{HistoryRow, JobRow, Result};

/// A job on its way.
#[derive(Clone, Debug, Serialize)]
pub struct JobProgress {
    pub job: JobRow,
    /// Pictures that are done, failed or cancelled.
    pub ended: u64,
    /// All of its pictures.
    pub renders: u64,
    pub activity: Activity,
    /// What keeps every job from going on, until somebody does something about it.
    pub obstacle: Option<Obstacle>,
}

impl JobProgress {
    /// Whether nothing more will happen to it.
    pub fn is_over(&self) -> bool {
        self.ended == self.renders
    }
}

/// What is being done for a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Activity {
    /// It is not started before `at_ms` (UTC, milliseconds since the epoch).
    WaitsUntil {
        at_ms: i64,
    },
    /// Its picture `index` (from 1) is being rendered.
    Renders {
        index: u32,
        stage: Option<Stage>,
        step: u32,
        steps: u32,
    },
    /// The daemon starts nothing, for a reason of its own (a full disk, a hot card).
    Held {
        reason: String,
    },
    NoDaemon,
    /// Others come first.
    Waits,
}

impl Queue<'_> {
    /// How far the job is.
    pub async fn progress(&self, job_id: i64) -> Result<JobProgress> {
        let job = self.store.job(job_id).await?;
        Ok(JobProgress {
            ended: (job.done + job.failed + job.cancelled).unsigned_abs(),
            renders: job.renders.unsigned_abs(),
            activity: self.activity(&job),
            obstacle: self.obstacle().await?,
            job,
        })
    }

    fn activity(&self, job: &JobRow) -> Activity {
        let future = |at_ms: &i64| job.running == 0 && *at_ms > self.clock.now_ms();
        if let Some(at_ms) = job.run_after_ms.filter(future) {
            return Activity::WaitsUntil { at_ms };
        }
        let status = status::read(&self.config.state).filter(|_| has_daemon(self.config));
        let Some(status) = status else { return Activity::NoDaemon };
        match (status.render, status.hold) {
            (Some(render), _) if render.job_id == job.job => {
                let RenderStatus { index, stage, step, steps, .. } = render;
                Activity::Renders { index, stage, step, steps }
            }
            (_, Some(reason)) => Activity::Held { reason },
            _ => Activity::Waits,
        }
    }
}

/// How many pictures ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Summary {
    /// All pictures.
    pub pictures: usize,
    /// Those that are done.
    pub done: usize,
    /// Of those that are done: smaller, or with fewer steps, than asked.
    pub degraded: usize,
    /// Those that have failed.
    pub failed: usize,
    /// Those that were cancelled.
    pub cancelled: usize,
}

impl Summary {
    pub fn of(pictures: &[HistoryRow]) -> Summary {
        let number = |state: State| pictures.iter().filter(|row| row.state == state).count();
        Summary {
            pictures: pictures.len(),
            done: number(State::Done),
            degraded: pictures.iter().filter(|row| row.degraded).count(),
            failed: number(State::Failed),
            cancelled: number(State::Cancelled),
        }
    }

    /// Of all pictures of a job.
    pub fn of_job(job: &JobRow) -> Summary {
        let number = |number: i64| usize::try_from(number).unwrap_or_default();
        Summary {
            pictures: number(job.renders),
            done: number(job.done),
            degraded: number(job.degraded),
            failed: number(job.failed),
            cancelled: number(job.cancelled),
        }
    }

    /// Whether there is a picture for each that was asked for.
    pub fn is_done(&self) -> bool {
        self.done == self.pictures
    }
}
