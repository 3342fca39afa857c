//! What a decode needs at the most beside the weights, in its three ways.

use super::blocks::{mid_bytes, up_bytes, up_striped_bytes};
use super::layers::activation_bytes;
use super::stripes::StripedSize;
use crate::engine::Backend;
use crate::engine::z_image::config::VaeConfig;
use crate::engine::z_image::geometry::Tiling;
use crate::engine::z_image::live::Live;
use crate::engine::z_image::ops;

/// Bytes of a value of the finished picture, which is f32 on every device.
pub const PICTURE_VALUE_BYTES: usize = 4;

/// The most of [`super::Decoder::decode`] for a picture of `width` by `height` pixels, the result
/// included.
pub fn whole_bytes(config: &VaeConfig, backend: Backend, width: usize, height: usize) -> usize {
    let latent_pixels = (width / config.factor()) * (height / config.factor());
    middle_bytes(config, backend, latent_pixels).max(upward_bytes(config, backend, latent_pixels))
}

/// The most of [`super::Decoder::decode_tiled`] with tiles of at most `side` pixels each way:
/// within one tile, beside the middle block's whole result and the picture.
pub fn tiled_bytes(
    config: &VaeConfig,
    backend: Backend,
    width: usize,
    height: usize,
    side: usize,
) -> usize {
    let factor = config.factor();
    let tile_length = |length: usize| Tiling::new(length / factor, side / factor).tile;
    let latent_pixels = (width / factor) * (height / factor);
    let tile = upward_bytes(config, backend, tile_length(width) * tile_length(height));
    let middle_result = activation_bytes(backend, config.decoder_channels()[0], latent_pixels);
    let picture = PICTURE_VALUE_BYTES * config.out_channels * latent_pixels * factor * factor;
    let tiles = middle_result + backend.host_buffer_bytes(picture) + tile;
    middle_bytes(config, backend, latent_pixels).max(tiles)
}

/// The most of [`super::Decoder::decode_striped`] with stripes of at most `stripe` rows of the
/// picture.
pub fn striped_bytes(
    config: &VaeConfig,
    backend: Backend,
    width: usize,
    height: usize,
    stripe: usize,
) -> usize {
    let factor = config.factor();
    let rows = (stripe / factor).max(1);
    let mut size = StripedSize::cut(backend, width / factor, height / factor, rows);
    let channels = config.decoder_channels();
    let cut = 2 * size.activation_bytes(channels[0]); // the middle block's result, and its copy
    let mut most = middle_bytes(config, backend, size.width * size.height).max(cut);
    for (level, &outputs) in channels.iter().enumerate() {
        let inputs = channels[level.saturating_sub(1)];
        let upsamples = level + 1 < channels.len();
        most = most.max(up_striped_bytes(&size, inputs, outputs, upsamples));
        if upsamples {
            size = size.doubled();
        }
    }
    most.max(last_striped_bytes(&size, channels[channels.len() - 1], config.out_channels))
}

fn middle_bytes(config: &VaeConfig, backend: Backend, latent_pixels: usize) -> usize {
    mid_bytes(backend, latent_pixels, config.decoder_channels()[0])
}

/// The most of the upward blocks and of what follows them.
fn upward_bytes(config: &VaeConfig, backend: Backend, latent_pixels: usize) -> usize {
    let channels = config.decoder_channels();
    let mut pixels = latent_pixels;
    let mut most = 0;
    for (level, &outputs) in channels.iter().enumerate() {
        let inputs = channels[level.saturating_sub(1)];
        let upsamples = level + 1 < channels.len();
        most = most.max(up_bytes(backend, pixels, inputs, outputs, upsamples));
        if upsamples {
            pixels *= 4;
        }
    }
    let last = channels[channels.len() - 1];
    let input = activation_bytes(backend, last, pixels);
    most.max(input + last_bytes(backend, pixels, last, config.out_channels))
}

/// The most that the last norm and the convolution to colours, which become f32, need beside their
/// input.
pub fn last_bytes(backend: Backend, pixels: usize, channels: usize, colours: usize) -> usize {
    let normed = activation_bytes(backend, channels, pixels);
    let convolved = activation_bytes(backend, colours, pixels);
    let as_f32 = 2 * convolved; // f32 beside bf16
    normed + convolved + as_f32 + ops::conv2d_bytes(backend, pixels, channels)
}

/// The same in stripes, the input included. At the end the picture's rows are put together on the
/// host.
fn last_striped_bytes(size: &StripedSize, channels: usize, colours: usize) -> usize {
    let window_pixels = size.window_pixels(1);
    let window = activation_bytes(size.backend, channels, window_pixels);
    let convolved = activation_bytes(size.backend, colours, window_pixels);
    let copy = size.if_cut(window);
    let mut live = Live::new();
    live.hold(size.activation_bytes(channels));
    live.hold(size.if_cut(size.row_bytes(channels))); // the row above the next stripe
    live.hold(copy); // the window's rows side by side
    live.replace(copy, window, 0); // the norm
    live.hold(convolved);
    live.hold(ops::conv2d_bytes(size.backend, window_pixels, channels));
    let picture = PICTURE_VALUE_BYTES * colours * size.width * size.height;
    live.peak().max(size.backend.host_buffer_bytes(2 * picture))
}
