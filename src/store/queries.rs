//! What faces show: read only, bounded.

use serde::Serialize;
use sqlx::{FromRow, QueryBuilder};

use super::{Result, Selection, Store, StoreError};
use crate::attempt::{ErrorCode, Outcome};
use crate::job::state::State;

/// A row of the view `jobs_state`, and what its queued renders wait for.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct JobRow {
    pub job: i64,
    /// See [`Origin::as_str`](crate::job::origin::Origin::as_str).
    pub origin: String,
    pub file_name: String,
    /// JSON list.
    pub tags: String,
    /// What its renders say all together.
    pub state: State,
    pub priority: i64,
    pub retry_of: Option<i64>,
    pub accepted_at_ms: i64,
    /// No queued render of it is started before (UTC, since the epoch); `None` where none is
    /// queued.
    pub run_after_ms: Option<i64>,
    pub renders: i64,
    pub queued: i64,
    pub running: i64,
    pub done: i64,
    pub failed: i64,
    pub cancelled: i64,
    pub degraded: i64,
}

/// A row of the view `history`, with times in milliseconds (UTC, since the epoch).
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct HistoryRow {
    pub job: i64,
    pub picture: i64,
    pub state: State,
    pub degraded: bool,
    pub prompt: String,
    pub negative_prompt: String,
    pub seed: i64,
    pub guidance: f64,
    pub guidance_normalization: f64,
    pub guidance_truncation: f64,
    pub asked_width: i64,
    pub asked_height: i64,
    pub asked_steps: i64,
    pub width: Option<i64>,
    pub height: Option<i64>,
    pub steps: Option<i64>,
    pub rung: Option<String>,
    pub attempts: i64,
    pub queued_s: Option<f64>,
    pub text_encode_s: Option<f64>,
    pub denoise_s: Option<f64>,
    pub vae_decode_s: Option<f64>,
    pub picture_encode_s: Option<f64>,
    pub total_s: Option<f64>,
    pub peak_bytes: Option<i64>,
    pub path: Option<String>,
    pub error_code: Option<ErrorCode>,
    pub error: Option<String>,
    /// Why it was cancelled, where that was not the user's word.
    pub cancel_reason: Option<String>,
    pub device: Option<String>,
    pub model: Option<String>,
    pub finished_at: Option<String>,
    /// The prompt was longer than the model reads; `None` before it was tried.
    pub prompt_cut: Option<bool>,
    /// Not started before.
    pub run_after_ms: i64,
    pub finished_at_ms: Option<i64>,
}

/// One try.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct AttemptRow {
    pub picture: i64,
    pub number: i64,
    pub outcome: Outcome,
    pub rung: String,
    pub stage: Option<String>,
    pub total_ms: i64,
    pub peak_bytes: i64,
    pub requested_bytes: Option<i64>,
    pub message: Option<String>,
}

/// The model that was loaded last.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct WorkerRow {
    pub loaded_at_ms: i64,
    pub device: String,
    pub model_name: String,
    pub model_hash: String,
    pub load_ms: i64,
    pub idle_bytes: i64,
    pub total_bytes: i64,
}

/// A file that was set aside.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct RejectionRow {
    pub at_ms: i64,
    pub file_name: String,
    pub reason: String,
}

/// So many attempts are looked at for jobs that were begun: more than jobs are under way at once.
const BEGUN_ATTEMPTS_MAX: u32 = 200;

/// The columns of a [`JobRow`].
const JOBS: &str = "SELECT *, (SELECT min(run_after_ms) FROM renders r \
                    WHERE r.job_id = job AND r.state = 'queued') AS run_after_ms \
                    FROM jobs_state WHERE ";

/// The columns of a [`HistoryRow`], of the pictures for which the rest of the text holds.
macro_rules! pictures_where {
    () => {
        "SELECT history.*, r.cancel_reason, r.run_after_ms, r.finished_at_ms FROM history \
         JOIN renders r ON r.job_id = job AND r.position = picture WHERE "
    };
}
pub(super) use pictures_where;

