//! What a database needs while it is used: that it still lies in its place, that its log does not
//! stay large, that it is read again before it is called damaged.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions, Connection};

use super::connection::{LOG_BYTES_MAX, options};
use super::log_file::beside;
use super::{Result, Store, StoreError};

/// So many times a database is read through before it is called damaged.
const CHECKS: u32 = 2;

impl Store {
    /// Whether the file that is open still lies at its path. What cannot be looked at counts as
    /// being there.
    pub fn is_in_place(&self) -> bool {
        match file_id(&self.path) {
            Ok(file) => file == self.file,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Empties a long log. It stays while somebody reads an old state, for which nobody waits.
    pub async fn shrink_log(&self) -> Result<()> {
        let log = fs::metadata(beside(&self.path, "-wal"));
        if log.map_or(0, |log| log.len()) <= LOG_BYTES_MAX {
            return Ok(());
        }
        let impatient = options(&self.path).busy_timeout(Duration::ZERO);
        let mut connection = impatient.connect().await?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await?;
        Ok(connection.close().await?)
    }

    /// The `error`, unless it says that the database may be damaged: then what reading it through
    /// says.
    pub async fn judged(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Suspect(error) => verdict(&self.path, &error).await,
            other => other,
        }
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

/// What SQLite finds wrong when it reads everything; `None` where all is well.
pub(super) async fn findings(connection: &mut SqliteConnection) -> Result<Option<String>> {
    let found: String =
        sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut *connection).await?;
    Ok((found != "ok").then_some(found))
}
