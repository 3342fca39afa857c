//! How long work takes, and when it would be done: what has not ended, and what is left of a job.

use serde::Serialize;

use super::agreement::daemon_zone;
use super::timing::{ModelTimings, OfModels};
use super::{Queue, has_daemon};
use crate::config::Config;
use crate::job::state::State;
use crate::job::times::Times;
use crate::planner::{AgendaEntry, Turn, turns};
use crate::store::{Backlog, JobRenders, Result, Store, WaitingRenders};

/// The renders that have not ended. Times are UTC, in milliseconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Outlook {
    /// Queued or running.
    pub renders: u64,
    /// When the first of them may start; `None` where there is none.
    pub earliest_ms: Option<i64>,
    /// How long all of them take, by the newest pictures of the model that was loaded last, on its
    /// device; `None` before there is any and no device was measured.
    pub work_ms: Option<i64>,
    /// There is no picture yet to go by: the times come from counted operations.
    pub is_estimate: bool,
    /// There are too many to be looked at: times and numbers are those of the first 100,000, taken
    /// for all.
    pub is_sample: bool,
    /// When the last of them has ended by that, each begun when it may be and when it is its turn;
    /// `None` while nothing is started at all (no daemon runs, the queue is paused or held).
    pub done_at_ms: Option<i64>,
    /// The job that ends last, where it waits for a time that is still to come.
    pub last_job: Option<i64>,
    /// When the last has ended of those that wait for no time, where that is not the last of all.
    pub sooner_done_at_ms: Option<i64>,
    /// Those that will be cancelled by that, because their job's time is over before their turn.
    pub too_late: u64,
    /// Those of which no rung is predicted to fit the memory: they may fail, early or late, so that
    /// the times are a guess.
    pub unfit: u64,
}

/// How long the renders of jobs take that are not in the queue yet, and when they would be done.
/// Times are UTC, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExpectedWork {
    /// All of them together.
    pub work_ms: i64,
    /// Nothing comparable was rendered yet: the time comes from counted operations.
    pub is_estimate: bool,
    /// When the first of them is started, after what comes before it in the queue; null where none
    /// is in time, and while nothing is started at all (no daemon runs, the queue is paused or
    /// held).
    pub starts_at_ms: Option<i64>,
    /// When the last of them has ended; null as before.
    pub done_at_ms: Option<i64>,
    /// Where no daemon runs and nothing else keeps renders from being started: when the last of
    /// them would have ended, if one were started now; null where one runs.
    pub done_if_started_ms: Option<i64>,
    /// Other files in the jobs folder, which such a daemon would take in too: that moment does not
    /// count their pictures. 0 where a daemon runs.
    pub uncounted_files: u64,
    /// Those that are not started, because their job's time is over before their turn.
    pub too_late: u64,
}

/// How much of one job is left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobLeft {
    /// All of its pictures.
    pub pictures: u64,
    /// How long those that have not ended take.
    pub left_ms: Option<i64>,
    /// The time comes from counted operations.
    pub is_estimate: bool,
    /// Pictures that have not ended and of which no rung is predicted to fit the memory.
    pub unfit: u64,
}

/// How much is left of a job, of whose running picture the part `begun` (0 to 1) of the steps is
/// made.
pub async fn job_left(config: &Config, store: &Store, job_id: i64, begun: f64) -> Result<JobLeft> {
    let renders = store.job_renders(job_id).await?;
    let models = OfModels::new(config);
    let timings = ModelTimings::now(&models, Some(store)).await?;
    let mut unfit = 0;
    let mut left = |kind: &JobRenders| {
        let JobRenders { state, renders, effort, leeway, .. } = kind;
        let timing = timings.of(&kind.model);
        let share = match state {
            State::Queued => 1.0,
            State::Running => 1.0 - begun * timing?.share_of_steps(effort),
            State::Done | State::Failed | State::Cancelled => return Some(0.0),
        };
        let foreseen = timing?.of_waiting(effort, leeway);
        unfit += if foreseen.fits { 0 } else { renders.unsigned_abs() };
        Some(foreseen.ms? * *renders as f64 * share)
    };
    let left_ms = renders.iter().map(&mut left).sum::<Option<f64>>();
    Ok(JobLeft {
        pictures: renders.iter().map(|kind| kind.renders.unsigned_abs()).sum(),
        left_ms: left_ms.map(|ms| ms.round() as i64),
        is_estimate: timings.is_estimate(renders.iter().map(|kind| kind.model.as_str())),
        unfit,
    })
}

