//! What turns a resolved render into pixels: the real Z-Image engine, or the scripted fake one.
//!
//! Runs in the worker, on the one thread that owns the device. Decides nothing: it does what the
//! rung says, or reports why it could not.

mod backend;
pub mod cache;
mod card_signs;
mod description;
pub mod device_speed;
pub mod embeddings;
pub mod fake;
pub mod latents;
pub mod meter;
pub mod mini;
mod model_error;
pub mod model_hash;
mod model_place;
pub mod predictor;
pub mod provenance;
pub mod weight_files;
pub mod z_image;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::backend::Backend;
pub use self::card_signs::CardSigns;
pub use self::description::ModelDescription;
pub use self::model_error::ModelError;
pub use self::model_place::{ModelKind, ModelPlace};
use self::provenance::{PartLoad, WeightPart};
use self::weight_files::WeightFiles;
pub use self::z_image::prompt::{PromptExtent, TOKENS_MAX, Tokenizer};
pub use self::z_image::{
    check_card, check_lora, check_weights, convert_model, inspect_lora, inspect_model,
    multiplies_bf16, processor, processor_speed, quantise_model, sees_card, synthesise_model,
    tokenizer, verify_weights, weight_parts,
};
pub use crate::job::Recipe;
use crate::job::lora::Lora;
pub use crate::ladder::Stage;
use crate::ladder::{Capabilities, Rung};
use crate::planner::DeviceSpeed;

/// Which engine a worker loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    ZImage,
    /// Scripted by the prompt: see [`fake`].
    Fake,
}

/// Where the engine computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceChoice {
    /// The first CUDA card where the build and the machine have one, which must then work; else the
    /// CPU.
    Auto,
    Cpu,
    /// The CPU, with matrices in bf16.
    CpuBf16,
    Cuda {
        index: u32,
    },
}

impl DeviceChoice {
    /// Whether no card is wanted.
    pub fn is_cpu(self) -> bool {
        matches!(self, DeviceChoice::Cpu | DeviceChoice::CpuBf16)
    }

    /// Whether a processor that computes keeps matrices in bf16.
    pub fn keeps_bf16(self) -> bool {
        self == DeviceChoice::CpuBf16
    }
}

/// Whether this build can render on a card.
pub const HAS_CUDA: bool = cfg!(feature = "cuda");

/// The denoised picture before the VAE, on the host: (channels, height/f, width/f), f32, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Latents {
    pub shape: [usize; 3],
    pub values: Vec<f32>,
}

/// A finished picture: `rgb.len() == 3 * width * height`, rows from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    pub width: u32,
    pub height: u32,
    pub rgb: Vec<u8>,
}

/// What a denoising begins with beside noise, in the size that is rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputPicture {
    pub pixels: Pixels,
    /// Whether each pixel is painted over, rows from the top; `None` where all are.
    pub mask: Option<Vec<bool>>,
}

/// Device memory in bytes, as the engine can tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryReading {
    pub used_bytes: u64,
    /// The most used since the last reset.
    pub peak_bytes: u64,
    /// What could be had besides; `None` where nobody knows.
    pub free_bytes: Option<u64>,
    /// What the device has in all; 0 where nobody knows.
    pub total_bytes: u64,
}

/// Whether the work goes on; asked at every step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continue {
    Yes,
    /// The render was cancelled or the worker is to stop.
    No,
}

/// What an engine tells while it works. Called on the device thread: must not block.
pub trait Progress {
    /// A stage begins; `before` is the memory as the stage before it left it, with that stage's
    /// peak.
    fn stage(&mut self, stage: Stage, before: MemoryReading) -> Continue;
    /// Denoising step `step` of `steps` (from 1) is done.
    fn step(&mut self, step: u32, steps: u32) -> Continue;
    /// Offers a look at the picture as it is made out so far; `latents` costs something only where
    /// it is called.
    fn look(&mut self, _latents: &mut dyn FnMut() -> Option<Latents>) {}
}

/// Why an engine could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The device had no room. Recoverable: [`Engine::recover`], then another rung.
    #[error("out of memory in {stage}: {message}")]
    OutOfMemory {
        stage: Stage,
        /// What the failed allocation asked for, where known.
        requested_bytes: Option<u64>,
        message: String,
    },
    /// Progress said [`Continue::No`].
    #[error("stopped")]
    Stopped,
    /// The result is no picture (NaN, black, flat): nothing to save.
    #[error("the picture is unusable: {0}")]
    BadPicture(String),
    /// The request cannot be done by this model (a size, a prompt). The worker is fine.
    #[error("{0}")]
    Invalid(String),
    /// The model's files cannot be used as they are. The worker must exit.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Anything else: the device's state is unknown, the worker must exit.
    #[error("{0}")]
    Fatal(String),
}

