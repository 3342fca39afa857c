//! What the dispatcher does to renders and attempts. Every change of state goes through [`State::after`] and an update
//! guarded on the state before.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::rows::{RENDER_COLUMNS, from_json, render, signed, to_json, to_word, word};
use super::{AttemptEnd, Candidate, Fate, Finished, Guarded, Orphan, Outcome, Result, Store, StoreError};
use crate::job::state::{Event, State};
use crate::ladder::{Rung, Stage};
use crate::worker::protocol::{Loaded, Peaks, Timings};

/// A render and its running attempt, as they are inside a transaction.
struct RunningAttempt {
    render_id: i64,
    job_id: i64,
    state: State,
}

impl Store {
    /// The render to run next: priority, then order of arrival; none while the queue is paused.
    pub async fn next_candidate(&self, now_ms: i64) -> Result<Option<Candidate>> {
        let sql = format!(
            "SELECT r.id, r.job_id, r.position, j.file_name, j.accepted_at_ms, {RENDER_COLUMNS} \
             FROM renders r JOIN jobs j ON j.id = r.job_id \
             WHERE r.state = 'queued' AND r.run_after_ms <= ? AND NOT EXISTS (SELECT 1 FROM pause) \
             ORDER BY r.priority DESC, r.id LIMIT 1"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(now_ms).fetch_optional(&self.readers).await?;
        let Some(row) = row else { return Ok(None) };
        let render_id: i64 = row.try_get("id")?;
        let file_name: String = row.try_get("file_name")?;
        Ok(Some(Candidate {
            render_id,
            job_id: row.try_get("job_id")?,
            job_name: file_name.strip_suffix(".toml").unwrap_or(&file_name).to_owned(),
            index: row.try_get("position")?,
            render: render(&row)?,
            accepted_at_ms: row.try_get("accepted_at_ms")?,
            tried: self.tried(render_id).await?,
            deaths: self.deaths(render_id).await?,
        }))
    }

    async fn tried(&self, render_id: i64) -> Result<Vec<(Rung, Stage)>> {
        let rows = sqlx::query(
            "SELECT rung, stage FROM attempts WHERE render_id = ? AND outcome = 'out_of_memory' AND stage IS NOT NULL \
             ORDER BY number",
        )
        .bind(render_id)
        .fetch_all(&self.readers)
        .await?;
        let tried = |row: &SqliteRow| -> sqlx::Result<(Rung, Stage)> {
            Ok((from_json(row.try_get("rung")?)?, word(row.try_get("stage")?)?))
        };
        Ok(rows.iter().map(tried).collect::<sqlx::Result<_>>()?)
    }

    async fn deaths(&self, render_id: i64) -> Result<u32> {
        let sql = "SELECT count(*) FROM attempts WHERE render_id = ? AND outcome = 'crashed'";
        Ok(sqlx::query_scalar(sql).bind(render_id).fetch_one(&self.readers).await?)
    }

    /// Writes the attempt row, with its rung and the picture's final name, and sets the render running. From queued for
    /// the first attempt, from running (with no attempt running) for a ladder step. `None`: the render was cancelled
    /// meanwhile.
    pub async fn begin_attempt(&self, render_id: i64, rung: &Rung, path: &str, now_ms: i64) -> Result<Option<i64>> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query("SELECT job_id, state, cancel_wanted FROM renders WHERE id = ?")
            .bind(render_id)
            .fetch_one(&mut *transaction)
            .await?;
        let state: State = word(row.try_get("state")?)?;
        if state.is_terminal() {
            transaction.rollback().await?;
            return Ok(None);
        }
        if state == State::Queued {
            move_render(&mut transaction, render_id, state, Event::Claimed).await?;
        }
        let attempt_id = insert_attempt(&mut transaction, render_id, rung, path, now_ms).await?;
        let attempt = RunningAttempt { render_id, job_id: row.try_get("job_id")?, state };
        event(&mut transaction, "attempt", &attempt, attempt_id, &rung.to_string(), now_ms).await?;
        transaction.commit().await?;
        Ok(Some(attempt_id))
    }

    /// The picture could not get its recorded name: records another before the rename.
    pub async fn rename_attempt(&self, attempt_id: i64, path: &str) -> Result<Guarded> {
        let mut transaction = self.begin().await?;
        let changed = sqlx::query("UPDATE attempts SET path = ? WHERE id = ? AND outcome = 'running'")
            .bind(path)
            .bind(attempt_id)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        transaction.commit().await?;
        Ok(if changed == 1 { Guarded::Changed } else { Guarded::Stale })
    }

