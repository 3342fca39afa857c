//! How long the newest pictures took, and how many were made on a day: read only, bounded.

use sqlx::FromRow;

use super::{Result, Store};

/// A picture that was made.
#[derive(Clone, Debug, FromRow)]
pub struct SpeedRow {
    pub job: i64,
    pub picture: i64,
    /// When it was begun: UTC, milliseconds since the epoch.
    pub at_ms: i64,
    /// Pixels.
    pub width: i64,
    /// Pixels.
    pub height: i64,
    pub steps: i64,
    pub total_ms: i64,
}

/// What was made on a day.
#[derive(Clone, Debug, FromRow)]
pub struct DayRow {
    /// Of the machine's time zone, like `2026-11-24`.
    pub day: String,
    pub pictures: i64,
    /// How long the device computed for them.
    pub busy_ms: i64,
}

/// Days are counted among so many of the newest attempts: three thousand on each of a month's days,
/// counted within a tenth of a second.
const ATTEMPTS_MAX: u32 = 100_000;

/// A [`SpeedRow`] of each picture that was begun at a moment (UTC, milliseconds since the epoch) or
/// later, newest first, at most so many.
pub(super) const SPEEDS: &str = "SELECT r.job_id AS job, r.position AS picture, \
                                 a.started_at_ms AS at_ms, a.width, a.height, a.steps, a.total_ms \
                                 FROM attempts a JOIN renders r ON r.id = a.render_id \
                                 WHERE a.outcome = 'done' AND a.started_at_ms >= ? \
                                 ORDER BY a.id DESC LIMIT ?";

impl Store {
    /// The newest days on which pictures were made, newest first.
    pub async fn days(&self, limit: u32) -> Result<Vec<DayRow>> {
        let sql = "SELECT date(ended_at_ms / 1000.0, 'unixepoch', 'localtime') AS day, \
                   count(*) AS pictures, sum(total_ms) AS busy_ms \
                   FROM attempts WHERE outcome = 'done' AND id > (SELECT max(id) - ? FROM attempts) \
                   GROUP BY day ORDER BY day DESC LIMIT ?";
        let days = sqlx::query_as(sql).bind(ATTEMPTS_MAX).bind(limit);
        Ok(days.fetch_all(&self.readers).await?)
    }

    /// The newest pictures, newest first.
    pub async fn speeds(&self, limit: u32) -> Result<Vec<SpeedRow>> {
        Ok(sqlx::query_as(SPEEDS).bind(0).bind(limit).fetch_all(&self.readers).await?)
    }
}
