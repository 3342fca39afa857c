//! What a database needs while it is used: that it and its log still lie in their place, that the
//! log does not stay large, that it is read again before it is called damaged.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions, Connection};

use super::connection::{LOG_BYTES_MAX, options};
use super::error::code::IO_ERROR;
use super::log_file::{beside, is_empty_log, is_folded};
use super::{Result, Store, StoreError};

/// So many times a database is read through before it is called damaged.
const CHECKS: u32 = 2;

impl Store {
    /// Whether the files that are open still lie at their paths, and hold what was written into
    /// them. What cannot be looked at counts as being there.
    pub async fn place(&self) -> Result<DatabasePlace> {
        match self.names() {
            DatabasePlace::Kept => self.content().await,
            other => Ok(other),
        }
    }

    fn names(&self) -> DatabasePlace {
        let [log, index] = ["-wal", "-shm"].map(|suffix| beside(&self.path, suffix));
        let has_log = self.log.is_none_or(|open| is_at(open, &log));
        let has_index = self.index.is_none_or(|open| is_at(open, &index));
        match (is_at(self.file, &self.path), has_log, has_index) {
            (false, _, _) => DatabasePlace::Lost,
            (true, true, true) => DatabasePlace::Kept,
            // Others do not see our locks any more, and we do not see theirs.
            (true, true, false) => DatabasePlace::LogLost,
            // Whoever reads now makes a new one, which is empty.
            (true, false, _) if is_empty_log(&log) => DatabasePlace::LogLost,
            (true, false, _) => DatabasePlace::Lost,
        }
    }

    /// Which files are open, told to other processes: the inodes of the database, its log and the
    /// log's index. No other file gets one of them meanwhile.
    pub fn inodes(&self) -> String {
        let inode = |file: Option<(u64, u64)>| file.map_or(0, |(_, inode)| inode);
        format!("{} {} {}", self.file.1, inode(self.log), inode(self.index))
    }

    /// Carries the log over into the database; false where a reader is in the way.
    pub async fn fold_log(&self) -> Result<bool> {
        self.lift_barrier().await;
        Ok(is_folded(&self.writer).await?)
    }

    /// Empties a long log. It stays while somebody reads an old state, for which nobody waits.
    pub(super) async fn shrink_log(&self) -> Result<()> {
        let log = fs::metadata(beside(&self.path, "-wal"));
        if log.map_or(0, |log| log.len()) <= LOG_BYTES_MAX {
            return Ok(());
        }
        let impatient = options(&self.path).busy_timeout(Duration::ZERO);
        let mut connection = impatient.connect().await?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await?;
        Ok(connection.close().await?)
    }

    /// The `error`, unless it says that the database may be damaged or cannot be read: then what
    /// was done to its files, or what reading it through says.
    pub async fn judged(&self, error: StoreError) -> StoreError {
        if !matches!(error, StoreError::Suspect(_) | StoreError::Disk(_)) {
            return error;
        }
        match (self.place().await.ok().and_then(DatabasePlace::trouble), error) {
            (Some(trouble), _) => trouble,
            (None, StoreError::Suspect(error)) => verdict(&self.path, &error).await,
            (None, other) => other,
        }
    }
}

/// Whether the files of a database lie where they were when they were opened, as they were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabasePlace {
    Kept,
    /// The log or its index has no name any more, and the database has: what is written is lost,
    /// unless it is carried over from the open log.
    LogLost,
    /// Another database lies in its place, or none, or a log that somebody else has written.
    Lost,
    /// The log was cut short, or other bytes were written into it. The database has what was
    /// carried over before.
    LogOverwritten,
    /// The database was cut short, or another one was written over it: nothing is left of it.
    Overwritten,
}

impl DatabasePlace {
    /// What ends a daemon: what it would write from then on would be lost, or do harm.
    pub fn trouble(self) -> Option<StoreError> {
        let unusable = |why: &str| Some(StoreError::Unusable(why.to_owned()));
        match self {
            DatabasePlace::Kept => None,
            DatabasePlace::LogLost => Some(StoreError::Starved(LOG_GONE.to_owned())),
            DatabasePlace::Lost => unusable(GONE),
            DatabasePlace::LogOverwritten => unusable(LOG_OVERWRITTEN),
            DatabasePlace::Overwritten => unusable(OVERWRITTEN),
        }
    }
}

const GONE: &str = "the database was removed or replaced while the daemon ran";

const LOG_GONE: &str = "the database's log, or the index of it, was removed while the daemon ran; what \
                        it held is carried over into the database";

const LOG_OVERWRITTEN: &str = "the database's log (its name with -wal behind) was cut short or \
    overwritten while the daemon ran: of what was written in the seconds before, the database has only \
    what the log still holds";

const OVERWRITTEN: &str = "the database was cut short or overwritten while the daemon ran: what it \
    held is gone, and the next start takes what lies there now. A backup is put back while no daemon \
    runs: zimaged restore FILE";

fn is_at(open: (u64, u64), path: &Path) -> bool {
    match file_id(path) {
        Ok(file) => file == open,
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Device and inode of the file at `path`.
pub(super) fn file_id(path: &Path) -> io::Result<(u64, u64)> {
    let facts = fs::metadata(path)?;
    Ok((facts.dev(), facts.ino()))
}

/// Whether the database at `path`, of which SQLite said `error`, is damaged: only where it is, each
/// time it is read through.
pub(super) async fn verdict(path: &Path, error: &str) -> StoreError {
    let mut findings = error.to_owned();
    for _ in 0..CHECKS {
        match check_file(path).await {
            Ok(None) => return StoreError::Disk(error.to_owned()),
            Ok(Some(found)) => findings = found,
            Err(StoreError::Suspect(error)) => findings = error,
            Err(other) => return other,
        }
    }
    StoreError::Unusable(format!(
        "the database is damaged; put a backup back: zimaged restore FILE ({findings})"
    ))
}

async fn check_file(path: &Path) -> Result<Option<String>> {
    let mut connection = options(path).read_only(true).connect().await?;
    let found = findings(&mut connection).await?;
    connection.close().await?;
    Ok(found)
}

/// What SQLite finds wrong when it reads everything; `None` where all is well. Of a disk that does
/// not give a page the check tells as of a finding.
pub(super) async fn findings(connection: &mut SqliteConnection) -> Result<Option<String>> {
    let found: String =
        sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut *connection).await?;
    match found.as_str() {
        "ok" => Ok(None),
        text if is_of_the_disk(text) => Err(StoreError::Disk(found)),
        _ => Ok(Some(found)),
    }
}

/// Whether a finding is that a page could not be had from the disk.
fn is_of_the_disk(finding: &str) -> bool {
    let code = finding.rsplit_once("unable to get the page. error code=");
    let code = code.and_then(|(_, code)| code.trim().parse::<i32>().ok());
    code.is_some_and(|code| code & 0xff == IO_ERROR)
}
