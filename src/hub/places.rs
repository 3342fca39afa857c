//! The places of a model's files: what stands there, what other programs have, and whether there is
//! room for the rest.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::caches::{CachedFiles, link, proved};
use super::error::HubError;
use super::fetched::FileSource;
use super::partial::room_bytes;
use super::preset::{ChosenFile, gigabytes};
use super::progress::FetchProgress;
use super::record::FetchRecord;
use super::repository::RepoFile;
use crate::files;

/// Where files are while they come, in the model's folder.
pub const PARTIAL_FOLDER: &str = ".fetch";
/// Room that is left on the disk for others.
const SPARE_BYTES: u64 = 64 << 20;

/// The files of a model and where they go.
pub struct Places<'a> {
    /// The model's folder.
    pub folder: &'a Path,
    pub chosen: Vec<ChosenFile>,
    /// Folders in which other programs may have them.
    pub look_in: Vec<PathBuf>,
    pub progress: &'a FetchProgress,
}

impl Places<'_> {
    /// Where a file goes.
    pub fn place(&self, chosen: &ChosenFile) -> PathBuf {
        self.folder.join(&chosen.place)
    }

    /// Where it is while it comes.
    pub fn partial_folder(&self) -> PathBuf {
        self.folder.join(PARTIAL_FOLDER)
    }

    /// The length of all files.
    pub fn total_bytes(&self) -> u64 {
        self.chosen.iter().map(|chosen| chosen.file.bytes).sum()
    }

    /// The hashes of files that are in their places.
    pub fn found_here(&self) -> Result<Vec<FoundFile>, HubError> {
        let mut found = Vec::new();
        for chosen in &self.chosen {
            // A link may lead nowhere any more.
            let sha256 = match proved(&self.place(chosen), &chosen.file, self.progress) {
                Err(HubError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    None
                }
                proved => proved?,
            };
            if sha256.is_none() {
                self.check_way(chosen)?;
            }
            found.push(sha256.map(|sha256| (sha256, FileSource::Here)));
        }
        if found.contains(&None) {
            FetchRecord::set_aside(self.folder, &self.partial_folder())?;
        }
        self.progress.set_done(bytes_of(&self.chosen, &found));
        Ok(found)
    }

    /// Fails where a file stands in the place that is none of ours, and is not a link that leads
    /// nowhere. Whether there is one to be replaced.
    fn check_way(&self, chosen: &ChosenFile) -> Result<bool, HubError> {
        let place = self.place(chosen);
        let Ok(there) = fs::symlink_metadata(&place) else { return Ok(false) };
        let record = FetchRecord::read(self.folder);
        let record = record.or_else(|| FetchRecord::read(&self.partial_folder()));
        let is_ours = record.is_some_and(|record| record.has(&chosen.place));
        if is_ours || (there.is_symlink() && !place.exists()) {
            return Ok(true);
        }
        Err(HubError::Refused(format!(
            "{} is there and has another content; move it away, or name another folder with --to",
            place.display()
        )))
    }

    /// Makes the place ready for a file that replaces nothing but what is damaged or out of date.
    pub fn make_way(&self, chosen: &ChosenFile) -> Result<(), HubError> {
        let place = self.place(chosen);
        if self.check_way(chosen)? {
            fs::remove_file(&place).map_err(|error| HubError::of_io(&place, error))?;
        }
        make_folder(place.parent().unwrap_or(self.folder))
    }

    /// Files elsewhere that may be one of `wanted`.
    pub fn cached(&self, wanted: &[&ChosenFile]) -> CachedFiles {
        let files: Vec<&RepoFile> = wanted.iter().map(|chosen| &chosen.file).collect();
        self.progress.tell("looking for files that other programs have");
        CachedFiles::look(&self.look_in, &files)
    }

    /// Links what other programs have into the places where nothing is.
    pub fn link_cached(&self, found: &mut [FoundFile]) -> Result<(), HubError> {
        let missing = self.chosen.iter().zip(&*found).filter(|(_, found)| found.is_none());
        let missing: Vec<&ChosenFile> = missing.map(|(chosen, _)| chosen).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let cached = self.cached(&missing);
        for (chosen, found) in self.chosen.iter().zip(found.iter_mut()) {
            if found.is_none() {
                *found = self.link_one(&cached, chosen)?.map(|sha256| (sha256, FileSource::Cache));
            }
        }
        self.progress.set_done(bytes_of(&self.chosen, found));
        Ok(())
    }

    fn link_one(
        &self,
        cached: &CachedFiles,
        chosen: &ChosenFile,
    ) -> Result<Option<String>, HubError> {
        let place = self.place(chosen);
        for candidate in cached.candidates(&chosen.file) {
            let sha256 = match proved(candidate, &chosen.file, self.progress) {
                Err(HubError::Stopped) => return Err(HubError::Stopped),
                // Other programs' files may be closed to us.
                Err(_) | Ok(None) => continue,
                Ok(Some(sha256)) => sha256,
            };
            self.make_way(chosen)?;
            if link(candidate, &place).is_ok() {
                // The record that says so is not to outlive it.
                sync_folder_of(&place)?;
                return Ok(Some(sha256));
            }
        }
        Ok(None)
    }

    /// Fails where the disk has no room for what is missing.
    pub fn check_room(&self, found: &[FoundFile]) -> Result<(), HubError> {
        let folder = self.partial_folder();
        let missing = self.chosen.iter().zip(found).filter(|(_, found)| found.is_none());
        let needed: u64 = missing.map(|(chosen, _)| room_bytes(&folder, &chosen.file)).sum();
        let free = files::free_bytes(&folder).map_err(|error| HubError::of_io(&folder, error))?;
        if needed > 0 && needed.saturating_add(SPARE_BYTES) > free {
            return Err(HubError::Passing(format!(
                "{} has {} free, and {} are still to come; make room, or name another disk with --to",
                self.folder.display(),
                gigabytes(free),
                gigabytes(needed)
            )));
        }
        Ok(())
    }
}

/// A file's SHA-256 and where it came from, once it is in its place.
pub type FoundFile = Option<(String, FileSource)>;

/// The length of those that are in their places.
pub fn bytes_of(chosen: &[ChosenFile], found: &[FoundFile]) -> u64 {
    let there = chosen.iter().zip(found).filter(|(_, found)| found.is_some());
    there.map(|(chosen, _)| chosen.file.bytes).sum()
}

/// Makes a folder that lasts.
pub fn make_folder(folder: &Path) -> Result<(), HubError> {
    fs::create_dir_all(folder).map_err(|error| HubError::of_io(folder, error))?;
    sync_folder_of(folder)
}

fn sync_folder_of(path: &Path) -> Result<(), HubError> {
    let synced = files::open_folder(path.parent().unwrap_or(path)).and_then(|it| files::sync(&it));
    synced.map_err(|error| HubError::of_io(path, error))
}
