//! What has happened since a moment of the log: the clock may jump, ids never do.

use sqlx::{FromRow, QueryBuilder};

use super::queries::PICTURES;
use super::{HistoryRow, RejectionRow, Result, Store};

/// A moment of the queue's log.
#[derive(Clone, Copy, Debug, Default, FromRow)]
pub struct LogMark {
    event: i64,
    rejection: i64,
}

impl Store {
    /// Now.
    pub async fn mark(&self) -> Result<LogMark> {
        let sql = "SELECT (SELECT coalesce(max(id), 0) FROM events) AS event, \
                   (SELECT coalesce(max(id), 0) FROM rejections) AS rejection";
        Ok(sqlx::query_as(sql).fetch_one(&self.readers).await?)
    }

    /// The pictures of all jobs that were done, have failed or were cancelled since then, in order.
    pub async fn ended_since(&self, mark: LogMark) -> Result<Vec<HistoryRow>> {
        let mut sql = QueryBuilder::new(PICTURES);
        sql.push("r.finished_at_ms IS NOT NULL ")
            .push("AND r.id IN (SELECT render_id FROM events WHERE id > ")
            .push_bind(mark.event)
            .push(") ORDER BY job, picture");
        Ok(sql.build_query_as().fetch_all(&self.readers).await?)
    }

    /// The files that were set aside since then, in order.
    pub async fn rejected_since(&self, mark: LogMark) -> Result<Vec<RejectionRow>> {
        let sql = "SELECT at_ms, file_name, reason FROM rejections WHERE id > ? ORDER BY id";
        Ok(sqlx::query_as(sql).bind(mark.rejection).fetch_all(&self.readers).await?)
    }
}
