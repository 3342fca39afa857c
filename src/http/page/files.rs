//! The pictures themselves, and small copies of them.

use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::super::app::App;
use super::super::blocking::blocking;
use super::super::picture;
use super::super::problem::HttpProblem;
use super::grid::PictureAddress;
use crate::output;

/// A small copy's address has its picture's hash.
const FOR_GOOD: &str = "private, max-age=31536000, immutable";

/// A small copy of a picture, as JPEG.
pub async fn thumbnail(
    State(app): State<App>,
    Query(of): Query<PictureAddress>,
) -> Result<Response, HttpProblem> {
    let row = picture::row(&app, of.selection()).await?;
    let absent = || HttpProblem::not_found("there is no picture");
    let (path, bytes) = row.file().ok_or_else(absent)?;
    let (path, sha256) = (path.to_owned(), row.sha256.clone().ok_or_else(absent)?);
    let outputs = app.config().outputs.clone();
    let thumbnails = app.thumbnails().clone();
    let made = blocking(move || {
        let picture = || output::open_whole(&outputs, &path, bytes);
        thumbnails.blocking_lock().get(&sha256, picture)
    });
    let jpeg = made.await?.map_err(|error| HttpProblem::not_found(error.to_string()))?;
    let headers = [(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, FOR_GOOD)];
    Ok((headers, jpeg).into_response())
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
