//! The parts put together: a loaded model that renders what it is asked for.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use candle_core::{Device, Result as CandleResult, Tensor};
use sha2::{Digest, Sha256};

use super::config::ModelConfig;
use super::memory::Memory;
use super::noise::Generator;
use super::oom::engine_error;
use super::prompt::Tokenizer;
use super::sampler::{Guidance, Sampler};
use super::schedule::Schedule;
use super::text_encoder::TextEncoder;
use super::transformer::{Conditioning, Transformer};
use super::vae::{self, Decoder};
use super::weights::Weights;
use super::{TRANSFORMER_STEM, device, picture};
use crate::engine::model_dir::ModelDescription;
use crate::engine::{
    Continue, DeviceChoice, Engine, EngineError, Latents, MemoryReading, Pixels, Progress, Recipe, Result, Stage,
};
use crate::ladder::{Decode, Offers, Precision, Residency, Rung};

/// How far above its baseline memory may stay after an out-of-memory error: what libraries keep for themselves.
const RECOVERY_SLACK_BYTES: u64 = 64 << 20;

/// Z-Image on one device, everything resident.
pub struct ZImageEngine {
    model: PathBuf,
    config: ModelConfig,
    description: ModelDescription,
    hash: String,
    tokenizer: Tokenizer,
    text_encoder: TextEncoder,
    /// None after a precision that could not be loaded.
    transformer: Option<(Precision, Rc<Transformer>)>,
    decoder: Decoder,
    device: Device,
    memory: Memory,
    /// In use after loading.
    baseline_bytes: u64,
}

impl ZImageEngine {
    /// Loads a model folder onto a device. Errors are `OutOfMemory` or `Fatal`, with the file and what is wrong.
    pub fn load(model: &Path, device: DeviceChoice, memory_limit_bytes: Option<u64>) -> Result<ZImageEngine> {
        let config = ModelConfig::read(model).map_err(EngineError::Fatal)?;
        let description = ModelDescription::read(model).map_err(EngineError::Fatal)?;
        let tokenizer = Tokenizer::read(model).map_err(EngineError::Fatal)?;
        let device = device::open(device).map_err(EngineError::Fatal)?;
        let memory = Memory::new(&device, memory_limit_bytes);
        let part = Parts { model, device: &device, memory: &memory };
        let mut hash = Sha256::new();
        let precision = Precision::Full;
        let text_encoder = part.load("text_encoder", "model", precision, &mut hash, |weights| {
            TextEncoder::new(&config.text_encoder, weights, &memory)
        })?;
        let transformer = part.transformer(&config, precision, &mut hash)?;
        let decoder = part.load("vae", "diffusion_pytorch_model", precision, &mut hash, |weights| {
            Decoder::new(&config.vae, weights, &memory)
        })?;
        let reading = memory.reading().map_err(at(Stage::Load))?;
        Ok(ZImageEngine {
            hash: hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
            baseline_bytes: reading.used_bytes,
            model: model.to_owned(),
            config,
            description,
            tokenizer,
            text_encoder,
            transformer: Some((precision, Rc::new(transformer))),
            decoder,
            device,
            memory,
        })
    }

    /// What this engine cannot do, said before anything is computed.
    fn check(&self, rung: &Rung) -> Result<()> {
        let granularity = self.description.granularity;
        let [_, rows_max, columns_max] = self.config.transformer.axes_lens;
        let fits = |side: u32, most: usize| {
            side > 0 && side.is_multiple_of(granularity) && (side / granularity) as usize <= most
        };
        if !fits(rung.width, columns_max) || !fits(rung.height, rows_max) {
            let (width_max, height_max) = (columns_max * granularity as usize, rows_max * granularity as usize);
            return Err(EngineError::Invalid(format!(
                "{}x{}: sides must be multiples of {granularity}, at most {width_max}x{height_max}",
                rung.width, rung.height
            )));
        }
        if rung.steps == 0 {
            return Err(EngineError::Invalid("steps must be at least 1".into()));
        }
        if rung.residency != Residency::Device {
            return Err(EngineError::Invalid(format!("this engine offers neither {rung:?} nor the like")));
        }
        Ok(())
    }