    /// The attempt made its picture: attempt and render are done.
    pub async fn finish(&self, attempt_id: i64, finished: &Finished, now_ms: i64) -> Result<Guarded> {
        let mut transaction = self.begin().await?;
        let Some(attempt) = running_attempt(&mut transaction, attempt_id).await? else {
            transaction.rollback().await?;
            return Ok(Guarded::Stale);
        };
        end_render(&mut transaction, &attempt, Event::Finished, None, now_ms).await?;
        sqlx::query("UPDATE renders SET degraded = ? WHERE id = ?")
            .bind(finished.degraded)
            .bind(attempt.render_id)
            .execute(&mut *transaction)
            .await?;
        record_work(&mut transaction, attempt_id, &finished.timings, &finished.peaks).await?;
        sqlx::query(
            "UPDATE attempts SET outcome = 'done', ended_at_ms = ?, path = ?, bytes = ?, sha256 = ?, prompt_cut = ? \
             WHERE id = ?",
        )
        .bind(now_ms)
        .bind(&finished.path)
        .bind(signed(finished.bytes))
        .bind(&finished.sha256)
        .bind(finished.prompt_cut)
        .bind(attempt_id)
        .execute(&mut *transaction)
        .await?;
        event(&mut transaction, "done", &attempt, attempt_id, &finished.path, now_ms).await?;
        transaction.commit().await?;
        Ok(Guarded::Changed)
    }

    /// The attempt ended without a picture: both rows, in one transaction.
    pub async fn end_attempt(&self, attempt_id: i64, end: &AttemptEnd, fate: &Fate, now_ms: i64) -> Result<Guarded> {
        let mut transaction = self.begin().await?;
        let Some(attempt) = running_attempt(&mut transaction, attempt_id).await? else {
            transaction.rollback().await?;
            return Ok(Guarded::Stale);
        };
        match fate {
            Fate::NextAttempt => (),
            Fate::Requeue { run_after_ms } => requeue(&mut transaction, &attempt, end.outcome, *run_after_ms).await?,
            Fate::Fail { code, message } => {
                end_render(&mut transaction, &attempt, Event::Failed, Some((code, message)), now_ms).await?;
            }
            Fate::Cancel => end_render(&mut transaction, &attempt, Event::Cancelled, None, now_ms).await?,
        }
        record_work(&mut transaction, attempt_id, &end.timings, &end.peaks).await?;
        let outcome = to_word(&end.outcome);
        sqlx::query(
            "UPDATE attempts SET outcome = ?, ended_at_ms = ?, stage = ?, message = ?, requested_bytes = ? WHERE id = ?",
        )
        .bind(&outcome)
        .bind(now_ms)
        .bind(end.stage.as_ref().map(to_word))
        .bind(&end.message)
        .bind(end.requested_bytes.map(signed))
        .bind(attempt_id)
        .execute(&mut *transaction)
        .await?;
        event(&mut transaction, &outcome, &attempt, attempt_id, &end.message, now_ms).await?;
        transaction.commit().await?;
        Ok(Guarded::Changed)
    }

    /// Everything found running; called once at start, under the instance lock. A render whose ladder step was cut
    /// between two attempts is queued again here: nothing of it ran.
    pub async fn orphans(&self) -> Result<Vec<Orphan>> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "UPDATE renders SET state = 'queued' WHERE state = 'running' AND NOT EXISTS \
             (SELECT 1 FROM attempts a WHERE a.render_id = renders.id AND a.outcome = 'running')",
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let sql = format!(
            "SELECT r.id, a.id AS attempt_id, a.path, a.rung, {RENDER_COLUMNS}, \
             (SELECT count(*) FROM attempts c WHERE c.render_id = r.id AND c.outcome = 'crashed') AS deaths \
             FROM renders r JOIN attempts a ON a.render_id = r.id AND a.outcome = 'running' \
             WHERE r.state = 'running' ORDER BY r.id"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&self.readers).await?;
        let orphan = |row: &SqliteRow| -> sqlx::Result<Orphan> {
            Ok(Orphan {
                render_id: row.try_get("id")?,
                attempt_id: row.try_get("attempt_id")?,
                path: row.try_get("path")?,
                rung: from_json(row.try_get("rung")?)?,
                render: render(row)?,
                deaths: row.try_get("deaths")?,
            })
        };
        Ok(rows.iter().map(orphan).collect::<sqlx::Result<_>>()?)
    }

    /// Whether the user wants this render cancelled.
    pub async fn cancel_wanted(&self, render_id: i64) -> Result<bool> {
        let sql = "SELECT cancel_wanted FROM renders WHERE id = ?";
        Ok(sqlx::query_scalar(sql).bind(render_id).fetch_one(&self.readers).await?)
    }

    /// Notes a started worker with its model; the attempts that follow are its own.
    pub async fn worker_loaded(&self, loaded: &Loaded, now_ms: i64) -> Result<()> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "INSERT INTO workers (loaded_at_ms, version, device, model_name, model_hash, load_ms, idle_bytes, total_bytes) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(now_ms)
        .bind(env!("CARGO_PKG_VERSION"))
        .bind(&loaded.device)
        .bind(&loaded.model_name)
        .bind(&loaded.model_hash)
        .bind(signed(loaded.load_ms))
        .bind(signed(loaded.memory.used_bytes))
        .bind(signed(loaded.memory.total_bytes))
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }

    /// True when no render is queued or running.
    pub async fn is_idle(&self) -> Result<bool> {
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM renders WHERE state = 'queued') \
                   AND NOT EXISTS (SELECT 1 FROM renders WHERE state = 'running')";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.readers).await?)
    }
}

type Writing = Transaction<'static, Sqlite>;

