//! The encoder's downward blocks.

use candle_core::{Result, Tensor};

use super::layers::{Conv, activation_bytes};
use super::resnet::{self, ResnetBlock};
use super::stripes::{Striped, StripedSize, Window};
use crate::engine::Backend;
use crate::engine::z_image::config::VaeConfig;
use crate::engine::z_image::device_memory::DeviceMemory;
use crate::engine::z_image::live::Live;
use crate::engine::z_image::ops;
use crate::engine::z_image::weights::Weights;

/// Residual blocks, then half the height and width in all but the last block.
pub struct DownBlock {
    resnets: Vec<ResnetBlock>,
    downsampler: Option<Conv>,
}

impl DownBlock {
    pub fn new(
        config: &VaeConfig,
        inputs: usize,
        outputs: usize,
        downsamples: bool,
        weights: &Weights,
    ) -> Result<DownBlock> {
        let resnet = |i: usize| {
            let inputs = if i == 0 { inputs } else { outputs };
            ResnetBlock::new(config, inputs, outputs, &weights.prefixed("resnets").prefixed(i))
        };
        let downsampler = || Conv::halving(outputs, &weights.prefixed("downsamplers.0.conv"));
        Ok(DownBlock {
            resnets: (0..config.layers_per_block).map(resnet).collect::<Result<_>>()?,
            downsampler: downsamples.then(downsampler).transpose()?,
        })
    }

    /// Takes `x` (b, h, w, inputs) by value, so that it is freed when it has been read.
    pub fn forward(&self, mut x: Tensor, memory: &DeviceMemory) -> Result<Tensor> {
        for resnet in &self.resnets {
            x = resnet.forward(&x, memory)?;
        }
        let Some(conv) = &self.downsampler else { return Ok(x) };
        require_downsample(&x, memory)?;
        conv.forward(&x)
    }

    /// As [`DownBlock::forward`], with the norms' statistics from all stripes. Where it halves the
    /// height, that of each stripe must be even.
    pub fn forward_striped(&self, mut x: Striped, memory: &DeviceMemory) -> Result<Striped> {
        for resnet in &self.resnets {
            x = resnet.forward_striped(x, memory)?;
        }
        let Some(conv) = &self.downsampler else { return Ok(x) };
        let downsample = |window: Result<Window>| {
            let rows = window?.without_above()?;
            require_downsample(&rows, memory)?;
            conv.forward(&rows)
        };
        x.into_windows(1).map(downsample).collect()
    }
}

/// Asks `memory` for [`downsample_bytes`] of `x` (b, h, w, channels).
fn require_downsample(x: &Tensor, memory: &DeviceMemory) -> Result<()> {
    let (b, h, w, channels) = x.dims4()?;
    memory.require(downsample_bytes(memory.backend(), b * h * w, channels))
}

/// What halving so many pixels each way needs beside them.
fn downsample_bytes(backend: Backend, pixels: usize, channels: usize) -> usize {
    let halved = pixels / 4;
    activation_bytes(backend, channels, halved) + ops::conv2d_bytes(backend, halved, channels)
}

/// The most that [`DownBlock::forward`] needs, its input included.
pub fn down_bytes(
    backend: Backend,
    pixels: usize,
    inputs: usize,
    outputs: usize,
    downsamples: bool,
) -> usize {
    let resnet = |inputs| {
        let input = activation_bytes(backend, inputs, pixels);
        input + resnet::whole_bytes(backend, pixels, inputs, outputs)
    };
    let last = activation_bytes(backend, outputs, pixels);
    let downsample = if downsamples { downsample_bytes(backend, pixels, outputs) } else { 0 };
    resnet(inputs).max(resnet(outputs)).max(last + downsample)
}

/// The most that [`DownBlock::forward_striped`] needs, its input and its result included.
pub fn down_striped_bytes(
    size: &StripedSize,
    inputs: usize,
    outputs: usize,
    downsamples: bool,
) -> usize {
    let resnets = resnet::striped_bytes(size, inputs, outputs)
        .max(resnet::striped_bytes(size, outputs, outputs));
    let downsample = if downsamples { downsample_striped_bytes(size, outputs) } else { 0 };
    resnets.max(downsample)
}

/// The most is needed at the first window, when nearly all of the larger activation is there.
fn downsample_striped_bytes(size: &StripedSize, channels: usize) -> usize {
    let window_pixels = size.window_pixels(1);
    let window = activation_bytes(size.backend, channels, window_pixels);
    let mut live = Live::new();
    live.hold(size.activation_bytes(channels));
    live.hold(size.if_cut(size.row_bytes(channels))); // the row above the next stripe
    live.hold(size.if_cut(window)); // the window's rows side by side
    live.hold(size.if_cut(window)); // those of them from the stripe's first on
    live.release(size.if_cut(window));
    live.hold(downsample_bytes(size.backend, window_pixels, channels));
    live.peak()
}
