//! Jobs: asked for, listed, changed.

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::http::app::App;
use crate::http::body::{self, TEXT_BYTES_MAX};
use crate::http::job_body;
use crate::http::problem::HttpProblem;
use crate::http::{repeats, waiting};
use crate::job::origin::Api;
use crate::job::state::ShownState;
use crate::queue::{ApiJob, Edited, Given, Retries, Shown, Which};
use crate::store::{Cancelled, JobFilter, JobRow, PictureFilter, Selection};

/// So many jobs are on a page where nothing is said, and at the most.
const PAGE: u32 = 50;
const PAGE_MAX: u32 = 500;

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Submit {
    /// What the job is called.
    name: Option<String>,
    /// Whether it is only checked: `true`, or nothing, or `false`.
    dry_run: Option<String>,
}

/// Takes a job in, or says all that is wrong with it.
pub async fn submit(
    State(app): State<App>,
    Query(asked): Query<Submit>,
    request: Request,
) -> Result<Response, HttpProblem> {
    let key = repeats::key(request.headers())?;
    let is_dry = is_dry(asked.dry_run.as_deref())?;
    let name = asked.name.unwrap_or_else(|| "http.toml".to_owned());
    let text = job_body::job_text(&app, request).await?;
    let job = ApiJob { api: Api::Own, name, text, key, is_again: false };
    if is_dry {
        return Ok(Json(app.queue().check_api_job(&job).await?).into_response());
    }
    let (submitted, is_new) = waiting::take_for_good(&app, &job).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let place = format!("/api/v1/jobs/{}", submitted.jobs[0].job);
    Ok((status, [(header::LOCATION, place)], Json(submitted)).into_response())
}

fn is_dry(said: Option<&str>) -> Result<bool, HttpProblem> {
    match said {
        None | Some("false" | "0") => Ok(false),
        Some("" | "true" | "1") => Ok(true),
        Some(other) => {
            let why = format!("dry_run is {other:?}: say dry_run, dry_run=true or dry_run=false");
            Err(HttpProblem::field("dry_run", why))
        }
    }
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ListJobs {
    /// Those in this state.
    state: Option<ShownState>,
    /// Those with this tag.
    tag: Option<String>,
    /// A part of one of their prompts.
    q: Option<String>,
    /// Those that were taken in at this moment (UTC, milliseconds since the epoch) or later.
    since_ms: Option<i64>,
    /// Those that were taken in before this moment (UTC, milliseconds since the epoch).
    to_ms: Option<i64>,
    /// Those before this one: `next` of the page before.
    before: Option<i64>,
    /// At most so many, to 500; 50 where nothing is said.
    limit: Option<u32>,
}

/// A page of jobs.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct JobPage {
    /// Newest first.
    jobs: Vec<JobRow>,
    /// The next page is that `before` this job; null where this is the last one.
    next: Option<i64>,
}

/// A page of jobs, newest first.
pub async fn list(
    State(app): State<App>,
    Query(asked): Query<ListJobs>,
) -> Result<Json<JobPage>, HttpProblem> {
    let ListJobs { state, tag, q: text, since_ms, to_ms, before, limit } = asked;
    let limit = page(limit, PAGE, PAGE_MAX)?;
    let filter = JobFilter { state, tag, text, since_ms, to_ms, before };
    let jobs = app.store().jobs(&filter, limit).await?;
    let is_full = jobs.len() as u32 == limit;
    let next = jobs.last().filter(|_| is_full).map(|last| last.job);
    Ok(Json(JobPage { jobs, next }))
}

/// How many rows a page has.
pub fn page(limit: Option<u32>, usual: u32, max: u32) -> Result<u32, HttpProblem> {
    match limit.unwrap_or(usual) {
        limit if (1..=max).contains(&limit) => Ok(limit),
        _ => Err(HttpProblem::bad(format!("limit: use 1 to {max}"))),
    }
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ShowJob {
    /// Its pictures in this state.
    state: Option<ShownState>,
    /// Those behind this place in the job: `next` of the page before.
    after: Option<i64>,
    /// At most so many pictures, to 500, which is also what is told where nothing is said.
    limit: Option<u32>,
}

/// So many pictures of a job are told at once.
const PICTURES_MAX: u32 = 500;

/// A job with its pictures and their attempts.
pub async fn show(
    State(app): State<App>,
    Path(job_id): Path<i64>,
    Query(asked): Query<ShowJob>,
) -> Result<Json<Shown>, HttpProblem> {
    let ShowJob { state, after, limit } = asked;
    let limit = Some(page(limit, PICTURES_MAX, PICTURES_MAX)?);
    let filter = PictureFilter { state, after, limit };
    Ok(Json(app.queue().show(Selection::Job(job_id), &filter).await?))
}

/// The text of a job, as it was taken in.
pub async fn text(
    State(app): State<App>,
    Path(job_id): Path<i64>,
) -> Result<Response, HttpProblem> {
    let text = app.store().job_text(job_id).await?;
    Ok(toml(text))
}

pub fn toml(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/toml; charset=utf-8")], text).into_response()
}

pub async fn cancel(
    State(app): State<App>,
    Path(job_id): Path<i64>,
) -> Result<Json<Cancelled>, HttpProblem> {
    let which = Which::Named(vec![Selection::Job(job_id)]);
    Ok(Json(app.queue().cancel(&which).await?))
}

pub async fn retry(
    State(app): State<App>,
    Path(job_id): Path<i64>,
) -> Result<Json<Retries>, HttpProblem> {
    let which = Which::Named(vec![Selection::Job(job_id)]);
    Ok(Json(app.queue().retry(&which).await?))
}

/// Other priorities, times and tags.
pub async fn edit(
    State(app): State<App>,
    Path(job_id): Path<i64>,
    request: Request,
) -> Result<Json<Edited>, HttpProblem> {
    edited(&app, Selection::Job(job_id), request).await
}

/// Carries out the changes that the body asks for.
pub async fn edited(
    app: &App,
    selection: Selection,
    request: Request,
) -> Result<Json<Edited>, HttpProblem> {
    let changes: Map<String, Value> = body::json(request, TEXT_BYTES_MAX).await?;
    let given =
        changes.iter().map(|(key, value)| given(key, value)).collect::<Result<Vec<_>, _>>()?;
    if given.is_empty() {
        return Err(HttpProblem::bad(format!("nothing is to be changed: say {}", KEYS.join(", "))));
    }
    Ok(Json(app.queue().edit(&Which::Named(vec![selection]), &given).await?))
}

/// What can be changed of what is queued.
const KEYS: [&str; 7] =
    ["priority", "not_before", "not_after", "window", "tags", "add_tags", "remove_tags"];

/// A value of JSON, as one of a job file; null is no time.
fn given(key: &str, value: &Value) -> Result<Given, HttpProblem> {
    let known = KEYS.into_iter().find(|known| *known == key);
    let Some(key) = known else {
        return Err(HttpProblem::bad(format!("{key} cannot be changed; use {}", KEYS.join(", "))));
    };
    let words = |values: &[Value]| -> Option<Vec<String>> {
        values.iter().map(|value| Some(value.as_str()?.to_owned())).collect()
    };
    match value {
        Value::Number(number) => Ok(Given::number(key, key, &number.to_string())),
        Value::String(text) => Ok(Given::text(key, key, text)),
        Value::Null => Ok(Given::text(key, key, "none")),
        Value::Array(values) if words(values).is_some() => {
            Ok(Given::list(key, key, &words(values).unwrap_or_default()))
        }
        _ => Err(HttpProblem::bad(format!("{key}: use a number, a text or a list of texts"))),
    }
}
