//! Sums over all that was ever tried, for whoever draws curves of them: kept while it happens, in
//! the transaction that ends an attempt or a render, so that to ask costs the same after a million.

use std::fmt;

use sqlx::FromRow;

use super::writing::Writing;
use super::{Result, Store};
use crate::job::state::State;

/// Bounds of what a picture takes: from the miniature's to a large one on a processor.
pub const PICTURE_MS: [i64; 10] =
    [250, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 1_800_000, 7_200_000];

/// Bounds of what a stage takes: a known prompt's text takes next to nothing.
pub const STAGE_MS: [i64; 10] =
    [10, 50, 250, 1_000, 2_500, 5_000, 10_000, 30_000, 120_000, 1_800_000];

/// Bounds of measured by predicted: above 1 a prediction was too low.
pub const RATIOS: [f64; 7] = [0.25, 0.5, 0.75, 0.9, 0.97, 1.0, 1.1];

/// What is summed up. The view `attempt_values` says what an attempt adds, and has the bounds
/// above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Renders that have ended; the label is their state.
    Renders,
    /// Attempts that have ended; the label is their outcome, and the stage where that was.
    Attempts,
    /// Milliseconds of pictures; the label is the longer side, rounded up to a power of two.
    RenderMs,
    /// Milliseconds of each stage of pictures.
    StageMs,
    /// Measured by predicted peak of pictures that had a prediction.
    PredictedRatio,
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Metric::Renders => "renders",
            Metric::Attempts => "attempts",
            Metric::RenderMs => "render_ms",
            Metric::StageMs => "stage_ms",
            Metric::PredictedRatio => "predicted_ratio",
        })
    }
}

/// How many values of a kind there were, and their sum.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct Total {
    pub label: String,
    pub stage: String,
    /// How many of the metric's bounds they are above.
    pub bucket: i64,
    pub number: i64,
    pub sum: f64,
}

/// How many renders wait or run.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct StateTotal {
    pub state: State,
    pub renders: i64,
}

impl Store {
    /// All there is of a metric: a few rows. They only grow, also where the history is forgotten.
    pub async fn totals(&self, metric: Metric) -> Result<Vec<Total>> {
        let sql = "SELECT label, stage, bucket, number, sum FROM totals WHERE metric = ?";
        Ok(sqlx::query_as(sql).bind(metric.to_string()).fetch_all(&self.readers).await?)
    }

    /// The renders that have not ended, by state.
    pub async fn open_totals(&self) -> Result<Vec<StateTotal>> {
        let sql = "SELECT state, count(*) AS renders FROM renders \
                   WHERE state IN ('queued', 'running') GROUP BY state";
        Ok(sqlx::query_as(sql).fetch_all(&self.readers).await?)
    }

    /// How many models were loaded: the last id that was given to one, whatever rows are left.
    pub async fn worker_starts(&self) -> Result<i64> {
        let sql = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'workers'";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.readers).await?)
    }

    /// When the oldest job with queued renders was taken in (UTC, milliseconds since the epoch).
    pub async fn oldest_queued_ms(&self) -> Result<Option<i64>> {
        let sql = "SELECT j.accepted_at_ms FROM renders r INDEXED BY renders_newest \
                   JOIN jobs j ON j.id = r.job_id WHERE r.state = 'queued' \
                   ORDER BY r.job_id LIMIT 1";
        Ok(sqlx::query_scalar(sql).fetch_optional(&self.readers).await?)
    }
}

/// Adds a render that has just come to its last state.
pub(super) async fn add_render(transaction: &mut Writing, state: State) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO totals (metric, label, number) VALUES ('renders', ?, 1) \
         ON CONFLICT DO UPDATE SET number = number + 1",
    )
    .bind(state)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Adds an attempt that has just ended.
pub(super) async fn add_attempt(transaction: &mut Writing, attempt_id: i64) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO totals (metric, label, stage, bucket, number, sum) \
         SELECT metric, label, stage, bucket, 1, value FROM attempt_values WHERE attempt_id = ? \
         ON CONFLICT DO UPDATE SET number = number + 1, sum = sum + excluded.sum",
    )
    .bind(attempt_id)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
