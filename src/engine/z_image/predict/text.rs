//! Text encoding: what is alive beside the weights.

use super::Arithmetic;
use super::weights::{STORED_BYTES, text_layer_values};
use crate::engine::z_image::config::{ModelConfig, TextEncoderConfig};
use crate::engine::z_image::ops;
use crate::ladder::{Residency, Rung};

/// The most while a prompt of `tokens` goes through the layers; streamed, one of them comes on top.
pub fn bytes(model: &ModelConfig, arithmetic: Arithmetic, rung: &Rung, tokens: usize) -> usize {
    let config = &model.text_encoder;
    let layer = match rung.residency {
        Residency::Device => 0,
        _ => {
            arithmetic.element_bytes() * text_layer_values(config)
                + STORED_BYTES * config.hidden_size * config.intermediate_size
        }
    };
    // The angles' cosines and sines, in f32.
    let rope = 2 * 4 * tokens * config.head_dim / 2;
    let input = tokens * config.hidden_size * arithmetic.element_bytes();
    layer + rope + input + layer_bytes(config, arithmetic, tokens)
}

/// The most within one layer beside its input: in attention when keys are made or attended, in the
/// feed-forward with its two inner rows and their product.
pub fn layer_bytes(config: &TextEncoderConfig, arithmetic: Arithmetic, tokens: usize) -> usize {
    let (hidden, inner) = (config.hidden_size, config.num_attention_heads * config.head_dim);
    let key_inner = config.num_key_value_heads * config.head_dim;
    let scores = ops::attention_bytes(
        arithmetic,
        config.num_attention_heads,
        (tokens, tokens),
        config.head_dim,
    );
    let rows = |values: usize| tokens * values * arithmetic.element_bytes();
    let query = rows(hidden + 2 * inner);
    let attend = rows(2 * inner + 2 * key_inner) + scores;
    let feed_forward = rows(hidden + 3 * config.intermediate_size);
    query.max(attend).max(feed_forward)
}
