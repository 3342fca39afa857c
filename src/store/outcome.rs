//! How attempts end: the attempt's row and its render's, in one transaction.

use sqlx::Row;

use super::rows::{signed, to_json, to_word, word};
use super::transition::{About, Current, Facts, Writing, log, transition};
use super::{AttemptEnd, Fate, Finished, Guarded, Outcome, Result, Store};
use crate::job::state::RenderEvent;
use crate::worker::protocol::{Peaks, Timings};

/// A running attempt's render, and whether the user wants it cancelled.
struct Running {
    render: Current,
    cancel_wanted: bool,
}

impl Store {
    /// The attempt made its picture: attempt and render are done, also when a cancel came too late.
    pub async fn finish(
        &self,
        attempt_id: i64,
        finished: &Finished,
        now_ms: i64,
    ) -> Result<Guarded> {
        let mut transaction = self.begin().await?;
        let Some(running) = running(&mut transaction, attempt_id).await? else {
            transaction.rollback().await?;
            return Ok(Guarded::Stale);
        };
        let picture = Facts::Picture { degraded: finished.degraded };
        transition(&mut transaction, running.render, RenderEvent::Finished, picture, now_ms)
            .await?;
        record_picture(&mut transaction, attempt_id, finished, now_ms).await?;
        record_work(&mut transaction, attempt_id, &finished.timings, &finished.peaks).await?;
        let about = About::Attempt(running.render, attempt_id);
        log(&mut transaction, "done", about, &finished.path, now_ms).await?;
        transaction.commit().await?;
        Ok(Guarded::Changed)
    }

    /// The attempt ended without a picture. A render that would be queued again but is wanted
    /// cancelled is cancelled.
    pub async fn end_attempt(
        &self,
        attempt_id: i64,
        end: &AttemptEnd,
        fate: &Fate,
        now_ms: i64,
    ) -> Result<Guarded> {
        let mut transaction = self.begin().await?;
        let Some(running) = running(&mut transaction, attempt_id).await? else {
            transaction.rollback().await?;
            return Ok(Guarded::Stale);
        };
        record_end(&mut transaction, attempt_id, end, now_ms).await?;
        record_work(&mut transaction, attempt_id, &end.timings, &end.peaks).await?;
        let about = About::Attempt(running.render, attempt_id);
        log(&mut transaction, &to_word(&end.outcome), about, &end.message, now_ms).await?;
        if let Some((event, facts)) = consequence(fate, end.outcome, running.cancel_wanted) {
            transition(&mut transaction, running.render, event, facts, now_ms).await?;
        }
        transaction.commit().await?;
        Ok(Guarded::Changed)
    }
}

/// What happens to the render; nothing where another attempt follows.
fn consequence(
    fate: &Fate,
    outcome: Outcome,
    cancel_wanted: bool,
) -> Option<(RenderEvent, Facts<'_>)> {
    match fate {
        Fate::NextAttempt => None,
        Fate::Requeue if cancel_wanted => Some((RenderEvent::Cancelled, Facts::Nothing)),
        Fate::Requeue => {
            let event = match outcome {
                Outcome::Crashed => RenderEvent::Orphaned,
                Outcome::Interrupted => RenderEvent::Interrupted,
                _ => RenderEvent::Deferred,
            };
            Some((event, Facts::Nothing))
        }
        Fate::Fail { code, message } => Some((RenderEvent::Failed, Facts::Error { code, message })),
        Fate::Cancel => Some((RenderEvent::Cancelled, Facts::Nothing)),
    }
}

/// `None` when somebody has ended the attempt.
async fn running(transaction: &mut Writing, attempt_id: i64) -> Result<Option<Running>> {
    let row = sqlx::query(
        "SELECT r.id, r.job_id, r.state, r.cancel_wanted FROM attempts a JOIN renders r ON r.id = a.render_id \
         WHERE a.id = ? AND a.outcome = 'running'",
    )
    .bind(attempt_id)
    .fetch_optional(&mut **transaction)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let render = Current {
        render_id: row.try_get("id")?,
        job_id: row.try_get("job_id")?,
        state: word(row.try_get("state")?)?,
    };
    Ok(Some(Running { render, cancel_wanted: row.try_get("cancel_wanted")? }))
}

async fn record_picture(
    transaction: &mut Writing,
    attempt_id: i64,
    finished: &Finished,
    now_ms: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE attempts SET outcome = 'done', ended_at_ms = ?, path = ?, bytes = ?, sha256 = ?, prompt_cut = ? \
         WHERE id = ? AND outcome = 'running'",
    )
    .bind(now_ms)
    .bind(&finished.path)
    .bind(signed(finished.bytes))
    .bind(&finished.sha256)
    .bind(finished.prompt_cut)
    .bind(attempt_id)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn record_end(
    transaction: &mut Writing,
    attempt_id: i64,
    end: &AttemptEnd,
    now_ms: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE attempts SET outcome = ?, ended_at_ms = ?, stage = ?, message = ?, requested_bytes = ? \
         WHERE id = ? AND outcome = 'running'",
    )
    .bind(to_word(&end.outcome))
    .bind(now_ms)
    .bind(end.stage.as_ref().map(to_word))
    .bind(&end.message)
    .bind(end.requested_bytes.map(signed))
    .bind(attempt_id)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Seconds and bytes of an attempt, whatever its outcome.
async fn record_work(
    transaction: &mut Writing,
    attempt_id: i64,
    timings: &Timings,
    peaks: &Peaks,
) -> sqlx::Result<()> {
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
