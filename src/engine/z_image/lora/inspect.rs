//! What a LoRA's file holds, for a user who wonders whether it can be used.

use std::path::Path;

use serde::Serialize;

use super::file::LoraFile;
use super::keys;
use super::modules::Modules;
use crate::engine::z_image::checkpoint::Checkpoint;
use crate::engine::z_image::config::{TransformerConfig, turbo};
use crate::engine::z_image::model_files::ModelFiles;
use crate::engine::{ModelDescription, ModelError, ModelPlace};

/// So many keys that nobody knows are told.
const UNKNOWN_MAX: usize = 20;

/// A file that changes a model's modules.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InspectedLora {
    /// The model that it fits; null where `problem` says why it fits none.
    pub fits: Option<String>,
    /// How it changes modules: "LoRA", "LoKr", "DoRA (LoRA)" and so on.
    pub kinds: Vec<LoraKind>,
    /// The highest rank of its changes.
    pub rank: usize,
    /// How many of the model's modules it changes.
    pub modules_hit: usize,
    /// How many the model has.
    pub modules: usize,
    /// How many keys it has.
    pub keys: usize,
    /// How many of them belong to nothing in the model.
    pub unknown: usize,
    /// The first of these, with the reason as far as one is known.
    pub unknown_keys: Vec<String>,
    /// Why it is not applied.
    pub problem: Option<String>,
}

/// A way in which modules are changed.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LoraKind {
    /// Its name.
    pub name: String,
    /// How many modules it changes.
    pub modules: usize,
}

/// The LoRA at `path`, held against the model at `model`, and against Z-Image-Turbo where it does
/// not fit that; `None` where the file is no LoRA. Errors name the file and what is wrong with it.
pub fn inspect_lora(
    path: &Path,
    model: Option<&ModelPlace>,
) -> Result<Option<InspectedLora>, ModelError> {
    if !path.is_file() || !Checkpoint::read(path)?.tensors.keys().any(|key| keys::is_sign(key)) {
        return Ok(None);
    }
    let mut models: Vec<(String, TransformerConfig)> = Vec::new();
    if let Some(files) = model.and_then(|model| ModelFiles::find(model).ok()) {
        let description = ModelDescription::of(&files)?;
        models.push((description.name, files.config()?.transformer));
    }
    models.push(("Z-Image-Turbo".to_owned(), turbo().transformer));
    let held = models.iter().map(|(name, config)| against(path, name, &Modules::of(config)));
    let mut held: Vec<InspectedLora> = held.collect();
    let best = held
        .iter()
        .position(|it| it.problem.is_none())
        .or_else(|| held.iter().position(|it| it.modules_hit > 0));
    Ok(Some(held.swap_remove(best.unwrap_or(0))))
}

fn against(path: &Path, name: &str, modules: &Modules) -> InspectedLora {
    match LoraFile::read(path, modules) {
        Ok(file) => told(&file, name, modules),
        Err(error) => InspectedLora {
            fits: None,
            kinds: Vec::new(),
            rank: 0,
            modules_hit: 0,
            modules: modules.count(),
            keys: 0,
            unknown: 0,
            unknown_keys: Vec::new(),
            problem: Some(error.to_string()),
        },
    }
}

fn told(file: &LoraFile, name: &str, modules: &Modules) -> InspectedLora {
    let problem = file.require_fit(false).err().map(|error| error.to_string());
    let kind = |(name, modules)| LoraKind { name, modules };
    let key = |(key, why): &(String, Option<&str>)| match why {
        Some(why) => format!("{key} ({why})"),
        None => key.clone(),
    };
    InspectedLora {
        fits: problem.is_none().then(|| name.to_owned()),
        kinds: file.kinds().into_iter().map(kind).collect(),
        rank: file.rank(),
        modules_hit: file.modules_hit(),
        modules: modules.count(),
        keys: file.keys,
        unknown: file.unknown.len(),
        unknown_keys: file.unknown.iter().take(UNKNOWN_MAX).map(key).collect(),
        problem,
    }
}
