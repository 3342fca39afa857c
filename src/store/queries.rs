//! What faces show: read only, bounded.

use std::collections::BTreeSet;

use sqlx::{QueryBuilder, Sqlite};

use super::answers::{AttemptRow, HistoryRow, JobRow, RejectionRow, WorkerRow};
use super::rows::to_json;
use super::{Result, Selection, Store};
use crate::job::state::{ShownState, State};

/// Which jobs are listed: all unless something is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    pub state: Option<ShownState>,
    pub tag: Option<String>,
    /// A part of one of their prompts.
    pub text: Option<String>,
    /// Those that were taken in at this time (UTC, milliseconds since the epoch) or later.
    pub since_ms: Option<i64>,
    /// Those that were taken in before this time (UTC, milliseconds since the epoch).
    pub to_ms: Option<i64>,
    /// Those before the job with this id.
    pub before: Option<i64>,
}

/// The condition that render `r`, whose state `column` names, is shown in this state.
pub(super) fn shown_as(sql: &mut QueryBuilder<Sqlite>, column: &str, state: ShownState) {
    sql.push(format!(" AND {column} = ")).push_bind(state.state());
    if state.is_stopping() {
        sql.push(" AND r.cancel_wanted = 1");
    }
}

/// Which pictures of a selection are wanted: all unless something is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PictureFilter {
    pub state: Option<ShownState>,
    /// Those behind this place in the job.
    pub after: Option<i64>,
    /// At most so many.
    pub limit: Option<u32>,
}

impl PictureFilter {
    /// Conditions on a render `r`.
    fn narrow(&self, sql: &mut QueryBuilder<Sqlite>, selection: Selection) {
        let (job_id, picture) = selection.parts();
        sql.push("r.job_id = ").push_bind(job_id);
        if let Some(picture) = picture {
            sql.push(" AND r.position = ").push_bind(picture);
        }
        if let Some(after) = self.after {
            sql.push(" AND r.position > ").push_bind(after);
        }
        if let Some(state) = self.state {
            // The sign has the job's index used, in whose order the pictures are wanted.
            shown_as(sql, "+r.state", state);
        }
    }
}

/// So many attempts are looked at for jobs that were begun: more than jobs are under way at once.
const BEGUN_ATTEMPTS_MAX: u32 = 200;

/// The columns of a [`JobRow`].
const JOBS: &str = "SELECT *, (SELECT min(run_after_ms) FROM renders r \
                    WHERE r.job_id = job AND r.state = 'queued') AS run_after_ms, \
                    coalesce((SELECT model FROM renders r WHERE r.job_id = job LIMIT 1), '') AS model, \
                    (SELECT not_after_ms FROM jobs WHERE id = job) AS not_after_ms, \
                    (SELECT open_hours FROM jobs WHERE id = job) AS window, \
                    (SELECT count(*) FROM renders r WHERE r.job_id = job AND r.state = 'running' \
                    AND r.cancel_wanted = 1) AS stopping, \
                    CASE WHEN queued + running = 0 THEN (SELECT max(finished_at_ms) \
                    FROM renders r WHERE r.job_id = job) END AS ended_at_ms \
                    FROM jobs_state WHERE ";

/// The columns of a [`HistoryRow`].
pub(super) const PICTURES: &str = "SELECT history.*, \
                        r.state = 'running' AND r.cancel_wanted = 1 AS stopping, r.priority, r.starred, r.sampler, r.precision, \
                        r.init_image, r.mask, r.strength, r.model AS model_key, \
                        coalesce((SELECT w.parts FROM attempts a JOIN workers w ON w.id = a.worker_id \
                        WHERE a.render_id = r.id ORDER BY a.number DESC LIMIT 1), '[]') AS parts, \
                        r.run_after_ms, \
                        r.finished_at_ms, j.accepted_at_ms \
                        FROM history JOIN renders r ON r.job_id = job AND r.position = picture \
                        JOIN jobs j ON j.id = job WHERE ";

