//! Whether the index of the write-ahead log is the one of that log.
//!
//! SQLite goes by the index alone (the file with `-shm` behind): how many frames of the log count,
//! and which page each of them is. Where somebody copies an older one over it, the next commits are
//! written over those that it does not know, and pages are read from the wrong frames. Each log has
//! salts and a checksum up to each frame, and of a commit behind the last frame that counts nobody
//! but the log knows. So the index is held against the log before anything is written, and before
//! anything is carried over. A wrong one is emptied: then SQLite makes it anew from the log.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::mem;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::log_file::beside;
use super::log_frames::{Log, Salts, Sum};

/// Two copies of the header, and how many frames are carried over.
const BEGINNING_BYTES: usize = 100;
const HEADER_BYTES: usize = 48;

/// The place in a header that is 0 before there is one.
const IS_INIT: usize = 12;

/// Behind all of that, and the marks of readers, come the numbers of the frames' pages; so many
/// stand in each part of the index, the first of which holds the header as well.
const PAGES_AT: u64 = 136;
const FIRST_PART_PAGES: u64 = 4062;
const PART_PAGES: u64 = 4096;
const PART_BYTES: u64 = 32_768;

/// The index of a database's log, as long as that is open.
pub(super) struct LogIndex {
    /// See [`super::in_use`] for when it may be closed.
    index: Arc<File>,
    log: PathBuf,
    known: Mutex<Known>,
}

/// What is known of the log from earlier looks.
#[derive(Default)]
struct Known {
    /// Where it ended when all was well; `None` where it was empty.
    end: Option<LogEnd>,
    /// Of earlier logs. Salts are random, or count how often a log was begun anew: no two logs have
    /// the same ones.
    past: VecDeque<Salts>,
}

/// Of so many earlier logs the salts are known. A log is begun anew every two seconds at most.
const PAST_MAX: usize = 4096;

impl Known {
    fn ends_at(&mut self, end: Option<LogEnd>) {
        if let Some(before) = mem::replace(&mut self.end, end)
            && end.is_none_or(|end| end.salts != before.salts)
        {
            self.past.truncate(PAST_MAX - 1);
            self.past.push_front(before.salts);
        }
    }
}

/// What the index, held against the log, is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IndexFit {
    /// As far as can be told.
    Fits,
    /// It is not that of this log, or of an earlier time.
    IndexWrong,
    /// The log is not the one any more that it was.
    LogWrong,
}

/// How far the log is carried over into the database.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogProgress {
    /// The frames that count.
    pub frames: u64,
    carried: u64,
}

impl LogProgress {
    /// Whether the database has all that the log holds.
    pub(super) fn has_all(self) -> bool {
        self.frames == self.carried
    }
}

/// The end of a log: its last frame that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LogEnd {
    salts: Salts,
    frames: u64,
    sum: Sum,
    /// The page in that frame.
    page: u32,
}

impl LogIndex {
    pub(super) fn new(database: &Path, index: Arc<File>) -> LogIndex {
        LogIndex { index, log: beside(database, "-wal"), known: Mutex::default() }
    }

    /// `None` where somebody changes the index at this moment.
    pub(super) fn progress(&self) -> io::Result<Option<LogProgress>> {
        Ok(Beginning::of(&self.index)?.map(|it| it.progress()))
    }

