//! The transformer, S3-DiT: a picture's patches and a caption's tokens in one stream.
//! Source: diffusers' `transformer_z_image.py`, for pictures of one size that share one caption.

mod block;
mod embed;
mod final_layer;
mod patches;
mod rope;
mod times;

use candle_core::{DType, Result, Tensor};

pub use self::block::scratch_bytes as block_scratch_bytes;
use self::block::{Block, Norms};
use self::embed::{CaptionEmbedder, TimestepEmbedder};
use self::final_layer::FinalLayer;
use self::patches::{PatchGrid, pad_rows};
use self::rope::Rope;
pub use self::rope::angles_bytes;
pub use self::times::{Timesteps, times_bytes};
use super::config::TransformerConfig;
use super::device_memory::DeviceMemory;
use super::linear::Linear;
use super::lora::{Adapters, Beside};
use super::stack::{Absent, Stack};
use super::weights::Weights;
use crate::engine::Backend;
use crate::job::lora::LoraPeak;
use crate::ladder::Precision;

/// The transformer's weights and configuration.
pub struct Transformer {
    config: TransformerConfig,
    timestep: TimestepEmbedder,
    caption: CaptionEmbedder,
    cap_pad_token: Tensor,
    context_refiner: Vec<Block>,
    x_embedder: Linear,
    x_pad_token: Tensor,
    noise_refiner: Vec<Block>,
    layers: Stack<Block>,
    final_layer: FinalLayer,
    adapters: Adapters,
    precision: Precision,
    memory: DeviceMemory,
}

/// What depends on the caption and on the picture's size but not on the timestep. It is computed
/// once for a denoising.
pub struct Conditioning {
    /// The refined caption, (1, padded length, dim).
    caption: Tensor,
    grid: PatchGrid,
    picture_rope: Rope,
    /// The angles of the picture's rows, followed by those of the caption's.
    rope: Rope,
}

/// Bytes of a [`Conditioning`] of so many padded rows.
pub fn conditioning_bytes(
    config: &TransformerConfig,
    backend: Backend,
    picture_rows: usize,
    caption_rows: usize,
) -> usize {
    let caption = caption_rows * config.dim * backend.element_bytes();
    let picture_rope = angles_bytes(config, picture_rows);
    caption + picture_rope + angles_bytes(config, picture_rows + caption_rows)
}

impl Transformer {
    /// Takes the weights by their names in the hub's files. No layer but the refiners is in memory
    /// before [`Transformer::place_weights`].
    pub fn new(
        config: &TransformerConfig,
        weights: &Weights,
        memory: &DeviceMemory,
    ) -> Result<Transformer> {
        let blocks = |name: &str, count: usize, modulated: bool| -> Result<Vec<Block>> {
            (0..count)
                .map(|i| Block::new(config, modulated, &weights.prefixed(name).prefixed(i)))
                .collect()
        };
        let (dim, key) = (config.dim, config.patch_key());
        let patch_dim = config.patch() * config.patch() * config.in_channels;
        let of_layer = config.clone();
        Ok(Transformer {
            timestep: TimestepEmbedder::new(config, &weights.prefixed("t_embedder"))?,
            caption: CaptionEmbedder::new(config, &weights.prefixed("cap_embedder"))?,
            cap_pad_token: weights.get("cap_pad_token", (1, dim))?,
            context_refiner: blocks("context_refiner", config.n_refiner_layers, false)?,
            x_embedder: weights.prefixed("all_x_embedder").linear(&key, patch_dim, dim, true)?,
            x_pad_token: weights.get("x_pad_token", (1, dim))?,
            noise_refiner: blocks("noise_refiner", config.n_refiner_layers, true)?,
            layers: Stack::new(
                config.n_layers,
                &weights.prefixed("layers"),
                memory,
                move |weights| Block::new(&of_layer, true, weights),
            )?,
            final_layer: FinalLayer::new(
                config,
                patch_dim,
                &weights.prefixed("all_final_layer").prefixed(key),
            )?,
            config: config.clone(),
            adapters: Adapters::default(),
            precision: weights.precision(),
            memory: memory.clone(),
        })
    }

    /// Has the first `resident` layers in memory, and the others streamed.
    pub fn place_weights(&mut self, resident: usize) -> Result<()> {
        self.layers.place_weights(resident, Absent::Streamed)
    }

    /// The LoRAs that it is used with: none at first.
    pub fn adapters(&self) -> &Adapters {
        &self.adapters
    }

    /// Is used with these LoRAs from now on.
    pub fn set_adapters(&mut self, adapters: Adapters) {
        self.adapters = adapters;
    }

