//! From the stream back to patches.

use candle_core::{Result, Tensor};

use crate::engine::z_image::config::TransformerConfig;
use crate::engine::z_image::linear::Linear;
use crate::engine::z_image::lora::Beside;
use crate::engine::z_image::ops;
use crate::engine::z_image::weights::Weights;

const NORM_EPS: f64 = 1e-6;

pub struct FinalLayer {
    modulation: Linear,
    linear: Linear,
}

impl FinalLayer {
    pub fn new(
        config: &TransformerConfig,
        patch_dim: usize,
        weights: &Weights,
    ) -> Result<FinalLayer> {
        Ok(FinalLayer {
            modulation: weights.linear(
                "adaLN_modulation.1",
                config.adaln_dim(),
                config.dim,
                true,
            )?,
            linear: weights.linear("linear", config.dim, patch_dim, true)?,
        })
    }

    /// `x` (b, s, dim) and `t` (b, adaln dim) to (b, s, patch dim). Here, unlike in the blocks,
    /// SiLU comes first.
    pub fn forward(&self, x: &Tensor, t: &Tensor, beside: Beside) -> Result<Tensor> {
        let modulation = beside.forward("adaLN_modulation.1", &self.modulation, &t.silu()?)?;
        let scale = (modulation + 1.0)?.unsqueeze(1)?;
        let x = ops::modulate(&ops::layer_norm(x, NORM_EPS)?, &scale)?;
        beside.forward("linear", &self.linear, &x)
    }
}
