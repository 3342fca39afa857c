//! Users change when queued renders are started, and how their jobs are found.

use sqlx::{QueryBuilder, Row};

use super::control::RenderFilter;
use super::nights::times;
use super::rows::{from_json, to_json};
use super::transition::{About, Current, log};
use super::writing::Writing;
use super::{Result, Selection, Store};
use crate::job::event::EventKind;
use crate::job::spec::edits::{Editable, Edits};
use crate::job::state::State;
use crate::job::times::{Opening, Times};

/// So many renders are changed in one transaction, unless one job has more.
const BATCH_RENDERS: u64 = 1000;

/// What an edit did to a job, or to one of its renders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditFate {
    /// The change holds for so many renders; those that run go on.
    Edited { queued: u64, running: u64 },
    /// Nothing of it is left to be changed.
    Ended,
    /// Why its own times or tags do not allow the change.
    Refused(String),
}

/// What is to be changed of a job that has this; or why it cannot be.
pub type Change<'c> = &'c (dyn Fn(&Editable) -> std::result::Result<Edits, String> + Sync);

impl Store {
    /// Changes what has not ended of the selections, of single renders only the priority. `what`
    /// says it for people. Where one of them is not there, nothing is done.
    pub async fn edit(
        &self,
        selections: &[Selection],
        change: Change<'_>,
        what: &str,
        now_ms: i64,
    ) -> Result<Vec<(Selection, EditFate)>> {
        for selection in selections {
            self.check_there(*selection).await?;
        }
        let mut fates = Vec::with_capacity(selections.len());
        let mut rest = selections;
        while !rest.is_empty() {
            let _turn = self.turn().await;
            let mut transaction = self.begin().await?;
            let mut renders = 0;
            while let [selection, others @ ..] = rest
                && renders < BATCH_RENDERS
            {
                let fate =
                    self.edit_one(&mut transaction, *selection, change, what, now_ms).await?;
                if let EditFate::Edited { queued, running } = fate {
                    renders += queued + running;
                }
                // Looking at jobs that have ended takes its time, too.
                renders += 1;
                fates.push((*selection, fate));
                rest = others;
            }
            transaction.commit().await?;
        }
        Ok(fates)
    }

    async fn edit_one(
        &self,
        transaction: &mut Writing,
        selection: Selection,
        change: Change<'_>,
        what: &str,
        now_ms: i64,
    ) -> Result<EditFate> {
        let Some(left) = left(transaction, selection).await? else {
            return Err(selection.absent());
        };
        if left.queued + left.running == 0 {
            return Ok(EditFate::Ended);
        }
        let edits = match change(&left.before) {
            Ok(edits) => edits,
            Err(why) => return Ok(EditFate::Refused(why)),
        };
        if let Some(priority) = edits.priority {
            set_priority(transaction, selection, priority).await?;
        }
        let mut about = About::Job(selection.job_id());
        match selection {
            Selection::Job(job_id) => {
                if let Some(times) = edits.times {
                    let opening = self.first_opening(&times, now_ms);
                    set_times(transaction, job_id, times, opening).await?;
                }
                if let Some(tags) = edits.tags {
                    let sql = sqlx::query("UPDATE jobs SET tags = ? WHERE id = ?");
                    sql.bind(to_json(&tags)).bind(job_id).execute(&mut **transaction).await?;
                }
            }
            Selection::Render { job_id, .. } => {
                let state = if left.running > 0 { State::Running } else { State::Queued };
                about = About::Render(Current { render_id: left.first_id, job_id, state });
            }
        }
        log(transaction, EventKind::Edited, about, what, now_ms).await?;
        Ok(EditFate::Edited { queued: left.queued, running: left.running })
    }

    /// An error where there is none of the selection.
    pub async fn check_there(&self, selection: Selection) -> Result<()> {
        let (job_id, position) = selection.parts();
        let sql = "SELECT EXISTS (SELECT 1 FROM jobs j JOIN renders r ON r.job_id = j.id \
                   WHERE j.id = ? AND r.position = coalesce(?, r.position))";
        let there = sqlx::query_scalar(sql).bind(job_id).bind(position);
        match there.fetch_one(&self.readers).await? {
            true => Ok(()),
            false => Err(selection.absent()),
        }
    }

    /// The jobs of which the filter lets something through that has not ended, oldest first.
    pub async fn editable(&self, filter: &RenderFilter) -> Result<Vec<i64>> {
        let mut sql = QueryBuilder::new("SELECT DISTINCT r.job_id FROM renders r ");
        sql.push("JOIN jobs own ON own.id = r.job_id WHERE r.state IN ('queued', 'running')");
        filter.narrow(&mut sql);
        sql.push(" ORDER BY r.job_id");
        Ok(sql.build_query_scalar().fetch_all(&self.readers).await?)
    }
}

/// What is left of a selection, and what its job has.
struct Left {
    queued: u64,
    running: u64,
    first_id: i64,
    before: Editable,
}

/// `None` where it is not there, or its job's row was removed by hand.
async fn left(transaction: &mut Writing, selection: Selection) -> Result<Option<Left>> {
    let (job_id, position) = selection.parts();
    let row = sqlx::query(
        "SELECT count(r.id) FILTER (WHERE r.state = 'queued') AS queued, \
         count(r.id) FILTER (WHERE r.state = 'running') AS running, min(r.id) AS first_id, \
         j.not_before_ms, j.not_after_ms, j.open_hours, j.tags FROM jobs j \
         JOIN renders r ON r.job_id = j.id AND r.position = coalesce(?2, r.position) \
         WHERE j.id = ?1 GROUP BY j.id",
    )
    .bind(job_id)
    .bind(position)
    .fetch_optional(&mut **transaction)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let count = |column| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
    let before = Editable { times: times(&row)?, tags: from_json(row.try_get("tags")?)? };
    let first_id = row.try_get("first_id")?;
    Ok(Some(Left { queued: count("queued")?, running: count("running")?, first_id, before }))
}

/// A job's own priority is that of its renders from now on.
async fn set_priority(
    transaction: &mut Writing,
    selection: Selection,
    priority: i64,
) -> sqlx::Result<()> {
    let (job_id, position) = selection.parts();
    if position.is_none() {
        let sql = sqlx::query("UPDATE jobs SET priority = ? WHERE id = ?");
        sql.bind(priority).bind(job_id).execute(&mut **transaction).await?;
    }
    let sql = "UPDATE renders SET priority = ? WHERE job_id = ? \
               AND position = coalesce(?, position) AND state IN ('queued', 'running')";
    let query = sqlx::query(sql).bind(priority).bind(job_id).bind(position);
    query.execute(&mut **transaction).await?;
    Ok(())
}

/// One that runs is not disturbed: it keeps to the times if it is queued again.
async fn set_times(
    transaction: &mut Writing,
    job_id: i64,
    times: Times,
    opening: Opening,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE jobs SET not_before_ms = ?, not_after_ms = ?, open_hours = ? WHERE id = ?")
        .bind(times.not_before_ms)
        .bind(times.not_after_ms)
        .bind(times.window.map(|window| window.to_string()))
        .bind(job_id)
        .execute(&mut **transaction)
        .await?;
    let Opening { from_ms, until_ms } = opening;
    let sql = "UPDATE renders SET run_after_ms = ?, run_until_ms = ? \
               WHERE job_id = ? AND state IN ('queued', 'running')";
    let query = sqlx::query(sql).bind(from_ms).bind(until_ms).bind(job_id);
    query.execute(&mut **transaction).await?;
    Ok(())
}
