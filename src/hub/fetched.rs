//! What a fetch answers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::repository::HubKind;
use crate::spelling::spelled_by_serde;

/// What was fetched, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Fetched {
    /// The model's folder: what `--model` and `[model] path` take.
    pub folder: PathBuf,
    /// Where the files are published.
    pub hub: HubKind,
    /// OWNER/NAME of the repository.
    pub repository: String,
    /// The commit where the hub tells it, else the branch.
    pub revision: String,
    /// The files of the model.
    pub files: Vec<FetchedFile>,
    /// The length of all of them.
    pub total_bytes: u64,
    /// What came from the hub in this run; of a dry run, what would.
    pub received_bytes: u64,
    /// Nothing was done: this is what would be.
    pub dry_run: bool,
}

/// A file of a fetched model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FetchedFile {
    /// Relative to the model's folder.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its content; of a dry run, where the hub tells it.
    pub sha256: Option<String>,
    /// Where it came from.
    pub from: FileSource,
}

/// Where a file of a model came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FileSource {
    /// It was there.
    Here,
    /// Another program has it; a link leads there.
    Cache,
    /// From the hub.
    Hub,
}

spelled_by_serde!(FileSource);
