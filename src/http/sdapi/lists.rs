//! What clients ask before they ask for pictures: models, samplers, options. There is one of each.

use axum::Json;
use axum::extract::{Request, State};
use serde_json::{Value, json};

use super::answer::SAMPLER;
use crate::http::app::App;
use crate::http::body::{self, TEXT_BYTES_MAX};
use crate::http::problem::HttpProblem;

/// The model, as it is called and by the hash of its weights.
async fn model_of(app: &App) -> Result<(String, String), HttpProblem> {
    let name = app.queue().capabilities()?.model;
    let worker = app.store().last_worker().await?;
    let hash = worker.map(|worker| worker.model_hash).unwrap_or_default();
    Ok((name, hash.trim_start_matches("unhashed:").to_owned()))
}

fn title(name: &str, hash: &str) -> String {
    match hash.get(..10) {
        Some(short) => format!("{name} [{short}]"),
        None => name.to_owned(),
    }
}

pub async fn models(State(app): State<App>) -> Result<Json<Value>, HttpProblem> {
    let (name, hash) = model_of(&app).await?;
    Ok(Json(json!([{
        "title": title(&name, &hash),
        "model_name": name,
        "hash": hash.get(..10),
        "sha256": hash,
        "filename": name,
        "config": null,
    }])))
}

pub async fn options(State(app): State<App>) -> Result<Json<Value>, HttpProblem> {
    let (name, hash) = model_of(&app).await?;
    Ok(Json(json!({
        "sd_model_checkpoint": title(&name, &hash),
        "sd_checkpoint_hash": hash,
        "samples_format": "png",
        "sd_vae": "Automatic",
        "CLIP_stop_at_last_layers": 1,
        "show_progress_every_n_steps": 0,
    })))
}

/// Clients send all options back to choose a model, so none of them is an error.
pub async fn set_options(
    State(app): State<App>,
    request: Request,
) -> Result<Json<Value>, HttpProblem> {
    let options: Value = body::json(request, TEXT_BYTES_MAX).await?;
    let (name, hash) = model_of(&app).await?;
    let wanted = options["sd_model_checkpoint"].as_str().unwrap_or(&name);
    if wanted != name && wanted != title(&name, &hash) {
        tracing::warn!(wanted, ours = name, "a client wants another model; it gets ours");
    }
    Ok(Json(Value::Null))
}

pub async fn samplers() -> Json<Value> {
    Json(json!([{ "name": SAMPLER, "aliases": ["Euler a", "k_euler"], "options": {} }]))
}

pub async fn schedulers() -> Json<Value> {
    let one = |name: &str, label: &str| {
        json!({
            "name": name, "label": label, "aliases": [], "default_rho": -1.0,
            "need_inner_model": false,
        })
    };
    Json(json!([one("automatic", "Automatic"), one("simple", "Simple")]))
}

pub async fn upscalers() -> Json<Value> {
    let none = json!({
        "name": "None", "model_name": null, "model_path": null, "model_url": null, "scale": 4,
    });
    Json(json!([none]))
}

pub async fn flags(State(app): State<App>) -> Json<Value> {
    let port = app.config().http.listen.port();
    Json(json!({ "api": true, "listen": false, "port": port, "nowebui": false }))
}

pub async fn scripts() -> Json<Value> {
    Json(json!({ "txt2img": [], "img2img": [] }))
}

pub async fn embeddings() -> Json<Value> {
    Json(json!({ "loaded": {}, "skipped": {} }))
}

pub async fn nothing() -> Json<Value> {
    Json(json!([]))
}

/// There is nothing to do for it.
pub async fn done() -> Json<Value> {
    Json(json!({}))
}
