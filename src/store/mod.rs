//! Every SQL statement of the program.
//!
//! One writer connection (`BEGIN IMMEDIATE`), a small read-only pool; WAL with `synchronous=FULL`; times are UTC
//! milliseconds handed in. State columns change only here, each by a guarded update: a [`Guarded::Stale`] answer means
//! that somebody else moved the row first, and is for the caller to deal with.

use std::path::Path;

use serde::Serialize;

use crate::engine::Stage;
use crate::job::state::State;
use crate::job::{Job, Render};
use crate::ladder::Rung;
use crate::worker::protocol::{Loaded, Peaks, Timings};

/// Why the database could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is no database of ours, damaged, of another version, or SQLite is too old: exit 78.
    #[error("{0}")]
    Unusable(String),
    /// No room on the disk: nothing was written.
    #[error("the disk of the database is full")]
    Full,
    /// Anything else SQLite or sqlx said.
    #[error(transparent)]
    Sql(sqlx::Error),
}

/// Result of the store.
pub type Result<T> = std::result::Result<T, StoreError>;

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

/// A job file read and checked, to be taken in.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub job: Job,
    pub file: SourceFile,
    /// The file's text, kept: later edits of the file mean nothing.
    pub text: String,
    /// The job that this one retries.
    pub retry_of: Option<i64>,
}

/// What identifies one drop of one file: unique in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// As dropped, without folder.
    pub name: String,
    pub device: u64,
    pub inode: u64,
    pub mtime_ns: i64,
    /// Lower-case hex.
    pub sha256: String,
}

/// A job in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub job_id: i64,
    /// False when the very same drop had been taken in before (a crash came between commit and move).
    pub fresh: bool,
}

/// The render that the dispatcher would take next.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub render_id: i64,
    pub job_id: i64,
    /// Position in the job, from 1.
    pub index: u32,
    pub render: Render,
    pub accepted_at_ms: i64,
    /// Rungs of this render that ran out of memory, oldest first, with the stage where they did.
    pub tried: Vec<(Rung, Stage)>,
    /// Attempts in which the worker died.
    pub deaths: u32,
}

/// How an attempt ended without a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptEnd {
    pub outcome: Outcome,
    pub stage: Option<Stage>,
    pub message: String,
    pub requested_bytes: Option<u64>,
    pub timings: Timings,
    pub peaks: Peaks,
}

/// The outcome of an attempt; `running` until it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Running,
    Done,
    OutOfMemory,
    /// The worker died or was killed for silence: counted against the render.
    Crashed,
    /// Stopped by us: not counted.
    Interrupted,
    Cancelled,
    Failed,
}

/// What becomes of a render whose attempt ended without a picture.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// Running on: another attempt row follows at once with [`Store::begin_attempt`].
    NextAttempt,
    /// Back to queued (interrupted, orphaned or deferred).
    Requeue {
        run_after_ms: Option<i64>,
    },
    /// Ended, with a reason code such as `out_of_memory`, `crashed_worker`, `bad_picture`, `invalid`.
    Fail {
        code: &'static str,
        message: String,
    },
    Cancel,
}

/// A finished picture, under its final name.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Relative to the output folder.
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
    pub prompt_cut: bool,
    pub degraded: bool,
    pub timings: Timings,
    pub peaks: Peaks,
}

/// A render found running at start, under the instance lock.
#[derive(Clone, Debug)]
pub struct Orphan {
    pub render_id: i64,
    pub attempt_id: i64,
    /// The final name recorded for the attempt, relative to the output folder.
    pub path: String,
    pub rung: Rung,
    pub render: Render,
    pub deaths: u32,
}

/// The open database.
pub struct Store {}

impl Store {
    /// Opens (and for the daemon creates and migrates) the database.
    pub async fn open(_path: &Path, _access: Access) -> Result<Store> {
        todo!()
    }

    /// Closes all connections, after a checkpoint when this is the writer.
    pub async fn close(self) {
        todo!()
    }

    /// `PRAGMA data_version` of a connection of its own: changes whenever anybody else committed.
    pub async fn data_version(&self) -> Result<i64> {
        todo!()
    }

    // -- intake

    /// Takes all `jobs` in, in one transaction; the answers are in the same order.
    pub async fn accept(&self, _jobs: &[NewJob], _now_ms: i64) -> Result<Vec<Accepted>> {
        todo!()
    }

    /// Notes files that were set aside, with the reason that the user was told.
    pub async fn reject(&self, _files: &[(SourceFile, String)], _now_ms: i64) -> Result<()> {
        todo!()
    }

    // -- dispatcher

    /// The render to run next: priority, then order of arrival; none while the queue is paused.
    pub async fn next_candidate(&self, _now_ms: i64) -> Result<Option<Candidate>> {
        todo!()
    }

    /// Writes the attempt row, with its rung and the picture's final name, and sets the render running. From queued
    /// for the first attempt, from running (with no attempt running) for a ladder step. `None`: stale.
    pub async fn begin_attempt(&self, _render_id: i64, _rung: &Rung, _path: &str, _now_ms: i64) -> Result<Option<i64>> {
        todo!()
    }

    /// The picture could not get its recorded name: records another before the rename.
    pub async fn rename_attempt(&self, _attempt_id: i64, _path: &str) -> Result<Guarded> {
        todo!()
    }

    /// The attempt made its picture: attempt and render are done.
    pub async fn finish(&self, _attempt_id: i64, _finished: &Finished, _now_ms: i64) -> Result<Guarded> {
        todo!()
    }

    /// The attempt ended without a picture: both rows, in one transaction.
    pub async fn end_attempt(
        &self,
        _attempt_id: i64,
        _end: &AttemptEnd,
        _fate: &Fate,
        _now_ms: i64,
    ) -> Result<Guarded> {
        todo!()
    }

    /// Everything found running; called once at start, under the instance lock.
    pub async fn orphans(&self) -> Result<Vec<Orphan>> {
        todo!()
    }

    /// Whether the user wants this render cancelled.
    pub async fn cancel_wanted(&self, _render_id: i64) -> Result<bool> {
        todo!()
    }

    /// Notes a started worker with its model.
    pub async fn worker_loaded(&self, _loaded: &Loaded, _now_ms: i64) -> Result<()> {
        todo!()
    }

    /// How many renders are in `state`.
    pub async fn count(&self, _state: State) -> Result<u64> {
        todo!()
    }

    /// Anything to do now or later: queued or running renders.
    pub async fn is_idle(&self) -> Result<bool> {
        todo!()
    }
}