    /// The transformer at `precision`. Where it has another one, that is dropped before the new one is loaded: there
    /// may be no room for both.
    fn transformer(&mut self, precision: Precision) -> Result<Rc<Transformer>> {
        if let Some((loaded, transformer)) = &self.transformer
            && *loaded == precision
        {
            return Ok(transformer.clone());
        }
        self.transformer = None;
        self.memory.reclaim().map_err(at(Stage::Load))?;
        let parts = Parts { model: &self.model, device: &self.device, memory: &self.memory };
        let transformer = Rc::new(parts.transformer(&self.config, precision, &mut Sha256::new())?);
        self.baseline_bytes = self.memory.reading().map_err(at(Stage::Load))?.used_bytes;
        self.transformer = Some((precision, transformer.clone()));
        Ok(transformer)
    }

    /// Latents of a picture of this rung: (channels, height, width).
    fn latent_shape(&self, rung: &Rung) -> [usize; 3] {
        let factor = self.config.vae.factor();
        [self.config.transformer.in_channels, rung.height as usize / factor, rung.width as usize / factor]
    }

    fn condition(&self, transformer: &Transformer, prompt: &str, rung: &Rung) -> Result<Conditioning> {
        let tokens = self.tokenizer.encode(prompt).map_err(EngineError::Fatal)?;
        let [_, height, width] = self.latent_shape(rung);
        let caption = self.text_encoder.encode(&tokens.ids);
        caption
            .and_then(|caption| transformer.condition(&caption, height, width))
            .and_then(|conditioning| self.device.synchronize().map(|()| conditioning))
            .map_err(at(Stage::TextEncode))
    }

    /// The negative prompt's, where guidance gives it an effect.
    fn negative(
        &self,
        transformer: &Transformer,
        recipe: &Recipe,
        rung: &Rung,
    ) -> Result<Option<(Conditioning, Guidance)>> {
        let guidance = Guidance::new(recipe.guidance);
        if !guidance.is_on() {
            return Ok(None);
        }
        Ok(Some((self.condition(transformer, &recipe.negative_prompt, rung)?, guidance)))
    }

    fn noise(&self, seed: u64, rung: &Rung) -> CandleResult<Tensor> {
        let [channels, height, width] = self.latent_shape(rung);
        let values = Generator::new(seed).randn(channels * height * width);
        Tensor::from_vec(values, (1, channels, height, width), &self.device)
    }

    fn sample(&self, sampler: &Sampler, noise: Tensor, progress: &mut dyn Progress) -> Result<Tensor> {
        let steps = sampler.schedule.steps();
        let mut latents = noise;
        for step in 0..steps {
            latents = sampler.step(step, &latents).map_err(at(Stage::Denoise))?;
            // So that a step that is reported is done, and can be cancelled after.
            self.device.synchronize().map_err(at(Stage::Denoise))?;
            if progress.step(step as u32 + 1, steps as u32) == Continue::No {
                return Err(EngineError::Stopped);
            }
        }
        Ok(latents)
    }

    fn decode_tensor(&self, latents: &Latents, decode: Decode) -> CandleResult<Tensor> {
        let [channels, height, width] = latents.shape;
        let latents = Tensor::from_slice(&latents.values, (1, channels, height, width), &self.device)?;
        let decoded = match decode {
            Decode::Whole => self.decoder.decode(&latents)?,
            Decode::Tiles { side } => self.decoder.decode_tiled(&latents, side as usize / self.config.vae.factor())?,
        };
        self.device.synchronize()?;
        decoded.squeeze(0)
    }
}

impl Engine for ZImageEngine {
    fn offers(&self) -> Offers {
        Offers {
            residencies: vec![Residency::Device],
            precisions: vec![Precision::Full, Precision::Q8, Precision::Q4],
            granularity: self.description.granularity,
            tile_side_min: (vae::TILE_SIDE_MIN * self.config.vae.factor()) as u32,
        }
    }

    fn device(&self) -> String {
        device::describe(&self.device)
    }

    fn model_name(&self) -> &str {
        &self.description.name
    }

    fn model_hash(&self) -> &str {
        &self.hash
    }

    fn prompt_cut(&self, prompt: &str) -> bool {
        self.tokenizer.encode(prompt).is_ok_and(|tokens| tokens.cut)
    }

