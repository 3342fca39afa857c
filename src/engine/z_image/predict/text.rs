//! Text encoding: the most that is alive beside the weights.

use super::weights::{STORED_BYTES, text_layer_values};
use crate::engine::Backend;
use crate::engine::z_image::config::ModelConfig;
use crate::engine::z_image::text_encoder::{angles_bytes, layer_scratch_bytes};
use crate::ladder::{Residency, Rung};

/// The most while a prompt of `tokens` goes through the layers.
pub fn bytes(model: &ModelConfig, backend: Backend, rung: &Rung, tokens: usize) -> usize {
    let config = &model.text_encoder;
    let layer_weights = match rung.residency {
        Residency::Device => 0,
        // One layer at a time, and its largest matrix as the file has it while it is converted.
        _ => {
            backend.element_bytes() * text_layer_values(config)
                + STORED_BYTES * config.hidden_size * config.intermediate_size
        }
    };
    let input = tokens * config.hidden_size * backend.element_bytes();
    let layer = layer_scratch_bytes(config, backend, tokens);
    layer_weights + angles_bytes(config, tokens) + input + layer
}
