//! Removes what a fetch brought, and nothing else.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, iter};

use serde::Serialize;

use super::error::HubError;
use super::places::PARTIAL_FOLDER;
use super::record::{FetchRecord, RECORD};
use super::verify::place;
use crate::instance::FolderLock;

/// So many files that stay are named.
const KEPT_MAX: usize = 20;

/// What was removed of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RemovedModel {
    /// The model's folder.
    pub folder: PathBuf,
    /// How many files were removed, links included.
    pub files: usize,
    /// The room that is free now: nothing for links, and for files that other programs have, too.
    pub freed_bytes: u64,
    /// What is left in the folder: it was not fetched. The first twenty names.
    pub kept: Vec<String>,
}

/// Removes the files that the record in `folder` names, and what a fetch there left unfinished.
/// The record goes last, so that the same call goes on after a crash.
pub fn remove_fetched(folder: &Path) -> Result<RemovedModel, HubError> {
    let partial = folder.join(PARTIAL_FOLDER);
    let record = FetchRecord::read(folder).or_else(|| FetchRecord::read(&partial));
    if record.is_none() && !partial.is_dir() {
        let told = format!("{} was not fetched by zimaged: nothing is removed", folder.display());
        return Err(HubError::Refused(told));
    }
    // Nobody fetches into it meanwhile.
    let lock = FolderLock::take(folder).map_err(HubError::Lock)?;
    let mut removed = RemovedModel { folder: folder.to_owned(), ..RemovedModel::default() };
    let files = record.iter().flat_map(|record| &record.files);
    let paths: Vec<PathBuf> = files.filter_map(|file| place(folder, file)).collect();
    for path in &paths {
        removed.remove(path)?;
    }
    if partial.is_dir() {
        fs::remove_dir_all(&partial).map_err(|error| HubError::of_io(&partial, error))?;
    }
    let record = folder.join(RECORD);
    if record.exists() {
        fs::remove_file(&record).map_err(|error| HubError::of_io(&record, error))?;
    }
    lock.dissolve().map_err(HubError::Lock)?;
    for parent in paths.iter().flat_map(|path| path.ancestors().skip(1)) {
        if parent.starts_with(folder) {
            // What holds something else stays.
            let _ = fs::remove_dir(parent);
        }
    }
    let _ = fs::remove_dir(folder);
    removed.kept = kept(folder);
    Ok(removed)
}

impl RemovedModel {
    fn remove(&mut self, path: &Path) -> Result<(), HubError> {
        let there = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            there => there.map_err(|error| HubError::of_io(path, error))?,
        };
        fs::remove_file(path).map_err(|error| HubError::of_io(path, error))?;
        self.files += 1;
        if there.is_file() && there.nlink() == 1 {
            self.freed_bytes += there.len();
        }
        Ok(())
    }
}

fn kept(folder: &Path) -> Vec<String> {
    let mut folders = vec![folder.to_owned()];
    let all = iter::from_fn(|| folders.pop().map(fs::read_dir)).flatten();
    let names = all.flatten().flatten().map(|entry| entry.path());
    let mut kept: Vec<String> = names
        .filter_map(|path| Some(path.strip_prefix(folder).ok()?.display().to_string()))
        .take(KEPT_MAX)
        .collect();
    kept.sort_unstable();
    kept
}
