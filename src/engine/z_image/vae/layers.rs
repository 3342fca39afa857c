//! The layers that the blocks are made of.

use candle_core::{Result, Tensor};

use crate::engine::Backend;
use crate::engine::z_image::config::VaeConfig;
use crate::engine::z_image::ops::{self, GroupMoments};
use crate::engine::z_image::weights::Weights;

/// eps of every norm, which the configuration does not give.
const NORM_EPS: f64 = 1e-6;

/// A convolution that keeps height and width.
pub struct Conv {
    weight: Tensor,
    bias: Tensor,
    kernel: usize,
}

impl Conv {
    pub fn new(inputs: usize, outputs: usize, kernel: usize, weights: &Weights) -> Result<Conv> {
        Ok(Conv {
            weight: weights.get("weight", (outputs, inputs, kernel, kernel))?,
            bias: weights.get("bias", outputs)?,
            kernel,
        })
    }

    /// `x` (b, inputs, h, w) to (b, outputs, h, w).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::conv2d(x, &self.weight, Some(&self.bias), self.kernel / 2)
    }
}

/// A convolution to half the height and the width.
pub struct Downsample {
    weight: Tensor,
    bias: Tensor,
}

impl Downsample {
    pub fn new(channels: usize, weights: &Weights) -> Result<Downsample> {
        Ok(Downsample {
            weight: weights.get("weight", (channels, channels, 3, 3))?,
            bias: weights.get("bias", channels)?,
        })
    }

    /// `x` (b, channels, h, w) to (b, channels, h / 2, w / 2). A row of the result sees the two
    /// rows that it comes from, and the one below them.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::conv2d_halving(x, &self.weight, &self.bias)
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

    /// `x` (b, channels, h, w), normed.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::group_norm_silu(x, &self.weight, &self.bias, self.groups, NORM_EPS, false)
    }

    /// `x` (b, channels, h, w), normed and through SiLU.
    pub fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        ops::group_norm_silu(x, &self.weight, &self.bias, self.groups, NORM_EPS, true)
    }

    /// The moments of the activation that `parts` (1, channels, rows, w) make up.
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
