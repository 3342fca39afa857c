//! What users do to the queue: cancel, retry, pause, resume.

use std::fmt;

use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::rows::render_columns;
use super::transition::{About, Current, Facts, Writing, log, transition};
use super::{Result, Selection, Store, StoreError};
use crate::job::event::EventKind;
use crate::job::origin::Origin;
use crate::job::state::{RenderEvent, State};

/// What a cancel did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cancelled {
    /// Were queued and are cancelled.
    pub cancelled: u64,
    /// Run, and stop at their next step.
    pub stopping: u64,
    /// Had ended before.
    pub ended: u64,
}

/// What a retry made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Retried {
    /// The new job's id.
    pub job: i64,
    /// How many renders it has.
    pub renders: usize,
}

/// Why and since when nothing is claimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pause {
    pub since_ms: i64,
    pub reason: String,
}

/// For people: why, and what ends it.
impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "paused ({}); go on with: zimaged resume", self.reason)
    }
}

impl Store {
    /// Queued renders are cancelled at once; a running one gets a mark that the dispatcher acts on.
    pub async fn cancel(&self, selection: Selection, now_ms: i64) -> Result<Cancelled> {
        let mut transaction = self.begin().await?;
        let mut done = Cancelled { cancelled: 0, stopping: 0, ended: 0 };
        for render in selected(&mut transaction, selection).await? {
            match render.state {
                State::Queued => {
                    transition(
                        &mut transaction,
                        render,
                        RenderEvent::Cancelled,
                        Facts::Nothing,
                        now_ms,
                    )
                    .await?;
                    log(
                        &mut transaction,
                        EventKind::Cancelled,
                        About::Render(render),
                        "while queued",
                        now_ms,
                    )
                    .await?;
                    done.cancelled += 1;
                }
                State::Running => {
                    mark(&mut transaction, render, now_ms).await?;
                    done.stopping += 1;
                }
                State::Done | State::Failed | State::Cancelled => done.ended += 1,
            }
        }
        transaction.commit().await?;
        Ok(done)
    }

    /// A new job of the selected renders that failed or were cancelled, each at its old position.
    /// Those that an earlier retry has made or will make are left out: they would give the same
    /// picture once more.
    pub async fn retry(&self, selection: Selection, now_ms: i64) -> Result<Retried> {
        let mut transaction = self.begin().await?;
        let mut again = selected(&mut transaction, selection).await?;
        again.retain(|render| matches!(render.state, State::Failed | State::Cancelled));
        if again.is_empty() {
            transaction.rollback().await?;
            return Err(StoreError::NotFound(format!(
                "nothing of {selection} has failed or was cancelled"
            )));
        }
        let retries = retries(&mut transaction, selection).await?;
        again.retain(|render| !retries.iter().any(|(retried, _)| *retried == render.render_id));
        if let (true, Some((_, job_id))) = (again.is_empty(), retries.last()) {
            transaction.rollback().await?;
            return Err(StoreError::NotFound(format!(
                "{selection} is rendered again already, last as job {job_id}"
            )));
        }
        let (of, _) = selection.parts();
        let job_id = copy_job(&mut transaction, of, now_ms).await?;
        for render in &again {
            copy_render(&mut transaction, job_id, render.render_id).await?;
        }
        let detail = format!("of job {of}");
        log(&mut transaction, EventKind::Retried, About::Job(job_id), &detail, now_ms).await?;
        transaction.commit().await?;
        Ok(Retried { job: job_id, renders: again.len() })
    }

    /// Nothing is claimed from now on, also after a restart. A second pause replaces the reason.
    pub async fn pause(&self, reason: &str, now_ms: i64) -> Result<()> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "INSERT INTO pause (id, since_ms, reason) VALUES (1, ?, ?) ON CONFLICT DO UPDATE SET reason = excluded.reason",
        )
        .bind(now_ms)
        .bind(reason)
        .execute(&mut *transaction)
        .await?;
        log(&mut transaction, EventKind::Paused, About::Queue, reason, now_ms).await?;
        Ok(transaction.commit().await?)
    }

    /// Ends a pause; nothing happens where there is none.
    pub async fn resume(&self, now_ms: i64) -> Result<()> {
        let mut transaction = self.begin().await?;
        if sqlx::query("DELETE FROM pause").execute(&mut *transaction).await?.rows_affected() > 0 {
            log(&mut transaction, EventKind::Resumed, About::Queue, "", now_ms).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// The pause, while there is one.
    pub async fn paused(&self) -> Result<Option<Pause>> {
        let row =
            sqlx::query("SELECT since_ms, reason FROM pause").fetch_optional(&self.readers).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Pause { since_ms: row.try_get("since_ms")?, reason: row.try_get("reason")? }))
    }
}

/// The selection's renders in order; an error when there are none.
async fn selected(transaction: &mut Writing, selection: Selection) -> Result<Vec<Current>> {
    let (job_id, position) = selection.parts();
    let rows = sqlx::query(
        "SELECT id, state FROM renders WHERE job_id = ? AND position = coalesce(?, position) ORDER BY position",
    )
    .bind(job_id)
    .bind(position)
    .fetch_all(&mut **transaction)
    .await?;
    if rows.is_empty() {
        return Err(StoreError::NotFound(format!("there is no {selection}")));
    }
    let render = |row: &SqliteRow| -> sqlx::Result<Current> {
        Ok(Current { render_id: row.try_get("id")?, job_id, state: row.try_get("state")? })
    };
    Ok(rows.iter().map(render).collect::<sqlx::Result<_>>()?)
}

/// The selection's renders of which a retry, or a retry of a retry, is queued, running or done,
/// with that job's id, in the order of those jobs. A retry keeps positions.
async fn retries(transaction: &mut Writing, selection: Selection) -> sqlx::Result<Vec<(i64, i64)>> {
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
    .fetch_all(&mut **transaction)
    .await
}

async fn mark(transaction: &mut Writing, render: Current, now_ms: i64) -> sqlx::Result<()> {
    sqlx::query("UPDATE renders SET cancel_wanted = 1 WHERE id = ?")
        .bind(render.render_id)
        .execute(&mut **transaction)
        .await?;
    log(transaction, EventKind::CancelWanted, About::Render(render), "", now_ms).await
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
    .bind(Origin::Retry { of }.as_str())
    .bind(now_ms)
    .bind(of)
    .fetch_one(&mut **transaction)
    .await
}

/// With a window its time is over at once: the next look at the times says when the window opens.
async fn copy_render(transaction: &mut Writing, job_id: i64, render_id: i64) -> sqlx::Result<()> {
    let columns = render_columns("");
    let sql = format!(
        "INSERT INTO renders \
         (job_id, position, state, priority, run_after_ms, run_until_ms, {columns}) \
         SELECT j.id, position, 'queued', r.priority, 0, iif(j.open_hours IS NULL, NULL, 0), {columns} \
         FROM renders r JOIN jobs j ON j.id = ? WHERE r.id = ?"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(job_id)
        .bind(render_id)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}