/// Result of an engine.
pub type Result<T> = std::result::Result<T, EngineError>;

/// What a card spends on the driver's context before anybody asks it for memory.
pub const CARD_CONTEXT_BYTES: u64 = 400 << 20;

/// Whether [`Engine::device`] names a card. Only a processor calls itself "cpu".
pub fn is_card(device: &str) -> bool {
    !device.starts_with("cpu")
}

/// Whether [`Engine::device`] names a processor that keeps matrices in bf16.
pub fn is_bf16_processor(device: &str) -> bool {
    device.starts_with("cpu in bf16")
}

/// A LoRA with the file that it was found in.
#[derive(Clone, Debug, PartialEq)]
pub struct PlacedLora {
    pub lora: Lora,
    pub path: PathBuf,
}

/// A loaded model on one device.
pub trait Engine {
    /// What the ladder may ask of this engine.
    fn capabilities(&self) -> Capabilities;

    /// What predictions of its memory go by.
    fn backend(&self) -> Backend;

    /// The device in words ("cpu, 2 threads", "NVIDIA GeForce RTX 3060").
    fn device(&self) -> String;

    /// Which card it renders on, in the order in which programs see cards; `None` on a processor.
    fn card(&self) -> Option<u32> {
        None
    }

    /// How fast the device is, in a measurement of less than two seconds; `None` where that says
    /// nothing.
    fn measure_speed(&self) -> Result<Option<DeviceSpeed>> {
        Ok(None)
    }

    /// What pictures say of their model ("Z-Image-Turbo").
    fn model_name(&self) -> &str;

    /// The files that its weights come from, which tell one model from another; none of the
    /// scripted engine.
    fn weight_files(&self) -> &WeightFiles;

    /// The same files by part; none of the scripted engine.
    fn weight_parts(&self) -> &[WeightPart] {
        &[]
    }

    /// The fingerprint of these files when the model was loaded: what is kept on disk is for this
    /// model alone.
    fn fingerprint(&self) -> &str;

    /// Brings the weights to where `rung` wants them. A render does so by itself; done before, its
    /// time is not part of the first render's.
    fn place_weights(&mut self, rung: &Rung) -> Result<()>;

    /// How long the weights took to come to the device so far, by part; none where that is not
    /// measured.
    fn part_loads(&self) -> Vec<PartLoad> {
        Vec::new()
    }

    /// Whether `prompt` is longer than the model's token limit, so that its end is not seen.
    fn prompt_cut(&self, prompt: &str) -> bool;

    /// Renders that come next have these prompts: they may be encoded with the present one's.
    fn expect_prompts(&mut self, _prompts: Vec<String>) {}

    /// What is denoised from now on is made with these LoRAs. They are read, and their errors told,
    /// when that begins; those that are no longer wanted are dropped at once.
    fn use_loras(&mut self, _loras: Vec<PlacedLora>) {}

    /// Text encoding and denoising on `rung`, from noise alone or from `input`. Deterministic in
    /// (recipe, input, size, steps) on one kind of device.
    fn denoise_from(
        &mut self,
        input: Option<&InputPicture>,
        recipe: &Recipe,
        rung: &Rung,
        progress: &mut dyn Progress,
    ) -> Result<Latents>;

    /// As [`Engine::denoise_from`], from noise alone.
    fn denoise(
        &mut self,
        recipe: &Recipe,
        rung: &Rung,
        progress: &mut dyn Progress,
    ) -> Result<Latents> {
        self.denoise_from(None, recipe, rung, progress)
    }

    /// VAE decode of `latents` on `rung`.
    fn decode(
        &mut self,
        latents: &Latents,
        rung: &Rung,
        progress: &mut dyn Progress,
    ) -> Result<Pixels>;

    /// After [`EngineError::OutOfMemory`]: free, synchronise, trim, discard stale errors. `Fatal`
    /// when memory did not come back to its baseline.
    fn recover(&mut self) -> Result<()>;

    /// Memory now; `peak_bytes` is counted from the last [`Engine::reset_peak`].
    fn memory(&self) -> MemoryReading;

    /// Starts a new peak.
    fn reset_peak(&mut self);

    /// Begins `stage`: an engine calls this, so that `progress` learns the peak of each stage by
    /// itself.
    fn begin(&mut self, stage: Stage, progress: &mut dyn Progress) -> Result<()> {
        let before = self.memory();
        self.reset_peak();
        match progress.stage(stage, before) {
            Continue::Yes => Ok(()),
            Continue::No => Err(EngineError::Stopped),
        }
    }
}
