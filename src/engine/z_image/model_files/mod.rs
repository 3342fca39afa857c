//! Which files are which part of a model: a folder of the hub's layout, ComfyUI's folders, a single
//! file, or parts that the user names.

mod candidates;
mod configuration;
mod hub;
mod kind;

use std::path::{Path, PathBuf};

use self::candidates::{Candidates, Wanted};
use super::checkpoint::Checkpoint;
use super::config::{TextEncoderConfig, TransformerConfig, VaeConfig};
use super::names::{NamedTensors, Part, named};
use super::shapes::Tensors;
use super::wrong_folder;
use crate::engine::{ModelError, ModelKind, ModelPlace};

/// The files of a model.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    /// What the user named.
    pub path: PathBuf,
    /// The folder with the JSON files of the hub's layout, where there is one. A model without it
    /// says by its shapes what it is, and takes the tokenizer of the program.
    pub hub: Option<PathBuf>,
    /// As the user says, or as hashes and names of the files do.
    pub kind: Option<ModelKind>,
    pub transformer: PartFiles,
    pub text_encoder: PartFiles,
    pub vae: PartFiles,
}

/// The files of one part.
#[derive(Clone, Debug)]
pub struct PartFiles {
    pub part: Part,
    place: PartPlace,
}

#[derive(Clone, Debug)]
enum PartPlace {
    /// A folder of the hub's layout with `config.json`, and how the files are called before
    /// `.safetensors`.
    Hub {
        folder: PathBuf,
        stem: &'static str,
    },
    File(PathBuf),
}

/// How parts lie in a folder of the hub's layout.
fn in_hub(hub: &Path, part: Part) -> PartFiles {
    let (folder, stem) = match part {
        Part::Transformer => ("transformer", "diffusion_pytorch_model"),
        Part::TextEncoder => ("text_encoder", "model"),
        Part::Vae => ("vae", "diffusion_pytorch_model"),
    };
    PartFiles { part, place: PartPlace::Hub { folder: hub.join(folder), stem } }
}

impl PartFiles {
    /// The part in the single file `path`.
    pub fn file(part: Part, path: &Path) -> PartFiles {
        PartFiles { part, place: PartPlace::File(path.to_owned()) }
    }

    /// The part in a folder of the hub's layout whose files are called `stem`.
    pub fn folder(part: Part, folder: &Path, stem: &'static str) -> PartFiles {
        PartFiles { part, place: PartPlace::Hub { folder: folder.to_owned(), stem } }
    }

    /// The file or the folder that errors name.
    pub fn place(&self) -> &Path {
        match &self.place {
            PartPlace::Hub { folder, .. } => folder,
            PartPlace::File(path) => path,
        }
    }

    /// `config.json` beside the weights, where the layout has one.
    pub fn config_json(&self) -> Option<PathBuf> {
        match &self.place {
            PartPlace::Hub { folder, .. } => Some(folder.join("config.json")),
            PartPlace::File(_) => None,
        }
    }

    /// All its files. Errors name what is missing.
    pub fn paths(&self) -> Result<Vec<PathBuf>, ModelError> {
        match &self.place {
            PartPlace::Hub { folder, stem } => hub::paths(folder, stem),
            PartPlace::File(path) => Ok(vec![path.clone()]),
        }
    }

    /// What its single file says of itself under `key`; `None` of a folder, which has JSON files
    /// for that.
    fn metadata(&self, key: &str) -> Result<Option<String>, ModelError> {
        match &self.place {
            PartPlace::Hub { .. } => Ok(None),
            PartPlace::File(path) => Ok(Checkpoint::read(path)?.metadata.remove(key)),
        }
    }

    /// Its tensors by the model's names; only headers are read. Errors name the file.
    pub fn tensors(&self) -> Result<Tensors, ModelError> {
        let paths = self.paths()?;
        let checkpoint = Checkpoint::read_all(paths.iter().map(PathBuf::as_path))?;
        let NamedTensors { mut parts, unknown } = named(&checkpoint, self.place())?;
        if !unknown.is_empty() {
            let (place, some) = (self.place().display(), unknown.len().min(5));
            let names = unknown[..some].join(", ");
            tracing::debug!("{place}: {} tensors are of no part: {names}", unknown.len());
        }
        Ok(parts.remove(&self.part).unwrap_or_default())
    }
}

