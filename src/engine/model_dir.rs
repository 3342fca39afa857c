//! What a model folder says of itself without being loaded: name, natural size, steps, granularity.

use std::path::Path;

/// Read from the model's JSON files.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelDescription {
    pub name: String,
    /// Natural size, pixels.
    pub width: u32,
    pub height: u32,
    pub steps: u32,
    pub guidance: f64,
    /// Sides are multiples of this, pixels: the VAE's factor times the transformer's patch.
    pub granularity: u32,
}

impl ModelDescription {
    /// Reads `model_index.json`, `vae/config.json`, `transformer/config.json` and, where there is one, `zimaged.json`
    /// (`name`, `width`, `height`, `steps`, `guidance`). Errors name the file and what is wrong with it.
    pub fn read(_model: &Path) -> Result<ModelDescription, String> {
        todo!()
    }
}