/// The running attempt, or `None` when somebody ended it.
async fn running_attempt(transaction: &mut Writing, attempt_id: i64) -> Result<Option<RunningAttempt>> {
    let row = sqlx::query(
        "SELECT a.render_id, r.job_id, r.state FROM attempts a JOIN renders r ON r.id = a.render_id \
         WHERE a.id = ? AND a.outcome = 'running' AND r.state = 'running'",
    )
    .bind(attempt_id)
    .fetch_optional(&mut **transaction)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(RunningAttempt {
        render_id: row.try_get("render_id")?,
        job_id: row.try_get("job_id")?,
        state: word(row.try_get("state")?)?,
    }))
}

/// The new state, by the machine and by a guarded update.
async fn move_render(transaction: &mut Writing, render_id: i64, state: State, event: Event) -> Result<State> {
    let next = state.after(event).map_err(|illegal| StoreError::Illegal { render_id, illegal })?;
    if !next.is_terminal() {
        sqlx::query("UPDATE renders SET state = ? WHERE id = ? AND state = ?")
            .bind(next.as_str())
            .bind(render_id)
            .bind(state.as_str())
            .execute(&mut **transaction)
            .await?;
    }
    Ok(next)
}

async fn end_render(
    transaction: &mut Writing,
    attempt: &RunningAttempt,
    event: Event,
    error: Option<(&str, &str)>,
    now_ms: i64,
) -> Result<()> {
    let next = move_render(transaction, attempt.render_id, attempt.state, event).await?;
    sqlx::query(
        "UPDATE renders SET state = ?, finished_at_ms = ?, error_code = ?, error = ? WHERE id = ? AND state = ?",
    )
    .bind(next.as_str())
    .bind(now_ms)
    .bind(error.map(|(code, _)| code))
    .bind(error.map(|(_, message)| message))
    .bind(attempt.render_id)
    .bind(attempt.state.as_str())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn requeue(
    transaction: &mut Writing,
    attempt: &RunningAttempt,
    outcome: Outcome,
    run_after_ms: Option<i64>,
) -> Result<()> {
    let event = if outcome == Outcome::Crashed { Event::Orphaned } else { Event::Interrupted };
    move_render(transaction, attempt.render_id, attempt.state, event).await?;
    sqlx::query("UPDATE renders SET run_after_ms = max(run_after_ms, ?) WHERE id = ?")
        .bind(run_after_ms.unwrap_or(0))
        .bind(attempt.render_id)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

async fn insert_attempt(
    transaction: &mut Writing,
    render_id: i64,
    rung: &Rung,
    path: &str,
    now_ms: i64,
) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "INSERT INTO attempts (render_id, number, worker_id, outcome, rung, rung_text, width, height, steps, path, \
         queued_ms, started_at_ms) \
         SELECT r.id, \
             (SELECT coalesce(max(number), 0) + 1 FROM attempts WHERE render_id = r.id), \
             (SELECT max(id) FROM workers), 'running', ?, ?, ?, ?, ?, ?, max(? - max(j.accepted_at_ms, r.run_after_ms), 0), ? \
         FROM renders r JOIN jobs j ON j.id = r.job_id WHERE r.id = ? RETURNING id",
    )
    .bind(to_json(rung))
    .bind(rung.to_string())
    .bind(rung.width)
    .bind(rung.height)
    .bind(rung.steps)
    .bind(path)
    .bind(now_ms)
    .bind(now_ms)
    .bind(render_id)
    .fetch_one(&mut **transaction)
    .await
}

/// Seconds and bytes of an attempt, whatever its outcome.
async fn record_work(transaction: &mut Writing, attempt_id: i64, timings: &Timings, peaks: &Peaks) -> Result<()> {
    sqlx::query(
        "UPDATE attempts SET text_encode_ms = ?, denoise_ms = ?, step_ms = ?, vae_decode_ms = ?, picture_encode_ms = ?, \
         total_ms = ?, text_encode_bytes = ?, denoise_bytes = ?, vae_decode_bytes = ?, after_release_bytes = ? WHERE id = ?",
    )
    .bind(signed(timings.text_encode_ms))
    .bind(signed(timings.denoise_ms))
    .bind(to_json(&timings.step_ms))
    .bind(signed(timings.vae_decode_ms))
    .bind(signed(timings.picture_encode_ms))
    .bind(signed(timings.total_ms))
    .bind(signed(peaks.text_encode_bytes))
    .bind(signed(peaks.denoise_bytes))
    .bind(signed(peaks.vae_decode_bytes))
    .bind(signed(peaks.after_release_bytes))
    .bind(attempt_id)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn event(
    transaction: &mut Writing,
    kind: &str,
    attempt: &RunningAttempt,
    attempt_id: i64,
    detail: &str,
    now_ms: i64,
) -> Result<()> {
    sqlx::query("INSERT INTO events (at_ms, kind, job_id, render_id, attempt_id, detail) VALUES (?, ?, ?, ?, ?, ?)")
        .bind(now_ms)
        .bind(kind)
        .bind(attempt.job_id)
        .bind(attempt.render_id)
        .bind(attempt_id)
        .bind(detail)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}
