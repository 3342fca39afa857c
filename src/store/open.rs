//! Opening the database: what may lie there, and what it must be before it is used.

use std::cmp::Ordering;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::SqlitePool;
use tokio::sync::Mutex;

use super::barrier::Barrier;
use super::care::{file_id, verdict};
use super::connection::{APPLICATION_ID, options, pool};
use super::in_use::InUse;
use super::log_index::LogIndex;
use super::refusal::explain;
use super::writing::Turns;
use super::{Access, Result, Store, StoreError, log_file};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// The oldest SQLite without the WAL-reset bug, as `sqlite_version()` parts.
const SQLITE_OLDEST: [u32; 3] = [3, 51, 3];

/// How often a database is opened that cannot be read, and the pause in between.
const OPEN_TRIES: u32 = 3;
const OPEN_PAUSE: Duration = Duration::from_millis(100);

/// Readers at once: the daemon's own and a face or two.
const READERS_MAX: u32 = 3;

/// A step of opening: the outer error is SQLite's, the inner one says what does not fit.
type Checked<T> = sqlx::Result<std::result::Result<T, String>>;

impl Store {
    /// Opens (and for the daemon creates and migrates) the database at `path`. A file that is not
    /// ours is not touched.
    pub async fn open(path: &Path, access: Access) -> Result<Store> {
        let mut tries = 0;
        loop {
            tries += 1;
            match open(path, access).await {
                // A disk that failed to read once says what a damaged file says.
                Err(StoreError::Suspect(_) | StoreError::Disk(_)) if tries < OPEN_TRIES => {
                    tokio::time::sleep(OPEN_PAUSE).await;
                }
                Err(StoreError::Suspect(error)) => {
                    return Err(explain(path, verdict(path, &error).await));
                }
                opened => return opened.map_err(|error| explain(path, error)),
            }
        }
    }

    /// A database with nothing in it, in this process's memory: for whoever asks before there is
    /// one.
    pub async fn empty() -> Result<Store> {
        let nowhere = Path::new("");
        let in_use = InUse::mark(nowhere, || Ok::<(), StoreError>(()))?;
        let connection = pool(1, options(nowhere).in_memory(true)).await?;
        match migrate(&connection).await? {
            Ok(()) => (),
            Err(why) => return unusable(&why),
        }
        Ok(Store {
            writer: connection.clone(),
            readers: connection,
            path: nowhere.to_owned(),
            file: (0, 0),
            log: None,
            index: None,
            log_index: None,
            id: String::new(),
            access: Access::Client,
            turns: Mutex::new(Turns::new()),
            barrier: Mutex::new(None),
            _in_use: in_use,
        })
    }

    /// Tells this database from every other one: 16 hexadecimal digits, for names and for pictures'
    /// metadata.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Closes all connections. The daemon, or who is the last one, carries the log over.
    pub async fn close(self) {
        self.readers.close().await;
        let barrier = self.barrier.into_inner();
        let _file = match barrier {
            Some(barrier) => Some(barrier.end().await),
            None => None,
        };
        if self.access == Access::Daemon {
            // A failure here costs nothing: the next open replays the log.
            let _ = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&self.writer).await;
        }
        self.writer.close().await;
    }
}

async fn open(path: &Path, access: Access) -> Result<Store> {
    let path = &log_file::resolved(path);
    let in_use = InUse::mark(path, || first_look(path, access))?;
    let options = options(path).create_if_missing(access == Access::Daemon);
    let writer = pool(1, options.clone()).await?;
    if let Err(why) = prepare(&writer, access).await? {
        return unusable(&why);
    }
    if access == Access::Daemon {
        sqlx::query(IDENTITY).execute(&writer).await?;
        log_file::number_start(path, &writer).await?;
    }
    let readers = pool(READERS_MAX, options.create_if_missing(false).read_only(true)).await?;
    let id = sqlx::query_scalar("SELECT id FROM identity").fetch_optional(&readers).await?;
    let Some(id) = id else { return unusable("its identity was removed; start the daemon once") };
    let file = file_id(path).map_err(|error| StoreError::Starved(error.to_string()))?;
    let [log, index] = ["-wal", "-shm"].map(|suffix| file_id(&log_file::beside(path, suffix)).ok());
    let log_index = in_use.index(&log_file::beside(path, "-shm"));
    let log_index = log_index.map_err(|error| StoreError::Starved(error.to_string()))?;
    let log_index = Some(Arc::new(LogIndex::new(path, log_index)));
    let barrier = match access {
        Access::Daemon => Some(Barrier::new(path).await?),
        Access::Client => None,
    };
    let (path, barrier) = (path.to_owned(), Mutex::new(barrier));
    let turns = Mutex::new(Turns::new());
    Ok(Store {
        writer,
        readers,
        path,
        file,
        log,
        index,
        log_index,
        id,
        access,
        turns,
        barrier,
        _in_use: in_use,
    })
}