    /// Embeds and refines a caption (tokens, cap_feat_dim) for latents of `height` by `width`.
    pub fn condition(&self, caption: &Tensor, height: usize, width: usize) -> Result<Conditioning> {
        let adapters = &self.adapters;
        let embedded = self.caption.forward(caption, adapters.beside("cap_embedder"))?;
        let embedded = embedded.unsqueeze(0)?;
        let mut caption = pad_rows(&embedded, &self.cap_pad_token)?;
        let length = caption.dim(1)?;
        let grid = PatchGrid::new(height, width, self.config.patch());
        let device = embedded.device();
        let caption_positions = rope::caption_positions(length);
        let caption_rope = Rope::new(&self.config, &caption_positions, device)?;
        for (index, block) in self.context_refiner.iter().enumerate() {
            self.require((1, length), self.adapters.size().caption_rows)?;
            let beside = adapters.beside_block("context_refiner", index);
            caption = block.forward(caption, &caption_rope, block.norms(), beside)?;
        }
        let mut positions = grid.positions(length + 1);
        let picture_rope = Rope::new(&self.config, &positions, device)?;
        positions.extend(caption_positions);
        let rope = Rope::new(&self.config, &positions, device)?;
        Ok(Conditioning { caption, grid, picture_rope, rope })
    }

    /// What `times` (0 is noise, 1 the picture) make of the weights and the LoRAs that it is used
    /// with now.
    pub fn times(&self, times: &[f32]) -> Result<Timesteps> {
        self.memory.require(times_bytes(&self.config, self.memory.backend(), times.len()))?;
        let embeddings = self.timestep.forward(times, self.adapters.beside("t_embedder"))?;
        let scales = self.final_layer.scales(&embeddings, self.beside_final_layer())?;
        let blocks = self.config.n_refiner_layers + self.config.n_layers;
        Ok(Timesteps::new(embeddings, scales, blocks))
    }

    fn beside_final_layer(&self) -> Beside<'_> {
        self.adapters.beside(&format!("all_final_layer.{}", self.config.patch_key()))
    }

    /// The velocity at step `step` (from 0) of `times` of `latents` (b, channels, height, width),
    /// in f32. All pictures of the batch have the size and the caption of `conditioning`.
    pub fn forward(
        &self,
        latents: &Tensor,
        (times, step): (&Timesteps, usize),
        conditioning: &Conditioning,
    ) -> Result<Tensor> {
        let c = conditioning;
        let batch = latents.dim(0)?;
        let dtype = c.caption.dtype();
        let adapters = &self.adapters;
        let patches = c.grid.patchify(&latents.to_dtype(dtype)?)?;
        let beside = adapters.beside("all_x_embedder");
        let patches = beside.forward(&self.config.patch_key(), &self.x_embedder, &patches)?;
        let mut x = pad_rows(&patches, &self.x_pad_token)?;
        for (index, block) in self.noise_refiner.iter().enumerate() {
            let beside = adapters.beside_block("noise_refiner", index);
            let norms = times.norms(index, step, |t| block.norms_at(t, beside))?;
            x = self.run((block, beside), x, &c.picture_rope, &norms)?;
        }
        let caption = c.caption.broadcast_as((batch, c.caption.dim(1)?, self.config.dim))?;
        x = Tensor::cat(&[&x, &caption], 1)?;
        let refiners = self.noise_refiner.len();
        x = self.layers.pass(x, |index, block, x| {
            let beside = adapters.beside_block("layers", index);
            let norms = times.norms(refiners + index, step, |t| block.norms_at(t, beside))?;
            self.run((block, beside), x, &c.rope, &norms)
        })?;
        let picture = x.narrow(1, 0, c.grid.patches())?;
        let scale = times.scale(step)?;
        let patches = self.final_layer.forward(&picture, &scale, self.beside_final_layer())?;
        c.grid.unpatchify(&patches)?.to_dtype(DType::F32)
    }

    /// Asks for the room that one block needs over (batch, rows), with what LoRAs take there.
    fn require(&self, sizes: (usize, usize), lora: LoraPeak) -> Result<()> {
        let backend = self.memory.backend();
        let scratch = block_scratch_bytes(&self.config, backend, self.precision, sizes, lora);
        self.memory.require(scratch)
    }

    fn run(
        &self,
        (block, beside): (&Block, Beside),
        x: Tensor,
        rope: &Rope,
        norms: &Norms,
    ) -> Result<Tensor> {
        self.require((x.dim(0)?, x.dim(1)?), self.adapters.size().all_rows)?;
        block.forward(x, rope, norms, beside)
    }
}
