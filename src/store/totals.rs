//! Sums over the whole history, for whoever draws curves of them.

use sqlx::FromRow;

use super::{Result, Store};
use crate::attempt::Outcome;
use crate::job::state::State;
use crate::ladder::Stage;

/// How many renders are in a state.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct StateTotal {
    pub state: State,
    pub renders: i64,
}

/// How many attempts ended so, and how long they took.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct AttemptTotal {
    pub outcome: Outcome,
    /// Where it ended, where it made no picture and that is known.
    pub stage: Option<Stage>,
    pub attempts: i64,
    pub text_encode_ms: i64,
    pub denoise_ms: i64,
    pub vae_decode_ms: i64,
    pub picture_encode_ms: i64,
    pub total_ms: i64,
}

impl Store {
    /// All renders, by state.
    pub async fn state_totals(&self) -> Result<Vec<StateTotal>> {
        let sql = "SELECT state, count(*) AS renders FROM renders GROUP BY state";
        Ok(sqlx::query_as(sql).fetch_all(&self.readers).await?)
    }

    /// All attempts that have ended, by how they did.
    pub async fn attempt_totals(&self) -> Result<Vec<AttemptTotal>> {
        let sql = "SELECT outcome, stage, count(*) AS attempts, \
                   coalesce(sum(text_encode_ms), 0) AS text_encode_ms, \
                   coalesce(sum(denoise_ms), 0) AS denoise_ms, \
                   coalesce(sum(vae_decode_ms), 0) AS vae_decode_ms, \
                   coalesce(sum(picture_encode_ms), 0) AS picture_encode_ms, \
                   coalesce(sum(total_ms), 0) AS total_ms \
                   FROM attempts WHERE outcome <> 'running' GROUP BY outcome, stage";
        Ok(sqlx::query_as(sql).fetch_all(&self.readers).await?)
    }

    /// How many models were loaded.
    pub async fn worker_starts(&self) -> Result<i64> {
        Ok(sqlx::query_scalar("SELECT count(*) FROM workers").fetch_one(&self.readers).await?)
    }

    /// When the oldest queued render was taken in (UTC, milliseconds since the epoch).
    pub async fn oldest_queued_ms(&self) -> Result<Option<i64>> {
        let sql = "SELECT min(j.accepted_at_ms) FROM renders r JOIN jobs j ON j.id = r.job_id \
                   WHERE r.state = 'queued'";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.readers).await?)
    }
}
