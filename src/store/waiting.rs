//! What waits, by kind, and what was made last: for who says how long it takes.

use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, QueryBuilder, Row};

use super::nights::times;
use super::rows::{from_json, to_json};
use super::{Result, Store};
use crate::job::state::State;
use crate::job::times::Times;
use crate::job::{OnOom, Render};

/// What the time of a render depends on, as far as the queue knows it.
#[derive(Clone, Copy, Debug, PartialEq, FromRow)]
pub struct Effort {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    pub steps: u32,
    /// With guidance, so that most steps are taken twice.
    pub is_guided: bool,
    pub guidance_truncation: f64,
}

impl From<&Render> for Effort {
    fn from(render: &Render) -> Effort {
        let Render { width, height, steps, ref recipe, .. } = *render;
        let guidance_truncation = recipe.guidance_truncation;
        Effort { width, height, steps, is_guided: recipe.is_guided(), guidance_truncation }
    }
}

/// How far the ladder may go for a render, as far as its time and its memory depend on that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leeway {
    pub on_oom: OnOom,
    /// Pixels.
    pub min_side: u32,
}

impl FromRow<'_, SqliteRow> for Leeway {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Leeway> {
        let word: String = row.try_get("on_oom")?;
        Ok(Leeway { on_oom: from_json(&to_json(&word))?, min_side: row.try_get("min_side")? })
    }
}

/// Renders that have not ended, take the same time and are started by the same rules.
#[derive(Clone, Debug, PartialEq)]
pub struct WaitingRenders {
    /// They are being rendered.
    pub is_running: bool,
    pub priority: i64,
    /// The begin is the render's own, which may be later than its job's.
    pub times: Times,
    pub renders: u64,
    /// As daemon.toml names it; empty for the one of `[model]`.
    pub model: String,
    pub effort: Effort,
    pub leeway: Leeway,
    /// The newest of the jobs that they are of: of alike renders the last to come are the last to
    /// be made.
    pub last_job: i64,
}

impl FromRow<'_, SqliteRow> for WaitingRenders {
    fn from_row(row: &SqliteRow) -> sqlx::Result<WaitingRenders> {
        Ok(WaitingRenders {
            is_running: row.try_get("is_running")?,
            priority: row.try_get("priority")?,
            times: times(row)?,
            renders: row.try_get::<i64, _>("renders")?.unsigned_abs(),
            model: row.try_get("model")?,
            effort: Effort::from_row(row)?,
            leeway: Leeway::from_row(row)?,
            last_job: row.try_get("last_job")?,
        })
    }
}

/// All renders that have not ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Backlog {
    /// How many there are.
    pub renders: u64,
    /// Too many to be looked at: the first ones stand for the others as well.
    pub is_sample: bool,
    /// Each kind at the place of its first one.
    pub kinds: Vec<WaitingRenders>,
}

/// Renders of one job that wait, alike.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct WaitingOfJob {
    pub job_id: i64,
    #[sqlx(flatten)]
    pub waiting: WaitingRenders,
}

/// Renders of one job in the same state that take the same time.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct JobRenders {
    pub state: State,
    pub renders: i64,
    /// As daemon.toml names it; empty for the one of `[model]`.
    pub model: String,
    #[sqlx(flatten)]
    pub effort: Effort,
    #[sqlx(flatten)]
    pub leeway: Leeway,
}

/// What a job's first picture is to be.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct JobBeginning {
    pub job_id: i64,
    /// The beginning of its prompt.
    pub prompt: String,
    /// Pixels.
    pub width: i64,
    /// Pixels.
    pub height: i64,
}

/// A picture that was made.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct MadePicture {
    /// Of `total_ms`.
    pub denoise_ms: i64,
    pub total_ms: i64,
    /// UTC, milliseconds since the epoch.
    pub ended_at_ms: i64,
    #[sqlx(flatten)]
    pub effort: Effort,
}

/// So many of the newest pictures of each kind say how fast it goes: enough to even them out, few
/// enough to follow a change.
pub(super) const PICTURES_MAX: u32 = 20;

/// A prompt is recognised by so many characters.
const BEGINNING_CHARS: u32 = 160;

/// What was made so long before the newest picture says little of the device as it is now.
const AGE_MS_MAX: i64 = 90 * 24 * 60 * 60 * 1000;

