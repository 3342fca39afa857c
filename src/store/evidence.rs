//! What earlier attempts tell of the memory and the time that the next ones need.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::rows::{Corrected, from_json};
use super::waiting::PICTURES_MAX;
use super::{Result, Store};
use crate::attempt::{Peaks, Planned, Predicted};
use crate::ladder::{Rung, Stage};
use crate::planner::Evidence;

/// So many attempts are looked at: enough for every size and rung in use, few enough to be read for
/// each render.
const EVIDENCE_MAX: u32 = 200;

/// They are looked for among so many of the newest attempts: where a history of a million has none
/// of this model, or of this rung, that would take a second to find out.
const EVIDENCE_AMONG: u32 = 20_000;

impl Store {
    /// The newest planned attempts of a model on a device that ended in a picture or out of memory,
    /// newest first. Those of another version of this program were predicted by other formulas, and
    /// do not count.
    pub async fn evidence(&self, model_hash: &str, device: &str) -> Result<Vec<Evidence>> {
        let rows = sqlx::query(
            "SELECT a.rung, a.predicted, a.corrected, a.text_encode_bytes, a.denoise_bytes, a.vae_decode_bytes, \
             CASE a.outcome WHEN 'out_of_memory' THEN a.stage END AS failed, coalesce(a.requested_bytes, 0) AS requested \
             FROM attempts a JOIN workers w ON w.id = a.worker_id \
             WHERE a.predicted_bytes IS NOT NULL AND w.model_hash = ? AND w.device = ? AND w.version = ? \
             AND a.outcome IN ('out_of_memory', 'done') \
             AND a.id > (SELECT max(id) - ? FROM attempts) ORDER BY a.id DESC LIMIT ?",
        );
        let rows = rows.bind(model_hash).bind(device).bind(env!("CARGO_PKG_VERSION"));
        let rows = rows.bind(EVIDENCE_AMONG).bind(EVIDENCE_MAX);
        let rows = rows.fetch_all(&self.readers).await?;
        let evidence = rows.iter().filter_map(|row| evidence(row).transpose());
        Ok(evidence.collect::<sqlx::Result<_>>()?)
    }

    /// The newest pictures of the model `name` on this very rung, with guidance or without, on the
    /// device of the newest of them.
    pub async fn seen_on(
        &self,
        rung: &Rung,
        name: &str,
        is_guided: bool,
    ) -> Result<Option<SeenOnRung>> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT w.device, a.total_ms FROM attempts a JOIN workers w ON w.id = a.worker_id \
             JOIN renders r ON r.id = a.render_id \
             WHERE a.outcome = 'done' AND a.denoise_ms > 0 AND a.rung_text = ? AND w.model_name = ? \
             AND (r.guidance > 0) = ? \
             AND a.id > (SELECT max(id) - ? FROM attempts) ORDER BY a.id DESC LIMIT ?",
        )
        .bind(rung.to_string())
        .bind(name)
        .bind(is_guided)
        .bind(EVIDENCE_AMONG)
        .bind(PICTURES_MAX)
        .fetch_all(&self.readers)
        .await?;
        let Some((device, _)) = rows.first().cloned() else { return Ok(None) };
        let of_device = rows.into_iter().filter(|row| row.0 == device);
        let times_ms = of_device.map(|(_, total_ms)| total_ms as f64).collect();
        Ok(Some(SeenOnRung { device, times_ms }))
    }
}

/// Pictures that were rendered on a rung.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenOnRung {
    /// Where they were rendered.
    pub device: String,
    /// How long each took, newest first; at least one.
    pub times_ms: Vec<f64>,
}

fn evidence(row: &SqliteRow) -> sqlx::Result<Option<Evidence>> {
    let bytes = |column: &str| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
    let corrected: Corrected = from_json(row.try_get("corrected")?)?;
    let predicted = Predicted {
        uncorrected: from_json(row.try_get("predicted")?)?,
        corrected: corrected.prediction,
        missing_bytes: corrected.missing_bytes,
    };
    let planned = Planned { rung: from_json(row.try_get("rung")?)?, predicted: Some(predicted) };
    let peaks = Peaks {
        text_encode_bytes: bytes("text_encode_bytes")?,
        denoise_bytes: bytes("denoise_bytes")?,
        vae_decode_bytes: bytes("vae_decode_bytes")?,
        after_release_bytes: 0,
    };
    let failed: Option<Stage> = row.try_get("failed")?;
    let requested_bytes = bytes("requested")?;
    Ok(planned.evidence(&peaks, failed.map(|stage| (stage, requested_bytes))))
}
