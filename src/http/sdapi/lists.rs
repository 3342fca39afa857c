//! What clients ask before they ask for pictures: models, samplers, options. There is one of each.

use axum::Json;
use axum::extract::{Request, State};
use serde_json::{Map, Value, json};

use super::answer::SAMPLER;
use crate::attempt::Outcome;
use crate::config::Listen;
use crate::http::app::App;
use crate::http::blocking::blocking;
use crate::http::body::{self, PICTURES_BYTES_MAX, TEXT_BYTES_MAX};
use crate::http::fields::exact_seed;
use crate::http::job_body::base64_picture;
use crate::http::problem::HttpProblem;
use crate::loras;
use crate::output::{self, FoundSettings};
use crate::status::{WorkerStatus, WorkerWish};
use crate::store::Metric;

/// The model, as it is called and by the hash of its weights.
async fn model_of(app: &App) -> Result<(String, String), HttpProblem> {
    let name = app.capabilities().await?.model;
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
    let port = match app.config().http.listen {
        Listen::Address(address) => address.port(),
        Listen::Socket(_) => 0,
    };
    Json(json!({ "api": true, "listen": false, "port": port, "nowebui": false }))
}

pub async fn scripts() -> Json<Value> {
    Json(json!({ "txt2img": [], "img2img": [] }))
}

pub async fn embeddings() -> Json<Value> {
    Json(json!({ "loaded": {}, "skipped": {} }))
}

/// The files that a prompt can name, like `<lora:ink:0.8>`.
pub async fn loras(State(app): State<App>) -> Result<Json<Value>, HttpProblem> {
    let folder = app.config().loras.clone();
    let names = blocking(move || loras::names(&folder)).await?;
    let one = |name: &String| json!({ "name": name, "alias": name, "path": name, "metadata": {} });
    Ok(Json(names.iter().map(one).collect()))
}

/// The device's memory, where it has one of its own.
pub async fn memory(State(app): State<App>) -> Result<Json<Value>, HttpProblem> {
    let worker = app.store().last_worker().await?;
    let total_bytes = worker.map_or(0, |worker| worker.total_bytes.unsigned_abs());
    let used_bytes = match app.status().worker {
        WorkerStatus::Ready { used_bytes, .. } => used_bytes,
        _ => 0,
    };
    let ran_out = app.store().totals(Metric::Attempts).await?.into_iter();
    let ran_out = ran_out.filter(|total| total.label == Outcome::OutOfMemory.to_string());
    let ran_out: i64 = ran_out.map(|total| total.number).sum();
    let free_bytes = total_bytes.saturating_sub(used_bytes);
    let system = json!({ "free": free_bytes, "used": used_bytes, "total": total_bytes });
    let device = match total_bytes {
        0 => json!({ "error": "the device has no memory of its own" }),
        _ => json!({ "system": system, "events": { "retries": ran_out, "oom": ran_out } }),
    };
    Ok(Json(json!({ "ram": blocking(host_memory).await?, "cuda": device })))
}

/// The machine's own memory, as the kernel tells it.
fn host_memory() -> Value {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let bytes = |key: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or_default() * 1024
    };
    let (total, free) = (bytes("MemTotal:"), bytes("MemAvailable:"));
    json!({ "free": free, "used": total.saturating_sub(free), "total": total })
}

/// What a picture says of how it was made.
pub async fn png_info(request: Request) -> Result<Json<Value>, HttpProblem> {
    let asked: Map<String, Value> = body::json(request, PICTURES_BYTES_MAX).await?;
    let image = asked.get("image").and_then(Value::as_str);
    let image = image.ok_or_else(|| HttpProblem::unfit("image", "the picture is missing"))?;
    let content = base64_picture(image)?;
    let found = blocking(move || output::settings_in(&content)).await?.unwrap_or_default();
    let FoundSettings {
        prompt, negative_prompt, width, height, steps, seed, guidance, text, ..
    } = found;
    let parameters = json!({
        "Prompt": prompt, "Negative prompt": negative_prompt, "Steps": steps,
        "Seed": seed.map(exact_seed),
        "Size-1": width, "Size-2": height, "CFG scale": guidance.map(|guidance| guidance + 1.0),
    });
    Ok(Json(json!({ "info": text, "items": { "parameters": text }, "parameters": parameters })))
}

pub async fn nothing() -> Json<Value> {
    Json(json!([]))
}

/// Has the model leave the device, once nothing is rendered, until the next job.
pub async fn unload(State(app): State<App>) -> Json<Value> {
    app.wish(WorkerWish::Release);
    Json(json!({}))
}

/// Has the model loaded again, before there is a job.
pub async fn reload(State(app): State<App>) -> Json<Value> {
    app.wish(WorkerWish::Load);
    Json(json!({}))
}

/// There is nothing to do for it.
pub async fn done() -> Json<Value> {
    Json(json!({}))
}
