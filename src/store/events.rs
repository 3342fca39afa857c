//! The log of events, read on and on by whoever follows it.

use serde::Serialize;
use sqlx::FromRow;

use super::{Result, Store};

/// An entry of the queue's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, FromRow)]
pub struct EventRow {
    /// Grows from entry to entry.
    pub id: i64,
    /// When it happened.
    pub at_ms: i64,
    /// What happened: a word of the table `events`.
    pub kind: String,
    /// The job that it happened to, if it was one.
    pub job: Option<i64>,
    /// The picture of it, if it was one.
    pub picture: Option<i64>,
    /// More, for people.
    pub detail: String,
}

impl Store {
    /// The entries after the one with this id, in order.
    pub async fn events_after(&self, id: i64, limit: u32) -> Result<Vec<EventRow>> {
        let sql = "SELECT e.id, e.at_ms, e.kind, e.job_id AS job, r.position AS picture, e.detail \
                   FROM events e LEFT JOIN renders r ON r.id = e.render_id \
                   WHERE e.id > ? ORDER BY e.id LIMIT ?";
        Ok(sqlx::query_as(sql).bind(id).bind(limit).fetch_all(&self.readers).await?)
    }

    /// The id of the newest entry.
    pub async fn last_event(&self) -> Result<i64> {
        let sql = "SELECT coalesce(max(id), 0) FROM events";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.readers).await?)
    }
}
