//! Images as the web UI's clients expect them: base64, and a text of JSON that tells of them.

use axum::response::Response;
use serde_json::{Value, json};

use super::asked::AskedPictures;
use crate::clock;
use crate::http::app::App;
use crate::http::encoded::Encoded;
use crate::http::fields::{Fields, exact_seed};
use crate::http::problem::HttpProblem;
use crate::http::waiting::{made, told_not_made};
use crate::job::state::State;
use crate::store::HistoryRow;

/// The only sampler, by the name that these clients know.
pub const SAMPLER: &str = "Euler";

/// What was interrupted is answered as far as it was made, and without an error.
pub async fn answer(
    app: &App,
    pictures: &[HistoryRow],
    mut fields: Fields,
    asked: &AskedPictures,
) -> Result<Response, HttpProblem> {
    let was_cancelled = pictures.iter().all(|row| row.state == State::Cancelled);
    let made = if was_cancelled { Vec::new() } else { made(pictures)? };
    // Nobody wants them back.
    for key in ["init_images", "mask"] {
        fields.0.remove(key);
    }
    let mut info = info(app, &made, &fields, asked);
    info["extra_generation_params"]["Not made"] = json!(told_not_made(pictures));
    let mut answer = Encoded::default();
    answer.text("{\"images\":[");
    let sent = if asked.sends_images { made.as_slice() } else { &[] };
    answer.pictures(app, sent, ("\"", "\"")).await?;
    let rest = json!({ "parameters": fields.0, "info": info.to_string() }).to_string();
    answer.text(format!("],{}", rest.strip_prefix('{').unwrap_or("}")));
    Ok(answer.into_response())
}

fn info(app: &App, made: &[&HistoryRow], fields: &Fields, asked: &AskedPictures) -> Value {
    let first = made.first();
    let all = |value: fn(&HistoryRow) -> Value| -> Vec<Value> {
        made.iter().map(|row| value(row)).collect()
    };
    let infotexts: Vec<String> = made.iter().map(|row| infotext(row)).collect();
    let hash = first.and_then(|row| row.model_hash.clone()).unwrap_or_default();
    let finished_ms = first.and_then(|row| row.finished_at_ms).unwrap_or_default();
    json!({
        "prompt": first.map(|row| &row.prompt),
        "all_prompts": all(|row| json!(row.prompt)),
        "negative_prompt": first.map(|row| &row.negative_prompt),
        "all_negative_prompts": all(|row| json!(row.negative_prompt)),
        "seed": first.map(|row| exact_seed(row.seed)),
        "all_seeds": all(|row| exact_seed(row.seed)),
        "subseed": -1,
        "all_subseeds": all(|_| json!(-1)),
        "subseed_strength": 0,
        "width": first.and_then(|row| row.width),
        "height": first.and_then(|row| row.height),
        "sampler_name": SAMPLER,
        "cfg_scale": first.map(|row| row.guidance + 1.0),
        "steps": first.and_then(|row| row.steps),
        "batch_size": fields.get("batch_size").cloned().unwrap_or(json!(1)),
        "restore_faces": false,
        "face_restoration_model": null,
        "sd_model_name": first.and_then(|row| row.model.clone()).unwrap_or_default(),
        "sd_model_hash": hash.get(..10).unwrap_or_default(),
        "sd_vae_name": null,
        "sd_vae_hash": null,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": first.map(|row| row.strength),
        "extra_generation_params": {
            "zimaged job": first.map(|row| row.job),
            "Rung": first.and_then(|row| row.rung.clone()),
            "Left to the model": asked.left_to_the_model,
        },
        "index_of_first_image": 0,
        "infotexts": infotexts,
        "styles": [],
        "job_timestamp": clock::local(finished_ms).strftime("%Y%m%d%H%M%S").to_string(),
        "clip_skip": 1,
        "is_using_inpainting_conditioning": false,
        "version": format!("zimaged {}", env!("CARGO_PKG_VERSION")),
        "server": app.status().version,
    })
}

/// As the web UI writes it into pictures, and other programs read it.
fn infotext(row: &HistoryRow) -> String {
    let negative = match row.negative_prompt.as_str() {
        "" => String::new(),
        negative => format!("\nNegative prompt: {negative}"),
    };
    let (width, height) = (row.width.unwrap_or_default(), row.height.unwrap_or_default());
    format!(
        "{}{negative}\nSteps: {}, Sampler: {SAMPLER}, CFG scale: {}, Seed: {}, \
         Size: {width}x{height}, Model: {}",
        row.prompt,
        row.steps.unwrap_or_default(),
        row.guidance + 1.0,
        row.seed,
        row.model.as_deref().unwrap_or_default()
    )
}
