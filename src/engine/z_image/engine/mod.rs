//! The engine: the parts of a model put together, so that they render a recipe on a rung.

mod text;

use std::path::Path;

use candle_core::{Device, Result as CandleResult};

use super::beginning::Denoising;
use super::config::ModelConfig;
use super::device_memory::DeviceMemory;
use super::embedder::Embedder;
use super::lora::Adapters;
use super::model_files::ModelFiles;
use super::oom::at;
use super::parts::{self, Parts};
use super::predict::capabilities;
use super::prompt::Tokenizer;
use super::sampler::Sampler;
use super::schedule::Schedule;
use super::solver::Solver;
use super::wanted_loras::WantedLoras;
use super::{device, measure, picture};
use crate::engine::provenance::{PartLoad, WeightPart};
use crate::engine::weight_files::WeightFiles;
use crate::engine::{
    Backend, DeviceChoice, Engine, EngineError, InputPicture, Latents, MemoryReading,
    ModelDescription, ModelPlace, Pixels, PlacedLora, Progress, Recipe, Result, Stage,
};
use crate::ladder::{Capabilities, Precision, Residency, Rung};
use crate::planner::DeviceSpeed;

/// How far above its baseline the memory in use may stay after an out-of-memory error, because
/// libraries keep some for themselves.
const RECOVERY_SLACK_BYTES: u64 = 64 << 20;

/// Z-Image on one device.
pub struct ZImageEngine {
    files: ModelFiles,
    config: ModelConfig,
    description: ModelDescription,
    weight_files: WeightFiles,
    weight_parts: Vec<WeightPart>,
    /// Of `weight_files`, when they were opened.
    fingerprint: String,
    embedder: Embedder,
    device: Device,
    memory: DeviceMemory,
    /// `None` only between the release of one set of weights and the loading of the next, and after
    /// that has failed.
    parts: Option<Parts>,
    /// The memory in use when the last render's weights were placed.
    baseline_bytes: u64,
    loras: WantedLoras,
}

impl ZImageEngine {
    /// Opens a model on a device; [`Engine::place_weights`] brings the weights there. Errors are
    /// `OutOfMemory`, `Model` or `Fatal`, with the file and what is wrong.
    pub fn load(
        model: &ModelPlace,
        device: DeviceChoice,
        memory_limit_bytes: Option<u64>,
    ) -> Result<ZImageEngine> {
        let files = ModelFiles::find(model)?;
        let config = files.config()?;
        if let Some(sign) = files.sign_of_2507(&config.text_encoder) {
            let place = files.text_encoder.place().display();
            let told = "and Z-Image was trained with Qwen3-4B: pictures will be others";
            tracing::warn!("{place}: is Qwen3-4B-Instruct-2507 by {sign}, {told}");
        }
        let description = ModelDescription::of(&files)?;
        let tokenizer = Tokenizer::read(files.hub.as_deref())?;
        let bf16 = device.keeps_bf16();
        let device = device::open(device).map_err(EngineError::Fatal)?;
        let memory = DeviceMemory::new(&device, memory_limit_bytes).with_bf16(bf16);
        let weight_files = parts::weight_files(&files)?;
        let weight_parts = parts::weight_parts(&files)?;
        let fingerprint = fingerprint_of(&weight_files)?;
        let encoder = fingerprint_of(&parts::text_encoder_files(&files)?)?;
        let parts = Parts::open(&files, &config, &device, Precision::Full, &memory)?;
        Ok(ZImageEngine {
            files,
            config,
            description,
            weight_files,
            weight_parts,
            fingerprint,
            embedder: Embedder::new(tokenizer, encoder),
            baseline_bytes: memory.reading().map_err(at(Stage::Load))?.used_bytes,
            device,
            memory,
            parts: Some(parts),
            loras: WantedLoras::default(),
        })
    }

    /// Keeps the embeddings of prompts in `folder`, for other workers too.
    pub fn keep_embeddings_in(&mut self, folder: &Path) {
        self.embedder.keep_in(folder);
    }

    /// How many tokens the text encoder sees of `prompt`.
    pub fn tokens(&self, prompt: &str) -> Result<usize> {
        self.embedder.tokens(prompt).map(|tokens| tokens.ids.len())
    }

