//! The dimensions, as the model's JSON files give them. Names are the files' own.

use std::path::Path;
use std::{fs, io};

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::wrong_file::{self, unfinished};
use crate::engine::{ModelError, ModelKind};
use crate::files;

/// `transformer/config.json`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TransformerConfig {
    pub all_patch_size: Vec<usize>,
    pub all_f_patch_size: Vec<usize>,
    pub in_channels: usize,
    pub dim: usize,
    pub n_layers: usize,
    pub n_refiner_layers: usize,
    pub n_heads: usize,
    pub norm_eps: f64,
    pub cap_feat_dim: usize,
    pub rope_theta: f64,
    pub t_scale: f64,
    /// How a head's dimensions are shared among the position's axes (caption or frame, row,
    /// column).
    pub axes_dims: [usize; 3],
    /// How many positions each axis has.
    pub axes_lens: [usize; 3],
}

/// The index of a large model's weights has some hundred KiB. What is larger is another file.
const JSON_BYTES_MAX: u64 = 16 << 20;

/// Conditioning vectors are no wider than this.
const ADALN_EMBED_DIM: usize = 256;

impl TransformerConfig {
    /// Side of a patch, latent pixels. Of several in the file, the first is the one that the
    /// weights are trained on.
    pub fn patch(&self) -> usize {
        self.all_patch_size.first().copied().unwrap_or(2)
    }

    /// The suffix of the names of what embeds and unembeds patches: "2-1".
    pub fn patch_key(&self) -> String {
        format!("{}-{}", self.patch(), self.all_f_patch_size.first().copied().unwrap_or(1))
    }

    pub fn head_dim(&self) -> usize {
        self.dim / self.n_heads
    }

    /// `int(dim / 3 * 8)`, in floating point as the reference has it.
    pub fn hidden_dim(&self) -> usize {
        (self.dim as f64 / 3.0 * 8.0) as usize
    }

    /// Width of the vector that carries the timestep into the blocks.
    pub fn adaln_dim(&self) -> usize {
        self.dim.min(ADALN_EMBED_DIM)
    }

    /// The first thing in the file that this port cannot compute or that contradicts another, in
    /// words.
    pub fn problem(&self) -> Option<String> {
        if self.all_f_patch_size.first().is_some_and(|&frames| frames != 1) {
            return Some(
                "all_f_patch_size must begin with 1: this is not a model of single pictures".into(),
            );
        }
        if self.n_heads == 0 || self.axes_dims.iter().sum::<usize>() != self.head_dim() {
            return Some(format!(
                "axes_dims must add up to dim / n_heads, that is {}",
                self.dim / self.n_heads.max(1)
            ));
        }
        None
    }
}

/// `text_encoder/config.json`: Qwen3.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TextEncoderConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    /// Not `hidden_size / num_attention_heads`.
    pub head_dim: usize,
    pub rms_norm_eps: f64,
    /// At the top level in files of transformers before 5, under `rope_parameters` since.
    #[serde(flatten, deserialize_with = "rope_theta", serialize_with = "at_top_level")]
    pub rope_theta: f64,
    /// As transformers write it since version 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<Value>,
    /// As they wrote it before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torch_dtype: Option<Value>,
}

impl TextEncoderConfig {
    /// What floats its weights were trained in, by the name that torch has for them.
    pub fn trained(&self) -> Option<&str> {
        self.dtype.as_ref().or(self.torch_dtype.as_ref())?.as_str()
    }
}

fn rope_theta<'de, D: Deserializer<'de>>(file: D) -> Result<f64, D::Error> {
    #[derive(Deserialize)]
    struct Parameters {
        rope_theta: f64,
    }
    #[derive(Deserialize)]
    struct File {
        rope_theta: Option<f64>,
        rope_parameters: Option<Parameters>,
    }
    let file = File::deserialize(file)?;
    let theta = file.rope_theta.or(file.rope_parameters.map(|parameters| parameters.rope_theta));
    theta.ok_or_else(|| {
        D::Error::custom("rope_theta is missing, both at the top level and under rope_parameters")
    })
}

fn at_top_level<S: Serializer>(rope_theta: &f64, file: S) -> Result<S::Ok, S::Error> {
    file.collect_map([("rope_theta", rope_theta)])
}

impl TextEncoderConfig {
    /// What this port cannot compute, in words.
    pub fn problem(&self) -> Option<String> {
        (self.num_hidden_layers < 2).then(|| "num_hidden_layers must be at least 2".into())
    }
}

