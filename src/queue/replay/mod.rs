//! Pictures as jobs that make them again: the same picture where it is one of ours and this machine
//! has what made it, else one as near as can be, with all that differs.

mod job_text;
mod model;
mod others;
mod ours;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde::Serialize;

use self::model::KnownModel;
use super::{CheckedJob, Queue, QueueError, check, submit_wish};
use crate::config::Config;
use crate::files;
use crate::output::metadata::QueueFacts;
use crate::output::{self, PictureFacts, PictureMaker};
use crate::store::{HistoryRow, Selection, WorkerRow};

/// Marks the jobs of `verify`.
const VERIFY_TAG: &str = "verify";

/// The picture's name says which one it repeats: the job is called as that.
const REPLAY_NAME: &str = "{name}-replay";

/// A larger file is no picture that says how it was made.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Pictures that were asked for again.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Replays {
    /// Those that are jobs, or would be.
    pub pictures: Vec<Replay>,
    /// Those that are none, and why.
    pub refused: Vec<NotReplayed>,
}

/// A picture as a job.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Replay {
    /// The picture's file.
    pub picture: PathBuf,
    /// The program that has made it.
    pub maker: PictureMaker,
    /// Whether it will be the same picture, pixel for pixel: nothing differs.
    pub same_picture: bool,
    /// What differs, or is not known, so that another picture may come of it.
    pub differences: Vec<Difference>,
    /// What else is good to know of it.
    pub notes: Vec<String>,
    /// The job's text, a TOML file.
    pub toml: String,
    /// The job's id; null where it is only shown, or waits for the first daemon.
    pub job: Option<i64>,
}

/// What keeps a picture from being the same again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Difference {
    /// What differs.
    pub kind: DifferenceKind,
    /// How, for people.
    pub text: String,
}

/// What may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// Another program has made it, with other noise for the same seed.
    Maker,
    /// The model's content, or what is known of it.
    Model,
    /// The version of this program.
    Version,
    /// How it was rendered: which rung.
    Rung,
    /// The device, or what is known of it.
    Device,
    /// A LoRA is missing, or has another content.
    Lora,
    /// The picture that it began with is missing.
    Input,
    /// The file has only the beginning of the prompt.
    Prompt,
    /// A setting that means nothing here, or that is not said.
    Setting,
}

/// A picture that is not asked for again.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NotReplayed {
    /// The picture's file.
    pub picture: PathBuf,
    /// Why, for people.
    pub reason: String,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayUse {
    /// Jobs are handed over.
    Submit,
    /// Only those that are the same picture are.
    SubmitSame,
    /// As that, for `verify`, which marks its jobs with a tag.
    Verify,
    /// The jobs are only shown.
    Show,
}

/// A job that is being put together.
#[derive(Default)]
struct Draft {
    lines: job_text::JobLines,
    differences: Vec<Difference>,
    notes: Vec<String>,
}

impl Draft {
    fn differs(&mut self, kind: DifferenceKind, text: impl Into<String>) {
        self.differences.push(Difference { kind, text: text.into() });
    }
}

/// What is known of this place, to compare with.
pub(super) struct Here<'c> {
    config: &'c Config,
    queue: Option<Queue<'c>>,
    worker: Option<WorkerRow>,
    /// The configured models with their parts, once they were looked for: files are read for it.
    models: OnceLock<Vec<KnownModel<'c>>>,
}

