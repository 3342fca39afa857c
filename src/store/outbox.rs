//! What is still to be told of renders that have ended. Rows come by a trigger, in the transaction
//! that ends a render.

use sqlx::FromRow;

use super::{Result, Store};
use crate::job::hook::{HookChannel, HookEvent};

/// Something to be told.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct OutboxRow {
    pub id: i64,
    pub event: HookEvent,
    pub job_id: i64,
    /// The render's position in the job, from 1.
    pub picture: u32,
    /// When the render ended (UTC, milliseconds since the epoch).
    pub at_ms: i64,
    /// How often it was tried in vain.
    pub tries: u32,
}

impl Store {
    /// Notes what is to be told from now on. What waits for a channel that tells nothing any more
    /// is given up.
    pub async fn set_hooks(&self, wishes: &[(HookChannel, HookEvent)], now_ms: i64) -> Result<()> {
        let mut transaction = self.begin().await?;
        sqlx::query("DELETE FROM hook_wishes").execute(&mut *transaction).await?;
        for (channel, event) in wishes {
            sqlx::query("INSERT INTO hook_wishes (channel, event) VALUES (?, ?)")
                .bind(channel)
                .bind(event)
                .execute(&mut *transaction)
                .await?;
        }
        sqlx::query(
            "UPDATE outbox SET state = 'given_up', ended_at_ms = ?, \
             message = 'daemon.toml has no such hook any more' WHERE state = 'waiting' \
             AND NOT EXISTS (SELECT 1 FROM hook_wishes w WHERE w.channel = outbox.channel \
             AND w.event = outbox.event)",
        )
        .bind(now_ms)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await
    }

    /// What is to be told next by `channel` where it is due.
    pub async fn next_due(&self, channel: HookChannel, now_ms: i64) -> Result<Option<OutboxRow>> {
        let sql = "SELECT id, event, job_id, picture, at_ms, tries FROM outbox WHERE state = 'waiting' \
                   AND channel = ? AND next_at_ms <= ? ORDER BY next_at_ms, id LIMIT 1";
        let row = sqlx::query_as(sql).bind(channel).bind(now_ms);
        Ok(row.fetch_optional(&self.readers).await?)
    }

    /// Whether something is to be told now.
    pub async fn has_due(&self, now_ms: i64) -> Result<bool> {
        let sql =
            "SELECT EXISTS (SELECT 1 FROM outbox WHERE state = 'waiting' AND next_at_ms <= ?)";
        Ok(sqlx::query_scalar(sql).bind(now_ms).fetch_one(&self.readers).await?)
    }

    /// It was told.
    pub async fn told(&self, id: i64, now_ms: i64) -> Result<()> {
        self.end_telling(id, "told", "", now_ms).await
    }

    /// It is not tried again.
    pub async fn give_up_telling(&self, id: i64, message: &str, now_ms: i64) -> Result<()> {
        self.end_telling(id, "given_up", message, now_ms).await
    }

    async fn end_telling(&self, id: i64, state: &str, message: &str, now_ms: i64) -> Result<()> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "UPDATE outbox SET state = ?, tries = tries + 1, message = ?, ended_at_ms = ? \
             WHERE id = ? AND state = 'waiting'",
        )
        .bind(state)
        .bind(message)
        .bind(now_ms)
        .bind(id)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await
    }

    /// It is tried again at `next_at_ms` (UTC, milliseconds since the epoch), and why.
    pub async fn tell_later(&self, id: i64, message: &str, next_at_ms: i64) -> Result<()> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "UPDATE outbox SET tries = tries + 1, message = ?, next_at_ms = ? \
             WHERE id = ? AND state = 'waiting'",
        )
        .bind(message)
        .bind(next_at_ms)
        .bind(id)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await
    }
}
