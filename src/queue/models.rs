//! The models that there are: configured and fetched, what waits for them, and their end.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Queue, QueueError};
use crate::config::{Config, ModelChoice};
use crate::engine::provenance::PartSource;
use crate::engine::z_image::verify::VerifiedPart;
use crate::engine::{EngineKind, ModelKind, ModelPlace, inspect_model, mini, verify_weights};
use crate::hub::{
    FetchRecord, FileState, HubError, PRESETS, RemovedModel, VerifiedFile, fetched_at,
    remove_fetched, verify_files,
};
use crate::spelling::count;
use crate::table::Mistake;

/// A model that is configured, or lies among the fetched ones.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ListedModel {
    /// What jobs call it: empty for the one of `[model]`, null where daemon.toml does not name it.
    pub name: Option<String>,
    /// Its folder or file; of the miniature in the program where the daemon unpacks it.
    pub path: PathBuf,
    /// Whether it is the miniature in the program, which needs no file.
    pub built_in: bool,
    /// Which training it is, where that is known.
    pub kind: Option<ModelKind>,
    /// What its weights take in their files.
    pub bytes: u64,
    /// Why it cannot be rendered with; null where it is whole.
    pub problem: Option<String>,
    /// Where it was fetched from, where zimaged did that.
    pub source: Option<PartSource>,
    /// How many renders wait for it, or are running.
    pub waiting: u64,
}

/// A model of which everything was read.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VerifiedModel {
    /// Its folder or file.
    pub path: PathBuf,
    /// Its files as they were fetched; none where zimaged did not do that.
    pub files: Vec<VerifiedFile>,
    /// Its parts.
    pub parts: Vec<VerifiedPart>,
    /// Why it is no whole model; null where it is one.
    pub problem: Option<String>,
}

impl VerifiedModel {
    /// Whether it can be rendered with, and is what was fetched.
    pub fn is_right(&self) -> bool {
        self.problem.is_none()
            && self.files.iter().all(|file| file.state == FileState::Right)
            && self.parts.iter().all(|part| part.problems.is_empty())
    }
}

/// The model that a user calls `what`: by its name in daemon.toml, by its folder in the folder of
/// models, or by a path; without a word the one of `[model]`.
pub fn model_called(config: &Config, what: Option<&str>) -> Result<ModelPlace, QueueError> {
    let what = what.unwrap_or_default();
    if let Some(config) = config.with_model(what) {
        return Ok(config.model_place()?);
    }
    let folder = config.models().join(what);
    match folder.is_dir() {
        true => Ok(ModelPlace::at(&folder)),
        false => {
            let path = std::path::absolute(what);
            let path =
                path.map_err(|source| QueueError::File { path: PathBuf::from(what), source })?;
            if !path.exists() {
                return Err(no_model(config, what));
            }
            Ok(ModelPlace::at(&path))
        }
    }
}

/// For whoever calls a model by a name that none has.
fn no_model(config: &Config, what: &str) -> QueueError {
    let known: Vec<&str> = config.models.keys().map(String::as_str).collect();
    let help = match Mistake::unknown(what, "model", &known).help {
        _ if PRESETS.contains(&what) => format!("fetch it with: zimaged model fetch {what}"),
        Some(help) if !known.is_empty() => help,
        _ => "those that there are: zimaged model list".to_owned(),
    };
    QueueError::NoModel { what: what.to_owned(), help }
}

