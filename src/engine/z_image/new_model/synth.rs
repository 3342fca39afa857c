//! A model of random weights: for benchmarks, and for whoever has no weights yet.

use std::fs;
use std::path::Path;

use super::{NewPart, Result, WrittenModel, make, texts};
use crate::engine::mini;
use crate::engine::z_image::checkpoint::{FloatFormat, NewTensor, write_safetensors};
use crate::engine::z_image::config::{ModelConfig, turbo};
use crate::engine::z_image::model_files::ModelFiles;
use crate::engine::{ModelDescription, ModelPlace};

/// What is to be written.
#[derive(Clone, Debug)]
pub struct Synthesis<'a> {
    /// The folder, which is made.
    pub to: &'a Path,
    pub geometry: Geometry,
    /// The same seed gives the same bytes.
    pub seed: u64,
}

/// The dimensions: those of a known model, with changes.
#[derive(Clone, Debug, Default)]
pub struct Geometry {
    /// Of the miniature, else of Turbo.
    pub is_miniature: bool,
    /// Width of the transformer: a multiple of a head's.
    pub dim: Option<usize>,
    pub layers: Option<usize>,
    pub refiners: Option<usize>,
    /// Width of the text encoder.
    pub text_width: Option<usize>,
    pub text_inner: Option<usize>,
    pub text_layers: Option<usize>,
    /// Channels of the VAE's levels, from the picture on.
    pub vae_channels: Vec<usize>,
}

/// More than any model has; what is larger is a slip, and would fill the disk.
const SIDE_MAX: usize = 1 << 16;

impl Geometry {
    fn change(&self, config: &mut ModelConfig) -> Result<()> {
        let head_dim = config.transformer.head_dim();
        let transformer = &mut config.transformer;
        transformer.dim = self.dim.unwrap_or(transformer.dim);
        transformer.n_layers = self.layers.unwrap_or(transformer.n_layers);
        transformer.n_refiner_layers = self.refiners.unwrap_or(transformer.n_refiner_layers);
        if !transformer.dim.is_multiple_of(head_dim) {
            return Err(format!("--dim must be a multiple of {head_dim}, the width of a head"));
        }
        transformer.n_heads = transformer.dim / head_dim;
        let text = &mut config.text_encoder;
        text.hidden_size = self.text_width.unwrap_or(text.hidden_size);
        text.intermediate_size = self.text_inner.unwrap_or(text.intermediate_size);
        text.num_hidden_layers = self.text_layers.unwrap_or(text.num_hidden_layers);
        config.transformer.cap_feat_dim = text.hidden_size;
        if !self.vae_channels.is_empty() {
            config.vae.block_out_channels.clone_from(&self.vae_channels);
        }
        let groups = config.vae.norm_num_groups;
        if config.vae.block_out_channels.iter().any(|channels| !channels.is_multiple_of(groups)) {
            return Err(format!(
                "--vae-channels must be multiples of {groups}, the groups of norms"
            ));
        }
        self.require_sizes(config)
    }

    fn require_sizes(&self, config: &ModelConfig) -> Result<()> {
        let ModelConfig { transformer, text_encoder: text, vae, .. } = config;
        let given = [
            ("--dim", transformer.dim),
            ("--layers", transformer.n_layers),
            ("--text-width", text.hidden_size),
            ("--text-inner", text.intermediate_size),
            ("--text-layers", text.num_hidden_layers),
        ];
        let channels = vae.block_out_channels.iter().map(|channels| ("--vae-channels", *channels));
        for (option, size) in given.into_iter().chain(channels) {
            let least = if option == "--text-layers" { 2 } else { 1 };
            if !(least..=SIDE_MAX).contains(&size) {
                return Err(format!("{option} must be {least} to {SIDE_MAX}, not {size}"));
            }
        }
        match transformer.n_refiner_layers <= SIDE_MAX {
            true => Ok(()),
            false => Err(format!("--refiners must be at most {SIDE_MAX}")),
        }
    }
}

/// Writes a model of random weights in bf16. Matrices keep the size of what goes through them,
/// norms are ones, so that pictures are noise and nothing overflows.
pub fn synthesise_model(synthesis: &Synthesis) -> Result<WrittenModel> {
    let Synthesis { to, geometry, seed } = synthesis;
    let (mut config, mut texts) = match geometry.is_miniature {
        true => of_miniature()?,
        false => (turbo(), vec![texts::of_program()?]),
    };
    geometry.change(&mut config)?;
    texts.extend(texts::of_config(&config)?);
    let parts = NewPart::all(&config);
    make(to, &parts, FloatFormat::Bf16, |folder| {
        texts::write(folder, &texts)?;
        for (nth, part) in parts.iter().enumerate() {
            let path = part.path(folder);
            let stream = mixed(seed ^ mixed(nth as u64));
            let written =
                write_safetensors(&path, FloatFormat::Bf16, &part.tensors, |place, row, out| {
                    fill(&part.tensors[place], stream ^ mixed(!(place as u64)), row, out);
                    Ok(())
                });
            written.map_err(|error| error.to_string())?;
        }
        ModelDescription::read(&ModelPlace::at(folder)).map(drop).map_err(|e| e.to_string())
    })
}

/// The miniature's dimensions, and its own small tokenizer.
fn of_miniature() -> Result<(ModelConfig, Vec<texts::Text>)> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut texts = Vec::new();
    for (name, content) in mini::text_files() {
        let path = folder.path().join(name);
        let written = fs::create_dir_all(path.parent().unwrap_or(folder.path()))
            .and_then(|()| fs::write(&path, content));
        written.map_err(|error| format!("{}: {error}", path.display()))?;
        if name.starts_with("tokenizer/") || name == "zimaged.json" {
            texts.push((name.to_owned(), content.to_vec()));
        }
    }
    let files = ModelFiles::find(&ModelPlace::at(folder.path()));
    let config = files.and_then(|files| files.config()).map_err(|error| error.to_string())?;
    Ok((config, texts))
}

/// The values of a tensor from a row on, which depend on nothing but `stream` and their places.
fn fill(tensor: &NewTensor, stream: u64, first_row: usize, out: &mut [f32]) {
    match tensor.shape[..] {
        [_] if tensor.name.ends_with(".bias") => out.fill(0.0),
        [_] => out.fill(1.0),
        _ => {
            // A uniform variable of this width has a variance of one over the inputs.
            let width = (12.0 / tensor.columns() as f64).sqrt() as f32;
            let first = (first_row * tensor.columns()) as u64;
            for (value, place) in out.iter_mut().zip(first..) {
                let unit = (mixed(stream.wrapping_add(place)) >> 40) as f32 / (1 << 24) as f32;
                *value = (unit - 0.5) * width;
            }
        }
    }
}

/// The finaliser of SplitMix64, after one step of it: each bit of the result depends on all of
/// `value`.
fn mixed(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
