//! What a start finds running. The daemon holds the instance lock, so nobody else can be at work on
//! it.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::rows::{from_json, render, render_columns, to_json};
use super::transition::{About, Current, Facts, log, transition};
use super::writing::Writing;
use super::{Result, Store};
use crate::attempt::{History, Orphan};
use crate::job::event::EventKind;
use crate::job::state::RenderEvent;

impl Store {
    /// Every attempt found running; called once at start, under the instance lock. A render that
    /// stood between two attempts has nothing to be cleared up: it is queued again (or cancelled,
    /// where that is wanted) right here.
    pub async fn orphans(&self, now_ms: i64) -> Result<Vec<Orphan>> {
        let mut transaction = self.begin().await?;
        for (render, cancel_wanted) in between_attempts(&mut transaction).await? {
            let (event, kind) = match cancel_wanted {
                true => (RenderEvent::Cancelled, EventKind::Cancelled),
                false => (RenderEvent::Orphaned, EventKind::Orphaned),
            };
            transition(&mut transaction, render, event, Facts::Nothing, now_ms).await?;
            let about = About::Render(render);
            log(&mut transaction, kind, about, "between two attempts", now_ms).await?;
        }
        transaction.commit().await?;
        self.running_attempts().await
    }

    /// Those of `renders` that will not be rendered any more: ended, or not in the queue at all.
    pub async fn ended_among(&self, renders: &[i64]) -> Result<Vec<i64>> {
        let sql = "SELECT value FROM json_each(?) WHERE NOT EXISTS \
                   (SELECT 1 FROM renders r WHERE r.id = value AND r.state IN ('queued', 'running'))";
        Ok(sqlx::query_scalar(sql).bind(to_json(&renders)).fetch_all(&self.readers).await?)
    }

    async fn running_attempts(&self) -> Result<Vec<Orphan>> {
        let sql = format!(
            "SELECT a.id AS attempt_id, a.render_id, a.path, a.rung, r.job_id, r.position, r.cancel_wanted, \
             r.asked_prompt, {} \
             FROM renders r JOIN attempts a ON a.render_id = r.id AND a.outcome = 'running' \
             WHERE r.state = 'running' ORDER BY r.id",
            render_columns("r.")
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&self.readers).await?;
        let mut orphans = Vec::new();
        for row in &rows {
            let history = self.attempts_before(row.try_get("render_id")?).await?;
            orphans.push(orphan(row, history)?);
        }
        Ok(orphans)
    }
}

fn orphan(row: &SqliteRow, history: History) -> sqlx::Result<Orphan> {
    Ok(Orphan {
        attempt_id: row.try_get("attempt_id")?,
        job_id: row.try_get("job_id")?,
        index: row.try_get("position")?,
        cancel_wanted: row.try_get("cancel_wanted")?,
        path: row.try_get("path")?,
        rung: from_json(row.try_get("rung")?)?,
        render: render(row)?,
        history,
    })
}

/// Running renders without a running attempt: the daemon died before it could begin the next one.
async fn between_attempts(transaction: &mut Writing) -> sqlx::Result<Vec<(Current, bool)>> {
    let rows = sqlx::query(
        "SELECT id, job_id, state, cancel_wanted FROM renders WHERE state = 'running' AND NOT EXISTS \
         (SELECT 1 FROM attempts a WHERE a.render_id = renders.id AND a.outcome = 'running')",
    )
    .fetch_all(&mut **transaction)
    .await?;
    let found = |row: &SqliteRow| -> sqlx::Result<(Current, bool)> {
        let render = Current {
            render_id: row.try_get("id")?,
            job_id: row.try_get("job_id")?,
            state: row.try_get("state")?,
        };
        Ok((render, row.try_get("cancel_wanted")?))
    };
    rows.iter().map(found).collect()
}
