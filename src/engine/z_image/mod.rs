//! Z-Image on candle, faithful to the reference implementation. To be read in the order of the
//! mathematics: prompt, text encoder, schedule and noise, transformer, sampler, VAE, picture; then
//! what carries them.

pub mod prompt;

pub mod text_encoder;

pub mod noise;
pub mod schedule;

pub mod transformer;

pub mod sampler;
pub mod solver;

pub mod vae;

pub mod beginning;

pub mod picture;

pub mod checkpoint;
pub mod config;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(not(feature = "cuda"))]
#[path = "no_cuda.rs"]
mod cuda;
#[cfg(any(feature = "cuda", test))]
mod cuda_folders;
mod device;
pub mod device_memory;
mod embedder;
mod engine;
pub mod geometry;
pub mod host;
pub mod inspect;
pub mod linear;
mod live;
pub mod lora;
mod measure;
mod model_dir;
pub mod model_files;
mod names;
pub mod new_model;
mod oom;
pub mod ops;
mod parts;
pub mod predict;
pub mod predictor;
mod rotation;
mod shapes;
mod stack;
pub mod quant;
pub mod quantise;
pub mod verify;
mod wanted_loras;
pub mod weights;
mod wrong_file;
mod wrong_folder;

use std::path::Path;

use candle_core::Device;

pub use self::device::check_card;
pub use self::engine::ZImageEngine;
pub use self::inspect::inspect_model;
pub use self::lora::{check_lora, inspect_lora};
use self::model_files::ModelFiles;
pub use self::new_model::{convert_model, synthesise_model};
use self::prompt::Tokenizer;
pub use self::quantise::quantise_model;
pub use self::verify::verify_weights;
use super::provenance::WeightPart;
use super::{Backend, DeviceChoice, Engine, ModelError, ModelPlace, Result};
use crate::planner::DeviceSpeed;

/// Opens the model at `model` on `device`; it renders as if that had no more than
/// `memory_limit_bytes`, and keeps the embeddings of prompts in the folder `embeddings`.
pub fn load(
    model: &ModelPlace,
    device: DeviceChoice,
    memory_limit_bytes: Option<u64>,
    embeddings: &Path,
) -> Result<Box<dyn Engine>> {
    let mut engine = ZImageEngine::load(model, device, memory_limit_bytes)?;
    engine.keep_embeddings_in(embeddings);
    Ok(Box::new(engine))
}

/// The processor's name as a device, with matrices in bf16 or not, and its memory in bytes where
/// the kernel tells it.
pub fn processor(bf16: bool) -> (String, Option<u64>) {
    let memory = host::HostMemory::read();
    let name = device::describe(&Device::Cpu, Backend::this_cpu(bf16));
    (name, memory.map(|memory| memory.total_bytes))
}

/// Whether this processor multiplies bf16: matrices that stay in it then save time beside memory.
pub fn multiplies_bf16() -> bool {
    ops::multiplies_bf16()
}

/// Whether this build computes on a card of this machine where nothing else is said.
pub fn sees_card() -> bool {
    cuda::is_present().is_ok()
}

/// How fast the processor is, in a measurement of about a second; `None` where it fails.
pub fn processor_speed(bf16: bool) -> Option<DeviceSpeed> {
    measure::speed(&Device::Cpu, Backend::this_cpu(bf16)).ok()
}

/// The tokenizer of the model at `model`. Errors name its file.
pub fn tokenizer(model: &ModelPlace) -> std::result::Result<Tokenizer, ModelError> {
    Tokenizer::read(ModelFiles::find(model)?.hub.as_deref())
}

/// The files of weights of the model at `model`, by part.
pub fn weight_parts(model: &ModelPlace) -> std::result::Result<Vec<WeightPart>, ModelError> {
    parts::weight_parts(&ModelFiles::find(model)?)
}

/// Whether the files of weights of the model at `model` are all there and whole. Only their
/// headers are read.
pub fn check_weights(model: &ModelPlace) -> std::result::Result<(), ModelError> {
    parts::weight_files(&ModelFiles::find(model)?).map(drop)
}
