//! What of the history is old enough to be forgotten.

use sqlx::FromRow;

use super::{Result, Store};

/// So many renders are forgotten in one transaction, for which everybody else who writes waits.
const FORGOTTEN_MAX: u32 = 2_000;

/// A job is old when all of it ended before a time. What is queued or runs never is.
const OLD: &str = "accepted_at_ms < ?1 AND NOT EXISTS (SELECT 1 FROM renders r WHERE r.job_id = jobs.id \
                   AND (r.finished_at_ms IS NULL OR r.finished_at_ms >= ?1))";

const HAS_STAR: &str =
    "EXISTS (SELECT 1 FROM renders r WHERE r.job_id = jobs.id AND r.starred = 1)";

/// Which jobs are to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgettable {
    /// Those that ended before this time (UTC, milliseconds since the epoch).
    pub before_ms: i64,
    /// Also those of which a picture has a star.
    pub with_starred: bool,
}

impl Forgettable {
    /// The condition on a row of `jobs`, with the time as its first parameter.
    fn sql(self) -> String {
        match self.with_starred {
            true => OLD.to_owned(),
            false => format!("{OLD} AND NOT {HAS_STAR}"),
        }
    }
}

/// The newest file that was set aside is kept: the ids of such files only grow by that.
const OLD_REJECTION: &str = "at_ms < ? AND id < (SELECT max(id) FROM rejections)";

/// A picture that an attempt made.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct RecordedPicture {
    pub attempt_id: i64,
    /// Relative to the output folder.
    pub path: String,
    /// Of the file, in lower-case hex.
    pub sha256: String,
}

impl Store {
    /// The ids of at most `limit` jobs to be forgotten, those after the job `after` in the order of
    /// ids.
    pub async fn old_jobs(&self, of: Forgettable, after: i64, limit: u32) -> Result<Vec<i64>> {
        let is_old = of.sql();
        let sql = format!("SELECT id FROM jobs WHERE {is_old} AND id > ?2 ORDER BY id LIMIT ?3");
        let jobs = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(of.before_ms);
        Ok(jobs.bind(after).bind(limit).fetch_all(&self.readers).await?)
    }

    /// How many jobs that ended before `before_ms` have a picture with a star.
    pub async fn old_starred(&self, before_ms: i64) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM jobs WHERE {OLD} AND {HAS_STAR}");
        let count = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(before_ms);
        let count: i64 = count.fetch_one(&self.readers).await?;
        Ok(count.unsigned_abs())
    }

    /// The pictures of a job.
    pub async fn pictures_of(&self, job_id: i64) -> Result<Vec<RecordedPicture>> {
        let sql = "SELECT a.id AS attempt_id, a.path, a.sha256 FROM attempts a \
                   JOIN renders r ON r.id = a.render_id \
                   WHERE r.job_id = ? AND a.outcome = 'done' ORDER BY a.id";
        Ok(sqlx::query_as(sql).bind(job_id).fetch_all(&self.readers).await?)
    }

    /// Whether a later attempt has made a picture under the same name, which was free again.
    pub async fn has_later(&self, picture: &RecordedPicture) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM attempts \
                   WHERE path = ? AND id > ? AND outcome = 'done')";
        let later = sqlx::query_scalar(sql).bind(&picture.path).bind(picture.attempt_id);
        Ok(later.fetch_one(&self.readers).await?)
    }

    /// How many renders a job has.
    pub async fn renders_of(&self, job_id: i64) -> Result<u64> {
        let sql = "SELECT count(*) FROM renders WHERE job_id = ?";
        let renders: i64 = sqlx::query_scalar(sql).bind(job_id).fetch_one(&self.readers).await?;
        Ok(renders.unsigned_abs())
    }

    /// Forgets a job, unless it is not to be forgotten any more: its renders, a part at a time,
    /// their attempts, its entries in the log, at last itself. After a death in between it is old
    /// still.
    pub async fn forget_job(&self, job_id: i64, of: Forgettable) -> Result<()> {
        let before_ms = of.before_ms;
        let old = format!("(SELECT id FROM jobs WHERE id = ?2 AND {})", of.sql());
        let renders = format!(
            "DELETE FROM renders WHERE id IN \
             (SELECT id FROM renders WHERE job_id IN {old} LIMIT {FORGOTTEN_MAX})"
        );
        let job = format!("DELETE FROM jobs WHERE id IN {old}");
        loop {
            let _turn = self.turn().await;
            let mut transaction = self.begin().await?;
            let forgotten = sqlx::query(sqlx::AssertSqlSafe(renders.clone()))
                .bind(before_ms)
                .bind(job_id)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if forgotten == 0 {
                let gone = sqlx::query(sqlx::AssertSqlSafe(job))
                    .bind(before_ms)
                    .bind(job_id)
                    .execute(&mut *transaction)
                    .await?
                    .rows_affected();
                if gone > 0 {
                    let events = sqlx::query("DELETE FROM events WHERE job_id = ?").bind(job_id);
                    events.execute(&mut *transaction).await?;
                }
                return transaction.commit().await;
            }
            transaction.commit().await?;
        }
    }

    /// How many files that were set aside before a time [`Store::forget_notes`] would forget.
    pub async fn old_rejections(&self, before_ms: i64) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM rejections WHERE {OLD_REJECTION}");
        let count = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(before_ms);
        let count: i64 = count.fetch_one(&self.readers).await?;
        Ok(count.unsigned_abs())
    }

    /// Forgets what else the database has noted before a time and what belongs to no job: files
    /// that were set aside, entries of the log, workers that made nothing which is still known. The
    /// newest file and the newest worker stay: the ids of such files only grow by that, and the
    /// next attempt is this worker's.
    pub async fn forget_notes(&self, before_ms: i64) -> Result<()> {
        let mut transaction = self.begin().await?;
        let rejections = format!("DELETE FROM rejections WHERE {OLD_REJECTION}");
        for sql in [
            rejections.as_str(),
            "DELETE FROM events WHERE at_ms < ? AND job_id IS NULL",
            "DELETE FROM outbox WHERE ended_at_ms < ?",
            "DELETE FROM workers WHERE loaded_at_ms < ? AND id < (SELECT max(id) FROM workers) \
             AND id NOT IN (SELECT worker_id FROM attempts WHERE worker_id IS NOT NULL)",
        ] {
            let sql = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()));
            sql.bind(before_ms).execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }
}
