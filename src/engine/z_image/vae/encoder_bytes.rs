//! What an encoding needs at the most beside its weights, in its three ways.

use super::blocks::mid_bytes;
use super::down::{down_bytes, down_striped_bytes};
use super::layers::activation_bytes;
use super::scratch::{PICTURE_VALUE_BYTES, last_bytes};
use super::stripes::StripedSize;
use crate::engine::Backend;
use crate::engine::z_image::config::VaeConfig;
use crate::engine::z_image::geometry::Tiling;
use crate::engine::z_image::ops;

/// The most of [`super::Encoder::encode`] of a picture of `width` by `height` pixels, the picture
/// included.
pub fn encode_whole_bytes(
    config: &VaeConfig,
    backend: Backend,
    width: usize,
    height: usize,
) -> usize {
    let pixels = width * height;
    let picture = picture_bytes(config, backend, pixels);
    let converted = converted_bytes(config, backend, pixels);
    let down = picture + converted + downward_bytes(config, backend, pixels);
    down.max(picture + middle_bytes(config, backend, pixels))
}

/// The most of [`super::Encoder::encode_striped`] with stripes of at most `stripe` rows of the
/// picture.
pub fn encode_striped_bytes(
    config: &VaeConfig,
    backend: Backend,
    width: usize,
    height: usize,
    stripe: usize,
) -> usize {
    let factor = config.factor();
    let rows = (stripe / factor).max(1);
    let mut size = StripedSize::cut(backend, width / factor, height / factor, rows).times(factor);
    let (pixels, channels) = (width * height, &config.block_out_channels);
    let picture = picture_bytes(config, backend, pixels);
    let converted = converted_bytes(config, backend, pixels);
    let mut most = first_striped_bytes(&size, config.out_channels, channels[0]);
    for (level, &outputs) in channels.iter().enumerate() {
        let inputs = channels[level.saturating_sub(1)];
        let downsamples = level + 1 < channels.len();
        most = most.max(down_striped_bytes(&size, inputs, outputs, downsamples));
        if downsamples {
            size = size.halved();
        }
    }
    // The stripes, and what they are put together to.
    let together = 2 * size.activation_bytes(channels[channels.len() - 1]);
    picture + converted + most.max(together).max(middle_bytes(config, backend, pixels))
}

/// The most of [`super::Encoder::encode_tiled`] with tiles of at most `side` pixels each way:
/// within one tile, beside the picture and the blended results of all tiles.
pub fn encode_tiled_bytes(
    config: &VaeConfig,
    backend: Backend,
    width: usize,
    height: usize,
    side: usize,
) -> usize {
    let factor = config.factor();
    let tile_length = |length: usize| Tiling::new(length / factor, side / factor).tile;
    let latents = tile_length(width) * tile_length(height);
    let (pixels, tile_pixels) = (width * height, latents * factor * factor);
    let deepest = config.decoder_channels()[0];
    let blended = |latents: usize| PICTURE_VALUE_BYTES * deepest * latents;
    let canvas = backend.host_buffer_bytes(blended(pixels / factor / factor));
    let cut = picture_bytes(config, backend, tile_pixels);
    let converted = converted_bytes(config, backend, tile_pixels);
    let added = 3 * blended(latents);
    let tile = cut + converted + downward_bytes(config, backend, tile_pixels).max(added);
    let picture = picture_bytes(config, backend, pixels);
    picture + canvas + tile.max(middle_bytes(config, backend, pixels))
}

/// The picture as f32, beside its pixels on the host.
fn picture_bytes(config: &VaeConfig, backend: Backend, pixels: usize) -> usize {
    let values = config.out_channels * pixels;
    PICTURE_VALUE_BYTES * values + backend.host_buffer_bytes(values)
}

/// The picture once more in the type that is computed in, where that is another.
fn converted_bytes(config: &VaeConfig, backend: Backend, pixels: usize) -> usize {
    match backend {
        Backend::Cpu { .. } => 0,
        Backend::Cuda => activation_bytes(backend, config.out_channels, pixels),
    }
}

/// The most of the first convolution and the downward blocks.
fn downward_bytes(config: &VaeConfig, backend: Backend, pixels: usize) -> usize {
    let channels = &config.block_out_channels;
    let first = activation_bytes(backend, channels[0], pixels)
        + ops::conv2d_bytes(backend, pixels, config.out_channels);
    let down = (0..channels.len()).map(|level| {
        let inputs = channels[level.saturating_sub(1)];
        let downsamples = level + 1 < channels.len();
        down_bytes(backend, pixels >> (2 * level), inputs, channels[level], downsamples)
    });
    down.fold(first, usize::max)
}

/// The most of the first convolution in stripes: the picture's stripes, its windows, and the
/// result.
fn first_striped_bytes(size: &StripedSize, colours: usize, channels: usize) -> usize {
    let window_pixels = size.window_pixels(1);
    let cut = size.if_cut(size.activation_bytes(colours));
    let window = size.if_cut(activation_bytes(size.backend, colours, window_pixels));
    let convolved = activation_bytes(size.backend, channels, window_pixels);
    let scratch = ops::conv2d_bytes(size.backend, window_pixels, colours);
    cut + size.activation_bytes(channels) + window + convolved + scratch
}

/// The most of the middle block and of what follows it.
fn middle_bytes(config: &VaeConfig, backend: Backend, pixels: usize) -> usize {
    let latents = pixels / config.factor() / config.factor();
    let deepest = config.decoder_channels()[0];
    let moments = 2 * config.latent_channels;
    let last = activation_bytes(backend, deepest, latents)
        + last_bytes(backend, latents, deepest, moments);
    mid_bytes(backend, latents, deepest).max(last)
}
