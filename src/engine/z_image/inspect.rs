//! What the files at a path hold, for a user who wonders whether they can be used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::checkpoint::Checkpoint;
use super::config::{TextEncoderConfig, TransformerConfig, VaeConfig};
use super::model_files::{ModelFiles, PartFiles};
use super::names::{NamedTensors, Part, named};
use super::quant::QuantisedFile;
use super::shapes::Tensors;
use crate::engine::{ModelDescription, ModelError, ModelKind, ModelPlace};
use crate::ladder::Precision;

/// So many names of tensors that are of no part are told.
const UNKNOWN_MAX: usize = 20;

/// What the files of a model hold.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Inspected {
    /// What was asked about.
    pub path: PathBuf,
    /// The parts that are in the file, or that the folder leads to.
    pub parts: Vec<InspectedPart>,
    /// How many tensors are of no part.
    pub unknown: usize,
    /// The names of the first of them.
    pub unknown_names: Vec<String>,
    /// The whole model, with what lies around the file; null where `problem` says why there is
    /// none.
    pub model: Option<InspectedModel>,
    /// Why it is no whole model.
    pub problem: Option<String>,
}

/// A part of a model in its files.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InspectedPart {
    /// "transformer", "text encoder" or "VAE".
    pub part: &'static str,
    /// Its files.
    pub files: Vec<PathBuf>,
    /// Its size in words: "30 layers of 3840".
    pub dimensions: String,
    /// How many tensors it has.
    pub tensors: usize,
    /// What they take in the files.
    pub bytes: u64,
    /// How they are written, most bytes first.
    pub forms: Vec<Form>,
}

/// A way in which values are written.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Form {
    /// "BF16", "Q8_0" and so on.
    pub name: String,
    /// What the tensors written so take.
    pub bytes: u64,
}

/// A model that can be rendered with.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InspectedModel {
    /// What pictures say of it.
    pub name: String,
    /// Which training it is.
    pub kind: ModelKind,
    /// Steps of a job that does not say them.
    pub steps: u32,
    /// Guidance of a job that does not say it.
    pub guidance: f64,
    /// The file or folder of each part: transformer, text encoder, VAE.
    pub places: [PathBuf; 3],
    /// Files that `model quantize` has written for it, which are loaded where such weights are
    /// wanted.
    pub quantised: Vec<PathBuf>,
}

/// Looks into the files of the model at `place`; only headers are read. An error names the file
/// that is refused, and why.
pub fn inspect_model(place: &ModelPlace) -> Result<Inspected, ModelError> {
    let found = ModelFiles::find(place);
    let (parts, unknown) = match (&found, place.path.is_file()) {
        (_, true) => parts_in_file(&place.path)?,
        (Ok(files), false) => (parts_of(files)?, Vec::new()),
        (Err(error), false) => return Err(error.clone()),
    };
    let model = found.and_then(|files| whole(&files));
    let (model, problem) = match model {
        Ok(model) => (Some(model), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Ok(Inspected {
        path: place.path.clone(),
        parts,
        unknown: unknown.len(),
        unknown_names: unknown.into_iter().take(UNKNOWN_MAX).collect(),
        model,
        problem,
    })
}

fn parts_in_file(path: &Path) -> Result<(Vec<InspectedPart>, Vec<String>), ModelError> {
    let NamedTensors { parts, unknown } = named(&Checkpoint::read(path)?, path)?;
    let parts = parts.iter().map(|(part, tensors)| of_part(*part, vec![path.to_owned()], tensors));
    Ok((parts.collect(), unknown))
}

fn parts_of(files: &ModelFiles) -> Result<Vec<InspectedPart>, ModelError> {
    let parts = [&files.transformer, &files.text_encoder, &files.vae];
    parts.into_iter().map(|part| Ok(of_part(part.part, part.paths()?, &part.tensors()?))).collect()
}

fn of_part(part: Part, files: Vec<PathBuf>, tensors: &Tensors) -> InspectedPart {
    let mut forms = BTreeMap::<String, u64>::new();
    for tensor in tensors.values() {
        *forms.entry(tensor.encoding().to_string()).or_default() += tensor.bytes() as u64;
    }
    let mut forms: Vec<Form> =
        forms.into_iter().map(|(name, bytes)| Form { name, bytes }).collect();
    forms.sort_by_key(|form| std::cmp::Reverse(form.bytes));
    InspectedPart {
        part: part.word(),
        files,
        dimensions: dimensions(part, tensors),
        tensors: tensors.len(),
        bytes: forms.iter().map(|form| form.bytes).sum(),
        forms,
    }
}

fn dimensions(part: Part, tensors: &Tensors) -> String {
    let told = match part {
        Part::Transformer => TransformerConfig::of(tensors)
            .map(|config| format!("{} layers of {}", config.n_layers, config.dim)),
        Part::TextEncoder => TextEncoderConfig::of(tensors)
            .map(|config| format!("{} layers of {}", config.num_hidden_layers, config.hidden_size)),
        Part::Vae => VaeConfig::of(tensors).map(|config| {
            let (levels, channels) = (config.block_out_channels.len(), config.latent_channels);
            format!("{levels} levels, {channels} channels of latents")
        }),
    };
    told.unwrap_or_else(|| "not whole".to_owned())
}

fn whole(files: &ModelFiles) -> Result<InspectedModel, ModelError> {
    let ModelDescription { name, steps, guidance, .. } = ModelDescription::of(files)?;
    files.weight_paths()?;
    let place = |part: &PartFiles| part.place().to_owned();
    let quantised = [Precision::Q8, Precision::Q4].into_iter().filter_map(|precision| {
        QuantisedFile::path(files.transformer.place(), precision).filter(|path| path.exists())
    });
    Ok(InspectedModel {
        name,
        kind: files.kind_with(&files.config()?.schedule),
        steps,
        guidance,
        places: [place(&files.transformer), place(&files.text_encoder), place(&files.vae)],
        quantised: quantised.collect(),
    })
}
