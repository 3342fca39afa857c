//! What can be asked for here: forms are built from it.

use serde::Serialize;
use serde_json::Value;

use super::{Queue, QueueError};
use crate::job::parameters::ParameterValues;
use crate::ladder::Prefer;

/// What jobs may say, by the configured model and limits.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct QueueCapabilities {
    /// The program's version.
    pub version: String,
    /// The model's name.
    pub model: String,
    /// Other models, by the names that jobs may say.
    pub models: Vec<String>,
    /// What a job without any key asks for, beside its prompt. Null is what depends on the rest of
    /// the job: the seed is drawn; the strength is 0.6 beside a picture to begin with, and 1 beside
    /// a mask, too.
    pub defaults: ParameterValues,
    /// Both sides are multiples of this, in pixels.
    pub granularity: u32,
    /// No side is longer, in pixels.
    pub side_max: u32,
    /// No picture has more steps.
    pub steps_max: u32,
    /// No job has more pictures.
    pub renders_max: u32,
    /// No prompt is longer, in bytes.
    pub prompt_bytes_max: usize,
    /// No picture as input is larger, in bytes.
    pub input_bytes_max: u64,
    /// Formats of pictures.
    pub formats: Vec<String>,
    /// How steps may go along the model's velocity.
    pub samplers: Vec<String>,
    /// What may be done when the memory is short.
    pub on_oom: Vec<String>,
    /// What is given up first then, for whoever says nothing.
    pub prefer: String,
}

impl Queue<'_> {
    /// As of now: a model may be read anew.
    pub fn capabilities(&self) -> Result<QueueCapabilities, QueueError> {
        let model = self.config.describe_model()?;
        let rules = self.config.job_rules()?;
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let limits = rules.limits;
        let mut defaults = rules.defaults.values();
        for key in ["seed", "strength"] {
            defaults.insert(key.to_owned(), Value::Null);
        }
        Ok(QueueCapabilities {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            model: model.name,
            models: self.config.models.keys().cloned().collect(),
            defaults,
            granularity: rules.granularity,
            side_max: limits.side_max,
            steps_max: limits.steps_max,
            renders_max: limits.renders_max,
            prompt_bytes_max: limits.prompt_bytes_max,
            input_bytes_max: limits.input_bytes_max,
            formats: words(&["png", "jpeg", "webp"]),
            samplers: words(&["euler", "res_multistep"]),
            on_oom: words(&["fail", "offload", "downgrade"]),
            prefer: match self.config.prefer {
                Prefer::Quality => "quality".to_owned(),
                Prefer::Speed => "speed".to_owned(),
            },
        })
    }
}
