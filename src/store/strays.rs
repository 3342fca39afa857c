//! Renders that a hand left without their job, and ids that must not be used again.

use sqlx::FromRow;

use super::transition::{About, log};
use super::{Result, Store};
use crate::job::event::EventKind;

/// Renders that wait although somebody has removed their job's row.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Stray {
    pub job_id: i64,
    pub renders: i64,
}

/// They are passed over by the claim, and are in nobody's list.
const STRAYS: &str = "FROM renders WHERE state = 'queued' \
                      AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.id = renders.job_id)";

/// Has the ids of a table go on behind one: the row may be missing, or say more already.
pub(super) const RAISE: [&str; 2] = [
    "INSERT INTO sqlite_sequence (name, seq) SELECT ?1, ?2 \
     WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?1)",
    "UPDATE sqlite_sequence SET seq = ?2 WHERE name = ?1 AND seq < ?2",
];

impl Store {
    /// Removes the renders that wait without a job, and answers which.
    pub async fn remove_strays(&self, now_ms: i64) -> Result<Vec<Stray>> {
        let select = format!("SELECT job_id, count(*) AS renders {STRAYS} GROUP BY job_id");
        let select = || sqlx::query_as::<_, Stray>(sqlx::AssertSqlSafe(select.clone()));
        if select().fetch_all(&self.readers).await?.is_empty() {
            return Ok(Vec::new());
        }
        let mut transaction = self.begin().await?;
        let strays = select().fetch_all(&mut *transaction).await?;
        for Stray { job_id, renders } in &strays {
            let detail = format!("with {renders} that waited: its row is missing");
            log(&mut transaction, EventKind::Removed, About::Job(*job_id), &detail, now_ms).await?;
        }
        let delete = sqlx::AssertSqlSafe(format!("DELETE {STRAYS}"));
        sqlx::query(delete).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(strays)
    }

    /// Ids that are given from now on come after these, by which files are known. A database that
    /// was made anew, or put back from a backup, has not heard of them.
    pub async fn raise_ids(&self, job_id: i64, render_id: i64) -> Result<()> {
        let mut transaction = self.begin().await?;
        for (table, id) in [("jobs", job_id), ("renders", render_id)] {
            for sql in RAISE {
                sqlx::query(sql).bind(table).bind(id).execute(&mut *transaction).await?;
            }
        }
        transaction.commit().await
    }
}