/// What there is at `path`, before SQLite opens it.
fn first_look(path: &Path, access: Access) -> Result<()> {
    if let Some(why) = log_file::misplaced(path) {
        return unusable(&why);
    }
    if log_file::is_foreign(path) {
        return unusable(FOREIGN_LOG);
    }
    if access == Access::Client && matches!(path.try_exists(), Ok(false)) {
        return unusable(NO_DATABASE);
    }
    log_file::note_present(path);
    Ok(())
}

fn unusable<T>(why: &str) -> Result<T> {
    Err(StoreError::Unusable(why.to_owned()))
}

/// One that a hand removed is replaced: pictures of before are not taken for ours any more.
const IDENTITY: &str = "INSERT INTO identity (id) SELECT lower(hex(randomblob(8))) \
    WHERE NOT EXISTS (SELECT 1 FROM identity)";

/// What is told where no daemon has run yet.
pub const NO_DATABASE: &str = "there is no database yet; `zimaged run` makes it";

const FOREIGN_LOG: &str = "the log beside it (its name with -wal behind) belongs to another database, \
    so a backup was probably put in its place. To use the backup, remove the files with -wal and -shm \
    behind its name, and put backups back with `zimaged restore FILE`, which sees to that; to keep \
    what the log holds, put the former file back";

/// From a file that may be anything to one with exactly our schema.
pub(super) async fn prepare(writer: &SqlitePool, access: Access) -> Checked<()> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(writer).await?;
    if !is_safe(&version) {
        return Ok(Err(format!("SQLite {version} can lose commits; 3.51.3 or newer is needed")));
    }
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(writer).await?;
    match (tables, access) {
        (0, Access::Client) => return Ok(Err(NO_DATABASE.to_owned())),
        (0, Access::Daemon) => create(writer).await?,
        _ => (),
    }
    if let Some(why) = application_misfit(writer).await? {
        return Ok(Err(why));
    }
    if tables > 0
        && let Some(why) = unfit(writer, access).await?
    {
        return Ok(Err(why));
    }
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode = wal").fetch_one(writer).await?;
    if journal != "wal" {
        return Ok(Err(format!(
            "its journal mode is {journal}, and wal cannot be had: is it on a network filesystem?"
        )));
    }
    match access {
        Access::Daemon => migrate(writer).await,
        Access::Client => Ok(Ok(())),
    }
}

/// Why the file is none of ours, if so.
pub(super) async fn application_misfit(connection: &SqlitePool) -> sqlx::Result<Option<String>> {
    let application: i64 =
        sqlx::query_scalar("PRAGMA application_id").fetch_one(connection).await?;
    Ok((application != APPLICATION_ID)
        .then(|| "this database belongs to another program".to_owned()))
}

async fn create(writer: &SqlitePool) -> sqlx::Result<()> {
    sqlx::query("PRAGMA journal_mode = wal").execute(writer).await?;
    let mark = sqlx::AssertSqlSafe(format!("PRAGMA application_id = {APPLICATION_ID}"));
    sqlx::query(mark).execute(writer).await?;
    Ok(())
}

async fn migrate(writer: &SqlitePool) -> Checked<()> {
    match MIGRATIONS.run(writer).await {
        Ok(()) => Ok(Ok(())),
        Err(
            sqlx::migrate::MigrateError::Execute(error)
            | sqlx::migrate::MigrateError::ExecuteMigration(error, _),
        ) => Err(error),
        Err(error) => Ok(Err(error.to_string())),
    }
}

