//! What the daemon is doing, what is to be done, and what lies in the jobs folder.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::agreement::unread_configuration;
use super::{Outlook, Queue, begun_anew, check_present, saved_database};
use crate::config::{Config, ModelChoice};
use crate::instance::InstanceLock;
use crate::intake::{self, FILES_SHOWN_MAX, FolderContents, IntakeStatus, WaitingFile, Why};
use crate::job::warning::Warning;
use crate::status::{self, Status};
use crate::store::{JobRow, LateJob, NO_DATABASE, Pause, RejectionRow, Result, Store, WorkerRow};

/// Of so many jobs that were begun the status says how far they are.
const BEGUN_MAX: u32 = 5;

/// So many of the jobs that came too late are told.
const LATE_MAX: u32 = 5;

/// What came too late longer ago is no news.
const LATELY_MS: i64 = 24 * 60 * 60 * 1000;

/// So many of the files that were set aside are told.
const REJECTED_MAX: u32 = 5;

/// The queue and its daemon at one moment.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct QueueStatus {
    /// The folder of the database: which queue this is.
    pub state_folder: PathBuf,
    /// The configuration that names it; `None` where all is default.
    pub config: Option<PathBuf>,
    /// Whether a daemon runs.
    pub running: bool,
    /// What it says of itself; nothing yet where it has just been started.
    pub daemon: Option<Status>,
    /// Why nothing can be said of the queue: there is no database yet, or it is locked. What comes
    /// from it is empty then.
    pub database: Option<String>,
    /// What was saved of a database that was taken away from a daemon and is not put back: where it
    /// is, and what puts it back.
    pub saved_database: Option<String>,
    /// That this queue began empty although there had been one: what tells so, and what to do.
    pub begun_anew: Option<String>,
    /// The newest jobs of which renders were cancelled in the last day, because their time was
    /// over.
    pub late: Vec<LateJob>,
    /// The newest jobs of which something was begun.
    pub begun: Vec<JobRow>,
    /// Renders.
    pub queued: u64,
    /// Where the daemon does not go by the configuration as it is now: what would have it do so.
    pub unread_configuration: Option<String>,
    /// What is still to be done, and how long it takes.
    pub outlook: Outlook,
    /// The pause, while there is one.
    pub paused: Option<Pause>,
    /// The model that was loaded last.
    pub model: Option<WorkerRow>,
    /// Why the configured model cannot be loaded, where no daemon runs that says so itself: a
    /// missing folder, a wrong file.
    pub model_trouble: Option<String>,
    /// What lies in the jobs folder.
    pub jobs_folder: JobsFolder,
    /// Files that were set aside and not put right since, newest first, each with the first line of
    /// its report.
    pub rejected: Vec<RejectionRow>,
    /// How many such files there are beside these.
    pub more_rejected: u64,
}

/// What lies in the jobs folder. Of each sort the first are named, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct JobsFolder {
    /// Where it is.
    pub path: PathBuf,
    /// The number of job files that are not taken in yet.
    pub waiting: usize,
    /// Job files that are not taken in yet.
    pub files: Vec<WaitingFile>,
    /// The number of other things.
    pub left_alone: usize,
    /// Other things.
    pub others: Vec<OtherFile>,
    /// Why no file is taken in at all, where a daemon runs; or why the folder cannot be listed.
    pub trouble: Option<String>,
}

/// Something in the jobs folder that is no job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OtherFile {
    /// Its name.
    pub file: String,
    /// Why it is no job.
    pub why: Why,
    /// What would make it one, for people.
    pub what_to_do: String,
}

/// How it stands now, also where there is no daemon and no database yet.
pub async fn queue_status(config: &Config) -> Result<QueueStatus> {
    let without = |why: String| QueueStatus { database: Some(why), ..status_of(config) };
    if Store::is_missing(&config.database_path()) {
        let lost = check_present(config).err().map(|lost| lost.to_string());
        return Ok(without(lost.unwrap_or_else(|| NO_DATABASE.to_owned())));
    }
    let known = match Queue::open(config).await {
        Ok(queue) => queue.status().await,
        Err(error) => Err(error),
    };
    match known {
        Err(error) if error.may_pass_for_a_read() => Ok(without(error.to_string())),
        known => known,
    }
}

