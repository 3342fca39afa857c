//! Bytes that a render needs on a rung, by stage, from the model's configuration alone.
//!
//! The figures follow the engine's code tensor by tensor: each function names the moments when most
//! is alive. `tests/memory` holds them against what is measured on a CPU: never below, at most 15 %
//! above.

mod text;
mod transformer;
mod vae;
mod weights;

use gemm_common::cache::CACHE_INFO;
use serde::{Deserialize, Serialize};

pub use self::text::layer_bytes as text_layer_bytes;
pub use self::transformer::block_bytes;
pub use self::vae::{
    attention_bytes as vae_attention_bytes, last_bytes, resnet_bytes, upsample_bytes, window_bytes,
};
pub use self::weights::block_bytes as block_weights_bytes;
use super::config::ModelConfig;
use super::prompt::TOKENS_MAX;
use crate::engine::Recipe;
use crate::engine::embeddings::IN_MEMORY_MAX;
use crate::ladder::{Capabilities, Decode, Precision, Residency, Rung};
use crate::planner::Prediction;

/// Who computes: it decides the type of the values, and what an operation needs beside its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arithmetic {
    /// f32, our own operators.
    Cpu { threads: usize },
    /// bf16, our own kernels.
    Cuda,
}

impl Arithmetic {
    /// Of this process on a CPU.
    pub fn here() -> Arithmetic {
        Arithmetic::Cpu { threads: rayon::current_num_threads() }
    }

    /// Bytes of one value.
    pub fn element_bytes(self) -> usize {
        match self {
            Arithmetic::Cpu { .. } => 4,
            Arithmetic::Cuda => 2,
        }
    }

    /// What the host holds is no device's, unless the host is the device.
    fn on_host(self, bytes: usize) -> usize {
        match self {
            Arithmetic::Cpu { .. } => bytes,
            Arithmetic::Cuda => 0,
        }
    }
}

/// What is asked for, as far as the memory depends on it; size and steps come with the [`Rung`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Of the longer prompt, template included.
    pub tokens: usize,
    /// Whether a negative prompt takes part.
    pub guided: bool,
}

/// Tokens of the chat template around a prompt.
const TEMPLATE_TOKENS: usize = 8;

impl Work {
    /// For prompts that no tokenizer has seen: no token is shorter than a byte.
    pub fn of(recipe: &Recipe) -> Work {
        let guided = recipe.is_guided();
        let negative_bytes = if guided { recipe.negative_prompt.len() } else { 0 };
        let bytes = recipe.prompt.len().max(negative_bytes);
        Work { tokens: (bytes + TEMPLATE_TOKENS).min(TOKENS_MAX), guided }
    }
}

/// Into how many rungs the streaming of the transformer's layers is divided.
const STREAMED_RUNGS: usize = 10;

/// What the engine can do with this model, on a card or on a CPU.
pub fn capabilities(model: &ModelConfig, arithmetic: Arithmetic) -> Capabilities {
    let layers = model.transformer.n_layers;
    let resident: Vec<usize> = (0..layers).step_by(layers.div_ceil(STREAMED_RUNGS)).collect();
    let streamed =
        |resident_blocks: usize| Residency::Streamed { resident_blocks: resident_blocks as u32 };
    let mut residencies = vec![Residency::Device, Residency::TextReleased];
    residencies.extend(resident.into_iter().rev().map(streamed));
    if arithmetic == Arithmetic::Cuda {
        residencies.push(Residency::Host);
    }
    Capabilities {
        residencies,
        precisions: vec![Precision::Full, Precision::Q8, Precision::Q4],
        granularity: model.granularity() as u32,
        tile_side_min: (super::vae::TILE_SIDE_MIN * model.vae.factor()) as u32,
    }
}

/// Beside what is counted: the smallest tensors, and on the host what the tokenizer remembers.
const OVERHEAD_BYTES: usize = 1 << 20;
/// Of the activations: rounding of the allocator.
const OVERHEAD_DIVISOR: usize = 64;

impl Arithmetic {
    fn overhead_bytes(self, activations: usize) -> usize {
        let threads = match self {
            Arithmetic::Cpu { threads } => threads + 1,
            Arithmetic::Cuda => 0,
        };
        // The matrix product keeps a buffer as large as the second cache for each thread, and for
        // the one that asks.
        OVERHEAD_BYTES + threads * CACHE_INFO[1].cache_bytes + activations / OVERHEAD_DIVISOR
    }
}

/// Device memory in use at the most while `work` is done on `rung`, by stage, the weights included.
pub fn predict(model: &ModelConfig, arithmetic: Arithmetic, rung: &Rung, work: Work) -> Prediction {
    if rung.residency == Residency::Host {
        return Prediction::default();
    }
    let weights = weights::resident_bytes(model, arithmetic, rung);
    let converted = weights::converted_bytes(model, arithmetic, rung);
    let text = text::bytes(model, arithmetic, rung, work.tokens);
    let condition = transformer::condition_bytes(model, arithmetic, rung, work);
    let (width, height) = (rung.width as usize, rung.height as usize);
    let decode = match rung.decode {
        Decode::Whole => vae::whole_bytes(&model.vae, arithmetic, width, height),
        Decode::Stripes { height: stripe } => {
            vae::striped_bytes(&model.vae, arithmetic, width, height, stripe as usize)
        }
        Decode::Tiles { side } => {
            vae::tiled_bytes(&model.vae, arithmetic, width, height, side as usize)
        }
    };
    let embeddings =
        arithmetic.on_host(IN_MEMORY_MAX * 4 * work.tokens * model.text_encoder.hidden_size);
    let kept = weights + embeddings;
    let in_all =
        |activations: usize| (kept + activations + arithmetic.overhead_bytes(activations)) as u64;
    Prediction {
        weights_bytes: weights as u64,
        text_encode_bytes: in_all(text.max(condition)),
        denoise_bytes: in_all(converted + transformer::bytes(model, arithmetic, rung, work)),
        vae_decode_bytes: in_all(decode),
    }
}
