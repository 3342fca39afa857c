//! The VAE's decode: what is alive beside the weights.

use super::Arithmetic;
use crate::engine::z_image::config::VaeConfig;
use crate::engine::z_image::{ops, vae};

/// The most of a whole decode, the picture of f32 at the end included.
pub fn whole_bytes(
    config: &VaeConfig,
    arithmetic: Arithmetic,
    width: usize,
    height: usize,
) -> usize {
    let pixels = (width / config.factor()) * (height / config.factor());
    mid_bytes(config, arithmetic, pixels).max(up_bytes(config, arithmetic, pixels))
}

/// The most of a decode in tiles: within one tile, beside the whole middle block's result and the
/// picture in f32.
pub fn tiled_bytes(
    config: &VaeConfig,
    arithmetic: Arithmetic,
    width: usize,
    height: usize,
    side: usize,
) -> usize {
    let factor = config.factor();
    let (width, height, side) = (width / factor, height / factor, side / factor);
    let mid = mid_bytes(config, arithmetic, width * height);
    let deepest = activation_bytes(arithmetic, config.decoder_channels()[0], width * height);
    let picture = 4 * config.out_channels * width * height * factor * factor;
    let tile = vae::tile_length(width, side) * vae::tile_length(height, side);
    mid.max(deepest + arithmetic.on_host(picture) + up_bytes(config, arithmetic, tile))
}

/// The most of a decode in stripes of at most `stripe` rows of the picture.
pub fn striped_bytes(
    config: &VaeConfig,
    arithmetic: Arithmetic,
    width: usize,
    height: usize,
    stripe: usize,
) -> usize {
    let factor = config.factor();
    let (width, height, stripe) = (width / factor, height / factor, (stripe / factor).max(1));
    let count = height.div_ceil(stripe);
    let mut level =
        Level { arithmetic, width, height, rows: height.div_ceil(count), is_cut: count > 1 };
    let channels = config.decoder_channels();
    let cut = 2 * activation_bytes(arithmetic, channels[0], width * height);
    let mut most = mid_bytes(config, arithmetic, width * height).max(cut);
    for (depth, &outputs) in channels.iter().enumerate() {
        let inputs = channels[depth.saturating_sub(1)];
        most =
            most.max(level.resnet_bytes(inputs, outputs)).max(level.resnet_bytes(outputs, outputs));
        if depth + 1 < channels.len() {
            most = most.max(level.upsample_bytes(outputs));
            level = Level {
                width: 2 * level.width,
                height: 2 * level.height,
                rows: 2 * level.rows,
                ..level
            };
        }
    }
    most.max(level.last_bytes(channels[channels.len() - 1], config.out_channels))
}

/// One resolution of a decode in stripes.
#[derive(Clone, Copy)]
struct Level {
    arithmetic: Arithmetic,
    width: usize,
    height: usize,
    /// Of the highest stripe.
    rows: usize,
    is_cut: bool,
}

impl Level {
    /// The whole activation.
    fn activation(&self, channels: usize) -> usize {
        activation_bytes(self.arithmetic, channels, self.width * self.height)
    }

    /// Pixels of a stripe with so many more rows around it.
    fn pixels(&self, more_rows: usize) -> usize {
        (self.rows + more_rows).min(self.height) * self.width
    }

    fn bytes(&self, channels: usize, pixels: usize) -> usize {
        activation_bytes(self.arithmetic, channels, pixels)
    }

    /// What is only there where there are several stripes.
    fn if_cut(&self, bytes: usize) -> usize {
        if self.is_cut { bytes } else { 0 }
    }

    /// In the first norm's moments, in the second's (a row of halo), or in the final pass (two
    /// rows): there the window, its norm, and a convolution.
    fn resnet_bytes(&self, inputs: usize, outputs: usize) -> usize {
        let first = self.activation(inputs);
        let second = self.activation(inputs) + self.pass_bytes(inputs, outputs, 2);
        let last = self.activation(inputs).max(self.activation(outputs))
            + self.pass_bytes(inputs, outputs, 4)
            + self.if_cut(self.bytes(inputs, self.width));
        first.max(second).max(last)
    }

    /// A stripe's way through the block with `more_rows` around it at the start.
    fn pass_bytes(&self, inputs: usize, outputs: usize, more_rows: usize) -> usize {
        let (window, inner) = (self.pixels(more_rows), self.pixels(more_rows - 2));
        let scratch = |pixels, inputs| ops::conv2d_bytes(self.arithmetic, pixels, inputs, outputs);
        let norm1 = self.bytes(inputs, window) + self.if_cut(self.bytes(inputs, window));
        let conv1 = self.bytes(inputs + outputs, window) + scratch(window, inputs);
        let trimmed = self.bytes(outputs, window + inner);
        let conv2 = self.bytes(2 * outputs, inner) + scratch(inner, outputs);
        let kept_row = self.if_cut(self.bytes(inputs, self.width));
        kept_row + norm1.max(conv1).max(trimmed).max(conv2)
    }