/// Among so many attempts they are looked for: a night's, read within milliseconds.
const ATTEMPTS_MAX: u32 = 2000;

/// Renders that may start within so short a time of each other are taken together.
const GROUP_MS_MIN: i64 = 60_000;

/// The time until the last one may start is cut into at most so many: half a million renders, each
/// with a time of its own, are not worth half a million rows.
const GROUPS_OF_TIME: i64 = 500;

/// So many renders are looked at for their kinds, which takes a quarter of a second; the others are
/// only counted.
const RENDERS_MAX: u32 = 100_000;

/// So many kinds are told apart, the first to come; the rest is left out, for to plan more takes
/// longer than anybody waits for an answer.
const KINDS_MAX: u32 = 10_000;

impl Store {
    /// What the first picture of each of these jobs is to be.
    pub async fn beginnings(&self, jobs: &[i64]) -> Result<Vec<JobBeginning>> {
        let mut sql = QueryBuilder::new("SELECT job_id, substr(prompt, 1, ");
        sql.push_bind(BEGINNING_CHARS);
        sql.push(") AS prompt, width, height FROM renders WHERE position = 1 AND job_id IN (");
        let mut ids = sql.separated(", ");
        for job in jobs {
            ids.push_bind(*job);
        }
        sql.push(")");
        Ok(sql.build_query_as().fetch_all(&self.readers).await?)
    }

    /// The renders that have not ended.
    pub async fn waiting(&self, now_ms: i64) -> Result<Backlog> {
        let last_ms = self.last_start_ms().await?.unwrap_or(now_ms);
        let group_ms = ((last_ms - now_ms) / GROUPS_OF_TIME).max(GROUP_MS_MIN);
        let sql = "SELECT r.state = 'running' AS is_running, r.priority, \
                   min(r.run_after_ms) AS not_before_ms, j.not_after_ms, j.open_hours, \
                   count(*) AS renders, r.width, r.height, r.steps, r.guidance > 0 AS is_guided, \
                   r.guidance_truncation, r.model, r.on_oom, r.min_side, max(r.job_id) AS last_job \
                   FROM (SELECT id, job_id, state, priority, run_after_ms, run_until_ms, width, \
                   height, steps, guidance, guidance_truncation, model, on_oom, min_side \
                   FROM renders INDEXED BY renders_to_do \
                   WHERE state IN ('queued', 'running') LIMIT ?4) r \
                   LEFT JOIN jobs j ON r.run_until_ms IS NOT NULL AND j.id = r.job_id \
                   GROUP BY is_running, r.priority, max(r.run_after_ms, ?1) / ?2, j.not_after_ms, \
                   j.open_hours, r.width, r.height, r.steps, is_guided, r.guidance_truncation, \
                   r.model, r.on_oom, r.min_side ORDER BY min(r.id) LIMIT ?3";
        let waiting = sqlx::query_as(sql).bind(now_ms).bind(group_ms).bind(KINDS_MAX);
        let mut kinds: Vec<WaitingRenders> =
            waiting.bind(RENDERS_MAX).fetch_all(&self.readers).await?;
        let looked_at: u64 = kinds.iter().map(|kind| kind.renders).sum();
        let renders = self.to_do().await?;
        let is_sample = renders > looked_at;
        for kind in kinds.iter_mut().filter(|_| is_sample) {
            kind.renders = (kind.renders as f64 * renders as f64 / looked_at as f64).round() as u64;
        }
        Ok(Backlog { renders, is_sample, kinds })
    }

    /// How many renders have not ended.
    pub async fn to_do(&self) -> Result<u64> {
        let sql = "SELECT count(*) FROM renders INDEXED BY renders_to_do \
                   WHERE state IN ('queued', 'running')";
        Ok(sqlx::query_scalar::<_, i64>(sql).fetch_one(&self.readers).await?.unsigned_abs())
    }