const NO_NOTES: &str = "the notes on its schema (_sqlx_migrations) were removed; put a backup back: \
    zimaged restore FILE";

/// A migration that the database has seen.
#[derive(Clone, Debug, sqlx::FromRow)]
struct Applied {
    version: i64,
    success: bool,
    checksum: Vec<u8>,
}

/// Why this database, which has tables, cannot be used, if so.
pub(super) async fn unfit(writer: &SqlitePool, access: Access) -> sqlx::Result<Option<String>> {
    let applied = applied(writer).await?;
    let jobs = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'jobs')";
    if applied.is_empty() && sqlx::query_scalar(jobs).fetch_one(writer).await? {
        return Ok(Some(NO_NOTES.to_owned()));
    }
    Ok(misfit(&applied, access))
}

async fn applied(writer: &SqlitePool) -> sqlx::Result<Vec<Applied>> {
    sqlx::query_as("SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version")
        .fetch_all(writer)
        .await
}

/// Why a database with these migrations cannot be used, if so. A client neither migrates nor works
/// on a schema that it does not know.
fn misfit(applied: &[Applied], access: Access) -> Option<String> {
    for seen in applied {
        let version = seen.version;
        if !seen.success {
            return Some(format!(
                "an upgrade to schema {version} was cut short; put a backup back: zimaged restore FILE"
            ));
        }
        match MIGRATIONS.iter().find(|known| known.version == version) {
            None => {
                return Some(format!(
                    "a newer zimaged has used it (schema {version}); run that one"
                ));
            }
            Some(known) if *known.checksum != *seen.checksum => {
                return Some(format!(
                    "its schema {version} is not the one that this zimaged knows"
                ));
            }
            Some(_) => (),
        }
    }
    match (applied.len().cmp(&MIGRATIONS.iter().count()), access) {
        (Ordering::Less, Access::Client) => {
            Some("it is of an older zimaged; start the daemon once".to_owned())
        }
        _ => None,
    }
}

/// Whether this SQLite is free of the WAL-reset bug.
fn is_safe(version: &str) -> bool {
    let parts: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    parts.as_slice() >= SQLITE_OLDEST.as_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<Applied> {
        let applied = |known: &sqlx::migrate::Migration| Applied {
            version: known.version,
            success: true,
            checksum: known.checksum.to_vec(),
        };
        MIGRATIONS.iter().map(applied).collect()
    }

    #[test]
    fn every_file_in_migrations_is_compiled_in() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        let files = std::fs::read_dir(folder).expect("the crate's own folder").count();
        assert_eq!(MIGRATIONS.iter().count(), files);
    }

    #[test]
    fn a_schema_that_is_exactly_ours_fits() {
        assert_eq!(misfit(&known(), Access::Daemon), None);
        assert_eq!(misfit(&known(), Access::Client), None);
    }

    #[test]
    fn an_older_schema_is_for_the_daemon_to_migrate() {
        assert_eq!(misfit(&[], Access::Daemon), None);
        assert!(misfit(&[], Access::Client).is_some_and(|why| why.contains("older zimaged")));
    }

    #[test]
    fn a_newer_an_edited_and_a_half_applied_schema_are_each_told() {
        let mut newer = known();
        newer.push(Applied { version: 9999, success: true, checksum: Vec::new() });
        assert!(
            misfit(&newer, Access::Daemon)
                .is_some_and(|why| why.contains("newer zimaged has used it (schema 9999)"))
        );
        let mut edited = known();
        edited[0].checksum[0] ^= 1;
        assert!(
            misfit(&edited, Access::Daemon)
                .is_some_and(|why| why.contains("not the one that this zimaged knows"))
        );
        let mut half = known();
        half[0].success = false;
        assert!(misfit(&half, Access::Daemon).is_some_and(|why| why.contains("cut short")));
    }

    #[test]
    fn sqlite_with_the_wal_reset_bug_is_refused() {
        assert!(["3.51.3", "3.51.10", "3.53.0", "4.0.0"].into_iter().all(is_safe));
        assert!(!["3.51.2", "3.50.7", "3.40.1", "2.8.17"].into_iter().any(is_safe));
    }
}
