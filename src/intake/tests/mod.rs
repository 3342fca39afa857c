//! The spool over real files, with the clock in the test's hand and a counter for a database.

mod folder;
mod identity;
mod refusing;
mod taking;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use tempfile::TempDir;

use super::*;
use crate::config::Config;
use crate::engine::fake;
use crate::job::origin::{DropId, Origin};
use crate::loras::LoraFolder;
use crate::store::{Accepted, DropFate};

const JOB: &str = "prompt = 'a cat'\n";

/// Longer than a file must be unchanged to be whole.
const STABLE_MS: u64 = 500;

/// The time of day does not matter to these files.
const NOW_MS: i64 = 0;

/// Longer than an unfit file may stay.
const GRACE_MS: u64 = 5000;

struct Bench {
    folder: TempDir,
    spool: Spool,
    wake: Arc<Notify>,
    start: Instant,
    job_id: i64,
    /// The database.
    fates: HashMap<DropId, DropFate>,
}

/// What a scan did.
#[derive(Debug, Default, PartialEq)]
struct Done {
    accepted: Vec<String>,
    rejected: Vec<String>,
    waiting: usize,
}

/// What an empty configuration and the fake engine ask of a job.
fn no_loras() -> LoraFolder {
    LoraFolder { path: "/none".into(), model: None, models: std::collections::BTreeMap::new() }
}

fn rules() -> Rules {
    Config::parse("", Path::new("/")).unwrap().rules(&fake::description(), TimeZone::UTC).unwrap()
}

fn open_spool(folder: &TempDir, lock: FolderLock, wake: &Arc<Notify>) -> Spool {
    let [inputs, reading] = ["inputs", "reading"].map(|name| folder.path().join(name));
    let places = IntakePlaces { inputs, loras: no_loras(), reading };
    Spool::open(lock, places, channel::channel(rules()).1, wake.clone()).unwrap()
}

impl Bench {
    fn new() -> Bench {
        Bench::with(|_| ())
    }

    /// With files that lie in `jobs/` before the start: nobody saw them come.
    fn with(before: impl FnOnce(&Path)) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let jobs = folder.path().join("jobs");
        fs::create_dir(&jobs).unwrap();
        before(&jobs);
        let wake = Arc::new(Notify::new());
        let lock = FolderLock::take(&jobs).unwrap();
        let spool = open_spool(&folder, lock, &wake);
        let (start, fates) = (Instant::now(), HashMap::new());
        Bench { folder, spool, wake, start, job_id: 0, fates }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("jobs").join(name)
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != ".zimaged.lock").collect();
        names.sort();
        names
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// As after a death: what was in memory is gone.
    fn restarted(self) -> Bench {
        let Bench { folder, spool, wake, start, job_id, fates } = self;
        drop(spool);
        let lock = FolderLock::take(&folder.path().join("jobs")).unwrap();
        let spool = open_spool(&folder, lock, &wake);
        Bench { folder, spool, wake, start, job_id, fates }
    }

    /// The first half of a scan, so many milliseconds after the start: the folder is listed.
    fn survey(&mut self, ms: u64) -> Instant {
        let now = self.start + Duration::from_millis(ms);
        self.spool.survey(now).unwrap();
        self.spool.settle(&self.fates, now).unwrap();
        now
    }

    /// Commits a batch to the database.
    fn commit(&mut self, batch: &Batch) -> Vec<Accepted> {
        for (file, report) in &batch.unfit {
            self.fates.insert(file.id, DropFate::Refused(report.clone()));
        }
        let ids = batch.jobs.iter().map(|job| {
            let Origin::Drop { id, .. } = job.origin else { panic!("{:?}", job.origin) };
            if let Some(DropFate::Job(job_id)) = self.fates.get(&id) {
                return Accepted { job_id: *job_id, fresh: false };
            }
            self.job_id += 1;
            self.fates.insert(id, DropFate::Job(self.job_id));
            Accepted { job_id: self.job_id, fresh: true }
        });
        ids.collect()
    }

    /// One scan, so many milliseconds after the start.
    fn scan(&mut self, ms: u64) -> Done {
        let now = self.survey(ms);
        let mut done = Done::default();
        while let Some(batch) = self.spool.next_batch(now, NOW_MS).unwrap() {
            done.accepted.extend(batch.jobs.iter().map(|job| job.name.clone()));
            done.rejected.extend(batch.unfit.iter().map(|(file, _)| file.name.clone()));
            let ids = self.commit(&batch);
            self.spool.put_away(batch, ids).unwrap();
        }
        done.waiting = self.spool.waiting(now);
        done
    }

    /// Waits for the watcher's word that something arrived.
    fn hear(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let heard =
            async { tokio::time::timeout(Duration::from_secs(30), self.wake.notified()).await };
        runtime.block_on(heard).expect("the watcher says something");
    }

    /// Scans at one time until `enough`: the watcher's hints come when they come.
    fn scan_until(&mut self, ms: u64, enough: impl Fn(&Done) -> bool) -> Done {
        loop {
            let done = self.scan(ms);
            if enough(&done) {
                return done;
            }
            self.hear();
        }
    }
}

fn accepted(names: &[&str]) -> Done {
    Done { accepted: names.iter().map(ToString::to_string).collect(), ..Done::default() }
}

fn rejected(names: &[&str]) -> Done {
    Done { rejected: names.iter().map(ToString::to_string).collect(), ..Done::default() }
}

fn waiting(waiting: usize) -> Done {
    Done { waiting, ..Done::default() }
}
