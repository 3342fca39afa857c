//! Sums over the whole history, for whoever draws curves of them.

use sqlx::{FromRow, QueryBuilder, Sqlite};

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
}

/// Pictures whose stages took so long, each by its bucket as of [`SecondsTotal`].
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct StagesTotal {
    pub pictures: i64,
    pub text_encode: i64,
    pub text_encode_ms: i64,
    pub denoise: i64,
    pub denoise_ms: i64,
    pub vae_decode: i64,
    pub vae_decode_ms: i64,
    pub picture_encode: i64,
    pub picture_encode_ms: i64,
}

/// Pictures of a size that took so long, or longer than any bound.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct SecondsTotal {
    /// The longer side, in pixels, rounded up to a power of two.
    pub side: i64,
    /// The place of the first bound that they stay within; as many as there are bounds for the rest.
    pub bucket: i64,
    pub pictures: i64,
    pub total_ms: i64,
}

/// Pictures whose peak was so far of the prediction.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct RatioTotal {
    /// As of [`SecondsTotal`].
    pub bucket: i64,
    pub pictures: i64,
    /// The sum of measured by predicted.
    pub ratios: f64,
}

impl Store {
    /// All pictures, by their size and by which of `bounds_ms`, which go upwards, they took.
    pub async fn seconds_totals(&self, bounds_ms: &[i64]) -> Result<Vec<SecondsTotal>> {
        let mut sql = QueryBuilder::new(
            "SELECT CASE WHEN max(width, height) <= 256 THEN 256 \
             WHEN max(width, height) <= 512 THEN 512 WHEN max(width, height) <= 1024 THEN 1024 \
             WHEN max(width, height) <= 2048 THEN 2048 ELSE 4096 END AS side, \
             count(*) AS pictures, sum(total_ms) AS total_ms, ",
        );
        push_bucket(&mut sql, "total_ms", bounds_ms, "bucket");
        sql.push("FROM attempts WHERE outcome = 'done' GROUP BY side, bucket");
        Ok(sql.build_query_as().fetch_all(&self.readers).await?)
    }

    /// All pictures, by which of `bounds_ms`, which go upwards, each of their stages took: few
    /// combinations, found in one walk through the history.
    pub async fn stages_totals(&self, bounds_ms: &[i64]) -> Result<Vec<StagesTotal>> {
        let mut sql = QueryBuilder::new("SELECT count(*) AS pictures");
        for stage in STAGES {
            sql.push(format!(", sum({stage}_ms) AS {stage}_ms, "));
            push_bucket(&mut sql, &format!("{stage}_ms"), bounds_ms, stage);
        }
        sql.push("FROM attempts WHERE outcome = 'done' GROUP BY ").push(STAGES.join(", "));
        Ok(sql.build_query_as().fetch_all(&self.readers).await?)
    }

    /// All pictures with a prediction, by which of `bounds`, which go upwards, their peak is of it.
    pub async fn ratio_totals(&self, bounds: &[f64]) -> Result<Vec<RatioTotal>> {
        let mut sql = QueryBuilder::new("SELECT count(*) AS pictures, sum(ratio) AS ratios, ");
        push_bucket(&mut sql, "ratio", bounds, "bucket");
        sql.push(
            "FROM (SELECT 1.0 * max(text_encode_bytes, denoise_bytes, vae_decode_bytes) \
             / predicted_bytes AS ratio FROM attempts \
             WHERE outcome = 'done' AND predicted_bytes > 0) \
             WHERE ratio IS NOT NULL GROUP BY bucket",
        );
        Ok(sql.build_query_as().fetch_all(&self.readers).await?)
    }

    /// All renders, by state.
    pub async fn state_totals(&self) -> Result<Vec<StateTotal>> {
        let sql = "SELECT state, count(*) AS renders FROM renders GROUP BY state";
        Ok(sqlx::query_as(sql).fetch_all(&self.readers).await?)
    }

    /// All attempts that have ended, by how they did.
    pub async fn attempt_totals(&self) -> Result<Vec<AttemptTotal>> {
        let sql = "SELECT outcome, stage, count(*) AS attempts FROM attempts WHERE outcome <> 'running' GROUP BY outcome, stage";
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

/// The stages of a picture, by the beginnings of their columns.
const STAGES: [&str; 4] = ["text_encode", "denoise", "vae_decode", "picture_encode"];

/// How many of `bounds` the column is above, as `name`.
fn push_bucket<T>(sql: &mut QueryBuilder<Sqlite>, column: &str, bounds: &[T], name: &str)
where
    T: Copy + for<'q> sqlx::Encode<'q, Sqlite> + sqlx::Type<Sqlite> + 'static,
{
    for bound in bounds {
        sql.push(format!("({column} > ")).push_bind(*bound).push(") + ");
    }
    sql.push(format!("0 AS {name} "));
}
