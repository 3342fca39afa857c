//! For whoever watches the daemon: is it there, and is it ready for work.

use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::app::App;
use super::problem::HttpProblem;
use crate::status::WorkerStatus;

/// Answers while the database does.
pub async fn health(State(app): State<App>) -> Result<Response, HttpProblem> {
    app.store().queued().await?;
    Ok("ok\n".into_response())
}

/// Answers while a job would be rendered at its turn, as far as the owner of the machine lets it: a
/// pause and quiet hours are no trouble. Else says why not.
pub async fn ready(State(app): State<App>) -> Result<Response, HttpProblem> {
    app.store().queued().await?;
    let status = app.status();
    let reason = match (status.unwanted_hold(), &status.worker) {
        (Some(hold), _) => Some(format!("held: {hold}")),
        (None, WorkerStatus::Loading) => Some("the model is being loaded".to_owned()),
        (None, WorkerStatus::Down { reason, .. }) => Some(format!("no worker: {reason}")),
        (None, WorkerStatus::Ready { .. } | WorkerStatus::Released) => None,
    };
    reason.map_or_else(|| Ok("ready\n".into_response()), |reason| Err(HttpProblem::later(reason)))
}
