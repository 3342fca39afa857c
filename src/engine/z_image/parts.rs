//! The parts of a model on one device, and which of their weights are in its memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Result as CandleResult, Tensor};

use super::config::ModelConfig;
use super::device_memory::DeviceMemory;
use super::model_files::{ModelFiles, PartFiles};
use super::oom::at;
use super::text_encoder::TextEncoder;
use super::transformer::Transformer;
use super::vae::Decoder;
use super::weights::{Carrier, Weights};
use super::{cuda, device};
use crate::engine::cache::Values;
use crate::engine::provenance::{Part, PartLoad, WeightPart};
use crate::engine::weight_files::WeightFiles;
use crate::engine::{Backend, EngineError, Latents, ModelError, Result, Stage};
use crate::ladder::{Decode, Precision, Residency};

/// Text encoder, transformer and decoder on one device.
pub struct Parts {
    pub device: Device,
    pub text_encoder: TextEncoder,
    pub transformer: Transformer,
    pub decoder: Decoder,
    pub precision: Precision,
    /// How long weights took to come to the device, since the files were opened.
    pub load_times: LoadTimes,
}

/// The time that weights took to come to the device, by part.
#[derive(Clone, Debug, Default)]
pub struct LoadTimes(BTreeMap<Part, Duration>);

impl LoadTimes {
    /// Does `work`, which brings weights of `part`, and adds what it takes.
    fn timed<T>(&mut self, part: Part, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        *self.0.entry(part).or_default() += start.elapsed();
        done
    }

    /// All of them, in milliseconds.
    pub fn by_part(&self) -> Vec<PartLoad> {
        let load_ms = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.0.iter().map(|(part, time)| PartLoad { part: *part, load_ms: load_ms(time) }).collect()
    }
}

/// The files of all parts of the model in `files`. Errors name what is missing, or the first that
/// is not whole.
pub fn weight_files(files: &ModelFiles) -> std::result::Result<WeightFiles, ModelError> {
    Ok(WeightFiles::new(&files.path, files.weight_paths()?))
}

/// The same by part.
pub fn weight_parts(files: &ModelFiles) -> std::result::Result<Vec<WeightPart>, ModelError> {
    let parts = [&files.transformer, &files.text_encoder, &files.vae];
    let of = |part: &PartFiles| {
        Ok(WeightPart { part: part.part, files: WeightFiles::new(&files.path, part.paths()?) })
    };
    parts.into_iter().map(of).collect()
}

/// Those that the text encoder's embeddings depend on.
pub fn text_encoder_files(files: &ModelFiles) -> std::result::Result<WeightFiles, ModelError> {
    Ok(WeightFiles::new(&files.path, files.text_encoder.paths()?))
}

impl Parts {
    /// Opens the model's files. The layers of text encoder and transformer stay in them until
    /// [`Parts::place_weights`].
    ///
    /// Errors are `OutOfMemory`, `Invalid` (a file of quantised weights that does not fit), `Model`
    /// or `Fatal`, with the file and what is wrong.
    pub fn open(
        files: &ModelFiles,
        config: &ModelConfig,
        device: &Device,
        precision: Precision,
        memory: &DeviceMemory,
    ) -> Result<Parts> {
        let carrier = cuda::carrier(device).map_err(at(Stage::Load))?;
        let opener = Opener { device, memory, carrier };
        let mut load_times = LoadTimes::default();
        let text_encoder = opener.open(&files.text_encoder, &mut load_times, |weights| {
            TextEncoder::new(&config.text_encoder, weights, memory).map_err(at(Stage::Load))
        })?;
        let transformer = opener.open(&files.transformer, &mut load_times, |weights| {
            // A file of quantised weights that does not fit is no fault of the device: the worker
            // goes on without it.
            let weights = weights.with_precision(precision).map_err(EngineError::Invalid)?;
            Transformer::new(&config.transformer, &weights, memory).map_err(at(Stage::Load))
        })?;
        let decoder = opener.open(&files.vae, &mut load_times, |weights| {
            Decoder::new(&config.vae, weights, memory).map_err(at(Stage::Load))
        })?;
        let device = device.clone();
        Ok(Parts { device, text_encoder, transformer, decoder, precision, load_times })
    }

