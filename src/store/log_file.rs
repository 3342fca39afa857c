//! The write-ahead log beside the database, before SQLite looks at it.
//!
//! SQLite carries a log over into whatever database lies beside it. Where the daemon was killed and
//! a backup then put in the place of its database, that would undo the restore in silence, or mix
//! two states. So each start gives the database a number (`user_version`), which stands in the
//! file's header and in a note beside it; a log is taken only with a database of a noted number.
//! `VACUUM INTO`, and with it our own backup, makes files that never have a log.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, thread};

use sqlx::sqlite::SqlitePool;

use super::connection::APPLICATION_ID;
use crate::files;

/// A log that is no longer has no frames.
const LOG_HEADER_BYTES: u64 = 32;

/// In WAL mode.
const WAL_VERSIONS: [u8; 2] = [2, 2];

/// A daemon that starts at this very moment changes number and note one after the other.
const LOOKS: u32 = 5;
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// `zimaged.sqlite` with `suffix` behind it: beside the file that a link leads to, as SQLite has it.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = resolved(database).into_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

/// Without links, where there is a file.
pub(super) fn resolved(database: &Path) -> PathBuf {
    fs::canonicalize(database).unwrap_or_else(|_| database.to_owned())
}

fn note(database: &Path) -> PathBuf {
    beside(database, "-starts")
}

/// What lies here, or beside it, in place of a file of the database: whoever reads a pipe waits for
/// ever.
pub(super) fn misplaced(database: &Path) -> Option<String> {
    ["", "-wal", "-shm", "-starts"].iter().find_map(|suffix| {
        let path = beside(database, suffix);
        let what = match fs::metadata(&path).ok()?.file_type() {
            kind if kind.is_file() => return None,
            kind if kind.is_dir() => "a folder",
            _ => "a pipe or a device",
        };
        Some(format!("{} is {what}, not a file of a database: remove it", path.display()))
    })
}

/// Whether a database lay here once, whatever lies here now.
pub(super) fn is_noted(database: &Path) -> bool {
    note(database).is_file()
}

/// Whether the log beside the database belongs to another one. Trouble with reading is left to
/// SQLite to tell.
pub(super) fn is_foreign(database: &Path) -> bool {
    (0..LOOKS).all(|look| {
        if look > 0 {
            thread::sleep(LOOK_PAUSE);
        }
        looks_foreign(database).unwrap_or(false)
    })
}

/// Whether a log holds nothing, or is not there.
pub(super) fn is_empty_log(log: &Path) -> bool {
    fs::metadata(log).map_or(true, |log| log.len() <= LOG_HEADER_BYTES)
}

fn looks_foreign(database: &Path) -> io::Result<bool> {
    if fs::metadata(beside(database, "-wal"))?.len() <= LOG_HEADER_BYTES {
        return Ok(false);
    }
    if fs::metadata(database)?.len() == 0 {
        return Ok(true);
    }
    let Header { versions, number, .. } = Header::read(database)?;
    let noted = noted(database);
    Ok(versions != WAL_VERSIONS || !noted.is_empty() && !noted.contains(&number))
}

/// What is looked at in the first 100 bytes of a database.
struct Header {
    /// Of the format, for writing and for reading.
    versions: [u8; 2],
    /// Of the start: SQLite's `user_version`.
    number: i64,
    /// The program's that made it.
    application: i64,
}

impl Header {
    /// Never of a database that this process has open: see [`super::in_use`].
    fn read(database: &Path) -> io::Result<Header> {
        let mut bytes = [0; 100];
        File::open(database)?.read_exact(&mut bytes)?;
        let at = |place: usize| {
            let bytes = &bytes[place..place + 4];
            bytes.iter().fold(0, |number, byte| number << 8 | i64::from(*byte))
        };
        Ok(Header { versions: [bytes[18], bytes[19]], number: at(60), application: at(68) })
    }
}

/// Notes the number of a database without a log, which may have been put there by hand: the log
/// that it is about to get is its own. Without a note every number is taken.
pub(super) fn note_present(database: &Path) {
    let log = fs::metadata(beside(database, "-wal"));
    if log.is_ok_and(|log| log.len() > LOG_HEADER_BYTES) {
        return;
    }
    if let Ok(Header { number, application, .. }) = Header::read(database)
        && application == APPLICATION_ID
        && !noted(database).contains(&number)
    {
        let _ = files::write_atomic(&note(database), format!("{number}\n").as_bytes())
            .or_else(|_| fs::remove_file(note(database)));
    }
}

/// The numbers that the database may have; empty where nothing was noted.
fn noted(database: &Path) -> Vec<i64> {
    let text = fs::read_to_string(note(database)).unwrap_or_default();
    text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// Gives the database the next number, in its file and in the note; the log is empty then. Where
/// the note cannot be written, on a full disk for instance, both stay as they are.
pub(super) async fn number_start(database: &Path, writer: &SqlitePool) -> sqlx::Result<()> {
    if !is_folded(writer).await? {
        return Ok(()); // somebody reads; the number of the start before serves as well
    }
    let old: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(writer).await?;
    let new = old.wrapping_add(1).clamp(1, i64::from(i32::MAX));
    let path = note(database);
    if files::write_atomic(&path, format!("{old} {new}\n").as_bytes()).is_err() {
        return Ok(());
    }
    let number = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {new}"));
    sqlx::query(number).execute(writer).await?;
    if is_folded(writer).await? {
        // With the note of both a backup of the start before is not told apart, no more.
        let _ = files::write_atomic(&path, format!("{new}\n").as_bytes());
    }
    Ok(())
}

/// Carries the log over into the database and empties it; false where a reader is in the way.
pub(super) async fn is_folded(writer: &SqlitePool) -> sqlx::Result<bool> {
    let (busy, _, _): (i64, i64, i64) =
        sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(writer).await?;
    Ok(busy == 0)
}