impl Store {
    /// Jobs that the filter lets through, newest first.
    pub async fn jobs(&self, filter: &JobFilter, limit: u32) -> Result<Vec<JobRow>> {
        let mut sql = QueryBuilder::new(JOBS);
        sql.push("true");
        if let Some(state) = filter.state {
            in_state(&mut sql, state);
        }
        if let Some(tag) = &filter.tag {
            sql.push(" AND EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ")
                .push_bind(tag)
                .push(")");
        }
        if let Some(text) = &filter.text {
            sql.push(" AND EXISTS (SELECT 1 FROM renders r WHERE r.job_id = job")
                .push(" AND instr(lower(r.prompt), lower(")
                .push_bind(text)
                .push(")) > 0)");
        }
        if let Some(since_ms) = filter.since_ms {
            sql.push(" AND accepted_at_ms >= ").push_bind(since_ms);
        }
        if let Some(to_ms) = filter.to_ms {
            sql.push(" AND accepted_at_ms < ").push_bind(to_ms);
        }
        if let Some(before) = filter.before {
            sql.push(" AND job < ").push_bind(before);
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
            .push(")) AND queued + running > 0 ORDER BY job DESC LIMIT ")
            .push_bind(limit);
        Ok(sql.build_query_as().fetch_all(&self.readers).await?)
    }

    /// The jobs with these ids, as far as they are there, in no order.
    pub async fn jobs_named(&self, ids: &[i64]) -> Result<Vec<JobRow>> {
        let mut sql = QueryBuilder::new(JOBS);
        sql.push("job IN (");
        let mut listed = sql.separated(", ");
        for id in ids {
            listed.push_bind(id);
        }
        sql.push(")");
        Ok(sql.build_query_as().fetch_all(&self.readers).await?)
    }

    /// One job.
    pub async fn job(&self, job_id: i64) -> Result<JobRow> {
        let mut sql = QueryBuilder::new(JOBS);
        let row =
            sql.push("job = ").push_bind(job_id).build_query_as().fetch_optional(&self.readers);
        row.await?.ok_or_else(|| Selection::Job(job_id).absent())
    }

    /// The pictures of a selection, in order.
    pub async fn history(&self, selection: Selection) -> Result<Vec<HistoryRow>> {
        let (job_id, picture) = selection.parts();
        let mut sql = QueryBuilder::new(PICTURES);
        sql.push("job = ").push_bind(job_id);
        if let Some(picture) = picture {
            sql.push(" AND picture = ").push_bind(picture);
        }
        sql.push(" ORDER BY picture");
        let rows: Vec<HistoryRow> = sql.build_query_as().fetch_all(&self.readers).await?;
        match rows.is_empty() {
            true => Err(selection.absent()),
            false => Ok(rows),
        }
    }

    /// The pictures of a selection that the filter lets through, in order.
    pub async fn pictures(
        &self,
        selection: Selection,
        filter: &PictureFilter,
    ) -> Result<Vec<HistoryRow>> {
        let mut sql = QueryBuilder::new(PICTURES);
        sql.push("r.id IN (SELECT r.id FROM renders r WHERE ");
        filter.narrow(&mut sql, selection);
        sql.push(" ORDER BY r.position LIMIT ").push_bind(filter.limit.map_or(-1, i64::from));
        sql.push(") ORDER BY picture");
        Ok(sql.build_query_as().fetch_all(&self.readers).await?)
    }

    /// How many pictures of a selection the filter lets through, whatever its limit.
    pub async fn count_pictures(
        &self,
        selection: Selection,
        filter: &PictureFilter,
    ) -> Result<u64> {
        let mut sql = QueryBuilder::new("SELECT count(*) FROM renders r WHERE ");
        filter.narrow(&mut sql, selection);
        let number: i64 = sql.build_query_scalar().fetch_one(&self.readers).await?;
        Ok(number.unsigned_abs())
    }

    /// Why pictures of a selection were cancelled, each reason once.
    pub async fn cancel_reasons(&self, selection: Selection) -> Result<BTreeSet<String>> {
        let mut sql = QueryBuilder::new("SELECT DISTINCT r.cancel_reason FROM renders r WHERE ");
        PictureFilter::default().narrow(&mut sql, selection);
        sql.push(" AND r.cancel_reason IS NOT NULL");
        let reasons: Vec<String> = sql.build_query_scalar().fetch_all(&self.readers).await?;
        Ok(reasons.into_iter().collect())
    }

    /// All attempts at these pictures of a job, in order.
    pub async fn attempts(&self, job_id: i64, pictures: &[i64]) -> Result<Vec<AttemptRow>> {
        let rows = sqlx::query_as(
            "SELECT r.position AS picture, a.number, a.outcome, a.rung_text AS rung, a.stage, \
             CASE WHEN a.total_ms > 0 OR a.outcome = 'done' THEN a.total_ms END AS total_ms, a.energy_mj / 1000.0 AS joules, a.requested_bytes, a.message, \
             a.text_encode_bytes, a.denoise_bytes, a.vae_decode_bytes, \
             nullif(max(a.text_encode_bytes, a.denoise_bytes, a.vae_decode_bytes), 0) AS peak_bytes \
             FROM attempts a JOIN renders r ON r.id = a.render_id \
             WHERE r.job_id = ? AND r.position IN (SELECT value FROM json_each(?)) \
             ORDER BY r.position, a.number",
        );
        Ok(rows.bind(job_id).bind(to_json(&pictures)).fetch_all(&self.readers).await?)
    }

    /// The worker that was loaded last.
    pub async fn last_worker(&self) -> Result<Option<WorkerRow>> {
        Ok(sqlx::query_as("SELECT * FROM workers ORDER BY id DESC LIMIT 1")
            .fetch_optional(&self.readers)
            .await?)
    }

    /// Whether any render has not ended: asked at once, so that none is seen between two states.
    pub async fn is_busy(&self) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM renders WHERE state IN ('queued', 'running'))";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.readers).await?)
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

/// Few renders are in most of the states, and an index finds them: the history is not walked
/// through for them.
fn in_state(sql: &mut QueryBuilder<Sqlite>, shown: ShownState) {
    let state = shown.state();
    sql.push(" AND state = ").push_bind(state);
    if shown.is_stopping() {
        // As `JobRow::is_stopping` says it.
        sql.push(" AND stopping > 0 AND stopping = running AND queued = 0");
    }
    match state {
        State::Queued | State::Running | State::Failed | State::Cancelled => {
            sql.push(" AND job IN (SELECT job_id FROM renders WHERE state = ")
                .push_bind(state)
                .push(")");
        }
        State::Done => (),
    }
}
