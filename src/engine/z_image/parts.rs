//! The parts of a model on one device, and which of their weights are in its memory.

use std::path::Path;

use candle_core::Device;
use sha2::{Digest, Sha256};

use super::config::ModelConfig;
use super::device;
use super::device_memory::DeviceMemory;
use super::model_dir::TRANSFORMER_STEM;
use super::oom::at;
use super::text_encoder::TextEncoder;
use super::transformer::Transformer;
use super::vae::Decoder;
use super::weights::Weights;
use crate::engine::{EngineError, Result, Stage};
use crate::files::hex;
use crate::ladder::{Precision, Residency};

/// Text encoder, transformer and decoder on one device.
pub struct Parts {
    pub device: Device,
    pub text_encoder: TextEncoder,
    pub transformer: Transformer,
    pub decoder: Decoder,
    pub precision: Precision,
    /// Of the weights' names, shapes and samples of their values; the text encoder's alone comes
    /// first.
    pub hashes: [String; 2],
}

impl Parts {
    /// Opens the model's files. The layers of text encoder and transformer stay in them until
    /// [`Parts::place_weights`].
    ///
    /// Errors are `OutOfMemory`, `Invalid` (a file of quantised weights that does not fit) or
    /// `Fatal`, with the file and what is wrong.
    pub fn open(
        model: &Path,
        config: &ModelConfig,
        device: &Device,
        precision: Precision,
        memory: &DeviceMemory,
    ) -> Result<Parts> {
        let opener = Opener { model, device, memory };
        let mut hash = Sha256::new();
        let text_encoder = opener.open("text_encoder", "model", &mut hash, |weights| {
            TextEncoder::new(&config.text_encoder, weights, memory).map_err(at(Stage::Load))
        })?;
        let text_encoder_hash = hex(hash.clone());
        let transformer = opener.open("transformer", TRANSFORMER_STEM, &mut hash, |weights| {
            // A file of quantised weights that does not fit is no fault of the device: the worker
            // goes on without it.
            let weights = weights.with_precision(precision).map_err(EngineError::Invalid)?;
            Transformer::new(&config.transformer, &weights, memory).map_err(at(Stage::Load))
        })?;
        let decoder = opener.open("vae", "diffusion_pytorch_model", &mut hash, |weights| {
            Decoder::new(&config.vae, weights, memory).map_err(at(Stage::Load))
        })?;
        let hashes = [text_encoder_hash, hex(hash)];
        Ok(Parts { device: device.clone(), text_encoder, transformer, decoder, precision, hashes })
    }

    /// Has exactly those weights in memory that `residency` wants there.
    pub fn place_weights(&mut self, residency: Residency) -> Result<()> {
        let resident_layers = match residency {
            Residency::Device | Residency::TextReleased => usize::MAX,
            Residency::Streamed { resident_blocks } => resident_blocks as usize,
            Residency::Host => 0,
        };
        // The text encoder comes first: where it leaves, it makes room for layers.
        self.text_encoder
            .place_weights(residency == Residency::Device)
            .and_then(|()| self.transformer.place_weights(resident_layers))
            .and_then(|()| self.device.synchronize())
            .map_err(at(Stage::Load))
    }
}

/// What opening one part of the model needs.
struct Opener<'a> {
    model: &'a Path,
    device: &'a Device,
    memory: &'a DeviceMemory,
}

impl Opener<'_> {
    /// Opens the weights of `folder`, adds them to the model's hash and builds the part.
    fn open<T>(
        &self,
        folder: &str,
        stem: &str,
        hash: &mut Sha256,
        build: impl FnOnce(&Weights) -> Result<T>,
    ) -> Result<T> {
        let dtype = device::dtype(self.device);
        let weights = Weights::open(&self.model.join(folder), stem, dtype, self.device)
            .map_err(EngineError::Fatal)?;
        hash.update(folder);
        hash.update(weights.fingerprint());
        let part = build(&weights)?;
        weights.finish().map_err(EngineError::Fatal)?;
        self.device.synchronize().and_then(|()| self.memory.require(0)).map_err(at(Stage::Load))?;
        Ok(part)
    }
}