impl Store {
    /// Jobs, newest first; those in `state` and with `tag` where given.
    pub async fn jobs(
        &self,
        state: Option<State>,
        tag: Option<&str>,
        limit: u32,
    ) -> Result<Vec<JobRow>> {
        let mut sql = QueryBuilder::new(JOBS);
        sql.push("true");
        if let Some(state) = state {
            sql.push(" AND state = ").push_bind(state);
            // Few renders are in these states, and an index finds them: the history is not walked
            // through for them.
            match state {
                State::Queued | State::Failed | State::Cancelled => {
                    sql.push(" AND job IN (SELECT job_id FROM renders WHERE state = ")
                        .push_bind(state)
                        .push(")");
                }
                State::Running => {
                    sql.push(
                        " AND job IN (SELECT job_id FROM renders \
                         WHERE state IN ('running', 'queued'))",
                    );
                }
                State::Done => (),
            }
        }
        if let Some(tag) = tag {
            sql.push(" AND EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ")
                .push_bind(tag)
                .push(")");
        }
        sql.push(" ORDER BY job DESC LIMIT ").push_bind(limit);
        Ok(sql.build_query_as().fetch_all(&self.readers).await?)
    }

    /// The newest jobs of which something was begun and something is left to do, as far as the
    /// newest attempts tell: neither the history nor what waits is walked through.
    pub async fn begun(&self, limit: u32) -> Result<Vec<JobRow>> {
        let mut sql = QueryBuilder::new(JOBS);
        sql.push("job IN (SELECT r.job_id FROM renders r WHERE r.id IN ")
            .push("(SELECT render_id FROM attempts ORDER BY id DESC LIMIT ")
            .push_bind(BEGUN_ATTEMPTS_MAX)
            .push(")) AND state = 'running' ORDER BY job DESC LIMIT ")
            .push_bind(limit);
        Ok(sql.build_query_as().fetch_all(&self.readers).await?)
    }

    /// One job.
    pub async fn job(&self, job_id: i64) -> Result<JobRow> {
        let mut sql = QueryBuilder::new(JOBS);
        let row =
            sql.push("job = ").push_bind(job_id).build_query_as().fetch_optional(&self.readers);
        row.await?
            .ok_or_else(|| StoreError::NotFound(format!("there is no {}", Selection::Job(job_id))))
    }

    /// The pictures of a selection, in order.
    pub async fn history(&self, selection: Selection) -> Result<Vec<HistoryRow>> {
        let (job_id, picture) = selection.parts();
        let sql = concat!(
            pictures_where!(),
            "job = ? AND picture = coalesce(?, picture) ORDER BY picture"
        );
        let rows: Vec<HistoryRow> =
            sqlx::query_as(sql).bind(job_id).bind(picture).fetch_all(&self.readers).await?;
        match rows.is_empty() {
            true => Err(StoreError::NotFound(format!("there is no {selection}"))),
            false => Ok(rows),
        }
    }

    /// All attempts of a selection, in order.
    pub async fn attempts(&self, selection: Selection) -> Result<Vec<AttemptRow>> {
        let (job_id, picture) = selection.parts();
        let rows = sqlx::query_as(
            "SELECT r.position AS picture, a.number, a.outcome, a.rung_text AS rung, a.stage, \
             a.total_ms, a.requested_bytes, a.message, \
             max(a.text_encode_bytes, a.denoise_bytes, a.vae_decode_bytes) AS peak_bytes \
             FROM attempts a JOIN renders r ON r.id = a.render_id \
             WHERE r.job_id = ? AND r.position = coalesce(?, r.position) ORDER BY r.position, a.number",
        );
        Ok(rows.bind(job_id).bind(picture).fetch_all(&self.readers).await?)
    }

    /// The worker that was loaded last.
    pub async fn last_worker(&self) -> Result<Option<WorkerRow>> {
        Ok(sqlx::query_as("SELECT * FROM workers ORDER BY id DESC LIMIT 1")
            .fetch_optional(&self.readers)
            .await?)
    }

    /// How many renders are queued.
    pub async fn queued(&self) -> Result<u64> {
        let sql = "SELECT count(*) FROM renders WHERE state = 'queued'";
        Ok(sqlx::query_scalar::<_, i64>(sql).fetch_one(&self.readers).await?.unsigned_abs())
    }

    /// Files set aside, newest first.
    pub async fn rejections(&self, limit: u32) -> Result<Vec<RejectionRow>> {
        let sql = "SELECT at_ms, file_name, reason FROM rejections ORDER BY id DESC LIMIT ?";
        Ok(sqlx::query_as(sql).bind(limit).fetch_all(&self.readers).await?)
    }
}
