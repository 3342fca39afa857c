//! The dimensions of a model's parts: from its JSON files, or from the shapes of its tensors.

use serde::de::DeserializeOwned;

use super::{ModelFiles, PartFiles};
use crate::engine::z_image::config::{
    ModelConfig, ScheduleConfig, TextEncoderConfig, TransformerConfig, VaeConfig, read_checked,
};
use crate::engine::z_image::shapes::Tensors;
use crate::engine::{ModelError, ModelKind};

/// The shift of the schedule above which a folder holds the base model: 3 is Turbo's, 6 the base
/// model's.
const BASE_SHIFT: f64 = 4.5;

/// GGUF's key for the base of the text encoder's positions, which fine-tunes for long texts change.
const ROPE_THETA: &str = "qwen3.rope.freq_base";

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
        Ok(ModelConfig {
            transformer: of_part(
                &self.transformer,
                TransformerConfig::of,
                TransformerConfig::problem,
            )?,
            text_encoder: self.text_encoder_config()?,
            vae: of_part(&self.vae, VaeConfig::of, VaeConfig::problem)?,
            schedule,
        })
    }

    fn text_encoder_config(&self) -> Result<TextEncoderConfig, ModelError> {
        let part = &self.text_encoder;
        let config = of_part(part, TextEncoderConfig::of, TextEncoderConfig::problem)?;
        let theta = part.metadata(ROPE_THETA)?.and_then(|theta| theta.parse().ok());
        Ok(TextEncoderConfig { rope_theta: theta.unwrap_or(config.rope_theta), ..config })
    }

    /// Which training it is, where the user, the schedule or a name says it.
    pub fn kind_with(&self, schedule: &ScheduleConfig) -> ModelKind {
        let by_shift = if schedule.shift > BASE_SHIFT { ModelKind::Base } else { ModelKind::Turbo };
        self.kind.unwrap_or(by_shift)
    }

    fn of_unknown_kind(&self) -> ModelError {
        ModelError::wrong(
            self.transformer.place(),
            "neither its tensors nor its name say whether it is Turbo (few steps, no guidance) or \
             base; say it: [model] kind = \"turbo\" or \"base\"",
        )
    }
}

/// The dimensions of a part, which `by_shapes` tells where it has no JSON file.
fn of_part<T: DeserializeOwned>(
    part: &PartFiles,
    by_shapes: impl Fn(&Tensors) -> Option<T>,
    problem: impl Fn(&T) -> Option<String>,
) -> Result<T, ModelError> {
    if let Some(path) = part.config_json() {
        return read_checked(&path, problem);
    }
    let incomplete = format!("is no whole {} of Z-Image", part.part.word());
    let wrong = |what: String| ModelError::wrong(part.place(), what);
    let config = by_shapes(&part.tensors()?).ok_or_else(|| wrong(incomplete))?;
    match problem(&config) {
        Some(problem) => Err(wrong(problem)),
        None => Ok(config),
    }
}
