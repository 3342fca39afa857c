//! The embeddings of the timestep and of the caption that the blocks are given.

use candle_core::{DType, Device, Result, Tensor};

use crate::engine::z_image::config::TransformerConfig;
use crate::engine::z_image::geometry::{TIMESTEP_INNER, TIMESTEP_WAVES};
use crate::engine::z_image::linear::Linear;
use crate::engine::z_image::lora::Beside;
use crate::engine::z_image::ops;
use crate::engine::z_image::weights::Weights;

/// The longest period of the waves that a timestep is embedded in.
const MAX_PERIOD: f64 = 10_000.0;

pub struct TimestepEmbedder {
    mlp_in: Linear,
    mlp_out: Linear,
    /// (128), f32.
    frequencies: Tensor,
    t_scale: f64,
    dtype: DType,
}

impl TimestepEmbedder {
    pub fn new(config: &TransformerConfig, weights: &Weights) -> Result<TimestepEmbedder> {
        Ok(TimestepEmbedder {
            mlp_in: weights.linear("mlp.0", TIMESTEP_WAVES, TIMESTEP_INNER, true)?,
            mlp_out: weights.linear("mlp.2", TIMESTEP_INNER, config.adaln_dim(), true)?,
            frequencies: frequencies(weights.device())?,
            t_scale: config.t_scale,
            dtype: weights.dtype(),
        })
    }

    /// The embeddings of `times`: (times, adaln dim).
    pub fn forward(&self, times: &[f32], beside: Beside) -> Result<Tensor> {
        let scaled = times.iter().map(|t| t * self.t_scale as f32);
        let scaled = Tensor::from_iter(scaled, self.frequencies.device())?.unsqueeze(1)?;
        let angles = scaled.broadcast_mul(&self.frequencies.unsqueeze(0)?)?;
        let waves = Tensor::cat(&[angles.cos()?, angles.sin()?], 1)?.to_dtype(self.dtype)?;
        let inner = beside.forward("mlp.0", &self.mlp_in, &waves)?.silu()?;
        beside.forward("mlp.2", &self.mlp_out, &inner)
    }
}

/// `exp(-ln(10000) i / 128)`, in f32.
fn frequencies(device: &Device) -> Result<Tensor> {
    let half = TIMESTEP_WAVES / 2;
    let exponent = |i: usize| -(MAX_PERIOD.ln() as f32) * i as f32 / half as f32;
    Tensor::from_vec((0..half).map(|i| exponent(i).exp()).collect::<Vec<f32>>(), half, device)
}

pub struct CaptionEmbedder {
    norm: Tensor,
    linear: Linear,
    eps: f64,
}

impl CaptionEmbedder {
    pub fn new(config: &TransformerConfig, weights: &Weights) -> Result<CaptionEmbedder> {
        Ok(CaptionEmbedder {
            norm: weights.get("0.weight", config.cap_feat_dim)?,
            linear: weights.linear("1", config.cap_feat_dim, config.dim, true)?,
            eps: config.norm_eps,
        })
    }

    /// (tokens, cap_feat_dim) to (tokens, dim).
    pub fn forward(&self, caption: &Tensor, beside: Beside) -> Result<Tensor> {
        beside.forward("1", &self.linear, &ops::rms_norm(caption, &self.norm, self.eps)?)
    }
}
