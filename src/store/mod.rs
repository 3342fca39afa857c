//! Every SQL statement of the program.
//!
//! One writer connection (`BEGIN IMMEDIATE`), a small read-only pool; WAL with `synchronous=FULL`;
//! times are UTC milliseconds handed in. A render's state changes only in `transition`, by a
//! guarded update: a [`Guarded::Stale`] answer means that somebody else moved the row first, and is
//! for the caller to deal with.
//!
//! Never drop the future of a call that writes (in a `select!`, by a time-out): the statement may
//! be carried out all the same.

mod answers;
mod barrier;
mod care;
mod connection;
mod control;
mod copy;
mod dispatch;
mod due;
mod edit;
mod error;
mod events;
mod evidence;
mod examine;
mod gallery;
mod in_use;
mod inputs;
mod intake;
mod log_file;
mod log_frames;
mod log_index;
mod measured;
mod nights;
mod open;
mod outbox;
mod outcome;
mod peaks;
mod speeds;
mod prune;
mod queries;
mod recovery;
mod refusal;
mod requests;
mod retry;
mod rows;
mod since;
mod strays;
mod totals;
mod transition;
mod verify;
mod views;
mod waiting;
mod writing;

use std::path::PathBuf;
use std::sync::Arc;

use sqlx::sqlite::SqlitePool;
use tokio::sync::Mutex;

pub use self::answers::{AttemptRow, HistoryRow, JobRow, RejectionRow, WorkerRow};
use self::barrier::Barrier;
pub use self::care::DatabasePlace;
pub use self::control::{Cancelled, Pause, RenderFilter};
pub use self::edit::EditFate;
pub use self::error::{Result, StoreError};
pub use self::events::EventRow;
pub use self::evidence::SeenOnRung;
pub use self::examine::Contents;
pub use self::gallery::GalleryFilter;
pub use self::intake::DropFate;
pub use self::measured::{MeasuredAttempt, MeasuredWorker};
pub use self::nights::LateJob;
pub use self::open::NO_DATABASE;
pub use self::outbox::OutboxRow;
pub use self::peaks::{Fall, PeakRow};
pub use self::prune::{Forgettable, RecordedPicture};
pub use self::queries::{JobFilter, PictureFilter};
pub use self::retry::{Repeat, Retried};
pub use self::since::LogMark;
pub use self::speeds::{DayRow, SpeedRow};
pub use self::strays::Stray;
pub use self::totals::{Metric, PICTURE_MS, RATIOS, STAGE_MS, Total};
pub use self::verify::DonePicture;
pub use self::views::StatisticsView;
pub use self::waiting::{
    Backlog, Effort, JobBeginning, JobRenders, Leeway, MadePicture, WaitingRenders,
};
use crate::engine::provenance::{PartLoad, PartOrigin};
use crate::files;
use crate::job::Job;
use crate::job::origin::{Origin, SourceFile};

/// The answer of a guarded update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Guarded {
    Changed,
    /// The row was not in the expected state any more; nothing was changed.
    Stale,
}

/// Who may create or migrate the database: only the daemon, under the instance lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Create it if absent, migrate it.
    Daemon,
    /// It must exist with exactly our schema.
    Client,
}

/// A checked job of any origin, to be taken in.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub job: Job,
    pub origin: Origin,
    /// For lists, and without `.toml` for `{name}` in the names of pictures.
    pub name: String,
    /// What was sent, kept: later edits of a file mean nothing.
    pub text: String,
    /// Of what was sent, in lower-case hex.
    pub sha256: String,
    /// What the sender of a request calls it: the same one, sent again, is the same job.
    pub request_key: Option<String>,
}

impl NewJob {
    /// The job in a dropped file.
    pub fn of_drop(job: Job, file: SourceFile, text: String) -> NewJob {
        let SourceFile { name, id, sha256 } = file;
        let origin = Origin::Drop { id, before: None };
        NewJob { job, origin, name, text, sha256, request_key: None }
    }

