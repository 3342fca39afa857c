//! From a recipe's prompts to what is denoised towards them.

use candle_core::Tensor;

use super::{ZImageEngine, no_weights};
use crate::engine::cache::Values;
use crate::engine::z_image::device;
use crate::engine::z_image::embedder::encodes_ahead;
use crate::engine::z_image::oom::at;
use crate::engine::z_image::parts::Parts;
use crate::engine::z_image::sampler::Guidance;
use crate::engine::z_image::transformer::Conditioning;
use crate::engine::{Engine, Recipe, Result, Stage};
use crate::ladder::Rung;

impl ZImageEngine {
    /// What is denoised towards `prompt`.
    pub(super) fn condition(&mut self, prompt: &str, rung: &Rung) -> Result<Conditioning> {
        let [_, height, width] = self.latent_shape(rung);
        let embedding = self.embed(prompt)?;
        let parts = self.parts()?;
        Tensor::from_vec(embedding.values, embedding.shape, &parts.device)
            .and_then(|caption| caption.to_dtype(device::dtype(&parts.device)))
            .and_then(|caption| parts.transformer.condition(&caption, height, width))
            .and_then(|conditioning| parts.device.synchronize().map(|()| conditioning))
            .map_err(at(Stage::TextEncode))
    }

    /// The text encoder's output for `prompt`, known or new: (tokens, hidden).
    fn embed(&mut self, prompt: &str) -> Result<Values> {
        let Some(parts) = &self.parts else { return Err(no_weights()) };
        self.embedder.embed(prompt, &dtype_name(parts), |ids| parts.encode(ids))
    }

    /// Encodes the new ones of the prompts of `recipe`, and with them those that come next, where
    /// that costs little more than one.
    pub(super) fn encode_ahead(&mut self, recipe: &Recipe, rung: &Rung) -> Result<()> {
        if !encodes_ahead(self.backend(), rung.residency) {
            return Ok(());
        }
        let Some(parts) = &self.parts else { return Err(no_weights()) };
        let negative = recipe.is_guided().then_some(recipe.negative_prompt.as_str());
        let prompts: Vec<&str> = [recipe.prompt.as_str()].into_iter().chain(negative).collect();
        self.embedder.encode_ahead(&prompts, &dtype_name(parts), |ids| parts.encode(ids))
    }

    /// The negative prompt's, where guidance gives it an effect.
    pub(super) fn negative(
        &mut self,
        recipe: &Recipe,
        rung: &Rung,
    ) -> Result<Option<(Conditioning, Guidance)>> {
        if !recipe.is_guided() {
            return Ok(None);
        }
        Ok(Some((self.condition(&recipe.negative_prompt, rung)?, Guidance::of(recipe))))
    }
}

/// What the embeddings that are made on this device are kept as.
fn dtype_name(parts: &Parts) -> String {
    format!("{:?}", device::dtype(&parts.device))
}