    /// The parts on the device and in the precision that `rung` wants. The old ones are dropped
    /// before new ones are opened.
    fn parts_for(&mut self, rung: &Rung) -> Result<Parts> {
        let (device, memory) = match rung.residency {
            Residency::Host => (Device::Cpu, DeviceMemory::new(&Device::Cpu, None)),
            _ => (self.device.clone(), self.memory.clone()),
        };
        let same =
            |parts: &Parts| parts.device.same_device(&device) && parts.precision == rung.precision;
        // Until the weights are placed again, an out-of-memory error should leave nothing in use.
        self.baseline_bytes = 0;
        match self.parts.take().filter(same) {
            Some(parts) => Ok(parts),
            None => Parts::open(&self.files, &self.config, &device, rung.precision, &memory),
        }
    }

    fn place_loras(&mut self) -> Result<()> {
        let Some(parts) = &mut self.parts else { return Err(no_weights()) };
        self.loras.place(&self.config.transformer, parts, &self.memory)
    }

    fn parts(&self) -> Result<&Parts> {
        self.parts.as_ref().ok_or_else(no_weights)
    }

    /// Refuses what this engine cannot do, before anything is computed.
    fn check(&self, rung: &Rung) -> Result<()> {
        let granularity = self.description.granularity;
        let [_, rows_max, columns_max] = self.config.transformer.axes_lens;
        let fits = |side: u32, most: usize| {
            side > 0 && side.is_multiple_of(granularity) && (side / granularity) as usize <= most
        };
        if !fits(rung.width, columns_max) || !fits(rung.height, rows_max) {
            let (width_max, height_max) =
                (columns_max * granularity as usize, rows_max * granularity as usize);
            return Err(EngineError::Invalid(format!(
                "{}x{}: sides must be multiples of {granularity}, at most {width_max}x{height_max}",
                rung.width, rung.height
            )));
        }
        if rung.steps == 0 {
            return Err(EngineError::Invalid("steps must be at least 1".into()));
        }
        let capabilities = self.capabilities();
        if !capabilities.residencies.contains(&rung.residency)
            || !capabilities.precisions.contains(&rung.precision)
        {
            return Err(EngineError::Invalid(format!("this engine does not offer {rung}")));
        }
        Ok(())
    }

    /// Latents of a picture of this rung: (channels, height, width).
    fn latent_shape(&self, rung: &Rung) -> [usize; 3] {
        let factor = self.config.vae.factor();
        [
            self.config.transformer.in_channels,
            rung.height as usize / factor,
            rung.width as usize / factor,
        ]
    }
}

impl Engine for ZImageEngine {
    fn capabilities(&self) -> Capabilities {
        capabilities(&self.config, self.backend())
    }

    fn backend(&self) -> Backend {
        self.memory.backend()
    }

    fn device(&self) -> String {
        device::describe(&self.device, self.memory.backend())
    }

    fn card(&self) -> Option<u32> {
        device::card(&self.device)
    }

    fn measure_speed(&self) -> Result<Option<DeviceSpeed>> {
        measure::speed(&self.device, self.memory.backend()).map(Some).map_err(at(Stage::Load))
    }

    fn model_name(&self) -> &str {
        &self.description.name
    }

    fn weight_files(&self) -> &WeightFiles {
        &self.weight_files
    }