    /// Has exactly those weights in memory that `residency` wants there.
    pub fn place_weights(&mut self, residency: Residency) -> Result<()> {
        let resident_layers = match residency {
            Residency::Device | Residency::TextReleased => usize::MAX,
            Residency::Streamed { resident_blocks } => resident_blocks as usize,
            Residency::Host => 0,
        };
        // The text encoder comes first: where it leaves, it makes room for layers.
        let (times, device) = (&mut self.load_times, &self.device);
        let (text_encoder, transformer) = (&mut self.text_encoder, &mut self.transformer);
        let placed = times.timed(Part::TextEncoder, || {
            text_encoder.place_weights(!residency.releases_text_encoder())?;
            device.synchronize()
        });
        let placed = placed.and_then(|()| {
            times.timed(Part::Transformer, || {
                transformer.place_weights(resident_layers)?;
                device.synchronize()
            })
        });
        placed.map_err(at(Stage::Load))
    }

    /// Embeddings of each prompt's tokens, on the host: (tokens, hidden) each.
    pub fn encode(&self, prompts: &[&[u32]]) -> Result<Vec<Values>> {
        let on_host = |embedding: Tensor| {
            let shape = embedding.dims().to_vec();
            let values = embedding.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            Ok(Values { shape, values })
        };
        let encoded = self.text_encoder.encode_all(prompts);
        encoded
            .and_then(|encoded| encoded.into_iter().map(on_host).collect())
            .map_err(at(Stage::TextEncode))
    }

    /// The picture of `latents`, of which a pixel becomes `factor` each way: (height, width, 3).
    pub fn decode(&self, latents: &Latents, decode: Decode, factor: usize) -> CandleResult<Tensor> {
        let [channels, height, width] = latents.shape;
        let latents =
            Tensor::from_slice(&latents.values, (1, channels, height, width), &self.device)?;
        let in_latents = |pixels: u32| (pixels as usize / factor).max(1);
        let decoder = &self.decoder;
        let decoded = match decode {
            Decode::Whole => decoder.decode(&latents)?,
            Decode::Stripes { height } => decoder.decode_striped(&latents, in_latents(height))?,
            Decode::Tiles { side } => decoder.decode_tiled(&latents, in_latents(side))?,
        };
        self.device.synchronize()?;
        decoded.squeeze(0)
    }
}

/// What opening one part of the model needs.
struct Opener<'a> {
    device: &'a Device,
    memory: &'a DeviceMemory,
    carrier: Option<Arc<dyn Carrier>>,
}

impl Opener<'_> {
    /// Opens the weights of a part and builds it.
    fn open<T>(
        &self,
        files: &PartFiles,
        times: &mut LoadTimes,
        build: impl FnOnce(&Weights) -> Result<T>,
    ) -> Result<T> {
        times.timed(files.part, || self.open_untimed(files, build))
    }

    fn open_untimed<T>(
        &self,
        files: &PartFiles,
        build: impl FnOnce(&Weights) -> Result<T>,
    ) -> Result<T> {
        let dtype = device::dtype(self.device);
        let weights = Weights::open(files, dtype, self.device)?.carried_by(self.carrier.clone());
        let weights = match (self.memory.backend(), files.part) {
            // The decoder computes with convolutions.
            (_, Part::Vae) | (Backend::Cuda | Backend::Cpu { bf16: false, .. }, _) => weights,
            (Backend::Cpu { bf16: true, .. }, _) => weights.with_bf16_matrices(),
        };
        let part = build(&weights)?;
        weights.finish().map_err(ModelError::Wrong)?;
        self.device.synchronize().and_then(|()| self.memory.require(0)).map_err(at(Stage::Load))?;
        Ok(part)
    }
}
