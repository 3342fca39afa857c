//! What can be said of a database by reading it: what is in it, and what in it cannot be.

use sqlx::FromRow;

use super::care::findings;
use super::{Result, Store, StoreError};

/// What is in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct Contents {
    pub jobs: i64,
    /// Renders that wait or run.
    pub waiting: i64,
    /// The last id that a job got.
    pub last_job: i64,
    /// When the last event was logged (UTC, since the epoch).
    pub newest_ms: Option<i64>,
}

const CONTENTS: &str = "SELECT (SELECT count(*) FROM jobs) AS jobs, \
    (SELECT count(*) FROM renders WHERE state IN ('queued', 'running')) AS waiting, \
    coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobs'), 0) AS last_job, \
    (SELECT at_ms FROM events ORDER BY id DESC LIMIT 1) AS newest_ms";

/// What no row may say although the schema lets it: how it is counted, and what it means.
const IMPOSSIBLE: [(&str, &str); 3] = [
    (
        "SELECT count(*) FROM renders r WHERE state = 'done' AND NOT EXISTS \
         (SELECT 1 FROM attempts a WHERE a.render_id = r.id AND a.outcome = 'done')",
        "renders are done without an attempt that is",
    ),
    (
        "SELECT count(*) FROM renders r WHERE state <> 'done' AND EXISTS \
         (SELECT 1 FROM attempts a WHERE a.render_id = r.id AND a.outcome = 'done')",
        "renders are not done although an attempt is",
    ),
    (
        "SELECT count(*) FROM attempts a JOIN renders r ON r.id = a.render_id \
         WHERE a.outcome = 'running' AND r.state <> 'running'",
        "attempts run whose render does not",
    ),
];

const BY_HAND: &str = "a hand has changed its rows; what was right may be in a backup (zimaged \
    restore FILE)";

impl Store {
    /// What is in it.
    pub async fn contents(&self) -> Result<Contents> {
        Ok(sqlx::query_as(CONTENTS).fetch_one(&self.readers).await?)
    }

    /// What its rows say that cannot be, for people. Reads all of it.
    ///
    /// # Errors
    /// Also where it is damaged.
    pub async fn faults(&self) -> Result<Vec<String>> {
        let mut connection = self.readers.acquire().await?;
        if let Some(found) = findings(&mut connection).await? {
            let cure = "put a backup back: zimaged restore FILE";
            return Err(StoreError::Unusable(format!("it is damaged ({found}); {cure}")));
        }
        let mut faults = Vec::new();
        let orphans = "SELECT \"table\", count(*) FROM pragma_foreign_key_check GROUP BY 1";
        let orphans: Vec<(String, i64)> =
            sqlx::query_as(orphans).fetch_all(&mut *connection).await?;
        faults.extend(orphans.into_iter().map(|(table, rows)| {
            format!("{rows} rows of {table} belong to rows that are gone: {BY_HAND}")
        }));
        for (sql, meaning) in IMPOSSIBLE {
            let rows: i64 = sqlx::query_scalar(sql).fetch_one(&mut *connection).await?;
            if rows > 0 {
                faults.push(format!("{rows} {meaning}: {BY_HAND}"));
            }
        }
        Ok(faults)
    }
}
