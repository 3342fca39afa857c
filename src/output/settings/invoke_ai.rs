//! InvokeAI's facts: one JSON object.

use serde_json::Value;

use super::{FoundSettings, PictureMaker, Remarks, from_scale, python_json, quoted};

/// Keys that are read, and those that mean nothing for any picture here.
const KNOWN: [&str; 24] = [
    "positive_prompt",
    "negative_prompt",
    "width",
    "height",
    "steps",
    "seed",
    "cfg_scale",
    "scheduler",
    "loras",
    "model",
    "strength",
    "generation_mode",
    "app_version",
    "rand_device",
    "vae",
    "qwen3_encoder",
    "qwen3_source",
    "board",
    "canvas_v2_metadata",
    "ref_images",
    "cfg_rescale_multiplier",
    "seamless_x",
    "seamless_y",
    "metadata_version",
];

/// What the facts say; `None` where they are none.
pub(super) fn settings(json: &str) -> Option<FoundSettings> {
    let facts = python_json::parse(json)?;
    let object = facts.as_object()?;
    let text = |key: &str| facts[key].as_str().unwrap_or_default().to_owned();
    let mut remarks = Remarks::default();
    let seed = remarks.seed(facts["seed"].as_u64());
    let sampler = facts["scheduler"].as_str().map(|word| remarks.sampler(word));
    if let Some(strength) = facts["strength"].as_f64() {
        remarks.strength(strength);
    }
    if let Some(mode) = facts["generation_mode"].as_str().filter(|it| !it.ends_with("txt2img")) {
        remarks.add(format!("it is no picture of a prompt alone, but {}", quoted(mode)));
    }
    for (key, value) in object.iter().filter(|(key, _)| !KNOWN.contains(&key.as_str())) {
        if !value.is_null() {
            remarks.unknown(key, &value.to_string());
        }
    }
    Some(FoundSettings {
        maker: PictureMaker::InvokeAi,
        prompt: text("positive_prompt"),
        negative_prompt: text("negative_prompt"),
        width: facts["width"].as_i64(),
        height: facts["height"].as_i64(),
        steps: facts["steps"].as_i64(),
        seed,
        guidance: facts["cfg_scale"].as_f64().and_then(from_scale),
        sampler,
        loras: facts["loras"].as_array().into_iter().flatten().filter_map(lora).collect(),
        model: facts["model"]["name"].as_str().map(str::to_owned),
        remarks: remarks.0,
        text: String::new(),
    })
}

/// Earlier versions call the model of a LoRA `lora`.
fn lora(entry: &Value) -> Option<(String, f64)> {
    let name = entry["model"]["name"].as_str().or_else(|| entry["lora"]["model_name"].as_str())?;
    Some((name.to_owned(), entry["weight"].as_f64().unwrap_or(1.0)))
}
