//! Calls that wait for the pictures of their job, because their clients know nothing else.
//!
//! Who hangs up has no use for what is still queued, so that is cancelled; a picture that is being
//! made is made to its end and kept, because a lost answer must not lose a picture.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

use super::app::App;
use super::problem::HttpProblem;
use crate::clock::{Clock, SystemClock};
use crate::job::state::State;
use crate::queue::ApiJob;
use crate::store::{HistoryRow, Selection};

/// Between two looks at a job.
const LOOK: Duration = Duration::from_millis(100);

/// What is answered at once to a client that rather asks for its job than waits for it, by RFC 7240;
/// `None` for those that wait.
pub async fn without_waiting(
    app: &App,
    headers: &HeaderMap,
    job: &ApiJob,
) -> Result<Option<Response>, HttpProblem> {
    let said = headers.get_all("prefer").into_iter().filter_map(|value| value.to_str().ok());
    let mut said = said.flat_map(|value| value.split(',')).map(str::trim);
    if !said.any(|preference| preference.eq_ignore_ascii_case("respond-async")) {
        return Ok(None);
    }
    let (app, job) = (app.clone(), job.clone());
    // It is done to its end, as in `Waiting::begin`.
    let taken = tokio::spawn(async move { app.queue().take_api_job(&job).await }).await;
    let (submitted, _) = taken.map_err(|error| HttpProblem::ours(error.to_string()))??;
    let place = format!("/api/v1/jobs/{}", submitted.jobs[0].job);
    let answer = (StatusCode::ACCEPTED, [(header::LOCATION, place)], Json(submitted));
    Ok(Some(answer.into_response()))
}

/// A job that somebody waits for.
pub struct Waiting {
    app: App,
    pub job_id: i64,
    deadline: Instant,
    is_over: bool,
    _slot: OwnedSemaphorePermit,
}

impl Waiting {
    /// Takes the job in, unless it would not be done in the time that the client waits; the very
    /// same request, sent again by a client that got no answer, waits for the job that there is.
    pub async fn begin(
        app: &App,
        headers: &HeaderMap,
        job: ApiJob,
    ) -> Result<Waiting, HttpProblem> {
        let (app, headers) = (app.clone(), headers.clone());
        // Who hangs up at this very moment must not leave a job behind that nobody waits for.
        let begun = tokio::spawn(async move { Waiting::take_in(&app, &headers, &job).await });
        begun.await.map_err(|error| HttpProblem::ours(error.to_string()))?
    }

    async fn take_in(app: &App, headers: &HeaderMap, job: &ApiJob) -> Result<Waiting, HttpProblem> {
        let slot = app.waiting_slot()?;
        let wait = wait_of(app, headers);
        let queue = app.queue();
        let sent = if is_again(headers) { queue.sent_before(job).await? } else { None };
        let job_id = match sent {
            Some(job_id) => job_id,
            None => {
                let expected = queue.check_api_job(job).await?.expected;
                let done_at_ms = expected.and_then(|expected| expected.done_at_ms);
                let wait_ms = done_at_ms.map_or(0, |at_ms| at_ms - SystemClock.now_ms());
                if wait_ms > i64::try_from(wait.as_millis()).unwrap_or(i64::MAX) {
                    return Err(too_long(wait_ms / 1000));
                }
                queue.take_api_job(job).await?.0.jobs[0].job
            }
        };
        let deadline = Instant::now() + wait;
        Ok(Waiting { app: app.clone(), job_id, deadline, is_over: false, _slot: slot })
    }

    /// The job's pictures, all of which have ended.
    pub async fn pictures(mut self) -> Result<Vec<HistoryRow>, HttpProblem> {
        self.ended().await
    }

    /// Waits until all of them have ended.
    async fn ended(&mut self) -> Result<Vec<HistoryRow>, HttpProblem> {
        let stop = self.app.stop();
        loop {
            let job = self.app.store().job(self.job_id).await;
            match job {
                Ok(job) if job.queued + job.running == 0 => {
                    self.is_over = true;
                    return Ok(self.app.store().history(Selection::Job(self.job_id)).await?);
                }
                Err(error) if !error.may_pass_for_a_read() => return Err(error.into()),
                _ => {}
            }
            if Instant::now() >= self.deadline {
                return Err(too_long(0));
            }
            if stop.run_until_cancelled(sleep(LOOK)).await.is_none() {
                return Err(HttpProblem::later("the daemon ends; the job is kept"));
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // The daemon's own end is no end of the client's interest.
        if self.is_over || self.app.stop().is_cancelled() {
            return;
        }
        let (app, job_id) = (self.app.clone(), self.job_id);
        tokio::spawn(async move {
            if let Err(error) = app.queue().cancel_queued(job_id).await {
                tracing::warn!(job = job_id, %error, "what nobody waits for is not cancelled");
            }
        });
    }
}

/// How long the client waits, as far as it says so.
fn wait_of(app: &App, headers: &HeaderMap) -> Duration {
    let said = headers.get("x-stainless-read-timeout").and_then(|wait| wait.to_str().ok());
    let said = said.and_then(|wait| wait.parse::<f64>().ok()).filter(|wait| *wait >= 1.0);
    let most = Duration::from_millis(app.config().http.wait_max_ms);
    said.map_or(most, |seconds| Duration::from_secs_f64(seconds.min(1e6)).min(most))
}

/// Clients of OpenAI's say so themselves when they ask once more.
fn is_again(headers: &HeaderMap) -> bool {
    let count = headers.get("x-stainless-retry-count").and_then(|count| count.to_str().ok());
    count.is_some_and(|count| count != "0")
}

fn too_long(seconds: i64) -> HttpProblem {
    let detail = match seconds {
        0 => "it was not done in the time that a call may wait".to_owned(),
        _ => format!("it would be done in {seconds} s, and a call may not wait so long"),
    };
    HttpProblem { is_final: true, ..HttpProblem::later(detail) }
}

/// The pictures that were made; a problem where there is none.
pub fn made(pictures: &[HistoryRow]) -> Result<Vec<&HistoryRow>, HttpProblem> {
    let made: Vec<_> = pictures.iter().filter(|row| row.state == State::Done).collect();
    if !made.is_empty() {
        return Ok(made);
    }
    let failed = pictures.iter().find_map(|row| Some((row.error_code?, row.error.clone()?)));
    let detail = match failed {
        Some((code, error)) => format!("{code}: {error}"),
        None => "it was cancelled".to_owned(),
    };
    Err(HttpProblem { is_final: true, ..HttpProblem::ours(detail) })
}
