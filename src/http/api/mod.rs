//! Our own API, `/api/v1`: the answers of `queue` as JSON. `docs/http.md` is the reference.

pub mod events;
pub mod jobs;
pub mod queue;
pub mod renders;

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};

use super::app::FaceState;
use super::problem::HttpProblem;
use super::reference;

pub fn routes() -> Router<FaceState> {
    Router::new()
        .route("/status", get(queue::status))
        .route("/capabilities", get(queue::capabilities))
        .route("/jobs", get(jobs::list).post(jobs::submit))
        .route("/jobs/{job}", get(jobs::show).patch(jobs::edit))
        .route("/jobs/{job}/text", get(jobs::text))
        .route("/jobs/{job}/cancel", post(jobs::cancel))
        .route("/jobs/{job}/retry", post(jobs::retry))
        .route("/queue/pause", post(queue::pause))
        .route("/queue/resume", post(queue::resume))
        .route("/queue/move", post(queue::move_job))
        .route("/worker/release", post(queue::release))
        .route("/worker/load", post(queue::load))
        .route("/renders", get(renders::list))
        .route("/renders/{render}", get(renders::show).patch(renders::edit))
        .route("/renders/{render}/star", put(renders::star).delete(renders::unstar))
        .route("/pictures.zip", get(renders::archive))
        .route("/renders/{render}/cancel", post(renders::cancel))
        .route("/renders/{render}/settings.toml", get(renders::settings))
        .route("/renders/{render}/picture", get(renders::picture))
        .route("/renders/{render}/thumbnail", get(renders::thumbnail))
        .route("/renders/{render}/preview", get(renders::preview))
        .route("/inputs", post(queue::keep_input))
        .route("/fit", post(queue::fit_one))
        .route("/fit/table", get(queue::fit_all))
        .route("/stats/{view}", get(queue::statistics))
        .route("/events", get(events::events))
        .route("/openapi.json", get(reference::openapi))
        .layer(middleware::from_fn(to_the_end))
}

/// What changes something is done to its end, also where the client hangs up in the middle: a write
/// must not be dropped on its way.
async fn to_the_end(request: Request, next: Next) -> Response {
    if request.method() == Method::GET || request.method() == Method::HEAD {
        return next.run(request).await;
    }
    let done = tokio::spawn(next.run(request)).await;
    done.unwrap_or_else(|error| HttpProblem::ours(error.to_string()).into_response())
}
