//! The dimensions of a model's parts: from its JSON files, or from the shapes of its tensors.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{ModelFiles, PartFiles};
use crate::engine::z_image::config::{
    ModelConfig, ScheduleConfig, TextEncoderConfig, TransformerConfig, VaeConfig, read_checked,
    read_json,
};
use crate::engine::z_image::names::INSTEAD;
use crate::engine::z_image::shapes::Tensors;
use crate::engine::{ModelError, ModelKind};

/// The shift of the schedule above which a folder holds the base model: 3 is Turbo's, 6 the base
/// model's.
const BASE_SHIFT: f64 = 4.5;

/// GGUF's key for the base of the text encoder's positions, which fine-tunes for long texts change.
const ROPE_THETA: &str = "qwen3.rope.freq_base";

/// That of Qwen3-4B-Instruct-2507, which its safetensors files do not say. Z-Image's has 1e6.
const ROPE_THETA_2507: f64 = 5e6;

impl ModelFiles {
    /// Reads and checks the dimensions. Errors name the file and what is wrong with it.
    pub fn config(&self) -> Result<ModelConfig, ModelError> {
        let schedule = match &self.hub {
            Some(hub) => {
                let path = hub.join("scheduler/scheduler_config.json");
                read_checked(&path, ScheduleConfig::problem)?
            }
            None => ScheduleConfig::of(self.kind.ok_or_else(|| self.of_unknown_kind())?),
        };
        let transformer =
            of_part(&self.transformer, TransformerConfig::of, TransformerConfig::problem)?;
        Ok(ModelConfig {
            text_encoder: self.text_encoder_config(transformer.cap_feat_dim)?,
            transformer,
            vae: of_part(&self.vae, VaeConfig::of, VaeConfig::problem)?,
            schedule,
        })
    }

    /// That of a text encoder whose embeddings have the width that the transformer was trained
    /// with.
    fn text_encoder_config(&self, width: usize) -> Result<TextEncoderConfig, ModelError> {
        let part = &self.text_encoder;
        let config = of_part(part, TextEncoderConfig::of, TextEncoderConfig::problem)?;
        if config.hidden_size != width {
            return Err(ModelError::wrong(
                part.place(),
                format!(
                    "is a text encoder with embeddings of {}, and this transformer was trained \
                     with embeddings of {width} (Qwen3-4B has 2560, Qwen3-8B 4096)",
                    config.hidden_size
                ),
            ));
        }
        let told = part.metadata(ROPE_THETA)?.and_then(|theta| theta.parse().ok());
        let by_name = part.config_json().is_none() && is_instruct_2507(part.place());
        let theta = told.or(by_name.then_some(ROPE_THETA_2507));
        Ok(TextEncoderConfig { rope_theta: theta.unwrap_or(config.rope_theta), ..config })
    }

    /// How it is known, where it is, that the text encoder is Qwen3-4B-Instruct-2507, another
    /// training than Z-Image's.
    pub fn sign_of_2507(&self, config: &TextEncoderConfig) -> Option<&'static str> {
        match is_instruct_2507(self.text_encoder.place()) {
            true => Some("its name"),
            false => (config.rope_theta == ROPE_THETA_2507).then_some("the base of its positions"),
        }
    }

    /// Which training it is, where the user, the schedule, a hash or a name says it.
    pub fn kind_with(&self, schedule: &ScheduleConfig) -> ModelKind {
        let by_shift = if schedule.shift > BASE_SHIFT { ModelKind::Base } else { ModelKind::Turbo };
        self.kind.unwrap_or(by_shift)
    }

    fn of_unknown_kind(&self) -> ModelError {
        ModelError::wrong(
            self.transformer.place(),
            "neither its tensors nor its name say whether it is Turbo (few steps, no guidance) or \
             base; say it: [model] kind = \"turbo\" or \"base\" (or \"de_turbo\")",
        )
    }
}

/// Qwen3-4B-Instruct-2507 has the shapes of Z-Image's text encoder, and positions of its own.
fn is_instruct_2507(place: &Path) -> bool {
    place.file_name().is_some_and(|name| name.to_string_lossy().contains("2507"))
}

/// What the hub's `config.json` says of a part's numbers.
#[derive(Deserialize)]
struct Quantised {
    quantization_config: Option<Quantisation>,
}

#[derive(Deserialize)]
struct Quantisation {
    #[serde(default)]
    quant_method: String,
}

/// transformers' word for fp8 with a scale for each square, the one method whose weights are read.
const FP8: &str = "fp8";

/// Fails where the weights beside `config.json` are quantised in a way that is not read.
fn refuse_quantised(config_json: &Path) -> Result<(), ModelError> {
    match read_json::<Quantised>(config_json)?.quantization_config {
        Some(Quantisation { quant_method }) if quant_method != FP8 => Err(ModelError::wrong(
            config_json,
            format!(
                "quantization_config: the weights are quantised by {quant_method:?}, which zimaged \
                 does not read; {INSTEAD}"
            ),
        )),
        _ => Ok(()),
    }
}

/// The dimensions of a part, which `by_shapes` tells where it has no JSON file.
fn of_part<T: DeserializeOwned>(
    part: &PartFiles,
    by_shapes: impl Fn(&Tensors) -> Option<T>,
    problem: impl Fn(&T) -> Option<String>,
) -> Result<T, ModelError> {
    if let Some(path) = part.config_json() {
        let config = read_checked(&path, problem)?;
        return refuse_quantised(&path).map(|()| config);
    }
    let incomplete = format!("is no whole {} of Z-Image", part.part.word());
    let wrong = |what: String| ModelError::wrong(part.place(), what);
    let config = by_shapes(&part.tensors()?).ok_or_else(|| wrong(incomplete))?;
    match problem(&config) {
        Some(problem) => Err(wrong(problem)),
        None => Ok(config),
    }
}
