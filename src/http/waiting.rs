//! Calls that wait for the pictures of their job, because their clients know nothing else.
//!
//! Who hangs up has no use for what is still queued, so that is cancelled, unless somebody else
//! wants the same job; a picture that is being made is made to its end and kept, because a lost
//! answer must not lose a picture.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::app::App;
use super::prefer::prefers;
use super::problem::HttpProblem;
use crate::job::state::State;
use crate::queue::{ApiJob, Delay, Submitted};
use crate::store::{HistoryRow, JobRow, Selection};

/// Between two looks at a job.
const LOOK: Duration = Duration::from_millis(100);

/// Between two looks whether a job has ended whose client may be slow.
const PLACE_LOOK: Duration = Duration::from_secs(1);

/// What a client prefers that does not want to wait.
const RESPOND_ASYNC: &str = "respond-async";

/// Tells a client that its preference counts.
const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Takes the job in for somebody who does not wait for it: it is made, whoever else hangs up. The
/// second value is false where the very same request had been taken in before.
pub async fn take_for_good(app: &App, job: &ApiJob) -> Result<(Submitted, bool), HttpProblem> {
    let mut waited = app.waited_jobs().lock().await;
    let (submitted, is_new) = app.queue().take_api_job(job).await?;
    waited.keep(submitted.jobs[0].job);
    Ok((submitted, is_new))
}

/// What is answered at once to a client that rather asks for its job than waits for it; `None` for
/// those that wait.
pub async fn without_waiting(
    app: &App,
    headers: &HeaderMap,
    job: &ApiJob,
) -> Result<Option<Response>, HttpProblem> {
    if !prefers(headers, RESPOND_ASYNC) {
        return Ok(None);
    }
    let (app, job) = (app.clone(), job.clone());
    // It is done to its end, as in `Waiting::begin`.
    let taken = tokio::spawn(async move { take_for_good(&app, &job).await }).await;
    let (submitted, _) = taken.map_err(|error| HttpProblem::ours(error.to_string()))??;
    let place = format!("/api/v1/jobs/{}", submitted.jobs[0].job);
    let headers = [(header::LOCATION, place.as_str()), (APPLIED, RESPOND_ASYNC)];
    Ok(Some((StatusCode::ACCEPTED, headers, Json(submitted)).into_response()))
}

/// A job that somebody waits for.
pub struct Waiting {
    app: App,
    pub job_id: i64,
    deadline: Instant,
    /// Its place among those who wait goes with it, or before.
    _here: oneshot::Sender<()>,
}

impl Waiting {
    /// Takes the job in, unless it would not be done in the time that the client waits; the very
    /// same request, sent again by a client that got no answer, waits for the job that there is.
    pub async fn begin(
        app: &App,
        headers: &HeaderMap,
        job: ApiJob,
    ) -> Result<Waiting, HttpProblem> {
        let (app, wait) = (app.clone(), wait_of(app, headers));
        // Who hangs up at this very moment must not leave a job behind that nobody waits for.
        let begun = tokio::spawn(async move { Waiting::take_in(&app, wait, &job).await });
        begun.await.map_err(|error| HttpProblem::ours(error.to_string()))?
    }

    async fn take_in(app: &App, wait: Duration, job: &ApiJob) -> Result<Waiting, HttpProblem> {
        let slot = app.waiting_slot()?;
        let queue = app.queue();
        if queue.sent_before(job).await?.is_none() {
            let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
            match queue.delay(job, wait_ms).await? {
                Some(Delay::Stopped(why)) => return Err(HttpProblem::later(why)),
                Some(Delay::TooLong(why)) => return Err(too_long(&why)),
                None => (),
            }
        }
        let mut waited = app.waited_jobs().lock().await;
        let (submitted, is_new) = queue.take_api_job(job).await?;
        let job_id = submitted.jobs[0].job;
        waited.join(job_id, is_new);
        let deadline = Instant::now() + wait;
        let (here, gone) = oneshot::channel();
        tokio::spawn(keep_place(app.clone(), job_id, slot, gone));
        Ok(Waiting { app: app.clone(), job_id, deadline, _here: here })
    }

    /// The job's pictures, all of which have ended.
    pub async fn pictures(self) -> Result<Vec<HistoryRow>, HttpProblem> {
        while !self.job().await?.is_some_and(|job| job.has_ended()) {
            self.rest().await?;
        }
        self.rows().await
    }