    /// The first `jobs_max` jobs of which something has not ended, each with its kinds: what is
    /// rendered, what may be started now by its rank, and what waits for a time.
    pub async fn first_jobs(&self, now_ms: i64, jobs_max: u32) -> Result<Vec<WaitingOfJob>> {
        let sql = "WITH first AS (SELECT job_id, max(state = 'running') AS runs, \
                   min(run_after_ms) > ?3 AS waits, max(priority) AS rank, min(id) AS came FROM renders \
                   WHERE state IN ('queued', 'running') GROUP BY job_id \
                   ORDER BY runs DESC, waits, rank DESC, came LIMIT ?1) \
                   SELECT r.job_id, r.state = 'running' AS is_running, r.priority, \
                   min(r.run_after_ms) AS not_before_ms, j.not_after_ms, j.open_hours, \
                   count(*) AS renders, r.width, r.height, r.steps, r.guidance > 0 AS is_guided, \
                   r.guidance_truncation, r.model, r.on_oom, r.min_side, r.job_id AS last_job \
                   FROM first f JOIN renders r ON r.job_id = f.job_id JOIN jobs j ON j.id = r.job_id \
                   WHERE r.state IN ('queued', 'running') \
                   GROUP BY r.job_id, is_running, r.priority, r.width, r.height, r.steps, is_guided, \
                   r.guidance_truncation, r.model, r.on_oom, r.min_side \
                   ORDER BY f.runs DESC, f.waits, f.rank DESC, f.came, min(r.id) LIMIT ?2";
        let found = sqlx::query_as(sql).bind(jobs_max).bind(KINDS_MAX).bind(now_ms);
        Ok(found.fetch_all(&self.readers).await?)
    }

    /// How many renders have not ended, by the names of their models.
    pub async fn waiting_by_model(&self) -> Result<Vec<(String, u64)>> {
        let sql = "SELECT model, count(*) FROM renders INDEXED BY renders_to_do \
                   WHERE state IN ('queued', 'running') GROUP BY model";
        let rows: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(&self.readers).await?;
        Ok(rows.into_iter().map(|(model, renders)| (model, renders.unsigned_abs())).collect())
    }

    /// When the last of the renders that wait for a time may start.
    async fn last_start_ms(&self) -> Result<Option<i64>> {
        let sql = "SELECT max(run_after_ms) FROM renders INDEXED BY renders_by_time \
                   WHERE state = 'queued' AND timed = 1";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.readers).await?)
    }

    /// The renders of a job by state, as [`Store::waiting`] tells them apart.
    pub async fn job_renders(&self, job_id: i64) -> Result<Vec<JobRenders>> {
        let sql = "SELECT state, count(*) AS renders, width, height, steps, \
                   guidance > 0 AS is_guided, guidance_truncation, model, on_oom, min_side \
                   FROM renders WHERE job_id = ? GROUP BY state, width, height, steps, is_guided, \
                   guidance_truncation, model, on_oom, min_side LIMIT ?";
        Ok(sqlx::query_as(sql).bind(job_id).bind(KINDS_MAX).fetch_all(&self.readers).await?)
    }

    /// The newest pictures of each size and number of steps, newest first, of the model that
    /// daemon.toml calls `model`, as it was when it was loaded last, on the device of then.
    pub async fn newest_pictures(&self, model: &str) -> Result<Vec<MadePicture>> {
        let sql = "WITH last AS (SELECT model_hash, device FROM workers WHERE model_key = ?1 \
                   ORDER BY id DESC LIMIT 1), \
                   newest AS (SELECT * FROM attempts ORDER BY id DESC LIMIT ?2), \
                   made AS (SELECT a.id, a.denoise_ms, a.total_ms, a.ended_at_ms, a.width, a.height, a.steps, \
                   r.guidance > 0 AS is_guided, r.guidance_truncation, \
                   row_number() OVER (PARTITION BY a.width, a.height, a.steps, r.guidance > 0, \
                   r.guidance_truncation ORDER BY a.id DESC) AS number \
                   FROM newest a JOIN renders r ON r.id = a.render_id \
                   JOIN workers w ON w.id = a.worker_id JOIN last USING (model_hash, device) \
                   WHERE a.outcome = 'done' AND a.denoise_ms > 0 \
                   AND a.ended_at_ms >= (SELECT max(ended_at_ms) FROM newest) - ?4) \
                   SELECT * FROM made WHERE number <= ?3 ORDER BY id DESC";
        let pictures = sqlx::query_as(sql).bind(model).bind(ATTEMPTS_MAX).bind(PICTURES_MAX);
        Ok(pictures.bind(AGE_MS_MAX).fetch_all(&self.readers).await?)
    }
}
