//! What can be known of a repository without a request: from Hugging Face's cache, and from the
//! record of an earlier fetch.

use std::fs;
use std::path::{Path, PathBuf};

use super::environment::HubEnvironment;
use super::error::HubError;
use super::preset::{ChosenFile, ModelSource};
use super::record::FetchRecord;
use super::repository::{HubKind, PromisedHash, RepoFile, Repository};
use crate::files;

/// A reference holds the name of a commit.
const REFERENCE_BYTES_MAX: u64 = 256;
/// How deep files lie in a repository.
const DEPTH_MAX: u32 = 4;
/// No repository that is taken has more files.
const FILES_MAX: usize = 5000;

/// The repository and the files that make the model, as far as they are known here.
pub fn known(
    source: &ModelSource,
    environment: &HubEnvironment,
    folder: &Path,
    variable: &str,
) -> Result<(Repository, Vec<ChosenFile>), HubError> {
    let record = FetchRecord::read(folder);
    if let Some(record) = record.filter(|record| record.repo == source.repository) {
        return Ok(of_record(record));
    }
    if source.hub == HubKind::HuggingFace
        && let Some(cached) = environment.caches.iter().find_map(|cache| cached(cache, source))
    {
        let chosen = source.choose(&cached)?;
        return Ok((cached, chosen));
    }
    Err(HubError::Refused(format!(
        "{variable} forbids requests, and no cache here has {} at revision {}",
        source.repository, source.revision
    )))
}

fn of_record(record: FetchRecord) -> (Repository, Vec<ChosenFile>) {
    let chosen: Vec<ChosenFile> = record
        .files
        .into_iter()
        .map(|file| {
            let hash = PromisedHash::Sha256(file.sha256);
            let place = file.path.clone();
            ChosenFile { file: RepoFile { path: file.path, bytes: file.bytes, hash }, place }
        })
        .collect();
    let files = chosen.iter().map(|chosen| chosen.file.clone()).collect();
    let (hub, name, revision) = (record.hub, record.repo, record.revision);
    (Repository { hub, name, revision, files }, chosen)
}

/// The repository as Hugging Face's own client keeps it in `cache`.
fn cached(cache: &Path, source: &ModelSource) -> Option<Repository> {
    let folder = cache.join(format!("models--{}", source.repository.replace('/', "--")));
    let reference = folder.join("refs").join(&source.revision);
    let named = files::read_whole(&reference, REFERENCE_BYTES_MAX).ok();
    let commit = match named {
        Some(text) => String::from_utf8(text).ok()?.trim().to_owned(),
        None => source.revision.clone(),
    };
    let snapshot = folder.join("snapshots").join(&commit);
    let mut files = Vec::new();
    collect(&snapshot, &snapshot, 0, &mut files);
    let (hub, name) = (source.hub, source.repository.clone());
    (!files.is_empty()).then_some(Repository { hub, name, revision: commit, files })
}

/// A file of a snapshot is a link to its content, whose name is its hash.
fn collect(snapshot: &Path, folder: &Path, depth: u32, files: &mut Vec<RepoFile>) {
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() && depth < DEPTH_MAX {
            collect(snapshot, &path, depth + 1, files);
        } else if files.len() < FILES_MAX {
            files.extend(linked(snapshot, &path));
        }
    }
}

fn linked(snapshot: &Path, path: &PathBuf) -> Option<RepoFile> {
    let blob = fs::read_link(path).ok()?;
    let hash = PromisedHash::parse(blob.file_name()?.to_str()?)?;
    let bytes = fs::metadata(path).ok()?.len();
    Some(RepoFile { path: path.strip_prefix(snapshot).ok()?.to_str()?.to_owned(), bytes, hash })
}
