//! What earlier attempts tell of the memory and the time that the next ones need.

use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row};

use super::rows::{Corrected, from_json};
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

    /// How long the newest pictures of the model `name` on this very rung took, on the device of
    /// the newest of them.
    pub async fn seen_on(&self, rung: &Rung, name: &str) -> Result<Option<Seen>> {
        let seen = sqlx::query_as(
            "SELECT w.device, w.model_name AS model, avg(a.total_ms) AS mean_ms, count(*) AS pictures FROM \
             (SELECT n.id, worker_id, total_ms FROM attempts n JOIN workers ON workers.id = worker_id WHERE outcome = 'done' \
             AND denoise_ms > 0 AND rung_text = ? AND model_name = ? \
             AND n.id > (SELECT max(id) - ? FROM attempts) ORDER BY n.id DESC LIMIT ?) a \
             JOIN workers w ON w.id = a.worker_id \
             GROUP BY w.device, w.model_name ORDER BY max(a.id) DESC LIMIT 1",
        );
        Ok(seen
            .bind(rung.to_string())
            .bind(name)
            .bind(EVIDENCE_AMONG)
            .bind(EVIDENCE_MAX)
            .fetch_optional(&self.readers)
            .await?)
    }
}

/// Pictures that were rendered on a rung.
#[derive(Clone, Debug, PartialEq, Serialize, FromRow)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Seen {
    /// Where they were rendered.
    pub device: String,
    /// The model's name.
    pub model: String,
    /// How long one took, in the mean.
    pub mean_ms: f64,
    /// How many there are.
    pub pictures: i64,
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
