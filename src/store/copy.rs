//! Copies of the database: made while it is used, checked, and put in its place.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqlitePool;
use sqlx::{ConnectOptions, Connection};

use super::care::findings;
use super::connection::{options, pool};
use super::inputs::all_needed;
use super::log_file::{self, beside};
use super::open::{application_misfit, prepare, unfit};
use super::refusal::explain;
use super::{Access, Result, Store, StoreError};
use crate::files;

/// What a lost database held is saved under such a name, with a number in it where that is taken.
const SAVED: &str = "zimaged-saved";
const SAVED_END: &str = ".sqlite";

/// What is in a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyFacts {
    pub jobs: i64,
    /// Renders that wait, or ran when the copy was made.
    pub waiting: i64,
    /// Queued ones of them that were done since, as far as the database knows that it is to
    /// replace.
    pub made_since: i64,
    /// The database that it is to replace knows of nothing newer, and of nothing else.
    pub is_as_before: bool,
    /// The last job's id.
    pub last_job: i64,
    /// The hashes of the pictures that renders begin with, or have for a mask, and still need.
    pub inputs: Vec<String>,
}

impl Store {
    /// Writes all of the database, as it is at one moment, into a new file, while others go on. It
    /// is written through to the disk; its name lasts once its folder is fsynced. It is a copy of
    /// the file that is open, whatever lies at its path by now.
    pub async fn copy_to(&self, path: &Path) -> Result<()> {
        let name = path.to_str().ok_or_else(|| {
            StoreError::Unusable(format!("{}: the name is not UTF-8", path.display()))
        })?;
        // There is one writer, and it is waited for; a pool of readers that are in use opens
        // another one, at the path.
        sqlx::query("VACUUM INTO ?").bind(name).execute(&self.writer).await?;
        let synced = File::open(path).and_then(|file| file.sync_all());
        synced.map_err(|error| StoreError::Disk(format!("{}: {error}", path.display())))
    }

    /// What is in the copy at `path`, which is read through and must be whole and of our schema.
    pub async fn check_copy(path: &Path) -> Result<CopyFacts> {
        let checked = async {
            let reader = pool(1, options(path).read_only(true)).await?;
            let facts = facts_of(&reader).await;
            // Also a damaged one, which the caller removes.
            reader.close().await;
            facts
        };
        checked.await.map_err(|error| explain(path, error))
    }

    /// Makes the copy at `path`, which may be of an older version and have a log beside it, one
    /// file that can be put in a database's place; ids that are given there come after those of
    /// `before`, the database that it is to replace.
    pub async fn make_ready(path: &Path, before: &Path) -> Result<CopyFacts> {
        let ready = async {
            let writer = pool(1, options(path)).await?;
            let facts = prepared(&writer, before).await;
            writer.close().await;
            facts
        };
        ready.await.map_err(|error| explain(path, error))
    }

    /// What lies at `path`, or beside it, where a file of a database should: nobody may open it.
    pub fn misplaced(path: &Path) -> Option<String> {
        log_file::misplaced(path)
    }

