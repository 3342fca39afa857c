//! The log is carried over into the database by the daemon alone, after a look at both files.
//!
//! People reach into a database that is open: they cut its log short, or copy a backup over it in
//! place. SQLite does not see that. It would carry zeros over, or pages of one database into
//! another. So a transaction that reads stays open between two looks. While it is, no process
//! carries anything over, and what the database's file has lost or got was not SQLite's doing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::SystemTime;

use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions, Connection};

use super::care::DatabasePlace;
use super::connection::options;
use super::log_file::beside;
use super::log_frames::ReadLog;
use super::log_index::{IndexFit, LogIndex, LogProgress};
use super::{Result, Store, StoreError};
use crate::files;

/// So much of the database is compared where its file was written to, or only touched: the first
/// pages of all tables lie there, and the last ids, which change with each attempt.
const COMPARED_BYTES: u64 = 1 << 20;

/// What is in the way of whoever would carry the log over.
pub(super) struct Barrier {
    /// In a transaction while the barrier stands.
    reader: SqliteConnection,
    stands: bool,
    /// The database's file when the barrier was put up; none where something was left that others
    /// may still carry over.
    seen: Option<FileState>,
    /// As far as the log was read through.
    read: Option<ReadLog>,
    /// The same file. It lives as long as the database is open: to close any descriptor of it
    /// drops SQLite's locks.
    file: File,
}

impl Barrier {
    /// Of the database at `path`, which is open. It does not stand yet.
    pub(super) async fn new(path: &Path) -> Result<Barrier> {
        let reader = options(path).read_only(true).connect().await?;
        let file = File::open(path).map_err(|error| StoreError::Starved(error.to_string()))?;
        Ok(Barrier { reader, stands: false, seen: None, read: None, file })
    }

    async fn lift(&mut self) {
        self.stands = false;
        // Where there is no transaction there is nothing to end.
        let _ = sqlx::query("ROLLBACK").execute(&mut self.reader).await;
    }

    async fn put_up(&mut self, index: &LogIndex) -> Result<()> {
        let before = self.seen.take();
        sqlx::query("BEGIN").execute(&mut self.reader).await?;
        // A transaction begins with the first row that it reads.
        sqlx::query("SELECT id FROM identity").fetch_optional(&mut self.reader).await?;
        self.stands = true;
        // Commits that came in between are not kept from being carried over.
        let has_all = index.progress().map_err(disk)?.is_some_and(LogProgress::has_all);
        self.seen = has_all.then(|| FileState::of(&self.file, before)).transpose().map_err(disk)?;
        Ok(())
    }

    /// Ends it, before the last connection is closed; the file is for the caller to close after
    /// that.
    pub(super) async fn end(self) -> File {
        // What cannot be closed in good order ends with its thread.
        let _ = self.reader.close().await;
        self.file
    }
}

pub(super) fn disk(error: io::Error) -> StoreError {
    StoreError::Disk(error.to_string())
}

/// What tells whether anybody has written to a file.
#[derive(Clone, PartialEq, Eq)]
struct FileState {
    bytes: u64,
    modified: SystemTime,
    /// SHA-256 of its beginning.
    beginning: String,
}

impl FileState {
    /// As the file is now; what was known of it `before` is not read again.
    fn of(file: &File, before: Option<FileState>) -> io::Result<FileState> {
        let facts = file.metadata()?;
        let (bytes, modified) = (facts.len(), facts.modified()?);
        match before {
            Some(before) if (before.bytes, before.modified) == (bytes, modified) => Ok(before),
            _ => Ok(FileState { bytes, modified, beginning: beginning(file, bytes)? }),
        }
    }

    /// Whether the file has the content that it had. One that was only touched has.
    fn is_still(&self, file: &File) -> io::Result<bool> {
        let facts = file.metadata()?;
        Ok(facts.len() == self.bytes
            && (facts.modified()? == self.modified
                || beginning(file, self.bytes)? == self.beginning))
    }
}

fn beginning(file: &File, bytes: u64) -> io::Result<String> {
    let mut begun = vec![0; bytes.min(COMPARED_BYTES) as usize];
    file.read_exact_at(&mut begun, 0)?;
    Ok(files::sha256(begun))
}

impl Store {
    /// Carries the log over into the database, as [`Store::place`] has found both, and empties a
    /// long one. What a reader needs stays.
    pub async fn carry_over(&self) -> Result<()> {
        let mut barrier = self.barrier.lock().await;
        let (Some(barrier), Some(index)) = (&mut *barrier, &self.log_index) else { return Ok(()) };
        // Nobody else in this process writes meanwhile.
        let mut writer = self.writer.acquire().await?;
        let progress = index.progress().map_err(disk)?;
        if barrier.stands && progress.is_some_and(LogProgress::has_all) {
            return Ok(());
        }
        barrier.lift().await;
        let carried = self.carry(&mut writer).await;
        barrier.put_up(index).await?;
        carried
    }

    async fn carry(&self, writer: &mut SqliteConnection) -> Result<()> {
        sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(writer).await?;
        self.shrink_log().await
    }

    /// Lets the log be carried over by whoever wants to.
    pub(super) async fn lift_barrier(&self) {
        if let Some(barrier) = &mut *self.barrier.lock().await {
            barrier.lift().await;
        }
    }

