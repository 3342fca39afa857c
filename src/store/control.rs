//! What users do to the queue: cancel, pause, resume.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use sqlx::QueryBuilder;
use sqlx::Row;

use super::transition::{About, Current, Facts, log, transition};
use super::writing::Writing;
use super::{Result, Selection, Store};
use crate::job::event::EventKind;
use crate::job::state::{RenderEvent, State};

/// So many renders are cancelled in one transaction.
const BATCH_RENDERS: usize = 100;

/// Why the rest of a job is cancelled whose sender waited for it, and has gone.
const NOBODY_WAITS: &str = "its sender did not wait for it any longer";

/// Which renders a change is for, of all that it can be made to: all unless something is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RenderFilter {
    pub state: Option<State>,
    /// Of jobs with this tag.
    pub tag: Option<String>,
}

/// What a cancel did, in renders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cancelled {
    /// Were queued and are cancelled.
    pub cancelled: u64,
    /// Run, and stop at their next step; without a daemon, when it starts.
    pub stopping: u64,
    /// Had ended before.
    pub ended: u64,
}

/// Why and since when nothing is claimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Pause {
    /// Since when, UTC, in milliseconds since the epoch.
    pub since_ms: i64,
    /// Why, in the words of whoever paused it.
    pub reason: String,
}

/// For people: why, and what ends it.
impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "paused ({}); go on with: zimaged resume", self.reason)
    }
}

impl Store {
    /// Queued renders of the selections are cancelled at once; a running one gets a mark that the
    /// dispatcher acts on. Where one of the selections is not there, nothing is done.
    pub async fn cancel(&self, selections: &[Selection], now_ms: i64) -> Result<Cancelled> {
        let mut ids = BTreeSet::new();
        for selection in selections {
            ids.extend(self.render_ids(*selection).await?);
        }
        self.cancel_renders(ids, now_ms).await
    }

    /// As [`Store::cancel`], for what the filter lets through of all that has not ended.
    pub async fn cancel_matching(&self, filter: &RenderFilter, now_ms: i64) -> Result<Cancelled> {
        let mut sql = QueryBuilder::new("SELECT r.id FROM renders r ");
        sql.push("WHERE r.state IN ('queued', 'running')");
        filter.narrow(&mut sql);
        let ids: Vec<i64> = sql.build_query_scalar().fetch_all(&self.readers).await?;
        self.cancel_renders(ids.into_iter().collect(), now_ms).await
    }

