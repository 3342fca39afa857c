//! The encoder of the Flux autoencoder: a picture to the distribution of its latents, whole, in
//! stripes or in tiles. Source: diffusers' `autoencoders/vae.py` (Encoder,
//! DiagonalGaussianDistribution).

use candle_core::{DType, Result, Tensor, bail};

use super::blocks::MidBlock;
use super::down::DownBlock;
use super::layers::{Conv, GroupNorm};
use super::resnet::window_bytes;
use super::scratch::last_bytes;
use super::stripes::{Striped, Window};
use super::tiles::{self, Canvas};
use crate::engine::z_image::config::VaeConfig;
use crate::engine::z_image::device_memory::DeviceMemory;
use crate::engine::z_image::weights::Weights;

/// Between these the logarithm of a variance is kept.
const LOG_VARIANCE: (f32, f32) = (-30.0, 20.0);

/// The encoder's weights and configuration.
pub struct Encoder {
    config: VaeConfig,
    conv_in: Conv,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    conv_norm_out: GroupNorm,
    conv_out: Conv,
    dtype: DType,
    memory: DeviceMemory,
}

impl Encoder {
    /// Takes the weights by their names in the hub's files, from `encoder.` on.
    pub fn new(config: &VaeConfig, weights: &Weights, memory: &DeviceMemory) -> Result<Encoder> {
        let weights = weights.prefixed("encoder");
        let channels = &config.block_out_channels;
        let (Some(&first), Some(&deepest)) = (channels.first(), channels.last()) else {
            bail!("block_out_channels is empty");
        };
        let down_block = |i: usize| {
            let inputs = channels[i.saturating_sub(1)];
            let downsamples = i + 1 < channels.len();
            let weights = weights.prefixed("down_blocks").prefixed(i);
            DownBlock::new(config, inputs, channels[i], downsamples, &weights)
        };
        let moments = 2 * config.latent_channels;
        Ok(Encoder {
            conv_in: Conv::new(config.out_channels, first, 3, &weights.prefixed("conv_in"))?,
            down_blocks: (0..channels.len()).map(down_block).collect::<Result<_>>()?,
            mid_block: MidBlock::new(config, deepest, &weights.prefixed("mid_block"))?,
            conv_norm_out: GroupNorm::new(config, deepest, &weights.prefixed("conv_norm_out"))?,
            conv_out: Conv::new(deepest, moments, 3, &weights.prefixed("conv_out"))?,
            config: config.clone(),
            dtype: weights.dtype(),
            memory: memory.clone(),
        })
    }

    /// Pictures (b, height, width, 3), -1 to 1, to the distribution of their latents.
    pub fn encode(&self, picture: &Tensor) -> Result<Distribution> {
        let down = self.encode_down(picture)?;
        self.encode_mid(down)
    }

    /// As [`Encoder::encode`] for one picture, in stripes of at most `stripe_height` rows of
    /// latents (at least 1), and the same but for rounding. The middle block runs whole: its
    /// attention sees the whole picture, and it is small.
    pub fn encode_striped(&self, picture: &Tensor, stripe_height: usize) -> Result<Distribution> {
        let picture = picture.to_dtype(self.dtype)?;
        let picture = Striped::cut_in_units(&picture, stripe_height, self.config.factor())?;
        let first = |window: Result<Window>| {
            let window = window?;
            self.require_first(&window.rows)?;
            Ok(window.map(|x| self.conv_in.forward(x))?.crop(0)?.rows)
        };
        let mut x: Striped = picture.into_windows(1).map(first).collect::<Result<_>>()?;
        for block in &self.down_blocks {
            x = block.forward_striped(x, &self.memory)?;
        }
        let stripes: Vec<Tensor> = x.stripes().cloned().collect();
        drop(x);
        let down = Tensor::cat(&stripes, 1)?;
        drop(stripes);
        self.encode_mid(down)
    }

    /// As [`Encoder::encode`] for one picture, in tiles of at most `tile_side` latent pixels each
    /// way, whose results before the middle block are blended where they overlap. GroupNorm takes
    /// its statistics from each tile alone, so that the result differs a little.
    pub fn encode_tiled(&self, picture: &Tensor, tile_side: usize) -> Result<Distribution> {
        let factor = self.config.factor();
        let (_, height, width, _) = picture.dims4()?;
        let rows = tiles::spans(height / factor, tile_side);
        let columns = tiles::spans(width / factor, tile_side);
        let deepest = self.config.decoder_channels()[0];
        let mut canvas = Canvas::new(deepest, height / factor, width / factor, 1);
        for row in &rows {
            for column in &columns {
                let tile = picture.narrow(1, row.start * factor, row.length * factor)?.narrow(
                    2,
                    column.start * factor,
                    column.length * factor,
                )?;
                let down = self.encode_down(&tile.contiguous()?)?;
                canvas.add(&down.to_dtype(DType::F32)?, row, column)?;
            }
        }
        let down = canvas.into_tensor()?.to_dtype(self.dtype)?.to_device(picture.device())?;
        self.encode_mid(down)
    }

    /// Everything before the middle block.
    fn encode_down(&self, picture: &Tensor) -> Result<Tensor> {
        let picture = picture.to_dtype(self.dtype)?;
        self.require_first(&picture)?;
        let mut x = self.conv_in.forward(&picture)?;
        for block in &self.down_blocks {
            x = block.forward(x, &self.memory)?;
        }
        Ok(x)
    }

    /// Asks the memory for what the first convolution of `rows` needs.
    fn require_first(&self, rows: &Tensor) -> Result<()> {
        let (b, h, w, colours) = rows.dims4()?;
        let channels = self.config.block_out_channels[0];
        let backend = self.memory.backend();
        self.memory.require(window_bytes(backend, b * h * w, colours, channels))
    }

    fn encode_mid(&self, down: Tensor) -> Result<Distribution> {
        let mut x = self.mid_block.forward(down, &self.memory)?;
        let (b, h, w, channels) = x.dims4()?;
        let moments = 2 * self.config.latent_channels;
        self.memory.require(last_bytes(self.memory.backend(), b * h * w, channels, moments))?;
        x = self.conv_norm_out.forward_silu(&x)?;
        let moments = self.conv_out.forward(&x)?.to_dtype(DType::F32)?;
        Distribution::of(&moments, &self.config)
    }
}

/// What latents of a picture may be: normal, each value by itself.
pub struct Distribution {
    /// (b, channels, height, width), f32, as the autoencoder counts.
    pub mean: Tensor,
    pub deviation: Tensor,
    config: VaeConfig,
}

impl Distribution {
    /// `moments` (b, height, width, 2 channels) are the means of all channels, and behind them the
    /// logarithms of their variances.
    fn of(moments: &Tensor, config: &VaeConfig) -> Result<Distribution> {
        let channels = config.latent_channels;
        let (least, most) = LOG_VARIANCE;
        let moments = moments.permute((0, 3, 1, 2))?;
        let log_variance = moments.narrow(1, channels, channels)?.clamp(least, most)?;
        Ok(Distribution {
            mean: moments.narrow(1, 0, channels)?.contiguous()?,
            deviation: (log_variance * 0.5)?.exp()?,
            config: config.clone(),
        })
    }

    /// Latents as the transformer knows them, drawn by normal `noise` of their shape.
    pub fn sample(&self, noise: &Tensor) -> Result<Tensor> {
        let drawn = (&self.mean + (&self.deviation * noise)?)?;
        let shift = self.config.shift_factor.unwrap_or(0.0);
        (drawn - shift)? * self.config.scaling_factor
    }
}
