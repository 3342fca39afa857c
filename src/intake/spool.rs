//! The blocking side of the intake: lists `jobs/`, reads what is whole, moves what is dealt with.

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::{Dir, FileType};
use tokio::sync::{Notify, watch as channel};
use tracing::warn;

use super::IntakePlaces;
use super::alone::Alone;
use super::batch::Batch;
use super::drop::{self, DropFolders, Dropped, Found, fingerprint};
use super::folders::{Folders, is_open_to_all};
use super::kind::Kind;
use super::look::{Arrival, Look, Readiness};
use super::name::{ERROR_SUFFIX, clean, parse_taken, shown, taken};
use super::reading::{Note, Reading};
use super::report::{FILES_SHOWN_MAX, WaitingFile};
use super::watch::Watch;
use crate::access;
use crate::config::Lists;
use crate::files;
use crate::instance::FolderLock;
use crate::job::origin::{DropId, Origin};
use crate::job::spec::Rules;
use crate::store::{Accepted, DropFate, NewJob};

/// What is known of the folder. Bounded by what lies in it.
pub struct Spool {
    lock: FolderLock,
    places: DropFolders,
    reading: Reading,
    /// Those of this scan.
    rules: Rules,
    /// Those that count now.
    rules_now: channel::Receiver<Rules>,
    lists: Lists,
    folders: Folders,
    watch: Watch,
    /// By the names that the files have in the folder now.
    looks: HashMap<OsString, Look>,
    /// To be read in this scan, in order.
    ready: VecDeque<OsString>,
    alone: Alone,
    /// Whether a file without an identity may have been met by an earlier version of the program:
    /// it lay in the folder when this start began.
    is_first: bool,
}

impl Spool {
    /// Opens the folders in the locked one and starts watching.
    pub fn open(
        lock: FolderLock,
        places: IntakePlaces,
        mut rules_now: channel::Receiver<Rules>,
        wake: Arc<Notify>,
    ) -> io::Result<Spool> {
        let folders = Folders::open(lock.folder())?;
        if is_open_to_all(lock.folder()) {
            warn!("everybody on this machine may drop jobs into {}", lock.folder().display());
        }
        let mut watch = Watch::new(wake);
        watch.follow(lock.folder(), folders.id()?, Instant::now());
        let IntakePlaces { inputs, loras, reading } = places;
        let rules = rules_now.borrow_and_update().clone();
        let lists = Lists::beside(lock.folder(), &rules.wildcards, drop::random_seed);
        Ok(Spool {
            places: DropFolders { jobs: lock.folder().to_owned(), inputs, loras },
            reading: Reading::open(&reading),
            lock,
            lists,
            rules,
            rules_now,
            folders,
            watch,
            looks: HashMap::new(),
            ready: VecDeque::new(),
            alone: Alone::default(),
            is_first: true,
        })
    }

