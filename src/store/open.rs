//! Opening the database: everything that is asked of SQLite is said here.

use std::cmp::Ordering;
use std::path::Path;
use std::time::Duration;

use sqlx::Connection;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use super::error::{code, primary_code};
use super::{Access, Result, Store, StoreError};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// The oldest SQLite without the WAL-reset bug, as `sqlite_version()` parts.
const SQLITE_OLDEST: [u32; 3] = [3, 51, 3];

/// "zimg": marks the file as ours for `file` and for us.
const APPLICATION_ID: i64 = 0x7a69_6d67;

/// How long a statement waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Readers at once: the daemon's own and a face or two.
const READERS_MAX: u32 = 3;

/// A step of opening: the outer error is SQLite's, the inner one says what does not fit.
type Checked<T> = sqlx::Result<std::result::Result<T, String>>;

impl Store {
    /// Opens (and for the daemon creates and migrates) the database at `path`. A file that is not
    /// ours is not touched.
    pub async fn open(path: &Path, access: Access) -> Result<Store> {
        let unusable = |why: String| StoreError::Unusable(format!("{}: {why}", path.display()));
        let opened = open(path, access).await.map_err(|error| match StoreError::from(error) {
            StoreError::Sql(error) => unusable(explain(&error)),
            StoreError::Unusable(why) => unusable(why),
            other => other,
        })?;
        opened.map_err(unusable)
    }

    /// Tells this database from every other one: 16 hexadecimal digits, for names and for pictures'
    /// metadata.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Closes all connections; the last one leaves the WAL checkpointed.
    pub async fn close(self) {
        self.readers.close().await;
        // A failure here costs nothing: the next open replays the log.
        let _ = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&self.writer).await;
        self.writer.close().await;
    }
}

async fn open(path: &Path, access: Access) -> Checked<Store> {
    if path.is_dir() {
        return Ok(Err("it is a folder, not a database".to_owned()));
    }
    if access == Access::Client && !path.exists() {
        return Ok(Err(NO_DATABASE.to_owned()));
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(access == Access::Daemon)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true);
    let writer = pool(1, options.clone()).await?;
    if let Err(why) = prepare(&writer, access).await? {
        return Ok(Err(why));
    }
    let readers = pool(READERS_MAX, options.create_if_missing(false).read_only(true)).await?;
    let id = sqlx::query_scalar("SELECT id FROM identity").fetch_one(&readers).await?;
    Ok(Ok(Store { writer, readers, id }))
}

const NO_DATABASE: &str = "there is no database yet; `zimaged run` makes it";

/// From a file that may be anything to one with exactly our schema.
async fn prepare(writer: &SqlitePool, access: Access) -> Checked<()> {
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
    let application: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(writer).await?;
    if application != APPLICATION_ID {
        return Ok(Err("this database belongs to another program".to_owned()));
    }
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(writer).await?;
    if journal != "wal" {
        return Ok(Err(format!(
            "its journal mode is {journal}, not wal: is it on a network filesystem?"
        )));
    }
    if tables > 0
        && let Some(why) = misfit(&applied(writer).await?, access)
    {
        return Ok(Err(why));
    }
    match access {
        Access::Daemon => migrate(writer).await,
        Access::Client => Ok(Ok(())),
    }
}

/// The journal mode is a lasting property of the file, and changing it later needs a lock that
/// cannot be waited for.
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

/// A migration that the database has seen.
#[derive(Clone, Debug, sqlx::FromRow)]
struct Applied {
    version: i64,
    success: bool,
    checksum: Vec<u8>,
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
            return Some(format!("an upgrade to schema {version} was cut short; restore a backup"));
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

async fn pool(connections: u32, options: SqliteConnectOptions) -> sqlx::Result<SqlitePool> {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        // After a full disk or a failed write SQLite has rolled back by itself. sqlx does not
        // notice and would never begin a transaction on that connection again: it is replaced.
        .before_acquire(|connection, _| {
            Box::pin(async move { Ok(!connection.is_in_transaction()) })
        })
        .connect_with(options)
        .await
}

fn explain(error: &sqlx::Error) -> String {
    match primary_code(error) {
        Some(code::CANNOT_OPEN) => {
            format!("the file cannot be opened; is its folder there, and ours? ({error})")
        }
        Some(code::READ_ONLY) => {
            format!("it cannot be written; is its folder read-only? ({error})")
        }
        _ => error.to_string(),
    }
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
