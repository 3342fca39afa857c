//! What can go wrong, as far as a caller decides on it.

use crate::job::state::Illegal;

/// Why the database could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is no database of ours, damaged, of another version, or SQLite is too old: exit 78.
    #[error("{0}")]
    Unusable(String),
    /// No room on the disk, or no more than a limit on file sizes or a quota allows: nothing was
    /// written.
    #[error(
        "the database cannot be written: its disk is full, or a quota or a limit on file sizes is reached"
    )]
    Full,
    /// Another program kept the database locked for longer than the busy time-out: nothing was
    /// written.
    #[error("the database is locked by another program; try again")]
    Busy,
    /// The disk would not be read or written. Whether a write was carried out is not known.
    #[error("the database's disk fails: {0}")]
    Disk(String),
    /// Too few file descriptors, threads or memory: nothing was written.
    #[error("the database cannot be opened or used for now: {0}; try again")]
    Starved(String),
    /// SQLite takes the database for damaged. It says the same of a disk that failed to read once,
    /// so nobody is told before it was read again: see [`super::Store::judged`].
    #[error(
        "the database could not be read as one: {0}; try again, and if that does not help put a \
         backup back: zimaged restore FILE"
    )]
    Suspect(String),
    /// Nothing matches what the user named.
    #[error("{0}")]
    NotFound(String),
    /// What the user named is there, but has ended, or is being done already.
    #[error("{0}")]
    NothingToDo(String),
    /// A row says what cannot be: a mistake of ours, or of a hand that edited it.
    #[error("render {render_id}: {illegal}")]
    Illegal { render_id: i64, illegal: Illegal },
    /// Anything else SQLite or sqlx said.
    #[error("database: {0}")]
    Sql(sqlx::Error),
}

impl StoreError {
    /// Whether the very same call may succeed later: nothing was written, and it is not the
    /// caller's fault.
    pub fn may_pass(&self) -> bool {
        matches!(self, StoreError::Full | StoreError::Busy | StoreError::Starved(_))
    }

    /// As [`StoreError::may_pass`], for a call that only reads: there is no harm in repeating it
    /// after a failure of the disk either.
    pub fn may_pass_for_a_read(&self) -> bool {
        self.may_pass() || matches!(self, StoreError::Disk(_) | StoreError::Suspect(_))
    }
}

/// Result of the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// SQLite's primary result codes that make a difference.
pub(super) mod code {
    pub const BUSY: i32 = 5;
    /// Another connection of this process holds a lock, or the write-ahead log's index is locked.
    pub const LOCKED: i32 = 6;
    pub const NO_MEMORY: i32 = 7;
    pub const READ_ONLY: i32 = 8;
    pub const IO_ERROR: i32 = 10;
    pub const CORRUPT: i32 = 11;
    pub const FULL: i32 = 13;
    pub const CANNOT_OPEN: i32 = 14;
    /// The locks of the write-ahead log could not be had, however often they were tried for.
    pub const PROTOCOL: i32 = 15;
    pub const NOT_A_DATABASE: i32 = 26;
}

/// SQLite's extended code for a write that the system refused with anything but "no space left": a
/// quota, a limit on file sizes, a disk that fails.
const WRITE_REFUSED: i32 = 778;

/// SQLite's primary result code, where it was SQLite that failed.
pub(super) fn primary_code(error: &sqlx::Error) -> Option<i32> {
    Some(extended_code(error)? & 0xff)
}

fn extended_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        match (primary_code(&error), &error) {
            (Some(code::FULL), _) => StoreError::Full,
            _ if extended_code(&error) == Some(WRITE_REFUSED) => StoreError::Full,
            // In the pool of one writer, waiting for a connection is waiting for whoever waits for
            // the lock.
            (Some(code::BUSY | code::LOCKED | code::PROTOCOL), _)
            | (_, sqlx::Error::PoolTimedOut) => StoreError::Busy,
            (Some(code::IO_ERROR), _) => StoreError::Disk(error.to_string()),
            // A thread for a connection could not be started, or it could not be opened anew.
            (Some(code::CANNOT_OPEN | code::NO_MEMORY), _)
            | (_, sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed) => {
                StoreError::Starved(error.to_string())
            }
            (Some(code::CORRUPT | code::NOT_A_DATABASE), _) => {
                StoreError::Suspect(error.to_string())
            }
            _ => StoreError::Sql(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::store::{Access, Store};

    use super::*;

    #[tokio::test]
    async fn a_full_disk_is_told_nothing_is_written_and_later_writes_work() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(&folder.path().join("queue.sqlite"), Access::Daemon)
            .await
            .expect("a new database");
        // This connection gets no more pages than there are, as on a full disk; the one that
        // replaces it does.
        sqlx::query("PRAGMA max_page_count = 1")
            .execute(&store.writer)
            .await
            .expect("our own connection");
        // More than the pages that the migrations have left free.
        let reason = "x".repeat(1_000_000);
        assert!(matches!(store.pause(&reason, 1).await, Err(StoreError::Full)));
        assert_eq!(store.paused().await.expect("still readable"), None);
        store.pause(&reason, 1).await.expect("there is room again");
    }
}
