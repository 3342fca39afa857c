//! What was fetched, beside it: for whoever loads it, and for the next fetch.

use std::path::Path;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::error::HubError;
use super::repository::HubKind;
pub use crate::engine::provenance::FETCH_RECORD as RECORD;
use crate::files;

/// No record is longer.
const RECORD_BYTES_MAX: u64 = 1 << 20;

/// Where a model's files came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchRecord {
    pub hub: HubKind,
    /// `OWNER/NAME`.
    pub repo: String,
    /// The commit, where the hub tells it; else the branch.
    pub revision: String,
    pub files: Vec<RecordedFile>,
}

/// A file, as it was when it was fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedFile {
    /// Relative to the model's folder.
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
}

impl FetchRecord {
    /// The record of an earlier fetch into `folder`. One that cannot be read is none.
    pub fn read(folder: &Path) -> Option<FetchRecord> {
        let text = files::read_whole(&folder.join(RECORD), RECORD_BYTES_MAX).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Whether the file at `place` came from a hub.
    pub fn has(&self, place: &str) -> bool {
        self.files.iter().any(|file| file.path == place)
    }

    /// Takes the record out of `folder` while its files change, and keeps it in `kept`: they are
    /// ours to replace.
    pub fn set_aside(folder: &Path, kept: &Path) -> Result<(), HubError> {
        let path = folder.join(RECORD);
        match fs::rename(&path, kept.join(RECORD)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(HubError::of_io(&path, error))
            }
            _ => Ok(()),
        }
    }

    /// Puts it into `folder`, whole.
    pub fn write(&self, folder: &Path) -> Result<(), HubError> {
        let path = folder.join(RECORD);
        let written = serde_json::to_vec_pretty(self)
            .map_err(io::Error::from)
            .and_then(|text| files::write_atomic(&path, &text));
        written.map_err(|error| HubError::of_io(&path, error))
    }
}
