//! Weights on the device, by part, residency and precision.

use crate::engine::Backend;
use crate::engine::z_image::config::{ModelConfig, TextEncoderConfig, TransformerConfig};
use crate::engine::z_image::geometry::{STREAM_BUFFERS, TIMESTEP_INNER, TIMESTEP_WAVES};
use crate::engine::z_image::vae::decoder_values;
use crate::ladder::{Precision, Residency, Rung};

/// Bytes of the weights that stay on the device on this rung, streaming buffers included.
pub fn resident_bytes(model: &ModelConfig, backend: Backend, rung: &Rung) -> usize {
    let transformer = &model.transformer;
    let block = block_bytes(transformer, backend, rung.precision);
    let text = match rung.residency.releases_text_encoder() {
        true => 0,
        false => text_layers(&model.text_encoder) * text_layer_bytes(&model.text_encoder, backend),
    };
    let layers = match rung.residency {
        Residency::Streamed { resident_blocks } => {
            let resident = transformer.n_layers.min(resident_blocks as usize);
            (resident + stream_buffers(backend, transformer.n_layers - resident)) * block
        }
        _ => transformer.n_layers * block,
    };
    let context_refiners =
        transformer.n_refiner_layers * plain_block_bytes(transformer, backend, rung.precision);
    let refiners = transformer.n_refiner_layers * block + context_refiners;
    text + layers
        + refiners
        + around_blocks_bytes(transformer, backend)
        + backend.element_bytes() * decoder_values(&model.vae)
}

/// How many layers there is room for beside the resident ones.
fn stream_buffers(backend: Backend, streamed: usize) -> usize {
    match backend {
        Backend::Cpu { .. } => 0,
        Backend::Cuda if streamed == 0 => 0,
        Backend::Cuda => STREAM_BUFFERS,
    }
}

/// Bytes of a value as the files have it, in half precision. A matrix is in memory like that beside
/// its conversion.
pub const STORED_BYTES: usize = 2;

/// Bytes of a layer that is not resident and is converted when it is used. Only a CPU does that.
pub fn converted_bytes(model: &ModelConfig, backend: Backend, rung: &Rung) -> usize {
    match (backend, rung.residency) {
        (Backend::Cpu { .. }, Residency::Streamed { .. }) => {
            let matrix = STORED_BYTES * model.transformer.dim * model.transformer.hidden_dim();
            block_bytes(&model.transformer, backend, rung.precision) + matrix
        }
        _ => 0,
    }
}

/// Bytes of one layer of the text encoder.
pub fn text_layer_bytes(config: &TextEncoderConfig, backend: Backend) -> usize {
    let norms = 2 * config.head_dim + 2 * config.hidden_size;
    backend.matrix_bytes() * text_matrices_values(config) + backend.element_bytes() * norms
}

/// Values of the matrices of one layer of the text encoder.
pub fn text_matrices_values(config: &TextEncoderConfig) -> usize {
    let inner = config.num_attention_heads * config.head_dim;
    let key_inner = config.num_key_value_heads * config.head_dim;
    let attention = config.hidden_size * (2 * inner + 2 * key_inner);
    attention + 3 * config.hidden_size * config.intermediate_size
}

/// How many layers are used: nothing reads the output of the last one.
pub(super) fn text_layers(config: &TextEncoderConfig) -> usize {
    config.num_hidden_layers - 1
}

/// Bytes of one modulated block: attention, feed-forward, modulation, norms.
pub fn block_bytes(config: &TransformerConfig, backend: Backend, precision: Precision) -> usize {
    plain_block_bytes(config, backend, precision)
        + linear_bytes(backend, config.adaln_dim(), 4 * config.dim)
}

fn plain_block_bytes(config: &TransformerConfig, backend: Backend, precision: Precision) -> usize {
    let norms = 4 * config.dim + 2 * (config.dim / config.n_heads);
    matrices_bytes(config, backend, precision) + backend.element_bytes() * norms
}

