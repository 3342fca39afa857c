//! What earlier attempts tell of the memory and the time that the next ones need.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::rows::from_json;
use super::{Result, Store};
use crate::ladder::Rung;
use crate::memory::Evidence;

/// So many attempts are looked at: enough for every size and rung in use, few enough to be read for each render.
const EVIDENCE_MAX: u32 = 200;

impl Store {
    /// The newest attempts of a model that were predicted and whose denoising was measured, newest first.
    pub async fn evidence(&self, model_hash: &str) -> Result<Vec<Evidence>> {
        let rows = sqlx::query(
            "SELECT a.rung, a.predicted_bytes, a.outcome = 'out_of_memory' AS out_of_memory, \
             max(a.text_encode_bytes, a.denoise_bytes, a.vae_decode_bytes) + coalesce(a.requested_bytes, 0) AS measured \
             FROM attempts a JOIN workers w ON w.id = a.worker_id \
             WHERE a.predicted_bytes IS NOT NULL AND w.model_hash = ? \
             AND (a.outcome = 'out_of_memory' OR a.outcome = 'done' AND a.denoise_bytes > 0) \
             ORDER BY a.id DESC LIMIT ?",
        );
        let rows = rows.bind(model_hash).bind(EVIDENCE_MAX).fetch_all(&self.readers).await?;
        let evidence = |row: &SqliteRow| -> sqlx::Result<Evidence> {
            Ok(Evidence {
                rung: from_json(row.try_get("rung")?)?,
                predicted_bytes: row.try_get::<i64, _>("predicted_bytes")?.unsigned_abs(),
                measured_bytes: row.try_get::<i64, _>("measured")?.unsigned_abs(),
                out_of_memory: row.try_get("out_of_memory")?,
            })
        };
        Ok(rows.iter().map(evidence).collect::<sqlx::Result<_>>()?)
    }

    /// The mean of the milliseconds that the newest pictures on this very rung took, and how many those are.
    pub async fn seen_on(&self, rung: &Rung) -> Result<Option<(f64, i64)>> {
        let row = sqlx::query(
            "SELECT avg(total_ms) AS mean_ms, count(*) AS pictures FROM (SELECT total_ms FROM attempts \
             WHERE outcome = 'done' AND denoise_ms > 0 AND rung_text = ? ORDER BY id DESC LIMIT ?)",
        );
        let row = row.bind(rung.to_string()).bind(EVIDENCE_MAX).fetch_one(&self.readers).await?;
        let pictures: i64 = row.try_get("pictures")?;
        Ok(if pictures == 0 { None } else { Some((row.try_get("mean_ms")?, pictures)) })
    }
}
