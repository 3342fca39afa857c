//! The blocking side of the intake: lists `jobs/`, reads what is whole, moves what is dealt with.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::{Dir, FileType};
use tokio::sync::Notify;
use tracing::warn;

use super::drop::{self, Dropped, Unfit, fingerprint};
use super::folders::Folders;
use super::look::{Arrival, Look, Readiness};
use super::name::{is_foreign, is_job, shown};
use super::watch::Watch;
use crate::job::spec::Rules;
use crate::store::{Accepted, NewJob};

/// Files of one transaction: enough that its fsync is nothing for each, few enough that the first
/// job of thousands starts at once.
const BATCH_FILES_MAX: usize = 500;

/// Text of one transaction, kept in memory.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// Renders of one transaction, unless one job has more.
const BATCH_RENDERS_MAX: usize = 10_000;

/// What is known of the folder. Bounded by what lies in it.
pub struct Spool {
    path: PathBuf,
    rules: Rules,
    folders: Folders,
    watch: Watch,
    looks: HashMap<OsString, Look>,
    /// To be read in this scan, in order.
    ready: VecDeque<OsString>,
    /// Folders in `jobs/` that the user was told about.
    ignored: HashSet<OsString>,
}

/// What goes into the database together.
#[derive(Default)]
pub struct Batch {
    pub jobs: Vec<NewJob>,
    pub unfit: Vec<Unfit>,
    bytes: usize,
    renders: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.jobs.len() + self.unfit.len() >= BATCH_FILES_MAX
            || self.bytes >= BATCH_BYTES_MAX
            || self.renders >= BATCH_RENDERS_MAX
    }

    fn add_job(&mut self, job: NewJob) {
        self.bytes += job.text.len();
        self.renders += job.job.renders.len();
        self.jobs.push(job);
    }

    fn add_unfit(&mut self, unfit: Unfit) {
        self.bytes += unfit.report.len();
        self.unfit.push(unfit);
    }
}

impl Spool {
    /// Opens the folders and starts watching.
    pub fn open(path: PathBuf, rules: Rules, wake: Arc<Notify>) -> io::Result<Spool> {
        let folders = Folders::open(&path)?;
        if folders.is_open_to_all()? {
            warn!("everybody on this machine may drop jobs into {}", path.display());
        }
        let mut watch = Watch::new(wake);
        watch.follow(&path, folders.id()?, Instant::now());
        Ok(Spool {
            path,
            rules,
            folders,
            watch,
            looks: HashMap::new(),
            ready: VecDeque::new(),
            ignored: HashSet::new(),
        })
    }

    /// Lists the folder and finds what is ready to be read: oldest first, then by name.
    pub fn survey(&mut self, now: Instant) -> io::Result<()> {
        self.folders = Folders::open(&self.path)?;
        self.watch.follow(&self.path, self.folders.id()?, now);
        let mut arrivals = self.watch.arrivals();
        let mut before = mem::take(&mut self.looks);
        let mut ignored_before = mem::take(&mut self.ignored);
        for entry in Dir::read_from(&self.folders.jobs)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if is_job(name) {
                self.look(name, before.remove(name), arrivals.remove(name), now)?;
            }
            if entry.file_type() == FileType::Directory {
                self.ignore_folder(name, ignored_before.remove(name));
            }
        }
        self.sort_ready(now);
        Ok(())
    }

    fn look(
        &mut self,
        name: &OsStr,
        before: Option<Look>,
        arrival: Option<Arrival>,
        now: Instant,
    ) -> io::Result<()> {
        if let Some(stat) = drop::stat(&self.folders.jobs, name)?
            && !drop::is_folder(&stat)
        {
            self.looks
                .insert(name.to_owned(), Look::next(before, fingerprint(&stat), arrival, now));
        }
        Ok(())
    }

    fn ignore_folder(&mut self, name: &OsStr, told: bool) {
        if is_foreign(name) || name == "accepted" || name == "rejected" {
            return;
        }
        if !told {
            warn!(
                "jobs/{} is a folder: jobs in it are not read, move the files into jobs/",
                shown(name)
            );
        }
        self.ignored.insert(name.to_owned());
    }

    fn sort_ready(&mut self, now: Instant) {
        let due = |look: &Look| matches!(look.readiness(now), Readiness::Try | Readiness::Decide);
        let ready = self.looks.iter().filter(|(_, look)| due(look));
        let mut ready: Vec<(i64, OsString)> =
            ready.map(|(name, look)| (look.fingerprint.mtime_ns, name.clone())).collect();
        ready.sort_unstable();
        self.ready = ready.into_iter().map(|(_, name)| name).collect();
    }

    /// The next files of this scan, read and checked at the time of day `now_ms`; `None` when there
    /// are no more.
    pub fn next_batch(&mut self, now: Instant, now_ms: i64) -> io::Result<Option<Batch>> {
        let mut batch = Batch::default();
        while !batch.is_full()
            && let Some(name) = self.ready.pop_front()
        {
            self.read(name, &mut batch, now, now_ms)?;
        }
        Ok(Some(batch).filter(|batch| !batch.jobs.is_empty() || !batch.unfit.is_empty()))
    }

    fn read(
        &mut self,
        name: OsString,
        batch: &mut Batch,
        now: Instant,
        now_ms: i64,
    ) -> io::Result<()> {
        let Some(look) = self.looks.get_mut(&name) else { return Ok(()) };
        match drop::read(&self.folders.jobs, &name, look.fingerprint, &self.rules, now_ms)? {
            Dropped::Job(job) => batch.add_job(job),
            Dropped::Unfit(unfit) if look.readiness(now) == Readiness::Decide => {
                batch.add_unfit(unfit)
            }
            Dropped::Unfit(_) => look.unfit(),
            Dropped::Changed => {}
        }
        Ok(())
    }

    /// Moves files that are in the database out of `jobs/`; `accepted` in the order of the batch's
    /// jobs. One that cannot be moved stays, dealt with.
    pub fn put_away(&mut self, batch: Batch, accepted: Vec<Accepted>) -> io::Result<()> {
        for (job, Accepted { job_id, .. }) in batch.jobs.iter().zip(accepted) {
            let moved = self.folders.accept(&job.name, job_id);
            self.moved(job.name.as_ref(), moved);
        }
        for unfit in &batch.unfit {
            let moved = self.folders.reject(&unfit.name, &unfit.report);
            self.moved(&unfit.name, moved);
        }
        self.folders.sync()
    }

    fn moved(&mut self, name: &OsStr, moved: io::Result<()>) {
        match moved {
            // Taken back or moved away by the user in between: nothing is left to do.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                warn!("jobs/{} is dealt with but cannot be moved away: {error}", shown(name));
                self.looks.entry(name.to_owned()).and_modify(Look::stuck);
            }
            _ => drop(self.looks.remove(name)),
        }
    }

    /// Job files that are not dealt with yet.
    pub fn waiting(&self, now: Instant) -> usize {
        self.looks.values().filter(|look| look.readiness(now) != Readiness::Leave).count()
    }
}
