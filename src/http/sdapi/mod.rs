//! `/sdapi/v1`, the API of Stable Diffusion's web UI, as far as its clients use it.

mod answer;
mod asked;
mod lists;
pub mod progress;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::Value;

use self::asked::AskedPictures;
use super::app::{App, FaceState};
use super::body::{self, PICTURES_BYTES_MAX};
use super::fields::Fields;
use super::job_body::{base64_picture, of_table};
use super::problem::HttpProblem;
use super::repeats;
use super::waiting::{Waiting, without_waiting};
use crate::job::origin::Api;

/// What their jobs are called.
const NAME: &str = "sdapi.toml";

pub fn routes() -> Router<FaceState> {
    Router::new()
        .route("/txt2img", post(txt2img))
        .route("/img2img", post(img2img))
        .route("/progress", get(progress::progress))
        .route("/interrupt", post(progress::interrupt))
        .route("/skip", post(progress::skip))
        .route("/options", get(lists::options).post(lists::set_options))
        .route("/sd-models", get(lists::models))
        .route("/samplers", get(lists::samplers))
        .route("/schedulers", get(lists::schedulers))
        .route("/upscalers", get(lists::upscalers))
        .route("/cmd-flags", get(lists::flags))
        .route("/scripts", get(lists::scripts))
        .route("/embeddings", get(lists::embeddings))
        .route("/script-info", get(lists::nothing))
        .route("/loras", get(lists::loras))
        .route("/memory", get(lists::memory))
        .route("/png-info", post(lists::png_info))
        .route("/latent-upscale-modes", get(lists::nothing))
        .route("/sd-vae", get(lists::nothing))
        .route("/hypernetworks", get(lists::nothing))
        .route("/face-restorers", get(lists::nothing))
        .route("/realesrgan-models", get(lists::nothing))
        .route("/prompt-styles", get(lists::nothing))
        .route("/extensions", get(lists::nothing))
        .route("/refresh-checkpoints", post(lists::done))
        .route("/refresh-loras", post(lists::done))
        .route("/refresh-vae", post(lists::done))
        .route("/unload-checkpoint", post(lists::unload))
        .route("/reload-checkpoint", post(lists::reload))
}

async fn txt2img(State(app): State<App>, request: Request) -> Result<Response, HttpProblem> {
    let headers = request.headers().clone();
    let fields = Fields(body::json(request, PICTURES_BYTES_MAX).await?);
    images(&app, &headers, fields).await
}

/// As txt2img, and begins with a picture, a part of which may be painted over.
async fn img2img(State(app): State<App>, request: Request) -> Result<Response, HttpProblem> {
    let headers = request.headers().clone();
    let fields = Fields(body::json(request, PICTURES_BYTES_MAX).await?);
    let Some(Value::Array(pictures)) = fields.get("init_images") else {
        return Err(HttpProblem::unfit("init_images", "the picture to begin with is missing"));
    };
    match pictures.as_slice() {
        [Value::String(_)] => images(&app, &headers, fields).await,
        _ => Err(HttpProblem::unfit("init_images", "one picture, in base64, can be begun with")),
    }
}

async fn images(app: &App, headers: &HeaderMap, fields: Fields) -> Result<Response, HttpProblem> {
    let mut asked = AskedPictures::read(&fields, app.config().http.sdapi_untouched)?;
    for (key, picture) in &asked.pictures {
        let hash = app.queue().keep_input(base64_picture(picture)?).await?;
        asked.job.insert((*key).to_owned(), hash.into());
    }
    let text = of_table(app, asked.job.clone()).await?;
    let job = repeats::job(Api::Sdapi, (NAME, text), headers)?;
    if let Some(answer) = without_waiting(app, headers, &job).await? {
        return Ok(answer);
    }
    let pictures = Waiting::begin(app, headers, job).await?.pictures().await?;
    answer::answer(app, &pictures, fields, &asked).await
}
