//! How many values the weights of the VAE's two halves have.

use crate::engine::z_image::config::VaeConfig;

/// Values of the decoder's weights.
pub fn decoder_values(vae: &VaeConfig) -> usize {
    let channels = vae.decoder_channels();
    let (deepest, last) = (channels[0], channels[channels.len() - 1]);
    let ends = conv(vae.latent_channels, deepest, 9) + 2 * last + conv(last, vae.out_channels, 9);
    ends + middle(deepest) + levels(&channels, vae.layers_per_block)
}

/// Values of the encoder's weights.
pub fn encoder_values(vae: &VaeConfig) -> usize {
    let channels = &vae.block_out_channels;
    let (first, deepest) = (channels[0], channels[channels.len() - 1]);
    let moments = 2 * vae.latent_channels;
    let ends = conv(vae.out_channels, first, 9) + 2 * deepest + conv(deepest, moments, 9);
    ends + middle(deepest) + levels(channels, vae.layers_per_block.saturating_sub(1))
}

/// A convolution over a window of so many pixels, with its bias.
fn conv(inputs: usize, outputs: usize, window: usize) -> usize {
    (inputs * window + 1) * outputs
}

/// Two norms and two convolutions, and the shortcut where the number of channels changes.
fn resnet(inputs: usize, outputs: usize) -> usize {
    let shortcut = if inputs == outputs { 0 } else { conv(inputs, outputs, 1) };
    2 * inputs + conv(inputs, outputs, 9) + 2 * outputs + conv(outputs, outputs, 9) + shortcut
}

/// Two residual blocks, and the attention between them with its norm.
fn middle(channels: usize) -> usize {
    2 * resnet(channels, channels) + 2 * channels + 4 * conv(channels, channels, 1)
}

/// All levels, of these channels in their order. Each has one residual block from the channels
/// before it and `more` of its own; each but the last changes the size.
fn levels(channels: &[usize], more: usize) -> usize {
    let level = |level: usize| {
        let (inputs, outputs) = (channels[level.saturating_sub(1)], channels[level]);
        let sampler = if level + 1 < channels.len() { conv(outputs, outputs, 9) } else { 0 };
        resnet(inputs, outputs) + more * resnet(outputs, outputs) + sampler
    };
    (0..channels.len()).map(level).sum()
}
