//! A model's folder: what it says of the model without the weights being loaded.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::config::{ModelConfig, read_json, turbo};
use super::model_files::ModelFiles;
use super::prompt::TOKENS_MAX;
use super::wrong_file::hub_layout;
use crate::engine::{ModelDescription, ModelError, ModelKind, ModelPlace};

/// `zimaged.json`: what a model says of itself beyond the hub's files. A missing key has the value
/// of its kind.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct OwnWords {
    name: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    steps: Option<u32>,
    guidance: Option<f64>,
}

/// The natural side of a picture, in pixels.
const SIDE: u32 = 1024;

/// Steps and guidance that the publishers advise: of the base model 28 to 50 steps and a guidance
/// of 3 to 5; of De-Turbo 20 to 30 steps and a CFG of 2 to 4, which is one more than a guidance.
fn advised(kind: ModelKind) -> (u32, f64) {
    match kind {
        ModelKind::Turbo => (8, 0.0),
        ModelKind::Base => (28, 4.0),
        ModelKind::DeTurbo => (25, 2.0),
    }
}

/// The name of Z-Image-Turbo's folder on the hub.
const TURBO: &str = "Z-Image-Turbo";

/// The class in `model_index.json` that this program renders.
const PIPELINE: &str = "ZImagePipeline";

/// How the classes of other well-known models begin, and what people call these.
const OTHER_MODELS: [(&str, &str); 7] = [
    ("StableDiffusionXL", "Stable Diffusion XL"),
    ("StableDiffusion3", "Stable Diffusion 3"),
    ("StableDiffusion", "Stable Diffusion"),
    ("Flux2", "Flux.2"),
    ("Flux", "Flux"),
    ("QwenImage", "Qwen-Image"),
    ("Wan", "Wan"),
];

impl ModelDescription {
    /// Reads `model_index.json`, the parts' `config.json` and, where there is one, `zimaged.json`
    /// (`name`, `width`, `height`, `steps`, `guidance`); of single files the headers. Errors name
    /// the file and what is wrong with it.
    pub fn read(place: &ModelPlace) -> Result<ModelDescription, ModelError> {
        if let Err(error) = fs::metadata(&place.path) {
            let error = ModelError::of_io(&place.path, &error);
            if error.may_pass() {
                return Err(error);
            }
        }
        ModelDescription::of(&ModelFiles::find(place)?)
    }

    /// That of the model in `files`.
    pub fn of(files: &ModelFiles) -> Result<ModelDescription, ModelError> {
        if let Some(hub) = &files.hub {
            check_pipeline(&hub.join("model_index.json"))?;
        }
        let config = files.config()?;
        check_positions(files.transformer.place(), &config)?;
        let path = files.hub.as_ref().map(|hub| hub.join("zimaged.json"));
        let path = path.filter(|path| path.exists());
        let words = path.as_ref().map(|path| read_json(path)).transpose()?.unwrap_or_default();
        let kind = files.kind_with(&config.schedule);
        let described = ModelDescription::new(files.name(), kind, &words, &config);
        let granularity = described.granularity;
        let natural = |side: u32| side > 0 && side.is_multiple_of(granularity);
        if natural(described.width) && natural(described.height) && described.steps > 0 {
            return Ok(described);
        }
        let wanted =
            format!("width and height must be multiples of {granularity}, steps at least 1");
        Err(ModelError::wrong(path.as_deref().unwrap_or(&files.path), wanted))
    }

    /// Z-Image-Turbo, without its files.
    pub fn turbo() -> ModelDescription {
        let words = OwnWords::default();
        ModelDescription::new(TURBO.to_owned(), ModelKind::Turbo, &words, &turbo())
    }

    fn new(
        name: String,
        kind: ModelKind,
        words: &OwnWords,
        config: &ModelConfig,
    ) -> ModelDescription {
        let [_, rows, columns] = config.transformer.axes_lens;
        let side_max = rows.min(columns).saturating_mul(config.granularity());
        let (steps, guidance) = advised(kind);
        ModelDescription {
            name: words.name.clone().unwrap_or(name),
            width: words.width.unwrap_or(SIDE),
            height: words.height.unwrap_or(SIDE),
            steps: words.steps.unwrap_or(steps),
            guidance: words.guidance.unwrap_or(guidance),
            granularity: config.granularity() as u32,
            side_max: u32::try_from(side_max).unwrap_or(u32::MAX),
        }
    }
}

