//! The watched folder: the scan is the truth, notify is a hint.
//!
//! A drop is taken in steps, each safe to repeat after a death in front of it: read from one
//! descriptor and checked; renamed inside `jobs/` to `.taken-ID-NAME`, where ID is a random number
//! that is its identity from now on; the folder fsynced; committed to the database with that
//! number; moved to `accepted/ID-NAME`; all folders fsynced. A scan that finds a file with an
//! identity asks the database first: what is known there is only moved. So no death and no power
//! cut makes a drop run twice, and nothing but the same drop is taken for it: no copy, whatever its
//! times and inode. The order of files that are ready together is that of their modification times,
//! then of their names.

mod alone;
mod batch;
mod drop;
mod folders;
mod kind;
mod look;
mod name;
mod reading;
mod report;
mod spool;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch as channel};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::batch::Batch;
pub use self::drop::{new_id, random_seed};
pub use self::folders::is_open_to_all;
pub use self::kind::Why;
pub use self::name::{clean, taken};
pub use self::report::{FILES_SHOWN_MAX, FolderContents, IntakeStatus, WaitingFile, contents};
use self::spool::Spool;
pub use self::watch::check_watch;
use crate::clock::{self, Clock};
use crate::instance::FolderLock;
use crate::job::spec::{self, Rules};
use crate::job::warning;
use crate::loras::LoraFolder;
use crate::store::{Accepted, NewJob, Store};

/// The pause between two scans while no event comes. Where the filesystem sends none, a drop waits
/// no longer than this.
const IDLE: Duration = Duration::from_secs(2);

/// The pause between two scans while some file may still be being written.
const WAITING: Duration = Duration::from_millis(100);

/// The shortest pause between two scans: many events in a row cause few scans.
const GAP: Duration = Duration::from_millis(5);

/// Where an intake looks for what files name, and keeps what it has to.
#[derive(Clone, Debug)]
pub struct IntakePlaces {
    /// Pictures as input are kept in this folder.
    pub inputs: PathBuf,
    pub loras: LoraFolder,
    /// The file that says what is being read.
    pub reading: PathBuf,
}

/// Takes job files from a folder into the store.
pub struct Intake {
    spool: Arc<Mutex<Spool>>,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    accepted: Arc<Notify>,
    wake: Arc<Notify>,
    waiting: channel::Sender<usize>,
    status: channel::Sender<IntakeStatus>,
}

impl Intake {
    /// Makes `accepted/` and `rejected/` in the locked jobs folder where they are missing, and
    /// starts watching it. `accepted` is notified after each transaction that took jobs in. Each
    /// scan checks its files by the `rules` of its beginning.
    pub fn open(
        folder: FolderLock,
        places: IntakePlaces,
        rules: channel::Receiver<Rules>,
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        accepted: Arc<Notify>,
    ) -> io::Result<Intake> {
        let wake = Arc::new(Notify::new());
        let spool = Arc::new(Mutex::new(Spool::open(folder, places, rules, wake.clone())?));
        let (waiting, status) = (channel::Sender::new(1), channel::Sender::default());
        Ok(Intake { spool, store, clock, accepted, wake, waiting, status })
    }

    /// The number of job files in the folder that are not dealt with yet, as of the latest scan
    /// that did not fail. It is not 0 before the first one.
    pub fn waiting(&self) -> channel::Receiver<usize> {
        self.waiting.subscribe()
    }

    /// What is told of the folder, as of the latest scan.
    pub fn status(&self) -> channel::Receiver<IntakeStatus> {
        self.status.subscribe()
    }

    /// One look at the folder: takes in or rejects what is ready; the number of job files that
    /// still wait to be whole.
    pub async fn scan(&mut self) -> io::Result<usize> {
        let now = Instant::now();
        let waiting = self.scan_at(now).await?;
        self.waiting.send_replace(waiting);
        Ok(waiting)
    }

    async fn scan_at(&self, now: Instant) -> io::Result<usize> {
        let drops = self.on_spool(move |spool| spool.survey(now)).await??;
        let fates = match drops.is_empty() {
            true => HashMap::new(),
            false => self.store.fates(&drops).await.map_err(io::Error::other)?,
        };
        self.on_spool(move |spool| spool.settle(&fates, now)).await??;
        let now_ms = self.clock.now_ms();
        while let Some(batch) = self.on_spool(move |spool| spool.next_batch(now, now_ms)).await?? {
            self.take(batch).await?;
        }
        self.on_spool(move |spool| spool.waiting(now)).await
    }

