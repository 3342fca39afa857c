//! Files in the output folder that belong to no row.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{LISTED_MAX, Verified, VerifyStep};
use crate::output::{self, sidecar};
use crate::queue::{Queue, QueueError};

/// So many names are held against the rows at once.
const NAMES_MAX: usize = 5000;

/// Folders within folders are looked into so far.
const DEPTH_MAX: usize = 32;

/// What belongs to no row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Stranger {
    /// Relative to the output folder; what of it is no UTF-8 is replaced.
    pub path: String,
    /// What it is.
    pub kind: StrangerKind,
}

/// What something without a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StrangerKind {
    /// A picture of this queue, or a sidecar, whose row is gone or has another name now.
    Forgotten,
    /// A picture of another queue.
    OtherQueue,
    /// No picture of zimaged.
    Foreign,
    /// Neither a file nor a folder: a link, a pipe.
    NoFile,
    /// A folder that was not looked into: it may not be read, or lies too deep.
    NotLookedInto,
}

impl Queue<'_> {
    pub(super) async fn find_strangers(
        &self,
        found: &mut Verified,
        tell: &mut dyn FnMut(VerifyStep),
    ) -> Result<(), QueueError> {
        let mut entries = Vec::new();
        for (looked_at, entry) in (1..).zip(Files::below(&self.config.outputs)) {
            entries.push(entry);
            if entries.len() == NAMES_MAX {
                self.note_strangers(&entries, found).await?;
                entries.clear();
                tell(VerifyStep::Files { looked_at });
            }
        }
        self.note_strangers(&entries, found).await
    }

    async fn note_strangers(
        &self,
        entries: &[Entry],
        found: &mut Verified,
    ) -> Result<(), QueueError> {
        // A name that is no UTF-8 is no row's.
        let names = entries.iter().filter_map(|entry| entry.path.to_str().map(str::to_owned));
        let without_row = self.store.without_row(&names.collect::<Vec<_>>()).await?;
        let without_row: HashSet<String> = without_row.into_iter().collect();
        for Entry { path, kind } in entries {
            let file = self.config.outputs.join(path);
            let has_row = path.to_str().is_some_and(|name| !without_row.contains(name));
            // It may have been removed meanwhile.
            if has_row || file.symlink_metadata().is_err() || self.is_sidecar(path).await? {
                continue;
            }
            found.strangers += 1;
            if found.stranger_files.len() < LISTED_MAX {
                let kind = kind.unwrap_or_else(|| self.kind(&file));
                found.stranger_files.push(Stranger { path: path.display().to_string(), kind });
            }
        }
        Ok(())
    }

    /// Whether the file stands beside a picture that has a row, and is this queue's.
    async fn is_sidecar(&self, path: &Path) -> Result<bool, QueueError> {
        let pictures = sidecar::pictures_beside(path);
        let pictures: Vec<String> =
            pictures.iter().filter_map(|it| it.to_str().map(str::to_owned)).collect();
        if pictures.is_empty() || self.store.without_row(&pictures).await?.len() == pictures.len() {
            return Ok(false);
        }
        let said = sidecar::read(&self.config.outputs.join(path));
        Ok(said.is_some_and(|it| it.queue.owner.database == self.store.id()))
    }

    fn kind(&self, file: &Path) -> StrangerKind {
        match output::metadata_of(file).or_else(|| sidecar::read(file)) {
            Some(metadata) if metadata.queue.owner.database == self.store.id() => {
                StrangerKind::Forgotten
            }
            Some(_) => StrangerKind::OtherQueue,
            None => StrangerKind::Foreign,
        }
    }
}

/// What was found below a folder.
struct Entry {
    /// Relative to the folder.
    path: PathBuf,
    /// Where it is no file.
    kind: Option<StrangerKind>,
}

/// The files below a folder, and what keeps others from being seen. Links are not followed, and
/// what is hidden is left out: temporary files of a daemon that works are.
struct Files {
    root: PathBuf,
    folders: VecDeque<(PathBuf, usize)>,
    entries: Option<(fs::ReadDir, usize)>,
}

impl Files {
    fn below(root: &Path) -> Files {
        let folders = VecDeque::from([(root.to_owned(), 0)]);
        Files { root: root.to_owned(), folders, entries: None }
    }

    /// What is no folder; a folder is looked into later.
    fn look_at(&mut self, entry: &fs::DirEntry, depth: usize) -> Option<Entry> {
        let kind = entry.file_type().ok()?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            return None;
        }
        let path = entry.path();
        match kind {
            kind if kind.is_file() => self.entry(&path, None),
            kind if !kind.is_dir() => self.entry(&path, Some(StrangerKind::NoFile)),
            _ if depth == DEPTH_MAX => self.entry(&path, Some(StrangerKind::NotLookedInto)),
            _ => {
                self.folders.push_back((path, depth + 1));
                None
            }
        }
    }

    fn entry(&self, path: &Path, kind: Option<StrangerKind>) -> Option<Entry> {
        let path = path.strip_prefix(&self.root).ok()?.to_owned();
        Some(Entry { path, kind })
    }
}

impl Iterator for Files {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            if let Some((entries, depth)) = &mut self.entries {
                let depth = *depth;
                match entries.next() {
                    Some(Ok(entry)) => match self.look_at(&entry, depth) {
                        Some(entry) => return Some(entry),
                        None => continue,
                    },
                    Some(Err(_)) => continue,
                    None => self.entries = None,
                }
            }
            let (folder, depth) = self.folders.pop_front()?;
            match fs::read_dir(&folder) {
                Ok(entries) => self.entries = Some((entries, depth)),
                // A queue that has made nothing may have no output folder yet.
                Err(_) if folder == self.root => (),
                Err(_) => return self.entry(&folder, Some(StrangerKind::NotLookedInto)),
            }
        }
    }
}
