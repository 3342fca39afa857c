//! OpenAI's API for images: `/v1/images/generations`, `/v1/images/edits` and `/v1/models`, for the
//! many programs that know no other. Fields that mean nothing here are ignored, as they are there.

mod answer;
mod asked;
mod previews;
mod stream;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use self::asked::AskedImages;
use super::app::{App, FaceState};
use super::body::{self, PICTURES_BYTES_MAX};
use super::fields::Fields;
use super::job_body;
use super::problem::HttpProblem;
use super::repeats;
use super::waiting::{Waiting, without_waiting};
use crate::job::origin::Api;
use crate::queue::QueueCapabilities;

/// What their jobs are called.
const NAME: &str = "openai.toml";

pub fn routes() -> Router<FaceState> {
    Router::new()
        .route("/images/generations", post(generations))
        .route("/images/edits", post(edits))
        .route("/models", get(models))
        .route("/models/{model}", get(model))
}

async fn generations(State(app): State<App>, request: Request) -> Result<Response, HttpProblem> {
    let (parts, body) = request.into_parts();
    let request = Request::from_parts(parts.clone(), body);
    let fields = Fields(body::json(request, PICTURES_BYTES_MAX).await?);
    images(&app, &parts.headers, fields, Vec::new()).await
}

/// A form: one picture as `image`, or as the first and only `image[]`, and perhaps a `mask`.
async fn edits(State(app): State<App>, request: Request) -> Result<Response, HttpProblem> {
    let (parts, body) = request.into_parts();
    let form = body::form(Request::from_parts(parts.clone(), body), PICTURES_BYTES_MAX).await?;
    let (mut fields, mut pictures) = (Fields::default(), Vec::new());
    for part in form {
        let key = match part.name.as_str() {
            "image" | "image[]" => "init_image",
            "mask" => "mask",
            _ => {
                let text = String::from_utf8_lossy(&part.content).into_owned();
                fields.0.insert(part.name, Value::String(text));
                continue;
            }
        };
        if pictures.iter().any(|(known, _)| *known == key) {
            return Err(HttpProblem::field("image", "only one picture can be begun with"));
        }
        pictures.push((key, part.content.to_vec()));
    }
    if !pictures.iter().any(|(key, _)| *key == "init_image") {
        return Err(HttpProblem::field("image", "the picture to begin with is missing"));
    }
    images(&app, &parts.headers, fields, pictures).await
}

async fn images(
    app: &App,
    headers: &HeaderMap,
    fields: Fields,
    pictures: Vec<(&str, Vec<u8>)>,
) -> Result<Response, HttpProblem> {
    let mut asked = AskedImages::read(&fields)?;
    if let Some(key) = model_key(app, fields.text("model")?).await? {
        asked.job.insert("model".to_owned(), key.into());
    }
    let is_edit = !pictures.is_empty();
    for (key, content) in pictures {
        let content = match key {
            "mask" => asked::painted_over(content, (&app.config().limits).into()).await?,
            _ => content,
        };
        let hash = app.queue().keep_input(content).await?;
        asked.job.insert(key.to_owned(), hash.into());
    }
    let text = job_body::of_table(app, asked.job.clone()).await?;
    let job = repeats::job(Api::OpenAi, (NAME, text), headers)?;
    if let Some(answer) = without_waiting(app, headers, &job).await? {
        return Ok(answer);
    }
    let waiting = Waiting::begin(app, headers, job).await?;
    match asked.previews_max {
        Some(max) => Ok(stream::streamed(waiting, app.clone(), max, is_edit)),
        None => answer::whole(app, &waiting.pictures().await?, &asked, headers).await,
    }
}

/// Which of the models that jobs can name is meant; `None` for the usual one. Clients have a name
/// of OpenAI's in their settings, and get that one by whatever name, unless the configuration says
/// otherwise.
async fn model_key(app: &App, name: Option<&str>) -> Result<Option<String>, HttpProblem> {
    let Some(name) = name else { return Ok(None) };
    let QueueCapabilities { model, models, .. } = app.capabilities().await?;
    let key = models.iter().find(|key| key.eq_ignore_ascii_case(name)).cloned();
    match key {
        None if app.config().http.strict_model && !name.eq_ignore_ascii_case(&model) => {
            Err(no_model(name, &ids(app).await?))
        }
        key => Ok(key),
    }
}

fn no_model(name: &str, ids: &[String]) -> HttpProblem {
    let known: Vec<String> = ids.iter().map(|id| format!("{id:?}")).collect();
    let why = format!("there is no model {name:?}; use {}", known.join(" or "));
    let problem = HttpProblem::new(StatusCode::NOT_FOUND, "model_not_found", why);
    HttpProblem { param: Some("model".to_owned()), ..problem }
}

/// The usual model, by its own name, and those that jobs can name.
async fn ids(app: &App) -> Result<Vec<String>, HttpProblem> {
    let QueueCapabilities { model, models, .. } = app.capabilities().await?;
    Ok([model].into_iter().chain(models).collect())
}

fn described(id: &str) -> Value {
    json!({ "id": id, "object": "model", "created": 0, "owned_by": "zimaged" })
}

async fn models(State(app): State<App>) -> Result<Json<Value>, HttpProblem> {
    let models: Vec<Value> = ids(&app).await?.iter().map(|id| described(id)).collect();
    Ok(Json(json!({ "object": "list", "data": models })))
}

async fn model(State(app): State<App>, Path(name): Path<String>) -> Result<Response, HttpProblem> {
    let ids = ids(&app).await?;
    match ids.contains(&name) {
        true => Ok(Json(described(&name)).into_response()),
        false => Err(no_model(&name, &ids)),
    }
}
