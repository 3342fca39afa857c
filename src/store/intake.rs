//! Jobs come in, bad files are noted.

use sqlx::SqliteExecutor;

use super::nights::local_zone;
use super::rows::{bind_render, render_columns, to_json};
use super::transition::{About, Writing, log};
use super::{Accepted, NewJob, Result, Store};
use crate::job::Render;
use crate::job::event::EventKind;
use crate::job::origin::{FileId, Origin, SourceFile};
use crate::job::parameters::PARAMETERS;
use crate::job::times::Opening;

impl Store {
    /// Takes all `jobs` in, in one transaction; the answers are in the same order.
    pub async fn accept(&self, jobs: &[NewJob], now_ms: i64) -> Result<Vec<Accepted>> {
        let mut transaction = self.begin().await?;
        let mut accepted = Vec::with_capacity(jobs.len());
        for job in jobs {
            accepted.push(accept(&mut transaction, job, now_ms).await?);
        }
        transaction.commit().await?;
        Ok(accepted)
    }

    /// Notes files that were set aside, with the reason that the user was told.
    pub async fn reject(&self, files: &[(SourceFile, String)], now_ms: i64) -> Result<()> {
        let mut transaction = self.begin().await?;
        for (file, reason) in files {
            sqlx::query("INSERT INTO rejections (at_ms, file_name, file_sha256, reason) VALUES (?, ?, ?, ?)")
                .bind(now_ms)
                .bind(&file.name)
                .bind(&file.sha256)
                .bind(reason)
                .execute(&mut *transaction)
                .await?;
            log(&mut transaction, EventKind::Rejected, About::Queue, &file.name, now_ms).await?;
        }
        Ok(transaction.commit().await?)
    }
}

async fn accept(transaction: &mut Writing, new: &NewJob, now_ms: i64) -> Result<Accepted> {
    if let Origin::Drop(file) = new.origin
        && let Some(job_id) = job_of_drop(&mut **transaction, file, &new.sha256).await?
    {
        return Ok(Accepted { job_id, fresh: false });
    }
    let job_id = insert_job(transaction, new, now_ms).await?;
    // A job that comes too late by now is cancelled by the next look at the times.
    let over = Opening { from_ms: 0, until_ms: Some(now_ms) };
    let opening = new.job.times().opening(now_ms, &local_zone()).unwrap_or(over);
    for (position, render) in (1..).zip(&new.job.renders) {
        insert_render(transaction, (job_id, position), new.job.priority, opening, render).await?;
    }
    log(transaction, EventKind::Accepted, About::Job(job_id), &new.name, now_ms).await?;
    Ok(Accepted { job_id, fresh: true })
}

/// The job that this very drop has become.
pub(super) async fn job_of_drop(
    executor: impl SqliteExecutor<'_>,
    file: FileId,
    sha256: &str,
) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar(
        "SELECT id FROM jobs WHERE file_device = ? AND file_inode = ? AND file_mtime_ns = ? AND file_sha256 = ?",
    )
    .bind(file.device.cast_signed())
    .bind(file.inode.cast_signed())
    .bind(file.mtime_ns)
    .bind(sha256)
    .fetch_optional(executor)
    .await
}

async fn insert_job(transaction: &mut Writing, new: &NewJob, now_ms: i64) -> sqlx::Result<i64> {
    let (file, retry_of) = match new.origin {
        Origin::Drop(file) => (Some(file), None),
        Origin::Request => (None, None),
        Origin::Retry { of } => (None, Some(of)),
    };
    sqlx::query_scalar(
        "INSERT INTO jobs (origin, file_name, text, file_device, file_inode, file_mtime_ns, \
         file_sha256, priority, not_before_ms, not_after_ms, open_hours, tags, retry_of, accepted_at_ms) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
    )
    .bind(new.origin.as_str())
    .bind(&new.name)
    .bind(&new.text)
    .bind(file.map(|file| file.device.cast_signed()))
    .bind(file.map(|file| file.inode.cast_signed()))
    .bind(file.map(|file| file.mtime_ns))
    .bind(&new.sha256)
    .bind(new.job.priority)
    .bind(new.job.not_before_ms)
    .bind(new.job.not_after_ms)
    .bind(new.job.window.map(|window| window.to_string()))
    .bind(to_json(&new.job.tags))
    .bind(retry_of)
    .bind(now_ms)
    .fetch_one(&mut **transaction)
    .await
}

async fn insert_render(
    transaction: &mut Writing,
    (job_id, position): (i64, u32),
    priority: i64,
    opening: Opening,
    render: &Render,
) -> sqlx::Result<()> {
    let columns = render_columns("");
    let marks = ["?"; 5 + PARAMETERS.len()].join(", ");
    let sql = format!(
        "INSERT INTO renders (state, job_id, position, priority, run_after_ms, run_until_ms, {columns}) \
         VALUES ('queued', {marks})"
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(job_id)
        .bind(position)
        .bind(priority)
        .bind(opening.from_ms)
        .bind(opening.until_ms);
    bind_render(query, render).execute(&mut **transaction).await?;
    Ok(())
}
