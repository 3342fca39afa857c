//! The files of a model's folder that hold no weights.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Result;
use crate::engine::z_image::config::ModelConfig;
use crate::engine::z_image::prompt;
use crate::files;

/// A file of the folder by its name there, with its content.
pub type Text = (String, Vec<u8>);

/// Longer files of a model's folder are weights.
const TEXT_BYTES_MAX: u64 = 64 << 20;

/// What `config` says, as other programs read it.
pub fn of_config(config: &ModelConfig) -> Result<Vec<Text>> {
    let transformer = json!({
        "_class_name": "ZImageTransformer2DModel",
        "n_kv_heads": config.transformer.n_heads,
        "qk_norm": true,
    });
    let text_encoder = json!({
        "architectures": ["Qwen3Model"],
        "model_type": "qwen3",
        "hidden_act": "silu",
        "attention_bias": false,
        "tie_word_embeddings": true,
        "max_position_embeddings": 40960,
    });
    let levels = config.vae.block_out_channels.len();
    let vae = json!({
        "_class_name": "AutoencoderKL",
        "in_channels": config.vae.out_channels,
        "down_block_types": vec!["DownEncoderBlock2D"; levels],
        "up_block_types": vec!["UpDecoderBlock2D"; levels],
        "act_fn": "silu",
        "use_quant_conv": false,
    });
    let schedule = json!({ "_class_name": "FlowMatchEulerDiscreteScheduler" });
    Ok(vec![
        ("model_index.json".to_owned(), lines(&index())),
        ("transformer/config.json".to_owned(), merged(&config.transformer, transformer)?),
        ("text_encoder/config.json".to_owned(), merged(&config.text_encoder, text_encoder)?),
        ("vae/config.json".to_owned(), merged(&config.vae, vae)?),
        ("scheduler/scheduler_config.json".to_owned(), merged(&config.schedule, schedule)?),
    ])
}

fn index() -> Value {
    json!({
        "_class_name": "ZImagePipeline",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen3Model"],
        "tokenizer": ["transformers", "Qwen2Tokenizer"],
        "transformer": ["diffusers", "ZImageTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    })
}

/// What `config` says, and what other programs want beside it.
fn merged(config: &impl Serialize, beside: Value) -> Result<Vec<u8>> {
    let mut all = serde_json::to_value(config).map_err(|error| error.to_string())?;
    if let (Value::Object(all), Value::Object(beside)) = (&mut all, beside) {
        all.extend(beside);
    }
    Ok(lines(&all))
}

fn lines(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// The tokenizer of the program.
pub fn of_program() -> Result<Text> {
    let json = prompt::json_of_program().map_err(|error| error.to_string())?;
    Ok(("tokenizer/tokenizer.json".to_owned(), json))
}

/// The files without weights of a folder in the hub's layout, in place of those of `texts`.
pub fn of_hub(hub: &Path, texts: &mut Vec<Text>) -> Result<()> {
    for name in ["model_index.json", "zimaged.json", "scheduler/scheduler_config.json"] {
        copy(hub, name, texts)?;
    }
    let tokenizer = hub.join("tokenizer");
    let told = |error: std::io::Error| format!("{}: {error}", tokenizer.display());
    for entry in fs::read_dir(&tokenizer).map_err(told)? {
        let name = entry.map_err(told)?.file_name();
        copy(hub, &format!("tokenizer/{}", name.to_string_lossy()), texts)?;
    }
    Ok(())
}

/// The file `name` of the folder, where it is there.
pub fn copy(hub: &Path, name: &str, texts: &mut Vec<Text>) -> Result<()> {
    let path = hub.join(name);
    if !path.is_file() {
        return Ok(());
    }
    let content = files::read_whole(&path, TEXT_BYTES_MAX)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    texts.retain(|(other, _)| other != name);
    texts.push((name.to_owned(), content));
    Ok(())
}

/// Notes in the text encoder's configuration what floats it was trained in, where that is not said:
/// its file does not tell any more.
pub fn note_trained(texts: &mut [Text], trained: &str) -> Result<()> {
    let configuration = texts.iter_mut().find(|(name, _)| name == "text_encoder/config.json");
    let Some((name, content)) = configuration else { return Ok(()) };
    let parsed: serde_json::Result<Map<String, Value>> = serde_json::from_slice(content);
    let mut keys = parsed.map_err(|error| format!("{name}: {error}"))?;
    if !keys.contains_key("dtype") && !keys.contains_key("torch_dtype") {
        keys.insert("dtype".to_owned(), json!(trained));
        *content = lines(&Value::Object(keys));
    }
    Ok(())
}

/// Writes all of them into `folder`, through to the disk.
pub fn write(folder: &Path, texts: &[Text]) -> Result<()> {
    for (name, content) in texts {
        let path = folder.join(name);
        let told = |error: std::io::Error| format!("{}: {error}", path.display());
        fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(told)?;
        files::write_synced(&path, content).map_err(told)?;
    }
    Ok(())
}
