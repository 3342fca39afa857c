//! The decoder's middle block and its upward blocks.

use candle_core::{Result, Tensor};

use super::attention::{self, Attention};
use super::layers::{Conv, activation_bytes};
use super::resnet::{self, ResnetBlock};
use super::stripes::{Striped, StripedSize, Window};
use crate::engine::Backend;
use crate::engine::z_image::config::VaeConfig;
use crate::engine::z_image::device_memory::DeviceMemory;
use crate::engine::z_image::live::Live;
use crate::engine::z_image::ops;
use crate::engine::z_image::weights::Weights;

pub struct MidBlock {
    before: ResnetBlock,
    attention: Attention,
    after: ResnetBlock,
}

impl MidBlock {
    pub fn new(config: &VaeConfig, channels: usize, weights: &Weights) -> Result<MidBlock> {
        let resnet = |i: usize| {
            ResnetBlock::new(config, channels, channels, &weights.prefixed("resnets").prefixed(i))
        };
        Ok(MidBlock {
            before: resnet(0)?,
            attention: Attention::new(config, channels, &weights.prefixed("attentions.0"))?,
            after: resnet(1)?,
        })
    }

    /// Takes `x` (b, h, w, channels) by value, so that it is freed when it has been read.
    pub fn forward(&self, mut x: Tensor, memory: &DeviceMemory) -> Result<Tensor> {
        x = self.before.forward(&x, memory)?;
        x = self.attention.forward(&x, memory)?;
        self.after.forward(&x, memory)
    }
}

/// The most that [`MidBlock::forward`] needs, its input included.
pub fn mid_bytes(backend: Backend, pixels: usize, channels: usize) -> usize {
    let within = resnet::whole_bytes(backend, pixels, channels, channels)
        .max(attention::scratch_bytes(backend, pixels, channels));
    activation_bytes(backend, channels, pixels) + within
}

/// Residual blocks, then twice the height and width in all but the last block.
pub struct UpBlock {
    resnets: Vec<ResnetBlock>,
    upsampler: Option<Conv>,
}

impl UpBlock {
    /// The decoder has one more residual block than the encoder, whose number `layers_per_block`
    /// is.
    pub fn new(
        config: &VaeConfig,
        inputs: usize,
        outputs: usize,
        upsamples: bool,
        weights: &Weights,
    ) -> Result<UpBlock> {
        let resnet = |i: usize| {
            let inputs = if i == 0 { inputs } else { outputs };
            ResnetBlock::new(config, inputs, outputs, &weights.prefixed("resnets").prefixed(i))
        };
        let upsampler = || Conv::doubling(outputs, &weights.prefixed("upsamplers.0.conv"));
        Ok(UpBlock {
            resnets: (0..=config.layers_per_block).map(resnet).collect::<Result<_>>()?,
            upsampler: upsamples.then(upsampler).transpose()?,
        })
    }

    /// Takes `x` (b, h, w, inputs) by value, so that it is freed when it has been read.
    pub fn forward(&self, mut x: Tensor, memory: &DeviceMemory) -> Result<Tensor> {
        for resnet in &self.resnets {
            x = resnet.forward(&x, memory)?;
        }
        let Some(conv) = &self.upsampler else { return Ok(x) };
        require_upsample(&x, memory)?;
        conv.forward(&x)
    }

    /// As [`UpBlock::forward`], with the norms' statistics from all stripes.
    pub fn forward_striped(&self, mut x: Striped, memory: &DeviceMemory) -> Result<Striped> {
        for resnet in &self.resnets {
            x = resnet.forward_striped(x, memory)?;
        }
        let Some(conv) = &self.upsampler else { return Ok(x) };
        let upsample = |window: Result<Window>| {
            let window = window?;
            require_upsample(&window.rows, memory)?;
            Ok(window.doubled(|x| conv.forward(x))?.crop(0)?.rows)
        };
        x.into_windows(1).map(upsample).collect()
    }
}

/// Asks `memory` for [`upsample_bytes`] of `x` (b, h, w, channels).
fn require_upsample(x: &Tensor, memory: &DeviceMemory) -> Result<()> {
    let (b, h, w, channels) = x.dims4()?;
    memory.require(upsample_bytes(memory.backend(), b * h * w, channels))
}

/// What the convolution of so many pixels, seen doubled each way, needs beside them.
fn upsample_bytes(backend: Backend, pixels: usize, channels: usize) -> usize {
    let doubled = 4 * pixels;
    activation_bytes(backend, channels, doubled) + ops::conv2d_bytes(backend, doubled, channels)
}

/// The most that [`UpBlock::forward`] needs, its input included.
pub fn up_bytes(
    backend: Backend,
    pixels: usize,
    inputs: usize,
    outputs: usize,
    upsamples: bool,
) -> usize {
    let resnet = |inputs| {
        let input = activation_bytes(backend, inputs, pixels);
        input + resnet::whole_bytes(backend, pixels, inputs, outputs)
    };
    let last = activation_bytes(backend, outputs, pixels);
    let upsample = if upsamples { upsample_bytes(backend, pixels, outputs) } else { 0 };
    resnet(inputs).max(resnet(outputs)).max(last + upsample)
}

/// The most that [`UpBlock::forward_striped`] needs, its input and its result included.
pub fn up_striped_bytes(
    size: &StripedSize,
    inputs: usize,
    outputs: usize,
    upsamples: bool,
) -> usize {
    let resnets = resnet::striped_bytes(size, inputs, outputs)
        .max(resnet::striped_bytes(size, outputs, outputs));
    let upsample = if upsamples { upsample_striped_bytes(size, outputs) } else { 0 };
    resnets.max(upsample)
}

/// The most is needed at the last window, when nearly all stripes are doubled.
fn upsample_striped_bytes(size: &StripedSize, channels: usize) -> usize {
    let stripe = activation_bytes(size.backend, channels, size.window_pixels(0));
    let row = size.if_cut(size.row_bytes(channels));
    let mut live = Live::new();
    live.hold(4 * size.activation_bytes(channels)); // the results, this stripe's included
    live.hold(stripe + row); // the stripe, and the row above it
    live.hold(size.if_cut(stripe + 2 * row)); // the window's rows side by side
    live.hold(4 * 2 * row); // the rows that will be cropped from this stripe's result
    live.hold(ops::conv2d_bytes(size.backend, 4 * size.window_pixels(1), channels));
    live.peak()
}