impl ModelFiles {
    /// Finds the parts of the model at `place`. Of single files the headers are read, of a folder
    /// of the hub's layout nothing. Errors name what is missing and what would be right.
    pub fn find(place: &ModelPlace) -> Result<ModelFiles, ModelError> {
        let files = match wrong_folder::has_index(&place.path) {
            true => ModelFiles::of_hub(place)?,
            false => ModelFiles::of_single_files(place)?,
        };
        Ok(ModelFiles { kind: place.kind.or(files.kind), ..files })
    }

    fn of_hub(place: &ModelPlace) -> Result<ModelFiles, ModelError> {
        let hub = &place.path;
        let other =
            |named: &Option<PathBuf>, part: Part| part_or(part, named, || Ok(in_hub(hub, part)));
        Ok(ModelFiles {
            path: hub.to_owned(),
            hub: Some(hub.to_owned()),
            kind: kind::beyond_schedule(hub),
            transformer: in_hub(hub, Part::Transformer),
            text_encoder: other(&place.text_encoder, Part::TextEncoder)?,
            vae: other(&place.vae, Part::Vae)?,
        })
    }

    fn of_single_files(place: &ModelPlace) -> Result<ModelFiles, ModelError> {
        if let Some(problem) = wrong_folder::problem(&place.path) {
            return Err(ModelError::wrong(&place.path, problem));
        }
        let candidates = Candidates::around(&place.path);
        let transformer = candidates.one(&place.path, Wanted::Transformer)?;
        let config = TransformerConfig::of(&transformer.tensors()?)
            .ok_or_else(|| ModelError::wrong(transformer.place(), "is no whole transformer"))?;
        let other = |named: &Option<PathBuf>, wanted: Wanted| {
            part_or(wanted.part(), named, || candidates.one(&place.path, wanted))
        };
        let text_encoder = Wanted::TextEncoder { width: config.cap_feat_dim };
        Ok(ModelFiles {
            path: place.path.clone(),
            hub: None,
            kind: kind::of_single_file(transformer.place(), &place.path),
            text_encoder: other(&place.text_encoder, text_encoder)?,
            vae: other(&place.vae, Wanted::Vae { channels: config.in_channels })?,
            transformer,
        })
    }

    /// All files of weights. Errors name what is missing, or the first that is not whole.
    pub fn weight_paths(&self) -> Result<Vec<PathBuf>, ModelError> {
        let mut all = Vec::new();
        for part in [&self.text_encoder, &self.transformer, &self.vae] {
            all.extend(part.paths()?);
        }
        all.sort_unstable();
        all.dedup(); // an all-in-one file has all parts
        all.iter().try_for_each(|path| Checkpoint::read(path).map(drop))?;
        Ok(all)
    }

    /// What the model calls itself where it does not say so: its folder, or its file.
    pub fn name(&self) -> String {
        let absolute = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let name = match self.path.is_dir() {
            true => absolute.file_name(),
            false => absolute.file_stem(),
        };
        name.map_or_else(|| "Z-Image".to_owned(), |name| name.to_string_lossy().into_owned())
    }
}

/// The part in the file or folder that the user named for it, else what `found` gives.
fn part_or(
    part: Part,
    named: &Option<PathBuf>,
    found: impl FnOnce() -> Result<PartFiles, ModelError>,
) -> Result<PartFiles, ModelError> {
    named.as_ref().map_or_else(found, |path| candidates::holding(part, path))
}

/// Whether the tensors are a whole part: one that dimensions can be told of.
fn is_whole(part: Part, tensors: &Tensors) -> bool {
    match part {
        Part::Transformer => TransformerConfig::of(tensors).is_some(),
        Part::TextEncoder => TextEncoderConfig::of(tensors).is_some(),
        Part::Vae => VaeConfig::of(tensors).is_some(),
    }
}
