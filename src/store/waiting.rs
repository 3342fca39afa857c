//! What waits, by kind: for who estimates how long it takes.

use sqlx::FromRow;

use super::{Result, Store};

/// Renders that have not ended and take the same time.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct WaitingRenders {
    /// They may start then (UTC, milliseconds since the epoch).
    pub from_ms: i64,
    pub renders: i64,
    /// Pixels.
    pub width: i64,
    /// Pixels.
    pub height: i64,
    pub steps: i64,
    pub guidance: f64,
    pub guidance_truncation: f64,
}

/// So many kinds are told apart, the first to start; the rest is left out, for to plan more takes
/// longer than anybody waits for an answer.
const KINDS_MAX: u32 = 1000;

impl Store {
    /// The renders that have not ended, in the order of when they may start, as far as
    /// [`KINDS_MAX`] goes.
    pub async fn waiting(&self, now_ms: i64) -> Result<Vec<WaitingRenders>> {
        let sql = "SELECT max(run_after_ms, ?) AS from_ms, count(*) AS renders, width, height, \
                   steps, guidance, guidance_truncation FROM renders \
                   WHERE state IN ('queued', 'running') \
                   GROUP BY from_ms, width, height, steps, guidance, guidance_truncation \
                   ORDER BY from_ms LIMIT ?";
        Ok(sqlx::query_as(sql).bind(now_ms).bind(KINDS_MAX).fetch_all(&self.readers).await?)
    }
}