/// A prompt's tokens have the positions from 1 on, and the picture the one after them.
fn check_positions(transformer: &Path, config: &ModelConfig) -> Result<(), ModelError> {
    let needed = TOKENS_MAX + 2;
    if config.transformer.axes_lens[0] >= needed {
        return Ok(());
    }
    let wanted = format!(
        "axes_lens must begin with at least {needed}, to hold a prompt of {TOKENS_MAX} tokens"
    );
    Err(ModelError::wrong(&transformer.join("config.json"), wanted))
}

fn check_pipeline(path: &Path) -> Result<(), ModelError> {
    let index: HashMap<String, serde_json::Value> = read_json(path)?;
    let class = index.get("_class_name").and_then(serde_json::Value::as_str);
    if class == Some(PIPELINE) {
        return Ok(());
    }
    let class = class.unwrap_or("missing");
    let wanted = format!("_class_name must be {PIPELINE}, not {class}");
    let other = OTHER_MODELS.iter().find(|(start, _)| class.starts_with(start));
    Err(ModelError::wrong(
        path,
        match other {
            Some((_, name)) => format!(
                "this is a model of {name} ({wanted}), and zimaged renders Z-Image alone; {}",
                hub_layout()
            ),
            None => wanted,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSFORMER: &str = r#"{"all_patch_size": [2], "all_f_patch_size": [1], "in_channels": 16, "dim": 96,
        "n_layers": 3, "n_refiner_layers": 2, "n_heads": 3, "norm_eps": 1e-05, "cap_feat_dim": 32,
        "rope_theta": 256.0, "t_scale": 1000.0, "axes_dims": [8, 12, 12], "axes_lens": [1536, 512, 512]}"#;
    const TEXT_ENCODER: &str = r#"{"vocab_size": 10, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "rms_norm_eps": 1e-06, "rope_theta": 1000000}"#;
    const VAE: &str = r#"{"latent_channels": 16, "out_channels": 3, "block_out_channels": [16, 32, 32, 32, 32],
        "layers_per_block": 2, "norm_num_groups": 8, "scaling_factor": 0.3611, "shift_factor": 0.1159}"#;

    /// A folder with all JSON files, of which `changed` replaces one.
    fn folder(changed: (&str, &str)) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            ("model_index.json", r#"{"_class_name": "ZImagePipeline"}"#),
            ("transformer/config.json", TRANSFORMER),
            ("text_encoder/config.json", TEXT_ENCODER),
            ("vae/config.json", VAE),
            ("scheduler/scheduler_config.json", r#"{"shift": 3.0, "num_train_timesteps": 1000}"#),
            changed,
        ];
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn read_changed(name: &str, text: &str) -> Result<ModelDescription, ModelError> {
        ModelDescription::read(&ModelPlace::at(folder((name, text)).path()))
    }

    #[test]
    fn a_model_without_its_own_file_has_turbos_defaults_and_the_granularity_of_its_vae() {
        let described = read_changed("vae/config.json", VAE).unwrap();
        assert_eq!((described.width, described.height, described.steps), (1024, 1024, 8));
        assert_eq!((described.guidance, described.granularity), (0.0, 32));
    }

    #[test]
    fn the_shift_of_the_base_model_brings_its_steps_and_guidance() {
        let text = r#"{"shift": 6.0, "num_train_timesteps": 1000}"#;
        let described = read_changed("scheduler/scheduler_config.json", text).unwrap();
        assert_eq!((described.steps, described.guidance), (28, 4.0));
    }

    #[test]
    fn a_model_says_its_own_name_size_and_steps() {
        let text = r#"{"name": "mini", "width": 96, "height": 64, "steps": 4}"#;
        let described = read_changed("zimaged.json", text).unwrap();
        assert_eq!(described.name, "mini");
        assert_eq!((described.width, described.height, described.steps), (96, 64, 4));
    }

    #[test]
    fn errors_name_the_file_and_what_would_be_right() {
        let cases = [
            (
                "model_index.json",
                r#"{"_class_name": "FluxPipeline"}"#,
                "this is a model of Flux (_class_name must be ZImagePipeline, not FluxPipeline)",
            ),
            // newcomer 8
            (
                "model_index.json",
                r#"{"_class_name": "StableDiffusionXLPipeline"}"#,
                "this is a model of Stable Diffusion XL",
            ),
            ("model_index.json", r#"{"_class_name": "New"}"#, "must be ZImagePipeline, not New"),
            ("model_index.json", "<!DOCTYPE html>", "is a web page"),
            ("vae/config.json", "", "the model's download is incomplete"),
            ("vae/config.json", "{", "EOF while parsing"),
            ("vae/config.json", r#"{"latent_channels": 16}"#, "missing field"),
            ("zimaged.json", r#"{"width": 100}"#, "multiples of 32"),
            ("zimaged.json", r#"{"widht": 96}"#, "unknown field `widht`"),
            (
                "scheduler/scheduler_config.json",
                r#"{"shift": 3, "num_train_timesteps": 1000, "use_dynamic_shifting": true}"#,
                "use_dynamic_shifting must be false",
            ),
        ];
        for (name, text, expected) in cases {
            let error = read_changed(name, text).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(expected), "{error}");
        }
    }

    /// case E
    #[test]
    fn the_longest_side_is_where_the_positions_end() {
        let with = |lens: &str| {
            let text = TRANSFORMER.replace("[1536, 512, 512]", lens);
            read_changed("transformer/config.json", &text)
        };
        assert_eq!(with("[1536, 8, 8]").unwrap().side_max, 8 * 32);
        assert_eq!(with("[514, 16, 8]").unwrap().side_max, 8 * 32);
        assert_eq!(ModelDescription::turbo().side_max, 8192);
        let error = with("[513, 512, 512]").unwrap_err().to_string();
        assert!(error.contains("transformer/config.json: axes_lens must begin with at least 514"));
    }

    /// case E
    #[test]
    fn a_file_of_gigabytes_is_no_configuration() {
        let folder = folder(("zimaged.json", "{}"));
        let file = fs::File::options().write(true).open(folder.path().join("zimaged.json"));
        file.unwrap().set_len(1 << 40).unwrap();
        let error = ModelDescription::read(&ModelPlace::at(folder.path())).unwrap_err().to_string();
        assert!(error.contains("zimaged.json: the file has more than"), "{error}");
    }

    #[test]
    fn a_folder_that_is_not_there_says_how_to_get_a_model() {
        let place = ModelPlace::at(Path::new("Tongyi-MAI/Z-Image-Turbo"));
        let error = ModelDescription::read(&place).unwrap_err().to_string();
        assert!(error.starts_with("Tongyi-MAI/Z-Image-Turbo: there is no such file"), "{error}");
        assert!(error.contains("zimaged model fetch turbo"), "{error}");
    }

    #[test]
    fn turbo_is_known_without_its_files() {
        let turbo = ModelDescription::turbo();
        assert_eq!(
            (turbo.name.as_str(), turbo.width, turbo.height, turbo.steps),
            ("Z-Image-Turbo", 1024, 1024, 8)
        );
        assert_eq!((turbo.guidance, turbo.granularity), (0.0, 16));
    }

    #[test]
    fn rope_theta_is_read_from_both_places() {
        let nested = TEXT_ENCODER
            .replace("\"rope_theta\": 1000000", "\"rope_parameters\": {\"rope_theta\": 1e6}");
        assert!(read_changed("text_encoder/config.json", &nested).is_ok());
        let missing = TEXT_ENCODER.replace("rope_theta", "something_else");
        let error = read_changed("text_encoder/config.json", &missing).unwrap_err().to_string();
        assert!(error.contains("rope_theta is missing"), "{error}");
    }
}