impl Queue<'_> {
    /// See [`job_left`].
    pub async fn job_left(&self, job_id: i64, begun: f64) -> Result<JobLeft> {
        job_left(self.config, &self.store, job_id, begun).await
    }

    /// The renders that have not ended.
    pub(super) async fn outlook(&self) -> Result<Outlook> {
        let models = OfModels::new(self.config);
        let timings = ModelTimings::now(&models, Some(&self.store)).await?;
        self.outlook_by(&timings).await
    }

    /// The renders that have not ended, for whoever has the models' timings already.
    pub(super) async fn outlook_by(&self, timings: &ModelTimings<'_>) -> Result<Outlook> {
        let now_ms = self.clock.now_ms();
        let Backlog { renders, is_sample, kinds: waiting } = self.store.waiting(now_ms).await?;
        let mut outlook = Outlook {
            renders,
            is_sample,
            earliest_ms: self.store.earliest_ms(now_ms).await?,
            is_estimate: timings.is_estimate(waiting.iter().map(|kind| kind.model.as_str())),
            unfit: unfit(timings, &waiting),
            ..Outlook::default()
        };
        let Some(entries) = entries(timings, &waiting) else { return Ok(outlook) };
        outlook.work_ms = Some(work_ms(&entries)).filter(|_| !waiting.is_empty());
        // While nothing is started nobody knows.
        if self.stopped().await.is_some() || !has_daemon(self.config) {
            return Ok(outlook);
        }
        if let Some(turns) =
            turns(&entries, now_ms, &self.config.power.quiet, &daemon_zone(self.config))
        {
            outlook.done_at_ms = Some(last_end_ms(&turns).unwrap_or(now_ms));
            outlook.too_late = turns.iter().map(|turn| turn.too_late).sum();
            outlook.tell_waits(started(timings, &waiting).zip(&turns), now_ms);
        }
        Ok(outlook)
    }
}

impl Outlook {
    /// Says whose the last end is where a job waits for its time: it says nothing of all others.
    fn tell_waits<'a>(
        &mut self,
        turns: impl Iterator<Item = (&'a WaitingRenders, &'a Turn)>,
        now_ms: i64,
    ) {
        let is_later =
            |kind: &WaitingRenders| kind.times.not_before_ms.is_some_and(|at| at > now_ms);
        let (later, sooner): (Vec<_>, Vec<_>) = turns.partition(|(kind, _)| is_later(kind));
        let last = later.iter().max_by_key(|(_, turn)| turn.ends_ms);
        let Some((kind, _)) = last.filter(|(_, turn)| turn.ends_ms == self.done_at_ms) else {
            return;
        };
        self.last_job = Some(kind.last_job);
        self.sooner_done_at_ms = sooner.iter().filter_map(|(_, turn)| turn.ends_ms).max();
    }
}

pub(super) fn last_end_ms(turns: &[Turn]) -> Option<i64> {
    turns.iter().filter_map(|turn| turn.ends_ms).max()
}

pub(super) fn work_ms(entries: &[AgendaEntry]) -> i64 {
    let ms = entries.iter().map(|entry| entry.each_ms * entry.renders as f64);
    ms.sum::<f64>().round() as i64
}

/// How many are predicted to fit the memory on no rung.
fn unfit(timings: &ModelTimings<'_>, waiting: &[WaitingRenders]) -> u64 {
    let fits = |kind: &&WaitingRenders| {
        let timing = timings.of(&kind.model);
        timing.is_none_or(|timing| timing.of_waiting(&kind.effort, &kind.leeway).fits)
    };
    waiting.iter().filter(|kind| !fits(kind)).map(|kind| kind.renders).sum()
}

/// What waits, with how long it takes. What is being rendered comes first.
pub(super) fn entries(
    timings: &ModelTimings,
    waiting: &[WaitingRenders],
) -> Option<Vec<AgendaEntry>> {
    let entry = |kind: &WaitingRenders| {
        let &WaitingRenders { is_running, priority, times, renders, effort, leeway, .. } = kind;
        let each_ms = timings.of(&kind.model)?.of_waiting(&effort, &leeway).ms?;
        let (priority, times) =
            if is_running { (i64::MAX, Times::default()) } else { (priority, times) };
        Some(AgendaEntry { priority, times, is_running, renders, each_ms })
    };
    started(timings, waiting).map(entry).collect()
}

/// What waits for a model that daemon.toml does not name is started by nobody.
fn started<'w>(
    timings: &ModelTimings<'_>,
    waiting: &'w [WaitingRenders],
) -> impl Iterator<Item = &'w WaitingRenders> {
    waiting.iter().filter(|kind| timings.of(&kind.model).is_some())
}