/// Reads all of a model: its files' hashes, where it was fetched, and each value of its tensors.
pub fn verify_model(place: &ModelPlace) -> VerifiedModel {
    let fetched = fetched_at(&place.path);
    let files = fetched.map(|(folder, record)| verify_files(&folder, &record)).unwrap_or_default();
    let (parts, problem) = match verify_weights(place) {
        Ok(parts) => (parts, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    VerifiedModel { path: place.path.clone(), files, parts, problem }
}

impl Queue<'_> {
    /// How many renders have not ended, by the names of their models.
    async fn waiting_for(&self) -> Result<Vec<(String, u64)>, QueueError> {
        Ok(self.store.waiting_by_model().await?)
    }
}

/// How much waits for each model; nothing where there is no queue yet.
async fn waiting(config: &Config) -> Vec<(String, u64)> {
    match Queue::open(config).await {
        Ok(queue) => queue.waiting_for().await.unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

/// The configured models, then the others in the folder of models.
pub async fn list_models(config: &Config) -> Vec<ListedModel> {
    let waiting = waiting(config).await;
    let of = |name: &str| {
        let renders = waiting.iter().find(|(model, _)| model == name).map_or(0, |(_, it)| *it);
        let known = match named_place(config, name) {
            Some(place) => listed(&place),
            None => built_in(config)?,
        };
        Some(ListedModel { name: Some(name.to_owned()), waiting: renders, ..known })
    };
    let mut models: Vec<ListedModel> = config.model_names().filter_map(of).collect();
    let mut folders: Vec<PathBuf> = fs::read_dir(config.models())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort_unstable();
    folders.retain(|folder| !models.iter().any(|model| model.path.starts_with(folder)));
    models.extend(folders.iter().map(|folder| listed(&ModelPlace::at(folder))));
    models
}

/// Where a configured model is; `None` of the miniature in the program.
fn named_place(config: &Config, name: &str) -> Option<ModelPlace> {
    match config.with_model(name)?.model {
        ModelChoice::Named(place) => Some(place),
        ModelChoice::Miniature { beside } => beside.is_dir().then(|| ModelPlace::at(&beside)),
    }
}

/// The miniature in the program; `None` of an engine that reads no model.
fn built_in(config: &Config) -> Option<ListedModel> {
    let miniature = ListedModel {
        bytes: mini::weight_bytes(),
        built_in: true,
        ..unknown(mini::folder(&config.state))
    };
    (config.engine == EngineKind::ZImage).then_some(miniature)
}

/// A model of which nothing is known but where it is.
fn unknown(path: PathBuf) -> ListedModel {
    ListedModel {
        name: None,
        path,
        built_in: false,
        kind: None,
        bytes: 0,
        problem: None,
        source: None,
        waiting: 0,
    }
}

fn listed(place: &ModelPlace) -> ListedModel {
    let source = fetched_at(&place.path).map(|(_, record)| source(record));
    let unknown = ListedModel { source, ..unknown(place.path.clone()) };
    match inspect_model(place) {
        Ok(found) => ListedModel {
            kind: found.model.map(|model| model.kind),
            bytes: found.parts.iter().map(|part| part.bytes).sum(),
            problem: found.problem,
            ..unknown
        },
        Err(error) => ListedModel { problem: Some(error.to_string()), ..unknown },
    }
}

fn source(record: FetchRecord) -> PartSource {
    let FetchRecord { hub, repo, revision, .. } = record;
    PartSource { hub: hub.to_string(), repository: repo, revision }
}

/// Removes what was fetched of the model that a user calls `what`. Not while renders wait for a
/// model that needs it, unless `force`.
pub async fn remove_model(
    config: &Config,
    what: &str,
    force: bool,
) -> Result<RemovedModel, QueueError> {
    let place = named_place(config, what).map_or_else(|| model_called(config, Some(what)), Ok)?;
    let folder = fetched_at(&place.path).map_or(place.path, |(folder, _)| folder);
    if !force {
        refuse_needed(config, &folder).await?;
    }
    Ok(remove_fetched(&folder)?)
}

async fn refuse_needed(config: &Config, folder: &Path) -> Result<(), QueueError> {
    for (name, renders) in waiting(config).await {
        let needs = named_place(config, &name).is_some_and(|place| needs(&place, folder));
        if renders > 0 && needs {
            let renders = count(renders, "render");
            let model = if name.is_empty() { "the model of [model]" } else { &name };
            let told = format!(
                "{renders} not ended yet of {model}, which needs {}: wait for them, cancel them, \
                 or say --force",
                folder.display()
            );
            return Err(HubError::Refused(told).into());
        }
    }
    Ok(())
}

/// Whether a file of the model lies in `folder`.
fn needs(place: &ModelPlace, folder: &Path) -> bool {
    let ModelPlace { path, text_encoder, vae, .. } = place;
    let named = [Some(path), text_encoder.as_ref(), vae.as_ref()].into_iter().flatten();
    let found = inspect_model(place).map(|found| found.parts).unwrap_or_default();
    let mut paths = named.chain(found.iter().flat_map(|part| &part.files));
    paths.any(|path| path.starts_with(folder))
}