    fn denoise(&mut self, recipe: &Recipe, rung: &Rung, progress: &mut dyn Progress) -> Result<Latents> {
        self.check(rung)?;
        let transformer = self.transformer(rung.precision)?;
        self.begin(Stage::TextEncode, progress)?;
        let positive = self.condition(&transformer, &recipe.prompt, rung)?;
        let negative = self.negative(&transformer, recipe, rung)?;
        self.begin(Stage::Denoise, progress)?;
        let schedule = Schedule::new(&self.config.schedule, rung.steps);
        let sampler = Sampler { transformer: &transformer, schedule, positive, negative };
        let noise = self.noise(recipe.seed, rung).map_err(at(Stage::Denoise))?;
        let latents = self.sample(&sampler, noise, progress)?;
        usable(picture::not_finite(&latents), Stage::Denoise)?;
        let values = latents.flatten_all().and_then(|values| values.to_vec1()).map_err(at(Stage::Denoise))?;
        Ok(Latents { shape: self.latent_shape(rung), values })
    }

    fn decode(&mut self, latents: &Latents, rung: &Rung, progress: &mut dyn Progress) -> Result<Pixels> {
        self.check(rung)?;
        if latents.shape != self.latent_shape(rung) {
            let expected = self.latent_shape(rung);
            return Err(EngineError::Invalid(format!("latents of {:?}, not of {expected:?}", latents.shape)));
        }
        self.begin(Stage::VaeDecode, progress)?;
        let decoded = self.decode_tensor(latents, rung.decode).map_err(at(Stage::VaeDecode))?;
        usable(picture::not_finite(&decoded), Stage::VaeDecode)?;
        let pixels = picture::pixels(&decoded).map_err(at(Stage::VaeDecode))?;
        match picture::flat(&pixels) {
            Some(reason) => Err(EngineError::BadPicture(reason)),
            None => Ok(pixels),
        }
    }

    fn recover(&mut self) -> Result<()> {
        let reading = self.memory.reclaim().and_then(|()| self.memory.reading());
        let used_bytes = reading.map_err(|error| EngineError::Fatal(error.to_string()))?.used_bytes;
        if used_bytes <= self.baseline_bytes + RECOVERY_SLACK_BYTES {
            return Ok(());
        }
        Err(EngineError::Fatal(format!(
            "memory did not come back: {used_bytes} bytes in use, {} after loading",
            self.baseline_bytes
        )))
    }

    fn memory(&self) -> MemoryReading {
        // A device that cannot even tell its memory fails the next computation, which says more.
        self.memory.reading().unwrap_or_default()
    }

    fn reset_peak(&mut self) {
        if let Err(error) = self.memory.reset_peak() {
            tracing::warn!("the memory's peak cannot be reset: {error}");
        }
    }
}

/// What loading one part of the model needs.
struct Parts<'a> {
    model: &'a Path,
    device: &'a Device,
    memory: &'a Memory,
}

impl Parts<'_> {
    fn transformer(&self, config: &ModelConfig, precision: Precision, hash: &mut Sha256) -> Result<Transformer> {
        self.load("transformer", TRANSFORMER_STEM, precision, hash, |weights| {
            Transformer::new(&config.transformer, weights, self.memory)
        })
    }

    /// Opens the weights of `folder`, adds them to the model's hash and builds the part.
    fn load<T>(
        &self,
        folder: &str,
        stem: &str,
        precision: Precision,
        hash: &mut Sha256,
        build: impl FnOnce(&Weights) -> CandleResult<T>,
    ) -> Result<T> {
        let dtype = device::dtype(self.device);
        let weights = Weights::open(&self.model.join(folder), stem, dtype, self.device).map_err(EngineError::Fatal)?;
        hash.update(folder);
        weights.describe(hash);
        // A file of quantised weights that does not fit is no fault of the device: the worker goes on without it.
        let weights = weights.with_precision(precision).map_err(EngineError::Invalid)?;
        let part = build(&weights).map_err(at(Stage::Load))?;
        weights.finish().map_err(EngineError::Fatal)?;
        self.device.synchronize().and_then(|()| self.memory.require(0)).map_err(at(Stage::Load))?;
        Ok(part)
    }
}

fn at(stage: Stage) -> impl Fn(candle_core::Error) -> EngineError {
    move |error| engine_error(stage, &error)
}

fn usable(problem: CandleResult<Option<String>>, stage: Stage) -> Result<()> {
    match problem.map_err(at(stage))? {
        Some(reason) => Err(EngineError::BadPicture(reason)),
        None => Ok(()),
    }
}
