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

    /// What times (steps, adaln dim) scale the stream by: (steps, dim). Here, unlike in the blocks,
    /// SiLU comes first.
    pub fn scales(&self, t: &Tensor, beside: Beside) -> Result<Tensor> {
        beside.forward("adaLN_modulation.1", &self.modulation, &t.silu()?)? + 1.0
    }

    /// `x` (b, s, dim), scaled by `scale` (dim), to (b, s, patch dim).
    pub fn forward(&self, x: &Tensor, scale: &Tensor, beside: Beside) -> Result<Tensor> {
        beside.forward("linear", &self.linear, &ops::layer_norm(x, scale, NORM_EPS)?)
    }
}
