//! Jobs that came over HTTP, found again by who has sent them.

use sqlx::SqliteConnection;

use super::{Result, Store, StoreError};
use crate::job::origin::{Origin, OriginKind};

/// The job that the same sender has made by the same request, by its key. An error where that was
/// another request.
pub(super) async fn of_key(
    connection: &mut SqliteConnection,
    key: &str,
    sha256: &str,
) -> Result<Option<i64>> {
    let sql = "SELECT id, file_sha256 FROM jobs WHERE request_key = ?";
    let found: Option<(i64, String)> =
        sqlx::query_as(sql).bind(key).fetch_optional(connection).await?;
    match found {
        Some((job_id, known)) if known == sha256 => Ok(Some(job_id)),
        Some((job_id, _)) => Err(StoreError::NothingToDo(format!(
            "the Idempotency-Key was used for another request, which is job {job_id}"
        ))),
        None => Ok(None),
    }
}

impl Store {
    /// The job of the request with this key, whose text has this hash.
    pub async fn request_of_key(&self, key: &str, sha256: &str) -> Result<Option<i64>> {
        let mut connection = self.readers.acquire().await?;
        of_key(&mut connection, key, sha256).await
    }

    /// The newest job of this kind whose text has this hash and that was taken in since then. Where
    /// some of it was cancelled, its sender had hung up: who asks again wants it made.
    pub async fn recent_request(
        &self,
        origin: Origin,
        sha256: &str,
        since_ms: i64,
    ) -> Result<Option<i64>> {
        let sql = "SELECT id FROM jobs WHERE file_sha256 = ? AND origin = ? \
                   AND origin IN ('http', 'openai', 'sdapi') AND accepted_at_ms >= ? \
                   AND NOT EXISTS (SELECT 1 FROM renders r \
                   WHERE r.job_id = jobs.id AND r.state = 'cancelled') \
                   ORDER BY id DESC LIMIT 1";
        let found = sqlx::query_scalar(sql).bind(sha256).bind(origin.kind()).bind(since_ms);
        Ok(found.fetch_optional(&self.readers).await?)
    }

    /// The oldest job of this origin that has not ended, if there is one.
    pub async fn oldest_unfinished(&self, origin: OriginKind) -> Result<Option<i64>> {
        let sql = "SELECT min(j.id) FROM renders r JOIN jobs j ON j.id = r.job_id \
                   WHERE r.state IN ('queued', 'running') AND j.origin = ?";
        Ok(sqlx::query_scalar(sql).bind(origin).fetch_one(&self.readers).await?)
    }

    /// The text of a job as it was taken in.
    pub async fn job_text(&self, job_id: i64) -> Result<String> {
        let text = sqlx::query_scalar("SELECT text FROM jobs WHERE id = ?").bind(job_id);
        let text: Option<String> = text.fetch_optional(&self.readers).await?;
        text.ok_or_else(|| StoreError::NotFound(format!("there is no job {job_id}")))
    }
}
