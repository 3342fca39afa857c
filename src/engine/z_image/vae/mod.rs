//! The Flux autoencoder. Its decoder makes latents to a picture, whole, in stripes or in tiles; its
//! encoder, which few renders need, the other way round.
//! Source: diffusers' `autoencoders/vae.py`.

mod attention;
mod blocks;
mod down;
mod encoder;
mod encoder_bytes;
mod layers;
mod resnet;
mod scratch;
mod stripes;
mod tiles;
mod values;

use candle_core::{DType, Device, Result, Tensor, bail};

use self::blocks::{MidBlock, UpBlock};
pub use self::encoder::{Distribution, Encoder};
pub use self::encoder_bytes::{encode_striped_bytes, encode_tiled_bytes, encode_whole_bytes};
use self::layers::{Conv, GroupNorm};
use self::resnet::window_bytes;
use self::scratch::last_bytes;
pub use self::scratch::{striped_bytes, tiled_bytes, whole_bytes};
use self::stripes::{Striped, Window};
use self::tiles::Canvas;
pub use self::values::{decoder_values, encoder_values};
use super::config::VaeConfig;
use super::device_memory::DeviceMemory;
use super::ops::GroupMoments;
use super::weights::Weights;

/// The decoder's weights and configuration.
pub struct Decoder {
    config: VaeConfig,
    conv_in: Conv,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv,
    /// Of the whole autoencoder.
    weights: Weights,
    memory: DeviceMemory,
}

impl Decoder {
    /// Takes the weights by their names in the hub's files, from `decoder.` on.
    pub fn new(config: &VaeConfig, weights: &Weights, memory: &DeviceMemory) -> Result<Decoder> {
        let all = weights;
        let weights = weights.prefixed("decoder");
        let channels = config.decoder_channels();
        let (Some(&deepest), Some(&last)) = (channels.first(), channels.last()) else {
            bail!("block_out_channels is empty");
        };
        let up_block = |i: usize| {
            let inputs = channels[i.saturating_sub(1)];
            let upsamples = i + 1 < channels.len();
            UpBlock::new(
                config,
                inputs,
                channels[i],
                upsamples,
                &weights.prefixed("up_blocks").prefixed(i),
            )
        };
        Ok(Decoder {
            conv_in: Conv::new(config.latent_channels, deepest, 3, &weights.prefixed("conv_in"))?,
            mid_block: MidBlock::new(config, deepest, &weights.prefixed("mid_block"))?,
            up_blocks: (0..channels.len()).map(up_block).collect::<Result<_>>()?,
            conv_norm_out: GroupNorm::new(config, last, &weights.prefixed("conv_norm_out"))?,
            conv_out: Conv::new(last, config.out_channels, 3, &weights.prefixed("conv_out"))?,
            config: config.clone(),
            weights: all.clone(),
            memory: memory.clone(),
        })
    }

    /// The encoder of the same autoencoder, read from its files; or why they have none that this
    /// port can compute.
    pub fn encoder(&self) -> Result<std::result::Result<Encoder, String>> {
        if !self.weights.contains("encoder.conv_in.weight") {
            return Ok(Err("the model's VAE has no encoder".to_owned()));
        }
        if self.weights.contains("quant_conv.weight") {
            return Ok(Err("the model's VAE is not Z-Image's: it has a quant_conv".to_owned()));
        }
        let bytes = encoder_values(&self.config) * self.memory.backend().element_bytes();
        self.memory.require(bytes)?;
        let encoder = Encoder::new(&self.config, &self.weights, &self.memory)?;
        Ok(self.weights.finish().map(|()| encoder))
    }

    /// Latents (b, channels, h, w) to pictures (b, factor * h, factor * w, 3), f32, about -1 to 1.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        self.decode_up(self.decode_mid(latents)?)
    }

    /// As [`Decoder::decode`] for one picture, in stripes of at most `stripe_height` rows of
    /// latents (at least 1). The result is on the host, and the same but for rounding: GroupNorm
    /// takes its statistics from all stripes, and convolutions see across their edges. It costs
    /// about two thirds more arithmetic. At any time one whole activation is in memory, and beside
    /// it what the computation of one stripe needs. The middle block runs whole: its attention sees
    /// the whole picture, and it is small.
    pub fn decode_striped(&self, latents: &Tensor, stripe_height: usize) -> Result<Tensor> {
        let mut x = Striped::cut(&self.decode_mid(latents)?, stripe_height)?;
        for block in &self.up_blocks {
            x = block.forward_striped(x, &self.memory)?;
        }
        let moments = self.conv_norm_out.moments(x.stripes().map(Ok))?;
        let rows = x
            .into_windows(1)
            .map(|window| self.decode_rows(window?, &moments))
            .collect::<Result<Vec<_>>>()?;
        Tensor::cat(&rows, 1)
    }

    /// The picture's rows of the last block's stripe, on the host.
    fn decode_rows(&self, window: Window, moments: &GroupMoments) -> Result<Tensor> {
        let (_, h, w, channels) = window.rows.dims4()?;
        let colours = self.config.out_channels;
        self.memory.require(window_bytes(self.memory.backend(), h * w, channels, colours))?;
        let normed = window.map(|x| self.conv_norm_out.forward_silu_of_part(x, moments))?;
        let rows = normed.map(|y| self.conv_out.forward(y))?.crop(0)?.rows;
        rows.to_dtype(DType::F32)?.to_device(&Device::Cpu)
    }

    /// As [`Decoder::decode`] for one picture, in tiles of at most `tile_side` latent pixels each
    /// way, which are blended where they overlap. The result is on the host. The middle block runs
    /// whole: its attention sees the whole picture, and it is small. GroupNorm takes its statistics
    /// from each tile alone, so that the result differs a little.
    pub fn decode_tiled(&self, latents: &Tensor, tile_side: usize) -> Result<Tensor> {
        let mid = self.decode_mid(latents)?;
        let (_, height, width, _) = mid.dims4()?;
        let rows = tiles::spans(height, tile_side);
        let columns = tiles::spans(width, tile_side);
        let mut canvas = Canvas::new(self.config.out_channels, height, width, self.config.factor());
        for row in &rows {
            for column in &columns {
                let tile =
                    mid.narrow(1, row.start, row.length)?.narrow(2, column.start, column.length)?;
                canvas.add(&self.decode_up(tile.contiguous()?)?, row, column)?;
            }
        }
        canvas.into_tensor()
    }

    /// What is computed at the latents' size: unscaling, the first convolution, the middle block.
    /// From here on channels are the last dimension.
    fn decode_mid(&self, latents: &Tensor) -> Result<Tensor> {
        let shift = self.config.shift_factor.unwrap_or(0.0);
        let unscaled =
            ((latents / self.config.scaling_factor)? + shift)?.to_dtype(self.weights.dtype())?;
        let unscaled = unscaled.permute((0, 2, 3, 1))?.contiguous()?;
        self.mid_block.forward(self.conv_in.forward(&unscaled)?, &self.memory)
    }

    /// From the middle block's output to the picture. Every block but the last doubles the size.
    fn decode_up(&self, mid: Tensor) -> Result<Tensor> {
        let mut x = mid;
        for block in &self.up_blocks {
            x = block.forward(x, &self.memory)?;
        }
        let (b, h, w, channels) = x.dims4()?;
        let colours = self.config.out_channels;
        self.memory.require(last_bytes(self.memory.backend(), b * h * w, channels, colours))?;
        x = self.conv_norm_out.forward_silu(&x)?;
        self.conv_out.forward(&x)?.to_dtype(DType::F32)
    }
}
