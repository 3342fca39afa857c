//! What is recorded of a job, or of one of its renders.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::agreement::daemon_zone_word;
use super::variety::variety;
use super::{Queue, Summary, Varying, has_daemon};
use crate::status;
use crate::store::{AttemptRow, HistoryRow, JobRow, PictureFilter, Result, Selection};

/// Of a job with more pictures only those that are shown are compared: to read all takes seconds.
const COMPARED_MAX: i64 = 1000;

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
    /// The time zone in which the hours of its window are meant, like CET.
    pub time_zone: String,
    /// The folder in which the pictures lie.
    pub outputs: String,
    /// How many pictures come after those that are shown.
    pub left_out: u64,
    /// Those are the pictures `after` this one; null where there are none.
    pub next: Option<i64>,
    /// What is not the same in all pictures of the job; of one with more than a thousand, in those
    /// that are shown.
    pub varies: Vec<Varying>,
    /// The pictures, in order.
    pub pictures: Vec<HistoryRow>,
    /// For each of these pictures what it has of what varies, but for prompt, size and steps, and
    /// for the seed where each picture has its own and they differ by more.
    pub apart: Vec<String>,
    /// Those of these pictures whose file is not where it was made: removed, or moved away.
    pub missing: Vec<i64>,
    /// All tries at these pictures, in order.
    pub attempts: Vec<AttemptRow>,
}

impl Shown {
    /// Whether all pictures of the job were compared for what varies.
    pub fn compares_all(&self) -> bool {
        self.job.renders <= COMPARED_MAX
    }
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
        let single = match what {
            Selection::Render { .. } => Some(Summary::of(&self.store.history(what).await?)),
            Selection::Job(_) => None,
        };
        let job = self.store.job(what.job_id()).await?;
        let pictures = self.store.pictures(what, filter).await?;
        let shown: Vec<i64> = pictures.iter().map(|picture| picture.picture).collect();
        let after = shown.last().copied().filter(|_| filter.limit.is_some());
        let left_out = match after {
            Some(last) => {
                let after = PictureFilter { after: Some(last), ..*filter };
                self.store.count_pictures(what, &after).await?
            }
            None => 0,
        };
        let Compared { varies, apart } = self.compared(what, &job, &pictures).await?;
        let is_gone = |picture: &&HistoryRow| {
            let path = picture.path.as_ref().map(|path| self.config.outputs.join(path));
            path.is_some_and(|path| !path.exists())
        };
        let missing = pictures.iter().filter(is_gone).map(|picture| picture.picture).collect();
        Ok(Shown {
            summary: single.unwrap_or_else(|| Summary::of_job(&job)),
            has_daemon: has_daemon(self.config),
            held: self.held(&job),
            attempts: self.store.attempts(job.job, &shown).await?,
            job,
            cancel_reasons: self.store.cancel_reasons(what).await?,
            time_zone: daemon_zone_word(self.config, self.clock.now_ms()),
            outputs: self.config.outputs.display().to_string(),
            left_out,
            next: after.filter(|_| left_out > 0),
            missing,
            varies,
            pictures,
            apart,
        })
    }

    /// What sets the pictures that are shown apart from all others of the selection.
    async fn compared(
        &self,
        what: Selection,
        job: &JobRow,
        shown: &[HistoryRow],
    ) -> Result<Compared> {
        if job.renders > COMPARED_MAX {
            let (varies, apart) = variety(shown);
            return Ok(Compared { varies, apart });
        }
        let all = self.store.history(what).await?;
        let (varies, apart) = variety(&all);
        let of_all: BTreeMap<i64, String> =
            all.iter().map(|picture| picture.picture).zip(apart).collect();
        let apart = shown.iter().map(|it| of_all.get(&it.picture).cloned().unwrap_or_default());
        Ok(Compared { varies, apart: apart.collect() })
    }
}

/// What varies, and what each picture that is shown has of it.
struct Compared {
    varies: Vec<Varying>,
    apart: Vec<String>,
}