    /// Holds the index against the log, while nobody writes. Where it fits, it has to go on from
    /// there the next time.
    pub(super) fn look(&self) -> io::Result<IndexFit> {
        let Some(now) = Beginning::of(&self.index)? else { return Ok(IndexFit::IndexWrong) };
        let mut known = self.known();
        // By a log that is empty, or spoiled, nothing can be told.
        let Some(log) = Log::open(&self.log)? else {
            known.ends_at(None);
            return Ok(IndexFit::Fits);
        };
        let fit = match known.end {
            Some(end) => self.fit_after(end, &known.past, &now, &log)?,
            None => self.fit(&now, &log)?,
        };
        if fit == IndexFit::Fits {
            known.ends_at(now.end(&log)?);
        }
        Ok(fit)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the index still has what was known of the log when it was last looked at.
    pub(super) fn is_as_known(&self) -> io::Result<bool> {
        let end = self.known().end;
        end.map_or(Ok(true), |end| self.is_as(end))
    }

    fn is_as(&self, known: LogEnd) -> io::Result<bool> {
        let Some(now) = Beginning::of(&self.index)? else { return Ok(false) };
        match now.salts() == known.salts {
            true => Ok(now.frames() >= known.frames && self.page(known.frames)? == known.page),
            // A long transaction begins the log anew before its end.
            false => Ok(now.frames() == 0 && steps(now.salts(), known.salts) == 1),
        }
    }

    /// Has whoever uses the log next, in whatever process, make the index anew: of what has the
    /// right checksums.
    pub(super) fn empty(&self) -> io::Result<()> {
        self.known().ends_at(None);
        self.index.write_all_at(&[0; 2 * HEADER_BYTES], 0)
    }

    /// As [`LogIndex::look`], after the log ended at `known`.
    fn fit_after(
        &self,
        known: LogEnd,
        past: &VecDeque<Salts>,
        now: &Beginning,
        log: &Log,
    ) -> io::Result<IndexFit> {
        if holds(log, known.salts, known.frames, known.sum)? {
            let goes_on = match now.salts() == known.salts {
                true => now.frames() >= known.frames && self.page(known.frames)? == known.page,
                false => now.is_about_to_begin(log),
            };
            return Ok(if goes_on { IndexFit::Fits } else { IndexFit::IndexWrong });
        }
        if log.salts() != known.salts && !past.contains(&log.salts()) {
            return self.fit(now, log);
        }
        // What the database has all of is begun anew.
        let is_needed = now.salts() != known.salts || !now.progress().has_all();
        Ok(if is_needed { IndexFit::LogWrong } else { IndexFit::Fits })
    }

    /// As [`LogIndex::look`], where nothing is known of the log.
    fn fit(&self, now: &Beginning, log: &Log) -> io::Result<IndexFit> {
        let (frames, sum) = (now.frames(), now.sum());
        let fits = match (now.salts() == log.salts(), frames) {
            (false, _) => now.is_about_to_begin(log),
            (true, 0) => !log.has_commit_behind(0, log.sum())?,
            // The log is cut short: that is told by its own reading.
            (true, _) if !holds(log, log.salts(), frames, sum)? => true,
            (true, _) => {
                let head = log.frame(frames)?;
                head.is_some_and(|head| self.page(frames).is_ok_and(|page| page == head.page))
                    && !log.has_commit_behind(frames, sum)?
            }
        };
        Ok(if fits { IndexFit::Fits } else { IndexFit::IndexWrong })
    }

    /// The number of the page in a frame, as the index has it.
    fn page(&self, frame: u64) -> io::Result<u32> {
        let place = match frame.checked_sub(FIRST_PART_PAGES + 1) {
            None => PAGES_AT + (frame - 1) * 4,
            Some(behind) => (1 + behind / PART_PAGES) * PART_BYTES + behind % PART_PAGES * 4,
        };
        let mut page = [0; 4];
        self.index.read_exact_at(&mut page, place)?;
        Ok(u32::from_ne_bytes(page))
    }
}

/// Whether it is still the log with these salts, up to this frame. Frames of an earlier one lie
/// behind those of a log that was begun anew.
fn holds(log: &Log, salts: Salts, frames: u64, sum: Sum) -> io::Result<bool> {
    let is_same = log.salts() == salts;
    Ok(is_same && log.frame(frames)?.is_some_and(|head| head.salts == salts && head.sum == sum))
}

/// How often a log was begun anew in between.
fn steps(salts: Salts, others: Salts) -> u32 {
    let [new, old] = [salts, others].map(|[a, b, c, d, ..]| u32::from_be_bytes([a, b, c, d]));
    new.wrapping_sub(old)
}

/// The beginning of an index whose header is filled in, twice the same.
struct Beginning([u8; BEGINNING_BYTES]);

impl Beginning {
    fn of(index: &File) -> io::Result<Option<Beginning>> {
        let mut bytes = [0; BEGINNING_BYTES];
        index.read_exact_at(&mut bytes, 0)?;
        let (first, rest) = bytes.split_at(HEADER_BYTES);
        let is_whole = first == &rest[..HEADER_BYTES] && first[IS_INIT] != 0;
        Ok(is_whole.then_some(Beginning(bytes)))
    }

