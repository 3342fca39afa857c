//! The pictures themselves, and small copies of them.

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;

use super::super::app::App;
use super::super::picture;
use super::super::problem::HttpProblem;
use super::grid::PictureAddress;

/// A small copy of a picture, as JPEG.
pub async fn thumbnail(
    State(app): State<App>,
    Query(of): Query<PictureAddress>,
) -> Result<Response, HttpProblem> {
    picture::thumbnail(&app, of.selection()).await
}

/// How the picture looks that is being made.
pub async fn preview(
    State(app): State<App>,
    Query(of): Query<PictureAddress>,
) -> Result<Response, HttpProblem> {
    picture::preview(&app, (of.job, of.n)).await
}

/// A picture's file as it is.
pub async fn file(
    State(app): State<App>,
    Query(of): Query<PictureAddress>,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    picture::of_render(&app, of.selection(), &headers).await
}