    /// Writes the batch to the database, then moves its files out of `jobs/`. A death in between is
    /// harmless: the next scan finds the drops known and only moves them.
    async fn take(&self, batch: Batch) -> io::Result<()> {
        let now_ms = self.clock.now_ms();
        let mut accepted = Vec::new();
        if !batch.jobs.is_empty() {
            accepted = self.store.accept(&batch.jobs, now_ms).await.map_err(io::Error::other)?;
            self.accepted.notify_one();
        }
        for (new, Accepted { job_id, fresh }) in batch.jobs.iter().zip(&accepted) {
            let name = &new.name;
            match fresh {
                true => {
                    info!(job = job_id, renders = new.job.renders.len(), "accepted {name}");
                    warn_of_times(*job_id, new, now_ms);
                }
                false => info!("{name} is job {job_id} already"),
            }
        }
        if !batch.unfit.is_empty() {
            self.store.reject(&batch.unfit, now_ms).await.map_err(io::Error::other)?;
        }
        self.on_spool(move |spool| spool.put_away(batch, accepted)).await?
    }

    /// Runs a step that works on files, and so blocks, on a thread for such work.
    async fn on_spool<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut Spool) -> T + Send + 'static,
    ) -> io::Result<T> {
        let spool = self.spool.clone();
        let step = move || step(&mut spool.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(step).await.map_err(io::Error::other)
    }

    /// Scans on every hint and at intervals, until `stop`. Trouble with the folder or the database
    /// is logged once and tried again.
    pub async fn run(self, stop: CancellationToken) {
        let note = self.on_spool(|spool| spool.note()).await.ok();
        let forgive = async {
            stop.cancelled().await;
            // Not by the spool, which may be reading for long.
            if let Some(note) = note {
                note.close();
            }
        };
        tokio::join!(forgive, self.scan_until(stop.clone()));
    }

    async fn scan_until(mut self, stop: CancellationToken) {
        let mut trouble = None;
        while !stop.is_cancelled() {
            let started = Instant::now();
            let waiting = self.scan().await;
            let pause = if matches!(waiting, Ok(1..)) { WAITING } else { IDLE };
            let failed = match waiting {
                Err(error) => Some(error.to_string()),
                Ok(_) => self.on_spool(|spool| spool.closed()).await.unwrap_or_default(),
            };
            tell(&mut trouble, failed);
            self.publish(trouble.clone()).await;
            // At least as much time passes between scans as a scan takes.
            let gap = started.elapsed().clamp(GAP, IDLE);
            let next = async {
                tokio::time::sleep(gap).await;
                // The time-out is no error: then the folder is scanned without an event.
                let _ = tokio::time::timeout(pause.saturating_sub(gap), self.wake.notified()).await;
            };
            stop.run_until_cancelled(next).await;
        }
    }
}

impl Intake {
    async fn publish(&self, trouble: Option<String>) {
        // The only failure is a panic in the spool, of which the next scan tells.
        let waiting = self.on_spool(|spool| spool.waiting_files()).await.unwrap_or_default();
        let now = IntakeStatus { trouble, waiting };
        self.status.send_if_modified(|status| {
            let is_new = *status != now;
            *status = now;
            is_new
        });
    }
}

/// Says that a time of day of the job turned out to be far away: whoever dropped the file may have
/// meant the day before, and asked no command that would have said so.
fn warn_of_times(job_id: i64, new: &NewJob, now_ms: i64) {
    let times_of_day = spec::times_of_day(&new.text);
    if times_of_day.is_empty() {
        return;
    }
    for warning in warning::of_times(&new.job.times(), &times_of_day, &clock::local(now_ms)) {
        warn!(job = job_id, "{}: {warning}", new.name);
    }
}

/// Logs what keeps files from being taken in, unless it is the same as at the scan before, and the
/// first good scan after it.
fn tell(trouble: &mut Option<String>, message: Option<String>) {
    match &message {
        Some(message) if trouble.as_ref() != Some(message) => {
            warn!("job files are not taken in: {message}")
        }
        None if trouble.is_some() => info!("job files are taken in again"),
        _ => {}
    }
    *trouble = message;
}
