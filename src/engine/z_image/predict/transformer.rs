//! Conditioning and denoising: what is alive beside the weights.

use super::{Arithmetic, Work};
use crate::engine::z_image::config::{ModelConfig, TransformerConfig};
use crate::engine::z_image::ops;
use crate::engine::z_image::transformer::ROWS_MULTIPLE;
use crate::ladder::{Precision, Rung};

/// Rows of the picture and of the caption, padded.
fn rows(model: &ModelConfig, rung: &Rung, work: Work) -> (usize, usize) {
    let side = model.vae.factor() * model.transformer.patch();
    let patches = (rung.width as usize / side) * (rung.height as usize / side);
    (patches.next_multiple_of(ROWS_MULTIPLE), work.tokens.next_multiple_of(ROWS_MULTIPLE))
}

/// What one conditioning keeps for the whole denoising: the refined caption, the angles of the
/// picture's rows and of all rows.
fn kept_bytes(
    config: &TransformerConfig,
    arithmetic: Arithmetic,
    (picture, caption): (usize, usize),
) -> usize {
    let angles = angles_bytes(config, picture) + angles_bytes(config, picture + caption);
    caption * config.dim * arithmetic.element_bytes() + angles
}

/// Cosines and sines, in f32.
fn angles_bytes(config: &TransformerConfig, rows: usize) -> usize {
    2 * 4 * rows * config.head_dim() / 2
}

/// The most while the captions are refined and the angles computed: in a refiner, or when the
/// angles of all rows, their cosines and sines stand side by side. The negative prompt comes
/// second, when the first one's are kept.
pub fn condition_bytes(
    model: &ModelConfig,
    arithmetic: Arithmetic,
    rung: &Rung,
    work: Work,
) -> usize {
    let config = &model.transformer;
    let (picture, caption) = rows(model, rung, work);
    let before = if work.guided { kept_bytes(config, arithmetic, (picture, caption)) } else { 0 };
    let embedding = 2 * 4 * work.tokens * config.cap_feat_dim;
    let caption_angles = angles_bytes(config, caption);
    let stream = caption * config.dim * arithmetic.element_bytes();
    let refine =
        caption_angles + stream + block_bytes(config, arithmetic, rung.precision, (1, caption));
    let angles = caption_angles
        + stream
        + angles_bytes(config, picture)
        + angles_bytes(config, picture + caption) * 3 / 2;
    before + embedding + refine.max(angles)
}

/// The most while denoising: within a block over all rows, beside what conditionings, latents and
/// patches keep.
pub fn bytes(model: &ModelConfig, arithmetic: Arithmetic, rung: &Rung, work: Work) -> usize {
    let config = &model.transformer;
    let (picture, caption) = rows(model, rung, work);
    let kept = kept_bytes(config, arithmetic, (picture, caption)) * if work.guided { 2 } else { 1 };
    let factor = model.vae.factor();
    let latents =
        4 * config.in_channels * (rung.width as usize / factor) * (rung.height as usize / factor);
    // Before and after the step; of the first of two velocities; as patches, in the transformer's
    // type.
    let latents = latents * if work.guided { 4 } else { 3 };
    let stream = (picture + caption) * config.dim * arithmetic.element_bytes();
    kept + latents
        + stream
        + block_bytes(config, arithmetic, rung.precision, (1, picture + caption))
}

/// The most within one block beside its input: in attention, or in the feed-forward with its two
/// inner rows and their product; with the dense copy of a matrix where they are quantised.
pub fn block_bytes(
    config: &TransformerConfig,
    arithmetic: Arithmetic,
    precision: Precision,
    (batch, rows): (usize, usize),
) -> usize {
    let scores =
        ops::attention_bytes(arithmetic, batch * config.n_heads, (rows, rows), config.head_dim());
    let bytes = |values: usize| batch * rows * values * arithmetic.element_bytes();
    let dense =
        |values: usize| if precision == Precision::Full { 0 } else { DENSE_COPY_BYTES * values };
    let (dim, hidden) = (config.dim, config.hidden_dim());
    let attend = bytes(4 * dim) + scores.max(dense(dim * dim));
    let inner = bytes(3 * hidden).max(bytes(dim + 2 * hidden) + dense(dim * hidden));
    attend.max(inner)
}

/// Of each value: f32 on a CPU; f16 beside bf16 on a card.
const DENSE_COPY_BYTES: usize = 4;
