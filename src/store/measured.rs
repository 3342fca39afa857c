//! The attempts and workers of a queue that was made to be measured: read only, bounded.

use sqlx::FromRow;

use super::rows::PartLoads;
use super::{Result, Store, WorkerRow};
use crate::attempt::Outcome;

/// An attempt with all that was measured in it, and what it was for.
#[derive(Clone, Debug, FromRow)]
pub struct MeasuredAttempt {
    /// The job's file, without folder.
    pub file_name: String,
    pub outcome: Outcome,
    /// For people.
    pub rung: String,
    /// Pixels that were made; likewise the height.
    pub width: i64,
    pub height: i64,
    /// The picture is smaller, or has fewer steps, than asked.
    pub degraded: bool,
    /// UTC, in milliseconds since the epoch.
    pub started_at_ms: i64,
    pub text_encode_ms: i64,
    pub denoise_ms: i64,
    pub vae_decode_ms: i64,
    pub picture_encode_ms: i64,
    pub total_ms: i64,
    /// The most device memory of all stages.
    pub peak_bytes: i64,
    pub after_release_bytes: i64,
    pub predicted_bytes: Option<i64>,
    /// Why it made no picture.
    pub message: Option<String>,
}

/// A worker with what loading its model took.
#[derive(Clone, Debug, FromRow)]
pub struct MeasuredWorker {
    #[sqlx(flatten)]
    pub worker: WorkerRow,
    /// By part of the model, in the order of loading.
    #[sqlx(try_from = "String")]
    pub load_parts: PartLoads,
}

impl Store {
    /// All attempts, oldest first.
    pub async fn measured_attempts(&self, limit: u32) -> Result<Vec<MeasuredAttempt>> {
        let sql = "SELECT j.file_name, a.outcome, a.rung_text AS rung, a.width, a.height, \
                   r.degraded, a.started_at_ms, a.text_encode_ms, a.denoise_ms, a.vae_decode_ms, \
                   a.picture_encode_ms, a.total_ms, a.after_release_bytes, a.predicted_bytes, \
                   max(a.text_encode_bytes, a.denoise_bytes, a.vae_decode_bytes) AS peak_bytes, \
                   a.message FROM attempts a JOIN renders r ON r.id = a.render_id \
                   JOIN jobs j ON j.id = r.job_id ORDER BY a.id LIMIT ?";
        Ok(sqlx::query_as(sql).bind(limit).fetch_all(&self.readers).await?)
    }

    /// All workers, oldest first.
    pub async fn measured_workers(&self, limit: u32) -> Result<Vec<MeasuredWorker>> {
        let sql = "SELECT * FROM workers ORDER BY id LIMIT ?";
        Ok(sqlx::query_as(sql).bind(limit).fetch_all(&self.readers).await?)
    }
}
