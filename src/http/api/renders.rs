//! Pictures that were asked for: listed, shown, cancelled, and their files.

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::jobs::{edited, page, toml};
use crate::http::app::App;
use crate::http::archive;
use crate::http::picture;
use crate::http::problem::HttpProblem;
use crate::job::spec::fields::sides;
use crate::job::state::ShownState;
use crate::queue::{Edited, Shown, StarAnswer, Which};
use crate::store::{Cancelled, GalleryFilter, HistoryRow, PictureFilter, Selection};

/// So many pictures are on a page where nothing is said, and at the most.
const PAGE: u32 = 60;
const PAGE_MAX: u32 = 500;

/// So many are named at most.
const NAMED_MAX: usize = archive::PICTURES_MAX as usize;

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ListRenders {
    /// Those in this state.
    state: Option<ShownState>,
    /// Those of jobs with this tag.
    tag: Option<String>,
    /// A part of the prompt.
    q: Option<String>,
    /// Whether they are less than what was asked for.
    degraded: Option<bool>,
    /// Whether they have a star.
    starred: Option<bool>,
    /// Asked for in this size, like 1024x768.
    size: Option<String>,
    /// A part of the rung that made them, like streamed.
    rung: Option<String>,
    /// The name of the model that made them.
    model: Option<String>,
    /// Those of this job.
    job: Option<i64>,
    /// These alone, like 3.1,3.2: at most 1,000.
    renders: Option<String>,
    /// Those that ended at this moment (UTC, milliseconds since the epoch) or later.
    since_ms: Option<i64>,
    /// Those that ended before this moment (UTC, milliseconds since the epoch).
    to_ms: Option<i64>,
    /// Those before this one: `next` of the page before.
    before: Option<String>,
    /// At most so many: 60 where nothing is said, and up to 500; of a zip file 1,000.
    limit: Option<u32>,
}

impl ListRenders {
    fn filter(&self) -> Result<GalleryFilter, HttpProblem> {
        let among = self.renders.as_deref().map(several).transpose()?;
        Ok(GalleryFilter {
            state: self.state,
            tag: self.tag.clone(),
            text: self.q.clone(),
            degraded: self.degraded,
            starred: self.starred,
            size: self.size.as_deref().map(pixels).transpose()?,
            rung: self.rung.clone(),
            model: self.model.clone(),
            job_id: self.job,
            among,
            since_ms: self.since_ms,
            to_ms: self.to_ms,
            before: self.before.as_deref().map(one).transpose()?,
        })
    }
}

/// `1024x768`, or `1024×768` as the pages write it.
pub fn pixels(text: &str) -> Result<(u32, u32), HttpProblem> {
    let wrong = || HttpProblem::bad(format!("{text:?} is no size; write it like 1024x768"));
    sides(&text.trim().replace('×', "x")).ok_or_else(wrong)
}

/// `3.1,3.2`: few enough for one question.
pub fn several(text: &str) -> Result<Vec<(i64, u32)>, HttpProblem> {
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    match names.len() {
        ..=NAMED_MAX => names.into_iter().map(one).collect(),
        _ => Err(HttpProblem::bad(format!("renders: name {NAMED_MAX} at most"))),
    }
}

/// A page of pictures.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RenderPage {
    /// Those of the newest jobs first.
    renders: Vec<HistoryRow>,
    /// The next page is that `before` this one; null where this is the last one.
    next: Option<String>,
}

/// A page of pictures, those of the newest jobs first.
pub async fn list(
    State(app): State<App>,
    Query(asked): Query<ListRenders>,
) -> Result<Json<RenderPage>, HttpProblem> {
    let limit = page(asked.limit, PAGE, PAGE_MAX)?;
    let renders = app.store().gallery(&asked.filter()?, limit).await?;
    let is_full = renders.len() as u32 == limit;
    let last = renders.last().filter(|_| is_full);
    let next = last.map(|last| format!("{}.{}", last.job, last.picture));
    Ok(Json(RenderPage { renders, next }))
}

/// The files of pictures that are done, as one zip file.
pub async fn archive(
    State(app): State<App>,
    Query(asked): Query<ListRenders>,
) -> Result<Response, HttpProblem> {
    let limit = page(asked.limit, archive::PICTURES_MAX, archive::PICTURES_MAX)?;
    let filter = GalleryFilter { state: Some(ShownState::Done), ..asked.filter()? };
    archive::archive(&app, &filter, limit).await
}

/// Gives a picture a star.
pub async fn star(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<StarAnswer>, HttpProblem> {
    let (job_id, index) = one(&id)?;
    Ok(Json(app.queue().star(job_id, index, true).await?))
}

/// Takes it.
pub async fn unstar(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<StarAnswer>, HttpProblem> {
    let (job_id, index) = one(&id)?;
    Ok(Json(app.queue().star(job_id, index, false).await?))
}

/// `12.3`: a job and a place in it.
fn one(text: &str) -> Result<(i64, u32), HttpProblem> {
    match text.parse() {
        Ok(Selection::Render { job_id, index }) => Ok((job_id, index)),
        _ => Err(HttpProblem::bad(format!("{text:?} is no render; write it like 12.3"))),
    }
}

fn selection(text: &str) -> Result<Selection, HttpProblem> {
    let (job_id, index) = one(text)?;
    Ok(Selection::Render { job_id, index })
}

/// One picture, with its job and all attempts at it.
pub async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Shown>, HttpProblem> {
    Ok(Json(app.queue().show(selection(&id)?, &PictureFilter::default()).await?))
}

pub async fn cancel(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Cancelled>, HttpProblem> {
    let which = Which::Named(vec![selection(&id)?]);
    Ok(Json(app.queue().cancel(&which).await?))
}

/// Another priority.
pub async fn edit(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Edited>, HttpProblem> {
    let selection = selection(&id)?;
    edited(&app, selection, request).await
}

/// The text of a job that makes this picture again.
pub async fn settings(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Response, HttpProblem> {
    let (job_id, index) = one(&id)?;
    Ok(toml(app.queue().settings(job_id, index).await?))
}

/// How it looks while it is made.
pub async fn preview(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Response, HttpProblem> {
    picture::preview(&app, one(&id)?).await
}

/// A small copy of it.
pub async fn thumbnail(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Response, HttpProblem> {
    picture::thumbnail(&app, selection(&id)?).await
}

/// The picture's file.
pub async fn picture(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, HttpProblem> {
    picture::of_render(&app, selection(&id)?, request.headers()).await
}