/// `vae/config.json`: AutoencoderKL.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct VaeConfig {
    pub latent_channels: usize,
    pub out_channels: usize,
    pub block_out_channels: Vec<usize>,
    pub layers_per_block: usize,
    pub norm_num_groups: usize,
    pub scaling_factor: f64,
    pub shift_factor: Option<f64>,
    #[serde(default)]
    pub use_post_quant_conv: bool,
}

impl VaeConfig {
    /// How many pixels a latent pixel becomes each way: every block but the last doubles the size.
    pub fn factor(&self) -> usize {
        1 << self.block_out_channels.len().saturating_sub(1)
    }

    /// Channels of the decoder's blocks, deepest first.
    pub fn decoder_channels(&self) -> Vec<usize> {
        self.block_out_channels.iter().rev().copied().collect()
    }

    /// What this port cannot compute, in words.
    pub fn problem(&self) -> Option<String> {
        if self.block_out_channels.is_empty() {
            return Some("block_out_channels must not be empty".into());
        }
        if self.use_post_quant_conv {
            return Some(
                "use_post_quant_conv must be false: this is not Z-Image's autoencoder".into(),
            );
        }
        None
    }
}

/// `scheduler/scheduler_config.json`: FlowMatchEulerDiscreteScheduler.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ScheduleConfig {
    pub shift: f64,
    pub num_train_timesteps: u32,
    #[serde(default)]
    use_dynamic_shifting: bool,
}

impl ScheduleConfig {
    /// The published schedules: they differ in their shift alone.
    pub fn of(kind: ModelKind) -> ScheduleConfig {
        let shift = match kind {
            ModelKind::Turbo | ModelKind::DeTurbo => 3.0,
            ModelKind::Base => 6.0,
        };
        ScheduleConfig { shift, num_train_timesteps: 1000, use_dynamic_shifting: false }
    }

    /// What this port cannot compute, in words.
    pub fn problem(&self) -> Option<String> {
        self.use_dynamic_shifting
            .then(|| "use_dynamic_shifting must be false: Z-Image has a fixed shift".into())
    }
}

/// The dimensions of all parts.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    pub transformer: TransformerConfig,
    pub text_encoder: TextEncoderConfig,
    pub vae: VaeConfig,
    pub schedule: ScheduleConfig,
}

impl ModelConfig {
    /// Sides are multiples of this, pixels: the VAE's factor times the transformer's patch.
    pub fn granularity(&self) -> usize {
        self.vae.factor() * self.transformer.patch()
    }
}

/// Reads one JSON file of a model. Errors name the file and what is wrong with it.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ModelError> {
    if fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Err(ModelError::wrong(path, unfinished("is missing")));
    }
    wrong_file::refuse(path)?;
    let text =
        files::read_whole(path, JSON_BYTES_MAX).map_err(|error| ModelError::of_io(path, &error))?;
    serde_json::from_slice(&text).map_err(|error| ModelError::wrong(path, error))
}

/// As [`read_json`], and an error where `problem` finds something wrong in it.
pub fn read_checked<T: DeserializeOwned>(
    path: &Path,
    problem: impl Fn(&T) -> Option<String>,
) -> Result<T, ModelError> {
    let config = read_json(path)?;
    match problem(&config) {
        Some(problem) => Err(ModelError::wrong(path, problem)),
        None => Ok(config),
    }
}

/// Z-Image-Turbo's published configuration, for answers about it where its files are not at hand.
pub fn turbo() -> ModelConfig {
    ModelConfig {
        transformer: TransformerConfig {
            all_patch_size: vec![2],
            all_f_patch_size: vec![1],
            in_channels: 16,
            dim: 3840,
            n_layers: 30,
            n_refiner_layers: 2,
            n_heads: 30,
            norm_eps: 1e-5,
            cap_feat_dim: 2560,
            rope_theta: 256.0,
            t_scale: 1000.0,
            axes_dims: [32, 48, 48],
            axes_lens: [1536, 512, 512],
        },
        text_encoder: TextEncoderConfig {
            vocab_size: 151_936,
            hidden_size: 2560,
            intermediate_size: 9728,
            num_hidden_layers: 36,
            num_attention_heads: 32,
            num_key_value_heads: 8,
            head_dim: 128,
            rms_norm_eps: 1e-6,
            rope_theta: 1e6,
            dtype: None,
            torch_dtype: None,
        },
        vae: VaeConfig {
            latent_channels: 16,
            out_channels: 3,
            block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: 2,
            norm_num_groups: 32,
            scaling_factor: 0.3611,
            shift_factor: Some(0.1159),
            use_post_quant_conv: false,
        },
        schedule: ScheduleConfig::of(ModelKind::Turbo),
    }
}
