//! Bytes that a render needs on a rung, by stage, from the model's configuration alone.
//!
//! What a block needs is said beside the block, by a function that follows its code tensor by
//! tensor. Here these figures are put together. `tests/memory` holds them against what is measured
//! on a CPU: they are never below it, and at most 15 % above.

mod operations;
mod text;
mod transformer;
mod weights;

pub use self::operations::{guided_steps, operations};
pub use self::weights::block_bytes as block_weights_bytes;
use super::config::ModelConfig;
use super::geometry::TILE_SIDE_MIN;
use super::prompt::TOKENS_MAX;
use super::vae;
use crate::engine::embeddings::IN_MEMORY_MAX;
use crate::engine::{Backend, Recipe};
use crate::job::SamplerKind;
use crate::job::lora::LoraSize;
use crate::ladder::{Capabilities, Decode, Precision, Residency, Rung};
use crate::planner::Prediction;

/// What of a render, beside its [`Rung`], the memory depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Tokens of the longer prompt, template included.
    pub tokens: usize,
    /// Whether a negative prompt takes part.
    pub guided: bool,
    pub sampler: SamplerKind,
    /// Whether it begins with a picture, which is encoded first.
    pub begins_with_picture: bool,
    /// Whether a part of that picture stays as it is.
    pub is_masked: bool,
    /// What the LoRAs take.
    pub lora: LoraSize,
}

/// Tokens of the chat template around a prompt.
const TEMPLATE_TOKENS: usize = 8;

impl Work {
    /// For prompts that no tokenizer has seen. Their tokens are at most as many as their bytes.
    pub fn of(recipe: &Recipe) -> Work {
        let guided = recipe.is_guided();
        let negative_bytes = if guided { recipe.negative_prompt.len() } else { 0 };
        let bytes = recipe.prompt.len().max(negative_bytes);
        let tokens = (bytes + TEMPLATE_TOKENS).min(TOKENS_MAX);
        Work {
            tokens,
            guided,
            sampler: recipe.sampler,
            begins_with_picture: recipe.begins_with_picture(),
            is_masked: recipe.is_masked(),
            lora: recipe.lora.size(),
        }
    }
}

/// How many rungs stream the transformer's layers, each with another number of resident ones.
const STREAMED_RUNGS: usize = 10;

/// What the engine can do with this model, on a card or on a CPU.
pub fn capabilities(model: &ModelConfig, backend: Backend) -> Capabilities {
    let layers = model.transformer.n_layers;
    let resident: Vec<usize> = (0..layers).step_by(layers.div_ceil(STREAMED_RUNGS)).collect();
    let streamed =
        |resident_blocks: usize| Residency::Streamed { resident_blocks: resident_blocks as u32 };
    let mut residencies = vec![Residency::Device, Residency::TextReleased];
    residencies.extend(resident.into_iter().rev().map(streamed));
    if backend == Backend::Cuda {
        residencies.push(Residency::Host);
    }
    Capabilities {
        residencies,
        precisions: vec![Precision::Full, Precision::Int8, Precision::Q8, Precision::Q4],
        granularity: model.granularity() as u32,
        tile_side_min: (TILE_SIDE_MIN * model.vae.factor()) as u32,
    }
}

/// The smallest tensors, which the formulas leave out.
const SMALL_TENSORS_BYTES: usize = 256 << 10;

/// These and what the tokenizer remembers, where a processor's memory is the device's.
const SMALL_ON_HOST_BYTES: usize = 1 << 20;

/// The matrix product keeps a buffer as large as a core's second cache for each thread. Processors
/// have up to so much of it; where there is less, predictions are a little above what is needed.
const MATRIX_BUFFER_BYTES: usize = 2 << 20;

/// The allocator rounds sizes up by at most this part of the activations.
const OVERHEAD_DIVISOR: usize = 64;

fn overhead_bytes(backend: Backend, activations: usize) -> usize {
    let small = match backend {
        // The thread that calls the matrix product has a buffer, too.
        Backend::Cpu { threads, .. } => SMALL_ON_HOST_BYTES + (threads + 1) * MATRIX_BUFFER_BYTES,
        Backend::Cuda => SMALL_TENSORS_BYTES,
    };
    small + activations / OVERHEAD_DIVISOR
}

/// The most device memory in use while `work` is done on `rung`, by stage, the weights included.
pub fn predict(model: &ModelConfig, backend: Backend, rung: &Rung, work: Work) -> Prediction {
    if rung.residency == Residency::Host {
        return Prediction::default();
    }
    let lora = backend.element_bytes() * work.lora.values as usize;
    let weights = weights::resident_bytes(model, backend, rung) + lora;
    let converted = weights::converted_bytes(model, backend, rung);
    let text = text::bytes(model, backend, rung, work.tokens);
    let condition = transformer::condition_bytes(model, backend, rung, work);
    let denoise = transformer::bytes(model, backend, rung, work);
    let encode = match work.begins_with_picture {
        true => {
            transformer::conditionings_bytes(model, backend, rung, work)
                + encode_bytes(model, backend, rung)
        }
        false => 0,
    };
    let embeddings =
        backend.host_buffer_bytes(IN_MEMORY_MAX * 4 * work.tokens * model.text_encoder.hidden_size);
    let in_all = |activations: usize| {
        (weights + embeddings + activations + overhead_bytes(backend, activations)) as u64
    };
    Prediction {
        weights_bytes: weights as u64,
        text_encode_bytes: in_all(text.max(condition)),
        denoise_bytes: in_all(encode.max(converted + denoise)),
        vae_decode_bytes: in_all(decode_bytes(model, backend, rung)),
    }
}

/// A picture that a render begins with is encoded in the way in which the result is decoded. The
/// encoder's weights are there only meanwhile.
fn encode_bytes(model: &ModelConfig, backend: Backend, rung: &Rung) -> usize {
    let config = &model.vae;
    let (width, height) = (rung.width as usize, rung.height as usize);
    let encode = match rung.decode {
        Decode::Whole => vae::encode_whole_bytes(config, backend, width, height),
        Decode::Stripes { height: stripe } => {
            vae::encode_striped_bytes(config, backend, width, height, stripe as usize)
        }
        Decode::Tiles { side } => {
            vae::encode_tiled_bytes(config, backend, width, height, side as usize)
        }
    };
    encode + backend.element_bytes() * vae::encoder_values(config)
}

fn decode_bytes(model: &ModelConfig, backend: Backend, rung: &Rung) -> usize {
    let config = &model.vae;
    let (width, height) = (rung.width as usize, rung.height as usize);
    match rung.decode {
        Decode::Whole => vae::whole_bytes(config, backend, width, height),
        Decode::Stripes { height: stripe } => {
            vae::striped_bytes(config, backend, width, height, stripe as usize)
        }
        Decode::Tiles { side } => vae::tiled_bytes(config, backend, width, height, side as usize),
    }
}
