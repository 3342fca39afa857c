//! What the decoder is made of: residual blocks of convolutions, and attention in the middle.

use candle_core::{Module, Result, Tensor};

use super::stripes::{Striped, Window};
use crate::engine::z_image::config::VaeConfig;
use crate::engine::z_image::linear::Linear;
use crate::engine::z_image::memory::Memory;
use crate::engine::z_image::ops::{self, GroupMoments};
use crate::engine::z_image::predict::{
    resnet_bytes, upsample_bytes, vae_attention_bytes, window_bytes,
};
use crate::engine::z_image::weights::Weights;

/// eps of every norm, which the configuration does not give.
const NORM_EPS: f64 = 1e-6;

/// A convolution that keeps the size.
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

    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::conv2d(x, &self.weight, Some(&self.bias), self.kernel / 2)
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

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::group_norm_silu(x, &self.weight, &self.bias, self.groups, NORM_EPS, false)
    }

    pub fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        ops::group_norm_silu(x, &self.weight, &self.bias, self.groups, NORM_EPS, true)
    }

    /// The moments of the activation that `parts` (1, c, h, w) make up.
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

    /// As [`GroupNorm::forward_silu`] for a part of the activation that `moments` are of.
    pub fn forward_silu_of_part(&self, x: &Tensor, moments: &GroupMoments) -> Result<Tensor> {
        ops::group_norm_silu_of_part(x, moments, &self.weight, &self.bias, NORM_EPS)
    }
}

/// Two convolutions beside a shortcut.
struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv,
    norm2: GroupNorm,
    conv2: Conv,
    /// Where the number of channels changes.
    conv_shortcut: Option<Conv>,
    outputs: usize,
}

impl ResnetBlock {
    fn new(
        config: &VaeConfig,
        inputs: usize,
        outputs: usize,
        weights: &Weights,
    ) -> Result<ResnetBlock> {
        let shortcut = || Conv::new(inputs, outputs, 1, &weights.at("conv_shortcut"));
        Ok(ResnetBlock {
            norm1: GroupNorm::new(config, inputs, &weights.at("norm1"))?,
            conv1: Conv::new(inputs, outputs, 3, &weights.at("conv1"))?,
            norm2: GroupNorm::new(config, outputs, &weights.at("norm2"))?,
            conv2: Conv::new(outputs, outputs, 3, &weights.at("conv2"))?,
            conv_shortcut: (inputs != outputs).then(shortcut).transpose()?,
            outputs,
        })
    }

    fn forward(&self, x: &Tensor, memory: &Memory) -> Result<Tensor> {
        let (b, inputs, h, w) = x.dims4()?;
        memory.require(resnet_bytes(memory.arithmetic(), b * h * w, inputs, self.outputs))?;
        // One name for all, so that each result goes when the next has come.
        let mut y = self.norm1.forward_silu(x)?;
        y = self.conv1.forward(&y)?;
        y = self.norm2.forward_silu(&y)?;
        y = self.conv2.forward(&y)?;
        self.add_shortcut(x, &y)
    }

    fn add_shortcut(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        match &self.conv_shortcut {
            Some(conv) => ops::add(&conv.forward(x)?, y),
            None => ops::add(x, y),
        }
    }

    /// As [`ResnetBlock::forward`]. The second norm's moments need the first convolution everywhere
    /// before the second one can begin anywhere; it is computed twice, because keeping it would
    /// take another activation's memory.
    fn forward_striped(&self, x: Striped, memory: &Memory) -> Result<Striped> {
        let first = self.norm1.moments(x.stripes().map(Ok))?;
        let hidden = |window: Window, halo| {
            let (_, inputs, h, w) = window.rows.dims4()?;
            memory.require(window_bytes(memory.arithmetic(), h * w, inputs, self.outputs))?;
            let normed = window.map(|x| self.norm1.forward_silu_of_part(x, &first))?;
            normed.map(|y| self.conv1.forward(y))?.trim(halo)
        };
        let second = self
            .norm2
            .moments(x.clone().into_windows(1).map(|window| Ok(hidden(window?, 0)?.rows)))?;
        let finish = |window: Result<Window>| {
            let normed =
                hidden(window?, 1)?.map(|y| self.norm2.forward_silu_of_part(y, &second))?;
            let Window { stripe, rows, .. } = normed.map(|y| self.conv2.forward(y))?.trim(0)?;
            self.add_shortcut(&stripe, &rows)
        };
        x.into_windows(2).map(finish).collect()
    }
}

/// Self-attention over all pixels, with one head.
struct Attention {
    group_norm: GroupNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
}

