//! `/mcp`: the queue for language models, by the Model Context Protocol.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;

use super::app::App;
use super::body::{TEXT_BYTES_MAX, whole};
use super::problem::HttpProblem;

/// One message, and its answer. A client that goes away ends what it waits for.
pub async fn assistant(State(app): State<App>, request: Request) -> Result<Response, HttpProblem> {
    let (head, body) = request.into_parts();
    let body = whole(body, TEXT_BYTES_MAX).await?;
    let _slot = app.assistant_slot()?;
    let answer = app.assistant().handle(Request::from_parts(head, Body::from(body))).await;
    Ok(answer.map(Body::new))
}
