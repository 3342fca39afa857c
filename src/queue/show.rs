//! What is recorded of a job, or of one of its renders.

use std::collections::BTreeSet;

use serde::Serialize;

use super::variety::variety;
use super::{Queue, Summary, Varying, has_daemon};
use crate::job::state::State;
use crate::status;
use crate::store::{AttemptRow, HistoryRow, JobRow, Result, Selection};

/// Which of a job's pictures are wanted: all unless something is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PictureFilter {
    pub state: Option<State>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// A job with its pictures.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Shown {
    /// The job.
    pub job: JobRow,
    /// How the pictures that were asked about have ended, those included that are left out.
    pub summary: Summary,
    /// Why pictures of it were cancelled, each reason once, of all that were asked about.
    pub cancel_reasons: BTreeSet<String>,
    /// Whether a daemon runs: without one, what is called running stands still, and goes on with
    /// the next one.
    pub has_daemon: bool,
    /// Why its model cannot be used now, where something of it waits for that.
    pub held: Option<String>,
    /// The folder in which the pictures lie.
    pub outputs: String,
    /// How many pictures the limit leaves out.
    pub left_out: usize,
    /// What is not the same in all pictures of the job.
    pub varies: Vec<Varying>,
    /// The pictures, in order.
    pub pictures: Vec<HistoryRow>,
    /// For each of these pictures what it has of what varies, but for prompt, size and steps.
    pub apart: Vec<String>,
    /// All tries at these pictures, in order.
    pub attempts: Vec<AttemptRow>,
}

/// Jobs that have ended, with their pictures.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Waited {
    /// How all of the pictures ended.
    pub summary: Summary,
    /// The pictures, job by job.
    pub pictures: Vec<HistoryRow>,
}

/// What the card took for the picture, in a line for people; `None` where nothing is known of it.
pub fn card_use(picture: &HistoryRow) -> Option<String> {
    let slowed = picture.slowed_by.as_deref().filter(|why| !why.is_empty());
    let told = [
        picture.joules.map(|joules| format!("{joules:.0} J")),
        picture.mean_watts.map(|watts| format!("{watts:.0} W on average")),
        picture.peak_watts.map(|watts| format!("{watts:.0} W at most")),
        picture.temperature_max_celsius.map(|celsius| format!("{celsius} °C")),
        picture.clock_mhz.map(|mhz| format!("{mhz} MHz")),
        slowed.map(|why| format!("slowed by {why}")),
    ];
    let told: Vec<String> = told.into_iter().flatten().collect();
    (!told.is_empty()).then(|| told.join(", "))
}

impl Waited {
    pub fn of(pictures: Vec<HistoryRow>) -> Waited {
        Waited { summary: Summary::of(&pictures), pictures }
    }
}

/// What failed so long ago is no news.
const LATELY_MS: i64 = 7 * 24 * 60 * 60 * 1000;

impl Queue<'_> {
    /// The newest renders that failed in the last seven days and that no retry repeats.
    pub async fn failed_lately(&self, limit: u32) -> Result<Vec<HistoryRow>> {
        self.store.failed_since(self.clock.now_ms() - LATELY_MS, limit).await
    }

    /// Why the model of a job that waits cannot be used.
    fn held(&self, job: &JobRow) -> Option<String> {
        if job.queued == 0 { None } else { self.held_model(&job.model) }
    }

    /// Why the model cannot be used now: as the daemon says it or, where none runs, by the
    /// configuration.
    pub(super) fn held_model(&self, model: &str) -> Option<String> {
        let daemon = status::read(&self.config.state).filter(|_| has_daemon(self.config));
        match daemon {
            Some(daemon) => {
                let held = daemon.held_models.into_iter();
                held.into_iter().find(|held| held.model == model).map(|held| held.reason)
            }
            None if self.config.with_model(model).is_some() => None,
            None => Some(format!("daemon.toml names no model {model}")),
        }
    }

    /// The selection as far as the filter lets it through.
    pub async fn show(&self, what: Selection, filter: &PictureFilter) -> Result<Shown> {
        let pictures = self.store.history(what).await?;
        let job = self.store.job(what.job_id()).await?;
        let summary = Summary::of(&pictures);
        let reasons = pictures.iter().filter_map(|picture| picture.cancel_reason.clone());
        let cancel_reasons = reasons.collect();
        let (varies, apart) = variety(&pictures);
        let mut pictures: Vec<(HistoryRow, String)> = pictures.into_iter().zip(apart).collect();
        pictures.retain(|(picture, _)| filter.state.is_none_or(|state| picture.state == state));
        let found = pictures.len();
        pictures.truncate(filter.limit.unwrap_or(usize::MAX));
        let (pictures, apart): (Vec<HistoryRow>, Vec<String>) = pictures.into_iter().unzip();
        let shown: BTreeSet<i64> = pictures.iter().map(|picture| picture.picture).collect();
        let mut attempts = self.store.attempts(what).await?;
        attempts.retain(|attempt| shown.contains(&attempt.picture));
        Ok(Shown {
            has_daemon: has_daemon(self.config),
            held: self.held(&job),
            job,
            summary,
            cancel_reasons,
            outputs: self.config.outputs.display().to_string(),
            left_out: found - pictures.len(),
            varies,
            pictures,
            apart,
            attempts,
        })
    }
}
