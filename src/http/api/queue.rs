//! The queue as a whole: its state, what can be asked of it, its pause, and what it remembers.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::jobs::page;
use crate::clock::{Clock, SystemClock};
use crate::http::app::App;
use crate::http::body::{self, PICTURES_BYTES_MAX, TEXT_BYTES_MAX};
use crate::http::csv;
use crate::http::problem::HttpProblem;
use crate::job::AskedPrecision;
use crate::queue::control::PauseAnswer;
use crate::queue::{
    Edited, FitAnswer, FitQuestion, QueueCapabilities, QueueStatus, fit, fit_table,
};
use crate::status::WorkerWish;
use crate::store::StatisticsView;

pub async fn status(State(app): State<App>) -> Result<Json<QueueStatus>, HttpProblem> {
    Ok(Json(app.queue().status().await?))
}

pub async fn capabilities(State(app): State<App>) -> Result<Json<QueueCapabilities>, HttpProblem> {
    Ok(Json(app.capabilities().await?))
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Pausing {
    /// Shown with the pause.
    reason: Option<String>,
}

pub async fn pause(
    State(app): State<App>,
    request: Request,
) -> Result<Json<PauseAnswer>, HttpProblem> {
    let Pausing { reason } = body::json(request, TEXT_BYTES_MAX).await?;
    let reason = reason.unwrap_or_else(|| "over HTTP".to_owned());
    Ok(Json(app.queue().pause(&reason).await?))
}

pub async fn resume(State(app): State<App>) -> Result<Json<PauseAnswer>, HttpProblem> {
    Ok(Json(app.queue().resume().await?))
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Moving {
    /// The job that is moved.
    job: i64,
    /// The job that it is to come directly before; null, or nothing said, for the last place.
    before: Option<i64>,
}

/// Another place among what waits.
pub async fn move_job(
    State(app): State<App>,
    request: Request,
) -> Result<Json<Edited>, HttpProblem> {
    let Moving { job, before } = body::json(request, TEXT_BYTES_MAX).await?;
    Ok(Json(app.queue().move_job(job, before).await?))
}

/// What is wanted of the worker.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WishAnswer {
    /// What becomes of the model once nothing is rendered: released or loaded.
    wanted: &'static str,
}

/// Has the model leave the device once nothing is rendered, until the next job.
pub async fn release(State(app): State<App>) -> (StatusCode, Json<WishAnswer>) {
    app.wish(WorkerWish::Release);
    (StatusCode::ACCEPTED, Json(WishAnswer { wanted: "released" }))
}

/// Has the model loaded before there is a job.
pub async fn load(State(app): State<App>) -> (StatusCode, Json<WishAnswer>) {
    app.wish(WorkerWish::Load);
    (StatusCode::ACCEPTED, Json(WishAnswer { wanted: "loaded" }))
}

/// What is asked of a device: as `zimaged fit`.
#[derive(Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Fit {
    /// Pixels; with the height, or neither: then the model's own.
    width: Option<u32>,
    /// Pixels.
    height: Option<u32>,
    /// A card with so much memory, in place of this device.
    vram_bytes: Option<u64>,
    /// The full-size model, in place of the one that is configured.
    turbo: bool,
    /// With guidance, so that most steps are taken twice.
    guided: bool,
    /// Begun with a picture, which is encoded first.
    from_picture: bool,
    /// In how many bits it is computed; as configured where nothing is said.
    precision: Option<AskedPrecision>,
}

impl Fit {
    fn question(&self) -> Result<FitQuestion, HttpProblem> {
        let size = match (self.width, self.height) {
            (Some(width), Some(height)) => Some((width, height)),
            (None, None) => None,
            _ => return Err(HttpProblem::bad("width and height belong together")),
        };
        let Fit { vram_bytes: device_bytes, turbo, guided, from_picture, precision, .. } = *self;
        Ok(FitQuestion { size, device_bytes, turbo, guided, from_picture, precision })
    }
}

pub async fn fit_one(
    State(app): State<App>,
    request: Request,
) -> Result<Json<FitAnswer>, HttpProblem> {
    let asked: Fit = body::json(request, TEXT_BYTES_MAX).await?;
    Ok(Json(fit(app.config(), Some(app.store()), &asked.question()?).await?))
}

pub async fn fit_all(
    State(app): State<App>,
    Query(asked): Query<Fit>,
) -> Result<Json<Vec<FitAnswer>>, HttpProblem> {
    Ok(Json(fit_table(app.config(), Some(app.store()), &asked.question()?).await?))
}

/// So many rows of a view are told where nothing is said, and at the most.
const ROWS: u32 = 200;
const ROWS_MAX: u32 = 10_000;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ViewRows {
    /// At most so many rows, to 10,000; 200 where nothing is said.
    limit: Option<u32>,
    /// Those of so many days until now; all where nothing is said.
    days: Option<u32>,
}

/// What a view holds.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Statistics {
    /// Its rows, by the names of its columns.
    rows: Vec<Map<String, Value>>,
}

/// Rows of one of the views that docs/history.md describes, or how long pictures took: as JSON or, by
/// a name that ends with `.csv`, as a table for other programs.
pub async fn statistics(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(asked): Query<ViewRows>,
) -> Result<Response, HttpProblem> {
    let csv_name = name.strip_suffix(".csv");
    let view = match csv_name.unwrap_or(&name) {
        "throughput" => StatisticsView::Throughput,
        "oom" => StatisticsView::OutOfMemory,
        "memory" => StatisticsView::Memory,
        "history" => StatisticsView::History,
        "seconds" => StatisticsView::Seconds,
        _ => {
            let names = "use throughput, oom, memory, history or seconds";
            return Err(HttpProblem::not_found(names));
        }
    };
    let since_ms = asked.days.map_or(0, |days| SystemClock.now_ms() - i64::from(days) * DAY_MS);
    let rows = app.store().view(view, since_ms, page(asked.limit, ROWS, ROWS_MAX)?).await?;
    Ok(match csv_name {
        Some(name) => csv::answer(name, &rows),
        None => Json(Statistics { rows }).into_response(),
    })
}

/// A picture that is kept for jobs.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KeptInput {
    /// What jobs call it, for the next hour at least.
    input: String,
}

/// Keeps a picture that jobs are to begin with: the body is the file.
pub async fn keep_input(State(app): State<App>, request: Request) -> Result<Response, HttpProblem> {
    let content: Bytes = body::whole(request.into_body(), PICTURES_BYTES_MAX).await?;
    let input = app.queue().keep_input(content.to_vec()).await?;
    Ok((StatusCode::CREATED, Json(KeptInput { input })).into_response())
}
