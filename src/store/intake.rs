//! Jobs come in, bad files are noted.

use std::collections::HashMap;

use sqlx::{QueryBuilder, SqliteExecutor};

use super::requests;
use super::rows::{bind_render, render_columns, to_json};
use super::transition::{About, log};
use super::writing::Writing;
use super::{Accepted, NewJob, RejectionRow, Result, Store};
use crate::job::Render;
use crate::job::event::EventKind;
use crate::job::origin::{DropId, FileId, Origin, SourceFile};
use crate::job::parameters::PARAMETERS;
use crate::job::times::Opening;

/// Renders of one statement: each one costs a message to SQLite's thread and back, which takes
/// longer than its rows. SQLite takes 32,766 values at the most.
const STATEMENT_ROWS_MAX: usize = 100;

/// So many renders are taken in so quickly that nobody need wait for a turn.
const QUICK_RENDERS: usize = 100;

/// What became of a drop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DropFate {
    /// It is this job.
    Job(i64),
    /// It was refused, and what the user was told.
    Refused(String),
}

/// Files set aside of whose name no job was taken in since.
const OPEN_REJECTIONS: &str = "FROM rejections r WHERE NOT EXISTS (SELECT 1 FROM jobs j \
                               WHERE j.file_name = r.file_name AND j.accepted_at_ms >= r.at_ms)";

impl Store {
    /// Takes all `jobs` in, in one transaction; the answers are in the same order.
    pub async fn accept(&self, jobs: &[NewJob], now_ms: i64) -> Result<Vec<Accepted>> {
        let renders: usize = jobs.iter().map(|job| job.job.renders.len()).sum();
        let _turn = if renders > QUICK_RENDERS { self.turn().await } else { None };
        let mut transaction = self.begin().await?;
        let mut accepted = Vec::with_capacity(jobs.len());
        for job in jobs {
            let opening = self.first_opening(&job.job.times(), now_ms);
            accepted.push(accept(&mut transaction, job, opening, now_ms).await?);
        }
        transaction.commit().await?;
        Ok(accepted)
    }

    /// Notes files that were set aside, with the reason that the user was told. A drop that was
    /// noted before is not noted again.
    pub async fn reject(&self, files: &[(SourceFile, String)], now_ms: i64) -> Result<()> {
        let mut transaction = self.begin().await?;
        for (file, reason) in files {
            let noted = sqlx::query(
                "INSERT INTO rejections (at_ms, file_name, drop_id, file_sha256, reason) \
                 VALUES (?, ?, ?, ?, ?) ON CONFLICT (drop_id) DO NOTHING",
            )
            .bind(now_ms)
            .bind(&file.name)
            .bind(file.id.to_string())
            .bind(&file.sha256)
            .bind(reason)
            .execute(&mut *transaction)
            .await?;
            if noted.rows_affected() > 0 {
                log(&mut transaction, EventKind::Rejected, About::Queue, &file.name, now_ms)
                    .await?;
            }
        }
        transaction.commit().await
    }

    /// Files set aside of whose name no job was taken in since, newest first, each with the first
    /// line of its report.
    pub async fn open_rejections(&self, limit: u32) -> Result<Vec<RejectionRow>> {
        let mut sql = QueryBuilder::new(
            "SELECT at_ms, file_name, \
             substr(reason, 1, instr(reason || char(10), char(10)) - 1) AS reason ",
        );
        sql.push(OPEN_REJECTIONS).push(" ORDER BY id DESC LIMIT ").push_bind(limit);
        Ok(sql.build_query_as().fetch_all(&self.readers).await?)
    }

    /// How many there are of [`Store::open_rejections`].
    pub async fn count_open_rejections(&self) -> Result<u64> {
        let mut sql = QueryBuilder::new("SELECT count(*) ");
        sql.push(OPEN_REJECTIONS);
        let number: i64 = sql.build_query_scalar().fetch_one(&self.readers).await?;
        Ok(number.unsigned_abs())
    }

    /// What became of those of the drops that have been dealt with.
    pub async fn fates(&self, drops: &[DropId]) -> Result<HashMap<DropId, DropFate>> {
        let ids = to_json(&drops.iter().map(DropId::to_string).collect::<Vec<_>>());
        let jobs: Vec<(String, i64)> = sqlx::query_as(
            "SELECT drop_id, id FROM jobs WHERE drop_id IN (SELECT value FROM json_each(?))",
        )
        .bind(&ids)
        .fetch_all(&self.readers)
        .await?;
        let refused: Vec<(String, String)> = sqlx::query_as(
            "SELECT drop_id, reason FROM rejections \
             WHERE drop_id IN (SELECT value FROM json_each(?))",
        )
        .bind(&ids)
        .fetch_all(&self.readers)
        .await?;
        let jobs = jobs.into_iter().map(|(drop, job_id)| (drop, DropFate::Job(job_id)));
        let refused = refused.into_iter().map(|(drop, reason)| (drop, DropFate::Refused(reason)));
        let fates = jobs.chain(refused).filter_map(|(drop, fate)| Some((drop.parse().ok()?, fate)));
        Ok(fates.collect())
    }
}