    /// Cancels what of the job is queued; a picture that is being made is made to its end. The key
    /// of its request is free again: who sends that once more wants it made.
    pub async fn cancel_queued(&self, job_id: i64, now_ms: i64) -> Result<Cancelled> {
        let sql = "SELECT id FROM renders WHERE job_id = ? AND state = 'queued'";
        let ids: Vec<i64> = sqlx::query_scalar(sql).bind(job_id).fetch_all(&self.readers).await?;
        let mut done = Cancelled::default();
        for batch in ids.chunks(BATCH_RENDERS) {
            let _turn = self.turn().await;
            let mut transaction = self.begin().await?;
            for render_id in batch {
                // It may have begun meanwhile.
                let state = "SELECT state FROM renders WHERE id = ?";
                let state = sqlx::query_scalar(state).bind(render_id);
                if state.fetch_optional(&mut *transaction).await? == Some(State::Queued) {
                    let facts = Facts::Cancelled { reason: NOBODY_WAITS };
                    cancel_one(&mut transaction, *render_id, facts, &mut done, now_ms).await?;
                }
            }
            if done.cancelled > 0 {
                let sql = "UPDATE jobs SET request_key = NULL WHERE id = ?";
                sqlx::query(sql).bind(job_id).execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
        }
        Ok(done)
    }

    /// Whether any job has this tag, whatever became of it.
    pub async fn has_tag(&self, tag: &str) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM jobs j, json_each(j.tags) WHERE value = ?)";
        Ok(sqlx::query_scalar(sql).bind(tag).fetch_one(&self.readers).await?)
    }

    async fn render_ids(&self, selection: Selection) -> Result<Vec<i64>> {
        let (job_id, position) = selection.parts();
        let sql = "SELECT id FROM renders WHERE job_id = ? AND position = coalesce(?, position)";
        let ids: Vec<i64> =
            sqlx::query_scalar(sql).bind(job_id).bind(position).fetch_all(&self.readers).await?;
        match ids.is_empty() {
            true => Err(selection.absent()),
            false => Ok(ids),
        }
    }

    /// After a death in between what was not cancelled yet is queued still.
    async fn cancel_renders(&self, ids: BTreeSet<i64>, now_ms: i64) -> Result<Cancelled> {
        let mut done = Cancelled::default();
        let ids: Vec<i64> = ids.into_iter().collect();
        for batch in ids.chunks(BATCH_RENDERS) {
            let _turn = self.turn().await;
            let mut transaction = self.begin().await?;
            for render_id in batch {
                let facts = Facts::Nothing;
                cancel_one(&mut transaction, *render_id, facts, &mut done, now_ms).await?;
            }
            transaction.commit().await?;
        }
        Ok(done)
    }

    /// Records that nothing is started for a while, for `reason`, or that this is over.
    pub async fn note_rest(&self, reason: Option<&str>, now_ms: i64) -> Result<()> {
        let kind = if reason.is_some() { EventKind::Held } else { EventKind::HoldEnded };
        let mut transaction = self.begin().await?;
        log(&mut transaction, kind, About::Queue, reason.unwrap_or_default(), now_ms).await?;
        transaction.commit().await
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
        log(&mut transaction, EventKind::Paused, About::Queue, reason, now_ms).await?;
        transaction.commit().await
    }

    /// Ends a pause; nothing happens where there is none.
    pub async fn resume(&self, now_ms: i64) -> Result<()> {
        let mut transaction = self.begin().await?;
        if sqlx::query("DELETE FROM pause").execute(&mut *transaction).await?.rows_affected() > 0 {
            log(&mut transaction, EventKind::Resumed, About::Queue, "", now_ms).await?;
        }
        transaction.commit().await
    }

    /// The pause, while there is one.
    pub async fn paused(&self) -> Result<Option<Pause>> {
        let row =
            sqlx::query("SELECT since_ms, reason FROM pause").fetch_optional(&self.readers).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Pause { since_ms: row.try_get("since_ms")?, reason: row.try_get("reason")? }))
    }
}

impl RenderFilter {
    /// Adds the filter to a statement whose renders are called `r`.
    pub(super) fn narrow(&self, sql: &mut QueryBuilder<sqlx::Sqlite>) {
        if let Some(state) = self.state {
            sql.push(" AND r.state = ").push_bind(state);
        }
        if let Some(tag) = &self.tag {
            sql.push(
                " AND EXISTS (SELECT 1 FROM jobs j, json_each(j.tags) \
                 WHERE j.id = r.job_id AND value = ",
            );
            sql.push_bind(tag.clone()).push(")");
        }
    }
}

async fn cancel_one(
    transaction: &mut Writing,
    render_id: i64,
    facts: Facts<'_>,
    done: &mut Cancelled,
    now_ms: i64,
) -> Result<()> {
    let row = sqlx::query("SELECT job_id, state FROM renders WHERE id = ?").bind(render_id);
    // A row may be gone by now: a history can be cleared meanwhile.
    let Some(row) = row.fetch_optional(&mut **transaction).await? else { return Ok(()) };
    let (job_id, state) = (row.try_get("job_id")?, row.try_get("state")?);
    let render = Current { render_id, job_id, state };
    match state {
        State::Queued => {
            let event = RenderEvent::Cancelled;
            transition(transaction, render, event, facts, now_ms).await?;
            let about = About::Render(render);
            log(transaction, EventKind::Cancelled, about, "while queued", now_ms).await?;
            done.cancelled += 1;
        }
        State::Running => {
            mark(transaction, render, now_ms).await?;
            done.stopping += 1;
        }
        State::Done | State::Failed | State::Cancelled => done.ended += 1,
    }
    Ok(())
}

async fn mark(transaction: &mut Writing, render: Current, now_ms: i64) -> sqlx::Result<()> {
    sqlx::query("UPDATE renders SET cancel_wanted = 1 WHERE id = ?")
        .bind(render.render_id)
        .execute(&mut **transaction)
        .await?;
    log(transaction, EventKind::CancelWanted, About::Render(render), "", now_ms).await
}
