//! Opening the database: everything that is asked of SQLite is said here.

use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use super::{Access, Result, Store, StoreError};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// The oldest SQLite without the WAL-reset bug, as `sqlite_version()` parts.
const SQLITE_OLDEST: [u32; 3] = [3, 51, 3];

/// "zimg": marks the file as ours for `file` and for us.
const APPLICATION_ID: i64 = 0x7a69_6d67;

/// How long a writer waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Readers at once: the daemon's own and a face or two.
const READERS_MAX: u32 = 3;

impl Store {
    /// Opens (and for the daemon creates and migrates) the database at `path`.
    pub async fn open(path: &Path, access: Access) -> Result<Store> {
        let unusable = |why: String| StoreError::Unusable(format!("{}: {why}", path.display()));
        if access == Access::Client && !path.exists() {
            return Err(unusable("there is no database yet; `zimaged run` makes it".to_owned()));
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(access == Access::Daemon)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        let store = Store {
            writer: pool(1, options.clone()).await.map_err(|error| unusable(explain(&error)))?,
            readers: pool(READERS_MAX, options.read_only(true)).await.map_err(|error| unusable(explain(&error)))?,
        };
        store.check_versions().await.map_err(|error| unusable(explain(&error)))?.map_err(unusable)?;
        match access {
            Access::Daemon => store.migrate().await.map_err(unusable)?,
            Access::Client => store.check_schema().await.map_err(unusable)?,
        }
        Ok(store)
    }

    /// Closes all connections; the last one leaves the WAL checkpointed.
    pub async fn close(self) {
        self.readers.close().await;
        // A failure here costs nothing: the next open replays the log.
        let _ = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&self.writer).await;
        self.writer.close().await;
    }

    /// The outer error is SQLite's, the inner one says what does not fit.
    async fn check_versions(&self) -> sqlx::Result<std::result::Result<(), String>> {
        let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&self.writer).await?;
        let parts: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
        if parts.as_slice() < SQLITE_OLDEST.as_slice() {
            return Ok(Err(format!("SQLite {version} can lose commits; 3.51.3 or newer is needed")));
        }
        let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&self.writer).await?;
        if journal != "wal" {
            return Ok(Err(format!("its journal mode is {journal}, not wal: is it on a network filesystem?")));
        }
        let application: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&self.writer).await?;
        let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&self.writer).await?;
        if application != APPLICATION_ID && tables > 0 {
            return Ok(Err("this database belongs to another program".to_owned()));
        }
        Ok(Ok(()))
    }

    async fn migrate(&self) -> std::result::Result<(), String> {
        let mark = sqlx::AssertSqlSafe(format!("PRAGMA application_id = {APPLICATION_ID}"));
        sqlx::query(mark).execute(&self.writer).await.map_err(|error| explain(&error))?;
        MIGRATIONS.run(&self.writer).await.map_err(|error| match error {
            MigrateError::VersionMissing(version) => {
                format!("a newer zimaged has used it (schema {version}); run that one")
            }
            MigrateError::VersionMismatch(version) => {
                format!("its schema {version} is not the one that this zimaged knows")
            }
            MigrateError::Dirty(version) => format!("an upgrade to schema {version} was cut short; restore a backup"),
            other => other.to_string(),
        })
    }

    /// A client neither migrates nor works on a schema that it does not know.
    async fn check_schema(&self) -> std::result::Result<(), String> {
        let newest: i64 = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
            .fetch_one(&self.readers)
            .await
            .map_err(|error| explain(&error))?;
        let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
        match newest.cmp(&known) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Less => Err("it is of an older zimaged; start the daemon once".to_owned()),
            std::cmp::Ordering::Greater => Err("it is of a newer zimaged".to_owned()),
        }
    }
}

async fn pool(connections: u32, options: SqliteConnectOptions) -> sqlx::Result<SqlitePool> {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options)
        .await
}

fn explain(error: &sqlx::Error) -> String {
    match error.as_database_error().and_then(|error| error.code()).as_deref() {
        Some("26") => "the file is not a database".to_owned(),
        Some("11") => "the database is damaged; restore a backup, or move it away".to_owned(),
        Some("14") => "the file cannot be opened (a folder, or no permission?)".to_owned(),
        Some("8" | "1032" | "264") => "it cannot be written: is its folder read-only?".to_owned(),
        _ => error.to_string(),
    }
}