    /// How the job stands; `None` while that cannot be read.
    pub async fn job(&self) -> Result<Option<JobRow>, HttpProblem> {
        match self.app.store().job(self.job_id).await {
            Err(error) if error.may_pass_for_a_read() => Ok(None),
            job => Ok(Some(job?)),
        }
    }

    /// The job's pictures as they stand.
    pub async fn rows(&self) -> Result<Vec<HistoryRow>, HttpProblem> {
        Ok(self.app.store().history(Selection::Job(self.job_id)).await?)
    }

    /// Lets some time pass between two looks at the job, unless the client's is over.
    pub async fn rest(&self) -> Result<(), HttpProblem> {
        if Instant::now() >= self.deadline {
            return Err(too_long("it was not done in time"));
        }
        let stop = self.app.stop();
        let rested = stop.run_until_cancelled(sleep(LOOK)).await;
        rested.ok_or_else(|| HttpProblem::later("the daemon ends; the job is kept"))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // The daemon's own end is no end of the client's interest.
        if !self.app.stop().is_cancelled() {
            tokio::spawn(leave(self.app.clone(), self.job_id));
        }
    }
}

/// Keeps a call's place until the call or its job ends: who reads its pictures slowly, or not at
/// all, keeps it from nobody.
async fn keep_place(
    app: App,
    job_id: i64,
    _slot: OwnedSemaphorePermit,
    mut gone: oneshot::Receiver<()>,
) {
    let stop = app.stop();
    while let Some(Err(_)) = stop.run_until_cancelled(timeout(PLACE_LOOK, &mut gone)).await {
        if app.store().job(job_id).await.is_ok_and(|job| job.has_ended()) {
            return;
        }
    }
}

/// The end of a call: of a job that nobody else wants what is still queued is cancelled.
async fn leave(app: App, job_id: i64) {
    let mut waited = app.waited_jobs().lock().await;
    if !waited.leave(job_id) {
        return;
    }
    if let Err(error) = app.queue().cancel_queued(job_id).await {
        tracing::warn!(job = job_id, %error, "what nobody waits for is not cancelled");
    }
}

/// How long the client waits, as far as it says so.
fn wait_of(app: &App, headers: &HeaderMap) -> Duration {
    let said = headers.get("x-stainless-read-timeout").and_then(|wait| wait.to_str().ok());
    let said = said.and_then(|wait| wait.parse::<f64>().ok()).filter(|wait| *wait >= 1.0);
    let most = Duration::from_millis(app.config().http.wait_max_ms);
    said.map_or(most, |seconds| Duration::from_secs_f64(seconds.min(1e6)).min(most))
}

fn too_long(why: &str) -> HttpProblem {
    let detail = format!("{why}, and a call may not wait so long");
    HttpProblem { is_final: true, ..HttpProblem::later(detail) }
}

/// The pictures that were made; a problem where there is none.
pub fn made(pictures: &[HistoryRow]) -> Result<Vec<&HistoryRow>, HttpProblem> {
    let made: Vec<_> = pictures.iter().filter(|row| row.state == State::Done).collect();
    if !made.is_empty() {
        return Ok(made);
    }
    let failed = pictures.iter().find(|row| row.state == State::Failed);
    let detail = failed.or(pictures.first()).map(why_not_made).unwrap_or_default();
    Err(HttpProblem { is_final: true, ..HttpProblem::ours(detail) })
}

/// The renders of a job that has ended which have no picture.
pub fn not_made(pictures: &[HistoryRow]) -> impl Iterator<Item = &HistoryRow> {
    pictures.iter().filter(|row| row.state != State::Done)
}

/// Why it has no picture.
pub fn why_not_made(row: &HistoryRow) -> String {
    match (row.error_code, &row.error) {
        (Some(code), Some(error)) => format!("{code}: {error}"),
        _ => match &row.cancel_reason {
            Some(reason) => format!("it was cancelled: {reason}"),
            None => "it was cancelled".to_owned(),
        },
    }
}

/// The same of all of them, for people; `None` where all were made.
pub fn told_not_made(pictures: &[HistoryRow]) -> Option<String> {
    let told = |row: &HistoryRow| format!("{}.{}: {}", row.job, row.picture, why_not_made(row));
    let told: Vec<String> = not_made(pictures).map(told).collect();
    (!told.is_empty()).then(|| told.join("; "))
}
