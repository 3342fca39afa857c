//! How attempts end: the attempt's row and its render's, in one transaction.

use sqlx::Row;

use super::dispatch::attemptable;
use super::rows::{signed, to_json};
use super::totals::add_attempt;
use super::transition::{About, Current, Facts, log, transition};
use super::writing::Writing;
use super::{Guarded, Result, Store};
use crate::attempt::{ErrorCode, Failure, Finished, Measured, Next, Outcome};
use crate::job::event::EventKind;
use crate::job::state::{RenderEvent, State};

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
        record_measured(&mut transaction, attempt_id, &finished.made.measured).await?;
        add_attempt(&mut transaction, attempt_id).await?;
        let about = About::Attempt(running.render, attempt_id);
        log(&mut transaction, EventKind::Done, about, &finished.path, now_ms).await?;
        transaction.commit().await?;
        Ok(Guarded::Changed)
    }

    /// The attempt made no picture, and `next` is decided on it. A render that would be queued
    /// again but is wanted cancelled by now is cancelled.
    pub async fn end_attempt(
        &self,
        attempt_id: i64,
        failure: &Failure,
        next: &Next,
        now_ms: i64,
    ) -> Result<Guarded> {
        let mut transaction = self.begin().await?;
        let Some(running) = running(&mut transaction, attempt_id).await? else {
            transaction.rollback().await?;
            return Ok(Guarded::Stale);
        };
        let outcome = next.outcome();
        record_failure(&mut transaction, attempt_id, failure, outcome, now_ms).await?;
        record_measured(&mut transaction, attempt_id, &failure.measured).await?;
        add_attempt(&mut transaction, attempt_id).await?;
        let about = About::Attempt(running.render, attempt_id);
        log(&mut transaction, kind_of(outcome), about, &failure.message, now_ms).await?;
        if let Some(event) = next.event(running.cancel_wanted) {
            transition(&mut transaction, running.render, event, facts(next), now_ms).await?;
        }
        transaction.commit().await?;
        Ok(Guarded::Changed)
    }

    /// A render that waits has failed without an attempt, because it is known how one would end.
    pub async fn fail_untried(
        &self,
        render_id: i64,
        code: ErrorCode,
        reason: &str,
        now_ms: i64,
    ) -> Result<Guarded> {
        let mut transaction = self.begin().await?;
        let render = attemptable(&mut transaction, render_id).await?;
        let Some(render) = render.filter(|render| render.state == State::Queued) else {
            transaction.rollback().await?;
            return Ok(Guarded::Stale);
        };
        let error = Facts::Error { code, message: reason };
        transition(&mut transaction, render, RenderEvent::Failed, error, now_ms).await?;
        let about = About::Render(render);
        log(&mut transaction, EventKind::OutOfMemory, about, reason, now_ms).await?;
        transaction.commit().await?;
        Ok(Guarded::Changed)
    }
}

/// The log's word for the end of an attempt.
fn kind_of(outcome: Outcome) -> EventKind {
    match outcome {
        Outcome::Running => EventKind::Attempt,
        Outcome::Done => EventKind::Done,
        Outcome::OutOfMemory => EventKind::OutOfMemory,
        Outcome::Crashed => EventKind::Crashed,
        Outcome::Interrupted => EventKind::Interrupted,
        Outcome::Cancelled => EventKind::Cancelled,
        Outcome::Failed => EventKind::Failed,
    }
}

/// What the render's new state comes with.
fn facts(next: &Next) -> Facts<'_> {
    match next {
        Next::Fail { code, message } => Facts::Error { code: *code, message },
        _ => Facts::Nothing,
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
        state: row.try_get("state")?,
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
    .bind(signed(finished.made.bytes))
    .bind(&finished.made.sha256)
    .bind(finished.made.prompt_cut)
    .bind(attempt_id)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn record_failure(
    transaction: &mut Writing,
    attempt_id: i64,
    failure: &Failure,
    outcome: Outcome,
    now_ms: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE attempts SET outcome = ?, ended_at_ms = ?, stage = ?, message = ?, requested_bytes = ?, \
         worker_died = ?, lost_step = ? WHERE id = ? AND outcome = 'running'",
    )
    .bind(outcome)
    .bind(now_ms)
    .bind(failure.stage)
    .bind(&failure.message)
    .bind(failure.requested_bytes().map(signed))
    .bind(failure.kind.took_the_worker() && failure.lost_at().is_none())
    .bind(failure.lost_at().map(|place| place.step))
    .bind(attempt_id)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Seconds and bytes of an attempt, whatever its outcome.
async fn record_measured(
    transaction: &mut Writing,
    attempt_id: i64,
    Measured { timings, peaks, card }: &Measured,
) -> sqlx::Result<()> {
    let card = card.clone().unwrap_or_default();
    sqlx::query(
        "UPDATE attempts SET text_encode_ms = ?, denoise_ms = ?, step_ms = ?, vae_decode_ms = ?, picture_encode_ms = ?, \
         total_ms = ?, text_encode_bytes = ?, denoise_bytes = ?, vae_decode_bytes = ?, after_release_bytes = ?, \
         energy_mj = ?, power_mean_mw = ?, power_peak_mw = ?, temperature_max_celsius = ?, clock_mhz = ?, slowed_by = ? \
         WHERE id = ?",
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
    .bind(card.energy_mj.map(signed))
    .bind(card.power_mean_mw.map(signed))
    .bind(card.power_peak_mw.map(signed))
    .bind(card.temperature_max_celsius)
    .bind(card.clock_mhz)
    .bind(&card.slowed_by)
    .bind(attempt_id)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
