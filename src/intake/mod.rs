//! The watched folder: the scan is the truth, notify is a hint.
//!
//! A drop is taken in steps, each safe to repeat after a death in front of it: read from one
//! descriptor and checked; committed to the database; moved to `accepted/ID-NAME`; both folders
//! fsynced. From the commit on the file means nothing: dying between commit and move, the next scan
//! finds the drop known and only moves it. The order of files that are ready together is that of
//! their modification times, then of their names.

mod drop;
mod folders;
mod look;
mod name;
mod spool;
mod watch;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch as channel};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::drop::{random_seed, source_file};
use self::spool::{Batch, Spool};
use crate::clock::Clock;
use crate::job::spec::Rules;
use crate::store::{Accepted, Store};

/// The pause between two scans while no event comes. Where the filesystem sends none, a drop waits
/// no longer than this.
const IDLE: Duration = Duration::from_secs(2);

/// The pause between two scans while some file may still be being written.
const WAITING: Duration = Duration::from_millis(100);

/// The shortest pause between two scans: many events in a row cause few scans.
const GAP: Duration = Duration::from_millis(5);

/// Takes job files from a folder into the store.
pub struct Intake {
    spool: Arc<Mutex<Spool>>,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    accepted: Arc<Notify>,
    wake: Arc<Notify>,
    waiting: channel::Sender<usize>,
}

impl Intake {
    /// Makes `jobs/`, `jobs/accepted/` and `jobs/rejected/` where they are missing and starts
    /// watching. `accepted` is notified after each transaction that took jobs in.
    pub fn open(
        folder: PathBuf,
        rules: Rules,
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        accepted: Arc<Notify>,
    ) -> io::Result<Intake> {
        let wake = Arc::new(Notify::new());
        let spool = Arc::new(Mutex::new(Spool::open(folder, rules, wake.clone())?));
        Ok(Intake { spool, store, clock, accepted, wake, waiting: channel::Sender::new(1) })
    }

    /// The number of job files in the folder that are not dealt with yet, as of the latest scan
    /// that did not fail. It is not 0 before the first one.
    pub fn waiting(&self) -> channel::Receiver<usize> {
        self.waiting.subscribe()
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
        self.on_spool(move |spool| spool.survey(now)).await??;
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
                true => info!(job = job_id, renders = new.job.renders.len(), "accepted {name}"),
                false => info!("{name} is job {job_id} already; touch the file to run it again"),
            }
        }
        for unfit in &batch.unfit {
            warn!(
                "{} is set aside, see {}.error.txt beside it in rejected/",
                unfit.file.name, unfit.file.name
            );
        }
        if !batch.unfit.is_empty() {
            let rows: Vec<_> = batch
                .unfit
                .iter()
                .map(|unfit| (unfit.file.clone(), unfit.report.clone()))
                .collect();
            self.store.reject(&rows, now_ms).await.map_err(io::Error::other)?;
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
    pub async fn run(mut self, stop: CancellationToken) {
        let mut trouble = None;
        while !stop.is_cancelled() {
            let started = Instant::now();
            let waiting = self.scan().await;
            let pause = if matches!(waiting, Ok(1..)) { WAITING } else { IDLE };
            tell(&mut trouble, waiting.err());
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

/// Logs a failed scan unless the one before failed in the same way, and the first good one after
/// it.
fn tell(trouble: &mut Option<String>, error: Option<io::Error>) {
    let message = error.map(|error| error.to_string());
    match &message {
        Some(message) if trouble.as_ref() != Some(message) => {
            warn!("job files are not taken in: {message}")
        }
        None if trouble.is_some() => info!("job files are taken in again"),
        _ => {}
    }
    *trouble = message;
}
