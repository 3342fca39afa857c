//! Renders that wait for a time: each is released once, when its time has come, so that the claim
//! never walks through those that still wait. SQLite would choose the index by state, which holds
//! all of them: the statements name theirs.

use super::{Result, Store};

/// So many are released in one transaction: a few milliseconds, in which nobody else can write.
const RELEASED_MAX: u32 = 2_000;

impl Store {
    /// Lets the claim see the renders whose time has come. Writes only where there are some.
    pub(super) async fn release_due(&self, now_ms: i64) -> Result<()> {
        while self.is_any_due(now_ms).await? {
            let mut transaction = self.begin().await?;
            sqlx::query(
                "UPDATE renders SET timed = 0 WHERE id IN (SELECT id FROM renders \
                 INDEXED BY renders_by_time WHERE state = 'queued' AND timed = 1 AND run_after_ms <= ? LIMIT ?)",
            )
            .bind(now_ms)
            .bind(RELEASED_MAX)
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    async fn is_any_due(&self, now_ms: i64) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM renders INDEXED BY renders_by_time \
                   WHERE state = 'queued' AND timed = 1 AND run_after_ms <= ?)";
        Ok(sqlx::query_scalar(sql).bind(now_ms).fetch_one(&self.readers).await?)
    }

    /// Whether a render runs or, where `may_start`, one may be started now.
    pub async fn has_work(&self, may_start: bool, now_ms: i64) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM renders WHERE state = 'running') \
                   OR ?1 AND NOT EXISTS (SELECT 1 FROM pause) AND (\
                   EXISTS (SELECT 1 FROM renders INDEXED BY renders_to_claim \
                   WHERE state = 'queued' AND timed = 0) \
                   OR EXISTS (SELECT 1 FROM renders INDEXED BY renders_by_time \
                   WHERE state = 'queued' AND timed = 1 AND run_after_ms <= ?2))";
        Ok(sqlx::query_scalar(sql).bind(may_start).bind(now_ms).fetch_one(&self.readers).await?)
    }

    /// When the first queued or running render may start, in UTC milliseconds since the epoch, and
    /// no earlier than `now_ms`; `None` where there is none. Costs the same however many wait.
    pub async fn earliest_ms(&self, now_ms: i64) -> Result<Option<i64>> {
        let sql = "SELECT CASE WHEN EXISTS (SELECT 1 FROM renders WHERE state = 'running') \
                   OR EXISTS (SELECT 1 FROM renders INDEXED BY renders_to_claim \
                   WHERE state = 'queued' AND timed = 0) THEN ?1 \
                   ELSE max(?1, (SELECT min(run_after_ms) FROM renders INDEXED BY renders_by_time \
                   WHERE state = 'queued' AND timed = 1)) END";
        Ok(sqlx::query_scalar(sql).bind(now_ms).fetch_one(&self.readers).await?)
    }
}
