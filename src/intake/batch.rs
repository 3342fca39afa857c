//! The files that go into the database together.

use std::ffi::OsString;

use crate::job::origin::SourceFile;
use crate::store::NewJob;

/// Files of one transaction: enough that its fsync is nothing for each, few enough that the first
/// job of thousands starts at once.
const BATCH_FILES_MAX: usize = 500;

/// Text of one transaction, kept in memory.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// Renders of one transaction, unless one job has more.
const BATCH_RENDERS_MAX: usize = 10_000;

/// What goes into the database together. Its files have their identities.
#[derive(Default)]
pub struct Batch {
    pub jobs: Vec<NewJob>,
    /// The names in `jobs/` of the files of [`Batch::jobs`], in the same order.
    pub job_places: Vec<OsString>,
    /// Files that hold no job, with what the user is told.
    pub unfit: Vec<(SourceFile, String)>,
    /// As [`Batch::job_places`], of [`Batch::unfit`].
    pub unfit_places: Vec<OsString>,
    bytes: usize,
    renders: usize,
}

impl Batch {
    pub fn is_full(&self) -> bool {
        self.jobs.len() + self.unfit.len() >= BATCH_FILES_MAX
            || self.bytes >= BATCH_BYTES_MAX
            || self.renders >= BATCH_RENDERS_MAX
    }

    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.unfit.is_empty()
    }

    pub fn add_job(&mut self, place: OsString, job: NewJob) {
        self.bytes += job.text.len();
        self.renders += job.job.renders.len();
        self.jobs.push(job);
        self.job_places.push(place);
    }

    pub fn add_unfit(&mut self, place: OsString, file: SourceFile, report: String) {
        self.bytes += report.len();
        self.unfit.push((file, report));
        self.unfit_places.push(place);
    }
}