    /// True where there is no file at `path`, or an empty one.
    pub fn is_missing(path: &Path) -> bool {
        match fs::metadata(path) {
            Ok(facts) => facts.is_file() && facts.len() == 0,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// A free name in a state folder for what a lost database held.
    pub fn free_saved_name(state: &Path) -> io::Result<PathBuf> {
        files::first_free(|number| {
            let path = state.join(files::numbered(&format!("{SAVED}{SAVED_END}"), number));
            match path.exists() {
                true => Err(io::ErrorKind::AlreadyExists.into()),
                false => Ok(path),
            }
        })
    }

    /// What was saved so in a state folder and is still there.
    pub fn saved(state: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(state).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        paths.filter(|path| Store::is_saved(path)).collect()
    }

    /// Whether the file is called as what was saved of a lost database.
    pub fn is_saved(path: &Path) -> bool {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        name.starts_with(SAVED) && name.ends_with(SAVED_END)
    }

    /// Whether a database lay there once.
    pub fn was_there(path: &Path) -> bool {
        log_file::is_noted(path)
    }

    /// Gives the database at `path`, which nobody has open, and its log a second name behind
    /// `aside`; its log is carried over first where it is its own. A damaged one is kept as it is.
    pub async fn keep_aside(path: &Path, aside: &Path) -> io::Result<()> {
        if !log_file::is_foreign(path)
            && let Ok(mut connection) = options(path).connect().await
        {
            let fold = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection);
            let _ = fold.await; // what cannot be carried over is kept beside it
            let _ = connection.close().await;
        }
        second_name(path, aside)?;
        match second_name(&beside(path, "-wal"), &beside(aside, "-wal")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Copies the log that belongs to the database `from` beside `to`, its copy.
    pub fn fetch_log(from: &Path, to: &Path) -> io::Result<()> {
        let log = beside(from, "-wal");
        if log_file::is_foreign(from) || !log.exists() {
            return Ok(());
        }
        fs::copy(log, beside(to, "-wal")).map(drop)
    }

    /// Removes the log of a database that is not there any more.
    pub fn forget_log(path: &Path) -> io::Result<()> {
        for suffix in ["-wal", "-shm"] {
            match fs::remove_file(beside(path, suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => (),
            }
        }
        Ok(())
    }
}

/// See [`Store::check_copy`].
async fn facts_of(reader: &SqlitePool) -> Result<CopyFacts> {
    let facts = check(reader, Access::Client).await?;
    Ok(CopyFacts { inputs: all_needed(reader).await?, ..facts })
}

/// See [`Store::make_ready`].
async fn prepared(writer: &SqlitePool, before: &Path) -> Result<CopyFacts> {
    let facts = check(writer, Access::Daemon).await?;
    prepare(writer, Access::Daemon).await?.map_err(StoreError::Unusable)?;
    let waiting: String = sqlx::query_scalar(WAITING_IDS).fetch_one(writer).await?;
    let last_event: i64 = sqlx::query_scalar(LAST_EVENT).fetch_one(writer).await?;
    let before = before_facts(before, &waiting).await;
    let is_as_before = before.last_event == Some(last_event);
    for (table, last) in before.last_ids {
        raise(writer, &table, last).await?;
    }
    let inputs = all_needed(writer).await?;
    sqlx::query("PRAGMA journal_mode = delete").execute(writer).await?;
    Ok(CopyFacts { made_since: before.made, is_as_before, inputs, ..facts })
}

/// A link, or a copy where the filesystem has none.
fn second_name(path: &Path, name: &Path) -> io::Result<()> {
    match fs::hard_link(path, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        Err(_) => fs::copy(path, name).and_then(|_| File::open(name)?.sync_all()),
        Ok(()) => files::sync(&files::open_folder(name.parent().unwrap_or(name))?),
    }
}

/// Whether the copy is whole and of our schema, and what is in it, but for the inputs: an older one
/// has no column of them.
async fn check(connection: &SqlitePool, access: Access) -> Result<CopyFacts> {
    if let Some(why) = application_misfit(connection).await? {
        return Err(StoreError::Unusable(why));
    }
    if let Some(why) = unfit(connection, access).await? {
        return Err(StoreError::Unusable(why));
    }
    if let Some(found) = findings(&mut *connection.acquire().await?).await? {
        return Err(StoreError::Unusable(format!("it is damaged ({found})")));
    }
    let (jobs, waiting, last_job) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM jobs), \
         (SELECT count(*) FROM renders WHERE state IN ('queued', 'running')), \
         (SELECT coalesce(max(id), 0) FROM jobs)",
    )
    .fetch_one(connection)
    .await?;
    let (made_since, is_as_before, inputs) = (0, false, Vec::new());
    Ok(CopyFacts { jobs, waiting, made_since, is_as_before, last_job, inputs })
}

/// Ids of renders are never given again, so that they mean the same render in both databases. One
/// that ran when the backup was made is not asked for: a start finds its picture.
const WAITING_IDS: &str = "SELECT json_group_array(id) FROM renders WHERE state = 'queued'";

/// All that happens is logged, under ids that are never given again: two databases with the same
/// last one have seen the same.
const LAST_EVENT: &str = "SELECT coalesce(max(id), 0) FROM events";

/// What the database that is to be replaced knows.
#[derive(Default)]
struct BeforeFacts {
    /// The last ids that it has given, by table.
    last_ids: Vec<(String, i64)>,
    /// How many of the renders that were asked for it has as done.
    made: i64,
    last_event: Option<i64>,
}

/// Nothing where it cannot be read. `renders` is a JSON list of ids.
async fn before_facts(path: &Path, renders: &str) -> BeforeFacts {
    if Store::is_missing(path) || log_file::is_foreign(path) {
        return BeforeFacts::default();
    }
    let Ok(mut connection) = options(path).connect().await else { return BeforeFacts::default() };
    let ids = sqlx::query_as("SELECT name, seq FROM sqlite_sequence");
    let last_ids = ids.fetch_all(&mut connection).await.unwrap_or_default();
    let sql = "SELECT count(*) FROM renders WHERE state = 'done' \
               AND id IN (SELECT value FROM json_each(?))";
    let made = sqlx::query_scalar(sql).bind(renders).fetch_one(&mut connection).await;
    let last_event = sqlx::query_scalar(LAST_EVENT).fetch_one(&mut connection).await.ok();
    let _ = connection.close().await;
    BeforeFacts { last_ids, made: made.unwrap_or_default(), last_event }
}

async fn raise(writer: &SqlitePool, table: &str, last: i64) -> sqlx::Result<()> {
    for sql in super::strays::RAISE {
        sqlx::query(sql).bind(table).bind(last).execute(writer).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_copy_is_of_the_open_file_and_not_of_what_was_put_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let [path, empty, copy] =
            ["queue.sqlite", "empty", "copy"].map(|name| folder.path().join(name));
        let store = Store::open(&path, Access::Daemon).await.expect("a new database");
        assert!(store.fold_log().await.unwrap());
        fs::copy(&path, &empty).unwrap();
        sqlx::query("INSERT INTO pause VALUES (1, 0, 'a night')")
            .execute(&store.writer)
            .await
            .unwrap();
        assert!(store.fold_log().await.unwrap());
        fs::rename(&empty, &path).unwrap();

        let in_use = store.readers.acquire().await.unwrap();
        store.copy_to(&copy).await.unwrap();
        drop(in_use);
        let mut copied = options(&copy).read_only(true).connect().await.unwrap();
        let sql = "SELECT reason FROM pause";
        let reason: String = sqlx::query_scalar(sql).fetch_one(&mut copied).await.unwrap();
        assert_eq!(reason, "a night");
    }
}