async fn accept(
    transaction: &mut Writing,
    new: &NewJob,
    opening: Opening,
    now_ms: i64,
) -> Result<Accepted> {
    let known = match &new.request_key {
        Some(key) => requests::of_key(transaction, key, &new.sha256).await?,
        None => known_job(transaction, new).await?,
    };
    if let Some(job_id) = known {
        return Ok(Accepted { job_id, fresh: false });
    }
    let job_id = insert_job(transaction, new, now_ms).await?;
    let facts = JobFacts { job_id, priority: new.job.priority, opening };
    insert_renders(transaction, facts, &new.job.renders).await?;
    log(transaction, EventKind::Accepted, About::Job(job_id), &new.name, now_ms).await?;
    Ok(Accepted { job_id, fresh: true })
}

/// The job that this very drop has become already.
async fn known_job(transaction: &mut Writing, new: &NewJob) -> sqlx::Result<Option<i64>> {
    let Origin::Drop { id, before } = new.origin else { return Ok(None) };
    match (job_of_drop(&mut **transaction, id).await?, before) {
        (None, Some(before)) => job_of_earlier_version(transaction, new, id, before).await,
        (known, _) => Ok(known),
    }
}

async fn job_of_drop(executor: impl SqliteExecutor<'_>, drop: DropId) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar("SELECT id FROM jobs WHERE drop_id = ?")
        .bind(drop.to_string())
        .fetch_optional(executor)
        .await
}

/// The job that an earlier version made of the file without moving it away. From now on it is known
/// as the `drop` that it has become, so that no second file is ever taken for it.
async fn job_of_earlier_version(
    transaction: &mut Writing,
    new: &NewJob,
    drop: DropId,
    before: FileId,
) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar(
        "UPDATE jobs SET drop_id = ? WHERE drop_id IS NULL AND file_inode = ? \
         AND file_device = ? AND file_mtime_ns = ? AND file_sha256 = ? AND file_name = ? \
         RETURNING id",
    )
    .bind(drop.to_string())
    .bind(before.inode.cast_signed())
    .bind(before.device.cast_signed())
    .bind(before.mtime_ns)
    .bind(&new.sha256)
    .bind(&new.name)
    .fetch_optional(&mut **transaction)
    .await
}

async fn insert_job(transaction: &mut Writing, new: &NewJob, now_ms: i64) -> sqlx::Result<i64> {
    let (drop, retry_of) = match new.origin {
        Origin::Drop { id, .. } => (Some(id), None),
        Origin::Request | Origin::Http(_) => (None, None),
        Origin::Retry { of } => (None, Some(of)),
    };
    sqlx::query_scalar(
        "INSERT INTO jobs (origin, file_name, text, drop_id, file_sha256, priority, \
         not_before_ms, not_after_ms, open_hours, tags, retry_of, accepted_at_ms, request_key) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
    )
    .bind(new.origin.kind())
    .bind(&new.name)
    .bind(&new.text)
    .bind(drop.map(|drop| drop.to_string()))
    .bind(&new.sha256)
    .bind(new.job.priority)
    .bind(new.job.not_before_ms)
    .bind(new.job.not_after_ms)
    .bind(new.job.window.map(|window| window.to_string()))
    .bind(to_json(&new.job.tags))
    .bind(retry_of)
    .bind(now_ms)
    .bind(&new.request_key)
    .fetch_one(&mut **transaction)
    .await
}

/// What all renders of a job have in common.
#[derive(Clone, Copy)]
struct JobFacts {
    job_id: i64,
    priority: i64,
    opening: Opening,
}

async fn insert_renders(
    transaction: &mut Writing,
    facts: JobFacts,
    renders: &[Render],
) -> sqlx::Result<()> {
    let JobFacts { job_id, priority, opening } = facts;
    let renders: Vec<(u32, &Render)> = (1..).zip(renders).collect();
    for rows in renders.chunks(STATEMENT_ROWS_MAX) {
        let mut query = sqlx::query(sqlx::AssertSqlSafe(insertion(rows.len())));
        for (position, render) in rows {
            query = query
                .bind(job_id)
                .bind(position)
                .bind(priority)
                .bind(opening.from_ms)
                .bind(opening.until_ms)
                .bind(&render.asked_prompt);
            query = bind_render(query, render);
        }
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}

/// The statement for so many renders.
fn insertion(rows: usize) -> String {
    let columns = render_columns("");
    let marks = ["?"; 6 + PARAMETERS.len()].join(", ");
    let rows = vec![format!("('queued', {marks})"); rows].join(", ");
    format!(
        "INSERT INTO renders (state, job_id, position, priority, run_after_ms, run_until_ms, \
         asked_prompt, {columns}) VALUES {rows}"
    )
}