    fn weight_parts(&self) -> &[WeightPart] {
        &self.weight_parts
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn place_weights(&mut self, rung: &Rung) -> Result<()> {
        let mut parts = self.parts_for(rung)?;
        parts.place_weights(rung.residency)?;
        self.parts = Some(parts);
        self.baseline_bytes = self.memory.reading().map_err(at(Stage::Load))?.used_bytes;
        Ok(())
    }

    fn part_loads(&self) -> Vec<PartLoad> {
        self.parts.as_ref().map(|parts| parts.load_times.by_part()).unwrap_or_default()
    }

    fn prompt_cut(&self, prompt: &str) -> bool {
        self.embedder.tokens(prompt).is_ok_and(|tokens| tokens.cut)
    }

    fn expect_prompts(&mut self, prompts: Vec<String>) {
        self.embedder.expect(prompts);
    }

    fn denoise_from(
        &mut self,
        input: Option<&InputPicture>,
        recipe: &Recipe,
        rung: &Rung,
        progress: &mut dyn Progress,
    ) -> Result<Latents> {
        self.check(rung)?;
        self.begin(Stage::Load, progress)?;
        self.place_weights(rung)?;
        self.place_loras()?;
        self.begin(Stage::TextEncode, progress)?;
        self.encode_ahead(recipe, rung)?;
        let (positive, negative) =
            (self.condition(&recipe.prompt, rung)?, self.negative(recipe, rung)?);
        self.begin(Stage::Denoise, progress)?;
        let schedule = Schedule::new(&self.config.schedule, rung.steps);
        let parts = self.parts()?;
        let denoising = Denoising {
            recipe,
            rung,
            shape: self.latent_shape(rung),
            factor: self.config.vae.factor(),
        };
        let begun = denoising.beginning(parts, input, &schedule)?;
        if input.is_some() {
            // The seconds of the encoding are not those of the first step.
            self.begin(Stage::Denoise, progress)?;
        }
        let transformer = &self.parts()?.transformer;
        let sampler =
            Sampler::new(transformer, schedule, positive, negative).map_err(at(Stage::Denoise))?;
        let latents = begun.denoise(&sampler, Solver::new(recipe.sampler), progress)?;
        usable(picture::not_finite(&latents), Stage::Denoise)?;
        let values = latents
            .flatten_all()
            .and_then(|values| values.to_vec1())
            .map_err(at(Stage::Denoise))?;
        Ok(Latents { shape: self.latent_shape(rung), values })
    }

    fn decode(
        &mut self,
        latents: &Latents,
        rung: &Rung,
        progress: &mut dyn Progress,
    ) -> Result<Pixels> {
        self.check(rung)?;
        if latents.shape != self.latent_shape(rung) {
            let expected = self.latent_shape(rung);
            return Err(EngineError::Invalid(format!(
                "latents of {:?}, not of {expected:?}",
                latents.shape
            )));
        }
        self.begin(Stage::Load, progress)?;
        self.place_weights(rung)?;
        self.begin(Stage::VaeDecode, progress)?;
        let factor = self.config.vae.factor();
        let decoded =
            self.parts()?.decode(latents, rung.decode, factor).map_err(at(Stage::VaeDecode))?;
        usable(picture::not_finite(&decoded), Stage::VaeDecode)?;
        let pixels = picture::pixels(&decoded).map_err(at(Stage::VaeDecode))?;
        match picture::flat(&pixels) {
            Some(reason) => Err(EngineError::BadPicture(reason)),
            None => Ok(pixels),
        }
    }

    fn use_loras(&mut self, loras: Vec<PlacedLora>) {
        self.loras.set(loras, self.parts.as_mut());
    }

    fn recover(&mut self) -> Result<()> {
        if let Some(parts) = &mut self.parts {
            parts.transformer.set_adapters(Adapters::default());
        }
        let reading = self.memory.reclaim().and_then(|()| self.memory.reading());
        let used_bytes = reading.map_err(|error| EngineError::Fatal(error.to_string()))?.used_bytes;
        if used_bytes <= self.baseline_bytes + RECOVERY_SLACK_BYTES {
            return Ok(());
        }
        Err(EngineError::Fatal(format!(
            "memory did not come back: {} MiB in use, {} with the weights alone",
            used_bytes >> 20,
            self.baseline_bytes >> 20
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

fn fingerprint_of(files: &WeightFiles) -> Result<String> {
    files.fingerprint().map_err(|error| EngineError::Fatal(format!("the weight files: {error}")))
}

fn no_weights() -> EngineError {
    EngineError::Fatal("the weights were not placed on any device".into())
}

fn usable(problem: CandleResult<Option<String>>, stage: Stage) -> Result<()> {
    match problem.map_err(at(stage))? {
        Some(reason) => Err(EngineError::BadPicture(reason)),
        None => Ok(()),
    }
}