/// Bytes of the seven matrices of a block, which a lower precision quantises.
fn matrices_bytes(config: &TransformerConfig, backend: Backend, precision: Precision) -> usize {
    let [by_dim, by_hidden] = matrices_values(config);
    quantised_bytes(by_dim, config.dim, backend, precision)
        + quantised_bytes(by_hidden, config.hidden_dim(), backend, precision)
}

/// Values of the seven matrices of a block: of those with rows of `dim`, and of the one with rows
/// of `hidden_dim`.
pub(super) fn matrices_values(config: &TransformerConfig) -> [usize; 2] {
    let by_dim = (4 * config.dim + 2 * config.hidden_dim()) * config.dim;
    [by_dim, config.dim * config.hidden_dim()]
}

/// Bytes of `values` in rows of `row` values.
fn quantised_bytes(values: usize, row: usize, backend: Backend, precision: Precision) -> usize {
    match precision {
        // A row, which is rotated in groups of 16 or more, has an f32 scale, and 8 bits for each
        // value.
        Precision::Int8 if row.is_multiple_of(16) => values + values / row * size_of::<f32>(),
        // A block of 32 values has an f16 scale, and 8 bits for each value.
        Precision::Q8 if row.is_multiple_of(32) => values / 32 * 34,
        // Blocks of 256 values (Q4_K) and of 32 (Q4_0) both take 4.5 bits for each value.
        Precision::Q4 if row.is_multiple_of(32) => values / 32 * 18,
        _ => values * backend.matrix_bytes(),
    }
}

/// Bytes of a linear layer with a bias.
fn linear_bytes(backend: Backend, inputs: usize, outputs: usize) -> usize {
    backend.matrix_bytes() * inputs * outputs + backend.element_bytes() * outputs
}

/// Bytes of what the transformer has beside its blocks.
fn around_blocks_bytes(config: &TransformerConfig, backend: Backend) -> usize {
    let (dim, patch_dim) = (config.dim, config.patch() * config.patch() * config.in_channels);
    let linear = |inputs, outputs| linear_bytes(backend, inputs, outputs);
    let timestep =
        linear(TIMESTEP_WAVES, TIMESTEP_INNER) + linear(TIMESTEP_INNER, config.adaln_dim());
    let embedders = linear(config.cap_feat_dim, dim) + linear(patch_dim, dim);
    let last = linear(config.adaln_dim(), dim) + linear(dim, patch_dim);
    let vectors = config.cap_feat_dim + 2 * dim;
    timestep + embedders + last + backend.element_bytes() * vectors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::z_image::config::turbo;
    use crate::ladder::Decode;

    fn resident_gb(residency: Residency, precision: Precision) -> f64 {
        let rung = Rung {
            residency,
            precision,
            decode: Decode::Whole,
            width: 1024,
            height: 1024,
            steps: 8,
        };
        resident_bytes(&turbo(), Backend::Cuda, &rung) as f64 / 1e9
    }

    #[test]
    fn the_parts_of_turbo_take_what_its_publishers_say() {
        let near = |found: f64, published: f64| {
            assert!((found / published - 1.0).abs() < 0.02, "{found} {published}")
        };
        let decoder = 2.0 * decoder_values(&turbo().vae) as f64 / 1e9;
        near(decoder, 2.0 * 0.0496);
        near(resident_gb(Residency::TextReleased, Precision::Full) - decoder, 12.31);
        // 36 layers of which 35 are used, without the embeddings of 0.78 GB.
        let text = resident_gb(Residency::Device, Precision::Full)
            - resident_gb(Residency::TextReleased, Precision::Full);
        near(text, (8.04 - 0.78) * 35.0 / 36.0);
        near(resident_gb(Residency::TextReleased, Precision::Q8), 6.7);
        near(resident_gb(Residency::TextReleased, Precision::Q4), 3.8);
    }

    #[test]
    fn fewer_resident_blocks_take_less() {
        let streamed =
            |resident_blocks| resident_gb(Residency::Streamed { resident_blocks }, Precision::Full);
        assert!(streamed(0) < streamed(10) && streamed(10) < streamed(27));
        assert!(streamed(27) < resident_gb(Residency::TextReleased, Precision::Full));
    }
}