    /// At the last window, when nearly all is doubled already.
    fn upsample_bytes(&self, channels: usize) -> usize {
        let (stripe, window) = (self.pixels(0), self.pixels(2));
        let doubled = 4 * self.activation(channels) + self.bytes(5 * channels, stripe);
        let kept_rows = self.if_cut(self.bytes(17 * channels, self.width));
        doubled + kept_rows + ops::conv2d_bytes(self.arithmetic, 4 * window, channels, channels)
    }

    /// The last norm and the convolution to colours; at the end the picture's rows come together on
    /// the host.
    fn last_bytes(&self, channels: usize, colours: usize) -> usize {
        let window = self.pixels(2);
        let norm = self.bytes(channels, window) + self.if_cut(self.bytes(channels, window));
        let conv = self.bytes(channels + colours, window)
            + ops::conv2d_bytes(self.arithmetic, window, channels, colours);
        let kept_row = self.if_cut(self.bytes(channels, self.width));
        let picture = self.arithmetic.on_host(2 * 4 * colours * self.width * self.height);
        (self.activation(channels) + kept_row + norm.max(conv)).max(picture)
    }
}

/// The most at the latents' size: in the middle block's attention or in one of its residual blocks.
fn mid_bytes(config: &VaeConfig, arithmetic: Arithmetic, pixels: usize) -> usize {
    let deepest = config.decoder_channels()[0];
    let within = resnet_bytes(arithmetic, pixels, deepest, deepest)
        .max(attention_bytes(arithmetic, pixels, deepest));
    activation_bytes(arithmetic, deepest, pixels) + within
}

/// The most that a window of so many pixels needs beside itself, which its norm replaces: the norm
/// beside it, or a convolution's result beside the norm. The decoder's blocks give no more channels
/// than they take.
pub fn window_bytes(arithmetic: Arithmetic, pixels: usize, inputs: usize, outputs: usize) -> usize {
    let bytes = |channels: usize| activation_bytes(arithmetic, channels, pixels);
    bytes(inputs).max(bytes(outputs) + ops::conv2d_bytes(arithmetic, pixels, inputs, outputs))
}

/// The most of the upward blocks for so many latent pixels.
fn up_bytes(config: &VaeConfig, arithmetic: Arithmetic, latent_pixels: usize) -> usize {
    let channels = config.decoder_channels();
    let mut most = 0;
    let mut pixels = latent_pixels;
    for (level, &outputs) in channels.iter().enumerate() {
        let inputs = channels[level.saturating_sub(1)];
        for inputs in [inputs, outputs] {
            let input = activation_bytes(arithmetic, inputs, pixels);
            most = most.max(input + resnet_bytes(arithmetic, pixels, inputs, outputs));
        }
        if level + 1 < channels.len() {
            most = most.max(upsample_bytes(arithmetic, pixels, outputs));
            pixels *= 4;
        }
    }
    let last = channels[channels.len() - 1];
    most.max(
        activation_bytes(arithmetic, last, pixels)
            + last_bytes(arithmetic, pixels, last, config.out_channels),
    )
}

fn activation_bytes(arithmetic: Arithmetic, channels: usize, pixels: usize) -> usize {
    channels * pixels * arithmetic.element_bytes()
}

/// The most within a residual block beside its input: at a convolution, or at the sum with the
/// shortcut.
pub fn resnet_bytes(arithmetic: Arithmetic, pixels: usize, inputs: usize, outputs: usize) -> usize {
    let bytes = |channels: usize| activation_bytes(arithmetic, channels, pixels);
    let scratch = |inputs| ops::conv2d_bytes(arithmetic, pixels, inputs, outputs);
    let norm1 = bytes(inputs);
    let conv1 = bytes(inputs + outputs) + scratch(inputs);
    let norm2 = bytes(2 * outputs);
    let conv2 = bytes(2 * outputs) + scratch(outputs);
    let shortcut = if inputs == outputs { 0 } else { outputs };
    let sum = bytes(2 * outputs + shortcut);
    [norm1, conv1, norm2, conv2, sum].into_iter().max().unwrap_or(0)
}

/// The most within the middle block's attention beside its input: rows, queries, keys, values,
/// result.
pub fn attention_bytes(arithmetic: Arithmetic, pixels: usize, channels: usize) -> usize {
    let rows = 5 * activation_bytes(arithmetic, channels, pixels);
    rows + ops::attention_bytes(arithmetic, 1, (pixels, pixels), channels)
}

/// The most while a picture of so many pixels, which goes when it is read, is doubled each way and
/// convolved.
pub fn upsample_bytes(arithmetic: Arithmetic, pixels: usize, channels: usize) -> usize {
    let doubled = activation_bytes(arithmetic, channels, 4 * pixels);
    2 * doubled + ops::conv2d_bytes(arithmetic, 4 * pixels, channels, channels)
}

/// The most at the end beside the last block's result: its norm, and the convolution to colours,
/// which become f32.
pub fn last_bytes(arithmetic: Arithmetic, pixels: usize, channels: usize, colours: usize) -> usize {
    let bytes = |channels: usize| activation_bytes(arithmetic, channels, pixels);
    let norm = bytes(channels);
    norm.max(
        bytes(channels + 3 * colours) + ops::conv2d_bytes(arithmetic, pixels, channels, colours),
    )
}
