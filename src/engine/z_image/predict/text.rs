//! Text encoding: the most that is alive beside the weights.

use super::weights::{STORED_BYTES, text_layer_bytes};
use crate::engine::Backend;
use crate::engine::z_image::config::ModelConfig;
use crate::engine::z_image::embedder::{TOGETHER_MAX, TOKENS_TOGETHER, encodes_ahead};
use crate::engine::z_image::text_encoder::{angles_bytes, layer_scratch_bytes};
use crate::ladder::Rung;

/// The most while a prompt of `tokens` goes through the layers.
pub fn bytes(model: &ModelConfig, backend: Backend, rung: &Rung, tokens: usize) -> usize {
    let config = &model.text_encoder;
    let layer_weights = match rung.residency.releases_text_encoder() {
        false => 0,
        // One layer at a time, and its largest matrix as the file has it while it is converted.
        true => {
            text_layer_bytes(config, backend)
                + STORED_BYTES * config.hidden_size * config.intermediate_size
        }
    };
    let (prompts, longest) = match encodes_ahead(backend, rung.residency) {
        false => (1, tokens),
        // Other prompts are encoded with this one.
        true => (TOGETHER_MAX, tokens.max(TOKENS_TOGETHER)),
    };
    let inputs = prompts * longest * config.hidden_size * backend.element_bytes();
    let layer = layer_scratch_bytes(config, backend, longest);
    layer_weights + angles_bytes(config, longest) + inputs + layer
}