    /// The job that a request asks for by `text`, under the `name` that it gives itself.
    pub fn of_request(job: Job, name: &str, text: &str) -> NewJob {
        NewJob {
            job,
            origin: Origin::Request,
            name: name.to_owned(),
            text: text.to_owned(),
            sha256: files::sha256(text),
            request_key: None,
        }
    }
}

/// A job in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub job_id: i64,
    /// False when the very same drop had been taken in before (a crash came between commit and
    /// move).
    pub fresh: bool,
}

/// A worker that has loaded its model, to be noted.
#[derive(Clone, Debug)]
pub struct NewWorker {
    pub device: String,
    pub model_name: String,
    /// Its name in daemon.toml; empty for the model of `[model]`.
    pub model_key: String,
    /// Of its weights' content, or what stands for it until [`Store::model_hashed`].
    pub model_hash: String,
    /// What its parts are, as far as that is known.
    pub parts: Vec<PartOrigin>,
    pub load_ms: u64,
    /// The same by part, as far as that is known.
    pub part_loads: Vec<PartLoad>,
    /// Device memory in use with the model loaded and nothing running.
    pub idle_bytes: u64,
    /// What the device has in all; 0 where nobody knows.
    pub total_bytes: u64,
}

/// A job, or one of its renders, as the user names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    Job(i64),
    /// `index` is the position in the job, from 1.
    Render {
        job_id: i64,
        index: u32,
    },
}

impl Selection {
    /// The job's id, also where one render is meant.
    pub fn job_id(self) -> i64 {
        self.parts().0
    }

    /// That it is not in the database.
    fn absent(self) -> StoreError {
        StoreError::NotFound(format!("there is no {self}"))
    }

    /// The job's id, and the position where one render is meant.
    fn parts(self) -> (i64, Option<u32>) {
        match self {
            Selection::Job(job_id) => (job_id, None),
            Selection::Render { job_id, index } => (job_id, Some(index)),
        }
    }
}

/// `12` or `12.3`.
impl std::str::FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Selection, String> {
        let wrong = || format!("'{text}' is neither a job (12) nor a render (12.3)");
        match text.split_once('.') {
            None => text.parse().map(Selection::Job).map_err(|_| wrong()),
            Some((job, index)) => match (job.parse(), index.parse()) {
                (Ok(job_id), Ok(index)) => Ok(Selection::Render { job_id, index }),
                _ => Err(wrong()),
            },
        }
    }
}

impl std::fmt::Display for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Selection::Job(job_id) => write!(f, "job {job_id}"),
            Selection::Render { job_id, index } => write!(f, "render {job_id}.{index}"),
        }
    }
}

/// The open database.
pub struct Store {
    /// One connection: whoever in this process wants to write waits for it, not in SQLite's busy
    /// handler.
    writer: SqlitePool,
    /// Read-only connections.
    readers: SqlitePool,
    path: PathBuf,
    /// Device and inode of the file that is open.
    file: (u64, u64),
    /// As [`Store::file`], of the log; none where there was none when it was opened.
    log: Option<(u64, u64)>,
    /// The same of the log's index.
    index: Option<(u64, u64)>,
    /// What that index says; none of a database in memory.
    log_index: Option<Arc<log_index::LogIndex>>,
    /// See [`Store::id`].
    id: String,
    /// Whether the daemon has it open.
    access: Access,
    /// Those of long changes.
    turns: Mutex<writing::Turns>,
    /// The daemon's alone.
    barrier: Mutex<Option<Barrier>>,
    /// Dropped after the pools; only [`Store::close`] waits until their connections are closed.
    _in_use: in_use::InUse,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_is_a_job_or_a_render() {
        let selection = str::parse::<Selection>;
        assert_eq!(selection("12"), Ok(Selection::Job(12)));
        assert_eq!(selection("12.3"), Ok(Selection::Render { job_id: 12, index: 3 }));
        assert!(selection("12.").is_err());
        assert!(selection("fox").is_err());
    }
}