    /// The byte order in an index is the machine's.
    fn word(&self, at: usize) -> u32 {
        let bytes = &self.0[at..at + 4];
        u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    fn frames(&self) -> u64 {
        self.word(16).into()
    }

    fn progress(&self) -> LogProgress {
        LogProgress { frames: self.frames(), carried: self.word(96).into() }
    }

    fn sum(&self) -> Sum {
        let [[a, b, c, d], [e, f, g, h]] = [24, 28].map(|at| self.word(at).to_be_bytes());
        [a, b, c, d, e, f, g, h]
    }

    /// As they stand in the log.
    fn salts(&self) -> Salts {
        std::array::from_fn(|place| self.0[32 + place])
    }

    /// Whether what is written next begins this log anew.
    fn is_about_to_begin(&self, log: &Log) -> bool {
        self.frames() == 0 && steps(self.salts(), log.salts()) == 1
    }

    /// Where the log ends by this index; `None` where it does not.
    fn end(&self, log: &Log) -> io::Result<Option<LogEnd>> {
        let (salts, frames, sum) = (self.salts(), self.frames(), self.sum());
        let last = if frames == 0 { None } else { log.frame(frames)? };
        let last = last.filter(|head| head.salts == salts && head.sum == sum);
        Ok(last.map(|head| LogEnd { salts, frames, sum, page: head.page }))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::{Access, Store, StoreError};

    fn overwrite(path: &Path, bytes: &[u8]) {
        File::options().write(true).open(path).unwrap().write_all_at(bytes, 0).unwrap();
    }

    /// A pause that was ended, and another one, with what the index was in between.
    async fn paused_again(store: &Store, index: &Path) -> Vec<u8> {
        store.pause("first", 1).await.unwrap();
        let earlier = fs::read(index).unwrap();
        store.resume(2).await.unwrap();
        store.pause("second", 3).await.unwrap();
        earlier
    }

    async fn reason(store: &Store) -> Option<String> {
        store.paused().await.unwrap().map(|pause| pause.reason)
    }

    #[tokio::test]
    async fn an_index_of_an_earlier_time_is_made_anew_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sqlite");
        let index = beside(&path, "-shm");
        let store = Store::open(&path, Access::Daemon).await.expect("a new database");
        let earlier = paused_again(&store, &index).await;
        overwrite(&index, &earlier);
        store.resume(4).await.expect("there is the second pause");
        assert_eq!(reason(&store).await, None);
        // The log is begun anew: now it is the index of another one.
        store.carry_over().await.unwrap();
        paused_again(&store, &index).await;
        overwrite(&index, &earlier);
        assert_eq!(store.place().await.unwrap(), crate::store::DatabasePlace::Kept);
        assert_eq!(reason(&store).await.as_deref(), Some("second"), "also before all is written");
        store.close().await;
    }

    /// The daemon alone knows what the log was like before.
    #[tokio::test]
    async fn a_command_writes_nothing_by_an_index_of_an_earlier_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sqlite");
        let index = beside(&path, "-shm");
        let store = Store::open(&path, Access::Daemon).await.expect("a new database");
        store.carry_over().await.unwrap();
        let command = Store::open(&path, Access::Client).await.expect("the same database");
        let earlier = paused_again(&store, &index).await;
        overwrite(&index, &earlier);
        let refused = command.resume(4).await;
        assert!(matches!(&refused, Err(StoreError::Starved(_))), "{refused:?}");
        assert_eq!(store.place().await.unwrap(), crate::store::DatabasePlace::Kept);
        command.resume(5).await.expect("there is the second pause");
        command.close().await;
        store.close().await;
    }

    /// What was read meanwhile may be of any time.
    #[tokio::test]
    async fn a_transaction_in_which_the_index_was_overwritten_is_not_committed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sqlite");
        let index = beside(&path, "-shm");
        let store = Store::open(&path, Access::Daemon).await.expect("a new database");
        let earlier = paused_again(&store, &index).await;
        let mut writing = store.begin().await.unwrap();
        sqlx::query("DELETE FROM pause").execute(&mut *writing).await.unwrap();
        overwrite(&index, &earlier);
        let refused = writing.commit().await;
        assert!(matches!(&refused, Err(StoreError::Starved(_))), "{refused:?}");
        store.begin().await.unwrap().rollback().await.unwrap();
        assert_eq!(reason(&store).await.as_deref(), Some("second"));
        store.close().await;
    }

    #[tokio::test]
    async fn a_log_that_was_put_back_with_its_index_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sqlite");
        let [log, index] = ["-wal", "-shm"].map(|suffix| beside(&path, suffix));
        let store = Store::open(&path, Access::Daemon).await.expect("a new database");
        store.carry_over().await.unwrap();
        store.pause("first", 1).await.unwrap();
        store.place().await.unwrap();
        let earlier = [&log, &index].map(|file| fs::read(file).unwrap());
        store.carry_over().await.unwrap();
        store.resume(2).await.unwrap();
        assert_eq!(store.place().await.unwrap(), crate::store::DatabasePlace::Kept);
        overwrite(&log, &earlier[0]);
        overwrite(&index, &earlier[1]);
        assert_eq!(store.place().await.unwrap(), crate::store::DatabasePlace::LogOverwritten);
    }
}
