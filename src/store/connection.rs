//! How a connection is made: everything that is asked of SQLite is said here.

use std::path::Path;
use std::time::Duration;

use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

/// "zimg": marks the file as ours for `file` and for us.
pub(super) const APPLICATION_ID: i64 = 0x7a69_6d67;

/// How long a statement waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A log that is longer is emptied, once no reader needs it. SQLite itself carries it over from
/// 4 MB on, but keeps its length.
pub(super) const LOG_BYTES_MAX: u64 = 16 << 20;

/// As every connection of ours is made.
pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        // A log that grew while somebody read for long is cut when it is begun anew.
        .pragma("journal_size_limit", LOG_BYTES_MAX.to_string())
}

/// At most so many connections, of which the first one is made at once.
pub(super) async fn pool(
    connections: u32,
    options: SqliteConnectOptions,
) -> sqlx::Result<SqlitePool> {
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