impl Attention {
    fn new(config: &VaeConfig, channels: usize, weights: &Weights) -> Result<Attention> {
        let linear = |name| weights.linear(name, channels, channels, true);
        Ok(Attention {
            group_norm: GroupNorm::new(config, channels, &weights.at("group_norm"))?,
            to_q: linear("to_q")?,
            to_k: linear("to_k")?,
            to_v: linear("to_v")?,
            to_out: linear("to_out.0")?,
        })
    }

    fn forward(&self, x: &Tensor, memory: &Memory) -> Result<Tensor> {
        let (b, channels, h, w) = x.dims4()?;
        let pixels = h * w;
        memory.require(vae_attention_bytes(memory.arithmetic(), b * pixels, channels))?;
        let rows = self.group_norm.forward(x)?.flatten_from(2)?.transpose(1, 2)?.contiguous()?;
        let head = |linear: &Linear| linear.forward(&rows)?.unsqueeze(2);
        let scale = (channels as f64).powf(-0.5);
        let y =
            ops::attention(head(&self.to_q)?, head(&self.to_k)?, head(&self.to_v)?, scale, false)?;
        let y = self.to_out.forward(&y.squeeze(2)?)?;
        x + y.transpose(1, 2)?.reshape((b, channels, h, w))?
    }
}

pub struct MidBlock {
    before: ResnetBlock,
    attention: Attention,
    after: ResnetBlock,
}

impl MidBlock {
    pub fn new(config: &VaeConfig, channels: usize, weights: &Weights) -> Result<MidBlock> {
        let resnet =
            |i: usize| ResnetBlock::new(config, channels, channels, &weights.at("resnets").at(i));
        Ok(MidBlock {
            before: resnet(0)?,
            attention: Attention::new(config, channels, &weights.at("attentions.0"))?,
            after: resnet(1)?,
        })
    }

    /// Takes `x`, so that it can go when it is read.
    pub fn forward(&self, mut x: Tensor, memory: &Memory) -> Result<Tensor> {
        x = self.before.forward(&x, memory)?;
        x = self.attention.forward(&x, memory)?;
        self.after.forward(&x, memory)
    }
}

/// Residual blocks, then twice the size in all but the last.
pub struct UpBlock {
    resnets: Vec<ResnetBlock>,
    upsampler: Option<Conv>,
}

impl UpBlock {
    /// One more residual block than the encoder has (`layers_per_block`).
    pub fn new(
        config: &VaeConfig,
        inputs: usize,
        outputs: usize,
        upsamples: bool,
        weights: &Weights,
    ) -> Result<UpBlock> {
        let resnet = |i: usize| {
            let inputs = if i == 0 { inputs } else { outputs };
            ResnetBlock::new(config, inputs, outputs, &weights.at("resnets").at(i))
        };
        let upsampler = || Conv::new(outputs, outputs, 3, &weights.at("upsamplers.0.conv"));
        Ok(UpBlock {
            resnets: (0..=config.layers_per_block).map(resnet).collect::<Result<_>>()?,
            upsampler: upsamples.then(upsampler).transpose()?,
        })
    }

    /// Takes `x`, so that it can go when it is read.
    pub fn forward(&self, mut x: Tensor, memory: &Memory) -> Result<Tensor> {
        for resnet in &self.resnets {
            x = resnet.forward(&x, memory)?;
        }
        let Some(conv) = &self.upsampler else { return Ok(x) };
        memory.require(upsampling_bytes(&x, memory)?)?;
        x = ops::upsample_nearest2(&x)?;
        conv.forward(&x)
    }

    /// As [`UpBlock::forward`], with the norms' statistics from all stripes.
    pub fn forward_striped(&self, mut x: Striped, memory: &Memory) -> Result<Striped> {
        for resnet in &self.resnets {
            x = resnet.forward_striped(x, memory)?;
        }
        let Some(conv) = &self.upsampler else { return Ok(x) };
        let upsample = |window: Result<Window>| {
            let window = window?;
            memory.require(upsampling_bytes(&window.rows, memory)?)?;
            Ok(window.upsample()?.map(|x| conv.forward(x))?.trim(0)?.rows)
        };
        x.into_windows(1).map(upsample).collect()
    }
}

/// What the upsampler allocates: `x` (b, c, h, w) doubled, and its convolution.
fn upsampling_bytes(x: &Tensor, memory: &Memory) -> Result<usize> {
    let (b, channels, h, w) = x.dims4()?;
    Ok(upsample_bytes(memory.arithmetic(), b * h * w, channels))
}
