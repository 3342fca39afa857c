//! What users do to the queue: cancel, retry, pause, resume.

use serde::Serialize;
use sqlx::{Row, Sqlite, Transaction};

use super::{Result, Selection, Store, StoreError};
use crate::job::state::{Event, State};

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

/// Why and since when nothing is claimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pause {
    pub since_ms: i64,
    pub reason: String,
}

/// A render that a selection names.
struct Selected {
    render_id: i64,
    state: State,
}

impl Store {
    /// Queued renders are cancelled at once; a running one gets a mark that the dispatcher acts on.
    pub async fn cancel(&self, selection: Selection, now_ms: i64) -> Result<Cancelled> {
        let mut transaction = self.begin().await?;
        let mut done = Cancelled { cancelled: 0, stopping: 0, ended: 0 };
        for selected in selected(&mut transaction, selection).await? {
            match selected.state {
                State::Queued => {
                    cancel_queued(&mut transaction, &selected, now_ms).await?;
                    done.cancelled += 1;
                }
                State::Running => {
                    sqlx::query("UPDATE renders SET cancel_wanted = 1 WHERE id = ?")
                        .bind(selected.render_id)
                        .execute(&mut *transaction)
                        .await?;
                    done.stopping += 1;
                }
                State::Done | State::Failed | State::Cancelled => done.ended += 1,
            }
        }
        transaction.commit().await?;
        Ok(done)
    }

    /// A new job of the selected renders that failed or were cancelled; its id.
    pub async fn retry(&self, selection: Selection, now_ms: i64) -> Result<i64> {
        let mut transaction = self.begin().await?;
        let again: Vec<i64> = selected(&mut transaction, selection)
            .await?
            .iter()
            .filter(|selected| matches!(selected.state, State::Failed | State::Cancelled))
            .map(|selected| selected.render_id)
            .collect();
        if again.is_empty() {
            return Err(StoreError::NotFound(format!("nothing of {selection} has failed or was cancelled")));
        }
        let (Selection::Job(origin) | Selection::Render { job_id: origin, .. }) = selection;
        let job_id = copy_job(&mut transaction, origin, now_ms).await?;
        for (position, render_id) in (1_i64..).zip(again) {
            copy_render(&mut transaction, job_id, position, render_id).await?;
        }
        event(&mut transaction, "retried", job_id, &format!("of job {origin}"), now_ms).await?;
        transaction.commit().await?;
        Ok(job_id)
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
        Ok(transaction.commit().await?)
    }

    /// Ends a pause; nothing happens where there is none.
    pub async fn resume(&self) -> Result<()> {
        let mut transaction = self.begin().await?;
        sqlx::query("DELETE FROM pause").execute(&mut *transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// The pause, while there is one.
    pub async fn paused(&self) -> Result<Option<Pause>> {
        let row = sqlx::query("SELECT since_ms, reason FROM pause").fetch_optional(&self.readers).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Pause { since_ms: row.try_get("since_ms")?, reason: row.try_get("reason")? }))
    }
}

/// The selection's renders in order; an error when there are none.
async fn selected(transaction: &mut Transaction<'static, Sqlite>, selection: Selection) -> Result<Vec<Selected>> {
    let (job_id, position) = match selection {
        Selection::Job(job_id) => (job_id, None),
        Selection::Render { job_id, index } => (job_id, Some(index)),
    };
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
    let selected = |row: &sqlx::sqlite::SqliteRow| -> sqlx::Result<Selected> {
        Ok(Selected { render_id: row.try_get("id")?, state: super::rows::word(row.try_get("state")?)? })
    };
    Ok(rows.iter().map(selected).collect::<sqlx::Result<_>>()?)
}

async fn cancel_queued(transaction: &mut Transaction<'static, Sqlite>, selected: &Selected, now_ms: i64) -> Result<()> {
    let render_id = selected.render_id;
    let next = selected.state.after(Event::Cancelled).map_err(|illegal| StoreError::Illegal { render_id, illegal })?;
    sqlx::query("UPDATE renders SET state = ?, finished_at_ms = ? WHERE id = ? AND state = ?")
        .bind(next.as_str())
        .bind(now_ms)
        .bind(render_id)
        .bind(selected.state.as_str())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// The retry comes from no file: its time and its origin make it unique.
async fn copy_job(transaction: &mut Transaction<'static, Sqlite>, origin: i64, now_ms: i64) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "INSERT INTO jobs (file_name, text, file_device, file_inode, file_mtime_ns, file_sha256, priority, tags, retry_of, \
         accepted_at_ms) \
         SELECT file_name, text, 0, (SELECT max(id) FROM jobs), ?, file_sha256, priority, tags, id, ? FROM jobs WHERE id = ? \
         RETURNING id",
    )
    .bind(now_ms)
    .bind(now_ms)
    .bind(origin)
    .fetch_one(&mut **transaction)
    .await
}

async fn copy_render(
    transaction: &mut Transaction<'static, Sqlite>,
    job_id: i64,
    position: i64,
    render_id: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO renders (job_id, position, state, priority, run_after_ms, prompt, negative_prompt, width, height, \
         steps, guidance, seed, on_oom, min_side, min_steps, output, format) \
         SELECT ?, ?, 'queued', priority, 0, prompt, negative_prompt, width, height, steps, guidance, seed, on_oom, \
         min_side, min_steps, output, format FROM renders WHERE id = ?",
    )
    .bind(job_id)
    .bind(position)
    .bind(render_id)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn event(
    transaction: &mut Transaction<'static, Sqlite>,
    kind: &str,
    job_id: i64,
    detail: &str,
    now_ms: i64,
) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO events (at_ms, kind, job_id, detail) VALUES (?, ?, ?, ?)")
        .bind(now_ms)
        .bind(kind)
        .bind(job_id)
        .bind(detail)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}