    /// Whether both files hold what SQLite has written into them, as far as the barrier tells.
    pub(super) async fn content(&self) -> Result<DatabasePlace> {
        let mut barrier = self.barrier.lock().await;
        let standing = barrier.as_mut().filter(|barrier| barrier.stands);
        let (Some(barrier), Some(index)) = (standing, &self.log_index) else {
            return Ok(DatabasePlace::Kept);
        };
        if let Some(seen) = &barrier.seen
            && !seen.is_still(&barrier.file).map_err(disk)?
        {
            return Ok(DatabasePlace::Overwritten);
        }
        let fit = self.index_fit().await?;
        let progress = index.progress().map_err(disk)?;
        match fit {
            IndexFit::LogWrong => return Ok(DatabasePlace::LogOverwritten),
            IndexFit::Fits if progress.is_some_and(LogProgress::has_all) => {
                return Ok(DatabasePlace::Kept);
            }
            _ => (),
        }
        // Nobody writes meanwhile, and the index is right.
        let writing = match self.begin().await {
            Ok(writing) => Some(writing),
            // Where a page of the log is missing, nothing can be read at all.
            Err(StoreError::Disk(_) | StoreError::Suspect(_)) => None,
            Err(other) => return Err(other),
        };
        let is_whole = self.has_whole_log(barrier, index).await;
        if let Some(writing) = writing {
            writing.rollback().await?;
        }
        Ok(if is_whole? { DatabasePlace::Kept } else { DatabasePlace::LogOverwritten })
    }

    async fn has_whole_log(&self, barrier: &mut Barrier, index: &LogIndex) -> Result<bool> {
        // What cannot be told now is asked again.
        let Some(progress) = index.progress().map_err(disk)? else { return Ok(true) };
        if progress.has_all() {
            return Ok(true);
        }
        let (log, before) = (beside(&self.path, "-wal"), barrier.read.take());
        let read = move || ReadLog::read(&log, before, progress.frames);
        let read = tokio::task::spawn_blocking(read).await;
        barrier.read = read.map_err(|error| disk(io::Error::other(error)))?.map_err(disk)?;
        Ok(barrier.read.is_some())
    }

    /// Keeps a log that was overwritten from being carried over as it is: whoever uses it next, in
    /// whatever process, makes its index anew, and takes what has the right checksums.
    pub fn distrust_log(&self) -> io::Result<()> {
        self.log_index.as_ref().map_or(Ok(()), |index| index.empty())
    }

    /// Forgets what a log holds whose database was overwritten.
    pub fn drop_log(&self) -> io::Result<()> {
        OpenOptions::new().write(true).open(beside(&self.path, "-wal"))?.set_len(0)?;
        self.distrust_log()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::Access;

    #[tokio::test]
    async fn a_database_that_was_touched_is_kept_and_one_that_was_written_over_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sqlite");
        let store = Store::open(&path, Access::Daemon).await.expect("a new database");
        store.carry_over().await.unwrap();
        let place = async || store.place().await.unwrap();
        store.pause("a night", 1).await.unwrap();
        assert_eq!(place().await, DatabasePlace::Kept);
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();
        assert_eq!(place().await, DatabasePlace::Kept, "as `touch` does");
        let mut other = fs::read(&path).unwrap();
        other[5000] ^= 1;
        fs::write(&path, &other).unwrap();
        assert_eq!(place().await, DatabasePlace::Overwritten, "as long as it was");
        other.truncate(4096);
        fs::write(&path, &other).unwrap();
        assert_eq!(place().await, DatabasePlace::Overwritten, "cut short");
    }

    #[tokio::test]
    async fn the_log_of_a_database_behind_a_link_is_looked_at_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let [elsewhere, link] = ["elsewhere", "queue.sqlite"].map(|name| folder.path().join(name));
        fs::create_dir(&elsewhere).unwrap();
        let path = elsewhere.join("queue.sqlite");
        Store::open(&path, Access::Daemon).await.expect("a new database").close().await;
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let store = Store::open(&link, Access::Daemon).await.expect("the same database");
        store.carry_over().await.expect("its log is found");
        store.pause("a night", 1).await.unwrap();
        store.carry_over().await.expect("it is carried over");
        store.pause("another", 2).await.unwrap();
        let log = OpenOptions::new().write(true).open(beside(&path, "-wal")).unwrap();
        log.set_len(0).unwrap();
        assert_eq!(store.place().await.unwrap(), DatabasePlace::LogOverwritten);
    }

    #[tokio::test]
    async fn a_log_that_was_cut_short_is_noticed_and_not_carried_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.sqlite");
        let store = Store::open(&path, Access::Daemon).await.expect("a new database");
        store.pause("carried over", 1).await.unwrap();
        store.carry_over().await.unwrap();
        let log = OpenOptions::new().write(true).open(beside(&path, "-wal")).unwrap();
        log.set_len(0).unwrap();
        assert_eq!(store.place().await.unwrap(), DatabasePlace::Kept, "the database has it all");
        store.resume(2).await.unwrap();
        assert_eq!(store.place().await.unwrap(), DatabasePlace::Kept, "and it is begun anew");
        log.set_len(0).unwrap();
        store.pause("another", 3).await.unwrap();
        assert_eq!(store.place().await.unwrap(), DatabasePlace::LogOverwritten);
        store.distrust_log().unwrap();
        store.close().await;
        let store = Store::open(&path, Access::Daemon).await.expect("no harm was done");
        let paused = store.paused().await.unwrap().expect("what was carried over before");
        assert_eq!(paused.reason, "carried over");
    }
}
