//! Our own API, `/api/v1`: the answers of `queue` as JSON. `docs/http.md` is the reference.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};

use super::app::App;
use super::problem::HttpProblem;
use crate::queue::QueueStatus;

pub fn routes() -> Router<App> {
    Router::new().route("/status", get(status))
}

async fn status(State(app): State<App>) -> Result<Json<QueueStatus>, HttpProblem> {
    Ok(Json(app.queue().status().await?))
}