impl<'c> Here<'c> {
    async fn of(config: &'c Config) -> Here<'c> {
        // Without a database nothing is known, which is told of each picture.
        Here::with(config, Queue::open(config).await.ok()).await
    }

    /// For whoever has the queue open.
    pub(super) async fn of_queue(queue: &Queue<'c>) -> Here<'c> {
        let same = Queue::of(queue.config, Arc::clone(&queue.store));
        Here::with(queue.config, Some(same)).await
    }

    async fn with(config: &'c Config, queue: Option<Queue<'c>>) -> Here<'c> {
        let worker = match &queue {
            Some(queue) => queue.store.last_worker().await.ok().flatten(),
            None => None,
        };
        Here { config, queue, worker, models: OnceLock::new() }
    }

    /// The row of the picture, where this queue made it.
    async fn row(&self, facts: &PictureFacts) -> Option<HistoryRow> {
        let (PictureFacts::Ours(metadata), Some(queue)) = (facts, &self.queue) else { return None };
        let QueueFacts { job, index, owner, .. } = &metadata.queue;
        if owner.database != queue.store.id() {
            return None;
        }
        let render = Selection::Render { job_id: *job, index: *index };
        queue.store.history(render).await.ok()?.into_iter().next()
    }
}

/// Makes a job of each of the `pictures`, one after the other.
pub async fn replay(
    config: &Config,
    pictures: &[PathBuf],
    what_for: ReplayUse,
) -> Result<Replays, QueueError> {
    let here = Here::of(config).await;
    let mut replays = Replays::default();
    for picture in pictures {
        match one(&here, picture, what_for).await {
            Ok(replay) => replays.pictures.push(replay),
            Err(why) => {
                let reason = why.reason()?;
                replays.refused.push(NotReplayed { picture: picture.clone(), reason });
            }
        }
    }
    Ok(replays)
}

/// Why a picture is not asked for again.
pub(super) enum Refusal {
    /// For whoever asks: it is the picture's.
    Picture(String),
    /// Nothing at all can be done.
    Queue(QueueError),
}

impl Refusal {
    /// For people, where it is the picture's.
    pub(super) fn reason(self) -> Result<String, QueueError> {
        match self {
            Refusal::Picture(reason) => Ok(reason),
            Refusal::Queue(QueueError::Mistakes(mistakes)) => {
                let told = mistakes.problems.iter().map(|problem| problem.message.clone());
                Ok(format!("no job: {}", told.collect::<Vec<_>>().join("; ")))
            }
            Refusal::Queue(error) => Err(error),
        }
    }
}

/// Makes a job of one picture.
pub(super) async fn one(
    here: &Here<'_>,
    picture: &Path,
    what_for: ReplayUse,
) -> Result<Replay, Refusal> {
    let content = read(picture).map_err(|error| Refusal::Picture(error.to_string()))?;
    let facts = output::facts_in(&content).ok_or_else(|| {
        Refusal::Picture(match output::format_of(&content) {
            Some(_) => "it does not say how it was made".to_owned(),
            None => "it is no PNG, JPEG or WebP picture".to_owned(),
        })
    })?;
    let row = here.row(&facts).await;
    let (maker, mut draft) = match facts {
        PictureFacts::Ours(metadata) => {
            let format = output::format_of(&content);
            (PictureMaker::Zimaged, ours::draft(here, *metadata, row.as_ref(), format))
        }
        PictureFacts::Others(found) => {
            (found.maker, others::draft(here, &found).map_err(Refusal::Queue)?)
        }
    };
    draft.lines.text_key("output", REPLAY_NAME);
    if what_for == ReplayUse::Verify {
        draft.lines.tag(VERIFY_TAG);
    }
    let toml = draft.lines.text();
    let checked = check(here.config, Path::new("/"), name(picture), toml.clone().into_bytes());
    let checked = checked.map_err(Refusal::Queue)?;
    let Draft { differences, notes, .. } = draft;
    let same_picture = differences.is_empty();
    let must_be_same = matches!(what_for, ReplayUse::SubmitSame | ReplayUse::Verify);
    if must_be_same && !same_picture {
        let told: Vec<String> = differences.into_iter().map(|it| it.text).collect();
        return Err(Refusal::Picture(told.join("; ")));
    }
    let job = match what_for {
        ReplayUse::Show => None,
        _ => hand_over(here, checked).await.map_err(Refusal::Queue)?,
    };
    let picture = picture.to_owned();
    Ok(Replay { picture, maker, same_picture, differences, notes, toml, job })
}

async fn hand_over(here: &Here<'_>, mut job: CheckedJob) -> Result<Option<i64>, QueueError> {
    let submitted = match &here.queue {
        Some(queue) => queue.take_wish(&mut job).await?,
        None => submit_wish(here.config, &mut job).await?,
    };
    Ok(submitted.jobs.first().map(|taken| taken.job))
}

fn read(picture: &Path) -> io::Result<Vec<u8>> {
    let content = files::read_plain(picture, FILE_BYTES_MAX)?;
    match content.len() as u64 > FILE_BYTES_MAX {
        true => Err(io::Error::other(format!("it is larger than {} MiB", FILE_BYTES_MAX >> 20))),
        false => Ok(content),
    }
}

/// What the job is called: as the picture.
fn name(picture: &Path) -> String {
    let stem = picture.file_stem().unwrap_or_default();
    format!("{}.toml", stem.to_string_lossy())
}
