//! What is still to be done, and how long it takes by what was done.

use serde::Serialize;
use sqlx::FromRow;

use super::{Result, Store};
use crate::job::Render;

/// So many of the newest pictures say how fast it goes: enough to even them out, few enough to
/// follow a change.
const PICTURES_MAX: u32 = 20;

/// Renders that may start within the same minute are taken together: half a million of them, each
/// with a time of its own, are not worth half a million rows.
const GROUP_MS: i64 = 60_000;

/// The renders that have not ended. Times are UTC, in milliseconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Outlook {
    /// Queued or running.
    pub renders: i64,
    /// When the first of them may start; `None` where there is none.
    pub earliest_ms: Option<i64>,
    /// How long all of them take, by the newest pictures of the model that was loaded last, on its
    /// device; `None` before there is any.
    pub work_ms: Option<i64>,
    /// There is no picture yet to go by: the times come from counted operations.
    pub is_estimate: bool,
    /// When the last of them has ended by that, each begun no earlier than it may.
    pub done_at_ms: Option<i64>,
}

/// How much of one job is left.
#[derive(Clone, Debug, Default, PartialEq, FromRow)]
pub struct JobLeft {
    /// All of its pictures.
    pub pictures: i64,
    /// How long those that have not ended take, the pace as in [`Outlook::work_ms`].
    pub left_ms: Option<i64>,
}

/// The work of a render, in pixels times steps, twice with guidance. Before the columns of its size
/// and before those of its recipe stand the names of their tables.
macro_rules! work {
    ($size:literal, $recipe:literal) => {
        concat!(
            $size,
            "width * ",
            $size,
            "height * ",
            $size,
            "steps * (1 + (",
            $recipe,
            "guidance > 0))"
        )
    };
}

/// The milliseconds that a unit of work takes, by the newest pictures of the model that was loaded
/// last, on its device: by [`work`] times of other sizes are carried over. Its one parameter is [`PICTURES_MAX`].
macro_rules! pace {
    () => {
        concat!(
            "WITH pace AS (SELECT 1.0 * sum(total_ms) / sum(work) AS ms FROM (SELECT a.total_ms, ",
            work!("a.", "r."),
            " AS work FROM attempts a JOIN renders r ON r.id = a.render_id \
             JOIN workers w ON w.id = a.worker_id \
             JOIN (SELECT model_hash, device FROM workers ORDER BY id DESC LIMIT 1) last USING (model_hash, device) \
             WHERE a.outcome = 'done' AND a.denoise_ms > 0 ORDER BY a.id DESC LIMIT ?)) "
        )
    };
}

/// Those that may start within the same minute.
#[derive(FromRow)]
struct Group {
    from_ms: i64,
    renders: i64,
    work_ms: Option<i64>,
}

impl Store {
    /// All that is to be done, and when it would be done by now.
    pub async fn outlook(&self, now_ms: i64) -> Result<Outlook> {
        let groups: Vec<Group> = sqlx::query_as(concat!(
            pace!(),
            "SELECT max(min(run_after_ms), ?2) AS from_ms, count(*) AS renders, CAST(round(\
             (SELECT ms FROM pace) * sum(",
            work!("", ""),
            ")) AS INTEGER) AS work_ms FROM renders INDEXED BY renders_to_do WHERE state IN ('queued', 'running') \
             GROUP BY max(run_after_ms, ?2) / ?3 ORDER BY from_ms",
        ))
        .bind(PICTURES_MAX)
        .bind(now_ms)
        .bind(GROUP_MS)
        .fetch_all(&self.readers)
        .await?;
        Ok(Outlook {
            renders: groups.iter().map(|group| group.renders).sum(),
            earliest_ms: groups.first().map(|group| group.from_ms),
            is_estimate: false,
            work_ms: groups
                .iter()
                .map(|group| group.work_ms)
                .reduce(|a, b| Some(a? + b?))
                .flatten(),
            done_at_ms: groups.iter().try_fold(now_ms, |free_ms, group| {
                Some(free_ms.max(group.from_ms) + group.work_ms?)
            }),
        })
    }

    /// How much is left of a job, of whose running picture the part `begun` (0 to 1) is made.
    pub async fn job_left(&self, job_id: i64, begun: f64) -> Result<JobLeft> {
        let left = sqlx::query_as(concat!(
            pace!(),
            "SELECT count(*) AS pictures, CAST(round((SELECT ms FROM pace) * \
             sum(",
            work!("", ""),
            " * CASE state WHEN 'queued' THEN 1 WHEN 'running' THEN 1 - ? ELSE 0 END)) AS INTEGER) \
             AS left_ms FROM renders WHERE job_id = ?",
        ));
        Ok(left.bind(PICTURES_MAX).bind(begun).bind(job_id).fetch_one(&self.readers).await?)
    }

    /// How long `renders` take by the newest pictures of the model that was loaded last, on its
    /// device; `None` before there is any.
    pub async fn work_ms(&self, renders: &[&Render]) -> Result<Option<i64>> {
        // As the statements measure it.
        let work = |render: &Render| {
            let forwards = if render.recipe.is_guided() { 2.0 } else { 1.0 };
            f64::from(render.width) * f64::from(render.height) * f64::from(render.steps) * forwards
        };
        let pace = sqlx::query_scalar(concat!(pace!(), "SELECT ms FROM pace")).bind(PICTURES_MAX);
        let ms: Option<f64> = pace.fetch_one(&self.readers).await?;
        Ok(ms.map(|ms| (ms * renders.iter().copied().map(work).sum::<f64>()).round() as i64))
    }
}
