//! Whether the files of a fetched model are still what they were when they came.

use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::record::{FetchRecord, RecordedFile};
use crate::files;
use crate::spelling::spelled_by_serde;

/// So much of a file is read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// A file of a model lies at most so many folders below its record.
const DEPTH_MAX: usize = 4;

/// A file of a fetched model, compared with its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VerifiedFile {
    /// Relative to the model's folder.
    pub path: String,
    /// What it is now.
    pub state: FileState,
}

/// How a file compares with what was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    Right,
    /// It has another content.
    Wrong,
    Missing,
    /// The system does not give it.
    Unreadable,
}

spelled_by_serde!(FileState);

/// The folder with the record of the model at `path`, a file or a folder, and that record.
pub fn fetched_at(path: &Path) -> Option<(PathBuf, FetchRecord)> {
    let folders = path.ancestors().take(DEPTH_MAX);
    folders.into_iter().find_map(|folder| Some((folder.to_owned(), FetchRecord::read(folder)?)))
}

/// Hashes every file that the record in `folder` names.
pub fn verify_files(folder: &Path, record: &FetchRecord) -> Vec<VerifiedFile> {
    let verified =
        |file: &RecordedFile| VerifiedFile { path: file.path.clone(), state: state(folder, file) };
    record.files.iter().map(verified).collect()
}

/// The files of the record in `folder` that are missing, or shorter or longer than they were
/// fetched: what can be told of them without reading them.
pub fn files_of_other_length(folder: &Path, record: &FetchRecord) -> Vec<String> {
    let is_as_fetched = |file: &RecordedFile| {
        let facts = place(folder, file).and_then(|path| path.metadata().ok());
        facts.is_some_and(|facts| facts.len() == file.bytes)
    };
    let changed = record.files.iter().filter(|file| !is_as_fetched(file));
    changed.map(|file| file.path.clone()).collect()
}

fn state(folder: &Path, file: &RecordedFile) -> FileState {
    let Some(path) = place(folder, file) else { return FileState::Wrong };
    match sha256_of(&path) {
        Ok(hash) if hash == file.sha256 => FileState::Right,
        Ok(_) => FileState::Wrong,
        Err(error) if error.kind() == io::ErrorKind::NotFound => FileState::Missing,
        Err(_) => FileState::Unreadable,
    }
}

/// Where a recorded file lies: within its folder, whatever the record says.
pub fn place(folder: &Path, file: &RecordedFile) -> Option<PathBuf> {
    let is_plain = Path::new(&file.path).components().all(|it| matches!(it, Component::Normal(_)));
    is_plain.then(|| folder.join(&file.path))
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = files::open_plain(path)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut hash = Sha256::new();
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(files::hex(hash)),
            Ok(bytes) => hash.update(&buffer[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
}
