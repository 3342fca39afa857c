//! What memory the newest attempts took, and where it ran out: read only, bounded.

use sqlx::FromRow;

use super::{Result, Store};
use crate::job::state::State;
use crate::ladder::Stage;

/// What an attempt was expected to need, and what it needed.
#[derive(Clone, Debug, FromRow)]
pub struct PeakRow {
    pub rung: String,
    pub predicted_bytes: i64,
    pub measured_bytes: i64,
}

/// An attempt that ran out of memory, and what came after it.
#[derive(Clone, Debug, FromRow)]
pub struct Fall {
    /// When it was begun: UTC, milliseconds since the epoch.
    pub at_ms: i64,
    pub job: i64,
    pub picture: i64,
    pub rung: String,
    pub stage: Option<Stage>,
    /// What the allocation asked for that failed, where that is known.
    pub requested_bytes: Option<i64>,
    /// How long it had taken.
    pub total_ms: i64,
    pub next_rung: Option<String>,
    /// How its picture stands.
    pub state: State,
}

impl Store {
    /// Predicted and measured peaks of the newest attempts that made a picture.
    pub async fn peaks(&self, limit: u32) -> Result<Vec<PeakRow>> {
        let sql = "SELECT rung_text AS rung, predicted_bytes, \
                   max(text_encode_bytes, denoise_bytes, vae_decode_bytes) AS measured_bytes \
                   FROM attempts WHERE outcome = 'done' AND predicted_bytes IS NOT NULL \
                   ORDER BY id DESC LIMIT ?";
        Ok(sqlx::query_as(sql).bind(limit).fetch_all(&self.readers).await?)
    }

    /// The newest attempts that ran out of memory.
    pub async fn falls(&self, limit: u32) -> Result<Vec<Fall>> {
        let sql = "SELECT a.started_at_ms AS at_ms, r.job_id AS job, r.position AS picture, \
                   a.rung_text AS rung, a.stage, a.requested_bytes, a.total_ms, \
                   n.rung_text AS next_rung, r.state \
                   FROM attempts a JOIN renders r ON r.id = a.render_id \
                   LEFT JOIN attempts n ON n.render_id = a.render_id AND n.number = a.number + 1 \
                   WHERE a.outcome = 'out_of_memory' ORDER BY a.id DESC LIMIT ?";
        Ok(sqlx::query_as(sql).bind(limit).fetch_all(&self.readers).await?)
    }
}
