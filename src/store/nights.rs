//! Renders whose time is over: each waits for its job's next window, or is cancelled where there
//! is none.

use jiff::tz::TimeZone;
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row};

use super::transition::{About, Current, Facts, log, transition};
use super::writing::Writing;
use super::{Access, Result, Store};
use crate::job::event::EventKind;
use crate::job::state::{RenderEvent, State};
use crate::job::times::{Opening, Times};

/// What a render says that was cancelled because its job's time is over.
const TOO_LATE: &str = "not started before not_after; zimaged retry renders it all the same";

/// So many of the newest renders that were cancelled are looked at for jobs that came too late.
const CANCELLED_MAX: u32 = 10_000;

/// A job of which renders were cancelled because its time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, FromRow)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LateJob {
    /// The job's id.
    pub job: i64,
    /// How many of its renders were cancelled for that.
    pub renders: i64,
}

/// What became of renders whose time is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimesKept {
    /// Whether a time has ended by that: new renders are given their first window in the same way.
    pub has_ended: bool,
    /// For which jobs none comes any more.
    pub cancelled: Vec<LateJob>,
}

impl Store {
    /// When a job with these times, taken in or changed at `now_ms`, is started first. Windows are
    /// in the zone of the daemon's machine: where somebody else writes, who may be in another one,
    /// the opening is over at once, and the daemon's next look at the times gives the right one.
    pub(super) fn first_opening(&self, times: &Times, now_ms: i64) -> Opening {
        let opening = times.opening_or_over(now_ms, &TimeZone::system());
        match (self.access, times.window) {
            (Access::Client, Some(_)) => Opening { until_ms: Some(0), ..opening },
            _ => opening,
        }
    }

    /// Queued renders that may not be started any more at `now_ms` are given their job's next
    /// window, or are cancelled. Costs one look at an index where there are none.
    pub async fn keep_to_times(&self, now_ms: i64) -> Result<TimesKept> {
        let sql = "SELECT max(run_until_ms) FROM renders INDEXED BY renders_by_end \
                   WHERE state = 'queued' AND run_until_ms <= ?";
        let last_end_ms = sqlx::query_scalar(sql).bind(now_ms).fetch_one(&self.readers).await?;
        let Some(last_end_ms): Option<i64> = last_end_ms else { return Ok(TimesKept::default()) };
        let mut kept = TimesKept { has_ended: last_end_ms > 0, ..TimesKept::default() };
        let mut transaction = self.begin().await?;
        for (job_id, times) in late_jobs(&mut transaction, now_ms).await? {
            match times.opening(now_ms, &TimeZone::system()) {
                Some(opening) => put_off(&mut transaction, job_id, opening, now_ms).await?,
                None => kept.cancelled.push(cancel_late(&mut transaction, job_id, now_ms).await?),
            }
        }
        transaction.commit().await?;
        Ok(kept)
    }

    /// The newest jobs of which renders were cancelled for that at `since_ms` (UTC, milliseconds
    /// since the epoch) or later.
    pub async fn late_jobs(&self, since_ms: i64, limit: u32) -> Result<Vec<LateJob>> {
        let sql = "SELECT job_id AS job, count(*) AS renders FROM (SELECT job_id, cancel_reason \
                   FROM renders WHERE state = 'cancelled' AND finished_at_ms >= ?1 \
                   ORDER BY finished_at_ms DESC LIMIT ?2) WHERE cancel_reason = ?3 \
                   GROUP BY job_id ORDER BY job_id DESC LIMIT ?4";
        let late = sqlx::query_as(sql).bind(since_ms).bind(CANCELLED_MAX).bind(TOO_LATE);
        Ok(late.bind(limit).fetch_all(&self.readers).await?)
    }

    /// Whether renders wait that have a window or an end.
    pub async fn has_night_work(&self) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM renders INDEXED BY renders_by_end \
                   WHERE state = 'queued' AND run_until_ms IS NOT NULL)";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.readers).await?)
    }
}

/// The jobs of the renders whose time is over, with what they say of their times.
async fn late_jobs(transaction: &mut Writing, now_ms: i64) -> sqlx::Result<Vec<(i64, Times)>> {
    let rows = sqlx::query(
        "SELECT id, not_before_ms, not_after_ms, open_hours FROM jobs WHERE id IN \
         (SELECT job_id FROM renders INDEXED BY renders_by_end \
         WHERE state = 'queued' AND run_until_ms <= ?)",
    )
    .bind(now_ms)
    .fetch_all(&mut **transaction)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("id")?, times(row)?))).collect()
}

/// The times that a row of `jobs`, or one with its columns, says.
pub(super) fn times(row: &SqliteRow) -> sqlx::Result<Times> {
    let window: Option<&str> = row.try_get("open_hours")?;
    Ok(Times {
        not_before_ms: row.try_get("not_before_ms")?,
        not_after_ms: row.try_get("not_after_ms")?,
        // Somebody's hand may have been at it; a part of the queue must not stop for that.
        window: window.and_then(|window| window.parse().ok()),
    })
}

async fn put_off(
    transaction: &mut Writing,
    job_id: i64,
    opening: Opening,
    now_ms: i64,
) -> sqlx::Result<()> {
    let sql = "UPDATE renders SET run_after_ms = ?, run_until_ms = ? \
               WHERE job_id = ? AND state = 'queued' AND run_until_ms <= ?";
    let query =
        sqlx::query(sql).bind(opening.from_ms).bind(opening.until_ms).bind(job_id).bind(now_ms);
    query.execute(&mut **transaction).await?;
    Ok(())
}

async fn cancel_late(transaction: &mut Writing, job_id: i64, now_ms: i64) -> Result<LateJob> {
    let late: Vec<i64> = sqlx::query_scalar(
        "SELECT id FROM renders WHERE job_id = ? AND state = 'queued' AND run_until_ms <= ?",
    )
    .bind(job_id)
    .bind(now_ms)
    .fetch_all(&mut **transaction)
    .await?;
    let renders = late.len() as i64;
    for render_id in late {
        let render = Current { render_id, job_id, state: State::Queued };
        let facts = Facts::Cancelled { reason: TOO_LATE };
        transition(transaction, render, RenderEvent::Cancelled, facts, now_ms).await?;
        log(transaction, EventKind::Cancelled, About::Render(render), TOO_LATE, now_ms).await?;
    }
    Ok(LateJob { job: job_id, renders })
}
