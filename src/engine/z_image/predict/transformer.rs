//! Conditioning and denoising: the most that is alive beside the weights.

use super::Work;
use crate::engine::Backend;
use crate::engine::z_image::config::ModelConfig;
use crate::engine::z_image::geometry::ROWS_MULTIPLE;
use crate::engine::z_image::transformer::{
    angles_bytes, block_scratch_bytes, conditioning_bytes, times_bytes,
};
use crate::job::SamplerKind;
use crate::ladder::Rung;

/// Rows of the picture and of the caption, padded.
pub struct Rows {
    pub picture: usize,
    pub caption: usize,
}

impl Rows {
    pub fn of(model: &ModelConfig, rung: &Rung, work: Work) -> Rows {
        let side = model.vae.factor() * model.transformer.patch();
        let patches = (rung.width as usize / side) * (rung.height as usize / side);
        Rows {
            picture: patches.next_multiple_of(ROWS_MULTIPLE),
            caption: work.tokens.next_multiple_of(ROWS_MULTIPLE),
        }
    }

    pub fn all(&self) -> usize {
        self.picture + self.caption
    }
}

/// The most while a caption is refined and the angles are computed. With guidance the negative
/// prompt comes second, when the first conditioning is there already.
pub fn condition_bytes(model: &ModelConfig, backend: Backend, rung: &Rung, work: Work) -> usize {
    let config = &model.transformer;
    let rows = Rows::of(model, rung, work);
    let first = match work.guided {
        true => conditioning_bytes(config, backend, rows.picture, rows.caption),
        false => 0,
    };
    let embedding = 2 * size_of::<f32>() * work.tokens * config.cap_feat_dim;
    let caption = rows.caption * config.dim * backend.element_bytes();
    let caption_angles = angles_bytes(config, rows.caption);
    let caption_lora = work.lora.caption_rows;
    let refine =
        block_scratch_bytes(config, backend, rung.precision, (1, rows.caption), caption_lora);
    // Angles, cosines and sines of all rows are alive together.
    let angles = angles_bytes(config, rows.picture) + angles_bytes(config, rows.all()) * 3 / 2;
    first + embedding + caption + caption_angles + refine.max(angles)
}

/// What the prompts become, while something is denoised with them.
pub fn conditionings_bytes(
    model: &ModelConfig,
    backend: Backend,
    rung: &Rung,
    work: Work,
) -> usize {
    let rows = Rows::of(model, rung, work);
    let one = conditioning_bytes(&model.transformer, backend, rows.picture, rows.caption);
    if work.guided { 2 * one } else { one }
}

/// The most while denoising: within a block over all rows, beside the conditionings, the times and
/// the latents.
pub fn bytes(model: &ModelConfig, backend: Backend, rung: &Rung, work: Work) -> usize {
    let config = &model.transformer;
    let rows = Rows::of(model, rung, work);
    let factor = model.vae.factor();
    let latent_pixels = (rung.width as usize / factor) * (rung.height as usize / factor);
    let latents = size_of::<f32>() * config.in_channels * latent_pixels;
    // The latents before and after the step, and as patches; with guidance the first velocity too.
    let latents_alive = if work.guided { 4 } else { 3 };
    // What the step before made out; what is blended in again after each step, and where.
    let kept =
        usize::from(work.sampler == SamplerKind::ResMultistep) + if work.is_masked { 3 } else { 0 };
    let input = rows.all() * config.dim * backend.element_bytes();
    conditionings_bytes(model, backend, rung, work)
        + times_bytes(config, backend, rung.steps as usize)
        + (latents_alive + kept) * latents
        + input
        + block_scratch_bytes(config, backend, rung.precision, (1, rows.all()), work.lora.all_rows)
}
