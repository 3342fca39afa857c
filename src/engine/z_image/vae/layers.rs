//! The layers that the blocks are made of.

use candle_core::{Result, Tensor};

use crate::engine::Backend;
use crate::engine::z_image::config::VaeConfig;
use crate::engine::z_image::ops::{self, GroupMoments, Sliding};
use crate::engine::z_image::weights::Weights;

/// eps of every norm, which the configuration does not give.
const NORM_EPS: f64 = 1e-6;

/// A convolution, with its way over the picture.
pub struct Conv {
    /// (outputs, kernel, kernel, inputs).
    weight: Tensor,
    bias: Tensor,
    sliding: Sliding,
}

impl Conv {
    /// One that keeps height and width.
    pub fn new(inputs: usize, outputs: usize, kernel: usize, weights: &Weights) -> Result<Conv> {
        Conv::sliding([inputs, outputs], kernel, Sliding::dense(kernel / 2), weights)
    }

    /// One to half the height and the width. A row of the result sees the two rows that it comes
    /// from, and the one below them.
    pub fn halving(channels: usize, weights: &Weights) -> Result<Conv> {
        Conv::sliding([channels; 2], 3, Sliding::HALVING, weights)
    }

    /// One that sees each pixel as a square of four: to twice the height and the width.
    pub fn doubling(channels: usize, weights: &Weights) -> Result<Conv> {
        Conv::sliding([channels; 2], 3, Sliding::DOUBLING, weights)
    }

    fn sliding(
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        sliding: Sliding,
        weights: &Weights,
    ) -> Result<Conv> {
        let weight = weights.get("weight", (outputs, inputs, kernel, kernel))?;
        let bias = weights.get("bias", outputs)?;
        Ok(Conv { weight: ops::conv_weight(&weight)?, bias, sliding })
    }

    /// `x` (b, h, w, inputs) to (b, h, w, outputs), or other heights and widths.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::conv2d(x, &self.weight, &self.bias, self.sliding, None)
    }

    /// The same, added to `residual` in the same pass.
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        ops::conv2d(x, &self.weight, &self.bias, self.sliding, Some(residual))
    }
}

pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: usize,
}

impl GroupNorm {
    pub fn new(config: &VaeConfig, channels: usize, weights: &Weights) -> Result<GroupNorm> {
        Ok(GroupNorm {
            weight: weights.get("weight", channels)?,
            bias: weights.get("bias", channels)?,
            groups: config.norm_num_groups,
        })
    }

    /// `x` (b, h, w, channels), normed.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::group_norm_silu(x, &self.weight, &self.bias, self.groups, NORM_EPS, false)
    }

    /// `x` (b, h, w, channels), normed and through SiLU.
    pub fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        ops::group_norm_silu(x, &self.weight, &self.bias, self.groups, NORM_EPS, true)
    }

    /// The moments of the activation that `parts` (1, rows, w, channels) make up.
    pub fn moments<P: AsRef<Tensor>>(
        &self,
        parts: impl Iterator<Item = Result<P>>,
    ) -> Result<GroupMoments> {
        let mut moments = GroupMoments::new(self.groups);
        for part in parts {
            moments.add(part?.as_ref())?;
        }
        Ok(moments)
    }

    /// As [`GroupNorm::forward_silu`] for a part of the activation whose moments are given.
    pub fn forward_silu_of_part(&self, x: &Tensor, moments: &GroupMoments) -> Result<Tensor> {
        ops::group_norm_silu_of_part(x, moments, &self.weight, &self.bias, NORM_EPS)
    }
}

/// Bytes of an activation of so many channels and pixels.
pub fn activation_bytes(backend: Backend, channels: usize, pixels: usize) -> usize {
    channels * pixels * backend.element_bytes()
}
