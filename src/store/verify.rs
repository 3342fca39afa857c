//! What the history says of the pictures that were made, for whoever compares it with the files.

use sqlx::FromRow;

use super::rows::to_json;
use super::{Result, Selection, Store};

/// A picture as its row has it.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct DonePicture {
    pub attempt_id: i64,
    /// The job's id.
    pub job: i64,
    /// The position in the job, from 1.
    pub picture: u32,
    /// Relative to the output folder.
    pub path: String,
    pub bytes: i64,
    /// Lower-case hex.
    pub sha256: String,
    /// The hashes of the picture that it began with and of its mask; empty without one.
    pub init_image: String,
    pub mask: String,
}

const DONE: &str = "SELECT a.id AS attempt_id, r.job_id AS job, r.position AS picture, a.path, \
                    a.bytes, a.sha256, r.init_image, r.mask FROM attempts a JOIN renders r ON r.id = a.render_id \
                    WHERE a.outcome = 'done'";

impl Store {
    /// How many pictures were made and are known.
    pub async fn done_count(&self) -> Result<u64> {
        let sql = "SELECT count(*) FROM attempts WHERE outcome = 'done'";
        Ok(sqlx::query_scalar::<_, i64>(sql).fetch_one(&self.readers).await?.unsigned_abs())
    }

    /// At most `limit` of them, of the attempts after `after`, in the order of their ids.
    pub async fn done_after(&self, after: i64, limit: u32) -> Result<Vec<DonePicture>> {
        let sql = format!("{DONE} AND a.id > ? ORDER BY a.id LIMIT ?");
        let rows = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(after).bind(limit);
        Ok(rows.fetch_all(&self.readers).await?)
    }

    /// At most `limit` of the newest, newest first; looked for among ten times as many attempts.
    pub async fn newest_done(&self, limit: u32) -> Result<Vec<DonePicture>> {
        let sql = format!(
            "{DONE} AND a.id > (SELECT max(id) - 10 * ?1 FROM attempts) ORDER BY a.id DESC LIMIT ?1"
        );
        let rows = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(limit);
        Ok(rows.fetch_all(&self.readers).await?)
    }

    /// At most `limit` of them, drawn by chance.
    pub async fn some_done(&self, limit: u32) -> Result<Vec<DonePicture>> {
        let sql = format!("{DONE} ORDER BY random() LIMIT ?");
        let rows = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(limit);
        Ok(rows.fetch_all(&self.readers).await?)
    }

    /// Those of the selection.
    pub async fn done_of(&self, selection: Selection) -> Result<Vec<DonePicture>> {
        let (job_id, position) = selection.parts();
        let sql = format!(
            "{DONE} AND r.job_id = ? AND r.position = coalesce(?, r.position) ORDER BY r.position"
        );
        let rows = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(job_id).bind(position);
        Ok(rows.fetch_all(&self.readers).await?)
    }

    /// The last picture that a retry of it has made, or a retry of a retry. Those keep positions.
    pub async fn made_again(&self, job_id: i64, position: u32) -> Result<Option<DonePicture>> {
        let sql = format!(
            "WITH RECURSIVE again (id) AS (SELECT id FROM jobs WHERE retry_of = ?1 \
             UNION SELECT j.id FROM jobs j JOIN again ON j.retry_of = again.id) \
             {DONE} AND r.job_id IN again AND r.position = ?2 ORDER BY a.id DESC LIMIT 1"
        );
        let row = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(job_id).bind(position);
        Ok(row.fetch_optional(&self.readers).await?)
    }

    /// Those of the names, relative to the output folder, that belong to no picture which was made
    /// or is being made.
    pub async fn without_row(&self, names: &[String]) -> Result<Vec<String>> {
        let sql = "SELECT value FROM json_each(?) WHERE value NOT IN \
                   (SELECT path FROM attempts WHERE outcome IN ('done', 'running'))";
        Ok(sqlx::query_scalar(sql).bind(to_json(&names)).fetch_all(&self.readers).await?)
    }
}
