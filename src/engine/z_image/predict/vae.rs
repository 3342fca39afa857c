//! The VAE's decode: what is alive beside the weights.

use super::Arithmetic;
use crate::engine::z_image::config::VaeConfig;
use crate::engine::z_image::{ops, vae};

/// The most of a whole decode, the picture of f32 at the end included.
pub fn whole_bytes(config: &VaeConfig, arithmetic: Arithmetic, width: usize, height: usize) -> usize {
    let factor = config.factor();
    let (width, height) = (width / factor, height / factor);
    mid_bytes(config, arithmetic, width * height).max(up_bytes(config, arithmetic, width * height))
}

/// The most of a decode in tiles: within one tile, beside the whole middle block's result and the picture in f32.
pub fn tiled_bytes(config: &VaeConfig, arithmetic: Arithmetic, width: usize, height: usize, side: usize) -> usize {
    let factor = config.factor();
    let (width, height, side) = (width / factor, height / factor, side / factor);
    let mid = mid_bytes(config, arithmetic, width * height);
    let deepest = config.decoder_channels()[0] * width * height * arithmetic.element_bytes();
    let canvas = match arithmetic {
        Arithmetic::Cpu { .. } => 4 * config.out_channels * width * height * factor * factor,
        // The host holds it.
        Arithmetic::Cuda => 0,
    };
    let tile = vae::tile_length(width, side) * vae::tile_length(height, side);
    mid.max(deepest + canvas + up_bytes(config, arithmetic, tile))
}

/// The most of a decode in stripes.
pub fn striped_bytes(config: &VaeConfig, arithmetic: Arithmetic, width: usize, height: usize, stripe: usize) -> usize {
    whole_bytes(config, arithmetic, width, height.min(stripe))
}

/// The most at the latents' size: in the middle block's attention or in one of its residual blocks.
fn mid_bytes(config: &VaeConfig, arithmetic: Arithmetic, pixels: usize) -> usize {
    let deepest = config.decoder_channels()[0];
    resnet_bytes(arithmetic, pixels, deepest, deepest).max(attention_bytes(arithmetic, pixels, deepest))
}

/// The most of the upward blocks for so many latent pixels.
fn up_bytes(config: &VaeConfig, arithmetic: Arithmetic, latent_pixels: usize) -> usize {
    let channels = config.decoder_channels();
    let mut most = 0;
    let mut pixels = latent_pixels;
    for (level, &outputs) in channels.iter().enumerate() {
        let inputs = channels[level.saturating_sub(1)];
        most = most.max(resnet_bytes(arithmetic, pixels, inputs, outputs));
        most = most.max(resnet_bytes(arithmetic, pixels, outputs, outputs));
        if level + 1 < channels.len() {
            pixels *= 4;
            most = most.max(upsample_bytes(arithmetic, pixels, outputs));
        }
    }
    let last = channels[channels.len() - 1];
    most.max(last_bytes(arithmetic, pixels, last, config.out_channels))
}

/// The most within a residual block, its input included: at a convolution, or at the sum with the shortcut.
pub fn resnet_bytes(arithmetic: Arithmetic, pixels: usize, inputs: usize, outputs: usize) -> usize {
    let bytes = |channels: usize| pixels * channels * arithmetic.element_bytes();
    let scratch = |inputs| ops::conv2d_bytes(arithmetic, pixels, inputs, outputs);
    let norm1 = bytes(2 * inputs + norm_copies(arithmetic) * inputs);
    let conv1 = bytes(2 * inputs + outputs) + scratch(inputs);
    let norm2 = bytes(inputs + 2 * outputs + norm_copies(arithmetic) * outputs);
    let conv2 = bytes(inputs + 2 * outputs) + scratch(outputs);
    let shortcut = if inputs == outputs { 0 } else { outputs };
    let sum = bytes(inputs + 2 * outputs + shortcut);
    [norm1, conv1, norm2, conv2, sum].into_iter().max().unwrap_or(0)
}

/// The most within the middle block's attention, its input included.
pub fn attention_bytes(arithmetic: Arithmetic, pixels: usize, channels: usize) -> usize {
    // Input, rows, queries, keys, values, result.
    6 * pixels * channels * arithmetic.element_bytes() + ops::attention_bytes(arithmetic, 1, 1, pixels, pixels)
}

/// The most while a picture is doubled to `pixels` and convolved.
pub fn upsample_bytes(arithmetic: Arithmetic, pixels: usize, channels: usize) -> usize {
    let doubled = pixels * channels * arithmetic.element_bytes();
    2 * doubled + ops::conv2d_bytes(arithmetic, pixels, channels, channels)
}

/// The most at the end: the last norm, and the convolution to colours, which become f32.
fn last_bytes(arithmetic: Arithmetic, pixels: usize, channels: usize, colours: usize) -> usize {
    let bytes = |channels: usize| pixels * channels * arithmetic.element_bytes();
    let norm = bytes((2 + norm_copies(arithmetic)) * channels);
    let conv = bytes(channels + colours) + ops::conv2d_bytes(arithmetic, pixels, channels, colours);
    norm.max(conv)
}

/// Copies of its input that a group norm makes beside its result: in f32 where that is wider.
fn norm_copies(arithmetic: Arithmetic) -> usize {
    match arithmetic {
        Arithmetic::Cpu { .. } => 0,
        Arithmetic::Cuda => 6,
    }
}
