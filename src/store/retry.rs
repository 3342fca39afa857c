//! Renders that failed or were cancelled, or whose picture is gone, once more as a new job.

use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, SqliteExecutor};

use super::control::RenderFilter;
use super::rows::{render_columns, to_json};
use super::transition::{About, Current, log};
use super::writing::Writing;
use super::{Result, Selection, Store, StoreError};
use crate::job::event::EventKind;
use crate::job::origin::OriginKind;
use crate::job::state::State;

/// What a retry of a job made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Retried {
    /// The job whose renders are rendered again.
    pub of: i64,
    /// The new job's id.
    pub job: i64,
    /// How many renders it has.
    pub renders: usize,
}

/// Which renders of a selection are rendered again.
#[derive(Clone, Copy, Debug)]
pub enum Repeat<'r> {
    /// Those that failed or were cancelled.
    NotMade,
    /// As [`Repeat::NotMade`], where the selection is one of all that a filter lets through: only
    /// what that lets through, without what a later one of them repeats.
    Among(&'r RenderFilter),
    /// Those that are done at these positions: their files are gone.
    Lost(&'r [u32]),
}

impl Store {
    /// A new job of the selected renders that `repeat` tells, each at its old position. Those that
    /// an earlier retry has made or will make are left out: they would give the same picture once
    /// more.
    pub async fn retry(
        &self,
        selection: Selection,
        repeat: Repeat<'_>,
        now_ms: i64,
    ) -> Result<Retried> {
        let _turn = self.turn().await;
        let mut transaction = self.begin().await?;
        let again = to_repeat(&mut transaction, selection, repeat).await;
        let again = match again {
            Ok(again) => again,
            Err(error) => {
                transaction.rollback().await?;
                return Err(error);
            }
        };
        let (of, _) = selection.parts();
        let job = copy_job(&mut transaction, of, now_ms).await?;
        copy_renders(&mut transaction, job, &again).await?;
        let detail = format!("of job {of}");
        log(&mut transaction, EventKind::Retried, About::Job(job), &detail, now_ms).await?;
        transaction.commit().await?;
        Ok(Retried { of, job, renders: again.len() })
    }

    /// The jobs of which the filter lets something through that failed or was cancelled, in the
    /// order in which they came.
    pub async fn retryable(&self, filter: &RenderFilter) -> Result<Vec<i64>> {
        let mut sql = QueryBuilder::new("SELECT DISTINCT r.job_id FROM renders r ");
        sql.push("WHERE r.state IN ('failed', 'cancelled')");
        filter.narrow(&mut sql);
        sql.push(" ORDER BY r.job_id");
        Ok(sql.build_query_scalar().fetch_all(&self.readers).await?)
    }

    /// The jobs with pictures that the filter lets through, in the order in which they came.
    pub async fn jobs_with_pictures(&self, filter: &RenderFilter) -> Result<Vec<i64>> {
        let mut sql = QueryBuilder::new("SELECT DISTINCT r.job_id FROM renders r ");
        sql.push("WHERE r.state = 'done'");
        filter.narrow(&mut sql);
        sql.push(" ORDER BY r.job_id");
        Ok(sql.build_query_scalar().fetch_all(&self.readers).await?)
    }

    /// The last job that has rendered, or will render, the selection again.
    pub async fn again(&self, selection: Selection) -> Result<Option<i64>> {
        let retries = retries(&self.readers, selection).await?;
        Ok(retries.last().map(|(_, job_id)| *job_id))
    }
}

/// The renders of a retry; an error where there are none.
async fn to_repeat(
    transaction: &mut Writing,
    selection: Selection,
    repeat: Repeat<'_>,
) -> Result<Vec<Current>> {
    let selected = selected(transaction, selection).await?;
    let is_meant = |(position, render): &(u32, Current)| match (repeat, render.state) {
        (Repeat::NotMade, state) => matches!(state, State::Failed | State::Cancelled),
        (Repeat::Among(filter), state @ (State::Failed | State::Cancelled)) => {
            filter.state.is_none_or(|wanted| state == wanted)
        }
        (Repeat::Lost(positions), State::Done) => positions.contains(position),
        (Repeat::Among(_) | Repeat::Lost(_), _) => false,
    };
    let meant = selected.into_iter().filter(is_meant);
    let mut again: Vec<Current> = meant.map(|(_, render)| render).collect();
    if let Repeat::Among(filter) = repeat {
        let later = repeated_later(transaction, selection, filter).await?;
        again.retain(|render| !later.contains(&render.render_id));
    }
    if again.is_empty() {
        let why = match repeat {
            Repeat::Lost(_) => format!("no picture of {selection} is missing"),
            _ => format!("nothing of {selection} has failed or was cancelled"),
        };
        return Err(StoreError::NothingToDo(why));
    }
    let retries = retries(&mut **transaction, selection).await?;
    again.retain(|render| !retries.iter().any(|(retried, _)| *retried == render.render_id));
    if let (true, Some((_, job_id))) = (again.is_empty(), retries.last()) {
        let why = format!("{selection} is rendered again already, last as job {job_id}");
        return Err(StoreError::NothingToDo(why));
    }
    Ok(again)
}

/// The selection's renders in order, each with its position; an error when there are none.
async fn selected(transaction: &mut Writing, selection: Selection) -> Result<Vec<(u32, Current)>> {
    let (job_id, position) = selection.parts();
    let rows = sqlx::query(
        "SELECT id, state, position FROM renders \
         WHERE job_id = ? AND position = coalesce(?, position) ORDER BY position",
    )
    .bind(job_id)
    .bind(position)
    .fetch_all(&mut **transaction)
    .await?;
    if rows.is_empty() {
        return Err(selection.absent());
    }
    let render = |row: &SqliteRow| -> sqlx::Result<(u32, Current)> {
        let (render_id, state) = (row.try_get("id")?, row.try_get("state")?);
        Ok((row.try_get("position")?, Current { render_id, job_id, state }))
    };
    Ok(rows.iter().map(render).collect::<sqlx::Result<_>>()?)
}

/// The selection's renders of which a retry, or a retry of a retry, is queued, running or done,
/// with that job's id, in the order of those jobs. A retry keeps positions.
async fn retries(
    executor: impl SqliteExecutor<'_>,
    selection: Selection,
) -> sqlx::Result<Vec<(i64, i64)>> {
    let (job_id, position) = selection.parts();
    sqlx::query_as(
        "WITH RECURSIVE again (id) AS (SELECT id FROM jobs WHERE retry_of = ?1 \
         UNION SELECT j.id FROM jobs j JOIN again ON j.retry_of = again.id) \
         SELECT r.id, again.id FROM again JOIN renders n ON n.job_id = again.id \
         JOIN renders r ON r.job_id = ?1 AND r.position = n.position \
         WHERE n.state IN ('queued', 'running', 'done') AND r.position = coalesce(?2, r.position) ORDER BY again.id",
    )
    .bind(job_id)
    .bind(position)
    .fetch_all(executor)
    .await
}

/// The selection's renders of which a retry, or a retry of a retry, failed or was cancelled and is
/// let through by the filter itself.
async fn repeated_later(
    transaction: &mut Writing,
    selection: Selection,
    filter: &RenderFilter,
) -> sqlx::Result<Vec<i64>> {
    let (job_id, position) = selection.parts();
    let mut sql =
        QueryBuilder::new("WITH RECURSIVE again (id) AS (SELECT id FROM jobs WHERE retry_of = ");
    sql.push_bind(job_id);
    sql.push(" UNION SELECT j.id FROM jobs j JOIN again ON j.retry_of = again.id) ");
    sql.push("SELECT o.id FROM again JOIN renders r ON r.job_id = again.id ");
    sql.push("JOIN renders o ON o.position = r.position AND o.job_id = ").push_bind(job_id);
    sql.push(" WHERE r.state IN ('failed', 'cancelled') AND o.position = coalesce(");
    sql.push_bind(position).push(", o.position)");
    filter.narrow(&mut sql);
    sql.build_query_scalar().fetch_all(&mut **transaction).await
}

/// A job without renders that repeats the job `of` under its name, with its text, its priority and
/// its window; from when until when the job was asked for means nothing any more.
async fn copy_job(transaction: &mut Writing, of: i64, now_ms: i64) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "INSERT INTO jobs (origin, file_name, text, file_sha256, priority, open_hours, tags, \
         retry_of, accepted_at_ms) \
         SELECT ?, file_name, text, file_sha256, priority, open_hours, tags, id, ? \
         FROM jobs WHERE id = ? RETURNING id",
    )
    .bind(OriginKind::Retry)
    .bind(now_ms)
    .bind(of)
    .fetch_one(&mut **transaction)
    .await
}

/// With a window their time is over at once: the next look at the times says when the window opens.
async fn copy_renders(
    transaction: &mut Writing,
    job_id: i64,
    renders: &[Current],
) -> sqlx::Result<()> {
    let ids: Vec<i64> = renders.iter().map(|render| render.render_id).collect();
    let columns = render_columns("");
    let sql = format!(
        "INSERT INTO renders \
         (job_id, position, state, priority, run_after_ms, run_until_ms, asked_prompt, {columns}) \
         SELECT j.id, position, 'queued', r.priority, 0, iif(j.open_hours IS NULL, NULL, 0), \
         asked_prompt, {columns} \
         FROM renders r JOIN jobs j ON j.id = ? \
         WHERE r.id IN (SELECT value FROM json_each(?)) ORDER BY r.id"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(job_id)
        .bind(to_json(&ids))
        .execute(&mut **transaction)
        .await?;
    Ok(())
}
