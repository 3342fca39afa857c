//! What comes next: the jobs in the order of their turns, each with when it would be begun and
//! done, and the outlook of all.

use super::agreement::daemon_zone;
use super::outlook::entries;
use super::timing::{ModelTimings, OfModels};
use super::{ExpectedWork, JobLeft, Outlook, Queue, has_daemon};
use crate::planner::{Turn, turns};
use crate::store::{Result, WaitingRenders};

/// What comes next, as far as it is told.
#[derive(Clone, Debug, Default)]
pub struct Upcoming {
    /// Of all that has not ended.
    pub outlook: Outlook,
    /// The first jobs, in the order in which they are begun; where nobody knows when that is, in
    /// the order of their priorities.
    pub jobs: Vec<UpcomingJob>,
}

/// A job that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpcomingJob {
    pub job_id: i64,
    /// When it is begun and done; nothing of it where nobody knows.
    pub turn: Turn,
}

/// So many of the first jobs are looked at for the turn of one of them.
const JOBS_MAX: u32 = 200;

impl Queue<'_> {
    /// What is left of a job that is in the queue already; `None` where nobody can know.
    pub(super) async fn left_of(&self, job_id: i64) -> Result<Option<ExpectedWork>> {
        let JobLeft { left_ms, is_estimate, .. } = self.job_left(job_id, 0.0).await?;
        let upcoming = self.turns_of_first().await?;
        let found = upcoming.iter().find(|job| job.job_id == job_id);
        let Turn { begins_ms, ends_ms, too_late } =
            found.map_or_else(Turn::default, |found| found.turn);
        Ok(left_ms.map(|work_ms| ExpectedWork {
            work_ms,
            is_estimate,
            starts_at_ms: begins_ms,
            done_at_ms: ends_ms,
            done_if_started_ms: None,
            uncounted_files: 0,
            too_late,
        }))
    }

    /// What comes next, `jobs_max` jobs of it. Walks through all that waits.
    pub async fn upcoming(&self, jobs_max: u32) -> Result<Upcoming> {
        let models = OfModels::new(self.config);
        let timings = ModelTimings::now(&models, Some(&self.store)).await?;
        let outlook = self.outlook_by(&timings).await?;
        let jobs = self.turns_by(&timings, jobs_max, has_daemon(self.config)).await?;
        Ok(Upcoming { outlook, jobs })
    }

    /// The first 200 jobs.
    async fn turns_of_first(&self) -> Result<Vec<UpcomingJob>> {
        let models = OfModels::new(self.config);
        let timings = ModelTimings::now(&models, Some(&self.store)).await?;
        self.turns_by(&timings, JOBS_MAX, has_daemon(self.config)).await
    }

    /// The same as of a daemon that is started now, where none runs.
    pub(super) async fn turns_if_started(&self) -> Result<Vec<UpcomingJob>> {
        let models = OfModels::new(self.config);
        let timings = ModelTimings::measured(&models, Some(&self.store)).await?;
        self.turns_by(&timings, JOBS_MAX, true).await
    }

    /// The first jobs, of which nobody knows the turn unless a daemon `runs`.
    async fn turns_by(
        &self,
        timings: &ModelTimings<'_>,
        jobs_max: u32,
        runs: bool,
    ) -> Result<Vec<UpcomingJob>> {
        let now_ms = self.clock.now_ms();
        let (ids, waiting): (Vec<i64>, Vec<WaitingRenders>) = self
            .store
            .first_jobs(now_ms, jobs_max)
            .await?
            .into_iter()
            .map(|it| (it.job_id, it.waiting))
            .unzip();
        let is_stopped = self.stopped().await.is_some() || !runs;
        // A model that nobody knows would leave gaps in the entries; then nothing is foretold.
        let entries = entries(timings, &waiting).filter(|found| found.len() == ids.len());
        let found = entries
            .filter(|_| !is_stopped)
            .and_then(|entries| {
                turns(&entries, now_ms, &self.config.power.quiet, &daemon_zone(self.config))
            })
            .unwrap_or_else(|| vec![Turn::default(); ids.len()]);
        let mut jobs: Vec<UpcomingJob> = Vec::new();
        for (job_id, turn) in ids.into_iter().zip(found) {
            match jobs.iter_mut().find(|job| job.job_id == job_id) {
                Some(job) => job.turn = both(job.turn, turn),
                None => jobs.push(UpcomingJob { job_id, turn }),
            }
        }
        // Of those that begin together, and of those that nobody begins, the first stays first.
        jobs.sort_by_key(|job| job.turn.begins_ms.unwrap_or(i64::MAX));
        Ok(jobs)
    }
}

/// The turn of both together.
fn both(a: Turn, b: Turn) -> Turn {
    Turn {
        begins_ms: a.begins_ms.into_iter().chain(b.begins_ms).min(),
        ends_ms: a.ends_ms.max(b.ends_ms),
        too_late: a.too_late + b.too_late,
    }
}
