//! What submitting jobs answers.

use serde::Serialize;

use super::{CheckedJob, ExpectedWork};
use crate::engine::mini;
use crate::job::Render;
use crate::job::warning::Warning;

/// What has become of files that were handed over.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Submitted {
    /// Files that are jobs.
    pub jobs: Vec<TakenJob>,
    /// Files that the daemon found no job in.
    pub refused: Vec<RefusedFile>,
    /// Names of files that lie in the jobs folder: no daemon runs.
    pub waiting: Vec<String>,
    /// Those of them that have another name there than they were handed over with, because that
    /// was taken.
    pub renamed: Vec<LeftFile>,
    /// What is hardly meant in jobs that were handed over all the same.
    pub warnings: Vec<JobWarnings>,
    /// The jobs that wait for a time.
    pub starts: Vec<JobStart>,
    /// The jobs of which nothing is started after a time.
    pub ends: Vec<JobEnd>,
    /// How many pictures these jobs have, all together.
    pub pictures: usize,
    /// The same by models and sizes.
    pub asked: Vec<SizedPictures>,
    /// How long all pictures of these jobs take; `None` where nobody can know.
    pub expected: Option<ExpectedWork>,
    /// Why nothing at all is started now, although a daemon runs: a pause, or a disk that takes
    /// nothing.
    pub stopped: Option<String>,
}

/// Pictures of one size that are asked of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SizedPictures {
    /// The model's own name.
    pub model: String,
    /// The model is the miniature in the program, which is seldom the one that is meant.
    pub miniature: bool,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// How many there are.
    pub pictures: usize,
}

impl SizedPictures {
    /// What `renders` ask of the model of this name.
    pub(super) fn of(model: &str, renders: &[Render]) -> Vec<SizedPictures> {
        let one = |&Render { width, height, .. }: &Render| {
            let (model, miniature) = (model.to_owned(), model == mini::NAME);
            SizedPictures { model, miniature, width, height, pictures: 1 }
        };
        sum(renders.iter().map(one))
    }
}

/// Each model and size once, where it comes first.
fn sum(asked: impl Iterator<Item = SizedPictures>) -> Vec<SizedPictures> {
    let mut sums: Vec<SizedPictures> = Vec::new();
    for more in asked {
        let alike = |sum: &&mut SizedPictures| {
            (&sum.model, sum.width, sum.height) == (&more.model, more.width, more.height)
        };
        match sums.iter_mut().find(alike) {
            Some(sum) => sum.pictures += more.pictures,
            None => sums.push(more),
        }
    }
    sums
}

/// What is hardly meant in one file.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct JobWarnings {
    /// As whoever submits calls it.
    pub file: String,
    /// At least one.
    #[cfg_attr(test, schemars(with = "Vec<crate::job::warning::WarningText>"))]
    pub warnings: Vec<Warning>,
}

/// When the first of a job's renders may be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct JobStart {
    /// As whoever submits calls it.
    pub file: String,
    /// UTC, milliseconds since the epoch.
    pub not_before_ms: i64,
}

/// When the last of a job's renders may be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct JobEnd {
    /// As whoever submits calls it.
    pub file: String,
    /// UTC, milliseconds since the epoch.
    pub not_after_ms: i64,
}

impl Submitted {
    /// What is to be said of `jobs` whatever becomes of them.
    pub(super) fn of<'j, J: IntoIterator<Item = &'j CheckedJob>>(
        jobs: impl Fn() -> J,
    ) -> Submitted {
        let start = |job: &CheckedJob| {
            Some(JobStart { file: job.name.clone(), not_before_ms: job.not_before_ms? })
        };
        let end = |job: &CheckedJob| {
            Some(JobEnd { file: job.name.clone(), not_after_ms: job.not_after_ms? })
        };
        let warned = |job: &CheckedJob| {
            let (file, warnings) = (job.name.clone(), job.warnings.clone());
            (!warnings.is_empty()).then_some(JobWarnings { file, warnings })
        };
        Submitted {
            starts: jobs().into_iter().filter_map(start).collect(),
            ends: jobs().into_iter().filter_map(end).collect(),
            warnings: jobs().into_iter().filter_map(warned).collect(),
            pictures: jobs().into_iter().map(|job| job.resolved.job.renders.len()).sum(),
            asked: sum(jobs().into_iter().flat_map(|job| job.asked.iter().cloned())),
            ..Submitted::default()
        }
    }
}

/// A file that waits in the jobs folder for a daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LeftFile {
    /// Its name as it was handed over.
    pub file: String,
    /// Its name in the jobs folder.
    pub name: String,
}

/// A file that is a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TakenJob {
    /// The file's name in the jobs folder.
    pub file: String,
    /// The job's id.
    pub job: i64,
}

/// A file that the daemon found no job in. Its rules may be others than those of whoever submits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RefusedFile {
    /// The file's name in the jobs folder.
    pub file: String,
    /// What the daemon says against it.
    pub report: String,
}