    /// Lists the folder. Answers the drops that had an identity before: what has become of them is
    /// to be told by [`Spool::settle`] next.
    pub fn survey(&mut self, now: Instant) -> io::Result<Vec<DropId>> {
        self.heed_rules();
        self.folders = Folders::open(self.lock.folder())?;
        self.lock.follow().map_err(io::Error::other)?;
        self.watch.follow(self.lock.folder(), self.folders.id()?, now);
        let mut arrivals = self.watch.arrivals();
        let mut before = mem::take(&mut self.looks);
        let mut alone = Vec::new();
        for entry in Dir::read_from(&self.folders.jobs)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            match Kind::of(name, entry.file_type() == FileType::Directory) {
                Kind::Job => {
                    self.look(name, before.remove(name), arrivals.remove(name), now)?;
                }
                Kind::Alone(why) => alone.push((name.to_owned(), why)),
                Kind::Silent => {}
            }
        }
        self.alone.see((self.lock.folder(), self.lock.taken_before()), alone, now);
        Ok(self.looks.keys().filter_map(|name| Some(parse_taken(name)?.0)).collect())
    }

    fn heed_rules(&mut self) {
        // An error says that nobody is left who could change them.
        if self.rules_now.has_changed().unwrap_or(false) {
            self.rules = self.rules_now.borrow_and_update().clone();
            let (folder, wildcards) = (self.lock.folder(), &self.rules.wildcards);
            self.lists = Lists::beside(folder, wildcards, drop::random_seed);
        }
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
            let mut look = Look::next(before, fingerprint(&stat), arrival, now);
            look.may_be_known |= self.is_first;
            self.looks.insert(name.to_owned(), look);
        }
        Ok(())
    }

    /// Moves the drops whose `fates` are known, because a move failed or a death came before it,
    /// and finds what is ready to be read: oldest first, then by name.
    pub fn settle(&mut self, fates: &HashMap<DropId, DropFate>, now: Instant) -> io::Result<()> {
        self.is_first = false;
        let known = |name: &OsString| {
            let (id, shown) = parse_taken(name)?;
            Some((name.clone(), shown, fates.get(&id)?.clone()))
        };
        let known: Vec<_> = self.looks.keys().filter_map(known).collect();
        for (name, shown, fate) in &known {
            self.put(name, shown, fate);
        }
        if !known.is_empty() {
            self.folders.sync()?;
        }
        self.sort_ready(now);
        Ok(())
    }

    fn sort_ready(&mut self, now: Instant) {
        let due = |name: &OsStr, look: &Look| match look.readiness(now) {
            Readiness::Try | Readiness::Decide => true,
            // What has its identity is known to the database, and was just tried by `settle`.
            Readiness::Again => parse_taken(name).is_none(),
            Readiness::Wait => false,
        };
        let ready = self.looks.iter().filter(|(name, look)| due(name, look));
        let mut ready: Vec<(i64, String, OsString)> = ready
            .map(|(name, look)| (look.fingerprint.mtime_ns, shown(name), name.clone()))
            .collect();
        ready.sort_unstable();
        self.ready = ready.into_iter().map(|(_, _, name)| name).collect();
    }

    /// The next files of this scan, read and checked at the time of day `now_ms`; `None` when there
    /// are no more. Each has its identity, also after a power cut.
    pub fn next_batch(&mut self, now: Instant, now_ms: i64) -> io::Result<Option<Batch>> {
        let mut batch = Batch::default();
        while !batch.is_full()
            && let Some(name) = self.ready.pop_front()
        {
            self.read(name, &mut batch, now, now_ms)?;
        }
        if batch.is_empty() {
            return Ok(None);
        }
        self.folders.sync_jobs()?;
        Ok(Some(batch))
    }

    /// See [`Reading::note`].
    pub fn note(&self) -> Note {
        self.reading.note()
    }

    fn read(
        &mut self,
        name: OsString,
        batch: &mut Batch,
        now: Instant,
        now_ms: i64,
    ) -> io::Result<()> {
        let Some(look) = self.looks.get_mut(&name) else { return Ok(()) };
        let (id, shown) = parse_taken(&name).unwrap_or_else(|| (drop::new_id(), clean(&name)));
        let (folder, seen) = (&self.folders.jobs, look.fingerprint);
        let found = Found { folder, name: &name, seen, id, shown, places: &self.places };
        let (rules, lists) = (&self.rules, &self.lists);
        let dropped = match self.reading.is_deadly(seen) {
            true => Ok(found.deadly()),
            false => self.reading.during(seen, || drop::read(found, rules, lists, now_ms)),
        };
        let dropped = match dropped {
            // There may be room for the jobs after it.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                self.stuck(&name, error.to_string());
                return Ok(());
            }
            dropped => dropped?,
        };
        match dropped {
            Dropped::Job(job) => self.claim_job(name, job, batch),
            Dropped::Unfit(unfit)
                if matches!(look.readiness(now), Readiness::Decide | Readiness::Again) =>
            {
                if let Some(place) = self.claim(&name, id, &unfit.file.name)? {
                    batch.add_unfit(place, unfit.file, unfit.report);
                }
                Ok(())
            }
            Dropped::Unfit(unfit) => {
                look.unfit(unfit.report.lines().next().unwrap_or_default());
                Ok(())
            }
            Dropped::Waits(reason) => {
                look.waits(reason);
                Ok(())
            }
            Dropped::Changed => Ok(()),
        }
    }

    fn claim_job(&mut self, name: OsString, mut job: NewJob, batch: &mut Batch) -> io::Result<()> {
        let Origin::Drop { id, before } = &mut job.origin else { return Ok(()) };
        if self.looks.get(&name).is_some_and(|look| look.may_be_known) {
            *before = drop::stat(&self.folders.jobs, &name)?.map(|stat| drop::file_id(&stat));
        }
        if let Some(place) = self.claim(&name, *id, &job.name)? {
            batch.add_job(place, job);
        }
        Ok(())
    }

    /// Gives the file its identity, where it has none, and answers its name with it. `None` where
    /// it is not there any more, cannot be renamed, or is another one by now, which the next scan
    /// looks at.
    fn claim(&mut self, name: &OsStr, id: DropId, shown: &str) -> io::Result<Option<OsString>> {
        if parse_taken(name).is_some() {
            return Ok(Some(name.to_owned()));
        }
        let place = OsString::from(taken(id, shown));
        match self.folders.claim(name, &place) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.looks.remove(name);
                return Ok(None);
            }
            Err(error) => {
                self.stuck(name, format!("it cannot be renamed where it lies: {error}"));
                return Ok(None);
            }
        }
        let Some(look) = self.looks.remove(name) else { return Ok(None) };
        let Some(stat) = drop::stat(&self.folders.jobs, &place)? else { return Ok(None) };
        // A rename changes the time of the last change of the file's state, and nothing else.
        let renamed = fingerprint(&stat);
        let is_same = look.fingerprint.has_content_of(renamed);
        self.looks.insert(place.clone(), look.renamed(renamed));
        Ok(is_same.then_some(place))
    }

    /// Moves files that are in the database out of `jobs/`; `accepted` in the order of the batch's
    /// jobs. One that cannot be moved stays, dealt with, and is tried again by the next scan.
    pub fn put_away(&mut self, batch: Batch, accepted: Vec<Accepted>) -> io::Result<()> {
        let jobs = batch.job_places.iter().zip(&batch.jobs).zip(accepted);
        for ((place, job), Accepted { job_id, .. }) in jobs {
            self.put(place, &job.name, &DropFate::Job(job_id));
        }
        for (place, (file, report)) in batch.unfit_places.iter().zip(batch.unfit) {
            self.put(place, &file.name, &DropFate::Refused(report));
        }
        self.folders.sync()
    }

    fn put(&mut self, place: &OsStr, name: &str, fate: &DropFate) {
        let moved = match fate {
            DropFate::Job(job_id) => self.folders.accept(place, name, *job_id),
            DropFate::Refused(report) => {
                self.folders.reject(place, name, report).map(|there| tell_refused(&there, report))
            }
        };
        // Where it was taken back or moved away by the user in between, nothing is left to do.
        let is_gone = || matches!(drop::stat(&self.folders.jobs, place), Ok(None));
        match moved {
            Err(error) if !is_gone() => {
                self.stuck(place, format!("it is dealt with but cannot be moved away: {error}"));
            }
            _ => std::mem::drop(self.looks.remove(place)),
        }
    }

    /// Tells once that nothing more can be done with a file now.
    fn stuck(&mut self, name: &OsStr, reason: String) {
        let Some(look) = self.looks.get_mut(name) else { return };
        // Where nothing can be, that is told once for all of them.
        if look.stuck(&reason) && files::may_write(&self.folders.jobs).is_ok() {
            let path = self.lock.folder().join(shown(name));
            warn!("{}: {reason}; tried again every two seconds", path.display());
        }
    }

    /// Why no file can be taken in, although the folder was listed: none can be moved in it.
    pub fn closed(&self) -> Option<String> {
        let folder = self.lock.folder();
        let error = files::may_write(&self.folders.jobs).err()?;
        Some(format!("{}: {}", folder.display(), access::told(folder, &error)))
    }

    /// Job files that are not dealt with yet, and can be.
    pub fn waiting(&self, now: Instant) -> usize {
        self.looks.values().filter(|look| look.readiness(now) != Readiness::Again).count()
    }

    /// The first of the files that are still in the folder, with the reason for each.
    pub fn waiting_files(&self) -> Vec<WaitingFile> {
        let mut names: Vec<&OsString> = self.looks.keys().collect();
        names.sort_unstable();
        names.truncate(FILES_SHOWN_MAX);
        let file =
            |name: &OsString| WaitingFile { file: shown(name), reason: self.looks[name].why() };
        names.into_iter().map(file).collect()
    }
}

/// Says why a file was set aside and where the whole report is: beside the file, which has another
/// name there than it was dropped with where one lies there already.
fn tell_refused(there: &str, report: &str) {
    let reason = report.lines().next().unwrap_or_default();
    warn!("set aside, see rejected/{there}{ERROR_SUFFIX}: {reason}");
}
