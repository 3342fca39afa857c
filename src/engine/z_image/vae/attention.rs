//! The attention of the middle block.

use candle_core::{Module, Result, Tensor};

use super::layers::{GroupNorm, activation_bytes};
use crate::engine::Backend;
use crate::engine::z_image::config::VaeConfig;
use crate::engine::z_image::device_memory::DeviceMemory;
use crate::engine::z_image::linear::Linear;
use crate::engine::z_image::ops;
use crate::engine::z_image::weights::Weights;

/// Self-attention over all pixels, with one head.
pub struct Attention {
    group_norm: GroupNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
}

impl Attention {
    pub fn new(config: &VaeConfig, channels: usize, weights: &Weights) -> Result<Attention> {
        let linear = |name| weights.linear(name, channels, channels, true);
        Ok(Attention {
            group_norm: GroupNorm::new(config, channels, &weights.prefixed("group_norm"))?,
            to_q: linear("to_q")?,
            to_k: linear("to_k")?,
            to_v: linear("to_v")?,
            to_out: linear("to_out.0")?,
        })
    }

    /// `x` (b, h, w, channels) with what its pixels attend to added. Asks `memory` for
    /// [`scratch_bytes`].
    pub fn forward(&self, x: &Tensor, memory: &DeviceMemory) -> Result<Tensor> {
        let (b, h, w, channels) = x.dims4()?;
        memory.require(scratch_bytes(memory.backend(), b * h * w, channels))?;
        let rows = self.group_norm.forward(x)?.reshape((b, h * w, channels))?;
        let head = |linear: &Linear| linear.forward(&rows)?.unsqueeze(2);
        let scale = (channels as f64).powf(-0.5);
        let y =
            ops::attention(head(&self.to_q)?, head(&self.to_k)?, head(&self.to_v)?, scale, false)?;
        x + self.to_out.forward(&y.squeeze(2)?)?.reshape((b, h, w, channels))?
    }
}

/// The most that [`Attention::forward`] needs beside its input: while it attends, the normed rows,
/// queries, keys, values and the result.
pub fn scratch_bytes(backend: Backend, pixels: usize, channels: usize) -> usize {
    5 * activation_bytes(backend, channels, pixels)
        + ops::attention_bytes(backend, 1, (pixels, pixels), channels, false)
}
