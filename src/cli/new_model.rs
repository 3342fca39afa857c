//! `zimaged model convert` and `zimaged model synth`: models written anew.

use std::path::PathBuf;

use clap::ValueEnum;

use super::print::mebibytes;
use super::{Outcome, print, short};
use crate::config::Config;
use crate::engine::z_image::checkpoint::FloatFormat;
use crate::engine::z_image::new_model::{Conversion, Geometry, Synthesis, WrittenModel};
use crate::engine::{ModelPlace, convert_model, quantise_model, synthesise_model};
use crate::ladder::Precision;
use crate::queue;

#[derive(clap::Args, Debug)]
pub(super) struct ConvertArgs {
    /// The model: its name in daemon.toml, its folder in models/, or a path
    from: String,
    /// The folder to write, which must not be there yet
    to: PathBuf,
    /// How values are written
    #[arg(long = "as", value_enum, default_value = "bf16")]
    format: FloatArg,
    /// Quantise its transformer as well, as `zimaged model quantize` does
    #[arg(long, value_enum)]
    quantize: Option<LowerPrecision>,
}

impl ConvertArgs {
    /// Whether the model is named by its path, so that no configuration is needed.
    pub(super) fn names_files(&self) -> bool {
        self.from.contains('/')
    }
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum FloatArg {
    Bf16,
    F32,
}

#[derive(clap::Args, Debug)]
pub(super) struct SynthArgs {
    /// The folder to write, which must not be there yet
    to: PathBuf,
    /// Whose dimensions it has where no option says otherwise
    #[arg(long, value_enum, default_value = "miniature")]
    preset: Preset,
    /// The same seed gives the same bytes
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Width of the transformer
    #[arg(long, value_name = "N")]
    dim: Option<usize>,
    /// Layers of the transformer
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
    /// Refiners in front of them, of the picture and of the prompt each
    #[arg(long, value_name = "N")]
    refiners: Option<usize>,
    /// Width of the text encoder
    #[arg(long, value_name = "N")]
    text_width: Option<usize>,
    /// Width of its inner layers
    #[arg(long, value_name = "N")]
    text_inner: Option<usize>,
    /// Layers of the text encoder
    #[arg(long, value_name = "N")]
    text_layers: Option<usize>,
    /// Channels of the VAE's levels, from the picture on, with commas between
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    vae_channels: Vec<usize>,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq)]
enum Preset {
    Miniature,
    Turbo,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
pub(super) enum LowerPrecision {
    Q8,
    Q4,
}

impl From<LowerPrecision> for Precision {
    fn from(precision: LowerPrecision) -> Precision {
        match precision {
            LowerPrecision::Q8 => Precision::Q8,
            LowerPrecision::Q4 => Precision::Q4,
        }
    }
}

pub(super) fn convert(config: &Config, args: &ConvertArgs, json: bool) -> Outcome {
    let from = queue::model_called(config, Some(&args.from)).map_err(anyhow::Error::from)?;
    let to = std::path::absolute(&args.to)?;
    let format = match args.format {
        FloatArg::Bf16 => FloatFormat::Bf16,
        FloatArg::F32 => FloatFormat::F32,
    };
    let conversion = Conversion { to: &to, format };
    let written = convert_model(&from, conversion).map_err(anyhow::Error::msg)?;
    if let Some(precision) = args.quantize {
        quantise_model(&ModelPlace::at(&to), precision.into(), false)
            .map_err(anyhow::Error::msg)?;
    }
    tell(&written, json)
}

pub(super) fn synth(args: &SynthArgs, json: bool) -> Outcome {
    let to = std::path::absolute(&args.to)?;
    let geometry = Geometry {
        is_miniature: args.preset == Preset::Miniature,
        dim: args.dim,
        layers: args.layers,
        refiners: args.refiners,
        text_width: args.text_width,
        text_inner: args.text_inner,
        text_layers: args.text_layers,
        vae_channels: args.vae_channels.clone(),
    };
    let synthesis = Synthesis { to: &to, geometry, seed: args.seed };
    tell(&synthesise_model(&synthesis).map_err(anyhow::Error::msg)?, json)
}

fn tell(written: &WrittenModel, json: bool) -> Outcome {
    let WrittenModel { path, tensors, bytes } = written;
    let text = format!("{}: {tensors} tensors, {}", short(path), mebibytes(*bytes));
    print::answer(written, &text, json)?;
    Ok(0)
}