/// What can be said without the database.
pub fn status_of(config: &Config) -> QueueStatus {
    let running = InstanceLock::is_held(&config.state);
    // A file without a lock is what a killed daemon left.
    let daemon = status::read(&config.state).filter(|_| running);
    let taking = daemon.as_ref().map(|daemon| &daemon.intake);
    let jobs_folder = match intake::contents(&config.jobs) {
        Ok(contents) => JobsFolder::of(&config.jobs, contents, running, taking),
        Err(error) => JobsFolder {
            path: config.jobs.clone(),
            trouble: Some(format!("{}: {error}", config.jobs.display())),
            ..JobsFolder::default()
        },
    };

    QueueStatus {
        // What needs a restart stands in what the daemon says of its reload.
        unread_configuration: unread_configuration(config)
            .filter(|told| matches!(told, Warning::UnreadConfiguration { reload_pid: Some(_), .. }))
            .map(|told| told.to_string()),
        state_folder: config.state.clone(),
        config: config.file.clone(),
        saved_database: saved_database(config),
        begun_anew: begun_anew(config),
        running,
        daemon,
        jobs_folder,
        model_trouble: if running { None } else { model_trouble(config) },
        ..QueueStatus::default()
    }
}

/// What a start would say at once of a model that is named. No weights are read.
fn model_trouble(config: &Config) -> Option<String> {
    let ModelChoice::Named(_) = config.model else { return None };
    let checked = config.describe_model().and_then(|_| config.check_weights());
    checked.err().map(|error| error.to_string())
}

impl JobsFolder {
    /// `taking` is what a daemon that runs says of it.
    fn of(
        path: &Path,
        contents: FolderContents,
        running: bool,
        taking: Option<&IntakeStatus>,
    ) -> JobsFolder {
        let FolderContents { jobs, left_alone } = contents;
        let trouble = taking.and_then(|taking| taking.trouble.clone());
        let reason = |file: &String| {
            let told = taking.iter().flat_map(|taking| &taking.waiting);
            let told = told.into_iter().find(|waiting| waiting.file == *file);
            match (&trouble, told) {
                _ if !running => "no daemon is running".to_owned(),
                (Some(trouble), _) => trouble.clone(),
                (None, Some(told)) => told.reason.clone(),
                (None, None) => "the daemon has not looked at it yet".to_owned(),
            }
        };
        let files = jobs.iter().take(FILES_SHOWN_MAX);
        let files = files.map(|file| WaitingFile { reason: reason(file), file: file.clone() });
        let files = files.collect();
        let others = left_alone.iter().take(FILES_SHOWN_MAX).map(|left| OtherFile {
            file: left.file.clone(),
            why: left.why,
            what_to_do: left.why.to_string(),
        });
        let others = others.collect();
        let (path, waiting, left_alone) = (path.to_owned(), jobs.len(), left_alone.len());
        JobsFolder { path, waiting, files, left_alone, others, trouble }
    }
}

impl Queue<'_> {
    /// All of it, with what the database knows.
    pub async fn status(&self) -> Result<QueueStatus> {
        Ok(QueueStatus { outlook: self.outlook().await?, ..self.status_without_outlook().await? })
    }

    /// The newest files that were set aside and not put right since.
    pub async fn rejected(&self) -> Result<Vec<RejectionRow>> {
        self.store.open_rejections(REJECTED_MAX).await
    }

    /// All but the outlook, which walks through all that waits: for whoever asks every second.
    pub async fn status_without_outlook(&self) -> Result<QueueStatus> {
        let store = &self.store;
        let rejected = self.rejected().await?;
        Ok(QueueStatus {
            late: store.late_jobs(self.clock.now_ms() - LATELY_MS, LATE_MAX).await?,
            begun: store.begun(BEGUN_MAX).await?,
            queued: store.queued().await?,
            paused: store.paused().await?,
            model: store.last_worker().await?,
            more_rejected: match rejected.len() {
                0 => 0,
                told => store.count_open_rejections().await?.saturating_sub(told as u64),
            },
            rejected,
            ..status_of(self.config)
        })
    }
}
